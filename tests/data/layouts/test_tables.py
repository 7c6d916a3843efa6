from __future__ import annotations

import zipfile
from collections import Counter

import pytest

from xraytk.data.layouts import LAYOUTS, SETS, Box, boxes_on, detect_layout, read_layout
from xraytk.data.layouts.cells import age_of, report_of, view_of
from xraytk.data.layouts.layout import Named
from xraytk.data.layouts.tables import index_of, rows_of
from xraytk.errors import DataError, UsageError

SIGNS = {
    "nih": ("Data_Entry_2017_v2020.csv", "Image Index,Finding Labels,Patient ID\n"),
    "chexpert": ("CheXpert-v1.0-small/valid.csv", "Path,Sex,Age,Frontal/Lateral,AP/PA,No Finding\n"),
    "mimic": ("2.1.0/mimic-cxr-2.0.0-split.csv.gz", "dicom_id,study_id,subject_id,split\n"),
    "padchest": ("PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv.gz", ",ImageID,PatientID,Labels\n"),
    "vindr": ("annotations/image_labels_test.csv", "image_id,No finding\n"),
    "rsna": ("stage_2_train_labels.csv", "patientId,x,y,width,height,Target\n"),
    "openi": (
        "NLMCXR_reports/ecgen-radiology/17.xml",
        '<eCitation><parentImage id="CXR17_IM-0001-1001"/></eCitation>',
    ),
    "r2gen": ("annotation.json", '{"train": [{"id": "CXR1_IM-1", "report": "r", "image_path": ["a"]}]}'),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_each_set_is_known_by_its_tables(published, name) -> None:
    published.write("images/readme.txt", "hello")
    assert detect_layout(published.folder) is None
    published.write(*SIGNS[name])
    assert detect_layout(published.folder) == name
    read_layout(name, published.folder, published.key)


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_set_without_tables_says_what_it_wants_and_whence(published, name) -> None:
    published.write("train.csv", "id,value\nSecret,1\n")
    with pytest.raises(DataError) as caught:
        read_layout(name, published.folder, published.key)
    said = str(caught.value)
    assert SETS[name].title in said
    assert SETS[name].site in said
    assert "looked" in said
    assert "Secret" not in said


def test_an_unknown_layout_lists_the_known(published) -> None:
    with pytest.raises(UsageError, match="wanted one of nih, chexpert"):
        read_layout("nope", published.folder, published.key)


def test_a_folder_that_is_not_there(tmp_path) -> None:
    assert detect_layout(tmp_path / "none") is None
    with pytest.raises(DataError, match="cannot be read"):
        read_layout("nih", tmp_path / "none", bytes(32))


def test_patients_folders_are_not_searched(published) -> None:
    for i in range(201):
        (published.folder / "files" / f"p{i:03d}").mkdir(parents=True)
    published.write("files/p000/deep.csv", "a\n1\n")
    published.write("two/levels/fine.csv", "a\n1\n")
    assert set(index_of(published.folder).files) == {"fine.csv"}


def test_tables_may_be_zipped_and_broken_ones_say_so(published) -> None:
    plain = published.write("a.csv", "\ufeffOne_Thing;two\n1;2\n3\n\n4;5;6\n")
    packed = published.folder / "a.csv.zip"
    with zipfile.ZipFile(packed, "w") as archive:
        archive.write(plain, "a.csv")
    counts: Counter[str] = Counter()
    for path in (plain, packed):
        assert list(rows_of(path, ["one thing", "TWO"], counts, ["three"])) == [
            ("1", "2", ""),
            ("4", "5", ""),
        ]
    assert sum(counts.values()) == 2
    whole = published.write("b.csv.gz", "a,b\n" + "1,2\n" * 5000)
    whole.write_bytes(whole.read_bytes()[:-20])
    with pytest.raises(DataError, match=r"b\.csv\.gz cannot be read to its end"):
        list(rows_of(whole, ["a"], Counter()))
    with pytest.raises(DataError, match="lacks the column d or e"):
        list(rows_of(plain, [("d", "e")], Counter()))


def test_boxes_move_with_the_image() -> None:
    boxes = (
        Box("a", 0, 512, 256, 1024, "R1", (1024, 1024)),
        Box("b", 50, 10, 500, 20),
        Box("c", 200, 0, 300, 9),
    )
    moved = boxes_on(boxes, (100, 200), (50, 400))
    assert moved == (
        Box("a", 0, 25, 100, 50, "R1", (50, 400)),
        Box("b", 100, 5, 400, 10, "", (50, 400)),
    )


def test_labels_that_are_named_are_as_a_dictionary() -> None:
    labels = Named(dict.fromkeys(("a", "b", "c")), ["b", "z"])
    assert labels == {"a": 0.0, "b": 1.0, "c": 0.0} == dict(labels)
    assert "z" not in labels
    assert labels.get("b") == 1.0


def test_cells() -> None:
    counts: Counter[str] = Counter()
    ages = [age_of(t, counts) for t in ("58", "058Y", "006M", "414", "x", "", "nan", "61.5")]
    assert ages == [58, 58, 0.5, None, None, None, None, 61.5]
    assert sum(counts.values()) == 2
    views = [view_of(t) for t in ("PA", "AP", "LL", "L", "AP AXIAL", "XTABLE LATERAL", "COSTAL", "", "UNK")]
    assert views == ["PA", "AP", "LATERAL", "LATERAL", "OTHER", "LATERAL", "OTHER", "", ""]
    assert report_of("Clear", "", "Normal").en == "Clear. Normal"
    assert report_of("双肺清晰", "未见异常").zh == "双肺清晰。未见异常"
