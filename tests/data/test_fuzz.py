"""Whatever is done to a file: an image or a fixed reason. `benchmarks/fuzz.py` does it for minutes."""

from __future__ import annotations

import time

import broken_files
import numpy as np
import pytest
from broken_files import header_mutations, outcome, seeds, truncations

GOOD = seeds()
HANG_S = 5.0
"""Processor seconds that only a hang takes."""


@pytest.mark.parametrize("name", GOOD)
def test_a_file_cut_at_every_hundredth_is_refused_or_whole(name: str) -> None:
    assert outcome(GOOD[name]) == "image"
    reasons = [outcome(part) for part in truncations(GOOD[name])]
    assert "image" not in reasons[:90]
    assert reasons[0] == "empty"


@pytest.mark.parametrize("name", GOOD)
def test_changed_bytes_end_in_an_image_or_a_reason(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(list(GOOD).index(name))
    for _ in range(40):
        outcome(broken_files.flips(GOOD[name], rng))
    assert capfd.readouterr() == ("", "")


def test_every_element_may_be_missing_empty_doubled_or_odd() -> None:
    reasons = {outcome(data) for data in list(header_mutations(GOOD["explicit"]))[::12]}
    assert {"image", "broken-header", "implausible-header", "truncated"} <= reasons


@pytest.mark.parametrize("name", broken_files.bombs())
def test_what_asks_for_much_gets_little(name: str) -> None:
    began = time.process_time()
    outcome(broken_files.bombs()[name])
    assert time.process_time() - began < HANG_S


def test_a_tiff_of_too_many_samples_is_refused_without_a_word(capfd: pytest.CaptureFixture[str]) -> None:
    tiff = GOOD[".tiff"]
    at = tiff.index(b"\x15\x01\x03\0\x01\0\0\0")
    assert outcome(tiff[: at + 8] + b"\xff\0" + tiff[at + 10 :]) == "undecodable"
    assert capfd.readouterr() == ("", "")
