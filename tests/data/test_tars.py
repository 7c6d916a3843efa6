from __future__ import annotations

import io
import tarfile

import pytest

from xraytk.data.tars import is_tar, tar_members
from xraytk.data.unpack import Unpacked
from xraytk.data.unreadable import UnreadableError

PARTS = {"a": b"one", "b/" + "long" * 60: b"two" * 1000, "empty": b"", "\u00e4\u4e2d/x": b"n" * 512}


def _tar(form: int, parts: dict[str, bytes] | None = None) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=form) as archive:
        folder = tarfile.TarInfo("folder")
        folder.type = tarfile.DIRTYPE
        archive.addfile(folder)
        for name, data in (parts or PARTS).items():
            info = tarfile.TarInfo(name)
            info.size, info.uname = len(data), "TOKEN"
            archive.addfile(info, io.BytesIO(data))
    return stream.getvalue()


def _content(data: bytes) -> dict[str, bytes]:
    return {m.name: data[m.offset : m.offset + m.size] for m in tar_members(Unpacked(io.BytesIO(data), ""))}


@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_every_form_gives_what_was_put_in(form: int) -> None:
    data = _tar(form)
    assert is_tar(data[:512])
    assert _content(data) == PARTS


def test_the_oldest_form_is_known_by_its_checksum() -> None:
    block = bytearray(_tar(tarfile.USTAR_FORMAT, {"x": b"1"})[512:])
    block[257:265] = bytes(8)
    sums = sum(block[:148]) + sum(block[156:512]) + 8 * 32
    block[148:156] = b"%06o\0 " % sums
    assert is_tar(bytes(block[:512]))
    assert _content(bytes(block)) == {"x": b"1"}
    assert not is_tar(bytes(512))
    assert not is_tar(b"")


def test_sizes_that_pax_gives_count_more_than_the_header() -> None:
    data = _tar(tarfile.PAX_FORMAT, {"x": b"1"})
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as archive:
        info = tarfile.TarInfo("big")
        info.size, info.pax_headers = 700, {"size": "700"}
        archive.addfile(info, io.BytesIO(b"y" * 700))
        archive.addfile(tarfile.TarInfo("after"))
    assert _content(stream.getvalue()) == {"big": b"y" * 700, "after": b""}
    assert _content(data) == {"x": b"1"}


def test_links_devices_and_sparse_files_are_told_apart() -> None:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE):
            info = tarfile.TarInfo(f"kind{kind.decode()}")
            info.type, info.linkname = kind, "/etc/passwd"
            archive.addfile(info)
        info = tarfile.TarInfo("holes")
        info.pax_headers = {"GNU.sparse.major": "1"}
        archive.addfile(info)
    found = [(m.regular, m.sparse) for m in tar_members(Unpacked(io.BytesIO(stream.getvalue()), ""))]
    assert found == [(False, False)] * 4 + [(True, True)]


def test_a_broken_header_in_the_middle_is_no_silent_end() -> None:
    data = bytearray(_tar(tarfile.USTAR_FORMAT, {"a": b"1", "b": b"2", "c": b"3"}))
    data[512 * 3 + 5] ^= 1
    names = []
    with pytest.raises(UnreadableError) as caught:
        names.extend(m.name for m in tar_members(Unpacked(io.BytesIO(bytes(data)), "")))
    assert caught.value.reason == "bad-archive"


def test_headers_that_would_fill_the_memory_are_refused() -> None:
    info = tarfile.TarInfo("x")
    info.type, info.size = tarfile.XHDTYPE, 1 << 40
    data = info.tobuf(tarfile.GNU_FORMAT)
    with pytest.raises(UnreadableError):
        list(tar_members(Unpacked(io.BytesIO(data), "")))
