"""Overlap of masks."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from xraytk.tasks.metrics.values import Floats, ratio


def dice(mask: NDArray[np.bool_], truth: NDArray[np.bool_]) -> float:
    """2 |A and B| / (|A| + |B|); 1 where both are empty."""
    total = int(mask.sum()) + int(truth.sum())
    return 2 * int((mask & truth).sum()) / total if total else 1.0


def iou(mask: NDArray[np.bool_], truth: NDArray[np.bool_]) -> float:
    """|A and B| / |A or B|; 1 where both are empty."""
    total = int((mask | truth).sum())
    return int((mask & truth).sum()) / total if total else 1.0


def ratios(above: Floats, below: Floats) -> Callable[[Floats], Floats]:
    """Sum of each column of one table over that of another, and the mean of these ratios.

    Args:
        above: (n, m).
        below: (n, m); of a mean over images 1 where an image has a value, else 0.

    Returns:
        A score: from weights (R, n) to (R, m + 1), the mean of the columns' last.
    """

    def score(weights: Floats) -> Floats:
        columns = ratio(weights @ above, weights @ below)  # (R, m)
        known = ~np.isnan(columns)
        total = np.where(known, columns, 0.0).sum(1)
        return np.concatenate([columns, ratio(total, known.sum(1).astype(np.float64))[:, None]], axis=1)

    return score


def mean(values: list[float]) -> float:
    """Mean of those that are no NaN; NaN without one."""
    there = [v for v in values if not math.isnan(v)]
    return sum(there) / len(there) if there else math.nan
