"""The pixel decoder: from the tokens of the visible patches to the pixels of the hidden ones."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn

from xraytk.models.vit import attention_mask, initialise, make_blocks, sincos_positions


class PixelDecoder(nn.Module):
    """Light transformer over all places of the grid; it paints those that were hidden.

    Args:
        width_in: Width of the tokens it is given.
        grid: Rows and columns of patches.
        values: Numbers of one painted patch, P.
        width: Width of its own tokens; a multiple of 4 and of ``heads``.
        depth: Blocks.
        heads: Attention heads.

    Source:
        MAE (He et al. 2022), section 3.
    """

    positions: Tensor  # (1 + N, width)

    def __init__(
        self, width_in: int, grid: tuple[int, int], values: int, *, width: int, depth: int, heads: int
    ) -> None:
        super().__init__()
        self.narrow = nn.Linear(width_in, width)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, width))
        self.blocks = make_blocks(width, depth, heads)
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.paint = nn.Linear(width, values)
        self.register_buffer("positions", sincos_positions(*grid, width), persistent=False)
        self.apply(initialise)
        nn.init.normal_(self.mask_token, std=0.02)

    def forward(
        self, tokens: Tensor, keep_ids: Tensor, ids: Tensor, patches: int, valid: Tensor | None
    ) -> Tensor:
        """Paint patches.

        Args:
            tokens: (B, 1 + K, D) of the class token and the visible patches.
            keep_ids: (B, K) int64, where these lie.
            ids: (M,) int64, the patches to paint; patch n of image b is b * N + n.
            patches: N.
            valid: (B, N) bool, False where a patch is padding, which no token attends to; None when
                none is.

        Returns:
            (M, P), in the order of ``ids``.
        """
        seen = self.narrow(tokens)  # (B, 1 + K, D)
        blank = self.mask_token.to(seen.dtype).expand(len(seen), patches, -1)
        spots = keep_ids[:, :, None].expand(-1, -1, seen.shape[2])
        laid = torch.cat([seen[:, :1], blank.scatter(1, spots, seen[:, 1:])], 1) + self.positions
        mask = None if valid is None else attention_mask(valid)
        for block in self.blocks:
            laid = block(laid, attn_mask=mask)
        rows = ids + ids.div(patches, rounding_mode="floor") + 1  # each image has a class token
        painted: Tensor = self.paint(self.norm(laid.flatten(0, 1).index_select(0, rows)))
        return painted


def pixel_target(patches: Tensor, norm_pix: bool) -> tuple[Tensor, Tensor, Tensor]:
    """What to predict for patches.

    Args:
        patches: (M, P) float; its memory becomes that of the target.
        norm_pix: Take each patch's mean off and divide by its (unbiased) deviation.

    Returns:
        (M, P) target, and the (M, 1) mean and deviation that were taken off; 0 and 1 without.

    Source:
        MAE (He et al. 2022), section 4.1.
    """
    if not norm_pix:
        return patches, patches.new_zeros(len(patches), 1), patches.new_ones(len(patches), 1)
    mean = patches.mean(-1, keepdim=True)
    patches.sub_(mean)
    variance = torch.linalg.vecdot(patches, patches)[:, None] / (patches.shape[-1] - 1)
    deviation = (variance + 1e-6).sqrt_()
    return patches.div_(deviation), mean, deviation


def mean_square(predicted: Tensor, target: Tensor) -> Tensor:
    """Mean squared difference of each row, in float32.

    Torch's own operations keep four copies of the painted pixels for the way back, this two.

    Args:
        predicted: (M, P) float of any precision.
        target: (M, P) float32, without gradient.

    Returns:
        (M,) float32.
    """
    return cast(Tensor, _MeanSquare.apply(predicted, target))


class _MeanSquare(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, predicted: Tensor, target: Tensor) -> Tensor:
        apart = predicted.float() - target
        ctx.save_for_backward(apart)
        ctx.dtype = predicted.dtype
        squares: Tensor = torch.linalg.vecdot(apart, apart)
        return squares / apart.shape[-1]

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (apart,) = ctx.saved_tensors
        return (apart * (grads[0] * (2 / apart.shape[-1]))[:, None]).to(ctx.dtype), None
