"""View from pixels: chests are not refused, what is no chest often is."""

from __future__ import annotations

import csv
from pathlib import Path

import cv2
import numpy as np
import pytest

from xraytk.data import view
from xraytk.data.synthetic import make_phantom


def chest(seed: int) -> np.ndarray:
    return np.rint(make_phantom(seed, size_px=400).pixels * 65535).astype(np.uint16)


@pytest.mark.parametrize("seed", range(5000, 5006))
def test_a_phantom_is_a_frontal_chest_in_any_window(seed: int) -> None:
    picture = chest(seed)
    for gamma in (0.6, 1.0, 1.6):
        guess = view.guess_view(np.rint((picture / 65535) ** gamma * 255).astype(np.uint8))
        assert guess.chest is not False
        assert guess.view == "FRONTAL"
    assert guess.confidence >= view.FRONTAL


def test_a_phantom_on_its_side_is_not_frontal() -> None:
    said = [view.guess_view(np.ascontiguousarray(np.rot90(chest(5000 + i), 1 + i % 3))) for i in range(6)]
    assert all(guess.view != "FRONTAL" for guess in said)
    assert sum(guess.view == "TURNED" for guess in said) >= 4


def test_a_phantom_with_dark_bones_is_inverted_and_kept() -> None:
    said = [view.guess_view(65535 - chest(5000 + i)) for i in range(4)]
    assert all(guess.view == "INVERTED" and guess.chest is None for guess in said)


def test_noise_text_and_blanks_are_no_chest() -> None:
    rng = np.random.default_rng(0)
    page = np.full((300, 240), 255, np.uint8)
    for y in range(20, 300, 18):
        cv2.putText(page, "Findings: none 0123", (8, y), cv2.FONT_HERSHEY_SIMPLEX, 0.5, 0, 1)
    for picture in (page, rng.integers(0, 65536, (200, 220)).astype(np.uint16), np.zeros((90, 90), np.uint8)):
        assert view.guess_view(picture).chest is False


def test_numpy_runs_the_net_as_torch_does() -> None:
    from torch import from_numpy, nn

    weights, x = view._weights(), view.thumbnail(chest(1))
    assert x is not None
    y = from_numpy(x)[None, None]
    for i in range(4):
        kernel, bias = weights[f"conv{i}.weight"], weights[f"conv{i}.bias"]
        side = 5 if i == 0 else 3
        folded = from_numpy(np.ascontiguousarray(kernel.T)).reshape(kernel.shape[1], -1, side, side)
        y = nn.functional.conv2d(y, folded, from_numpy(bias), stride=2, padding=side // 2).relu()
    flat = y[0].permute(1, 2, 0).reshape(-1)
    scores = (flat @ from_numpy(weights["head.weight"]) + from_numpy(weights["head.bias"])).softmax(0)
    assert np.allclose(view.classify(x, weights), scores.numpy(), atol=1e-4)


def test_a_glance_gives_the_same_guess_as_the_image() -> None:
    from xraytk.data.glance import glance

    picture = chest(2)
    assert view.guess_view(picture) == view.guess_view(glance(picture))


@pytest.mark.parametrize("shape", [(1, 1), (3, 500), (40, 7)])
def test_any_size_gets_a_guess(shape: tuple[int, int]) -> None:
    picture = np.random.default_rng(1).integers(0, 256, shape).astype(np.uint8)
    assert sum(view.guess_view(picture).scores) == pytest.approx(1, abs=1e-3)


def test_real_chests_are_kept(shared_data: Path) -> None:
    for name in ("cls_nih", "seg"):
        with (shared_data / name / "manifest.csv").open(encoding="utf-8") as stream:
            rows = list(csv.DictReader(stream))[::6]
        said = [
            view.guess_view(cv2.imread(str(shared_data / name / row["image"]), cv2.IMREAD_GRAYSCALE))
            for row in rows
        ]
        assert sum(guess.chest is False for guess in said) <= 0.01 * len(said)
        assert sum(guess.view == "FRONTAL" for guess in said) > 0.9 * len(said)
