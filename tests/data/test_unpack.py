from __future__ import annotations

import bz2
import gzip
import io
import lzma
from collections.abc import Callable

import pytest

from xraytk.data import unpack
from xraytk.data.unpack import Unpacked
from xraytk.data.unreadable import UnreadableError

PACK: dict[str, Callable[[bytes], bytes]] = {"gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress}
DATA = bytes(range(256)) * 1000


@pytest.mark.parametrize("codec", PACK)
def test_content_is_read_and_passed_over(codec: str) -> None:
    content = Unpacked(io.BytesIO(PACK[codec](DATA)), codec)
    assert content.read(10) == DATA[:10]
    content.skip(200_000)
    assert content.position == 200_010
    assert content.read(1 << 30) == DATA[200_010:]
    assert content.read(1) == b""
    with pytest.raises(UnreadableError):
        content.skip(1)


@pytest.mark.parametrize("codec", PACK)
def test_streams_that_follow_one_another_are_one(codec: str) -> None:
    one = PACK[codec](b"one")
    for between, after in ((b"", b""), (bytes(8), bytes(1024)), (b"", b"something else")):
        content = Unpacked(io.BytesIO(one + between + PACK[codec](DATA) + after), codec)
        assert content.read(1 << 30) == b"one" + DATA


@pytest.mark.parametrize("codec", PACK)
def test_broken_and_cut_streams_are_refused(codec: str) -> None:
    whole = PACK[codec](DATA)
    for data in (whole[: len(whole) // 2], whole[:3], whole[:40] + b"????" + whole[44:]):
        with pytest.raises(UnreadableError) as caught:
            Unpacked(io.BytesIO(data), codec).read(1 << 30)
        assert caught.value.reason == "bad-archive"


@pytest.mark.parametrize("codec", PACK)
def test_a_bomb_ends_when_it_has_become_too_large(codec: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpack, "FREE_BYTES", 1 << 20)
    content = Unpacked(io.BytesIO(PACK[codec](bytes(1 << 22))), codec)
    with pytest.raises(UnreadableError) as caught:
        content.skip(1 << 40)
    assert caught.value.reason == "bomb"
    assert content.position < 1 << 21
