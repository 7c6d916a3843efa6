"""Members of a zip archive, listed without holding them and read without listing them again.

The standard library reads the whole directory of an archive before the first member, in every
process: minutes and gigabytes for a million members. Here a member is known by its place.
"""

from __future__ import annotations

import bz2
import lzma
import stat
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

from xraytk.data.unreadable import MAX_FILE_BYTES, UnreadableError

MAGICS = (b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08")
"""First bytes: of a member, of the end of an archive without members, of a split archive."""

_END, _END_64, _WHERE_64 = struct.Struct("<4s4H2LH"), struct.Struct("<4sQ2H2L4Q"), struct.Struct("<4sLQL")
_ENTRY, _LOCAL = struct.Struct("<4s6H3L5H2L"), struct.Struct("<4s5H3L2H")
_MAX_COMMENT = 0xFFFF
_BIG = 0xFFFFFFFF
_CODECS = {0: "", 8: "deflate", 12: "bz2", 14: "lzma"}
_MAX_LZMA_MEMORY = 256 << 20


@dataclass(frozen=True, slots=True)
class ZipMember:
    """One entry of an archive's directory.

    Args:
        name: As it stands there.
        offset: Of its local header in the file.
        packed: Bytes in the archive.
        size: Bytes unpacked.
        codec: "", "deflate", "bz2", "lzma", or "method N".
        crc: CRC-32 of the unpacked bytes.
        encrypted: Whether a password is needed.
        regular: False for links and devices.
    """

    name: str = field(repr=False)
    offset: int
    packed: int
    size: int
    codec: str
    crc: int
    encrypted: bool
    regular: bool


def is_zip(stream: BinaryIO) -> bool:
    """Whether a file ends as a zip archive does; it may begin with something else."""
    try:
        _directory(stream)
    except UnreadableError:
        return False
    return True


def zip_members(stream: BinaryIO) -> Iterator[ZipMember]:
    """List an archive's files in the order of its directory.

    Raises:
        UnreadableError: Where the archive is broken; what was listed before counts.
        OSError: If it cannot be read.

    Source:
        PKWARE APPNOTE 6.3.10, 4.3.12 to 4.3.16, 4.5.3.
    """
    start, end, shift = _directory(stream)
    while start < end:
        stream.seek(start)  # a member may have been read since
        fixed = stream.read(_ENTRY.size)
        if len(fixed) < _ENTRY.size or not fixed.startswith(b"PK\x01\x02"):
            raise UnreadableError("bad-archive", "directory")
        _, made_by, _, flags, method, _, _, crc, *rest = _ENTRY.unpack(fixed)
        packed, size, name_bytes, extra_bytes, comment_bytes, disk, _, attributes, offset = rest
        variable = stream.read(name_bytes + extra_bytes + comment_bytes)
        if len(variable) < name_bytes + extra_bytes + comment_bytes or disk not in (0, 0xFFFF):
            raise UnreadableError("bad-archive", "directory")
        start += len(fixed) + len(variable)
        extra = variable[name_bytes : name_bytes + extra_bytes]
        size, packed, offset = _large(extra, [size, packed, offset])
        name = _text(variable[:name_bytes], bool(flags & 0x800))
        if name.endswith("/"):
            continue
        kind = stat.S_IFMT(attributes >> 16) if made_by >> 8 == 3 else 0
        yield ZipMember(
            name=name,
            offset=offset + shift,
            packed=packed,
            size=size,
            codec=_CODECS.get(method, f"method {method}"),
            crc=crc,
            encrypted=bool(flags & 1),
            regular=kind in (0, stat.S_IFREG),
        )


def read_zip_member(stream: BinaryIO, offset: int, packed: int, size: int, codec: str, crc: int) -> bytes:
    """Read one member.

    Args:
        stream: The archive.
        offset: Of its local header.
        packed: Bytes in the archive.
        size: Bytes unpacked; bounds the memory that is used.
        codec: As `ZipMember` says.
        crc: CRC-32 of the unpacked bytes.

    Raises:
        UnreadableError: If it is broken, or of a codec that is not known.
        OSError: If it cannot be read.
    """
    if packed > MAX_FILE_BYTES:
        raise UnreadableError("too-large", f"{packed} bytes packed")
    stream.seek(offset)
    fixed = stream.read(_LOCAL.size)
    if len(fixed) < _LOCAL.size or not fixed.startswith(b"PK\x03\x04"):
        raise UnreadableError("bad-archive", "local header")
    *_, name_bytes, extra_bytes = _LOCAL.unpack(fixed)
    stream.seek(offset + len(fixed) + name_bytes + extra_bytes)
    data = stream.read(packed)
    if len(data) < packed:
        raise UnreadableError("bad-archive", "truncated")
    try:
        plain = _unpack(data, size, codec)
    except (zlib.error, lzma.LZMAError, EOFError, ValueError, OSError, struct.error) as error:
        raise UnreadableError("bad-archive", type(error).__name__) from None
    if len(plain) != size or zlib.crc32(plain) != crc:
        raise UnreadableError("bad-archive", "checksum")
    return plain


def _unpack(data: bytes, size: int, codec: str) -> bytes:
    """Unpack to at most one byte more than the archive says."""
    if codec == "":
        return data
    if codec == "deflate":
        return zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, size + 1)
    if codec == "bz2":
        return bz2.BZ2Decompressor().decompress(data, size + 1)
    if codec == "lzma":
        (properties,) = struct.unpack_from("<2xH", data)
        alone = data[4 : 4 + properties] + struct.pack("<Q", size) + data[4 + properties :]
        return lzma.LZMADecompressor(lzma.FORMAT_ALONE, _MAX_LZMA_MEMORY).decompress(alone, size + 1)
    raise UnreadableError("bad-archive", codec)


def _directory(stream: BinaryIO) -> tuple[int, int, int]:
    """Where the directory begins and ends, and how far offsets are off (bytes put before it)."""
    whole = stream.seek(0, 2)
    tail_at = max(0, whole - _END.size - _MAX_COMMENT)
    stream.seek(tail_at)
    tail = stream.read(_END.size + _MAX_COMMENT)
    at = len(tail) - _END.size
    if not (at >= 0 and tail.startswith(b"PK\x05\x06", at) and tail.endswith(b"\0\0")):
        at = tail.rfind(b"PK\x05\x06", 0, len(tail) - _END.size + 4)
    if at < 0:
        raise UnreadableError("bad-archive", "no directory")
    _, disk, _, _, _, size, offset, _ = _END.unpack_from(tail, at)
    end = tail_at + at
    if end >= _WHERE_64.size:
        stream.seek(end - _WHERE_64.size)
        sign, _, where, _ = _WHERE_64.unpack(stream.read(_WHERE_64.size))
        if sign == b"PK\x06\x07":
            size, offset, end = _directory_64(stream, where, end - _WHERE_64.size)
            disk = 0
    start = end - size
    if disk not in (0, 0xFFFF) or start < 0 or start - offset < 0:
        raise UnreadableError("bad-archive", "directory")
    return start, end, start - offset


def _directory_64(stream: BinaryIO, where: int, before: int) -> tuple[int, int, int]:
    """(size, offset, end) of the directory of a large archive."""
    for at in (before - _END_64.size, where):  # the first holds also when bytes were put before it
        if 0 <= at <= before - _END_64.size:
            stream.seek(at)
            sign, *_, size, offset = _END_64.unpack(stream.read(_END_64.size))
            if sign == b"PK\x06\x06":
                return size, offset, at
    raise UnreadableError("bad-archive", "directory")


def _large(extra: bytes, values: list[int]) -> list[int]:
    """Replace values that do not fit into 32 bits by those of the ZIP64 extra field."""
    at = 0
    while at + 4 <= len(extra) and _BIG in values:
        kind, length = struct.unpack_from("<HH", extra, at)
        if kind == 1:
            field_ = extra[at + 4 : at + 4 + length]
            wide = iter(struct.unpack(f"<{len(field_) // 8}Q", field_[: len(field_) // 8 * 8]))
            values = [next(wide, v) if v == _BIG else v for v in values]
            if max(values) >= 1 << 62:
                raise UnreadableError("bad-archive", "directory")
            return values
        at += 4 + length
    return values


def _text(raw: bytes, is_utf8: bool) -> str:
    """A member's name; macOS writes UTF-8 without saying so."""
    raw = raw.split(b"\0")[0]
    if is_utf8:
        return raw.decode("utf-8", "surrogateescape")
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("cp437")
