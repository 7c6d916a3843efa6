"""Closed paths by hand, and an outline that moves to the edge beside it."""

from __future__ import annotations

import itertools

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from xraytk.data import boundary, thorax


def test_a_path_of_no_cost_is_taken() -> None:
    columns = np.array([2, 3, 3, 4, 3, 2])
    cost = np.ones((6, 6))
    cost[np.arange(6), columns] = 0
    assert boundary.closed_path(cost, 0.1).tolist() == columns.tolist()


def test_a_path_closes_on_itself_and_never_jumps() -> None:
    for seed in range(20):
        path = boundary.closed_path(np.random.default_rng(seed).random((40, 9)), 0.05)
        assert np.abs(np.diff(np.append(path, path[0]))).max() <= 1


def test_no_closed_path_through_the_same_first_cell_is_cheaper() -> None:
    def price(cost: NDArray[np.float64], path: tuple[int, ...]) -> float:
        return float(cost[np.arange(6), path].sum() + 0.2 * np.abs(np.diff([*path, path[0]])).sum())

    every = [p for p in itertools.product(range(3), repeat=6) if np.abs(np.diff([*p, p[0]])).max() <= 1]
    for seed in range(10):
        cost = np.random.default_rng(seed).normal(size=(6, 3))
        found = boundary.closed_path(cost, 0.2)
        rivals = [price(cost, path) for path in every if path[0] == found[0]]
        assert price(cost, tuple(found)) == pytest.approx(min(rivals))


def test_an_edge_is_as_high_as_the_step_and_lies_at_it() -> None:
    image = np.zeros((60, 60), np.float32)
    image[:, 30:] = 0.8
    points = np.stack([np.full(40, 27.5), np.linspace(20, 40, 40)], 1)
    edge = boundary._edges(image, points, np.tile([1.0, 0.0], (40, 1)), 8, 1.4)
    assert edge.shape == (40, 17)
    assert (edge.argmax(1) == 8 + 2).all()
    assert edge.max() == pytest.approx(0.8, rel=0.1)
    assert np.allclose(boundary._edges(-image, points, np.tile([1.0, 0.0], (40, 1)), 8, 1.4), -edge)


def test_bending_costs() -> None:
    cost = np.zeros((8, 3))
    cost[4, 1] = 0.5  # a detour of two bends would avoid it
    cost[:, [0, 2]] += 0.01
    straight = boundary.closed_path(cost, 0.4)
    assert straight.tolist() == [straight[0]] * 8
    assert len(set(boundary.closed_path(cost, 0.1).tolist())) <= 2


@pytest.mark.parametrize("grow", [0.93, 1.07])
def test_an_outline_moves_to_the_edge_beside_it(grow: float) -> None:
    width, height = 192, 180
    picture = np.full((height, width), 0.7, np.float32)
    truth = thorax.outlines(thorax.MEAN[None], width, height)[0]
    for points in truth:
        cv2.fillPoly(picture, [np.rint(points).astype(np.int32)], -0.7)
    plan = thorax.MEAN.copy()
    plan[2:4] *= grow
    fit = thorax.Fit(plan=plan, energy=0.0, edges=np.zeros((2, 4)), dark=np.zeros(2))
    lungs, contrast = boundary.settle(thorax.blur(picture, 1.0), fit)
    assert lungs.shape == (2, boundary.POINTS, 2)
    assert (contrast > 0.8).all()
    rough = thorax.outlines(plan[None], width, height)[0]
    walls = [
        points[np.abs(points[:, 1] - height / 2) < 20, 0].min() for points in (truth[0], rough[0], lungs[0])
    ]
    margin = boundary.MARGIN[0, thorax.WALL] * (plan[2] + plan[3]) * width
    assert abs(walls[0] - walls[2] - margin) < abs(walls[0] - walls[1]) / 2
