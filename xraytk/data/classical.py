"""Lungs by classical means: an analytic thorax laid over the image, and moved to its edges.

Lungs are found in five steps: trim the collimated border, normalise the grey values locally,
lay an analytic thorax over the image (`thorax`), move its outline to the edges nearby
(`boundary`), and check the result. What fails a check is flagged with a reason, not hidden. It
needs no training data; `xraytk mask` falls back to it where the lung net is not sure.

A lung is whole: the part behind the heart belongs to it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from xraytk.data import boundary, thorax
from xraytk.data.augment import letterbox_box
from xraytk.data.contour import LUNGS, Polygon
from xraytk.errors import DataError

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
"""Reasons, the first that holds is given. Without polygons they are too-small, blank, no-lungs."""

_WORK_PX = 192
_SMALLEST_PX = 48


@dataclass(frozen=True, slots=True)
class LungContour:
    """What was found in one image.

    Args:
        polygons: Each with "name", "x" and "y", closed, in pixels of the image; empty when
            the lungs were not found.
        status: "ok", "flagged" (a person should look at it) or "failed" (no polygons).
        reason: See `FLAGGED`; "" when ok.
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
        for name, points in zip(LUNGS, inside, strict=True)
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
