"""Pixel data to stored values: one frame, every transfer syntax of radiography."""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset

from xraytk.data import colour, header
from xraytk.data.codestream import decode_frame
from xraytk.data.refused import Refused

MAX_PIXELS = 120_000_000
"""Rows x columns; the largest detectors have about 20 million elements."""
MIN_SIDE = 32

_UID = "1.2.840.10008.1.2"
_BIG_ENDIAN = f"{_UID}.2"
_NATIVE = (_UID, f"{_UID}.1", _BIG_ENDIAN, f"{_UID}.1.99")
_WRAPPED, _DEFLATED_FRAME = f"{_UID}.1.98", f"{_UID}.8.1"
_RLE = f"{_UID}.5"
_KNOWN_FORM = re.compile(r"1\.2\.840\.10008\.1\.2(\.\d{1,3}){0,3}")
_CODED = frozenset(f"{_UID}.4.{n}" for n in (50, 51, 57, 70, 80, 81, 90, 91, 110, 111, 112, 201, 202, 203))
SYNTAXES = frozenset({*_NATIVE, _WRAPPED, _DEFLATED_FRAME, _RLE, *_CODED})
"""Transfer syntaxes that are read."""

_RLE_SLACK = 1 << 16
_ITEM, _END = b"\xfe\xff\x00\xe0", b"\xfe\xff\xdd\xe0"


def decode(ds: Dataset, syntax: str) -> NDArray[Any]:
    """Decode the only frame.

    Whether the pixels lie in fragments is seen from themselves: a transfer syntax that says
    otherwise is a common slip of anonymisers.

    Args:
        ds: The object, with pixels.
        syntax: Transfer syntax UID.

    Returns:
        (H, W) uint8 or uint16: bit patterns as stored, not masked, signed ones as two's
        complement. Colour is turned into luminance, as is a palette (over 0..65535).

    Raises:
        Refused: If the pixels are not whole, too many, or cannot be decoded.

    Source:
        DICOM PS3.5 8.2 and annexes A, G.
    """
    rows, columns, samples, allocated = _shape(ds)
    if syntax not in SYNTAXES:
        raise Refused("unsupported-syntax", syntax if _KNOWN_FORM.fullmatch(syntax) else "")
    photometric, is_rgb = header.photometric(ds), False
    fragmented = ds.PixelData[:4] == _ITEM and ds["PixelData"].is_undefined_length
    data = join_fragments(ds.PixelData) if fragmented else ds.PixelData
    if syntax == _RLE and fragmented:
        image = _run_length(data, allocated, rows, columns, samples)
    elif syntax in _CODED or (fragmented and syntax in _NATIVE):
        if not fragmented and len(data) == rows * columns * samples * allocated // 8:
            image = _native(ds, data, "", rows, columns, samples)
        else:
            image, is_rgb = decode_frame(data, rows, columns, samples, photometric)
    else:
        if syntax == _DEFLATED_FRAME:
            data = _inflated(data, rows * columns * samples * allocated // 8)
        image = _native(ds, data, syntax, rows, columns, samples)
    image = _as_words(image, (rows, columns), allocated)
    if photometric == "PALETTE COLOR":
        return np.asarray(colour.palette_greys(ds, 1 << (8 * image.itemsize))[image])
    if image.ndim == 3:
        image = colour.luminance(image, photometric, is_rgb=is_rgb)
    return np.ascontiguousarray(image)


def _as_words(image: NDArray[Any], shape: tuple[int, int], allocated: int) -> NDArray[Any]:
    """Unsigned words of the machine's byte order, at least as wide as the header says."""
    if image.shape[:2] != shape or image.dtype.itemsize > 2 or image.dtype.kind not in "iu":
        raise Refused("implausible-header", f"decoded {image.shape} {image.dtype}")
    bits = max(allocated, image.dtype.itemsize * 8)
    image = image.astype(np.dtype(f"{image.dtype.kind}{bits // 8}"), copy=False)
    return image.view(np.dtype(f"u{bits // 8}"))


def _shape(ds: Dataset) -> tuple[int, int, int, int]:
    """Rows, columns, samples and bits allocated, checked before anything is allocated."""
    try:
        rows, columns = int(ds.Rows), int(ds.Columns)
        samples, allocated = int(ds.get("SamplesPerPixel", 1) or 1), int(ds.BitsAllocated)
        frames = int(ds.get("NumberOfFrames", 1) or 1)
        stored = int(ds.get("BitsStored") or allocated)
    except (AttributeError, TypeError, ValueError):
        raise Refused("implausible-header", "rows, columns or bits") from None
    if frames != 1:
        raise Refused("multi-frame", f"{frames} frames")
    if rows * columns > MAX_PIXELS:
        raise Refused("too-large", f"{rows} x {columns}")
    if min(rows, columns) < MIN_SIDE:
        raise Refused("too-small", f"{rows} x {columns}")
    header.photometric(ds)
    if samples not in (1, 3):
        raise Refused("colour", f"{samples} samples")
    if allocated not in (8, 16) or not 1 <= stored <= allocated:
        raise Refused("implausible-header", f"{stored} bits stored in {allocated}")
    return rows, columns, samples, allocated


def join_fragments(data: bytes) -> bytes:
    """Put the fragments of the only frame together.

    Offset tables, basic or extended, tell frames apart: with one frame they say nothing, and
    wrong ones do no harm. What follows the last whole item is left out.

    Args:
        data: Value of Pixel Data: an item with the basic offset table, then the fragments.

    Raises:
        Refused: If a fragment ends too early, or there is none.

    Source:
        DICOM PS3.5 A.4.
    """
    parts = list(_items(data))[1:]
    if not any(map(len, parts)):
        raise Refused("truncated", "0 bytes of pixels")
    return bytes(parts[0]) if len(parts) == 1 else b"".join(parts)


def _items(data: bytes) -> Iterator[memoryview]:
    view, at = memoryview(data), 0
    while at + 8 <= len(data) and data[at : at + 4] == _ITEM:
        length = struct.unpack_from("<I", data, at + 4)[0]
        if at + 8 + length > len(data):
            raise Refused("truncated", f"fragments: {len(data) - at - 8} of {length} bytes")
        yield view[at + 8 : at + 8 + length]
        at += 8 + length
    rest = data[at : at + 4]
    if rest and rest != _END and rest.strip(b"\0"):
        raise Refused("truncated", "fragments: no item")


def _inflated(data: bytes, wanted: int) -> bytes:
    """Inflate a frame to the bytes that it must have.

    Source:
        DICOM PS3.5 A.4.13 (Deflated Image Frame Compression).
    """
    try:
        return zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, wanted)
    except zlib.error:
        raise Refused("undecodable", "deflate") from None


def _native(ds: Dataset, data: bytes, syntax: str, rows: int, columns: int, samples: int) -> NDArray[Any]:
    """Values of uncompressed pixel data; bits outside the stored ones are kept.

    Of YBR_FULL_422 and YBR_PARTIAL_422 (Y Y Cb Cr) only the luminance is taken out.

    Source:
        DICOM PS3.5 8.1.2 (bytes in 16-bit words (OW) are swapped by big endian), 8.2.1; PS3.3
        C.7.6.3.1.2 and C.7.6.3.1.3.
    """
    wide, big = int(ds.BitsAllocated) == 16, syntax == _BIG_ENDIAN
    halved = samples == 3 and "422" in header.photometric(ds)
    count = rows * columns * samples
    count = count * 2 // 3 if halved else count
    wanted = count * (2 if wide else 1)
    if len(data) < wanted:
        raise Refused("truncated", f"{len(data)} of {wanted} bytes")
    if big and not wide and ds["PixelData"].VR == "OW":
        flat = np.frombuffer(data, np.uint8, len(data) // 2 * 2).reshape(-1, 2)[:, ::-1].ravel()[:count]
        if flat.size < count:
            raise Refused("truncated", f"{flat.size} of {wanted} bytes")
    else:
        flat = np.frombuffer(data, ">u2" if wide and big else "<u2" if wide else "u1", count)
    if samples == 1:
        return flat.reshape(rows, columns)
    if halved:
        if columns % 2:
            raise Refused("implausible-header", "odd columns")
        return np.repeat(flat.reshape(rows, columns // 2, 4)[..., :2].reshape(rows, columns, 1), 3, axis=2)
    if header.text(ds, "PlanarConfiguration") == "1":
        return np.moveaxis(flat.reshape(samples, rows, columns), 0, 2)
    return flat.reshape(rows, columns, samples)


def _run_length(frame: bytes, allocated: int, rows: int, columns: int, samples: int) -> NDArray[Any]:
    """Decode byte planes.

    Source:
        DICOM PS3.5 G.
    """
    kind = np.dtype("u1" if allocated == 8 else "<u2")
    wanted = rows * columns * samples
    segments = int.from_bytes(frame[:4], "little")
    if segments != samples * kind.itemsize:
        raise Refused("implausible-header", f"{segments} planes of {samples * kind.itemsize}")
    room = bytearray(wanted * kind.itemsize + _RLE_SLACK)  # a bomb finds no more than this
    try:
        data = imagecodecs.dicomrle_decode(frame, kind, out=room)
    except Exception as error:
        raise Refused("undecodable", type(error).__name__) from None
    flat = np.frombuffer(data, kind, len(data) // kind.itemsize)
    if flat.size < wanted:
        raise Refused("truncated", f"{flat.size} of {wanted} values")
    flat = flat[:wanted]
    if samples == 1:
        return flat.reshape(rows, columns)
    return np.moveaxis(flat.reshape(samples, rows, columns), 0, 2)
