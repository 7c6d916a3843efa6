"""Lung contours: polygons of a net's answer or of a mask, filled masks, and shares per patch.

Two conventions of outlining: a whole lung includes what lies behind the heart, as in the V7
outlines; a clear lung leaves out what heart and mediastinum cover, as in those of JSRT, Montgomery
and Shenzhen. Masking takes whole lungs: that is where the chest's findings are, retrocardiac ones
too. Pixel coordinates have their integers at pixel centres. "right_lung" is the patient's, on the
image's left.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from xraytk.config import Pixels
from xraytk.data.augment import letterbox_box
from xraytk.errors import DataError

LUNGS = ("right_lung", "left_lung")
CLEAR = ("right_clear", "left_clear")

_TRACE_PX = 640  # long side on which a net's answer is traced

Polygon = dict[str, Any]
_SAME = np.ones(2)


def rasterise(polygons: Sequence[Mapping[str, Any]], height: int, width: int) -> NDArray[np.bool_]:
    """Fill polygons; several are joined, not subtracted.

    Args:
        polygons: Each with "x" and "y" lists in pixels; those under three points are left out.
        height: Of the mask.
        width: Of the mask.

    Returns:
        (H, W) bool, True inside any polygon.
    """
    mask = np.zeros((height, width), np.uint8)
    for polygon in polygons:
        points = np.stack([np.asarray(polygon["x"], np.float64), np.asarray(polygon["y"], np.float64)], 1)
        if len(points) >= 3:
            cv2.fillPoly(mask, [np.rint(points * 16).astype(np.int32)], 1, shift=4)
    return mask.astype(np.bool_)


def share_per_patch(mask: NDArray[np.bool_], patch_px: int) -> NDArray[np.float32]:
    """Share of each patch that lies inside the lung contour.

    Args:
        mask: (H, W) bool, True inside the lungs.
        patch_px: Side of a patch in pixels; divides H and W.

    Returns:
        (N,) float32 in [0, 1], row-major, N = H * W / patch_px**2.

    Raises:
        DataError: If patch_px does not divide H or W.

    Source:
        Paper, section III-B.
    """
    height, width = mask.shape
    if patch_px < 1 or height % patch_px or width % patch_px:
        raise DataError(
            f"a mask of {height} x {width} pixels cannot be cut into patches",
            f"found patches of {patch_px} pixels, wanted a side that divides both",
        )
    patches = mask.reshape(height // patch_px, patch_px, width // patch_px, patch_px)
    return np.asarray(patches.mean((1, 3)), np.float32).ravel()


def letterbox_polygons(
    polygons: Sequence[Mapping[str, Any]], height: int, width: int, size: Pixels
) -> list[Polygon]:
    """Move polygons from an image into the frame that it is letterboxed into.

    Args:
        polygons: In pixels of the image.
        height: Of the image.
        width: Of the image.
        size: Of the frame, in pixels.
    """
    top, left, new_height, new_width = letterbox_box(height, width, size)
    moved = []
    for polygon in polygons:
        x = (np.asarray(polygon["x"], np.float64) + 0.5) * (new_width / width) + left - 0.5
        y = (np.asarray(polygon["y"], np.float64) + 0.5) * (new_height / height) + top - 0.5
        moved.append({"name": polygon["name"], "x": x.tolist(), "y": y.tolist()})
    return moved


def share_grid(
    polygons: Sequence[Mapping[str, Any]], width: int, height: int, rows: int = 20, cols: int = 20
) -> NDArray[np.float32]:
    """Share of each cell of a grid over the letterboxed square that lies inside the contour.

    Args:
        polygons: In pixels of the image.
        width: Of the image.
        height: Of the image.
        rows: Of the grid.
        cols: Of the grid.

    Returns:
        (rows * cols,) float32 in [0, 1], row-major; padding counts as outside.
    """
    cell = 32 if max(rows, cols) <= 32 else 8
    side = cell * int(np.lcm(rows, cols))
    mask = rasterise(letterbox_polygons(polygons, height, width, side), side, side)
    cells = mask.reshape(rows, side // rows, cols, side // cols)
    return np.asarray(cells.mean((1, 3)), np.float32).ravel()


def trace(mask: NDArray[np.bool_], most_points: int = 200) -> list[Polygon]:
    """Outline the parts of a mask.

    Args:
        mask: (H, W) bool.
        most_points: Of one polygon; the tolerance grows until it holds.

    Returns:
        The two largest parts, named by their side of the image; one part is named by the
        half it lies in, and specks under a fiftieth of the largest are left out. Holes are
        filled. Filling the polygons gives the mask again but for the tolerance.
    """
    found, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    parts = sorted(found, key=lambda part: -float(cv2.contourArea(part)))
    largest = cv2.contourArea(parts[0]) if parts else 0.0
    parts = [part for part in parts[:2] if len(part) >= 3 and cv2.contourArea(part) >= largest / 50]
    parts.sort(key=lambda part: float(part[:, 0, 0].mean()))
    if len(parts) == 1:
        names = [LUNGS[int(parts[0][:, 0, 0].mean() >= mask.shape[1] / 2)]]
    else:
        names = list(LUNGS[: len(parts)])
    return [_simplify(name, part, most_points) for name, part in zip(names, parts, strict=True)]


def _simplify(name: str, part: NDArray[Any], most_points: int, scale: NDArray[np.float64] = _SAME) -> Polygon:
    tolerance = 0.5
    points = cv2.approxPolyDP(part, tolerance, True)
    while len(points) > most_points:
        tolerance *= 1.4
        points = cv2.approxPolyDP(part, tolerance, True)
    placed = ((points[:, 0] + 0.5) * scale - 0.5).round(1)
    return {"name": name, "x": placed[:, 0].tolist(), "y": placed[:, 1].tolist()}


def from_chances(
    chances: NDArray[np.float32], place: tuple[int, int, int, int], height: int, width: int
) -> tuple[list[Polygon], list[Polygon]]:
    """Outline what a net holds for lungs.

    Args:
        chances: (4, S, S) in [0, 1]: right and left whole, right and left clear lung.
        place: Where the image lies in the square: top, left, height, width.
        height: Of the image, in pixels.
        width: Of the image.

    Returns:
        Whole lungs and clear lungs, in pixels of the image, at most two each: the largest part
        that is more likely this lung than not, and than the other; holes filled. A lung smaller
        than a twentieth of the other one is left out.
    """
    top, left, tall, wide = place
    scale = _TRACE_PX / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    part = np.ascontiguousarray(chances[:, top : top + tall, left : left + wide].transpose(1, 2, 0))
    large = cv2.resize(part, size, interpolation=cv2.INTER_LINEAR)  # (h, w, 4)
    back = np.array([width / size[0], height / size[1]])
    both = []
    for first, names in ((0, LUNGS), (2, CLEAR)):
        right, left_lung = large[..., first], large[..., first + 1]
        masks = [(right > 0.5) & (right >= left_lung), (left_lung > 0.5) & (left_lung > right)]
        outlines = [_largest(mask) for mask in masks]
        areas = [0.0 if o is None else float(cv2.contourArea(o)) for o in outlines]
        both.append(
            [
                _simplify(name, outline, 200, back)
                for name, outline, area in zip(names, outlines, areas, strict=True)
                if outline is not None and area > max(areas) / 20
            ]
        )
    return both[0], both[1]


def _largest(mask: NDArray[np.bool_]) -> NDArray[Any] | None:
    """Outline of the largest part of a mask."""
    found, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    found = [part for part in found if len(part) >= 3]
    return max(found, key=cv2.contourArea) if found else None
