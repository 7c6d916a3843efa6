"""Rows of the contours table: what was found or drawn, what follows from it, and what people said."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from xraytk.data import contour, corrections, manifest, thoracic
from xraytk.errors import DataError

Row = dict[str, Any]
Spacing = tuple[float, float] | None


def table_of(rows: Sequence[Row]) -> pa.Table:
    """Rows as a table."""
    return pa.Table.from_pylist(list(rows), schema=manifest.CONTOURS)


def row_of(image_id: str, size: tuple[int, int], grid: int, status: str, reason: str) -> Row:
    """A row without a contour.

    Args:
        image_id: Of the image.
        size: Width and height of it.
        grid: Rows and columns of the grid of shares.
        status: See `manifest.CONTOURS`.
        reason: A fixed code.
    """
    return {
        **dict.fromkeys(manifest.CONTOURS.names),
        "image_id": image_id,
        "status": status,
        "reason": reason,
        "source": "",
        "checked": "",
        "width": size[0],
        "height": size[1],
        "polygons": [],
        "others": [],
        "grid_rows": grid,
        "grid_cols": grid,
        "lung_share": [],
        "lung_area_share": 0.0,
        "costophrenic": [],
    }


def measured(
    row: Row,
    polygons: Sequence[contour.Polygon],
    others: Sequence[contour.Polygon],
    spacing_mm: Spacing,
) -> Row:
    """A row with outlines, and what follows from them.

    Args:
        row: From `row_of`.
        polygons: Whole lungs, in pixels of the image.
        others: Clear lungs and the heart.
        spacing_mm: Of the image's pixels, (row, column).
    """
    height, width = row["height"], row["width"]
    row = row | {"polygons": list(polygons), "others": list(others)}
    if polygons:
        row["lung_share"] = contour.share_grid(polygons, width, height, row["grid_rows"], row["grid_cols"])
        row["lung_area_share"] = float(contour.rasterise(polygons, height, width).mean())
        row |= thoracic.areas(polygons, spacing_mm)
        row["costophrenic"] = thoracic.costophrenic_regions(polygons, height, width)
    heart = next((p for p in others if p["name"] == "heart"), None)
    row["cardiothoracic_ratio"] = thoracic.cardiothoracic_ratio(polygons, heart)
    return row


def with_corrections(
    found: pa.Table, images: pa.Table, folder: Path, note: Callable[[str], None]
) -> pa.Table:
    """The table with what people said of its images.

    Args:
        found: Of `manifest.CONTOURS`, sorted by image_id.
        images: Of the manifest: image_id and spacings.
        folder: Of corrections.
        note: Is told of those that do not fit.
    """
    at = {image_id: i for i, image_id in enumerate(found["image_id"].to_pylist())}
    rows: dict[int, Row] = {}
    for path in sorted(folder.glob("*.json")) if folder.is_dir() else []:
        if path.stem not in at:
            continue
        try:
            said = corrections.load(path)
        except DataError as error:
            note(f"{error.what}: left out")
            continue
        i = at[path.stem]
        row = found.slice(i, 1).to_pylist()[0]
        if (said.width, said.height) != (row["width"], row["height"]):
            note(f"{path} is of another size than the image is now: left out")
            continue
        rows[i] = _corrected(row, said, images)
    if not rows:
        return found
    kept = found.take(pa.array([i for i in range(found.num_rows) if i not in rows], pa.int64()))
    return pa.concat_tables([kept, table_of(list(rows.values()))]).sort_by("image_id").combine_chunks()


def _corrected(row: Row, said: corrections.Correction, images: pa.Table) -> Row:
    """A row as a person wants it."""
    facts = row["image_id"], (row["width"], row["height"]), row["grid_rows"]
    if said.decision == "rejected":
        return row_of(*facts, "failed", "rejected") | {"checked": said.decision}
    drawn = [dict(polygon) for polygon in said.polygons]
    whole = [p for p in drawn if p["name"] in contour.LUNGS]
    spacing_mm = _spacing(images, row["image_id"])
    if said.decision == "accepted":
        row = row | {"status": "ok", "reason": "", "checked": said.decision}
        return measured(row, whole, row["others"], spacing_mm)
    others = [p for p in drawn if p["name"] not in contour.LUNGS]
    if not whole:  # a heart or clear lungs alone: the whole lungs that were found stay
        row = row | {"checked": said.decision}
        return measured(row, row["polygons"], others, spacing_mm)
    new = row_of(*facts, "ok", "") | {"checked": said.decision, "source": "person", "confidence": 1.0}
    return measured(new, whole, others, spacing_mm)


def _spacing(images: pa.Table, image_id: str) -> Spacing:
    place = pc.index(images["image_id"], image_id).as_py()
    y, x = (images[name][place].as_py() for name in ("spacing_y_mm", "spacing_x_mm"))
    return None if y is None or x is None else (y, x)
