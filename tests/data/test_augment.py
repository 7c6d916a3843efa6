"""Geometry of the training square, and chance."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from xraytk.data import augment
from xraytk.data.augment import Augmentation, AugmentConfig
from xraytk.errors import UsageError

SHAPES = [(200, 150), (120, 200), (90, 90), (333, 256)]
OVAL = np.linspace(0, 2 * np.pi, 60, endpoint=False)


def oval(height: int, width: int) -> dict[str, list[float]]:
    """A contour off the centre, so that a wrong shift or a swap of axes shows."""
    x = width * (0.4 + 0.22 * np.cos(OVAL))
    y = height * (0.55 + 0.3 * np.sin(OVAL))
    return {"x": list(x), "y": list(y)}


def filled(polygon: dict[str, list[float]], height: int, width: int) -> np.ndarray:
    """The same contour as a picture, on the image's own grid, by another road."""
    yy, xx = np.mgrid[:height, :width]
    inside = ((xx / width - 0.4) / 0.22) ** 2 + ((yy / height - 0.55) / 0.3) ** 2 <= 1
    return (inside * 255).astype(np.uint8)


@pytest.mark.parametrize(
    ("height", "width", "wanted"),
    [
        (100, 100, (0, 0, 64, 64)),
        (100, 50, (0, 16, 64, 32)),
        (33, 64, (15, 0, 33, 64)),
        (1, 400, (31, 0, 1, 64)),
    ],
)
def test_the_letterbox_is_where_paper_says(height, width, wanted):
    assert augment.letterbox_box(height, width, 64) == wanted


def test_an_image_of_the_square_s_size_passes_untouched():
    image = np.random.default_rng(0).integers(0, 256, (64, 64), np.uint8)
    placed, valid = augment.place(image, 64, "letterbox")
    assert np.array_equal(placed, image)
    assert valid.all()


def test_padding_is_black_and_not_valid():
    image = np.full((100, 50), 200, np.uint8)
    placed, valid = augment.place(image, 64, "letterbox")
    assert valid.sum() == 64 * 32
    assert valid[:, 16:48].all()
    assert (placed[valid] == 200).all()
    assert (placed[~valid] == 0).all()


def test_stretch_fills_the_square():
    placed, valid = augment.place(np.full((100, 50), 200, np.uint8), 64, "stretch")
    assert valid.all()
    assert (placed == 200).all()


@pytest.mark.parametrize("fit", ["letterbox", "stretch"])
@pytest.mark.parametrize("shape", SHAPES)
def test_image_contour_and_valid_pixels_move_together(fit, shape):
    rng = np.random.default_rng(7)
    polygon = oval(*shape)
    mask = filled(polygon, *shape)
    moves = AugmentConfig(
        crop_scale=(0.4, 1.0), crop_aspect=1.3, rotate_deg=15, shift=0.1, zoom=0.2, shear_deg=8, flip=0.5
    )
    chances = [augment.NONE, Augmentation(flip=True)] + [augment.draw(rng, moves) for _ in range(4)]
    chances += [augment.draw(rng, AugmentConfig(crop_scale=(0.4, 1.0), rotate_deg=15)) for _ in range(12)]
    for side in (128, 256):
        for chance in chances:
            placed, valid = augment.place(mask, side, fit, chance)
            matrix = augment.affine(*shape, side, fit, chance)
            lung = augment.place_polygons([polygon], matrix, side) & valid
            from_image = placed > 127
            assert (lung & from_image).sum() / (lung | from_image).sum() > 0.95  # half a pixel of rim
            apart = np.argwhere(lung).mean(0) - np.argwhere(from_image).mean(0)
            assert np.abs(apart).max() < 0.35
            assert (np.linalg.det(matrix[:, :2]) < 0) == chance.flip
            assert not from_image[~valid].any()


@pytest.mark.parametrize("fit", ["letterbox", "stretch"])
@pytest.mark.parametrize("size", [(96, 160), (160, 96)])
def test_in_frames_that_are_not_square_all_move_together(fit, size):
    rng = np.random.default_rng(3)
    moves = AugmentConfig(
        crop_scale=(0.4, 1.0), crop_aspect=1.3, rotate_deg=15, shift=0.1, zoom=0.2, shear_deg=8, flip=0.5
    )
    for shape in SHAPES:
        polygon, chances = oval(*shape), [augment.NONE, *(augment.draw(rng, moves) for _ in range(6))]
        for chance in chances:
            placed, valid = augment.place(filled(polygon, *shape), size, fit, chance)
            lung = augment.place_polygons([polygon], augment.affine(*shape, size, fit, chance), size) & valid
            assert placed.shape == valid.shape == lung.shape == size
            assert (lung & (placed > 127)).sum() / (lung | (placed > 127)).sum() > 0.94
            assert not placed[~valid].any()


@pytest.mark.parametrize("fit", ["letterbox", "stretch"])
def test_turning_image_and_frame_turns_the_map(fit):
    """What `affine` says of the transposed image is the transposed map."""
    config = AugmentConfig(crop_scale=(0.3, 1.0), crop_aspect=1.5, rotate_deg=20, shift=0.1, zoom=0.2)
    rng, swap = np.random.default_rng(5), np.array([[0, 1], [1, 0]])
    for chance in [augment.NONE, *(augment.draw(rng, config) for _ in range(10))]:
        other = Augmentation(
            crop_share=chance.crop_share,
            crop_x=chance.crop_y,
            crop_y=chance.crop_x,
            rotate_deg=-chance.rotate_deg,
            crop_aspect=1 / chance.crop_aspect,
            shift_x=chance.shift_y,
            shift_y=chance.shift_x,
            zoom=chance.zoom,
        )
        for size in ((96, 160), (50, 49), (64, 64)):
            one = augment.affine(200, 150, size, fit, chance)
            two = augment.affine(150, 200, size[::-1], fit, other)
            np.testing.assert_allclose(two[:, :2], swap @ one[:, :2] @ swap, atol=1e-12)
            np.testing.assert_allclose(two[:, 2], one[::-1, 2], atol=1e-9)


def test_the_letterbox_of_a_rectangle_is_where_paper_says():
    assert augment.letterbox_box(100, 100, (96, 128)) == (0, 16, 96, 96)
    assert augment.letterbox_box(50, 200, (96, 128)) == (32, 0, 32, 128)
    assert augment.fitted_box(50, 200, (96, 128), "stretch") == (0, 0, 96, 128)
    image = np.full((300, 400), 9, np.uint8)  # of the frame's proportions: no padding in any crop
    for x in (0.0, 1.0):
        chance = Augmentation(crop_share=0.3, crop_x=x, crop_y=1 - x)
        assert augment.place(image, (96, 128), "letterbox", chance)[1].all()


@pytest.mark.parametrize("fit", ["letterbox", "stretch"])
def test_valid_is_true_exactly_where_the_image_lies(fit):
    height, width = 120, 200
    chance = Augmentation(crop_share=0.8, crop_x=0.1, crop_y=0.9, rotate_deg=10)
    valid = augment.place(np.ones((height, width), np.uint8), 160, fit, chance)[1]
    matrix = augment.affine(height, width, 160, fit, chance)
    back = cv2.invertAffineTransform(matrix)
    yy, xx = np.mgrid[:160, :160]
    x = back[0, 0] * xx + back[0, 1] * yy + back[0, 2]
    y = back[1, 0] * xx + back[1, 1] * yy + back[1, 2]
    inside = (x > -0.5) & (x < width - 0.5) & (y > -0.5) & (y < height - 0.5)
    assert (inside != valid).mean() < 0.002


def test_the_smallest_move_is_next_to_none():
    image = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 256, (200, 150), np.uint8), (0, 0), 5)
    still, _ = augment.place(image, 128, "letterbox")
    moved, _ = augment.place(image, 128, "letterbox", Augmentation(rotate_deg=1e-9))
    assert np.abs(still.astype(int) - moved).mean() < 0.5


def test_a_crop_of_a_square_image_never_shows_padding_and_reaches_its_corners():
    image = np.full((100, 100), 9, np.uint8)
    for x in (0.0, 0.5, 1.0):
        chance = Augmentation(crop_share=0.25, crop_x=x, crop_y=1 - x)
        assert augment.place(image, 64, "letterbox", chance)[1].all()
        corner = augment.affine(100, 100, 64, "letterbox", chance) @ [
            100 * x / 2 - 0.5,
            50 - 100 * x / 2 - 0.5,
            1,
        ]
        assert corner == pytest.approx([-0.5, -0.5])


def test_shrinking_averages_instead_of_aliasing():
    image = np.zeros((512, 512), np.uint8)
    image[::2, ::2] = image[1::2, 1::2] = 255  # a checkerboard is grey from afar
    for chance in (augment.NONE, Augmentation(crop_share=0.9, rotate_deg=3)):
        placed, _ = augment.place(image, 64, "letterbox", chance)
        inner = placed[8:-8, 8:-8]
        assert abs(float(inner.mean()) - 127.5) < 2
        assert inner.std() < 12


def test_a_draw_depends_on_the_generator_alone_and_settings_scale_it():
    a = augment.draw(
        np.random.default_rng(3), AugmentConfig(crop_scale=(0.5, 1), rotate_deg=10, contrast=0.2)
    )
    b = augment.draw(
        np.random.default_rng(3), AugmentConfig(crop_scale=(0.5, 1), rotate_deg=20, contrast=0.2)
    )
    assert b.rotate_deg == pytest.approx(2 * a.rotate_deg)
    assert (a.crop_share, a.crop_x, a.intensity) == (b.crop_share, b.crop_x, b.intensity)
    assert augment.draw(np.random.default_rng(3)).still


def test_overlapping_polygons_are_joined_and_degenerate_ones_ignored():
    box = {"x": [2, 12, 12, 2], "y": [2, 2, 12, 12]}
    matrix = augment.affine(20, 20, 20, "letterbox")
    lung = augment.place_polygons([box, box, {"x": [1, 15], "y": [1, 15]}], matrix, 20)
    assert lung.sum() == 11 * 11


def test_nothing_is_flipped_unless_asked_for():
    rng = np.random.default_rng(0)
    assert not any(augment.draw(rng, AugmentConfig(rotate_deg=5)).flip for _ in range(200))
    flips = [augment.draw(rng, AugmentConfig(flip=0.5)).flip for _ in range(400)]
    assert 150 < sum(flips) < 250


@pytest.mark.parametrize("fit", ["letterbox", "stretch"])
def test_a_flip_mirrors_the_square_of_a_still_image(fit):
    image = np.random.default_rng(0).integers(0, 256, (101, 64), np.uint8)
    still, valid = augment.place(image, 64, fit)
    flipped, flipped_valid = augment.place(image, 64, fit, Augmentation(flip=True))
    assert np.array_equal(flipped, still[:, ::-1])
    assert np.array_equal(flipped_valid, valid[:, ::-1])


def test_a_shift_and_a_zoom_are_what_they_say():
    moved = augment.affine(100, 100, 100, "letterbox", Augmentation(shift_x=0.1, shift_y=-0.2))
    assert moved @ [10, 50, 1] == pytest.approx([20, 30])
    larger = augment.affine(100, 100, 100, "letterbox", Augmentation(zoom=1.5))
    assert larger @ [49.5, 49.5, 1] == pytest.approx([49.5, 49.5])
    assert larger[0, 0] == pytest.approx(1.5)
    leaning = augment.affine(100, 100, 100, "letterbox", Augmentation(shear_deg=45))
    assert leaning @ [49.5, 39.5, 1] == pytest.approx([59.5, 39.5])  # what is above goes right


def test_a_crop_of_another_shape_stays_inside_the_image():
    chance = Augmentation(crop_share=0.25, crop_aspect=2.0, crop_x=1.0, crop_y=1.0)
    matrix = augment.affine(100, 100, 64, "letterbox", chance)
    assert matrix @ [99.5, 99.5, 1] == pytest.approx([63.5, 63.5])
    assert matrix[1, 1] / matrix[0, 0] == pytest.approx(2.0)


def test_shrinking_in_two_steps_is_next_to_one():
    image = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 256, (640, 480), np.uint8), (0, 0), 5)
    there = augment.resized(image, 150, 112)
    once = cv2.resize(image, (112, 150), interpolation=cv2.INTER_AREA)
    assert np.abs(there.astype(int) - once).max() <= 2


@pytest.mark.parametrize(
    "wrong",
    [
        {"crop_scale": (0.9, 0.5)},
        {"crop_aspect": 0.5},
        {"rotate_deg": 90.0},
        {"shift": 1.0},
        {"zoom": -0.1},
        {"shear_deg": 60.0},
        {"brightness": 1.0},
        {"contrast": 1.0},
        {"gamma": 0.5},
        {"flip": 2.0},
    ],
)
def test_values_out_of_range_are_refused_by_name(wrong):
    with pytest.raises(UsageError, match=next(iter(wrong))):
        AugmentConfig(**wrong)
