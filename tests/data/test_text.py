from __future__ import annotations

from pathlib import Path

import pytest

from xraytk.data.sheet import Lookup, join_keys
from xraytk.data.text import Facts, Report, language_of, read_labels, read_metadata, read_reports
from xraytk.errors import DataError
from xraytk.records import Identity

KEY = bytes(32)


def _table(tmp_path: Path, text: str, name: str = "t.csv") -> Path:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


def _of(table: Lookup[object], file: str) -> object:
    number = table.find(join_keys(file, Identity(), KEY))
    return None if number is None else table.values[number]


def test_languages_are_told_by_their_script() -> None:
    assert language_of("The lungs are clear.") == "en"
    assert language_of("双肺纹理清晰，CT 复查。") == "zh"
    assert language_of("12 / 34") == "en"


@pytest.mark.parametrize(
    ("head", "row", "report"),
    [
        ("file,en,zh", "a,Clear.,清晰。", Report("Clear.", "清晰。")),
        ("file,report_en", "a,Clear.", Report("Clear.", "")),
        ("file,中文报告", "a,清晰。", Report("", "清晰。")),
        ("file,report", "a,Clear.", Report("Clear.", "")),
        ("file,text", "a,清晰。", Report("", "清晰。")),
        ("file,Findings,Impression", "a,Lungs clear,Normal.", Report("Lungs clear. Normal.", "")),
        ("file,findings,impression", "a,,Normal", Report("Normal", "")),
        ("文件名,检查所见,诊断意见", "a,双肺清晰,未见异常。", Report("", "双肺清晰。未见异常。")),
        ("file,en,报告", "a,Clear.,清晰。", Report("Clear.", "清晰。")),
        ("file,en", 'a,"Two\n\tlines."', Report("Two lines.", "")),
    ],
)
def test_report_columns(tmp_path: Path, head: str, row: str, report: Report) -> None:
    assert _of(read_reports(_table(tmp_path, f"{head}\n{row}\n"), KEY), "a.dcm") == report


def test_rows_of_one_key_are_joined_when_they_agree(tmp_path: Path) -> None:
    rows = "file,en,zh\na,One,\na,,一\nb,One,\nb,Two,\nc,Same,\nc,Same,\n,No key,\n"
    table = read_reports(_table(tmp_path, rows), KEY)
    assert _of(table, "a") == Report("One", "一")
    assert _of(table, "b") is None
    assert _of(table, "c") == Report("Same", "")
    assert table.ambiguous == 1


def test_a_report_never_prints_itself() -> None:
    assert "Clear" not in repr(Report("Clear", "清晰"))


def test_a_table_without_text_counts_its_columns(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"lacks a text column(.|\n)*2 columns, 1 known: file;"):
        read_reports(_table(tmp_path, "file,words\na,b\n"), KEY)


def test_wide_labels(tmp_path: Path) -> None:
    rows = "file,age,Nodule,Pleural Effusion,Empty,patient\na,1,1,0,,1\nb,0,-1,1.0,,1\nc,1,,,,1\n"
    labels = read_labels(_table(tmp_path, rows), KEY)
    assert labels.names == ("Nodule", "Pleural Effusion")
    assert labels.ignored == 3
    assert labels.uncertain == 1
    assert _of(labels.table, "a") == {"Nodule": 1.0, "Pleural Effusion": 0.0}
    assert _of(labels.table, "b") == {"Nodule": -1.0, "Pleural Effusion": 1.0}
    assert _of(labels.table, "c") == {}


def test_long_labels(tmp_path: Path) -> None:
    rows = "file,label,value\na,Nodule,1\na,Mass,0\nb,Nodule,-1\nc,Nodule,1\nc,Nodule,0\n"
    labels = read_labels(_table(tmp_path, rows), KEY)
    assert _of(labels.table, "a") == {"Nodule": 1.0, "Mass": 0.0}
    assert _of(labels.table, "b") == {"Nodule": -1.0}
    assert _of(labels.table, "c") == {}
    assert (labels.uncertain, labels.contradictions) == (1, 1)
    with pytest.raises(DataError, match="row 2, column value") as caught:
        read_labels(_table(tmp_path, "file,label,value\na,Nodule,SECRET\n"), KEY)
    assert "SECRET" not in str(caught.value)


def test_a_certain_value_wins_over_an_uncertain_one_of_the_same_image(tmp_path: Path) -> None:
    rows = "file,Nodule,Mass\na,-1,1\na,0,-1\nb,-1,\nb,-1,0\n"
    labels = read_labels(_table(tmp_path, rows), KEY)
    assert _of(labels.table, "a") == {"Nodule": 0.0, "Mass": 1.0}
    assert _of(labels.table, "b") == {"Nodule": -1.0, "Mass": 0.0}
    assert labels.contradictions == 0


def test_labels_separated_by_bars_name_all_that_is_there(tmp_path: Path) -> None:
    rows = "Image Index,Finding Labels,Follow-up #\na.png,Edema|Mass,0\nb.png,No Finding,1\nc.png,,1\n"
    labels = read_labels(_table(tmp_path, rows), KEY)
    assert labels.names == ("Edema", "Mass", "No Finding")
    assert _of(labels.table, "x/a.png") == {"Edema": 1.0, "Mass": 1.0, "No Finding": 0.0}
    assert _of(labels.table, "b.dcm") == {"Edema": 0.0, "Mass": 0.0, "No Finding": 1.0}
    assert _of(labels.table, "c.png") == {}


def test_labels_from_jsonl(tmp_path: Path) -> None:
    lines = '{"file": "a", "Mass": 1}\n{"file": "b", "Mass": false, "Edema": true}\n'
    labels = read_labels(_table(tmp_path, lines, "t.jsonl"), KEY)
    assert _of(labels.table, "a") == {"Mass": 1.0}
    assert _of(labels.table, "b") == {"Mass": 0.0, "Edema": 1.0}


def test_a_table_without_labels_counts_its_columns(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"lacks labels(.|\n)*2 columns, 1 known: file;"):
        read_labels(_table(tmp_path, "file,words\na,b\n"), KEY)


@pytest.mark.parametrize(
    "name",
    ["DOE^JOHN", "19600101", "1960-01-01", "1960年1月1日", "1.2.840.113619.2", "QZ 1.2.840.1", "QZ" * 33],
)
def test_a_row_in_place_of_the_names_of_labels_is_refused_unprinted(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match=r"1 of 2 names(.|\n)*is the header line missing") as caught:
        read_labels(_table(tmp_path, f"file,{name},Nodule\na,1,0\nb,0,1\n"), KEY)
    assert name not in str(caught.value)


def test_an_unnamed_column_is_no_label(tmp_path: Path) -> None:
    labels = read_labels(_table(tmp_path, ",file,Nodule\n0,a,1\n1,b,0\n"), KEY)
    assert (labels.names, labels.ignored) == (("Nodule",), 1)


@pytest.mark.parametrize("value", ["", ",value"], ids=["piped", "long"])
@pytest.mark.parametrize(
    "names",
    [
        ["ZHANG WEI 1960"],
        ["Edema", "DOE^JOHN"],
        ["Edema", "QZ" * 33],
        ["QZ" + "i" * n for n in range(1, 22)],
        [f"QZ{n}" for n in range(201)] * 2,
    ],
    ids=["digits", "person", "long", "rare", "many"],
)
def test_free_text_does_not_become_a_label(tmp_path: Path, names: list[str], value: str) -> None:
    rows = [f"im{i},{name}" + (",1" if value else "") for i, name in enumerate(names)]
    table = _table(tmp_path, "\n".join([f"file,label{value}", *rows]) + "\n")
    with pytest.raises(DataError, match="column label holds no label names") as caught:
        read_labels(table, KEY)
    for secret in ("ZHANG", "1960", "DOE", "QZ"):
        assert secret not in str(caught.value)


@pytest.mark.parametrize("label", ["COVID-19", "Atelectasis (J98.1)", "肺结节", "T2 wedge fracture"])
def test_names_of_a_vocabulary_become_labels(tmp_path: Path, label: str) -> None:
    assert read_labels(_table(tmp_path, f"file,label\na,{label}|Mass\n"), KEY).names == tuple(
        sorted((label, "Mass"))
    )


@pytest.mark.parametrize(
    ("rows", "counts"),
    [
        ("file,label,value\na,Mass,1\na,Mass,0\n", "1 values contradict(.|\n)*0 are uncertain"),
        ("file,Mass,Edema\na,1,0\na,0,1\n", "2 values contradict"),
        ("file,label,value\na,Mass,-1\n", "0 values contradict(.|\n)*1 are uncertain"),
    ],
)
def test_labels_that_all_contradict_are_said_to(tmp_path: Path, rows: str, counts: str) -> None:
    with pytest.raises(DataError, match=f"nothing certain of any label(.|\n)*{counts}"):
        read_labels(_table(tmp_path, rows), KEY)


def test_metadata_of_plain_pictures(tmp_path: Path) -> None:
    rows = (
        "image,patient,view,sex,age,split,spacing\n"
        "a.png,P1,pa,m,061Y,train,0.14\n"
        "b.png,P1,AP supine,Female,018M,train,0.1\\0.2\n"
        "c.png,P2,lateral,?,>89,valid,\n"
        "d.png,,frontal,,,,\n"
    )
    table = read_metadata(_table(tmp_path, rows), KEY)
    a, b, c, d = (_of(table, f"{name}.png") for name in "abcd")
    assert isinstance(a, Facts)
    assert isinstance(b, Facts)
    assert isinstance(c, Facts)
    assert (a.view, a.sex, a.age_years, a.split, a.spacing_mm) == ("PA", "M", 61.0, "train", (0.14, 0.14))
    assert (b.view, b.sex, b.age_years, b.spacing_mm) == ("AP", "F", 1.5, (0.1, 0.2))
    assert (c.view, c.sex, c.age_years, c.split, c.spacing_mm) == ("LATERAL", "", None, "val", None)
    assert a.patient_hash == b.patient_hash != c.patient_hash
    assert d == Facts(view="UNKNOWN")


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("file,words\na,SECRET\n", "lacks facts"),
        ("file,split\na,SECRET\n", "row 2, column split"),
        ("file,spacing\na,1\nb,SECRET\n", "row 3, column spacing"),
        ("file,spacing\na,-1\n", "row 2, column spacing"),
        ("file,patient,split\na,SECRET,train\nb,SECRET,test\n", "rows 2 and 3 say train and test"),
    ],
)
def test_wrong_metadata_is_explained_without_its_content(tmp_path: Path, rows: str, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        read_metadata(_table(tmp_path, rows), KEY)
    assert "SECRET" not in str(caught.value)
