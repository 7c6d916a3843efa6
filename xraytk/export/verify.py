"""Load an export as its users will, and compare tokens with ours."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from xraytk.data import synthetic
from xraytk.errors import DataError
from xraytk.models.vit import Vit, VitConfig, normalise

TOLERANCE = 1e-4
"""Largest difference of a token's number that passes; tokens are normed, so numbers are about 1."""


def phantom(config: VitConfig) -> Tensor:
    """A phantom chest as an encoder's input, (1, C, H, W) float32 in [-1, 1]."""
    height, width = config.size
    pixels = np.rint(synthetic.make_phantom(7, size_px=256).pixels * 255).astype(np.uint8)
    fitted = np.asarray(cv2.resize(pixels, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8)
    return normalise(torch.from_numpy(fitted)[None, None], config.channels)


@torch.no_grad()
def difference_timm(encoder: Vit, folder: Path) -> float:
    """Largest difference between our tokens and those of timm's model of a folder."""
    import timm

    image = phantom(encoder.config)
    with torch.random.fork_rng(devices=[]):
        theirs: Any = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    return _apart(encoder, image, theirs.forward_features(image))


@torch.no_grad()
def difference_transformers(encoder: Vit, folder: Path) -> float:
    """Largest difference between our tokens and those of transformers' model of a folder."""
    image = phantom(encoder.config)
    with _quiet(), torch.random.fork_rng(devices=[]):
        from transformers import AutoModel

        theirs = AutoModel.from_pretrained(str(folder), local_files_only=True).eval()
    return _apart(encoder, image, theirs(image).last_hidden_state)


def refuse_other_tokens(folder: Path, encoder: Vit, wanted: list[str]) -> dict[str, float]:
    """Compare tokens with those of the libraries.

    Args:
        folder: Of the export.
        encoder: What was exported.
        wanted: Names of libraries.

    Returns:
        The largest difference of each.

    Raises:
        DataError: If they differ.
    """
    compare = {"timm": difference_timm, "transformers": difference_transformers}
    found = {name: compare[name](encoder, folder / name) for name in wanted}
    for name, apart in found.items():
        if not apart <= TOLERANCE:
            raise DataError(
                f"{name} gives other tokens than xraytk for the same weights",
                f"largest difference {apart:.2g}, wanted at most {TOLERANCE:g}",
                f"This version of {name} builds another model; nothing was written. "
                "Use another version, or leave it out with --format.",
            )
    return found


def _apart(encoder: Vit, image: Tensor, theirs: Tensor) -> float:
    return float((encoder(image) - theirs).abs().max())


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """No progress bar of a file that is read from the disk."""
    import transformers.utils.logging

    theirs: Any = transformers.utils.logging
    shown, level = theirs.is_progress_bar_enabled(), theirs.get_verbosity()
    theirs.disable_progress_bar()
    theirs.set_verbosity(logging.ERROR)
    try:
        yield
    finally:
        theirs.set_verbosity(level)
        if shown:
            theirs.enable_progress_bar()
