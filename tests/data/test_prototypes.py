"""Prototypes, zones, the budget's parts, farthest points: by hand and by law."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xraytk.data.prototypes import (
    CENTRAL,
    LEAST_MEMBERS,
    OUTLIER,
    PERIPHERY,
    TAIL,
    farthest,
    find_prototypes,
    parts_of,
    spread_out,
    zones,
)


def crowd(count: int, width: int = 4, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, width)).astype(np.float32)


def test_zones_are_cut_at_one_two_and_three_spreads_of_their_own_prototype() -> None:
    near = np.repeat([0.9, 1.1], 500)  # mean 1, spread 0.1 but for the few below
    odd = np.array([1.05, 1.17, 1.27, 1.5])
    distance = np.concatenate([near, odd, 10 * near]).astype(np.float32)
    nearest = np.repeat([0, 1], [1004, 1000])
    zone = zones(nearest, distance)
    assert zone[1000:1004].tolist() == [CENTRAL, PERIPHERY, TAIL, OUTLIER]
    assert (zone[1004:] == CENTRAL).all(), "ten times as far is usual for the other prototype"


def test_points_at_one_distance_are_all_central() -> None:
    assert (zones(np.zeros(5, np.int64), np.full(5, 3.3, np.float32)) == CENTRAL).all()


def test_the_budget_is_split_by_the_roots_of_the_members() -> None:
    assert parts_of(30, np.array([10_000, 2_500])).tolist() == [20, 10]


def test_what_a_small_prototype_cannot_give_the_others_give() -> None:
    assert parts_of(400, np.array([10_000, 4])).tolist() == [396, 4]


@given(st.lists(st.integers(0, 500), min_size=1, max_size=40), st.integers(0, 5000))
def test_parts_never_ask_for_more_than_there_is_and_sum_to_the_budget(
    members: list[int], budget: int
) -> None:
    parts = parts_of(budget, np.array(members))
    assert (parts >= 0).all()
    assert (parts <= members).all()
    assert parts.sum() == min(budget, sum(members))


def test_farthest_points_of_a_line_are_its_middle_then_its_ends() -> None:
    line = np.arange(11, dtype=np.float32)[:, None]
    assert farthest(line, 3).tolist() == [5, 0, 10]


def test_farthest_points_never_repeat_even_among_copies() -> None:
    assert sorted(farthest(np.ones((6, 3), np.float32), 6).tolist()) == list(range(6))


def test_a_copy_is_chosen_only_after_everything_else() -> None:
    points = crowd(20)
    twice = np.concatenate([points, points])
    chosen = farthest(twice, 20)
    assert len(set(chosen % 20)) == 20


@pytest.mark.parametrize("count", [0, 1, 17, 100, 400])
def test_blocks_give_as_many_as_asked_for_whatever_the_threads(count: int) -> None:
    points = crowd(400)
    one = spread_out(points, count, block=64, threads=1)
    assert len(np.unique(one)) == count
    assert np.array_equal(one, spread_out(points, count, block=64, threads=3))


def test_blocks_cover_nearly_as_well_as_the_exact_choice_and_far_better_than_chance() -> None:
    points = crowd(2000, 3)

    def gap(chosen: np.ndarray) -> float:
        """Mean distance of a point from the nearest chosen one."""
        away = np.linalg.norm(points[:, None] - points[chosen][None], axis=2)
        return float(np.sort(away.min(1))[-100:].mean())

    exact, blocks = gap(farthest(points, 200)), gap(spread_out(points, 200, block=256))
    chance = gap(np.random.default_rng(1).choice(2000, 200, replace=False))
    assert exact <= blocks < 1.35 * exact
    assert chance > 1.7 * exact


def test_prototypes_lie_in_the_crowds_and_the_largest_comes_first() -> None:
    centres = np.array([[0, 0], [20, 0], [0, 20]], np.float32)
    points = np.concatenate([c + crowd(n, 2, n) for c, n in zip(centres, (50, 200, 100), strict=True)])
    found = find_prototypes(points, 3, seed=0)
    assert np.bincount(found.nearest).tolist() == [200, 100, 50]
    assert np.abs(found.centres - centres[[1, 2, 0]]).max() < 0.6
    assert np.allclose(
        found.distance, np.linalg.norm(points - found.centres[found.nearest], axis=1), atol=1e-4
    )


def test_a_lone_point_is_no_prototype_but_an_outlier() -> None:
    points = np.concatenate([crowd(300, 2), np.full((1, 2), 60, np.float32)])
    found = find_prototypes(points, 5, seed=0)
    assert np.bincount(found.nearest).min() >= LEAST_MEMBERS
    assert found.zone[-1] == OUTLIER


@pytest.mark.parametrize("count", [1, 2, 7, 9, 30])
def test_few_points_have_few_prototypes(count: int) -> None:
    found = find_prototypes(crowd(count), 32, seed=0)
    assert 1 <= len(found.centres) <= max(1, count // LEAST_MEMBERS)


def test_the_same_seed_gives_the_same_prototypes() -> None:
    points = crowd(500)
    one, other = find_prototypes(points, 8, 3), find_prototypes(points, 8, 3)
    assert one.centres.tobytes() == other.centres.tobytes()
    assert np.array_equal(one.nearest, other.nearest)
