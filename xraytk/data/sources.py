"""Where images come from: folders, single files, zip archives, folders with zips in them.

Listing opens no file but zips; reading gives bytes, with a fixed reason when it cannot.
"""

from __future__ import annotations

import errno
import functools
import os
import stat
import zipfile
import zlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path

MAX_FILE_BYTES = 512 << 20
"""Larger files, or members of archives that unpack to more, are refused unread."""

REASONS = {
    "unreadable": "the file or folder cannot be opened or read",
    "too-large": "the file, or the archive's member unpacked, is larger than any radiograph",
    "bad-archive": "the zip archive, or this member of it, is broken",
    "encrypted": "the archive's member is encrypted",
    "nested-archive": "a zip archive inside a zip archive",
}


class UnreadableError(Exception):
    """A source that gives no bytes.

    Args:
        reason: One of `REASONS`.
        detail: Numbers and names of errors only.
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason, detail)
        self.reason, self.detail = reason, detail


@dataclass(frozen=True, slots=True)
class Source:
    """One file, or one member of a zip. Holds a path, so it never prints itself.

    Args:
        name: Relative path, with "/"; a zip counts as a folder.
        path: The file, or the zip.
        member: Place of the member in the zip; None for a file.
        size: Bytes.
        stamp: Changes when the content does: time of change, or the member's checksum.
        fault: A reason why it cannot be read that was seen while listing.
        fault_detail: Numbers and names of errors only.
    """

    name: str = field(repr=False)
    path: Path = field(repr=False)
    member: int | None = None
    size: int = 0
    stamp: str = ""
    fault: str = ""
    fault_detail: str = ""


def list_sources(root: Path, leave_out: Collection[Path] = ()) -> Iterator[Source]:
    """List a folder (with all below it), a zip or a file, in a stable order.

    Links are followed, each folder once. What cannot be read is listed with its fault.

    Args:
        root: Folder, zip or file.
        leave_out: Files and folders to pass over, for example the output.
    """
    passed = {_identity(path) for path in leave_out} - {None}
    if not root.is_dir():
        yield from _open_zip(root, "") if zipfile.is_zipfile(root) else _file(root, root.name)
        return
    seen = {_identity(root)}
    stack = [(root, "")]
    while stack:
        folder, prefix = stack.pop()
        try:
            with os.scandir(folder) as entries:
                names = sorted(entry.name for entry in entries)
        except OSError as error:
            yield Source(prefix, folder, fault="unreadable", fault_detail=_code(error))
            continue
        below = []
        for name in names:
            path = folder / name
            identity = _identity(path)
            if identity is not None and identity in passed:
                continue
            if path.is_dir():
                if identity not in seen:
                    seen.add(identity)
                    below.append((path, f"{prefix}{name}/"))
            elif name.lower().endswith(".zip") and path.is_file():
                yield from _open_zip(path, f"{prefix}{name}/")
            else:
                yield from _file(path, prefix + name)
        stack.extend(reversed(below))


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _file(path: Path, name: str) -> Iterator[Source]:
    try:
        status = path.stat()
    except OSError as error:
        yield Source(name, path, fault="unreadable", fault_detail=_code(error))
        return
    regular = stat.S_ISREG(status.st_mode)
    yield Source(
        name,
        path,
        size=status.st_size,
        stamp=str(status.st_mtime_ns),
        fault="" if regular else "unreadable",
        fault_detail="" if regular else "not a regular file",
    )


def _open_zip(path: Path, prefix: str) -> Iterator[Source]:
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except (OSError, zipfile.BadZipFile, NotImplementedError, UnicodeDecodeError) as error:
        fault = "unreadable" if isinstance(error, OSError) else "bad-archive"
        for file in _file(path, prefix.rstrip("/") or path.name):
            yield Source(file.name, path, size=file.size, stamp=file.stamp, fault=fault)
        return
    seen: set[str] = set()
    for number, member in enumerate(members):
        if member.is_dir():
            continue
        name = member.filename if member.filename not in seen else f"{member.filename}/{number}"
        seen.add(name)
        yield Source(prefix + name, path, number, member.file_size, f"{member.CRC:08x}")


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
        if source.member is not None:
            return _read_member(source.path, source.member, source.stamp)
        with source.path.open("rb") as stream:
            data = stream.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise UnreadableError("unreadable", _code(error)) from None
    if len(data) > MAX_FILE_BYTES:
        raise UnreadableError("too-large", f"more than {MAX_FILE_BYTES} bytes")
    return data


def _read_member(path: Path, number: int, stamp: str) -> bytes:
    try:
        archive = _archive(path, path.stat().st_mtime_ns)
        member = archive.infolist()[number]
        if member.flag_bits & 1:
            raise UnreadableError("encrypted")
        if member.filename.lower().endswith(".zip"):
            raise UnreadableError("nested-archive")
        with archive.open(member) as stream:
            return stream.read(MAX_FILE_BYTES)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, IndexError) as error:
        raise UnreadableError("bad-archive", type(error).__name__) from None


@functools.lru_cache(maxsize=1)
def _archive(path: Path, changed_ns: int) -> zipfile.ZipFile:
    """The zip read last, kept open: its members come one after the other."""
    return zipfile.ZipFile(path)


def _code(error: OSError) -> str:
    return errno.errorcode.get(error.errno or 0, type(error).__name__)
