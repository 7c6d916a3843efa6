"""``xraytk shard``: manifest, images, contours, reports and labels into tar shards.

Which sample goes into which shard depends on the tables alone: each split is sorted by study and
``image_id``, and cut before ``max_samples`` are exceeded, between studies. A shard that is whole
and was made from the same input is kept, so the verb can be killed at any moment and run again,
and a new report rewrites one shard, not all. The index is written last.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xraytk.data import codec as codecs
from xraytk.data import shard_parts
from xraytk.data.join import Joined
from xraytk.data.shard_parts import Order, Part, Recipe
from xraytk.data.shard_repair import repair
from xraytk.data.shard_verify import verify
from xraytk.errors import DataError, UsageError
from xraytk.files import Workspace, default_work, folder_lock, remove_leftovers
from xraytk.progress import Progress, Silent
from xraytk.records import FRONTAL_VIEWS, VIEWS


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardConfig:
    """What ``xraytk shard`` is asked to do.

    Args:
        work: The workspace.
        source: Ingest folder; the workspace's by default.
        masks: Masks folder; the workspace's by default. Shards can be made without one.
        out: Shards folder; the workspace's by default.
        codec: How images are stored: tiff (8 bit, lossless), tiff16 or jpeg.
        quality: Of JPEG, 1 to 100.
        also_px: Long side of a second, smaller image beside each; 0 for none.
        select: Table of image_id and keep, as `xraytk curate` writes it; all images by default.
        max_samples: Most samples in one shard. More make fewer, larger files. The images of a study
            lie in one shard, unless they are more.
        views: Views that are kept.
        workers: Threads that encode; 0 for one a core. Changes no byte of the output.
        verify: Write nothing, and check every byte of the shards that are there.
        repair: Check every byte, and write again only what is not whole.
    """

    work: Path = field(default_factory=default_work)
    source: Path | None = None
    masks: Path | None = None
    out: Path | None = None
    codec: str = "tiff"
    quality: int = codecs.QUALITY
    also_px: int = 0
    select: Path | None = None
    max_samples: int = 1024
    views: tuple[str, ...] = FRONTAL_VIEWS
    workers: int = 0
    verify: bool = False
    repair: bool = False

    def __post_init__(self) -> None:
        if self.max_samples < 1:
            raise UsageError(f"max_samples must be at least 1, found {self.max_samples}")
        if self.workers < 0:
            raise UsageError(f"workers must be 0 or more, found {self.workers}")
        if self.codec not in codecs.CODECS:
            raise UsageError(f"there is no codec {self.codec!r}", f"there are: {', '.join(codecs.CODECS)}")
        if not 1 <= self.quality <= 100:
            raise UsageError(f"quality must lie in 1 to 100, found {self.quality}")
        if self.also_px < 0:
            raise UsageError(f"also_px must be 0 or more, found {self.also_px}")
        if self.verify and self.repair:
            raise UsageError("verify and repair exclude each other", todo="`--repair` verifies first.")
        if unknown := sorted(set(self.views) - set(VIEWS)):
            raise UsageError(
                f"views holds {', '.join(unknown)}, which is no view", f"there are: {', '.join(VIEWS)}"
            )


@dataclass(frozen=True, slots=True)
class ShardResult:
    """What ``xraytk shard`` made, verified or repaired.

    Args:
        samples: Number of samples in each split.
        shards: Number of shards.
        kept: Of these, how many were whole already.
        bytes: Size of all shards.
        bytes_per_image: Their size over the number of samples.
        skipped: Images left out, by reason: view, unselected, image_missing, image_broken.
        out: The shards folder.
        changed: Of the repaired shards, how many are not as they were, as the input has changed.
    """

    samples: dict[str, int]
    shards: int
    kept: int
    bytes: int
    bytes_per_image: float
    skipped: dict[str, int]
    out: Path
    changed: int = 0


@dataclass(frozen=True, slots=True)
class _Plan:
    """One shard to be: consecutive rows of the manifest."""

    name: str
    split: str
    rows: range


def run(config: ShardConfig, progress: Progress | None = None) -> ShardResult:
    """Write shards of everything that was ingested, or verify or repair those that are there.

    Args:
        config: See `ShardConfig`.
        progress: Where to report to.

    Raises:
        DataError: If the input is missing, no image is usable, or a shard is not whole.
        RunConflictError: If another process writes the same folder.
        MachineError: If the disk is full.
    """
    progress = progress or Silent()
    work = Workspace(config.work)
    out = config.out or work.shards
    if config.verify:
        head = verify(out, progress)
        return _result(head, len(head["shards"]), out)
    if config.repair:
        return _repair(config, out, progress)
    recipe = Recipe(
        codec=config.codec,
        quality=config.quality if config.codec == "jpeg" else 0,
        also_px=config.also_px,
    )
    with folder_lock(out):
        remove_leftovers(out)
        remove_leftovers(out / "parts")
        inputs = _inputs(config, out, config.views, config.also_px, progress)
        plans = _cut(inputs.split, inputs.begins, config.max_samples)
        parts, kept = _make_parts(plans, inputs, recipe, out, config.workers, progress)
        head = _finish(plans, parts, inputs, recipe, out)
    return _result(head, kept, out)


def _inputs(
    config: ShardConfig,
    out: Path,
    views: tuple[str, ...],
    also_px: int,
    progress: Progress,
    select: bool = True,
) -> Joined:
    """Join what the config names; without contours when there are none."""
    work = Workspace(config.work)
    contours: Path | None = (config.masks or work.masks) / "contours.parquet"
    if config.masks is None and contours is not None and not contours.exists():
        progress.note("no lung contours: the shards go without (run `xraytk mask` to have them)")
        contours = None
    source = config.source or work.ingest
    chosen = config.select if select else None
    return Joined(source, contours, views, progress, select=chosen, also_px=also_px, scratch=out / "parts")


def _repair(config: ShardConfig, out: Path, progress: Progress) -> ShardResult:
    """What is written again follows the shards that are there, not the config's flags."""

    def inputs(also_px: int) -> Joined:
        return _inputs(config, out, VIEWS, also_px, progress, select=False)

    with folder_lock(out), ThreadPoolExecutor(config.workers or os.cpu_count() or 1) as pool:
        mended = repair(out, inputs, pool, progress)
    kept = len(mended.head["shards"]) - len(mended.written)
    return dataclasses.replace(_result(mended.head, kept, out), changed=len(mended.changed))


def _result(head: Mapping[str, Any], kept: int, out: Path) -> ShardResult:
    samples, size = sum(head["counts"].values()), sum(s["bytes"] for s in head["shards"])
    return ShardResult(
        samples=head["counts"],
        shards=len(head["shards"]),
        kept=kept,
        bytes=size,
        bytes_per_image=size / max(samples, 1),
        skipped=head["skipped"],
        out=out,
    )


def _cut(split: NDArray[Any], begins: NDArray[np.bool_], max_samples: int) -> list[_Plan]:
    """Cut each split into shards of consecutive rows, between studies where that can be.

    Args:
        split: (n,) that of each row, sorted.
        begins: (n,) True at the first row of each study; one of each split begins a study.
        max_samples: Most rows of a shard.
    """
    plans = []
    ends = np.append(np.flatnonzero(begins), len(begins))  # where a shard may end, rising
    for name, first, count in zip(
        *(a.tolist() for a in np.unique(split, return_index=True, return_counts=True)), strict=True
    ):
        start, number = first, 0
        while start < first + count:
            most = min(start + max_samples, first + count)
            end = int(ends[np.searchsorted(ends, most, "right") - 1])
            end = end if end > start else most
            plans.append(_Plan(f"{name}-{number:06d}", name, range(start, end)))
            start, number = end, number + 1
    return sorted(plans, key=lambda plan: plan.rows.start)


def _make_parts(
    plans: list[_Plan], inputs: Joined, recipe: Recipe, out: Path, workers: int, progress: Progress
) -> tuple[list[Part], int]:
    """Keep what is whole, write the rest; also returns how many were kept."""
    if _orphans(plans, out):
        shard_parts.unfinish(out)
    parts, kept = [], 0
    pool = ThreadPoolExecutor(workers or os.cpu_count() or 1)  # codecs hold no lock of Python's
    try:
        with progress.task("shard", len(inputs.split)) as task:
            for plan in plans:
                samples = inputs.samples(np.arange(plan.rows.start, plan.rows.stop))
                part = shard_parts.read_part(out, plan.name)
                wanted = shard_parts.fingerprint(samples, recipe)
                if part and part.fingerprint == wanted and shard_parts.has_size(out, plan.name, part):
                    kept += 1
                else:
                    shard_parts.unfinish(out)
                    job = shard_parts.Job(plan.name, plan.split, samples, wanted)
                    part = shard_parts.write_part(out, job, recipe, pool, task, plan.rows.start)
                parts.append(part)
                task.update(plan.rows.stop, shard=plan.name)
    finally:
        pool.shutdown(cancel_futures=True)
    return parts, kept


def _orphans(plans: list[_Plan], out: Path) -> list[Path]:
    """Files of an earlier run that no shard of this one will replace."""
    names = {plan.name for plan in plans}
    found = [*out.glob("*.tar"), *(out / "parts").glob("*.parquet")]
    return sorted(path for path in found if path.stem not in names)


def _finish(
    plans: list[_Plan], parts: list[Part], inputs: Joined, recipe: Recipe, out: Path
) -> dict[str, Any]:
    """Remove what is not listed, then write the index, index.json last; return the latter."""
    if not any(len(part.rows) for part in parts):
        left_out = shard_parts.all_left_out(parts, inputs.left_out)
        raise DataError(
            f"none of {len(inputs.split)} images can be put into shards",
            "left out: " + ", ".join(f"{n} {reason}" for reason, n in left_out.items()),
            "Look at the ingest folder, and run `xraytk ingest` again.",
        )
    for path in _orphans(plans, out):
        path.unlink()
    named = [(plan.name, plan.split, part) for plan, part in zip(plans, parts, strict=True)]
    order = Order(
        recipe=recipe,
        labels=inputs.labels,
        left_out={reason: n for reason, n in inputs.left_out.items() if n},
        shards=[(plan.name, plan.split) for plan in plans],
    )
    return shard_parts.write_index(out, named, order)
