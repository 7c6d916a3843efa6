from __future__ import annotations

from xraytk.data.layouts import Box, read_layout

A, B, C = (letter * 32 for letter in "abc")
LABELS = "image_id,rad_id,Aortic enlargement,Nodule/Mass,Other diseases,No finding\n"
BOXES = "image_id,rad_id,class_name,x_min,y_min,x_max,y_max\n"


def test_vindr_takes_the_majority_of_readers_and_the_boxes_of_each(published) -> None:
    published.write(
        "annotations/image_labels_train.csv",
        LABELS
        + f"{A},R1,1,0,0,0\n{B},R1,0,0,0,1\n{A},R2,1,0,0,0\n{A},R3,0,1,0,0\n{B},R2,0,1,0,0\n{C},R1,x,0,0,0\n",
    )
    published.write(
        "annotations/image_labels_test.csv",
        "image_id,Aortic enlargement,Nodule/Mass,Other disease,No finding\n" + f"{'d' * 32},0,0,1,0\n",
    )
    published.write(
        "annotations/annotations_train.csv",
        BOXES
        + f"{A},R1,Aortic enlargement,10.5,20,30,40\n{A},R2,Aortic enlargement,11,21,31,41\n"
        + f"{B},R1,No finding,,,,\n{B},R2,Nodule/Mass,9,9,9,12\n",
    )
    published.write(
        "annotations/annotations_test.csv",
        "image_id,class_name,x_min,y_min,x_max,y_max\n" + f"{'d' * 32},Other disease,1,2,3,4\n",
    )
    layout = read_layout("vindr", published.folder, published.key)
    first = published.of(layout, f"train/{A}.dicom")
    assert first.labels == {"Aortic enlargement": 1, "Nodule/Mass": 0, "Other diseases": 0, "No finding": 0}
    assert first.boxes == (
        Box("Aortic enlargement", 10.5, 20, 30, 40, "R1"),
        Box("Aortic enlargement", 11, 21, 31, 41, "R2"),
    )
    assert (first.facts.view, first.facts.split) == ("PA", "train")
    second = published.of(layout, f"train/{B}.dicom")
    assert second.labels == {"Aortic enlargement": 0, "Other diseases": 0}
    assert second.boxes is None
    test = published.of(layout, f"test/{'d' * 32}.dicom")
    assert (test.labels["Other diseases"], test.facts.split) == (1, "test")
    assert test.boxes[0].label == "Other diseases"
    notes = "\n".join(layout.notes)
    for said in (
        "names no patients",
        "2 labels left out: as many",
        "1 boxes left out",
        "1 rows of image_labels",
    ):
        assert said in notes


def test_vindr_of_the_challenge(published) -> None:
    published.write(
        "train.csv",
        "image_id,class_name,class_id,rad_id,x_min,y_min,x_max,y_max\n"
        f"{A},Cardiomegaly,3,R8,691,1375,1653,1831\n{A},Cardiomegaly,3,R9,690,1370,1650,1830\n"
        f"{A},No finding,14,R10,,,,\n{B},No finding,14,R8,,,,\n",
    )
    published.write("test.csv", f"image_id,width,height\n{C},2336,2080\n")
    layout = read_layout("vindr", published.folder, published.key)
    first = published.of(layout, f"train/{A}.dicom")
    assert first.labels == {"Cardiomegaly": 1.0, "No finding": 0.0}
    assert [b.reader for b in first.boxes] == ["R8", "R9"]
    assert published.of(layout, f"train/{B}.dicom").labels == {"Cardiomegaly": 0.0, "No finding": 1.0}
    assert published.of(layout, f"test/{C}.dicom").facts.split == "test"
