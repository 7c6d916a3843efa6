"""Tables of embeddings: an ``image_id`` and a list of numbers each, by whatever encoder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from xraytk.errors import DataError

COLUMN = "embedding"
_BATCH = 16_384

Matrix = NDArray[np.floating]


def schema(width: int) -> pa.Schema:
    """The schema of a table of embeddings of ``width`` numbers, in half precision."""
    fields = [("image_id", pa.string()), (COLUMN, pa.list_(pa.float16(), width))]
    return pa.schema(fields, metadata={"xraytk.format": "1"})


def as_table(ids: list[str], rows: NDArray[np.floating]) -> pa.Table:
    """Make a table of `schema`.

    Args:
        ids: N names.
        rows: (N, D).
    """
    values = pa.array(np.ascontiguousarray(rows, np.float16).ravel(), pa.float16())
    column = pa.FixedSizeListArray.from_arrays(values, rows.shape[1])
    return pa.table([pa.array(ids, pa.string()), column], schema=schema(rows.shape[1]))


def read_embeddings(path: Path, ids: pa.Array, column: str | None = None) -> tuple[Matrix, NDArray[np.bool_]]:
    """Read the embeddings of some images.

    Args:
        path: A Parquet file, or a folder of them, with ``image_id`` and a column of lists of
            numbers, all of one length.
        ids: N names.
        column: Which; None for `COLUMN`, or else the only one that holds lists of numbers.

    Returns:
        (N, D), zero where there is none, in half precision where the file has it, else float32; and
        (N,) bool, True where there is one, of finite numbers that are not all zero.

    Raises:
        DataError: If the table is missing or broken, has no such column, lists of different
            lengths, or no image of ``ids``.
    """
    files = sorted(path.glob("*.parquet")) if path.is_dir() else [path]
    if not files or not files[0].exists():
        raise DataError(f"{path} does not exist", todo="Give a Parquet table of embeddings.")
    out: Matrix | None = None
    found = np.zeros(len(ids), np.bool_)
    for names, rows in _batches(files, column):
        if out is None:
            out = np.zeros((len(ids), rows.shape[1]), rows.dtype)
        if rows.shape[1] != out.shape[1]:
            raise DataError(
                f"{path} holds embeddings of different lengths", f"{out.shape[1]} and {rows.shape[1]}"
            )
        at = pc.index_in(names, value_set=ids)
        known = np.asarray(pc.is_valid(at))
        places = np.asarray(at.drop_null(), np.int64)
        some = rows[known]
        good = np.isfinite(some).all(1) & some.any(1)
        out[places[good]] = some[good]
        found[places[good]] = True
    if out is None or not found.any():
        raise DataError(
            f"{path} holds no embedding of these images",
            f"looked for {len(ids):,}",
            "Make the embeddings from the same ingest folder.",
        )
    return out, found


def _batches(files: list[Path], column: str | None) -> Iterator[tuple[pa.Array, Matrix]]:
    """Names and rows, some at a time; rows without a list are left out."""
    for file in files:
        try:
            table = pq.ParquetFile(file)
            name = _column(file, table.schema_arrow, column)
            for batch in table.iter_batches(_BATCH, columns=["image_id", name], use_threads=False):
                batch = batch.filter(pc.is_valid(batch[name]))
                if len(batch):
                    yield batch["image_id"].cast(pa.string()), _rows(file, batch[name])
        except (pa.ArrowInvalid, pa.ArrowKeyError, KeyError, OSError) as error:
            raise DataError(f"{file} is not a table of embeddings", str(error).splitlines()[0]) from None


def _column(file: Path, known: pa.Schema, wanted: str | None) -> str:
    """Name of the column that holds the embeddings."""
    lists = [
        f.name
        for f in known
        if (pa.types.is_list(f.type) or pa.types.is_large_list(f.type) or pa.types.is_fixed_size_list(f.type))
        and (pa.types.is_floating(f.type.value_type) or pa.types.is_integer(f.type.value_type))
    ]
    if wanted is None:
        wanted = COLUMN if COLUMN in lists or len(lists) != 1 else lists[0]
    if "image_id" not in known.names or wanted not in lists:
        raise DataError(
            f"{file} is not a table of embeddings",
            f"wanted image_id and {wanted}; it has lists of numbers in: {', '.join(lists) or 'no column'}",
            "Name the column with `--set column=NAME`.",
        )
    return wanted


def _rows(file: Path, lists: pa.Array) -> Matrix:
    values = np.asarray(lists.flatten().to_numpy(zero_copy_only=False))
    values = values if values.dtype == np.float16 else values.astype(np.float32)
    width, rest = divmod(len(values), len(lists))
    if rest or not width or (np.asarray(pc.list_value_length(lists)) != width).any():
        raise DataError(f"{file} holds embeddings of different lengths", "wanted lists of one length")
    return values.reshape(-1, width)
