"""Selections: which ingested images go on, a table that `xraytk curate` writes."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from xraytk.errors import DataError

SELECTION = pa.schema([("image_id", pa.string()), ("keep", pa.bool_())])


def kept_by(path: Path, every: pa.ChunkedArray, ids: pa.ChunkedArray) -> pa.ChunkedArray:
    """Which images a selection keeps; those it does not name are not kept.

    Args:
        path: The table.
        every: image_id of all ingested images; the selection may name no other.
        ids: image_id of the images in question.

    Returns:
        For each of ``ids``, true or false.

    Raises:
        DataError: If it is missing, no selection, of other images, or keeps none.
    """
    try:
        table = pq.read_table(path, columns=SELECTION.names).cast(SELECTION)
    except FileNotFoundError:
        raise DataError(f"{path} does not exist", todo="Run `xraytk curate` first.") from None
    except (pa.ArrowInvalid, pa.ArrowKeyError, KeyError, OSError, ValueError) as error:
        raise DataError(
            f"{path} is not a selection",
            "wanted a Parquet table of image_id (text) and keep (true or false): "
            + str(error).splitlines()[0],
        ) from None
    keep = table.filter(pc.fill_null(table["keep"], False))["image_id"]
    known = pc.sum(pc.is_in(table["image_id"], value_set=every.combine_chunks())).as_py() or 0
    if known < len(table):
        raise DataError(
            f"{path} is a selection of other images",
            f"{len(table) - known} of its {len(table)} ids are not among the {len(every)} ingested images",
            "Make the selection again from this ingest folder.",
        )
    if not len(keep):
        raise DataError(f"{path} keeps none of its {len(table)} images")
    return pc.is_in(ids, value_set=keep.combine_chunks())
