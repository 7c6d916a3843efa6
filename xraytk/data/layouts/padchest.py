"""PadChest: labels of findings and diagnoses, Spanish reports.

Source:
    Bustos et al., PadChest, Medical Image Analysis 2020, and the set's README.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from xraytk.data.layouts.cells import OLDEST, file_key, hasher, number_of, sex_of, tidy, view_of
from xraytk.data.layouts.layout import Counts, Draft, Named
from xraytk.data.layouts.tables import Index, PublicSet, rows_of
from xraytk.data.text import Facts, Report

PADCHEST = PublicSet(
    "PadChest",
    "bimcv.cipf.es/bimcv-projects/padchest",
    dict.fromkeys(
        ("padchest_chest_x_ray_images_labels_160k*.csv", "*chest_x_ray_images_labels*.csv"),
        ("ImageID", "PatientID", "Labels"),
    ),
)
RARE = 1000
"""A label that fewer than one in so many images have is left out."""

_QUOTED = re.compile(r"'([^']*)'|\"([^\"]*)\"")
_NO_FINDINGS = ("exclude", "unchanged")
_FACTS = (
    *("StudyID", "Projection", "PatientSex_DICOM", "StudyDate_DICOM", "PatientBirth", "Modality_DICOM"),
    "ViewPosition_DICOM",
)


def read_padchest(index: Index, key: bytes) -> Draft:
    """Read PadChest: labels, views, ages (years of study less birth), sexes, Spanish reports.

    Args:
        index: The folder's tables.
        key: Of the hashes.

    Raises:
        DataError: If the table is missing or broken.
    """
    main = PADCHEST.need(index)
    names, rare, by_model = _vocabulary(main)
    notes = ["PadChest has no official split: patients are drawn"]
    if rare:
        notes.append(f"{rare:,} labels left out: fewer than one in {RARE:,} images have them")
    if by_model:
        notes.append(f"{by_model:,} rows were labelled by a model, not by a physician")
    return Draft(
        tables=(main,),
        metadata=lambda counts: _facts(main, key, counts),
        labels=lambda counts: _labels(main, names, counts),
        reports=lambda counts: _reports(main, counts),
        notes=tuple(notes),
    )


def _vocabulary(main: Path) -> tuple[list[str], int, int]:
    """Labels that are kept, and the numbers of rare labels and of rows that a model labelled."""
    uses: Counter[str] = Counter()
    rows, by_model = 0, 0
    for cell, method in rows_of(main, ["Labels"], Counter(), ["MethodLabel"]):
        rows += 1
        by_model += "rnn" in method.casefold()
        uses.update(_labels_in(cell))
    for name in _NO_FINDINGS:
        uses.pop(name, None)
    kept = sorted(name for name, count in uses.items() if count * RARE >= rows)
    return kept, len(uses) - len(kept), by_model


def _labels_in(cell: str) -> set[str]:
    """The names in "['pleural effusion', ' cardiomegaly']"."""
    return {tidy(a or b).casefold() for a, b in _QUOTED.findall(cell)} - {""}


def _facts(main: Path, key: bytes, counts: Counts) -> Iterator[tuple[str, str, Facts]]:
    patient_hash, study_hash = hasher(key, "patient", "padchest"), hasher(key, "study", "padchest")
    columns = ["ImageID", "PatientID"]
    for image, patient, study, projection, sex, date, birth, modality, position in rows_of(
        main, columns, counts, _FACTS
    ):
        if not image or not patient:
            counts["rows left out: they name no image or no patient"] += 1
            continue
        if projection == "EXCLUDE":
            counts["images that the set itself excludes (Projection EXCLUDE); their view is OTHER"] += 1
        facts = Facts(
            patient_hash=patient_hash(patient),
            study_hash=study_hash(study),
            view=view_of(projection) or view_of(position),
            sex=sex_of(sex),
            age_years=_age(date, birth, counts),
            modality=modality if modality in ("CR", "DX") else "",
        )
        yield "file", file_key(image), facts


def _age(date: str, birth: str, counts: Counts) -> float | None:
    """Years from "20140915" and "1941.0"."""
    year, born = number_of(date[:4]), number_of(birth)
    if year is None or born is None:
        return None
    if 0 <= year - born <= OLDEST:
        return year - born
    counts[f"ages left out: they are not in 0 to {OLDEST} years"] += 1
    return None


def _labels(
    main: Path, names: Collection[str], counts: Counts
) -> Iterator[tuple[str, str, Mapping[str, float]]]:
    """A label that is not named is absent, but for "unchanged", which says nothing of the others."""
    everything = dict.fromkeys(names)
    known: dict[str, Mapping[str, float]] = {}
    for image, cell in rows_of(main, ["ImageID", "Labels"], counts):
        there = _labels_in(cell)
        if "exclude" in there:
            counts["images without labels: the set says exclude"] += 1
            continue
        if cell not in known:
            here = dict.fromkeys(n for n in names if n in there)
            known[cell] = Named(here if "unchanged" in there or not there else everything, here)
        if image and known[cell]:
            yield "file", file_key(image), known[cell]


def _reports(main: Path, counts: Counts) -> Iterator[tuple[str, str, Report]]:
    """Spanish, without accents and stop words, as the set has them."""
    for image, text in rows_of(main, ["ImageID"], counts, ["Report"]):
        plain = tidy(text)
        if image and plain not in ("", "nan"):
            yield "file", file_key(image), Report(es=plain)
