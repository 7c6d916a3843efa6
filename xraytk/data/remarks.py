"""Compressed frames without their remarks: comments, EXIF, thumbnails, what follows the end.

Only marker segments that a decoder needs pass. No coefficient is touched: the decoded values
are the same, bit for bit.
"""

from __future__ import annotations

import re
import struct

_JPEG_NEEDED = {*range(0xC0, 0xD0), 0xDA, 0xDB, 0xDC, 0xDD, 0xF7, 0xF8}
_NEXT_MARKER = re.compile(rb"\xff+([\xc0-\xcf\xd8-\xfe])", re.DOTALL)
_NEXT_MARKER_LS = re.compile(rb"\xff+([\x80-\xcf\xd8-\xfe])", re.DOTALL)
_JFIF = b"\xff\xe0\x00\x10JFIF\x00\x01\x01\x00\x00\x01\x00\x01\x00\x00"
_J2K_MAIN = {0x50, 0x51, 0x52, 0x53, 0x55, 0x56, 0x57, 0x59, 0x5C, 0x5D, 0x5E, 0x5F, 0x60, 0x63}
_J2K_TILE = {0x52, 0x53, 0x58, 0x5C, 0x5D, 0x5E, 0x5F, 0x61}
_SOC, _EOC, _SOT, _SOD = b"\xff\x4f", b"\xff\xd9", 0x90, 0x93


class Broken(Exception):  # noqa: N818, an answer rather than an error
    """A codestream whose parts cannot be told apart. It carries no text."""


def without_remarks(frame: bytes) -> tuple[bytes, int]:
    """Take out of a codestream all that is not needed to decode it.

    Args:
        frame: JPEG, lossless JPEG, JPEG-LS, JPEG 2000 or HTJ2K, with whatever follows its end.

    Returns:
        The codestream, and its bits per sample.

    Raises:
        Broken: If it is none of these, or its parts cannot be told apart.

    Source:
        ISO/IEC 10918-1 B (markers), 14495-1 C, 15444-1 A and I.
    """
    try:
        if frame[:2] == b"\xff\xd8":
            return _jpeg(frame)
        if frame[4:8] == b"jP  ":
            frame = _unboxed(frame)
        if frame[:2] == _SOC:
            return _jpeg2000(frame)
    except (struct.error, IndexError):
        pass
    raise Broken


def _jpeg(frame: bytes) -> tuple[bytes, int]:
    kept, at, bits, is_ls = [b"\xff\xd8"], 2, 0, False
    while True:
        if frame[at] != 0xFF:
            raise Broken
        marker = frame[at + 1]
        if marker == 0xFF:
            at += 1
            continue
        if marker == 0xD9:
            break
        if marker == 0x01 or 0xD0 <= marker <= 0xD8:
            raise Broken
        end = at + 2 + int(struct.unpack_from(">H", frame, at + 2)[0])
        if end > len(frame) or end < at + 4:
            raise Broken
        segment = frame[at:end]
        if marker in _JPEG_NEEDED:
            kept.append(segment)
        else:
            kept.append(_colour_remark(marker, segment))
        if marker == 0xF7 or (0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)):
            bits, is_ls = segment[4], marker == 0xF7
        at = end
        if marker == 0xDA:
            found = (_NEXT_MARKER_LS if is_ls else _NEXT_MARKER).search(frame, at)
            if found is None:
                raise Broken
            kept.append(frame[at : found.start()])
            at = found.start()
    if not bits:
        raise Broken
    return b"".join((*kept, _EOC)), bits


def _colour_remark(marker: int, segment: bytes) -> bytes:
    """What decoders read the colour model from, written anew; nothing of the rest.

    Source:
        JFIF 1.02; Adobe technical note 5116 (APP14); JPEG-LS colour transform "mrfx" (APP8).
    """
    if marker == 0xE0 and segment[4:9] == b"JFIF\0":
        return _JFIF
    if marker == 0xEE and segment[4:9] == b"Adobe" and len(segment) >= 16 and segment[15] < 3:
        return b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00" + segment[15:16]
    if marker == 0xE8 and segment[4:8] == b"mrfx" and len(segment) == 9 and segment[8] < 6:
        return segment
    return b""


def _unboxed(frame: bytes) -> bytes:
    """The codestream of a JP2 file; a palette or a mapping of channels in its boxes is refused."""
    at = 0
    while at + 8 <= len(frame):
        length, kind = struct.unpack_from(">I4s", frame, at)
        head = 8
        if length == 1:
            length, head = struct.unpack_from(">Q", frame, at + 8)[0], 16
        end = len(frame) if length == 0 else at + length
        if end < at + head:
            raise Broken
        if kind == b"jp2h" and (b"pclr" in frame[at:end] or b"cmap" in frame[at:end]):
            raise Broken
        if kind == b"jp2c":
            return frame[at + head : end]
        at = end
    raise Broken


def _jpeg2000(frame: bytes) -> tuple[bytes, int]:
    kept, at, bits = [_SOC], 2, 0
    while frame[at + 1] != _SOT:
        marker, end = _segment(frame, at)
        if marker in _J2K_MAIN:
            kept.append(frame[at:end])
        if marker == 0x51:
            bits = (frame[at + 40] & 0x7F) + 1
        at = end
    while frame[at : at + 2] != _EOC:
        if frame[at : at + 2] != b"\xff\x90":
            raise Broken
        length = int(struct.unpack_from(">I", frame, at + 6)[0])
        end = at + length if length else frame.rfind(_EOC)
        if end > len(frame) - 2 or end < at + 14:
            raise Broken
        _check_tile(frame, at + 12, end)
        kept.append(frame[at:end])
        at = end
    if not bits:
        raise Broken
    return b"".join((*kept, _EOC)), bits


def _check_tile(frame: bytes, at: int, end: int) -> None:
    """See that a tile's header holds no remark: its length is noted elsewhere, so none is cut."""
    while frame[at + 1] != _SOD:
        marker, at = _segment(frame, at)
        if marker not in _J2K_TILE or at > end:
            raise Broken


def _segment(frame: bytes, at: int) -> tuple[int, int]:
    """Marker at a place, and where its segment ends."""
    if frame[at] != 0xFF:
        raise Broken
    length = int(struct.unpack_from(">H", frame, at + 2)[0])
    if length < 2 or at + 2 + length > len(frame):
        raise Broken
    return frame[at + 1], at + 2 + length
