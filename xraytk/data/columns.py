"""The manifest and its side tables, read a column or a batch at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from xraytk.data import manifest
from xraytk.errors import DataError

_MADE_BY = "xraytk ingest"

Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Codes:
    """A column as small numbers.

    Args:
        names: The distinct values, as text; "" stands for none.
        codes: (n,) the place of each row's value in ``names``.
    """

    names: list[str]
    codes: Ints

    def tally(self) -> dict[str, int]:
        """Rows by value, the most frequent first, then by name."""
        return by_count(self.names, np.bincount(self.codes, minlength=len(self.names)))

    def tally_distinct(self, others: Codes) -> dict[str, int]:
        """Distinct values of another column for each value of this one."""
        pairs = np.unique(self.codes * max(len(others.names), 1) + others.codes)
        found = pairs // max(len(others.names), 1)
        return by_count(self.names, np.bincount(found, minlength=len(self.names)))


def by_count(names: Sequence[str], counts: Ints) -> dict[str, int]:
    """Names to counts above 0, the largest first, then by name."""
    found = [(name, int(count)) for name, count in zip(names, counts, strict=True) if count]
    return dict(sorted(found, key=lambda pair: (-pair[1], pair[0])))


class Columns:
    """The manifest, a column at a time.

    Args:
        folder: With ``*.parquet`` files of one schema; none at all is an empty manifest.

    Raises:
        DataError: If a file is broken, or lacks what every manifest has.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.names: set[str] = set(manifest.MANIFEST.names)
        self.rows = 0
        self._files = sorted(folder.glob("*.parquet"))
        for number, file in enumerate(self._files):
            try:
                part = pq.ParquetFile(file)
            except (pa.ArrowInvalid, OSError) as error:
                raise broken(file, error) from None
            there = set(part.schema_arrow.names)
            self.names = self.names & there if number else there
            self.rows += part.metadata.num_rows

    def read(self, name: str) -> pa.ChunkedArray | None:
        """A column; None when the manifest has none of that name."""
        return self.needed(name) if name in self.names else None

    def needed(self, name: str) -> pa.ChunkedArray:
        """A column that every manifest has.

        Raises:
            DataError: If this one has not.
        """
        if not self._files:
            return pa.chunked_array([pa.array([], pa.string())])
        return manifest.read_table(self._folder, manifest.MANIFEST, _MADE_BY, [name])[name]

    def codes(self, name: str) -> Codes | None:
        """A column as text, coded; None when there is none."""
        column = self.read(name)
        return None if column is None else coded(column)

    def numbers(self, name: str) -> NDArray[np.float64] | None:
        """A column of numbers, NaN where there is none; None when the column is missing."""
        column = self.read(name)
        if column is None:
            return None
        return np.asarray(column.cast(pa.float64()).to_numpy(), np.float64)


def coded(column: pa.ChunkedArray) -> Codes:
    """Code a column; nulls become "" and numbers their text."""
    whole = column.dictionary_encode().unify_dictionaries()
    if whole.num_chunks == 0:
        return Codes([], np.zeros(0, np.int64))
    names = ["" if v is None else str(v) for v in whole.chunk(0).dictionary.to_pylist()]
    codes = np.concatenate([np.asarray(pc.fill_null(c.indices, -1), np.int64) for c in whole.chunks])
    if (codes < 0).any():  # no value: the same as an empty text
        if "" not in names:
            names.append("")
        codes[codes < 0] = names.index("")
    return Codes(names, codes)


def batches(
    path: Path, columns: Sequence[str], rows: int, coded_columns: Sequence[str] = ()
) -> Iterator[pa.RecordBatch]:
    """Read a side table in batches, whatever its size.

    Args:
        path: The file.
        columns: Which to read; those that it lacks are left out.
        rows: Of a batch, at most.
        coded_columns: Those of few distinct texts.

    Raises:
        DataError: If it is broken.
    """
    try:
        table = pq.ParquetFile(path, read_dictionary=[*coded_columns])
        there = [name for name in columns if name in table.schema_arrow.names]
        yield from table.iter_batches(rows, columns=there, use_threads=False)
    except (pa.ArrowInvalid, OSError) as error:
        raise broken(path, error) from None


def broken(path: Path, error: Exception) -> DataError:
    """Say that a table cannot be read."""
    return DataError(f"{path} is not a whole table", str(error).splitlines()[0], f"Run `{_MADE_BY}` again.")
