"""Where the lungs lie: an analytic thorax, laid over an image by stochastic search.

A lung is drawn in its own coordinates (s, v): s from 0 at the spine to 1 at the chest wall, v
from 0 at the apex to 1 at the costophrenic angle. The chest wall is a quarter of an ellipse,
the apex a small one, the mediastinal border a straight line beside the spine (the lung behind
the heart belongs to the lung), the diaphragm a power of s. Eleven numbers place both lungs.

Source: ours. Every frontal chest has this plan whatever the age, projection or exposure, so a
few numbers are fitted to weak evidence from the whole outline, and no single edge is trusted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from skimage.exposure import equalize_hist

Points = NDArray[np.float64]  # (..., 2): x to the right, y down, in pixels
Map = NDArray[np.float32]  # (H, W)

# One row a number: its mean and its spread over frontal chests, in shares of the image's width
# (x, widths) and height (y), or of the lung's own size (gap, dome, taper).
PLAN = {
    "spine": (0.50, 0.035),  # x of the spine at half height
    "tilt": (0.0, 0.03),  # its drift from the top of the image to the bottom
    "right": (0.375, 0.05),  # width from the spine to the chest wall
    "left": (0.375, 0.05),
    "top": (0.115, 0.06),  # y of the apices
    "top_step": (0.0, 0.03),  # left apex lower than right
    "bottom": (0.82, 0.09),  # y of the right costophrenic angle
    "bottom_step": (0.035, 0.05),  # left angle lower than right
    "gap": (0.097, 0.03),  # half of the mediastinum, of the width
    "dome": (0.88, 0.04),  # v at which the diaphragm meets the mediastinum
    "taper": (0.50, 0.09),  # 0.5 is an ellipse; more is a cone
}
MEAN = np.array([mean for mean, _ in PLAN.values()])
SPREAD = np.array([spread for _, spread in PLAN.values()])
LOWEST = np.array([0.2, -0.2, 0.1, 0.1, -0.15, -0.2, 0.3, -0.3, 0.03, 0.70, 0.30])
HIGHEST = np.array([0.8, 0.2, 0.6, 0.6, 0.5, 0.2, 1.15, 0.3, 0.30, 0.97, 0.80])
EVEN = 0.045  # spread of the difference between the right and the left width
ASPECT = (1.33, 0.22)  # width over height of both lungs together, mean and spread

MEDIAL, APEX, WALL, BASE = range(4)
SEGMENTS = np.repeat([MEDIAL, APEX, WALL, BASE], [14, 6, 14, 12])
"""(46,) which part of the outline each of its points belongs to."""

# Weights of the evidence, tuned on public radiographs for the overlap with human outlines.
EDGE_WEIGHTS = np.array([[1.0, 0.8, 1.27, 1.2], [0.7, 0.8, 1.27, 0.31]])  # right, left x segment
EDGE, DARK, SIZE, PRIOR, SHAPE = 1.54, 0.6, 0.36, 0.2, 0.035  # SHAPE: of evenness and aspect
EDGE_REACH = 0.037  # distance of inside and outside samples from the outline, of the image's width
EDGE_LIMIT = 1.5  # contrast beyond this counts no more: wires and markers are no lungs
POPULATION = (1500, 400, 400, 300, 300, 200, 200, 200)


@dataclass(frozen=True, slots=True)
class Fit:
    """An analytic thorax laid over an image.

    Args:
        plan: (11,) the numbers of `PLAN`.
        energy: What was maximised.
        edges: (2, 4) contrast across the outline, right and left by segment; positive where
            it is brighter outside.
        dark: (2,) how much darker each lung is than the mediastinum.
    """

    plan: NDArray[np.float64]
    energy: float
    edges: NDArray[np.float64]
    dark: NDArray[np.float64]


def outlines(plans: NDArray[np.float64], width: int, height: int) -> Points:
    """Draw both lungs.

    Args:
        plans: (P, 11).
        width: Of the image, in pixels.
        height: Of the image, in pixels.

    Returns:
        (P, 2, 46, 2): the right lung (on the image's left), then the left, each from the
        medial lower corner up, over the apex, down the chest wall and back.
    """
    one = np.ones((len(plans), 1))
    dome, taper = plans[:, 9:10], plans[:, 10:11]
    turn = np.linspace(0, np.pi / 2, 7)[None, 1:]
    down = np.linspace(0, np.pi / 2, 15)[None, 1:]
    along = np.linspace(0.94, 0.03, 12)[None] * one
    s = [
        0.03 * one * np.ones(14),
        0.03 + 0.19 * (1 - np.cos(turn)) * one,
        0.2 + 0.8 * np.sin(down) ** (2 * taper),
    ]
    v = [np.linspace(0.97, 0.10, 14)[None] * dome, 0.09 * (1 - np.sin(turn)) * one, (1 - np.cos(down)) * one]
    s.append(along)
    v.append(dome + (1 - dome) * along**4)
    both = [_place(plans, side, np.concatenate(s, 1), np.concatenate(v, 1), width, height) for side in (0, 1)]
    return np.stack(both, 1)


def _place(
    plans: NDArray[np.float64],
    side: int,
    s: NDArray[np.float64],
    v: NDArray[np.float64],
    width: int,
    height: int,
) -> Points:
    """From a lung's own coordinates (P or 1, n) to pixels (P, n, 2); side 0 is the right lung."""
    spine, tilt, right, left, top, top_step, bottom, bottom_step, gap = plans.T[:9, :, None]
    sign = 1 if side else -1
    upper = top + sign * top_step / 2
    lower = bottom + side * bottom_step
    y = upper + (lower - upper) * v
    x = spine + tilt * (y - 0.5) + sign * (left if side else right) * (gap + (1 - gap) * s)
    return np.stack([x * width, y * height], -1)


def normals(points: Points, step: int = 1) -> Points:
    """Unit vectors that point out of closed outlines.

    Args:
        points: (..., 2, n, 2) as `outlines` orders them.
        step: Neighbours between which the tangent is taken.
    """
    tangent = np.roll(points, -step, -2) - np.roll(points, step, -2)
    out = np.stack([tangent[..., 1], -tangent[..., 0]], -1) * np.array([-1.0, 1.0])[:, None, None]
    return np.asarray(out / (np.linalg.norm(out, axis=-1, keepdims=True) + 1e-6))


def _inside() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Points that lie in every lung, in its own coordinates, (1, n) each."""
    s, v = (g.ravel() for g in np.meshgrid([0.2, 0.4, 0.6, 0.8], [0.15, 0.25, 0.35, 0.45, 0.55, 0.65, 0.75]))
    keep = s < 0.12 + 0.8 * np.sqrt(1 - (1 - v) ** 2)
    return s[keep][None], v[keep][None]


_INSIDE = _inside()


def _look(image: Map, points: Points) -> Map:
    """Nearest pixel at each point; outside the image, its border."""
    x = np.clip(np.rint(points[..., 0]), 0, image.shape[1] - 1).astype(np.int32)
    y = np.clip(np.rint(points[..., 1]), 0, image.shape[0] - 1).astype(np.int32)
    return np.asarray(image[y, x])


def _evidence(
    plans: NDArray[np.float64], image: Map
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Energy (P,), edges (P, 2, 4) and darkness (P, 2) of candidate plans."""
    height, width = image.shape
    points = outlines(plans, width, height)
    step = EDGE_REACH * width * normals(points)
    contrast = np.clip(_look(image, points + step) - _look(image, points - step), -EDGE_LIMIT, EDGE_LIMIT)
    edges = np.stack([contrast[..., i == SEGMENTS].mean(-1) for i in range(4)], -1)
    down = np.linspace(0.05, 1, 12)[None]
    gap = plans[:, 8:9]
    spine = _look(image, _place(plans, 0, -gap / (1 - gap) + 0 * down, down, width, height)).mean(-1)
    dark = np.stack(
        [spine - _look(image, _place(plans, i, *_INSIDE, width, height)).mean(-1) for i in (0, 1)], -1
    )
    across, tall = plans[:, 2] + plans[:, 3], plans[:, 6] + plans[:, 7] / 2 - plans[:, 4]
    aspect = (across * width / np.maximum(tall * height, 1e-6) - ASPECT[0]) / ASPECT[1]
    energy = (
        EDGE * (edges * EDGE_WEIGHTS).sum((-1, -2)) / EDGE_WEIGHTS.sum()
        + DARK * dark.mean(-1)
        + SIZE * np.log(np.maximum(across * tall, 0.01))  # contrast alone prefers a small thorax
        - PRIOR * (((plans - MEAN) / SPREAD) ** 2).mean(-1)
        - SHAPE * (aspect**2 + ((plans[:, 2] - plans[:, 3]) / EVEN) ** 2)
    )
    return energy, edges, dark


def fit(image: Map) -> Fit:
    """Lay the analytic thorax over an image.

    Args:
        image: (H, W) locally normalised grey values, about 192 pixels on the long side.

    Returns:
        The best plan; the same for the same image.

    Source:
        Cross-entropy method (Rubinstein 1999): draw, keep the best, draw around them.
    """
    rng = np.random.default_rng(0)
    centre, spread = MEAN, SPREAD * 1.3
    best, best_energy = MEAN, -np.inf
    for generation, count in enumerate(POPULATION):
        plans = centre + spread * rng.standard_normal((count, len(MEAN)))
        plans = np.clip(plans, LOWEST, HIGHEST)
        plans[0] = best
        energy, _, _ = _evidence(plans, image)
        order = np.argsort(-energy, kind="stable")
        if energy[order[0]] > best_energy:
            best, best_energy = plans[order[0]].copy(), float(energy[order[0]])
        elite = plans[order[: 60 if generation == 0 else max(20, count // 12)]]
        centre, spread = elite.mean(0), elite.std(0) * 1.05 + 1e-4
    energy, edges, dark = _evidence(best[None], image)
    return Fit(plan=best, energy=float(energy[0]), edges=edges[0], dark=dark[0])


def normalise(image: NDArray[Any]) -> Map:
    """Make exposure, windowing and large-scale shading much the same in every image.

    Args:
        image: (H, W) grey values, any range.

    Returns:
        (H, W) float32, zero mean and unit spread in every neighbourhood of a third of the image,
        with the air beside the body made as bright as tissue.

    Source:
        Ours: the mean of value and rank, so that neither a long tail (white border, burned-in
        text) nor a large background decides; then local mean and spread.
    """
    low, high = np.percentile(image, [1, 99.5])
    value = np.clip((image.astype(np.float32) - low) / max(float(high - low), 1e-6), 0, 1)
    body = value > 0.03
    rank = equalize_hist(value, mask=body) if body.any() else value  # type: ignore[no-untyped-call]
    mixed = ((rank + value) / 2).astype(np.float32)
    sigma = 0.16 * max(image.shape)
    local = blur(mixed, sigma)
    variance = blur((mixed - local) ** 2, sigma)
    grey = (mixed - local) / np.sqrt(variance + 0.003)
    return np.asarray(np.where(_outer_air(value), np.maximum(grey, 0.3), grey), np.float32)


def _outer_air(value: Map) -> NDArray[np.bool_]:
    """Air beside the body: dark, and joined to the left or right border of the image.

    It would be taken for a lung. The middle half of the image is left alone, where dark lungs
    may join it.
    """
    _, parts = cv2.connectedComponents((blur(value, 1.0) < 0.12).astype(np.uint8))
    at_border = np.unique(parts[:, [0, -1]])
    air = np.isin(parts, at_border[at_border > 0])
    width = value.shape[1]
    air[:, width // 4 : width - width // 4] = False
    return air


def blur(image: Map, sigma: float) -> Map:
    """Gaussian smoothing; ``sigma`` in pixels."""
    return np.asarray(cv2.GaussianBlur(image, (0, 0), sigma), np.float32)
