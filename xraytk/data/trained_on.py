"""Which patients a model was trained on, so that none of them is tested.

``trained-on.parquet`` in a run folder has one column, ``patient_hash``: the training and validation
patients of the run and of all that it started from. Where that is weights without such a list, the
file says so: it is not known then who else was trained on.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from xraytk.data.shard_index import ShardIndex
from xraytk.errors import DataError
from xraytk.files import atomic_write

NAME = "trained-on.parquet"
COLUMN = "patient_hash"
_WHOLE = b"xraytk.whole"
_ABOVE = 2
"""Folders above a weights' file that may be its run."""


def write(run: Path, index: ShardIndex, weights: Path | None = None, *, going_on: bool = False) -> int:
    """Write down the training and validation patients of an index.

    Args:
        run: Run folder.
        index: Of the shards.
        weights: The file that the run starts from; its own patients count too.
        going_on: The run has been trained before: patients that are written there stay.

    Returns:
        Patients of the test split among them, who can only come from ``weights`` or earlier shards.

    Raises:
        DataError: If a list that counts is broken.
    """
    rows = np.concatenate([index.rows("train"), index.rows("val")])
    known = []
    if going_on:
        known.append(_read(run / NAME) if (run / NAME).is_file() else _UNKNOWN)
    if weights is not None:
        lists = (folder / NAME for folder in weights.resolve().parents[:_ABOVE])
        found = next((path for path in lists if path.is_file()), None)
        known.append(_UNKNOWN if found is None else _read(found))
    people = np.unique(np.concatenate([index.patient[rows], *(each.people for each in known)]))
    table = pa.table({COLUMN: pa.array(people.astype(np.str_))})
    whole = all(each.whole for each in known)
    buffer = io.BytesIO()
    marked = table.replace_schema_metadata({_WHOLE: str(whole).lower()})
    pq.write_table(marked, buffer, compression="zstd", use_dictionary=False)
    with atomic_write(run / NAME) as stream:
        stream.write(buffer.getvalue())
    return len(np.intersect1d(people, index.patient[index.rows("test")]))


def warning(shared: int) -> str:
    """What to say when a run starts with test patients that its first weights know."""
    return (
        f"{shared:,} patients of the test split were trained on by what this run starts from: it cannot be "
        "tested on these shards"
    )


def refuse_shared(run: Path | None, index: ShardIndex) -> str:
    """Refuse test images of patients that a model was trained on.

    Args:
        run: Folder of the run; None for weights without one.
        index: Of the shards whose test split is to be read.

    Returns:
        What has to be said where it is not known; else "".

    Raises:
        DataError: If a patient of the test split was trained on, or the list is broken.
    """
    if run is None or not (run / NAME).is_file():
        return "it is not known whether the model was trained on patients of the test split"
    known = _read(run / NAME)
    tested = np.unique(index.patient[index.rows("test")])
    shared = int(np.isin(tested, known.people).sum())
    if shared:
        raise DataError(
            f"{run.name} was trained on {shared:,} of the {len(tested):,} patients of the test split of "
            f"{index.place}",
            "these are not the shards of its training, or patients were split anew since",
            "Test it on patients it has not seen: the split of its training, or another archive. Where other "
            "people have the same patient ids, as in another hospital, ingest them with a key of their own "
            "(`xraytk ingest --set key=FILE`).",
        )
    if known.whole:
        return ""
    return "it is not known whether what the run started from was trained on patients of the test split"


@dataclass(frozen=True, slots=True, eq=False)
class _List:
    """Hashed patients, and whether they are all."""

    people: NDArray[np.bytes_]
    whole: bool


_UNKNOWN = _List(np.zeros(0, "S1"), False)


def _read(path: Path) -> _List:
    """Read a list.

    Raises:
        DataError: If it is broken.
    """
    try:
        table = pq.read_table(path)
        people = table[COLUMN].to_numpy()
        whole = (table.schema.metadata or {})[_WHOLE] == b"true"
    except (pa.ArrowInvalid, KeyError, OSError) as error:
        raise DataError(
            f"{path} cannot be read",
            str(error),
            "Take it from a copy of the run; without it nothing says which patients were trained on.",
        ) from None
    return _List(np.asarray(people, dtype=np.bytes_), whole)
