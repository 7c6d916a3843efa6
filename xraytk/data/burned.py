"""Text that was burned into a radiograph: where it is, and how it is taken out.

What a line of text looks like is known to `textcells`; here its cells are joined to boxes, and
boxes are blanked. Radiographic markers (a lone letter such as L, R, 左, 右) are no text: they say
nothing about who the patient is, and laterality must stay readable.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, floor
from typing import Any, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from xraytk.data import textcells

Pixels = TypeVar("Pixels", NDArray[np.uint8], NDArray[np.uint16])

SURE, MAYBE = 0.9, 0.25
"""Chance of a cell that starts a box, and of one that continues it."""
LEAST_MASS = 3.0
"""Sum of the chances of a box's cells."""
MARGIN = 0.75  # of a cell, on each side
FULL = 0.45
"""Share of a box that is text, below which it is cut into smaller boxes."""
GRAIN = 4  # pixels; boxes end on multiples of it
LETTER_CELLS, LETTER_ASPECT = 3, 1.7
"""Largest extent, and longer over shorter extent, of a lone letter."""


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
        pixels: (H, W) uint8, or uint16 over 0..65535. An image of more than 1280 pixels on its
            long side is shrunk to that first; hand in one that is already shrunk where there is
            one, and `scaled` brings the boxes back. Letters of 5 pixels there are found: those of
            10 on an image of 2500.

    Returns:
        Boxes in pixels of the given image, from top to bottom; empty for an image without text.

    Source:
        Ours. Cells of stroke responses, a small classifier, connected components. No letters are
        read: what counts is that it could be read.
    """
    grey, _ = textcells.grey(pixels)
    if min(grey.shape) < 2 * textcells.CELL_PX or grey.min() == grey.max():
        return []
    height, width = pixels.shape
    rows, columns = (-(-n // GRAIN) for n in grey.shape)
    sure = np.zeros((rows, columns), np.float32)
    for level, image in enumerate(textcells.levels(grey)):
        side = textcells.CELL_PX * 2**level // GRAIN
        for (x0, y0, x1, y1), best in _pieces(textcells.likelihood(textcells.describe(image), level), image):
            left, top = (max(0, int((v - MARGIN) * side)) for v in (x0, y0))
            there = sure[top : round((y1 + MARGIN) * side), left : round((x1 + MARGIN) * side)]
            np.maximum(there, best, out=there)
    height, width = pixels.shape
    made = []
    for x0, y0, x1, y1 in _cover((sure > 0).astype(np.uint8)):
        edges = [v * GRAIN for v in (x0, y0, x1, y1)]
        best = float(sure[y0:y1, x0:x1].max())
        made.append(
            TextBox(edges[0], edges[1], min(edges[2], grey.shape[1]), min(edges[3], grey.shape[0]), best)
        )
    return sorted(scaled(made, grey.shape, (height, width)), key=lambda b: (b.y0, b.x0))


def scaled(boxes: list[TextBox], found: tuple[int, ...], wanted: tuple[int, ...]) -> list[TextBox]:
    """Boxes for the same image in another size, rounded outwards.

    Args:
        boxes: In pixels of the image that was searched.
        found: (H, W) of that image.
        wanted: (H, W) of the image to blank.
    """
    y, x = wanted[0] / found[0], wanted[1] / found[1]
    return [
        TextBox(
            floor(b.x0 * x), floor(b.y0 * y), min(ceil(b.x1 * x), wanted[1]), min(ceil(b.y1 * y), wanted[0]),
            b.confidence,
        )
        for b in boxes
    ]  # fmt: skip


Edges = tuple[int, int, int, int]


def _pieces(chance: NDArray[np.float32], image: NDArray[np.uint8]) -> list[tuple[Edges, float]]:
    """Boxes of one level in cells, and the highest chance in each.

    A box is cut where its cells leave most of it empty: text fills its box, wires do not.
    """
    if not (chance > SURE).any():
        return []
    near = (chance > MAYBE).astype(np.uint8)
    gaps = [cv2.morphologyEx(near, cv2.MORPH_CLOSE, np.ones(s, np.uint8)) for s in ((1, 3), (3, 1))]
    near = np.asarray(cv2.max(gaps[0], gaps[1]), np.uint8)
    count, parts, stats, _ = cv2.connectedComponentsWithStats(near, connectivity=8)
    mass = np.bincount(parts.ravel(), weights=chance.ravel(), minlength=count)
    best = np.zeros(count)
    np.maximum.at(best, parts.ravel().astype(np.intp), chance.ravel())
    made = []
    for i in range(1, count):
        x, y, w, h, area = (int(v) for v in stats[i])
        if best[i] < SURE or mass[i] < LEAST_MASS or _is_marker(image, (x, y, x + w, y + h)):
            continue
        whole = [(x, y, x + w, y + h)]
        part = (parts[y : y + h, x : x + w] == i).astype(np.uint8)
        cut = whole if area > FULL * w * h else [(a + x, b + y, c + x, d + y) for a, b, c, d in _runs(part)]
        made += [(edges, float(best[i])) for edges in cut]
    return made


def _is_marker(image: NDArray[np.uint8], cells: Edges) -> bool:
    """Whether all ink in and around some cells is one letter, or one letter in a circle."""
    x0, y0, x1, y1 = cells
    if max(x1 - x0, y1 - y0) > LETTER_CELLS + 1:
        return False
    c = textcells.CELL_PX
    part = image[max(0, (y0 - 1) * c) : (y1 + 1) * c, max(0, (x0 - 1) * c) : (x1 + 1) * c]
    size = np.ones((9, 9), np.uint8)
    ink = cv2.max(
        cv2.morphologyEx(part, cv2.MORPH_TOPHAT, size), cv2.morphologyEx(part, cv2.MORPH_BLACKHAT, size)
    )
    ys, xs = np.nonzero(ink > 0.5 * ink.max())
    wide, tall = int(np.ptp(xs)) + 1, int(np.ptp(ys)) + 1
    return max(wide, tall) <= LETTER_CELLS * c and max(wide, tall) < LETTER_ASPECT * min(wide, tall)


def _runs(mask: NDArray[np.uint8]) -> list[Edges]:
    """Boxes of one row each that cover a mask."""
    made = []
    for y, row in enumerate(mask):
        ends = np.flatnonzero(np.diff(np.r_[0, row, 0].astype(np.int8)))
        made += [(int(a), y, int(b), y + 1) for a, b in zip(ends[::2], ends[1::2], strict=True)]
    return made


def _cover(mask: NDArray[np.uint8]) -> list[Edges]:
    """Boxes around the connected parts of a mask; a part that leaves its box empty gives several."""
    count, parts, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    made = []
    for i in range(1, count):
        x, y, w, h, area = (int(v) for v in stats[i])
        boxes = [(0, 0, w, h)]
        if area < FULL * w * h:
            boxes = _stacked(_runs((parts[y : y + h, x : x + w] == i).astype(np.uint8)))
        made += [(a + x, b + y, c + x, d + y) for a, b, c, d in boxes]
    return made


def _stacked(runs: list[Edges]) -> list[Edges]:
    """Runs of equal ends that lie upon each other become one box."""
    done: list[Edges] = []
    for run in runs:
        above = [i for i, b in enumerate(done) if b[3] == run[1] and (b[0], b[2]) == (run[0], run[2])]
        if above:
            done[above[0]] = (run[0], done[above[0]][1], run[2], run[3])
        else:
            done.append(run)
    return done


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
