"""One or two images of each study: which comes first, and which beside it.

The first is frontal: PA before AP before UNKNOWN. The second is a lateral where there is one, else
PA, AP, UNKNOWN, OTHER in this order. Equal ones go by their ``image_id``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from xraytk.data.shard_index import ShardIndex
from xraytk.records import FRONTAL_VIEWS, VIEWS

SECONDS = ("LATERAL", *FRONTAL_VIEWS, "OTHER")
"""Views in the order in which they are taken for the second image."""


@dataclass(frozen=True, slots=True)
class Studies:
    """The studies of an index.

    Args:
        first: (S,) row of each study's first image, rising.
        second: (S,) row of its second one; -1 where there is none.
        without: Studies left out, as they have no frontal image.
    """

    first: NDArray[np.int64]
    second: NDArray[np.int64]
    without: int

    def __len__(self) -> int:
        return len(self.first)


def studies_of(index: ShardIndex) -> Studies:
    """Put the images of each study of an index together.

    Rows of different indexes never meet: of one that holds a single split, no pair crosses it.

    Args:
        index: Of one split.
    """
    _, study = np.unique(index.study, return_inverse=True)
    rows = np.arange(len(study))
    first = _best(study, rows, _rank(index, FRONTAL_VIEWS), index.image_id)
    left = rows[~np.isin(rows, first)]
    second = _best(study, left, _rank(index, SECONDS), index.image_id)
    beside = np.full(int(study.max(initial=-1)) + 1, -1, np.int64)
    beside[study[second]] = second
    first = np.sort(first)
    return Studies(first, beside[study[first]], len(beside) - len(first))


def _rank(index: ShardIndex, order: tuple[str, ...]) -> NDArray[np.int64]:
    """(n,) place of each row's view in an order; -1 for views that are not in it."""
    place = np.array([order.index(view) if view in order else -1 for view in VIEWS], np.int64)
    return place[index.view]


def _best(
    study: NDArray[np.int64], rows: NDArray[np.int64], rank: NDArray[np.int64], image_id: NDArray[np.bytes_]
) -> NDArray[np.int64]:
    """Of each study that has one the row of lowest rank, among some rows; those of rank -1 do not count."""
    rows = rows[rank[rows] >= 0]
    rows = rows[np.lexsort((image_id[rows], rank[rows], study[rows]))]
    return rows[np.unique(study[rows], return_index=True)[1]]
