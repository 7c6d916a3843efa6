"""Lungs of one image: the net's answer, how far it is to be trusted, and what stands in for it."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from xraytk.data import classical, contour, plausible, square, view
from xraytk.errors import DataError
from xraytk.files import sha256_of
from xraytk.models.lungs import SIDE_PX, WEIGHTS, LungModel, answers, lung_model

METHOD = 3
"""Raised when the same weights would give another contour or status."""
TRUSTED = 0.95
"""Confidence from which on a contour is ok."""
LOST = 0.80
"""Confidence below which the fitted atlas stands in for the net's contour."""
DOUBTED = 0.90
"""Confidence below which a picture is refused that looks lateral to the view model, though not surely so;
what looks like no chest is refused below `LOST`, since some frontal chests do."""
FRONTAL = 0.5
"""Probability of that below which it does not."""
_SMALLEST_PX = 48


@dataclass(frozen=True, slots=True)
class Lungs:
    """What was found in one image.

    Args:
        polygons: Whole lungs, "right_lung" and "left_lung", in pixels of the image; empty when
            they were not found.
        others: Clear lungs, without what the heart covers.
        status: "ok", "flagged" (a person should look at it), "failed" or "skipped" (no polygons).
        reason: "" when ok; low-confidence, turned when flagged; too-small, blank, not-chest,
            turned, no-lungs, no-frontal-chest when failed; lateral when skipped.
        confidence: Dice to be expected with a human outline, in [0, 1]; None without one.
        source: "net", "atlas", or "" without polygons.
    """

    polygons: tuple[contour.Polygon, ...]
    others: tuple[contour.Polygon, ...]
    status: Literal["ok", "flagged", "failed", "skipped"]
    reason: str
    confidence: float | None
    source: Literal["net", "atlas", ""]


@dataclass(frozen=True, slots=True)
class Said:
    """What the net says of one image.

    Args:
        whole: Whole lungs, in pixels of the image.
        clear: Clear lungs.
        evidence: What speaks for them.
        confidence: Dice to be expected with a human outline, in [0, 1].
    """

    whole: tuple[contour.Polygon, ...]
    clear: tuple[contour.Polygon, ...]
    evidence: plausible.Evidence
    confidence: float


def version() -> str:
    """Changes when the results do."""
    return f"lung-net-{METHOD} {sha256_of(WEIGHTS)[:12]}"


def find(image: NDArray[Any], model: LungModel | None = None) -> Lungs:
    """Find both lungs in a frontal chest radiograph.

    Args:
        image: (H, W) uint8 or uint16, air dark.
        model: The package's by default.

    Returns:
        Polygons and how far they are to be trusted; the same for the same image.

    Raises:
        DataError: If the image is not (H, W) uint8 or uint16.
    """
    return _find_some([image], model or lung_model(), 1)[0]


def find_batch(
    images: Sequence[NDArray[Any]], model: LungModel | None = None, *, at_once: int = 1, threads: int = 1
) -> list[Lungs]:
    """Find both lungs in many images.

    Args:
        images: As for `find`.
        model: The package's by default.
        at_once: Images that the net is given together; fewer are filled up with blank ones, so that
            an answer depends on its image only. One is the fastest on a CPU, where larger batches
            leave the cache (`benchmarks/contour_speed.py`), and gives the bits that `find` gives.
        threads: Of this process, each with a part of the images. Changes no bit.

    Returns:
        One for each image, in their order.

    Raises:
        DataError: If an image is not (H, W) uint8 or uint16.
    """
    model = model or lung_model()
    parts = [images[i : i + at_once] for i in range(0, len(images), at_once)]
    if threads == 1:
        return [found for part in parts for found in _find_some(part, model, at_once)]
    with ThreadPoolExecutor(threads) as pool:
        each = pool.map(lambda part: _find_some(part, model, at_once), parts)
        return [found for some in each for found in some]


def _find_some(images: Sequence[NDArray[Any]], model: LungModel, at_once: int) -> list[Lungs]:
    """Find the lungs of up to ``at_once`` images with one run of the net."""
    refused, guesses = zip(*map(_look, images), strict=True)
    asked = [i for i, why in enumerate(refused) if why is None]
    said = dict(zip(asked, ask([images[i] for i in asked], model, at_once), strict=True)) if asked else {}
    return [why or _conclude(images[i], guesses[i], said[i]) for i, why in enumerate(refused)]


def _look(image: NDArray[Any]) -> tuple[Lungs | None, view.Guess | None]:
    """What is said without asking the net, and the view that the pixels show."""
    if image.ndim != 2 or image.dtype not in (np.uint8, np.uint16):
        raise DataError(
            "lungs are looked for in grey images only",
            f"found shape {image.shape} of {image.dtype}, wanted (H, W) of uint8 or uint16",
        )
    if min(image.shape) < _SMALLEST_PX:
        return _none("failed", "too-small"), None
    if image.min() == image.max():
        return _none("failed", "blank"), None
    guess = view.guess_view(image)
    if guess.chest is False:
        return _none("failed", "not-chest"), guess
    if guess.view == "LATERAL":
        return _none("skipped", "lateral"), guess
    return None, guess


def _conclude(image: NDArray[Any], guess: view.Guess | None, said: Said) -> Lungs:
    """What the net's answer is worth, and what stands in for it.

    Where neither the view model sees a frontal chest nor the lung net sure lungs, there are none:
    either alone would refuse frontal chests, or outline lateral ones.
    """
    turned = guess is not None and guess.view == "TURNED"
    if guess is not None and guess.view == "UNKNOWN" and said.confidence < DOUBTED:
        frontal, _, lateral, other = guess.scores
        if frontal < FRONTAL and lateral > other:
            return _none("skipped", "lateral")
        if frontal < FRONTAL and said.confidence < LOST:
            return _none("failed", "no-frontal-chest")
    if said.whole and said.confidence >= TRUSTED:
        status: Literal["ok", "flagged"] = "flagged" if turned else "ok"
        return Lungs(said.whole, said.clear, status, "turned" if turned else "", said.confidence, "net")
    if not said.whole or said.confidence < LOST:
        fitted = classical.find_lungs(image)
        if turned or not fitted.polygons:
            return _none("failed", "turned" if turned else "no-lungs")
        return Lungs(fitted.polygons, (), "flagged", "low-confidence", said.confidence, "atlas")
    return Lungs(said.whole, said.clear, "flagged", "low-confidence", said.confidence, "net")


def _none(status: Literal["failed", "skipped"], reason: str) -> Lungs:
    return Lungs((), (), status, reason, None, "")


def ask(images: Sequence[NDArray[Any]], model: LungModel, at_once: int = 1) -> list[Said]:
    """What the net says of images.

    Args:
        images: (H, W) uint8 or uint16, at least one.
        model: The model.
        at_once: Least number that the net is given; blank ones are added.

    Returns:
        One for each image; made on one thread, since more would change last bits.
    """
    placed = [square.squared(image) for image in images]
    grey = np.full((max(at_once, len(images)), SIDE_PX, SIDE_PX), -1, np.float32)
    for i, (small, place) in enumerate(placed):
        grey[i] = square.normalised(small, place)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        chances = answers(model.net, grey)  # (B, 3, 4, S, S)
    finally:
        torch.set_num_threads(threads)
    shapes = [image.shape for image in images]
    return [_said(c, p, s, model) for c, (_, p), s in zip(chances, placed, shapes, strict=False)]


def _said(chances: NDArray[np.float32], place: square.Place, size: tuple[int, ...], model: LungModel) -> Said:
    """Outlines and confidence of chances (3, 4, S, S)."""
    height, width = size
    whole, clear = contour.from_chances(chances.mean(0), place, height, width)
    shape = plausible.shape_of(whole, height, width)
    odd = plausible.oddness(shape, model.shape_mean, model.shape_precision)
    top, left, tall, wide = place
    found = plausible.evidence(chances[:, :2, top : top + tall, left : left + wide], odd)
    return Said(tuple(whole), tuple(clear), found, plausible.confidence(found, model.trust))
