"""Export: contours of the table as files of other people's tools."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from xraytk.data import manifest
from xraytk.data.outlines.formats import FORMATS, writer
from xraytk.data.outlines.outline import Outline, Points, RefusedError, Ring, points_of
from xraytk.data.outlines.place import Facts, is_source_size, to_source
from xraytk.data.outlines.whose import Images
from xraytk.errors import DataError, UsageError
from xraytk.progress import Progress, Silent

_COLUMNS = ["image_id", "width", "height", "polygons", "others"]
_BATCH = 1000


@dataclass(frozen=True, slots=True)
class ExportResult:
    """What an export wrote.

    Args:
        written: Images with a contour.
        left_out: Contours that were not written, by reason: those of `outline.REASONS`, and
            "no-dicom" for segmentations of images without a DICOM file.
        format: One of `formats.FORMATS`.
        out: The folder.
    """

    written: int
    left_out: dict[str, int]
    format: str
    out: Path


def export_outlines(
    contours: pa.Table,
    manifest_table: pa.Table,
    format_name: str,
    out: Path,
    *,
    dicom: Path | None = None,
    progress: Progress | None = None,
) -> ExportResult:
    """Write all contours; images without one are passed over.

    Args:
        contours: Of `manifest.CONTOURS`.
        manifest_table: Of `place.COLUMNS` at least.
        format_name: A key of `formats.FORMATS`.
        out: Folder to write to.
        dicom: Folder of the de-identified DICOM files of ingest; needed for "seg".
        progress: Where to report to.

    Raises:
        UsageError: If the format is unknown.
        DataError: If segmentations are wanted, and there are no DICOM files.
        MachineError: If highdicom is needed and missing, or the disk is full.
    """
    if format_name not in FORMATS:
        raise UsageError(f"there is no format {format_name!r}", f"wanted one of {', '.join(FORMATS)}")
    progress = progress or Silent()
    images = Images(manifest_table)
    left_out: Counter[str] = Counter()
    table = contours.select(_COLUMNS).sort_by("image_id")
    rows = _rows(table, images, left_out, progress)
    if format_name == "seg":
        written = _write_segs(rows, images, out, dicom, left_out)
    else:
        written = writer(format_name)(rows, out)
    if format_name == "png":  # masks of contours that were taken back
        for image_id in table.filter(pc.equal(pc.list_value_length(table["polygons"]), 0))["image_id"]:
            (out / f"{image_id}.png").unlink(missing_ok=True)
    return ExportResult(written, dict(sorted(left_out.items())), format_name, out)


def _rows(table: pa.Table, images: Images, left_out: Counter[str], progress: Progress) -> Iterator[Outline]:
    """Rows with a contour, in order of id."""
    with progress.task("export", table.num_rows) as task:
        number = 0
        for batch in table.to_batches(_BATCH):
            for row in batch.to_pylist():
                number += 1
                try:
                    if row["polygons"]:
                        yield _outline(row, images.facts(row["image_id"]))
                except RefusedError as error:
                    left_out[error.reason] += 1
                task.update(number)


def _outline(row: dict[str, Any], facts: Facts | None) -> Outline:
    if facts is None:
        raise RefusedError("unknown-image")
    if (row["width"], row["height"]) != (facts.width, facts.height):
        raise RefusedError("another-size")
    rings = tuple(
        Ring(p["name"], points_of(p["x"], p["y"], 0.0)) for p in [*row["polygons"], *(row["others"] or ())]
    )
    if any(len(ring.points) < 3 for ring in rings):
        raise RefusedError("fewer-than-three-points")
    return Outline((facts.image_id,), rings, facts.width, facts.height, "table")


def _write_segs(
    rows: Iterator[Outline], images: Images, out: Path, dicom: Path | None, left_out: Counter[str]
) -> int:
    from xraytk.data.outlines.seg_write import need_highdicom, write_one

    if dicom is None or not dicom.is_dir():
        raise DataError(
            "DICOM segmentations refer to de-identified DICOM files, and there are none",
            todo="Run `xraytk ingest --write-dicom` on the same files first.",
        )
    need_highdicom()
    written = 0
    for row in rows:
        facts = images.facts(row.names[0])
        assert facts is not None
        source = dicom.parent / manifest.image_path(facts.image_id, "dicom")
        try:
            if not source.exists():
                raise RefusedError("no-dicom")
            write_one(row, source, functools.partial(_move, facts), out)
            written += 1
        except RefusedError as error:
            left_out[error.reason] += 1
    return written


def _move(facts: Facts, points: Points, columns: int, rows: int) -> Points:
    """Points of the ingested image in a DICOM file of so many columns and rows."""
    if facts.cropped:
        raise RefusedError("cropped-image")
    if not is_source_size(columns, rows, facts):
        raise RefusedError("another-size", f"{columns} x {rows}")
    return to_source(points, facts)
