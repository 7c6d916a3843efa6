"""Archives read in place: zip, tar, tar in gzip, bzip2 or xz, and single files so compressed.

Nothing is unpacked to disk. Names of members lead nowhere: they are only told apart and hashed,
so "../x" and "/x" are names like others. Links and devices inside are never followed.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

from xraytk.data import remote
from xraytk.data.tars import BLOCK, TarMember, is_tar, tar_members
from xraytk.data.unpack import MAGIC, Unpacked, is_bomb
from xraytk.data.unreadable import MAX_FILE_BYTES, UnreadableError, error_code
from xraytk.data.zips import MAGICS, ZipMember, is_zip, read_zip_member, zip_members

MAX_MEMBERS = 4_000_000
"""Of one archive."""

_SINGLES = (".gz", ".bz2", ".xz")
_TARS = (".tar", ".tgz", ".tbz", ".tbz2", ".txz", *(f".tar{ending}" for ending in _SINGLES))
_ENDINGS = (".zip", *_TARS, *_SINGLES)
_HEAD_BYTES = 1 << 12


@dataclass(frozen=True, slots=True)
class Place:
    """Where a file lies in an archive.

    Args:
        container: "zip", "tar", or "one" for a single file that is compressed.
        codec: Of the member (zip) or of the whole; see `ZipMember` and `unpack.MAGIC`.
        offset: Of the local header (zip) or of the bytes in the tar.
        packed: Bytes in the zip.
    """

    container: str
    codec: str = ""
    offset: int = 0
    packed: int = 0


@dataclass(frozen=True, slots=True)
class Found:
    """A file in an archive; without place, what is wrong with the archive from here on.

    Args:
        name: Distinct in its archive.
        place: Where it lies.
        size: Bytes unpacked.
        stamp: The checksum, where the archive has one.
        fault: A reason of `REASONS` why it cannot be read; "" when it seems whole.
        detail: Numbers and names of errors only.
    """

    name: str = field(repr=False)
    place: Place | None
    size: int = 0
    stamp: str = ""
    fault: str = ""
    detail: str = ""


def named_archive(name: str) -> str:
    """What a name says: "many" for an archive, "one" for a compressed file, "" for neither.

    "a.tar.gz" is an archive, "a.dcm.gz" a compressed file.
    """
    lower = name.lower()
    if not lower.endswith(_ENDINGS):
        return ""
    return "one" if lower.endswith(_SINGLES) and not lower.endswith(_TARS) else "many"


def single_name(name: str) -> str:
    """The name of what is inside a single compressed file: "a.dcm" of "a.dcm.gz"."""
    lower = name.lower()
    if lower.endswith(_TARS) and not lower.endswith((".tar", *_SINGLES)):
        return f"{name.rpartition('.')[0]}.tar"
    return name.rpartition(".")[0] or name if lower.endswith(_SINGLES) else name


def kind_of(stream: BinaryIO, named: bool = False) -> Place | None:
    """Tell by content what kind of archive a file is; None for none.

    Args:
        stream: The file.
        named: Whether its name is an archive's: then bytes may stand before a zip.

    Raises:
        OSError: If it cannot be read.
    """
    stream.seek(0)
    head = stream.read(_HEAD_BYTES)
    if head[128:132] == b"DICM":
        return None
    if head.startswith(MAGICS):
        return Place("zip")
    if is_tar(head[:BLOCK]):
        return Place("tar")
    for codec, magic in MAGIC.items():
        if head.startswith(magic):
            try:
                inside = Unpacked(stream, codec).read(BLOCK)
            except UnreadableError:
                return Place("one", codec)
            return Place("tar" if is_tar(inside) else "one", codec)
    return Place("zip") if named and is_zip(stream) else None


def list_archive(stream: BinaryIO, kind: Place, name: str) -> Iterator[Found]:
    """List an archive; never raises, what is wrong comes as the last thing found.

    Args:
        stream: The archive.
        kind: As `kind_of` says.
        name: Of the archive, to name what is inside a single compressed file.
    """
    if kind.container == "one":
        size = stream.seek(0, 2)
        yield Found(single_name(name), Place("one", kind.codec, 0, size), size)
        return
    taken: set[str] = set()
    count = 0
    try:
        for found in _zip(stream) if kind.container == "zip" else _tar(stream, kind.codec):
            count += 1
            if count > MAX_MEMBERS:
                raise UnreadableError("too-many-members", f"more than {MAX_MEMBERS}")
            if is_dicomdir(found.name):
                continue
            free = found.name
            while free in taken:
                free = f"{free}/{count}"
            taken.add(free)
            yield (
                found
                if free == found.name
                else Found(free, found.place, found.size, found.stamp, found.fault, found.detail)
            )
    except UnreadableError as error:
        yield Found("", None, fault=error.reason, detail=error.detail)
    except OSError as error:
        yield Found("", None, fault="unreadable", detail=error_code(error))
    except Exception as error:  # of a service behind a URL, or not foreseen
        yield Found("", None, fault="unreadable", detail=type(error).__name__)


def is_dicomdir(name: str) -> bool:
    """Whether a path is that of a DICOMDIR, which holds no image.

    Source:
        DICOM PS3.10 8.6.
    """
    return name.rpartition("/")[2].upper() == "DICOMDIR"


def _zip(stream: BinaryIO) -> Iterator[Found]:
    whole = stream.seek(0, 2)
    unpacked = 0
    for member in zip_members(stream):
        place = Place("zip", member.codec, member.offset, member.packed)
        if member.size <= MAX_FILE_BYTES:
            unpacked += member.size
            if is_bomb(whole, unpacked):
                raise UnreadableError("bomb", f"{unpacked} of {whole} bytes")
        fault = "encrypted" if member.encrypted else _fault(member)
        yield Found(member.name, place, member.size, f"{member.crc:08x}", fault)


def _tar(stream: BinaryIO, codec: str) -> Iterator[Found]:
    for member in tar_members(Unpacked(stream, codec)):
        fault, detail = ("bad-archive", "sparse") if member.sparse else (_fault(member), "")
        yield Found(member.name, Place("tar", codec, member.offset), member.size, "", fault, detail)


def _fault(member: ZipMember | TarMember) -> str:
    if not member.regular:
        return "not-a-file"
    if named_archive(member.name):
        return "nested-archive"
    return "too-large" if member.size > MAX_FILE_BYTES else ""


def read_member(path: str, place: Place, size: int, stamp: str) -> bytes:
    """Read one file of an archive.

    The archive read last is kept open, a compressed tar where it was: its members come one
    after the other, and going back costs beginning again.

    Args:
        path: The archive, or its URL.
        place: Of the member.
        size: Bytes unpacked.
        stamp: The checksum of a zip's member.

    Raises:
        UnreadableError: If it is broken, too large, or an archive itself.
        OSError: If the archive cannot be read.
    """
    codec = "" if place.container == "zip" else place.codec
    try:
        held = _hold(path, codec, place.offset)
        if place.container == "zip":
            crc = int(stamp, 16)
            data = read_zip_member(held.stream, place.offset, place.packed, size, place.codec, crc)
        elif place.container == "tar":
            data = _read_tar_member(held.content, place.offset, size)
        else:
            data = held.content.read(MAX_FILE_BYTES + 1)
            _let_go()
            if len(data) > MAX_FILE_BYTES:
                raise UnreadableError("too-large", f"more than {MAX_FILE_BYTES} bytes")
    except BaseException:
        _let_go()
        raise
    if data[128:132] != b"DICM" and (data.startswith((*MAGICS, *MAGIC.values())) or is_tar(data[:BLOCK])):
        raise UnreadableError("nested-archive")
    return data


def _read_tar_member(content: Unpacked, offset: int, size: int) -> bytes:
    content.skip(offset - content.position)
    data = content.read(size)
    if len(data) < size:
        raise UnreadableError("bad-archive", "truncated")
    return data


@dataclass(slots=True)
class _Held:
    """An archive kept open."""

    key: tuple[object, ...] = field(repr=False)
    stream: BinaryIO = field(repr=False)
    content: Unpacked = field(repr=False)


_held: list[_Held] = []


def _hold(path: str, codec: str, offset: int) -> _Held:
    """The archive, open and not beyond ``offset``; opened anew when the file has changed."""
    key: tuple[object, ...] = (path, codec)
    if not remote.is_url(path):
        status = os.stat(path)  # noqa: PTH116
        key += (status.st_ino, status.st_size, status.st_mtime_ns)
    if _held and _held[0].key == key:
        if not codec:
            _held[0].content.position = _held[0].stream.seek(0)
        if _held[0].content.position <= offset:
            return _held[0]
    _let_go()
    stream = open_archive(path)
    try:
        _held.append(_Held(key, stream, Unpacked(stream, codec)))
    except BaseException:
        stream.close()
        raise
    return _held[0]


def _let_go() -> None:
    """Close the archive that is kept open."""
    while _held:
        _held.pop().stream.close()


def open_archive(path: str) -> BinaryIO:
    """Open a file, or what lies at a URL, for reading at any place.

    Raises:
        OSError: If it cannot be opened, or is no regular file.
    """
    if remote.is_url(path):
        return remote.open_stream(path)
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # never waits for a pipe
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise UnreadableError("not-a-file")
    return os.fdopen(descriptor, "rb")
