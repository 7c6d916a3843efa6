"""Several processes and little memory: data parallel, sharded, compiled, activations made twice."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel
from torch.utils.checkpoint import checkpoint

from xraytk import distributed
from xraytk.chance import Chance
from xraytk.records import Batch, Loss
from xraytk.train.machine import MachineConfig


def blocks_of(learner: nn.Module) -> list[nn.Module]:
    """The transformer blocks: what stands in a ``ModuleList`` and has parameters, not what is inside them."""
    found: list[nn.Module] = []
    for child in learner.children():
        if isinstance(child, nn.ModuleList):
            found += [block for block in child if next(block.parameters(), None) is not None]
        else:
            found += blocks_of(child)
    return found


def is_sharded(machine: MachineConfig) -> bool:
    """Whether weights, gradients and optimizer are spread over the processes."""
    return machine.sharding == "fsdp" and distributed.active()


def wrap(learner: nn.Module, machine: MachineConfig, device: torch.device) -> nn.Module:
    """Make a learner ready to be called by every process; names in its ``state_dict`` stay.

    Args:
        learner: On ``device``.
        machine: ``sharding``, ``checkpointing``, ``compile``, ``precision``.
        device: Of this process.

    Returns:
        What to call with `forward`.
    """
    blocks = blocks_of(learner)
    if machine.checkpointing:
        for block in blocks:
            block.forward = partial(checkpoint, block.forward, use_reentrant=False)
    if machine.compile:
        for part in blocks or [learner]:
            part.compile()
    if is_sharded(machine):
        return _shard(learner, blocks, machine, device)
    if distributed.active():
        return DistributedDataParallel(learner, device_ids=[device] if device.type == "cuda" else None)
    return learner


class _Root(nn.Module):
    """Gives tensors and not a `Loss`, in which FSDP would not look for them."""

    def __init__(self, learner: nn.Module) -> None:
        super().__init__()
        self.learner = learner

    def forward(self, batch: Batch, chance: Chance) -> tuple[Tensor, dict[str, Tensor]]:
        loss = cast(Loss, self.learner(batch, chance))
        return loss.total, loss.parts


def _shard(
    learner: nn.Module, blocks: list[nn.Module], machine: MachineConfig, device: torch.device
) -> nn.Module:
    from torch.distributed.device_mesh import init_device_mesh  # FSDP is slow to import
    from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

    low = torch.bfloat16 if device.type == "cuda" and low_precision(machine, device) else None
    options: dict[str, Any] = {
        "mesh": init_device_mesh(device.type, (distributed.world(),)),
        "mp_policy": MixedPrecisionPolicy(low, torch.float32, cast_forward_inputs=False),
    }
    for block in blocks:
        fully_shard(block, **options)
    root = _Root(learner)
    fully_shard(root, **options)
    return root


def low_precision(machine: MachineConfig, device: torch.device) -> bool:
    """Whether the forward pass runs under bf16 autocast."""
    return machine.precision == "bf16" or (machine.precision == "auto" and device.type == "cuda")


def forward(model: nn.Module, batch: Batch, chance: Chance) -> Loss:
    """Call what `wrap` returned."""
    made = model(batch, chance)
    return made if isinstance(made, Loss) else Loss(*made)


@contextlib.contextmanager
def accumulating(model: nn.Module, last: bool) -> Iterator[None]:
    """Exchange gradients in the last backward pass of an update only."""
    if isinstance(model, DistributedDataParallel) and not last:
        with model.no_sync():
            yield
        return
    if isinstance(model, _Root):
        cast(Any, model).set_requires_gradient_sync(last)
    yield


def clip_gradient(parameters: list[nn.Parameter], limit: float, value: float) -> Tensor:
    """Clip the gradient over all parts: the global norm, then each number.

    Args:
        parameters: That have a gradient, whole or in parts.
        limit: Largest norm.
        value: Largest absolute value of a number.

    Returns:
        The norm before any clipping, a plain scalar.
    """
    norm = nn.utils.clip_grad_norm_(parameters, limit)
    if value < math.inf:
        nn.utils.clip_grad_value_(parameters, value, foreach=False)  # sharded ones too
    return norm.full_tensor() if isinstance(norm, DTensor) else norm


@torch.no_grad()
def gather_into(plain: nn.Module | None, tensors: dict[str, Tensor]) -> None:
    """Fill an unsharded copy of a learner; every process must call it.

    Args:
        plain: The copy, on the processes that have one.
        tensors: By name; sharded ones are gathered one after the other.
    """
    there = {} if plain is None else plain.state_dict(keep_vars=True)
    for name, tensor in tensors.items():
        whole = tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
        if name in there:
            there[name].copy_(whole)
