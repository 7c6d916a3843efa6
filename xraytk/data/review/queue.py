"""The images that wait for a look, worst first.

A million rows fit: what the order needs is held in memory, the polygons lie in a file that the
system maps, and pictures are read when they are asked for.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from xraytk.data import manifest, pictures
from xraytk.errors import DataError
from xraytk.files import explain_os_errors

_FACTS = ["image_id", "status", "reason", "confidence", "width", "height"]
_UNSEEN = ("image-missing", "image-broken")  # there is nothing to look at
_RANK = {"failed": 0.0, "flagged": 1.0, "ok": 2.0}
_BATCH = 1024


class Queue:
    """Contours of a masks folder in the order in which a person should look at them.

    Failed first, then by rising confidence; where none is known, flagged come before ok. Equals are
    ordered by ``image_id``. Images that are not frontal or cannot be read are left out.

    Args:
        masks: The masks folder.
        ingest: The ingest folder.

    Raises:
        DataError: If a table is missing or not whole.
    """

    def __init__(self, masks: Path, ingest: Path) -> None:
        path = masks / "contours.parquet"
        facts = manifest.read_table(path, manifest.CONTOURS, "xraytk mask", _FACTS)
        self._facts = facts.combine_chunks()
        self._polygons = _mapped_polygons(path)
        self._order = _worst_first(self._facts)
        self._ingest = ingest
        self._images = manifest.read_table(
            ingest / "manifest", manifest.MANIFEST, "xraytk ingest", ["image_id", "path"]
        )

    def __len__(self) -> int:
        return len(self._order)

    @property
    def image_ids(self) -> pa.ChunkedArray:
        """Worst first."""
        return self._facts["image_id"].take(pa.array(self._order))

    def facts(self, rank: int) -> dict[str, Any]:
        """What is known of one image: id, status, reason, size, and its confidence or None."""
        row = self._facts.slice(int(self._order[rank]), 1).to_pylist()[0]
        sure = row["confidence"]
        return {**row, "rank": rank, "confidence": None if sure is None else round(sure, 3)}

    def rank(self, image_id: str) -> int | None:
        """Place of an image in the order, from 0; None when it is not in the queue."""
        row = pc.index(self._facts["image_id"], image_id).as_py()
        found = np.flatnonzero(self._order == row)
        return int(found[0]) if row >= 0 and len(found) else None

    def polygons(self, rank: int) -> list[dict[str, Any]]:
        """Polygons of the table, in hundredths of a pixel of the image."""
        found = self._polygons.slice(int(self._order[rank]), 1).to_pylist()[0]["polygons"]
        return [
            {"name": p["name"], "x": [round(v, 2) for v in p["x"]], "y": [round(v, 2) for v in p["y"]]}
            for p in found or ()
        ]

    def picture(self, rank: int) -> bytes:
        """The whole image as an 8-bit PNG.

        Raises:
            DataError: If it is gone or broken since its contour was made.
        """
        image_id = self.facts(rank)["image_id"]
        row = pc.index(self._images["image_id"], image_id).as_py()
        if row < 0:
            raise DataError("the image is no longer in the manifest", todo="Run `xraytk mask` again.")
        image = pictures.read_png(self._ingest / self._images["path"][row].as_py())
        return pictures.encode_png(pictures.to_8bit(image))


def _worst_first(facts: pa.Table) -> NDArray[np.int64]:
    """Rows to look at, in order."""
    status = np.asarray(facts["status"].to_numpy(zero_copy_only=False), np.str_)
    score = np.full(len(status), np.nan)
    for name, rank in _RANK.items():
        score[status == name] = rank
    confidence = facts["confidence"].cast(pa.float64()).to_numpy(zero_copy_only=False)
    score = np.where(np.isnan(confidence) | (status == "failed"), score - 3, confidence)
    seen = ~np.asarray(pc.is_in(facts["reason"], pa.array(_UNSEEN)))
    rows = np.flatnonzero(seen & ~np.isnan(score) & np.isin(status, list(_RANK)))
    ids = np.asarray(facts["image_id"].to_numpy(zero_copy_only=False), np.str_)[rows]
    return np.asarray(rows[np.lexsort((ids, score[rows]))], np.int64)


def _mapped_polygons(path: Path) -> pa.Table:
    """Copy the polygons into a nameless file beside the table and map it.

    Parquet has to be unpacked a million rows at a time; this reads one.
    """
    copy = path.with_name(f".tmp-{os.getpid()}-{secrets.token_hex(4)}-polygons")
    file = pq.ParquetFile(path)
    schema = pa.schema([file.schema_arrow.field("polygons")])
    with explain_os_errors(path):
        try:
            with pa.OSFile(str(copy), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
                for batch in file.iter_batches(_BATCH, columns=["polygons"]):
                    writer.write_batch(batch)
            return pa.ipc.open_file(pa.memory_map(str(copy))).read_all()
        finally:
            copy.unlink(missing_ok=True)
