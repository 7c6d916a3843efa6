from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from xraytk.errors import DataError
from xraytk.files import folder_lock
from xraytk.records import RESEARCH_NOTICE
from xraytk.runpage import write_page
from xraytk.runpage.charts import binned, chart, even_ticks, log_ticks
from xraytk.runpage.record import read_record

ABOUT = {"verb": "pretraining", "name": "x<y", "trained": "Objective mae", "steps": 40, "batch": 4}
ABOUT |= {"parameters": 1_500_000, "images": {"train": 355}}


def begin(step: int, time: float) -> dict[str, Any]:
    machine = {"device": "CPU", "processes": 2, "peak_tflops": 0.1}
    return {"event": "begin", "time": time, "step": step, "about": ABOUT, "machine": machine}


def end(step: int, time: float, state: str) -> dict[str, Any]:
    return {"event": "end", "time": time, "step": step, "state": state}


def fill(folder: Path, last: int, *events: dict[str, Any], **more: Any) -> Path:
    line = {"loss": 0.5, "lr": 1e-3, "grad_norm": 1.0, "parts": {"inside": 0.1}, "img_per_s": 9.0}
    line |= {"data_wait": 0.1, "mfu": 0.4, "tflops": 0.1, "memory_gib": 1.0, "eta_s": 9.0} | more
    lines = [{"step": i, "time": 1000.0 + i, **line} for i in range(1, last + 1)]
    (folder / "log.jsonl").write_text("".join(json.dumps(one) + "\n" for one in lines))
    (folder / "sessions.jsonl").write_text("".join(json.dumps(one) + "\n" for one in events))
    (folder / "config.toml").write_text('work = "/data/Anna"\nname = "x<y"\nbatch = 4\n[vit]\nwidth = 16\n')
    return folder


class Wellformed(HTMLParser):
    """Fails when an element is closed that was not open, and collects what would be loaded."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.loads: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.loads += [value or "" for key, value in attrs if key in ("src", "href", "srcset")]
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None: ...

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_a_page_stands_alone_and_holds_no_path_and_no_script(tmp_path: Path) -> None:
    figures = tmp_path / "figures"
    figures.mkdir()
    import cv2

    for name in ("reconstruction-00000020.png", "reconstruction-00000040.png", "course.png"):
        cv2.imwrite(str(figures / name), np.zeros((20, 30, 3), np.uint8))
    page = write_page(fill(tmp_path, 40, begin(0, 1000), end(40, 1041, "finished"))).read_text()
    parsed = Wellformed()
    parsed.feed(page)
    assert parsed.open == []
    assert len(parsed.loads) == 2  # the last reconstruction, and the course
    assert all(load.startswith("data:image/jpeg;base64,") for load in parsed.loads)
    assert "<script" not in page
    assert "Anna" not in page
    assert "x&lt;y" in page
    assert all(notice in page for notice in RESEARCH_NOTICE.values())
    assert not list(tmp_path.glob(".tmp-*"))


@pytest.mark.parametrize(
    ("last", "events", "state"),
    [
        (40, [begin(0, 1000), end(40, 1041, "finished")], "finished"),
        (20, [begin(0, 1000), end(20, 1021, "stopped")], "stopped"),
        (20, [begin(0, 1000)], "killed"),
        (20, [begin(0, 1000), end(20, 1021, "failed")], "failed"),
    ],
)
def test_the_state_of_a_run_is_read_from_its_files(
    tmp_path: Path, last: int, events: list[dict[str, Any]], state: str
) -> None:
    assert read_record(fill(tmp_path, last, *events)).state == state
    assert f'class="state {state}"' in write_page(tmp_path).read_text()


def test_a_run_whose_folder_is_held_goes_on(tmp_path: Path) -> None:
    fill(tmp_path, 20, begin(0, 1000))
    with folder_lock(tmp_path):
        assert read_record(tmp_path).state == "running"
    assert read_record(tmp_path).state == "killed"


def test_a_killed_session_ends_where_the_next_one_begins(tmp_path: Path) -> None:
    sessions = read_record(fill(tmp_path, 30, begin(0, 1000), begin(20, 1500))).sessions
    assert [(s.first, s.last, s.state) for s in sessions] == [(0, 20, "killed"), (20, 30, "killed")]
    assert sessions[0].seconds == 20
    assert "stroke-dasharray" in write_page(tmp_path).read_text()  # the mark of going on


def test_validation_of_a_finetuning_stands_on_its_page(tmp_path: Path) -> None:
    fill(tmp_path, 40, begin(0, 1000), end(40, 1041, "finished"))
    with (tmp_path / "log.jsonl").open("a") as stream:
        for step, score in ((20, 0.75), (40, 0.5)):
            stream.write(json.dumps({"step": step, "validation": {"score": score, "loss": 1.0}}) + "\n")
    page = write_page(tmp_path).read_text()
    assert "best, step 20" in page
    assert "last, step 40" in page


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"wanted sessions\.jsonl"):
        write_page(tmp_path)


def test_many_points_become_few_that_keep_least_mean_and_most() -> None:
    values = np.random.default_rng(0).normal(size=10_000)
    steps, least, mean, most = binned(np.arange(10_000.0), values)
    assert len(steps) == 160
    assert (least.min(), most.max()) == (values.min(), values.max())
    assert mean.mean() == pytest.approx(values.mean(), abs=1e-3)
    assert (least <= mean).all()
    assert (mean <= most).all()


def test_ticks_are_round_and_enclose_the_values() -> None:
    assert even_ticks(0.0, 0.93) == [0.0, 0.2, 0.4, pytest.approx(0.6), 0.8, 1.0]
    assert log_ticks(0.15, 7.0) == pytest.approx([0.2, 0.5, 1, 2, 5])
    assert even_ticks(3.0, 3.0)[0] <= 3.0 < even_ticks(3.0, 3.0)[-1]


def test_a_chart_of_wide_values_is_logarithmic_and_stays_within_its_frame() -> None:
    steps = np.arange(1.0, 101.0)
    drawn = chart("loss", {"a": (steps, 1000 / steps), "b": (steps, 500 / steps)}, [50], noisy=True)
    for points in re.findall(r'points="([^"]+)"', drawn):
        at = np.array([[float(v) for v in pair.split(",")] for pair in points.split()])
        assert at.min() >= 0
        assert (at[:, 0].max(), at[:, 1].max()) <= (420, 210)
    assert chart("empty", {"": (steps, np.full(100, np.nan))}) == ""
