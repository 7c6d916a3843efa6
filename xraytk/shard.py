"""``xraytk shard``: manifest, images, contours, reports and labels into tar shards.

Which sample goes into which shard depends on the tables alone: each split is sorted by
``image_id`` and cut every ``max_samples``. A shard that is whole and was made from the same
input is kept, so the verb can be killed at any moment and run again, and a new report rewrites
one shard, not all. The index is written last.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from xraytk.data import shards
from xraytk.data.join import Joined, Sample
from xraytk.data.pictures import decode_png, to_8bit
from xraytk.errors import DataError, UsageError
from xraytk.files import Workspace, atomic_write, default_work, folder_lock, remove_leftovers, write_json
from xraytk.progress import Progress, Silent, Task
from xraytk.records import FRONTAL_VIEWS, SPLITS, VIEWS, as_plain

AHEAD = 128
"""Encoded images that may wait for the writer: about 100 MB."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardConfig:
    """What ``xraytk shard`` is asked to do.

    Args:
        work: The workspace.
        source: Ingest folder; the workspace's by default.
        masks: Masks folder; the workspace's by default. Shards can be made without one.
        out: Shards folder; the workspace's by default.
        max_samples: Samples in one shard. More make fewer, larger files.
        views: Views that are kept.
        workers: Threads that encode; 0 for one a core. Changes no byte of the output.
        verify: Write nothing, and check every byte of the shards that are there.
    """

    work: Path = field(default_factory=default_work)
    source: Path | None = None
    masks: Path | None = None
    out: Path | None = None
    max_samples: int = 1024
    views: tuple[str, ...] = FRONTAL_VIEWS
    workers: int = 0
    verify: bool = False

    def __post_init__(self) -> None:
        if self.max_samples < 1:
            raise UsageError(f"max_samples must be at least 1, found {self.max_samples}")
        if self.workers < 0:
            raise UsageError(f"workers must be 0 or more, found {self.workers}")
        if unknown := sorted(set(self.views) - set(VIEWS)):
            raise UsageError(
                f"views holds {', '.join(unknown)}, which is no view", f"there are: {', '.join(VIEWS)}"
            )


@dataclass(frozen=True, slots=True)
class ShardResult:
    """What ``xraytk shard`` made, or verified.

    Args:
        samples: Number of samples in each split.
        shards: Number of shards.
        kept: Of these, how many were whole already.
        bytes: Size of all shards.
        bytes_per_image: Their size over the number of samples.
        skipped: Images left out, by reason: view, image_missing, image_broken.
        out: The shards folder.
    """

    samples: dict[str, int]
    shards: int
    kept: int
    bytes: int
    bytes_per_image: float
    skipped: dict[str, int]
    out: Path


@dataclass(frozen=True, slots=True)
class _Plan:
    """One shard to be: consecutive rows of the manifest."""

    name: str
    split: str
    rows: range


@dataclass(frozen=True, slots=True)
class _Part:
    """One shard that is: its rows of the index, and what index.json says of it."""

    rows: pa.Table
    bytes: int
    sha256: str
    skipped: dict[str, int]


def run(config: ShardConfig, progress: Progress | None = None) -> ShardResult:
    """Write shards of everything that was ingested, or verify those that are there.

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
        head = shards.verify(out, progress)
        return _result(head, len(head["shards"]), out)
    contours: Path | None = (config.masks or work.masks) / "contours.parquet"
    if config.masks is None and contours is not None and not contours.exists():
        progress.note("no lung contours: the shards go without (run `xraytk mask` to have them)")
        contours = None
    inputs = Joined(config.source or work.ingest, contours, config.views, progress)
    plans = _cut(inputs.split, config.max_samples)
    with folder_lock(out):
        remove_leftovers(out)
        remove_leftovers(out / "parts")
        parts, kept = _make_parts(plans, inputs, out, config.workers, progress)
        skipped = Counter(view=inputs.other_views)
        for part in parts:
            skipped.update(part.skipped)
        head = _finish(plans, parts, inputs.labels, skipped, out)
    return _result(head, kept, out)


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


def _cut(split: list[str], max_samples: int) -> list[_Plan]:
    """Cut each split into shards of consecutive rows; ``split`` is that of each row, sorted."""
    plans = []
    for name, first in {name: split.index(name) for name in dict.fromkeys(split)}.items():
        end = first + split.count(name)
        for number, start in enumerate(range(first, end, max_samples)):
            rows = range(start, min(start + max_samples, end))
            plans.append(_Plan(f"{name}-{number:06d}", name, rows))
    return plans


def _make_parts(
    plans: list[_Plan], inputs: Joined, out: Path, workers: int, progress: Progress
) -> tuple[list[_Part], int]:
    """Keep what is whole, write the rest; also returns how many were kept."""
    wanted = {plan.name: _fingerprint(inputs.samples(plan.rows)) for plan in plans}
    whole = {plan.name: _read_part(out, plan, wanted[plan.name]) for plan in plans}
    kept = sum(part is not None for part in whole.values())
    if kept < len(plans) or _orphans(plans, out):
        (out / "index.json").unlink(missing_ok=True)  # it no longer says what is there
    threads = workers or os.cpu_count() or 1  # decoding and encoding hold no lock of Python's
    pool = ThreadPoolExecutor(threads)
    parts = []
    try:
        with progress.task("shard", len(inputs.split)) as task:
            for plan in plans:
                part = whole[plan.name] or _write_part(plan, inputs, wanted[plan.name], out, pool, task)
                parts.append(part)
                task.update(plan.rows.stop, shard=plan.name)
    finally:
        pool.shutdown(cancel_futures=True)
    return parts, kept


def _fingerprint(samples: list[Sample]) -> str:
    """A hash of all that decides a shard's bytes; images by their size and time of writing."""
    digest = hashlib.sha256(f"{shards.FORMAT} {shards.CODEC}".encode())
    for sample in samples:
        try:
            stat = sample.path.stat()
            state = (stat.st_size, stat.st_mtime_ns)
        except OSError:
            state = (-1, -1)
        digest.update(f"\n{sample.image_id} {state} {sorted(sample.members.items())}".encode())
    return digest.hexdigest()


def _read_part(out: Path, plan: _Plan, fingerprint: str) -> _Part | None:
    """Return what an earlier run left of this shard, if it is whole and of the same input."""
    try:
        rows = pq.read_table(out / "parts" / f"{plan.name}.parquet")
        facts = json.loads(rows.schema.metadata[b"xraytk.part"])
        if facts.pop("fingerprint") != fingerprint:
            return None
        if len(rows) and (out / f"{plan.name}.tar").stat().st_size != facts["bytes"]:
            return None
        return _Part(rows.replace_schema_metadata(shards.INDEX.metadata), **facts)
    except (OSError, pa.ArrowInvalid, KeyError, TypeError, ValueError):
        return None


def _write_part(
    plan: _Plan, inputs: Joined, fingerprint: str, out: Path, pool: ThreadPoolExecutor, task: Task
) -> _Part:
    """Write one shard, then what says that it is whole."""
    path = out / f"{plan.name}.tar"
    rows: list[dict[str, Any]] = []
    skipped: Counter[str] = Counter()
    with atomic_write(path) as stream:
        writer = shards.ShardWriter(stream)
        images = _encode_all(inputs.samples(plan.rows), pool)
        for done, (sample, image) in enumerate(images, plan.rows.start + 1):
            if isinstance(image, str):
                skipped[image] += 1
            else:
                place = writer.add(sample.image_id, {**sample.members, "image": image})
                rows.append({"image_id": sample.image_id, "split": plan.split, "shard": path.name, **place})
            task.update(done, shard=plan.name)
        sha256 = writer.close()
    if not rows:
        path.unlink()
    table = pa.Table.from_pylist(rows, schema=shards.INDEX)
    part = _Part(table, writer.bytes if rows else 0, sha256, dict(skipped))
    facts = {"fingerprint": fingerprint, "bytes": part.bytes, "sha256": sha256, "skipped": part.skipped}
    with atomic_write(out / "parts" / f"{plan.name}.parquet") as stream:
        pq.write_table(table.replace_schema_metadata({"xraytk.part": json.dumps(facts)}), stream)
    return part


def _encode_all(samples: Iterable[Sample], pool: ThreadPoolExecutor) -> Iterator[tuple[Sample, bytes | str]]:
    """Encode the images on all threads and yield them in order, a few ahead of the writing."""
    ahead: deque[tuple[Sample, Future[bytes | str]]] = deque()
    for sample in samples:
        ahead.append((sample, pool.submit(_encode, sample)))
        if len(ahead) > AHEAD:
            first, future = ahead.popleft()
            yield first, future.result()
    for first, future in ahead:
        yield first, future.result()


def _encode(sample: Sample) -> bytes | str:
    """Return the image as a shard holds it, or the reason why there is none."""
    try:
        image = decode_png(sample.path.read_bytes())
    except FileNotFoundError:
        return "image_missing"
    except (OSError, ValueError):
        return "image_broken"
    return shards.encode_image(to_8bit(image)) if image.shape == sample.shape else "image_broken"


def _orphans(plans: list[_Plan], out: Path) -> list[Path]:
    """Files of an earlier run that no shard of this one will replace."""
    names = {plan.name for plan in plans}
    found = [*out.glob("*.tar"), *(out / "parts").glob("*.parquet")]
    return sorted(path for path in found if path.stem not in names)


def _finish(
    plans: list[_Plan], parts: list[_Part], labels: list[str], skipped: Counter[str], out: Path
) -> dict[str, Any]:
    """Remove what is not listed, then write the index, index.json last; return the latter."""
    left_out = {reason: skipped[reason] for reason in sorted(skipped) if skipped[reason]}
    if not any(len(part.rows) for part in parts):
        raise DataError(
            f"none of {sum(len(plan.rows) for plan in plans)} images can be put into shards",
            "left out: " + ", ".join(f"{n} {reason}" for reason, n in left_out.items()),
            "Look at the ingest folder, and run `xraytk ingest` again.",
        )
    for path in _orphans(plans, out):
        path.unlink()
    table = pa.concat_tables([part.rows for part in parts]).combine_chunks()
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    with atomic_write(out / "index.parquet") as stream:
        stream.write(buffer.getvalue())
    infos = [
        shards.ShardInfo(f"{plan.name}.tar", plan.split, len(part.rows), part.bytes, part.sha256)
        for plan, part in zip(plans, parts, strict=True)
        if len(part.rows)
    ]
    head = {
        "format": shards.FORMAT,
        "labels": labels,
        "counts": {s: n for s in SPLITS if (n := sum(i.count for i in infos if i.split == s))},
        "skipped": left_out,
        "shards": [as_plain(info) for info in infos],
        "index_sha256": hashlib.sha256(buffer.getvalue()).hexdigest(),
    }
    write_json(out / "index.json", head)
    return head
