"""Weights made for other images: other channels, patches, grids, other grey levels.

All functions are pure. A patch projection has the shape of a convolution here, (D, C, p, p).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from xraytk.models.vit import VitConfig, sincos_positions


def change_channels(weight: Tensor, channels: int) -> Tensor:
    """Make a projection for grey images of one for colour, or the other way round.

    A grey image and its three-fold repetition give the same tokens.

    Args:
        weight: (D, C, p, p), C 1 or 3.
        channels: 1 or 3: three are summed to one; one becomes three thirds.
    """
    if weight.shape[1] == channels:
        return weight
    if channels == 1:
        return weight.sum(1, keepdim=True)
    return weight.expand(-1, channels, -1, -1) / channels


def resize_patches(weight: Tensor, patch_px: int) -> Tensor:
    """Resize a projection so that it says of a resized patch what it said of the patch.

    Let B be the matrix that resizes patches bilinearly, x to B x. Wanted is the w' with
    <x, w> = <B x, w'> for every x, which is (B^T)^+ w: exact when patches are enlarged, else the
    nearest for x of independent noise. B resizes rows and columns by one small matrix b each, so
    w' = (b^T)^+ w ((b^T)^+)^T.

    Args:
        weight: (D, C, p, p).
        patch_px: Side of the new patch in pixels.

    Returns:
        (D, C, patch_px, patch_px).

    Source:
        FlexiViT (Beyer et al. 2023), section 3.4, PI-resize; that it separates is ours.
    """
    side = weight.shape[-1]
    if side == patch_px:
        return weight
    identity = torch.eye(side, dtype=torch.float64)[None, None]
    b = F.interpolate(identity, (patch_px, side), mode="bilinear", antialias=True)[0, 0]  # (p', p)
    turned = torch.linalg.pinv(b.T)  # (p', p)
    made: Tensor = turned @ weight.double() @ turned.T
    return made.to(weight.dtype)


def resize_positions(table: Tensor, old: tuple[int, int], new: tuple[int, int]) -> Tensor:
    """Bring learned position embeddings to another grid; bicubic, averaged where it shrinks.

    Args:
        table: (1 + N, D), the class token's first, which stays.
        old: Rows and columns of its grid.
        new: Rows and columns of the new one.

    Returns:
        (1 + N', D); ``table`` itself when the grids are the same.

    Source:
        ViT (Dosovitskiy et al. 2021), section 3.2; bicubic as in DeiT.
    """
    if old == new:
        return table
    field = table[1:].float().T.reshape(1, -1, *old)
    resized = F.interpolate(field, new, mode="bicubic", antialias=True, align_corners=False)
    return torch.cat([table[:1], resized.flatten(2)[0].T.to(table.dtype)])


def renormalise(
    weight: Tensor, bias: Tensor, mean: Sequence[float], std: Sequence[float]
) -> tuple[Tensor, Tensor]:
    """Make a projection for images in [-1, 1] of one for (x - mean) / std, x in [0, 1].

    Args:
        weight: (D, C, p, p).
        bias: (D,).
        mean: Of each channel.
        std: Of each channel.

    Returns:
        Weight and bias with which every token stays as it was.

    Source:
        Ours: x = (v + 1) / 2, put into (x - mean) / std, is v / (2 std) + (1 / 2 - mean) / std.
    """
    m, s = (torch.tensor(values, dtype=torch.float64) for values in (mean, std))
    offset = (weight.double().sum((2, 3)) * ((0.5 - m) / s)).sum(1)  # (D,)
    scaled = weight.double() * (0.5 / s)[None, :, None, None]
    return scaled.to(weight.dtype), (bias.double() + offset).to(bias.dtype)


def as_linear(weight: Tensor) -> Tensor:
    """A projection as `models.vit.Vit` has it: (D, C, p, p) to (D, p * p * C), channels last."""
    return weight.permute(0, 2, 3, 1).flatten(1)


def as_convolution(weight: Tensor, channels: int) -> Tensor:
    """The inverse of `as_linear`."""
    side = round((weight.shape[1] / channels) ** 0.5)
    return weight.reshape(len(weight), side, side, channels).permute(0, 3, 1, 2)


def adapted(
    tensors: dict[str, Tensor], source: VitConfig, wanted: VitConfig
) -> tuple[dict[str, Tensor], list[str]]:
    """Bring projection and positions of an encoder to another image.

    Args:
        tensors: Of the encoder under our names, but ``project.weight`` as a convolution.
        source: What they were made for.
        wanted: What they shall be for.

    Returns:
        The tensors, and lines that say what was done.
    """
    tensors, lines = dict(tensors), []
    weight = tensors["project.weight"]
    if source.channels != wanted.channels:
        weight = change_channels(weight, wanted.channels)
        how = "summed" if wanted.channels == 1 else "shared out"
        lines.append(f"project.weight: channels {source.channels} to {wanted.channels}, {how}")
    if source.patch_px != wanted.patch_px:
        weight = resize_patches(weight, wanted.patch_px)
        lines.append(f"project.weight: patches of {source.patch_px} to {wanted.patch_px} pixels, PI-resize")
    tensors["project.weight"] = as_linear(weight)
    table = tensors.pop("positions", None)
    old, new = (f"{rows} x {cols}" for rows, cols in (source.seen_grid or source.grid, wanted.grid))
    if wanted.positions == "learned":
        if table is None:
            table = sincos_positions(*source.grid, source.width, over=source.seen_grid)
        tensors["positions"] = resize_positions(table, source.grid, wanted.grid)
        if source.grid != wanted.grid:
            lines.append(f"positions: grid of {old} to {new}, bicubic")
    elif source.positions == "learned":
        lines.append("positions: learned ones left out for fixed ones (vit.positions)")
    elif (wanted.seen_grid or wanted.grid) != (source.seen_grid or source.grid):
        lines.append(f"positions: fixed ones of {new}, not those of {old} (vit.seen_grid)")
    elif wanted.grid != source.grid:
        lines.append(f"positions: fixed ones of {old} at the places of {new}")
    return tensors, lines
