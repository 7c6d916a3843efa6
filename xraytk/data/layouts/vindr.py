"""VinDr-CXR of PhysioNet, and its training part as the VinBigData challenge gives it.

Source:
    Nguyen et al., VinDr-CXR, Scientific Data 2022. Three readers labelled each training image,
    five agreed on each test image.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from xraytk.data.layouts.cells import box_of, file_key, hasher, number_of
from xraytk.data.layouts.layout import Box, Counts, Draft
from xraytk.data.layouts.tables import Index, PublicSet, header_of, rows_of
from xraytk.data.sheet import plain_name
from xraytk.data.text import Facts

VINDR = PublicSet(
    "VinDr-CXR",
    "physionet.org/content/vindr-cxr (credentialed access)",
    {
        **dict.fromkeys(
            ("image_labels_train.csv", "image_labels_test.csv", "annotations_train.csv"), ("image_id",)
        ),
        "train.csv": ("image_id", "class_name", "rad_id", "x_min"),
    },
)
_SAME = {"Other disease": "Other diseases"}
_NOT_LABELS = ("imageid", "radid", "")
_EDGES = ("x_min", "y_min", "x_max", "y_max")
_MOST_LABELS = 60


def read_vindr(index: Index, key: bytes) -> Draft:
    """Read VinDr-CXR: the readers' majority for each label, each reader's boxes, the official split.

    Args:
        index: The folder's tables.
        key: Of the hashes.

    Raises:
        DataError: If no table is there, or one is broken.
    """
    VINDR.need(index)
    votes = _found(index, "image_labels_{}.csv")
    drawn = _found(index, "annotations_{}.csv")
    images = votes or drawn
    if not images:  # the challenge's form: one table of boxes, and a list of the test's images
        images = _found(index, "{}.csv")
        drawn = {split: path for split, path in images.items() if split == "train"}
    return Draft(
        tables=tuple(sorted({*images.values(), *drawn.values()})),
        metadata=lambda counts: _facts(images, key, counts),
        labels=lambda counts: _labels(votes, counts) if votes else _labels_of_boxes(drawn, counts),
        boxes=lambda counts: _boxes(drawn, counts),
        notes=(
            "VinDr-CXR names no patients: each image counts as one. Its split is kept, though whether "
            "it is by patient cannot be told",
            "all its images are PA, as its authors say",
        ),
    )


def _found(index: Index, pattern: str) -> dict[str, Path]:
    paths = {split: index.find(pattern.format(split)) for split in ("train", "test")}
    return {split: path for split, path in paths.items() if path and "image_id" in header_of(path)}


def _facts(tables: Mapping[str, Path], key: bytes, counts: Counts) -> Iterator[tuple[str, str, Facts]]:
    patient_hash = hasher(key, "patient", "vindr")
    for split, table in tables.items():
        seen = set()
        for (image,) in rows_of(table, ["image_id"], counts):
            if image and image not in seen:
                seen.add(image)
                facts = Facts(patient_hash=patient_hash(image), view="PA", split=split)
                yield "file", file_key(image), facts


def _labels(tables: Mapping[str, Path], counts: Counts) -> Iterator[tuple[str, str, Mapping[str, float]]]:
    for table in tables.values():
        names = [c for c in header_of(table) if plain_name(c) not in _NOT_LABELS][:_MOST_LABELS]
        readers: dict[str, int] = {}
        votes: dict[str, bytearray] = {}
        for image, *cells in rows_of(table, ["image_id", *names], counts):
            marks = [number_of(c) for c in cells]
            if not image or any(m not in (0.0, 1.0) for m in marks):
                counts[f"rows of {table.name} left out: a label is not 0 or 1"] += 1
                continue
            readers[image] = readers.get(image, 0) + 1
            row = votes.setdefault(image, bytearray(len(names)))
            for i, mark in enumerate(marks):
                row[i] = min(255, row[i] + int(mark or 0))
        for image, row in votes.items():
            ayes = {_SAME.get(name, name): count for name, count in zip(names, row, strict=True)}
            yield "file", file_key(image), _majority(ayes, readers[image], counts)


def _majority(ayes: Mapping[str, int], readers: int, counts: Counts) -> dict[str, float]:
    """What more than half of the readers say; a tie is left out."""
    ties = sum(2 * count == readers for count in ayes.values())
    if ties:
        counts["labels left out: as many readers say yes as no"] += ties
    split = sum(0 < count < readers for count in ayes.values())
    if split:
        counts["labels on which the readers differ"] += split
    return {name: float(2 * count > readers) for name, count in ayes.items() if 2 * count != readers}


def _labels_of_boxes(
    tables: Mapping[str, Path], counts: Counts
) -> Iterator[tuple[str, str, Mapping[str, float]]]:
    """The majority of the readers, from who drew a box of a class, or marked "No finding"."""
    for table in tables.values():
        if "rad_id" not in header_of(table):
            continue  # the test's boxes: who found nothing drew none, and is not named
        readers: dict[str, set[str]] = {}
        ayes: dict[str, dict[str, set[str]]] = {}
        names = set()
        for image, label, reader in rows_of(table, ["image_id", "class_name", "rad_id"], counts):
            readers.setdefault(image, set()).add(reader)
            ayes.setdefault(image, {}).setdefault(label, set()).add(reader)
            names.add(label)
        for image, marked in ayes.items():
            sums = {name: len(marked.get(name, ())) for name in sorted(names)}
            yield "file", file_key(image), _majority(sums, len(readers[image]), counts)


def _boxes(tables: Mapping[str, Path], counts: Counts) -> Iterator[tuple[str, str, tuple[Box, ...]]]:
    for table in tables.values():
        drawn: dict[str, list[Box]] = {}
        columns = ["image_id", "class_name", *_EDGES]
        for image, label, *cells in rows_of(table, columns, counts, ["rad_id"]):
            *edges, reader = cells
            if not any(edges):
                continue  # "No finding" has none
            box = box_of(_SAME.get(label, label), edges, counts, reader=reader)
            if box:
                drawn.setdefault(file_key(image), []).append(box)
        for image, boxes in drawn.items():
            yield "file", image, tuple(boxes)
