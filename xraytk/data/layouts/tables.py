"""Finding and streaming the tables of a public data set.

Tables are found by name, in the folder or up to two levels below, plain, gzipped or zipped.
Messages name tables and columns that the set publishes, never a cell.
"""

from __future__ import annotations

import csv
import gzip
import io
import os
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from typing import IO, cast

from xraytk.data.layouts.layout import Counts
from xraytk.data.sheet import plain_name
from xraytk.errors import DataError

_DEPTH = 2
_MANY_FOLDERS = 200
_PACKED = (".gz", ".zip")
_KINDS = (".csv", ".txt", ".json", ".xml", ".tsv")
_MAX_CELL = 1 << 22
_BROKEN = (OSError, EOFError, zlib.error, zipfile.BadZipFile, csv.Error, NotImplementedError, RuntimeError)


@dataclass(frozen=True, slots=True)
class Index:
    """The tables of a folder by their names, lower case and unpacked; the highest one counts."""

    folder: Path = field(repr=False)
    files: dict[str, Path] = field(repr=False)

    def find(self, *patterns: str) -> Path | None:
        """The first table that fits a pattern (lower case, without .gz), in the patterns' order."""
        found = (path for pattern in patterns for name, path in self.files.items() if fnmatch(name, pattern))
        return next(found, None)


def index_of(folder: Path) -> Index:
    """List the tables in a folder and up to two levels below it.

    Folders with hundreds of folders hold patients, not tables, and are not gone into.

    Args:
        folder: The data set.

    Raises:
        DataError: If it is no folder that can be read.
    """
    files: dict[str, Path] = {}
    level = [folder]
    for depth in range(_DEPTH + 1):
        below: list[Path] = []
        for place in level:
            try:
                with os.scandir(place) as entries:
                    names = sorted((e.name, e.is_dir()) for e in entries if _may_matter(e))
            except OSError as error:
                if depth == 0:
                    raise DataError("the layout's folder cannot be read", type(error).__name__) from None
                continue
            for name, is_folder in names:
                if not is_folder:
                    files.setdefault(_unpacked(name.lower()), place / name)
            folders = [place / name for name, is_folder in names if is_folder]
            below += folders if len(folders) <= _MANY_FOLDERS else []
        level = below
    return Index(folder, files)


def _may_matter(entry: os.DirEntry[str]) -> bool:
    if entry.name.startswith("."):
        return False
    name = entry.name.lower()
    is_table = name.endswith(_PACKED + _KINDS) and _unpacked(name).endswith(_KINDS)
    return is_table or entry.is_dir()


def _unpacked(name: str) -> str:
    return next((name.removesuffix(end) for end in _PACKED if name.endswith(end)), name)


@dataclass(frozen=True, slots=True)
class PublicSet:
    """How a public data set is known, and where it is to be had.

    Args:
        title: Its usual name.
        site: Where its owners give it out.
        tables: Patterns of the table without which nothing is known (lower case, unpacked), and
            the columns it has: more than one set calls its table ``train.csv``.
    """

    title: str
    site: str
    tables: Mapping[str, tuple[str, ...]]

    def main(self, index: Index) -> Path | None:
        """The set's main table, if it is there."""
        for pattern, columns in self.tables.items():
            path = index.find(pattern)
            if path is not None and _has_columns(path, columns):
                return path
        return None

    def need(self, index: Index) -> Path:
        """The set's main table.

        Raises:
            DataError: If it is not there; the message says what was looked for and where to get it.
        """
        path = self.main(index)
        if path is None:
            wanted = (f"{pattern} ({', '.join(c)})" if c else pattern for pattern, c in self.tables.items())
            raise DataError(
                f"the folder does not hold {self.title} as it is published",
                f"looked in it and {_DEPTH} levels below for {' or '.join(wanted)}; plain, .gz or .zip",
                f"The set is to be had at {self.site}; put its tables beside the images.",
            )
        return path


def _has_columns(path: Path, columns: Sequence[str]) -> bool:
    if not columns:
        return True
    try:
        there = {plain_name(c) for c in header_of(path)}
    except DataError:
        return False
    return {plain_name(c) for c in columns} <= there


@contextmanager
def opened(path: Path) -> Iterator[IO[str]]:
    """Open a text table, plain, gzipped, or alone in a zip; what is no UTF-8 becomes U+FFFD.

    Raises:
        DataError: If it is not there, or breaks off while it is read.
    """
    with ExitStack() as stack:
        try:
            binary: IO[bytes]
            if path.name.lower().endswith(".gz"):
                binary = cast(IO[bytes], stack.enter_context(gzip.open(path, "rb")))
            elif path.name.lower().endswith(".zip"):
                archive = stack.enter_context(zipfile.ZipFile(path))
                members = [
                    m for m in archive.infolist() if not m.is_dir() and "__macosx" not in m.filename.lower()
                ]
                if len(members) != 1:
                    raise DataError(
                        f"table {path.name} is no zip of one table", f"it has {len(members):,} files"
                    )
                binary = stack.enter_context(archive.open(members[0]))
            else:
                binary = stack.enter_context(path.open("rb"))
            yield stack.enter_context(
                io.TextIOWrapper(binary, encoding="utf-8-sig", errors="replace", newline="")
            )
        except _BROKEN as error:
            raise DataError(
                f"table {path.name} cannot be read to its end", type(error).__name__, "Fetch it again."
            ) from None


def header_of(path: Path) -> tuple[str, ...]:
    """The columns of a CSV.

    Raises:
        DataError: If it cannot be read.
    """
    with opened(path) as stream:
        return tuple(next(_cells(stream), []))


def _cells(stream: IO[str]) -> Iterator[list[str]]:
    csv.field_size_limit(_MAX_CELL)
    first = stream.readline()
    delimiter = max(",;\t", key=first.count)
    yield from csv.reader([first], delimiter=delimiter)
    yield from csv.reader(stream, delimiter=delimiter)


def rows_of(
    path: Path,
    columns: Sequence[str | Sequence[str]],
    counts: Counts,
    optional: Sequence[str | Sequence[str]] = (),
) -> Iterator[tuple[str, ...]]:
    """Stream chosen columns of a CSV.

    Args:
        path: The table.
        columns: The columns' names, or several that one column may have; case, blanks, "_" and
            "-" do not count.
        counts: Gets the rows that do not fit the header.
        optional: Further columns, "" where the table lacks them.

    Yields:
        The cells, stripped: first of ``columns``, then of ``optional``.

    Raises:
        DataError: If a column is missing, or the table is broken.
    """
    with opened(path) as stream:
        lines = _cells(stream)
        plain = [plain_name(c) for c in next(lines, [])]
        at = [_place(plain, names) for names in (*columns, *optional)]
        for names, place in zip(columns, at, strict=False):
            if place is None:
                wanted = names if isinstance(names, str) else " or ".join(names)
                raise DataError(
                    f"table {path.name} lacks the column {wanted}",
                    f"it has {len(plain):,} columns",
                    "Is it the table as published, with its header line?",
                )
        needed = max((p for p in at[: len(columns)] if p is not None), default=0)
        for cells in lines:
            if len(cells) > needed:
                yield tuple(cells[p].strip() if p is not None and p < len(cells) else "" for p in at)
            elif any(cells):
                counts[f"rows of {path.name} left out: they do not fit the header"] += 1


def _place(plain: list[str], names: str | Sequence[str]) -> int | None:
    wanted = [names] if isinstance(names, str) else names
    return next((plain.index(p) for p in map(plain_name, wanted) if p in plain), None)
