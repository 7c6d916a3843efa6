"""Encoders in transformers' layout (ViT, ViT-MAE, DINOv2) under the names that timm has for them."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

STEM = "embeddings.patch_embeddings.projection.weight"
_PLACES = {
    "embeddings.cls_token": "cls_token",
    "embeddings.position_embeddings": "pos_embed",
    "embeddings.patch_embeddings.projection.weight": "patch_embed.proj.weight",
    "embeddings.patch_embeddings.projection.bias": "patch_embed.proj.bias",
    "layernorm.weight": "norm.weight",
    "layernorm.bias": "norm.bias",
}
_PARTS = {
    "layernorm_before": "norm1",
    "norm1": "norm1",
    "attention.output.dense": "attn.proj",
    "layer_scale1": "ls1",
    "layernorm_after": "norm2",
    "norm2": "norm2",
    "intermediate.dense": "mlp.fc1",
    "mlp.fc1": "mlp.fc1",
    "output.dense": "mlp.fc2",
    "mlp.fc2": "mlp.fc2",
    "layer_scale2": "ls2",
}
_KINDS = {"weight": "weight", "bias": "bias", "lambda1": "gamma"}
_HIDDEN = "embeddings.mask_token"
_QKV = ("query", "key", "value")
_BLOCK = re.compile(r"encoder\.layer\.(\d+)\.(.+)\.(\w+)")


def prefix_of(names: Collection[str]) -> str | None:
    """What stands before the encoder's names; None when this is not transformers' layout."""
    found = sorted(n.removesuffix(STEM) for n in names if n == STEM or n.endswith(f".{STEM}"))
    return found[0] if found else None


def lacking(names: Collection[str], prefix: str) -> list[str]:
    """Names of the encoder's parts that ours has no place for, as the register tokens of DINOv2.

    Args:
        names: Of all tensors; those that are no part of the encoder (heads, poolers, decoders, the
            token of masked patches) are not meant.
        prefix: From `prefix_of`.
    """
    own = sorted(n.removeprefix(prefix) for n in names if n.startswith(prefix))
    own = [n for n in own if n.startswith(("embeddings.", "encoder.")) and n != _HIDDEN]
    return [n for n in own if n not in _PLACES and not _known(_BLOCK.fullmatch(n))]


def _known(found: re.Match[str] | None) -> bool:
    if found is None:
        return False
    attention = {f"attention.attention.{each}" for each in _QKV}
    return (found[2] in _PARTS and found[3] in _KINDS) or found[2] in attention


def as_timm(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Rename an encoder's tensors as timm names them; queries, keys and values become one tensor.

    Args:
        tensors: Of the whole checkpoint; what is not known keeps its name.
        prefix: From `prefix_of`; it is taken off.
    """
    out: dict[str, Tensor] = {}
    for full, tensor in tensors.items():
        name = full.removeprefix(prefix)
        found = _BLOCK.fullmatch(name)
        if name in _PLACES:
            out[_PLACES[name]] = tensor
        elif found and found[2] in _PARTS and found[3] in _KINDS:
            out[f"blocks.{found[1]}.{_PARTS[found[2]]}.{_KINDS[found[3]]}"] = tensor
        elif found and found[2] == "attention.attention.query":
            three = [tensors.get(full.replace("query", each)) for each in _QKV]
            there = [each for each in three if each is not None]
            if len(there) == len(_QKV):
                out[f"blocks.{found[1]}.attn.qkv.{found[3]}"] = torch.cat(there)
        elif not (found and found[2] in ("attention.attention.key", "attention.attention.value")):
            out[name if name.startswith("decoder") else f"head.{name}"] = tensor
    return out


def about(folder: Path) -> dict[str, Any]:
    """What ``config.json`` and ``preprocessor_config.json`` say, in the words of timm's; {} for nothing."""
    model, images = (_tree(folder / name) for name in ("config.json", "preprocessor_config.json"))
    stated: dict[str, Any] = {}
    if model.get("num_attention_heads"):
        stated["num_heads"] = model["num_attention_heads"]
    if model.get("image_size"):
        stated["img_size"] = model["image_size"]
    if model.get("layer_norm_eps"):
        stated["norm_eps"] = model["layer_norm_eps"]
    return {
        "model_args": stated,
        "pretrained_cfg": {"mean": images.get("image_mean"), "std": images.get("image_std")},
    }


def _tree(path: Path) -> dict[str, Any]:
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return tree if isinstance(tree, dict) else {}
