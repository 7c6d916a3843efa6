from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xraytk.data import augment, regions
from xraytk.data.augment import Augmentation, AugmentConfig, Fit

SIDES = st.integers(20, 400)
FITS = st.sampled_from(["letterbox", "stretch"])


@given(SIDES, SIDES, SIDES, SIDES, FITS, st.data())
def test_a_box_goes_into_the_frame_and_back(
    height: int, width: int, rows: int, cols: int, fit: Fit, data: st.DataObject
) -> None:
    shares = [data.draw(st.floats(0, 0.9)) for _ in range(2)]
    x0, y0 = shares[0] * width, shares[1] * height
    box = ("Nodule", x0, y0, x0 + 0.1 * width, y0 + 0.1 * height)
    matrix = augment.affine(height, width, (rows, cols), fit)
    moved = regions.moved_boxes([box], matrix, (rows, cols))
    back = regions.boxes_back(moved, (height, width), (rows, cols), fit)
    assert [b.label for b in back] == ["Nodule"]
    np.testing.assert_allclose(back[0][1:], box[1:], atol=0.05)


def test_a_box_follows_its_pixels_through_letterbox() -> None:
    """200 x 100 into 100 x 100: halved, 25 columns of padding before it."""
    matrix = augment.affine(200, 100, 100, "letterbox")
    assert regions.moved_boxes([("N", 20, 40, 60, 100)], matrix, 100) == [("N", 35.0, 20.0, 55.0, 50.0)]


@pytest.mark.parametrize("flip", [False, True])
def test_a_box_follows_its_pixels_through_any_draw(flip: bool) -> None:
    image = np.zeros((120, 90), np.uint8)
    image[30:60, 20:50] = 255
    drawn = Augmentation(crop_share=0.8, crop_x=0.3, rotate_deg=0.0, zoom=1.1, shift_x=0.05, flip=flip)
    placed, _ = augment.place(image, (80, 64), "letterbox", drawn)
    matrix = augment.affine(120, 90, (80, 64), "letterbox", drawn)
    [box] = regions.moved_boxes([("Left nodule", 20, 30, 50, 60)], matrix, (80, 64), flip=flip)
    seen = np.argwhere(placed > 127)
    low, high = seen.min(0), seen.max(0) + 1
    np.testing.assert_allclose([box.y0, box.x0, box.y1, box.x1], [*low, *high], atol=0.5)
    assert box.label == ("Right nodule" if flip else "Left nodule")


def test_a_turned_box_holds_all_that_was_in_it() -> None:
    drawn = augment.draw(np.random.default_rng(3), AugmentConfig(rotate_deg=20, shear_deg=5))
    matrix = augment.affine(100, 100, 100, "letterbox", drawn)
    [box] = regions.moved_boxes([("N", 40, 40, 60, 60)], matrix, 100)
    corners = np.array([[40, 40], [60, 40], [60, 60], [40, 60]]) - 0.5
    moved = corners @ matrix[:, :2].T + matrix[:, 2] + 0.5
    np.testing.assert_allclose([box.x0, box.y0], moved.min(0))
    np.testing.assert_allclose([box.x1, box.y1], moved.max(0))


def test_a_box_that_is_mostly_cut_away_goes() -> None:
    shift = np.array([[1.0, 0, -50], [0, 1.0, 0]])
    assert regions.moved_boxes([("N", 0, 0, 60, 10)], shift, 100) == []  # a sixth is left
    assert regions.moved_boxes([("N", 0, 0, 100, 10)], shift, 100) == [("N", 0.0, 0.0, 50.0, 10.0)]


def test_a_mirrored_contour_changes_its_side() -> None:
    matrix = augment.affine(10, 10, 10, "letterbox", Augmentation(flip=True))
    made = regions.moved_outlines([{"name": "right_lung", "x": [0, 2, 1], "y": [0, 0, 4]}], matrix, flip=True)
    np.testing.assert_allclose(made["left_lung"][0][:, 0], [9, 7, 8])


@given(SIDES, SIDES, FITS)
def test_a_map_over_the_frame_comes_back_to_the_image(height: int, width: int, fit: Fit) -> None:
    """A map that is the column in the frame is linear in the image's column."""
    frame, cells = (64, 96), (16, 24)
    column = np.tile((np.arange(24, dtype=np.float32) + 0.5) * 4 - 0.5, (16, 1))
    back = regions.map_back(column, (height, width), frame, fit)
    matrix = augment.affine(height, width, frame, fit)
    wanted = np.clip(matrix[0, 0] * np.arange(width) + matrix[0, 2], 1.5, 93.5)
    np.testing.assert_allclose(back[height // 2], wanted, atol=0.2)  # cv2 has 32 steps between cells
    assert back.shape == (height, width)
    assert cells == column.shape


def test_the_share_of_a_cell_inside_a_contour() -> None:
    square = np.array([[-0.5, -0.5], [5.5, -0.5], [5.5, 7.5], [-0.5, 7.5]])  # edges 0 to 6, 0 to 8
    share = regions.share_map([square], (8, 8), (2, 2), fine=4)
    np.testing.assert_allclose(share, [[1, 0.5], [1, 0.5]], atol=0.26)  # fillPoly takes the rim's pixels
