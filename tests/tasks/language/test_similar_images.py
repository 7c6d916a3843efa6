from __future__ import annotations

import math

import numpy as np
import pytest

from xraytk.tasks.language.similar import NOBODY, Nearest, precision_panel, unit

RNG = np.random.default_rng(0)
ARCHIVE = RNG.standard_normal((57, 8)).astype(np.float32)
QUERIES = RNG.standard_normal((5, 8)).astype(np.float32)


@pytest.mark.parametrize("block", [1, 7, 57, 100])
def test_blocks_of_the_archive_do_not_change_the_neighbours(block: int) -> None:
    nearest = Nearest(QUERIES, 6)
    for at in range(0, 57, block):
        nearest.add(ARCHIVE[at : at + block])
    cosines = unit(QUERIES) @ unit(ARCHIVE).T
    wanted = np.argsort(-cosines, axis=1)[:, :6]
    assert np.array_equal(nearest.at, wanted)
    assert nearest.near == pytest.approx(np.take_along_axis(cosines, wanted, 1), abs=1e-6)
    assert nearest.count == 57


def test_equal_images_keep_their_order_and_a_small_archive_leaves_places_empty() -> None:
    nearest = Nearest(np.ones((1, 3), np.float32), 4)
    for _ in range(3):
        nearest.add(2 * np.ones((1, 3), np.float32))
    assert nearest.at.tolist() == [[0, 1, 2]]


def test_images_of_the_same_patient_are_left_out_and_unknown_patients_are_not() -> None:
    x = np.eye(3, dtype=np.float32)
    nearest = Nearest(x[:2], 3, ["p", ""])
    nearest.add(x, ["p", "", "q"])
    assert nearest.at[0].tolist() == [1, 2, NOBODY]
    assert nearest.at[1].tolist() == [1, 0, 2]


def test_precision_is_that_on_paper() -> None:
    # one label; the archive has it in rows 0, 1, and of row 3 it is not known
    archive = np.array([[1.0], [1.0], [0.0], [math.nan]])
    at = np.array([[0, 2, 3], [2, 3, 1], [0, 1, 2]])
    truth = np.array([[1.0], [1.0], [0.0]])  # the last query lacks it, and does not count
    panel = precision_panel(at, archive, truth, ("Nodule",), (1, 2, 3))
    row = panel.values(["a", "b", "c"], resamples=0, seed=0)["Nodule"]
    assert row["P@1"].value == pytest.approx((1 + 0) / 2)
    assert row["P@2"].value == pytest.approx((1 / 2 + 0 / 1) / 2)
    assert row["P@3"].value == pytest.approx((1 / 2 + 1 / 2) / 2)
    assert row["by chance"].value == pytest.approx(2 / 3)
    assert row["P@1"].n == 2


def test_a_label_that_no_query_has_says_why() -> None:
    panel = precision_panel(np.zeros((1, 1), np.int64), np.ones((1, 1)), np.zeros((1, 1)), ("Nodule",), (1,))
    scores = panel.values(["a"], resamples=0, seed=0)
    assert scores["Nodule"]["P@1"].reason == "no image that is asked for has it"
