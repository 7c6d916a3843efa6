"""Checks a shards folder, byte by byte, and lists all that is not whole."""

from __future__ import annotations

import io
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import imagecodecs
import pyarrow as pa
import pyarrow.parquet as pq

from xraytk.data.shard_index import INDEX, MEMBERS, ShardIndex, parse_head
from xraytk.data.shard_parts import Order, Part, read_part
from xraytk.errors import DataError
from xraytk.files import sha256_of
from xraytk.progress import Progress, Silent

_MOST_NAMED = 5  # images of one shard


@dataclass(frozen=True, slots=True)
class Found:
    """What a look at every byte found.

    Args:
        head: Content of index.json; None when it is not whole.
        indexed: Whether head and index.parquet are whole and belong together.
        parts: What is known of each shard that should be there: name without ending, split, and
            its rows, bytes and SHA-256; None for one of which nothing is known.
        problems: A line each; empty when all is whole.
        broken: Names of the shards that are not whole, without ending.
        extra: Tars that are not listed.
    """

    head: dict[str, Any] | None
    indexed: bool
    parts: list[tuple[str, str, Part | None]]
    problems: list[str]
    broken: list[str]
    extra: list[Path]


def examine(folder: Path, progress: Progress | None = None) -> Found:
    """Check every byte of a shards folder, and change nothing.

    Shards are checked against the index; where that is broken, against the parts that were
    left when they were made.

    Args:
        folder: The shards folder.
        progress: Where to report to.

    Raises:
        DataError: If there is no shards folder, or it is of another format.
    """
    head, problems = _head(folder)
    try:
        ShardIndex.load(folder)
        indexed = True
    except DataError as error:
        indexed = False
        if head is not None:
            problems.append(str(error))
    if indexed and head is not None:
        parts = _parts_of_index(folder, head)
    else:
        order = Order.load(folder)
        parts = [(n, s, read_part(folder, n)) for n, s in order.shards] if order else []
        problems += [f"{name}.tar cannot be checked without the index" for name, _, p in parts if p is None]
    broken = []
    with (progress or Silent()).task("verify", len(parts), "shards") as task:
        for done, (name, _, part) in enumerate(parts, 1):
            if part is not None and (problem := _problem(folder / f"{name}.tar", part)):
                problems.append(problem)
                broken.append(name)
            task.update(done)
    listed = {name for name, _, _ in parts}
    extra = sorted(path for path in folder.glob("*.tar") if parts and path.stem not in listed)
    problems += [f"{path.name} is not in the index" for path in extra]
    return Found(head, indexed, parts, problems, broken, extra)


def verify(folder: Path, progress: Progress | None = None) -> dict[str, Any]:
    """Check every byte of a shards folder against its index.

    Args:
        folder: The shards folder.
        progress: Where to report to.

    Returns:
        The content of index.json.

    Raises:
        DataError: Naming all that is not whole, found against wanted.
    """
    found = examine(folder, progress)
    if found.problems or found.head is None:
        count = len(found.problems)
        raise DataError(
            f"{folder} is not whole: {count} problem{'s' if count > 1 else ''}, {len(found.parts)} shards",
            "\n".join(found.problems),
            "Run `xraytk shard --repair`: it writes again only what is not whole.",
        )
    return found.head


def _head(folder: Path) -> tuple[dict[str, Any] | None, list[str]]:
    path = folder / "index.json"
    if not path.exists():
        if not any(folder.glob("*.tar")):
            raise DataError(f"{path} does not exist", todo="Run `xraytk shard` first.")
        return None, [f"{path} does not exist: the shards were never finished, or it was lost"]
    try:
        return parse_head(path.read_bytes(), str(folder)), []
    except DataError as error:
        if "of format" in error.what:
            raise
        return None, [str(error)]


def _parts_of_index(folder: Path, head: dict[str, Any]) -> list[tuple[str, str, Part | None]]:
    """What the index knows of each shard, its rows in place."""
    table = pq.read_table(folder / "index.parquet").cast(INDEX)
    made: list[tuple[str, str, Part | None]] = []
    first = 0
    for shard in head["shards"]:
        name = shard["name"].removesuffix(".tar")
        rows = table.slice(first, shard["count"])
        first += shard["count"]
        made.append((name, shard["split"], Part(rows, shard["bytes"], shard["sha256"], {}, "")))
    return made


def _problem(path: Path, part: Part) -> str:
    """Say what is wrong with one tar; "" when nothing is."""
    if part.bytes == 0:  # none of its samples could be written
        return ""
    try:
        with path.open("rb") as stream:
            size = stream.seek(0, io.SEEK_END)
            if size != part.bytes:
                return f"{path.name} has {size} bytes, {part.bytes} wanted{_images(stream, part)}"
            found = sha256_of(path)
            if found != part.sha256:
                what = f"{path.name}: sha256 is {found[:12]}..., wanted is {part.sha256[:12]}..."
                return what + _images(stream, part)
    except FileNotFoundError:
        return f"{path.name} does not exist"
    except OSError as error:
        return f"{path.name} cannot be read: {error.strerror}"
    return ""


def _images(stream: io.BufferedReader, part: Part) -> str:
    """Name the images of a broken tar whose members are not whole."""
    names = [row["image_id"] for row in _rows(part.rows) if not _is_whole(stream, row)]
    if not names:
        return "; no image is broken, only what lies between them"
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return f"; broken: {', '.join(names[:_MOST_NAMED])}{more} of {len(part.rows)} images"


def _rows(table: pa.Table) -> Iterable[dict[str, Any]]:
    for batch in table.to_batches(max_chunksize=1024):
        yield from batch.to_pylist()


def _is_whole(stream: io.BufferedReader, row: dict[str, Any]) -> bool:
    for name in MEMBERS:
        length = row[f"{name}_length"]
        if length is not None:
            stream.seek(row[f"{name}_offset"])
            data = stream.read(length)
            if len(data) != length or imagecodecs.deflate_crc32(data) != row[f"{name}_crc32"]:
                return False
    return True
