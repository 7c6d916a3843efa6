"""Everything known of a sample, joined by ``image_id``: manifest, contour, reports, labels.

The joined members, but for the pixels, are what `data.shards` writes beside each image.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from xraytk.data import manifest
from xraytk.errors import DataError
from xraytk.progress import Progress
from xraytk.records import LANGUAGES

META = (  # the columns of the manifest that travel with a sample; no path, no hash of a source
    "image_id",
    "patient_hash",
    "study_hash",
    "split",
    "width",
    "height",
    "source_width",
    "source_height",
    "spacing_x_mm",
    "spacing_y_mm",
    "bits_stored",
    "modality",
    "view",
    "syntax",
    "photometric",
    "voi",
    "sex",
    "age_years",
    "manufacturer",
)


@dataclass(frozen=True, slots=True)
class Sample:
    """One row of the manifest with all that is joined to it, but for the pixels.

    Args:
        image_id: Hashed id.
        path: Of the 16-bit PNG.
        shape: (height, width) of the PNG, as the manifest has it.
        members: Content of the members by their name in `shards.MEMBERS`; no image.
    """

    image_id: str
    path: Path
    shape: tuple[int, int]
    members: dict[str, bytes]


class Joined:
    """The tables of the ingest and masks folders, joined, and sorted by split and image_id.

    Args:
        folder: The ingest folder: manifest, and where there are any, reports and labels.
        contours: The contours table; None to go without.
        views: Views that are kept.
        progress: Where notes go.

    Attributes:
        split: That of each row.
        labels: Names of all labels known of any row, sorted.
        other_views: Number of images left out because of their view.

    Raises:
        DataError: If a table is missing or broken, nothing is left, or the contours were
            drawn on images of another size.
    """

    def __init__(
        self, folder: Path, contours: Path | None, views: tuple[str, ...], progress: Progress
    ) -> None:
        self._folder = folder
        table = manifest.read_table(
            folder / "manifest", manifest.MANIFEST, "xraytk ingest", columns=[*META, "path"]
        )
        kept = table.filter(pc.is_in(table["view"], value_set=pa.array(views, pa.string())))
        self.other_views = len(table) - len(kept)
        if not len(kept):
            raise DataError(
                f"{folder} holds no image to put into shards",
                f"{self.other_views} images are of other views than {', '.join(views)}",
                "Run `xraytk ingest` on more images, or choose others with `--set views=[...]`.",
            )
        table = kept.sort_by([("split", "ascending"), ("image_id", "ascending")])
        self._table = table.combine_chunks()
        self.split: list[str] = table["split"].to_pylist()
        self._ids = self._table["image_id"].combine_chunks()
        self._contours = None if contours is None else self._read_contours(contours)
        self._reports = self._read("reports.parquet", manifest.REPORTS)
        self._labels = self._read_labels(progress)
        self.labels: list[str] = sorted(pc.unique(self._labels["label"]).to_pylist())

    def _read(self, name: str, schema: pa.Schema) -> pa.Table | None:
        path = self._folder / name
        return manifest.read_table(path, schema, "xraytk ingest") if path.exists() else None

    def _read_contours(self, path: Path) -> pa.Table:
        table = manifest.read_table(path, manifest.CONTOURS, "xraytk mask")
        at = pc.index_in(self._ids, value_set=table["image_id"].combine_chunks())
        for side in ("width", "height"):
            same = pc.equal(self._table[side], table[side].take(at))
            if not pc.all(same).as_py() and pc.any(pc.invert(same)).as_py():
                image_id = self._table["image_id"].filter(pc.invert(same))[0].as_py()
                raise DataError(
                    f"{path} is of other images than {self._folder}",
                    f"the {side} of {image_id} differs",
                    "Run `xraytk mask` again.",
                )
        return table

    def _read_labels(self, progress: Progress) -> pa.Table:
        """Known labels of the images at hand, with "row" their place in the manifest, sorted."""
        table = self._read("labels.parquet", manifest.LABELS)
        if table is None:
            table = manifest.LABELS.empty_table()
        known = pc.is_in(table["value"], value_set=pa.array([0.0, 1.0], pa.float32()))
        if odd := len(table) - (pc.sum(known).as_py() or 0):
            progress.note(f"{odd} label values are neither 0 nor 1 and count as unknown")
        row = pc.index_in(table["image_id"], value_set=self._ids)
        table = table.append_column("row", row).filter(pc.and_(known, pc.is_valid(row)))
        return table.sort_by([("row", "ascending"), ("label", "ascending")])

    def _labels_of(self, rows: range) -> list[dict[str, int]]:
        first, last = np.searchsorted(self._labels["row"].to_numpy(), [rows.start, rows.stop])
        made: list[dict[str, int]] = [{} for _ in rows]
        for known in self._labels.slice(first, last - first).to_pylist():
            made[known["row"] - rows.start][known["label"]] = int(known["value"])
        return made

    def samples(self, rows: range) -> list[Sample]:
        """Join the rows of one shard."""
        table = self._table.slice(rows.start, len(rows))
        ids = table["image_id"].combine_chunks()
        joined = (_joined(self._contours, ids), _joined(self._reports, ids), self._labels_of(rows))
        made = []
        for row, contour, report, known in zip(table.to_pylist(), *joined, strict=True):
            members = {"meta": _json({name: _short(row[name]) for name in META})}
            if contour:
                members["contour"] = _json(_contour(contour))
            for language in LANGUAGES:
                if report.get(language):
                    members[language] = report[language].encode()
            if known:
                members["labels"] = _json(known)
            shape = (row["height"], row["width"])
            made.append(Sample(row["image_id"], self._folder / row["path"], shape, members))
        return made


def _joined(table: pa.Table | None, ids: pa.Array) -> list[dict[str, Any]]:
    """Rows of a side table for these ids; an empty dictionary where there is none."""
    if table is None:
        return [{}] * len(ids)
    at = pc.index_in(ids, value_set=table["image_id"].combine_chunks())
    found = iter(table.take(at.drop_null()).to_pylist())
    return [next(found) if i.is_valid else {} for i in at]


def _contour(row: Mapping[str, Any]) -> dict[str, Any]:
    polygons = [
        {"name": p["name"], "x": [round(v, 2) for v in p["x"]], "y": [round(v, 2) for v in p["y"]]}
        for p in row["polygons"] or []
    ]
    return {
        "status": row["status"],
        "polygons": polygons,
        "grid": [row["grid_rows"], row["grid_cols"]],
        "lung_share": [round(v, 4) for v in row["lung_share"] or []],
    }


def _short(value: Any) -> Any:
    """Round what went through float32, so that 0.14 is not 0.14000000059604645."""
    return round(value, 6) if isinstance(value, float) else value


def _json(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
