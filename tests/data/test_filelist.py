from __future__ import annotations

import io
import os

import pytest

from xraytk.data.filelist import paths_of
from xraytk.errors import DataError


def _paths(data: bytes) -> list[str]:
    return list(paths_of(io.BytesIO(data)))


def test_lines_and_nul_are_told_apart() -> None:
    assert _paths(b"a\n\n b \r\nc\xff") == ["a", " b ", os.fsdecode(b"c\xff")]
    assert _paths(b"a\nb\0c\r\0\0d") == ["a\nb", "c\r", "d"]
    assert _paths(b"") == []
    assert _paths(b"\xef\xbb\xbfa\n") == ["a"]
    assert _paths("a\r\n\u4e2d\r\n".encode("utf-16")) == ["a", "\u4e2d"]


def test_long_lists_are_read_in_pieces() -> None:
    names = [f"folder/{i:0{i % 50 + 1}d}" for i in range(20_000)]
    for separator in ("\n", "\0"):
        assert _paths(separator.join(names).encode()) == names


def test_what_is_no_list_is_refused() -> None:
    for data in (bytes(128) + b"DICM", b"PK\x03\x04", b"x" * 100_000, b"x" * 100_000 + b"\n"):
        with pytest.raises(DataError):
            _paths(data)
