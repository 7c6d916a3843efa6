from __future__ import annotations

import pytest

from xraytk.data.layouts import read_layout
from xraytk.data.layouts.chexpert import FINDINGS

HEAD = "Path,Sex,Age,Frontal/Lateral,AP/PA," + ",".join(FINDINGS) + "\n"
BLANKS = "," * (len(FINDINGS) - 4)


def _rows(top: str) -> str:
    return (
        f"{top}/patient00001/study1/view1_frontal.jpg,Female,68,Frontal,AP,1.0,,-1.0,0.0{BLANKS}\n"
        f"{top}/patient00001/study1/view2_lateral.jpg,Female,68,Lateral,,,-1.0,,{BLANKS}\n"
        f"{top}/patient00002/study2/view1_frontal.jpg,Unknown,0,Frontal,LL,,,,{BLANKS}\n"
    )


@pytest.mark.parametrize(
    ("top", "files"),
    [
        ("CheXpert-v1.0-small/train", "train"),
        ("CheXpert-v1.0-small/train", "CheXpert-v1.0-small/train"),
        ("CheXpert-v1.0/train", "CheXpert-v1.0 batch 2 (train 1)"),
        ("CheXpert-v1.0/train", "my copy, shrunk"),
    ],
)
def test_chexpert_of_any_release(published, top, files) -> None:
    published.write("CheXpert-v1.0-small/train.csv", HEAD + _rows(top))
    layout = read_layout("chexpert", published.folder, published.key)
    front = published.of(layout, f"{files}/patient00001/study1/view1_frontal.jpg")
    side = published.of(layout, f"{files}/patient00001/study1/view2_lateral.jpg")
    other = published.of(layout, f"{files}/patient00002/study2/view1_frontal.jpg")
    assert (front.facts.view, side.facts.view, other.facts.view) == ("AP", "LATERAL", "")
    assert (front.facts.sex, front.facts.age_years, front.facts.split) == ("F", 68.0, "train")
    assert (other.facts.sex, other.facts.age_years) == ("", None)
    assert front.facts.patient_hash == side.facts.patient_hash != other.facts.patient_hash
    assert front.facts.study_hash == side.facts.study_hash
    assert front.labels == {"No Finding": 1.0, "Cardiomegaly": -1.0, "Lung Opacity": 0.0}
    assert side.labels == {"Enlarged Cardiomediastinum": -1.0}
    assert other.labels is None


def test_chexpert_uncertain_is_counted_and_splits_are_its_own(published) -> None:
    published.write("train.csv", HEAD + _rows("CheXpert-v1.0/train"))
    published.write("valid.csv", HEAD + _rows("CheXpert-v1.0/valid").replace("patient0", "patient6"))
    layout = read_layout("chexpert", published.folder, published.key)
    assert {facts.split for _, _, facts in layout.metadata} == {"train", "val"}
    assert "4 labels are uncertain (-1)" in layout.notes
    assert any("2 ages left out" in note for note in layout.notes)
    assert layout.names == ("Cardiomegaly", "Enlarged Cardiomediastinum", "Lung Opacity", "No Finding")


def test_a_split_that_divides_a_patient_is_dropped_with_a_note(published) -> None:
    published.write("train.csv", HEAD + _rows("a"))
    published.write("valid.csv", HEAD + _rows("a"))
    layout = read_layout("chexpert", published.folder, published.key)
    assert {facts.split for _, _, facts in layout.metadata} == {""}
    assert any("2 patients into two parts" in note for note in layout.notes)


def test_rows_without_a_patient_are_counted(published) -> None:
    published.write("train.csv", f"{HEAD}somewhere/else.jpg,Male,50,Frontal,PA,1.0,,,{BLANKS}\n" + _rows("a"))
    layout = read_layout("chexpert", published.folder, published.key)
    assert any(n.startswith("1 rows left out: their path") for n in layout.notes)
    assert len(list(layout.metadata)) == 3
