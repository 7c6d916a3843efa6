"""The stream: from shards to batches on the device, in an order that is a law.

A sample is an image, or with ``views`` 2 a study. See `data.order` for the order. What is done to a
sample depends on (seed, position) alone. So the state of the stream is the step number: any number
of ranks and workers sees the same samples, and a run resumes exactly.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Collection, Generator, Iterable, Iterator
from pathlib import Path

import numpy as np
import torch

from xraytk.data.ahead import Job, done_ahead
from xraytk.data.cache import CacheConfig
from xraytk.data.made import Made
from xraytk.data.order import Order, Outlook, positions
from xraytk.data.place_on_device import on_device
from xraytk.data.samples import Samples, StandIn, StreamConfig
from xraytk.data.shard_index import MADE_BY
from xraytk.data.shards import ShardReader
from xraytk.data.skipped import SkipList
from xraytk.data.store import open_store, read_index
from xraytk.data.studies import studies_of
from xraytk.errors import DataError, UsageError
from xraytk.progress import Progress
from xraytk.records import Batch

__all__ = ["FIELDS", "Stream", "StreamConfig"]

FIELDS = frozenset(f.name for f in dataclasses.fields(Batch))
CPU = torch.device("cpu")


class Stream:
    """One split of a shards folder, as batches.

    Args:
        folder: A shards folder, or a URL of one.
        split: "train", "val" or "test".
        config: How samples come into the frame.
        seed: Of the order and of the augmentation.
        needs: Fields of `Batch` that are wanted; work for the others is skipped (images,
            lungs and labels are then empty of content, valid is all True, patients are "").
        labels: Names and order of the labels; those the shards do not know are unknown (NaN)
            for every sample. None for all that the shards know.
        uncertain: What stands for labels that their source calls uncertain: a value (NaN: they are
            unknown), or a function of ``image_id`` and label.
        device: Where batches go.
        skipped: Where broken samples are listed when ``config.skip_bad`` is set.
        warp_on_device: Turn and crop on the device; by default on every one but the CPU.
        only: The ``image_id`` of the images to take of the split; None for all. The order is
            that of a split that holds just these.
        cache: How shards at a URL are copied to this machine.
        progress: Where slow downloads are noted.

    Attributes:
        count: Samples: images, or with ``config.views`` 2 studies.
        pairs: Of these, studies with a second image.

    Raises:
        DataError: If there are no whole shards, or the split is empty, or holds none of ``only``, or no
            frontal image where samples are studies.
        UsageError: If ``needs`` names what no batch has.
    """

    def __init__(
        self,
        folder: str | Path,
        split: str,
        config: StreamConfig,
        *,
        seed: int = 0,
        needs: frozenset[str] = FIELDS,
        labels: tuple[str, ...] | None = None,
        uncertain: StandIn = math.nan,
        device: torch.device = CPU,
        skipped: SkipList | None = None,
        warp_on_device: bool | None = None,
        only: Collection[str] | None = None,
        cache: CacheConfig | None = None,
        progress: Progress | None = None,
    ) -> None:
        if unknown := sorted(needs - FIELDS):
            raise UsageError(f"a batch has no {', '.join(unknown)}", f"it has {', '.join(sorted(FIELDS))}")
        index = read_index(folder, cache, progress)
        rows = index.rows(split)
        if only is not None and len(rows):
            rows = rows[np.isin(index.image_id[rows], [image_id.encode() for image_id in only])]
            if not len(rows):
                raise DataError(
                    f"{index.place} holds no selected sample of the split {split!r}",
                    f"{len(only):,} images are selected",
                    "Select from the ingest folder that the shards were made of.",
                )
        if not len(rows):
            there = ", ".join(sorted({s.split for s in index.shards})) or "none"
            raise DataError(
                f"{index.place} holds no sample of the split {split!r}",
                f"splits with samples: {there}",
                "Ingest more patients, or choose another split.",
            )
        self.labels = index.labels if labels is None else tuple(labels)
        part = index.take(rows)
        studies = studies_of(part) if config.views > 1 else None
        if studies is not None and not len(studies):
            raise DataError(
                f"{index.place} holds no frontal image of the split {split!r}",
                f"{len(rows):,} images of {studies.without:,} studies are of other views",
                "Put frontal images into the shards, or take every image for itself with data.views=1.",
            )
        self.count = len(rows) if studies is None else len(studies)
        self.pairs = 0 if studies is None else int((studies.second >= 0).sum())
        self._shard = part.shard if studies is None else part.shard[studies.first]
        self.fingerprint = index.fingerprint(split)
        self.skipped = SkipList() if skipped is None else skipped
        self._seed, self._config, self._device = seed, config, device
        self._warps = config.moves and (device.type != "cpu" if warp_on_device is None else warp_on_device)
        self._reader = ShardReader(part, open_store(folder, index.shards, cache, progress))
        self._samples = Samples(
            self._reader,
            config,
            seed=seed,
            needs=needs,
            labels=self.labels,
            uncertain=uncertain,
            skipped=self.skipped,
            pinned=device.type == "cuda",
            studies=studies,
        )

    def training(
        self,
        *,
        batch: int,
        micro_batch: int,
        start_step: int = 0,
        rank: int = 0,
        world: int = 1,
        workers: int = 0,
    ) -> Iterator[Batch]:
        """Yield this rank's micro-batches without end, augmented.

        Args:
            batch: Samples of one step over all ranks.
            micro_batch: Samples of one yielded batch.
            start_step: First step.
            rank: Of this process.
            world: Number of processes.
            workers: Threads that work ahead; 0 works in the caller's.

        Raises:
            UsageError: If world * micro_batch does not divide batch.
            DataError: If a sample is broken.
        """
        if micro_batch < 1 or batch < 1 or batch % (world * micro_batch):
            raise UsageError(
                f"a batch of {batch} cannot be cut into equal parts",
                f"{world} processes x micro-batches of {micro_batch} = {world * micro_batch} must divide it",
                "Change batch, micro_batch or the number of processes.",
            )
        _check_rank(rank, world)
        return self._batches(self._training(positions(batch, micro_batch, start_step, rank, world)), workers)

    def once(self, *, batch: int, workers: int = 0, rank: int = 0, world: int = 1) -> Iterator[Batch]:
        """Yield every sample once in index order, not augmented; the last batch may be short.

        Args:
            batch: Samples of one yielded batch; broken ones that are skipped are missing from it.
            workers: Threads that work ahead; 0 works in the caller's.
            rank: Of this process; it takes the rank-th run of consecutive samples.
            world: Number of processes; their shares differ by one sample at most.

        Raises:
            DataError: If a sample is broken.
        """
        if batch < 1:
            raise UsageError(f"batch must be at least 1, found {batch}")
        _check_rank(rank, world)
        first, last = self.count * rank // world, self.count * (rank + 1) // world
        return self._some(self._batches(self._once(first, last, batch), workers), last - first)

    def _training(self, at: Iterator[range]) -> Iterator[Job[Made]]:
        order = Order(self._seed, self.count, self._shard, self._config.window)
        outlook = Outlook(self._shard, max(2, 2 * self._config.window), self._reader.store.want)
        for now in at:
            rows = order.rows(now)
            if self._config.window:
                outlook.look(order.now, (now.stop - 1) % self.count, rows)
            yield self._samples.job(rows, now, self._warps)

    def _once(self, first: int, last: int, batch: int) -> Iterator[Job[Made]]:
        outlook = Outlook(self._shard, 2, self._reader.store.want)
        every = np.arange(self.count)
        for at in range(first, last, batch):
            outlook.look(every, at)
            yield self._samples.job(range(at, min(at + batch, last)), None)

    def _some(self, batches: Generator[Batch, None, None], wanted: int) -> Iterator[Batch]:
        """Pass batches on; an error when there should be some, and every sample was skipped."""
        found = False
        with contextlib.closing(batches):
            for batch in batches:
                found = True
                yield batch
        if wanted and not found:
            raise DataError(
                f"no sample of {self._reader.index.place} can be read: all {wanted:,} were skipped",
                self.skipped.all()[0].why,
                f"Run `{MADE_BY} --verify` to see what is not whole, and `{MADE_BY} --repair` to mend it.",
            )

    def _batches(self, jobs: Iterable[Job[Made]], workers: int) -> Generator[Batch, None, None]:
        made = done_ahead(jobs, workers, "xraytk-read")
        try:
            for batch in on_device(made, self._device, self._config.image_px):
                if batch.image_id:  # else all its samples were broken
                    yield batch
        finally:
            made.close()


def _check_rank(rank: int, world: int) -> None:
    if not 0 <= rank < world:
        raise UsageError(f"rank must lie in 0 to {world - 1}, found {rank}")
