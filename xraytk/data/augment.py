"""From a picture of any shape to the training square: letterbox, crop, rotation, contrast.

Chance is drawn in one place (`draw`) and used in another (`place`): an `Augmentation` says
everything, so the image, its valid pixels and its contour always move together. There are no
flips: a mirrored chest has its heart on the wrong side, and its report would lie.

Pixel coordinates have their integers at pixel centres, x to the right, as in the contours
table.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

Fit = Literal["letterbox", "stretch"]


def letterbox_box(height: int, width: int, side: int) -> tuple[int, int, int, int]:
    """Where an image lies in the square it is letterboxed into.

    The long side fills the square, the short side is centred; an odd pixel of padding goes
    after the image.

    Args:
        height: Of the image, in pixels.
        width: Of the image, in pixels.
        side: Of the square, in pixels.

    Returns:
        (top, left, new_height, new_width) in pixels of the square.

    Source:
        Ours: every pixel of the image stays, and its aspect ratio with it.
    """
    scale = side / max(height, width)
    new_height, new_width = max(1, round(height * scale)), max(1, round(width * scale))
    return (side - new_height) // 2, (side - new_width) // 2, new_height, new_width


@dataclass(frozen=True, slots=True)
class Augmentation:
    """One draw of chance, independent of the image's size.

    Args:
        crop_share: Share of the square's area that the crop window covers, in (0, 1].
        crop_x: Where the window lies in its horizontal room, 0 left to 1 right.
        crop_y: Where the window lies in its vertical room, 0 top to 1 bottom.
        rotate_deg: Turn about the window's centre, clockwise as seen, in degrees.
        contrast: Factor on the distance from the mean grey.
    """

    crop_share: float = 1.0
    crop_x: float = 0.5
    crop_y: float = 0.5
    rotate_deg: float = 0.0
    contrast: float = 1.0

    @property
    def still(self) -> bool:
        """Whether nothing moves: only the fit into the square is left."""
        return self.crop_share == 1.0 and self.rotate_deg == 0.0


NONE = Augmentation()


def draw(
    rng: np.random.Generator,
    *,
    crop_scale: tuple[float, float] = (1.0, 1.0),
    rotate_deg: float = 0.0,
    contrast: float = 0.0,
) -> Augmentation:
    """Draw one augmentation; always the same number of draws, whatever the settings.

    Args:
        rng: The sample's own generator.
        crop_scale: Lowest and highest share of the area that is kept.
        rotate_deg: Largest turn to either side.
        contrast: Largest change of the contrast factor from 1.
    """
    share, x, y, turn, gain = rng.random(5)
    low, high = crop_scale
    return Augmentation(
        crop_share=float(low + share * (high - low)),
        crop_x=float(x),
        crop_y=float(y),
        rotate_deg=float((2 * turn - 1) * rotate_deg),
        contrast=float(1 + (2 * gain - 1) * contrast),
    )


def affine(
    height: int, width: int, side: int, fit: Fit, augmentation: Augmentation = NONE
) -> NDArray[np.float64]:
    """Map from the image's pixel coordinates to the square's.

    The crop window is a square in letterbox fit, and has the image's shape in stretch fit; it
    stays inside the image wherever the image is larger than it, and is centred elsewhere.

    Args:
        height: Of the image, in pixels.
        width: Of the image, in pixels.
        side: Of the square, in pixels.
        fit: Keep the aspect ratio, or not.
        augmentation: What was drawn.

    Returns:
        (2, 3) matrix; ``[x', y'] = matrix @ [x, y, 1]``.
    """
    if augmentation.still:
        top, left, new_height, new_width = (
            letterbox_box(height, width, side) if fit == "letterbox" else (0, 0, side, side)
        )
        zoom = np.diag([new_width / width, new_height / height])
        shift = np.array([left, top], np.float64)
    else:
        zoom, shift = _crop_and_turn(height, width, side, fit, augmentation)
    shift = zoom @ np.array([0.5, 0.5]) + shift - 0.5  # from pixel edges to pixel centres
    return np.concatenate([zoom, shift[:, None]], axis=1)


def _crop_and_turn(
    height: int, width: int, side: int, fit: Fit, augmentation: Augmentation
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Linear part and shift in edge coordinates (0 at the outer edge of the first pixel)."""
    size = np.array([width, height], np.float64)
    window = (size if fit == "stretch" else np.full(2, size.max())) * np.sqrt(augmentation.crop_share)
    place = np.array([augmentation.crop_x, augmentation.crop_y])
    centre = np.where(window < size, window / 2 + place * (size - window), size / 2)
    angle = np.deg2rad(augmentation.rotate_deg)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    zoom = turn @ np.diag(side / window)
    return zoom, side / 2 - zoom @ centre


def place(
    image: NDArray[np.uint8], side: int, fit: Fit, augmentation: Augmentation = NONE
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Put an image into the square.

    Args:
        image: (h, w) uint8.
        side: Of the square, in pixels.
        fit: Keep the aspect ratio, or not.
        augmentation: What was drawn.

    Returns:
        The (side, side) uint8 square, 0 where there is no image, and the (side, side) bool
        True where there is.
    """
    if augmentation.contrast != 1.0:
        image = _stretch_contrast(image, augmentation.contrast)
    if augmentation.still:
        return _place_still(image, side, fit)
    height, width = image.shape
    matrix = affine(height, width, side, fit, augmentation)
    valid = cv2.warpAffine(np.ones(image.shape, np.uint8), matrix, (side, side), flags=cv2.INTER_NEAREST)
    small, matrix = _shrink_first(image, matrix)
    out = cv2.warpAffine(small, matrix, (side, side), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(out * valid, np.uint8), valid.astype(np.bool_)


def _place_still(
    image: NDArray[np.uint8], side: int, fit: Fit
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    height, width = image.shape
    top, left, new_height, new_width = (
        letterbox_box(height, width, side) if fit == "letterbox" else (0, 0, side, side)
    )
    how = cv2.INTER_AREA if new_height <= height and new_width <= width else cv2.INTER_LINEAR
    if (new_height, new_width) != (height, width):
        image = np.asarray(cv2.resize(image, (new_width, new_height), interpolation=how), np.uint8)
    out = np.zeros((side, side), np.uint8)
    valid = np.zeros((side, side), np.bool_)
    inside = np.s_[top : top + new_height, left : left + new_width]
    out[inside] = image
    valid[inside] = True
    return out, valid


def _shrink_first(
    image: NDArray[np.uint8], matrix: NDArray[np.float64]
) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """Average pixels down to the target's scale, so that the warp has nothing to alias."""
    height, width = image.shape
    zoom_x, zoom_y = np.minimum(np.hypot(matrix[0, :2], matrix[1, :2]), 1.0)
    new_width, new_height = max(1, round(width * zoom_x)), max(1, round(height * zoom_y))
    if (new_height, new_width) == (height, width):
        return image, matrix
    small = cv2.resize(image, (new_width, new_height), interpolation=cv2.INTER_AREA)
    back = np.diag([width / new_width, height / new_height])  # small to image, edge coordinates
    shift = matrix[:, 2] + matrix[:, :2] @ (back @ np.array([0.5, 0.5]) - 0.5)
    return np.asarray(small, np.uint8), np.concatenate([matrix[:, :2] @ back, shift[:, None]], axis=1)


def _stretch_contrast(image: NDArray[np.uint8], factor: float) -> NDArray[np.uint8]:
    mean = float(cv2.mean(image)[0])
    table = np.clip(np.rint(mean + (np.arange(256) - mean) * factor), 0, 255).astype(np.uint8)
    return np.asarray(cv2.LUT(image, table), np.uint8)


def place_polygons(
    polygons: Sequence[Mapping[str, Any]], matrix: NDArray[np.float64], side: int
) -> NDArray[np.bool_]:
    """Rasterise contours in the square.

    Args:
        polygons: Each with "x" and "y" lists in the image's pixels; joined, not subtracted.
        matrix: From `affine`, of the same image and augmentation.
        side: Of the square, in pixels.

    Returns:
        (side, side) bool, True inside any polygon.
    """
    out = np.zeros((side, side), np.uint8)
    for polygon in polygons:
        points = np.stack(
            [np.asarray(polygon["x"], np.float64), np.asarray(polygon["y"], np.float64)], axis=1
        )
        if len(points) < 3:
            continue
        moved = points @ matrix[:, :2].T + matrix[:, 2]
        cv2.fillPoly(out, [np.rint(moved * 16).astype(np.int32)], 1, shift=4)
    return out.astype(np.bool_)
