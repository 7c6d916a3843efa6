"""Fit the weights of `xraytk.data.textcells`.

    python benchmarks/burned_in_train.py [--phantoms 220] [--data DIR] [--out FILE.npz]

Phantoms (and, with --data, the public radiographs whose licence allows it, the first half of each
set in order of names) get text and clutter drawn in; the cells of text are the positives.
`burned_in.py` measures on other seeds and on the other halves.
"""

from __future__ import annotations

import argparse
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from captions import Line, add_text
from clutter import add_clutter
from numpy.typing import NDArray

from xraytk.data import textcells
from xraytk.data.synthetic import make_phantom

SETS = ("cls_nih", "covid_hannover", "tb_shenzhen_lung", "hd")  # CC BY, CC0 or free with attribution
MOST_OF_A_SET = 200
LETTERS_PX = (4.0, 15.0)
"""Heights of lines, on the level, that a level learns."""
NEGATIVES = 250
REAL_TEXT = 0.95
"""Public radiographs with such a cell may hold text of their own: their doubtful cells are left out."""
SCREENED, ACCEPTED = 0.03, -1.0
"""Share of cells of text that the first classifier may lose, of those with log-odds in the second."""
BATCH = 2048
HARD = 0.05
"""Cells without text that the weights at hand give this chance are all kept."""


def backgrounds(phantoms: int, data: Path | None) -> list[Any]:
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
    return np.asarray(
        cv2.resize(image, shape, interpolation=cv2.INTER_CUBIC if scale > 1 else cv2.INTER_AREA)
    )


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
        share = np.maximum(
            share,
            (high / min(1, y1 - y0))[:, None]
            * (wide / min(1, x1 - x0))[None]
            * ((high[:, None] * wide[None]) > 0.2),
        )
    out = np.zeros(shape, np.int8)
    out[loose] = -1
    out[share > 0.35] = 1
    return out


def examples(what: Any, seed: int, cache: Path | None, negatives: int = NEGATIVES) -> tuple[Any, Any]:
    """Inputs (n, 193) and labels (n,) of one drawn image."""
    rng = np.random.default_rng([7, seed])
    image = load(what, cache)
    native = rng.uniform(2000, 3000) if isinstance(what, int) or rng.random() < 0.6 else max(image.shape)
    image = resized(image, native)
    if rng.random() < (0.8 if isinstance(what, int) else 0.5):
        image = add_clutter(image, rng, most=8)
    lines: list[Line] = []
    if rng.random() < 0.75:
        image, lines = add_text(image, rng, faint=0.35)
    grey, scale = textcells.grey(image)
    made = []
    for level, part in enumerate(textcells.levels(grey)):
        cells = textcells.describe(part)
        near = textcells.relate(cells)
        at, _ = textcells.screen(cells, near)
        x = textcells.inputs(cells, near, at, level)
        y = truth(lines, scale, level, cells.shape[:2]).ravel()[at]
        no = np.flatnonzero(y == 0)
        chance = textcells.likelihood(cells, level).ravel()[at]
        if not isinstance(what, int) and chance[no].max(initial=0) > REAL_TEXT:
            no = no[chance[no] < HARD]
        hard = rng.permutation(no[chance[no] > HARD])[: 2 * negatives]
        keep = np.r_[np.flatnonzero(y == 1)[:3000], rng.permutation(no)[:negatives], hard]
        made.append((x[keep].astype(np.float16), y[keep]))
    return np.concatenate([x for x, _ in made]), np.concatenate([y for _, y in made])


def screen_inputs(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """What `textcells.screen` gives, from what `textcells.inputs` gives."""
    f = textcells.FEATURES
    return np.concatenate([x[:, : 9 * f].reshape(-1, 9, f).mean(1), x[:, 17 * f : 17 * f + 3]], 1)


def fit(
    x: NDArray[np.float32], y: NDArray[np.int8], hidden: tuple[int, ...], epochs: int, weight: float
) -> Any:
    """Layers [(weights, biases)] of a small classifier, by AdamW on cross-entropy."""
    import torch
    from torch import nn

    torch.manual_seed(0)
    torch.set_num_threads(1)
    sizes = (x.shape[1], *hidden, 1)
    layers: list[nn.Module] = []
    for a, b in pairwise(sizes):
        layers += [nn.Linear(a, b), nn.ReLU()]
    net = nn.Sequential(*layers[:-1])
    inputs, labels = torch.from_numpy(x), torch.from_numpy(y.astype(np.float32))
    steps = epochs * (len(x) // BATCH)
    optimizer = torch.optim.AdamW(net.parameters(), lr=4e-3, weight_decay=1e-3)
    rate = torch.optim.lr_scheduler.OneCycleLR(optimizer, 8e-3, steps)
    loss_of = nn.BCEWithLogitsLoss(pos_weight=torch.tensor(weight))
    for _ in range(epochs):
        order = torch.randperm(len(x))
        for start in range(0, len(x) - BATCH + 1, BATCH):
            batch = order[start : start + BATCH]
            optimizer.zero_grad()
            loss = loss_of(net(inputs[batch].float())[:, 0], labels[batch] * 0.98 + 0.005)
            loss.backward()
            optimizer.step()
            rate.step()
    return [
        (m.weight.detach().numpy().T.copy(), m.bias.detach().numpy()) for m in net if isinstance(m, nn.Linear)
    ]


def score(x: NDArray[np.float32], layers: Any) -> NDArray[np.float32]:
    """Log-odds."""
    for weight, bias in layers[:-1]:
        x = np.maximum(x @ weight + bias, 0)
    return np.asarray((x @ layers[-1][0] + layers[-1][1])[:, 0])


def save(x: NDArray[np.float16], y: NDArray[np.int8], out: Path, epochs: int) -> None:
    """Fit both classifiers and write them; the first lets nearly all text pass."""
    known = y >= 0
    x, y = x[known], y[known]
    second = fit(x, y, (48, 16), epochs, 1.0)
    text = x[y == 1].astype(np.float32)
    text = text[score(text, second) > ACCEPTED]
    first = fit(screen_inputs(x.astype(np.float32)), y, (12,), epochs, 10.0)
    first[-1] = (first[-1][0], first[-1][1] - np.quantile(score(screen_inputs(text), first), SCREENED))
    made = {"screen": first, "cells": second}
    np.savez_compressed(
        out,
        **{
            f"{name}_{kind}{i}": value.astype(np.float16)
            for name, layers in made.items()
            for i, layer in enumerate(layers)
            for kind, value in zip("wb", layer, strict=True)
        },
    )


def main() -> None:
    """Draw, fit, write; twice, so that the second time starts from what the first takes for text."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--phantoms", type=int, default=220)
    parser.add_argument("--data", type=Path, help="the folder of public radiographs")
    parser.add_argument("--cache", type=Path, help="phantoms kept as SEED.npy")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--out", type=Path, default=textcells.WEIGHTS)
    options = parser.parse_args()
    xs, ys = [], []
    for turn in range(options.rounds):
        for i, what in enumerate(backgrounds(options.phantoms, options.data)):
            x, y = examples(what, turn * 10_000 + i, options.cache)
            xs.append(x)
            ys.append(y)
        save(np.concatenate(xs), np.concatenate(ys), options.out, options.epochs)
        textcells._weights.cache_clear()
        print(f"round {turn}: {sum(map(len, ys)):,} cells, {sum(int((y == 1).sum()) for y in ys):,} of text")


if __name__ == "__main__":
    main()
