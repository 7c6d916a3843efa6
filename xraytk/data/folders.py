"""Local folders walked with all below them, archives looked into, DICOMDIRs followed."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Collection, Iterator
from pathlib import Path

from xraytk.data import remote
from xraytk.data.archives import (
    Found,
    Place,
    is_dicomdir,
    kind_of,
    list_archive,
    named_archive,
    open_archive,
    single_name,
)
from xraytk.data.reading import Source
from xraytk.data.unreadable import UnreadableError, error_code


class Walk:
    """Walks local folders, each once.

    Args:
        leave_out: Files and folders to pass over.
    """

    def __init__(self, leave_out: Collection[Path]) -> None:
        statuses = [_local(os.fspath(path), "")[1] for path in leave_out]
        self._passed = {(s.st_dev, s.st_ino) for s in statuses if s is not None}
        self._seen: set[tuple[int, int]] = set()

    def root(self, path: str) -> Iterator[Source]:
        """What the user gave: known by its content."""
        name = os.path.basename(path)  # noqa: PTH119
        source, status = _local(path, name)
        if status is not None and stat.S_ISDIR(status.st_mode):
            yield from self._folder(path, "", status)
        elif source.fault:
            yield source
        elif self._is_dicomdir(path, name):
            yield from self._named_by_dicomdir(path, "", "every")
        else:
            yield from inside(source, "", name, by_content=True)

    def named(self, path: str, name: str) -> Iterator[Source]:
        """What a list names: known by its name, since it may be one of a million."""
        source, status = _local(path, name)
        if status is not None and (status.st_dev, status.st_ino) in self._passed:
            return
        if status is not None and stat.S_ISDIR(status.st_mode):
            yield from self._folder(path, "" if name == "." else f"{name}/", status)
        elif source.fault == "vanished":
            yield Source(name, path, fault="missing")
        elif is_dicomdir(name) and not source.fault:
            yield from self._named_by_dicomdir(path, name[: -len("DICOMDIR")], "every")
        else:
            yield from maybe_archive(source, name)

    def _folder(self, path: str, prefix: str, status: os.stat_result) -> Iterator[Source]:
        """A folder with all below it: its files by name, then its folders."""
        if (status.st_dev, status.st_ino) in self._seen:
            return
        self._seen.add((status.st_dev, status.st_ino))
        stack = [(path.rstrip("/"), prefix)]
        while stack:
            folder, prefix = stack.pop()
            names, error = _names_in(folder or "/")
            below, dicomdirs = [], []
            for name in names:
                source, status_ = _local(f"{folder}/{name}", prefix + name)
                if status_ is not None:
                    identity = status_.st_dev, status_.st_ino
                    if identity in self._passed:
                        continue
                    if stat.S_ISDIR(status_.st_mode):
                        if identity not in self._seen:
                            self._seen.add(identity)
                            below.append((f"{folder}/{name}", f"{prefix}{name}/"))
                        continue
                if source.fault:
                    yield source
                elif named_archive(name):
                    yield from maybe_archive(source, name)
                elif len(name) == len("DICOMDIR") and is_dicomdir(name):
                    dicomdirs.append(source.path)
                else:
                    yield source
            for dicomdir in dicomdirs:
                yield from self._named_by_dicomdir(dicomdir, prefix, "missing")
            if error:
                yield Source(prefix, folder, fault="unreadable", fault_detail=error)
            stack.extend(reversed(below))

    def _is_dicomdir(self, path: str, name: str) -> bool:
        from xraytk.data.dicomdir import looks_like_dicomdir

        return is_dicomdir(name) or looks_like_dicomdir(path)

    def _named_by_dicomdir(self, path: str, prefix: str, which: str) -> Iterator[Source]:
        """Files that a DICOMDIR names: "every" one, or those that are "missing"."""
        from xraytk.data.dicomdir import references

        folder = os.path.dirname(path)  # noqa: PTH120
        try:
            for reference in references(path):
                at, name = os.path.join(folder, reference.name), prefix + reference.name  # noqa: PTH118
                if reference.fault:
                    yield Source(name, at, fault=reference.fault)
                elif which == "every":
                    source, status = _local(at, name)
                    if status is None or (status.st_dev, status.st_ino) not in self._passed:
                        yield source
        except UnreadableError as error:
            name = prefix + os.path.basename(path)  # noqa: PTH119
            yield Source(name, path, fault=error.reason, fault_detail=error.detail)


def _names_in(folder: str) -> tuple[list[str], str]:
    """Sorted names in a folder, and the code of the error that cut them short, or ""."""
    names: list[str] = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                names.append(entry.name)  # noqa: PERF401, those before an error count
    except OSError as error:
        return sorted(names), error_code(error)
    names.sort()
    return names, ""


def _local(path: str, name: str) -> tuple[Source, os.stat_result | None]:
    """A local file as a source, and its status unless that cannot be had."""
    try:
        status = os.stat(path)  # noqa: PTH116
    except OSError as error:
        gone = error.errno == errno.ENOENT and not os.path.islink(path)  # noqa: PTH114
        fault, code = ("vanished", "") if gone else ("unreadable", error_code(error))
        return Source(name, path, fault=fault, fault_detail=code), None
    except ValueError:  # a NUL in a path
        return Source(name, path, fault="unreadable", fault_detail="EINVAL"), None
    fault = "" if stat.S_ISREG(status.st_mode) else "not-a-file"
    return Source(name, path, None, status.st_size, str(status.st_mtime_ns), fault), status


def maybe_archive(source: Source, name: str) -> Iterator[Source]:
    """A file, or what is in it when its name is an archive's."""
    named = named_archive(name)
    if not named or source.fault:
        yield source
    elif named == "one":
        place = Place("one", f"{name.rpartition('.')[2].lower()}")
        within = single_name(name.rpartition("/")[2])
        yield Source(f"{source.name}/{within}", source.path, place, source.size, source.stamp)
    else:
        yield from inside(source, f"{source.name}/", name, by_content=False)


def inside(source: Source, prefix: str, name: str, by_content: bool) -> Iterator[Source]:
    """What is in an archive; the file itself when it turns out to be none."""
    try:
        with open_archive(source.path) as stream:
            kind = kind_of(stream, named=named_archive(name) == "many" or by_content)
            if kind is None:
                yield source
                return
            for found in list_archive(stream, kind, name.rpartition("/")[2]):
                yield _member(source, found, prefix)
    except UnreadableError as error:
        yield Source(source.name, source.path, None, source.size, source.stamp, error.reason, error.detail)
    except OSError as error:
        code = error_code(error)
        yield Source(source.name, source.path, None, source.size, source.stamp, "unreadable", code)
    except Exception as error:
        if not remote.is_url(source.path):
            raise
        code = type(error).__name__
        yield Source(source.name, source.path, None, source.size, source.stamp, "unreadable", code)


def _member(archive: Source, found: Found, prefix: str) -> Source:
    if found.place is None:
        return Source(
            archive.name, archive.path, None, archive.size, archive.stamp, found.fault, found.detail
        )
    stamp = found.stamp or archive.stamp
    return Source(
        prefix + found.name, archive.path, found.place, found.size, stamp, found.fault, found.detail
    )
