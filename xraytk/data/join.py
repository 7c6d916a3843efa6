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
from numpy.typing import NDArray

from xraytk.data import manifest
from xraytk.data.selection import read_selection
from xraytk.data.shard_writer import NAME
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
    "spacing_kind",
    "bits_stored",
    "modality",
    "view",
    "view_source",
    "syntax",
    "photometric",
    "voi",
    "sex",
    "age_years",
    "manufacturer",
)
SELECTION = pa.schema([("image_id", pa.string()), ("keep", pa.bool_())])


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


def small_shape(shape: tuple[int, int], long_px: int) -> tuple[int, int]:
    """Return (height, width) of the second image: its long side at most ``long_px``."""
    scale = min(1.0, long_px / max(shape))
    return max(1, round(shape[0] * scale)), max(1, round(shape[1] * scale))


class Joined:
    """The tables of the ingest and masks folders, joined, and sorted by split and image_id.

    Args:
        folder: The ingest folder: manifest, and where there are any, reports and labels.
        contours: The contours table; None to go without.
        views: Views that are kept.
        progress: Where notes go.
        select: Table of image_id and keep; None to keep all.
        also_px: Long side of the second image, whose size and spacing stand in the meta; 0 for none.

    Attributes:
        split: (n,) that of each row.
        image_id: That of each row.
        labels: Names of all labels known of any row, sorted.
        left_out: Number of images left out, by reason: view, unselected.

    Raises:
        DataError: If a table is missing or broken, nothing is left, an id cannot be the name of
            a tar member or comes twice, the selection is of other images, or the contours were
            drawn on images of another size.
    """

    def __init__(
        self,
        folder: Path,
        contours: Path | None,
        views: tuple[str, ...],
        progress: Progress,
        *,
        select: Path | None = None,
        also_px: int = 0,
    ) -> None:
        self._folder = folder
        self._also_px = also_px
        table = manifest.read_table(
            folder / "manifest", manifest.MANIFEST, "xraytk ingest", columns=[*META, "path"]
        )
        _check_ids(table["image_id"], folder)
        kept = table.filter(pc.is_in(table["view"], value_set=pa.array(views, pa.string())))
        self.left_out = {"view": len(table) - len(kept)}
        if not len(kept):
            raise DataError(
                f"{folder} holds no image to put into shards",
                f"{self.left_out['view']} images are of other views than {', '.join(views)}",
                "Run `xraytk ingest` on more images, or choose others with `--set views=[...]`.",
            )
        if select is not None:
            chosen = kept.filter(_selected(select, table["image_id"], kept["image_id"]))
            if not len(chosen):
                raise DataError(f"{select} keeps none of the {len(kept)} images of the wanted views")
            self.left_out["unselected"] = len(kept) - len(chosen)
            kept = chosen
        table = kept.sort_by([("split", "ascending"), ("image_id", "ascending")])
        self._table = table.combine_chunks()
        self.split: NDArray[Any] = _plain_texts(table["split"])
        self.image_id: pa.Array = self._table["image_id"].combine_chunks()
        self._contours = _Side(self._read_contours(contours), self.image_id)
        self._reports = _Side(self._read("reports.parquet", manifest.REPORTS), self.image_id)
        self._labels = self._read_labels(progress)
        self.labels: list[str] = sorted(pc.unique(self._labels["label"]).to_pylist())

    def _read(self, name: str, schema: pa.Schema) -> pa.Table | None:
        path = self._folder / name
        return manifest.read_table(path, schema, "xraytk ingest") if path.exists() else None

    def _read_contours(self, path: Path | None) -> pa.Table | None:
        if path is None:
            return None
        table = manifest.read_table(path, manifest.CONTOURS, "xraytk mask")
        at = pc.index_in(self.image_id, value_set=table["image_id"].combine_chunks())
        for side in ("width", "height"):
            same = pc.equal(self._table[side], table[side].take(at))
            if pc.any(pc.invert(same)).as_py():
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
        row = pc.index_in(table["image_id"], value_set=self.image_id)
        table = table.append_column("row", row).filter(pc.and_(known, pc.is_valid(row)))
        return table.select(["row", "label", "value"]).sort_by([("row", "ascending"), ("label", "ascending")])

    def _labels_of(self, rows: NDArray[np.int64]) -> list[dict[str, int]]:
        all_rows = self._labels["row"].to_numpy()
        first, last = np.searchsorted(all_rows, rows), np.searchsorted(all_rows, rows, "right")
        made: list[dict[str, int]] = []
        for start, end in zip(first.tolist(), last.tolist(), strict=True):
            known = self._labels.slice(start, end - start).to_pylist()
            made.append({label["label"]: int(label["value"]) for label in known})
        return made

    def samples(self, rows: NDArray[np.int64]) -> list[Sample]:
        """Join some rows.

        Args:
            rows: (n,) numbers of rows.
        """
        sides = (self._contours.take(rows), self._reports.take(rows), self._labels_of(rows))
        made = []
        for row, contour, report, known in zip(self._table.take(rows).to_pylist(), *sides, strict=True):
            shape = (row["height"], row["width"])
            members = {"meta": _json(self._meta(row, shape))}
            if contour:
                members["contour"] = _json(_contour(contour))
            for language in LANGUAGES:
                if report.get(language):
                    members[language] = report[language].encode()
            if known:
                members["labels"] = _json(known)
            made.append(Sample(row["image_id"], self._folder / row["path"], shape, members))
        return made

    def _meta(self, row: Mapping[str, Any], shape: tuple[int, int]) -> dict[str, Any]:
        meta = {name: _short(row[name]) for name in META}
        if self._also_px:
            small = small_shape(shape, self._also_px)
            for name, large_px, small_px in zip(("height", "width"), shape, small, strict=True):
                meta[f"small_{name}"] = small_px
                spacing = row["spacing_y_mm" if name == "height" else "spacing_x_mm"]
                spacing_of = f"small_spacing_{'y' if name == 'height' else 'x'}_mm"
                meta[spacing_of] = None if spacing is None else _short(spacing * large_px / small_px)
        return meta


class _Side:
    """A side table, with where in it each row of the manifest is found, looked up once."""

    def __init__(self, table: pa.Table | None, ids: pa.Array) -> None:
        self._table = table
        if table is not None:
            at = pc.index_in(ids, value_set=table["image_id"].combine_chunks())
            self._at = at.fill_null(-1).to_numpy(zero_copy_only=False)

    def take(self, rows: NDArray[np.int64]) -> list[dict[str, Any]]:
        """Rows of the side table; an empty dictionary where there is none."""
        if self._table is None:
            return [{}] * len(rows)
        at = self._at[rows]
        found = iter(self._table.take(at[at >= 0]).to_pylist())
        return [next(found) if i >= 0 else {} for i in at]


def _check_ids(ids: pa.ChunkedArray, folder: Path) -> None:
    """The texts are not shown: an id that is no hash may be a patient's."""
    fine = pc.fill_null(pc.match_substring_regex(ids, f"^{NAME.pattern}$"), False)
    if odd := len(ids) - (pc.sum(fine).as_py() or 0):
        raise DataError(
            f"{folder} holds {odd} image ids that cannot be names in a shard",
            "wanted 1 to 64 letters, digits, - and _; above all no dot",
            "Run `xraytk ingest` to have such ids.",
        )
    if twice := len(ids) - pc.count_distinct(ids).as_py():
        raise DataError(f"{folder} holds {twice} image ids more than once", todo="Run `xraytk ingest` again.")


def _selected(path: Path, every: pa.ChunkedArray, ids: pa.ChunkedArray) -> pa.ChunkedArray:
    """Which of ``ids`` the selection keeps; it may keep only images of the manifest."""
    keep = pa.array(read_selection(path), pa.string())
    known = pc.sum(pc.is_in(keep, value_set=every.combine_chunks())).as_py() or 0
    if known < len(keep):
        raise DataError(
            f"{path} is a selection of other images",
            f"{len(keep) - known} of the {len(keep)} ids that it keeps are not among the {len(every)} "
            "ingested images",
            "Make the selection again from this ingest folder.",
        )
    return pc.is_in(ids, value_set=keep)


def _plain_texts(column: pa.ChunkedArray) -> NDArray[Any]:
    """A column of few values as (n,) array of shared Python strings."""
    coded = column.combine_chunks().dictionary_encode()
    texts: NDArray[Any] = np.array(coded.dictionary.to_pylist(), object)
    return np.asarray(texts[coded.indices.to_numpy()])


def _contour(row: Mapping[str, Any]) -> dict[str, Any]:
    """What travels of a contour; "others" holds the lungs in the other convention."""
    return {
        "status": row["status"],
        "reason": row["reason"],
        "confidence": _short(row["confidence"]),
        "source": row["source"],
        "checked": row["checked"],
        "polygons": _polygons(row["polygons"]),
        "others": _polygons(row["others"]),
        "grid": [row["grid_rows"], row["grid_cols"]],
        "lung_share": [round(v, 4) for v in row["lung_share"] or []],
    }


def _polygons(polygons: list[dict[str, Any]] | None) -> list[dict[str, Any]]:
    return [
        {"name": p["name"], "x": [round(v, 2) for v in p["x"]], "y": [round(v, 2) for v in p["y"]]}
        for p in polygons or []
    ]


def _short(value: Any) -> Any:
    """Round what went through float32, so that 0.14 is not 0.14000000059604645."""
    return round(value, 6) if isinstance(value, float) else value


def _json(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
