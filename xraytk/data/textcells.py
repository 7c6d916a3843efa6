"""How likely each small cell of an image lies in a line of text, from the shapes in and around it.

Text is strokes: many, thin, sharp, of one grey value, on both sides of which the background
comes back, along and across the line. Sums of such responses over cells of 8 x 8 pixels go into a
small classifier, with those of the cells around; no letter is read. Letters of 5 to 12 pixels fill
a cell, so larger ones are sought on halved images.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Image8 = NDArray[np.uint8]
Map = NDArray[np.float32]

LONG_PX = 1280
CELL_PX = 8
STROKE_PX = 7
FEATURES = 11
LEAST_CONTRAST = 7
"""Cells whose strongest stroke is fainter, of 255, are never text."""
REACH = 4  # cells
INPUTS = 17 * FEATURES + 6
WEIGHTS = Path(__file__).with_name("textcells.npz")


def grey(pixels: NDArray[Any]) -> tuple[Image8, float]:
    """An image of at most 1280 pixels a side, over 0..255.

    Args:
        pixels: (H, W) uint8, or uint16 over 0..65535.

    Returns:
        (h, w), and its size in relation to the given one.
    """
    scale = min(1.0, LONG_PX / max(pixels.shape))
    if scale < 1:
        height, width = (max(1, round(n * scale)) for n in pixels.shape)
        pixels = _resize(pixels, width, height)
    if pixels.dtype == np.uint8:
        return pixels, scale
    return cv2.convertScaleAbs(pixels, alpha=1 / 257).astype(np.uint8, copy=False), scale


def levels(image: Image8, count: int = 4) -> list[Image8]:
    """The image, and its halvings.

    Args:
        image: (H, W).
        count: How many, with the image itself.
    """
    made = [image]
    while len(made) < count and min(made[-1].shape) >= 2 * CELL_PX:
        height, width = made[-1].shape
        made.append(_resize(made[-1], width // 2, height // 2))
    return made


def _resize(image: NDArray[Any], width: int, height: int) -> NDArray[Any]:
    return np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA))


def describe(image: Image8) -> Map:
    """Responses summed over cells.

    Args:
        image: (H, W); 8 pixels or more a side.

    Returns:
        (ceil(H / 8), ceil(W / 8), 11): mean absolute steps in x and y; mean of what is brighter
        than its surroundings within 7 pixels in x and y, and of what is darker; the spread, mean,
        highest and lowest value; and the strongest stroke.
    """
    height, width = image.shape
    rows, columns = -(-height // CELL_PX), -(-width // CELL_PX)
    image = cv2.copyMakeBorder(
        image, 0, rows * CELL_PX - height, 0, columns * CELL_PX - width, cv2.BORDER_REPLICATE
    ).astype(np.uint8, copy=False)
    flat, tall = np.ones((1, STROKE_PX), np.uint8), np.ones((STROKE_PX, 1), np.uint8)
    steps_x, steps_y = np.zeros_like(image), np.zeros_like(image)
    cv2.absdiff(image[:, 1:], image[:, :-1], dst=steps_x[:, 1:])
    cv2.absdiff(image[1:], image[:-1], dst=steps_y[1:])
    strokes = [
        cv2.morphologyEx(image, how, kernel)
        for how in (cv2.MORPH_TOPHAT, cv2.MORPH_BLACKHAT)
        for kernel in (flat, tall)
    ]
    most = np.maximum(np.maximum(strokes[0], strokes[1]), np.maximum(strokes[2], strokes[3]))
    out = np.empty((rows, columns, FEATURES), np.float32)
    for i, part in enumerate((steps_x, steps_y, *strokes)):
        out[..., i] = _means(part)
    out[..., 7] = _means(image)
    squares = _means(cv2.multiply(image, image, dtype=cv2.CV_16U))
    out[..., 6] = np.sqrt(np.maximum(squares - out[..., 7] ** 2, 0))
    block = np.ones((CELL_PX, CELL_PX), np.uint8)
    last = CELL_PX // 2  # the anchor of a block of 8 is its fifth pixel
    out[..., 8] = cv2.dilate(image, block)[last::CELL_PX, last::CELL_PX]
    out[..., 9] = cv2.erode(image, block)[last::CELL_PX, last::CELL_PX]
    out[..., 10] = cv2.dilate(most, block)[last::CELL_PX, last::CELL_PX]
    return out


def _means(image: NDArray[Any]) -> Map:
    """Means of cells by three halvings, each of which is much faster than one step to an eighth."""
    for _ in range(3):
        image = _resize(image, image.shape[1] // 2, image.shape[0] // 2)
    return np.asarray(image, np.float32)


def inputs(cells: Map, level: int) -> tuple[NDArray[np.intp], Map]:
    """What the classifier looks at, for each cell with strokes in it.

    The cell and its 8 neighbours, and the means of 8 blocks of 3 x 3 cells around those; each
    relative to the contrast of the middle, so that faint text looks like strong text.

    Args:
        cells: (rows, columns, 11), from `describe`.
        level: How often the image was halved.

    Returns:
        (n,) positions in the raveled (rows, columns), and (n, 193).
    """
    rows, columns, _ = cells.shape
    at = np.flatnonzero(cells[..., 10] >= LEAST_CONTRAST)
    padded = np.pad(cells, ((REACH, REACH), (REACH, REACH), (0, 0)), mode="edge")
    block = cv2.blur(padded, (3, 3))
    wide = columns + 2 * REACH
    middle = (at // columns + REACH) * wide + at % columns + REACH
    near = np.array([dy * wide + dx for dy in (-1, 0, 1) for dx in (-1, 0, 1)])
    far = np.array([3 * (dy * wide + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1) if dy or dx])
    seen = np.concatenate(
        [
            padded.reshape(-1, FEATURES)[middle[:, None] + near],
            block.reshape(-1, FEATURES)[middle[:, None] + far],
        ],
        axis=1,
    )
    high, low = seen[:, :9, 8].max(1), seen[:, :9, 9].min(1)
    contrast = high - low + 2
    noise = cv2.blur(cells[..., :2].sum(-1), (31, 31), borderType=cv2.BORDER_REPLICATE).ravel()[at]
    steps = seen[:, :9, :2].sum(-1).mean(1)
    seen[..., 7:10] -= low[:, None, None]
    seen /= contrast[:, None, None]
    seen[..., :7] *= 4
    np.clip(seen, -4, 4, out=seen)
    extra = [
        np.log(contrast) - 4,
        np.log((steps + 0.5) / (noise + 0.5)),
        np.log(noise + 0.5) - 1,
        high / 255,
        low / 255,
        np.full(len(at), level - 1.5),
    ]
    return at, np.concatenate([seen.reshape(len(at), -1), np.stack(extra, 1)], axis=1, dtype=np.float32)


@cache
def _weights() -> list[tuple[Map, Map]]:
    with np.load(WEIGHTS, allow_pickle=False) as kept:
        count = len(kept.files) // 2
        return [(kept[f"w{i}"].astype(np.float32), kept[f"b{i}"].astype(np.float32)) for i in range(count)]


def likelihood(cells: Map, level: int) -> Map:
    """Chance that each cell lies in text.

    Args:
        cells: (rows, columns, 11), from `describe`.
        level: How often the image was halved.

    Returns:
        (rows, columns) in [0, 1].
    """
    at, x = inputs(cells, level)
    layers = _weights()
    for weight, bias in layers[:-1]:
        x = np.maximum(x @ weight + bias, 0)
    weight, bias = layers[-1]
    out = np.zeros(cells.shape[0] * cells.shape[1], np.float32)
    out[at] = 1 / (1 + np.exp(-np.clip((x @ weight + bias)[:, 0], -30, 30)))
    return out.reshape(cells.shape[:2])
