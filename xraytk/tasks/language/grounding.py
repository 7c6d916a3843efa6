"""Where a phrase is: a map of similarity over the image, against boxes that readers drew.

Formulas, for a map M, the pixels A inside any of the phrase's boxes, and those outside:

- mIoU: the mean over thresholds t of |{M > t} and A| / |{M > t} or A|.
- CNR: (mean inside - mean outside) / sqrt(variance inside + variance outside), variances over pixels.

Source: BioViL (Boecking et al. 2022), section 4, whose CNR is the absolute value of this one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from xraytk.tasks.metrics.panel import Panel
from xraytk.tasks.metrics.values import Floats, ratio

Box = tuple[float, float, float, float]
"""Edges x0, y0, x1, y1 in pixels; 0 is the outer edge of the first pixel."""
Map = NDArray[np.float32]
Mask = NDArray[np.bool_]
METRICS = ("mIoU", "mIoU stretched", "CNR", "CNR absolute", "pointed", "box share")


@dataclass(frozen=True, slots=True)
class Phrase:
    """A phrase about an image, and where it is.

    Args:
        image_id: The image.
        text: The phrase.
        lang: Of the text.
        label: What it is counted under; "" for nothing.
        boxes: In pixels of the image.
    """

    image_id: str
    text: str
    lang: str
    label: str
    boxes: tuple[Box, ...]


def inside(boxes: Sequence[Box], shape: tuple[int, int]) -> Mask:
    """Pixels whose middle is in any of the boxes.

    Args:
        boxes: In pixels.
        shape: (H, W).

    Returns:
        (H, W); a box between the middles of two pixels has none.
    """
    y, x = np.arange(shape[0])[:, None] + 0.5, np.arange(shape[1])[None] + 0.5
    out = np.zeros(shape, np.bool_)
    for x0, y0, x1, y1 in boxes:
        out |= (x >= x0) & (x < x1) & (y >= y0) & (y < y1)
    return out


def over_pixels(
    patches: Map,
    frame: tuple[int, int],
    place: tuple[int, int, int, int],
    shape: tuple[int, int],
    how: Literal["linear", "nearest"],
) -> Map:
    """Spread a map over patches of a frame over the pixels of the image that lies in it.

    Args:
        patches: (rows, cols).
        frame: (H, W) of the frame.
        place: Where in the frame the image lies: top, left, height, width.
        shape: (H, W) of the image.
        how: Between the middles of patches, or a patch as it is.

    Returns:
        ``shape`` float32.
    """
    flag = cv2.INTER_LINEAR if how == "linear" else cv2.INTER_NEAREST
    whole = cv2.resize(patches.astype(np.float32), frame[::-1], interpolation=flag)
    top, left, height, width = place
    part = whole[top : top + height, left : left + width]
    return np.asarray(cv2.resize(part, shape[::-1], interpolation=flag), np.float32)


def mean_overlap(found: Map, true: Mask, thresholds: Sequence[float]) -> float:
    """The mIoU of one map.

    Args:
        found: (H, W).
        true: (H, W), True inside the boxes, somewhere.
        thresholds: What is above one is found.
    """
    shares = []
    for cut in thresholds:
        said = found > cut
        shares.append(int((said & true).sum()) / int((said | true).sum()))
    return float(np.mean(shares))


def stretched(found: Map) -> Map:
    """The map from its least to its greatest value as 0 to 1; all 0 when it is flat."""
    low, high = float(found.min()), float(found.max())
    return np.asarray((found - low) / (high - low) if high > low else np.zeros_like(found), np.float32)


def contrast(found: Map, true: Mask) -> float:
    """CNR of one map, above 0 when it is higher inside; NaN when nothing is outside, or all is flat."""
    if true.all() or not true.any():
        return math.nan
    within, without = found[true].astype(np.float64), found[~true].astype(np.float64)
    spread = math.sqrt(within.var() + without.var())
    apart = float(within.mean() - without.mean())
    return apart / spread if spread > 0 else math.nan


def measure(found: Map, true: Mask, thresholds: Sequence[float]) -> tuple[float, ...]:
    """All of `METRICS` of one map.

    ``pointed`` is the share of the highest pixels that lie inside, 1 or 0 where only one is highest;
    ``box share``, the share of the image that the boxes take, is what chance makes of it, and the mIoU
    of a map that is high everywhere.
    """
    signed = contrast(found, true)
    pointed = float(true[found == found.max()].mean())
    flat = mean_overlap(stretched(found), true, thresholds)
    return (mean_overlap(found, true, thresholds), flat, signed, abs(signed), pointed, float(true.mean()))


def grounding_panel(values: Floats, names: Sequence[str]) -> Panel:
    """Means over phrases: of all, and of each label.

    Args:
        values: (n, 6) of `METRICS`, NaN where one does not exist.
        names: n labels, "" for none.
    """
    labels = sorted({name for name in names if name})
    known = {"all": np.ones(len(names), np.bool_)}
    known |= {label: np.asarray([name == label for name in names]) for label in labels}
    there = ~np.isnan(values)
    filled = np.where(there, values, 0.0)

    def score(weights: Floats) -> Floats:
        rows = [
            ratio((weights * part) @ filled, (weights * part) @ there.astype(np.float64))
            for part in known.values()
        ]
        return np.concatenate(rows, axis=1)

    return Panel(("all", *labels), METRICS, score, known)


def draw(image: NDArray[np.uint8], found: Map, boxes: Sequence[Box]) -> NDArray[np.uint8]:
    """The image with the map in colours over it, and the boxes in white.

    Args:
        image: (H, W) uint8.
        found: (H, W), shown from its least to its greatest value.
        boxes: In pixels.

    Returns:
        (H, W, 3) BGR.
    """
    high = np.rint(stretched(found) * 255).astype(np.uint8)
    heat = cv2.applyColorMap(high, cv2.COLORMAP_INFERNO)
    grey = cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)
    out = cv2.addWeighted(grey, 0.55, heat, 0.45, 0)
    wide = max(1, round(max(image.shape) / 200))
    for x0, y0, x1, y1 in boxes:
        cv2.rectangle(out, (round(x0), round(y0)), (round(x1) - 1, round(y1) - 1), (255, 255, 255), wide)
    return np.asarray(out, np.uint8)
