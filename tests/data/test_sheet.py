from __future__ import annotations

from pathlib import Path

import pytest

from xraytk.data.sheet import Lookup, canonical_path, grouped, join_keys, read_sheet
from xraytk.errors import DataError
from xraytk.records import Identity

KEY = bytes(32)


def _table(tmp_path: Path, data: str | bytes, name: str = "t.csv") -> Path:
    path = tmp_path / name
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return path


@pytest.mark.parametrize(
    "data",
    [
        b"File,\xe6\x8a\xa5\xe5\x91\x8a\na.dcm,\xe8\x82\xba\n",
        b"\xef\xbb\xbfFile,\xe6\x8a\xa5\xe5\x91\x8a\r\na.dcm,\xe8\x82\xba\r\n",
        "File,报告\na.dcm,肺\n".encode("gb18030"),
        "File\t报告\na.dcm\t肺\n".encode("utf-16"),
        "File;报告\n\na.dcm;肺".encode(),
    ],
    ids=["utf-8", "bom", "gb18030", "utf-16", "semicolon"],
)
def test_encodings_and_separators_of_hospital_tables(tmp_path: Path, data: bytes) -> None:
    sheet = read_sheet(_table(tmp_path, data))
    assert sheet.columns == ("File", "报告")
    assert sheet.rows == (("a.dcm", "肺"),)


def test_jsonl_rows_may_have_different_columns(tmp_path: Path) -> None:
    sheet = read_sheet(
        _table(tmp_path, '{"file": "a", "n": 1}\n\n{"file": "b", "l": ["x", "y"]}\n', "t.jsonl")
    )
    assert sheet.columns == ("file", "n", "l")
    assert sheet.rows == (("a", "1", ""), ("b", "", "x|y"))


@pytest.mark.parametrize(
    ("data", "name", "message"),
    [
        ("", "t.csv", "no rows"),
        ("file,en\n", "t.csv", "no rows"),
        ("file,en\nSECRET,a,b\n", "t.csv", "row 2 does not fit"),
        ('file,en\nx,y\nSECRET,"never closed\n', "t.csv", "from row 3 on"),
        ('{"file": "SECRET"\n', "t.jsonl", "line 1 is not"),
        ("[1]\n", "t.jsonl", "line 1 is not"),
        (b"\xff\xff\xff\xff", "t.csv", "encoding"),
    ],
)
def test_broken_tables_are_explained_without_their_content(
    tmp_path: Path, data: str | bytes, name: str, message: str
) -> None:
    with pytest.raises(DataError, match=message) as caught:
        read_sheet(_table(tmp_path, data, name))
    assert "SECRET" not in str(caught.value)


def test_a_missing_table_is_missing_input(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no\.csv does not exist"):
        read_sheet(tmp_path / "no.csv")


@pytest.mark.parametrize(
    ("column", "kind"),
    [
        ("File Name", "file"),
        ("Image Index", "file"),
        ("dicom_id", "file"),
        ("ACCESSION_NUMBER", "accession"),
        ("Study Instance UID", "study"),
        ("study_uid", "study"),
        ("SOPInstanceUID", "sop"),
    ],
)
def test_key_columns_are_known_in_any_spelling(tmp_path: Path, column: str, kind: str) -> None:
    sheet = read_sheet(_table(tmp_path, f"{column},en\na,b\n"))
    assert sheet.key_columns() == ((kind, 0),)


def test_a_table_without_a_key_names_its_known_columns_only(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"lacks a key column(.|\n)*2 columns, 1 known: en; is the header"):
        read_sheet(_table(tmp_path, "SECRET,EN\na,b\n")).key_columns()


def test_a_first_row_in_place_of_a_header_is_never_printed(tmp_path: Path) -> None:
    sheet = read_sheet(_table(tmp_path, "DOE^JOHN,19600101,IM0001,Clear lungs.\nROE^JANE,19700101,b,c\n"))
    with pytest.raises(DataError, match="4 columns, 0 known; is the header line missing") as caught:
        sheet.key_columns()
    for secret in ("DOE", "1960", "IM0001", "lungs"):
        assert secret not in str(caught.value) + repr(sheet)


@pytest.mark.parametrize(
    ("cell", "image", "fits"),
    [
        ("a.dcm", "a.dcm", True),
        ("a", "p1/s1/a.dcm", True),
        ("A.PNG", "p1/a.dcm", True),
        ("p1/a.dcm", "x/p1/a.dcm", True),
        ("images/p1/a.png", "p1/a.png", True),
        ("C:\\x\\p1\\a.png", "p1/a.png", True),
        ("./p1//a", "p1/a", True),
        ("p2/a.dcm", "p1/a.dcm", False),
        ("1.2.840.113", "1.2.840.113", True),
        ("1.2.840", "1.2.840.113", False),
        ("ba", "a", False),
    ],
)
def test_a_path_fits_when_one_is_the_end_of_the_other(cell: str, image: str, fits: bool) -> None:
    table = Lookup([("file", canonical_path(cell), 1)], KEY)
    assert (table.find(join_keys(image, Identity(), KEY)) == 0) is fits


def test_an_end_shared_by_two_rows_fits_neither_image() -> None:
    table = Lookup([("file", "p1/a", 1), ("file", "p2/a", 2)], KEY)
    assert table.find(join_keys("a.png", Identity(), KEY)) is None
    assert table.find(join_keys("p2/a.png", Identity(), KEY)) == 1


def test_the_most_specific_key_counts() -> None:
    table = Lookup([("study", "S", 1), ("accession", "A", 2), ("file", "f", 3), ("sop", "I", 4)], KEY)
    identity = Identity(study_uid="S", accession="A", sop_uid="I")
    assert table.find(join_keys("f.dcm", identity, KEY)) == 3
    identity.sop_uid = ""
    assert table.find(join_keys("f.dcm", identity, KEY)) == 2
    assert table.find(join_keys("g.dcm", identity, KEY)) == 1
    identity.accession = ""
    assert table.find(join_keys("g.dcm", identity, KEY)) == 0
    assert table.find(join_keys("g.dcm", Identity(), KEY)) is None


def test_leading_zeros_that_a_spreadsheet_lost_do_not_count(tmp_path: Path) -> None:
    sheet = read_sheet(_table(tmp_path, "accession,en\n123,a\n0,b\n"))
    table = Lookup(grouped(sheet, lambda number, row: row[1], lambda a, b: None), KEY)
    assert table.find(join_keys("f", Identity(accession="000123"), KEY)) == 0
    assert table.find(join_keys("f", Identity(accession="0"), KEY)) == 1
    assert table.find(join_keys("f", Identity(accession="1230"), KEY)) is None


def test_no_raw_key_stays_in_memory() -> None:
    table = Lookup([("accession", "TOKEN", 1)], KEY)
    assert "TOKEN" not in repr(vars(table))
