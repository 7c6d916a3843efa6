"""The stream: from shards to batches, in an order that is a law.

The order of training is the concatenation, over epochs e = 0, 1, ..., of a permutation of the
split's samples that depends on (seed, e) alone. Step s consumes positions s * batch to
(s + 1) * batch - 1; rank r takes the r-th equal slice of them, cut into micro-batches in order.
What is done to a sample depends on (seed, position) alone. So the state of the stream is the
step number: any number of ranks and workers sees the same samples, and a run resumes exactly.
"""

from __future__ import annotations

import dataclasses
import json
import multiprocessing
import signal
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from multiprocessing import forkserver, resource_tracker
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from xraytk.data import augment
from xraytk.data.shards import ShardIndex, ShardReader, decode_image
from xraytk.errors import DataError, MachineError, UsageError
from xraytk.processes import leave_with_parent
from xraytk.records import LANGUAGES, Batch

FIELDS = frozenset(f.name for f in dataclasses.fields(Batch))

Position = tuple[int, int]  # position in the order (-1: no augmentation), row of the split


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamConfig:
    """How samples become squares.

    Args:
        image_px: Side of the square, in pixels.
        fit: "letterbox" keeps the aspect ratio and pads; "stretch" does neither.
        crop_scale: Lowest and highest share of the area kept by random crops, in (0, 1].
        rotate_deg: Largest random turn to either side, in degrees.
        contrast: Largest random change of contrast, as a share, in [0, 1).
    """

    image_px: int = 1280
    fit: augment.Fit = "letterbox"
    crop_scale: tuple[float, float] = (1.0, 1.0)
    rotate_deg: float = 0.0
    contrast: float = 0.0

    def __post_init__(self) -> None:
        low, high = self.crop_scale
        if self.image_px < 1:
            raise UsageError(f"image_px must be at least 1, found {self.image_px}")
        if not 0 < low <= high <= 1:
            raise UsageError(f"crop_scale must be two shares, 0 < low <= high <= 1, found {low}, {high}")
        if not 0 <= self.rotate_deg <= 45:
            raise UsageError(f"rotate_deg must lie in 0 to 45, found {self.rotate_deg}")
        if not 0 <= self.contrast < 1:
            raise UsageError(f"contrast must lie in 0 to 1, found {self.contrast}")


def permutation(seed: int, epoch: int, count: int) -> NDArray[np.int64]:
    """Return the order of one epoch: a function of its arguments and of nothing else.

    Source:
        Philox4x64, seeded through numpy's SeedSequence with [seed, epoch].
    """
    return _generator(seed, epoch).permutation(count)


def _generator(seed: int, number: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, number])))


class Stream:
    """One split of a shards folder, as batches.

    Args:
        folder: A shards folder.
        split: "train", "val" or "test".
        config: How samples become squares.
        seed: Of the order and of the augmentation.
        needs: Fields of `Batch` that are wanted; work for the others is skipped (images,
            lungs and labels are then empty of content, valid is all True).
        labels: Names and order of the labels; those the shards do not know are unknown (NaN)
            for every sample. None for all that the shards know.
        only: The ``image_id`` of the samples to take of the split; None for all. The order is
            that of a split that holds just these.

    Raises:
        DataError: If there are no whole shards, or the split is empty, or holds none of ``only``.
        UsageError: If ``needs`` names what no batch has.
    """

    def __init__(
        self,
        folder: Path,
        split: str,
        config: StreamConfig,
        *,
        seed: int = 0,
        needs: frozenset[str] = FIELDS,
        labels: tuple[str, ...] | None = None,
        only: Collection[str] | None = None,
    ) -> None:
        if unknown := sorted(needs - FIELDS):
            raise UsageError(f"a batch has no {', '.join(unknown)}", f"it has {', '.join(sorted(FIELDS))}")
        index = ShardIndex.load(folder)
        rows = index.rows(split)
        if only is not None and len(rows):
            rows = rows[np.isin(index.image_id[rows], [image_id.encode() for image_id in only])]
            if not len(rows):
                raise DataError(
                    f"{folder} holds no selected sample of the split {split!r}",
                    f"{len(only):,} images are selected",
                    "Select from the ingest folder that the shards were made of.",
                )
        if not len(rows):
            there = ", ".join(sorted({s.split for s in index.shards})) or "none"
            raise DataError(
                f"{folder} holds no sample of the split {split!r}",
                f"splits with samples: {there}",
                "Ingest more patients, or choose another split.",
            )
        self.labels = index.labels if labels is None else tuple(labels)
        self.count = len(rows)
        self.fingerprint = index.fingerprint(split)
        self._seed = seed
        self._samples = _Samples(ShardReader(index.take(rows)), config, seed, needs, self.labels)

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
            workers: Processes that read ahead; 0 reads in this one.

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
        order = self._order(batch, micro_batch, start_step, rank, world)
        return self._batches(order, workers)

    def once(self, *, batch: int, workers: int = 0, rank: int = 0, world: int = 1) -> Iterator[Batch]:
        """Yield every sample once in index order, not augmented; the last batch may be short.

        Args:
            batch: Samples of one yielded batch.
            workers: Processes that read ahead; 0 reads in this one.
            rank: Of this process; it takes the rank-th run of consecutive samples.
            world: Number of processes; their shares differ by one sample at most.

        Raises:
            DataError: If a sample is broken.
        """
        if batch < 1:
            raise UsageError(f"batch must be at least 1, found {batch}")
        _check_rank(rank, world)
        first, last = self.count * rank // world, self.count * (rank + 1) // world
        order = ([(-1, row) for row in range(at, min(at + batch, last))] for at in range(first, last, batch))
        return self._batches(order, workers)

    def _order(
        self, batch: int, micro_batch: int, step: int, rank: int, world: int
    ) -> Iterator[list[Position]]:
        share = batch // world
        epoch, rows = -1, np.zeros(0, np.int64)
        while True:
            begin = step * batch + rank * share
            for at in range(begin, begin + share, micro_batch):
                chunk = []
                for position in range(at, at + micro_batch):
                    if position // self.count != epoch:
                        epoch = position // self.count
                        rows = permutation(self._seed, epoch, self.count)
                    chunk.append((position, int(rows[position % self.count])))
                yield chunk
            step += 1

    def _batches(self, order: Iterable[list[Position]], workers: int) -> Iterator[Batch]:
        if workers == 0:
            yield from map(self._samples.batch, order)
            return
        loader = DataLoader(
            self._samples,
            batch_size=None,  # the order already comes in micro-batches
            sampler=order,
            num_workers=workers,
            collate_fn=_as_it_is,
            worker_init_fn=_settle_worker,
            generator=torch.Generator(),  # its own: the global one belongs to the learner
            multiprocessing_context=_clean_start(),
        )
        try:
            for made in loader:
                if isinstance(made, DataError):
                    raise made
                yield made
        except RuntimeError as error:
            if "DataLoader worker" not in str(error):
                raise
            raise MachineError(
                "a process that reads batches ahead has died",
                str(error).splitlines()[0],
                "Lower machine.workers, or give it more memory (containers: more shared memory).",
            ) from None


class _Samples(Dataset[Any]):
    """Makes batches of given positions; lives in this process or in a worker."""

    def __init__(
        self,
        reader: ShardReader,
        config: StreamConfig,
        seed: int,
        needs: frozenset[str],
        labels: tuple[str, ...],
    ) -> None:
        self._reader = reader
        self._config = config
        self._seed = seed
        self._needs = needs
        self._labels = {name: i for i, name in enumerate(labels)}

    def __getitem__(self, positions: list[Position]) -> Batch | DataError:
        try:
            return self.batch(positions)
        except DataError as error:  # handed over whole: torch would wrap it in a traceback
            return error

    def batch(self, positions: list[Position]) -> Batch:
        """Read, place and stack."""
        side, count = self._config.image_px, len(positions)
        out = self._empty(count, side)
        for i, (position, row) in enumerate(positions):
            try:
                self._fill(out, i, position, row)
            except (KeyError, TypeError, ValueError) as error:
                raise self._reader.broken(row, f"{type(error).__name__}: {error}") from error
        return out

    def _fill(self, out: Batch, i: int, position: int, row: int) -> None:
        meta = self._json(row, "meta")
        out.image_id.append(self._reader.index.image_id[row].decode())
        out.patient_hash.append(meta["patient_hash"])
        out.view.append(meta["view"])
        if self._needs & {"image", "valid", "lung", "has_contour"}:
            self._place(out, i, position, row, (meta["height"], meta["width"]))
        if "labels" in self._needs:
            for name, value in (self._json(row, "labels") or {}).items():
                if name in self._labels:
                    out.labels[i, self._labels[name]] = value
        if "reports" in self._needs:
            for language in LANGUAGES:
                out.reports[language].append((self._reader.read(row, language) or b"").decode())

    def _place(self, out: Batch, i: int, position: int, row: int, shape: tuple[int, int]) -> None:
        chance = self._draw(position)
        side, fit = self._config.image_px, self._config.fit
        if "image" in self._needs:
            image = decode_image(self._reader.read(row, "image") or b"")
            placed, valid = augment.place(image, side, fit, chance)
            out.image[i, 0] = torch.from_numpy(placed)
            shape = image.shape
        elif "valid" in self._needs:
            valid = augment.place(np.zeros(shape, np.uint8), side, fit, chance)[1]
        if "valid" in self._needs:
            out.valid[i] = torch.from_numpy(valid)
        if self._needs & {"lung", "has_contour"}:
            polygons = (self._json(row, "contour") or {}).get("polygons", [])
            out.has_contour[i] = bool(polygons)
            if "lung" in self._needs and polygons:
                lung = augment.place_polygons(polygons, augment.affine(*shape, side, fit, chance), side)
                out.lung[i] = torch.from_numpy(lung)

    def _draw(self, position: int) -> augment.Augmentation:
        c = self._config
        if position < 0:
            return augment.NONE
        rng = _generator(self._seed, position)
        return augment.draw(rng, crop_scale=c.crop_scale, rotate_deg=c.rotate_deg, contrast=c.contrast)

    def _json(self, row: int, name: str) -> Any:
        data = self._reader.read(row, name)
        return None if data is None else json.loads(data)

    def _empty(self, count: int, side: int) -> Batch:
        """Tensors to fill; those not needed take no memory."""

        def made(name: str, shape: tuple[int, ...], fill: int, dtype: torch.dtype) -> Tensor:
            if name in self._needs:
                return torch.full(shape, fill, dtype=dtype)
            return torch.full((1,) * len(shape), fill, dtype=dtype).expand(shape)

        return Batch(
            image=made("image", (count, 1, side, side), 0, torch.uint8),
            valid=made("valid", (count, side, side), 1, torch.bool),
            lung=made("lung", (count, side, side), 0, torch.bool),
            has_contour=torch.zeros(count, dtype=torch.bool),
            labels=torch.full((count, len(self._labels)), torch.nan),
            reports={language: [] if "reports" in self._needs else [""] * count for language in LANGUAGES},
            image_id=[],
            patient_hash=[],
            view=[],
        )


def _check_rank(rank: int, world: int) -> None:
    if not 0 <= rank < world:
        raise UsageError(f"rank must lie in 0 to {world - 1}, found {rank}")


def _as_it_is(made: Any) -> Any:
    return made


def _clean_start() -> multiprocessing.context.BaseContext:
    """Workers are forked from a server that has imported this module and done nothing else.

    A fork of the training process itself inherits the locks of thread pools (OpenCV, Arrow)
    whose threads it does not have, and can wait for them for ever. The server holds SIGTERM
    back, so that one sent to the whole process group leaves time to finish the step.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    resource_tracker.ensure_running()  # else the server starts it, and it unblocks the signal
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    try:
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return context


def _settle_worker(number: int) -> None:
    """One thread a worker; signals are the parent's, and when it is gone, so is the worker."""
    cv2.setNumThreads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    leave_with_parent()
