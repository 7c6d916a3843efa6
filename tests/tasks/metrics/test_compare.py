from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from xraytk.tasks.metrics import compare
from xraytk.tasks.metrics.values import Floats


def mean_of(values: Floats) -> compare.Score:
    def score(weights: Floats) -> Floats:
        total = weights.sum(axis=1)
        return np.divide(weights @ values, total, out=np.full(len(total), np.nan), where=total > 0)[:, None]

    return score


def test_the_permutation_test_equals_scipys_of_all_permutations() -> None:
    rng = np.random.default_rng(0)
    a = rng.normal(size=9)
    b = a - 0.5 + rng.normal(size=9)
    score = mean_of(np.concatenate([a, b]))
    (found,) = compare.compare(score, score, [str(i) for i in range(9)], resamples=4000, seed=0)
    exact = stats.permutation_test(
        (a, b), lambda x, y, axis: np.mean(x - y, axis=axis), permutation_type="samples", vectorized=True
    )
    assert found.p == pytest.approx(exact.pvalue, abs=0.02)
    assert found.apart.value == pytest.approx(exact.statistic)
    assert found.a.value - found.b.value == pytest.approx(found.apart.value)


def test_images_of_one_patient_are_swapped_together() -> None:
    a, b = np.ones(12), np.zeros(12)
    score = mean_of(np.concatenate([a, b]))
    (apart,) = compare.compare(score, score, [str(i) for i in range(12)], resamples=500, seed=0)
    (together,) = compare.compare(score, score, ["p"] * 6 + ["q"] * 6, resamples=500, seed=0)
    assert apart.p < 0.01
    assert together.p == pytest.approx(0.5, abs=0.06)  # two patients: 2 of 4 swaps are as far apart


def test_a_system_against_itself_is_never_different() -> None:
    values = np.random.default_rng(0).normal(size=20)
    score = mean_of(np.tile(values, 2))
    (found,) = compare.compare(score, score, [str(i) for i in range(20)], resamples=100, seed=0)
    assert (found.apart.value, found.apart.low, found.apart.high) == pytest.approx((0, 0, 0), abs=1e-12)
    assert found.p == 1


def test_corrections_by_hand() -> None:
    chances = [0.01, 0.04, np.nan, 0.03, 0.005]
    assert compare.holm(chances) == pytest.approx([0.03, 0.06, np.nan, 0.06, 0.02], nan_ok=True)
    assert compare.benjamini_hochberg(chances) == pytest.approx([0.02, 0.04, np.nan, 0.04, 0.02], nan_ok=True)
    assert compare.holm([]) == []
    assert compare.benjamini_hochberg([np.nan]) == pytest.approx([np.nan], nan_ok=True)
