"""Side tables beside the manifest, too large to hold: looked up by row, kept on disk.

The contours of a million images are ten gigabytes in memory. A side table is copied once, as it
is read, into a file of Arrow's own layout that is mapped and has no name any more; what a shard
needs of it is then a few pages.
"""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from xraytk.files import explain_os_errors


class Side:
    """Rows of a side table, found by the manifest's rows.

    Args:
        batches: Of the side table; one of its columns is image_id.
        schema: Of the batches.
        ids: image_id of each row of the manifest.
        scratch: Folder on a disk with room for the table; nothing stays there.
    """

    def __init__(
        self, batches: Iterable[pa.RecordBatch], schema: pa.Schema, ids: pa.Array, scratch: Path
    ) -> None:
        self._at = np.full(len(ids), -1, np.int64)
        starts = [0]
        scratch.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=scratch, prefix=".tmp-") as file, explain_os_errors(scratch):
            with pa.ipc.new_file(pa.PythonFile(file, "w"), schema) as sink:
                for batch in batches:
                    row = pc.index_in(batch["image_id"], value_set=ids)
                    found = np.flatnonzero(row.is_valid().to_numpy(zero_copy_only=False))
                    self._at[row.drop_null().to_numpy()] = starts[-1] + found
                    starts.append(starts[-1] + len(batch))
                    sink.write_batch(batch)
            file.flush()
            reader = pa.ipc.open_file(pa.memory_map(file.name))
        self._batches = [reader.get_batch(i) for i in range(reader.num_record_batches)]
        self._starts = np.array(starts)

    def take(self, rows: NDArray[np.int64]) -> tuple[pa.Table | None, NDArray[np.int64]]:
        """Look up rows of the manifest.

        Args:
            rows: (n,) numbers.

        Returns:
            What was found, None when nothing was; and (n,) where in it each row is, -1 for none.
        """
        at = self._at[rows]
        where = np.full(len(rows), -1, np.int64)
        batch_of = np.searchsorted(self._starts, at, "right") - 1
        taken, count = [], 0
        for number in np.unique(batch_of[at >= 0]).tolist():
            mine = np.flatnonzero((batch_of == number) & (at >= 0))
            taken.append(self._batches[number].take(pa.array(at[mine] - self._starts[number])))
            where[mine] = count + np.arange(len(mine))
            count += len(mine)
        return (pa.Table.from_batches(taken).combine_chunks() if taken else None), where


def float_lists(lists: pa.ListArray, digits: int) -> list[list[float]]:
    """Lists of float32, rounded, so that 0.14 is not 0.14000000059604645; null becomes []."""
    values = np.round(lists.values.to_numpy().astype(np.float64), digits).tolist()
    ends = lists.offsets.to_pylist()
    return [values[start:end] for start, end in itertools.pairwise(ends)]


def polygon_lists(lists: pa.ListArray) -> list[list[dict[str, Any]]]:
    """Lists of `manifest.POLYGON`, as plain dictionaries, to a hundredth of a pixel."""
    polygons = lists.values
    x, y = (float_lists(polygons.field(axis), 2) for axis in "xy")
    names = polygons.field("name").to_pylist()
    plain = [{"name": n, "x": xs, "y": ys} for n, xs, ys in zip(names, x, y, strict=True)]
    ends = lists.offsets.to_pylist()
    return [plain[start:end] for start, end in itertools.pairwise(ends)]
