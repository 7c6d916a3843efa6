"""Burned-in text: found wherever it stands, nothing else touched, nothing left to read."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from xraytk.data import burned
from xraytk.data.burned import TextBox
from xraytk.data.synthetic import make_phantom

Image = NDArray[np.uint16]
LINES = ("WANG WEI M 056Y", "ID 4471902", "1987-03-12")


@pytest.fixture(scope="module")
def clean() -> Image:
    return _phantom(2)


def _phantom(seed: int) -> Image:
    return np.rint(make_phantom(seed, size_px=1000).pixels * 65535).astype(np.uint16)


def _write(
    image: Image,
    at: tuple[int, int],
    *,
    scale: float = 0.6,
    value: int = 65535,
    lines: tuple[str, ...] = LINES,
) -> tuple[Image, list[tuple[int, int, int, int]]]:
    """Burn lines in; (x0, y0, x1, y1) of each."""
    ink = np.zeros(image.shape, np.uint8)
    boxes = []
    for number, text in enumerate(lines):
        one = np.zeros(image.shape, np.uint8)
        y = at[1] + round(number * 40 * scale)
        thick = max(1, round(1.6 * scale))
        cv2.putText(one, text, (at[0], y), cv2.FONT_HERSHEY_SIMPLEX, scale, 255, thick, cv2.LINE_AA)
        ys, xs = np.nonzero(one)
        boxes.append((xs.min(), ys.min(), xs.max() + 1, ys.max() + 1))
        ink = np.maximum(ink, one)
    share = ink / 255
    return np.rint(image * (1 - share) + value * share).astype(np.uint16), boxes


def _covered(box: tuple[int, int, int, int], found: list[TextBox]) -> float:
    x0, y0, x1, y1 = box
    inside = np.zeros((2000, 2000), bool)
    for b in found:
        inside[b.y0 : b.y1, b.x0 : b.x1] = True
    return float(inside[y0:y1, x0:x1].mean())


def test_white_text_in_a_dark_corner_is_found(clean: Image) -> None:
    image = clean.copy()
    image[:140, :320] = 0
    image, boxes = _write(image, (12, 40))
    found = burned.find_text(image)
    assert min(_covered(b, found) for b in boxes) >= 0.9


def test_text_over_the_lungs_is_found(clean: Image) -> None:
    image, boxes = _write(clean, (170, 420))
    found = burned.find_text(image)
    assert min(_covered(b, found) for b in boxes) >= 0.9


def test_black_text_on_white_is_found(clean: Image) -> None:
    image = clean.copy()
    image[850:980, 20:330] = 65535
    image, boxes = _write(image, (30, 890), value=0)
    found = burned.find_text(image)
    assert min(_covered(b, found) for b in boxes) >= 0.9


def test_text_turned_by_a_right_angle_is_found(clean: Image) -> None:
    image, boxes = _write(np.ascontiguousarray(np.rot90(clean)), (170, 420))
    found = burned.find_text(image)
    assert min(_covered(b, found) for b in boxes) >= 0.9
    turned = burned.find_text(np.ascontiguousarray(np.rot90(image, -1)))
    height = image.shape[0]
    assert min(_covered((height - y1, x0, height - y0, x1), turned) for x0, y0, x1, y1 in boxes) >= 0.9


def test_large_letters_and_small_letters_are_found(clean: Image) -> None:
    for scale in (0.35, 1.5):
        image, boxes = _write(clean, (150, 300), scale=scale, lines=("MUELLER 0047",))
        assert _covered(boxes[0], burned.find_text(image)) >= 0.9


def test_boxes_are_in_pixels_of_the_given_image(clean: Image) -> None:
    image, boxes = _write(clean, (170, 420))
    twice = cv2.resize(image, None, fx=2, fy=2, interpolation=cv2.INTER_LINEAR).astype(np.uint16)
    found = burned.find_text(twice)
    for x0, y0, x1, y1 in boxes:
        assert _covered((2 * x0, 2 * y0, 2 * x1, 2 * y1), found) >= 0.9
    assert all(0 <= b.x0 < b.x1 <= twice.shape[1] and 0 <= b.y0 < b.y1 <= twice.shape[0] for b in found)


@pytest.mark.parametrize("seed", [3, 4, 5, 6])
def test_phantoms_without_text_are_left_alone(seed: int) -> None:
    assert burned.find_text(_phantom(seed)) == []


@pytest.mark.parametrize("letter", ["L", "R"])
def test_a_lone_laterality_marker_is_left_alone(clean: Image, letter: str) -> None:
    for scale in (0.7, 1.2, 2.0):
        image, _ = _write(clean, (60, 90), scale=scale, lines=(letter,))
        assert burned.find_text(image) == []


def test_a_wire_and_a_shutter_are_left_alone(clean: Image) -> None:
    metal = np.zeros(clean.shape, np.uint8)
    cv2.ellipse(metal, (400, 500), (250, 300), 20, 0, 200, 130, 3, cv2.LINE_AA)
    image = np.rint(clean + (65535.0 - clean) * metal / 255).astype(np.uint16)
    image[:40] = 0
    image[:, -50:] = 0
    assert burned.find_text(image) == []


def test_nothing_is_left_to_read_after_blanking(clean: Image) -> None:
    image, boxes = _write(clean, (170, 420))
    out = burned.blank(image, burned.find_text(image))
    for x0, y0, x1, y1 in boxes:
        part = out[y0:y1, x0:x1].astype(float)
        ink = np.abs(image[y0:y1, x0:x1].astype(float) - clean[y0:y1, x0:x1]) > 3000
        assert abs(part[ink].mean() - part[~ink].mean()) < 0.02 * 65535
    assert burned.find_text(out) == []


def test_a_blanked_box_holds_the_median_of_its_ring_and_nothing_else_changes() -> None:
    image = np.arange(400, dtype=np.uint16).reshape(20, 20)
    out = burned.blank(image, [TextBox(5, 5, 12, 10, 1.0)])
    ring = np.concatenate([image[3:5, 3:14].ravel(), image[10:12, 3:14].ravel(),
                           image[5:10, 3:5].ravel(), image[5:10, 12:14].ravel()])  # fmt: skip
    assert (out[5:10, 5:12] == np.sort(ring)[ring.size // 2]).all()
    out[5:10, 5:12] = image[5:10, 5:12]
    assert np.array_equal(out, image)


def test_a_box_that_is_the_whole_image_is_blanked_to_black() -> None:
    image = np.full((9, 9), 77, np.uint8)
    assert not burned.blank(image, [TextBox(0, 0, 9, 9, 1.0)]).any()


def test_boxes_grow_outwards_when_they_are_scaled() -> None:
    boxes = burned.scaled([TextBox(1, 2, 10, 20, 0.9)], (20, 10), (50, 25))
    assert boxes == [TextBox(2, 5, 25, 50, 0.9)]
    assert burned.scaled(boxes, (50, 25), (20, 10)) == [TextBox(0, 2, 10, 20, 0.9)]


def test_the_same_image_gives_the_same_boxes(clean: Image) -> None:
    image, _ = _write(clean, (170, 420))
    assert burned.find_text(image) == burned.find_text(image.copy())


def test_eight_bits_give_the_boxes_of_sixteen(clean: Image) -> None:
    image, boxes = _write(clean, (170, 420))
    eight = (image >> 8).astype(np.uint8)
    assert burned.find_text(eight) == burned.find_text(eight.astype(np.uint16) * 257)
    assert min(_covered(b, burned.find_text(eight)) for b in boxes) >= 0.9


@pytest.mark.parametrize("shape", [(1, 1), (1, 400), (7, 9), (16, 16), (17, 3000), (300, 33)])
def test_tiny_and_narrow_images_give_no_box(shape: tuple[int, int]) -> None:
    image = np.tile(np.arange(shape[1], dtype=np.uint16) * 20, (shape[0], 1))
    assert burned.find_text(image) == []


def test_blank_images_give_no_box() -> None:
    for value in (0, 30000, 65535):
        assert burned.find_text(np.full((200, 300), value, np.uint16)) == []
