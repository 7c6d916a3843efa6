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

from xraytk.config import Pixels, rows_cols
from xraytk.data.augment import Augmentation, AugmentConfig, Fit, affine, shrunk

AT_ONCE = 8
"""Images warped at once; each takes about 50 bytes a pixel for a moment."""


@dataclass(slots=True)
class Moves:
    """What the device shall do with a batch of canvases.

    Args:
        back: (B, 2, 3) float32, from pixels of the frame to pixels of the canvas.
        size: (B, 2) float32, height and width of the image on the canvas, from its corner.
    """

    back: Tensor
    size: Tensor

    def to(self, device: torch.device) -> Moves:
        """Copy to a device."""
        return Moves(self.back.to(device, non_blocking=True), self.size.to(device, non_blocking=True))


def canvas_px(size: Pixels, config: AugmentConfig) -> tuple[int, int]:
    """Rows and columns of a canvas that holds all that any draw needs for a frame.

    Args:
        size: Of the frame, in pixels.
        config: How far chance may go.
    """
    rows, cols = rows_cols(size)
    most = np.array([cols, rows], np.float64)
    widest = config.most_deg
    for turn, lean in itertools.product((-1.0, 1.0), repeat=2):
        chance = Augmentation(rotate_deg=turn * widest[0], shear_deg=lean * widest[1])
        linear = affine(rows, cols, (rows, cols), "stretch", chance)[:, :2]
        linear = linear / np.hypot(linear[0], linear[1])  # the least that `shrunk` leaves
        most = np.maximum(most, np.abs(np.linalg.inv(linear)) @ [cols, rows])
    return int(np.ceil(most[1])) + 4, int(np.ceil(most[0])) + 4


def cut_out(
    image: NDArray[np.uint8],
    size: Pixels,
    fit: Fit,
    augmentation: Augmentation,
    out: NDArray[np.uint8],
) -> tuple[NDArray[np.float64], tuple[int, int]]:
    """Copy the part of an image that a draw needs to a canvas.

    Args:
        image: (h, w) uint8.
        size: Of the frame, in pixels.
        fit: Keep the aspect ratio, or not.
        augmentation: What was drawn.
        out: A canvas, uint8, to write to; beyond the image it is left as it was.

    Returns:
        A row of `Moves.back` and one of `Moves.size`.
    """
    height, width = image.shape
    small, matrix = shrunk(image, affine(height, width, size, fit, augmentation))
    back = np.asarray(cv2.invertAffineTransform(matrix), np.float64)
    bottom, right = (n - 0.5 for n in rows_cols(size))
    corners = np.array([[-0.5, -0.5], [right, -0.5], [-0.5, bottom], [right, bottom]])
    low = np.floor((corners @ back[:, :2].T + back[:, 2]).min(0)).astype(int) - 1
    left, top = (
        max(0, min(n, length - 1)) for n, length in zip(low.tolist(), small.shape[::-1], strict=True)
    )
    part = small[top : top + out.shape[0], left : left + out.shape[1]]
    out[: part.shape[0], : part.shape[1]] = part
    back[:, 2] -= (left, top)
    return back, (len(part), part.shape[1])


def warp(canvas: Tensor, moves: Moves, size: Pixels) -> tuple[Tensor, Tensor]:
    """Turn canvases into frames, as `augment.place` does.

    Args:
        canvas: (B, 1, h, w) uint8.
        moves: Of the same batch, on the same device.
        size: Of the frame, in pixels.

    Returns:
        (B, 1, rows, cols) uint8, 0 where there is no image, and (B, rows, cols) bool, True where
        there is.
    """
    rows, cols = rows_cols(size)
    image = canvas.new_empty(len(canvas), 1, rows, cols)
    valid = torch.empty(len(canvas), rows, cols, dtype=torch.bool, device=canvas.device)
    for first in range(0, len(canvas), AT_ONCE):
        part = slice(first, first + AT_ONCE)
        _warp(canvas[part], moves.back[part], moves.size[part], image[part], valid[part])
    return image, valid


def _warp(canvas: Tensor, back: Tensor, size: Tensor, image: Tensor, valid: Tensor) -> None:
    y, x = (torch.arange(n, dtype=torch.float32, device=canvas.device) for n in image.shape[-2:])
    grid = []
    valid.fill_(True)
    for axis, (length, whole) in enumerate(
        zip((size[:, 1], size[:, 0]), (canvas.shape[-1], canvas.shape[-2]), strict=True)
    ):
        a, b, c = back[:, axis, :, None, None].unbind(1)  # (B, 1, 1)
        where = a * x[None, None, :] + b * y[None, :, None] + c  # (B, rows, cols)
        end = length[:, None, None]
        valid &= (where > -0.5) & (where < end - 0.5)
        where = torch.minimum(where.clamp_min_(0), end - 1)
        grid.append(where.mul_(2 / max(1, whole - 1)).sub_(1))
    flow = torch.stack(grid, dim=-1)
    drawn = F.grid_sample(canvas.float(), flow, mode="bilinear", padding_mode="border", align_corners=True)
    image.copy_(drawn.round_().clamp_(0, 255).mul_(valid[:, None]))
