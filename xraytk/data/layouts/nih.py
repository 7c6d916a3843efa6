"""NIH ChestX-ray14, and the RSNA Pneumonia challenge, whose images are a part of it.

Source:
    Wang et al., ChestX-ray8, CVPR 2017, and the set's README; Shih et al., Augmenting the NIH
    chest radiograph dataset, Radiology: AI 2019.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

from xraytk.data.deid import split_of
from xraytk.data.layouts.cells import age_of, box_of, corners, file_key, hasher, number_of, sex_of, view_of
from xraytk.data.layouts.layout import Box, Counts, Draft, Named, nothing
from xraytk.data.layouts.tables import Index, PublicSet, opened, rows_of
from xraytk.data.text import Facts
from xraytk.errors import DataError

NIH = PublicSet(
    "NIH ChestX-ray14",
    "nihcc.app.box.com/v/ChestXray-NIHCC",
    dict.fromkeys(
        ("data_entry_2017_v2020.csv", "data_entry_2017*.csv", "sample_labels.csv"),
        ("Image Index", "Finding Labels"),
    ),
)
RSNA = PublicSet(
    "RSNA Pneumonia",
    "kaggle.com/c/rsna-pneumonia-detection-challenge",
    dict.fromkeys(("stage_2_train_labels*.csv", "stage_1_train_labels*.csv"), ("patientId", "Target")),
)
SIDE_PX = (1024, 1024)
"""Of all images of both sets."""

FINDINGS = (
    *("Atelectasis", "Cardiomegaly", "Consolidation", "Edema", "Effusion", "Emphysema", "Fibrosis"),
    *("Hernia", "Infiltration", "Mass", "Nodule", "Pleural_Thickening", "Pneumonia", "Pneumothorax"),
)
CLASSES = ("Lung Opacity", "No Lung Opacity / Not Normal", "Normal")
MAPPING = "pneumonia-challenge-dataset-mappings_2018.json"
_TRAIN_VAL = (7 / 8, 1 / 8, 0.0)
_FACTS = ("View Position", ("Patient Gender", "Patient Sex"), "Patient Age")
_SIZES = (
    ("OriginalImage[Width", "OriginalImageWidth"),
    ("Height]", "OriginalImageHeight"),
    ("OriginalImagePixelSpacing[x", "OriginalImagePixelSpacing_x"),
    ("y]", "OriginalImagePixelSpacing_y"),
)


def read_nih(index: Index, key: bytes) -> Draft:
    """Read NIH ChestX-ray14: labels, views, ages, sexes, spacing, boxes, the official split.

    The official lists tell test from the rest; of the rest an eighth of the patients, drawn by
    their hash, are val.

    Args:
        index: The folder's tables.
        key: Of the hashes.

    Raises:
        DataError: If the main table is missing or broken.
    """
    main = NIH.need(index)
    boxes = index.find("bbox_list_2017*.csv")
    lists = {"train": index.find("train_val_list*.txt"), "test": index.find("test_list*.txt")}
    part_of, clashes = _official_parts({part: path for part, path in lists.items() if path}, key)
    notes = []
    if clashes:
        part_of = {}
        notes.append(f"the official lists are not used: {clashes:,} patients stand in both")
    elif None in lists.values():
        notes.append(
            "train_val_list.txt and test_list.txt are not both there: the official split is not used, "
            "patients are drawn anew"
        )
        part_of = {}
    elif part_of:
        notes.append("the official test list is kept; an eighth of its other patients are val, drawn by hash")

    return Draft(
        tables=tuple(t for t in (main, boxes, *lists.values()) if t),
        metadata=lambda counts: _nih_facts(main, key, part_of, counts),
        labels=lambda counts: _nih_labels(main, counts),
        boxes=lambda counts: _nih_boxes(boxes, counts) if boxes else nothing(counts),
        notes=tuple(notes),
    )


def _official_parts(lists: Mapping[str, Path], key: bytes) -> tuple[dict[str, str], int]:
    """Part of each patient, by hash, and how many patients stand in both."""
    part_of: dict[str, str] = {}
    clashes = set()
    patient_hash = hasher(key, "patient", "nih")
    for part, path in lists.items():
        with opened(path) as stream:
            for line in stream:
                number = _patient_number(line.strip())
                if number and part_of.setdefault(who := patient_hash(number), part) != part:
                    clashes.add(who)
    return part_of, len(clashes)


def _patient_number(image: str) -> str:
    """The patient of "00000013_026.png": "13"; "" for other names."""
    digits, _, rest = image.partition("_")
    return str(int(digits)) if digits.isdecimal() and rest else ""


def _nih_facts(
    main: Path, key: bytes, part_of: Mapping[str, str], counts: Counts
) -> Iterator[tuple[str, str, Facts]]:
    patient_hash, study_hash = hasher(key, "patient", "nih"), hasher(key, "study", "nih")
    for image, raw, view, sex, age, *sizes in rows_of(
        main, ["Image Index", "Patient ID"], counts, [*_FACTS, *_SIZES]
    ):
        patient = str(int(raw)) if raw.isdecimal() else _patient_number(image)
        if not image or not patient:
            counts["rows left out: they name no image or no patient"] += 1
            continue
        who = patient_hash(patient)
        part = part_of.get(who, "")
        width, height, x_mm, y_mm = (number_of(s) or 0.0 for s in sizes)
        spacing = (y_mm * height / SIDE_PX[0], x_mm * width / SIDE_PX[1])
        facts = Facts(
            patient_hash=who,
            study_hash=study_hash(file_key(image)),
            view=view_of(view),
            sex=sex_of(sex),
            age_years=age_of(age, counts),
            split=split_of(who, _TRAIN_VAL) if part == "train" else part,
            spacing_mm=spacing if all(0 < s < 100 for s in spacing) else None,
            spacing_of=SIDE_PX,
        )
        yield "file", file_key(image), facts


def _nih_labels(main: Path, counts: Counts) -> Iterator[tuple[str, str, Mapping[str, float]]]:
    """Every finding that is not named is absent."""
    everything = dict.fromkeys(sorted((*FINDINGS, "No Finding")))
    known: dict[str, Named] = {}
    for image, cell in rows_of(main, ["Image Index", "Finding Labels"], counts):
        there = {name.strip() for name in cell.split("|")} - {""}
        if odd := len(there - everything.keys()):
            counts["findings left out: they are none of the 14"] += odd
        if image and there & everything.keys():
            if cell not in known:
                known[cell] = Named(everything, there)
            yield "file", file_key(image), known[cell]


def _nih_boxes(path: Path, counts: Counts) -> Iterator[tuple[str, str, tuple[Box, ...]]]:
    """The header is "Bbox [x,y,w,h]", four cells under an unquoted name; they are of 1024 pixels."""
    drawn: dict[str, list[Box]] = {}
    columns = ("Image Index", "Finding Label", ("Bbox [x", "x"), "y", "w", ("h]", "h"))
    for image, label, *edges in rows_of(path, columns, counts):
        name = "Infiltration" if label == "Infiltrate" else label
        if box := box_of(name, corners(*edges), counts, of=SIDE_PX):
            drawn.setdefault(file_key(image), []).append(box)
    for image, boxes in drawn.items():
        yield "file", image, tuple(boxes)


def read_rsna(index: Index, key: bytes) -> Draft:
    """Read the RSNA Pneumonia challenge: labels, boxes, and the NIH's patients where they are mapped.

    Views, ages and sexes stand in the DICOM headers.

    Args:
        index: The folder's tables.
        key: Of the hashes.

    Raises:
        DataError: If the main table is missing or broken.
    """
    main = RSNA.need(index)
    classes = index.find("stage_2_detailed_class_info*.csv", "stage_1_detailed_class_info*.csv")
    mapping = index.find(MAPPING)
    notes = [
        "the challenge's split is not used: it is of images, not of patients, and its test has no labels"
    ]
    if mapping is None:
        notes.append(
            f"{MAPPING} (rsna.org) is not there: it tells which images are of one patient; without it "
            "each image counts as a patient, and a patient may stand in two splits"
        )
    return Draft(
        tables=tuple(t for t in (main, classes, mapping) if t),
        metadata=lambda counts: _rsna_facts(mapping, key, counts) if mapping else nothing(counts),
        labels=lambda counts: _rsna_labels(main, classes, counts),
        boxes=lambda counts: _rsna_boxes(main, counts),
        notes=tuple(notes),
    )


def _rsna_facts(mapping: Path, key: bytes, counts: Counts) -> Iterator[tuple[str, str, Facts]]:
    with opened(mapping) as stream:
        try:
            rows = json.load(stream)
        except ValueError:
            rows = None
    if not isinstance(rows, list):
        raise DataError(f"table {mapping.name} is no list in JSON", todo="Fetch it again.")
    patient_hash, study_hash = hasher(key, "patient", "nih"), hasher(key, "study", "nih")
    for row in rows:
        fields = row if isinstance(row, dict) else {}
        image, original = str(fields.get("subset_img_id") or ""), str(fields.get("img_id") or "")
        patient = _patient_number(original)
        if image and patient:
            facts = Facts(patient_hash=patient_hash(patient), study_hash=study_hash(file_key(original)))
            yield "file", file_key(image), facts
        else:
            counts[f"rows of {mapping.name} left out: they name no image or no patient"] += 1


def _rsna_labels(
    main: Path, classes: Path | None, counts: Counts
) -> Iterator[tuple[str, str, Mapping[str, float]]]:
    """One of three classes an image; without their table, lung opacity or none."""
    rows = [] if classes is None else rows_of(classes, ["patientId", "class"], counts)
    class_of = {image: name for image, name, *_ in rows}
    known = {name: {other: float(other == name) for other in CLASSES} for name in CLASSES}
    seen = set()
    for image, target in rows_of(main, ["patientId", "Target"], counts):
        if not image or image in seen:
            continue
        seen.add(image)
        name = class_of.get(image, "")
        if target not in ("0", "1") or (name and (name == CLASSES[0]) != (target == "1")):
            counts["images without labels: their Target is not 0 or 1, or contradicts their class"] += 1
        elif name in known:
            yield "file", file_key(image), known[name]
        else:
            yield "file", file_key(image), {CLASSES[0]: float(target == "1")}


def _rsna_boxes(main: Path, counts: Counts) -> Iterator[tuple[str, str, tuple[Box, ...]]]:
    drawn: dict[str, list[Box]] = {}
    for image, target, *edges in rows_of(main, ["patientId", "Target", "x", "y", "width", "height"], counts):
        if target == "1" and (box := box_of(CLASSES[0], corners(*edges), counts, of=SIDE_PX)):
            drawn.setdefault(file_key(image), []).append(box)
    for image, boxes in drawn.items():
        yield "file", image, tuple(boxes)
