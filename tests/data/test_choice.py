"""Choosing: the tail whole, crowds thinned, rare things more frequent than by chance."""

from __future__ import annotations

import numpy as np
import pytest

from xraytk.data.choice import KEPT, choose
from xraytk.data.prototypes import OUTLIER, TAIL


def planted(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Two crowds of 450, each tenth point once more with a little noise, and 20 rare points."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(0, 6, (2, 8))
    usual = np.repeat(centres, 450, axis=0) + rng.standard_normal((900, 8))
    copies = usual[::10] + rng.normal(0, 0.01, (90, 8))
    rare = centres[rng.integers(0, 2, 20)] + rng.normal(0, 2.2, (20, 8))
    points = np.concatenate([usual, copies, rare]).astype(np.float32)
    return points, np.repeat([0, 1, 2], [900, 90, 20])


def test_as_many_are_kept_as_asked_for_and_the_whole_tail_is_among_them() -> None:
    points, _ = planted(0)
    made = choose(points, 200, trusted=np.ones(len(points), bool))
    assert made.keep.sum() == 200
    assert made.keep[made.found.zone >= TAIL].all()
    assert np.array_equal(made.keep, np.isin(made.reason, KEPT))


def test_outliers_are_kept_where_they_are_trusted_only() -> None:
    points, _ = planted(0)
    trusted = np.arange(len(points)) % 2 == 0
    made = choose(points, 200, trusted=trusted)
    out = made.found.zone == OUTLIER
    assert out.any()
    assert np.array_equal(made.keep[out], trusted[out])
    assert set(made.reason[out]) <= {"outlier", "outlier-kept"}
    assert made.keep.sum() == 200, "what an outlier does not take goes to the others"


def test_a_tail_larger_than_the_budget_is_kept_all_the_same() -> None:
    points, _ = planted(0)
    made = choose(points, 1, trusted=np.ones(len(points), bool))
    assert np.array_equal(made.keep, made.found.zone >= TAIL)


def test_all_are_kept_when_all_may_be() -> None:
    points, _ = planted(0)
    assert choose(points, len(points), trusted=np.ones(len(points), bool)).keep.all()


@pytest.mark.parametrize("seed", range(3))
def test_the_rare_become_more_frequent_and_pairs_of_copies_fewer(seed: int) -> None:
    points, kind = planted(seed)
    made = choose(points, 250, trusted=np.ones(len(points), bool), seed=seed)
    assert (kind[made.keep] == 2).mean() > 2 * (kind == 2).mean()
    both = made.keep[900:990] & made.keep[:900:10]
    by_chance = 90 * (250 / len(points)) ** 2
    assert both.sum() < 0.5 * by_chance
