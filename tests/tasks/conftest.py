"""Batches of tiny pictures whose reports can be told from them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from xraytk.records import Batch

EN = ["No finding.", "Left nodule.", "Right nodule.", "Right effusion. Left nodule."]
ZH = ["未见异常。", "左肺结节。", "右肺结节。", "右侧积液，左肺结节。"]


def made_batch(count: int = 8, side: int = 32) -> Batch:
    """Images that differ by a bright square whose place says which report they have."""
    image = torch.full((count, 1, side, side), 60, dtype=torch.uint8)
    for i in range(count):
        row, col = divmod(i % 4, 2)
        image[i, 0, row * 16 + 3 : row * 16 + 13, col * 16 + 3 : col * 16 + 13] = 220 + i
    valid = torch.ones(count, side, side, dtype=torch.bool)
    return Batch(
        image=image,
        valid=valid,
        lung=torch.zeros_like(valid),
        has_contour=torch.zeros(count, dtype=torch.bool),
        labels=torch.full((count, 0), torch.nan),
        reports={"en": [EN[i % 4] for i in range(count)], "zh": [ZH[i % 4] for i in range(count)]},
        image_id=[f"{i:016x}" for i in range(count)],
        patient_hash=[f"{i // 2:016x}" for i in range(count)],
        view=["PA"] * count,
    )


@pytest.fixture
def make_batch() -> Callable[..., Batch]:
    """Make a batch of ``count`` pictures."""
    return made_batch


@pytest.fixture
def texts() -> dict[str, list[str]]:
    """The four reports of each language, in the order of the pictures."""
    return {"en": EN, "zh": ZH}
