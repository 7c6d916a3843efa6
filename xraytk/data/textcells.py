"""How likely each small cell of an image lies in a line of text, from the shapes in and around it.

Text is strokes: many, thin, sharp, of one grey value, on both sides of which the background
comes back, along and across the line. Sums of such responses over cells of 8 x 8 pixels go into a
small classifier, with those of the cells around; no letter is read. Letters of 5 to 12 pixels fill
a cell, so larger ones are sought on halved images.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
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
BAND_CELLS = 24
FEATURES = 11
LEAST_CONTRAST = 7
"""Cells whose strongest stroke is fainter, of 255, are never text."""
INPUTS = 17 * FEATURES + 6
CHUNK = 1024
_UNITS = np.array([4] * 7 + [1] * 4, np.float32)  # sums are small beside the contrast
WEIGHTS = Path(__file__).with_name("textcells.npz")
"""Made by benchmarks/burned_in_train.py from phantoms and, as backgrounds, halves of four public sets:
NIH ChestX-ray14, COVID-19 Hannover (CC BY 3.0), Shenzhen (CC0)."""


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
        even = made[-1][: height // 2 * 2, : width // 2 * 2]
        made.append(_resize(even, width // 2, height // 2))
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
    out = np.empty((rows, columns, FEATURES), np.float32)
    for row in range(0, rows, BAND_CELLS):  # a band and what comes of it stay in the cache
        last = min(row + BAND_CELLS, rows)
        above, below = min(row, 1), min(rows - last, 1)
        band = image[(row - above) * CELL_PX : (last + below) * CELL_PX]
        out[row:last] = _describe_band(band)[above : above + last - row]
    return out


def _describe_band(image: Image8) -> Map:
    """`describe` for rows and columns that are multiples of 8."""
    flat, tall = np.ones((1, STROKE_PX), np.uint8), np.ones((STROKE_PX, 1), np.uint8)
    steps_x, steps_y = np.zeros_like(image), np.zeros_like(image)
    cv2.absdiff(image[:, 1:], image[:, :-1], dst=steps_x[:, 1:])
    cv2.absdiff(image[1:], image[:-1], dst=steps_y[1:])
    strokes = [
        cv2.morphologyEx(image, how, kernel)
        for how in (cv2.MORPH_TOPHAT, cv2.MORPH_BLACKHAT)
        for kernel in (flat, tall)
    ]
    most = cv2.max(cv2.max(strokes[0], strokes[1]), cv2.max(strokes[2], strokes[3]))
    out = np.empty((image.shape[0] // CELL_PX, image.shape[1] // CELL_PX, FEATURES), np.float32)
    for i, part in enumerate((steps_x, steps_y, *strokes)):
        out[..., i] = _means(part)
    out[..., 7] = _means(image)
    squares = _means(np.multiply(image, image, dtype=np.uint16))
    out[..., 6] = np.sqrt(np.maximum(squares - out[..., 7] ** 2, 0))
    out[..., 8] = _extremes(image, cv2.max, cv2.dilate)
    out[..., 9] = _extremes(image, cv2.min, cv2.erode)
    out[..., 10] = _extremes(most, cv2.max, cv2.dilate)
    return out


def _means(image: NDArray[Any]) -> Map:
    """Means of cells by three halvings, each of which is much faster than one step to an eighth."""
    for _ in range(3):
        image = _resize(image, image.shape[1] // 2, image.shape[0] // 2)
    return np.asarray(image, np.float32)


def _extremes(image: NDArray[Any], extreme: Callable[..., Any], spread: Callable[..., Any]) -> Image8:
    """Highest or lowest values of cells; rows are halved first, which is faster than a block of 8 x 8."""
    for _ in range(3):
        image = extreme(image[::2], image[1::2])
    row = np.ones((1, CELL_PX), np.uint8)  # whose anchor is its fifth pixel
    return np.asarray(spread(image, row)[:, CELL_PX // 2 :: CELL_PX], np.uint8)


@dataclass(frozen=True, slots=True)
class Nearby:
    """Cells put in relation to those around them.

    Args:
        block: (rows, columns, 11) means over 3 x 3 cells.
        low: (rows, columns) lowest value in 3 x 3 cells.
        contrast: (rows, columns) highest minus lowest, plus 2.
        steps: (rows, columns) log of the steps in 3 x 3 cells over those of 31 x 31.
        noise: (rows, columns) log of the latter.
    """

    block: Map
    low: Map
    contrast: Map
    steps: Map
    noise: Map


def relate(cells: Map) -> Nearby:
    """What `screen` and `inputs` share.

    Args:
        cells: (rows, columns, 11), from `describe`.
    """
    replicate, square = cv2.BORDER_REPLICATE, np.ones((3, 3), np.uint8)
    block = np.asarray(cv2.blur(cells, (3, 3), borderType=replicate), np.float32)
    low = np.asarray(cv2.erode(cells[..., 9], square), np.float32)
    high = np.asarray(cv2.dilate(cells[..., 8], square), np.float32)
    noise = cv2.blur(cells[..., 0] + cells[..., 1], (31, 31), borderType=replicate) + 0.5
    steps = np.log((block[..., 0] + block[..., 1] + 0.5) / noise)
    return Nearby(block, low, high - low + 2, steps, np.log(noise) - 1)


def screen(cells: Map, near: Nearby) -> tuple[NDArray[np.intp], Map]:
    """Cells with strokes in them, and what the first, small classifier looks at.

    Args:
        cells: (rows, columns, 11), from `describe`.
        near: From `relate`.

    Returns:
        (n,) positions in the raveled (rows, columns), and (n, 14).
    """
    at = np.flatnonzero(cells[..., 10] >= LEAST_CONTRAST)
    contrast = near.contrast.ravel()[at, None]
    x = np.empty((len(at), FEATURES + 3), np.float32)
    x[:, :FEATURES] = near.block.reshape(-1, FEATURES)[at]
    x[:, 7:10] -= near.low.ravel()[at, None]
    x[:, :FEATURES] *= _UNITS / contrast
    x[:, -3] = np.log(contrast[:, 0]) - 4
    x[:, -2] = near.steps.ravel()[at]
    x[:, -1] = near.noise.ravel()[at]
    return at, x


def inputs(cells: Map, near: Nearby, at: NDArray[np.intp], level: int) -> Map:
    """What the second classifier looks at.

    The cell and its 8 neighbours, and the means of 8 blocks of 3 x 3 cells around those; each
    relative to the contrast of the middle, so that faint text looks like strong text.

    Args:
        cells: (rows, columns, 11), from `describe`.
        near: From `relate`.
        at: (n,) positions in the raveled (rows, columns).
        level: How often the image was halved.

    Returns:
        (n, 193).
    """
    rows, columns, _ = cells.shape
    y, x = np.divmod(at, columns)
    out = np.empty((len(at), INPUTS), np.float32)
    seen = out[:, : 17 * FEATURES].reshape(len(at), 17, FEATURES)
    scale = 1 / near.contrast.ravel()[at]
    low = near.low.ravel()[at]
    ring = np.array([(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)])
    beside = ring[ring.any(axis=1)]
    for part, source, steps in ((seen[:, :9], cells, ring), (seen[:, 9:], near.block, 3 * beside)):
        there = np.clip(y[:, None] + steps[:, 0], 0, rows - 1) * columns
        there += np.clip(x[:, None] + steps[:, 1], 0, columns - 1)
        part[:] = source.reshape(-1, FEATURES)[there]
    seen[..., 7:10] -= low[:, None, None]
    seen *= (scale[:, None] * _UNITS)[:, None]
    np.clip(seen, -4, 4, out=seen)
    rest = out[:, 17 * FEATURES :]
    rest[:, 0] = -np.log(scale) - 4
    rest[:, 1] = near.steps.ravel()[at]
    rest[:, 2] = near.noise.ravel()[at]
    rest[:, 3] = (1 / scale + low - 2) / 255
    rest[:, 4] = low / 255
    rest[:, 5] = level - 1.5
    return out


@cache
def _weights(which: str) -> list[tuple[Map, Map]]:
    """Layers of a classifier: "screen" or "cells"."""
    with np.load(WEIGHTS, allow_pickle=False) as kept:
        count = sum(name.startswith(f"{which}_w") for name in kept.files)
        return [
            (kept[f"{which}_w{i}"].astype(np.float32), kept[f"{which}_b{i}"].astype(np.float32))
            for i in range(count)
        ]


def _score(x: Map, which: str) -> Map:
    """Log-odds (n,) of inputs (n, f)."""
    layers = _weights(which)
    for weight, bias in layers[:-1]:
        x = np.maximum(x @ weight + bias, 0)
    return np.asarray((x @ layers[-1][0] + layers[-1][1])[:, 0])


def likelihood(cells: Map, level: int) -> Map:
    """Chance that each cell lies in text.

    Args:
        cells: (rows, columns, 11), from `describe`.
        level: How often the image was halved.

    Returns:
        (rows, columns) in [0, 1].
    """
    near = relate(cells)
    at, x = screen(cells, near)
    at = at[_score(x, "screen") > 0]
    out = np.zeros(cells.shape[0] * cells.shape[1], np.float32)
    if not len(at):
        return out.reshape(cells.shape[:2])
    for some in np.array_split(at, len(at) // CHUNK + 1):  # small enough for the cache
        out[some] = 1 / (1 + np.exp(-np.clip(_score(inputs(cells, near, some, level), "cells"), -30, 30)))
    return out.reshape(cells.shape[:2])
