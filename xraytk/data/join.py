"""Everything known of a sample, joined by ``image_id``: manifest, contour, reports, labels.

The joined members, but for the pixels, are what `data.shards` writes beside each image.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from xraytk.data import manifest
from xraytk.data.selection import kept_by
from xraytk.data.shard_index import study_of
from xraytk.data.shard_writer import NAME
from xraytk.data.side import Side, float_lists, polygon_lists
from xraytk.errors import DataError
from xraytk.progress import Progress
from xraytk.records import LANGUAGES, UNCERTAIN

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
CONTOUR = (  # the columns of the contours that are read; width and height to be compared
    "image_id",
    "status",
    "reason",
    "confidence",
    "source",
    "checked",
    "width",
    "height",
    "polygons",
    "others",
    "grid_rows",
    "grid_cols",
    "lung_share",
)

BOX = ("label", "x0", "y0", "x1", "y1")
"""What travels of a box, in the meta as "boxes"; only where there is one."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One row of the manifest with all that is joined to it, but for the pixels.

    Args:
        image_id: Hashed id.
        patient: Hashed.
        study: From `shard_index.study_of`.
        view: One of `VIEWS`.
        path: Of the 16-bit PNG.
        shape: (height, width) of the PNG, as the manifest has it.
        members: Content of the members by their name in `shards.MEMBERS`; no image.
    """

    image_id: str
    patient: str
    study: str
    view: str
    path: Path
    shape: tuple[int, int]
    members: dict[str, bytes]


def small_shape(shape: tuple[int, int], long_px: int) -> tuple[int, int]:
    """Return (height, width) of the second image: its long side at most ``long_px``."""
    scale = min(1.0, long_px / max(shape))
    return max(1, round(shape[0] * scale)), max(1, round(shape[1] * scale))


class Joined:
    """The tables of the ingest and masks folders, joined, and sorted by split, study and image_id.

    Args:
        folder: The ingest folder: manifest, and where there are any, reports and labels.
        contours: The contours table; None to go without.
        views: Views that are kept.
        progress: Where notes go.
        select: Table of image_id and keep; None to keep all.
        also_px: Long side of the second image, whose size and spacing stand in the meta; 0 for none.
        scratch: Folder with room for the side tables, which are not held in memory; nothing
            stays there.

    Attributes:
        split: (n,) that of each row.
        image_id: That of each row.
        begins: (n,) bool, True at the first image of each study.
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
        scratch: Path,
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
            chosen = kept.filter(kept_by(select, table["image_id"], kept["image_id"]))
            if not len(chosen):
                raise DataError(f"{select} keeps none of the {len(kept)} images of the wanted views")
            self.left_out["unselected"] = len(kept) - len(chosen)
            kept = chosen
        by = ("split", "study_hash", "patient_hash", "image_id")
        table = kept.sort_by([(column, "ascending") for column in by])
        self._table = table.combine_chunks()
        self.begins = _changes(self._table, by[:3])
        self.split: NDArray[Any] = _plain_texts(table["split"])
        self.image_id: pa.Array = self._table["image_id"].combine_chunks()
        self._contours = None if contours is None else self._side_of_contours(contours, scratch)
        self._reports = self._side_of_reports(scratch)
        self.labels, self._labels = self._read_labels(progress)
        self._boxes = self._read_boxes()

    def _side_of_contours(self, path: Path, scratch: Path) -> Side:
        def checked() -> Iterator[pa.RecordBatch]:
            for batch in manifest.read_batches(path, manifest.CONTOURS, "xraytk mask", CONTOUR):
                self._check_size(batch, path)
                yield batch

        return Side(checked(), _part_of(manifest.CONTOURS, CONTOUR), self.image_id, scratch)

    def _check_size(self, batch: pa.RecordBatch, path: Path) -> None:
        row = pc.index_in(batch["image_id"], value_set=self.image_id)
        for side in ("width", "height"):
            wanted = self._table[side].combine_chunks().take(row)
            other = pc.fill_null(pc.not_equal(wanted, batch[side]), False)
            if pc.any(other).as_py():
                image_id = batch["image_id"].filter(other)[0].as_py()
                raise DataError(
                    f"{path} is of other images than {self._folder}",
                    f"the {side} of {image_id} differs",
                    "Run `xraytk mask` again.",
                )

    def _side_of_reports(self, scratch: Path) -> Side | None:
        path, columns = self._folder / "reports.parquet", ["image_id", *LANGUAGES]
        if not path.exists():
            return None
        batches = manifest.read_batches(path, manifest.REPORTS, "xraytk ingest", columns)
        return Side(batches, _part_of(manifest.REPORTS, columns), self.image_id, scratch)

    def _read_labels(self, progress: Progress) -> tuple[list[str], NDArray[np.int32]]:
        """Names of the labels, sorted; and (n, 3) rows, places of names, values, sorted."""
        path = self._folder / "labels.parquet"
        found = [np.zeros((0, 3), np.int32)]
        number_of: dict[str, int] = {}
        odd = 0
        for batch in manifest.read_batches(path, manifest.LABELS, "xraytk ingest") if path.exists() else ():
            value = batch["value"].fill_null(np.nan).to_numpy(zero_copy_only=False)
            row = pc.index_in(batch["image_id"], value_set=self.image_id).fill_null(-1).to_numpy()
            coded = batch["label"].dictionary_encode()
            numbers = [number_of.setdefault(text, len(number_of)) for text in coded.dictionary.to_pylist()]
            known = (value == 0) | (value == 1) | (value == UNCERTAIN)
            odd += int((~known).sum())
            name = np.array(numbers, np.int32)[coded.indices.to_numpy()]
            mine = known & (row >= 0)
            found.append(np.stack([row[mine], name[mine], value[mine]], axis=1).astype(np.int32))
        if odd:
            progress.note(f"{odd} label values are none of 0, 1, -1 and count as unknown")
        labels = np.concatenate(found)
        certain = set(labels[labels[:, 2] >= 0, 1].tolist())  # the others would be classes without truth
        names = sorted(text for text, number in number_of.items() if number in certain)
        place = np.full(len(number_of) + 1, -1, np.int32)
        place[[number_of[text] for text in names]] = np.arange(len(names))
        labels[:, 1] = place[labels[:, 1]]
        labels = labels[labels[:, 1] >= 0]
        return names, labels[np.lexsort((labels[:, 1], labels[:, 0]))]

    def _read_boxes(self) -> dict[int, list[list[Any]]]:
        """The boxes of each row that has some: label and edges, in pixels of the PNG."""
        path, found = self._folder / "boxes.parquet", dict[int, list[list[Any]]]()
        for batch in manifest.read_batches(path, manifest.BOXES, "xraytk ingest") if path.exists() else ():
            rows = pc.index_in(batch["image_id"], value_set=self.image_id).to_pylist()
            edges = (np.round(batch[name].to_numpy().astype(np.float64), 2) for name in BOX[1:])
            for row, *box in zip(rows, batch["label"].to_pylist(), *(e.tolist() for e in edges), strict=True):
                if row is not None:
                    found.setdefault(row, []).append(box)
        return found

    def _labels_of(self, rows: NDArray[np.int64]) -> list[dict[str, int]]:
        first = np.searchsorted(self._labels[:, 0], rows, "left").tolist()
        last = np.searchsorted(self._labels[:, 0], rows, "right").tolist()
        made = []
        for start, end in zip(first, last, strict=True):
            known = self._labels[start:end].tolist()
            made.append({self.labels[name]: value for _, name, value in known})
        return made

    def samples(self, rows: NDArray[np.int64]) -> list[Sample]:
        """Join some rows.

        Args:
            rows: (n,) numbers of rows.
        """
        sides = (_contours_of(self._contours, rows), _reports_of(self._reports, rows), self._labels_of(rows))
        made = []
        boxes = [self._boxes.get(row, []) for row in rows.tolist()]
        for row, contour, report, known, drawn in zip(
            self._table.take(rows).to_pylist(), *sides, boxes, strict=True
        ):
            shape = (row["height"], row["width"])
            meta = self._meta(row, shape)
            members = {"meta": _json({**meta, "boxes": drawn} if drawn else meta)}
            if contour:
                members["contour"] = _json(contour)
            for language in LANGUAGES:
                if report.get(language):
                    members[language] = report[language].encode()
            if known:
                members["labels"] = _json(known)
            study = study_of(row["patient_hash"], row["study_hash"] or row["image_id"])
            about = (row["image_id"], row["patient_hash"], study, row["view"])
            made.append(Sample(*about, self._folder / row["path"], shape, members))
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


def _changes(table: pa.Table, names: Sequence[str]) -> NDArray[np.bool_]:
    """(n,) whether a row differs from the one before in any of some columns; the first does."""
    out = np.ones(len(table), np.bool_)
    for number, name in enumerate(names):
        column = table[name].combine_chunks()
        same = pc.equal(column[1:], column[:-1]).fill_null(False).to_numpy(zero_copy_only=False)
        out[1:] = ~same if number == 0 else out[1:] | ~same
    return out


def _plain_texts(column: pa.ChunkedArray) -> NDArray[Any]:
    """A column of few values as (n,) array of shared Python strings."""
    coded = column.combine_chunks().dictionary_encode()
    texts: NDArray[Any] = np.array(coded.dictionary.to_pylist(), object)
    return np.asarray(texts[coded.indices.to_numpy()])


def _part_of(schema: pa.Schema, columns: Sequence[str]) -> pa.Schema:
    return pa.schema([schema.field(name) for name in columns])


def _contours_of(side: Side | None, rows: NDArray[np.int64]) -> list[dict[str, Any] | None]:
    """What travels of the contours; "others" holds the lungs in the other convention."""
    table, where = (None, np.full(len(rows), -1)) if side is None else side.take(rows)
    if table is None:
        return [None] * len(rows)
    lists = {name: table[name].combine_chunks() for name in ("polygons", "others", "lung_share")}
    made = []
    for row, polygons, others, share in zip(
        table.drop_columns([*lists, "image_id", "width", "height"]).to_pylist(),
        polygon_lists(lists["polygons"]),
        polygon_lists(lists["others"]),
        float_lists(lists["lung_share"], 4),
        strict=True,
    ):
        grid = [row.pop("grid_rows"), row.pop("grid_cols")]
        row["confidence"] = _short(row["confidence"])
        made.append({**row, "polygons": polygons, "others": others, "grid": grid, "lung_share": share})
    return [made[at] if at >= 0 else None for at in where.tolist()]


def _reports_of(side: Side | None, rows: NDArray[np.int64]) -> list[dict[str, Any]]:
    table, where = (None, np.full(len(rows), -1)) if side is None else side.take(rows)
    made = [] if table is None else table.to_pylist()
    return [made[at] if at >= 0 else {} for at in where.tolist()]


def _short(value: Any) -> Any:
    """Round what went through float32, so that 0.14 is not 0.14000000059604645."""
    return round(value, 6) if isinstance(value, float) else value


def _json(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
