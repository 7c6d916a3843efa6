"""Scores of one label: areas under curves, and the cells of a confusion table at a threshold.

Each is made once of the samples and then answers for many rows of weights; scikit-learn's
functions, which the tests compare with, take one row at a time.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from xraytk.tasks.metrics.values import Floats, Score, ratio


def auroc(scores: Floats, truth: Floats) -> Score:
    """Area under the ROC curve, ties counting half.

    Args:
        scores: (n,) higher means more likely.
        truth: (n,) 0 or 1; NaN leaves the sample out.

    Returns:
        A `Score`; equal to scikit-learn's ``roc_auc_score`` with weights, for many
        resamples at once.
    """
    order, starts, positive, negative = _ranked(scores, truth)

    def area(weights: Floats) -> Floats:
        if not len(order):
            return np.full(len(weights), np.nan)
        pos = np.add.reduceat(weights[:, order] * positive, starts, axis=1)
        neg = np.add.reduceat(weights[:, order] * negative, starts, axis=1)
        below = np.cumsum(neg, axis=1) - neg / 2
        return ratio((pos * below).sum(axis=1), pos.sum(axis=1) * neg.sum(axis=1))

    return area


def auprc(scores: Floats, truth: Floats) -> Score:
    """Average precision: the step-wise area under the precision-recall curve.

    Args:
        scores: (n,) higher means more likely.
        truth: (n,) 0 or 1; NaN leaves the sample out.

    Returns:
        A `Score`; equal to scikit-learn's ``average_precision_score`` with weights.
    """
    order, starts, positive, negative = _ranked(-scores, truth)

    def area(weights: Floats) -> Floats:
        if not len(order):
            return np.full(len(weights), np.nan)
        pos = np.add.reduceat(weights[:, order] * positive, starts, axis=1)
        neg = np.add.reduceat(weights[:, order] * negative, starts, axis=1)
        hits, all_ = np.cumsum(pos, axis=1), np.cumsum(pos + neg, axis=1)
        precision = np.divide(hits, all_, out=np.zeros_like(hits), where=all_ > 0)
        both = (neg.sum(axis=1) > 0).astype(np.float64)
        return ratio((pos * precision).sum(axis=1) * both, pos.sum(axis=1) * both)

    return area


def sensitivity_at(scores: Floats, truth: Floats, specificity: float) -> Score:
    """Highest sensitivity that any threshold reaches with at least this specificity.

    It is read off the ROC curve of the same samples, so it says what a curve allows, not what
    a threshold chosen beforehand gives.

    Args:
        scores: (n,) higher means more likely.
        truth: (n,) 0 or 1; NaN leaves the sample out.
        specificity: In [0, 1].
    """
    order, starts, positive, negative = _ranked(-scores, truth)

    def value(weights: Floats) -> Floats:
        if not len(order):
            return np.full(len(weights), np.nan)
        hits = np.cumsum(np.add.reduceat(weights[:, order] * positive, starts, axis=1), axis=1)
        false = np.cumsum(np.add.reduceat(weights[:, order] * negative, starts, axis=1), axis=1)
        sick, well = hits[:, -1], false[:, -1]
        allowed = false <= (1 - specificity) * well[:, None] + 1e-9
        best = np.where(allowed, hits, 0.0).max(axis=1)
        return ratio(best * (well > 0), sick * (well > 0))

    return value


def specificity_at(scores: Floats, truth: Floats, sensitivity: float) -> Score:
    """Highest specificity that any threshold reaches with at least this sensitivity."""
    return sensitivity_at(-scores, 1 - truth, sensitivity)


def at_threshold(scores: Floats, truth: Floats, threshold: float | Floats, metric: str) -> Score:
    """A score of ``scores >= threshold``; NaN when one class is missing.

    Args:
        scores: (n,) higher means more likely.
        truth: (n,) 0 or 1; NaN leaves the sample out.
        threshold: One, or one a sample.
        metric: A name in `AT_THRESHOLD`.
    """
    cells = _confusion(scores, truth, threshold)
    parts = AT_THRESHOLD[metric]

    def value(weights: Floats) -> Floats:
        table = weights @ cells  # (R, 4)
        both = ((table[:, 0] + table[:, 2]) > 0) & ((table[:, 1] + table[:, 3]) > 0)
        above, below = table @ np.array(parts[0], float), table @ np.array(parts[1], float)
        return ratio(above * both, below * both)

    return value


AT_THRESHOLD: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {
    "f1": ((2, 0, 0, 0), (2, 1, 1, 0)),
    "accuracy": ((1, 0, 0, 1), (1, 1, 1, 1)),
    "sensitivity": ((1, 0, 0, 0), (1, 0, 1, 0)),
    "specificity": ((0, 0, 0, 1), (0, 1, 0, 1)),
    "precision": ((1, 0, 0, 0), (1, 1, 0, 0)),
}
"""Score: what stands above and below the line, of true and false positives, false and true negatives."""


def f1(scores: Floats, truth: Floats, threshold: float) -> Score:
    """F1 of ``scores >= threshold``; NaN when one class is missing."""
    return at_threshold(scores, truth, threshold, "f1")


def accuracy(scores: Floats, truth: Floats, threshold: float) -> Score:
    """Share of samples on the right side of ``threshold``; NaN when one class is missing."""
    return at_threshold(scores, truth, threshold, "accuracy")


def confusion(scores: Floats, truth: Floats, threshold: float) -> tuple[int, int, int, int]:
    """Count true positives, false positives, false negatives and true negatives."""
    tp, fp, fn, tn = _confusion(scores, truth, threshold).sum(axis=0).astype(int).tolist()
    return tp, fp, fn, tn


def best_threshold(scores: Floats, truth: Floats) -> float:
    """Threshold with the highest F1; fit it on the validation split only.

    Returns:
        Midway between two neighbouring scores, the smallest one among ties; 0.5 when one
        class is missing.
    """
    known = ~np.isnan(truth)
    scores, truth = scores[known], truth[known]
    if len(np.unique(truth)) < 2:
        return 0.5
    levels, group = np.unique(scores, return_inverse=True)
    hits = np.bincount(group, weights=truth)[::-1].cumsum()[::-1]  # positives at or above a level
    said = np.bincount(group)[::-1].cumsum()[::-1]
    best = int(np.argmax(2 * hits / (said + truth.sum())))
    return float(levels[0] if best == 0 else (levels[best - 1] + levels[best]) / 2)


def why_not(truth: Floats, where: str = "split") -> str:
    """Say in words why a label cannot be scored: no known value, or one value only; "" where it can.

    Args:
        truth: (n,) 0 or 1; NaN unknown.
        where: What the n samples are.
    """
    known = truth[~np.isnan(truth)]
    if not len(known):
        return f"no known value in this {where}"
    return f"every known value in this {where} is {int(known[0])}" if len(np.unique(known)) < 2 else ""


def _ranked(scores: Floats, truth: Floats) -> tuple[Any, Any, Floats, Floats]:
    """Order of the known samples by score, starts of the groups of ties, and both classes."""
    known = np.flatnonzero(~np.isnan(truth))
    order = known[np.argsort(scores[known], kind="stable")]
    ordered = scores[order]
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]]) if len(order) else order
    return order, starts, (truth[order] == 1).astype(np.float64), (truth[order] == 0).astype(np.float64)


def _confusion(scores: Floats, truth: Floats, threshold: float | Floats) -> Floats:
    """(n, 4): one-hot true positive, false positive, false negative, true negative."""
    said = scores >= threshold
    sick, well = truth == 1, truth == 0
    return np.stack([said & sick, said & well, ~said & sick, ~said & well], axis=1).astype(np.float64)
