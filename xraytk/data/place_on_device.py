"""Batches onto the learner's device, one ahead of the one that is worked on.

On CUDA a batch lies in pinned memory and is copied on a stream of its own while the step before
it computes. On a CPU the same code runs, and copies nothing.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import replace

import torch

from xraytk.config import Pixels
from xraytk.data import warp
from xraytk.data.made import Made
from xraytk.records import Batch


def on_device(made: Iterable[Made], device: torch.device, size: Pixels) -> Iterator[Batch]:
    """Yield batches whole, on a device.

    Args:
        made: Batches on the CPU; not written to again.
        device: Where to.
        size: Of the frame, in pixels.
    """
    copies = torch.cuda.Stream(device) if device.type == "cuda" else None  # type: ignore[no-untyped-call]
    waiting: Made | None = None
    for one in made:
        sent = _send(one, device, copies)
        if copies is None:
            yield _finished(sent, size)
            continue
        if waiting is not None:
            yield _finished(_arrived(waiting, device, copies), size)
        waiting = sent
    if waiting is not None and copies is not None:
        yield _finished(_arrived(waiting, device, copies), size)


def _send(made: Made, device: torch.device, copies: torch.cuda.Stream | None) -> Made:
    aside = contextlib.nullcontext() if copies is None else torch.cuda.stream(copies)
    with aside:
        first, second = made.moves, made.second_moves
        return Made(made.batch.to(device), first and first.to(device), second and second.to(device))


def _arrived(made: Made, device: torch.device, copies: torch.cuda.Stream) -> Made:
    """Let what comes next on the device wait for the copy, and keep the memory until it is done."""
    current = torch.cuda.current_stream(device)
    current.wait_stream(copies)
    sent = [made.batch.image, made.batch.valid, made.batch.lung, made.batch.has_contour, made.batch.labels]
    if (second := made.batch.second) is not None:
        sent += [second.image, second.valid, second.there]
    for moves in (made.moves, made.second_moves):
        sent += [] if moves is None else [moves.back, moves.size]
    for tensor in sent:
        tensor.record_stream(current)
    return made


def _finished(made: Made, size: Pixels) -> Batch:
    if made.moves is None:
        return made.batch
    image, valid = warp.warp(made.batch.image, made.moves, size)
    second = made.batch.second
    if second is not None and made.second_moves is not None:
        seen = warp.warp(second.image, made.second_moves, size)
        second = replace(second, image=seen[0], valid=seen[1])
    return replace(made.batch, image=image, valid=valid, second=second)
