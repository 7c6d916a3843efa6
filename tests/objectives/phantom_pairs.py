"""Batches of phantoms with their reports, and small objectives, for the tests beside this file."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
import torch
from made_batches import batch_of

from xraytk.chance import Chance
from xraytk.config import resolve
from xraytk.data.synthetic import make_phantom
from xraytk.models.tokens import Vocabulary, units
from xraytk.models.vit import VitConfig
from xraytk.objectives import OBJECTIVES
from xraytk.records import Batch

SIDE = 32
VIT = VitConfig(image_px=SIDE, patch_px=8, width=32, depth=1, heads=2)
TEXT: dict[str, Any] = {"width": 32, "depth": 1, "heads": 2, "max_tokens": 24, "min_count": 1, "dropout": 0.0}
PIXELS = {"width": 32, "depth": 1, "heads": 2}
OPTIONS: dict[str, dict[str, Any]] = {
    "mae": {"mask": "random", "decoder_width": 32, "decoder_depth": 1, "decoder_heads": 2},
    "clip": {"text": TEXT, "width": 16},
    "maco": {"text": TEXT, "pixels": PIXELS},
    "mrm": {"text": TEXT, "pixels": PIXELS},
    "m3ae": {"text": TEXT, "pixels": PIXELS, "width": 32, "depth": 2, "heads": 2, "paint_after": 1},
}


@lru_cache(maxsize=2)
def phantoms(count: int = 16, side: int = SIDE) -> Batch:
    """Phantoms of which no two have the same report, as far as the small objectives read."""
    images, reports, seed = [], {"en": [], "zh": []}, 0
    read: dict[str, list[list[str]]] = {"en": [], "zh": []}
    while len(images) < count:
        phantom = make_phantom(seed, size_px=64)
        seed += 1
        begins = {lang: units(phantom.reports[lang], lang)[: TEXT["max_tokens"]] for lang in reports}
        if any(begins[lang] in read[lang] for lang in reports):
            continue
        grey = cv2.resize(np.asarray(phantom.pixels, np.float32), (side, side), interpolation=cv2.INTER_AREA)
        images.append(torch.from_numpy(np.rint(grey * 255).astype(np.uint8)))
        for lang, texts in reports.items():
            texts.append(phantom.reports[lang])
            read[lang].append(begins[lang])
    return batch_of(torch.stack(images)[:, None], reports=reports)


def take(batch: Batch, rows: Sequence[int]) -> Batch:
    """Some rows of a batch."""
    changes: dict[str, Any] = {
        name: getattr(batch, name)[list(rows)] for name in ("image", "valid", "lung", "has_contour", "labels")
    }
    for name in ("image_id", "patient_hash", "view"):
        changes[name] = [getattr(batch, name)[i] for i in rows]
    changes["reports"] = {lang: [texts[i] for i in rows] for lang, texts in batch.reports.items()}
    return dataclasses.replace(batch, **changes)


def without_reports(batch: Batch, rows: Sequence[int]) -> Batch:
    """The same batch, some of whose images have no report."""
    reports = {
        lang: ["" if i in rows else text for i, text in enumerate(texts)]
        for lang, texts in batch.reports.items()
    }
    return dataclasses.replace(batch, reports=reports)


def words_of(batch: Batch) -> Any:
    """The vocabulary of a batch, as objectives ask for it."""

    def source(langs: Sequence[str], min_count: int) -> Vocabulary:
        return Vocabulary.build({lang: batch.reports[lang] for lang in langs}, min_count)

    return source


def make(name: str, vit: VitConfig = VIT, seed: int = 0, **options: Any) -> Any:
    """A small objective over the words of `phantoms`."""
    torch.manual_seed(seed)
    kind = resolve(OBJECTIVES[name])
    merged = OPTIONS[name] | {
        key: OPTIONS[name].get(key, {}) | value if isinstance(value, dict) else value
        for key, value in options.items()
    }
    return kind.build(vit, merged) if name == "mae" else kind.build(vit, merged, words_of(phantoms()))


def rng(seed: int = 0, first: int = 0) -> Chance:
    return Chance(seed, first=first)


def overfit(made: Any, batch: Batch, steps: int, lr: float = 3e-3) -> tuple[float, float]:
    """First and last total after training on one batch with the same draws."""
    optimizer = torch.optim.AdamW(made.parameters(), lr=lr)
    first = last = 0.0
    for step in range(steps):
        loss = made(batch, rng()).total
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        first = first if step else loss.item()
        last = loss.item()
    return first, last
