"""What an ingest folder holds, in numbers: `summarise` reads the tables and counts.

Tables are read a column at a time, or in batches where a column is long text, so that a million
images need seconds and little memory (a few dozen bytes an image, for telling patients apart).

The numbers are exact, small ones too: they are as private as the manifest. `data.card` hides
small groups.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from xraytk.data import manifest
from xraytk.data.columns import Codes, Columns, Ints, coded
from xraytk.data.side_counts import count_boxes, count_labels, count_reports
from xraytk.records import SPLITS

FORMAT = 1
AGE_STEP, AGE_TOP = 5, 90
"""Years of an age group, and the age from which all are one group."""
SIDE_STEP_PX = 250
MOST_PER_PATIENT = 10

_PLAIN = ("modality", "view", "syntax", "photometric", "voi", "bits_stored", "sex")
_OPTIONAL = ("view_source",)


def summarise(folder: Path, run: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Count everything that a person would ask of an ingest folder.

    Args:
        folder: With ``manifest/``, and as far as there are any ``rejected.parquet``,
            ``reports.parquet``, ``labels.parquet``, ``boxes.parquet``.
        run: What no table says: ``{"reports": {"matched", "unmatched", "identifiers_scrubbed",
            "scrubbed_by_kind"}, "labels": {"matched", "unmatched"}}``, each if known.
            None takes it from the folder's ``summary.json``, if there is one.

    Returns:
        What ``summary.json`` holds; the README names the keys. Missing columns and tables give
        None, missing values count under "".

    Raises:
        DataError: If a table is broken.
    """
    said = _earlier(folder) if run is None else run
    columns = Columns(folder / "manifest")
    patients, splits = (coded(columns.needed(name)) for name in ("patient_hash", "split"))
    studies = columns.codes("study_hash")
    reasons = _reasons(folder / "rejected.parquet")
    by_patient = np.bincount(patients.codes, minlength=1) if columns.rows else np.zeros(0, np.int64)
    in_splits = splits.tally_distinct(patients)
    return {
        "format": FORMAT,
        "images": columns.rows,
        "rejected": sum(reasons.values()),
        "reasons": reasons,
        "splits": {**dict.fromkeys(SPLITS, 0), **splits.tally()},
        "patients": len(patients.names),
        "studies": None if studies is None else len(studies.names),
        **{name: _tally(columns.codes(name)) for name in (*_PLAIN, *_OPTIONAL, "manufacturer")},
        "burned_in": _true(columns, "burned_in"),
        "with_spacing": _known(columns, "spacing_x_mm"),
        "same_pixels": _known(columns, "duplicate_of"),
        "near_duplicates": _known(columns, "near_duplicate_of"),
        "text_blanked": _known(columns, "text_boxes"),
        "source_long_side_px": _sides(columns, "source_width", "source_height"),
        "long_side_px": _largest(columns),
        "images_per_patient": _per_patient(by_patient),
        "patients_by": {
            "split": {**dict.fromkeys(SPLITS, 0), **in_splits},
            "sex": _distinct(columns.codes("sex"), patients),
            "manufacturer": _distinct(columns.codes("manufacturer"), patients),
            "age_and_sex": _ages(columns, patients),
        },
        "patients_in_two_splits": sum(in_splits.values()) - len(patients.names),
        "reports": count_reports(folder / "reports.parquet", said.get("reports", {})),
        "labels": count_labels(
            folder / "labels.parquet", columns.needed("image_id"), splits, said.get("labels", {})
        ),
        "boxes": count_boxes(folder / "boxes.parquet"),
    }


def _earlier(folder: Path) -> dict[str, Any]:
    try:
        value = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def _reasons(path: Path) -> dict[str, int]:
    if not path.exists():
        return {}
    return coded(manifest.read_table(path, manifest.REJECTED, "xraytk ingest", ["reason"])["reason"]).tally()


def _tally(column: Codes | None) -> dict[str, int] | None:
    return None if column is None else column.tally()


def _distinct(column: Codes | None, patients: Codes) -> dict[str, int] | None:
    return None if column is None else column.tally_distinct(patients)


def _true(columns: Columns, name: str) -> int | None:
    column = columns.read(name)
    return None if column is None else int(pc.sum(column.cast(pa.bool_())).as_py() or 0)


def _known(columns: Columns, name: str) -> int | None:
    """Rows with a value that is neither null, "" nor 0; not a list without members."""
    column = columns.read(name)
    if column is None:
        return None
    if pa.types.is_string(column.type) or pa.types.is_dictionary(column.type):
        found = pc.not_equal(column.cast(pa.string()), "")
    elif pa.types.is_list(column.type):
        found = pc.greater(pc.list_value_length(column), 0)
    else:
        found = pc.not_equal(column.cast(pa.float64()), 0.0)
    return int(pc.sum(found).as_py() or 0)


def _sides(columns: Columns, *names: str) -> dict[str, int] | None:
    """Images by long side, in steps; the keys are the lower ends in pixels."""
    sides = [columns.numbers(name) for name in names]
    if any(side is None for side in sides):
        return None
    longest = np.fmax(*sides)  # type: ignore[arg-type]
    steps = (longest[np.isfinite(longest) & (longest > 0)] // SIDE_STEP_PX).astype(np.int64)
    found = np.bincount(steps)
    return {str(i * SIDE_STEP_PX): int(found[i]) for i in range(len(found)) if found[i]}


def _largest(columns: Columns) -> int | None:
    found = [pc.max(c).as_py() for n in ("width", "height") if (c := columns.read(n)) is not None]
    return max((int(v) for v in found if v is not None), default=None)


def _per_patient(images: Ints) -> dict[str, int]:
    """Patients by their number of images; the last key, "10+", takes all above."""
    found = np.bincount(np.minimum(images, MOST_PER_PATIENT), minlength=1)
    named = {i: f"{i}+" if i == MOST_PER_PATIENT else str(i) for i in range(1, len(found))}
    return {named[i]: int(found[i]) for i in named if found[i]}


def _ages(columns: Columns, patients: Codes) -> dict[str, dict[str, int]] | None:
    """Patients by sex, then by age group ("0-4" ... "85-89", "90+", "" unknown).

    A patient who grew older between two images counts in both groups.
    """
    ages, sexes = columns.numbers("age_years"), columns.codes("sex")
    if ages is None:
        return None
    if sexes is None:
        sexes = Codes([""], np.zeros(columns.rows, np.int64))
    names = age_groups()
    known = np.isfinite(ages) & (ages >= 0) & (ages <= 130)
    group = np.full(len(ages), len(names) - 1, np.int64)
    group[known] = np.minimum(ages[known], AGE_TOP).astype(np.int64) // AGE_STEP
    both = sexes.codes * len(names) + group
    pairs = np.unique(both * max(len(patients.names), 1) + patients.codes) // max(len(patients.names), 1)
    grid = np.bincount(pairs, minlength=len(sexes.names) * len(names)).reshape(-1, len(names))
    order = sorted(range(len(sexes.names)), key=lambda i: sexes.names[i])
    return {
        sexes.names[i]: {name: int(n) for name, n in zip(names, grid[i], strict=True) if n}
        for i in order
        if grid[i].any()
    }


def age_groups() -> list[str]:
    """Names of the age groups, "" (unknown) last."""
    return [
        *(f"{low}-{low + AGE_STEP - 1}" for low in range(0, AGE_TOP, AGE_STEP)),
        f"{AGE_TOP}+",
        "",
    ]
