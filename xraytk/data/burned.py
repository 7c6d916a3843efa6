"""Text that was burned into a radiograph: where it is, and how it is taken out.

What a line of text looks like is known to `textcells`; here its cells are joined to boxes, and
boxes are blanked. Radiographic markers (a lone letter such as L, R, 左, 右) are no text: they say
nothing about who the patient is, and laterality must stay readable.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from xraytk.data import textcells

Pixels = TypeVar("Pixels", NDArray[np.uint8], NDArray[np.uint16])

SURE, MAYBE = 0.6, 0.25
"""Chance of a cell that starts a box, and of one that continues it."""
LEAST_MASS = 1.8
"""Sum of the chances of a box's cells."""
MARGIN = 0.75  # of a cell, on each side


@dataclass(frozen=True, slots=True)
class TextBox:
    """A box that holds text.

    Args:
        x0: First column.
        y0: First row.
        x1: Column after the last.
        y1: Row after the last.
        confidence: In [0, 1].
    """

    x0: int
    y0: int
    x1: int
    y1: int
    confidence: float


def find_text(pixels: NDArray[Any]) -> list[TextBox]:
    """Boxes around all text in an image.

    Args:
        pixels: (H, W) uint8, or uint16 over 0..65535; air dark or bright. An image of more than
            1280 pixels on its long side is shrunk to that first; hand in one that is already
            shrunk where there is one, and `scaled` brings the boxes back.

    Returns:
        Boxes in pixels of the given image, from top to bottom; empty for an image without text.

    Source:
        Ours. Cells of stroke responses, a small classifier, connected components. No letters are
        read: what counts is that it could be read.
    """
    grey, scale = textcells.grey(pixels)
    if min(grey.shape) < 2 * textcells.CELL_PX or grey.min() == grey.max():
        return []
    found = []
    for level, image in enumerate(textcells.levels(grey)):
        chance = textcells.likelihood(textcells.describe(image), level)
        found += _boxes(chance, textcells.CELL_PX * 2**level)
    height, width = pixels.shape
    made = []
    for x0, y0, x1, y1, sure in _joined(found):
        box = [round(v / scale) for v in (x0, y0, x1, y1)]
        made.append(TextBox(max(box[0], 0), max(box[1], 0), min(box[2], width), min(box[3], height), sure))
    return sorted(made, key=lambda b: (b.y0, b.x0))


Found = tuple[float, float, float, float, float]


def _boxes(chance: NDArray[np.float32], side: int) -> list[Found]:
    """Boxes of one level, with a margin."""
    if not (chance > SURE).any():
        return []
    near = (chance > MAYBE).astype(np.uint8)
    near = np.asarray(cv2.morphologyEx(near, cv2.MORPH_CLOSE, np.ones((1, 3), np.uint8)), np.uint8)
    near |= np.asarray(cv2.morphologyEx(near, cv2.MORPH_CLOSE, np.ones((3, 1), np.uint8)), np.uint8)
    count, parts, stats, _ = cv2.connectedComponentsWithStats(near, connectivity=8)
    mass = np.bincount(parts.ravel(), weights=chance.ravel(), minlength=count)
    best = np.zeros(count)
    np.maximum.at(best, parts.ravel(), chance.ravel())
    made = []
    for i in range(1, count):
        if best[i] < SURE or mass[i] < LEAST_MASS:
            continue
        x, y, w, h, _ = (int(v) for v in stats[i])
        edges = (x - MARGIN, y - MARGIN, x + w + MARGIN, y + h + MARGIN)
        made.append((*(v * side for v in edges), float(best[i])))
    return made  # type: ignore[return-value]


def _joined(found: list[Found]) -> list[Found]:
    """Boxes that overlap become one."""
    rest, made = list(found), []
    while rest:
        box, grown = rest.pop(), True
        while grown:
            grown = False
            for other in list(rest):
                if box[0] < other[2] and other[0] < box[2] and box[1] < other[3] and other[1] < box[3]:
                    low = (min(a, b) for a, b in zip(box[:2], other[:2], strict=True))
                    high = (max(a, b) for a, b in zip(box[2:], other[2:], strict=True))
                    box = (*low, *high)  # type: ignore[assignment]
                    rest.remove(other)
                    grown = True
        made.append(box)
    return made


def blank(pixels: Pixels, boxes: list[TextBox]) -> Pixels:
    """A copy whose boxes hold one grey value each.

    Args:
        pixels: (H, W).
        boxes: In pixels of the image, from `find_text`.

    Returns:
        The image; each box filled with the median of the ring of pixels around it. One value, so
        that no letter can come back; that of the surroundings, so that neither a training run
        nor a reader takes the box for anatomy or air. Painting over with structure (inpainting)
        would invent anatomy.
    """
    out = pixels.copy()
    height, width = pixels.shape
    for box in boxes:
        ring = max(2, min(box.x1 - box.x0, box.y1 - box.y0) // 8)
        x0, y0 = max(box.x0 - ring, 0), max(box.y0 - ring, 0)
        around = pixels[y0 : min(box.y1 + ring, height), x0 : min(box.x1 + ring, width)]
        outside = np.ones(around.shape, bool)
        outside[box.y0 - y0 : box.y1 - y0, box.x0 - x0 : box.x1 - x0] = False
        values = around[outside]
        out[box.y0 : box.y1, box.x0 : box.x1] = np.sort(values)[values.size // 2] if values.size else 0
    return out
