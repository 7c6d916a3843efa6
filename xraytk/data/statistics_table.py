"""The table of `pixel_statistics` of an ingest folder's images, made in parts and in processes."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from xraytk.data import embeddings, pictures, pixel_statistics, pool
from xraytk.errors import DataError
from xraytk.files import atomic_write, remove_leftovers
from xraytk.progress import Progress

FILE = "statistics.parquet"
RETRIED = ("image-missing", "image-broken", "worker-died")
"""Reasons that belong to the file and may be gone: the next run looks at these images again."""

_VERSION = f"{pixel_statistics.VERSION}".encode()
_PART = 256  # rows a part holds, and a kill may cost
_FEW = 24  # below this, starting processes takes longer than the work

Numbers = NDArray[np.float16]


class Job(NamedTuple):
    """One image to look at.

    Args:
        image_id: Hashed id.
        path: Of the PNG.
        shape: (height, width) as the manifest has it.
        field: The exposed part, as the manifest has it; None for all.
        state: What says that the pixels are still the same.
    """

    image_id: str
    path: Path
    shape: tuple[int, int]
    field: tuple[int, int, int, int] | None
    state: str


def complete(out: Path, jobs: Sequence[Job], workers: int, progress: Progress) -> dict[str, str]:
    """Describe the images that the table in ``out`` does not have yet, and write it whole.

    Args:
        out: Folder of the table, locked by the caller.
        jobs: All images that it shall have.
        workers: Processes; 0 for one a processor. Changes no byte of the table.
        progress: Where to report to.

    Returns:
        The reason of each image that could not be described: image-missing, image-broken,
        image-empty, worker-died.

    Raises:
        MachineError: If the disk is full, or processes cannot start.
    """
    remove_leftovers(out / "parts")
    done = _finished(out, {job.image_id: job.state for job in jobs}, progress)
    known = set(done["image_id"].to_pylist())
    missing = [job for job in jobs if job.image_id not in known]
    if missing or len(done) != len(jobs) or not (out / FILE).exists():
        tables = [done, *_describe_all(out, missing, workers if len(missing) >= _FEW else 1, progress)]
        whole = pa.concat_tables(tables).sort_by("image_id")
        with atomic_write(out / FILE) as stream:
            pq.write_table(whole.combine_chunks(), stream, compression="zstd", row_group_size=1 << 16)
        shutil.rmtree(out / "parts", ignore_errors=True)
        done = whole
    wrong = done.filter(pc.not_equal(done["reason"], ""))
    return dict(zip(wrong["image_id"].to_pylist(), wrong["reason"].to_pylist(), strict=True))


def _finished(out: Path, wanted: dict[str, str], progress: Progress) -> pa.Table:
    """Rows of earlier runs that still hold."""
    empty = _table([], [], [])
    tables = [empty]
    for file in [out / FILE, *sorted((out / "parts").glob("*.parquet"))]:
        try:
            table = pq.read_table(file) if file.exists() else empty
            if table.schema.metadata == empty.schema.metadata and table.schema.equals(empty.schema):
                tables.append(table.cast(empty.schema))
        except (pa.ArrowInvalid, OSError):
            progress.note(f"{file.name} is not a whole table: its images are looked at again")
    rows = pa.concat_tables(tables)
    keep: dict[str, int] = {}
    facts = zip(*(rows[name].to_pylist() for name in ("image_id", "state", "reason")), strict=True)
    for place, (image_id, state, reason) in enumerate(facts):
        if reason not in RETRIED and wanted.get(image_id) == state:
            keep.setdefault(image_id, place)
    return rows.take(pa.array(sorted(keep.values()), pa.int64()))


def _describe_all(out: Path, jobs: Sequence[Job], workers: int, progress: Progress) -> list[pa.Table]:
    """Describe images; every so many, and at the end, a part is written."""
    tables: list[pa.Table] = []
    waiting: list[tuple[Job, Numbers | str]] = []

    def write() -> None:
        if not waiting:
            return
        waiting.sort(key=lambda pair: pair[0].image_id)
        empty = np.zeros(pixel_statistics.WIDTH, np.float16)
        table = _table(
            [job for job, _ in waiting],
            [empty if isinstance(made, str) else made for _, made in waiting],
            [made if isinstance(made, str) else "" for _, made in waiting],
        )
        with atomic_write(out / "parts" / f"{waiting[0][0].image_id}.parquet") as stream:
            pq.write_table(table, stream)
        tables.append(table)
        waiting.clear()

    bad = 0
    finished = contextlib.closing(pool.each(_describe, jobs, workers))
    with progress.task("statistics", len(jobs)) as task, finished as pairs:
        try:
            for number, (job, made) in enumerate(pairs, 1):
                waiting.append((job, "worker-died" if made is None else made))
                bad += made is None or isinstance(made, str)
                task.update(number, bad=bad)
                if len(waiting) == _PART:
                    write()
        finally:
            write()
    return tables


def _describe(job: Job) -> Numbers | str:
    """Read one image and describe it; whatever is wrong with it becomes a reason."""
    cv2.setNumThreads(1)
    try:
        image = pictures.read_png(job.path)
    except (DataError, OSError):
        return "image-broken" if job.path.exists() else "image-missing"
    if image.shape != job.shape:
        return "image-broken"
    numbers = pixel_statistics.describe(image, job.field)
    return "image-empty" if numbers is None else numbers.astype(np.float16)


def _table(jobs: Sequence[Job], rows: Sequence[Numbers], reasons: Sequence[str]) -> pa.Table:
    """Rows of the table; a row with a reason has zeros only."""
    stacked = np.stack(rows) if rows else np.zeros((0, pixel_statistics.WIDTH), np.float16)
    table = embeddings.as_table([job.image_id for job in jobs], stacked)
    table = table.append_column("reason", pa.array(reasons, pa.string()))
    table = table.append_column("state", pa.array([job.state for job in jobs], pa.string()))
    return table.replace_schema_metadata({**table.schema.metadata, b"xraytk.statistics": _VERSION})
