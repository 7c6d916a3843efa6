"""The exposed field of a radiograph: what lies within shutters, film frames and digitiser borders.

A border is calm (no picture in it), and ends at one long straight edge. Both are asked for, so
what lies outside the field that is found holds no anatomy, and a body's own outline (curved) or
the air beside it (no straight edge) is left alone.

Source: ours. Shutters, DICOM PS3.3 C.7.6.11, and collimators, C.8.7.3, are named in few headers,
and in none of a scanned film.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from xraytk.data.glance import glance

Map = NDArray[np.float32]
Mask = NDArray[np.bool_]

SIDE = 192  # long side of the copy that is looked at
PASSES = 3  # a white border, a black frame within it, a shutter within that
CALM = 0.035  # step between neighbours, of the grey range, that is still no edge
STEP = 0.07  # least step of the grey range at the edge of a border
SPREAD = 0.16  # most spread of grey within a border
SLOPES = np.tan(np.deg2rad(np.linspace(-6, 6, 25)))
LONG, TURNED_LONG = 0.60, 0.78  # least share of a side's rows on the line, upright and turned
UPRIGHT = np.tan(np.deg2rad(1.1))  # arms and flanks are straight too, but seldom upright
BROKEN = 0.10  # most share of its rows that end before the line: letters, scratches
DEEPEST = 0.45  # of the image, that one border may take
LETTER, LINE = 0.10, 0.35  # of the copy: largest height and length of a piece of writing
THINNEST = 1.5  # pixels of the copy


@dataclass(frozen=True, slots=True)
class Field:
    """The exposed field of an image.

    Args:
        x0: Left end of the upright box around the field, in pixels.
        y0: Top.
        x1: One past the right end.
        y1: One past the bottom.
        confidence: Share of the border's length in which its edge is seen, 0 to 1.
        corners: The field itself, (x, y) clockwise from the upper left; a border may be turned
            by up to 6 degrees.
        sides: Which sides have a border: letters of "ltrb".
    """

    x0: int
    y0: int
    x1: int
    y1: int
    confidence: float
    corners: tuple[tuple[float, float], ...]
    sides: str


@dataclass(slots=True)
class _Line:
    """A border's edge: ``offset + slope * (along - middle)`` pixels from its side of the image."""

    offset: float = 0.0
    slope: float = 0.0
    seen: float = 0.0


def find_field(pixels: NDArray[Any], shape: tuple[int, ...] = ()) -> Field | None:
    """Find the exposed field.

    Args:
        pixels: (H, W) uint8 or uint16 grey, air dark; or its `glance`.
        shape: (H, W) of the image itself, when its glance is given.

    Returns:
        The field, in pixels of the image; None when the whole image is exposed, or no border is
        sure.
    """
    if min(pixels.shape) < 32:
        return None
    small = _shrink(pixels)
    lines = [_Line() for _ in range(4)]  # left, top, right, bottom
    for _ in range(PASSES):
        outside = _outside(lines, small.shape)
        calm_x, calm_y = _calm(small, outside)
        writing = _writing(~(calm_x & calm_y))
        found = False
        for side in range(4):
            calm = calm_y if side % 2 else calm_x
            for more in (outside, outside | writing) if writing.any() else (outside,):
                image, still, beyond = (_turn(m, side) for m in (small, calm | more, more))
                line = _edge_of(image, still, beyond, lines[side].offset)
                if line is not None:
                    lines[side], found = line, True
                    break
        if not found:
            break
    if not any(line.seen for line in lines):
        return None
    return _field(lines, small.shape, shape or pixels.shape)


def crop(pixels: NDArray[Any], field: Field | None) -> NDArray[Any]:
    """The upright box around the field, a view; the whole image when there is no border."""
    return pixels if field is None else pixels[field.y0 : field.y1, field.x0 : field.x1]


def _shrink(pixels: NDArray[Any]) -> Map:
    """A copy of 192 pixels on its long side, its 1st to 99.5th percentile as 0 to 1."""
    scale = SIDE / max(pixels.shape)
    size = (max(8, round(pixels.shape[1] * scale)), max(8, round(pixels.shape[0] * scale)))
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    small = cv2.resize(glance(pixels), size, interpolation=how).astype(np.float32)
    low, high = np.percentile(small, [1, 99.5])
    return np.asarray((small - low) / max(float(high - low), 1e-6), np.float32)


def _calm(small: Map, outside: Mask) -> tuple[Mask, Mask]:
    """Whether there is no edge between a pixel and the next, to the right and downwards."""
    limit = np.float32(CALM)
    calm_x, calm_y = np.ones(small.shape, bool), np.ones(small.shape, bool)
    calm_x[:, :-1] = np.abs(np.diff(small, axis=1)) < limit
    calm_y[:-1] = np.abs(np.diff(small, axis=0)) < limit
    return calm_x | outside, calm_y | outside


def _writing(edges: Mask) -> Mask:
    """Small islands of edges, as letters and stamps are in a border; a border's edge is longer."""
    joined = cv2.dilate(edges.astype(np.uint8), np.ones((3, 3), np.uint8))
    _, parts, stats, _ = cv2.connectedComponentsWithStats(joined)
    width, height = stats[:, cv2.CC_STAT_WIDTH], stats[:, cv2.CC_STAT_HEIGHT]
    thin, long = np.minimum(width, height), np.maximum(width, height)
    small = (thin < LETTER * SIDE) & (long < LINE * SIDE)
    small[0] = False
    return np.asarray(small[parts])


def _turn(image: NDArray[Any], side: int) -> NDArray[Any]:
    """The image with the side (left, top, right, bottom) on its left."""
    turned = image.T if side % 2 else image
    return turned[:, ::-1] if side >= 2 else turned


def _edge_of(image: Map, calm: Mask, outside: Mask, known: float) -> _Line | None:
    """The straight edge of a border on the left, farther in than what is known."""
    height, width = image.shape
    run = np.where(calm.all(1), width, np.argmin(calm, 1) + 1).astype(np.float64)
    rows = np.flatnonzero((run < 0.9 * width) & ~outside[:, width // 2])
    if len(rows) < 0.3 * height:
        return None
    middle = (height - 1) / 2
    line = _fit(run[rows], rows - middle, DEEPEST * width)
    if line is None or line.offset < known + THINNEST:
        return None
    at = line.offset + line.slope * (rows - middle)
    on = np.abs(run[rows] - at) <= 1.5
    if not _is_border(image, outside, rows, at, on):
        return None
    return line


def _fit(run: NDArray[np.float64], along: NDArray[np.float64], deepest: float) -> _Line | None:
    """The line that most runs end on and few end before; runs beyond it go on in dark air."""
    bins = int(deepest) + 4
    rest = run[None] - SLOPES[:, None] * along[None]
    cell = np.clip(np.rint(rest).astype(np.int64) + 1, 0, bins - 1) + bins * np.arange(len(SLOPES))[:, None]
    counts = np.bincount(cell.ravel(), minlength=bins * len(SLOPES)).reshape(len(SLOPES), bins)
    counts[:, -1] = 0
    on = counts.copy()
    on[:, 1:] += counts[:, :-1]
    on[:, :-1] += counts[:, 1:]
    before = np.cumsum(counts, 1) - counts
    before[:, 1:] -= counts[:, :-1]
    score = (on - 2.0 * before - 0.02 * np.abs(SLOPES)[:, None] * len(run)) / len(run)
    score[:, :2] = -1
    which, bin_ = np.unravel_index(int(score.argmax()), score.shape)
    share, broken = on[which, bin_] / len(run), before[which, bin_] / len(run)
    if share < (LONG if abs(SLOPES[which]) < UPRIGHT else TURNED_LONG) or broken > BROKEN:
        return None
    hit = np.abs(rest[which] - (bin_ - 1)) <= 1.5
    return _Line(float(rest[which][hit].mean()), float(SLOPES[which]), float(share))


def _is_border(image: Map, outside: Mask, rows: NDArray[Any], at: NDArray[np.float64], on: Mask) -> bool:
    """A step at the edge, and little of a picture before it."""
    width = image.shape[1]
    edge = np.rint(at).astype(np.int64)[on]
    row = rows[on]
    within = image[row, np.clip(edge + 1, 0, width - 1)]
    without = image[row, np.clip(edge - 2, 0, width - 1)]
    step = within - without
    same = max(float((step > STEP).mean()), float((step < -STEP).mean()))
    strip = (np.arange(width)[None] < at[:, None] - 1) & ~outside[rows]
    grey = image[rows][strip]
    if grey.size == 0:
        return False
    low, high = np.percentile(grey, [5, 95])
    return same > 0.6 and float(high - low) < SPREAD


def _outside(lines: list[_Line], shape: tuple[int, ...]) -> Mask:
    """What lies beyond the edges, and the edges' own pixels."""
    out = np.zeros(shape, bool)
    for side, line in enumerate(lines):
        if line.seen:
            turned = _turn(out, side)  # a view
            height, width = turned.shape
            at = line.offset + line.slope * (np.arange(height) - (height - 1) / 2)
            turned |= np.arange(width)[None] < at[:, None] + 1.0
    return out


def _field(lines: list[_Line], small: tuple[int, ...], full: tuple[int, ...]) -> Field | None:
    """Lines on the copy to a field on the image."""
    height, width = small
    corners = []
    for first, second in ((0, 1), (1, 2), (2, 3), (3, 0)):  # the upper left, then clockwise
        one, two = (
            _general(lines[first], first, height, width),
            _general(lines[second], second, height, width),
        )
        corners.append(np.linalg.solve(np.array([one[:2], two[:2]]), np.array([one[2], two[2]])))
    scale = np.array([full[1] / width, full[0] / height])
    points = np.clip(np.array(corners), 0, [width, height]) * scale
    x0, y0 = np.floor(points.min(0) + 0.25).astype(int)
    x1, y1 = np.ceil(points.max(0) - 0.25).astype(int)
    if x1 - x0 < 0.25 * full[1] or y1 - y0 < 0.25 * full[0]:
        return None
    seen = [line.seen for line in lines if line.seen]
    return Field(
        int(x0),
        int(y0),
        int(x1),
        int(y1),
        round(float(np.mean(seen)), 3),
        tuple((round(float(x), 1), round(float(y), 1)) for x, y in points),
        "".join(name for name, line in zip("ltrb", lines, strict=True) if line.seen),
    )


def _general(line: _Line, side: int, height: int, width: int) -> tuple[float, float, float]:
    """A side's edge as a x + b y = c, in pixels of the copy, whole image corners at 0 and its size."""
    along = (height if side % 2 == 0 else width) / 2
    offset = line.offset - line.slope * along
    if side == 0:
        return 1.0, -line.slope, offset
    if side == 2:
        return 1.0, line.slope, width - offset
    if side == 1:
        return -line.slope, 1.0, offset
    return line.slope, 1.0, height - offset
