"""Train the lung net of `xraytk.models.lungs`, and write its model card.

    python benchmarks/contour_train.py --data DIR --out xraytk/models/lung_model

DIR holds public sets whose licence lets weights be shipped (`LABELLED`, `UNLABELLED`), each with
a manifest.csv. Two rounds: first on human outlines; then the net outlines the unlabelled adults,
those that it outlines the same way mirrored and turned join, and training goes on. Patients of the
validation parts are never seen. Both rounds are kept in --cache, and a stopped run goes on there.
"""

from __future__ import annotations

import argparse
import copy
import csv
import hashlib
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional
from torch.utils.data import DataLoader, IterableDataset

from xraytk.data import contour, plausible
from xraytk.data.phantoms.phantom import make_phantom
from xraytk.data.square import normalised
from xraytk.models.lungs import WEIGHTS, LungNet, answers

Rng = np.random.Generator
Picture = NDArray[np.uint8]

SIDE, CACHE_PX = 256, 320
FREE = ("CC BY 3.0", "CC BY 4.0")  # image licences of `seg` that let weights be shipped
SHARES = {"seg": 0.25, "tb_shenzhen_lung": 0.25, "cls_pediatric_pneumonia": 0.5}  # of a batch
PHANTOMS, PHANTOM_SHARE = 150, 0.06  # of xraytk itself, so that its demo has lungs too
GUESSED_SHARE = 0.3  # of a batch in the second round
GENTLE = 0.25, 0.6  # share of draws that are varied little, in the first round and in the second
UNLABELLED = ("cls_nih", "covid_hannover", "hd")
AGREED = 0.965  # Dice of two guesses for one image, from which on it joins
TRUST_DRAWS = 900
WHOLE, CLEAR = (1, 1, 0, 0), (0, 0, 1, 1)  # which channels an outline speaks of


CARD = """# Lung net of xraytk

Outlines both lungs in a frontal chest radiograph, in two conventions: whole (with what lies behind
the heart, as the V7 outlines) and clear (without what heart and mediastinum cover, as those of
Shenzhen, JSRT and Montgomery). Used by `xraytk mask`. Research software, not a medical device.

- Input: the image letterboxed to 256 x 256, its 1st to 99th percentile as -1 to 1. Output: chances
  of right and left whole, right and left clear lung; right is the patient's.
- Model: a U-Net at half the input's resolution, {millions:.2f} million numbers, stored as float16;
  beside it an atlas (mean of human outlines), the mean and covariance of twelve numbers of a human
  outline's shape, and the weights that turn evidence into an expected Dice.
- Weights: Apache-2.0, as the package.
- No heart: of the outlines of hearts at hand, one image may be used for weights that are shipped.

## Data

- Adults with V7 outlines (CC BY 4.0) whose images are CC BY 3.0 or 4.0 (most from the Hannover
  COVID-19 repository, Winther et al., 10.6084/m9.figshare.12275009): whole lungs.
- Children of Kermany et al. 2018 (CC BY 4.0) with V7 outlines (CC BY 4.0): whole lungs.
- Adults of the Shenzhen tuberculosis set (CC0 as stated by its copy; Jaeger et al. 2014, Candemir
  et al. 2014), four of five: clear lungs.
- Without outlines: NIH ChestX-ray8 (free use with attribution: NIH Clinical Center, Wang et al.
  2017) and the Hannover repository (CC BY 3.0); {joined} images that the net of the first round
  outlined the same way mirrored.
- Phantoms of xraytk.
- Varied strongly (a quarter of the first round and six tenths of the second: little): exposure,
  inversion, turns to 22 degrees, mirroring, crops, borders, tubes, devices, letters, opacities, grain.
- Made by: `python benchmarks/contour_train.py --data DIR --out xraytk/models/lung_model
  --steps {steps} --more {more} --seed {seed}`. Weights differ a little between machines.

## Scores

Patients that training did not see; Dice with human outlines, each set in its own convention.
Adults of `seg` that are scored are those whose licence does not let weights be shipped: many
sources, COVID-19 for the most part. Children: the validation part. Shenzhen: one image in five.
On the net's square; `python benchmarks/contour.py` scores polygons at full size, beside peers.

| | images | mean Dice | 5th percentile |
|---|---|---|---|
{rows}
"""


class Sample(NamedTuple):
    """An image in its native aspect, 320 pixels on the long side.

    Args:
        name: Set and file.
        patient: Set and patient.
        image: (H, W) uint8.
        masks: (H, W, 4) uint8, 0 or 255.
        known: Which of the four are known.
    """

    name: str
    patient: str
    image: Picture
    masks: Picture
    known: tuple[int, int, int, int]


def sides_of(mask: Picture) -> tuple[Picture, Picture] | None:
    """The lung on the image's left and the one on its right; None if they cannot be told apart."""
    ink = (mask > 127).astype(np.uint8)
    middle = mask.shape[1] / 2
    for erosions in range(12):
        core = cv2.erode(ink, np.ones((3, 3), np.uint8), iterations=erosions) if erosions else ink
        count, parts, stats, centres = cv2.connectedComponentsWithStats(core)
        large = [i for i in range(1, count) if stats[i, cv2.CC_STAT_AREA] > 0.1 * max(1, int(ink.sum()))]
        if len(large) >= 2:
            break
    else:
        large = large[:1]
    if not large:
        return None
    if len(large) == 1:
        x, width = stats[large[0], cv2.CC_STAT_LEFT], stats[large[0], cv2.CC_STAT_WIDTH]
        if x < middle - 0.1 * mask.shape[1] and x + width > middle + 0.1 * mask.shape[1]:
            return None
    large = sorted(large, key=lambda i: -stats[i, cv2.CC_STAT_AREA])[:2]
    far = np.stack([cv2.distanceTransform((parts != i).astype(np.uint8), cv2.DIST_L2, 5) for i in large])
    nearest = far.argmin(0)
    out = [np.zeros_like(mask), np.zeros_like(mask)]
    order = sorted(range(len(large)), key=lambda k: centres[large[k]][0])
    for place, k in enumerate(order):
        side = place if len(large) == 2 else int(centres[large[k]][0] > middle)
        out[side][(nearest == k) & (ink > 0)] = 255
    return out[0], out[1]


def rows_of(folder: Path) -> list[dict[str, str]]:
    """Rows of a set's manifest."""
    with (folder / "manifest.csv").open(encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def in_fifth(patient: str) -> bool:
    """Whether a patient is of the fifth that is kept out."""
    return hashlib.sha256(patient.encode()).digest()[0] < 51


def read(path: Path, native_size: str | None) -> Picture | None:
    """A grey picture of 320 pixels on its long side, unsquashed where the native size is known."""
    image = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    if image is None:
        return None
    width, height = map(int, native_size.split("x")) if native_size else image.shape[::-1]
    scale = CACHE_PX / max(width, height)
    size = (round(width * scale), round(height * scale))
    how = cv2.INTER_AREA if image.shape[1] > size[0] else cv2.INTER_LINEAR  # area enlarges in steps
    return np.asarray(cv2.resize(image, size, interpolation=how), np.uint8)


def labelled(data: Path, name: str) -> tuple[list[Sample], list[Sample]]:
    """Samples of a set with outlines: for training, and for validation."""
    train: list[Sample] = []
    valid: list[Sample] = []
    rows = [row for row in rows_of(data / name) if row["lung_mask"]]
    free = {row["patient"] for row in rows if row.get("image_license", "").strip() in FREE}
    for row in rows:
        size = row.get("native_size") if name == "cls_pediatric_pneumonia" else None
        image = read(data / name / row["image"], size)
        mask = read(data / name / row["lung_mask"], size)
        if image is None or mask is None or (lungs := sides_of(mask)) is None:
            continue
        patient = row.get("patient") or row["image"]
        if name == "seg":
            is_free = row["image_license"].strip() in FREE
            if not is_free and patient in free:
                continue  # another image of a patient of the training
            is_valid = not is_free
        elif name == "cls_pediatric_pneumonia":
            is_valid = row["split"] == "val"
        else:
            is_valid = in_fifth(patient)
        known = CLEAR if name == "tb_shenzhen_lung" else WHOLE
        masks = np.stack([*lungs, *lungs], -1)
        (valid if is_valid else train).append(Sample(f"{name}/{row['image']}", patient, image, masks, known))
    return train, valid


def phantoms() -> list[Sample]:
    """Drawn chests with the outlines that they were drawn from."""
    out = []
    for seed in range(PHANTOMS):
        made = make_phantom(7_000 + seed, size_px=CACHE_PX)
        image = np.rint(np.clip(made.pixels, 0, 1) * 255).astype(np.uint8)
        lungs = [np.asarray(m, np.uint8) * 255 for m in (made.right_lung, made.left_lung)]
        out.append(Sample(f"phantom/{seed}", str(seed), image, np.stack([*lungs, *lungs], -1), CLEAR))
    return out


def opacities(rng: Rng, image: NDArray[np.float32], lungs: NDArray[np.float32]) -> NDArray[np.float32]:
    """Consolidation or effusion: cloudy bright parts within the lungs, often of the lower half."""
    clouds = cv2.resize(
        rng.random((rng.integers(3, 12), rng.integers(3, 12))).astype(np.float32),
        (SIDE, SIDE),
        interpolation=cv2.INTER_CUBIC,
    )
    clouds = np.clip((clouds - rng.uniform(0.3, 0.7)) * rng.uniform(1.5, 4), 0, 1)
    if rng.random() < 0.4:
        edge = rng.uniform(0.35, 0.8) * SIDE
        clouds = np.maximum(
            clouds, np.clip((np.arange(SIDE)[:, None] - edge) / rng.uniform(3, 40), 0, 1) * np.ones((1, SIDE))
        )
    if rng.random() < 0.5:
        clouds[:, : SIDE // 2] *= rng.random() < 0.5
    soft = cv2.GaussianBlur(lungs, (0, 0), rng.uniform(2, 8))
    weight = clouds * soft * rng.uniform(0.3, 0.95)
    level = rng.uniform(0.5, 0.85)
    return np.asarray(image * (1 - weight) + level * weight, np.float32)


def clutter(rng: Rng, image: NDArray[np.float32]) -> None:
    """Tubes, wires, electrodes, devices and letters, drawn in place."""
    for _ in range(rng.integers(1, 6)):
        layer, kind = np.zeros((SIDE, SIDE), np.uint8), rng.random()
        x, y = (int(v) for v in rng.integers(0, SIDE, 2))
        if kind < 0.6:
            points = np.cumsum(rng.normal(0, 25, (6, 1, 2)), 0) + rng.uniform(0, SIDE, 2)
            curve = cv2.resize(points.astype(np.float32), (1, 40), interpolation=cv2.INTER_CUBIC)
            curve = np.rint(curve).astype(np.int32).reshape(-1, 1, 2)
            cv2.polylines(layer, [curve], False, 255, int(rng.integers(1, 4)), cv2.LINE_AA)
        elif kind < 0.8:
            cv2.circle(layer, (x, y), int(rng.integers(2, 9)), 255, int(rng.choice([-1, 1])))
        else:
            font, size = cv2.FONT_HERSHEY_SIMPLEX, float(rng.uniform(0.3, 0.8))
            cv2.putText(layer, str(rng.integers(0, 99999)), (x, y), font, size, 255, 1)
        weight = layer.astype(np.float32) / 255 * np.float32(rng.uniform(0.15, 0.9))
        image += weight * (np.float32(rng.choice([1.0, 1.0, 0.0])) - image)


def exposed(rng: Rng, image: NDArray[np.float32], place: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Another exposure, window, scatter and grain."""
    low, high = rng.uniform(-0.15, 0.2), rng.uniform(0.75, 1.2)
    image = np.clip((image - low) / (high - low), 0, 1) ** np.exp(rng.uniform(-0.7, 0.7))
    if rng.random() < 0.3:
        field = cv2.resize(
            rng.normal(0, 0.12, (3, 3)).astype(np.float32), (SIDE, SIDE), interpolation=cv2.INTER_CUBIC
        )
        image = image + field
    if rng.random() < 0.15:
        tiles = int(rng.integers(2, 9))
        grey = np.clip(image * 255, 0, 255).astype(np.uint8)
        image = cv2.createCLAHE(float(rng.uniform(1, 6)), (tiles, tiles)).apply(grey) / np.float32(255)
    if rng.random() < 0.25:
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.5, 2))
    if rng.random() < 0.4:
        image = image + rng.normal(0, rng.uniform(0.01, 0.08), image.shape)
    if rng.random() < 0.12:
        image = 1 - image
    return np.where(place, image, 0).astype(np.float32)


def bordered(rng: Rng, image: NDArray[np.float32]) -> None:
    """Shutters: what lies outside of a frame becomes black, white or grey; in place."""
    left, top, right, bottom = (rng.uniform(0, 0.15, 4) * SIDE * (rng.random(4) < 0.6)).astype(int)
    inside = np.zeros(image.shape, bool)
    inside[top : SIDE - bottom, left : SIDE - right] = True
    image[~inside] = rng.choice([0.0, 0.0, 1.0, rng.random()])


def varied(rng: Rng, sample: Sample, *, gentle: bool = False) -> tuple[NDArray[np.float32], Picture]:
    """A training pair: (256, 256) as `normalised` gives it, and (256, 256, 4) masks.

    Gentle pairs are moved and exposed a little, as images are, and nothing is drawn into them.
    """
    height, width = sample.image.shape
    how_far = 0.4 if gentle else 1.0
    grown = rng.normal(0, 0.13) if rng.random() < 0.8 else rng.uniform(-0.3, 0.4)
    scale = SIDE / max(height, width) * np.exp(how_far * grown)
    stretch = np.exp(how_far * rng.normal(0, 0.07))
    angle = how_far * np.deg2rad(rng.normal(0, 6) if rng.random() < 0.7 else rng.uniform(-22, 22))
    mirror = -1 if rng.random() < 0.3 else 1
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    matrix = turn @ np.diag([mirror * scale * stretch, scale / stretch])
    shift = SIDE / 2 + rng.normal(0, 0.05, 2) * SIDE - matrix @ np.array([width / 2, height / 2])
    warp = np.c_[matrix, shift]
    border = cv2.BORDER_CONSTANT if rng.random() < 0.8 else cv2.BORDER_REPLICATE
    image = cv2.warpAffine(sample.image, warp, (SIDE, SIDE), flags=cv2.INTER_LINEAR, borderMode=border)
    masks = cv2.warpAffine(sample.masks, warp, (SIDE, SIDE), flags=cv2.INTER_LINEAR)
    if border == cv2.BORDER_CONSTANT:
        place = cv2.warpAffine(np.ones_like(sample.image), warp, (SIDE, SIDE), flags=cv2.INTER_NEAREST) > 0
    else:
        place = np.ones((SIDE, SIDE), bool)
    if mirror < 0:
        masks = masks[..., [1, 0, 3, 2]]
    grey = image.astype(np.float32) / 255
    if gentle:
        return normalised(np.where(place, grey ** np.exp(rng.normal(0, 0.2)), 0), (0, 0, SIDE, SIDE)), masks
    if rng.random() < 0.35:
        grey = opacities(rng, grey, masks.max(-1).astype(np.float32) / 255)
    if rng.random() < 0.4:
        clutter(rng, grey)
    grey = exposed(rng, grey, place)
    if rng.random() < 0.2:
        bordered(rng, grey)
    return normalised(grey, (0, 0, SIDE, SIDE)), masks


class Draws(IterableDataset[tuple[Tensor, Tensor, Tensor]]):
    """Endless training pairs: sets by their shares, and images of a set alike."""

    def __init__(self, groups: list[tuple[float, list[Sample]]], seed: int, gentle: float) -> None:
        self.groups, self.seed, self.gentle = groups, seed, gentle

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        worker = torch.utils.data.get_worker_info()
        rng = np.random.default_rng([self.seed, worker.id if worker else 0])
        shares = np.array([share for share, _ in self.groups])
        while True:
            samples = self.groups[rng.choice(len(shares), p=shares / shares.sum())][1]
            sample = samples[rng.integers(len(samples))]
            image, masks = varied(rng, sample, gentle=bool(rng.random() < self.gentle))
            yield (
                torch.from_numpy(image)[None],
                torch.from_numpy(np.ascontiguousarray(masks.transpose(2, 0, 1))),
                torch.tensor(sample.known, dtype=torch.float32),
            )


def loss_of(logits: Tensor, masks: Tensor, known: Tensor) -> Tensor:
    """Cross-entropy and soft Dice over known channels; clear lungs lie within whole ones."""
    truth = masks.float() / 255
    weight = known[:, :, None, None]
    entropy = functional.binary_cross_entropy_with_logits(logits, truth, reduction="none")
    entropy = (entropy * weight).sum() / (weight.sum() * SIDE * SIDE)
    chance = logits.sigmoid()
    both, sizes = (chance * truth).sum((2, 3)), (chance + truth).sum((2, 3))
    overlap = ((1 - (2 * both + 50) / (sizes + 50)) * known).sum() / known.sum()
    outside = functional.relu(chance[:, 2:] - chance[:, :2]).mean()
    return entropy + 0.5 * overlap + outside


def dice(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    """Overlap of two masks."""
    return float(2 * (a & b).sum() / max(int(a.sum() + b.sum()), 1))


def letterboxed(sample: Sample) -> tuple[NDArray[np.float32], Picture, NDArray[np.float64]]:
    """A sample as `normalised` gives it, its masks, and the matrix that put them there."""
    height, width = sample.image.shape
    scale = SIDE / max(height, width)
    new = (round(width * scale), round(height * scale))
    top, left = (SIDE - new[1]) // 2, (SIDE - new[0]) // 2
    image, masks = np.zeros((SIDE, SIDE), np.uint8), np.zeros((SIDE, SIDE, 4), np.uint8)
    image[top : top + new[1], left : left + new[0]] = cv2.resize(
        sample.image, new, interpolation=cv2.INTER_AREA
    )
    masks[top : top + new[1], left : left + new[0]] = cv2.resize(
        sample.masks, new, interpolation=cv2.INTER_AREA
    )
    return normalised(image, (top, left, new[1], new[0])), masks, np.array([top, left, *new[::-1]])


@torch.inference_mode()
def chances_of(net: LungNet, images: list[NDArray[np.float32]]) -> NDArray[np.float32]:
    """Chances (N, 4, 256, 256)."""
    net.eval()
    out = []
    for i in range(0, len(images), 16):
        x = torch.from_numpy(np.stack(images[i : i + 16]))[:, None].contiguous(
            memory_format=torch.channels_last
        )
        out.append(net(x).sigmoid().numpy())
    return np.concatenate(out)


def score(net: LungNet, samples: list[Sample]) -> dict[str, float]:
    """Mean and 5th percentile of Dice on the net's square."""
    ready = [letterboxed(s) for s in samples]
    chances = chances_of(net, [r[0] for r in ready])
    values = []
    for sample, (_, masks, _), chance in zip(samples, ready, chances, strict=True):
        channels = [i for i in range(4) if sample.known[i]]
        values.append(dice((chance[channels] > 0.5).any(0), masks[..., channels].max(-1) > 127))
    return {
        "dice": round(float(np.mean(values)), 4),
        "p05": round(float(np.percentile(values, 5)), 4),
        "images": len(values),
    }


def train(
    net: LungNet,
    groups: list[tuple[float, list[Sample]]],
    valid: dict[str, list[Sample]],
    args: argparse.Namespace,
    *,
    steps: int,
    seed: int,
    kept: Path,
    lr: float,
    gentle: float,
) -> LungNet:
    """One round; returns the averaged net, which is also written to ``kept``, now and then."""
    torch.manual_seed(seed)
    net = net.to(memory_format=torch.channels_last)
    mean = copy.deepcopy(net).eval()
    optimiser = torch.optim.AdamW(net.parameters(), lr=lr, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, lr, total_steps=steps, pct_start=0.05)
    loader = iter(
        DataLoader(
            Draws(groups, seed, gentle), batch_size=args.batch, num_workers=args.workers, prefetch_factor=4
        )
    )
    began, total = time.monotonic(), 0.0
    for step in range(1, steps + 1):
        images, masks, known = next(loader)
        net.train()
        with torch.autocast("cpu", torch.bfloat16):
            logits = net(images.contiguous(memory_format=torch.channels_last))
        loss = loss_of(logits.float(), masks, known)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        follow(mean, net, min(0.998, step / (step + 20)))
        total += float(loss.detach())
        if step % 100 == 0:
            print(
                f"step {step} loss {total / 100:.4f} {(time.monotonic() - began) / step:.2f} s a step",
                flush=True,
            )
            total = 0.0
        if step % args.look == 0 or step == steps:
            print(
                json.dumps({name: score(mean, samples[: args.most]) for name, samples in valid.items()}),
                flush=True,
            )
            save_file({name: value.contiguous() for name, value in mean.state_dict().items()}, kept)
    return mean


@torch.no_grad()
def follow(mean: LungNet, net: LungNet, decay: float) -> None:
    """Move the averaged net towards the trained one."""
    for slow, fast in zip(mean.state_dict().values(), net.state_dict().values(), strict=True):
        if slow.dtype.is_floating_point:
            slow.lerp_(fast, 1 - decay)
        else:
            slow.copy_(fast)


def guessed(net: LungNet, data: Path) -> list[Sample]:
    """Unlabelled images with the net's outlines, where it outlines them the same way mirrored."""
    out, seen = [], 0
    for name in UNLABELLED:
        for row in rows_of(data / name):
            image = read(data / name / row["image"], None)
            if image is None:
                continue
            seen += 1
            height, width = image.shape
            sample = Sample(
                f"{name}/{row['image']}",
                row.get("patient", ""),
                image,
                np.zeros((height, width, 4), np.uint8),
                (1, 1, 1, 1),
            )
            square, _, (top, left, tall, wide) = letterboxed(sample)
            straight, mirrored = chances_of(net, [square, np.ascontiguousarray(square[:, ::-1])])
            mirrored = mirrored[[1, 0, 3, 2], :, ::-1]
            if min(dice(a > 0.5, b > 0.5) for a, b in zip(straight, mirrored, strict=True)) < AGREED:
                continue
            chance = ((straight + mirrored) / 2)[:, top : top + tall, left : left + wide].transpose(1, 2, 0)
            masks = (
                cv2.resize(np.ascontiguousarray(chance), (width, height), interpolation=cv2.INTER_LINEAR)
                * 255
            )
            out.append(sample._replace(masks=np.rint(masks).astype(np.uint8)))
    print(f"{len(out)} of {seen} unlabelled images join", flush=True)
    return out


def shapes_of(samples: list[Sample]) -> NDArray[np.float64]:
    """The numbers of `plausible.SHAPE` of human outlines, (N, 12)."""
    out = []
    for sample in samples:
        height, width = sample.image.shape
        polygons = []
        for c, name in enumerate(contour.LUNGS):
            parts, _ = cv2.findContours(
                (sample.masks[..., c] > 127).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE
            )
            if parts:
                points = max(parts, key=cv2.contourArea)[:, 0]
                polygons.append({"name": name, "x": points[:, 0], "y": points[:, 1]})
        shape = plausible.shape_of(polygons, height, width)
        if shape is not None:
            out.append(shape)
    return np.array(out)


def facts_of(groups: dict[str, list[Sample]]) -> dict[str, Tensor]:
    """Atlas and shape of whole lungs; each set of human outlines counts alike."""
    whole = [samples for name, samples in groups.items() if samples[0].known == WHOLE and name != "phantom"]
    means = [np.mean([letterboxed(s)[1][..., :2].max(-1) / 255.0 for s in some], 0) for some in whole]
    atlas = cv2.resize(np.mean(means, 0), (64, 64), interpolation=cv2.INTER_AREA)
    shapes = [shapes_of(some) for some in whole]
    mean = np.mean([some.mean(0) for some in shapes], 0)
    spread = np.mean([(some - mean).T @ (some - mean) / len(some) for some in shapes], 0)
    spread += 1e-4 * np.eye(len(mean))
    return {
        "atlas": torch.from_numpy(atlas.astype(np.float32)),
        "shape.mean": torch.from_numpy(mean.astype(np.float32)),
        "shape.precision": torch.from_numpy(np.linalg.inv(spread).astype(np.float32)),
    }


def trust_of(net: LungNet, facts: dict[str, Tensor], groups: dict[str, list[Sample]], seed: int) -> Tensor:
    """Weights of `plausible.confidence`, fitted on varied training images with human outlines.

    They are varied as in training, and half of them hidden in part, so that some go wrong.
    """
    rng = np.random.default_rng(seed)
    whole = [samples for samples in groups.values() if samples[0].known == WHOLE]
    terms, wanted = [], []
    mean, precision = (facts[f"shape.{name}"].double().numpy() for name in ("mean", "precision"))
    for i in range(TRUST_DRAWS):
        some = whole[i % len(whole)]
        image, masks = varied(rng, some[rng.integers(len(some))])
        if rng.random() < 0.5:
            image = spoiled(rng, image)
        chances = answers(net, image[None])[0]
        polygons, _ = contour.from_chances(chances.mean(0), (0, 0, SIDE, SIDE), SIDE, SIDE)
        odd = plausible.oddness(plausible.shape_of(polygons, SIDE, SIDE), mean, precision)
        if np.isfinite(odd) and (masks[..., :2] > 127).any():
            terms.append(plausible.terms(plausible.evidence(chances[:, :2], odd)))
            filled = contour.rasterise(polygons, SIDE, SIDE)
            wanted.append(dice(filled, masks[..., :2].max(-1) > 127))
    x = torch.tensor(np.array(terms))
    y = torch.tensor(wanted, dtype=torch.float64).clamp(0, 1)
    free = torch.zeros(x.shape[1], dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS([free], max_iter=200)

    def weights() -> Tensor:  # less evidence never gives more trust
        return torch.cat([free[:1], -functional.softplus(free[1:])])

    def loss() -> Tensor:
        optimiser.zero_grad()
        value = functional.binary_cross_entropy_with_logits(x @ weights(), y) + 1e-4 * free.square().sum()
        value.backward()
        return value

    optimiser.step(loss)
    print(
        f"trust fitted on {len(y)} images, mean Dice {float(y.mean()):.3f}: {weights().tolist()}", flush=True
    )
    return weights().detach().float()


def spoiled(rng: Rng, image: NDArray[np.float32]) -> NDArray[np.float32]:
    """An image of which large parts are flat, blurred or another image's business."""
    out = image.copy()
    for _ in range(rng.integers(1, 4)):
        y, x = rng.integers(0, SIDE, 2)
        tall, wide = rng.integers(30, 160, 2)
        part = out[y : y + tall, x : x + wide]
        kind = rng.random()
        if kind < 0.4:
            part[:] = rng.uniform(-1, 1)
        elif kind < 0.7:
            part[:] = cv2.GaussianBlur(part, (0, 0), rng.uniform(4, 20))
        else:
            part[:] = rng.permutation(part.ravel()).reshape(part.shape)
    return out


def write_card(
    out: Path, valid: dict[str, list[Sample]], net: LungNet, args: argparse.Namespace, joined: int
) -> None:
    """The model card, with scores on the net's square; `benchmarks/contour.py` scores at full size."""
    rows = []
    for name, samples in valid.items():
        found = score(net, samples)
        rows.append(f"| {name} | {found['images']} | {found['dice']:.3f} | {found['p05']:.3f} |")
    numbers = sum(p.numel() for p in net.parameters())
    text = CARD.format(
        rows="\n".join(rows),
        millions=numbers / 1e6,
        steps=args.steps,
        more=args.more,
        seed=args.seed,
        joined=joined,
    )
    (out / "MODEL_CARD.md").write_text(text, encoding="utf-8")


def main() -> None:
    """Train and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--cache", type=Path, default=Path("lung-model-cache"))
    parser.add_argument("--steps", type=int, default=5000, help="of the first round")
    parser.add_argument("--more", type=int, default=3000, help="of the second")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--lr", type=float, default=3e-3)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--look", type=int, default=500)
    parser.add_argument("--most", type=int, default=150, help="validation images looked at on the way")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    cv2.setNumThreads(0)  # threads do not survive the fork of the loader's workers
    args.cache.mkdir(parents=True, exist_ok=True)
    sets, valid = {}, {}
    for name in SHARES:
        sets[name], valid[name] = labelled(args.data, name)
        print(f"{name}: {len(sets[name])} for training, {len(valid[name])} kept out", flush=True)
    sets["phantom"] = phantoms()
    groups = [(share, sets[name]) for name, share in (*SHARES.items(), ("phantom", PHANTOM_SHARE))]
    first = round_of(
        "first",
        args,
        lambda kept: train(
            LungNet(),
            groups,
            valid,
            args,
            steps=args.steps,
            seed=args.seed,
            kept=kept,
            lr=args.lr,
            gentle=GENTLE[0],
        ),
    )
    more = guessed(first, args.data)
    mixed = [(share * (1 - GUESSED_SHARE), samples) for share, samples in groups] + [(GUESSED_SHARE, more)]
    net = round_of(
        "second",
        args,
        lambda kept: train(
            copy.deepcopy(first),
            mixed,
            valid,
            args,
            steps=args.more,
            seed=args.seed + 1,
            kept=kept,
            lr=args.lr / 2,
            gentle=GENTLE[1],
        ),
    )
    half = {name: value.half().float() for name, value in net.state_dict().items()}  # as it is stored
    net.load_state_dict(half)
    facts = facts_of(sets)
    facts["trust"] = trust_of(net, facts, sets, args.seed)
    args.out.mkdir(parents=True, exist_ok=True)
    stored = {
        f"net.{n}": v.half().contiguous() for n, v in half.items() if not n.endswith("num_batches_tracked")
    }
    save_file(stored | {n: v.contiguous() for n, v in facts.items()}, args.out / WEIGHTS.name)
    write_card(args.out, valid, net, args, len(more))


def round_of(name: str, args: argparse.Namespace, do: Callable[[Path], LungNet]) -> LungNet:
    """A round of training, or what an earlier run kept of it."""
    kept = args.cache / f"{name}.safetensors"
    if kept.with_suffix(".done").exists():
        net = LungNet()
        net.load_state_dict(load_file(kept))
    else:
        net = do(kept)
        kept.with_suffix(".done").touch()
    return net.eval().to(memory_format=torch.channels_last)


if __name__ == "__main__":
    main()
