"""What a score is: a function of weights over samples, and a number with its interval.

Every score is a function of weights, so that one bootstrap serves all: a resample of patients
is a row of counts, a subgroup is a mask.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Score = Callable[[Floats], Floats]
"""From weights (R, n) to values (R,) or (R, m), NaN where a value does not exist."""

NAN = math.nan


@dataclass(frozen=True, slots=True)
class Value:
    """A score with its 95 % interval.

    Args:
        value: NaN when it does not exist; then ``reason`` says why.
        low: 2.5th percentile over resamples of patients; NaN without a bootstrap.
        high: 97.5th percentile.
        n: Samples it was computed on.
        patients: Patients they come from.
        reason: "" unless the value or the interval does not exist.
        bca_low: Lower end of the bias-corrected and accelerated interval; NaN where there is none.
        bca_high: Its upper end.
    """

    value: float
    low: float
    high: float
    n: int
    patients: int
    reason: str = ""
    bca_low: float = NAN
    bca_high: float = NAN

    def text(self, digits: int = 3) -> str:
        """Value and interval for a table; "-" when it does not exist."""
        if math.isnan(self.value):
            return "-"
        if math.isnan(self.low):
            return f"{self.value:.{digits}f}"
        return f"{self.value:.{digits}f} [{self.low:.{digits}f}, {self.high:.{digits}f}]"


def absent(reason: str, n: int = 0, patients: int | None = None) -> Value:
    """Make the value of a score that does not exist.

    Args:
        reason: Why not, in words.
        n: Samples there were.
        patients: Patients there were; ``n`` by default.
    """
    return Value(NAN, NAN, NAN, n, n if patients is None else patients, reason)


def ratio(above: Floats, below: Floats) -> Floats:
    """Divide; NaN where ``below`` is not above 0."""
    out: Floats = np.full(np.shape(above), np.nan)
    np.divide(above, below, out=out, where=below > 0)
    return out
