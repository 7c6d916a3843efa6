"""What scoring gives: tables of scores, what they depend on, what is absent and what was odd."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from xraytk.tasks.metrics.panel import Scores
from xraytk.tasks.metrics.values import Floats
from xraytk.tasks.scoring.groups import Groups


@dataclass(frozen=True, slots=True)
class Scored:
    """Scores of one set of predictions.

    Args:
        task: "report" or "classify".
        images: How many were scored.
        patients: Of how many patients.
        tables: Scores by the name of the table, each by row and metric.
        protocol: All that the scores depend on, with its "fingerprint".
        absent: Scores that could not be computed at all, and why.
        notes: What a reader has to know of the input.
        groups: Of each fact that the tables state, by the name of the table.
        rows: Predictions as they were scored, for predictions.jsonl.
        facts: More numbers for metrics.json: thresholds, temperature, DeLong.
    """

    task: str
    images: int
    patients: int
    tables: dict[str, Scores]
    protocol: dict[str, Any]
    absent: dict[str, str]
    notes: tuple[str, ...]
    groups: Mapping[str, Sequence[Groups]] = field(default_factory=dict)
    rows: tuple[dict[str, Any], ...] = field(default=(), repr=False)
    facts: dict[str, Any] = field(default_factory=dict)


def fingerprinted(protocol: dict[str, Any]) -> dict[str, Any]:
    """Add the hash of a protocol to it: numbers of equal fingerprints can be compared."""
    text = json.dumps(protocol, sort_keys=True, ensure_ascii=False, default=str)
    return {**protocol, "fingerprint": hashlib.sha256(text.encode()).hexdigest()[:16]}


def hash_of_ids(ids: Sequence[str]) -> str:
    """SHA-256 of a set of ids, whatever their order."""
    return hashlib.sha256("\n".join(sorted(ids)).encode()).hexdigest()


def hash_of(entries: Iterable[object]) -> str:
    """SHA-256 of references: entries that JSON can hold, whatever their order."""
    lines = sorted(json.dumps(entry, ensure_ascii=False) for entry in entries)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def hash_of_truth(ids: Sequence[str], labels: Sequence[str], truth: Floats) -> str:
    """SHA-256 of a truth with the names of its labels, whatever the order of images and labels.

    Args:
        ids: n images.
        labels: C names.
        truth: (n, C) 0 or 1, NaN unknown.
    """
    rows, columns = np.argsort(np.asarray(ids, np.str_)), np.argsort(np.asarray(labels, np.str_))
    cells = np.nan_to_num(truth[np.ix_(rows, columns)], nan=-1).astype(np.int8)
    names = json.dumps([[ids[i] for i in rows], [labels[i] for i in columns]], ensure_ascii=False)
    return hashlib.sha256(names.encode() + cells.tobytes()).hexdigest()


def intervals(resamples: int, seed: int, where: str = "metrics.json") -> str:
    """How intervals were made, for a protocol; BCa stands in the file ``where``."""
    if not resamples:
        return "none"
    return f"95 %, percentile (and BCa in {where}), {resamples} resamples of patients, seed {seed}"


def told(protocol: Mapping[str, Any], patients: int = 0) -> str:
    """What stands with every table: the protocol's fingerprint, and what the brackets are.

    Args:
        protocol: With its "fingerprint".
        patients: How many, where the protocol does not say.
    """
    kind, people = protocol.get("protocol"), protocol.get("patients", patients)
    name = f"protocol {kind}, fingerprint" if kind else "protocol fingerprint"
    if protocol.get("intervals", "none") == "none":
        return f"{name} {protocol['fingerprint']}; without intervals"
    over = f"{people:,} patients" if people else "patients"
    return f"{name} {protocol['fingerprint']}; in brackets: 95 % percentile interval over {over}"
