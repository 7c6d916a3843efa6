"""Whitening: units do not matter, constants and outliers do no harm."""

from __future__ import annotations

import numpy as np

from xraytk.data.whitening import learn_whitening


def rows(count: int = 400, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    hidden = rng.standard_normal((count, 3)) * (5, 2, 1)
    return (hidden @ rng.standard_normal((3, 10)) + 0.05 * rng.standard_normal((count, 10))).astype(
        np.float32
    )


def distances(points: np.ndarray) -> np.ndarray:
    return np.linalg.norm(points[:50, None] - points[None, 50:100], axis=2)


def test_units_of_columns_do_not_change_distances() -> None:
    a = rows()
    b = a * np.array([1, 1000, 1e-3, 1, 7, 1, 1, 50, 1, 1], np.float32) + 12
    one, other = learn_whitening(a)(a), learn_whitening(b)(b)
    assert np.allclose(distances(one), distances(other), rtol=1e-3, atol=1e-3)


def test_directions_end_where_the_wanted_share_of_the_variance_is_reached() -> None:
    made = learn_whitening(rows(), explained=0.95)
    assert made.axes.shape[1] <= 3
    assert made.share >= 0.95
    assert learn_whitening(rows(), most=2, explained=1.0).axes.shape[1] == 2


def test_the_power_says_how_even_directions_become() -> None:
    a = rows()
    spreads = {p: learn_whitening(a, power=p)(a).std(0) for p in (0.0, 0.5, 1.0)}
    assert np.allclose(spreads[1.0], 1, atol=0.01)
    assert np.allclose(spreads[0.5], np.sqrt(spreads[0.0]), rtol=0.01)
    assert (np.diff(spreads[0.0]) < 0).all(), "the strongest direction comes first"


def test_columns_that_never_change_count_for_nothing() -> None:
    a = rows()
    b = np.concatenate([a, np.full((len(a), 2), 3.7, np.float32)], axis=1)
    assert np.allclose(distances(learn_whitening(a)(a)), distances(learn_whitening(b)(b)), atol=1e-3)
    same = learn_whitening(np.ones((5, 4), np.float32))(np.ones((5, 4), np.float32))
    assert np.isfinite(same).all()
    assert np.ptp(same, axis=0).max() == 0


def test_one_wild_row_does_not_set_the_scale() -> None:
    a = rows()
    wild = a.copy()
    wild[-1] = 1e6
    one, other = (learn_whitening(r, most=3, explained=1.0)(r) for r in (a, wild))
    assert np.median(np.abs(distances(one) / distances(other) - 1)) < 0.1
    assert np.isfinite(other).all()


def test_a_group_of_many_columns_weighs_as_much_as_a_group_of_one() -> None:
    rng = np.random.default_rng(0)
    alone, many = rng.standard_normal((500, 1)), rng.standard_normal((500, 1))
    both = np.concatenate([alone, np.repeat(many, 9, axis=1)], axis=1).astype(np.float32)
    points = learn_whitening(both, groups=(1, 9), power=0.0)(both)
    for column in (alone, many):
        strength = [abs(np.corrcoef(column[:, 0], p)[0, 1]) * p.std() for p in points.T]
        assert np.isclose(np.linalg.norm(strength), 1, atol=0.15)


def test_one_row_and_half_precision_are_enough() -> None:
    one = learn_whitening(np.ones((1, 4), np.float16))
    assert one(np.ones((1, 4), np.float16)).dtype == np.float32
