from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import torch

from xraytk.objectives.painting import Reconstruction
from xraytk.runpage.painter import _evenly, draw_course, forget_after
from xraytk.runpage.sheet import painted_alone, policy_picture, spread, stacked, write


def reconstruction() -> Reconstruction:
    """One image of 8 x 16 pixels in 2 x 4 patches of 4; patches 0 and 5 are hidden, 5 is inside."""
    hidden = torch.tensor([[True, False, False, False, False, True, False, False]])
    inside = torch.tensor([[False, False, False, False, False, True, True, False]])
    original = torch.full((1, 8, 16), 100, dtype=torch.uint8)
    return Reconstruction(original, original, torch.full_like(original, 50), hidden, inside)


def test_patches_of_an_image_that_is_not_square_are_spread_over_it() -> None:
    spreaded = spread(np.array([True, False, False, False, False, True, False, False]), (8, 16))
    assert spreaded[:4, :4].all()
    assert spreaded[4:, 4:8].all()
    assert spreaded.sum() == 32


def test_what_was_painted_alone_is_dark_where_the_image_was_seen() -> None:
    alone = painted_alone(reconstruction(), 0)
    assert (alone[:4, :4] == 50).all()
    assert (alone[:4, 4:] == 22).all()


def test_hidden_patches_inside_and_outside_have_tints_of_their_own() -> None:
    shown = policy_picture(reconstruction(), 0, np.zeros((8, 16), bool)).astype(int)
    blue, red = shown[:, :, 0], shown[:, :, 2]
    assert (blue[:4, :4] > red[:4, :4]).all()  # outside
    assert (red[4:, 4:8] > blue[4:, 4:8]).all()  # inside
    assert (shown[4:, 8:12] == 100).all()  # inside, but seen


def test_the_edge_of_the_lungs_is_green() -> None:
    lung = np.zeros((8, 16), bool)
    lung[2:6, 4:12] = True
    shown = policy_picture(reconstruction(), 0, lung)
    assert (shown[2, 4:12] == (80, 220, 80)).all()


def test_long_words_are_written_within_their_sheet() -> None:
    sheet = np.zeros((40, 300, 3), np.uint8)
    write(sheet, "a long line of words that would never fit at its usual size", 6, 5, most=288)
    assert (sheet > 100).any()
    assert not (sheet[:, 296:] > 100).any()
    assert stacked([[np.zeros((4, 4), np.uint8)] * 2], ["row"]).shape[2] == 3


def test_steps_of_the_course_are_distinct_with_the_first_and_the_last() -> None:
    for count in range(2, 40):
        paths = [Path(f"{i:08d}.png") for i in range(count)]
        chosen = _evenly(paths)
        assert len(set(chosen)) == len(chosen) == min(6, count)
        assert (chosen[0], chosen[-1]) == (paths[0], paths[-1])


def test_figures_of_steps_that_are_done_again_are_forgotten(tmp_path: Path) -> None:
    course = tmp_path / "figures" / "course"
    course.mkdir(parents=True)
    for step in (10, 20, 30):
        for path in (course / f"{step:08d}.png", course.parent / f"reconstruction-{step:08d}.png"):
            cv2.imwrite(str(path), np.full((232, 464), step, np.uint8))
    cv2.imwrite(str(course / "original.png"), np.zeros((232, 464), np.uint8))
    assert draw_course(tmp_path) == tmp_path / "figures" / "course.png"
    forget_after(tmp_path, 20)
    assert [p.stem for p in sorted(course.glob("0*.png"))] == ["00000010", "00000020"]
    assert not (course.parent / "reconstruction-00000030.png").exists()
    forget_after(tmp_path, 10)
    assert draw_course(tmp_path) is None  # one step makes no course
