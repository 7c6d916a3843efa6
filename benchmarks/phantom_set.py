"""Phantoms for `phantom_reports.py`: pixels, boxes, labels and reports, made once and kept in a folder.

    python benchmarks/phantom_set.py FOLDER [--size-px 256] [--train 1000] [--fresh 300] [--seed 7]

Each phantom is a patient of its own, and each part has seeds of its own. Fresh ones, and those held
out of the training to choose by, are drawn as the package draws them; those for training have more
findings, up to three, so that fewer do. Goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from xraytk.data import augment, synthetic
from xraytk.files import atomic_write
from xraytk.records import Box

FRAME_PX = 256
CHUNK = 50
FIRST = {"fresh": 0, "held": 400_000, "train": 500_000}
SHARES = (0.2, 0.2, 0.3, 0.3)
"""Of training phantoms with 0, 1, 2 and 3 findings."""


@dataclass(frozen=True)
class Sample:
    """A phantom in the frame's size, and what is true of it; boxes as shares of the image's sides."""

    image: NDArray[np.uint8]
    labels: dict[str, int]
    boxes: tuple[Box, ...]
    reports: dict[str, str]


def load(folder: Path, part: str, count: int, size_px: int, seed: int) -> list[Sample]:
    """Read ``count`` phantoms of a part, making those that are not there."""
    out: list[Sample] = []
    while len(out) < count:
        path = folder / f"{part}-{size_px}-{seed}-{len(out) // CHUNK:04d}.npz"
        if not path.is_file():
            seeds = [seed * 10**6 + FIRST[part] + len(out) + i for i in range(CHUNK)]
            _make(path, seeds, size_px, crowded=part == "train")
        with np.load(path, allow_pickle=False) as stored:
            out += [_sample(stored[f"{i}"], text) for i, text in enumerate(stored["facts"].tolist())]
    return out[:count]


def chosen(seed: int) -> list[str]:
    """Findings of a training phantom."""
    rng = np.random.default_rng([seed, 3])
    names = [name for name in synthetic.LABELS if name != "No Finding"]
    return [str(name) for name in rng.permutation(names)[: rng.choice(len(SHARES), p=SHARES)]]


def _make(path: Path, seeds: list[int], size_px: int, *, crowded: bool) -> None:
    images, facts = {}, []
    for number, seed in enumerate(seeds):
        phantom = synthetic.make_phantom(seed, size_px=size_px, findings=chosen(seed) if crowded else None)
        grey = np.clip(np.rint(phantom.pixels * 255), 0, 255).astype(np.uint8)
        _, _, height, width = augment.letterbox_box(*grey.shape, FRAME_PX)
        images[str(number)] = cv2.resize(grey, (width, height), interpolation=cv2.INTER_AREA)
        boxes = [(f.name, *f.box) for f in phantom.findings if f.box is not None]
        facts.append(json.dumps({"labels": phantom.labels, "boxes": boxes, "reports": phantom.reports}))
    buffer = io.BytesIO()
    np.savez(buffer, facts=np.array(facts), **images)
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as stream:
        stream.write(buffer.getvalue())


def _sample(image: NDArray[Any], text: str) -> Sample:
    facts = json.loads(text)
    return Sample(image, facts["labels"], tuple(Box(*box) for box in facts["boxes"]), facts["reports"])


def main() -> None:
    """Make the set."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--size-px", type=int, default=256)
    parser.add_argument("--train", type=int, default=1000)
    parser.add_argument("--held", type=int, default=0)
    parser.add_argument("--fresh", type=int, default=300)
    parser.add_argument("--seed", type=int, default=7)
    args = parser.parse_args()
    cv2.setNumThreads(1)
    for part in ("fresh", "held", "train"):
        made = load(args.folder, part, getattr(args, part), args.size_px, args.seed)
        print(f"{part}: {len(made)} phantoms", flush=True)


if __name__ == "__main__":
    main()
