"""Bytes of a file to a radiograph, or a reason why not.

The road of one image: sniff, parse, check that it is a chest radiograph, decode, grey.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import logging
import struct
import warnings
import zlib
from collections.abc import Callable, Iterator

import cv2
import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.filereader import read_dataset, read_partial, read_preamble
from pydicom.uid import UID

from xraytk.data import frames, header, orientation
from xraytk.data.decode import MAX_PIXELS, decode
from xraytk.data.grey import to_grey
from xraytk.data.plain import kind_of, read_picture
from xraytk.data.refused import REASONS, Refused
from xraytk.records import Radiograph

__all__ = ["REASONS", "Refused", "read_radiograph", "resize_long_side"]

_IMPLICIT, _EXPLICIT, _BIG = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"
_DEFLATED = "1.2.840.10008.1.2.1.99"
MAX_INFLATED_BYTES = 512 << 20
"""Of a deflated data set; the largest image that is read has half of it."""
MAX_ELEMENTS = 20_000
"""Of a header, and items of its sequences with the fragments of pixels; real ones have hundreds."""
_TAIL = 4096
"""Bytes that may follow the pixels: padding, digital signatures."""
_ITEMS = {"<": b"\xfe\xff\x00\xe0", ">": b"\xff\xfe\xe0\x00"}


def read_radiograph(data: bytes) -> Radiograph:
    """Read a chest radiograph out of a file's bytes.

    DICOM with or without preamble and file meta information, or a PNG, JPEG or TIFF picture;
    told apart by content.

    Args:
        data: The whole file.

    Returns:
        The radiograph at the source's resolution, air dark and bone bright, turned as it is
        looked at where the header says how it lies (`orientation`), with square pixels. What is
        stored and what is clipped: `grey`. For Processing objects are rendered, and flagged by
        ``intent``.

    Raises:
        Refused: With a reason of `REASONS`; it never carries a text of the header.

    Source:
        DICOM PS3.10 7.1 (file), PS3.3 C.7.6.3, C.8.1 (CR), C.8.11 (DX).
    """
    if not data:
        raise Refused("empty")
    if data[128:132] != b"DICM":
        kind = kind_of(data)
        if kind:
            return read_picture(data, kind)
        if not _looks_like_dataset(data):
            raise Refused("not-dicom")
    with silence():
        try:
            return _read_dataset(parse(data))
        except (Refused, MemoryError):
            raise
        except Exception as error:  # pydicom converts values late: any access may meet a broken one
            raise Refused("broken-header", type(error).__name__) from None


@contextlib.contextmanager
def silence() -> Iterator[None]:
    """Keep pydicom from quoting the header in warnings and in the log."""
    log = logging.getLogger("pydicom")
    was, log.disabled = log.disabled, True
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.disabled = was


def _read_dataset(ds: Dataset) -> Radiograph:
    _check(ds)
    frames.lift(ds)
    syntax, photometric, intent = syntax_of(ds), header.photometric(ds), header.intent(ds)
    is_colour = not photometric.startswith("MONOCHROME")
    grey = to_grey(decode(ds, syntax), ds, processing=intent == "PROCESSING", colour=is_colour)
    view = header.view(ds)
    way = orientation.turn_of(ds, view)
    spacing_mm, spacing_kind = header.spacing(ds) or (None, "")
    aspect = orientation.aspect_of(ds, spacing_mm)
    pixels = orientation.turn(orientation.to_square(grey.pixels, aspect, MAX_PIXELS), way)
    if spacing_mm and aspect != 1:
        spacing_mm = (min(spacing_mm), min(spacing_mm))
    elif spacing_mm and orientation.swaps_sides(way):
        spacing_mm = spacing_mm[::-1]
    return Radiograph(
        pixels=pixels,
        identity=header.identity(ds),
        modality=header.modality(ds),
        view=view,
        spacing_mm=spacing_mm,
        bits_stored=grey.bits,
        syntax=syntax,
        photometric=photometric,
        voi=grey.voi,
        sex=header.sex(ds),
        age_years=header.age_years(ds),
        manufacturer=header.maker(ds),
        burned_in=header.text(ds, "BurnedInAnnotation").upper() == "YES",
        range_low=grey.range_low,
        range_high=grey.range_high,
        window=grey.window,
        voi_count=grey.voi_count,
        inverted=grey.inverted,
        clipped_low=grey.clipped_low,
        clipped_high=grey.clipped_high,
        padded=grey.padded,
        intent=intent,
        overlays=header.overlays(ds),
        orientation=way,
        aspect=round(aspect, 4),
        spacing_kind=spacing_kind,
        repairs=grey.repairs,
    )


def resize_long_side(pixels: NDArray[np.uint16], px: int) -> NDArray[np.uint16]:
    """Shrink an image so that its long side is at most ``px``; never enlarge it.

    The window has been applied before this averages. The two do not commute: a window clips,
    and the mean of clipped values is not the clipped mean. Windowing first keeps what a
    radiologist sees at full resolution, so that a metal clip or the open beam, clipped to
    white or black, bleeds no more into its neighbours than on the screen.

    Args:
        pixels: (H, W) uint16.
        px: Longest side wanted.

    Returns:
        (h, w) uint16 of the same aspect ratio, averaged over areas.

    Source:
        Ours.
    """
    height, width = pixels.shape
    scale = px / max(height, width)
    if scale >= 1:
        return pixels
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), dtype=np.uint16)


def _looks_like_dataset(data: bytes) -> bool:
    """Whether bytes without preamble begin with an element of group 0002 or 0008."""
    if len(data) < 16:
        return False
    for order in "<>":
        group, _ = struct.unpack_from(f"{order}HH", data)
        if group not in (0x0002, 0x0008):
            continue
        if data[4:6].isalpha() and data[4:6].isupper():
            return True
        if struct.unpack_from(f"{order}I", data, 4)[0] <= 1024:
            return True
    return False


def parse(data: bytes) -> Dataset:
    """Parse a file; bombs, endless headers and endless sequences are refused first."""
    stream = io.BytesIO(data)
    try:
        read_preamble(stream, True)
        meta = read_dataset(stream, False, True, stop_when=_ends(lambda group: group != 2))
        syntax, start = header.text(meta, "TransferSyntaxUID"), stream.tell()
        if data[start : start + 4] == b"\0\0\0\0" or (not syntax and _DEFLATED.encode() in data):
            raise Refused("broken-header", "file meta information")
        plain = _inflate(data[start:]) if syntax == _DEFLATED else data
        if _has_endless_items(plain, syntax):
            raise Refused("implausible-header", f"more than {MAX_ELEMENTS} items")
        if syntax != _DEFLATED:
            return read_partial(io.BytesIO(data), _ends(lambda group: group == 0), force=True)
        ds = read_dataset(io.BytesIO(plain), False, True, stop_when=_ends(lambda group: group == 0))
        ds.file_meta = FileMetaDataset(meta)
        return ds
    except EOFError:
        raise Refused("truncated", "header") from None


def _has_endless_items(data: bytes, syntax: str) -> bool:
    """Whether there are more than `MAX_ELEMENTS` tags of items, in either byte order if not known.

    Their group, as a word on even or odd places, is looked for first: in pixels it is rare, and a
    search for the whole tag takes several times as long.
    """
    data = _without_pixels(data)
    for item in _ITEMS.values() if not syntax else (_ITEMS[">" if syntax == _BIG else "<"],):
        group = int.from_bytes(item[:2], "little")
        for start in (0, 1):
            words = np.frombuffer(data, "<u2", (len(data) - start) // 2, start)
            if np.count_nonzero(words == group) > MAX_ELEMENTS // 2 and data.count(item) > MAX_ELEMENTS:
                return True
    return False


def _without_pixels(data: bytes) -> bytes:
    """The data set up to pixel data of known length that end the file; else all of it.

    Who forges such an element to hide items behind it gets a slow parser, which the time limit of
    a file ends.
    """
    at = data.find(b"\xe0\x7f\x10\x00")
    if at < 0 or len(data) < at + 12:
        return data
    explicit = data[at + 4 : at + 6] in (b"OW", b"OB")
    begin = at + (12 if explicit else 8)
    length = int.from_bytes(data[begin - 4 : begin], "little")
    return data[:begin] if begin + length <= len(data) <= begin + length + _TAIL else data


def _ends(is_over: Callable[[int], bool]) -> Callable[[int, str | None, int], bool]:
    """When to stop parsing: at a group, such as 0, which is padding. Refuses endless headers."""
    number = itertools.count(1)

    def stop(tag: int, _vr: str | None, _length: int) -> bool:
        if next(number) > MAX_ELEMENTS:
            raise Refused("implausible-header", f"more than {MAX_ELEMENTS} elements")
        return is_over(tag >> 16)

    return stop


def _inflate(data: bytes) -> bytes:
    """Inflate a data set, unless it is a bomb.

    Source:
        DICOM PS3.5 A.5.
    """
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    plain = inflater.decompress(data, MAX_INFLATED_BYTES)
    if not inflater.eof:
        bomb = len(plain) >= MAX_INFLATED_BYTES
        raise Refused("too-large" if bomb else "truncated", f"{len(plain)} bytes inflated")
    return plain


def _check(ds: Dataset) -> None:
    """Refuse what is no chest radiograph, before its pixels cost anything."""
    modality = header.modality(ds)
    if modality and modality not in header.MODALITIES:
        raise Refused("wrong-modality", modality if modality in header.KNOWN_MODALITIES else "")
    if not ds.get("PixelData"):
        # pydicom gives an empty object for a file that is cut within compressed pixels
        raise Refused("truncated" if "Rows" in ds or not len(ds) else "no-pixels")
    if not modality:
        raise Refused("wrong-modality", "none")
    if header.is_elsewhere(ds):
        raise Refused("not-chest")


def syntax_of(ds: Dataset) -> str:
    """Transfer syntax of the file meta information, else what the parser found."""
    found = header.text(getattr(ds, "file_meta", Dataset()), "TransferSyntaxUID")
    if found:
        return found
    implicit, little = ds.original_encoding
    syntax = UID(_IMPLICIT if implicit else _EXPLICIT if little else _BIG)
    if not hasattr(ds, "file_meta"):
        raise Refused("broken-header")
    ds.file_meta.TransferSyntaxUID = syntax
    return syntax
