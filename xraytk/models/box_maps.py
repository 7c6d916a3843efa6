"""Boxes as maps: for each label a heat map of centres, and in each cell the distances to four edges.

Every cell near the centre of a box learns its edges, so a few boxes are enough to learn from.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from xraytk.records import Box

EDGES = 4
_ALPHA, _BETA = 2.0, 4.0
_SPREAD = 0.54 / 6  # of a Gaussian, as a share of the box's side
_NEAR = 0.3  # value of the Gaussian from which on a cell learns the edges
_MOST_LOG = 5.0


def targets(
    boxes: Sequence[Sequence[Box]], labels: Sequence[str], frame: tuple[int, int], cells: tuple[int, int]
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """What the maps should be.

    Args:
        boxes: Of each image, in pixels of the frame; those of other labels are passed over.
        labels: Of the C maps.
        frame: Rows and columns in pixels.
        cells: Rows and columns of the map, h and w.

    Returns:
        (B, C, h, w) heat: 1 in the cell of a centre, a Gaussian around it, as wide as the box.
        (B, 4, h, w) left, top, right and bottom edge of the box whose heat is highest, in cells.
        (B, h, w) weight of the edges.

    Source:
        TTFNet (Liu et al. 2020): Gaussians of the box's own shape, edges learned in all their cells.
    """
    h, w = cells
    heat = np.zeros((len(boxes), len(labels), h, w), np.float32)
    edges = np.zeros((len(boxes), EDGES, h, w), np.float32)
    weight = np.zeros((len(boxes), h, w), np.float32)
    rows, cols = np.arange(h)[:, None] + 0.5, np.arange(w)[None, :] + 0.5
    for i, drawn in enumerate(boxes):
        for box in sorted(drawn, key=lambda b: -(b.x1 - b.x0) * (b.y1 - b.y0)):  # small ones win
            if box.label not in labels:
                continue
            x0, x1 = (x * w / frame[1] for x in (box.x0, box.x1))
            y0, y1 = (y * h / frame[0] for y in (box.y0, box.y1))
            row, col = min(int((y0 + y1) / 2), h - 1), min(int((x0 + x1) / 2), w - 1)
            wide, tall = (max(_SPREAD * side, 1e-2) for side in (x1 - x0, y1 - y0))
            away = ((cols - col - 0.5) / wide) ** 2 + ((rows - row - 0.5) / tall) ** 2
            blob = np.exp(-0.5 * away).astype(np.float32)
            blob[row, col] = 1
            c = labels.index(box.label)
            heat[i, c] = np.maximum(heat[i, c], blob)
            near = blob >= _NEAR
            edges[i][:, near] = np.array([x0, y0, x1, y1], np.float32)[:, None]
            weight[i][near] = blob[near] / blob[near].sum()
    return heat, edges, weight


def focal_loss(logits: Tensor, heat: Tensor, known: Tensor) -> Tensor:
    """Penalty-reduced focal loss of heat maps, over the number of centres.

    Args:
        logits: (B, C, h, w).
        heat: From `targets`.
        known: (B, C) float, 0 where nothing is known of a label.

    Source:
        CornerNet (Law and Deng 2018), equation 1.
    """
    chance = logits.sigmoid().clamp(1e-4, 1 - 1e-4)
    centre = (heat == 1).float()
    right = centre * (1 - chance) ** _ALPHA * chance.log()
    wrong = (1 - centre) * (1 - heat) ** _BETA * chance**_ALPHA * (1 - chance).log()
    total = -((right + wrong).sum((2, 3)) * known).sum()
    return total / (centre.sum((2, 3)) * known).sum().clamp(min=1)


def edges_of(raw: Tensor) -> Tensor:
    """Edges of the box that each cell claims.

    Args:
        raw: (B, 4, h, w), logarithms of the distances in eighths of the map's longer side.

    Returns:
        (B, 4, h, w) left, top, right, bottom, in cells.
    """
    h, w = raw.shape[-2:]
    away = raw.clamp(-_MOST_LOG, _MOST_LOG).exp() * (max(h, w) / 8)
    cols = torch.arange(w, device=raw.device) + 0.5
    rows = (torch.arange(h, device=raw.device) + 0.5)[:, None]
    left, top, right, bottom = away.unbind(1)
    return torch.stack([cols - left, rows - top, cols + right, rows + bottom], 1)


def edge_loss(found: Tensor, truth: Tensor, weight: Tensor) -> Tensor:
    """One minus the generalised overlap, over the number of boxes.

    Args:
        found: (B, 4, h, w), from `edges_of`.
        truth: (B, 4, h, w).
        weight: (B, h, w), 1 in sum for each box.

    Source:
        GIoU (Rezatofighi et al. 2019).
    """
    low, high = torch.maximum(found[:, :2], truth[:, :2]), torch.minimum(found[:, 2:], truth[:, 2:])
    both = (high - low).clamp(min=0).prod(1)
    sizes = [(x[:, 2:] - x[:, :2]).prod(1) for x in (found, truth)]
    either = (sizes[0] + sizes[1] - both).clamp(min=1e-6)
    around = torch.maximum(found[:, 2:], truth[:, 2:]) - torch.minimum(found[:, :2], truth[:, :2])
    hull = around.prod(1).clamp(min=1e-6)
    giou = both / either - (hull - either) / hull
    return ((1 - giou) * weight).sum() / weight.sum().clamp(min=1)


def peaks(heat: Tensor, edges: Tensor, most: int) -> tuple[Tensor, Tensor, Tensor]:
    """The highest local maxima of heat maps, each with the box of its cell.

    Args:
        heat: (B, C, h, w) in [0, 1].
        edges: (B, 4, h, w) in cells.
        most: K, how many of each image.

    Returns:
        (B, K) scores, (B, K) numbers of labels, (B, K, 4) edges in cells, the highest first.
    """
    c, h, w = heat.shape[1:]
    top = functional.max_pool2d(heat, 3, 1, 1)
    scores, places = (heat * (heat == top)).flatten(1).topk(min(most, c * h * w))
    cell = places % (h * w)
    taken = edges.flatten(2).gather(2, cell[:, None].expand(-1, EDGES, -1)).transpose(1, 2)
    return scores, places // (h * w), taken
