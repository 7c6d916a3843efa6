"""DICOMDIR, the table of contents of DICOM media: which files it names, and whether they are there."""

from __future__ import annotations

import functools
import io
import logging
import os
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from pydicom import dcmread
from pydicom.multival import MultiValue

from xraytk.data.archives import open_archive
from xraytk.data.unreadable import UnreadableError, error_code

MAX_BYTES = 64 << 20
"""Larger ones are refused: 64 MiB name a hundred thousand images."""
_CLASS = b"1.2.840.10008.1.3.10"


@dataclass(frozen=True, slots=True)
class Reference:
    """A file that a DICOMDIR names.

    Args:
        name: Relative to the DICOMDIR's folder, with "/", spelt as on disk where it is there.
        fault: "missing", "outside-folder", or "" when it is there.
    """

    name: str = field(repr=False)
    fault: str = ""


def looks_like_dicomdir(path: str) -> bool:
    """Whether a file is a DICOMDIR by its content."""
    try:
        with open_archive(path) as stream:
            head = stream.read(1024)
    except (OSError, UnreadableError):
        return False
    return head[128:132] == b"DICM" and _CLASS in head


def references(path: str) -> Iterator[Reference]:
    """The files that a DICOMDIR names, each once, sorted.

    A name is resolved without regard to case, since media are mounted either way. What leads
    out of the DICOMDIR's folder, by its parts or by a link, is not looked at any further.

    Args:
        path: The DICOMDIR.

    Raises:
        UnreadableError: If it cannot be read.

    Source:
        DICOM PS3.3 F.3.2.2, (0004,1500) Referenced File ID; PS3.10 8.2 (names of files).
        The check of what leads out is ours, against what CVE-2026-32711 did in pydicom.
    """
    folder = os.path.dirname(path) or "."  # noqa: PTH120
    real = os.path.realpath(folder)
    listed: dict[str, dict[str, str]] = {}
    inside = functools.lru_cache(1024)(
        lambda path: f"{os.path.realpath(path)}/".startswith(f"{real.rstrip('/')}/")
    )
    for parts in sorted(_file_ids(path)):
        if any(_leads_elsewhere(part) for part in parts):
            yield Reference("/".join(parts), "outside-folder")
            continue
        found = _spelt_as_on_disk(folder, parts, listed)
        if found is None:
            yield Reference("/".join(parts), "missing")
        elif not all(map(inside, _resolved(folder, found))):
            yield Reference(found, "outside-folder")
        else:
            yield Reference(found)


def _file_ids(path: str) -> set[tuple[str, ...]]:
    try:
        with open_archive(path) as stream:
            data = stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise UnreadableError("unreadable", error_code(error)) from None
    if len(data) > MAX_BYTES:
        raise UnreadableError("bad-dicomdir", f"more than {MAX_BYTES} bytes")
    log = logging.getLogger("pydicom")
    was, log.disabled = log.disabled, True
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # they quote the header
            return _parse(data)
    except Exception as error:  # pydicom converts values late: any access may meet a broken one
        raise UnreadableError("bad-dicomdir", type(error).__name__) from None
    finally:
        log.disabled = was


def _parse(data: bytes) -> set[tuple[str, ...]]:
    ids = set()
    for record in dcmread(
        io.BytesIO(data), specific_tags=["DirectoryRecordSequence"]
    ).DirectoryRecordSequence:
        value = record.get("ReferencedFileID")
        if not value or record.get("RecordInUseFlag") == 0:
            continue
        parts = [str(v) for v in value] if isinstance(value, MultiValue | list) else [str(value)]
        parts = [piece.strip(" ") for part in parts for piece in part.replace("\\", "/").split("/")]
        if any(parts):
            ids.add(tuple(parts))
    return ids


def _leads_elsewhere(part: str) -> bool:
    return part in ("", ".", "..") or ":" in part or "\0" in part


def _resolved(folder: str, name: str) -> tuple[str, ...]:
    """What has to lie below the DICOMDIR's folder: the file's folder, and the file if it is a link."""
    path = f"{folder}/{name}"
    above = path.rpartition("/")[0]
    return (above, path) if os.path.islink(path) else (above,)  # noqa: PTH114


def _spelt_as_on_disk(folder: str, parts: tuple[str, ...], listed: dict[str, dict[str, str]]) -> str | None:
    """The relative path of a file, or None when there is none.

    Args:
        folder: Of the DICOMDIR.
        parts: Of the name.
        listed: Folders that were listed before, canonical name to name.
    """
    found = ""
    for part in parts:
        at = f"{folder}/{found}"
        if at not in listed:
            try:
                names = sorted(os.listdir(at))  # noqa: PTH208
            except OSError:
                names = []
            listed[at] = {_canonical(name): name for name in reversed(names)}
            listed[at] |= {name: name for name in names}
        name = listed[at].get(part) or listed[at].get(_canonical(part))
        if name is None:
            return None
        found = f"{found}/{name}".lstrip("/")
    return found if Path(folder, found).is_file() else None


def _canonical(name: str) -> str:
    """A name as ISO 9660 media are mounted: "IM1", "im1", "IM1.", "IM1.;1"."""
    return name.partition(";")[0].rstrip(".").casefold()
