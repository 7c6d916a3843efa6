"""Turning an image the way it is looked at, where the header says how it lies.

Patient Orientation names the directions of the rows and of the columns. A frontal image is
shown with the patient's left on the right (rows run to L) and the feet below (columns run to F).
Only what it states is undone; where it is absent, not one of the eight ways in which such an
image can lie, or at odds with the view, the pixels stay as they are. Nothing is ever mirrored
on a guess: letters burned into the image would lie.

Field of View Rotation and Field of View Horizontal Flip (DX Detector) tell how the stored image
was made from the detector's, so that defects can be found on it: "the rotation and flip have
been applied" to the stored pixels. They say nothing of how these are to be shown, and undoing
them would spoil upright images; they are left alone. Rotation and flip of a presentation state
belong to that other object, which is not read here.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset

from xraytk.data import header

TURNS = ("", "flip-h", "flip-v", "rot180", "transpose", "rot90", "rot270", "transverse")
"""What can be done; rot90 is clockwise, transpose swaps rows and columns, transverse the other
diagonal."""

_MOST_STRETCH = 4.0
_SQUARE = 0.01


def turn_of(ds: Dataset, view: str) -> str:
    """What is to be done so that the image lies as it is looked at, one of `TURNS`.

    A lateral image may face either way, so it is only rotated, never mirrored.

    Args:
        ds: Header.
        view: One of `records.VIEWS`.

    Source:
        DICOM PS3.3 C.7.6.1.1.1 (Patient Orientation), C.8.11.4 (DX Detector); the choice of
        what to do when it is odd is ours.
    """
    ways = header.text(ds, "PatientOrientation").upper().split("\\")
    if len(ways) != 2 or not all(way and set(way) <= set("LRAPHF") for way in ways):
        return ""
    row, column = ways[0][0], ways[1][0]
    across = column if row in "HF" else row
    along = row if row in "HF" else column
    if across in "HF" or along not in "HF":
        return ""
    if (view == "LATERAL" and across in "LR") or (view in ("PA", "AP") and across in "AP"):
        return ""
    swapped, upside = row in "HF", along == "H"
    mirrored = across == "R" if across in "LR" else upside != swapped
    if swapped:
        return {(0, 0): "transpose", (1, 0): "rot90", (0, 1): "rot270", (1, 1): "transverse"}[
            mirrored, upside
        ]
    return {(0, 0): "", (1, 0): "flip-h", (0, 1): "flip-v", (1, 1): "rot180"}[mirrored, upside]


def turn(pixels: NDArray[Any], how: str) -> NDArray[Any]:
    """Do one of `TURNS` to an image (H, W)."""
    if not how:
        return pixels
    if how == "transpose":
        return np.ascontiguousarray(pixels.T)
    if how == "transverse":
        return np.ascontiguousarray(pixels[::-1, ::-1].T)
    if how.startswith("flip"):
        return np.asarray(cv2.flip(pixels, 1 if how == "flip-h" else 0))
    ways = {
        "rot90": cv2.ROTATE_90_CLOCKWISE,
        "rot180": cv2.ROTATE_180,
        "rot270": cv2.ROTATE_90_COUNTERCLOCKWISE,
    }
    return np.asarray(cv2.rotate(pixels, ways[how]))


def swaps_sides(how: str) -> bool:
    """Whether rows become columns."""
    return how in ("transpose", "rot90", "rot270", "transverse")


def aspect_of(ds: Dataset, spacing_mm: tuple[float, float] | None) -> float:
    """Height of a pixel over its width; 1 when square within 1 %, unknown or absurd.

    Source:
        DICOM PS3.3 C.7.6.3.1.7 (Pixel Aspect Ratio, vertical first), for images without spacing.
    """
    try:
        tall, wide = spacing_mm or (float(v) for v in ds.get("PixelAspectRatio"))
        aspect = tall / wide
    except Exception:
        return 1.0
    return aspect if 1 / _MOST_STRETCH <= aspect <= _MOST_STRETCH and abs(aspect - 1) > _SQUARE else 1.0


def to_square(pixels: NDArray[Any], aspect: float, most: int) -> NDArray[Any]:
    """Resample to square pixels, so that shapes are what they are in the patient.

    The coarse direction is stretched to the spacing of the fine one: nothing is averaged away.

    Args:
        pixels: (H, W).
        aspect: Height of a pixel over its width.
        most: Pixels that the result may have; else the fine direction is shrunk.

    Source:
        Ours. Films read by scanners and old fluoroscopy have such pixels; what follows (shrinking,
        contours, models) knows no aspect ratio.
    """
    if aspect == 1:
        return pixels
    height, width = pixels.shape
    tall, wide = max(1.0, aspect), max(1.0, 1 / aspect)
    if height * tall * width * wide > most:
        tall, wide = tall / max(tall, wide), wide / max(tall, wide)
    size = (max(1, round(width * wide)), max(1, round(height * tall)))
    way = cv2.INTER_LINEAR if size[0] * size[1] >= pixels.size else cv2.INTER_AREA
    return np.asarray(cv2.resize(pixels, size, interpolation=way), pixels.dtype)


Edges = tuple[float, float, float, float]
_BACK = {**{turn: turn for turn in TURNS}, "rot90": "rot270", "rot270": "rot90"}


def to_upright(box: Edges, how: str, aspect: float, shape: tuple[int, int]) -> Edges:
    """Move a box from the stored pixels to the image that is looked at.

    Args:
        box: x0, y0, x1, y1 in stored pixels.
        how: What was done, one of `TURNS`.
        aspect: Height of a stored pixel over its width.
        shape: (H, W) of the image that is looked at.
    """
    tall, wide = max(1.0, aspect), max(1.0, 1 / aspect)
    x0, y0, x1, y1 = box
    height, width = shape[::-1] if swaps_sides(how) else shape
    return _turned((x0 * wide, y0 * tall, x1 * wide, y1 * tall), how, (height, width))


def to_stored(box: Edges, how: str, aspect: float, shape: tuple[int, int]) -> Edges:
    """Move a box from the image that is looked at to the stored pixels; inverse of `to_upright`."""
    tall, wide = max(1.0, aspect), max(1.0, 1 / aspect)
    x0, y0, x1, y1 = _turned(box, _BACK[how], shape)
    return x0 / wide, y0 / tall, x1 / wide, y1 / tall


def _turned(box: Edges, how: str, shape: tuple[int, int]) -> Edges:
    """A box of an image (H, W) after one of `TURNS`."""
    x0, y0, x1, y1 = box
    height, width = shape
    ways = {
        "": (x0, y0, x1, y1),
        "flip-h": (width - x1, y0, width - x0, y1),
        "flip-v": (x0, height - y1, x1, height - y0),
        "rot180": (width - x1, height - y1, width - x0, height - y0),
        "transpose": (y0, x0, y1, x1),
        "rot90": (height - y1, x0, height - y0, x1),
        "rot270": (y0, width - x1, y1, width - x0),
        "transverse": (height - y1, width - x1, height - y0, width - x0),
    }
    return ways[how]
