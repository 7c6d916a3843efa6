"""Findings that a labeller reads in generated and reference reports, and their agreement."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from xraytk.tasks.metrics.panel import Panel
from xraytk.tasks.metrics.values import Floats, ratio

Uncertain = Literal["positive", "negative", "ignore"]
Found = list[dict[str, int | None]]
TOP5 = ("Cardiomegaly", "Edema", "Consolidation", "Atelectasis", "Pleural Effusion")
"""The five that CheXpert's competition scored."""
METRICS = ("precision", "recall", "f1", "in_references", "in_generated")
MEANS = ("micro", "macro", "micro-5", "macro-5")


@dataclass(frozen=True, slots=True)
class FindingRows:
    """Agreement of n pairs of reports; adding two sets of samples joins them.

    Args:
        findings: The F names.
        cells: (n, F, 3): true positive, false positive, false negative, each 0 or 1.
        known: (n, F) bool, False where uncertain ones are ignored.
    """

    findings: tuple[str, ...]
    cells: Floats
    known: NDArray[np.bool_]

    def __add__(self, other: FindingRows) -> FindingRows:
        return FindingRows(
            self.findings,
            np.concatenate([self.cells, other.cells]),
            np.concatenate([self.known, other.known]),
        )

    def averaged(self) -> dict[str, int]:
        """Of how many findings the macro precision, recall and F1 are the mean."""
        there = ~np.isnan(_agreement(self.cells.sum(axis=0)))
        return {metric: int(there[:, i].sum()) for i, metric in enumerate(METRICS[:3])}

    def panel(self, metrics: Sequence[str] = METRICS) -> Panel:
        """Precision, recall, F1 and counts of each finding, and their means over all and over five.

        Args:
            metrics: Some of `METRICS`.
        """
        chosen = [METRICS.index(metric) for metric in metrics]
        n, f, _ = self.cells.shape
        flat = self.cells.reshape(n, f * 3)
        groups = [list(range(f)), [i for i, name in enumerate(self.findings) if name in TOP5]]

        def score(weights: Floats) -> Floats:
            each = (weights @ flat).reshape(-1, f, 3)
            parts = [_agreement(each)]
            for group in groups:
                summed = _agreement(each[:, group].sum(axis=1, keepdims=True))
                own = parts[0][:, group]
                there = ~np.isnan(own)
                mean = ratio(np.where(there, own, 0).sum(axis=1), there.sum(axis=1).astype(np.float64))
                parts += [summed, mean[:, None]]
            return np.concatenate(parts, axis=1)[:, :, chosen].reshape(len(weights), -1)

        said = self.cells.sum(axis=0)
        why: dict[str | tuple[str, str], str] = dict.fromkeys(MEANS, "no finding was named")
        for i, name in enumerate(self.findings):
            why[name] = "named in no reference and in no generated report"
            why[name, "precision"] = why[name] if said[i].sum() == 0 else "named in no generated report"
            why[name, "recall"] = why[name] if said[i].sum() == 0 else "named in no reference"
        known = {name: self.known[:, i] for i, name in enumerate(self.findings)}
        return Panel((*self.findings, *MEANS), tuple(metrics), score, known, why)


def finding_rows(generated: Found, reference: Found, uncertain: Uncertain) -> FindingRows:
    """Compare what the labeller read.

    Args:
        generated: For each of n reports: finding to 1 present, 0 absent, -1 uncertain, None not
            spoken of.
        reference: The same for the references.
        uncertain: How -1 counts: as present, as absent, or not at all (then the finding of that
            pair is left out, whichever side is uncertain).
    """
    findings = tuple(reference[0]) if reference else ()
    tables = [
        np.array([[_number(row[name]) for name in findings] for row in side]).reshape(-1, len(findings))
        for side in (generated, reference)
    ]
    known = np.ones(tables[0].shape, dtype=np.bool_)
    if uncertain == "ignore":
        known = (tables[0] != -1) & (tables[1] != -1)
    hyp, ref = ((t == 1) | ((t == -1) & (uncertain == "positive")) for t in tables)
    cells = np.stack([hyp & ref, hyp & ~ref, ~hyp & ref], axis=2) & known[:, :, None]
    return FindingRows(findings, cells.astype(np.float64), known)


def _number(state: int | None) -> int:
    return 0 if state is None else state


def _agreement(cells: Floats) -> Floats:
    """(..., 3) true positives, false positives, false negatives to (..., `METRICS`)."""
    tp, fp, fn = cells[..., 0], cells[..., 1], cells[..., 2]
    scores = [ratio(tp, tp + fp), ratio(tp, tp + fn), ratio(2 * tp, 2 * tp + fp + fn)]
    return np.stack([*scores, tp + fn, tp + fp], axis=-1)
