from __future__ import annotations

from pathlib import Path

import pytest

from xraytk.data.journal import Journal
from xraytk.errors import DataError, RunConflictError

SETTINGS = {"max_px": 64, "split": (0.8, 0.2)}


def test_the_last_entry_of_a_name_counts(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j", SETTINGS)
    with journal.writing():
        journal.add({"name": "a", "n": 1})
        journal.add({"name": "b", "n": 2})
        journal.add({"name": "a", "n": 3})
    again = Journal(tmp_path / "j", SETTINGS)
    assert again.entries == {"a": {"name": "a", "n": 3}, "b": {"name": "b", "n": 2}} == journal.entries


def test_a_torn_last_line_is_dropped_and_written_over(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j", SETTINGS)
    with journal.writing():
        journal.add({"name": "a", "n": 1})
    whole = (tmp_path / "j").read_bytes()
    (tmp_path / "j").write_bytes(whole + b'{"name": "b", "n"')
    again = Journal(tmp_path / "j", SETTINGS)
    assert list(again.entries) == ["a"]
    with again.writing():
        again.add({"name": "c"})
    assert list(Journal(tmp_path / "j", SETTINGS).entries) == ["a", "c"]


def test_a_broken_line_in_the_middle_costs_only_itself(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j", SETTINGS)
    with journal.writing():
        journal.add({"name": "a"})
    with (tmp_path / "j").open("ab") as stream:
        stream.write(b'\0\0\0\n[1]\n{"name":"b"}\n')
    assert list(Journal(tmp_path / "j", SETTINGS).entries) == ["a", "b"]


def test_other_settings_are_refused_by_name(tmp_path: Path) -> None:
    Journal(tmp_path / "j", SETTINGS)
    with pytest.raises(RunConflictError, match="max_px: 64 -> 32"):
        Journal(tmp_path / "j", {**SETTINGS, "max_px": 32})


@pytest.mark.parametrize("head", [b"", b"torn", b"\n", b"hello\n", b'{"format":2,"settings":{}}\n'])
def test_what_is_no_journal_is_left_alone(tmp_path: Path, head: bytes) -> None:
    (tmp_path / "j").write_bytes(head)
    with pytest.raises(DataError, match="not a journal"):
        Journal(tmp_path / "j", SETTINGS)
    assert (tmp_path / "j").read_bytes() == head
