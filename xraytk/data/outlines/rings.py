"""Checks of polygons, and outlines of masks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from xraytk.data.contour import rasterise
from xraytk.data.outlines.outline import Points, RefusedError

SLACK_PX = 1.0
"""How far a point may lie outside: tools let the hand slip that far, and no mask changes by it."""
_MOST_PAIRS = 20_000_000
_CHUNK = 1 << 20
_SPECK = 50
_SPAN = 0.55
_ALONE = 10
_LOOPS = 0.02


def checked(points: Points, width: int, height: int, *, traced: bool = False) -> Points:
    """A polygon without repeated points, moved into the image where it leaves it by less than a pixel.

    Args:
        points: (n, 2), whole numbers at pixel centres.
        width: Of the picture it is in.
        height: Of it.
        traced: Whether it is the outline of a mask: those touch themselves, and never cross.

    Raises:
        RefusedError: "fewer-than-three-points", "outside-the-image", "empty", "self-crossing" or
            "too-many-points".
    """
    points = points[(points != np.roll(points, 1, 0)).any(1)]
    if len(points) < 3:
        raise RefusedError("fewer-than-three-points", f"{len(points)} points")
    low, high = np.array([-0.5, -0.5]), np.array([width - 0.5, height - 0.5])
    outside = ((points < low - SLACK_PX) | (points > high + SLACK_PX)).any(1)
    if outside.any():
        raise RefusedError("outside-the-image", f"{int(outside.sum())} of {len(points)} points")
    if not traced and crosses_itself(points):
        raise RefusedError("self-crossing", f"{len(points)} points")
    inside: Points = np.clip(points, low, high)
    if not traced and area(inside) < 0.5:
        raise RefusedError("empty", "no area")
    return inside


def is_nearly_simple(points: Points, width: int, height: int) -> bool:
    """Whether a polygon crosses itself no more than the corners of a simplified outline do.

    Args:
        points: (n, 2), n of 3 or more, within the picture.
        width: Of the picture it is in.
        height: Of it.

    Source:
        Ours; where loops turn against one another the shoelace formula loses area that filling has.
    """
    filled = int(rasterise([{"x": points[:, 0], "y": points[:, 1]}], height, width).sum())
    edge = float(np.hypot(*(points - np.roll(points, 1, 0)).T).sum())  # filling takes its pixels whole
    return area(points) > (1 - _LOOPS) * filled - edge


def area(points: Points) -> float:
    """Of a polygon, in square pixels."""
    x, y = (points - points[0]).T
    return abs(float(x @ np.roll(y, -1) - y @ np.roll(x, -1))) / 2


def crosses_itself(points: Points) -> bool:
    """Whether two edges of a polygon cross; that they touch, or share a point, is no crossing.

    Edges are sorted by their left (or upper) ends, so that each is compared only with those that
    begin before it ends: all of them for a star, few for the outline of a lung.

    Args:
        points: (n, 2), n of 3 or more.

    Raises:
        RefusedError: "too-many-points", if over twenty million pairs are to be compared.

    Source:
        Ours; two segments cross when each separates the ends of the other.
    """
    ends = np.stack([points, np.roll(points, -1, 0)], 1)  # (n, 2 ends, 2)
    best: tuple[NDArray[Any], NDArray[Any]] | None = None
    for axis in (0, 1):
        order = np.argsort(ends[:, :, axis].min(1), kind="stable")
        low, high = ends[order, :, axis].min(1), ends[order, :, axis].max(1)
        later = np.searchsorted(low, high, "right") - np.arange(len(low)) - 1
        if best is None or later.sum() < best[1].sum():
            best = order, later
    assert best is not None
    order, later = best
    if later.sum() > _MOST_PAIRS:
        raise RefusedError("too-many-points", f"{len(points)} points")
    ends = ends[order]
    upto = np.cumsum(later)
    for start in range(0, int(upto[-1]), _CHUNK):
        pair = np.arange(start, min(start + _CHUNK, int(upto[-1])))
        first = np.searchsorted(upto, pair, "right")
        second = first + 1 + pair - (upto[first] - later[first])
        if _cross(ends[first], ends[second]).any():
            return True
    return False


def _cross(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Whether pairs of segments, (n, 2 ends, 2) each, cross properly."""

    def side(line: NDArray[np.float64], point: NDArray[np.float64]) -> NDArray[np.float64]:
        along, to = line[:, 1] - line[:, 0], point - line[:, 0]
        turned = along[:, 0] * to[:, 1] - along[:, 1] * to[:, 0]
        size = np.abs(along).sum(1) * np.abs(to).sum(1)
        return np.asarray(np.where(np.abs(turned) <= 1e-12 * size, 0.0, np.sign(turned)))

    apart_b = side(a, b[:, 0]) * side(a, b[:, 1]) < 0
    return np.asarray(apart_b & (side(b, a[:, 0]) * side(b, a[:, 1]) < 0))


def parts_of(mask: NDArray[Any], most: int = 8) -> list[Points]:
    """Outlines of the parts of a mask, the largest first; holes are filled.

    Args:
        mask: (H, W), true inside.
        most: Of them; those under a fiftieth of the largest are left out as specks.
    """
    found, _ = cv2.findContours(
        np.ascontiguousarray(mask).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE
    )
    parts = sorted(found, key=lambda part: -float(cv2.contourArea(part)))[:most]
    parts = [p for p in parts if len(p) >= 3 and cv2.contourArea(p) >= cv2.contourArea(parts[0]) / _SPECK]
    simple = [cv2.approxPolyDP(part, 0.5, True)[:, 0].astype(np.float64) for part in parts]
    return [points for points in simple if len(points) >= 3]


def split_by_side(rings: Sequence[Points], width: int, height: int) -> list[tuple[str, Points]]:
    """Tell the lungs apart by their place in the image.

    Args:
        rings: Outlines of lungs, not empty, in pixels of the upright image.
        width: Of the image.
        height: Of it.

    Returns:
        ("right", points) for what lies on the image's left, ("left", points) for the rest. Lungs
        that are drawn as one are cut where they meet in the fewest pixels.
    """
    rings = sorted(rings, key=lambda ring: -area(ring))
    first = rings[0]
    if np.ptp(first[:, 0]) > _SPAN * width and all(area(r) * _ALONE < area(first) for r in rings[1:]):
        return _cut(first, width, height)
    at = [float(ring[:, 0].min() + ring[:, 0].max()) / 2 for ring in rings]
    middle = sum(at[:2]) / 2 if len(rings) > 1 else (width - 1) / 2
    return [("right" if x < middle else "left", ring) for x, ring in zip(at, rings, strict=True)]


def _cut(ring: Points, width: int, height: int) -> list[tuple[str, Points]]:
    """Two lungs out of one outline."""
    mask = rasterise([{"x": ring[:, 0], "y": ring[:, 1]}], height, width)
    columns = np.flatnonzero(mask.any(0))
    start, wide = int(columns[0]), int(columns[-1] - columns[0] + 1)
    middle = np.arange(start + wide // 3, start + wide - wide // 3)
    thin = mask[:, middle].sum(0)
    centre = np.abs(middle - (start + wide / 2))
    at = int(middle[np.lexsort((centre, thin))[0]])
    sides = {"right": mask[:, :at], "left": mask[:, at:]}
    made = []
    for side, half in sides.items():
        shift = np.array([0 if side == "right" else at, 0], np.float64)
        made += [(side, part + shift) for part in parts_of(half)[:1]]
    return made
