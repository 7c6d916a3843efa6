"""What people call lungs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from xraytk.data.outlines.labels import name_of, read_map, said
from xraytk.errors import DataError, UsageError


@pytest.mark.parametrize(
    ("label", "name"),
    [
        ("left lung", "left_lung"),
        ("Left_Lung", "left_lung"),
        ("lung_l", "left_lung"),
        ("left-lung", "left_lung"),
        ("LeftLung", "left_lung"),
        ("L Lung", "left_lung"),
        ("Lung (R)", "right_lung"),
        ("right lung field", "right_lung"),
        ("RIGHT LUNG MASK", "right_lung"),
        ("左肺", "left_lung"),
        ("右肺", "right_lung"),
        ("右侧肺野", "right_lung"),
        ("双肺", "lungs"),
        ("肺", "lungs"),
        ("lung", "lungs"),
        ("Lungs", "lungs"),
        ("ｌｕｎｇ", "lungs"),
        ("pulmón izquierdo", "left_lung"),
        ("heart", "heart"),
        ("Cardiac silhouette", "heart"),
        ("心脏", "heart"),
        ("心影", "heart"),
        ("right_clear", "right_clear"),
        ("left lung clear", "left_clear"),
    ],
)
def test_usual_spellings_are_known(label: str, name: str) -> None:
    assert name_of(label) == name


@pytest.mark.parametrize(
    "label", ["", "left", "nodule", "left lung nodule", "left right lung", "肺结节", "左心", "1", "lungfish"]
)
def test_other_things_are_unknown(label: str) -> None:
    assert name_of(label) is None


def test_the_users_map_wins_and_takes_any_spelling(tmp_path: Path) -> None:
    path = tmp_path / "map.json"
    path.write_text(json.dumps({"A 1": "right_lung", "left_lung": "right_lung", "note": "ignore"}))
    given = read_map(path)
    assert [name_of(n, given) for n in ("A 1", "a_1", "left_lung", "note", "heart")] == [
        "right_lung", "right_lung", "right_lung", "ignore", "heart",
    ]  # fmt: skip


def test_a_map_to_what_is_no_name_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "map.json"
    path.write_text('{"a": "liver"}')
    with pytest.raises(UsageError, match="liver"):
        read_map(path)
    path.write_text('["a"]')
    with pytest.raises(DataError):
        read_map(path)
    path.write_text("{")
    with pytest.raises(DataError):
        read_map(path)


def test_a_label_with_a_number_of_a_person_is_not_said() -> None:
    assert said("left lung 2") == "left lung 2"
    assert "1234" not in said("Wang 1234567")
    assert said("\x1b[31m") == "[31m"
