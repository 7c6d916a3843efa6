"""Batches that are being filled: their memory, and what is left of them when samples are broken."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor

from xraytk.config import Pixels, rows_cols
from xraytk.data import warp
from xraytk.data.memory import Memory
from xraytk.records import LANGUAGES, Batch, SecondView

Parts = TypeVar("Parts", Batch, SecondView)


@dataclass(slots=True)
class Made:
    """A batch on the CPU.

    Args:
        batch: Its images are canvases, and their ``valid`` empty, where ``moves`` is there.
        moves: What the device has still to do.
        second_moves: The same for the second images.
    """

    batch: Batch
    moves: warp.Moves | None = None
    second_moves: warp.Moves | None = None


def empty(
    memory: Memory,
    count: int,
    frame: Pixels,
    needs: frozenset[str],
    *,
    labels: int,
    canvas: tuple[int, int] | None,
    two: bool,
) -> Made:
    """Make a batch to fill; what is not needed takes no memory.

    Args:
        memory: Where its pixels lie.
        count: Samples.
        frame: Size of the frame, in pixels.
        needs: Fields of `Batch` that are wanted.
        labels: Number of labels.
        canvas: Rows and columns of the canvases that the device is left with; None for whole images.
        two: Whether a sample has a second image.
    """
    frame = rows_cols(frame)

    def made(name: str, shape: tuple[int, ...], fill: int, dtype: torch.dtype) -> Tensor:
        if canvas and name == "valid":
            return torch.empty(0, dtype=dtype)
        if name in needs:
            return memory.empty(shape, dtype)
        return torch.full((1,) * len(shape), fill, dtype=dtype).expand(shape)

    def moves() -> warp.Moves:
        return warp.Moves(torch.zeros(count, 2, 3), torch.zeros(count, 2))

    two = two and "second" in needs
    batch = Batch(
        image=made("image", (count, 1, *(canvas or frame)), 0, torch.uint8),
        valid=made("valid", (count, *frame), 1, torch.bool),
        lung=made("lung", (count, *frame), 0, torch.bool),
        has_contour=torch.zeros(count, dtype=torch.bool),
        labels=torch.full((count, labels), torch.nan),
        reports={language: [""] * count for language in LANGUAGES},
        image_id=[""] * count,
        patient_hash=[""] * count,
        view=["UNKNOWN"] * count,
        outlines=[{} for _ in range(count)],
        boxes=[[] for _ in range(count)],
        shape=[(0, 0)] * count,
        second=_second(memory, count, frame, canvas) if two else None,
    )
    return Made(batch, moves() if canvas else None, moves() if canvas and two else None)


def _second(memory: Memory, count: int, frame: tuple[int, int], canvas: tuple[int, int] | None) -> SecondView:
    none = torch.empty(0, dtype=torch.bool)
    return SecondView(
        image=memory.empty((count, 1, *(canvas or frame)), torch.uint8),
        valid=none if canvas else memory.empty((count, *frame), torch.bool),
        there=torch.zeros(count, dtype=torch.bool),
        image_id=[""] * count,
        view=[""] * count,
        shape=[(0, 0)] * count,
    )


def without(made: Made, lost: Sequence[int]) -> Made:
    """Leave out samples that could not be filled.

    Args:
        made: Whole, without moves.
        lost: Their places.
    """
    if not lost:
        return made
    kept = [i for i in range(len(made.batch.image_id)) if i not in set(lost)]
    return Made(taken(made.batch, kept))


def taken(batch: Parts, kept: Sequence[int]) -> Parts:
    """Copy some samples of a batch.

    Args:
        batch: A batch, or its second images.
        kept: Places of the samples.
    """
    values: dict[str, Any] = {}
    for field in dataclasses.fields(batch):
        value = getattr(batch, field.name)
        if isinstance(value, Tensor):
            values[field.name] = value[kept]
        elif isinstance(value, dict):
            values[field.name] = {name: [part[i] for i in kept] for name, part in value.items()}
        elif isinstance(value, SecondView):
            values[field.name] = taken(value, kept)
        elif value:  # else nobody has said anything of any sample
            values[field.name] = [value[i] for i in kept]
    return dataclasses.replace(batch, **values)
