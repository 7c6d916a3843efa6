from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from scipy import stats

from xraytk.tasks.metrics import bootstrap
from xraytk.tasks.metrics.values import Floats


def mean_of(values: Floats) -> bootstrap.Score:
    return lambda weights: (weights @ values / weights.sum(axis=1))[:, None]


def test_both_intervals_equal_scipy_on_the_same_draws() -> None:
    values = np.random.default_rng(0).gamma(1.0, size=40)
    drawn = bootstrap.draw(mean_of(values), [str(i) for i in range(40)], resamples=500, seed=1)
    again = SimpleNamespace(bootstrap_distribution=drawn.table[:, 0])
    (found,) = drawn.values()
    for method, ours in (("percentile", (found.low, found.high)), ("BCa", (found.bca_low, found.bca_high))):
        theirs = stats.bootstrap(
            (values,), np.mean, n_resamples=0, bootstrap_result=again, method=method
        ).confidence_interval
        assert ours == pytest.approx(tuple(theirs), abs=1e-12)


def test_patients_are_drawn_whole() -> None:
    values = np.arange(20.0)
    drawn = bootstrap.draw(mean_of(values), [str(i // 2) for i in range(20)], resamples=50, seed=0)
    pairs = values.reshape(10, 2).mean(axis=1)
    chosen = np.random.default_rng(0).integers(0, 10, (50, 10))
    assert drawn.table[:, 0] == pytest.approx(pairs[chosen].mean(axis=1))
    assert drawn.without[:, 0] == pytest.approx((pairs.sum() - pairs) / 9)


def test_many_patients_are_left_out_in_groups_with_about_the_same_interval(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    values = np.random.default_rng(0).gamma(0.5, size=400)
    names = [str(i) for i in range(400)]
    (fine,) = bootstrap.summarise(mean_of(values), names, resamples=400, seed=0)
    monkeypatch.setattr(bootstrap, "JACKKNIFE", 100)
    (coarse,) = bootstrap.summarise(mean_of(values), names, resamples=400, seed=0)
    assert coarse.bca_high == pytest.approx(fine.bca_high, abs=0.02)
    assert fine.bca_high > fine.high  # skewed


def test_a_score_that_does_not_vary_has_no_bca_interval_and_raises_nothing() -> None:
    (found,) = bootstrap.summarise(mean_of(np.ones(5)), list("abcde"), resamples=20, seed=0)
    assert (found.low, found.high) == (1, 1)
    assert np.isnan(found.bca_low)


def test_a_score_that_varies_by_next_to_nothing_has_the_interval_of_its_multiple() -> None:
    values, names = np.random.default_rng(0).gamma(1.0, size=20), [str(i) for i in range(20)]
    (plain,) = bootstrap.summarise(mean_of(values), names, resamples=200, seed=0)
    (tiny,) = bootstrap.summarise(mean_of(values * 1e-150), names, resamples=200, seed=0)
    assert tiny.bca_low == pytest.approx(plain.bca_low * 1e-150, rel=1e-9)


def test_one_patient_has_no_interval() -> None:
    (found,) = bootstrap.draw(mean_of(np.arange(5.0)), ["p"] * 5, resamples=20, seed=0).values()
    assert found.value == 2
    assert np.isnan([found.low, found.high, found.bca_low, found.bca_high]).all()


def test_draws_in_which_a_score_does_not_exist_are_left_out() -> None:
    def some(weights: Floats) -> Floats:
        return np.where(weights[:, 0] > 0, weights[:, 0], np.nan)[:, None]

    (found,) = bootstrap.summarise(some, list("abc"), resamples=100, seed=0)
    assert found.low >= 1
    assert np.isnan(found.bca_low)


def test_percentile_intervals_cover_the_truth_about_as_often_as_they_say() -> None:
    rng = np.random.default_rng(5)
    names = [str(i) for i in range(50)]
    hits = 0
    for seed in range(100):
        (found,) = bootstrap.summarise(mean_of(rng.normal(size=50)), names, resamples=200, seed=seed)
        hits += found.low <= 0 <= found.high
    assert 87 <= hits <= 99
