from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from xraytk.tasks.metrics import delong


def drawn(n: int = 80, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    truth = (rng.random(n) < 0.4).astype(float)
    a = np.round(rng.normal(size=n) + truth, 1)  # with ties
    return a, np.round(a * 0.5 + rng.normal(size=n), 1), truth


def by_definition(scores: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """DeLong 1988, equations 4 and 5: every pair of a sick and a well one."""
    v10, v01 = [], []
    for row in scores:
        sick, well = row[truth == 1], row[truth == 0]
        psi = (sick[:, None] > well) + 0.5 * (sick[:, None] == well)
        v10.append(psi.mean(axis=1))
        v01.append(psi.mean(axis=0))
    return np.cov(v10) / len(v10[0]) + np.cov(v01) / len(v01[0])


def test_areas_are_scikit_learns_and_the_covariance_is_that_of_the_paper() -> None:
    a, b, truth = drawn()
    areas, spread = delong.covariance(np.stack([a, b]), truth, [str(i) for i in range(80)])
    assert areas == pytest.approx([roc_auc_score(truth, a), roc_auc_score(truth, b)])
    assert spread == pytest.approx(by_definition(np.stack([a, b]), truth), abs=1e-15)


def test_the_same_images_twice_for_each_patient_give_the_interval_of_one() -> None:
    a, _, truth = drawn()
    people = [str(i) for i in range(80)]
    once = delong.interval(a, truth, people)
    twice = delong.interval(np.tile(a, 2), np.tile(truth, 2), people * 2)
    apart = delong.interval(np.tile(a, 2), np.tile(truth, 2), [str(i) for i in range(160)])
    assert once is not None
    assert twice is not None
    assert apart is not None
    assert twice.error == pytest.approx(once.error, rel=1e-9)
    assert apart.error < 0.75 * once.error


def test_a_score_against_itself_has_no_difference() -> None:
    a, _, truth = drawn()
    found = delong.paired(a, 2 * a + 1, truth, [str(i) for i in range(80)])
    assert found is not None
    assert (found.value, found.p) == (0, 1)


def test_the_p_value_is_even_when_both_are_equally_good() -> None:
    rng = np.random.default_rng(1)
    chances = []
    for _ in range(300):
        truth = (rng.random(120) < 0.5).astype(float)
        scores = rng.normal(size=(2, 120)) + truth
        found = delong.paired(scores[0], scores[1], truth, [str(i) for i in range(120)])
        assert found is not None
        chances.append(found.p)
    assert 0.02 <= np.mean(np.array(chances) < 0.05) <= 0.09
    assert np.mean(chances) == pytest.approx(0.5, abs=0.06)


def test_one_class_only_has_no_interval() -> None:
    assert delong.interval(np.arange(4.0), np.ones(4), list("abcd")) is None
    assert (
        delong.paired(np.arange(4.0), np.arange(4.0), np.array([1, 1, np.nan, np.nan]), list("abcd")) is None
    )
