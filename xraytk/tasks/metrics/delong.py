"""DeLong's variance of AUROCs, with several images of a patient counted as one cluster.

scikit-learn and scipy have no interval or test for an AUROC.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr, ndtri
from scipy.stats import rankdata

from xraytk.tasks.metrics.values import NAN, Floats

Z = float(ndtri(0.975))


@dataclass(frozen=True, slots=True)
class Area:
    """An AUROC, or the difference of two, with its 95 % interval.

    Args:
        value: The area or difference.
        error: Standard error.
        low: Lower end; an area's is not below 0.
        high: Upper end; an area's is not above 1.
        p: Of the two-sided test that a difference is 0; NaN for an area.
    """

    value: float
    error: float
    low: float
    high: float
    p: float = NAN


def covariance(scores: Floats, truth: Floats, patients: Sequence[str]) -> tuple[Floats, Floats]:
    """AUROCs of one or several scores on the same samples, and their covariance.

    Args:
        scores: (k, n).
        truth: (n,) 0 or 1, both there, none unknown.
        patients: n patients; samples of one are not independent.

    Returns:
        (k,) and (k, k); the covariance is NaN with fewer than two patients of a class.

    Source:
        DeLong 1988 through midranks (Sun and Xu 2014); clusters after Obuchowski 1997, which is
        DeLong's when every patient has one sample.
    """
    sick, well = truth == 1, truth == 0
    m, n = int(sick.sum()), int(well.sum())
    every = rankdata(scores, axis=1)
    of_sick = (every[:, sick] - rankdata(scores[:, sick], axis=1)) / n  # share of the well below each
    of_well = 1 - (every[:, well] - rankdata(scores[:, well], axis=1)) / m
    areas = of_sick.mean(axis=1)
    names, index = np.unique(np.asarray(patients, dtype=np.str_), return_inverse=True)
    apart = []
    for values, part in ((of_sick, sick), (of_well, well)):
        place = index[part]
        excess = values - areas[:, None]
        apart.append(np.stack([np.bincount(place, weights=row, minlength=len(names)) for row in excess]))
    i_sick, i_well = len(np.unique(index[sick])), len(np.unique(index[well]))
    if min(i_sick, i_well) < 2:
        return areas, np.full((len(areas), len(areas)), np.nan)
    both = apart[0] @ apart[1].T * len(names) / (len(names) - 1)
    total = (
        apart[0] @ apart[0].T * i_sick / (i_sick - 1) / m**2
        + apart[1] @ apart[1].T * i_well / (i_well - 1) / n**2
        + (both + both.T) / (m * n)
    )
    return areas, total


def interval(scores: Floats, truth: Floats, patients: Sequence[str]) -> Area | None:
    """AUROC of one label with DeLong's interval; None when a class is missing.

    Args:
        scores: (n,).
        truth: (n,) 0, 1 or NaN.
        patients: n patients.
    """
    known = ~np.isnan(truth)
    if len(np.unique(truth[known])) < 2:
        return None
    people = np.asarray(patients, dtype=np.str_)[known]
    areas, spread = covariance(scores[None, known], truth[known], people.tolist())
    value, error = float(areas[0]), _root(float(spread[0, 0]))
    return Area(value, error, max(0.0, value - Z * error), min(1.0, value + Z * error))


def paired(a: Floats, b: Floats, truth: Floats, patients: Sequence[str]) -> Area | None:
    """Difference of the AUROCs of two scores on the same samples, with DeLong's test.

    Returns:
        ``a`` minus ``b``; None when a class is missing. When both rank alike, p is 1.
    """
    known = ~np.isnan(truth)
    if len(np.unique(truth[known])) < 2:
        return None
    people = np.asarray(patients, dtype=np.str_)[known]
    areas, spread = covariance(np.stack([a, b])[:, known], truth[known], people.tolist())
    apart = float(areas[0] - areas[1])
    error = _root(float(spread[0, 0] + spread[1, 1] - 2 * spread[0, 1]))
    p = 1.0 if apart == 0 else 2 * float(ndtr(-abs(apart) / error)) if error > 0 else NAN
    return Area(apart, error, apart - Z * error, apart + Z * error, p)


def _root(variance: float) -> float:
    return math.sqrt(max(0.0, variance)) if not math.isnan(variance) else NAN
