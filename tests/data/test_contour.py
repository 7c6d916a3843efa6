"""Contours: by hand on small masks, by law on phantoms, and against human outlines where present."""

from __future__ import annotations

import csv
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from xraytk.data import contour
from xraytk.data.phantoms.phantom import make_phantom
from xraytk.errors import DataError


def dice(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    return 2 * float((a & b).sum()) / max(float(a.sum() + b.sum()), 1.0)


def phantom(seed: int, findings: tuple[str, ...] = ()) -> tuple[NDArray[np.uint16], NDArray[np.bool_]]:
    """Pixels, and the lungs with the heart: the contour counts the lung behind it."""
    made = make_phantom(seed, size_px=384, findings=findings)
    pixels = (np.clip(made.pixels, 0, 1) * 65535).astype(np.uint16)
    return pixels, np.asarray(made.left_lung | made.right_lung, np.bool_)


def square(name: str, x0: float, y0: float, x1: float, y1: float) -> contour.Polygon:
    return {"name": name, "x": [x0, x1, x1, x0], "y": [y0, y0, y1, y1]}


def test_lungs_of_phantoms_are_found() -> None:
    values = []
    for seed in range(6):
        pixels, truth = phantom(seed)
        found = contour.find_lungs(pixels)
        assert found.status == "ok", (seed, found.reason, found.facts)
        values.append(dice(contour.rasterise(found.polygons, *pixels.shape), truth))
    assert np.mean(values) > 0.85, values


def test_the_right_lung_is_on_the_left_of_the_image() -> None:
    pixels, _ = phantom(0)
    right, left = contour.find_lungs(pixels).polygons
    assert (right["name"], left["name"]) == ("right_lung", "left_lung")
    assert np.mean(right["x"]) < pixels.shape[1] / 2 < np.mean(left["x"])


def test_the_same_image_gives_the_same_contour() -> None:
    pixels, _ = phantom(1)
    assert contour.find_lungs(pixels) == contour.find_lungs(pixels.copy())


def test_eight_and_sixteen_bits_give_nearly_the_same_contour() -> None:
    pixels, _ = phantom(2)
    fine = contour.rasterise(contour.find_lungs(pixels).polygons, *pixels.shape)
    coarse = contour.rasterise(contour.find_lungs((pixels >> 8).astype(np.uint8)).polygons, *pixels.shape)
    assert dice(fine, coarse) > 0.97


@pytest.mark.parametrize("gamma", [0.5, 2.0])
def test_exposure_changes_the_contour_little(gamma: float) -> None:
    pixels, _ = phantom(3)
    other = ((pixels / 65535) ** gamma * 65535).astype(np.uint16)
    first, second = (contour.rasterise(contour.find_lungs(p).polygons, *p.shape) for p in (pixels, other))
    assert dice(first, second) > 0.9


def test_a_collimated_border_and_a_marker_change_the_contour_little() -> None:
    pixels, _ = phantom(4)
    plain = contour.rasterise(contour.find_lungs(pixels).polygons, *pixels.shape)
    framed = cv2.copyMakeBorder(pixels, 40, 60, 70, 20, cv2.BORDER_CONSTANT, value=0)
    framed[50:80, -80:-70] = framed[70:80, -80:-60] = 65535  # an L
    found = contour.rasterise(contour.find_lungs(framed).polygons, *framed.shape)
    height, width = pixels.shape
    assert dice(found[40 : 40 + height, 70 : 70 + width], plain) > 0.9
    assert found.sum() == found[40 : 40 + height, 70 : 70 + width].sum()


def test_a_constant_image_fails_as_blank() -> None:
    found = contour.find_lungs(np.full((200, 160), 777, np.uint16))
    assert (found.status, found.reason, found.polygons) == ("failed", "blank", ())


def test_a_tiny_image_fails_as_too_small() -> None:
    assert contour.find_lungs(np.zeros((10, 400), np.uint8)).reason == "too-small"


def test_noise_has_no_lungs() -> None:
    noise = np.random.default_rng(0).integers(0, 65535, (300, 260)).astype(np.uint16)
    found = contour.find_lungs(noise)
    assert found.status == "failed"
    assert found.reason == "no-lungs"


@pytest.mark.parametrize("shape", [(48, 2000), (2000, 48), (50, 50)])
def test_odd_shapes_do_not_stop_a_batch(shape: tuple[int, int]) -> None:
    image = np.random.default_rng(0).integers(0, 255, shape).astype(np.uint8)
    assert contour.find_lungs(image).status in ("failed", "flagged")


@pytest.mark.parametrize("image", [np.zeros((90, 90, 3), np.uint8), np.zeros((90, 90), np.float32)])
def test_other_than_grey_integers_is_an_error(image: NDArray[np.generic]) -> None:
    with pytest.raises(DataError, match="grey images only"):
        contour.find_lungs(image)


def test_every_reason_is_a_fixed_code() -> None:
    facts = {
        "energy": 2.5,
        "right_edge": 0.8,
        "left_edge": 0.8,
        "right_dark": 2.0,
        "left_dark": 2.0,
        "area": 0.3,
        "symmetry": 0.9,
        "centre_x": 0.5,
        "centre_y": 0.48,
        "outside": 0.0,
    }
    assert contour._judge(facts) == ("ok", "")
    odd: list[tuple[str, dict[str, float]]] = [
        ("poor-fit", {"energy": 1.5}),
        ("faint-edges", {"left_edge": 0.1}),
        ("one-lung", {"left_dark": 0.2}),
        ("small-area", {"area": 0.05}),
        ("large-area", {"area": 0.7}),
        ("asymmetric", {"symmetry": 0.4}),
        ("off-centre", {"centre_x": 0.7}),
        ("touches-border", {"outside": 0.2}),
    ]
    assert tuple(name for name, _ in odd) == contour.FLAGGED
    for name, change in odd:
        assert contour._judge(facts | change) == ("flagged", name)
    assert contour._judge(facts | {"energy": 0.1}) == ("failed", "no-lungs")


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
    pixels, _ = phantom(5)
    polygons = contour.find_lungs(pixels).polygons
    height, width = pixels.shape
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
    assert [p["name"] for p in polygons] == list(contour.NAMES)
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


@pytest.mark.parametrize(("folder", "least"), [("seg", 0.86), ("cls_pediatric_pneumonia", 0.88)])
def test_contours_agree_with_human_outlines(shared_data: Path, folder: str, least: float) -> None:
    with (shared_data / folder / "manifest.csv").open(encoding="utf-8") as stream:
        rows = [row for row in csv.DictReader(stream) if row["lung_mask"]][:300:40]
    values = []
    for row in rows:
        image = cv2.imread(str(shared_data / folder / row["image"]), cv2.IMREAD_GRAYSCALE)
        truth = cv2.imread(str(shared_data / folder / row["lung_mask"]), cv2.IMREAD_GRAYSCALE) > 127
        if "native_size" in row:  # these are stored squashed
            size = tuple(int(v) // 4 for v in row["native_size"].split("x"))
            image, truth = cv2.resize(image, size), cv2.resize(truth.astype(np.uint8), size) > 0
        found = contour.find_lungs(image)
        values.append(dice(contour.rasterise(found.polygons, *truth.shape), truth))
    assert np.mean(values) > least, values


def test_what_is_no_chest_is_not_ok(shared_data: Path) -> None:
    paths = sorted((shared_data / "negatives_non_chest" / "images").iterdir())[::2]
    statuses = [contour.find_lungs(cv2.imread(str(p), cv2.IMREAD_GRAYSCALE)).status for p in paths]
    assert statuses.count("ok") <= 1, statuses
