"""Intervals by resampling patients: percentile, and bias-corrected and accelerated (BCa).

`scipy.stats.bootstrap` resamples one row a patient and stops at a draw in which a score does
not exist; here a patient has all its images, many scores share one draw, and such draws are
left out. Without them the intervals equal scipy's on the same draws (see the tests).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from xraytk.tasks.metrics.values import NAN, Floats, Score, Value

CHUNK = 64
"""Resamples worked on at a time: bounds memory to CHUNK * n numbers."""
JACKKNIFE = 1000
"""Groups left out one after the other for the acceleration, at most; each holds whole patients."""
LEVEL = 0.95


@dataclass(frozen=True, slots=True)
class Draws:
    """A score of the sample, of its resamples, and of the sample without each of its patients.

    Args:
        point: (m,).
        table: (R, m).
        without: (G, m).
        n: Samples.
        patients: Patients.
    """

    point: Floats
    table: Floats
    without: Floats
    n: int
    patients: int

    def values(self) -> list[Value]:
        """Every score with both intervals; none of a single patient, whose resamples are all the same."""
        out = []
        for m, point in enumerate(self.point):
            there = self.table[~np.isnan(self.table[:, m]), m]
            low, high = percentile(there) if self.patients > 1 else (NAN, NAN)
            bca_low, bca_high = bca(float(point), there, self.without[:, m])
            out.append(
                Value(
                    float(point) if not np.isnan(point) else NAN,
                    low,
                    high,
                    self.n,
                    self.patients,
                    bca_low=bca_low,
                    bca_high=bca_high,
                )
            )
        return out


def draw(score: Score, patients: Sequence[str], *, resamples: int, seed: int) -> Draws:
    """Compute a score on resamples of patients, each patient with all its samples.

    Args:
        score: From weights (R, n) to (R, m).
        patients: n patients.
        resamples: Number of draws; 0 for none.
        seed: Same seed, same draws.
    """
    names, index = np.unique(np.asarray(patients, dtype=np.str_), return_inverse=True)
    point = score(np.ones((1, len(index))))[0]
    table = np.empty((resamples, len(point)))
    rng = np.random.default_rng(seed)
    for begin in range(0, resamples, CHUNK):
        size = (min(CHUNK, resamples - begin), len(names))
        chosen = rng.integers(0, len(names), size)
        counts = np.stack([np.bincount(row, minlength=len(names)) for row in chosen])
        table[begin : begin + size[0]] = score(counts[:, index].astype(np.float64))
    without = _jackknife(score, index, len(names), seed) if resamples else np.empty((0, len(point)))
    return Draws(point, table, without, len(index), len(names))


def summarise(score: Score, patients: Sequence[str], *, resamples: int, seed: int) -> list[Value]:
    """Point value and intervals of one or several scores, over patients.

    Args:
        score: From weights (R, n) to (R, m).
        patients: n patients.
        resamples: Number of draws; 0 for no interval.
        seed: Same seed, same interval.

    Returns:
        m values; the intervals leave out draws in which the score does not exist.
    """
    return draw(score, patients, resamples=resamples, seed=seed).values()


def percentile(table: Floats) -> tuple[float, float]:
    """Percentile interval of resampled values; NaN when there is none."""
    if not len(table):
        return NAN, NAN
    tail = 100 * (1 - LEVEL) / 2
    low, high = np.percentile(table, [tail, 100 - tail])
    return float(low), float(high)


def bca(point: float, table: Floats, without: Floats) -> tuple[float, float]:
    """Bias-corrected and accelerated interval.

    Args:
        point: The score of the sample.
        table: (R,) of the resamples.
        without: (G,) of the sample without each group of patients.

    Returns:
        Both ends; NaN when the values do not vary, or a score without some patient does not exist.

    Source:
        Efron 1987; formulas as in `scipy.stats.bootstrap`.
    """
    if not len(table) or not len(without) or np.isnan(without).any() or np.isnan(point):
        return NAN, NAN
    below = ((table < point).mean() + (table <= point).mean()) / 2
    apart = without.mean() - without
    largest = np.abs(apart).max()
    if largest == 0 or not 0 < below < 1:
        return NAN, NAN
    apart = apart / largest  # the powers of tiny differences would be 0
    bias, acceleration = ndtri(below), (apart**3).sum() / (6 * (apart**2).sum() ** 1.5)
    z = bias + np.asarray([ndtri((1 - LEVEL) / 2), -ndtri((1 - LEVEL) / 2)])
    share = ndtr(bias + z / (1 - acceleration * z))
    low, high = np.percentile(table, 100 * share)
    return float(low), float(high)


def _jackknife(score: Score, index: NDArray[np.intp], patients: int, seed: int) -> Floats:
    """Scores without each patient, or without each of `JACKKNIFE` groups where there are more."""
    groups = min(patients, JACKKNIFE)
    if groups < 2:
        return np.empty((0, score(np.ones((1, len(index)))).shape[1]))
    place = np.arange(patients) % groups
    if groups < patients:
        place = np.random.default_rng(seed).permutation(place)
    of_sample = place[index]
    parts = []
    for begin in range(0, groups, CHUNK):
        left_out = np.arange(begin, min(begin + CHUNK, groups))
        parts.append(score((of_sample[None, :] != left_out[:, None]).astype(np.float64)))
    return np.concatenate(parts)
