"""Cheap numbers of a picture, to compare pictures by where no encoder is at hand.

They see how a radiograph is framed, where it is bright and dark on a scale of some centimetres,
how its two sides differ, how much fine texture there is where, and which way edges run. They do
not see what a disease is: a nodule of a centimetre, a fine pneumothorax or a tube move them less
than the patient's build, and a marker or a shutter moves them more.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from xraytk.data.glance import glance

VERSION = 1
"""Of the numbers: those of another version are not mixed with these."""

_SIDE = 128
_POOLED, _CELLS, _TURNS = 16, 8, 6
GROUPS = {
    "picture": _POOLED * _POOLED,  # mean rank of each cell
    "sides": _CELLS * _CELLS // 2,  # how far each cell is from its mirror image
    "texture": 2 * _CELLS * _CELLS,  # log energy of two bands in each cell
    "edges": 16 * _TURNS,  # share of each direction in 4 x 4 cells
}
"""Name and count of the numbers, in order."""
WIDTH = sum(GROUPS.values())


def describe(
    pixels: NDArray[Any], field: tuple[int, int, int, int] | None = None
) -> NDArray[np.float32] | None:
    """Describe a picture by `WIDTH` numbers.

    Args:
        pixels: (H, W) uint8 or uint16 grey.
        field: (x0, y0, x1, y1) in pixels, the part that was exposed; None for all.

    Returns:
        (WIDTH,) float32; None for a picture with nothing in it.

    Source:
        Ours. Ranks instead of greys, as in `lookalike`, so that the window hardly counts; edges
        after HOG (Dalal and Triggs 2005), in coarse cells.
    """
    if field is not None and field[2] - field[0] >= 16 and field[3] - field[1] >= 16:
        pixels = pixels[field[1] : field[3], field[0] : field[2]]
    small = glance(pixels)
    way = cv2.INTER_AREA if min(small.shape) >= _SIDE else cv2.INTER_LINEAR
    square = cv2.resize(small, (_SIDE, _SIDE), interpolation=way).astype(np.int64)
    counts = np.bincount(square.ravel())
    if counts.max() > 0.98 * square.size:
        return None
    ranks = ((np.cumsum(counts) - counts / 2) / square.size).astype(np.float32)[square]
    cells = _pooled(ranks, _CELLS)
    sides = np.abs(cells - cells[:, ::-1])[:, : _CELLS // 2]
    parts = (
        _pooled(ranks, _POOLED),
        sides,
        _texture(ranks),
        _edges(ranks),
    )
    return np.concatenate([np.ravel(part) for part in parts]).astype(np.float32)


def _pooled(image: NDArray[Any], cells: int) -> NDArray[np.float32]:
    return np.asarray(cv2.resize(image, (cells, cells), interpolation=cv2.INTER_AREA), np.float32)


def _texture(ranks: NDArray[np.float32]) -> NDArray[np.float32]:
    """Log energy of two bands, by cell."""
    fine, middle, coarse = (cv2.GaussianBlur(ranks, (0, 0), s) if s else ranks for s in (0, 1.5, 4.0))
    bands = (fine - middle, middle - coarse)
    return np.stack([np.log(_pooled(band * band, _CELLS) + 1e-5) for band in bands])


def _edges(ranks: NDArray[np.float32]) -> NDArray[np.float32]:
    """Share of each direction among the edges of 4 x 4 cells."""
    smooth = cv2.GaussianBlur(ranks, (0, 0), 1.0)
    x, y = (cv2.Sobel(smooth, cv2.CV_32F, *way) for way in ((1, 0), (0, 1)))
    strength = np.hypot(x, y)
    turn = (np.mod(np.arctan2(y, x), np.pi) * (_TURNS / np.pi)).astype(np.int64) % _TURNS
    found = np.stack([_pooled(np.where(turn == t, strength, 0), 4) for t in range(_TURNS)])
    return np.asarray(found / (found.sum(0) + 1e-3), np.float32)
