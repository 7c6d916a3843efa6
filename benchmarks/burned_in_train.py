"""Fit the weights of `xraytk.data.textcells`.

    python benchmarks/burned_in_train.py [--phantoms 220] [--data DIR] [--out FILE.npz]

Phantoms (and, with --data, the public radiographs whose licence allows it, the first half of each
set in order of names) get text and clutter drawn in; the cells of text are the positives.
`burned_in.py` measures on other seeds and on the other halves.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from captions import Line, add_clutter, add_text
from numpy.typing import NDArray

from xraytk.data import textcells
from xraytk.data.synthetic import make_phantom

SETS = ("cls_nih", "covid_hannover", "tb_shenzhen_lung", "hd")  # CC BY, CC0 or free with attribution
MOST_OF_A_SET = 200
LETTERS_PX = (4.0, 15.0)
"""Heights of lines, on the level, that a level learns."""
NEGATIVES = 500


def backgrounds(phantoms: int, data: Path | None, cache: Path | None) -> list[Any]:
    """Seeds and paths."""
    real = []
    for name in SETS if data else ():
        files = sorted((data / name / "images").glob("*.*"))  # type: ignore[operator]
        half = files[: len(files) // 2]
        real += half[:: max(1, len(half) // MOST_OF_A_SET)]
    return [*range(phantoms), *real]


def load(what: Any, cache: Path | None) -> NDArray[np.uint16]:
    """A phantom of 1280 pixels, or a public radiograph, over 0..65535."""
    if isinstance(what, int):
        kept = cache / f"{what}.npy" if cache else None
        if kept and kept.exists():
            return np.asarray(np.load(kept))
        return np.rint(make_phantom(what, size_px=1280).pixels * 65535).astype(np.uint16)
    return cv2.imread(str(what), cv2.IMREAD_GRAYSCALE).astype(np.uint16) * 257


def resized(image: NDArray[np.uint16], long_px: float) -> NDArray[np.uint16]:
    """Enlarged or shrunk to a long side."""
    scale = long_px / max(image.shape)
    shape = (round(image.shape[1] * scale), round(image.shape[0] * scale))
    return np.asarray(cv2.resize(image, shape, interpolation=cv2.INTER_CUBIC if scale > 1 else cv2.INTER_AREA))


def truth(lines: list[Line], scale: float, level: int, shape: tuple[int, int]) -> NDArray[np.int8]:
    """1 where a cell is text of the right size, -1 where it does not matter, else 0."""
    side = textcells.CELL_PX * 2**level
    share = np.zeros(shape, np.float32)
    loose = np.zeros(shape, bool)
    for line in lines:
        x0, y0, x1, y1 = (v * scale / side for v in line.box)
        thick = min(x1 - x0, y1 - y0) * textcells.CELL_PX
        around = (slice(max(0, int(y0 - 0.7)), int(y1 + 1.7)), slice(max(0, int(x0 - 0.7)), int(x1 + 1.7)))
        loose[around] = True
        if not LETTERS_PX[0] <= thick <= LETTERS_PX[1]:
            continue
        rows, columns = np.arange(shape[0]), np.arange(shape[1])
        high = np.clip(np.minimum(rows + 1, y1) - np.maximum(rows, y0), 0, 1)
        wide = np.clip(np.minimum(columns + 1, x1) - np.maximum(columns, x0), 0, 1)
        share = np.maximum(share, (high / min(1, y1 - y0))[:, None] * (wide / min(1, x1 - x0))[None] * (
            (high[:, None] * wide[None]) > 0.2))
    out = np.zeros(shape, np.int8)
    out[loose] = -1
    out[share > 0.35] = 1
    return out


def examples(what: Any, seed: int, cache: Path | None, negatives: int = NEGATIVES) -> list[Any]:
    """(level, inputs, labels) of one drawn image."""
    rng = np.random.default_rng([7, seed])
    image = load(what, cache)
    native = rng.uniform(2000, 3000) if isinstance(what, int) or rng.random() < 0.6 else max(image.shape)
    image = resized(image, native)
    if rng.random() < (0.75 if isinstance(what, int) else 0.4):
        image = add_clutter(image, rng, most=8)
    lines: list[Line] = []
    if rng.random() < 0.7:
        image, lines = add_text(image, rng)
    grey, scale = textcells.grey(image)
    made = []
    for level, part in enumerate(textcells.levels(grey)):
        cells = textcells.describe(part)
        at, x = textcells.inputs(cells, level)
        y = truth(lines, scale, level, cells.shape[:2]).ravel()[at]
        no = np.flatnonzero(y == 0)
        keep = np.r_[np.flatnonzero(y == 1)[:3000], rng.permutation(no)[:negatives]]
        made.append((level, x[keep].astype(np.float16), y[keep], len(no)))
    return made
