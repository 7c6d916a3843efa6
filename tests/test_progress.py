from __future__ import annotations

import io

from xraytk.progress import Lines, Silent, describe, duration


def test_lines_say_state_rate_limited_and_the_end() -> None:
    stream = io.StringIO()
    with Lines(stream, every_s=0.0).task("ingest", 3) as task:
        task.update(1, rejected=0)
        task.update(3, rejected=1)
    lines = stream.getvalue().splitlines()
    assert lines[0].startswith("ingest  1/3 images  rejected 0  left ")
    assert lines[-1].startswith("ingest  3/3 images  rejected 1  took ")


def test_nothing_is_said_between_two_intervals() -> None:
    stream = io.StringIO()
    with Lines(stream, every_s=1000.0).task("mask", 100) as task:
        for i in range(100):
            task.update(i + 1)
    assert len(stream.getvalue().splitlines()) == 1


def test_silent_says_nothing(capfd: object) -> None:
    with Silent().task("x", None) as task:
        task.update(1)
    Silent().note("x")
    assert capfd.readouterr() == ("", "")  # type: ignore[attr-defined]


def test_durations_and_facts_read_well() -> None:
    assert [duration(s) for s in (8.4, 188, 22320)] == ["8s", "3m08s", "6h12m"]
    assert describe({"loss": 0.41271, "data_wait": "1.8%"}) == ["loss 0.4127", "data wait 1.8%"]
