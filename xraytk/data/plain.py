"""Plain pictures (PNG, JPEG, TIFF) as radiographs."""

from __future__ import annotations

import io
import warnings
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from xraytk.data.decode import MAX_PIXELS, MIN_SIDE
from xraytk.data.refused import Refused
from xraytk.records import Identity, Radiograph

_MAGIC = (
    (b"\x89PNG\r\n\x1a\n", "png"),
    (b"\xff\xd8\xff", "jpeg"),
    (b"II*\0", "tiff"),
    (b"MM\0*", "tiff"),
)


def kind_of(data: bytes) -> str:
    """Tell "png", "jpeg" or "tiff" by the first bytes; "" for anything else."""
    return next((kind for magic, kind in _MAGIC if data.startswith(magic)), "")


def read_picture(data: bytes, kind: str) -> Radiograph:
    """Read a picture; colour becomes luminance, transparency is ignored.

    The grey range is taken as it is, but for 16-bit pictures that use less than half of it
    (12 bits in 16): they are stretched between their 0.5 and 99.5 percentiles.

    Args:
        data: The file.
        kind: As `kind_of` says.

    Raises:
        Refused: If it is broken, too large or too small, or has many pages.

    Source:
        Ours.
    """
    size, pages, white_is_zero = _ask_header(data)
    if pages != 1:
        raise Refused("multi-frame", f"{pages} pages")
    if size[0] * size[1] > MAX_PIXELS:
        raise Refused("too-large", f"{size[1]} x {size[0]}")
    if min(size) < MIN_SIDE:
        raise Refused("too-small", f"{size[1]} x {size[0]}")
    if kind == "png" and b"IEND" not in data[-32:]:
        raise Refused("truncated", "no end of picture")
    if kind == "jpeg" and b"\xff\xd9" not in data[-4096:]:
        raise Refused("truncated", "no end of picture")
    grey = _to_grey(_decode(data))
    low, high = int(grey.min()), int(grey.max())
    if low == high:
        raise Refused("blank")
    bits, voi = 8, "full"
    if grey.dtype == np.uint8:
        pixels = grey.astype(np.uint16) * np.uint16(257)
    else:
        bits = max(8, high.bit_length())
        pixels, voi = _stretch(grey) if bits < 16 else (grey, "full")
    if white_is_zero and grey.dtype == np.uint16:  # the decoder has inverted 8 bits already
        pixels = np.uint16(65535) - pixels
    return Radiograph(
        pixels=pixels,
        identity=Identity(),
        bits_stored=bits,
        syntax=kind,
        photometric="MONOCHROME1" if white_is_zero else "MONOCHROME2",
        voi=voi,
    )


def _ask_header(data: bytes) -> tuple[tuple[int, int], int, bool]:
    """(width, height), pages, and whether a TIFF says that 0 is white, without decoding."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with Image.open(io.BytesIO(data), formats=("PNG", "JPEG", "TIFF", "MPO")) as image:
                tags = getattr(image, "tag_v2", {})
                inverted = tags.get(262) == 0
                pages = 1 if image.format == "MPO" else int(getattr(image, "n_frames", 1))
                return image.size, pages, inverted
        except Image.DecompressionBombError:
            raise Refused("too-large") from None
        except Exception as error:
            raise Refused("undecodable", type(error).__name__) from None


def _decode(data: bytes) -> NDArray[Any]:
    flags = cv2.IMREAD_UNCHANGED
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error:
        image = None
    if image is None or image.dtype not in (np.uint8, np.uint16):
        raise Refused("undecodable", "picture" if image is None else str(image.dtype))
    return np.asarray(image)


def _to_grey(image: NDArray[Any]) -> NDArray[Any]:
    if image.ndim == 2:
        return image
    if image.shape[2] == 1:
        return np.ascontiguousarray(image[..., 0])
    code = cv2.COLOR_BGRA2GRAY if image.shape[2] == 4 else cv2.COLOR_BGR2GRAY
    return np.asarray(cv2.cvtColor(image, code))


def _stretch(grey: NDArray[Any]) -> tuple[NDArray[np.uint16], str]:
    low, high = np.percentile(grey, [0.5, 99.5])
    if high <= low:
        low, high = float(grey.min()), float(grey.max())
    scaled = np.clip((grey.astype(np.float32) - low) / (high - low), 0, 1)
    return np.rint(scaled * 65535).astype(np.uint16), "percentile"
