from __future__ import annotations

import math

import numpy as np
import pytest

from xraytk.tasks.language.grounding import (
    contrast,
    draw,
    grounding_panel,
    inside,
    mean_overlap,
    measure,
    over_pixels,
    stretched,
)

MAP = np.array([[0.8, 0.6, 0.1, 0.1], [0.4, 0.2, 0.1, 0.1]], np.float32)
TRUE = inside([(0, 0, 2, 1)], (2, 4))  # the two pixels at the upper left


def test_a_box_takes_the_pixels_whose_middle_it_holds() -> None:
    assert TRUE.tolist() == [[True, True, False, False], [False] * 4]
    assert inside([(0.4, 0, 1.6, 2)], (2, 4))[0].tolist() == [True, True, False, False]
    assert inside([(0, 0, 1, 1), (3, 1, 4, 2)], (2, 4)).sum() == 2


def test_overlap_over_thresholds_is_that_on_paper() -> None:
    # above 0.1: four pixels of which two are right; 0.3: three, two; 0.5: two, two; 0.7: one of two
    assert mean_overlap(MAP, TRUE, [0.15]) == pytest.approx(2 / 4)
    assert mean_overlap(MAP, TRUE, [0.3]) == pytest.approx(2 / 3)
    assert mean_overlap(MAP, TRUE, [0.5]) == pytest.approx(1)
    assert mean_overlap(MAP, TRUE, [0.7]) == pytest.approx(1 / 2)
    assert mean_overlap(MAP, TRUE, [0.15, 0.3, 0.5, 0.7]) == pytest.approx((1 / 2 + 2 / 3 + 1 + 1 / 2) / 4)
    assert mean_overlap(MAP, TRUE, [0.95]) == 0


def test_contrast_to_noise_is_that_on_paper() -> None:
    # inside 0.8, 0.6: mean 0.7, variance 0.01; outside 0.4, 0.2, 4 x 0.1: mean 1/6, variance 1/80
    wanted = (0.7 - 1 / 6) / math.sqrt(0.01 + ((0.16 + 0.04 + 4 * 0.01) / 6 - 1 / 36))
    assert contrast(MAP, TRUE) == pytest.approx(wanted, rel=1e-6)
    assert contrast(-MAP, TRUE) == pytest.approx(-wanted, rel=1e-6)
    assert contrast(3 * MAP + 1, TRUE) == pytest.approx(wanted, rel=1e-5)
    assert math.isnan(contrast(np.ones((2, 4), np.float32), TRUE))
    assert math.isnan(contrast(MAP, np.ones((2, 4), np.bool_)))


def test_a_flat_map_points_by_chance_and_a_map_that_is_high_everywhere_overlaps_by_the_boxes_share() -> None:
    flat = np.full((2, 4), 0.7, np.float32)
    overlap, on_stretched, signed, absolute, pointed, share = measure(flat, TRUE, [0.1, 0.5])
    assert (overlap, pointed, share) == (0.25, 0.25, 0.25)
    assert on_stretched == 0
    assert math.isnan(signed)
    assert math.isnan(absolute)
    assert stretched(MAP).max() == 1
    assert measure(MAP, TRUE, [0.5])[4] == 1


def test_a_map_over_patches_lies_on_the_image_and_not_on_the_padding() -> None:
    patches = np.zeros((4, 4), np.float32)
    patches[1, 2] = 1.0
    # an image of 20 x 40 in a frame of 64 x 64: it fills columns 0-63 and rows 16-47
    pixels = over_pixels(patches, (64, 64), (16, 0, 32, 64), (20, 40), "nearest")
    assert pixels.shape == (20, 40)
    assert np.array_equal(pixels > 0.5, inside([(20, 0, 30, 10)], (20, 40)))
    smooth = over_pixels(patches, (64, 64), (16, 0, 32, 64), (20, 40), "linear")
    row, col = np.unravel_index(int(smooth.argmax()), smooth.shape)
    assert 2 <= row <= 7
    assert 22 <= col <= 27


def test_phrases_are_averaged_where_a_value_exists() -> None:
    values = np.array([[0.2, 0, 1, 1, 1, 0.1], [0.4, 0, math.nan, math.nan, 0, 0.1], [0.6, 0, 3, 3, 1, 0.1]])
    scores = grounding_panel(values, ["Nodule", "", "Nodule"]).values(["a", "b", "b"], resamples=0, seed=0)
    assert scores["all"]["mIoU"].value == pytest.approx(0.4)
    assert scores["all"]["CNR"].value == pytest.approx(2)
    assert scores["Nodule"]["mIoU"].value == pytest.approx(0.4)
    assert (scores["all"]["mIoU"].n, scores["Nodule"]["mIoU"].n) == (3, 2)


def test_boxes_are_drawn_over_the_map() -> None:
    grey = np.full((40, 40), 90, np.uint8)
    drawn = draw(grey, np.linspace(0, 1, 1600, dtype=np.float32).reshape(40, 40), [(5, 5, 20, 20)])
    assert drawn.shape == (40, 40, 3)
    assert (drawn[5, 5:19] == 255).all()
    assert drawn[35, 35].tolist() != drawn[1, 1].tolist()
