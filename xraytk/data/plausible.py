"""How much a contour is to be trusted, and what can be measured on it.

A contour is trusted when the net gives the same one for the image mirrored and turned a little,
when its chances are clear-cut, and when both lungs together look like lungs: two of them, of
sizes, places and proportions that human outlines have.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from xraytk.data.contour import LUNGS

Polygons = Sequence[Mapping[str, Any]]
Numbers = NDArray[np.float64]

SHAPE = (
    "area",  # log of left over right
    "height",  # log of left over right
    "width",  # log of left over right
    "proportions",  # log of width over height, both lungs together
    "right_fill",  # area over area of its box
    "left_fill",
    "gap",  # between the boxes, over the width of both
    "top_step",  # left apex below the right one, over the height of both
    "bottom_step",
    "share",  # log of the share of the image
    "centre_x",  # of both, over the image's width
    "centre_y",
)
"""What is compared with human outlines, dimensionless."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What speaks for a contour.

    Args:
        agreement: Least Dice of a lung between the mean answer and those for the image, its mirrored
            and its turned copy.
        certainty: Soft Dice of the mean chances and the mask they give; 1 when all are 0 or 1.
        oddness: Mahalanobis distance of its shape from human outlines, over the root of the count
            of numbers; about 1 for an ordinary one, infinite unless there are two lungs.
    """

    agreement: float
    certainty: float
    oddness: float


def shape_of(polygons: Polygons, height: int, width: int) -> Numbers | None:
    """The numbers of `SHAPE` (12,), or None unless there are two lungs."""
    named = {p["name"]: np.stack([p["x"], p["y"]], 1).astype(np.float64) for p in polygons}
    if set(named) != set(LUNGS) or any(len(points) < 3 for points in named.values()):
        return None
    areas = [max(float(cv2.contourArea(named[n].astype(np.float32))), 1e-6) for n in LUNGS]
    low = np.array([named[n].min(0) for n in LUNGS])  # (2, xy)
    size = np.maximum(np.array([np.ptp(named[n], axis=0) for n in LUNGS]), 1e-6)
    first, last = low.min(0), (low + size).max(0)
    across, tall = last - first
    centre = (first + last) / 2
    return np.array([
        np.log(areas[1] / areas[0]),
        np.log(size[1, 1] / size[0, 1]),
        np.log(size[1, 0] / size[0, 0]),
        np.log(across / tall),
        areas[0] / size[0].prod(),
        areas[1] / size[1].prod(),
        (low[1, 0] - low[0, 0] - size[0, 0]) / across,
        (low[1, 1] - low[0, 1]) / tall,
        (low[1, 1] + size[1, 1] - low[0, 1] - size[0, 1]) / tall,
        np.log(sum(areas) / (height * width)),
        centre[0] / width,
        centre[1] / height,
    ])  # fmt: skip


def oddness(shape: Numbers | None, mean: Numbers, precision: Numbers) -> float:
    """How far a shape lies from human outlines; see `Evidence`.

    Args:
        shape: From `shape_of`.
        mean: (12,) of human outlines.
        precision: (12, 12), inverse of their covariance.
    """
    if shape is None:
        return float("inf")
    off = shape - mean
    return float(np.sqrt(max(float(off @ precision @ off), 0.0) / len(off)))


def evidence(chances: NDArray[np.float32], odd: float) -> Evidence:
    """Compare answers for one image.

    Args:
        chances: (V, 2, S, S) whole lungs, for the image and its copies, all in its place.
        odd: From `oddness`.
    """
    own = chances.mean(0)
    mask = own > 0.5
    agreement = min(_dice(mask[c], np.asarray(answer[c] > 0.5)) for answer in chances for c in (0, 1))
    certainty = 2 * float(own[mask].sum()) / max(float(own.sum() + mask.sum()), 1e-6)
    return Evidence(agreement, certainty, odd)


def terms(found: Evidence) -> Numbers:
    """What is weighed: (4,) 1, and logarithms of 1 - agreement, 1 - certainty and oddness."""
    odd = min(max(found.oddness, 0.1), 100.0)
    return np.array([1.0, *np.log([1 - found.agreement + 1e-3, 1 - found.certainty + 1e-3, odd])])


def confidence(found: Evidence, weights: Numbers) -> float:
    """Dice that is to be expected with a human outline, in [0, 1]; 0 unless there are two lungs.

    Args:
        found: From `evidence`.
        weights: (4,) of `terms`, fitted on outlines of varied training images.
    """
    if not np.isfinite(found.oddness):
        return 0.0
    return float(1 / (1 + np.exp(-(terms(found) @ weights))))


def _dice(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    return 2 * float((a & b).sum()) / max(float(a.sum() + b.sum()), 1.0)
