"""Checks of polygons."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some

from xraytk.data.outlines.outline import RefusedError
from xraytk.data.outlines.rings import (
    area,
    checked,
    crosses_itself,
    is_nearly_simple,
    parts_of,
    split_by_side,
)


def star(count: int, step: int) -> np.ndarray[Any, Any]:
    angle = np.arange(count) * step * 2 * np.pi / count
    return np.stack([50 + 40 * np.cos(angle), 50 + 40 * np.sin(angle)], 1)


@given(some.integers(3, 40), some.floats(0, 6.3), some.floats(0.2, 5))
def test_a_convex_polygon_never_crosses_itself(count: int, turn: float, stretch: float) -> None:
    angle = np.linspace(0, 2 * np.pi, count, endpoint=False) + turn
    assert not crosses_itself(np.stack([stretch * np.cos(angle), np.sin(angle)], 1))


@given(some.integers(2, 30))
def test_a_star_drawn_in_one_stroke_crosses_itself(half: int) -> None:
    assert crosses_itself(star(2 * half + 1, half))


@given(
    some.lists(some.tuples(some.integers(0, 9), some.integers(0, 9)), min_size=4, max_size=12, unique=True)
)
def test_the_sweep_finds_what_comparing_all_pairs_finds(corners: list[tuple[int, int]]) -> None:
    points = np.array(corners, np.float64)
    n = len(corners)

    def turn(a: Any, b: Any, c: Any) -> float:
        return float((b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0]))

    found = False
    for i in range(n):
        a, b = points[i], points[(i + 1) % n]
        for j in range(i):
            c, d = points[j], points[(j + 1) % n]
            found |= turn(a, b, c) * turn(a, b, d) < 0 and turn(c, d, a) * turn(c, d, b) < 0
    assert crosses_itself(points) == found


def test_a_polygon_that_touches_itself_does_not_cross_itself() -> None:
    pinched = np.array([[0, 0], [4, 0], [4, 4], [2, 0], [0, 4]], float)
    assert not crosses_itself(pinched)


def test_an_outline_of_many_short_edges_is_checked_and_a_tangle_of_long_ones_is_refused(
    kit: SimpleNamespace,
) -> None:
    assert not crosses_itself(kit.ellipse(0, 0, 500, 700, 20_000))
    with pytest.raises(RefusedError) as caught:
        crosses_itself(np.random.default_rng(0).random((20_000, 2)))
    assert caught.value.reason == "too-many-points"


@pytest.mark.parametrize(
    ("points", "reason"),
    [
        ([], "fewer-than-three-points"),
        ([[1, 1], [1, 1], [5, 5], [5, 5]], "fewer-than-three-points"),
        ([[1, 1], [5, 5], [9, 9]], "empty"),
        ([[1, 1], [5, 1], [5, 11.1]], "outside-the-image"),
        ([[1, 1], [5, 5], [5, 1], [1, 5]], "self-crossing"),
    ],
)
def test_what_is_wrong_with_a_polygon_has_a_reason(points: Any, reason: str) -> None:
    with pytest.raises(RefusedError) as caught:
        checked(np.array(points, np.float64).reshape(-1, 2), 10, 10)
    assert caught.value.reason == reason


def test_a_hand_that_slips_by_less_than_a_pixel_is_moved_back() -> None:
    points = checked(np.array([[-1.4, 2], [10.4, 2], [5, 10.5]]), 10, 10)
    assert points.tolist() == [[-0.5, 2], [9.5, 2], [5, 9.5]]


def test_holes_are_filled_and_specks_are_left_out() -> None:
    mask = np.zeros((60, 60), bool)
    mask[5:50, 5:30] = True
    mask[20:30, 10:20] = False
    mask[55, 55:58] = True
    (part,) = parts_of(mask)
    assert area(part) == 44 * 24


def test_two_lungs_are_told_apart_by_their_place(kit: SimpleNamespace) -> None:
    found = dict(split_by_side([kit.LEFT, kit.RIGHT], 200, 220))
    assert found["right"][:, 0].mean() < found["left"][:, 0].mean()


def test_one_lung_is_named_by_its_half(kit: SimpleNamespace) -> None:
    assert [side for side, _ in split_by_side([kit.LEFT], 200, 220)] == ["left"]
    assert [side for side, _ in split_by_side([kit.RIGHT], 200, 220)] == ["right"]


def test_lungs_drawn_as_one_are_cut_where_they_meet() -> None:
    both = np.array(
        [[10, 10], [90, 10], [90, 50], [110, 50], [110, 10], [190, 10], [190, 200], [110, 200],
         [110, 60], [90, 60], [90, 200], [10, 200]], float,
    )  # fmt: skip
    found = dict(split_by_side([both], 200, 220))
    assert area(found["right"]) == pytest.approx(area(found["left"]), rel=0.05)
    assert found["right"][:, 0].max() < found["left"][:, 0].min()
    assert 90 <= found["right"][:, 0].max() <= 110


def test_corners_that_cross_a_little_are_nearly_simple_and_bows_are_not() -> None:
    frayed = np.array([[10.0, 10], [90, 10], [90, 90], [50, 90.2], [52, 90], [51, 90.3], [10, 90]])
    bow = np.array([[10.0, 10], [50, 50], [50, 10], [10, 50]])
    lopsided = np.array([[10.0, 10], [60, 60], [60, 40], [10, 50]])
    assert crosses_itself(frayed)
    assert is_nearly_simple(frayed, 100, 100)
    assert not is_nearly_simple(bow, 100, 100)
    assert not is_nearly_simple(lopsided, 100, 100)
