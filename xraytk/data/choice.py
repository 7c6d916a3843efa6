"""Which points of a crowd to keep: the tail whole, the rest thinned prototype by prototype."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from xraytk.data import prototypes
from xraytk.data.prototypes import OUTLIER, PERIPHERY, TAIL, Points, Prototypes

KEPT = ("spread", "tail", "outlier-kept")
DROPPED = ("budget", "outlier")


@dataclass(frozen=True, slots=True)
class Choice:
    """What was chosen of N points.

    Args:
        found: Prototypes and zones.
        keep: (N,) bool.
        reason: (N,) one of `KEPT` or `DROPPED`.
    """

    found: Prototypes
    keep: NDArray[np.bool_]
    reason: NDArray[np.str_]


def choose(
    points: Points,
    total: int,
    *,
    trusted: NDArray[np.bool_],
    count: int = 32,
    seed: int = 0,
    threads: int = 1,
) -> Choice:
    """Choose points to keep.

    Args:
        points: (N, D), N at least 1.
        total: How many to keep. What lies in the tail is kept even when it is more.
        trusted: (N,) where an outlier is kept like the tail; elsewhere it is not.
        count: Of prototypes.
        seed: Of their start.
        threads: Changes nothing in what is chosen.

    Returns:
        The choice.

    Source:
        CheXficient: tail kept, the budget for what is nearer split by the root of the members of
        each prototype, chosen there by farthest points. There every outlier goes; here the
        caller says which.
    """
    found = prototypes.find_prototypes(points, count, seed)
    reason = np.full(len(points), "budget", "U12")
    reason[found.zone == TAIL] = "tail"
    reason[found.zone == OUTLIER] = np.where(trusted, "outlier-kept", "outlier")[found.zone == OUTLIER]
    kept = int(np.isin(reason, KEPT).sum())
    near = found.zone <= PERIPHERY
    members = np.bincount(found.nearest[near], minlength=len(found.centres))
    parts = prototypes.parts_of(max(0, total - kept), members)
    for number, part in enumerate(parts.tolist()):
        places = np.flatnonzero(near & (found.nearest == number))
        reason[places[prototypes.spread_out(points[places], part, threads=threads)]] = "spread"
    return Choice(found, np.isin(reason, KEPT), reason)
