"""Checks a shards folder, byte by byte, and lists all that is not whole."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import imagecodecs
import numpy as np

from xraytk.data.shard_index import MEMBERS, ShardIndex
from xraytk.errors import DataError
from xraytk.files import sha256_of
from xraytk.progress import Progress, Silent

_MOST_NAMED = 5  # images of one shard


@dataclass(frozen=True, slots=True)
class Found:
    """What a look at every byte found.

    Args:
        index: None when it is not whole itself.
        problems: A line each; empty when all is whole.
        broken: Names of the shards that are not whole, with their ending.
        extra: Tars that the index does not list.
    """

    index: ShardIndex | None
    problems: list[str]
    broken: list[str]
    extra: list[str]


def examine(folder: Path, progress: Progress | None = None) -> Found:
    """Check every byte of a shards folder against its index, and change nothing.

    Args:
        folder: The shards folder.
        progress: Where to report to.

    Raises:
        DataError: If there is no shards folder, or it is of another format.
    """
    try:
        index = ShardIndex.load(folder)
    except DataError as error:
        if not (folder / "index.json").exists() and not any(folder.glob("*.tar")):
            raise
        return Found(None, [str(error)], [], [])
    problems, broken = [], []
    with (progress or Silent()).task("verify", len(index.shards), "shards") as task:
        for number, shard in enumerate(index.shards):
            if problem := _shard_problem(index, number):
                problems.append(problem)
                broken.append(shard.name)
            task.update(number + 1)
    listed = {shard.name for shard in index.shards}
    extra = sorted(path.name for path in folder.glob("*.tar") if path.name not in listed)
    problems += [f"{name} is not in the index" for name in extra]
    return Found(index, problems, broken, extra)


def verify(folder: Path, progress: Progress | None = None) -> ShardIndex:
    """Check every byte of a shards folder against its index.

    Args:
        folder: The shards folder.
        progress: Where to report to.

    Raises:
        DataError: Naming all that is not whole, found against wanted.
    """
    found = examine(folder, progress)
    if found.index is None or found.problems:
        shards = len(found.index.shards) if found.index else 0
        raise DataError(
            f"{folder} is not whole" if not shards else f"{folder} is not whole ({shards} shards)",
            "\n".join(found.problems),
            "Run `xraytk shard --repair`: it writes again only what is not whole.",
        )
    return found.index


def _shard_problem(index: ShardIndex, number: int) -> str:
    """Say what is wrong with one tar; "" when nothing is."""
    shard = index.shards[number]
    path = index.folder / shard.name
    try:
        size = path.stat().st_size
        if size != shard.bytes:
            return f"{shard.name} has {size} bytes, {shard.bytes} wanted{_images(index, number)}"
        found = sha256_of(path)
    except FileNotFoundError:
        return f"{shard.name} does not exist"
    except OSError as error:
        return f"{shard.name} cannot be read: {error.strerror}"
    if found == shard.sha256:
        return ""
    what = f"{shard.name}: sha256 is {found[:12]}..., index.json says {shard.sha256[:12]}..."
    return what + _images(index, number)


def _images(index: ShardIndex, number: int) -> str:
    """Name the images of a broken tar whose members are not whole."""
    rows = np.flatnonzero(index.shard == number)
    with (index.folder / index.shards[number].name).open("rb") as stream:
        names = [index.image_id[row].decode() for row in rows if any(_bad_members(index, int(row), stream))]
    if not names:
        return "; no image is broken, only what lies between them"
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return f"; broken: {', '.join(names[:_MOST_NAMED])}{more} of {len(rows)} images"


def _bad_members(index: ShardIndex, row: int, stream: io.BufferedReader) -> Iterator[str]:
    for slot, name in enumerate(MEMBERS):
        length = int(index.length[row, slot])
        if length >= 0:
            stream.seek(int(index.offset[row, slot]))
            data = stream.read(length)
            if len(data) != length or imagecodecs.deflate_crc32(data) != index.crc32[row, slot]:
                yield name
