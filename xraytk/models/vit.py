"""Vision transformer on large patches, with an optional choice of the patches it sees.

Blocks are timm's (fused attention). Positions are fixed 2-D sines and cosines, or learned.
Patches that are not chosen cost nothing: neither projection nor attention.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch
from timm.layers.drop import DropPath
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from xraytk.config import Pixels, rows_cols
from xraytk.errors import UsageError

EPSILON = 1e-6
"""Of every LayerNorm, as ViT and MAE were trained with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VitConfig:
    """Shape of the encoder; the defaults are ViT-L on 64-pixel patches.

    Args:
        image_px: Size of the image in pixels: one number for a square, or [rows, columns].
        patch_px: Side of a patch in pixels; divides ``image_px``.
        channels: 1 (grey) or 3 (grey repeated, for encoders made for colour).
        width: Width of a token; a multiple of 4 and of ``heads``.
        depth: Number of blocks.
        heads: Attention heads.
        mlp_ratio: Hidden width of a block's MLP over ``width``.
        positions: "sincos" (fixed) or "learned".
        seen_grid: Rows and columns of the patch grid that fixed positions are spread over, when that
            is not the image's own: the grid on which the encoder was pretrained.

    Source:
        Paper, section IV (1280 x 1280 x 1, patch 64, ViT-L).
    """

    image_px: Pixels = 1280
    patch_px: int = 64
    channels: int = 1
    width: int = 1024
    depth: int = 24
    heads: int = 16
    mlp_ratio: float = 4.0
    positions: Literal["sincos", "learned"] = "sincos"
    seen_grid: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        """Check every field against the others.

        Raises:
            UsageError: If the shape cannot be.
        """
        for name in ("image_px", "patch_px", "width", "depth", "heads", "seen_grid"):
            value = getattr(self, name)
            if value is not None and min(rows_cols(value)) < 1:
                raise UsageError(f"vit.{name} is {getattr(self, name)}", "wanted at least 1")
        if any(side % self.patch_px for side in self.size):
            raise UsageError(
                f"vit.patch_px {self.patch_px} does not divide vit.image_px {self.image_px}",
                todo=f"Set vit.image_px to a multiple of {self.patch_px}.",
            )
        if self.channels not in (1, 3):
            raise UsageError(f"vit.channels is {self.channels}", "wanted 1 or 3")
        if self.width % self.heads or self.width % 4:
            raise UsageError(
                f"vit.width is {self.width}", f"wanted a multiple of 4 and of vit.heads ({self.heads})"
            )
        if self.mlp_ratio <= 0:
            raise UsageError(f"vit.mlp_ratio is {self.mlp_ratio}", "wanted more than 0")
        if self.positions == "learned" and self.seen_grid is not None:
            raise UsageError(
                f"vit.seen_grid is {list(self.seen_grid)}",
                "learned positions are those of the image's own grid",
                "Leave vit.seen_grid out.",
            )

    @property
    def size(self) -> tuple[int, int]:
        """Rows and columns of the image, in pixels."""
        return rows_cols(self.image_px)

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of patches."""
        rows, cols = self.size
        return rows // self.patch_px, cols // self.patch_px

    @property
    def patches(self) -> int:
        """Patches of one image, N."""
        return self.grid[0] * self.grid[1]

    @property
    def patch_values(self) -> int:
        """Numbers in one patch, P = patch_px**2 * channels."""
        return self.patch_px**2 * self.channels


class Vit(nn.Module):
    """ViT encoder.

    Args:
        config: Its shape.
    """

    positions: Tensor  # (1 + N, D), the class token's first; fixed ones are zero there

    def __init__(self, config: VitConfig) -> None:
        super().__init__()
        self.config = config
        self.project = nn.Linear(config.patch_values, config.width)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, config.width))
        self.blocks = make_blocks(config.width, config.depth, config.heads, config.mlp_ratio)
        self.norm = nn.LayerNorm(config.width, eps=EPSILON)
        if config.positions == "learned":
            self.positions = nn.Parameter(torch.empty(1 + config.patches, config.width))
            nn.init.normal_(self.positions, std=0.02)
        else:
            fixed = sincos_positions(*config.grid, config.width, over=config.seen_grid)
            self.register_buffer("positions", fixed, persistent=False)
        self.apply(initialise)
        nn.init.normal_(self.cls_token, std=0.02)

    def forward(
        self, image: Tensor, *, keep_ids: Tensor | None = None, valid: Tensor | None = None
    ) -> Tensor:
        """Tokens of an image.

        Args:
            image: (B, C, H, W) float in [-1, 1]; see `normalise`.
            keep_ids: (B, K) int64, the patches to look at; all of them when None.
            valid: (B, N) bool, False where a patch is padding, which no token attends to.

        Returns:
            (B, 1 + K, D): the class token, then the patches in the order of ``keep_ids``.

        Raises:
            ValueError: If the image is not of the configured shape.
        """
        wanted = (self.config.channels, *self.config.size)
        if tuple(image.shape[1:]) != wanted:
            raise ValueError(f"image is {tuple(image.shape[1:])}, the encoder wants {wanted}")
        return self.encode(patchify(image, self.config.patch_px), keep_ids=keep_ids, valid=valid)

    def encode(
        self, patches: Tensor, *, keep_ids: Tensor | None = None, valid: Tensor | None = None
    ) -> Tensor:
        """Tokens of patches that are cut already; otherwise as `forward`.

        Args:
            patches: (B, N, P) float, from `patchify`; or (B, N, patch_px**2) uint8 grey levels, of
                which only those that are kept become floats.
            keep_ids: (B, K) int64 or None.
            valid: (B, N) bool or None.

        Returns:
            (B, 1 + K, D).
        """
        if keep_ids is not None and valid is not None:
            valid = valid.gather(1, keep_ids)
        mask = None if valid is None else attention_mask(valid)
        tokens = self._embed(patches, keep_ids)
        for block in self.blocks:
            tokens = block(tokens, attn_mask=mask)
        normed: Tensor = self.norm(tokens)
        return normed

    def below_last(self, image: Tensor, *, valid: Tensor) -> Tensor:
        """Tokens as they enter the last block, for heads that use that block and the norm themselves.

        Args:
            image: As for `forward`.
            valid: (B, N) bool, False where a patch is padding.

        Returns:
            (B, 1 + N, D), not normed.
        """
        tokens = self._embed(patchify(image, self.config.patch_px), None)
        mask = attention_mask(valid)
        for number in range(len(self.blocks) - 1):
            tokens = self.blocks[number](tokens, attn_mask=mask)
        return tokens

    def after(self, image: Tensor, numbers: Sequence[int], *, valid: Tensor) -> list[Tensor]:
        """Tokens of the patches after some of the blocks, for heads that look at several depths.

        Args:
            image: As for `forward`.
            numbers: Of the blocks, rising.
            valid: (B, N) bool, False where a patch is padding.

        Returns:
            For each number (B, N, D), through the norm that follows the last block.
        """
        tokens = self._embed(patchify(image, self.config.patch_px), None)
        mask = attention_mask(valid)
        out = []
        for number, block in enumerate(self.blocks):
            tokens = block(tokens, attn_mask=mask)
            if number in numbers:
                out.append(self.norm(tokens)[:, 1:])
        return out

    def _embed(self, patches: Tensor, keep_ids: Tensor | None) -> Tensor:
        """The class token, then the chosen patches with their positions, (B, 1 + K, D)."""
        positions = self.positions[1:]  # (N, D)
        if keep_ids is not None:
            patches = take(patches, keep_ids)  # (B, K, P)
            positions = positions[keep_ids]  # (B, K, D)
        if patches.dtype == torch.uint8:
            patches = levels(patches, self.config.channels)
        tokens = self.project(patches) + positions  # (B, K, D)
        first = (self.cls_token + self.positions[:1]).expand(tokens.shape[0], -1, -1)  # (B, 1, D)
        return torch.cat([first.to(tokens.dtype), tokens], 1)


def make_blocks(width: int, depth: int, heads: int, mlp_ratio: float = 4.0) -> nn.ModuleList:
    """Pre-norm transformer blocks with biases and LayerNorm epsilon 1e-6, as ViT and MAE have them."""
    norm: Any = partial(nn.LayerNorm, eps=EPSILON)
    return nn.ModuleList(Block(width, heads, mlp_ratio, qkv_bias=True, norm_layer=norm) for _ in range(depth))


def set_drop_path(blocks: nn.ModuleList, rate: float) -> None:
    """Leave out whole branches of blocks by chance while training; images of a batch independently.

    The rate rises linearly from 0 in the first block to ``rate`` in the last; kept branches are
    scaled by 1 / (1 - rate), so that nothing changes in evaluation. The numbers come from torch's
    generator, as those of dropout do, which the loop seeds for every micro-batch.

    Args:
        blocks: From `make_blocks`; changed in place.
        rate: Of the last block, in [0, 1).

    Source:
        Huang et al. 2016, Deep networks with stochastic depth; the module is timm's.
    """
    for number, block in enumerate(blocks):
        own = rate * number / max(1, len(blocks) - 1)
        for name in ("drop_path1", "drop_path2"):
            part: nn.Module = DropPath(own) if own else nn.Identity()
            setattr(block, name, part.train(block.training))


def initialise(module: nn.Module) -> None:
    """Xavier-uniform matrices and zero biases; everything else stays as torch makes it."""
    if isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def normalise(image: Tensor, channels: int) -> Tensor:
    """Grey levels to the encoder's input: (x - 0.5) / 0.5.

    Args:
        image: (B, 1, H, W) uint8.
        channels: 1 or 3; the grey channel is repeated.

    Returns:
        (B, channels, H, W) float32 in [-1, 1].
    """
    return (image.float() / 127.5 - 1.0).expand(-1, channels, -1, -1)


def levels(patches: Tensor, channels: int) -> Tensor:
    """`normalise` for patches: grey levels to the encoder's input.

    Args:
        patches: (..., patch_px**2) uint8, from `patchify` of a grey image.
        channels: 1 or 3; the grey channel is repeated.

    Returns:
        (..., patch_px**2 * channels) float32 in [-1, 1], fresh memory.
    """
    values = patches.float().div_(127.5).sub_(1.0)
    return values if channels == 1 else values.repeat_interleave(channels, -1)


def patchify(image: Tensor, patch_px: int) -> Tensor:
    """Cut an image into patches, row by row.

    Args:
        image: (B, C, H, W).
        patch_px: Side of a patch; divides H and W.

    Returns:
        (B, N, patch_px * patch_px * C), pixels row by row, channels last.
    """
    b, c, h, w = image.shape
    rows, cols = h // patch_px, w // patch_px
    cut = image.reshape(b, c, rows, patch_px, cols, patch_px).permute(0, 2, 4, 3, 5, 1)
    return cut.reshape(b, rows * cols, patch_px * patch_px * c)


def unpatchify(patches: Tensor, patch_px: int, rows: int, channels: int = 1) -> Tensor:
    """Put patches together again; the inverse of `patchify`.

    Args:
        patches: (B, N, P).
        patch_px: Side of a patch.
        rows: Patches along the height; N / rows along the width.
        channels: C.

    Returns:
        (B, C, H, W).
    """
    b, n, _ = patches.shape
    cols = n // rows
    laid = patches.reshape(b, rows, cols, patch_px, patch_px, channels).permute(0, 5, 1, 3, 2, 4)
    return laid.reshape(b, channels, rows * patch_px, cols * patch_px)


def share_per_patch(mask: Tensor, patch_px: int) -> Tensor:
    """Share of each patch that lies inside a mask.

    Args:
        mask: (B, H, W) bool.
        patch_px: Side of a patch in pixels; divides H and W.

    Returns:
        (B, N) float32 in [0, 1], row by row.
    """
    b, h, w = mask.shape
    cut = mask.view(b, h // patch_px, patch_px, w // patch_px, patch_px)
    rows = cut.sum(4, dtype=torch.int32)  # of one patch's row of pixels each; no copy of the mask as floats
    return rows.sum(2).flatten(1).float() / patch_px**2


def valid_patches(valid: Tensor, patch_px: int) -> Tensor:
    """Patches that hold at least one pixel of the image; the others are letterbox padding.

    Args:
        valid: (B, H, W) bool, False where letterboxing padded.
        patch_px: Side of a patch in pixels.

    Returns:
        (B, N) bool.

    Source:
        Ours: dropping patches that are partly padding would cut off the image's edge.
    """
    b, h, w = valid.shape
    if valid.numel() and not any(valid.stride()):  # one value for all
        return valid[:1, :1, 0].expand(b, (h // patch_px) * (w // patch_px))
    return valid.view(b, h // patch_px, patch_px, w // patch_px, patch_px).any(4).any(2).flatten(1)


def attention_mask(valid: Tensor) -> Tensor:
    """Mask with which no token attends to padding.

    Args:
        valid: (B, K) bool.

    Returns:
        (B, 1, 1, 1 + K) bool, True where attention is allowed; the class token always is.
    """
    cls = valid.new_ones(valid.shape[0], 1)
    return torch.cat([cls, valid], 1)[:, None, None, :]


def take(values: Tensor, ids: Tensor) -> Tensor:
    """Rows of (B, N, D) chosen by (B, K): (B, K, D)."""
    b, n, d = values.shape
    return values.reshape(b * n, d).index_select(0, flat_ids(ids, n)).view(b, -1, d)


def flat_ids(ids: Tensor, patches: int) -> Tensor:
    """Numbers of patches in a batch whose images lie one after the other.

    Args:
        ids: (B, K) int64.
        patches: N.

    Returns:
        (B * K,) int64: patch n of image b is b * N + n.
    """
    return (ids + torch.arange(len(ids), device=ids.device)[:, None] * patches).flatten()


def sincos_positions(rows: int, cols: int, width: int, *, over: tuple[int, int] | None = None) -> Tensor:
    """Fixed 2-D position embeddings, with a row of zeros for the class token before them.

    The first half of the width encodes the column, the second the row; each half holds
    sin(p * w_i), then cos(p * w_i), with w_i = 10000 ** (-i / (width / 4)).

    An encoder that was pretrained on another grid has seen the waves at that grid's places. So its
    positions are the same waves at the centres of the new patches, in units of the old ones: both
    grids cover the whole image. That is interpolation without its error; on the same grid it
    changes no bit.

    Args:
        rows: Grid height.
        cols: Grid width.
        width: D, a multiple of 4.
        over: Rows and columns of the grid that was pretrained on; this one when None.

    Returns:
        (1 + rows * cols, D) float32.

    Source:
        MAE (He et al. 2022), appendix A.1; places between those of the old grid ours.
    """
    old_rows, old_cols = over or (rows, cols)
    quarter = width // 4
    speeds = 10000.0 ** (-torch.arange(quarter, dtype=torch.float64) / quarter)

    def waves(count: int, old: int) -> Tensor:
        places = (torch.arange(count, dtype=torch.float64) + 0.5) * (old / count) - 0.5
        angles = places[:, None] * speeds
        return torch.cat([angles.sin(), angles.cos()], 1)  # (n, D / 2)

    across = waves(cols, old_cols).repeat(rows, 1)
    down = waves(rows, old_rows).repeat_interleave(cols, 0)
    grid = torch.cat([across, down], 1)
    return torch.cat([grid.new_zeros(1, width), grid]).float()
