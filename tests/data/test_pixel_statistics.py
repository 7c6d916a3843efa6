"""What the cheap numbers see, and what they do not."""

from __future__ import annotations

import numpy as np

from xraytk.data.pixel_statistics import GROUPS, WIDTH, describe
from xraytk.data.synthetic import make_phantom


def chest(seed: int, *findings: str) -> np.ndarray:
    return np.rint(make_phantom(seed, size_px=192, findings=findings).pixels * 65535).astype(np.uint16)


def far(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.linalg.norm(a - b))


def test_numbers_are_finite_and_as_many_as_said() -> None:
    made = describe(chest(1))
    assert made.shape == (WIDTH,) == (sum(GROUPS.values()),)
    assert made.dtype == np.float32
    assert np.isfinite(made).all()


def test_another_window_or_depth_moves_them_less_than_another_patient() -> None:
    one, picture = describe(chest(1)), chest(1)
    eight = (picture >> 8).astype(np.uint8)
    bright = (65535 * (picture / 65535) ** 0.7).astype(np.uint16)
    other = far(one, describe(chest(2)))
    assert far(one, describe(eight)) < 0.5 * other
    assert far(one, describe(bright)) < 0.5 * other


def test_a_black_frame_outside_the_field_changes_nothing() -> None:
    picture = chest(1)
    framed = np.pad(picture, ((20, 10), (5, 30)))
    height, width = picture.shape
    assert np.array_equal(describe(framed, (5, 20, 5 + width, 20 + height)), describe(picture))
    assert far(describe(framed), describe(picture)) > 1


def test_a_picture_with_nothing_in_it_has_no_numbers() -> None:
    assert describe(np.full((300, 200), 7, np.uint16)) is None


def test_tiny_and_narrow_pictures_have_numbers() -> None:
    rng = np.random.default_rng(0)
    for shape in ((8, 8), (3, 400), (700, 20)):
        assert np.isfinite(describe(rng.integers(0, 65536, shape).astype(np.uint16))).all()
