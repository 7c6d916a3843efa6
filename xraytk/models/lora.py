"""Low-rank adapters on the encoder's linear layers, by peft, which is an extra.

The encoder's own weights stay as they are; each chosen layer learns the product of two thin
matrices beside them. Merged, the encoder is a plain one again, and needs no peft.
"""

from __future__ import annotations

import importlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from xraytk.config import build
from xraytk.errors import DataError, MachineError, UsageError
from xraytk.files import atomic_write
from xraytk.models.vit import Vit

HEADER = "xraytk.lora"


@dataclass(frozen=True, slots=True, kw_only=True)
class LoraConfig:
    """Low-rank adapters.

    Args:
        rank: Of the products; 0 for no adapters. The rest of the encoder is then frozen.
        alpha: The products count alpha / rank times.
        dropout: Of what goes into them, in [0, 1).
        mlp: Adapt the two layers of each block's MLP too, not only those of its attention.

    Source:
        Hu et al. 2021.
    """

    rank: int = 0
    alpha: float = 16.0
    dropout: float = 0.0
    mlp: bool = False

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            UsageError: If a value is out of range.
        """
        if self.rank < 0:
            raise UsageError(f"lora.rank is {self.rank}", "wanted 0 (no adapters) or more")
        if self.alpha <= 0:
            raise UsageError(f"lora.alpha is {self.alpha}", "wanted more than 0")
        if not 0 <= self.dropout < 1:
            raise UsageError(f"lora.dropout is {self.dropout}", "wanted from 0 to below 1")


def adapt(encoder: Vit, config: LoraConfig, seed: int = 0) -> int:
    """Put adapters into an encoder and freeze the rest of it; its answers are the same at first.

    Args:
        encoder: Changed in place.
        config: Of rank 1 or more.
        seed: Of their start.

    Returns:
        How many layers were adapted.

    Raises:
        MachineError: If peft is not installed.
    """
    peft = _peft()
    layers = r"attn\.(qkv|proj)|mlp\.(fc1|fc2)" if config.mlp else r"attn\.(qkv|proj)"
    made = peft.LoraConfig(
        r=config.rank,
        lora_alpha=config.alpha,
        lora_dropout=config.dropout,
        target_modules=rf"blocks\.\d+\.({layers})",
        bias="none",
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        peft.inject_adapter_in_model(made, encoder)
    return len(_adapted(encoder))


def merge(encoder: Vit) -> None:
    """Add the products to the weights, and take the adapters out; the answers stay the same."""
    for name, layer in _adapted(encoder):
        layer.merge(safe_merge=True)
        parent, _, child = name.rpartition(".")
        setattr(encoder.get_submodule(parent), child, layer.get_base_layer())


def save(encoder: Vit, config: LoraConfig, path: Path) -> None:
    """Write the adapters alone, as safetensors that say what they are."""
    from safetensors.torch import save

    data = save(_tensors(encoder), {HEADER: json.dumps(asdict(config))})
    with atomic_write(path) as stream:
        stream.write(data)


def load(encoder: Vit, path: Path) -> None:
    """Put saved adapters into the encoder that they were trained beside.

    Args:
        encoder: Plain; changed in place.
        path: From `save`.

    Raises:
        DataError: If it holds no adapters, or those of another encoder.
        MachineError: If peft is not installed.
    """
    with safe_open(path, "pt") as stream:
        said = (stream.metadata() or {}).get(HEADER)
    if said is None:
        raise DataError(f"{path} holds no adapters", todo="Give the adapter.safetensors of a run.")
    adapt(encoder, build(LoraConfig, json.loads(said), "lora."))
    tensors, wanted = load_file(path), _tensors(encoder)
    if {n: t.shape for n, t in tensors.items()} != {n: t.shape for n, t in wanted.items()}:
        raise DataError(
            f"the adapters of {path} do not fit the encoder",
            f"it has {len(wanted)} such tensors, the file {len(tensors)}, or their shapes differ",
        )
    encoder.load_state_dict(tensors, strict=False)


def trained(module: nn.Module) -> tuple[int, int]:
    """Numbers that learn, and all numbers, of a module's parameters."""
    counts = [(p.numel() if p.requires_grad else 0, p.numel()) for p in module.parameters()]
    return sum(n for n, _ in counts), sum(n for _, n in counts)


def _tensors(encoder: Vit) -> dict[str, Tensor]:
    state = encoder.state_dict()
    return {name: value.detach().cpu().contiguous() for name, value in state.items() if ".lora_" in name}


def _adapted(encoder: Vit) -> list[tuple[str, Any]]:
    return [(name, layer) for name, layer in encoder.named_modules() if hasattr(layer, "base_layer")]


def _peft() -> Any:
    try:
        return importlib.import_module("peft")
    except ImportError:
        raise MachineError(
            "lora.* needs the package peft", "it is not installed", "Run `pip install 'xraytk[lora]'`."
        ) from None
