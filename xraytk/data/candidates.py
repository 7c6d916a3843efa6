"""The images of an ingest folder as candidates: what is known of each, and what became of it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from xraytk.data import manifest, selection
from xraytk.data.columns import Columns
from xraytk.data.statistics_table import Job
from xraytk.data.twins import Policy, find_twins, heads
from xraytk.errors import DataError

Places = NDArray[np.int64]


class Candidates:
    """All images of a manifest, sorted by ``image_id``.

    Args:
        folder: The ingest folder.
        splits: Those that are curated; all others are kept.
        views: Those that are curated.

    Attributes:
        ids: Hashed ids.
        split: (N,) that of each.
        curated: (N,) bool, whether it is of these splits and views.
        keep: (N,) bool.
        reason: (N,) fixed codes; "" while nothing is said.

    Raises:
        DataError: If the manifest is missing, broken or empty.
    """

    def __init__(self, folder: Path, splits: Collection[str], views: Collection[str]) -> None:
        self._folder = folder
        self._columns = Columns(folder / "manifest")
        if not self._columns.rows:
            raise DataError(f"{folder / 'manifest'} holds no image", todo="Run `xraytk ingest` first.")
        self._order = pc.sort_indices(self._columns.needed("image_id"))
        self.ids: list[str] = self._texts("image_id")
        self.paths = [folder / path for path in self._texts("path")]
        self.split, self.patient = (np.array(self._texts(n), str) for n in ("split", "patient_hash"))
        whole = ~np.isin(self.split, list(splits))
        of_view = np.isin(self._texts("view"), list(views))
        self.curated = ~whole & of_view
        self.keep = whole.copy()
        self.reason = np.where(whole, "split", np.where(of_view, "", "view")).astype("U14")
        self.twin_of: list[str | None] = [None] * len(self.ids)
        self.prototype = np.full(len(self.ids), -1, np.int64)
        self.distance = np.full(len(self.ids), np.nan, np.float32)
        self.zone = np.full(len(self.ids), "", "U9")

    def has(self, name: str) -> bool:
        """Whether the manifest has a column; those of earlier versions have fewer."""
        return name in self._columns.names

    def _texts(self, name: str) -> list[Any]:
        return self._columns.needed(name).take(self._order).to_pylist()  # type: ignore[no-any-return]

    def _numbers(self, name: str) -> NDArray[np.int64]:
        column = self._columns.needed(name).take(self._order)
        return np.asarray(pc.fill_null(column, 0).to_numpy(), np.int64)

    @property
    def left(self) -> Places:
        """Places of curated images of which nothing is said yet."""
        return np.flatnonzero(self.curated & (self.reason == ""))

    def refuse(self, places: Places, reasons: Collection[str] | str) -> None:
        """Leave images out."""
        self.reason[places] = list(reasons) if not isinstance(reasons, str) else reasons

    def decide(self, said: Mapping[str, bool]) -> int:
        """Keep or leave out what a person decided; returns how many of these there are not."""
        known = dict(zip(self.ids, range(len(self.ids)), strict=True))
        for image_id in said.keys() & known.keys():
            self.keep[known[image_id]] = said[image_id]
            self.reason[known[image_id]] = "decided"
        return len(said.keys() - known.keys())

    def drop_twins(self, policy: Policy) -> tuple[int, int]:
        """Leave out copies and near copies among what is left.

        Returns:
            How many images stay in whose copy belongs to another patient, and how many whose copy
            lies in a split that is not curated.
        """
        columns = [self._texts(n) for n in ("near_duplicate_of", "duplicate_of") if self.has(n)]
        head = np.array(heads(self.ids, *columns), str)
        left = self.left
        pixels = self._numbers("width") * self._numbers("height")
        rank = np.empty(len(self.ids), np.int64)
        rank[np.lexsort((np.arange(len(rank)), -self._numbers("bits_stored"), -pixels))] = range(len(rank))
        twins = find_twins(head[left].tolist(), self.patient[left].tolist(), rank[left], policy)
        same = np.array(self._texts("pixel_sha256") if self.has("pixel_sha256") else self.ids, str)
        for place, stands in zip(left.tolist(), left[twins.stands].tolist(), strict=True):
            if place != stands:
                self.reason[place] = "duplicate" if same[place] == same[stands] else "near-duplicate"
                self.twin_of[place] = self.ids[stands]
        elsewhere = head[(self.reason == "split")]
        return twins.across, int(np.isin(head[left], elsewhere).sum())

    def surely_chests(self, seen: Collection[str]) -> NDArray[np.bool_] | None:
        """Whether the pixels surely show one of these views; None when the manifest does not know."""
        return np.isin(self._texts("pixel_view"), list(seen)) if self.has("pixel_view") else None

    def may_not_be_shown(self) -> NDArray[np.bool_]:
        """Where the header says that text is burned in."""
        if not self.has("burned_in"):
            return np.zeros(len(self.ids), np.bool_)
        return np.array([bool(burned) for burned in self._texts("burned_in")])

    def signatures(self, places: Places) -> NDArray[np.int8] | None:
        """(n, 64) signatures, zero where there is none; None when the manifest has none at all."""
        if not self.has("signature"):
            return None
        found = self._columns.needed("signature").take(self._order).take(pa.array(places))
        none = "00" * 64
        joined = "".join(text if text and len(text) == 128 else none for text in found.to_pylist())
        return np.frombuffer(bytes.fromhex(joined), np.int8).reshape(-1, 64)

    def jobs(self, places: Places) -> list[Job]:
        """What it takes to describe the pixels of images."""
        width, height = self._numbers("width")[places].tolist(), self._numbers("height")[places].tolist()
        state = self._some("pixel_sha256" if self.has("pixel_sha256") else "source_sha256", places)
        field = self._some("field", places)
        cropped = self._some("cropped", places)
        return [
            Job(
                self.ids[place],
                self.paths[place],
                (height[i], width[i]),
                tuple(field[i]) if field[i] and not cropped[i] else None,
                f"{state[i]} {width[i]}x{height[i]} {field[i] if not cropped[i] else None}",
            )
            for i, place in enumerate(places.tolist())
        ]

    def _some(self, name: str, places: Places) -> list[Any]:
        if not self.has(name):
            return [None] * len(places)
        column = self._columns.needed(name).take(self._order).take(pa.array(places))
        return column.to_pylist()  # type: ignore[no-any-return]

    def labels(self) -> dict[str, dict[str, int]]:
        """For each label how many curated images have it, and of these how many are kept."""
        path = self._folder / "labels.parquet"
        if not path.exists():
            return {}
        table = manifest.read_table(path, manifest.LABELS, "xraytk ingest")
        table = table.filter(pc.equal(table["value"], 1.0))
        place = pc.index_in(table["image_id"], value_set=pa.array(self.ids, pa.string()))
        table = table.append_column("place", place).filter(pc.is_valid(place))
        places = table["place"].to_numpy()
        names, codes = np.unique(np.array(table["label"].to_pylist(), str), return_inverse=True)
        counted = {}
        for what, some in (("images", self.curated), ("kept", self.curated & self.keep)):
            counted[what] = np.bincount(codes[some[places]], minlength=len(names)).tolist()
        return {
            str(name): {what: counts[i] for what, counts in counted.items()} for i, name in enumerate(names)
        }

    def table(self) -> pa.Table:
        """The selection."""
        none = self.prototype < 0
        columns = [
            pa.array(self.ids, pa.string()),
            pa.array(self.split.tolist(), pa.string()),
            pa.array(self.keep),
            pa.array(self.prototype.astype(np.int32), mask=none),
            pa.array(self.distance, mask=none),
            pa.array(self.zone.tolist(), pa.string()),
            pa.array(self.reason.tolist(), pa.string()),
            pa.array(self.twin_of, pa.string()),
        ]
        return pa.table(columns, schema=selection.SELECTION)
