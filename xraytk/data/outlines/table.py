"""Our own table of contours, as `xraytk mask` writes it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from xraytk.data import contour, manifest
from xraytk.data.contour_rows import measured, row_of
from xraytk.data.outlines.outline import (
    BAD,
    Outline,
    Refusal,
    RefusedError,
    Ring,
    mask_shape,
    points_of,
    refusal,
    side_of,
)
from xraytk.data.outlines.rings import checked, is_nearly_simple

_COLUMNS = ["image_id", "status", "width", "height", "polygons", "others"]
_BATCH = 1000
_GRID = 20


def read(path: Path) -> Iterator[Outline | Refusal]:
    """Read a table; rows that say themselves that there is no contour are passed over.

    Args:
        path: Parquet of `manifest.CONTOURS`.
    """
    row = -1
    try:
        file = pq.ParquetFile(path)
        said = (file.schema_arrow.metadata or {}).get(b"xraytk.format", b"").decode("ascii", "replace")
        if said != str(manifest.FORMAT):
            raise RefusedError("not-readable", "of another format")
        for batch in file.iter_batches(_BATCH, columns=_COLUMNS):
            for facts in batch.to_pylist():
                row += 1
                if facts["status"] in ("failed", "skipped") and not facts["polygons"]:
                    continue
                yield _outline(facts, row)
    except (OSError, pa.ArrowException, *BAD, RefusedError) as error:
        yield refusal(error)


def _outline(facts: dict[str, object], row: int) -> Outline | Refusal:
    names = (str(facts["image_id"]),)
    try:
        polygons: list[dict[str, Any]] = []
        for column in ("polygons", "others"):
            polygons += facts[column] or []  # type: ignore[arg-type]
        width, height = side_of(facts["width"]), side_of(facts["height"])
        rings = tuple(_ring(p, width, height) for p in polygons)
        return Outline(names, rings, width, height, "table", row)
    except (*BAD, RefusedError) as error:
        return refusal(error, names, row)


def _ring(polygon: dict[str, Any], width: int | None, height: int | None) -> Ring:
    """A polygon; the net's own are simplified, so that corners of theirs may cross."""
    points = points_of(polygon["x"], polygon["y"], 0.0)
    made = Ring(str(polygon["name"]), points)
    try:
        checked(points, *mask_shape(height, width)[::-1])
    except RefusedError as error:
        if error.reason == "self-crossing" and is_nearly_simple(points, *mask_shape(height, width)[::-1]):
            return made._replace(traced=True)
    return made


def write(rows: Iterable[Outline], folder: Path) -> int:
    """Write `contours.parquet`; return the number of images.

    Args:
        rows: In pixels of the ingested images.
        folder: Where to.
    """
    return manifest.write_table(folder / "contours.parquet", manifest.CONTOURS, map(_row, rows))


def _row(outline: Outline) -> dict[str, object]:
    assert outline.width is not None and outline.height is not None  # noqa: PT018
    rings = [
        {"name": r.label, "x": r.points[:, 0].tolist(), "y": r.points[:, 1].tolist()} for r in outline.rings
    ]
    lungs = [ring for ring in rings if ring["name"] in contour.LUNGS]
    others = [ring for ring in rings if ring["name"] not in contour.LUNGS]
    row = row_of(outline.names[0], (outline.width, outline.height), _GRID, "ok", "")
    return measured(row, lungs, others, None)
