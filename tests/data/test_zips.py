from __future__ import annotations

import io
import zipfile

import pytest

from xraytk.data.unreadable import UnreadableError
from xraytk.data.zips import ZipMember, is_zip, read_zip_member, zip_members

PARTS = {"a": b"one", "b/c": b"two" * 1000, "empty": b"", "\u00e4\u4e2d": b"named"}


def _zip(
    method: int = zipfile.ZIP_STORED, before: bytes = b"", comment: bytes = b"", large: bool = False
) -> io.BytesIO:
    stream = io.BytesIO()
    stream.write(before)
    with zipfile.ZipFile(stream, "a" if before else "w", method) as archive:
        archive.mkdir("folder")
        for name, data in PARTS.items():
            info = zipfile.ZipInfo(name)
            info.compress_type = method
            with archive.open(info, "w", force_zip64=large) as member:
                member.write(data)
        archive.comment = comment
    return stream


def _read(stream: io.BytesIO, m: ZipMember) -> bytes:
    return read_zip_member(stream, m.offset, m.packed, m.size, m.codec, m.crc)


def _content(stream: io.BytesIO) -> dict[str, bytes]:
    return {m.name: _read(stream, m) for m in zip_members(stream)}


@pytest.mark.parametrize("method", [0, 8, 12, 14])
def test_every_method_gives_what_was_put_in(method: int) -> None:
    assert _content(_zip(method)) == PARTS


def test_bytes_before_and_a_comment_after_do_not_count() -> None:
    for before, comment in (
        (b"#!/bin/sh\n" * 50, b""),
        (b"", b"hello PK\x05\x06 there"),
        (b"x" * 9, b"y" * 65535),
    ):
        stream = _zip(8, before, comment)
        assert is_zip(stream)
        assert _content(stream) == PARTS


def test_large_archives_are_read_by_their_second_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    # the library writes the 64-bit records when a limit is passed; with the limits at zero, always
    for limit in ("ZIP64_LIMIT", "ZIP_FILECOUNT_LIMIT"):
        monkeypatch.setattr(zipfile, limit, 0)
    for before in (b"", b"before" * 7):
        stream = _zip(8, before, large=True)
        assert b"PK\x06\x06" in stream.getvalue()
        assert b"PK\x06\x07" in stream.getvalue()
        assert _content(stream) == PARTS


def test_names_agree_with_the_library() -> None:
    stream = _zip()
    with zipfile.ZipFile(stream) as archive:
        names = [i.filename for i in archive.infolist() if not i.is_dir()]
    assert [m.name for m in zip_members(stream)] == names


def test_names_are_utf8_though_unsaid_else_cp437() -> None:
    raw = _zip().getvalue()
    unsaid = bytearray(raw)
    at = raw.rindex(b"PK\x01\x02")
    unsaid[at + 9] &= ~0x08
    assert [m.name for m in zip_members(io.BytesIO(bytes(unsaid)))][-1] == "\u00e4\u4e2d"
    old = bytes(unsaid).replace("\u00e4\u4e2d".encode(), b"\x84\x81\xff\xfe\xfd")
    assert [m.name for m in zip_members(io.BytesIO(old))][-1] == b"\x84\x81\xff\xfe\xfd".decode("cp437")
    wrong = raw.replace("\u00e4\u4e2d".encode(), b"\x84\x81\xff\xfe\xfd")
    assert [m.name for m in zip_members(io.BytesIO(wrong))][-1] == "\udc84\udc81\udcff\udcfe\udcfd"


def test_members_that_say_less_than_they_hold_are_broken() -> None:
    stream = _zip(8)
    member = list(zip_members(stream))[1]
    with pytest.raises(UnreadableError) as caught:
        read_zip_member(stream, member.offset, member.packed, 10, member.codec, member.crc)
    assert (caught.value.reason, caught.value.detail) == ("bad-archive", "checksum")


def test_links_and_devices_are_told_apart() -> None:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, mode in (("file", 0o100644), ("link", 0o120777), ("device", 0o020666), ("plain", 0)):
            info = zipfile.ZipInfo(name)
            info.create_system, info.external_attr = 3, mode << 16
            archive.writestr(info, b"/etc/passwd")
    found = {m.name: m.regular for m in zip_members(stream)}
    assert found == {"file": True, "link": False, "device": False, "plain": True}


def test_what_is_no_zip_says_so() -> None:
    for data in (b"", b"PK\x05\x06", b"x" * 100_000):
        assert not is_zip(io.BytesIO(data))
