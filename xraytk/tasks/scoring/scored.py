"""What scoring gives: tables of scores, what they depend on, what is absent and what was odd."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from xraytk.tasks.metrics.panel import Scores
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


def intervals(resamples: int, seed: int) -> str:
    """How intervals were made, for a protocol."""
    if not resamples:
        return "none"
    return f"95 %, percentile (and BCa in metrics.json), {resamples} resamples of patients, seed {seed}"
