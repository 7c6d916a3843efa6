"""Lungs of one image: the net's answer, how far it is to be trusted, and what stands in for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from xraytk.data import classical, contour, plausible, square, view
from xraytk.errors import DataError
from xraytk.files import sha256_of
from xraytk.models.lungs import WEIGHTS, LungModel, answers, lung_model

METHOD = 1
"""Raised when the same weights would give another contour or status."""
TRUSTED = 0.95
"""Confidence from which on a contour is ok."""
LOST = 0.80
"""Confidence below which the fitted atlas stands in for the net's contour."""
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
            turned, no-lungs when failed; lateral when skipped.
        confidence: Dice to be expected with a human outline, in [0, 1]; None without one.
        source: "net", "atlas", or "" without polygons.
    """

    polygons: tuple[contour.Polygon, ...]
    others: tuple[contour.Polygon, ...]
    status: Literal["ok", "flagged", "failed", "skipped"]
    reason: str
    confidence: float | None
    source: Literal["net", "atlas", ""]


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
    if image.ndim != 2 or image.dtype not in (np.uint8, np.uint16):
        raise DataError(
            "lungs are looked for in grey images only",
            f"found shape {image.shape} of {image.dtype}, wanted (H, W) of uint8 or uint16",
        )
    if min(image.shape) < _SMALLEST_PX:
        return _none("failed", "too-small")
    if image.min() == image.max():
        return _none("failed", "blank")
    guess = view.guess_view(image)
    if guess.chest is False:
        return _none("failed", "not-chest")
    if guess.view == "LATERAL":
        return _none("skipped", "lateral")
    whole, clear, sure = ask(image, model or lung_model())
    if whole and sure >= TRUSTED:
        turned = guess.view == "TURNED"
        status: Literal["ok", "flagged"] = "flagged" if turned else "ok"
        return Lungs(whole, clear, status, "turned" if turned else "", sure, "net")
    if not whole or sure < LOST:
        fitted = classical.find_lungs(image)
        if guess.view == "TURNED" or not fitted.polygons:
            return _none("failed", "turned" if guess.view == "TURNED" else "no-lungs")
        return Lungs(fitted.polygons, (), "flagged", "low-confidence", sure, "atlas")
    return Lungs(whole, clear, "flagged", "low-confidence", sure, "net")


def _none(status: Literal["failed", "skipped"], reason: str) -> Lungs:
    return Lungs((), (), status, reason, None, "")


def ask(
    image: NDArray[Any], model: LungModel
) -> tuple[tuple[contour.Polygon, ...], tuple[contour.Polygon, ...], float]:
    """What the net says.

    Args:
        image: (H, W) uint8 or uint16.
        model: The model.

    Returns:
        Whole lungs, clear lungs and confidence; on one thread, since more would change last bits.
    """
    height, width = image.shape
    placed, place = square.squared(image)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        chances = answers(model.net, square.normalised(placed, place)[None])[0]  # (3, 4, S, S)
    finally:
        torch.set_num_threads(threads)
    whole, clear = contour.from_chances(chances.mean(0), place, height, width)
    shape = plausible.shape_of(whole, height, width)
    odd = plausible.oddness(shape, model.shape_mean, model.shape_precision)
    top, left, tall, wide = place
    found = plausible.evidence(chances[:, :2, top : top + tall, left : left + wide], odd)
    return tuple(whole), tuple(clear), plausible.confidence(found, model.trust)
