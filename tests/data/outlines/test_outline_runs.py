"""Masks as runs."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some

from xraytk.data.outlines.outline import RefusedError
from xraytk.data.outlines.runs import counts_of, mask_of, runs_of, text_of


def test_runs_go_down_the_columns() -> None:
    mask = mask_of([1, 2, 3], 3, 2)
    assert mask.tolist() == [[False, False], [True, False], [True, False]]
    assert mask_of([1, 2, 3], 3, 2, "C").tolist() == [[False, True], [True, False], [False, False]]


def test_cocos_text_is_the_one_that_pycocotools_writes() -> None:
    """Of a rectangle in 1000 x 1000, by pycocotools 2.0."""
    square = np.zeros((1000, 1000), bool)
    square[10:20, 30:33] = True
    assert text_of(runs_of(square)) == "jYm0:nn0000^Z`m0"
    assert (mask_of("jYm0:nn0000^Z`m0", 1000, 1000) == square).all()


@given(some.lists(some.integers(0, 10**6), max_size=30))
def test_text_of_runs_has_an_inverse(counts: list[int]) -> None:
    assert counts_of(text_of(counts)) == counts


@given(some.integers(1, 7), some.integers(1, 7), some.integers(0, 2**49), some.sampled_from("FC"))
def test_masks_as_runs_have_an_inverse(height: int, width: int, bits: int, order: str) -> None:
    mask = np.array([bits >> i & 1 for i in range(height * width)], bool).reshape(height, width)
    assert (mask_of(runs_of(mask, order), height, width, order) == mask).all()


@pytest.mark.parametrize(
    "counts",
    [
        [10**30],
        [-1, 5],
        [1.5, 2.5],
        [True, 3],
        [],
        [2, 3],
        "0" * 100,
        "o",
        "\u00e9",
        "ooooooooooooooo",
        [0] * 100,
    ],
)
def test_runs_that_fill_no_mask_are_refused(counts: object) -> None:
    with pytest.raises(RefusedError):
        mask_of(counts, 2, 2)  # type: ignore[arg-type]


@pytest.mark.parametrize("size", [10**9, 0, -3, float("nan"), float("inf"), None])
def test_an_impossible_size_is_refused_before_anything_is_made(size: object) -> None:
    with pytest.raises(RefusedError):
        mask_of([1], size, size)
