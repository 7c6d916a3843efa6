"""Made batches for all tests: grey noise with a contour, or given pictures."""

from __future__ import annotations

import torch
from torch import Tensor

from xraytk.records import Batch


def batch_of(
    image: Tensor,
    *,
    lung: Tensor | None = None,
    labels: Tensor | None = None,
    reports: dict[str, list[str]] | None = None,
) -> Batch:
    """A batch of given pictures, of which nothing is padding, each of its own patient.

    Args:
        image: (B, 1, H, W) uint8.
        lung: (B, H, W) bool; no image has a contour without it.
        labels: (B, C); none without it.
        reports: Texts by language; empty ones without it.
    """
    count, _, rows, cols = image.shape
    names = [f"{i:016x}" for i in range(count)]
    return Batch(
        image=image,
        valid=torch.ones(count, rows, cols, dtype=torch.bool),
        lung=torch.zeros(count, rows, cols, dtype=torch.bool) if lung is None else lung,
        has_contour=torch.full((count,), lung is not None),
        labels=torch.zeros(count, 0) if labels is None else labels,
        reports={"en": [""] * count, "zh": [""] * count} if reports is None else reports,
        image_id=names,
        patient_hash=list(names),
        view=["PA"] * count,
    )


def noise(count: int = 3, rows: int = 32, cols: int | None = None, *, seed: int = 0) -> Batch:
    """Noise with one contour for all: the middle of a square, left of it where rows and columns differ.

    Args:
        count: B.
        rows: H.
        cols: W; H without it.
        seed: Of the noise.
    """
    rng = torch.Generator().manual_seed(seed)
    bottom, left, right = rows * 3 // 4, rows // 4, rows * 3 // 4
    if cols is not None:
        bottom, left, right = rows // 2, cols // 5, cols // 2
    shape = (count, rows, rows if cols is None else cols)
    lung = torch.zeros(shape, dtype=torch.bool)
    lung[:, rows // 4 : bottom, left:right] = True
    grey = torch.randint(0, 256, (count, 1, *shape[1:]), generator=rng, dtype=torch.uint8)
    return batch_of(grey, lung=lung)
