"""The exposed field: borders that are drawn are found, and anatomy is never taken for one."""

from __future__ import annotations

import csv
from pathlib import Path

import cv2
import numpy as np
import pytest

from xraytk.data import collimation
from xraytk.data.glance import LONG_PX, glance
from xraytk.data.synthetic import make_phantom


def chest(seed: int, size_px: int = 512) -> np.ndarray:
    pixels = make_phantom(seed, size_px=size_px).pixels
    inner = pixels[size_px // 16 : -size_px // 16, size_px // 16 : -size_px // 16]  # without its own shutters
    return np.rint(inner * 65535).astype(np.uint16)


def framed(picture: np.ndarray, left: int, top: int, right: int, bottom: int, value: int) -> np.ndarray:
    return cv2.copyMakeBorder(picture, top, bottom, left, right, cv2.BORDER_CONSTANT, value=value)


def mask_of(picture: np.ndarray) -> np.ndarray:
    """Where the image is exposed."""
    field = collimation.find_field(picture)
    mask = np.zeros(picture.shape, np.uint8)
    height, width = picture.shape
    corners = field.corners if field else ((0, 0), (width, 0), (width, height), (0, height))
    cv2.fillConvexPoly(mask, np.rint((np.array(corners) - 0.5) * 16).astype(np.int32), 1, shift=4)
    return mask.astype(bool)


@pytest.mark.parametrize("value", [0, 65535, 3000])
@pytest.mark.parametrize("seed", [1, 2])
def test_a_frame_on_three_sides_is_found(value: int, seed: int) -> None:
    picture = framed(chest(seed), 60, 40, 50, 0, value)
    field = collimation.find_field(picture)
    assert field is not None
    assert {"l", "t", "r"} <= set(field.sides)
    height, width = picture.shape
    assert np.allclose((field.x0, field.y0, field.x1), (60, 40, width - 50), atol=6)
    assert height - field.y1 <= 6
    assert collimation.crop(picture, field).shape == (field.y1 - field.y0, field.x1 - field.x0)


def test_a_turned_shutter_is_found_with_its_corners() -> None:
    picture = framed(chest(4), 90, 90, 90, 90, 0)
    height, width = picture.shape
    inside = np.zeros(picture.shape, np.uint8)
    box = cv2.boxPoints(((width / 2, height / 2), (width - 200, height - 200), 4.0))
    cv2.fillConvexPoly(inside, np.rint(box).astype(np.int32), 1)
    grey = cv2.resize(chest(4), (width, height))
    mask = mask_of(np.where(inside > 0, np.maximum(grey, 6000), 0).astype(np.uint16))
    both = (mask & (inside > 0)).sum() / (mask | (inside > 0)).sum()
    assert both > 0.97


def test_a_white_border_around_a_black_frame_is_taken_off_with_it() -> None:
    picture = framed(framed(chest(5), 30, 30, 30, 30, 0), 40, 40, 40, 40, 65535)
    field = collimation.find_field(picture)
    assert field is not None
    height, width = picture.shape
    assert np.allclose((field.x0, field.y0), 70, atol=7)
    assert np.allclose((field.x1, field.y1), (width - 70, height - 70), atol=7)


@pytest.mark.parametrize("seed", range(10, 16))
def test_an_image_that_is_exposed_everywhere_has_no_border(seed: int) -> None:
    picture = chest(seed)
    assert collimation.find_field(picture) is None
    assert mask_of(picture).all()
    assert collimation.crop(picture, None) is picture


@pytest.mark.parametrize("shape", [(20, 400), (64, 64), (1, 1), (300, 40)])
def test_small_flat_and_narrow_images_have_no_border(shape: tuple[int, int]) -> None:
    assert collimation.find_field(np.full(shape, 7, np.uint8)) is None
    noise = np.random.default_rng(0).integers(0, 255, shape).astype(np.uint8)
    assert collimation.find_field(noise) is None


def test_letters_in_a_border_do_not_hide_it() -> None:
    picture = (framed(chest(6), 0, 70, 0, 0, 0) >> 8).astype(np.uint8)
    cv2.putText(picture, "R", (80, 50), cv2.FONT_HERSHEY_SIMPLEX, 1.2, 255, 3)
    field = collimation.find_field(picture)
    assert field is not None
    assert abs(field.y0 - 70) <= 5


def test_a_glance_gives_the_field_of_its_image() -> None:
    picture = framed(chest(1, 1200), 160, 140, 150, 0, 0)
    field, again = collimation.find_field(picture), collimation.find_field(glance(picture), picture.shape)
    assert field is not None
    assert again is not None
    assert again.sides == field.sides
    assert np.allclose(np.array(again.corners), np.array(field.corners), atol=2)


def test_a_glance_is_small_and_keeps_the_mean() -> None:
    picture = chest(3, 1000)
    small = glance(picture)
    assert max(small.shape) == LONG_PX
    assert small.dtype == np.uint16
    assert abs(float(small.mean()) - float(picture.mean())) < 100
    assert glance(small) is small


def test_a_field_never_cuts_far_into_human_lungs(shared_data: Path) -> None:
    folder = shared_data / "seg"
    with (folder / "manifest.csv").open(encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))[::8]
    lost = []
    for row in rows:
        picture = cv2.imread(str(folder / row["image"]), cv2.IMREAD_GRAYSCALE)
        lung = cv2.imread(str(folder / row["lung_mask"]), cv2.IMREAD_GRAYSCALE)
        lung = cv2.resize(lung, picture.shape[::-1], interpolation=cv2.INTER_NEAREST) > 127
        lost.append((lung & ~mask_of(picture)).sum() / lung.sum())
    assert max(lost) < 0.03
