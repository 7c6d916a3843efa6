"""Members of a tar archive, read forward header by header: plain, or out of a compressed stream."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field

from xraytk.data.unpack import Unpacked
from xraytk.data.unreadable import UnreadableError

BLOCK = 512
_MAX_HEADER_BYTES = 1 << 20
_NAMES = {tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK}
_PAX = {tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE}
_BODILESS = {
    tarfile.LNKTYPE,
    tarfile.SYMTYPE,
    tarfile.CHRTYPE,
    tarfile.BLKTYPE,
    tarfile.FIFOTYPE,
    tarfile.DIRTYPE,
}
_FILES = {tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE}


@dataclass(frozen=True, slots=True)
class TarMember:
    """One member.

    Args:
        name: As it stands there.
        offset: Of its bytes, in the tar.
        size: Bytes.
        regular: False for links, devices and what is not known.
        sparse: Whether holes are left out, which is not read.
    """

    name: str = field(repr=False)
    offset: int
    size: int
    regular: bool
    sparse: bool


def is_tar(block: bytes) -> bool:
    """Whether a first block is a tar header, by its magic or its checksum."""
    return block[257:262] == b"ustar" or (len(block) >= BLOCK and _parse(block[:BLOCK]) is not None)


def tar_members(stream: Unpacked) -> Iterator[TarMember]:
    """List a tar from where the stream is; folders are passed over.

    Raises:
        UnreadableError: Where the archive is broken or cut; what was listed before counts.
        OSError: If it cannot be read.

    Source:
        POSIX.1-2017 pax, "ustar Interchange Format" and "pax Extended Header"; GNU tar manual, 2.
    """
    overall: dict[str, str] = {}
    special: dict[str, str] = {}
    while block := stream.read(BLOCK):
        if len(block) < BLOCK:
            raise UnreadableError("bad-archive", "truncated")
        if not any(block):
            return
        header = _parse(block)
        if header is None or header.size < 0:
            raise UnreadableError("bad-archive", "header")
        padding = -header.size % BLOCK
        if header.type in _NAMES | _PAX or header.type == tarfile.XGLTYPE:
            body = _body(stream, header.size)
            stream.skip(padding)
            if header.type == tarfile.XGLTYPE:
                overall |= _records(body)
            elif header.type in _PAX:
                special |= _records(body)
            elif header.type == tarfile.GNUTYPE_LONGNAME:
                special["path"] = body.split(b"\0")[0].decode("utf-8", "surrogateescape")
            continue
        facts, special = overall | special, {}
        member = _member(header, facts, stream.position)
        if header.type != tarfile.DIRTYPE and not (member.regular and member.name.endswith("/")):
            yield member
        if header.type == tarfile.GNUTYPE_SPARSE:
            _skip_sparse_map(stream, block)
        if header.type not in _BODILESS:
            stream.skip(member.size + -member.size % BLOCK)


def _member(header: tarfile.TarInfo, facts: dict[str, str], offset: int) -> TarMember:
    size = header.size
    if "size" in facts:
        if not facts["size"].isdecimal() or len(facts["size"]) > 18:
            raise UnreadableError("bad-archive", "header")
        size = int(facts["size"])
    return TarMember(
        name=facts.get("path", header.name),
        offset=offset,
        size=size,
        regular=header.type in _FILES | {tarfile.GNUTYPE_SPARSE},
        sparse=header.type == tarfile.GNUTYPE_SPARSE or any(k.startswith("GNU.sparse.") for k in facts),
    )


def _parse(block: bytes) -> tarfile.TarInfo | None:
    try:
        return tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except (tarfile.HeaderError, ValueError):
        return None


def _body(stream: Unpacked, size: int) -> bytes:
    """The body of a header that goes on; bounded."""
    if size > _MAX_HEADER_BYTES:
        raise UnreadableError("bad-archive", "header")
    body = stream.read(size)
    if len(body) < size:
        raise UnreadableError("bad-archive", "truncated")
    return body


def _records(body: bytes) -> dict[str, str]:
    """Records "length key=value" of a pax header."""
    records, at = {}, 0
    while at < len(body) and body[at]:
        digits = body[at : at + 20].split(b" ")[0]
        end = at + int(digits) if digits.isdigit() else 0
        key, is_there, value = body[at + len(digits) + 1 : end - 1].partition(b"=")
        if not is_there or not at < end <= len(body):
            raise UnreadableError("bad-archive", "header")
        records[key.decode("utf-8", "surrogateescape")] = value.decode("utf-8", "surrogateescape")
        at = end
    return records


def _skip_sparse_map(stream: Unpacked, block: bytes) -> None:
    """Pass over the blocks in which an old sparse header goes on."""
    more = block[482]
    while more:
        block = stream.read(BLOCK)
        if len(block) < BLOCK:
            raise UnreadableError("bad-archive", "truncated")
        more = block[504]
