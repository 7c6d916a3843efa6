"""Calibration: Brier score, expected calibration error, reliability, temperature scaling."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import expit, logit

from xraytk.tasks.metrics.values import Floats, Score, ratio

BINS = 15
LEAST, MOST = 0.05, 20.0
"""Range of the temperature."""
_LEAST, _MOST = float(np.finfo(np.float64).tiny), float(np.nextafter(1, 0))
"""Probabilities whose logits are taken: 0 and 1 have none."""


def brier(chances: Floats, truth: Floats) -> Score:
    """Mean squared distance of probability and truth.

    Args:
        chances: (n,) in [0, 1].
        truth: (n,) 0 or 1; NaN leaves the sample out.
    """
    known = (~np.isnan(truth)).astype(np.float64)
    squared = np.nan_to_num(chances - truth) ** 2

    def value(weights: Floats) -> Floats:
        return ratio(weights @ (squared * known), weights @ known)

    return value


def ece(chances: Floats, truth: Floats, bins: int = BINS) -> Score:
    """Expected calibration error: mean distance of probability and frequency over equal bins.

    Args:
        chances: (n,) probability of the label, in [0, 1].
        truth: (n,) 0 or 1; NaN leaves the sample out.
        bins: Of equal width.

    Source:
        Naeini 2015, for a binary label: the probability of the label itself, not of the
        predicted class.
    """
    known = (~np.isnan(truth)).astype(np.float64)
    apart = np.nan_to_num(chances - truth) * known
    place = _bin(chances, bins)[:, None] == np.arange(bins)

    def value(weights: Floats) -> Floats:
        return ratio(np.abs(weights @ (apart[:, None] * place)).sum(axis=1), weights @ known)

    return value


@dataclass(frozen=True, slots=True)
class Reliability:
    """What a reliability plot shows, one entry a bin that is not empty.

    Args:
        chance: Mean probability.
        share: Frequency of the label.
        count: Samples.
    """

    chance: Floats
    share: Floats
    count: NDArray[np.int64]


def reliability(chances: Floats, truth: Floats, bins: int = BINS) -> Reliability:
    """Mean probability and frequency in bins of equal width."""
    known = ~np.isnan(truth)
    place, truth, chances = _bin(chances[known], bins), truth[known], chances[known]
    count = np.bincount(place, minlength=bins)
    full = count > 0
    sums = [np.bincount(place, weights=x, minlength=bins)[full] / count[full] for x in (chances, truth)]
    return Reliability(sums[0], sums[1], count[full])


def fit_temperature(chances: Floats, truth: Floats) -> float:
    """Find the temperature with the highest likelihood; fit it on the validation split only.

    Args:
        chances: Probabilities of any shape.
        truth: 0 or 1 of the same shape; NaN leaves an entry out.

    Returns:
        Above 1 when the probabilities are too sure of themselves; 1 when nothing is known or one
        class is missing.

    Source:
        Guo 2017, for one logit a label; targets as in Platt 1999, (n + 1) / (n + 2) for n positive
        and 1 / (n + 2) for n negative entries, so that a few images that are all told apart do not
        make it sure.
    """
    known = ~np.isnan(truth)
    positive = truth[known] == 1
    yes, no = int(positive.sum()), int((~positive).sum())
    if not yes or not no:
        return 1.0
    logits = logit(np.clip(chances[known], _LEAST, _MOST))
    target = np.where(positive, (yes + 1) / (yes + 2), 1 / (no + 2))

    def loss(log_t: float) -> float:
        cool = logits / np.exp(log_t)
        return float((np.logaddexp(0, cool) - target * cool).mean())

    found = minimize_scalar(loss, bounds=(np.log(LEAST), np.log(MOST)), method="bounded")
    return float(np.exp(found.x))


def at_bound(temperature: float) -> bool:
    """Whether a fit ended at the end of its range, and says little."""
    return not LEAST * 1.01 < temperature < MOST * 0.99


def cool(chances: Floats, temperature: float) -> Floats:
    """Divide the logits of probabilities by a temperature."""
    if temperature == 1.0:
        return chances
    scaled = expit(logit(np.clip(chances, _LEAST, _MOST)) / temperature)
    return np.asarray(scaled, dtype=np.float64)


def _bin(chances: Floats, bins: int) -> NDArray[np.intp]:
    return np.clip((np.nan_to_num(chances) * bins).astype(np.intp), 0, bins - 1)
