"""Masks as lengths of runs, as COCO and CVAT write them.

Source:
    pycocotools `maskApi.c` (`rleToString`, `rleFrString`), COCO's data format; CVAT's XML
    annotation format 1.1. Written anew.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xraytk.data.outlines.outline import RefusedError, mask_shape


def mask_of(
    counts: Sequence[Any] | str | bytes, height: Any, width: Any, order: str = "F"
) -> NDArray[np.bool_]:
    """Unfold runs.

    Args:
        counts: Lengths of runs of background, inside, background, ...; or COCO's text of them.
        height: Of the mask.
        width: Of it.
        order: "F" for columns after columns (COCO), "C" for rows after rows (CVAT).

    Returns:
        (H, W) bool.

    Raises:
        RefusedError: If the runs do not add up to the size, or the size is impossible. Nothing of
            that size is made before.
    """
    shape = mask_shape(height, width)
    if isinstance(counts, str | bytes):
        counts = counts_of(counts)
    if len(counts) > shape[0] * shape[1] + 1:
        raise RefusedError("not-readable", "more runs than pixels")
    if not all(isinstance(n, int) and not isinstance(n, bool) and n >= 0 for n in counts):
        raise RefusedError("not-readable", "runs that are no lengths")
    if sum(counts) != shape[0] * shape[1]:
        raise RefusedError("another-size", "runs that do not fill the mask")
    lengths = np.array(counts, np.int64)
    inside = np.arange(len(lengths)) % 2 == 1
    return np.repeat(inside, lengths).reshape(shape, order="F" if order == "F" else "C")


def counts_of(text: str | bytes) -> list[int]:
    """Read COCO's text: five bits a letter, each run but the first three less the one two before.

    Raises:
        RefusedError: If it is cut short, or has other letters.
    """
    data = text.encode("ascii", "replace") if isinstance(text, str) else text
    counts: list[int] = []
    value = shift = 0
    for letter in data:
        bits = letter - 48
        if not 0 <= bits < 64 or shift > 35:
            raise RefusedError("not-readable", "a letter that is no run")
        value |= (bits & 0x1F) << shift
        shift += 5
        if not bits & 0x20:
            if bits & 0x10:
                value -= 1 << shift
            counts.append(value + counts[-2] if len(counts) > 2 else value)
            value = shift = 0
    if shift:
        raise RefusedError("not-readable", "runs that are cut short")
    return counts


def text_of(counts: Sequence[int]) -> str:
    """Write COCO's text of runs; inverse of `counts_of`."""
    letters = []
    for i, count in enumerate(counts):
        value = count - counts[i - 2] if i > 2 else count
        more = True
        while more:
            bits = value & 0x1F
            value >>= 5
            more = value != (-1 if bits & 0x10 else 0)
            letters.append(chr(48 + (bits | 0x20 if more else bits)))
    return "".join(letters)


def runs_of(mask: NDArray[np.bool_], order: str = "F") -> list[int]:
    """Fold a mask into runs; inverse of `mask_of`."""
    flat = mask.ravel(order="F" if order == "F" else "C")
    edges = np.flatnonzero(np.diff(flat.astype(np.int8))) + 1
    ends = [0, *edges.tolist(), flat.size]
    lengths = [b - a for a, b in itertools.pairwise(ends)]
    return [0, *lengths] if flat.size and flat[0] else lengths
