"""Which patients a model was trained on, so that none of them is tested.

``trained-on.parquet`` in a run folder has one column, ``patient_hash``: the training and validation
patients of the run and of all that it started from.
"""

from __future__ import annotations

import io
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
_ABOVE = 2
"""Folders above a weights' file that may be its run."""


def write(run: Path, index: ShardIndex, weights: Path | None = None) -> None:
    """Write down the training and validation patients of an index; those written before stay.

    Args:
        run: Run folder.
        index: Of the shards.
        weights: The file that the run starts from; its own patients count too.
    """
    rows = np.concatenate([index.rows("train"), index.rows("val")])
    before = [] if weights is None else weights.absolute().parents[:_ABOVE]
    known = [read(folder) for folder in (run, *before)]
    people = np.unique(np.concatenate([index.patient[rows], *(k for k in known if k is not None)]))
    buffer = io.BytesIO()
    table = pa.table({COLUMN: pa.array(people.astype(np.str_))})
    pq.write_table(table, buffer, compression="zstd", use_dictionary=False)
    with atomic_write(run / NAME) as stream:
        stream.write(buffer.getvalue())


def read(run: Path) -> NDArray[np.bytes_] | None:
    """The patients that a run was trained on; None where it does not say.

    Raises:
        DataError: If the list is broken.
    """
    path = run / NAME
    if not path.is_file():
        return None
    try:
        found = pq.read_table(path, columns=[COLUMN])[COLUMN].to_numpy()
    except (pa.ArrowInvalid, KeyError, OSError) as error:
        raise DataError(
            f"{path} cannot be read",
            str(error),
            "Go on with the training of this run, which writes it again; or take it from a copy.",
        ) from None
    return np.asarray(found, dtype=np.bytes_)


def refuse_shared(run: Path | None, index: ShardIndex) -> str:
    """Refuse test images of patients that a model was trained on.

    Args:
        run: Folder of the run; None for weights without one.
        index: Of the shards whose test split is to be read.

    Returns:
        What has to be said where it is not known; else "".

    Raises:
        DataError: If a patient of the test split was trained on.
    """
    known = None if run is None else read(run)
    if known is None:
        return "it is not known whether the model was trained on patients of the test split"
    tested = np.unique(index.patient[index.rows("test")])
    shared = int(np.isin(tested, known).sum())
    if shared:
        assert run is not None
        raise DataError(
            f"{run.name} was trained on {shared:,} of the {len(tested):,} patients of the test split of "
            f"{index.place}",
            "these are not the shards of its training, or patients were split anew since",
            "Test it on patients it has not seen: the split of its training, or another archive.",
        )
    return ""
