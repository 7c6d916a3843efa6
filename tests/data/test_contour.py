"""Contours: by hand on small masks, and by law on random ones."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from xraytk.data import contour
from xraytk.data.phantoms.phantom import make_phantom
from xraytk.errors import DataError


def phantom(seed: int, findings: tuple[str, ...] = ()) -> tuple[NDArray[np.uint16], NDArray[np.bool_]]:
    """Pixels, and the lungs with the heart: the contour counts the lung behind it."""
    made = make_phantom(seed, size_px=384, findings=findings)
    pixels = (np.clip(made.pixels, 0, 1) * 65535).astype(np.uint16)
    return pixels, np.asarray(made.left_lung | made.right_lung, np.bool_)


def square(name: str, x0: float, y0: float, x1: float, y1: float) -> contour.Polygon:
    return {"name": name, "x": [x0, x1, x1, x0], "y": [y0, y0, y1, y1]}


def test_rasterise_fills_up_to_the_outline() -> None:
    mask = contour.rasterise([square("right_lung", 1, 2, 3, 4)], 6, 6)
    assert mask.sum() == 9
    assert mask[2:5, 1:4].all()


def test_rasterise_joins_overlapping_polygons() -> None:
    two = [square("right_lung", 0, 0, 3, 3), square("left_lung", 2, 2, 5, 5)]
    assert contour.rasterise(two, 6, 6).sum() == 16 + 16 - 4


def test_no_polygons_make_an_empty_mask() -> None:
    assert not contour.rasterise([], 5, 7).any()
    assert not contour.rasterise([{"name": "right_lung", "x": [1.0, 2.0], "y": [1.0, 2.0]}], 5, 7).any()


def test_share_per_patch_by_hand() -> None:
    mask = np.zeros((4, 6), np.bool_)
    mask[0, 0] = mask[2:4, 2:4] = True
    assert contour.share_per_patch(mask, 2).tolist() == [0.25, 0, 0, 0, 1, 0]


def test_share_per_patch_wants_a_patch_that_divides() -> None:
    with pytest.raises(DataError, match="cannot be cut"):
        contour.share_per_patch(np.zeros((4, 6), np.bool_), 4)


def test_letterboxing_centres_a_tall_image() -> None:
    whole = [square("right_lung", -0.5, -0.5, 99.5, 199.5)]  # the outer edges of 100 x 200 pixels
    (moved,) = contour.letterbox_polygons(whole, 200, 100, 400)
    assert moved["x"] == [99.5, 299.5, 299.5, 99.5]
    assert moved["y"] == [-0.5, -0.5, 399.5, 399.5]


def test_share_grid_of_padding_is_zero() -> None:
    whole = [square("right_lung", 0, 0, 99, 199)]
    grid = contour.share_grid(whole, 100, 200, 4, 4).reshape(4, 4)
    assert grid.dtype == np.float32
    assert (grid[:, [0, 3]] == 0).all()
    assert (grid[:, 1:3] > 0.98).all()


def test_share_grid_is_share_per_patch_of_the_letterboxed_mask() -> None:
    _, truth = phantom(5)
    polygons = contour.trace(truth)
    height, width = truth.shape
    boxed = contour.rasterise(contour.letterbox_polygons(polygons, height, width, 640), 640, 640)
    assert np.allclose(contour.share_grid(polygons, width, height), contour.share_per_patch(boxed, 32))


def test_grid_may_have_more_columns_than_rows() -> None:
    assert contour.share_grid(
        [square("left_lung", -0.5, -0.5, 9.5, 9.5)], 10, 10, 2, 5
    ).tolist() == pytest.approx([1.0] * 10, abs=0.03)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31), st.floats(0.8, 1.25), st.integers(60, 300))
def test_tracing_and_filling_gives_the_mask_again(seed: int, aspect: float, width: int) -> None:
    height = round(aspect * width)  # in taller ones the ellipses touch
    rng = np.random.default_rng(seed)
    mask = np.zeros((height, width), np.uint8)
    for x in (0.28, 0.72):
        axes = (int(width * rng.uniform(0.1, 0.17)), int(height * rng.uniform(0.2, 0.42)))
        cv2.ellipse(mask, (int(width * x), height // 2), axes, float(rng.uniform(-10, 10)), 0, 360, 1, -1)
    polygons = contour.trace(mask.astype(np.bool_))
    again = contour.rasterise(polygons, height, width)
    assert [p["name"] for p in polygons] == list(contour.LUNGS)
    assert max(len(p["x"]) for p in polygons) <= 200
    assert (again & (mask > 0)).sum() / (again | (mask > 0)).sum() > 0.98


def test_tracing_a_phantoms_lungs_loses_under_two_percent() -> None:
    _, truth = phantom(0)
    again = contour.rasterise(contour.trace(truth), *truth.shape)
    assert (again & truth).sum() / (again | truth).sum() > 0.98


def test_tracing_one_part_names_it_by_its_half() -> None:
    mask = np.zeros((50, 50), np.bool_)
    mask[10:40, 30:45] = True
    mask[2, 2] = True  # a speck
    (only,) = contour.trace(mask)
    assert only["name"] == "left_lung"
    assert contour.trace(np.zeros((50, 50), np.bool_)) == []
