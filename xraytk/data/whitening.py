"""Points for comparing distances: every column of one size, few directions, none blown up.

Distances of raw numbers follow whichever column has the largest unit, and those of fully
whitened ones whichever direction is mostly noise. So columns are put on one scale, far values
drawn in, the strongest directions taken, and these evened out half way.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

SAMPLE = 50_000
"""Rows from which a whitening is learned, evenly over all: enough for a thousand columns."""

_FAR = 5.0  # spreads at which a value is drawn in
_CHUNK = 1 << 15

Matrix = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Whitening:
    """How rows of numbers become points.

    Args:
        middle: (D,) taken from each column.
        spread: (D,) by which each is then divided; infinite for a column that never changes.
        axes: (D, d) directions, the strongest first, with the factor of each.
        share: Of the variance that they hold.
    """

    middle: Matrix
    spread: Matrix
    axes: Matrix
    share: float

    def __call__(self, rows: NDArray[Any]) -> Matrix:
        """Turn (N, D) rows of finite numbers into (N, d) points."""
        out = np.empty((len(rows), self.axes.shape[1]), np.float32)
        with threadpool_limits(1):
            for at in range(0, len(rows), _CHUNK):
                part = _even(rows[at : at + _CHUNK], self.middle, self.spread)
                out[at : at + _CHUNK] = part @ self.axes
        return out


def learn_whitening(
    rows: NDArray[Any],
    *,
    most: int = 64,
    explained: float = 0.95,
    power: float = 0.5,
    groups: Sequence[int] = (),
) -> Whitening:
    """Learn a whitening from rows of numbers.

    Args:
        rows: (N, D), finite. More than `SAMPLE` are thinned evenly.
        most: Directions at most.
        explained: Share of the variance at which directions end, in (0, 1].
        power: Directions are divided by their spread to this power: 0 leaves them as they are
            (PCA), 1 makes all alike, so that the faintest counts as much as the strongest.
        groups: Counts of columns that belong together, which sum to D; each group gets the same
            weight as any other, however many columns it has. () for columns of equal weight.

    Returns:
        The whitening; distances of its points do not depend on units of the columns.

    Source:
        PCA whitening. Medians and quartiles instead of mean and deviation, and values drawn in at
        five spreads, so that a few broken images do not set the scale.
    """
    sample = np.asarray(rows[:: max(1, -(-len(rows) // SAMPLE))], np.float32)
    middle = np.median(sample, axis=0)
    low, high = np.percentile(sample, (25, 75), axis=0)
    least = 1e-6 * (1 + np.abs(middle))
    spread = (high - low) / 1.349  # that of a normal distribution
    spread = np.where(spread > least, spread, sample.std(0))  # more than half of it is one value
    spread = np.where(spread > least, spread, np.inf)  # constant: out
    weight = 1 / np.repeat(np.sqrt(groups), groups) if groups else np.ones(len(middle))
    even = _even(sample, middle, spread) * weight
    with threadpool_limits(1):
        values, vectors = np.linalg.eigh(np.atleast_2d(np.cov(even, rowvar=False, bias=True)))
    values, vectors = np.maximum(values[::-1], 0), vectors[:, ::-1]
    vectors = vectors * np.where(vectors[np.abs(vectors).argmax(0), np.arange(len(values))] < 0, -1, 1)
    reached = np.cumsum(values) / max(values.sum(), 1e-12)
    count = min(most, int(np.searchsorted(reached, explained)) + 1, int((values > 1e-9 * values[0]).sum()))
    count = max(count, 1)
    factors = np.maximum(values[:count], 1e-12) ** (-power / 2)
    axes = (weight[:, None] * vectors[:, :count] * factors).astype(np.float32)
    return Whitening(middle.astype(np.float32), spread.astype(np.float32), axes, float(reached[count - 1]))


def _even(rows: NDArray[Any], middle: NDArray[Any], spread: NDArray[Any]) -> Matrix:
    even = np.clip((np.asarray(rows, np.float32) - middle) / spread, -_FAR, _FAR)
    return np.asarray(even, np.float32)
