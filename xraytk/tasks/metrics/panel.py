"""A table of scores: rows (labels, findings) by metrics, computed together from weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from xraytk.tasks.metrics.bootstrap import draw, summarise
from xraytk.tasks.metrics.calibration import brier, ece
from xraytk.tasks.metrics.labels import (
    AT_THRESHOLD,
    at_threshold,
    auprc,
    auroc,
    sensitivity_at,
    specificity_at,
    why_not,
)
from xraytk.tasks.metrics.values import Floats, Score, Value, absent, ratio

LABEL_METRICS = ("auroc", "auprc", "f1", "accuracy")
ALL_LABEL_METRICS = (
    *LABEL_METRICS,
    *("sensitivity", "specificity", "precision", "sensitivity_at", "specificity_at", "brier", "ece"),
)
RANKING = ("auroc", "auprc", "sensitivity_at", "specificity_at")
"""Metrics that depend on the order of the scores alone."""
OPERATING = 0.9
"""Specificity at which the sensitivity is read, and the reverse."""

UNSAID = "nothing was predicted present at the threshold"
"""Why a precision does not exist though both classes are there."""

Scores = dict[str, dict[str, Value]]
Reasons = Mapping[str | tuple[str, str], str]
"""What to say of a value that does not exist, by row, or by row and metric."""


@dataclass(frozen=True, slots=True)
class Panel:
    """Scores of rows by metrics.

    Args:
        rows: Names of the rows.
        metrics: Names of the columns.
        score: From weights (R, n) to (R, rows * metrics).
        known: Samples each row uses, (n,) bool; all by default.
        why: Of values that do not exist; or what gives the reasons for some of the samples, (n,) bool.
    """

    rows: tuple[str, ...]
    metrics: tuple[str, ...]
    score: Score
    known: Mapping[str, NDArray[np.bool_]] = field(default_factory=dict)
    why: Reasons | Callable[[NDArray[np.bool_]], Reasons] = field(default_factory=dict)

    def values(self, patients: Sequence[str], *, resamples: int, seed: int) -> Scores:
        """Every score with its intervals over patients."""
        found = summarise(self.score, patients, resamples=resamples, seed=seed)
        return self.named(found, patients)

    def named(
        self,
        found: Sequence[Value],
        patients: Sequence[str],
        part: NDArray[np.bool_] | None = None,
        because: str = "",
    ) -> Scores:
        """Sort values into rows and columns, with their counts and reasons.

        Args:
            found: In the order of ``score``.
            patients: n patients.
            part: Samples that were scored; all by default.
            because: Why a value does not exist, where ``found`` are differences.
        """
        people = np.asarray(patients, dtype=np.str_)
        part = np.ones(len(people), dtype=np.bool_) if part is None else part
        why = {} if because else self.reasons(part)
        out: Scores = {}
        for r, row in enumerate(self.rows):
            used = part & self.known.get(row, np.True_)
            n, count = int(used.sum()), len(np.unique(people[used]))
            out[row] = {}
            for c, metric in enumerate(self.metrics):
                value = found[r * len(self.metrics) + c]
                if math.isnan(value.value):
                    out[row][metric] = absent(because or reason(why, row, metric), n, count)
                else:
                    out[row][metric] = replace(value, n=n, patients=count)
        return out

    def reasons(self, part: NDArray[np.bool_]) -> Reasons:
        """Why values of these samples do not exist."""
        return self.why(part) if callable(self.why) else self.why

    def within(
        self, part: NDArray[np.bool_], patients: Sequence[str], *, resamples: int, seed: int
    ) -> tuple[Scores, Scores]:
        """Scores of some of the samples, and their difference to all the others.

        Args:
            part: (n,) bool.
            patients: n patients.
            resamples: Of the bootstrap.
            seed: Of the bootstrap.
        """

        def both(weights: Floats) -> Floats:
            inside, outside = self.score(weights * part), self.score(weights * ~part)
            return np.concatenate([inside, inside - outside], axis=1)

        found = draw(both, patients, resamples=resamples, seed=seed).values()
        half = len(found) // 2
        return self.named(found[:half], patients, part), self.named(
            found[half:], patients, part, "does not exist for these samples, or for the others"
        )


def reason(why: Reasons, row: str, metric: str) -> str:
    """Why a value does not exist."""
    return why.get((row, metric)) or why.get(row) or "does not exist for these samples"


def label_panel(
    scores: Floats,
    truth: Floats,
    labels: Sequence[str],
    thresholds: Mapping[str, float] | Floats | None,
    *,
    metrics: Sequence[str] = LABEL_METRICS,
    operating: float = OPERATING,
    ranks: Floats | None = None,
) -> Panel:
    """Scores of multi-label predictions; the last row is "macro", the mean over labels.

    Args:
        scores: (n, C) probabilities, or any numbers when ``thresholds`` is None.
        truth: (n, C) 0 or 1, NaN where unknown.
        labels: The C names.
        thresholds: One a label (0.5 where missing), or (n, C); None when the scores are not
            probabilities: then there is no threshold, and no calibration.
        metrics: Some of `ALL_LABEL_METRICS`.
        operating: Specificity and sensitivity for "sensitivity_at" and "specificity_at".
        ranks: (n, C) for the metrics in `RANKING` instead of the scores.

    Returns:
        A `Panel`; a label counts in "macro" where its score exists in that resample: it has both
        classes, for precision something is predicted present too, for Brier and ECE one known value does.
    """
    parts: list[Score] = []
    for c, label in enumerate(labels):
        s, t = scores[:, c].astype(np.float64), truth[:, c].astype(np.float64)
        order = s if ranks is None else ranks[:, c]
        cut = thresholds[:, c] if isinstance(thresholds, np.ndarray) else (thresholds or {}).get(label, 0.5)
        for metric in metrics:
            if metric in RANKING:
                parts.append(_of_order(metric, order, t, operating))
            elif thresholds is None:
                parts.append(_nothing)
            elif metric in AT_THRESHOLD:
                parts.append(at_threshold(s, t, cut, metric))
            else:
                parts.append({"brier": brier, "ece": ece}[metric](s, t))

    def together(weights: Floats) -> Floats:
        table = np.stack([part(weights) for part in parts], axis=1)
        cube = table.reshape(len(weights), len(labels), len(metrics))
        there = ~np.isnan(cube)
        macro = ratio(np.where(there, cube, 0).sum(axis=1), there.sum(axis=1).astype(np.float64))
        return np.concatenate([table, macro], axis=1)

    known = {label: ~np.isnan(truth[:, c]) for c, label in enumerate(labels)}
    known["macro"] = np.any(~np.isnan(truth), axis=1)
    return Panel(
        (*labels, "macro"), tuple(metrics), together, known, _reasons(truth, labels, thresholds is not None)
    )


def _reasons(truth: Floats, labels: Sequence[str], chances: bool) -> Callable[[NDArray[np.bool_]], Reasons]:
    """What gives the reasons of labels and of their mean."""

    def of(part: NDArray[np.bool_]) -> Reasons:
        where = "split" if part.all() else "group"
        lacking = {label: why_not(truth[part, c], where) for c, label in enumerate(labels)}
        why: dict[str | tuple[str, str], str] = {label: said for label, said in lacking.items() if said}
        why |= {(label, "precision"): UNSAID for label, said in lacking.items() if not said}
        why["macro"] = "no label has both classes"
        if not all(lacking.values()):
            why["macro", "precision"] = f"{UNSAID}, of any label with both classes"
        why |= {("macro", metric): "no label has a known value" for metric in ("brier", "ece")}
        if not chances:
            tied = [metric for metric in ALL_LABEL_METRICS if metric not in RANKING]
            why |= {(row, m): "the scores are not probabilities" for row in (*labels, "macro") for m in tied}
        return why

    return of


def score_labels(
    scores: Floats,
    truth: Floats,
    labels: Sequence[str],
    thresholds: Mapping[str, float],
    patients: Sequence[str],
    *,
    resamples: int = 1000,
    seed: int = 0,
) -> Scores:
    """Score multi-label predictions.

    Args:
        scores: (n, C) probabilities.
        truth: (n, C) 0 or 1, NaN where unknown.
        labels: The C names.
        thresholds: One a label, fitted on the validation split; 0.5 where missing.
        patients: n patients; intervals are over them.
        resamples: Bootstrap resamples; 0 for none.
        seed: Of the bootstrap.

    Returns:
        For each label, and for "macro" (mean over the labels for which the score exists in
        that resample), a `Value` for each of `LABEL_METRICS`.
    """
    if not labels or not len(scores):
        return {"macro": {m: absent("no label, or no sample") for m in LABEL_METRICS}}
    panel = label_panel(scores, truth, labels, thresholds)
    return panel.values(patients, resamples=resamples, seed=seed)


def _of_order(metric: str, scores: Floats, truth: Floats, operating: float) -> Score:
    if metric == "auroc":
        return auroc(scores, truth)
    if metric == "auprc":
        return auprc(scores, truth)
    at = sensitivity_at if metric == "sensitivity_at" else specificity_at
    return at(scores, truth, operating)


def _nothing(weights: Floats) -> Floats:
    return np.full(len(weights), np.nan)
