"""Two systems on the same samples: difference with interval, permutation test, corrected p-values."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import false_discovery_control

from xraytk.tasks.metrics.bootstrap import CHUNK, draw
from xraytk.tasks.metrics.values import NAN, Floats, Score, Value

NOISE = 1e-9
"""Of adding in another order: differences this far apart count as the same."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One score of A and of B.

    Args:
        a: Score of A.
        b: Score of B.
        apart: A minus B with the interval of the paired bootstrap.
        p: Of the permutation test; NaN when a score does not exist.
        holm: ``p`` corrected over all tests together after Holm.
        fdr: ``p`` corrected after Benjamini and Hochberg.
        delong: p of DeLong's test, for an AUROC; else NaN.
    """

    a: Value
    b: Value
    apart: Value
    p: float
    holm: float = NAN
    fdr: float = NAN
    delong: float = NAN


def compare(
    score: Score,
    ranks: Score,
    patients: Sequence[str],
    *,
    resamples: int,
    seed: int,
    permutations: int | None = None,
) -> list[Difference]:
    """Compare A and B, whose samples stand one after the other.

    Args:
        score: From weights (R, 2n) to (R, m): the first n samples are those of A, the others
            the same images by B.
        ranks: The same for the test, in which samples of A and B are mixed: where a score
            depends on an order, of numbers that both have on one scale.
        patients: n patients; a resample draws them and a permutation swaps A and B for whole
            patients.
        resamples: Of the bootstrap.
        seed: Of both.
        permutations: Of the test; as many as resamples by default.

    Returns:
        m differences; p is (1 + permutations at least as far apart) / (1 + permutations).
    """
    n = len(patients)

    def three(weights: Floats) -> Floats:
        none = np.zeros_like(weights)
        a, b = score(np.concatenate([weights, none], axis=1)), score(np.concatenate([none, weights], axis=1))
        return np.concatenate([a, b, a - b], axis=1)

    values = draw(three, patients, resamples=resamples, seed=seed).values()
    m = len(values) // 3
    swaps = resamples if permutations is None else permutations
    chances = _permuted(ranks, patients, n, m, swaps, seed)
    out = []
    for i, p in enumerate(chances):
        a, b, apart = values[i], values[m + i], values[2 * m + i]
        out.append(Difference(a, b, apart, NAN if math.isnan(apart.value) else p))
    return out


def _permuted(
    score: Score, patients: Sequence[str], n: int, m: int, resamples: int, seed: int
) -> list[float]:
    """Chance of a difference this large when A and B are swapped for random patients."""
    if not resamples:
        return [NAN] * m
    names, index = np.unique(np.asarray(patients, dtype=np.str_), return_inverse=True)
    rng = np.random.default_rng([seed, 1])

    def apart(swapped: Floats) -> Floats:
        first = np.concatenate([1 - swapped, swapped], axis=1)
        return score(first) - score(1 - first)

    here = np.abs(apart(np.zeros((1, n)))[0])
    far, there = np.zeros(m), np.zeros(m)
    for begin in range(0, resamples, CHUNK):
        size = (min(CHUNK, resamples - begin), len(names))
        found = np.abs(apart((rng.random(size) < 0.5)[:, index].astype(np.float64)))
        exists = ~np.isnan(found)
        far += (exists & (np.nan_to_num(found) >= here * (1 - NOISE) - NOISE)).sum(axis=0)
        there += exists.sum(axis=0)
    return [
        float((1 + f) / (1 + t)) if t and not math.isnan(h) else NAN
        for f, t, h in zip(far, there, here, strict=True)
    ]


def holm(chances: Sequence[float]) -> list[float]:
    """Correct p-values after Holm 1979; NaN stays NaN and is no test."""
    p = np.asarray(chances, dtype=np.float64)
    out = np.full(len(p), np.nan)
    known = np.flatnonzero(~np.isnan(p))
    order = known[np.argsort(p[known], kind="stable")]
    factors = np.arange(len(order), 0, -1)
    out[order] = np.minimum(1.0, np.maximum.accumulate(p[order] * factors)) if len(order) else 0
    return [float(x) if not math.isnan(x) else NAN for x in out]


def benjamini_hochberg(chances: Sequence[float]) -> list[float]:
    """Correct p-values for the false discovery rate, by scipy; NaN stays NaN and is no test."""
    p = np.asarray(chances, dtype=np.float64)
    out = np.full(len(p), np.nan)
    known = ~np.isnan(p)
    if known.any():
        out[known] = false_discovery_control(p[known], method="bh")
    return [float(x) if not math.isnan(x) else NAN for x in out]
