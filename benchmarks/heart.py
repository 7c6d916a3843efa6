"""A heart on the lung net's encoder, for comparison only: nothing of it is shipped.

    python benchmarks/heart.py [--quick] [--json] [--data DIR] [--steps N] [--seeds N]

The outlined hearts that can be had (`seg_lr_heart`, 76 images of 54 patients) mostly may not be used
for weights that are given away, so xraytk measures the cardiothoracic ratio only where a person
outlined the heart. This says what a net would give: the lung net's encoder, frozen, with its
decoder and a head of one channel trained on four fifths of the patients and scored on the others,
five folds, several seeds. Beside it the mean heart of the training patients, laid into the box of
our lungs, and the mean ratio for everybody. "ratio" is the width of the heart over that of the
thorax between our lungs' outer borders; its errors are against a person's heart and lungs. All is
thrown away at the end. One thread; about 0.4 s of processor time a step.
"""

from __future__ import annotations

import argparse
import copy
import csv
import json
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from contour_train import Sample, letterboxed, varied
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from xraytk.data import contour, thoracic
from xraytk.models.lungs import SIDE_PX, WIDTHS, LungNet, lung_model
from xraytk.tasks import lungs

DATA = Path(__file__).parents[1] / "../shared/data"
FOLDS, CACHE_PX, BATCH, LR = 5, 320, 8, 2e-3
Map = NDArray[np.float32]
Mask = NDArray[np.bool_]


class Case(NamedTuple):
    """One image with a person's outlines, 320 pixels on the long side.

    Args:
        sample: The image, and its heart in every channel.
        heart: (H, W).
        ratio: Of the person's heart and lungs.
        ours: Whole lungs as the lung net outlines them.
        own_ratio: Of the person's heart and our lungs.
    """

    sample: Sample
    heart: Mask
    ratio: float
    ours: tuple[contour.Polygon, ...]
    own_ratio: float


def outline(mask: Mask, name: str) -> contour.Polygon:
    """The largest part of a mask."""
    return {**max(contour.trace(mask), key=_area), "name": name}


def _area(polygon: contour.Polygon) -> float:
    points = np.stack([polygon["x"], polygon["y"]], 1).astype(np.float32)
    return float(cv2.contourArea(points))


def cases(folder: Path) -> list[Case]:
    """All images on which a person outlined heart and lungs."""
    with (folder / "manifest.csv").open(encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    model, made = lung_model(), []
    for row in rows:
        image = cv2.imread(str(folder / row["image"]), cv2.IMREAD_GRAYSCALE)
        scale = CACHE_PX / max(image.shape)
        size = (round(image.shape[1] * scale), round(image.shape[0] * scale))
        masks = [cv2.imread(str(folder / row[c]), cv2.IMREAD_GRAYSCALE) > 127
                 for c in ("right_lung", "left_lung", "heart")]  # fmt: skip
        small = [cv2.resize(m.astype(np.uint8), size, interpolation=cv2.INTER_AREA) > 0 for m in masks]
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        human = [outline(m, n) for m, n in zip(small, (*contour.LUNGS, "heart"), strict=True)]
        ours = lungs.ask([image], model)[0].whole
        ratios = [thoracic.cardiothoracic_ratio(some, human[2]) for some in (human[:2], ours)]
        if None in ratios:
            continue
        stacked = np.repeat(small[2].astype(np.uint8)[..., None] * 255, 4, 2)
        sample = Sample(row["image"], row["patient"], image, stacked, (1, 1, 1, 1))
        made.append(Case(sample, small[2], float(ratios[0] or 0), ours, float(ratios[1] or 0)))
    return made


def heart_net() -> LungNet:
    """The lung net with a new head; what is not to be trained takes no gradient."""
    net = copy.deepcopy(lung_model().net)
    net.head = nn.Conv2d(WIDTHS[0], 1, 1)
    for name, weight in net.named_parameters():
        weight.requires_grad = name.startswith(("up", "head"))
    return net


def train(some: list[Case], steps: int, seed: int) -> LungNet:
    """A head and decoder for the hearts of ``some``; the encoder's normalisation stays as it is."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    net = heart_net().eval()
    free = [weight for weight in net.parameters() if weight.requires_grad]
    optimiser = torch.optim.AdamW(free, LR, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, LR, total_steps=steps, pct_start=0.1)
    for _ in range(steps):
        chosen = rng.integers(len(some), size=BATCH)
        pairs = [varied(rng, some[i].sample, gentle=bool(rng.random() < 0.6)) for i in chosen]
        images = torch.from_numpy(np.stack([p[0] for p in pairs]))[:, None]
        truth = torch.from_numpy(np.stack([p[1][..., 0] for p in pairs])).float()[:, None] / 255
        loss = loss_of(net(images.contiguous(memory_format=torch.channels_last)), truth)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        schedule.step()
    return net


def loss_of(logits: Tensor, truth: Tensor) -> Tensor:
    """Cross-entropy and soft Dice."""
    chance = logits.sigmoid()
    both, sizes = (chance * truth).sum((2, 3)), (chance + truth).sum((2, 3))
    return (
        functional.binary_cross_entropy_with_logits(logits, truth)
        + (1 - (2 * both + 50) / (sizes + 50)).mean()
    )


@torch.inference_mode()
def heart_of(net: LungNet, case: Case) -> Mask:
    """The net's heart in the image, from it and its mirrored copy."""
    grey, _, (top, left, tall, wide) = letterboxed(case.sample)
    both = torch.from_numpy(np.stack([grey, grey[:, ::-1]]))[:, None]
    out = net(both.contiguous(memory_format=torch.channels_last)).sigmoid().numpy()[:, 0]
    mean: Map = (out[0] + out[1][:, ::-1]) / 2
    part = np.ascontiguousarray(mean[int(top) : int(top + tall), int(left) : int(left + wide)])
    height, width = case.heart.shape
    return largest(cv2.resize(part, (width, height), interpolation=cv2.INTER_LINEAR) > 0.5)


def largest(mask: Mask) -> Mask:
    """Its largest part."""
    count, parts, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8))
    return np.asarray(parts == 1 + int(stats[1:, cv2.CC_STAT_AREA].argmax())) if count > 1 else mask


def box_of(polygons: tuple[contour.Polygon, ...]) -> tuple[float, float, float, float]:
    """Left, top, right, bottom of outlines."""
    x, y = np.concatenate([p["x"] for p in polygons]), np.concatenate([p["y"] for p in polygons])
    return float(x.min()), float(y.min()), float(x.max()), float(y.max())


def framed(case: Case) -> Map:
    """The person's heart, brought from the box of our lungs into a square with a margin."""
    return cv2.warpAffine(case.heart.astype(np.float32), _to_square(case), (SIDE_PX, SIDE_PX))


def _to_square(case: Case) -> NDArray[np.float64]:
    x0, y0, x1, y1 = box_of(case.ours)
    scale_x, scale_y = 200 / (x1 - x0), 200 / (y1 - y0)
    return np.array([[scale_x, 0, 28 - x0 * scale_x], [0, scale_y, 28 - y0 * scale_y]])


def score(case: Case, heart: Mask) -> dict[str, float]:
    """Overlap and ratio of one answer; a missing heart is as wrong as can be."""
    dice = 2 * float((heart & case.heart).sum()) / max(float(heart.sum() + case.heart.sum()), 1.0)
    ratio = thoracic.cardiothoracic_ratio(case.ours, outline(heart, "heart")) if heart.any() else None
    return {"dice": dice, "error": (ratio or 0.0) - case.ratio}


def folds_of(some: list[Case], seed: int) -> list[list[int]]:
    """Indices of the scored images of each fold, patients kept together."""
    patients = sorted({c.sample.patient for c in some})
    order = np.random.default_rng(seed).permutation(len(patients))
    at = {patients[p]: k % FOLDS for k, p in enumerate(order)}
    return [[i for i, c in enumerate(some) if at[c.sample.patient] == f] for f in range(FOLDS)]


def measure(some: list[Case], steps: int, seeds: int, folds: int) -> list[dict[str, Any]]:
    """One row a way and seed, and one over the seeds."""
    rows: list[dict[str, Any]] = []
    for seed in range(seeds):
        began = time.perf_counter()
        got: dict[str, list[dict[str, float]]] = {"net": [], "mean heart": [], "mean ratio": []}
        for inside in folds_of(some, seed)[:folds]:
            rest = [c for i, c in enumerate(some) if i not in inside]
            net = train(rest, steps, seed)
            mean: Map = np.mean([framed(c) for c in rest], 0, dtype=np.float32)
            usual = float(np.mean([c.ratio for c in rest]))
            for case in (some[i] for i in inside):
                height, width = case.heart.shape
                laid = cv2.warpAffine(mean, _to_square(case), (width, height), flags=cv2.WARP_INVERSE_MAP)
                got["net"].append(score(case, heart_of(net, case)))
                got["mean heart"].append(score(case, largest(laid > 0.5)))
                got["mean ratio"].append({"dice": float("nan"), "error": usual - case.ratio})
        took = round(time.perf_counter() - began)
        rows += [{"way": way, "seed": seed, **summary(each)} for way, each in got.items()]
        print(f"seed {seed}: {took} s", file=sys.stderr)
    own = [{"dice": 1.0, "error": c.own_ratio - c.ratio} for c in some]
    rows.append({"way": "a person's heart, our lungs", "seed": "", **summary(own)})
    nets = [row for row in rows if row["way"] == "net"]
    over = {
        key: round(float(np.mean([row[key] for row in nets])), 4) for key in ("dice", "p05", "mean_absolute")
    }
    spread = round(float(np.std([row["dice"] for row in nets])), 4)
    return [*rows, {"way": "net, over seeds", "seed": "all", **over, "dice_spread": spread}]


def summary(each: list[dict[str, float]]) -> dict[str, Any]:
    """Means over images."""
    dice, error = (np.array([one[key] for one in each]) for key in ("dice", "error"))
    overlap = {"dice": round(float(dice.mean()), 4), "p05": round(float(np.percentile(dice, 5)), 4)}
    return {
        "images": len(each),
        **(overlap if np.isfinite(dice).all() else {}),
        "mean_error": round(float(error.mean()), 4),
        "mean_absolute": round(float(abs(error).mean()), 4),
        "p95_absolute": round(float(np.percentile(abs(error), 95)), 4),
    }


def main() -> int:
    """Train, score, print, and forget."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one seed, one fold, 20 steps")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    parser.add_argument("--data", type=Path, default=DATA, help="folder that holds seg_lr_heart")
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--seeds", type=int, default=3)
    args = parser.parse_args()
    folder = args.data / "seg_lr_heart"
    if not (folder / "manifest.csv").exists():
        print(f"no seg_lr_heart found in {args.data}; give the folder that holds it with --data")
        return 3
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    steps, seeds, folds = (20, 1, 1) if args.quick else (args.steps, args.seeds, FOLDS)
    rows = measure(cases(folder), steps, seeds, folds)
    if args.json:
        print(json.dumps({"steps": steps, "rows": rows}))
    else:
        print(*("  ".join(f"{key} {value}" for key, value in row.items()) for row in rows), sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
