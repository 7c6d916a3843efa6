"""Why a source gives no bytes: fixed codes, as `refused` has them for what the bytes hold."""

from __future__ import annotations

import errno

MAX_FILE_BYTES = 512 << 20
"""Larger files, or members of archives that unpack to more, are refused unread."""

REASONS = {
    "unreadable": "the file or folder cannot be opened or read",
    "vanished": "the file was there when the source was listed, and was gone when it was to be read",
    "changed": "the file was written to while it was being read, twice",
    "missing": "a DICOMDIR or a list of files names a file that is not there",
    "outside-folder": "a DICOMDIR names a file that is not below its own folder; never opened",
    "bad-dicomdir": "the DICOMDIR cannot be parsed",
    "not-a-file": "a pipe, socket or device, or a link inside an archive; never opened or followed",
    "too-large": "the file, or the archive's member unpacked, is larger than any radiograph",
    "too-many-members": "the archive has more members than are listed; those beyond are left out",
    "bomb": "the archive unpacks to far more than radiographs do; what comes after is left out",
    "bad-archive": "the archive is broken, from some place on or as a whole, or this member of it is",
    "encrypted": "the archive's member is encrypted",
    "nested-archive": "an archive inside an archive, or under a name that hides it",
}
"""Reason code to explanation."""


class UnreadableError(Exception):
    """A source that gives no bytes.

    Args:
        reason: One of `REASONS`.
        detail: Numbers and names of errors only.
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        assert reason in REASONS
        super().__init__(reason, detail)
        self.reason, self.detail = reason, detail


def error_code(error: OSError) -> str:
    """Name of an operating system's error, such as "EACCES"; never its text, which holds a path."""
    return errno.errorcode.get(error.errno or 0, type(error).__name__)
