"""The moving average of the weights."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor


class Average:
    """Exponential moving average of every parameter, in fp32.

    Args:
        learner: Whose parameters; with sharding each process averages its parts.
        decay: Weight of the past in one update, in (0, 1).

    Source:
        The decay of update n is at most (1 + n) / (10 + n), as in TensorFlow, so that the
        random weights of the start are soon forgotten.
    """

    def __init__(self, learner: nn.Module, decay: float) -> None:
        self.decay = decay
        self._parameters = dict(learner.named_parameters())
        self.tensors = {name: p.detach().clone().float() for name, p in self._parameters.items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take the weights in that update ``step``, counted from 1, has made."""
        decay = min(self.decay, (1 + step) / (10 + step))
        own = [local(tensor) for tensor in self.tensors.values()]
        new = [local(p.detach()).float() for p in self._parameters.values()]
        torch._foreach_lerp_(own, new, 1 - decay)

    @contextlib.contextmanager
    def swapped_in(self) -> Iterator[None]:
        """Within, the learner has the averaged weights; after, its own, bit for bit."""
        own = {name: p.data for name, p in self._parameters.items()}
        try:
            for name, p in self._parameters.items():
                p.data = self.tensors[name].to(p.dtype)
            yield
        finally:
            for name, p in self._parameters.items():
                p.data = own[name]


def local(tensor: Tensor) -> Tensor:
    """This process's part of a tensor."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor
