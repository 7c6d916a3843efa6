"""Measurements that come with a contour: areas, cardiothoracic ratio, costophrenic regions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xraytk.data.contour import LUNGS

Polygons = Sequence[Mapping[str, Any]]
_REGION = 0.36  # side of a costophrenic region, of the height of its lung


def areas(polygons: Polygons, spacing_mm: tuple[float, float] | None) -> dict[str, float | None]:
    """Areas of the lungs.

    Args:
        polygons: In pixels of the image, with "name".
        spacing_mm: Of the image's pixels, (row, column); None when unknown.

    Returns:
        "right_area_px", "left_area_px" in pixels; "right_area_cm2", "left_area_cm2" on the
        detector (magnified by the distance of the patient to it), None without a spacing;
        "area_ratio", left over right. None where a lung is missing.
    """
    named: dict[str, float] = {}
    for polygon in polygons:
        named[polygon["name"]] = named.get(polygon["name"], 0.0) + _area(polygon)
    right, left = (named.get(name) for name in LUNGS)
    cell = spacing_mm[0] * spacing_mm[1] / 100 if spacing_mm else None
    return {
        "right_area_px": right,
        "left_area_px": left,
        "right_area_cm2": right * cell if right is not None and cell else None,
        "left_area_cm2": left * cell if left is not None and cell else None,
        "area_ratio": left / right if right and left is not None else None,
    }


def _area(polygon: Mapping[str, Any]) -> float:
    """Area by the shoelace formula."""
    x, y = np.asarray(polygon["x"], np.float64), np.asarray(polygon["y"], np.float64)
    return float(abs(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2)


def cardiothoracic_ratio(lungs: Polygons, heart: Mapping[str, Any] | None) -> float | None:
    """Greatest width of the heart over the greatest inner width of the thorax.

    Args:
        lungs: Both lungs, whole or clear.
        heart: Its outline; None when there is none.

    Returns:
        The ratio, or None unless both lungs and the heart are there. On an AP image, or with a
        poor inspiration, the heart looks larger than it is.

    Source:
        Danzer 1919. The thorax's width is taken from the outer borders of the lungs.
    """
    if heart is None or {p["name"].partition("_")[0] for p in lungs} != {"right", "left"}:
        return None
    thorax = max(max(p["x"]) for p in lungs) - min(min(p["x"]) for p in lungs)
    return float((max(heart["x"]) - min(heart["x"])) / thorax) if thorax > 0 else None


def costophrenic_regions(polygons: Polygons, height: int, width: int) -> list[dict[str, Any]]:
    """Boxes around the lateral costophrenic angles, where small effusions show first.

    Args:
        polygons: Whole lungs, in pixels of the image.
        height: Of the image.
        width: Of the image.

    Returns:
        For each lung, of its largest part, "name" and edges "x0", "y0", "x1", "y1" in pixels,
        within the image. The angle is the outline's point that lies farthest outwards and down;
        the box is a square of 0.36 of the lung's height around a point a little above and inside
        of it.
    """
    made = []
    largest = {p["name"]: p for p in sorted(polygons, key=_area)}
    for polygon in (largest[name] for name in LUNGS if name in largest):
        x, y = np.asarray(polygon["x"], np.float64), np.asarray(polygon["y"], np.float64)
        outwards = -1.0 if polygon["name"] == LUNGS[0] else 1.0
        corner = _corner(x * outwards, y)
        side = _REGION * float(np.ptp(y))
        centre_x, centre_y = x[corner] - outwards * 0.2 * side, y[corner] - 0.2 * side
        edges = np.array([centre_x, centre_y, centre_x, centre_y]) + side / 2 * np.array([-1, -1, 1, 1])
        edges = np.clip(edges, 0, [width, height, width, height])
        made.append(
            {
                "name": polygon["name"],
                **dict(zip(("x0", "y0", "x1", "y1"), map(float, edges.round(1)), strict=True)),
            }
        )
    return made


def _corner(outwards: NDArray[np.float64], down: NDArray[np.float64]) -> int:
    """The point farthest in the direction between outwards and down, each over its extent."""
    return int(
        np.argmax(outwards / max(float(np.ptp(outwards)), 1e-6) + down / max(float(np.ptp(down)), 1e-6))
    )
