"""A source of one image, and its bytes, with a fixed reason when there are none."""

from __future__ import annotations

import os
from typing import NamedTuple

from xraytk.data import remote
from xraytk.data.archives import Place, open_archive, read_member
from xraytk.data.unreadable import MAX_FILE_BYTES, UnreadableError, error_code


class Source(NamedTuple):
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

    name: str
    path: str
    place: Place | None = None
    size: int = 0
    stamp: str = ""
    fault: str = ""
    fault_detail: str = ""

    def __repr__(self) -> str:
        return "Source()"


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
    # a tar has no checksums, and the place may be another member's by now
    guarded = place.container == "zip" or remote.is_url(source.path)
    _check_stamp(source, guarded)
    try:
        data = read_member(source.path, place, source.size, source.stamp)
    except (UnreadableError, OSError, MemoryError):
        raise
    except Exception as error:  # of a service behind a URL, or a number that no file has
        reason = "unreadable" if remote.is_url(source.path) else "bad-archive"
        raise UnreadableError(reason, type(error).__name__) from None
    _check_stamp(source, guarded)
    return data


def _check_stamp(source: Source, guarded: bool) -> None:
    if not guarded and str(os.stat(source.path).st_mtime_ns) != source.stamp:  # noqa: PTH116
        raise UnreadableError("changed", "archive")


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
