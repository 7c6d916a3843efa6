"""Compressed frames: JPEG, lossless JPEG, JPEG-LS, JPEG 2000, HTJ2K, JPEG XL.

A codestream is told apart by its own first bytes, because transfer syntaxes in headers are
sometimes wrong, and its own size is read before memory is given to a decoder.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import imagecodecs
import numpy as np
from numpy.typing import NDArray

from xraytk.data.refused import Refused

_SOC_SIZ = b"\xff\x4f\xff\x51"
_END = b"\xff\xd9"
_MOST_TILES = 65_535
_XL_BOX = b"\0\0\0\x0cJXL "
_XL_RATIOS = ((1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))


class Codestream(NamedTuple):
    """What a frame's own header says.

    Args:
        kind: "jpeg", "jpeg-lossless", "jpeg-ls", "jpeg2000", "htj2k" (reversible)
            or "jpeg-xl".
        rows: Height.
        columns: Width.
        samples: Components; 0 when the header is not read so far.
        holds_rgb: Whether three components are red, green and blue (or made of them by the
            transform of JPEG 2000).
    """

    kind: str
    rows: int
    columns: int
    samples: int
    holds_rgb: bool


def describe(frame: bytes, photometric: str) -> Codestream:
    """Read the header of a codestream.

    Args:
        frame: The whole frame.
        photometric: Photometric interpretation of the object, for JPEG that does not say itself.

    Raises:
        Refused: If it is of no known kind, ends within its header, or is a bomb of tiles.
    """
    if frame[:4] == _SOC_SIZ or frame[4:8] == b"jP  ":
        return _describe_2000(frame, photometric)
    if frame[:2] == b"\xff\x0a" or frame[:8] == _XL_BOX:
        return _describe_xl(frame)
    if frame[:2] == b"\xff\xd8":
        return _describe_jpeg(frame, photometric)
    raise Refused("undecodable", "no known codestream")


def decode_frame(
    frame: bytes, rows: int, columns: int, samples: int, photometric: str
) -> tuple[NDArray[Any], bool]:
    """Decode one compressed frame.

    Reversible HTJ2K goes to OpenJPH, which takes less than half the time of OpenJPEG. The latter
    does the irreversible one, where OpenJPH lets values beyond the ends wrap around, and what
    OpenJPH does not know.

    Args:
        frame: The whole frame.
        rows: Height that the object's header says.
        columns: Width that it says.
        samples: Samples per pixel that it says.
        photometric: Photometric interpretation.

    Returns:
        (H, W) or (H, W, 3), integers as the codestream has them; and whether three samples
        are red, green and blue rather than luminance and chroma.

    Raises:
        Refused: If it is not whole, cannot be decoded, or contradicts the header.
    """
    found = describe(frame, photometric)
    if (found.rows, found.columns) != (rows, columns):
        detail = f"header {rows} x {columns}, pixels {found.rows} x {found.columns}"
        raise Refused("implausible-header", detail)
    if found.samples not in (0, samples):
        raise Refused("implausible-header", f"header {samples} samples, pixels {found.samples}")
    if found.kind != "jpeg-xl" and _END not in frame[-4096:].rstrip(b"\0")[-64:]:
        raise Refused("truncated", "no end of codestream")
    try:
        return _decode(frame, found), found.kind == "jpeg" or found.holds_rgb
    except (Refused, MemoryError):
        raise
    except Exception as error:
        raise Refused("undecodable", f"{found.kind}: {type(error).__name__}") from None


def _decode(frame: bytes, found: Codestream) -> NDArray[Any]:
    if found.kind == "htj2k":
        try:
            return _decode_ht(frame)
        except Refused:
            raise
        except Exception:
            return np.asarray(imagecodecs.jpeg2k_decode(frame))
    if found.kind == "jpeg2000":
        return np.asarray(imagecodecs.jpeg2k_decode(frame))
    if found.kind == "jpeg-ls":
        return np.asarray(imagecodecs.jpegls_decode(frame))
    if found.kind == "jpeg-xl":
        return np.asarray(imagecodecs.jpegxl_decode(frame))
    space = None
    if found.samples == 3 and found.holds_rgb:
        space = "RGB"
    elif found.samples == 3 and found.kind == "jpeg-lossless":
        space = "YCBCR"
    return decode_jpeg(
        frame, lambda data: np.asarray(imagecodecs.jpeg8_decode(data, colorspace=space, outcolorspace=space))
    )


def _decode_ht(frame: bytes) -> NDArray[Any]:
    """Decode HTJ2K with OpenJPH, whose binding prints errors within code blocks and goes on.

    Raises:
        Refused: If it went on: the image is not what was coded.
    """
    errors: list[str] = []
    was, printed = sys.unraisablehook, sys.excepthook

    def hear(event: Any) -> None:
        if "htj2k" in str(event.object):
            errors.append("")
        else:
            was(event)

    sys.unraisablehook, sys.excepthook = hear, lambda *_: None
    try:
        image = np.asarray(imagecodecs.htj2k_decode(frame))
    finally:
        sys.unraisablehook, sys.excepthook = was, printed
    if errors:
        raise Refused("undecodable", "htj2k: code block")
    return image


def decode_jpeg(frame: bytes, decoder: Callable[[bytes], NDArray[Any]]) -> NDArray[Any]:
    """Decode a JPEG or lossless JPEG codestream, and see that no blocks are missing at its end.

    libjpeg fills what is missing with the middle grey, without an error. Where the last corner
    is of that grey, more data are put before the end: they change the image only if it wanted some.

    Args:
        frame: Codestream.
        decoder: Of libjpeg.

    Returns:
        What the decoder returns.

    Raises:
        Refused: If the codestream ends too early.

    Source:
        Ours; ISO/IEC 10918-1 F.2.2 (blocks without coefficients).
    """
    image = decoder(frame)
    corner = image[-8:, -8:]
    middle, end = int(corner.flat[0]), frame.rfind(_END)
    if end < 0 or middle < 2 or middle & (middle - 1) or (corner != middle).any():
        return image
    try:
        whole = np.array_equal(decoder(frame[:end] + bytes(range(250)) + frame[end:]), image)
    except Exception:
        whole = False
    if not whole:
        raise Refused("truncated", "blocks are missing")
    return image


def _describe_2000(frame: bytes, photometric: str) -> Codestream:
    """Read the SIZ marker segment, and of COD whether colours are transformed, without loss or not.

    Source:
        ISO/IEC 15444-1 A.5.1 and A.6.1; 15444-15 A.2 (Rsiz bit 14: HTJ2K).
    """
    at = frame.find(_SOC_SIZ)
    if at < 0 or len(frame) < at + 42:
        raise Refused("truncated", "no SIZ marker")
    capabilities, right, bottom, left, top = struct.unpack_from(">H4I", frame, at + 6)
    wide, high, from_left, from_top, samples = struct.unpack_from(">4IH", frame, at + 24)
    rows, columns = bottom - top, right - left
    if not wide or not high:
        raise Refused("implausible-header", "tiles")
    if -(-(right - from_left) // wide) * -(-(bottom - from_top) // high) > _MOST_TILES:
        raise Refused("implausible-header", "tiles")
    holds_rgb, is_reversible = photometric == "RGB", False
    at += 4 + int.from_bytes(frame[at + 4 : at + 6], "big")
    while at + 14 <= len(frame) and frame[at] == 0xFF and frame[at + 1] not in (0x90, 0xD9):
        if frame[at + 1] == 0x52:
            holds_rgb |= frame[at + 8] == 1
            is_reversible = frame[at + 13] == 1
            break
        at += 2 + int.from_bytes(frame[at + 2 : at + 4], "big")
    kind = "htj2k" if capabilities & 0x4000 and is_reversible else "jpeg2000"
    return Codestream(kind, rows, columns, samples, holds_rgb)


def _describe_jpeg(frame: bytes, photometric: str) -> Codestream:
    """Read the start-of-frame marker, and what JFIF and Adobe say of the colours.

    Without either the object's header decides whether a DCT codestream holds RGB. Lossless JPEG
    and JPEG-LS transform no colours: they hold what the header says.

    Source:
        ISO/IEC 10918-1 B.2.2; ISO/IEC 14495-1 (SOF55); 10918-6 (JFIF and Adobe markers).
    """
    at, said = 2, ""
    while at + 10 <= len(frame) and frame[at] == 0xFF:
        marker = frame[at + 1]
        if marker == 0xFF:
            at += 1
        elif marker == 0xF7 or (0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)):
            rows, columns, samples = struct.unpack_from(">HHB", frame, at + 5)
            kind = {0xF7: "jpeg-ls", **dict.fromkeys((0xC3, 0xC7, 0xCB, 0xCF), "jpeg-lossless")}.get(
                marker, "jpeg"
            )
            space = said if said and kind == "jpeg" else photometric
            return Codestream(kind, rows, columns, samples, space == "RGB")
        elif marker == 0x01 or 0xD0 <= marker <= 0xD7:
            at += 2
        else:
            if marker == 0xE0 and frame[at + 4 : at + 9] == b"JFIF\0":
                said = said or "YBR"
            if marker == 0xEE and frame[at + 4 : at + 9] == b"Adobe":
                said = "YBR" if frame[at + 15 : at + 16] == b"\1" else "RGB"
            at += 2 + int.from_bytes(frame[at + 2 : at + 4], "big")
    raise Refused("truncated", "no start of frame")


def _describe_xl(frame: bytes) -> Codestream:
    """Read the size header.

    Source:
        ISO/IEC 18181-1 (SizeHeader), 18181-2 (boxes).
    """
    start = 0
    if frame[:8] == _XL_BOX:
        start = frame.find(b"\xff\x0a", 12)
    if start < 0 or len(frame) < start + 14:
        raise Refused("truncated", "no size header")
    bits, at = int.from_bytes(frame[start + 2 : start + 14], "little"), 0

    def take(count: int) -> int:
        nonlocal at
        at += count
        return (bits >> (at - count)) & ((1 << count) - 1)

    small = take(1)

    def side() -> int:
        return (take(5) + 1) * 8 if small else take((9, 13, 18, 30)[take(2)]) + 1

    rows = side()
    ratio = take(3)
    if ratio:
        over, under = _XL_RATIOS[ratio - 1]
        return Codestream("jpeg-xl", rows, rows * over // under, 0, True)
    return Codestream("jpeg-xl", rows, side(), 0, True)
