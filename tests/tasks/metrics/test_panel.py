from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import precision_score, recall_score, roc_auc_score, roc_curve

from xraytk.tasks.metrics import labels, panel


def drawn(n: int = 90) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    truth = (rng.random(n) < 0.4).astype(float)
    scores = np.round((rng.random(n) + 0.5 * truth) * 12 / 1.5) / 12  # with ties
    return scores, truth, rng.integers(0, 4, (5, n)).astype(float)


@pytest.mark.parametrize("wanted", [0.5, 0.8, 0.9, 1.0])
def test_sensitivity_at_a_specificity_is_read_off_scikit_learns_curve(wanted: float) -> None:
    scores, truth, weights = drawn()
    for row, sens, spec in zip(
        weights,
        labels.sensitivity_at(scores, truth, wanted)(weights),
        labels.specificity_at(scores, truth, wanted)(weights),
        strict=True,
    ):
        false, true, _ = roc_curve(truth, scores, sample_weight=row, drop_intermediate=False)
        assert sens == pytest.approx(true[1 - false >= wanted - 1e-9].max())
        assert spec == pytest.approx((1 - false[true >= wanted - 1e-9]).max())


def test_scores_at_a_threshold_equal_scikit_learn() -> None:
    scores, truth, weights = drawn()
    said = scores >= 0.5
    for metric, theirs in (("sensitivity", recall_score), ("precision", precision_score)):
        wanted = [theirs(truth, said, sample_weight=w) for w in weights]
        assert labels.at_threshold(scores, truth, 0.5, metric)(weights) == pytest.approx(wanted)
    wanted = [recall_score(1 - truth, ~said, sample_weight=w) for w in weights]
    assert labels.at_threshold(scores, truth, 0.5, "specificity")(weights) == pytest.approx(wanted)
    assert sum(labels.confusion(scores, truth, 0.5)) == 90


def test_numbers_that_are_no_probabilities_have_areas_only_and_a_reason() -> None:
    scores, truth, _ = drawn()
    made = panel.label_panel(
        9 * scores[:, None], truth[:, None], ["A"], None, metrics=panel.ALL_LABEL_METRICS
    )
    found = made.values([str(i) for i in range(90)], resamples=0, seed=0)
    assert found["A"]["auroc"].value == pytest.approx(roc_auc_score(truth, scores))
    for metric in ("f1", "ece", "brier", "precision"):
        assert (
            found["A"][metric].reason == found["macro"][metric].reason == "the scores are not probabilities"
        )


def test_a_subgroup_is_scored_alone_and_against_the_rest() -> None:
    scores, truth, _ = drawn()
    part = np.arange(90) < 40
    made = panel.label_panel(scores[:, None], truth[:, None], ["A"], {})
    inside, gap = made.within(part, [str(i) for i in range(90)], resamples=50, seed=0)
    there, rest = (roc_auc_score(truth[p], scores[p]) for p in (part, ~part))
    assert inside["A"]["auroc"].value == pytest.approx(there)
    assert inside["A"]["auroc"].n == 40
    assert gap["A"]["auroc"].value == pytest.approx(there - rest)
    assert gap["A"]["auroc"].low < gap["A"]["auroc"].value < gap["A"]["auroc"].high


def test_a_subgroup_with_one_class_only_has_a_reason_and_no_number() -> None:
    scores, truth, _ = drawn()
    made = panel.label_panel(scores[:, None], truth[:, None], ["A"], {})
    inside, gap = made.within(truth == 1, [str(i) for i in range(90)], resamples=5, seed=0)
    assert np.isnan(inside["A"]["auroc"].value)
    assert inside["A"]["auroc"].reason
    assert np.isnan(gap["A"]["auroc"].value)


def test_a_precision_that_does_not_exist_has_its_own_reason() -> None:
    truth = np.array([[0.0, 0], [1, 0], [0, 0], [1, 0]])
    made = panel.label_panel(
        np.full((4, 2), 0.1), truth, ["Mass", "Edema"], {}, metrics=("f1", "precision", "ece")
    )
    found = made.values(["a", "b", "c", "d"], resamples=0, seed=0)
    assert found["Mass"]["precision"].reason == "nothing was predicted present at the threshold"
    assert found["macro"]["precision"].reason.startswith("nothing was predicted present")
    assert found["Edema"]["precision"].reason == "every known value in this split is 0"
    assert found["Mass"]["f1"].value == 0
    inside, rest = made.within(truth[:, 0] == 1, ["a", "b", "c", "d"], resamples=0, seed=0)
    assert inside["Mass"]["precision"].reason == "every known value in this group is 1"
    assert "or for the others" in rest["Mass"]["f1"].reason
