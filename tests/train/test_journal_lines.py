from __future__ import annotations

import time
from pathlib import Path

import pytest
import torch

from xraytk.train.journal import Journal, progress_facts, read
from xraytk.train.watch import Watch

CPU = torch.device("cpu")


def step(journal: Journal) -> None:
    journal.add(torch.tensor(1.0), {}, torch.tensor(2.0))


def test_the_first_step_of_a_session_is_no_part_of_the_speed(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "log.jsonl", 4, CPU, steps=10)
    journal.cut(0)
    time.sleep(0.3)  # compiling
    journal.waited += 0.2
    for _ in range(3):
        step(journal)
    line = journal.write(3, 1e-3)
    assert line["img_per_s"] > 2 * 4 / 0.2  # two steps in far less than the first one's time
    assert line["data_wait"] == 0
    assert "warm_up" not in line
    assert journal.speed() == line["img_per_s"]  # the result's


def test_the_speed_of_a_session_is_the_mean_over_its_lines(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "log.jsonl", 4, CPU, steps=10)
    journal.cut(0)
    assert journal.speed() == 0
    step(journal)
    first = journal.write(1, 1e-3)
    assert journal.speed() >= first["img_per_s"] > 0  # the first step is all there is
    speeds = []
    for at, pause in ((3, 0.02), (4, 0.05)):
        time.sleep(pause)
        for _ in range(at - 2):
            step(journal)
        speeds.append((at - 2, journal.write(at, 1e-3)["img_per_s"]))
    assert journal.speed() == pytest.approx(12 / sum(4 * n / speed for n, speed in speeds))


def test_a_line_of_the_first_step_alone_says_that_it_is(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "log.jsonl", 4, CPU, steps=10)
    journal.cut(0)
    time.sleep(0.05)
    journal.waited += 0.02
    step(journal)
    line = journal.write(1, 1e-3)
    assert line["warm_up"]
    assert line["img_per_s"] <= 4 / 0.05
    assert line["data_wait"] > 0
    assert line["eta_s"] is None
    assert "left" not in progress_facts(line)
    step(journal)
    assert "warm_up" not in journal.write(2, 1e-3)


def test_utilisation_is_the_models_operations_over_the_measured_peak(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "log.jsonl", 4, CPU, steps=10, watch=Watch(flops_per_image=5e6))
    journal.cut(0)
    assert journal.peak > 0
    step(journal)
    line = journal.write(1, 1e-3)
    assert line["tflops"] == pytest.approx(line["img_per_s"] * 5e6 / 1e12)
    assert line["mfu"] == pytest.approx(line["tflops"] * 1e12 / journal.peak)
    assert read(tmp_path / "log.jsonl") == [line]


def test_the_time_left_follows_the_pace_smoothly(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "log.jsonl", 4, CPU, steps=100)
    assert journal._left(10, 1.0) == 90
    assert journal._left(20, 6.0) == 160  # 0.8 of the old pace, 0.2 of the new one
    assert journal._left(100, 1.0) == 0
