"""Geometry on the device: the worker cuts out what is needed, the device turns it.

On a CPU the worker turns the image itself: there OpenCV takes 11 to 16 ms for a square of 1280
pixels and `warp` 40 to 60. Beside a GPU the worker's share is a copy of memory.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from xraytk.data.augment import Augmentation, AugmentConfig, Fit, affine, shrunk

AT_ONCE = 8
"""Images warped at once; each takes about 50 bytes a pixel for a moment."""


@dataclass(slots=True)
class Moves:
    """What the device shall do with a batch of canvases.

    Args:
        back: (B, 2, 3) float32, from pixels of the square to pixels of the canvas.
        size: (B, 2) float32, height and width of the image on the canvas, from its corner.
    """

    back: Tensor
    size: Tensor

    def to(self, device: torch.device) -> Moves:
        """Copy to a device."""
        return Moves(self.back.to(device, non_blocking=True), self.size.to(device, non_blocking=True))


def canvas_px(side: int, config: AugmentConfig) -> int:
    """Side of a canvas that holds all that any draw needs for a square, in pixels."""
    widest = 1.0
    for turn, lean in itertools.product((-1.0, 1.0), repeat=2):
        chance = Augmentation(rotate_deg=turn * config.rotate_deg, shear_deg=lean * config.shear_deg)
        linear = affine(side, side, side, "stretch", chance)[:, :2]
        linear = linear / np.hypot(linear[0], linear[1])  # the least that `shrunk` leaves
        widest = max(widest, float(np.abs(np.linalg.inv(linear)).sum(1).max()))
    return int(np.ceil(side * widest)) + 4


def cut_out(
    image: NDArray[np.uint8],
    side: int,
    fit: Fit,
    augmentation: Augmentation,
    out: NDArray[np.uint8],
) -> tuple[NDArray[np.float64], tuple[int, int]]:
    """Copy the part of an image that a draw needs to a canvas.

    Args:
        image: (h, w) uint8.
        side: Of the square, in pixels.
        fit: Keep the aspect ratio, or not.
        augmentation: What was drawn.
        out: (canvas, canvas) uint8 to write to; beyond the image it is left as it was.

    Returns:
        A row of `Moves.back` and one of `Moves.size`.
    """
    height, width = image.shape
    small, matrix = shrunk(image, affine(height, width, side, fit, augmentation))
    back = np.asarray(cv2.invertAffineTransform(matrix), np.float64)
    corners = np.array([[-0.5, -0.5], [side - 0.5, -0.5], [-0.5, side - 0.5], [side - 0.5, side - 0.5]])
    low = np.floor((corners @ back[:, :2].T + back[:, 2]).min(0)).astype(int) - 1
    left, top = (max(0, min(n, size - 1)) for n, size in zip(low.tolist(), small.shape[::-1], strict=True))
    part = small[top : top + out.shape[0], left : left + out.shape[1]]
    out[: part.shape[0], : part.shape[1]] = part
    back[:, 2] -= (left, top)
    return back, (len(part), part.shape[1])


def warp(canvas: Tensor, moves: Moves, side: int) -> tuple[Tensor, Tensor]:
    """Turn canvases into squares, as `augment.place` does.

    Args:
        canvas: (B, 1, h, w) uint8.
        moves: Of the same batch, on the same device.
        side: Of the square, in pixels.

    Returns:
        (B, 1, side, side) uint8, 0 where there is no image, and (B, side, side) bool, True where
        there is.
    """
    image = canvas.new_empty(len(canvas), 1, side, side)
    valid = torch.empty(len(canvas), side, side, dtype=torch.bool, device=canvas.device)
    for first in range(0, len(canvas), AT_ONCE):
        part = slice(first, first + AT_ONCE)
        _warp(canvas[part], moves.back[part], moves.size[part], image[part], valid[part])
    return image, valid


def _warp(canvas: Tensor, back: Tensor, size: Tensor, image: Tensor, valid: Tensor) -> None:
    at = torch.arange(image.shape[-1], dtype=torch.float32, device=canvas.device)
    grid = []
    valid.fill_(True)
    for axis, (length, whole) in enumerate(
        zip((size[:, 1], size[:, 0]), (canvas.shape[-1], canvas.shape[-2]), strict=True)
    ):
        a, b, c = back[:, axis, :, None, None].unbind(1)  # (B, 1, 1)
        where = a * at[None, None, :] + b * at[None, :, None] + c  # (B, side, side)
        end = length[:, None, None]
        valid &= (where > -0.5) & (where < end - 0.5)
        where = torch.minimum(where.clamp_min_(0), end - 1)
        grid.append(where.mul_(2 / max(1, whole - 1)).sub_(1))
    flow = torch.stack(grid, dim=-1)
    drawn = F.grid_sample(canvas.float(), flow, mode="bilinear", padding_mode="border", align_corners=True)
    image.copy_(drawn.round_().clamp_(0, 255).mul_(valid[:, None]))
