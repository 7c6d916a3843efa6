"""Mends a shards folder: writes again only what is not whole, from the ingest folder."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq

from xraytk.data.join import Joined
from xraytk.data.shard_index import INDEX
from xraytk.data.shard_parts import (
    SKIPPED,
    Job,
    Order,
    Part,
    Recipe,
    fingerprint,
    read_part,
    save_part,
    write_index,
    write_part,
)
from xraytk.data.shard_verify import Found, examine
from xraytk.errors import DataError
from xraytk.progress import Progress, Task

_RERUN = "Run `xraytk shard` again: it keeps the shards that are whole, and makes all others new."


@dataclass(frozen=True, slots=True)
class Mended:
    """What a repair did.

    Args:
        head: Content of index.json.
        written: Names of the shards written again.
        changed: Of these, those that are not as they were, as their input has changed.
    """

    head: dict[str, Any]
    written: list[str]
    changed: list[str]


def repair(out: Path, inputs: Callable[[int], Joined], pool: Executor, progress: Progress) -> Mended:
    """Write again what is not whole; the samples of a shard and their order stay the same.

    The index is made again from the parts where it is broken. Nothing is written when all is
    whole.

    Args:
        out: The shards folder.
        inputs: Joins all that was ingested, given the long side of the second image; called
            only when a shard must be written.
        pool: Encodes.
        progress: Where to report to; told of shards whose input has changed.

    Raises:
        DataError: If there are no shards, too little is left to say what was there, or images of
            a broken shard are gone; the others are mended all the same.
    """
    found = examine(out, progress)
    if found.head is not None and not found.problems:
        return Mended(found.head, [], [])
    order = _order(out, found)
    parts = _known(out, found)
    made, failed = _write(out, found, parts, order.recipe, inputs, pool, progress)
    changed = [name for name, part in made.items() if part.sha256 != parts[name][1].sha256]
    for name in changed:
        progress.note(f"{name}.tar is whole again, but other than it was: its input has changed since")
    for path in found.extra:
        progress.note(f"{path.name} was in no index, and is removed")
        path.unlink()
    head = found.head
    if head is None or not found.indexed or changed:
        rows = [(name, split, made.get(name, part)) for name, (split, part) in parts.items()]
        listed = [(name, split) for name, split, _ in rows]
        head = write_index(out, rows, dataclasses.replace(order, shards=listed))
    if failed:
        raise DataError(
            f"{len(failed)} of {len(found.broken)} broken shards cannot be written as they were",
            "\n".join(failed),
            _RERUN,
        )
    return Mended(head, list(made), changed)


def _order(out: Path, found: Found) -> Order:
    """What the shards were to be: as the index says, else as the run that made them noted."""
    head = found.head
    if head is None:
        order = Order.load(out)
        if order is None:
            raise DataError(f"{out} holds neither a whole index nor parts to make one from", "", _RERUN)
        return order
    skipped = {"image_missing", "image_broken"}
    return Order(
        recipe=Recipe(**{f.name: head[f.name] for f in dataclasses.fields(Recipe)}),
        labels=head["labels"],
        left_out={reason: n for reason, n in head.get("skipped", {}).items() if reason not in skipped},
        shards=[],
    )


def _known(out: Path, found: Found) -> dict[str, tuple[str, Part]]:
    """Split and content of each shard, those without a sample too, for their skipped images."""
    lost = sum(part is None for _, _, part in found.parts)
    if lost or not found.parts:
        raise DataError(
            f"the index of {out} is broken and cannot be made again",
            f"the parts of {lost} of {len(found.parts)} shards are missing in {out / 'parts'}",
            _RERUN,
        )
    known = {name: (split, part) for name, split, part in found.parts if part is not None}
    if found.indexed:  # which does not list skipped images
        for row in _skipped(out):
            name = row["shard"].removesuffix(".tar")
            nothing = Part(INDEX.empty_table(), 0, "", {}, "")
            _, part = known.setdefault(name, (row["split"], nothing))
            part.skipped[row["image_id"]] = row["reason"]
    return known


def _skipped(out: Path) -> list[dict[str, Any]]:
    try:
        return list(pq.read_table(out / "skipped.parquet", columns=SKIPPED.names).to_pylist())
    except (OSError, KeyError, ValueError):
        return []


def _write(
    out: Path,
    found: Found,
    parts: dict[str, tuple[str, Part]],
    recipe: Recipe,
    inputs: Callable[[int], Joined],
    pool: Executor,
    progress: Progress,
) -> tuple[dict[str, Part], list[str]]:
    """Write the broken shards; returns them, and a line for each that could not be written."""
    made: dict[str, Part] = {}
    failed: list[str] = []
    if not found.broken:
        return made, failed
    joined = inputs(recipe.also_px)
    with progress.task("repair", sum(len(parts[name][1].rows) for name in found.broken)) as task:
        done = 0
        for name in found.broken:
            try:
                made[name] = _again(out, name, parts[name], joined, recipe, pool, task, done)
            except DataError as error:
                failed.append(f"{error.what}: {error.detail}")
            done += len(parts[name][1].rows)
            task.update(done)
    return made, failed


def _again(
    out: Path,
    name: str,
    known: tuple[str, Part],
    joined: Joined,
    recipe: Recipe,
    pool: Executor,
    task: Task,
    done: int,
) -> Part:
    """Write one shard with the samples that it had."""
    split, part = known
    rows = pc.index_in(part.rows["image_id"].combine_chunks(), value_set=joined.image_id)
    if rows.null_count:
        raise DataError(
            f"{name}.tar", f"{rows.null_count} of its {len(rows)} images are no longer in the ingest folder"
        )
    earlier = read_part(out, name)
    samples = joined.samples(rows.to_numpy())
    job = Job(name, split, samples, fingerprint(samples, recipe))
    new = write_part(out, job, recipe, pool, task, done, all_of_them=True)
    new = dataclasses.replace(new, skipped=part.skipped)
    if earlier is not None and new.sha256 == part.sha256:
        new = dataclasses.replace(new, fingerprint=earlier.fingerprint)
    save_part(out, name, new)
    return new
