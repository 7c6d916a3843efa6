from __future__ import annotations

import json

import pytest

from xraytk.data.deid import hashed
from xraytk.data.layouts import Box, read_layout

HEAD = (
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
    "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y],\n"
)
ROWS = (
    "00000001_000.png,Cardiomegaly|Effusion,0,1,058Y,M,PA,2682,2749,0.143,0.143,\n"
    "00000002_000.png,No Finding,0,2,414,F,AP,2048,2500,0.168,0.168,\n"
    "00000002_001.png,Nodule|Oddity,1,2,006M,F,AP,2048,2500,,,\n"
    "00000003_000.png,,0,3,81,F,PA,2582,2991,0.143,0.143,\n"
    "short\n"
)
BOXES = (
    "Image Index,Finding Label,Bbox [x,y,w,h],,,\n"
    "00000001_000.png,Infiltrate,225.08,547.01,86.77,79.18,,,\n"
    "00000001_000.png,Effusion,10,20,30,40,,,\n"
    "00000002_000.png,Mass,10,20,0,40,,,\n"
)
MAPPING = "pneumonia-challenge-dataset-mappings_2018.json"


def test_nih_facts_labels_boxes(published, ones) -> None:
    published.write("Data_Entry_2017.csv", HEAD + ROWS)
    published.write("BBox_List_2017.csv", BOXES)
    layout = read_layout("nih", published.folder, published.key)
    first = published.of(layout, "images_001/images/00000001_000.png")
    assert first.facts.patient_hash == hashed(published.key, "patient", "nih:1")
    assert (first.facts.view, first.facts.sex, first.facts.age_years) == ("PA", "M", 58.0)
    assert first.facts.spacing_mm == pytest.approx((0.143 * 2749 / 1024, 0.143 * 2682 / 1024))
    assert first.facts.spacing_of == (1024, 1024)
    assert first.facts.split == ""
    assert ones(first.labels) == {"Cardiomegaly", "Effusion"}
    assert len(first.labels) == len(layout.names) == 15
    assert [b.label for b in first.boxes] == ["Infiltration", "Effusion"]
    assert first.boxes[1] == Box("Effusion", 10, 20, 40, 60, "", (1024, 1024))
    assert first.report is None


def test_nih_counts_what_is_odd(published) -> None:
    published.write("Data_Entry_2017.csv", HEAD + ROWS)
    published.write("BBox_List_2017.csv", BOXES)
    layout = read_layout("nih", published.folder, published.key)
    notes = "\n".join(layout.notes)
    assert "1 ages left out" in notes
    assert "1 findings left out" in notes
    assert "1 boxes left out" in notes
    assert "rows of Data_Entry_2017.csv left out" in notes
    assert published.of(layout, "00000002_000.png").facts.age_years is None
    assert published.of(layout, "00000002_001.png").facts.age_years == 0.5
    assert published.of(layout, "00000002_001.png").facts.spacing_mm is None
    assert published.of(layout, "00000003_000.png").labels is None


def test_nih_keeps_the_official_test_list_and_draws_val_by_patient(published) -> None:
    rows = "".join(
        f"{p:08d}_{i:03d}.png,Mass,{i},{p},50,M,PA,2048,2048,0.1,0.1,\n" for p in range(1, 81) for i in (0, 1)
    )
    published.write("Data_Entry_2017_v2020.csv.gz", HEAD.replace("Gender", "Sex") + rows)
    published.write("train_val_list.txt", "".join(f"{p:08d}_000.png\n" for p in range(1, 71)))
    published.write("test_list.txt", "".join(f"{p:08d}_000.png\r\n" for p in range(71, 81)))
    layout = read_layout("nih", published.folder, published.key)
    split_of: dict[str, set[str]] = {}
    for _, cell, facts in layout.metadata:
        split_of.setdefault(cell[:8], set()).add(facts.split)
    assert all(len(s) == 1 for s in split_of.values())
    assert all(split_of[f"{p:08d}"] == {"test"} for p in range(71, 81))
    rest = [next(iter(split_of[f"{p:08d}"])) for p in range(1, 71)]
    assert set(rest) == {"train", "val"}
    assert rest.count("train") > 4 * rest.count("val")


def test_nih_lists_that_share_a_patient_are_not_used(published) -> None:
    published.write("Data_Entry_2017.csv", HEAD + ROWS)
    published.write("train_val_list.txt", "00000001_000.png\n00000002_000.png\n")
    published.write("test_list.txt", "00000002_001.png\n")
    layout = read_layout("nih", published.folder, published.key)
    assert {facts.split for _, _, facts in layout.metadata} == {""}
    assert "1 patients stand in both" in layout.notes[0]


RSNA_ROWS = (
    "patientId,x,y,width,height,Target\n"
    "0004cfab-14fd-4e49-80ba-63a80b6bddd6,,,,,0\n"
    "00436515-870c-4b36-a041-de91049b9ab4,264.0,152.0,213.0,379.0,1\n"
    "00436515-870c-4b36-a041-de91049b9ab4,562.0,152.0,256.0,453.0,1\n"
    "00313ee0-9eaa-42f4-b0ab-c148ed3241cd,,,,,0\n"
    "aaaaaaaa-9eaa-42f4-b0ab-c148ed3241cd,,,,,0\n"
)
RSNA_CLASSES = (
    "patientId,class\n"
    "0004cfab-14fd-4e49-80ba-63a80b6bddd6,No Lung Opacity / Not Normal\n"
    "00436515-870c-4b36-a041-de91049b9ab4,Lung Opacity\n"
    "00436515-870c-4b36-a041-de91049b9ab4,Lung Opacity\n"
    "00313ee0-9eaa-42f4-b0ab-c148ed3241cd,Normal\n"
    "aaaaaaaa-9eaa-42f4-b0ab-c148ed3241cd,Lung Opacity\n"
)


def test_rsna_labels_and_boxes(published, ones) -> None:
    published.write("stage_2_train_labels.csv", RSNA_ROWS)
    published.write("stage_2_detailed_class_info.csv", RSNA_CLASSES)
    layout = read_layout("rsna", published.folder, published.key)
    ill = published.of(layout, "stage_2_train_images/00436515-870c-4b36-a041-de91049b9ab4.dcm")
    assert ones(ill.labels) == {"Lung Opacity"}
    assert [(b.x0, b.y0, b.x1, b.y1) for b in ill.boxes] == [(264, 152, 477, 531), (562, 152, 818, 605)]
    odd = published.of(layout, "stage_2_train_images/0004cfab-14fd-4e49-80ba-63a80b6bddd6.dcm")
    assert ones(odd.labels) == {"No Lung Opacity / Not Normal"}
    assert odd.boxes is None
    assert odd.facts is None
    assert published.of(layout, "aaaaaaaa-9eaa-42f4-b0ab-c148ed3241cd.dcm").labels is None
    notes = "\n".join(layout.notes)
    assert "split is not used" in notes
    assert MAPPING in notes
    assert "1 images without labels" in notes


def test_rsna_shares_its_patients_with_nih_where_they_are_mapped(published) -> None:
    published.write("stage_2_train_labels.csv", RSNA_ROWS)
    rows = [
        {"subset_img_id": "00436515-870c-4b36-a041-de91049b9ab4", "img_id": "00000001_000.png"},
        {"subset_img_id": "", "img_id": "00000001_000.png"},
    ]
    published.write(MAPPING, json.dumps(rows))
    layout = read_layout("rsna", published.folder, published.key)
    facts = published.of(layout, "00436515-870c-4b36-a041-de91049b9ab4.dcm").facts
    assert facts.patient_hash == hashed(published.key, "patient", "nih:1")
    assert facts.split == ""
    assert layout.names == ("Lung Opacity",)
    assert any(n.startswith(f"1 rows of {MAPPING} left out") for n in layout.notes)
