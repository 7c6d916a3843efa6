from __future__ import annotations

import struct
from typing import Any

import imagecodecs
import numpy as np
import pytest

from xraytk.data.remarks import Broken, without_remarks

GREY = (np.add.outer(np.arange(61), np.arange(53)) * 29 % 4096).astype(np.uint16)
COLOUR = np.repeat((GREY[..., None] >> 4).astype(np.uint8), 3, 2) // np.array([1, 2, 3], np.uint8)


def encode(kind: str) -> bytes:
    made: Any = {
        "jpeg": lambda: imagecodecs.jpeg8_encode(COLOUR, level=90),
        "jpeg-rgb": lambda: imagecodecs.jpeg8_encode(COLOUR, level=90, colorspace="RGB", outcolorspace="RGB"),
        "jpeg-12": lambda: imagecodecs.jpeg8_encode(GREY, level=90, bitspersample=12),
        "jpeg-lossless": lambda: imagecodecs.jpeg8_encode(GREY, lossless=True, bitspersample=12),
        "jpeg-ls": lambda: imagecodecs.jpegls_encode(GREY, level=0),
        "jpeg2000": lambda: imagecodecs.jpeg2k_encode(
            GREY, level=0, codecformat="j2k", reversible=True, bitspersample=12
        ),
        "jp2": lambda: imagecodecs.jpeg2k_encode(
            GREY, level=0, codecformat="jp2", reversible=True, bitspersample=12
        ),
        "htjpeg2000": lambda: imagecodecs.htj2k_encode(GREY, reversible=True),
    }[kind]()
    return bytes(made)


KINDS = (
    "jpeg",
    "jpeg-rgb",
    "jpeg-12",
    "jpeg-lossless",
    "jpeg-ls",
    "jpeg2000",
    "jp2",
    "htjpeg2000",
)


def decode(kind: str, frame: bytes) -> np.ndarray[Any, Any]:
    if "2000" in kind or kind == "jp2":
        return np.asarray(imagecodecs.jpeg2k_decode(frame))
    if kind == "jpeg-ls":
        return np.asarray(imagecodecs.jpegls_decode(frame))
    return np.asarray(imagecodecs.jpeg8_decode(frame))


def segment(marker: int, content: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content


def stuffed(kind: str, frame: bytes) -> bytes:
    if "2000" in kind:
        at = 4 + struct.unpack_from(">H", frame, 4)[0]
        return frame[:at] + segment(0x64, b"\0\1Anna Mustermann") + frame[at:] + b"Anna Mustermann"
    if kind == "jp2":
        return frame + struct.pack(">I4s", 23, b"xml ") + b"Anna Mustermann"
    extra = segment(0xFE, b"Anna Mustermann") + b"".join(
        segment(0xE0 + i, head + b"Anna Mustermann")
        for i, head in enumerate((b"JFXX\0", b"Exif\0\0", b"ICC_PROFILE\0"))
    )
    return frame[:2] + extra + frame[2:] + b"Anna Mustermann"


@pytest.mark.parametrize("kind", KINDS)
def test_remarks_go_and_every_value_stays(kind: str) -> None:
    frame = encode(kind)
    clean, bits = without_remarks(stuffed(kind, frame))
    assert b"Anna" not in clean
    assert np.array_equal(decode(kind, clean), decode(kind, frame))
    assert bits == {"jpeg": 8, "jpeg-rgb": 8, "jpeg-ls": 16, "htjpeg2000": 16}.get(kind, 12)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_clean_stays_as_it_is(kind: str) -> None:
    once, _ = without_remarks(encode(kind))
    assert without_remarks(once)[0] == once


def test_the_colour_model_of_adobe_and_jfif_is_kept_without_their_texts() -> None:
    frame = encode("jpeg")
    jfif = segment(0xE0, b"JFIF\0\1\2\1\0\x48\0\x48\0\0" + b"Anna")
    adobe = segment(0xEE, b"Adobe\0\x64\0\0\0\0\1" + b"Anna")
    bare = without_remarks(frame)[0]
    clean, _ = without_remarks(frame[:2] + jfif + adobe + frame[2:])
    assert b"Anna" not in clean
    assert b"Adobe\0\x64\0\0\0\0\1" in clean
    assert b"JFIF\0\1\1\0\0\1\0\1\0\0" in clean
    assert np.array_equal(decode("jpeg", clean), decode("jpeg", bare))


def test_a_remark_in_the_header_of_a_tile_is_not_cut_out_but_told() -> None:
    frame = encode("jpeg2000")
    at = frame.index(b"\xff\x93")
    with pytest.raises(Broken):
        without_remarks(frame[:at] + segment(0x64, b"\0\1Anna") + frame[at:])


@pytest.mark.parametrize("kind", KINDS)
def test_cut_and_flipped_codestreams_are_broken_or_whole_but_never_an_error(kind: str) -> None:
    frame = encode(kind)
    rng = np.random.default_rng(0)
    cuts = [frame[: len(frame) * i // 40] for i in range(40)]
    flips = []
    for _ in range(200):
        other = bytearray(frame)
        other[int(rng.integers(min(400, len(frame))))] = int(rng.integers(256))
        flips.append(bytes(other))
    answers = set()
    for broken in (*cuts, *flips, b"", b"\xff\xd8", b"\xff\x4f"):
        try:
            without_remarks(broken)
            answers.add("whole")
        except Broken:
            answers.add("broken")
    assert answers == {"whole", "broken"}
