"""Copies and near copies among the images of a manifest: which one stands for which others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Policy = Literal["patient", "all", "keep"]

_LONGEST = 4  # references in a row; ingest makes two: same pixels, then alike


@dataclass(frozen=True, slots=True)
class Twins:
    """What was found among N images.

    Args:
        stands: (N,) place of the image that is kept for each; its own where it is kept itself.
        across: Images left in whose (near) copy belongs to another patient.
    """

    stands: NDArray[np.int64]
    across: int


def heads(ids: Sequence[str], *columns: Sequence[str | None]) -> list[str]:
    """Where the references of a manifest lead.

    Args:
        ids: Of N images.
        columns: For each image one that it is a copy of, or None; the first one given counts.

    Returns:
        For each image the one at the end of its chain: itself when it is no copy.
    """
    first = {
        image_id: next((h for h in refers if h), image_id)
        for image_id, *refers in zip(ids, *columns, strict=True)
    }
    out = []
    for image_id in ids:
        here = image_id
        for _ in range(_LONGEST):
            here = first.get(here, here)
        out.append(here)
    return out


def find_twins(head: Sequence[str], patient: Sequence[str], rank: NDArray[np.int64], policy: Policy) -> Twins:
    """Choose one image of each set of copies.

    Args:
        head: For each of N images the name of its set, see `heads`.
        patient: Hashed patient of each.
        rank: (N,) the lowest of a set is kept.
        policy: "patient" only ever merges images of one patient: copies under two patients are
            counted and both left in, since one of the two may be filed wrongly, and which one
            nobody knows. "all" merges across patients too; "keep" merges nothing.

    Returns:
        Which stands for which.
    """
    sets = np.unique(np.asarray(head, str), return_inverse=True)[1]
    people = np.unique(np.asarray(patient, str), return_inverse=True)[1]
    own = sets if policy == "all" else sets * (people.max(initial=0) + 1) + people
    stands = np.arange(len(sets))
    if policy != "keep":
        order = np.lexsort((rank, own))
        starts = np.flatnonzero(np.diff(own[order], prepend=-1))
        stands[order] = np.repeat(order[starts], np.diff(np.append(starts, len(order))))
    pairs = np.unique(np.stack([sets, people]), axis=1)
    shared = np.bincount(pairs[0], minlength=sets.max(initial=0) + 1) > 1
    kept = stands == np.arange(len(sets))
    return Twins(stands, int((shared[sets] & kept).sum()) if policy != "all" else 0)
