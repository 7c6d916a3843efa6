"""Contours and boxes on their way from the stored image into the frame, and back.

They take the way of the pixels: the map of `data.augment.affine`, of the same draw. A mirrored
image has its sides' names swapped too, as its report has.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from xraytk.config import Pixels, rows_cols
from xraytk.data import augment, sides
from xraytk.data.augment import Fit
from xraytk.records import Box, Outlines

SEEN = 0.25
"""Share of a box that must lie in the frame; of less, nobody could tell what it was."""
_FINE = 16  # of a pixel, as cv2 takes fixed-point coordinates
_MOST = 1 << 14


def moved_outlines(
    polygons: Iterable[Mapping[str, Any]], matrix: NDArray[np.float64], *, flip: bool = False
) -> Outlines:
    """Move contours from an image into the frame.

    Args:
        polygons: Each with "name", and lists "x" and "y" in the image's pixels.
        matrix: From `augment.affine`.
        flip: Whether the draw mirrors.

    Returns:
        Those of three points or more, by name.
    """
    made: Outlines = {}
    for polygon in polygons:
        points = np.stack([np.asarray(polygon[axis], np.float64) for axis in "xy"], axis=1)
        if len(points) >= 3:
            name = sides.swapped(polygon["name"]) if flip else polygon["name"]
            made.setdefault(name, []).append(points @ matrix[:, :2].T + matrix[:, 2])
    return made


def moved_boxes(
    boxes: Iterable[Sequence[Any]], matrix: NDArray[np.float64], size: Pixels, *, flip: bool = False
) -> list[Box]:
    """Move boxes from an image into the frame.

    Args:
        boxes: Each (label, x0, y0, x1, y1), edges in the image's pixels.
        matrix: From `augment.affine`.
        size: Of the frame, in pixels.
        flip: Whether the draw mirrors.

    Returns:
        The upright boxes around the moved ones, cut at the frame's edges; those of which less than
        `SEEN` lies in it are left out.
    """
    rows, cols = rows_cols(size)
    made = []
    for label, x0, y0, x1, y1 in boxes:
        low, high = _moved_edges((x0, y0, x1, y1), matrix)
        inside_low, inside_high = np.clip(low, 0, (cols, rows)), np.clip(high, 0, (cols, rows))
        share = np.prod(inside_high - inside_low) / max(float(np.prod(high - low)), 1e-9)
        if share >= SEEN:
            name = sides.swapped(label) if flip else label
            made.append(Box(name, *map(float, (*inside_low, *inside_high))))
    return made


def _moved_edges(
    edges: Sequence[float], matrix: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Lowest and highest corner, as edges; the matrix maps pixel centres, half a pixel off."""
    x0, y0, x1, y1 = edges
    corners = np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]], np.float64) - 0.5
    moved = corners @ matrix[:, :2].T + matrix[:, 2] + 0.5
    return moved.min(0), moved.max(0)


def back_to_image(shape: tuple[int, int], size: Pixels, fit: Fit) -> NDArray[np.float64]:
    """Map from the frame's pixel coordinates to the image's, where nothing was drawn.

    Args:
        shape: Height and width of the image.
        size: Of the frame.
        fit: How the image lies in it.

    Returns:
        (2, 3), the inverse of `augment.affine`.
    """
    return np.asarray(cv2.invertAffineTransform(augment.affine(*shape, size, fit)), np.float64)


def boxes_back(boxes: Iterable[Box], shape: tuple[int, int], size: Pixels, fit: Fit) -> list[Box]:
    """Move boxes from the frame to the image, cut at its edges; what lies on padding goes."""
    matrix, made = back_to_image(shape, size, fit), []
    for box in boxes:
        low, high = _moved_edges(box[1:], matrix)
        low, high = np.clip(low, 0, shape[::-1]), np.clip(high, 0, shape[::-1])
        if (high > low).all():
            made.append(Box(box.label, *map(float, (*low, *high))))
    return made


def outlines_back(outlines: Outlines, shape: tuple[int, int], size: Pixels, fit: Fit) -> Outlines:
    """Move contours from the frame to the image."""
    matrix = back_to_image(shape, size, fit)
    return {name: [p @ matrix[:, :2].T + matrix[:, 2] for p in parts] for name, parts in outlines.items()}


def map_back(values: NDArray[np.float32], shape: tuple[int, int], size: Pixels, fit: Fit) -> NDArray[Any]:
    """Resample a coarse map over the frame at every pixel of the image.

    Args:
        values: (h, w), spread over the whole frame.
        shape: Height and width of the image.
        size: Of the frame.
        fit: How the image lies in it.

    Returns:
        (H, W) float32 of the image, between the map's cells linear.
    """
    rows, cols = rows_cols(size)
    height, width = values.shape
    to_frame = augment.affine(*shape, size, fit)
    scale = np.array([width / cols, height / rows])
    matrix = to_frame * scale[:, None]
    matrix[:, 2] += 0.5 * scale - 0.5
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    out = cv2.warpAffine(values, matrix, shape[::-1], flags=flags, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(out, np.float32)


def filled(parts: Iterable[NDArray[np.float64]], height: int, width: int) -> NDArray[np.bool_]:
    """Fill contours; several are joined.

    Args:
        parts: Each (n, 2) points x, y in pixels.
        height: Of the mask.
        width: Of the mask.

    Returns:
        (H, W) bool.
    """
    mask = np.zeros((height, width), np.uint8)
    for points in parts:
        near = np.clip(points, -_MOST, _MOST)
        cv2.fillPoly(mask, [np.rint(near * _FINE).astype(np.int32)], 1, shift=4)
    return mask.astype(np.bool_)


def share_map(
    parts: Iterable[NDArray[np.float64]], size: Pixels, cells: tuple[int, int], fine: int = 4
) -> NDArray[np.float32]:
    """Share of each cell of a grid over the frame that lies inside contours.

    Args:
        parts: Each (n, 2) points in pixels of the frame.
        size: Of the frame.
        cells: Rows and columns of the grid.
        fine: Each cell is looked at in so many rows and columns.

    Returns:
        (rows, columns) float32 in [0, 1].
    """
    (height, width), (rows, cols) = rows_cols(size), cells
    scale = np.array([cols * fine / width, rows * fine / height])
    mask = filled([(p + 0.5) * scale - 0.5 for p in parts], rows * fine, cols * fine)
    return np.asarray(mask.reshape(rows, fine, cols, fine).mean((1, 3)), np.float32)
