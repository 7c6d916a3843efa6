"""Pixel data of a de-identified object: nothing in them but stored values.

Bits that the header does not call stored may hold an old overlay, compressed frames hold remarks,
and something may follow the last pixel. Where none of this is so, the bytes stay as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.pixels.utils import pixel_array

from xraytk.data import header
from xraytk.data.decode import MAX_PIXELS, decode
from xraytk.data.refused import Refused
from xraytk.data.remarks import Broken, without_remarks

EXPLICIT = "1.2.840.10008.1.2.1"
_KEPT_AS_THEY_ARE = ("1.2.840.10008.1.2", EXPLICIT, "1.2.840.10008.1.2.1.99")
_BIG_ENDIAN = "1.2.840.10008.1.2.2"
_RLE = "1.2.840.10008.1.2.5"
_RING_PX = 4

Box = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class CleanPixels:
    """Pixel data, and the description that fits them.

    Args:
        data: Value of Pixel Data, of even length; encapsulated if ``coded``.
        syntax: Transfer syntax UID.
        coded: Whether the data are encapsulated.
        numbers: Image Pixel attributes by keyword.
        photometric: Photometric interpretation.
    """

    data: bytes = field(repr=False)
    syntax: str
    coded: bool
    numbers: dict[str, int]
    photometric: str


def clean_pixels(ds: Dataset, syntax: str, boxes: Sequence[Box] = ()) -> CleanPixels:
    """Clean the pixels of an object.

    Args:
        ds: The object.
        syntax: Its transfer syntax UID.
        boxes: (left, top, right, bottom) in pixels of the stored image, right and bottom outside
            of the box; they are filled with the median of a thin ring around each.

    Returns:
        The data as they were if nothing had to change; a codestream without its remarks; or
        uncompressed values in Explicit VR Little Endian: where a box is blanked (colour becomes
        luminance), where bits outside of the stored ones were set, and where a codestream's
        parts cannot be told apart.

    Raises:
        Refused: If the pixels are not whole or cannot be decoded.

    Source:
        DICOM PS3.15 E.3.1 (Clean Pixel Data), PS3.5 8.1.1 (bits outside the stored ones).
    """
    shape = _shape(ds)
    native = syntax in (*_KEPT_AS_THEY_ARE, _BIG_ENDIAN)
    if boxes:
        if syntax == _RLE:
            _check_offsets(ds, shape["NumberOfFrames"])
        elif not native and (cleaned := _cleaned(ds, shape["NumberOfFrames"])):
            ds.PixelData = encapsulate([frame for frame, _ in cleaned])
        image = _stored(decode(ds, syntax), shape if shape["SamplesPerPixel"] == 1 else {})
        image = blank(image, boxes)
        return _plain(image, ds, shape)
    if native:
        return _native(ds, syntax, shape)
    return _coded(ds, syntax, shape)


def blank(image: NDArray[Any], boxes: Sequence[Box]) -> NDArray[Any]:
    """Fill boxes with the median of a ring of 4 pixels around each, that lies in no box.

    Args:
        image: (H, W) of any integer type.
        boxes: (left, top, right, bottom); parts outside of the image are ignored.

    Returns:
        (H, W), a copy.

    Source:
        Ours: a value of the surroundings leaves no edge that would draw the eye, or a model.
    """
    image = image.copy()
    height, width = image.shape
    inside = np.zeros(image.shape, bool)
    clipped = [
        (max(0, left), max(0, top), min(width, right), min(height, bottom))
        for left, top, right, bottom in boxes
    ]
    for left, top, right, bottom in clipped:
        inside[top:bottom, left:right] = True
    for left, top, right, bottom in clipped:
        if right <= left or bottom <= top:
            continue
        around = np.s_[max(0, top - _RING_PX) : bottom + _RING_PX, max(0, left - _RING_PX) : right + _RING_PX]
        ring = image[around][~inside[around]]
        if ring.size == 0:
            ring = image[~inside]
        value = np.sort(ring)[ring.size // 2] if ring.size else image.dtype.type(0)
        image[top:bottom, left:right] = value
    return image


def _shape(ds: Dataset) -> dict[str, int]:
    """Attributes of the Image Pixel module as plain numbers, checked against each other."""
    try:
        shape = {k: int(ds[k].value) for k in ("Rows", "Columns", "BitsAllocated")}
        shape["SamplesPerPixel"] = int(ds.get("SamplesPerPixel", 1) or 1)
        shape["BitsStored"] = int(ds.get("BitsStored") or shape["BitsAllocated"])
        high = ds.get("HighBit")
        shape["HighBit"] = shape["BitsStored"] - 1 if high is None else int(high)
        shape["PixelRepresentation"] = int(ds.get("PixelRepresentation", 0) or 0)
        shape["NumberOfFrames"] = int(ds.get("NumberOfFrames", 1) or 1)
        if shape["SamplesPerPixel"] == 3:
            shape["PlanarConfiguration"] = int(ds.get("PlanarConfiguration", 0) or 0)
    except (AttributeError, KeyError, TypeError, ValueError):
        raise Refused("implausible-header", "rows, columns or bits") from None
    allocated, stored = shape["BitsAllocated"], shape["BitsStored"]
    pixels = shape["Rows"] * shape["Columns"] * shape["NumberOfFrames"]
    if pixels > MAX_PIXELS:
        raise Refused("too-large", f"{pixels} pixels")
    sane = (
        allocated in (8, 16)
        and 1 <= stored <= allocated
        and stored - 1 <= shape["HighBit"] < allocated
        and shape["PixelRepresentation"] in (0, 1)
        and shape.get("PlanarConfiguration", 0) in (0, 1)
        and pixels > 0
    )
    if not sane:
        raise Refused("implausible-header", f"{stored} bits stored in {allocated}")
    if shape["SamplesPerPixel"] not in (1, 3):
        raise Refused("colour", f"{shape['SamplesPerPixel']} samples")
    return shape


def _stored(words: NDArray[Any], shape: dict[str, int]) -> NDArray[Any]:
    """Bit patterns with all but the stored bits cleared, moved down, the sign extended."""
    if not shape:
        return words
    bits, low = shape["BitsStored"], shape["HighBit"] + 1 - shape["BitsStored"]
    mask = (1 << bits) - 1
    if low == 0 and bits == shape["BitsAllocated"]:
        return words
    kind = words.dtype
    values = (words >> kind.type(low) if low else words) & kind.type(mask)
    if shape["PixelRepresentation"]:
        sign = kind.type(1 << (bits - 1))
        values = (values ^ sign) - sign
    return np.asarray(values, kind)


def _plain(image: NDArray[Any], ds: Dataset, shape: dict[str, int]) -> CleanPixels:
    """One grey frame as uncompressed data."""
    photometric = header.photometric(ds)
    bits = image.dtype.itemsize * 8
    numbers = {
        "SamplesPerPixel": 1,
        "Rows": shape["Rows"],
        "Columns": shape["Columns"],
        "BitsAllocated": bits,
        "BitsStored": min(shape["BitsStored"], bits),
        "HighBit": min(shape["BitsStored"], bits) - 1,
        "PixelRepresentation": shape["PixelRepresentation"],
    }
    if shape["SamplesPerPixel"] == 3:
        photometric, numbers["BitsStored"], numbers["HighBit"] = "MONOCHROME2", bits, bits - 1
        numbers["PixelRepresentation"] = 0
    data = np.ascontiguousarray(image, image.dtype.newbyteorder("<")).tobytes()
    return CleanPixels(_even(data), EXPLICIT, False, numbers, photometric)


def _even(data: bytes) -> bytes:
    return data + b"\0" * (len(data) % 2)


def _numbers(shape: dict[str, int]) -> dict[str, int]:
    return {k: v for k, v in shape.items() if k != "NumberOfFrames" or v > 1}


def _native(ds: Dataset, syntax: str, shape: dict[str, int]) -> CleanPixels:
    photometric = header.photometric(ds)
    wide = shape["BitsAllocated"] == 16
    count = shape["Rows"] * shape["Columns"] * shape["SamplesPerPixel"] * shape["NumberOfFrames"]
    if "422" in photometric or "420" in photometric:
        count = count * 2 // 3 if "422" in photometric else count // 2
    data = ds.PixelData
    if len(data) < count * (1 + wide):
        raise Refused("truncated", f"{len(data)} of {count * (1 + wide)} bytes")
    big = syntax == _BIG_ENDIAN
    if big and not wide and ds["PixelData"].VR == "OW":
        data = np.frombuffer(data[: len(data) // 2 * 2], ">u2").astype("<u2").tobytes()
    kind = np.dtype((">u2" if big else "<u2") if wide else "u1")
    words = np.frombuffer(data, kind, count).astype(kind.newbyteorder("="), copy=False)
    values = _stored(words, shape)
    numbers = _numbers(shape) | {"HighBit": shape["BitsStored"] - 1}
    little = values.astype(values.dtype.newbyteorder("<"), copy=False).tobytes()
    return CleanPixels(_even(little), EXPLICIT if big else syntax, False, numbers, photometric)


def _coded(ds: Dataset, syntax: str, shape: dict[str, int]) -> CleanPixels:
    if syntax == _RLE:
        return _run_length(ds, shape)
    cleaned = _cleaned(ds, shape["NumberOfFrames"])
    grey = shape["SamplesPerPixel"] == 1  # no overlay fits into colours
    certain = bool(cleaned) and max(bits for _, bits in cleaned) <= shape["BitsStored"]
    if not certain or shape["HighBit"] != shape["BitsStored"] - 1:
        if cleaned:
            ds.PixelData = encapsulate([frame for frame, _ in cleaned])  # decoders stumble over remarks
        if grey or not cleaned:
            words = decode(ds, syntax)
            values = _stored(words, shape if grey else {})
            if not cleaned or _differ(words, values, shape):
                return _plain(values, ds, shape)
    data = encapsulate([frame for frame, _ in cleaned])
    return CleanPixels(data, syntax, True, _numbers(shape), header.photometric(ds))


def _cleaned(ds: Dataset, count: int) -> list[tuple[bytes, int]]:
    """Frames without their remarks, and their bits per sample; none where one is not understood."""
    try:
        return [without_remarks(frame) for frame in _frames(ds, count)]
    except Broken:
        return []


def _frames(ds: Dataset, count: int) -> list[bytes]:
    try:
        frames = [bytes(frame) for frame in generate_frames(ds.PixelData, number_of_frames=count)]
    except Exception as error:
        raise Refused("truncated", f"fragments: {type(error).__name__}") from None
    if not frames or not all(frames):
        raise Refused("truncated", "0 bytes of pixels")
    return frames


def _differ(words: NDArray[Any], values: NDArray[Any], shape: dict[str, int]) -> bool:
    """Whether bits outside the stored ones were set to anything but the sign."""
    if shape["HighBit"] != shape["BitsStored"] - 1:
        return True
    mask = words.dtype.type((1 << shape["BitsStored"]) - 1)
    return not (np.array_equal(words, values) or np.array_equal(words, values & mask))


def _run_length(ds: Dataset, shape: dict[str, int]) -> CleanPixels:
    """Run lengths are decoded and written plain: their segments have room for anything.

    Source:
        DICOM PS3.5 G.5: unused offsets, and bytes after the last run that is needed.
    """
    _check_offsets(ds, shape["NumberOfFrames"])
    if shape["SamplesPerPixel"] == 1:
        return _plain(_stored(decode(ds, _RLE), shape), ds, shape)
    if shape["BitsAllocated"] != 8 or shape["NumberOfFrames"] != 1:
        raise Refused("implausible-header", "run lengths of colours")
    try:
        image = np.asarray(pixel_array(ds, raw=True))
    except Exception as error:
        raise Refused("undecodable", type(error).__name__) from None
    numbers = _numbers(shape) | {"PlanarConfiguration": 0}
    return CleanPixels(_even(image.tobytes()), EXPLICIT, False, numbers, header.photometric(ds))


def _check_offsets(ds: Dataset, count: int) -> None:
    """See that the segments of run lengths lie within their frame, one after the other."""
    for frame in _frames(ds, count):
        planes = int.from_bytes(frame[:4], "little")
        if len(frame) < 64 or not 1 <= planes <= 15:
            raise Refused("undecodable", "offsets")
        offsets = np.frombuffer(frame, "<u4", planes, 4).astype(np.int64)
        if offsets[0] < 64 or offsets[-1] >= len(frame) or (np.diff(offsets) <= 0).any():
            raise Refused("undecodable", "offsets")
