from __future__ import annotations

import json
import math
from pathlib import Path

import cv2
import numpy as np

from xraytk.train.curves import draw_curves, is_wide, parts_of, resumes, series_of, smoothed


def test_a_series_has_the_lines_that_have_the_number() -> None:
    lines = [{"step": 1, "parts": {"a": 2.0}}, {"step": 2, "loss": 1.0}, {"step": 3, "parts": {"a": 4}}]
    steps, values = series_of(lines, "parts", "a")
    assert (steps.tolist(), values.tolist()) == ([1, 3], [2, 4])


def test_a_mean_of_equal_values_is_that_value_and_of_a_line_the_line_within() -> None:
    assert smoothed(np.full(100, 3.0)).tolist() == [3.0] * 100
    line = np.arange(200.0)
    assert np.allclose(smoothed(line)[5:-5], line[5:-5])


def test_values_over_a_decade_want_a_logarithmic_axis() -> None:
    assert is_wide([np.array([1.0, 11.0])])
    assert not is_wide([np.array([1.0, 9.0])])
    assert not is_wide([np.array([0.0, 9.0])])


def test_the_share_that_is_hidden_is_no_part_of_the_loss() -> None:
    assert list(parts_of([{"step": 1, "parts": {"inside": 0.1, "hidden": 0.9}}])) == ["inside"]


def test_curves_are_drawn_from_the_files_of_a_run(tmp_path: Path) -> None:
    lines = [
        {"step": i, "loss": 100 / i, "lr": 1e-3, "grad_norm": 1.0, "parts": {"inside": 1.0}, "img_per_s": 9.0}
        | {"data_wait": 0.1, "mfu": math.nan, "memory_gib": 1.0}
        for i in range(1, 60)
    ]
    lines.append({"step": 60, "validation": {"loss": 2.0, "score": 0.5}})
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    begins = [{"event": "begin", "time": 1, "step": step} for step in (0, 30)]
    (tmp_path / "sessions.jsonl").write_text("".join(json.dumps(line) + "\n" for line in begins))
    assert resumes(tmp_path) == [30]
    picture = cv2.imread(str(draw_curves(tmp_path)))
    assert picture is not None
    assert picture.shape[1] == 1210
    assert (picture != 255).mean() > 0.01
