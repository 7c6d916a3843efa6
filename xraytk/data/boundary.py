"""From a rough outline to the boundary: the best closed path in a band around it.

Source: ours, of the family of minimal-path contours: the band is unrolled along the outline's
normals, each cell costs little where it gets brighter outwards, and scikit-image's minimum cost
path finds the cheapest closed one. Where there is no edge (consolidation, the heart) it stays
near the outline that it was given.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, gaussian_filter1d
from skimage.graph import MCP_Flexible

from xraytk.data import thorax

POINTS = 96  # a lung's outline
PASSES = 2  # the second in half the band
REACH = 0.075  # half width of the band, of the thorax's width
ACROSS = 0.0095  # spread of the Gaussian whose slope across the outline is the edge
STAY = 0.59  # cost of the band's edge, against a contrast of 1
BEND = 0.11  # cost of a step to the side from one point to the next
SMOOTH = 1.3  # points
ALONG = 1.7  # points over which the edge is averaged
EDGE_LIMIT = 1.5
WEIGHTS = np.array([[0.35, 0.79, 1.37, 1.25], [0.35, 0.79, 1.37, 0.66]])  # right, left x segment
MARGIN = np.array([[0.001, 0.0125, 0.010, -0.008], [0.008, 0.0125, 0.010, 0.0]])
"""Where a human draws, outside the steepest edge, of the thorax's width: the lung reaches under
the ribs' inner margin and above the clavicle, and ends inside the diaphragm's shadow."""


def settle(image: thorax.Map, fit: thorax.Fit) -> tuple[thorax.Points, NDArray[np.float64]]:
    """Move the outlines of a fitted thorax to the edges nearby.

    Args:
        image: (H, W) that the thorax was fitted to.
        fit: The thorax.

    Returns:
        Outlines (2, 96, 2) in pixels, right lung first, and the contrast across each outline
        where it is expected to be seen (chest wall and apex), (2,).
    """
    height, width = image.shape
    across = float(fit.plan[2] + fit.plan[3]) * width
    rough = thorax.outlines(_start(fit.plan)[None], width, height)[0]
    lungs, contrast = [], []
    for side in (0, 1):
        points, segments = _even(rough[side])
        for reach in [REACH / 2**i for i in range(PASSES)]:
            out = _outwards(points, side)
            edge = _edges(image, points, out, max(2, round(reach * across)), max(1.0, ACROSS * across))
            half = edge.shape[1] // 2
            stay = STAY * (np.arange(-half, half + 1) / half) ** 2
            path = closed_path(stay - WEIGHTS[side][segments][:, None] * edge, BEND)
            seen = edge[np.arange(POINTS), path]
            points = points + out * _round(path - float(half), SMOOTH)[:, None]
        margin = _round(MARGIN[side][segments] * across, 2.0)
        lungs.append(points + out * margin[:, None])
        contrast.append(seen[(segments == thorax.WALL) | (segments == thorax.APEX)].mean())
    return np.stack(lungs), np.array(contrast)


def _start(plan: NDArray[np.float64]) -> NDArray[np.float64]:
    """A fit by contrast stops at the clavicles and at the hila: begin a little beyond both."""
    names = list(thorax.PLAN)
    moved = plan.copy()
    tall = plan[names.index("bottom")] - plan[names.index("top")]
    moved[names.index("top")] -= 0.026 * tall
    moved[names.index("gap")] = max(plan[names.index("gap")] - 0.0095, 0.02)
    return moved


def closed_path(cost: NDArray[np.float64], bend: float) -> NDArray[np.int64]:
    """Find a cheap closed path through a band.

    Args:
        cost: (n, m) of each cell; the path takes one cell a row, and closes on itself.
        bend: Cost of moving to a neighbouring column from one row to the next; farther is
            not allowed.

    Returns:
        (n,) the columns. It is the cheapest of the closed paths through the column that an
        open path, cut on the other side, takes in the first row.
    """
    half = len(cost) // 2
    opened = _cheapest(np.roll(cost, -half, 0), bend, None)
    start = int(opened[len(cost) - half])
    return _cheapest(np.concatenate([cost, cost[:1]]), bend, start)[:-1]


class _Band(MCP_Flexible):  # type: ignore[misc]  # compiled, so untyped
    """A band to be crossed from its first row to its last, one cell a row."""

    def __init__(self, cost: NDArray[np.float64], bend: float) -> None:
        super().__init__(cost - cost.min(), offsets=[(1, -1), (1, 0), (1, 1)])
        self.bend = bend

    def travel_cost(self, old: float, new: float, length: float) -> float:
        """Cost of one step; those to the side are longer than 1."""
        return new + self.bend if length > 1 else new


def _cheapest(cost: NDArray[np.float64], bend: float, ends: int | None) -> NDArray[np.int64]:
    """Cheapest path from the first row to the last; with ``ends``, it begins and ends there."""
    band = _Band(cost, bend)
    starts = range(cost.shape[1]) if ends is None else [ends]
    total, _ = band.find_costs([(0, column) for column in starts])
    last = int(total[-1].argmin()) if ends is None else ends
    return np.array(band.traceback((len(cost) - 1, last)), np.int64)[:, 1]


def _even(points: thorax.Points) -> tuple[thorax.Points, NDArray[Any]]:
    """The same outline with points at equal distances, and the segment of each."""
    closed = np.concatenate([points, points[:1]])
    way = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(closed, axis=0), axis=1))])
    at = np.linspace(0, way[-1], POINTS, endpoint=False)
    segments = thorax.SEGMENTS[np.searchsorted(way, at, side="right") - 1]
    return np.stack([np.interp(at, way, closed[:, i]) for i in (0, 1)], 1), segments


def _outwards(points: thorax.Points, side: int) -> thorax.Points:
    """Smooth unit normals of one lung."""
    normal = _round(thorax.normals(np.stack([points, points]), step=2)[side], 1.5)
    return np.asarray(normal / (np.linalg.norm(normal, axis=1, keepdims=True) + 1e-6))


def _edges(
    image: thorax.Map, points: thorax.Points, out: thorax.Points, reach: int, sigma: float
) -> NDArray[np.float64]:
    """How much brighter it gets outwards, (n, 2 * reach + 1); the height of a step at its place."""
    beyond = reach + round(3 * sigma)
    offsets = np.arange(-beyond, beyond + 1)
    at = (points[:, None] + out[:, None] * offsets[None, :, None]).astype(np.float32)
    band = cv2.remap(image, at[..., 0], at[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    slope = gaussian_filter(band, (ALONG, sigma), order=(0, 1), mode=("wrap", "nearest"), output=np.float64)
    edge = slope[:, beyond - reach : beyond + reach + 1] * (sigma * np.sqrt(2 * np.pi))
    return np.asarray(np.clip(edge, -EDGE_LIMIT, EDGE_LIMIT))


def _round(values: NDArray[Any], sigma: float) -> NDArray[np.float64]:
    """Gaussian smoothing along the first axis of something closed."""
    return np.asarray(gaussian_filter1d(values, sigma, 0, mode="wrap", output=np.float64))
