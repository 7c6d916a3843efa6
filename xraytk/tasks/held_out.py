"""The loss of images that are not learned from."""

from __future__ import annotations

from typing import Any

import torch

from xraytk.chance import Chance
from xraytk.records import Batch


@torch.no_grad()
def loss_of(task: Any, batch: Batch) -> float:
    """Loss of one batch in evaluation mode, with the same chance every time.

    Args:
        task: A learner that is an ``nn.Module``; its mode is what it was afterwards.
        batch: Images of the validation split.
    """
    was_training = task.training
    task.eval()
    total = task(batch, Chance(0)).total
    task.train(was_training)
    return float(total)
