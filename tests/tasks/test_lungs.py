"""Lungs of one image: on phantoms, and on what is no frontal chest."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from xraytk.data import contour, plausible, view
from xraytk.data.phantoms.phantom import make_phantom
from xraytk.errors import DataError
from xraytk.tasks import lungs


def dice(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    return 2 * float((a & b).sum()) / max(float(a.sum() + b.sum()), 1.0)


def phantom(seed: int) -> tuple[NDArray[np.uint16], NDArray[np.bool_]]:
    made = make_phantom(seed, size_px=384)
    pixels = (np.clip(made.pixels, 0, 1) * 65535).astype(np.uint16)
    return pixels, np.asarray(made.left_lung | made.right_lung, np.bool_)


def masked(image: NDArray[np.uint16]) -> NDArray[np.bool_]:
    return contour.rasterise(lungs.find(image).polygons, *image.shape)


def test_lungs_of_phantoms_are_found() -> None:
    for seed in range(4):
        pixels, truth = phantom(seed)
        found = lungs.find(pixels)
        assert (found.status, found.source) == ("ok", "net"), (seed, found.reason, found.confidence)
        assert [p["name"] for p in found.polygons] == ["right_lung", "left_lung"]
        clear = contour.rasterise(found.others, *pixels.shape)  # as phantoms have them
        assert dice(clear, truth) > 0.97
        assert dice(masked(pixels), truth) > 0.8  # with what lies behind the heart


def test_clear_lungs_lie_within_whole_ones() -> None:
    pixels, _ = phantom(1)
    found = lungs.find(pixels)
    whole = contour.rasterise(found.polygons, *pixels.shape)
    clear = contour.rasterise(found.others, *pixels.shape)
    assert (clear & ~whole).sum() < 0.03 * whole.sum()


@pytest.mark.parametrize("change", ["inverted", "darker", "turned", "framed"])
def test_exposure_turns_and_borders_change_little(change: str) -> None:
    pixels, truth = phantom(2)
    if change == "inverted":
        pixels = 65535 - pixels
    elif change == "darker":
        pixels = np.rint(65535 * (pixels / 65535) ** 2).astype(np.uint16)
    elif change == "turned":
        turn = cv2.getRotationMatrix2D((192, 192), 12, 1)
        pixels = cv2.warpAffine(pixels, turn, pixels.shape[::-1])
        truth = cv2.warpAffine(truth.astype(np.uint8), turn, truth.shape[::-1]) > 0
    else:
        pixels, truth = (
            cv2.copyMakeBorder(np.asarray(a, d), 30, 10, 25, 40, cv2.BORDER_CONSTANT)
            for a, d in ((pixels, np.uint16), (truth, np.uint8))
        )
    assert dice(masked(pixels), truth > 0) > 0.9


def test_the_same_image_gives_the_same_contour_whatever_the_threads() -> None:
    pixels, _ = phantom(3)
    first, threads = lungs.find(pixels), torch.get_num_threads()
    torch.set_num_threads(2)
    assert lungs.find(pixels.copy()) == first
    assert torch.get_num_threads() == 2
    torch.set_num_threads(threads)


@pytest.mark.parametrize(("at_once", "threads"), [(1, 1), (1, 2), (4, 1)])
def test_many_images_give_what_each_gives_alone(at_once: int, threads: int) -> None:
    images: list[NDArray[Any]] = [phantom(seed)[0] for seed in range(3)]
    images[1:1] = [np.zeros((90, 80), np.uint8), images[0][:, :200].copy()]
    alone = [lungs.find_batch([image], at_once=at_once)[0] for image in images]
    assert lungs.find_batch(images, at_once=at_once, threads=threads) == alone
    assert [found.reason for found in alone][1] == "blank"
    if at_once == 1:
        assert alone == [lungs.find(image) for image in images]


def test_no_images_give_nothing() -> None:
    assert lungs.find_batch([]) == []


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        (np.full((200, 160), 777, np.uint16), "blank"),
        (np.zeros((10, 400), np.uint8), "too-small"),
        (np.random.default_rng(0).integers(0, 65535, (300, 300)).astype(np.uint16), "not-chest"),
    ],
)
def test_what_is_no_chest_fails_with_a_reason(image: NDArray[np.generic], reason: str) -> None:
    found = lungs.find(image)
    assert (found.status, found.reason, found.polygons, found.confidence) == ("failed", reason, (), None)


@pytest.mark.parametrize("image", [np.zeros((60, 60, 3), np.uint8), np.zeros((60, 60), np.float32)])
def test_other_than_grey_integers_is_an_error(image: NDArray[np.generic]) -> None:
    with pytest.raises(DataError, match="grey"):
        lungs.find(image)


def test_a_chest_on_its_side_is_not_ok() -> None:
    pixels, _ = phantom(1)
    found = lungs.find(np.ascontiguousarray(np.rot90(pixels)))
    assert found.status != "ok"
    assert found.reason == "turned" or found.source == "atlas"


@pytest.mark.parametrize(
    ("scores", "sure", "status", "reason"),
    [
        ((0.1, 0.0, 0.8, 0.1), 0.85, "skipped", "lateral"),
        ((0.1, 0.0, 0.8, 0.1), 0.93, "flagged", "low-confidence"),
        ((0.1, 0.0, 0.1, 0.8), 0.79, "failed", "no-frontal-chest"),
        ((0.1, 0.0, 0.1, 0.8), 0.85, "flagged", "low-confidence"),
        ((0.1, 0.0, 0.1, 0.8), 0.97, "ok", ""),
        ((0.6, 0.0, 0.3, 0.1), 0.85, "flagged", "low-confidence"),
    ],
)
def test_who_is_no_frontal_chest_to_view_model_and_lung_net_is_refused(
    scores: tuple[float, float, float, float], sure: float, status: str, reason: str
) -> None:
    pixels, _ = phantom(0)
    evidence = plausible.Evidence(0.9, 0.9, 1.0)
    outline = ({"name": "right_lung", "x": [1.0, 2, 3], "y": [1.0, 2, 1]},)
    guess = view.Guess("UNKNOWN", None, max(scores), scores)
    found = lungs._conclude(pixels, guess, lungs.Said(outline, (), evidence, sure))
    assert (found.status, found.reason) == (status, reason)
    assert bool(found.polygons) == (status in ("ok", "flagged"))


def test_lateral_chests_are_refused_and_frontal_ones_of_the_same_patients_are_not(shared_data: Path) -> None:
    folder = shared_data / "iu_pairs_small"
    for line in (folder / "pairs.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        found = lungs.find(cv2.imread(str(folder / row["image"]), cv2.IMREAD_GRAYSCALE))
        assert bool(found.polygons) == (row["view"] == "frontal"), (row["image"], found.reason)


def test_half_a_chest_is_not_ok() -> None:
    pixels, _ = phantom(1)
    assert lungs.find(np.ascontiguousarray(pixels[:, :190])).status != "ok"


@pytest.mark.parametrize(
    ("folder", "least"), [("seg", 0.93), ("tb_shenzhen_lung", 0.93), ("cls_pediatric_pneumonia", 0.95)]
)
def test_contours_agree_with_human_outlines(shared_data: Path, folder: str, least: float) -> None:
    with (shared_data / folder / "manifest.csv").open(encoding="utf-8") as stream:
        rows = [row for row in csv.DictReader(stream) if row["lung_mask"]][:300:40]
    values = []
    for row in rows:
        image = cv2.imread(str(shared_data / folder / row["image"]), cv2.IMREAD_GRAYSCALE)
        truth = cv2.imread(str(shared_data / folder / row["lung_mask"]), cv2.IMREAD_GRAYSCALE)
        if "native_size" in row:  # these are stored squashed
            size = tuple(int(v) // 4 for v in row["native_size"].split("x"))
            image, truth = cv2.resize(image, size), cv2.resize(truth, size)
        found = lungs.find(image)
        polygons = found.others if folder == "tb_shenzhen_lung" else found.polygons
        values.append(dice(contour.rasterise(polygons, *truth.shape), truth > 127))
    assert np.mean(values) > least, values


def test_what_is_no_chest_is_not_ok(shared_data: Path) -> None:
    paths = sorted((shared_data / "negatives_non_chest" / "images").iterdir())
    statuses = [lungs.find(cv2.imread(str(p), cv2.IMREAD_GRAYSCALE)).status for p in paths]
    assert "ok" not in statuses
