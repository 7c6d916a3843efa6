from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from xraytk.errors import DataError
from xraytk.tasks.scoring import given

Csv = Callable[..., Path]


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("image_id,Edema\na,1\nb,0\n", "utf-8"),
        ("image_id;Edema\na;1\nb;0\n", "utf-8-sig"),
        ("image_id\tEdema\r\na\t1\r\nb\t0\r\n", "utf-16"),
        ("Image Index,Edema\na,1\n\nb,0\n", "gb18030"),
    ],
)
def test_separators_byte_order_marks_and_encodings_of_spreadsheets_are_read(
    csv: Csv, text: str, encoding: str
) -> None:
    table = given.read(csv("a.csv", text, encoding))
    assert table.ids == ("a", "b")
    assert table.columns == {"Edema": ("1", "0")}


def test_ids_that_stand_twice_are_counted_and_the_first_are_named(csv: Csv) -> None:
    rows = "".join(f"{i},1\n" for i in "aabbccddee")
    with pytest.raises(DataError, match=r"(?s)a.csv has 5 image ids in more than one row.*a, b, c, \.\.\."):
        given.read(csv("a.csv", "image_id,Edema\n" + rows))


def test_rows_without_an_id_are_refused(csv: Csv) -> None:
    with pytest.raises(DataError, match=r"(?s)1 of 2 rows without an image id.*row 3"):
        given.read(csv("a.csv", "image_id,Edema\na,1\n,1\n"))
    with pytest.raises(DataError, match="lacks a column image_id"):
        given.read(csv("a.csv", "Edema\n1\n"))


def test_ids_that_do_not_match_are_counted_on_both_sides(csv: Csv) -> None:
    a, b = given.read(csv("a.csv", "id,x\n1,0\n2,0\n")), given.read(csv("b.csv", "id,x\n01,0\n02,0\n"))
    with pytest.raises(DataError, match=r"(?s)no image id.*2 predictions, first: 1, 2.*first: 01, 02"):
        given.match(a, b, leave=True)


def test_references_without_a_prediction_are_refused_or_left_out_with_a_note(csv: Csv) -> None:
    ours = given.read(csv("p.csv", "id,x\nc,3\na,1\nz,9\n"))
    truth = given.read(csv("r.csv", "id,x\na,0\nb,0\nc,0\n"))
    with pytest.raises(DataError, match=r"(?s)1 of 3 references have no prediction.*first: b"):
        given.match(ours, truth, leave=False)
    a, b, notes = given.match(ours, truth, leave=True)
    assert a.ids == b.ids == ("a", "c")
    assert a.columns["x"] == ("1", "3")
    assert any("1 references" in n and "first: b" in n for n in notes)
    assert any("1 predictions without a reference" in n and "first: z" in n for n in notes)


def test_facts_become_groups(csv: Csv) -> None:
    table = given.read(
        csv(
            "a.csv",
            "image_id,patient_id,sex,age,view,site\n"
            "a,p,female,17.9,pa,X\nb,,M,18,AP,Y\nc,q,,065Y,lateral,\nd,q,nan,NaN,,X\n",
        )
    )
    assert table.patients == ("p", "image b", "q", "q")
    assert table.facts == {
        "sex": ("F", "M", "", ""),
        "age": ("0-17", "18-39", "65 and older", ""),
        "view": ("PA", "AP", "LATERAL", ""),
        "site": ("X", "Y", "", "X"),
    }


def test_without_patients_the_reader_is_told(csv: Csv) -> None:
    table = given.read(csv("a.csv", "id,x\na,1\nb,1\n"))
    patients, notes = given.patients_of(table, table)
    assert patients == ("a", "b")
    assert "patient of its own" in notes[0]


def test_only_rows_of_the_language_are_taken(jsonl: Callable[..., Path]) -> None:
    path = jsonl("a.jsonl", [{"id": "a", "lang": "en", "text": "x"}, {"id": "a", "lang": "zh", "text": "心"}])
    assert given.read(path, "zh").columns == {"text": ("心",)}
    assert given.languages(path) == ["en", "zh"]
    with pytest.raises(DataError, match="no row of language en"):
        given.read(jsonl("b.jsonl", [{"id": "a", "lang": "zh", "text": "心"}]), "en")


def test_columns_of_the_same_name_are_refused(csv: Csv) -> None:
    with pytest.raises(DataError, match=r"(?s)a.csv has columns of the same name.*first: Edema, edema"):
        given.read(csv("a.csv", "image_id,Edema,Mass,edema\na,1,0,0\n"))


def test_images_of_one_patient_are_told(csv: Csv) -> None:
    table = given.read(csv("a.csv", "id,patient_id,x\na,p,1\nb,p,1\n"))
    assert given.patients_of(table, table) == (
        ("p", "p"),
        ["all images are of one patient: there is no interval"],
    )
