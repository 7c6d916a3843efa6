"""Where images come from: folders, files, archives, DICOMDIRs, lists of paths, URLs.

Listing opens nothing but archives and DICOMDIRs; reading gives bytes, with a fixed reason when
it cannot. Neither ever raises for what a single file is like.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import sys
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from xraytk.data import remote
from xraytk.data.archives import (
    Found,
    Place,
    is_dicomdir,
    kind_of,
    list_archive,
    named_archive,
    open_archive,
    read_member,
    single_name,
)
from xraytk.data.filelist import paths_of
from xraytk.data.unreadable import MAX_FILE_BYTES, REASONS, UnreadableError, error_code
from xraytk.errors import DataError

__all__ = ["MAX_FILE_BYTES", "REASONS", "Source", "UnreadableError"]
__all__ += ["list_files_from", "list_sources", "read_source"]


@dataclass(frozen=True, slots=True)
class Source:
    """One file, or one member of an archive. Holds a path, so it never prints itself.

    Args:
        name: Relative path, with "/"; an archive counts as a folder. Distinct in a listing.
        path: The file or the archive; a URL when it begins with "scheme://".
        place: Where the member lies in the archive; None for a file.
        size: Bytes; of a single compressed file, those before unpacking.
        stamp: Changes when the content does: time of change, etag, or the member's checksum.
        fault: A reason why it cannot be read that was seen while listing.
        fault_detail: Numbers and names of errors only.
    """

    name: str = field(repr=False)
    path: str = field(repr=False)
    place: Place | None = None
    size: int = 0
    stamp: str = ""
    fault: str = ""
    fault_detail: str = ""


def list_sources(root: Path | str, leave_out: Collection[Path] = ()) -> Iterator[Source]:
    """List a folder with all below it, an archive, a DICOMDIR, a file or a URL, in a stable order.

    Links are followed, each folder once. In folders, archives are known by their names; the
    root itself by its content. A DICOMDIR is no source: given as the root, the files that it
    names are listed; in a folder, those of its files that are missing get a fault. What cannot
    be read is listed with its fault.

    Args:
        root: Folder, file or URL. A URL is a text, since a `Path` shortens its "//".
        leave_out: Files and folders to pass over, for example the output.

    Raises:
        UsageError: If nothing reads such a URL.
        MachineError: If a package for a URL is missing, or its service does not answer.
        DataError: If there is nothing at the URL.
    """
    path = os.fspath(root).removeprefix("file://")
    if remote.is_url(path):
        yield from _url(path, "")
    else:
        yield from _Walk(leave_out).root(path)


def list_files_from(paths: Path | str | BinaryIO, leave_out: Collection[Path] = ()) -> Iterator[Source]:
    """List what a list of paths names: files, folders, archives, DICOMDIRs and URLs, in its order.

    Names are the paths as they are given, or relative to the list's folder when they are given
    in full and lie below it; they do not depend on the working folder. What is named twice is
    listed once, and what is not there gets the fault "missing".

    Args:
        paths: The list, see `paths_of`; "-" for standard input. Relative paths count from the
            list's folder, those of a stream from the working folder.
        leave_out: Files and folders to pass over.

    Raises:
        DataError: If it is no list of paths.
        UsageError: If nothing reads a URL in it.
        MachineError: If a package for a URL is missing, or its service does not answer.
        OSError: If the list cannot be opened.
    """
    if not isinstance(paths, Path | str):
        yield from _listed(paths, ".", _Walk(leave_out))
    elif os.fspath(paths) == "-":
        yield from _listed(sys.stdin.buffer, ".", _Walk(leave_out))
    else:
        with Path(paths).open("rb") as stream:
            yield from _listed(stream, os.fspath(Path(paths).parent), _Walk([*leave_out, Path(paths)]))


def _listed(stream: BinaryIO, base: str, walk: _Walk) -> Iterator[Source]:
    seen: set[bytes] = set()
    above = os.path.abspath(base).rstrip("/") + "/"  # noqa: PTH100, resolves no links
    for given in paths_of(stream):
        given = given.removeprefix("file://")
        if remote.is_url(given):
            found = _url_of_list(given)
        else:
            path = os.path.normpath(given)
            name = path.removeprefix(above)
            found = walk.named(path if os.path.isabs(path) or base == "." else f"{base}/{path}", name)  # noqa: PTH117
        for source in found:
            digest = hashlib.blake2b(source.name.encode("utf-8", "surrogatepass"), digest_size=16).digest()
            if digest not in seen:
                seen.add(digest)
                yield source


def _url_of_list(url: str) -> Iterator[Source]:
    try:
        yield from _url(url, url.rstrip("/") + "/")
    except DataError:
        yield Source(url, url, fault="missing")


def _url(url: str, prefix: str) -> Iterator[Source]:
    """What lies at or below a URL; archives by their names, the root by its content."""
    for found in remote.list_url(url):
        is_root = found.url == url.rstrip("/")
        name = prefix.rstrip("/") if prefix and is_root else prefix + found.name
        source = Source(name, found.url, None, found.size, found.stamp, found.fault, found.detail)
        if found.fault or is_dicomdir(found.name):
            yield from (source,) if found.fault else ()
        elif is_root and not prefix:
            yield from _archive(source, "", found.name, by_content=True)
        else:
            yield from _maybe_archive(source, found.name)


class _Walk:
    """Walks local folders, each once.

    Args:
        leave_out: Files and folders to pass over.
    """

    def __init__(self, leave_out: Collection[Path]) -> None:
        statuses = [_status(os.fspath(path)) for path in leave_out]
        self._passed = {(s.st_dev, s.st_ino) for s in statuses if isinstance(s, os.stat_result)}
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
            yield from _archive(source, "", name, by_content=True)

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
            yield from _maybe_archive(source, name)

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
                    yield from _maybe_archive(source, name)
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


def _status(path: str) -> os.stat_result | OSError:
    try:
        return os.stat(path)  # noqa: PTH116
    except OSError as error:
        return error
    except ValueError:  # a NUL in a path
        return OSError(errno.EINVAL, "")


def _local(path: str, name: str) -> tuple[Source, os.stat_result | None]:
    """A local file as a source, and its status unless that cannot be had."""
    status = _status(path)
    if isinstance(status, OSError):
        gone = status.errno == errno.ENOENT and not os.path.islink(path)  # noqa: PTH114
        fault, code = ("vanished", "") if gone else ("unreadable", error_code(status))
        return Source(name, path, fault=fault, fault_detail=code), None
    fault = "" if stat.S_ISREG(status.st_mode) else "not-a-file"
    return Source(name, path, None, status.st_size, str(status.st_mtime_ns), fault), status


def _maybe_archive(source: Source, name: str) -> Iterator[Source]:
    """A file, or what is in it when its name is an archive's."""
    named = named_archive(name)
    if not named or source.fault:
        yield source
    elif named == "one":
        place = Place("one", f"{name.rpartition('.')[2].lower()}")
        inside = single_name(name.rpartition("/")[2])
        yield Source(f"{source.name}/{inside}", source.path, place, source.size, source.stamp)
    else:
        yield from _archive(source, f"{source.name}/", name, by_content=False)


def _archive(source: Source, prefix: str, name: str, by_content: bool) -> Iterator[Source]:
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


def read_source(source: Source) -> bytes:
    """Read a source's bytes.

    Raises:
        UnreadableError: With a reason of `REASONS`.
    """
    if source.fault:
        raise UnreadableError(source.fault, source.fault_detail)
    if source.size > MAX_FILE_BYTES:
        raise UnreadableError("too-large", f"{source.size} bytes")
    try:
        if source.place is not None:
            return _read_place(source, source.place)
        if remote.is_url(source.path):
            return remote.read_url(source.path, source.size)
        return _read_file(source.path)
    except FileNotFoundError:
        raise UnreadableError("vanished") from None
    except OSError as error:
        raise UnreadableError("unreadable", error_code(error)) from None


def _read_place(source: Source, place: Place) -> bytes:
    if place.container != "zip" and not remote.is_url(source.path):
        status = os.stat(source.path)  # noqa: PTH116
        if str(status.st_mtime_ns) != source.stamp:
            raise UnreadableError("changed", "archive")  # the place may be another's by now
    try:
        return read_member(source.path, place, source.size, source.stamp)
    except (UnreadableError, OSError, MemoryError):
        raise
    except Exception as error:  # of a service behind a URL, or a number that no file has
        raise UnreadableError("bad-archive", type(error).__name__) from None


def _read_file(path: str) -> bytes:
    """A file's bytes, of one moment: read again when it was written to meanwhile."""
    for _ in range(2):
        with open_archive(path) as stream:
            before = os.fstat(stream.fileno())
            if before.st_size > MAX_FILE_BYTES:
                raise UnreadableError("too-large", f"{before.st_size} bytes")
            data = stream.read(before.st_size + 1)
            after = os.fstat(stream.fileno())
        same = (before.st_size, before.st_mtime_ns) == (after.st_size, after.st_mtime_ns)
        if same and len(data) == before.st_size:
            return data
    raise UnreadableError("changed")
