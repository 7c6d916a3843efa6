"""What the benchmark of contours says of failures."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from xraytk.tasks.lungs import Lungs

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
from contour_pictures import Seen, draw_confidence, write_failures, wrong_of

sys.path.pop(0)


def chest() -> np.ndarray:
    """Two boxes, 90 rows high; the patient's right lung on the left."""
    mask = np.zeros((100, 120), bool)
    mask[5:95, 10:50] = mask[5:95, 70:110] = True
    return mask


def test_the_place_of_most_of_the_error_is_named() -> None:
    missing, more = chest(), chest()
    missing[70:95, 70:110] = False
    more[65:95, 110:118] = True
    assert wrong_of(missing, chest()) == "too little: left base 100%"
    assert wrong_of(more, chest()) == "too much: left base 100%"
    assert wrong_of(missing & False, chest()) == "no outline"
    missing[:, 10:50] = False
    assert wrong_of(missing, chest()) == "too little: the whole right lung"
    wide = chest()
    wide[2:98, 8:52] = wide[2:98, 68:112] = True
    assert wrong_of(wide, chest()) == "all around"


def seen(dice: float, sure: float, name: str = "seg") -> Seen:
    found = Lungs((), (), "flagged", "low-confidence", sure, "net")
    return Seen(name, {"image": "images/a.png"}, found, (), sure, dice, dice, 0.02, "too much: left base 40%")


def test_failures_are_listed_and_counted(tmp_path: Path) -> None:
    write_failures([seen(0.8, 0.9), seen(0.7, 0.9), seen(0.95, 0.99)], tmp_path / "f.txt")
    _, head, first, second, _, _, count = (tmp_path / "f.txt").read_text().splitlines()
    assert head.split("\t")[:3] == ["set", "file", "dice"]
    assert [first.split("\t")[2], second.split("\t")[2]] == ["0.700", "0.800"]
    assert first.split("\t")[5] == "flagged low-confidence net"
    assert count == "# seg\t2 of 3 images\ttoo much: left base"


def test_the_curve_is_a_small_picture(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="needs matplotlib, to draw the curve")
    rng = np.random.default_rng(0)
    some = [
        seen(*pair, name) for name in ("seg", "tb_shenzhen_lung") for pair in rng.uniform(0.9, 1, (40, 2))
    ]
    draw_confidence(some, tmp_path / "c.png")
    assert 5_000 < (tmp_path / "c.png").stat().st_size < 150_000
