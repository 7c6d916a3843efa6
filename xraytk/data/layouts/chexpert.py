"""CheXpert, in its full, small and batched releases.

Source:
    Irvin et al., CheXpert, AAAI 2019, and the set's README.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from xraytk.data.layouts.cells import LabelRows, age_of, file_key, hasher, sex_of, view_of
from xraytk.data.layouts.layout import Counts, Draft
from xraytk.data.layouts.tables import Index, PublicSet, rows_of
from xraytk.data.text import Facts

CHEXPERT = PublicSet(
    "CheXpert",
    "stanfordmlgroup.github.io/competitions/chexpert (Stanford AIMI)",
    dict.fromkeys(("train.csv", "valid.csv"), ("Path", "Frontal/Lateral", "AP/PA")),
)
FINDINGS = (
    *("No Finding", "Enlarged Cardiomediastinum", "Cardiomegaly", "Lung Opacity", "Lung Lesion", "Edema"),
    *("Consolidation", "Pneumonia", "Atelectasis", "Pneumothorax", "Pleural Effusion", "Pleural Other"),
    *("Fracture", "Support Devices"),
)
"""Also MIMIC-CXR's, which the same labeler labelled."""

_TABLES = {"train": ("train.csv",), "val": ("valid.csv",), "test": ("test.csv", "test_labels.csv")}
_PLACE = re.compile(r"(patient\d+)/(study\d+)/[^/]+$")
_FACTS = ("Sex", "Age", "Frontal/Lateral", "AP/PA")


def read_chexpert(index: Index, key: bytes) -> Draft:
    """Read CheXpert: labels, views, ages, sexes, and the official split, which is by patient.

    Images are known by "patient00001/study1/view1_frontal", whatever folders lie above, since
    the releases differ in these.

    Args:
        index: The folder's tables.
        key: Of the hashes.

    Raises:
        DataError: If no table is there, or one is broken.
    """
    CHEXPERT.need(index)
    found = ((split, index.find(*names)) for split, names in _TABLES.items())
    tables = {split: path for split, path in found if path is not None}
    return Draft(
        tables=tuple(tables.values()),
        metadata=lambda counts: _facts(tables, key, counts),
        labels=lambda counts: _labels(tables, counts),
    )


def _facts(tables: Mapping[str, Path], key: bytes, counts: Counts) -> Iterator[tuple[str, str, Facts]]:
    patient_hash, study_hash = hasher(key, "patient", "chexpert"), hasher(key, "study", "chexpert")
    for split, table in tables.items():
        for path, sex, age, side, position in rows_of(table, ["Path"], counts, _FACTS):
            place = _PLACE.search(path)
            if place is None:
                counts["rows left out: their path names no patient and study"] += 1
                continue
            lateral = side.casefold() == "lateral"
            facts = Facts(
                patient_hash=patient_hash(place[1]),
                study_hash=study_hash(f"{place[1]}/{place[2]}"),
                view="LATERAL" if lateral else _frontal(position),
                sex=sex_of(sex),
                age_years=age_of(age, counts, youngest=1.0),
                split=split,
            )
            yield "file", file_key(path, 3), facts


def _frontal(position: str) -> str:
    """PA and AP; a frontal image with another word (LL, RL) stays unknown."""
    view = view_of(position)
    return view if view in ("PA", "AP") else ""


def _labels(tables: Mapping[str, Path], counts: Counts) -> Iterator[tuple[str, str, Mapping[str, float]]]:
    rows = LabelRows(FINDINGS)
    for table in tables.values():
        for path, *cells in rows_of(table, ["Path"], counts, FINDINGS):
            values = rows.values(tuple(cells), counts)
            if values and _PLACE.search(path):
                yield "file", file_key(path, 3), values
