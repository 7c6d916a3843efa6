"""A list of paths, one a line or separated by NUL as `find -print0` writes it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import BinaryIO

from xraytk.errors import DataError

MAX_PATH_BYTES = 1 << 16
_CHUNK = 1 << 16


def paths_of(stream: BinaryIO) -> Iterator[str]:
    """The paths of a list, as they are given; empty lines are passed over.

    A list that holds a NUL in its first 64 KiB is separated by NUL, so that names may hold line
    ends. Bytes that are no UTF-8 are kept (surrogateescape); UTF-16 with its mark, as Windows
    writes it, is read as such.

    Raises:
        DataError: If it is no list of paths.
    """
    head = stream.read(_CHUNK)
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        text = (head + stream.read()).decode("utf-16", "replace")
        yield from (line for line in text.splitlines() if line)
        return
    if head[128:132] == b"DICM" or head.startswith(b"PK\x03\x04"):
        raise _no_list()
    head = head.removeprefix(b"\xef\xbb\xbf")
    separator = b"\0" if b"\0" in head else b"\n"
    while head:
        *whole, rest = head.split(separator)
        for path in whole:
            yield from _one(path, separator)
        if len(rest) > MAX_PATH_BYTES:
            raise _no_list()
        more = stream.read(_CHUNK)
        if not more:
            yield from _one(rest, separator)
        head = rest + more if more else b""


def _one(path: bytes, separator: bytes) -> Iterator[str]:
    if separator == b"\n":
        path = path.removesuffix(b"\r")
    if len(path) > MAX_PATH_BYTES:
        raise _no_list()
    if path:
        yield os.fsdecode(path)


def _no_list() -> DataError:
    return DataError(
        "the list of files is no list of paths",
        "wanted a text file with one path a line, or paths separated by NUL",
        "To ingest a single file, give it as the source.",
    )
