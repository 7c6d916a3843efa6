"""A selection: which images are kept, and why; what `curate` writes and later verbs take.

Any Parquet table with ``image_id`` and a boolean ``keep`` is one, so a selection can as well be
made by hand.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from xraytk.errors import DataError

MADE_BY = "xraytk curate"
FILE = "selection.parquet"

SELECTION = pa.schema(
    [
        ("image_id", pa.string()),
        ("split", pa.string()),
        ("keep", pa.bool_()),
        ("prototype", pa.int32()),  # null where none was looked for
        ("distance", pa.float32()),  # from it
        ("zone", pa.string()),  # central, periphery, tail, outlier; "" where none was looked for
        ("reason", pa.string()),  # a fixed code, see `curate.REASONS`
        ("twin_of", pa.string()),  # of a (near) duplicate: the image that is kept in its place
    ],
    metadata={"xraytk.format": "1"},
)


def read_selection(path: Path) -> frozenset[str]:
    """Read which images a selection keeps.

    Args:
        path: The table, or the folder with a ``selection.parquet``.

    Returns:
        The ``image_id`` of all that are kept.

    Raises:
        DataError: If it is missing, broken, lacks a column, says two things of one image, or
            keeps nothing.
    """
    file = path / FILE if path.is_dir() else path
    if not file.exists():
        raise DataError(f"{file} does not exist", todo=f"Run `{MADE_BY}` first.")
    try:
        table = pq.read_table(file, columns=["image_id", "keep"])
        ids = table["image_id"].cast(pa.string())
        keep = table["keep"].cast(pa.bool_())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, KeyError, OSError) as error:
        raise DataError(
            f"{file} is not a selection",
            str(error).splitlines()[0],
            f"A selection has the columns image_id and keep (true or false); `{MADE_BY}` writes one.",
        ) from None
    if ids.null_count or keep.null_count:
        raise DataError(f"{file} is not a selection", "image_id or keep is empty in some row")
    if len(pc.unique(ids)) != len(ids):
        raise DataError(f"{file} is not a selection", "an image stands in it twice")
    kept = frozenset(ids.filter(keep).to_pylist())
    if not kept:
        raise DataError(f"{file} keeps no image", todo=f"Run `{MADE_BY}` with a larger --keep.")
    return kept


def kept_by(path: Path, every: pa.ChunkedArray, ids: pa.ChunkedArray) -> pa.ChunkedArray:
    """Which images a selection keeps; those it does not name are not kept.

    Args:
        path: As for `read_selection`.
        every: image_id of all ingested images; the selection may keep no other.
        ids: image_id of the images in question.

    Returns:
        For each of ``ids``, true or false.

    Raises:
        DataError: As `read_selection`, and if it is of other images.
    """
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


def fingerprint(ids: Iterable[str]) -> str:
    """SHA-256 over ids, in whatever order they come."""
    digest = hashlib.sha256()
    for image_id in sorted(ids):
        digest.update(f"{image_id}\n".encode())
    return digest.hexdigest()
