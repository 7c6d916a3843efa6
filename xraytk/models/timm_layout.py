"""Encoders in timm's layout: what a checkpoint holds, and its tensors under our names.

timm's layout is also that of the public MAE, of DeiT and of DINO. What the numbers alone do not
say (attention heads, the grey levels the encoder was trained on) is read from the ``config.json``
that timm writes beside the weights, when it is there.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from xraytk.errors import DataError, MachineError
from xraytk.models.vit import EPSILON, VitConfig, sincos_positions

FROM_HUB = "timm:"
STEM = "patch_embed.proj.weight"
HEADS = {192: 3, 384: 6, 768: 12, 1024: 16, 1152: 16, 1280: 16, 1408: 16}
"""Attention heads that ViTs of a width usually have; those of other widths are 64 wide."""

_OTHER = re.compile(r"(head|head_dist|pre_logits|decoder\w*|mask_token|fc_norm)(\.|$)")
"""Parts that a checkpoint may have beside its encoder."""


@dataclass(frozen=True, slots=True)
class Foreign:
    """What a checkpoint in timm's layout says of itself.

    Args:
        config: Shape of its encoder.
        prefix: What stands before every name of the encoder.
        mean: Of each channel of its images, on a scale from 0 to 1.
        std: Likewise.
        sure: Whether heads, mean and std are stated; they are guessed otherwise.
        norm_eps: Epsilon of its LayerNorms, where one is stated.
    """

    config: VitConfig
    prefix: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    sure: bool
    norm_eps: float = EPSILON


def fetch(name: str) -> Path:
    """Find weights of timm's collection, in the cache or else on the network.

    Args:
        name: As timm writes it, ``vit_base_patch16_224.mae``.

    Returns:
        A safetensors file; ``config.json`` lies beside it.

    Raises:
        DataError: If timm has no such weights.
        MachineError: If they are neither cached nor can be fetched.
    """
    import timm
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError

    about = timm.models.get_pretrained_cfg(name) if timm.is_model(name) else None
    if about is None or not about.hf_hub_id:
        near = timm.list_models(f"*{name.partition('.')[0]}*", pretrained=True)[:3]
        raise DataError(
            f"timm has no weights {name!r}",
            f"it has {', '.join(near)}" if near else "",
            "`timm.list_pretrained()` in Python lists them all.",
        )
    try:
        hf_hub_download(about.hf_hub_id, "config.json")
        return Path(hf_hub_download(about.hf_hub_id, "model.safetensors"))
    except (OSError, HfHubHTTPError) as error:
        raise MachineError(
            f"the weights {about.hf_hub_id} cannot be fetched",
            str(error).partition("\n")[0],
            "Fetch them where there is a network (hf download) and give the folder with --init.",
        ) from None


def prefix_of(names: Collection[str]) -> str | None:
    """What stands before the encoder's names; None when this is not timm's layout.

    Raises:
        DataError: If there are several encoders.
    """
    found = sorted(n.removesuffix(STEM) for n in names if n == STEM or n.endswith(f".{STEM}"))
    if len(found) > 1:
        raise DataError(
            f"there are {len(found)} encoders in the checkpoint",
            f"their names begin with {', '.join(repr(prefix) for prefix in found)}",
            "Save the one that is wanted to a file of its own.",
        )
    return found[0] if found else None


def describe(
    path: Path,
    shapes: Mapping[str, Sequence[int]],
    prefix: str,
    table: Tensor | None,
    about: Mapping[str, Any] | None = None,
) -> Foreign:
    """Find the shape of the encoder.

    Args:
        path: Of the weights.
        shapes: Of every tensor.
        prefix: From `prefix_of`.
        table: The position embeddings, (1, N or 1 + N, D); None when there are none.
        about: What is said of the encoder; timm's ``config.json`` beside the weights by default.

    Raises:
        DataError: If it is no plain ViT with position embeddings.
    """
    own = {name.removeprefix(prefix): shape for name, shape in shapes.items() if name.startswith(prefix)}
    stem, hidden = own[STEM], own.get("blocks.0.mlp.fc1.weight")
    if table is None or hidden is None or len(stem) != 4 or stem[1] not in (1, 3) or stem[2] != stem[3]:
        raise DataError(
            f"{path} holds no encoder that could be started from",
            f"found {STEM} of {tuple(stem)}, {'no ' if table is None else ''}pos_embed and "
            f"{'no ' if hidden is None else ''}blocks.0.mlp.fc1.weight",
            "Give a plain ViT on square patches of 1 or 3 channels, with position embeddings.",
        )
    about = _about(path.parent / "config.json") if about is None else about
    width, channels, patch_px = stem[0], stem[1], stem[2]
    grid = _grid(path, table.shape[1], patch_px, about)
    fixed = sincos_positions(*grid, width)
    stated = about.get("pretrained_cfg", {})
    heads = _heads(about)
    return Foreign(
        config=VitConfig(
            image_px=(grid[0] * patch_px, grid[1] * patch_px) if grid[0] != grid[1] else grid[0] * patch_px,
            patch_px=patch_px,
            channels=channels,
            width=width,
            depth=len({name.split(".")[1] for name in own if name.startswith("blocks.")}),
            heads=heads or HEADS.get(width, max(1, width // 64)),
            mlp_ratio=hidden[0] / width,
            positions="sincos" if _same(with_class_slot(table, grid), fixed) else "learned",
        ),
        prefix=prefix,
        mean=_per_channel(stated.get("mean"), channels),
        std=_per_channel(stated.get("std"), channels),
        sure=bool(heads and stated.get("mean") and stated.get("std")),
        norm_eps=float(about.get("model_args", {}).get("norm_eps", EPSILON)),
    )


def renamed(tensors: Mapping[str, Tensor], prefix: str) -> tuple[dict[str, Tensor], list[str], list[str]]:
    """Put a checkpoint's tensors under our names; the projection stays a convolution.

    Args:
        tensors: Of the whole checkpoint.
        prefix: From `prefix_of`.

    Returns:
        The encoder's tensors; lines on what was changed; names of other parts.
    """
    own = {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}
    other = [name for name in tensors if not name.startswith(prefix)]
    lines = [f"names: {prefix!r} taken off"] if prefix else []
    if "norm.weight" not in own and "fc_norm.weight" in own:
        for kind in ("weight", "bias"):
            own[f"norm.{kind}"] = own.pop(f"fc_norm.{kind}")
        lines.append("norm: from fc_norm, which was applied to the mean of the tokens")
    other += [prefix + name for name in own if _OTHER.match(name)]
    own = {name: tensor for name, tensor in own.items() if not _OTHER.match(name)}
    if scales := [name for name in own if re.fullmatch(r"blocks\.\d+\.ls[12]\.gamma", name)]:
        for name in scales:
            _fold(own, name)
        lines.append("blocks: layer scale multiplied into the layer before it")
    ours = {STEM: "project.weight", "patch_embed.proj.bias": "project.bias", "pos_embed": "positions"}
    return {ours.get(name, name): tensor for name, tensor in own.items()}, lines, other


def with_class_slot(table: Tensor, grid: tuple[int, int]) -> Tensor:
    """Position embeddings as (1 + N, D), with a row of zeros for a class token that has none."""
    rows = table[0].float()
    return rows if len(rows) == 1 + grid[0] * grid[1] else torch.cat([torch.zeros_like(rows[:1]), rows])


def _fold(tensors: dict[str, Tensor], name: str) -> None:
    block, layer, _ = name.rsplit(".", 2)
    before = f"{block}.{'attn.proj' if layer == 'ls1' else 'mlp.fc2'}"
    gamma = tensors.pop(name)
    tensors[f"{before}.weight"] = gamma[:, None] * tensors[f"{before}.weight"]
    tensors[f"{before}.bias"] = gamma * tensors[f"{before}.bias"]


def _about(path: Path) -> dict[str, Any]:
    """What timm says beside the weights; {} when there is none."""
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return tree if isinstance(tree, dict) and "architecture" in tree else {}


def _heads(about: Mapping[str, Any]) -> int | None:
    """Attention heads of the architecture that is named; None when none is, or timm lacks it."""
    import timm

    if stated := about.get("model_args", {}).get("num_heads"):
        return int(stated)
    if not timm.is_model(str(about.get("architecture"))):
        return None
    with torch.device("meta"):
        model = timm.create_model(about["architecture"], pretrained=False)
    blocks = getattr(model, "blocks", None)
    return None if blocks is None else int(blocks[0].attn.num_heads)


def _grid(path: Path, count: int, patch_px: int, about: Mapping[str, Any]) -> tuple[int, int]:
    """Rows and columns of ``count`` position embeddings, one of which may be the class token's."""
    size = about.get("model_args", {}).get("img_size") or about.get("pretrained_cfg", {}).get("input_size")
    grids = []
    if size is not None:
        rows, cols = (size, size) if isinstance(size, int) else tuple(size)[-2:]
        grids.append((rows // patch_px, cols // patch_px))
    grids += [(side, side) for side in (round((count - 1) ** 0.5), round(count**0.5))]
    for grid in grids:
        if grid[0] * grid[1] in (count - 1, count):
            return grid
    raise DataError(
        f"{path} does not say how its patches lie",
        f"it has {count} position embeddings, which is no square, with or without the class token's",
        "Put timm's config.json beside it, which names the image size.",
    )


def _per_channel(values: Sequence[float] | None, channels: int) -> tuple[float, ...]:
    """Mean or deviation of each channel; 0.5, which is how ours are, when nothing is stated."""
    if not values:
        return (0.5,) * channels
    return tuple(values) if len(values) == channels else (sum(values) / len(values),) * channels


def _same(table: Tensor, fixed: Tensor) -> bool:
    return torch.allclose(table, fixed, atol=2e-3)
