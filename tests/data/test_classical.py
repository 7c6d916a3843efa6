"""Classical contours: on phantoms, on odd images, and against human outlines where present."""

from __future__ import annotations

import csv
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from xraytk.data import classical, contour
from xraytk.data.phantoms.phantom import make_phantom
from xraytk.errors import DataError


def dice(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    return 2 * float((a & b).sum()) / max(float(a.sum() + b.sum()), 1.0)


def phantom(seed: int, findings: tuple[str, ...] = ()) -> tuple[NDArray[np.uint16], NDArray[np.bool_]]:
    """Pixels, and the lungs with the heart: the contour counts the lung behind it."""
    made = make_phantom(seed, size_px=384, findings=findings)
    pixels = (np.clip(made.pixels, 0, 1) * 65535).astype(np.uint16)
    return pixels, np.asarray(made.left_lung | made.right_lung, np.bool_)


def test_lungs_of_phantoms_are_found() -> None:
    values = []
    for seed in range(6):
        pixels, truth = phantom(seed)
        found = classical.find_lungs(pixels)
        assert found.status == "ok", (seed, found.reason, found.facts)
        values.append(dice(contour.rasterise(found.polygons, *pixels.shape), truth))
    assert np.mean(values) > 0.85, values


def test_the_right_lung_is_on_the_left_of_the_image() -> None:
    pixels, _ = phantom(0)
    right, left = classical.find_lungs(pixels).polygons
    assert (right["name"], left["name"]) == ("right_lung", "left_lung")
    assert np.mean(right["x"]) < pixels.shape[1] / 2 < np.mean(left["x"])


def test_the_same_image_gives_the_same_contour() -> None:
    pixels, _ = phantom(1)
    assert classical.find_lungs(pixels) == classical.find_lungs(pixels.copy())


def test_eight_and_sixteen_bits_give_nearly_the_same_contour() -> None:
    pixels, _ = phantom(2)
    fine = contour.rasterise(classical.find_lungs(pixels).polygons, *pixels.shape)
    coarse = contour.rasterise(classical.find_lungs((pixels >> 8).astype(np.uint8)).polygons, *pixels.shape)
    assert dice(fine, coarse) > 0.97


@pytest.mark.parametrize("gamma", [0.5, 2.0])
def test_exposure_changes_the_contour_little(gamma: float) -> None:
    pixels, _ = phantom(3)
    other = ((pixels / 65535) ** gamma * 65535).astype(np.uint16)
    first, second = (contour.rasterise(classical.find_lungs(p).polygons, *p.shape) for p in (pixels, other))
    assert dice(first, second) > 0.9


def test_a_collimated_border_and_a_marker_change_the_contour_little() -> None:
    pixels, _ = phantom(4)
    plain = contour.rasterise(classical.find_lungs(pixels).polygons, *pixels.shape)
    framed = cv2.copyMakeBorder(pixels, 40, 60, 70, 20, cv2.BORDER_CONSTANT, value=0)
    framed[50:80, -80:-70] = framed[70:80, -80:-60] = 65535  # an L
    found = contour.rasterise(classical.find_lungs(framed).polygons, *framed.shape)
    height, width = pixels.shape
    assert dice(found[40 : 40 + height, 70 : 70 + width], plain) > 0.9
    assert found.sum() == found[40 : 40 + height, 70 : 70 + width].sum()


def test_a_constant_image_fails_as_blank() -> None:
    found = classical.find_lungs(np.full((200, 160), 777, np.uint16))
    assert (found.status, found.reason, found.polygons) == ("failed", "blank", ())


def test_a_tiny_image_fails_as_too_small() -> None:
    assert classical.find_lungs(np.zeros((10, 400), np.uint8)).reason == "too-small"


def test_noise_has_no_lungs() -> None:
    noise = np.random.default_rng(0).integers(0, 65535, (300, 260)).astype(np.uint16)
    found = classical.find_lungs(noise)
    assert found.status == "failed"
    assert found.reason == "no-lungs"


@pytest.mark.parametrize("shape", [(48, 2000), (2000, 48), (50, 50)])
def test_odd_shapes_do_not_stop_a_batch(shape: tuple[int, int]) -> None:
    image = np.random.default_rng(0).integers(0, 255, shape).astype(np.uint8)
    assert classical.find_lungs(image).status in ("failed", "flagged")


@pytest.mark.parametrize("image", [np.zeros((90, 90, 3), np.uint8), np.zeros((90, 90), np.float32)])
def test_other_than_grey_integers_is_an_error(image: NDArray[np.generic]) -> None:
    with pytest.raises(DataError, match="grey images only"):
        classical.find_lungs(image)


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
    assert classical._judge(facts) == ("ok", "")
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
    assert tuple(name for name, _ in odd) == classical.FLAGGED
    for name, change in odd:
        assert classical._judge(facts | change) == ("flagged", name)
    assert classical._judge(facts | {"energy": 0.1}) == ("failed", "no-lungs")


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
        found = classical.find_lungs(image)
        values.append(dice(contour.rasterise(found.polygons, *truth.shape), truth))
    assert np.mean(values) > least, values


def test_what_is_no_chest_is_not_ok(shared_data: Path) -> None:
    paths = sorted((shared_data / "negatives_non_chest" / "images").iterdir())[::2]
    statuses = [classical.find_lungs(cv2.imread(str(p), cv2.IMREAD_GRAYSCALE)).status for p in paths]
    assert statuses.count("ok") <= 1, statuses
