"""What a picture shows when its header is silent: a frontal chest, one lying on its side, no chest.

A convolutional net of a few thousand numbers looks at 64 x 64 ranks, in numpy. It answers only
when it is very sure: a header's word counts more, and a radiograph wrongly thrown away is worse
than a picture of a knee that is kept.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from xraytk.data.glance import glance

WEIGHTS = Path(__file__).with_name("view_model") / "view.safetensors"
CLASSES = ("frontal", "turned", "lateral", "other")
FRONTAL = 0.90
"""Least probability to say what a chest's view is."""
OTHER = 0.96
"""Least probability to say that it is no chest; frontal chests stay below (see the model card)."""
STRIDE = 2

Map = NDArray[np.float32]
_SIDE = 64
_RANK_PX = 128


@dataclass(frozen=True, slots=True)
class Guess:
    """What the pixels say.

    Args:
        view: "FRONTAL", "LATERAL" (sure not to be frontal; learnt from drawings), "TURNED" (a
            frontal chest on its side or its head), "INVERTED" (a frontal chest with bone dark) or
            "UNKNOWN". Never PA or AP, which pixels do not tell well enough.
        chest: False when this is surely no chest radiograph, True when it surely is one,
            frontal and upright; else None.
        confidence: Probability of what is said; of the likeliest class when nothing is.
        scores: Probability of each of `CLASSES`.
    """

    view: str
    chest: bool | None
    confidence: float
    scores: tuple[float, float, float, float]


def guess_view(pixels: NDArray[Any]) -> Guess:
    """Guess what a picture shows.

    Args:
        pixels: (H, W) uint8 or uint16 grey, air dark and bone bright.

    Returns:
        The guess. A blank picture is surely no chest.

    Source:
        Ours; data, licence and scores are in ``view_model/MODEL_CARD.md``.
    """
    thumb = thumbnail(pixels)
    if thumb is None:
        return Guess("UNKNOWN", False, 1.0, (0.0, 0.0, 0.0, 1.0))
    guess = _decide(_scores(thumb))
    if guess.scores[0] < FRONTAL and (inverse := _scores(-thumb)[0]) >= FRONTAL:
        return Guess("INVERTED", None, inverse, guess.scores)
    return guess


def _scores(thumb: Map) -> tuple[float, float, float, float]:
    frontal, turned, lateral, other = (round(float(p), 4) for p in classify(thumb, _weights()))
    return frontal, turned, lateral, other


def _decide(scores: tuple[float, float, float, float]) -> Guess:
    frontal, turned, lateral, other = scores
    if other >= OTHER:
        return Guess("UNKNOWN", False, other, scores)
    if frontal >= FRONTAL:
        return Guess("FRONTAL", True, frontal, scores)
    if turned >= FRONTAL:
        return Guess("TURNED", None, turned, scores)
    if lateral >= FRONTAL:
        return Guess("LATERAL", None, lateral, scores)
    return Guess("UNKNOWN", None, max(scores), scores)


def thumbnail(pixels: NDArray[Any]) -> Map | None:
    """What the net looks at.

    Args:
        pixels: (H, W) uint8 or uint16 grey.

    Returns:
        (64, 64) float32 ranks in [-1, 1], the picture squashed to a square; None when there is
        nothing in it.
    """
    how = cv2.INTER_AREA if min(pixels.shape) >= _RANK_PX else cv2.INTER_LINEAR
    small = cv2.resize(glance(pixels), (_RANK_PX, _RANK_PX), interpolation=how)
    counts = np.bincount(small.ravel(), minlength=int(small.max()) + 1)
    if counts.max() > 0.98 * small.size:
        return None
    ranks = (2 * (np.cumsum(counts) - counts / 2) / small.size - 1).astype(np.float32)
    return np.asarray(cv2.resize(ranks[small], (_SIDE, _SIDE), interpolation=cv2.INTER_AREA), np.float32)


def classify(thumb: Map, weights: dict[str, Map]) -> NDArray[np.float64]:
    """Run the net.

    Args:
        thumb: (64, 64) of `thumbnail`.
        weights: Four convolutions of stride 2 as (9 or 25 x channels in, channels out), each with
            a bias, then a linear layer.

    Returns:
        (4,) probabilities of `CLASSES`.
    """
    x = thumb[..., None]
    for i in range(4):
        kernel, bias = weights[f"conv{i}.weight"], weights[f"conv{i}.bias"]
        side = round((len(kernel) / x.shape[2]) ** 0.5)
        x = np.maximum(_patches(x, side) @ kernel + bias, 0)
    logits = (x.reshape(-1) @ weights["head.weight"] + weights["head.bias"]).astype(np.float64)
    odds = np.exp(logits - logits.max())
    return np.asarray(odds / odds.sum())


def _patches(x: Map, side: int) -> Map:
    """(H, W, C) to the neighbourhoods of every other pixel, (H/2, W/2, side * side * C)."""
    pad = side // 2
    padded = np.pad(x, ((pad, pad), (pad, pad), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (side, side), axis=(0, 1))
    windows = windows[::STRIDE, ::STRIDE]  # (h, w, C, side, side)
    return np.ascontiguousarray(windows).reshape(*windows.shape[:2], -1)


@functools.cache
def _weights() -> dict[str, Map]:
    from safetensors.numpy import load_file

    return {name: value.astype(np.float32) for name, value in load_file(WEIGHTS).items()}
