from __future__ import annotations

import json

import pytest

from xraytk.data.layouts import detect_layout, r2gen, read_layout
from xraytk.errors import DataError


def _iu(name: str, split: str, report: str = "lungs are clear .") -> dict[str, object]:
    paths = [f"{name}/0.png", f"{name}/1.png"]
    return {"id": name, "report": report, "image_path": paths, "split": split}


def test_r2gen_iu_joins_both_images_of_a_study(published) -> None:
    tree = {
        "train": [_iu("CXR2384_IM-0942", "train"), _iu("CXR1_1_IM-0001", "train", "双肺清晰。")],
        "val": [_iu("CXR10_IM-0002", "val")],
        "test": [_iu("CXR11_IM-0067", "test"), {"id": "", "report": "x", "image_path": []}],
    }
    published.write("iu_xray/annotation.json", json.dumps(tree))
    layout = read_layout("r2gen", published.folder, published.key)
    first, second = (published.of(layout, f"iu_xray/images/CXR2384_IM-0942/{i}.png") for i in (0, 1))
    assert first.facts == second.facts
    assert (first.facts.split, first.report.en) == ("train", "lungs are clear .")
    assert published.of(layout, "images/CXR1_1_IM-0001/0.png").report.zh == "双肺清晰。"
    assert published.of(layout, "images/CXR10_IM-0002/1.png").facts.split == "val"
    assert published.of(layout, "images/CXR11_IM-0067/0.png").facts.split == "test"
    assert layout.notes == ("1 items left out: they name no image or no patient",)


def test_r2gen_patients_are_those_of_the_sets_themselves(published) -> None:
    item = {
        "id": "02aa804e-bde0afdd-112c0b34-7bc16630-4e384014",
        "study_id": 50414267,
        "subject_id": 10000032,
        "report": "FINAL REPORT\n clear .",
        "image_path": ["p10/p10000032/s50414267/02aa804e-bde0afdd-112c0b34-7bc16630-4e384014.jpg"],
        "split": "train",
    }
    published.write("annotation.json", json.dumps({"train": [item, _iu("CXR7_IM-2263", "train")]}))
    layout = read_layout("r2gen", published.folder, published.key)
    known = published.of(layout, f"mimic_cxr/images/{item['image_path'][0]}")
    metadata = (
        "dicom_id,subject_id,study_id\n02aa804e-bde0afdd-112c0b34-7bc16630-4e384014,10000032,50414267\n"
    )
    other = published.folder.parent / "mimic"
    other.mkdir()
    (other / "mimic-cxr-2.0.0-metadata.csv").write_text(metadata)
    ((_, _, facts),) = read_layout("mimic", other, published.key).metadata
    assert (known.facts.patient_hash, known.facts.study_hash) == (facts.patient_hash, facts.study_hash)
    assert known.report.en == "FINAL REPORT clear ."


def test_r2gen_split_that_divides_a_patient_is_dropped(published) -> None:
    tree = {"train": [_iu("CXR5_IM-0001", "train")], "test": [_iu("CXR5_IM-0002", "test")]}
    published.write("annotation.json", json.dumps(tree))
    layout = read_layout("r2gen", published.folder, published.key)
    assert {facts.split for _, _, facts in layout.metadata} == {""}
    assert "1 patients into two parts" in layout.notes[0]


def test_items_are_streamed_as_json_reads_them_whole(published, monkeypatch) -> None:
    tree = {
        "train": [_iu(f"CXR{i}_IM-0001", "train", 'quote " brace } 肺 \\') for i in range(50)],
        "val": [],
        "test": [_iu("CXR99_IM-0001", "test")],
    }
    path = published.write("annotation.json", json.dumps(tree, indent=1, ensure_ascii=False))
    monkeypatch.setattr(r2gen, "_CHUNK", 7)
    items = list(r2gen.items_of(path))
    assert items == [(part, item) for part, rows in tree.items() for item in rows]


@pytest.mark.parametrize("text", ["", "[]", "{", '{"train": [1]}', '{"train": [{"id": "a"}', '{"train": 3}'])
def test_other_json_is_refused(published, text) -> None:
    published.write("annotation.json", text)
    assert detect_layout(published.folder) is None
    with pytest.raises(DataError, match="is not R2Gen's JSON"):
        read_layout("r2gen", published.folder, published.key)
