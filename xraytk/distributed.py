"""Rank, world and the few collectives that are used; no-ops on one process."""

from __future__ import annotations

from typing import Any, TypeVar

import torch
import torch.distributed as dist

T = TypeVar("T")


def active() -> bool:
    """Whether this process belongs to a group of several."""
    return dist.is_available() and dist.is_initialized()


def rank() -> int:
    """Number of this process, from 0."""
    return dist.get_rank() if active() else 0


def world() -> int:
    """Number of processes."""
    return dist.get_world_size() if active() else 1


def is_main() -> bool:
    """Whether this process is the one that logs and saves."""
    return rank() == 0


def barrier() -> None:
    """Wait for all processes."""
    if active():
        dist.barrier()


def gather(value: T) -> list[T]:
    """What every process has, in order of rank; small plain values only."""
    if not active():
        return [value]
    every: list[Any] = [None] * world()
    dist.all_gather_object(every, value)
    return every


def any_true(flag: bool) -> bool:
    """Whether the flag is set on any process; all get the same answer."""
    return agree(flag)[0]


def agree(*flags: bool) -> tuple[bool, ...]:
    """For each flag, whether it is set on any process; all get the same answer, in one message."""
    if not active():
        return flags
    device = "cuda" if dist.get_backend() == "nccl" else "cpu"
    values = torch.tensor([int(flag) for flag in flags], device=device)
    dist.all_reduce(values, op=dist.ReduceOp.MAX)
    return tuple(bool(value) for value in values.tolist())


def raise_first(error: Exception | None) -> None:
    """Raise on every process the error of the first one that has one; all must call it.

    A process that raised alone would leave the others waiting for it.
    """
    for one in gather(error):
        if one is not None:
            raise one
