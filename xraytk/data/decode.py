"""Pixel data to stored values: one frame, every transfer syntax of radiography.

Compressed frames are told apart by their own first bytes, because transfer syntaxes in headers
are sometimes wrong, and their own size is read before memory is given to a decoder.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.encaps import generate_frames
from pydicom.pixels.utils import pixel_array

from xraytk.data import header
from xraytk.data.refused import Refused

MAX_PIXELS = 120_000_000
"""Rows x columns; the largest detectors have about 20 million elements."""
MIN_SIDE = 32

_NATIVE = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99")
_BIG_ENDIAN = "1.2.840.10008.1.2.2"
_RLE = "1.2.840.10008.1.2.5"
_PREFIX = "1.2.840.10008.1.2.4."
_KNOWN_FORM = re.compile(r"1\.2\.840\.10008\.1\.2(\.\d{1,3}){0,3}")
_CODED = {_PREFIX + s for s in ("50", "51", "57", "70", "80", "81", "90", "91", "201", "202", "203")}


def decode(ds: Dataset, syntax: str) -> NDArray[Any]:
    """Decode the only frame.

    Args:
        ds: The object, with pixels.
        syntax: Transfer syntax UID.

    Returns:
        (H, W) uint8 or uint16: bit patterns as stored, not masked, signed ones as two's
        complement. Colour is turned into luminance.

    Raises:
        Refused: If the pixels are not whole, too many, or cannot be decoded.

    Source:
        DICOM PS3.5 8.2 and annexes A, G; luminance as in PS3.3 C.7.6.3.1.2 (YBR_FULL).
    """
    rows, columns, samples = _shape(ds)
    if syntax in _NATIVE:
        image = _native(ds, syntax, rows, columns, samples)
    elif syntax == _RLE or syntax in _CODED:
        frame = _only_frame(ds)
        if syntax == _RLE:
            image = _run_length(frame, ds, rows, columns, samples)
        else:
            image = _coded(frame, rows, columns, header.photometric(ds))
    else:
        raise Refused("unsupported-syntax", syntax if _KNOWN_FORM.fullmatch(syntax) else "")
    if image.shape[:2] != (rows, columns) or image.dtype.itemsize > 2 or image.dtype.kind not in "iu":
        raise Refused("implausible-header", f"decoded {image.shape} {image.dtype}")
    image = image.astype(image.dtype.newbyteorder("="), copy=False)
    if image.ndim == 3:
        image = _luminance(image, header.photometric(ds), coded=syntax in _CODED)
    return np.ascontiguousarray(image).view(np.uint8 if image.itemsize == 1 else np.uint16)


def _shape(ds: Dataset) -> tuple[int, int, int]:
    """Rows, columns and samples, checked before anything is allocated."""
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
    return rows, columns, samples


def _native(ds: Dataset, syntax: str, rows: int, columns: int, samples: int) -> NDArray[Any]:
    wanted = rows * columns * samples * int(ds.BitsAllocated) // 8
    if "422" in header.photometric(ds):
        wanted = wanted * 2 // 3
    found = len(ds.PixelData)
    if found < wanted:
        raise Refused("truncated", f"{found} of {wanted} bytes")
    if samples == 1:
        return _words(ds, big=syntax == _BIG_ENDIAN)[: rows * columns].reshape(rows, columns)
    try:
        return np.asarray(pixel_array(ds, raw=True))
    except Exception as error:
        raise Refused("undecodable", type(error).__name__) from None


def _words(ds: Dataset, *, big: bool) -> NDArray[Any]:
    """Grey values of uncompressed pixel data; bits outside the stored ones are kept.

    Source:
        DICOM PS3.5 8.1.2: bytes in 16-bit words (OW) are swapped by big endian.
    """
    if int(ds.BitsAllocated) == 16:
        return np.frombuffer(ds.PixelData, ">u2" if big else "<u2", len(ds.PixelData) // 2)
    flat = np.frombuffer(ds.PixelData, np.uint8)
    if big and ds["PixelData"].VR == "OW":
        flat = flat[: flat.size // 2 * 2].reshape(-1, 2)[:, ::-1].ravel()
    return flat


def _only_frame(ds: Dataset) -> bytes:
    try:
        frame = next(generate_frames(ds.PixelData, number_of_frames=1))
    except Exception as error:
        raise Refused("truncated", f"fragments: {type(error).__name__}") from None
    if not frame:
        raise Refused("truncated", "0 bytes of pixels")
    return bytes(frame)


def _run_length(frame: bytes, ds: Dataset, rows: int, columns: int, samples: int) -> NDArray[Any]:
    kind = np.dtype("u1" if int(ds.BitsAllocated) == 8 else "<u2")
    try:
        data = imagecodecs.dicomrle_decode(frame, kind)
    except Exception as error:
        raise Refused("undecodable", type(error).__name__) from None
    flat = np.frombuffer(data, kind)
    if flat.size < rows * columns * samples:
        raise Refused("truncated", f"{flat.size} of {rows * columns * samples} values")
    flat = flat[: rows * columns * samples]
    return (
        flat.reshape(rows, columns)
        if samples == 1
        else np.moveaxis(flat.reshape(samples, rows, columns), 0, 2)
    )


def _coded(frame: bytes, rows: int, columns: int, photometric: str) -> NDArray[Any]:
    """Decode JPEG, lossless JPEG, JPEG-LS, JPEG 2000 or HTJ2K."""
    wavelets = frame[:4] == b"\xff\x4f\xff\x51" or frame[4:8] == b"jP  "
    if not wavelets and frame[:2] != b"\xff\xd8":
        raise Refused("undecodable", "no known codestream")
    kind, height, width = _size_2000(frame) if wavelets else _size_jpeg(frame)
    if (height, width) != (rows, columns):
        raise Refused("implausible-header", f"header {rows} x {columns}, pixels {height} x {width}")
    if b"\xff\xd9" not in frame[-64:]:
        raise Refused("truncated", "no end of codestream")
    try:
        if kind == "jpeg2000":
            return np.asarray(imagecodecs.jpeg2k_decode(frame))
        if kind == "jpeg-ls":
            return np.asarray(imagecodecs.jpegls_decode(frame))
        space = "RGB" if photometric == "RGB" else None
        return decode_jpeg(
            frame,
            lambda data: np.asarray(imagecodecs.jpeg8_decode(data, colorspace=space, outcolorspace=space)),
        )
    except Refused:
        raise
    except Exception as error:
        raise Refused("undecodable", f"{kind}: {type(error).__name__}") from None


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
    middle, end = int(corner.flat[0]), frame.rfind(b"\xff\xd9")
    if end < 0 or middle < 2 or middle & (middle - 1) or (corner != middle).any():
        return image
    try:
        whole = np.array_equal(decoder(frame[:end] + bytes(range(250)) + frame[end:]), image)
    except Exception:
        whole = False
    if not whole:
        raise Refused("truncated", "blocks are missing")
    return image


def _size_2000(frame: bytes) -> tuple[str, int, int]:
    """Height and width out of the SIZ marker segment.

    Source:
        ISO/IEC 15444-1 A.5.1.
    """
    at = frame.find(b"\xff\x4f\xff\x51")
    if at < 0 or len(frame) < at + 24:
        raise Refused("truncated", "no SIZ marker")
    right, bottom, left, top = struct.unpack_from(">4I", frame, at + 8)
    return "jpeg2000", bottom - top, right - left


def _size_jpeg(frame: bytes) -> tuple[str, int, int]:
    """Kind, height and width out of the start-of-frame marker.

    Source:
        ISO/IEC 10918-1 B.2.2; ISO/IEC 14495-1 (SOF55).
    """
    at = 2
    while at + 9 <= len(frame):
        if frame[at] != 0xFF:
            break
        marker = frame[at + 1]
        if marker == 0xFF:
            at += 1
        elif marker == 0xF7 or (0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)):
            height, width = struct.unpack_from(">HH", frame, at + 5)
            return "jpeg-ls" if marker == 0xF7 else "jpeg", height, width
        elif marker == 0x01 or 0xD0 <= marker <= 0xD7:
            at += 2
        else:
            at += 2 + struct.unpack_from(">H", frame, at + 2)[0]
    raise Refused("truncated", "no start of frame")


def _luminance(image: NDArray[Any], photometric: str, *, coded: bool) -> NDArray[Any]:
    """Grey of a colour image (H, W, 3); YBR that no decoder turned into RGB has it as first plane."""
    if photometric.startswith("YBR_FULL") and not coded:
        return image[..., 0]
    weights = np.array([0.299, 0.587, 0.114], np.float32)
    return np.asarray(np.rint(image.astype(np.float32) @ weights), image.dtype)
