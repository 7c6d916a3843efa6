"""An image as the lung net wants it: a square of 256 pixels, its grey values between -1 and 1."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from xraytk.data.glance import LONG_PX, glance

Place = tuple[int, int, int, int]
"""Where an image lies in its square: top, left, height, width."""


def squared(image: NDArray[Any]) -> tuple[NDArray[Any], Place]:
    """Letterbox an image's glance into the net's square.

    Args:
        image: (H, W) uint8 or uint16.

    Returns:
        (256, 256) of the same type, and where in it the image lies: top, left, height, width.
    """
    small = glance(image)
    scale = LONG_PX / max(small.shape)
    height, width = (max(1, round(n * scale)) for n in small.shape)
    if scale > 1:
        small = cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)
    top, left = (LONG_PX - height) // 2, (LONG_PX - width) // 2
    out = np.zeros((LONG_PX, LONG_PX), small.dtype)
    out[top : top + height, left : left + width] = small
    return out, (top, left, height, width)


def normalised(square: NDArray[Any], place: Place) -> NDArray[np.float32]:
    """Grey values as the net wants them: the 1st to 99th percentile as -1 to 1, padding at -1.

    Args:
        square: (256, 256), from `squared`.
        place: Where the image lies in it.
    """
    top, left, height, width = place
    part = square[top : top + height, left : left + width].astype(np.float32)
    low, high = np.percentile(part, [1, 99])
    out = np.full(square.shape, -1, np.float32)
    out[top : top + height, left : left + width] = np.clip(
        2 * (part - low) / max(float(high - low), 1e-6) - 1, -1.2, 1.2
    )
    return out
