"""Lung contours by classical means, and what is made of them: masks and shares per patch.

Lungs are found in five steps: trim the collimated border, normalise the grey values locally,
lay an analytic thorax over the image (`thorax`), move its outline to the edges nearby
(`boundary`), and check the result. What fails a check is flagged with a reason, not hidden.

A lung is whole: the part behind the heart belongs to it, as in the V7 masks; masks in the
tradition of JSRT and Montgomery leave it out. Pixel coordinates have their integers at pixel
centres. "right_lung" is the patient's, on the image's left.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from xraytk.data import boundary, thorax
from xraytk.data.augment import letterbox_box
from xraytk.errors import DataError

METHOD = "thorax-2"
"""Name of the method; a change of its results changes the name."""

NAMES = ("right_lung", "left_lung")
FAILED = ("too-small", "blank", "no-lungs")
FLAGGED = (
    "poor-fit",
    "faint-edges",
    "one-lung",
    "small-area",
    "large-area",
    "asymmetric",
    "off-centre",
    "touches-border",
)
"""Reasons, the first that holds is given."""

_WORK_PX = 192
_SMALLEST_PX = 48

Polygon = dict[str, Any]


@dataclass(frozen=True, slots=True)
class LungContour:
    """What was found in one image.

    Args:
        polygons: Each with "name", "x" and "y", closed, in pixels of the image; empty when
            the lungs were not found.
        status: "ok", "flagged" (a person should look at it) or "failed" (no polygons).
        reason: One of `FLAGGED` or `FAILED`; "" when ok.
        facts: The numbers that were checked.
    """

    polygons: tuple[Polygon, ...]
    status: Literal["ok", "flagged", "failed"]
    reason: str
    facts: dict[str, float] = field(default_factory=dict)


def find_lungs(image: NDArray[Any]) -> LungContour:
    """Find both lungs in a frontal chest radiograph.

    Args:
        image: (H, W) uint8 or uint16, air dark.

    Returns:
        Two polygons, or none; the same for the same image.

    Raises:
        DataError: If the image is not (H, W) uint8 or uint16.

    Source:
        Ours; see the module, `thorax` and `boundary`.
    """
    if image.ndim != 2 or image.dtype not in (np.uint8, np.uint16):
        raise DataError(
            "lungs are looked for in grey images only",
            f"found shape {image.shape} of {image.dtype}, wanted (H, W) of uint8 or uint16",
        )
    height, width = image.shape
    if min(height, width) < _SMALLEST_PX:
        return LungContour((), "failed", "too-small")
    _, _, new_height, new_width = letterbox_box(height, width, _WORK_PX)
    small = cv2.resize(image, (new_width, new_height), interpolation=cv2.INTER_AREA)
    y0, y1, x0, x1 = content_box(small)
    content = small[y0:y1, x0:x1]
    if content.max() == content.min():
        return LungContour((), "failed", "blank")
    grey = thorax.normalise(content)
    fit = thorax.fit(thorax.blur(grey, 2.0))
    lungs, contrast = boundary.settle(thorax.blur(grey, 1.0), fit)
    scale = np.array([width / new_width, height / new_height])
    lungs = (lungs + np.array([x0, y0]) + 0.5) * scale - 0.5
    facts = _facts(lungs, fit, contrast, height, width)
    status, reason = _judge(facts)
    if status == "failed":
        return LungContour((), "failed", reason, facts)
    inside = np.clip(lungs, 0, [width - 1, height - 1]).round(1)
    polygons = tuple(
        {"name": name, "x": points[:, 0].tolist(), "y": points[:, 1].tolist()}
        for name, points in zip(NAMES, inside, strict=True)
    )
    return LungContour(polygons, status, reason, facts)


def content_box(image: NDArray[Any]) -> tuple[int, int, int, int]:
    """Trim borders that are dark or even: collimation, film edges, padding.

    Args:
        image: (H, W), air dark.

    Returns:
        (top, bottom, left, right), bottom and right not included. The whole image where less
        than a third of it would be left.
    """
    low, high = np.percentile(image, [1, 99.5])
    grey = (image.astype(np.float32) - low) / max(float(high - low), 1e-6)
    ends = []
    for axis in (1, 0):
        busy = np.flatnonzero((grey.max(axis) >= 0.12) & (np.ptp(grey, axis) >= 0.03))
        side = grey.shape[1 - axis]
        ends += [int(busy[0]), int(busy[-1]) + 1] if len(busy) >= side / 3 else [0, side]
    return ends[0], ends[1], ends[2], ends[3]


def _facts(
    lungs: thorax.Points, fit: thorax.Fit, contrast: NDArray[np.float64], height: int, width: int
) -> dict[str, float]:
    """The numbers that `_judge` looks at; lungs are (2, n, 2) in pixels of the image."""
    area = [cv2.contourArea(lung.astype(np.float32)) / (height * width) for lung in lungs]
    outside = (lungs < -0.5) | (lungs > np.array([width, height]) - 0.5)
    return {
        "energy": fit.energy,
        "right_edge": float(contrast[0]),
        "left_edge": float(contrast[1]),
        "right_dark": float(fit.dark[0]),
        "left_dark": float(fit.dark[1]),
        "area": float(sum(area)),
        "symmetry": float(min(area) / max(*area, 1e-9)),
        "centre_x": float(lungs[..., 0].mean() / width),
        "centre_y": float(lungs[..., 1].mean() / height),
        "outside": float(outside.any(-1).mean()),
    }


def _judge(facts: Mapping[str, float]) -> tuple[Literal["ok", "flagged", "failed"], str]:
    """Status and reason: `FLAGGED` in its order."""
    edges = facts["right_edge"], facts["left_edge"]
    dark = facts["right_dark"], facts["left_dark"]
    if facts["energy"] < 0.7 or max(edges) < 0.15 or max(dark) < 0.5:
        return "failed", "no-lungs"
    checks = {
        "poor-fit": facts["energy"] < 1.75,  # frontal chests lie about 2.5, other pictures below
        "faint-edges": min(edges) < 0.25,
        "one-lung": min(dark) < 0.35 * max(dark),
        "small-area": facts["area"] < 0.12,
        "large-area": facts["area"] > 0.65,
        "asymmetric": facts["symmetry"] < 0.65,
        "off-centre": abs(facts["centre_x"] - 0.5) > 0.12 or abs(facts["centre_y"] - 0.48) > 0.18,
        "touches-border": facts["outside"] > 0.08,
    }
    reason = next((name for name in FLAGGED if checks[name]), "")
    return ("flagged" if reason else "ok"), reason


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
    polygons: Sequence[Mapping[str, Any]], height: int, width: int, side: int
) -> list[Polygon]:
    """Move polygons from an image into the square that it is letterboxed into.

    Args:
        polygons: In pixels of the image.
        height: Of the image.
        width: Of the image.
        side: Of the square, in pixels.
    """
    top, left, new_height, new_width = letterbox_box(height, width, side)
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
        names = [NAMES[int(parts[0][:, 0, 0].mean() >= mask.shape[1] / 2)]]
    else:
        names = list(NAMES[: len(parts)])
    return [_simplify(name, part, most_points) for name, part in zip(names, parts, strict=True)]


def _simplify(name: str, part: NDArray[Any], most_points: int) -> Polygon:
    tolerance = 0.5
    points = cv2.approxPolyDP(part, tolerance, True)
    while len(points) > most_points:
        tolerance *= 1.4
        points = cv2.approxPolyDP(part, tolerance, True)
    x, y = points[:, 0, 0].astype(float).tolist(), points[:, 0, 1].astype(float).tolist()
    return {"name": name, "x": x, "y": y}
