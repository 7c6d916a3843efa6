from __future__ import annotations

import math

import numpy as np
import pytest

from xraytk.tasks.metrics import boxes, masks

UNIT = np.array([[0.0, 0.0, 10.0, 10.0]])
NONE = np.empty((0, 4))


def shifted(by: float) -> np.ndarray:
    return UNIT + np.array([by, 0, by, 0])


def scored(found: np.ndarray, truth: np.ndarray, scores: list[float] | None = None) -> float:
    return boxes.rsna_score(found, np.array(scores or [1.0] * len(found)), truth)


def test_overlap_is_intersection_over_union() -> None:
    assert boxes.overlap(UNIT, shifted(5))[0, 0] == pytest.approx(50 / 150)
    assert boxes.overlap(UNIT, shifted(20))[0, 0] == 0


def test_a_perfect_box_scores_one_and_a_wrong_one_zero() -> None:
    assert scored(UNIT, UNIT) == 1.0
    assert scored(shifted(20), UNIT) == 0.0


def test_a_box_scores_at_the_thresholds_that_it_passes() -> None:
    """7.5 of 12.5 overlap: 0.6, above 0.4, 0.45, 0.5 and 0.55, and not above 0.6 itself."""
    assert boxes.overlap(UNIT, shifted(2.5))[0, 0] == pytest.approx(0.6)
    assert scored(shifted(2.5001), UNIT) == pytest.approx(4 / 8)


def test_false_and_missed_boxes_both_lower_the_score() -> None:
    two = np.concatenate([UNIT, shifted(30)])
    assert scored(two, UNIT) == pytest.approx(1 / 2)  # TP 1, FP 1
    assert scored(UNIT, two) == pytest.approx(1 / 2)  # TP 1, FN 1
    assert scored(np.concatenate([UNIT, shifted(60)]), two) == pytest.approx(1 / 3)  # TP 1, FP 1, FN 1


def test_two_claims_of_one_box_are_one_hit() -> None:
    assert scored(np.concatenate([UNIT, UNIT]), UNIT) == pytest.approx(1 / 2)


def test_the_surest_claim_chooses_first() -> None:
    """The claim that fits both takes the one it overlaps most; the other is left for the second."""
    truth = np.array([[0.0, 0, 10, 10], [4.0, 0, 14, 10]])
    found = np.array([[0.5, 0, 10.5, 10], [4.0, 0, 14, 10]])
    assert boxes.hits(boxes.overlap(found, truth), np.array([0.9, 0.8]), 0.4) == 2


def test_an_image_without_boxes_scores_zero_with_claims_and_is_left_out_without() -> None:
    assert scored(UNIT, NONE) == 0.0
    assert math.isnan(scored(NONE, NONE))
    assert scored(NONE, UNIT) == 0.0


def test_suppression_keeps_the_surest_of_boxes_that_overlap() -> None:
    found = np.concatenate([UNIT, shifted(1), shifted(30)])
    assert boxes.suppress(found, np.array([0.5, 0.9, 0.1]), 0.3).tolist() == [1, 2]
    assert boxes.suppress(NONE, np.empty(0), 0.3).tolist() == []


def test_the_best_threshold_leaves_the_false_claims_out() -> None:
    found, scores = np.concatenate([UNIT, shifted(30)]), np.array([0.8, 0.42])
    assert boxes.best_cut([(found, scores, UNIT)]) == (0.45, 1.0)
    assert math.isnan(boxes.best_cut([(found, scores, NONE)])[0])


def test_dice_and_iou_of_made_masks() -> None:
    a, b = np.zeros((10, 10), bool), np.zeros((10, 10), bool)
    a[:, :4], b[:, 2:8] = True, True  # 40 and 60 pixels, 20 in both
    assert masks.dice(a, b) == pytest.approx(40 / 100)
    assert masks.iou(a, b) == pytest.approx(20 / 80)
    assert masks.dice(a & ~a, b & ~b) == 1.0


def test_the_mean_over_classes_counts_each_class_once() -> None:
    above, below = np.array([[1.0, 0.0], [0.0, 0.5]]), np.array([[1.0, 0.0], [1.0, 1.0]])
    row = masks.ratios(above, below)(np.ones((1, 2)))[0]
    np.testing.assert_allclose(row, [0.5, 0.5, 0.5])
    assert np.isnan(masks.ratios(above, below)(np.array([[1.0, 0.0]]))[0, 1])
