"""Greys changed by one lookup table: gamma, contrast about the mean, brightness, cut to 8 bits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Intensity:
    """What happens to greys in [0, 1], in this order.

    Args:
        gamma: Exponent of the grey.
        contrast: Factor on the distance from the image's mean.
        brightness: Added.
    """

    gamma: float = 1.0
    contrast: float = 1.0
    brightness: float = 0.0


NO_CHANGE = Intensity()

_LOOKS_UP_16_BITS = int(cv2.__version__.partition(".")[0]) >= 5


def change(image: NDArray[Any], intensity: Intensity = NO_CHANGE) -> NDArray[np.uint8]:
    """Change an image's greys and cut them to 8 bits; without a change, 8 bits pass.

    Greys of 16 bits are changed before they are cut, so that a lighter or steeper curve shows
    what 8 bits would have lost.

    Args:
        image: (h, w) uint8 or uint16, over the whole range.
        intensity: What happens.
    """
    if intensity == NO_CHANGE:
        return image if image.dtype == np.uint8 else cut(image)
    greys = table(intensity, image.dtype, float(cv2.mean(image)[0]))
    if image.dtype == np.uint8 or _LOOKS_UP_16_BITS:
        return np.asarray(cv2.LUT(image, greys), np.uint8)
    return np.asarray(greys[image], np.uint8)


def cut(image: NDArray[np.uint16]) -> NDArray[np.uint8]:
    """Cut 16 bits to 8, rounding to the nearest: `pictures.to_8bit`, 30 times as fast."""
    return np.asarray(cv2.convertScaleAbs(image, alpha=255 / 65535), np.uint8)


def table(intensity: Intensity, dtype: np.dtype[Any], mean: float) -> NDArray[np.uint8]:
    """Make the lookup table.

    Args:
        intensity: What happens.
        dtype: Of the image, uint8 or uint16.
        mean: Of the image's greys.

    Returns:
        (256,) or (65536,) uint8.
    """
    top = np.iinfo(dtype).max
    grey = np.arange(top + 1, dtype=np.float32) / np.float32(top)
    middle = mean / top
    if intensity.gamma != 1.0:
        grey, middle = grey**intensity.gamma, middle**intensity.gamma
    grey = (grey - middle) * intensity.contrast + (middle + intensity.brightness)
    return np.asarray(np.rint(np.clip(grey, 0, 1) * 255), np.uint8)
