"""The optimizer, its parameter groups and the learning rate of every step."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from xraytk.errors import UsageError


@dataclass(frozen=True, slots=True, kw_only=True)
class OptimConfig:
    """The optimizer, by default AdamW with linear warm-up and cosine decay.

    Args:
        kind: "adamw" (decoupled weight decay) or "adam" (decay added to the gradient).
        lr: Peak learning rate, for the global batch as it is (no hidden scaling).
        min_lr: Learning rate of the last step, and the least after the warm-up.
        weight_decay: In "adamw", vectors (biases, norms) and class or mask tokens have none; in "adam"
            everything has it.
        beta1: First moment.
        beta2: Second moment.
        eps: Added to the root of the second moment.
        amsgrad: Divide by the largest second moment so far.
        schedule: What follows the warm-up: "cosine", or "step", which multiplies the rate by
            ``step_factor`` whenever another ``step_share`` of the whole run is over.
        step_share: In (0, 1].
        step_factor: In (0, 1].
        warmup_share: Share of the steps over which the rate rises linearly, in [0, 1).
        clip: Largest global gradient norm; 0 does not clip.
        clip_value: Largest absolute value of each number of the gradient, after ``clip``; 0 does not clip.
        layer_decay: Factor on the learning rate per block, from the encoder's last block down.
        encoder_lr_scale: Factor on the learning rate of the whole encoder.
        ema: Decay of the moving average of the weights, in [0, 1); 0 keeps none. Where there is
            one, validation, figures and all that loads the run use it; training does not.

    Source:
        methods of MAE (He et al. 2022), appendix A: betas, decay, warm-up, cosine; clipping ours.
        "adam", ``amsgrad``, "step" and ``clip_value``: R2Gen (Chen et al. 2020), as released.
    """

    kind: Literal["adamw", "adam"] = "adamw"
    lr: float = 6e-4
    min_lr: float = 0.0
    weight_decay: float = 0.05
    beta1: float = 0.9
    beta2: float = 0.95
    eps: float = 1e-8
    amsgrad: bool = False
    schedule: Literal["cosine", "step"] = "cosine"
    step_share: float = 0.5
    step_factor: float = 0.1
    warmup_share: float = 0.05
    clip: float = 1.0
    clip_value: float = 0.0
    layer_decay: float = 1.0
    encoder_lr_scale: float = 1.0
    ema: float = 0.0

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            UsageError: If a value is out of range.
        """
        ranges = {
            "lr": self.lr > 0,
            "min_lr": 0 <= self.min_lr <= self.lr,
            "weight_decay": self.weight_decay >= 0,
            "beta1": 0 <= self.beta1 < 1,
            "beta2": 0 <= self.beta2 < 1,
            "warmup_share": 0 <= self.warmup_share < 1,
            "clip": self.clip >= 0,
            "clip_value": self.clip_value >= 0,
            "eps": self.eps > 0,
            "step_share": 0 < self.step_share <= 1,
            "step_factor": 0 < self.step_factor <= 1,
            "layer_decay": 0 < self.layer_decay <= 1,
            "encoder_lr_scale": self.encoder_lr_scale > 0,
            "ema": 0 <= self.ema < 1,
        }
        wanted = {"lr": "more than 0", "min_lr": f"0 to optim.lr ({self.lr})", "layer_decay": "in (0, 1]"}
        wanted |= {"ema": "in [0, 1)", "eps": "more than 0"}
        wanted |= {"step_share": "in (0, 1]", "step_factor": "in (0, 1]"}
        for name, fine in ranges.items():
            if not fine:
                limit = wanted.get(name, "in [0, 1)" if "beta" in name or "share" in name else "at least 0")
                raise UsageError(f"optim.{name} is {getattr(self, name)}", f"wanted {limit}")


def lr_at(step: int, steps: int, config: OptimConfig) -> float:
    """Learning rate of one update.

    Rises as lr * (step + 1) / warm over the first warm = round(warmup_share * steps) updates,
    then falls as a cosine that would reach ``min_lr`` after the last, or by
    ``step_factor`` after every round(step_share * steps) updates of the run.

    Args:
        step: Number of the update, 0 to steps - 1.
        steps: Updates of the whole run.
        config: Peak, floor, warm-up and schedule.
    """
    warm = round(config.warmup_share * steps)
    if step < warm:
        return config.lr * (step + 1) / warm
    if config.schedule == "step":
        every = max(1, round(config.step_share * steps))
        return max(config.min_lr, config.lr * config.step_factor ** (step // every))
    way = (step - warm) / max(1, steps - warm)
    return config.min_lr + (config.lr - config.min_lr) * 0.5 * (1 + math.cos(math.pi * min(1.0, way)))


def make_optimizer(learner: nn.Module, config: OptimConfig) -> torch.optim.Adam:
    """Adam or AdamW over every parameter that asks for a gradient, each in one group.

    Groups differ in decay and in ``lr_scale``; `set_lr` multiplies by the latter.
    """
    depth = _depth(learner)
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in learner.named_parameters():
        if parameter.requires_grad:
            free = parameter.ndim <= 1 or name.endswith(("_token", "positions"))
            decay = 0.0 if free and config.kind == "adamw" else config.weight_decay
            groups.setdefault((decay, lr_scale(name, depth, config)), []).append(parameter)
    if not groups:
        raise UsageError("there is nothing to train", "every parameter of the learner is frozen")
    made = torch.optim.AdamW if config.kind == "adamw" else torch.optim.Adam
    return made(
        [
            {"params": members, "weight_decay": decay, "lr_scale": scale}
            for (decay, scale), members in groups.items()
        ],
        lr=config.lr,
        betas=(config.beta1, config.beta2),
        eps=config.eps,
        amsgrad=config.amsgrad,
        fused=True,
    )


def set_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Give every group its learning rate for the next update."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group["lr_scale"]


def lr_scale(name: str, depth: int, config: OptimConfig) -> float:
    """Factor on the learning rate of one parameter.

    Args:
        name: Its name in the learner; the encoder's begin with "encoder.".
        depth: Blocks of the encoder.
        config: ``layer_decay`` and ``encoder_lr_scale``.

    Returns:
        1 outside the encoder; inside, ``encoder_lr_scale * layer_decay ** (blocks above + 1)``,
        the final norm counting as above all blocks.

    Source:
        BEiT (Bao et al. 2021) and MAE's fine-tuning.
    """
    if not name.startswith("encoder."):
        return 1.0
    block = re.match(r"encoder\.blocks\.(\d+)\.", name)
    above_all = depth + 1 if name.startswith("encoder.norm.") else 0
    layer = int(block[1]) + 1 if block else above_all
    return config.encoder_lr_scale * float(config.layer_decay ** (depth + 1 - layer))


def _depth(learner: nn.Module) -> int:
    blocks = getattr(getattr(learner, "encoder", None), "blocks", ())
    return len(blocks)
