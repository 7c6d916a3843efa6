"""Images to embed: files as they are, an ingest folder, or shards; each in an order of its own.

Every source names its images by place, 0 to ``count`` - 1, and gives batches of them in that order.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import pyarrow.compute as pc
import torch
from torch import Tensor

from xraytk.data import pool, sources
from xraytk.data.ahead import Job, done_ahead
from xraytk.data.cache import CacheConfig
from xraytk.data.columns import Columns
from xraytk.data.fitted import Read, Shape, read_file, read_png
from xraytk.data.skipped import SkipList
from xraytk.data.store import read_index
from xraytk.data.stream import Stream, StreamConfig
from xraytk.errors import DataError
from xraytk.progress import Progress
from xraytk.records import SPLITS

LIMIT_S, MEMORY_GB = 60.0, 4.0
"""What one file may take of a process."""


class Facts(NamedTuple):
    """What is known of an image; "" for what is not."""

    image_id: str
    patient_hash: str = ""
    split: str = ""
    view: str = ""


class Refusal(NamedTuple):
    """An image that gives no embedding, and why: a fixed reason, and numbers or codes only."""

    place: int
    image_id: str
    reason: str
    detail: str


@dataclass(slots=True)
class Chunk:
    """Some images.

    Args:
        places: Of the images, in order.
        facts: Of each.
        image: (B, 1, H, W) uint8.
        valid: (B, H, W) bool.
        refused: Of the places in between.
    """

    places: list[int]
    facts: list[Facts]
    image: Tensor
    valid: Tensor
    refused: list[Refusal] = field(default_factory=list)


class Source(Protocol):
    """Where images come from."""

    kind: str
    count: int
    fingerprint: str
    segments: list[range]
    """Runs of places; no chunk crosses one."""

    def chunks(self, places: Sequence[int], batch: int) -> Generator[Chunk, None, None]:
        """Yield the images at ascending places, ``batch`` places of a segment at a time."""
        ...


class Files:
    """Radiographs as files: DICOM, PNG, JPEG, TIFF; archives are looked into.

    An image is named by the first 16 digits of its file's SHA-256, as `report` does; no path and
    nothing of a header but the view goes further.

    Args:
        root: Folder, file, archive or URL.
        shape: What images become.
        workers: Processes that read; 0 for one a processor.
        leave_out: Folders to pass over.
    """

    kind = "files"

    def __init__(self, root: str, shape: Shape, workers: int, leave_out: Sequence[Path]) -> None:
        self._found = sorted(sources.list_sources(root, leave_out), key=lambda source: source.name)
        self._shape, self._workers = shape, workers
        self.count = len(self._found)
        if not self.count:
            raise DataError("the source holds no file", todo="Check the path.")
        self.segments = [range(self.count)]
        self.fingerprint = _digest([s.name, s.size, s.stamp] for s in self._found)

    def chunks(self, places: Sequence[int], batch: int) -> Generator[Chunk, None, None]:
        """Yield images; files are read in processes, which a broken one may end."""
        jobs = [(place, self._found[place]) for place in places]
        work = functools.partial(read_file, self._shape)
        late = Read(reason="timed-out")
        each = pool.each(
            work, jobs, self._workers, limit_s=LIMIT_S, late=late, apart=True, memory_gb=MEMORY_GB
        )
        read: dict[int, Read] = {}
        waiting = iter([places[at : at + batch] for at in range(0, len(places), batch)])
        wanted = next(waiting, None)
        for (place, _), made in each:
            read[place] = made or Read(reason="worker-died")
            while wanted is not None and all(one in read for one in wanted):
                yield _chunk(self._shape, [(one, read.pop(one)) for one in wanted])
                wanted = next(waiting, None)


class Ingested:
    """Every image of an ingest folder, in order of ``image_id``.

    Args:
        folder: The ingest folder.
        shape: What images become.
        workers: Threads that read; 0 reads in between.
    """

    kind = "ingest"

    def __init__(self, folder: Path, shape: Shape, workers: int) -> None:
        columns = Columns(folder / "manifest")
        if not columns.rows:
            raise DataError(f"{folder / 'manifest'} holds no image", todo="Run `xraytk ingest` first.")
        order = pc.sort_indices(columns.needed("image_id"))
        names = ("image_id", "patient_hash", "split", "view")
        cells = [columns.needed(name).take(order).to_pylist() for name in names]
        self._facts = [Facts(*(value or "" for value in row)) for row in zip(*cells, strict=True)]
        self._paths = [folder / path for path in columns.needed("path").take(order).to_pylist()]
        self._shape, self._workers = shape, workers
        self.count = len(self._facts)
        self.segments = [range(self.count)]
        pixels = columns.read("pixel_sha256")
        marks = pixels.take(order).to_pylist() if pixels is not None else [""] * self.count
        self.fingerprint = _digest([*f, mark] for f, mark in zip(self._facts, marks, strict=True))

    def chunks(self, places: Sequence[int], batch: int) -> Generator[Chunk, None, None]:
        """Yield images, read ahead in threads."""
        jobs = (self._job(places[at : at + batch]) for at in range(0, len(places), batch))
        yield from done_ahead(jobs, self._workers, "xraytk-embed")

    def _job(self, places: Sequence[int]) -> Job[Chunk]:
        made: dict[int, Read] = {}

        def read(place: int) -> None:
            made[place] = read_png(self._shape, self._facts[place].image_id, self._paths[place])

        parts = [functools.partial(read, place) for place in places]
        return Job(
            parts, lambda: _chunk(self._shape, [(place, made[place]) for place in places], self._facts)
        )


class Sharded:
    """Every sample of a shards folder or URL: train, val, test, each in the index's order.

    Args:
        folder: Shards folder or URL.
        shape: What images become.
        workers: Threads that read; 0 reads in between.
        cache: How shards at a URL are copied.
        progress: Where slow downloads are noted.
    """

    kind = "shards"

    def __init__(
        self, folder: str | Path, shape: Shape, workers: int, cache: CacheConfig, progress: Progress
    ) -> None:
        index = read_index(folder, cache, progress)
        self._folder, self._shape, self._workers = folder, shape, workers
        self._cache, self._progress = cache, progress
        self._ids: list[str] = []
        self.segments = []
        for split in SPLITS:
            before = len(self._ids)
            self._ids += [bytes(name).decode() for name in index.image_id[index.rows(split)]]
            self.segments.append(range(before, len(self._ids)))
        self.count = len(self._ids)
        if not self.count:
            raise DataError(f"{index.place} holds no sample", todo="Run `xraytk shard` again.")
        self.fingerprint = _digest([split, index.fingerprint(split)] for split in SPLITS)

    def chunks(self, places: Sequence[int], batch: int) -> Generator[Chunk, None, None]:
        """Yield samples; a broken one is refused."""
        for split, segment in zip(SPLITS, self.segments, strict=True):
            some = [place for place in places if place in segment]
            if some:
                yield from self._of_split(split, some, batch)

    def _of_split(self, split: str, places: list[int], batch: int) -> Generator[Chunk, None, None]:
        at = {self._ids[place]: place for place in places}
        skipped = SkipList()
        stream = Stream(
            self._folder,
            split,
            StreamConfig(image_px=self._shape.image_px, fit=self._shape.fit, skip_bad=True),
            needs=frozenset({"image", "valid", "patient_hash", "view"}),
            skipped=skipped,
            only=at,
            cache=self._cache,
            progress=self._progress,
        )
        told: set[int] = set()

        def refused() -> list[Refusal]:
            fresh = [(at[one.image], one) for one in skipped.all() if at[one.image] not in told]
            told.update(place for place, _ in fresh)
            return [Refusal(place, one.image, "broken-sample", "") for place, one in sorted(fresh)]

        try:
            for made in stream.once(batch=batch, workers=self._workers):
                facts = [
                    Facts(i, patient, split, view)
                    for i, patient, view in zip(made.image_id, made.patient_hash, made.view, strict=True)
                ]
                yield Chunk([at[i] for i in made.image_id], facts, made.image, made.valid, refused())
        except DataError:
            if len(skipped.all()) < len(places):  # else every sample is broken, which is told below
                raise
        empty = _chunk(self._shape, [])
        yield Chunk([], [], empty.image, empty.valid, refused())


def _chunk(shape: Shape, made: list[tuple[int, Read]], facts: Sequence[Facts] | None = None) -> Chunk:
    """Put images that were read together, and refusals apart."""
    good = [(place, read) for place, read in made if read.image is not None and read.valid is not None]
    images = [read.image for _, read in good if read.image is not None]
    valid = [read.valid for _, read in good if read.valid is not None]
    return Chunk(
        [place for place, _ in good],
        [Facts(read.image_id, view=read.view) if facts is None else facts[place] for place, read in good],
        torch.from_numpy(np.stack(images))[:, None] if good else torch.empty(0, dtype=torch.uint8),
        torch.from_numpy(np.stack(valid)) if good else torch.empty(0, dtype=torch.bool),
        [Refusal(place, read.image_id, read.reason, read.detail) for place, read in made if read.reason],
    )


def _digest(rows: Iterable[Sequence[object]]) -> str:
    """SHA-256 of rows of plain values."""
    whole = hashlib.sha256()
    for row in rows:
        whole.update(json.dumps(row, ensure_ascii=False).encode("utf-8", "surrogatepass") + b"\n")
    return whole.hexdigest()
