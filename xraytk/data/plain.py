"""Plain pictures (PNG, JPEG, TIFF) as radiographs."""

from __future__ import annotations

import io
import logging
import warnings
from typing import Any

import cv2
import imagecodecs
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from xraytk.data.codestream import decode_jpeg
from xraytk.data.decode import MAX_PIXELS, MIN_SIDE
from xraytk.data.refused import Refused
from xraytk.records import Identity, Radiograph

_MAGIC = (
    (b"\x89PNG\r\n\x1a\n", "png"),
    (b"\xff\xd8\xff", "jpeg"),
    (b"II*\0", "tiff"),
    (b"MM\0*", "tiff"),
)
_ORIENTATION = 274

logging.getLogger("PIL").addHandler(logging.NullHandler())  # else what it finds goes to stderr
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)  # its messages may quote the file


def kind_of(data: bytes) -> str:
    """Tell "png", "jpeg" or "tiff" by the first bytes; "" for anything else."""
    return next((kind for magic, kind in _MAGIC if data.startswith(magic)), "")


def read_picture(data: bytes, kind: str) -> Radiograph:
    """Read a picture; colour becomes luminance, transparency is ignored.

    The grey range is taken as it is, but for 16-bit pictures that use less than half of it
    (12 bits in 16): they are stretched between their 0.5 and 99.5 percentiles.

    A JPEG or TIFF that says how it is to be turned or mirrored is, as every viewer does: the
    heart is on the side on which people saw it. The same note in a PNG, where it is rare and
    few viewers heed it, is ignored.

    Args:
        data: The file.
        kind: As `kind_of` says.

    Raises:
        Refused: If it is broken, too large or too small, or has many pages.

    Source:
        Ours.
    """
    size, pages, white_is_zero, orientation = _ask_header(data)
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
    grey = _upright(_to_grey(_decode(data, kind)), orientation)
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


def _ask_header(data: bytes) -> tuple[tuple[int, int], int, bool, int]:
    """(width, height), pages, whether a TIFF says that 0 is white, orientation; without decoding."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with Image.open(io.BytesIO(data), formats=("PNG", "JPEG", "TIFF", "MPO")) as image:
                tags = getattr(image, "tag_v2", {})
                inverted = bool(tags.get(262) == 0)
                pages = 1 if image.format == "MPO" else int(getattr(image, "n_frames", 1))
                # of a TIFF, the decoder sees to it
                exif = image.getexif() if image.format in ("JPEG", "MPO") else {}
                orientation = exif.get(_ORIENTATION, 1)
                if image.format == "PNG":
                    image.verify()  # checksums: the decoder would print what is wrong with them
                return image.size, pages, inverted, orientation if orientation in range(1, 9) else 1
        except Image.DecompressionBombError:
            raise Refused("too-large") from None
        except Exception as error:
            raise Refused("undecodable", type(error).__name__) from None


def _decode(data: bytes, kind: str) -> NDArray[Any]:
    """Decode without a word on stderr, which OpenCV leaves to libjpeg and libpng."""
    try:
        if kind == "jpeg":
            image = decode_jpeg(data, _decode_jpeg)
        elif kind == "png":
            image = np.asarray(imagecodecs.png_decode(data))
        else:
            image = _decode_tiff(data)
    except Refused:
        raise
    except Exception as error:
        raise Refused("undecodable", type(error).__name__) from None
    if image.dtype not in (np.uint8, np.uint16):
        raise Refused("undecodable", str(image.dtype))
    return image


def _decode_jpeg(data: bytes) -> NDArray[Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with Image.open(io.BytesIO(data), formats=("JPEG", "MPO")) as image:
            return np.asarray(image if image.mode == "L" else image.convert("RGB"))


def _decode_tiff(data: bytes) -> NDArray[Any]:
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if image is None:
        raise Refused("undecodable", "picture")
    return np.asarray(image if image.ndim == 2 else image[..., 2::-1])  # blue comes first


def _upright(grey: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Turn and mirror an image (H, W) so that its first row is at the top.

    Source:
        Exif 2.3, tag 274.
    """
    if orientation > 4:
        grey = grey.T
    rows, columns = ((1, 1), (1, -1), (-1, -1), (-1, 1))[(orientation - 1) % 4]
    return np.ascontiguousarray(grey[::rows, ::columns])


def _to_grey(image: NDArray[Any]) -> NDArray[Any]:
    if image.ndim == 2:
        return image
    if image.shape[2] < 3:
        return np.ascontiguousarray(image[..., 0])
    return np.asarray(cv2.cvtColor(np.ascontiguousarray(image[..., :3]), cv2.COLOR_RGB2GRAY))


def _stretch(grey: NDArray[Any]) -> tuple[NDArray[np.uint16], str]:
    low, high = np.percentile(grey, [0.5, 99.5])
    if high <= low:
        low, high = float(grey.min()), float(grey.max())
    scaled = np.clip((grey.astype(np.float32) - low) / (high - low), 0, 1)
    return np.rint(scaled * 65535).astype(np.uint16), "percentile"
