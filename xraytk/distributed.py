"""Rank, world and the few collectives that are used; no-ops on one process."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor

T = TypeVar("T")

_alone = False


def active() -> bool:
    """Whether this process belongs to a group of several."""
    return dist.is_available() and dist.is_initialized() and not _alone


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """Within, this process acts as if it were the only one: for what the others do not take part in."""
    global _alone
    before, _alone = _alone, True
    try:
        yield
    finally:
        _alone = before


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


def total(value: Tensor) -> Tensor:
    """Sum of a tensor over all processes, without gradient."""
    value = value.detach().clone()
    if active():
        dist.all_reduce(value)
    return value


def gather_rows(rows: Tensor) -> Tensor:
    """Rows of every process, in order of rank, with gradient.

    The gradient of a row is the sum of its gradients on all processes. So when each process
    computes ``world()`` times its share of a global sum, the mean over processes that data
    parallel training takes is the gradient of that sum.

    Args:
        rows: (B, ...), of one shape on all processes.

    Returns:
        (world * B, ...).

    Source:
        OpenCLIP's gather_with_grad; torch's own is deprecated.
    """
    return cast(Tensor, _GatherRows.apply(rows)) if active() else rows


class _GatherRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        every = [torch.empty_like(rows) for _ in range(world())]
        dist.all_gather(every, rows.contiguous())
        return torch.cat(every)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        grad = grads[0].contiguous().clone()
        dist.all_reduce(grad)
        share = len(grad) // world()
        return grad[rank() * share : (rank() + 1) * share]
