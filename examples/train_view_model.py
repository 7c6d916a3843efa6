"""Train the small net behind `xraytk.data.view`, and write its model card.

    python examples/train_view_model.py --data DIR --out xraytk/data/view_model

DIR holds public sets whose licence lets weights be shipped (`SETS`), each with a manifest.csv.
What is no chest is made here: drawings of other things, pieces of chests, and the pictures that
come with scikit-image (public domain or CC0). One patient in five is kept out and scored, and so
are the sets in `STRANGERS`, which training never sees.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import itertools
import json
import multiprocessing
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import save_file
from torch import nn

from xraytk.data import view
from xraytk.data.glance import glance
from xraytk.data.synthetic import make_phantom

Picture = NDArray[np.uint8]
Rng = np.random.Generator

SETS = {  # folder: how many at most
    "cls_nih": 700,
    "covid_hannover": 300,
    "tb_shenzhen_lung": 500,
    "kermany_native_aspect": 300,
    "cls_pediatric_pneumonia": 900,
}
STRANGERS = ("seg", "negatives_non_chest", "iu_pairs_small")
CHANNELS = (8, 16, 24, 32)
SHARES = (0.40, 0.12, 0.13, 0.35)  # of a batch: frontal, turned, lateral, other
BATCH = 64
STANDARD = (
    "camera", "coins", "text", "brick", "grass", "gravel", "astronaut", "cat",
    "coffee", "rocket", "clock", "horse", "immunohistochemistry", "hubble_deep_field",
)  # fmt: skip


CARD = """# View model of xraytk

Says of a picture without a telling header whether it is a frontal chest, upright, turned or
inverted, a lateral one, or no chest at all. Used by `xraytk.data.view`. Research software, not a
medical device; it finds no disease.

- Input: 64 x 64 grey ranks of the whole picture, squashed. Output: frontal, turned, lateral, other.
- Model: four convolutions of stride 2 and a linear layer, 14 thousand numbers, stored as float16.
- Said only at a probability of {frontal} (view) or {other} (no chest).
- Weights: Apache-2.0, as the package.

## Data

- Frontal chests, four patients of five: NIH ChestX-ray8 (free use with attribution: NIH Clinical
  Center, Wang et al. 2017), Hannover COVID-19 repository (CC BY 3.0, Winther et al.,
  10.6084/m9.figshare.12275009), Shenzhen tuberculosis set (CC0 as stated by its copy; Jaeger et
  al. 2014, Candemir et al. 2014), paediatric set of Kermany et al. 2018 (CC BY 4.0); phantoms of
  xraytk. Turned chests are the same, turned by 90, 180 or 270 degrees.
- Lateral chests: none could be had under a licence that lets weights be shipped. The class was
  learnt from crude drawings, and scored on nine real ones, which is few.
- No chest: drawings (sections, limbs, jaws, pages, shapes, noise), small or shuffled pieces of the
  chests above, and those pictures in scikit-image's package that it names as CC0, public domain or
  of no known copyright.
- Made by: `python examples/train_view_model.py --data DIR --out xraytk/data/view_model
  --samples {samples} --epochs {epochs} --seed {seed}`. Weights differ a little between machines.

## Scores

Shares of each set of which that was said. Sets named "kept out" are patients that training did not
see, the others were not used in training at all (the adults of `seg` are of many sources, COVID-19
for the most part, and the Hannover set is one of those). `negatives_non_chest` are dental
panoramics, CT and MRI slices.

{head}
{rows}

The threshold for no chest was set above every one of 7,300 frontal chests that were looked at
(these sets whole, patients of the training among them); the nearest was at 0.95. Of ten CR and DX
test files that are no chest (seven of them one hip), 3 are refused; of 126 pictures of other
modalities, test patterns among them, 93 are. One CT scout of a whole trunk is taken for a frontal
chest, and four nuclear medicine pictures for lateral ones. The numbers of this paragraph and the
next were measured by hand, on the weights that are shipped.

PA against AP was tried (60 principal components, logistic regression, by patient): AUROC 0.887
within NIH, 0.79 from Hannover to NIH. That is too weak to guess, so it is not part of the model.
"""


class Net(nn.Module):
    """The net that `xraytk.data.view.classify` runs in numpy."""

    def __init__(self) -> None:
        super().__init__()
        widths = (1, *CHANNELS)
        self.convs = nn.ModuleList(
            nn.Conv2d(widths[i], widths[i + 1], 5 if i == 0 else 3, 2, 2 if i == 0 else 1) for i in range(4)
        )
        self.drop = nn.Dropout(0.2)
        self.head = nn.Linear(CHANNELS[-1] * 16, len(view.CLASSES))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, 1, 64, 64) to logits (B, 4)."""
        for conv in self.convs:
            x = torch.relu(conv(x))
        return self.head(self.drop(x.permute(0, 2, 3, 1).flatten(1)))

    def export(self) -> dict[str, NDArray[np.float16]]:
        """Weights as `classify` wants them."""
        out = {}
        for i, conv in enumerate(self.convs):
            out[f"conv{i}.weight"] = conv.weight.detach().flatten(1).T.contiguous().numpy().astype(np.float16)
            out[f"conv{i}.bias"] = conv.bias.detach().numpy().astype(np.float16)
        out["head.weight"] = self.head.weight.detach().T.contiguous().numpy().astype(np.float16)
        out["head.bias"] = self.head.bias.detach().numpy().astype(np.float16)
        return out


def kept_out(patient: str) -> bool:
    """Whether a patient is of the fifth that is scored."""
    return hashlib.sha256(patient.encode()).digest()[0] < 51


def read_set(folder: Path, most: int, rng: Rng) -> tuple[list[Picture], list[Picture]]:
    """Pictures of a set for training, and those of the patients kept out."""
    with (folder / "manifest.csv").open(encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    rows = [rows[i] for i in rng.permutation(len(rows))[:most]]
    sides: tuple[list[Picture], list[Picture]] = ([], [])
    for row in rows:
        picture = glance(cv2.imread(str(folder / row["image"]), cv2.IMREAD_GRAYSCALE))
        sides[kept_out(row.get("patient") or row["image"])].append(picture)
    return sides


def jitter(picture: Picture, rng: Rng) -> Picture:
    """The same content seen a little differently: turned, trimmed, mirrored, framed, noisy, labelled."""
    height, width = picture.shape
    scale = np.exp(rng.uniform(-0.22, 0.16))
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), rng.normal(0, 5), scale)
    turn[:, 2] += rng.normal(0, 0.05, 2) * (width, height)
    fill = int(rng.choice([0, 0, 0, 255, rng.integers(256)]))
    mode = cv2.BORDER_REPLICATE if rng.random() < 0.5 else cv2.BORDER_CONSTANT
    out = cv2.warpAffine(picture, turn, (width, height), borderMode=mode, borderValue=fill)
    if rng.random() < 0.5:
        out = out[:, ::-1]
    if rng.random() < 0.3:
        pad = rng.integers(0, 1 + width // 6, 4)
        out = cv2.copyMakeBorder(out, *pad.tolist(), cv2.BORDER_CONSTANT, value=int(rng.choice([0, 0, 255])))
    if rng.random() < 0.3:
        out = np.clip(out + rng.normal(0, rng.uniform(2, 20), out.shape), 0, 255).astype(np.uint8)
    if rng.random() < 0.3:
        curve = 255 * np.linspace(0, 1, 256) ** np.exp(rng.uniform(-0.8, 0.8))
        low, high = np.sort(rng.uniform([0, 200], [50, 255]))
        curve = np.clip((curve - low) / (high - low), 0, 1) * 255
        out = curve.astype(np.uint8)[out]
    if rng.random() < 0.2:
        out = np.ascontiguousarray(out)
        at = (int(rng.integers(0, width)), int(rng.integers(10, height)))
        cv2.putText(out, str(rng.choice(["R", "L", "PORTABLE", "AP 12:30"])), at, 0, 0.8, 255, 2)
    return np.ascontiguousarray(out)


def turned(picture: Picture, rng: Rng) -> Picture:
    """On its side or on its head."""
    return np.ascontiguousarray(np.rot90(picture, int(rng.integers(1, 4))))


def _blank(rng: Rng) -> NDArray[np.float32]:
    height, width = (int(v) for v in rng.integers(130, 257, 2))
    return np.full((height, width), rng.choice([0.0, 0.0, 0.05, rng.random()]), np.float32)


def _finish(canvas: NDArray[np.float32], rng: Rng) -> Picture:
    canvas = cv2.GaussianBlur(canvas, (0, 0), rng.uniform(0.5, 3))
    canvas = canvas + rng.uniform(0.005, 0.06) * cloud(canvas.shape, rng, rng.uniform(0, 2))
    low, high = np.percentile(canvas, [0.5, 99.8])
    return (np.clip((canvas - low) / max(high - low, 1e-6), 0, 1) * 255).astype(np.uint8)


def cloud(shape: tuple[int, ...], rng: Rng, slope: float) -> NDArray[np.float32]:
    """Noise whose spectrum falls with the given power."""
    wave = np.fft.rfft2(rng.standard_normal((96, 96)))
    y, x = np.fft.fftfreq(96)[:, None], np.fft.rfftfreq(96)[None]
    out = np.fft.irfft2(wave / np.maximum(np.hypot(y, x), 1 / 96) ** slope, s=(96, 96))
    return cv2.resize((out / (out.std() + 1e-9)).astype(np.float32), shape[::-1])


def _blob(
    canvas: NDArray[np.float32], x: float, y: float, rx: float, ry: float, turn: float, v: float
) -> None:
    height, width = canvas.shape
    axes = (max(1, round(rx * width)), max(1, round(ry * height)))
    layer = np.zeros(canvas.shape, np.float32)
    cv2.ellipse(layer, (round(x * width), round(y * height)), axes, turn, 0, 360, 1.0, -1)
    canvas += v * layer


def section(rng: Rng) -> Picture:
    """Something like a slice through a body: a bright oval with organs and a bright rim."""
    canvas = _blank(rng)
    rx, ry = rng.uniform(0.22, 0.48), rng.uniform(0.22, 0.48)
    _blob(canvas, 0.5, 0.5, rx, ry, 0, rng.uniform(0.4, 1))
    _blob(canvas, 0.5, 0.5, rx * 0.9, ry * 0.9, 0, rng.uniform(-0.4, 0.2))
    even = rng.random() < 0.5
    for _ in range(int(rng.integers(2, 9))):
        dx, dy = rng.uniform(-0.6, 0.6, 2) * (rx, ry)
        size, value, turn = rng.uniform(0.04, 0.5, 2) * (rx, ry), rng.uniform(-0.5, 0.6), rng.uniform(0, 180)
        _blob(canvas, 0.5 + dx, 0.5 + dy, *size, turn, value)
        if even:
            _blob(canvas, 0.5 - dx, 0.5 + dy, *size, -turn, value)
    return _finish(canvas, rng)


def limb(rng: Rng) -> Picture:
    """Something like a limb, a hand or a joint: bright tubes in soft sheaths."""
    canvas = _blank(rng)
    height, width = canvas.shape
    count = int(rng.integers(1, 7))
    spread = rng.uniform(0, 0.8)
    for i in range(count):
        angle = np.pi / 2 + spread * ((i + 0.5) / count - 0.5) * 2 + rng.normal(0, 0.1)
        start = np.array([0.5 + rng.normal(0, 0.1), 1.05])
        start[0] += (i - count / 2) * rng.uniform(0, 0.12)
        points = [start + t * np.array([np.cos(angle), -np.sin(angle)]) for t in np.linspace(0, 1.2, 5)]
        thick = rng.uniform(0.03, 0.35 / count**0.5) * width
        for a, b in itertools.pairwise(points):
            ends = [tuple(np.rint(p * (width, height)).astype(int).tolist()) for p in (a, b)]
            cv2.line(canvas, *ends, 0.35, max(1, round(thick * 1.8)))
        for a, b in itertools.pairwise(points):
            gap = 0.06 * (b - a)
            ends = [tuple(np.rint(p * (width, height)).astype(int).tolist()) for p in (a + gap, b - gap)]
            cv2.line(canvas, *ends, rng.uniform(0.7, 1), max(1, round(thick * 0.7)))
    if rng.random() < 0.5:
        canvas = np.rot90(canvas, int(rng.integers(4)))
    return _finish(np.ascontiguousarray(canvas), rng)


def jaw(rng: Rng) -> Picture:
    """Something like a dental panoramic: two bowed rows of bright teeth in a wide picture."""
    width = int(rng.integers(200, 257))
    canvas = np.full((int(width * rng.uniform(0.4, 0.8)), width), rng.uniform(0.1, 0.4), np.float32)
    bow, bright = rng.uniform(-0.1, 0.35), rng.uniform(0.3, 0.8)
    canvas += 0.1 * cloud(canvas.shape, rng, 1.5)
    for x in np.linspace(0.2, 0.8, int(rng.integers(10, 17))):
        y = rng.uniform(0.45, 0.5) - bow * ((x - 0.5) ** 2) * 4 + 0.1
        for sign in (-1, 1):
            tall = rng.uniform(0.09, 0.13)
            _blob(canvas, x, y + sign * tall, 0.017, tall, rng.normal(0, 6), bright)
    _blob(canvas, 0.5, 0.5, 0.45, 0.4, 0, rng.uniform(0, 0.4))
    _blob(canvas, 0.5, 0.1, rng.uniform(0.1, 0.3), 0.12, 0, rng.uniform(-0.3, 0.3))
    if rng.random() < 0.6:
        edge = int(rng.integers(2, 9))
        canvas[:edge] = canvas[-edge:] = canvas.max()
        canvas[:, :edge] = canvas[:, -edge:] = canvas.max()
    return _finish(canvas, rng)


def page(rng: Rng) -> Picture:
    """Something like a page of text or a screen."""
    canvas = np.zeros((int(rng.integers(130, 257)), int(rng.integers(130, 257))), np.uint8)
    y = int(rng.integers(5, 40))
    while y < canvas.shape[0]:
        text = "".join(rng.choice(list("abcdefg hijkl mnop 0123456789:.-"), int(rng.integers(2, 40))))
        cv2.putText(canvas, text, (int(rng.integers(2, 40)), y), 0, rng.uniform(0.25, 0.6), 255, 1)
        y += int(rng.integers(9, 30))
    if rng.random() < 0.3:
        cv2.rectangle(canvas, *rng.integers(0, 200, (2, 2)).tolist(), 160, int(rng.choice([-1, 2])))
    return 255 - canvas if rng.random() < 0.5 else canvas


def shapes(rng: Rng) -> Picture:
    """Circles, boxes, lines, ramps, at random."""
    canvas = _blank(rng)
    if rng.random() < 0.5:
        canvas += np.linspace(0, rng.uniform(-1, 1), canvas.shape[1], dtype=np.float32)
        canvas += np.linspace(0, rng.uniform(-1, 1), canvas.shape[0], dtype=np.float32)[:, None]
    for _ in range(int(rng.integers(1, 12))):
        if rng.random() < 0.6:
            size = rng.uniform(0.03, 0.5, 2)
            _blob(canvas, *rng.random(2), *size, rng.uniform(0, 180), rng.uniform(-1, 1))
        else:
            box = rng.integers(0, 256, (2, 2)).tolist()
            cv2.rectangle(canvas, *box, rng.random(), int(rng.choice([-1, 1, 3, 9])))
    return _finish(canvas, rng)


def noise(rng: Rng) -> Picture:
    """Clouds of any grain."""
    canvas = cloud(tuple(rng.integers(64, 257, 2).tolist()), rng, rng.uniform(0, 2.5))
    return (np.clip(canvas * 0.2 + 0.5, 0, 1) * 255).astype(np.uint8)


def piece(picture: Picture, rng: Rng) -> Picture:
    """A small part of a chest, or its parts in another order."""
    height, width = picture.shape
    if rng.random() < 0.6:
        h, w = (max(24, round(n * rng.uniform(0.15, 0.38))) for n in (height, width))
        y, x = int(rng.integers(0, height - h)), int(rng.integers(0, width - w))
        return np.ascontiguousarray(picture[y : y + h, x : x + w])
    n = int(rng.integers(2, 5))
    h, w = height // n, width // n
    tiles = [picture[i * h : i * h + h, j * w : j * w + w] for i in range(n) for j in range(n)]
    order = np.roll(np.arange(n * n), 1) if n == 2 else rng.permutation(n * n)
    rows = [np.concatenate([tiles[k] for k in order[i * n : i * n + n]], 1) for i in range(n)]
    return np.ascontiguousarray(np.concatenate(rows))


def lateral(rng: Rng) -> Picture:
    """Something like a lateral chest: crude, for want of any that may be used."""
    canvas = np.full((256, int(rng.integers(190, 257))), 0.02, np.float32)
    lean = rng.normal(0, 0.03)
    _blob(canvas, 0.5 + lean, 0.52, rng.uniform(0.30, 0.44), rng.uniform(0.5, 0.62), rng.normal(0, 5), 0.55)
    _blob(canvas, 0.5, -0.05, rng.uniform(0.25, 0.5), rng.uniform(0.15, 0.3), 0, rng.uniform(0.1, 0.4))
    _blob(canvas, 0.5 + lean, 0.46, rng.uniform(0.22, 0.31), rng.uniform(0.32, 0.4), rng.normal(-8, 5), -0.38)
    _blob(canvas, rng.uniform(0.33, 0.45), 0.60, rng.uniform(0.1, 0.16), rng.uniform(0.12, 0.18), 20, 0.25)
    _blob(canvas, 0.5, rng.uniform(0.92, 1.02), 0.42, rng.uniform(0.16, 0.26), rng.normal(8, 4), 0.5)
    x0, bend = rng.uniform(0.64, 0.74), rng.uniform(0.02, 0.1)
    for t in np.linspace(0, 1, int(rng.integers(11, 16))):
        x = x0 + bend * np.sin(np.pi * t)
        _blob(canvas, x, 0.08 + 0.88 * t, 0.045, 0.024, rng.normal(0, 4), rng.uniform(0.12, 0.3))
    _blob(canvas, 0.4, 0.16, rng.uniform(0.05, 0.15), 0.14, rng.normal(0, 20), rng.uniform(0, 0.3))
    if rng.random() < 0.5:
        canvas = np.clip(canvas, 0, 0.9)
    return _finish(canvas[:, ::-1] if rng.random() < 0.5 else canvas, rng)


DRAWN: tuple[Callable[[Rng], Picture], ...] = (section, section, limb, limb, jaw, page, shapes, noise)


def standard_pictures() -> list[Picture]:
    """The pictures that lie in scikit-image's own package, as far as they are there."""
    from skimage import color, data

    out = []
    for name in STANDARD:
        try:
            picture = np.asarray(getattr(data, name)())
        except Exception:  # not in this installation, and not worth a download
            print(f"  without {name}")
            continue
        grey = (
            color.rgb2gray(picture[..., :3]) if picture.ndim == 3 else picture.astype(float) / picture.max()
        )
        out.append((grey * 255).astype(np.uint8))
    return out


def other(chests: list[Picture], pictures: list[Picture], rng: Rng) -> Picture:
    """Something that is no chest."""
    kind = rng.random()
    if kind < 0.2:
        return piece(chests[rng.integers(len(chests))], rng)
    if kind < 0.3:
        picture = pictures[rng.integers(len(pictures))]
        h, w = (round(n * rng.uniform(0.3, 1)) for n in picture.shape)
        y, x = (int(rng.integers(0, n - m + 1)) for n, m in zip(picture.shape, (h, w), strict=True))
        return glance(np.ascontiguousarray(np.rot90(picture[y : y + h, x : x + w], int(rng.integers(4)))))
    return DRAWN[rng.integers(len(DRAWN))](rng)


def draw(
    job: tuple[int, int], chests: list[Picture], weights: NDArray[np.float64], pictures: list[Picture]
) -> tuple[NDArray[np.float16], NDArray[np.int64]]:
    """Draw (N, 64, 64) thumbnails and their classes (N,); ``job`` is a seed and N."""
    cv2.setNumThreads(1)
    rng = np.random.default_rng([7, job[0]])
    thumbs, labels = [], []
    while len(thumbs) < job[1]:
        label = int(rng.choice(4, p=SHARES))
        chest = chests[rng.choice(len(chests), p=weights)]
        made = (chest, chest, None, None)[label]
        if made is None:
            made = lateral(rng) if label == 2 else other(chests, pictures, rng)
        thumb = view.thumbnail(jitter(turned(made, rng) if label == 1 else made, rng))
        if thumb is not None:
            thumbs.append(thumb.astype(np.float16))
            labels.append(label)
    return np.stack(thumbs), np.array(labels)


def draw_all(chests: dict[str, list[Picture]], count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw all samples on two processes; every set counts by the root of its size."""
    weights = np.concatenate([np.full(len(p), len(p) ** -0.5) for p in chests.values() if p])
    flat = [p for part in chests.values() for p in part]
    work = partial(draw, chests=flat, weights=weights / weights.sum(), pictures=standard_pictures())
    jobs = [(seed * 1000 + i, 1000) for i in range(count // 1000)]
    with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as pool:
        parts = list(pool.map(work, jobs))
    x = torch.from_numpy(np.concatenate([p[0] for p in parts]))
    return x[:, None].float(), torch.from_numpy(np.concatenate([p[1] for p in parts]))


def train(x: torch.Tensor, y: torch.Tensor, epochs: int, seed: int) -> Net:
    """Train; samples are mirrored and shifted a little in every epoch."""
    torch.manual_seed(seed)
    net = Net()
    optim = torch.optim.AdamW(net.parameters(), lr=3e-3, weight_decay=0.02)
    steps = epochs * (len(x) // BATCH)
    plan = torch.optim.lr_scheduler.OneCycleLR(optim, 4e-3, total_steps=steps, pct_start=0.1)
    for epoch in range(epochs):
        total = 0.0
        for part in torch.randperm(len(x))[: len(x) // BATCH * BATCH].split(BATCH):
            shift = torch.randint(-2, 3, (2,)).tolist()
            batch = torch.roll(x[part], shift, (2, 3))
            batch = batch.flip(3) if torch.rand(()) < 0.5 else batch
            loss = nn.functional.cross_entropy(net(batch), y[part])
            optim.zero_grad()
            loss.backward()
            optim.step()
            plan.step()
            total += loss.item() * BATCH / len(x)
        print(f"  epoch {epoch + 1}  loss {total:.4f}", flush=True)
    return net.eval()


def strangers(data: Path) -> dict[str, list[Picture]]:
    """Sets that training never sees."""
    out: dict[str, list[Picture]] = {}
    for name in STRANGERS:
        folder = data / name
        if (folder / "manifest.csv").exists():
            with (folder / "manifest.csv").open(encoding="utf-8") as stream:
                paths = {name: [row["image"] for row in csv.DictReader(stream)]}
        elif (folder / "pairs.jsonl").exists():
            lines = (folder / "pairs.jsonl").read_text(encoding="utf-8").splitlines()
            rows = [json.loads(line) for line in lines]
            kinds = sorted({row["view"] for row in rows})
            paths = {f"{name} {k}": [row["image"] for row in rows if row["view"] == k] for k in kinds}
        else:
            continue
        for key, images in paths.items():
            out[key] = [glance(cv2.imread(str(folder / image), cv2.IMREAD_GRAYSCALE)) for image in images]
    return out


def score(sets: dict[str, list[Picture]]) -> dict[str, dict[str, float]]:
    """What is said of the pictures of each set."""
    table = {}
    for name, pictures in sets.items():
        said = [view.guess_view(p) for p in pictures]
        table[name] = {
            "images": len(said),
            "frontal": float(np.mean([g.view == "FRONTAL" for g in said])),
            "turned": float(np.mean([g.view == "TURNED" for g in said])),
            "lateral": float(np.mean([g.view == "LATERAL" for g in said])),
            "inverted": float(np.mean([g.view == "INVERTED" for g in said])),
            "no chest": float(np.mean([g.chest is False for g in said])),
            "highest no chest": max(g.scores[3] for g in said),
        }
    return table


def main() -> int:
    """Train, write, score what was written."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--samples", type=int, default=24000)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--keep", action="store_true", help="score the weights that are there")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--phantoms", type=int, default=60)
    args = parser.parse_args()
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    rng = np.random.default_rng(args.seed)
    chests, held = {}, {}
    for name, most in SETS.items():
        chests[name], held[f"{name} (kept out)"] = read_set(args.data / name, most, rng)
    grey = [make_phantom(s, size_px=256).pixels for s in range(args.phantoms + 20)]
    phantoms = [(p * 255).astype(np.uint8) for p in grey]
    chests["phantoms"], held["phantoms (kept out)"] = phantoms[: args.phantoms], phantoms[args.phantoms :]
    print({name: len(part) for name, part in chests.items()}, flush=True)
    if not args.keep:
        net = train(*draw_all(chests, args.samples, args.seed), args.epochs, args.seed)
        args.out.mkdir(parents=True, exist_ok=True)
        save_file(net.export(), args.out / "view.safetensors")
    view.WEIGHTS = args.out / "view.safetensors"
    view._weights.cache_clear()
    turned_rng = np.random.default_rng(1)
    every = [p for name, part in held.items() if "phantoms" not in name for p in part]
    sets = held | {
        "kept out, turned": [turned(p, turned_rng) for p in every],
        "kept out, inverted": [255 - p for p in every],
    }
    sets |= strangers(args.data)
    table = score(sets)
    for name, row in table.items():
        print(name, {k: round(v, 4) for k, v in row.items()})
    names = list(next(iter(table.values())))
    head = f"| | {' | '.join(names)} |\n|---|{'---|' * len(names)}"
    rows = [f"| {n} | " + " | ".join(f"{row[k]:.4g}" for k in names) + " |" for n, row in table.items()]
    text = CARD.format(
        head=head, rows="\n".join(rows), samples=args.samples, epochs=args.epochs, seed=args.seed,
        frontal=view.FRONTAL, other=view.OTHER,
    )  # fmt: skip
    (args.out / "MODEL_CARD.md").write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
