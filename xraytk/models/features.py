"""One vector an image from a frozen encoder."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from xraytk.models.vit import Vit, VitConfig, normalise, valid_patches

Pool = Literal["mean", "cls", "both"]


def width_of(config: VitConfig, pool: Pool) -> int:
    """Numbers of one image's vector."""
    return config.width * (2 if pool == "both" else 1)


def pool_tokens(tokens: Tensor, valid: Tensor, pool: Pool) -> Tensor:
    """Pool the tokens of an image into one vector.

    Args:
        tokens: (B, 1 + N, D), the class token first.
        valid: (B, N) bool, False where a patch is padding.
        pool: "mean" of the patches that are not padding, "cls", or "both", the class token first.

    Returns:
        (B, D), or (B, 2 D) for "both".
    """
    if pool == "cls":
        return tokens[:, 0]
    share = valid.to(tokens.dtype)
    mean = torch.einsum("bn,bnd->bd", share / share.sum(1, keepdim=True).clamp(min=1), tokens[:, 1:])
    return mean if pool == "mean" else torch.cat([tokens[:, 0], mean], 1)


@torch.no_grad()
def features(encoder: Vit, image: Tensor, valid: Tensor, pool: Pool, *, half: bool = False) -> Tensor:
    """Vectors of images.

    Args:
        encoder: On the images' device.
        image: (B, 1, H, W) uint8.
        valid: (B, H, W) bool, False where letterboxing padded.
        pool: See `pool_tokens`.
        half: Compute in bf16.

    Returns:
        (B, D) or (B, 2 D) float32.
    """
    config = encoder.config
    patches = valid_patches(valid, config.patch_px)  # (B, N)
    with torch.autocast(image.device.type, torch.bfloat16, enabled=half):
        tokens = encoder(normalise(image, config.channels), valid=patches)
    return pool_tokens(tokens.float(), patches, pool)
