"""An encoder's tensors and description as timm and transformers name them.

Nothing of theirs is needed to write them: names and layouts are stated here, and `verify` loads
the result with both libraries.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from xraytk.models.pretrained import Fit
from xraytk.models.vit import EPSILON, Vit, VitConfig

Tensors = dict[str, Tensor]
ARCHITECTURE = "vit_base_patch16_224"
"""The entry of timm's table that is built; every number of its shape is replaced by ``model_args``."""


def timm_tensors(encoder: Vit) -> Tensors:
    """Name the tensors as `timm.models.vision_transformer.VisionTransformer` does."""
    state = encoder.state_dict()
    out = {name: value for name, value in state.items() if name.startswith(("blocks.", "norm."))}
    weight, bias = _projection(encoder)
    out |= {"patch_embed.proj.weight": weight, "patch_embed.proj.bias": bias}
    out |= {"cls_token": state["cls_token"], "pos_embed": _positions(encoder)}
    return {name: out[name].detach().cpu().contiguous() for name in sorted(out)}


def timm_config(config: VitConfig, fit: Fit, licence: str) -> dict[str, Any]:
    """The config.json that ``timm.create_model("local-dir:FOLDER")`` reads."""
    height, width = config.size
    return {
        "architecture": ARCHITECTURE,
        "num_classes": 0,
        "num_features": config.width,
        "global_pool": "avg",
        "model_args": {
            "img_size": [height, width],
            "patch_size": config.patch_px,
            "in_chans": config.channels,
            "embed_dim": config.width,
            "depth": config.depth,
            "num_heads": config.heads,
            "mlp_ratio": config.mlp_ratio,
            "num_classes": 0,
            "global_pool": "avg",
            "fc_norm": False,
        },
        "pretrained_cfg": {
            "tag": "xraytk",
            "input_size": [config.channels, height, width],
            "fixed_input_size": True,
            "interpolation": "box",
            "crop_pct": 1.0,
            "crop_mode": "border" if fit == "letterbox" else "squash",
            "mean": [0.5] * config.channels,
            "std": [0.5] * config.channels,
            "num_classes": 0,
            "pool_size": None,
            "first_conv": "patch_embed.proj",
            "classifier": "head",
            "license": licence,
        },
    }


def transformers_tensors(encoder: Vit) -> Tensors:
    """Name the tensors as `transformers.ViTModel` does on disk, with a pooler that changes nothing."""
    state, width = encoder.state_dict(), encoder.config.width
    weight, bias = _projection(encoder)
    out = {
        "embeddings.cls_token": state["cls_token"],
        "embeddings.position_embeddings": _positions(encoder),
        "embeddings.patch_embeddings.projection.weight": weight,
        "embeddings.patch_embeddings.projection.bias": bias,
        "layernorm.weight": state["norm.weight"],
        "layernorm.bias": state["norm.bias"],
        "pooler.dense.weight": torch.eye(width),
        "pooler.dense.bias": torch.zeros(width),
    }
    parts = {
        "norm1": "layernorm_before",
        "attn.proj": "attention.output.dense",
        "norm2": "layernorm_after",
        "mlp.fc1": "intermediate.dense",
        "mlp.fc2": "output.dense",
    }
    for block in range(encoder.config.depth):
        for kind in ("weight", "bias"):
            ours, theirs = f"blocks.{block}.", f"encoder.layer.{block}."
            out |= {f"{theirs}{new}.{kind}": state[f"{ours}{old}.{kind}"] for old, new in parts.items()}
            three = state[f"{ours}attn.qkv.{kind}"].chunk(3)
            for name, part in zip(("query", "key", "value"), three, strict=True):
                out[f"{theirs}attention.attention.{name}.{kind}"] = part
    return {name: out[name].detach().cpu().clone().contiguous() for name in sorted(out)}


def transformers_config(config: VitConfig) -> dict[str, Any]:
    """The config.json of a `transformers.ViTModel`."""
    height, width = config.size
    return {
        "architectures": ["ViTModel"],
        "model_type": "vit",
        "hidden_size": config.width,
        "num_hidden_layers": config.depth,
        "num_attention_heads": config.heads,
        "intermediate_size": int(config.width * config.mlp_ratio),
        "hidden_act": "gelu",
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
        "layer_norm_eps": EPSILON,
        "qkv_bias": True,
        "image_size": height if height == width else [height, width],
        "patch_size": config.patch_px,
        "num_channels": config.channels,
        "encoder_stride": config.patch_px,
        "pooler_act": "linear",
        "pooler_output_size": config.width,
        "dtype": "float32",
    }


def processor_config(config: VitConfig) -> dict[str, Any]:
    """The preprocessor_config.json: it scales greys to [-1, 1] and leaves the size alone.

    No resize of transformers is the one of the training (mean of areas, letterboxed), so that it is
    switched off instead of being nearly right.
    """
    height, width = config.size
    return {
        "image_processor_type": "ViTImageProcessor",
        "do_resize": False,
        "size": {"height": height, "width": width},
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": [0.5] * config.channels,
        "image_std": [0.5] * config.channels,
    }


def _projection(encoder: Vit) -> tuple[Tensor, Tensor]:
    """The projection of patches as a convolution: (D, C, p, p) and (D,)."""
    config, px = encoder.config, encoder.config.patch_px
    weight = encoder.project.weight.detach().reshape(config.width, px, px, config.channels)
    return weight.permute(0, 3, 1, 2), encoder.project.bias.detach()


def _positions(encoder: Vit) -> Tensor:
    """Positions with that of the class token first: (1, 1 + N, D)."""
    return encoder.positions.detach().reshape(1, -1, encoder.config.width)
