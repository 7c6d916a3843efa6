"""What every format's reader gives and every writer takes."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]  # (n, 2) x, y in pixels, whole numbers at pixel centres

MOST_PIXELS = 1 << 26
"""Of a mask; the largest radiographs have half of it."""
MOST_BYTES = 1 << 29
"""Of a file that is read whole."""

REASONS = {
    "empty": "no contour of a lung or a heart, or one without an area",
    "fewer-than-three-points": "a polygon of fewer than three different points",
    "outside-the-image": "a polygon leaves the image by more than a pixel; draw it within",
    "self-crossing": "two edges of a polygon cross; draw it again, or as a mask",
    "too-many-points": "a polygon with so many long edges that they cannot be compared; simplify it",
    "same-outline": "right and left lung are one and the same outline; draw both, or label it lungs",
    "lungs-overlap": "right and left lung cover one another by more than a fifth of the smaller one",
    "sides-swapped": "the right lung is on the image's right; right is the patient's",
    "another-size": "drawn on a picture that has neither the size of the image nor that of its source; "
    "draw on the image of the ingest folder",
    "cropped-image": "drawn on the source of an image that ingest cropped, and the cut is not known; "
    "draw on the image of the ingest folder, or ingest without --crop",
    "another-series": "the segmentation is of an instance that was not ingested, or the key is another",
    "unknown-image": "no ingested image has this id or name; names are found with the key of the ingest",
    "ambiguous-name": "several ingested images have this name; name the image_id, or more of the path",
    "unknown-label": "none of its labels names a lung or the heart; see --label-map",
    "not-readable": "not a whole file, or not a whole row, of a known format",
    "several-for-one-image": "a later contour of the same image was taken instead",
    "already-reviewed": "a person corrected this image in the review; that is kept",
}
"""Why a contour is refused, and what to do."""


class Ring(NamedTuple):
    """One closed outline with the label that its file gives it.

    Args:
        label: As it stands in the file; `labels.BOTH` where a file is of lungs and says no more.
        points: In pixels of the picture that it was drawn on.
        traced: Whether it was made from a mask, and so cannot cross itself.
    """

    label: str
    points: Points
    traced: bool = False


@dataclass(frozen=True, slots=True)
class Outline:
    """All that one row of a file says of one image.

    Args:
        names: Of the image, the likeliest first: an image_id, or a name of a file.
        rings: The outlines.
        width: Of the picture that they were drawn on; None where the file does not say.
        height: Of it.
        source: Name of the format.
        row: Place in the file, from 0.
        uid: SOP Instance UID of the image, for DICOM; "" for other formats.
        others: Labels of shapes that are no outlines.
    """

    names: tuple[str, ...] = field(repr=False)
    rings: tuple[Ring, ...] = field(repr=False)
    width: int | None
    height: int | None
    source: str
    row: int = 0
    uid: str = field(default="", repr=False)
    others: tuple[str, ...] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True)
class Refusal:
    """A row, or a whole file, that cannot be used.

    Args:
        reason: One of `REASONS`.
        detail: Numbers and fixed words only.
        names: As of an `Outline`.
        row: Place in the file, from 0; -1 for the file.
    """

    reason: str
    detail: str = ""
    names: tuple[str, ...] = field(default=(), repr=False)
    row: int = -1


class RefusedError(Exception):
    """Raised inside of a reader: this row cannot be used.

    Args:
        reason: One of `REASONS`.
        detail: Numbers and fixed words only.
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason, detail)
        self.reason, self.detail = reason, detail


BAD = (
    ArithmeticError, AttributeError, KeyError, IndexError, TypeError, ValueError, RecursionError, MemoryError,
)  # fmt: skip
"""What a row of the wrong shape raises; none of it is quoted."""


def refusal(error: BaseException, names: tuple[str, ...] = (), row: int = -1) -> Refusal:
    """The refusal of an error that came of a row."""
    if isinstance(error, RefusedError):
        return Refusal(error.reason, error.detail, names, row)
    return Refusal("not-readable", type(error).__name__, names, row)


def points_of(x: Iterable[Any], y: Iterable[Any], shift: float = -0.5) -> Points:
    """Points as an array.

    Args:
        x: To the right.
        y: Downwards, as many.
        shift: Added; -0.5 for the formats that put whole numbers at the edges of pixels.

    Raises:
        RefusedError: If they are not as many, or not finite.
    """
    across, down = np.array(list(x), np.float64), np.array(list(y), np.float64)
    if across.shape != down.shape or across.ndim != 1:
        raise RefusedError("not-readable", f"{across.size} x and {down.size} y")
    points = np.stack([across, down], 1) + shift
    if not np.isfinite(points).all():
        raise RefusedError("not-readable", "points that are no numbers")
    return points


def side_of(value: Any) -> int | None:
    """A width or height as it stands in a file; None where it says none.

    Raises:
        RefusedError: If it is not a whole number of pixels.
    """
    if value is None or value == "":
        return None
    number = float(value)
    if isinstance(value, bool) or not math.isfinite(number) or number != int(number) or number < 1:
        raise RefusedError("not-readable", "a side that is no number of pixels")
    return int(number)


def mask_shape(height: Any, width: Any) -> tuple[int, int]:
    """The shape of a mask, before anything is made of that shape.

    Raises:
        RefusedError: If it has no or too many pixels.
    """
    tall, wide = side_of(height), side_of(width)
    if tall is None or wide is None or tall * wide > MOST_PIXELS:
        raise RefusedError("not-readable", "a mask of an impossible size")
    return tall, wide
