from __future__ import annotations

import itertools
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from xraytk.data.journal import Journal
from xraytk.errors import DataError, RunConflictError

SETTINGS = {"max_px": 64, "split": (0.8, 0.2)}


def refused(name: str, reason: str = "empty", size: int = 0) -> dict[str, Any]:
    return {"name": name, "size": size, "stamp": "1", "rejected": {"reason": reason}}


def accepted(name: str, image_id: str, patient: str = "p", **more: Any) -> dict[str, Any]:
    row = {"image_id": image_id, "patient_hash": patient, "pixel_sha256": more.pop("pixels", image_id)}
    return {"name": name, "size": 9, "stamp": "1", "mark": "", "given": "", "row": row} | more


def test_an_entry_is_there_at_once_and_the_last_of_a_name_counts(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j", SETTINGS)
    for entry in (refused("r/a"), refused("r/b"), refused("r/a", "not-dicom", 7)):
        journal.add(entry)
    journal.close()  # without `finish`, as a kill would leave it
    again = Journal(tmp_path / "j", SETTINGS)
    assert again.entry("r/a") == refused("r/a", "not-dicom", 7)
    assert list(again.of_root("r")) == [
        ("a", 7, "1", "not-dicom", "", None),
        ("b", 0, "1", "empty", "", None),
    ]
    again.drop(["r/a"])
    assert again.counts() == (0, 1)
    assert again.entry("r/a") is None


def test_files_of_one_image_come_together_and_the_smallest_counts(tmp_path: Path) -> None:
    for order in itertools.permutations([("r/2", "b"), ("s/1", "b"), ("r/3", "a")]):
        journal = Journal(tmp_path / "".join(name[-1] for name, _ in order), SETTINGS)
        for name, image_id in order:
            journal.add(accepted(name, image_id))
        groups = [[e["name"] for e in group] for group in journal.accepted()]
        assert groups == [["r/3"], ["s/1", "r/2"]]
        assert journal.holder("b") == ("1", "s/1")
        assert journal.holder("c") is None
        assert sorted(journal.same_image(["b"])) == ["r/2", "s/1"]
        journal.close()


def test_images_with_the_same_pixels_name_the_first_of_them(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j", SETTINGS)
    for name, image_id, pixels in (("r/1", "c", "x"), ("r/2", "a", "x"), ("r/3", "b", "y")):
        journal.add(accepted(name, image_id, pixels=pixels))
    found = {g[0]["row"]["image_id"]: g[0]["first_same_pixels"] for g in journal.accepted()}
    assert found == {"a": None, "b": None, "c": "a"}


def test_splits_that_tables_name_are_found_and_clashes_counted(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j", SETTINGS)
    for number, (patient, given) in enumerate([("p", "val"), ("p", ""), ("q", ""), ("r", "train")]):
        journal.add(accepted(f"r/{number}", f"i{number}", patient, given=given))
    assert [journal.given_split(patient) for patient in "pqr"] == ["val", None, "train"]
    assert journal.clashing_patients() == 0
    journal.add(accepted("r/9", "i9", "p", given="test"))
    assert journal.clashing_patients() == 1


def test_a_finished_journal_depends_on_its_entries_alone(tmp_path: Path) -> None:
    entries = [accepted(f"r/{n:03d}", f"i{n:03d}", en="x" * 500) for n in range(60)]
    made = []
    for number, order in enumerate((entries, entries[::-1])):
        journal = Journal(tmp_path / str(number), SETTINGS)
        for entry in order:
            journal.add(refused(entry["name"]))
            journal.add(entry)
        if number:
            journal.close()
            journal = Journal(tmp_path / str(number), SETTINGS)
        journal.finish()
        made.append((tmp_path / str(number)).read_bytes())
    assert made[0] == made[1]
    journal = Journal(tmp_path / "0", SETTINGS)
    journal.finish()
    assert (tmp_path / "0").read_bytes() == made[0]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["0", "1"]


def test_other_settings_are_refused_by_name(tmp_path: Path) -> None:
    Journal(tmp_path / "j", SETTINGS).close()
    with pytest.raises(RunConflictError, match="max_px: 64 -> 32"):
        Journal(tmp_path / "j", {**SETTINGS, "max_px": 32})


@pytest.mark.parametrize("content", [b"torn", b"\n", b'{"format":1,"settings":{}}\n' * 900])
def test_what_is_no_journal_is_left_alone(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "j").write_bytes(content)
    with pytest.raises(DataError, match=r"not a journal|cannot be used"):
        Journal(tmp_path / "j", SETTINGS)
    assert (tmp_path / "j").read_bytes() == content


def test_a_journal_of_another_format_is_refused(tmp_path: Path) -> None:
    Journal(tmp_path / "j", SETTINGS).close()
    with sqlite3.connect(tmp_path / "j") as base:
        base.execute("UPDATE settings SET format=99")
    base.close()
    with pytest.raises(DataError, match="not a journal of this version"):
        Journal(tmp_path / "j", SETTINGS)


def test_files_of_one_image_are_forgotten_together(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j", SETTINGS)
    for name, image_id in (("r/1", "x"), ("r/2", "x"), ("s/3", "x"), ("r/4", "y"), ("r/5", "x")):
        journal.add(accepted(name, image_id))
    journal.add(refused("r/6"))
    assert journal.drop(["r/1", "r/5", "r/6"]) == ["r/2", "s/3"]
    assert [name for name, *_ in journal.of_root("r")] == ["4"]


def test_what_tables_gave_is_counted(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j", SETTINGS)
    assert journal.joined() == (0, 0, 0)
    for number, found in enumerate(([0, None, 3], [1, 0, None], [None, None, None])):
        journal.add(accepted(f"r/{number}", f"i{number}", found=found))
    assert journal.joined() == (2, 1, 1)
