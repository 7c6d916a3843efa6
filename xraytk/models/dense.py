"""A light decoder from patch tokens to a map: for masks and boxes.

Tokens of several depths are laid out on the grid of the patches and summed; the map is doubled,
with a convolution each time, until it is fine enough. Patches of 64 pixels hold no edge of a
lung to a few pixels, so a few convolutions over the image itself are joined at the end.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from xraytk.errors import UsageError
from xraytk.models.vit import Vit, VitConfig

_LEAST = 32
_GROUPS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class DenseConfig:
    """Size of the decoder of masks and boxes.

    Args:
        layers: Blocks of the encoder that are looked at, evenly spread, the last among them.
        width: Channels on the grid of the patches; half after each doubling, 32 at least.
        cells: Most cells of the map along its longer side; the grid of the patches is doubled as long
            as that holds and a cell is no smaller than a pixel.
        detail: Channels of the convolutions over the image itself; 0 for none.

    Source:
        Tokens of several depths, and a way from the image to the last stage: UNETR (Hatamizadeh et
        al. 2022), much smaller.
    """

    layers: int = 4
    width: int = 128
    cells: int = 160
    detail: int = 16

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            UsageError: If a value is out of range.
        """
        for name, least in (("layers", 1), ("width", _LEAST), ("cells", 1), ("detail", 0)):
            value = getattr(self, name)
            if value < least:
                raise UsageError(f"dense.{name} is {value}", f"wanted at least {least}")
        for name in ("width", "detail"):
            if getattr(self, name) % _GROUPS:
                raise UsageError(f"dense.{name} is {getattr(self, name)}", f"wanted a multiple of {_GROUPS}")


class DenseDecoder(nn.Module):
    """From an image to a map of C numbers a cell.

    Args:
        encoder: Shape of the encoder.
        config: Size of the decoder.
        outputs: C.

    Attributes:
        size: Rows and columns of the map.
    """

    def __init__(self, encoder: VitConfig, config: DenseConfig, outputs: int) -> None:
        super().__init__()
        rows, cols = encoder.grid
        doublings = 0
        while (
            max(rows, cols) * 2 ** (doublings + 1) <= config.cells
            and 2 ** (doublings + 1) <= encoder.patch_px
        ):
            doublings += 1
        self.grid = (rows, cols)
        self.size = (rows * 2**doublings, cols * 2**doublings)
        self.layers = depths(encoder.depth, config.layers)
        widths = [max(_LEAST, config.width // 2**n) for n in range(doublings + 1)]
        self.project = nn.ModuleList(nn.Linear(encoder.width, widths[0]) for _ in self.layers)
        self.first = _stage(widths[0], widths[0])
        self.up = nn.ModuleList(_stage(a, b) for a, b in pairwise(widths))
        self.detail = None
        if config.detail:
            self.detail = nn.Sequential(
                _stage(encoder.channels, config.detail, stride=2), _stage(config.detail, config.detail)
            )
        self.output = nn.Conv2d(widths[-1] + config.detail, outputs, 1)
        nn.init.normal_(self.output.weight, std=0.01)
        nn.init.zeros_(self.output.bias)  # type: ignore[arg-type]

    def forward(self, encoder: Vit, image: Tensor, valid: Tensor, *, frozen: bool) -> Tensor:
        """Numbers of every cell.

        Args:
            encoder: Of the tokens.
            image: (B, channels, H, W) float, normalised.
            valid: (B, N) bool, False where a patch is padding.
            frozen: Nothing of the encoder learns.

        Returns:
            (B, C, h, w) float32, spread over the frame.
        """
        with torch.set_grad_enabled(torch.is_grad_enabled() and not frozen):
            seen = encoder.after(image, self.layers, valid=valid)
        x = torch.stack([project(each) for project, each in zip(self.project, seen, strict=True)]).sum(0)
        x = (x * valid[..., None]).transpose(1, 2)  # (B, width, N)
        x = x.reshape(*x.shape[:2], *self.grid)  # (B, width, rows, cols)
        x = x + self.first(x)
        for stage in self.up:
            x = stage(functional.interpolate(x, scale_factor=2.0, mode="bilinear"))
        if self.detail is not None:
            fine = functional.adaptive_avg_pool2d(image, (2 * self.size[0], 2 * self.size[1]))
            x = torch.cat([x, self.detail(fine).to(x.dtype)], 1)
        out: Tensor = self.output(x)
        return out.float()


def depths(depth: int, count: int) -> tuple[int, ...]:
    """Numbers of blocks, evenly spread, the last among them: (2, 5, 8, 11) for 4 of 12."""
    count = min(count, depth)
    return tuple(round(depth * (i + 1) / count) - 1 for i in range(count))


def _stage(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.GroupNorm(_GROUPS, outputs), nn.GELU()
    )
