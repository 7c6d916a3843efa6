"""The small copy on which whole-image questions are answered: field, view, likeness."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

LONG_PX = 256


def glance(pixels: NDArray[Any]) -> NDArray[Any]:
    """Shrink an image to at most 256 pixels on its long side; smaller ones are returned as they are.

    Args:
        pixels: (H, W) uint8 or uint16.

    Returns:
        (h, w) of the same type. What takes pixels in `collimation`, `lookalike` and `view` gives
        the same answer for an image and for its glance, so a caller makes it once for all.

    Source:
        Ours: halved while it can be (exact means of 2 x 2, which is fast), then means of areas.
    """
    small = pixels
    while max(small.shape) >= 2 * LONG_PX and min(small.shape) >= 2:
        height, width = small.shape[0] // 2, small.shape[1] // 2
        small = cv2.resize(small[: 2 * height, : 2 * width], (width, height), interpolation=cv2.INTER_AREA)
    scale = LONG_PX / max(small.shape)
    if scale >= 1:
        return small
    size = (max(1, round(small.shape[1] * scale)), max(1, round(small.shape[0] * scale)))
    return np.asarray(cv2.resize(small, size, interpolation=cv2.INTER_AREA))
