from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss

from xraytk.tasks.metrics import calibration


def drawn(n: int = 4000, sharpness: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    logits = rng.normal(size=n) * 2
    return expit(logits * sharpness), (rng.random(n) < expit(logits)).astype(float)


def test_brier_equals_scikit_learn_with_weights() -> None:
    chances, truth = drawn(50)
    weights = np.random.default_rng(1).integers(0, 3, (4, 50)).astype(float)
    wanted = [brier_score_loss(truth, chances, sample_weight=w) for w in weights]
    assert calibration.brier(chances, truth)(weights) == pytest.approx(wanted)


def test_reliability_equals_scikit_learn_and_ece_follows_from_it() -> None:
    chances, truth = drawn(500)
    found = calibration.reliability(chances, truth)
    share, chance = calibration_curve(truth, chances, n_bins=15)
    assert found.share == pytest.approx(share)
    assert found.chance == pytest.approx(chance)
    by_hand = (found.count * np.abs(found.share - found.chance)).sum() / 500
    assert calibration.ece(chances, truth)(np.ones((1, 500)))[0] == pytest.approx(by_hand)


def test_unknown_truth_counts_nowhere() -> None:
    chances, truth = drawn(100)
    more, unknown = np.append(chances, 0.9), np.append(truth, np.nan)
    for score in (calibration.brier, calibration.ece):
        assert score(more, unknown)(np.ones((1, 101))) == pytest.approx(
            score(chances, truth)(np.ones((1, 100)))
        )
    assert calibration.reliability(more, unknown).count.sum() == 100


@pytest.mark.parametrize("sharpness", [0.5, 1.0, 3.0])
def test_the_temperature_undoes_what_sharpened_the_probabilities(sharpness: float) -> None:
    chances, truth = drawn(sharpness=sharpness)
    temperature = calibration.fit_temperature(chances, truth)
    assert temperature == pytest.approx(sharpness, rel=0.1)
    cooled = calibration.cool(chances, temperature)
    ones = np.ones((1, len(truth)))
    assert calibration.ece(cooled, truth)(ones)[0] < 0.03
    assert (np.diff(cooled[np.argsort(chances)]) >= 0).all()


def test_a_few_images_that_are_all_told_apart_do_not_make_it_sure() -> None:
    chances, truth = np.array([0.2, 0.3, 0.7, 0.8]), np.array([0.0, 0.0, 1.0, 1.0])
    cooled = calibration.cool(chances, calibration.fit_temperature(chances, truth))
    # targets 1/4 and 3/4: of two images a side no more can be known
    assert 0.1 < cooled[0] < cooled[1] < 0.4
    many, known = np.tile(chances, 500), np.tile(truth, 500)
    assert calibration.cool(chances, calibration.fit_temperature(many, known))[0] < 0.01


def test_one_class_has_no_temperature() -> None:
    assert calibration.fit_temperature(np.array([0.2, 0.9]), np.array([1.0, np.nan])) == 1
    same = np.array([0.2, 0.9])
    assert calibration.cool(same, 1.0) is same
