"""From a picture of any shape to the training frame: fit, crop, turn, shift, zoom, shear, flip.

Chance is drawn in one place (`draw`) and used in another (`place`): an `Augmentation` says
everything, so the image, its valid pixels and its contour always move together. There is no
flip unless it is asked for: a mirrored chest has its heart on the wrong side, and its report
would lie; `data.sides` changes the words with it.

Pixel coordinates have their integers at pixel centres, x to the right, as in the contours
table.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from xraytk.config import Pixels, rows_cols
from xraytk.data import randaugment
from xraytk.data.intensity import NO_CHANGE, Intensity
from xraytk.errors import UsageError

Fit = Literal["letterbox", "stretch"]
Box = tuple[int, int, int, int]  # top, left, height, width


@dataclass(frozen=True, slots=True, kw_only=True)
class AugmentConfig:
    """How far chance may go. All off by default.

    Args:
        crop_scale: Lowest and highest share of the area kept by random crops, in (0, 1].
        crop_aspect: Largest ratio of a crop's sides to those of the frame, at least 1; 1 keeps
            proportions.
        rotate_deg: Largest random turn to either side, in degrees, 0 to 45.
        shift: Largest random shift to either side, as a share of the frame, in [0, 1).
        zoom: Largest random change of size, as a share, in [0, 1).
        shear_deg: Largest random shear to either side, in degrees, 0 to 45.
        brightness: Largest random change of all greys, as a share of the range, in [0, 1).
        contrast: Largest random change of contrast, as a share, in [0, 1).
        gamma: Largest random exponent of the grey curve, at least 1; as likely its inverse.
        flip: Probability of mirroring left and right, with the words of reports, in [0, 1].
        randaug: Magnitude of RandAugment, 0 (off) to 10, on top of all others; see `data.randaugment`.
    """

    crop_scale: tuple[float, float] = (1.0, 1.0)
    crop_aspect: float = 1.0
    rotate_deg: float = 0.0
    shift: float = 0.0
    zoom: float = 0.0
    shear_deg: float = 0.0
    brightness: float = 0.0
    contrast: float = 0.0
    gamma: float = 1.0
    flip: float = 0.0
    randaug: float = 0.0

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            UsageError: If a value is out of range.
        """
        low, high = self.crop_scale
        if not 0 < low <= high <= 1:
            raise UsageError(f"crop_scale must be two shares, 0 < low <= high <= 1, found {low}, {high}")
        for name in ("crop_aspect", "gamma"):
            if not 1 <= getattr(self, name) <= 4:
                raise UsageError(f"{name} must lie in 1 to 4, found {getattr(self, name)}")
        for name in ("rotate_deg", "shear_deg"):
            if not 0 <= getattr(self, name) <= 45:
                raise UsageError(f"{name} must lie in 0 to 45, found {getattr(self, name)}")
        for name in ("shift", "zoom", "brightness", "contrast"):
            if not 0 <= getattr(self, name) < 1:
                raise UsageError(f"{name} must lie in 0 to 1, found {getattr(self, name)}")
        if not 0 <= self.flip <= 1:
            raise UsageError(f"flip must lie in 0 to 1, found {self.flip}")
        if not 0 <= self.randaug <= 10:
            raise UsageError(f"randaug must lie in 0 to 10, found {self.randaug}")

    @property
    def moves(self) -> bool:
        """Whether any draw moves an image; a flip alone does not count."""
        moving = ("crop_scale", "crop_aspect", "rotate_deg", "shift", "zoom", "shear_deg", "randaug")
        return any(getattr(self, name) != getattr(NOTHING, name) for name in moving)

    @property
    def most_deg(self) -> tuple[float, float]:
        """Largest turn and largest shear that can be drawn, in degrees."""
        more, most = randaugment.OPERATIONS * self.randaug / 10, randaugment.STRONGEST
        return self.rotate_deg + more * most["rotate_deg"], self.shear_deg + more * most["shear_deg"]

    @property
    def largest_zoom(self) -> float:
        """How many times larger than in the plain fit a detail can come out."""
        return (1 + self.zoom) * float(np.sqrt(self.crop_aspect / self.crop_scale[0]))


@dataclass(frozen=True, slots=True)
class Augmentation:
    """One draw of chance, independent of the image's size.

    Args:
        crop_share: Share of the frame's area that the crop window covers, in (0, 1].
        crop_x: Where the window lies in its horizontal room, 0 left to 1 right.
        crop_y: Where the window lies in its vertical room, 0 top to 1 bottom.
        rotate_deg: Turn about the window's centre, clockwise as seen, in degrees.
        crop_aspect: Width of the window over its height, in units of the frame's sides.
        shift_x: Shift to the right, as a share of the frame.
        shift_y: Shift downwards.
        zoom: Factor on the size.
        shear_deg: Lean of upright lines to the right, in degrees.
        flip: Mirrored at last.
        intensity: What happens to the greys.
    """

    crop_share: float = 1.0
    crop_x: float = 0.5
    crop_y: float = 0.5
    rotate_deg: float = 0.0
    crop_aspect: float = 1.0
    shift_x: float = 0.0
    shift_y: float = 0.0
    zoom: float = 1.0
    shear_deg: float = 0.0
    flip: bool = False
    intensity: Intensity = NO_CHANGE

    @property
    def still(self) -> bool:
        """Whether nothing moves: only the fit into the frame is left, and a flip."""
        moved = (self.rotate_deg, self.shift_x, self.shift_y, self.shear_deg)
        return (self.crop_share, self.crop_aspect, self.zoom) == (1.0, 1.0, 1.0) and not any(moved)


NONE = Augmentation()
NOTHING = AugmentConfig()
DRAWS = 13


def draw(rng: np.random.Generator, config: AugmentConfig = NOTHING) -> Augmentation:
    """Draw one augmentation; always the same number of draws, whatever the settings.

    Args:
        rng: The sample's own generator.
        config: How far chance may go; with ``randaug`` come two draws for each of its operations.
    """
    (share, x, y, turn, gain, aspect, right, down, zoom, shear, light, curve, mirror) = rng.random(
        DRAWS
    ).tolist()
    low, high = config.crop_scale
    drawn = Augmentation(
        crop_share=low + share * (high - low),
        crop_x=x,
        crop_y=y,
        rotate_deg=(2 * turn - 1) * config.rotate_deg,
        crop_aspect=config.crop_aspect ** (2 * aspect - 1),
        shift_x=(2 * right - 1) * config.shift,
        shift_y=(2 * down - 1) * config.shift,
        zoom=1 + (2 * zoom - 1) * config.zoom,
        shear_deg=(2 * shear - 1) * config.shear_deg,
        flip=mirror < config.flip,
        intensity=Intensity(
            brightness=(2 * light - 1) * config.brightness,
            contrast=1 + (2 * gain - 1) * config.contrast,
            gamma=config.gamma ** (2 * curve - 1),
        ),
    )
    if not config.randaug:
        return drawn
    return _with(drawn, randaugment.amounts(config.randaug, rng.random((randaugment.OPERATIONS, 2))))


def _with(drawn: Augmentation, more: Mapping[str, float]) -> Augmentation:
    """Add RandAugment's amounts to a draw."""
    return replace(
        drawn,
        **{
            name: getattr(drawn, name) + more[name]
            for name in ("rotate_deg", "shear_deg", "shift_x", "shift_y")
        },
        intensity=Intensity(
            gamma=drawn.intensity.gamma * 2 ** more["gamma"],
            contrast=drawn.intensity.contrast * 2 ** more["contrast"],
            brightness=drawn.intensity.brightness + more["brightness"],
        ),
    )


def letterbox_box(height: int, width: int, size: Pixels) -> Box:
    """Where an image lies in the frame it is letterboxed into.

    The side that is relatively longer fills the frame, the other is centred; an odd pixel of
    padding goes after the image.

    Args:
        height: Of the image, in pixels.
        width: Of the image, in pixels.
        size: Of the frame, in pixels.

    Returns:
        (top, left, new_height, new_width) in pixels of the frame.

    Source:
        Ours: every pixel of the image stays, and its aspect ratio with it.
    """
    rows, cols = rows_cols(size)
    scale = min(rows / height, cols / width)
    new_height, new_width = max(1, round(height * scale)), max(1, round(width * scale))
    return (rows - new_height) // 2, (cols - new_width) // 2, new_height, new_width


def fitted_box(height: int, width: int, size: Pixels, fit: Fit) -> Box:
    """Where an image lies in the frame when nothing moves: (top, left, height, width)."""
    return letterbox_box(height, width, size) if fit == "letterbox" else (0, 0, *rows_cols(size))


def affine(
    height: int, width: int, size: Pixels, fit: Fit, augmentation: Augmentation = NONE
) -> NDArray[np.float64]:
    """Map from the image's pixel coordinates to the frame's.

    The crop window has the frame's shape in letterbox fit, and the image's in stretch fit, both
    apart from ``crop_aspect``; it stays inside the image wherever the image is larger than it,
    and is centred elsewhere.

    Args:
        height: Of the image, in pixels.
        width: Of the image, in pixels.
        size: Of the frame, in pixels.
        fit: Keep the aspect ratio, or not.
        augmentation: What was drawn.

    Returns:
        (2, 3) matrix; ``[x', y'] = matrix @ [x, y, 1]``.
    """
    if augmentation.still:
        top, left, new_height, new_width = fitted_box(height, width, size, fit)
        linear = np.diag([new_width / width, new_height / height])
        shift = np.array([left, top], np.float64)
    else:
        linear, shift = _crop_and_turn(height, width, size, fit, augmentation)
    if augmentation.flip:
        mirror = np.diag([-1.0, 1.0])
        linear, shift = mirror @ linear, mirror @ shift + np.array([rows_cols(size)[1], 0.0])
    shift = linear @ np.array([0.5, 0.5]) + shift - 0.5  # from pixel edges to pixel centres
    return np.concatenate([linear, shift[:, None]], axis=1)


def _crop_and_turn(
    height: int, width: int, size: Pixels, fit: Fit, augmentation: Augmentation
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Linear part and shift in edge coordinates (0 at the outer edge of the first pixel)."""
    image = np.array([width, height], np.float64)
    frame = np.array(rows_cols(size)[::-1], np.float64)
    fills = np.argmax(image / frame)  # the axis on which the letterboxed image fills the frame
    whole = image if fit == "stretch" else frame * image[fills] / frame[fills]
    stretch = np.sqrt([augmentation.crop_aspect, 1 / augmentation.crop_aspect])
    window = np.minimum(whole * np.sqrt(augmentation.crop_share) * stretch, whole)
    place = np.array([augmentation.crop_x, augmentation.crop_y])
    centre = np.where(window < image, window / 2 + place * (image - window), image / 2)
    angle = np.deg2rad(augmentation.rotate_deg)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    lean = np.array([[1.0, -np.tan(np.deg2rad(augmentation.shear_deg))], [0.0, 1.0]])
    linear = augmentation.zoom * turn @ lean @ np.diag(frame / window)
    moved = np.array([augmentation.shift_x, augmentation.shift_y]) * frame
    return linear, frame / 2 + moved - linear @ centre


def place(
    image: NDArray[np.uint8], size: Pixels, fit: Fit, augmentation: Augmentation = NONE
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Put an image into the frame; greys stay.

    Args:
        image: (h, w) uint8.
        size: Of the frame, in pixels.
        fit: Keep the aspect ratio, or not.
        augmentation: What was drawn.

    Returns:
        The (rows, cols) uint8 frame, 0 where there is no image, and the (rows, cols) bool
        True where there is.
    """
    frame = rows_cols(size)
    out, valid = np.empty(frame, np.uint8), np.empty(frame, np.bool_)
    place_valid(image.shape, fit, augmentation, valid)
    place_image(image, fit, augmentation, out, valid)
    return out, valid


def place_image(
    image: NDArray[np.uint8],
    fit: Fit,
    augmentation: Augmentation,
    out: NDArray[np.uint8],
    valid: NDArray[np.bool_] | None = None,
) -> None:
    """Put an image into a frame that is there.

    Args:
        image: (h, w) uint8.
        fit: Keep the aspect ratio, or not.
        augmentation: What was drawn.
        out: (rows, cols) uint8; every pixel is written.
        valid: Of the same draw, from `place_valid`; made when None and needed.
    """
    height, width = image.shape
    frame = (len(out), out.shape[1])
    if augmentation.still:
        put(image, out, fitted_box(height, width, frame, fit))
        if augmentation.flip:
            out[:] = out[:, ::-1].copy()
        return
    if valid is None:
        valid = np.empty(frame, np.bool_)
        place_valid(image.shape, fit, augmentation, valid)
    small, matrix = shrunk(image, affine(height, width, frame, fit, augmentation))
    cv2.warpAffine(small, matrix, frame[::-1], out, cv2.INTER_LINEAR, cv2.BORDER_REPLICATE)
    np.multiply(out, valid.view(np.uint8), out=out)


def place_valid(shape: tuple[int, ...], fit: Fit, augmentation: Augmentation, out: NDArray[np.bool_]) -> None:
    """Make a frame True where an image comes to lie, and False elsewhere.

    Args:
        shape: Height and width of the image.
        fit: Keep the aspect ratio, or not.
        augmentation: What was drawn.
        out: (rows, cols) bool; every pixel is written.
    """
    height, width = shape
    frame = (len(out), out.shape[1])
    if not augmentation.still:
        fill_inside(out, affine(height, width, frame, fit, augmentation), (height, width))
        return
    fill_box(out, fitted_box(height, width, frame, fit))
    if augmentation.flip:
        out[:] = out[:, ::-1].copy()


def fill_box(valid: NDArray[np.bool_], box: Box) -> None:
    """Make a plane True inside a box and False around it."""
    top, left, height, width = box
    if (height, width) != valid.shape:
        valid[:] = False
    valid[top : top + height, left : left + width] = True


def fill_inside(valid: NDArray[np.bool_], matrix: NDArray[np.float64], shape: tuple[int, int]) -> None:
    """Make a plane True where the image of that shape comes to lie, by the pixels' centres.

    Args:
        valid: (rows, cols) bool, written to.
        matrix: From `affine`.
        shape: Height and width of the image.
    """
    back = cv2.invertAffineTransform(matrix)
    rows, columns = (np.arange(n, dtype=np.float64) for n in valid.shape)
    low, high = np.zeros(len(rows)), np.full(len(rows), float(len(columns)))
    for (a, b, c), size in zip(back, (shape[1], shape[0]), strict=True):
        offset = b * rows + c  # a * x + offset lies in (-0.5, size - 0.5)
        if abs(a) < 1e-9:
            high[(offset <= -0.5) | (offset >= size - 0.5)] = 0
            continue
        ends = np.sort(np.stack([(-0.5 - offset) / a, (size - 0.5 - offset) / a]), axis=0)
        low, high = np.maximum(low, np.floor(ends[0]) + 1), np.minimum(high, np.ceil(ends[1]))
    at = columns.astype(np.int16)[None]
    first, end = (edge.clip(0, len(columns)).astype(np.int16)[:, None] for edge in (low, high))
    np.logical_and(at >= first, at < end, out=valid)


def put(image: NDArray[np.uint8], out: NDArray[np.uint8], box: Box) -> None:
    """Write an image, resized where it must be, into a box of a plane, and 0 around it."""
    top, left, height, width = box
    image = resized(image, height, width)
    out[:top] = 0
    out[top + height :] = 0
    inside = out[top : top + height]
    inside[:, :left] = 0
    inside[:, left + width :] = 0
    inside[:, left : left + width] = image


def resized(image: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """Resize by the mean of areas where it shrinks, else between pixels.

    OpenCV takes 0.2 ms for whole factors and 9 ms for others (1280 px), so the whole factor goes
    first: only what is left of the picture goes the slow way.
    """
    if (height, width) == image.shape:
        return image
    if height > image.shape[0] or width > image.shape[1]:
        return np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8)
    factor = min(image.shape[0] // height, image.shape[1] // width)
    if factor > 1 and not (image.shape[0] % factor or image.shape[1] % factor):
        size = (image.shape[1] // factor, image.shape[0] // factor)
        image = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
    return np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


def shrunk(
    image: NDArray[np.uint8], matrix: NDArray[np.float64]
) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """Average pixels down to the target's scale, so that the warp has nothing to alias."""
    height, width = image.shape
    zoom_x, zoom_y = np.minimum(np.hypot(matrix[0, :2], matrix[1, :2]), 1.0)
    new_width, new_height = max(1, round(width * zoom_x)), max(1, round(height * zoom_y))
    if (new_height, new_width) == (height, width):
        return image, matrix
    small = resized(image, new_height, new_width)
    back = np.diag([width / new_width, height / new_height])  # small to image, edge coordinates
    shift = matrix[:, 2] + matrix[:, :2] @ (back @ np.array([0.5, 0.5]) - 0.5)
    return small, np.concatenate([matrix[:, :2] @ back, shift[:, None]], axis=1)


def place_polygons(
    polygons: Sequence[Mapping[str, Any]], matrix: NDArray[np.float64], size: Pixels
) -> NDArray[np.bool_]:
    """Rasterise contours in a frame; see `draw_polygons`."""
    out = np.zeros(rows_cols(size), np.bool_)
    draw_polygons(polygons, matrix, out)
    return out


def draw_polygons(
    polygons: Sequence[Mapping[str, Any]], matrix: NDArray[np.float64], out: NDArray[np.bool_]
) -> None:
    """Make a frame True inside contours.

    Args:
        polygons: Each with "x" and "y" lists in the image's pixels; joined, not subtracted.
        matrix: From `affine`, of the same image and augmentation.
        out: (rows, cols) bool, False at first.
    """
    for polygon in polygons:
        points = np.stack(
            [np.asarray(polygon["x"], np.float64), np.asarray(polygon["y"], np.float64)], axis=1
        )
        if len(points) < 3:
            continue
        moved = np.rint((points @ matrix[:, :2].T + matrix[:, 2]) * 16).astype(np.int32)
        cv2.fillPoly(out.view(np.uint8), [moved], 1, shift=4)
