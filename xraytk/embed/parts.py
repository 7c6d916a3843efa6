"""The table of embeddings, made in parts: a killed run costs the part it was at.

A part is a run of places of a source. It is written whole or not at all, and holds for the state
that made it: source, weights, pooling, pixels.
"""

from __future__ import annotations

import bisect
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from xraytk.data.embeddings import COLUMN
from xraytk.embed.sources import Facts, Refusal
from xraytk.files import atomic_write, remove_leftovers

PART = 256
"""Places of a part at least; a multiple of the batch."""
_ROWS = 16_384
Floats = NDArray[np.float32]

REJECTED = pa.schema(
    [
        ("place", pa.int64()),  # in the order of the source: of files, that of their sorted names
        ("image_id", pa.string()),  # "" where the file could not be read
        ("reason", pa.string()),
        ("detail", pa.string()),
    ],
    metadata={"xraytk.format": "1"},
)


class Done(NamedTuple):
    """One image's row."""

    place: int
    facts: Facts
    embedding: Floats


def schema(width: int, facts: dict[str, str]) -> pa.Schema:
    """The schema of the table; ``facts`` stand in its metadata."""
    fields = [(name, pa.string()) for name in Facts._fields]
    return pa.schema([*fields, (COLUMN, pa.list_(pa.float32(), width))], metadata=facts)


def part_size(batch: int) -> int:
    """Places of a part."""
    return batch * -(-PART // batch)


class Parts:
    """Parts of one table, in a folder that is locked by the caller.

    Args:
        folder: Of the parts.
        segments: Runs of places that no part crosses.
        size: Places of a part, at most.
        table: Of `schema`; its metadata is the state that parts hold for.
    """

    def __init__(self, folder: Path, segments: Sequence[range], size: int, table: pa.Schema) -> None:
        self._folder, self._schema = folder, table
        self._ranges = [run[at : at + size] for run in segments for at in range(0, len(run), size)]
        self._starts = [run.start for run in self._ranges]
        self._state = table.metadata[b"xraytk.state"]
        remove_leftovers(folder)

    @property
    def count(self) -> int:
        """Number of parts."""
        return len(self._ranges)

    def missing(self) -> list[int]:
        """Numbers of the parts that are not there whole, in the state of this table."""
        return [number for number in range(self.count) if not self._is_there(number)]

    def places(self, number: int) -> range:
        """Places of a part."""
        return self._ranges[number]

    def number(self, place: int) -> int:
        """The part of a place."""
        return bisect.bisect_right(self._starts, place) - 1

    def write(self, number: int, done: Sequence[Done], refused: Sequence[Refusal]) -> None:
        """Write a part."""
        rejected = pa.Table.from_pylist([r._asdict() for r in sorted(refused)], schema=REJECTED)
        with atomic_write(self._path(number, "rejected")) as stream:
            pq.write_table(rejected, stream)
        with atomic_write(self._path(number, "rows")) as stream:  # last: its presence says that all is there
            places = pa.array([row.place for row in done], pa.int64())
            pq.write_table(as_table(done, self._schema).append_column("place", places), stream)

    def join(self, out: Path) -> tuple[int, list[Refusal]]:
        """Write all parts as one table, the same bytes however they were made.

        Of images that came twice the first stays.

        Returns:
            Rows of the table, and what was refused.
        """
        seen: set[str] = set()
        refused: list[Refusal] = []
        rows, waiting, held = 0, [], 0
        with (
            atomic_write(out) as stream,
            pq.ParquetWriter(stream, self._schema, compression="zstd") as writer,
        ):
            for number in range(self.count):
                table = pq.read_table(self._path(number, "rows"))
                ids = table["image_id"].to_pylist()
                fresh = [i not in seen and not seen.add(i) for i in ids]  # type: ignore[func-returns-value]
                triples = zip(table["place"].to_pylist(), ids, fresh, strict=True)
                refused += [Refusal(place, i, "same-file", "") for place, i, new in triples if not new]
                table = table.filter(pa.array(fresh, pa.bool_())).drop_columns(["place"])
                refused += [
                    Refusal(*row.values())
                    for row in pq.read_table(self._path(number, "rejected")).to_pylist()
                ]
                waiting.append(table.cast(self._schema))
                rows, held = rows + len(table), held + len(table)
                if held >= _ROWS:
                    writer.write_table(pa.concat_tables(waiting).combine_chunks())
                    waiting, held = [], 0
            if waiting:
                writer.write_table(pa.concat_tables(waiting).combine_chunks())
        return rows, sorted(refused)

    def _path(self, number: int, kind: str) -> Path:
        return self._folder / f"{number:08d}-{kind}.parquet"

    def _is_there(self, number: int) -> bool:
        try:
            found = pq.read_schema(self._path(number, "rows"))
            pq.read_schema(self._path(number, "rejected"))
        except (pa.ArrowInvalid, OSError):
            return False
        return bool((found.metadata or {}).get(b"xraytk.state") == self._state)


def as_table(done: Sequence[Done], table: pa.Schema) -> pa.Table:
    """Rows as a table of `schema`."""
    width = table.field(COLUMN).type.list_size
    stacked = np.stack([row.embedding for row in done]) if done else np.zeros((0, width), np.float32)
    values = pa.array(np.ascontiguousarray(stacked, np.float32).ravel(), pa.float32())
    texts = [pa.array([row.facts[i] for row in done], pa.string()) for i in range(len(Facts._fields))]
    return pa.table([*texts, pa.FixedSizeListArray.from_arrays(values, width)], schema=table)


def state_of(path: Path) -> bytes | None:
    """The state that a finished table holds for; None when there is none, or it is broken."""
    try:
        return (pq.read_schema(path).metadata or {}).get(b"xraytk.state")
    except (pa.ArrowInvalid, OSError):
        return None


def rejected_path(out: Path) -> Path:
    """Where the rejected table of ``out`` lies."""
    return out.with_name(f"{out.stem}-rejected.parquet")


def write_rejected(out: Path, refused: Sequence[Refusal]) -> Path | None:
    """Write the rejected table beside ``out``, or remove an old one when nothing was refused."""
    path = rejected_path(out)
    if not refused:
        path.unlink(missing_ok=True)
        return None
    with atomic_write(path) as stream:
        rows = [r._asdict() for r in refused]
        pq.write_table(pa.Table.from_pylist(rows, schema=REJECTED), stream, compression="zstd")
    return path


def reasons_of(out: Path) -> tuple[int, dict[str, int]]:
    """Rows of a finished table, and refusals by reason."""
    rows, path = pq.read_metadata(out).num_rows, rejected_path(out)
    if not path.exists():
        return rows, {}
    counted = pc.value_counts(pq.read_table(path)["reason"]).to_pylist()
    return rows, {c["values"]: c["counts"] for c in sorted(counted, key=lambda c: c["values"])}


def remove_folder(folder: Path) -> None:
    """Remove the folder of the parts when all is done."""
    shutil.rmtree(folder, ignore_errors=True)
