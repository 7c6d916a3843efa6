"""How an image lies in a shard: TIFF of 8 or 16 bits without loss, or JPEG.

The lossless codecs are plain TIFF files of one strip: differences from pixel to pixel
(predictor 2), zstd level 1, no date, no software. Tifffile, Pillow from version 12 on and
every reader that has libtiff with zstd read them; the same pixels give the same bytes.

Source:
    TIFF 6.0, sections 3 and 14; compression 50000 is libtiff's zstd. Chosen by
    `benchmarks/codecs.py`.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray

from xraytk.data.pictures import Gray, to_8bit

QUALITY = 95


@dataclass(frozen=True, slots=True)
class Codec:
    """One way to store an image.

    Args:
        ending: Of a member's name.
        bits: Of a pixel, 8 or 16.
    """

    ending: str
    bits: int

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of a decoded image."""
        return np.dtype(np.uint8 if self.bits == 8 else np.uint16)


CODECS = {"tiff": Codec("tif", 8), "tiff16": Codec("tif", 16), "jpeg": Codec("jpg", 8)}

_LEVEL = 1  # of zstd
_START = 160  # of the strip: 8 bytes of header, 11 tags, and zeros up to a multiple of 32
_WIDTH_AT = 8 + 2 + 8


def fitted(image: Gray, codec: str) -> Gray:
    """Return the image in the depth that a codec holds; 16 bits are over 0..65535.

    Args:
        image: (H, W) uint8 or uint16.
        codec: One of `CODECS`.
    """
    if CODECS[codec].bits == 8:
        return to_8bit(image)
    return image if image.dtype == np.uint16 else image.astype(np.uint16) * np.uint16(257)


def encode(image: Gray, codec: str, quality: int = QUALITY) -> bytes:
    """Encode an image; the same pixels give the same bytes.

    Args:
        image: (H, W) of the codec's depth, see `fitted`.
        codec: One of `CODECS`.
        quality: Of JPEG, 1 to 100.

    Raises:
        ValueError: If the image is of another depth, empty, or larger than JPEG can hold.
    """
    if image.ndim != 2 or image.dtype != CODECS[codec].dtype or not image.size:
        raise ValueError(f"{codec} holds no {image.dtype} of shape {image.shape}")
    if codec != "jpeg":
        return encode_tiff(image)
    try:
        return bytes(imagecodecs.jpeg8_encode(np.ascontiguousarray(image), level=quality))
    except imagecodecs.Jpeg8Error as error:
        raise ValueError(f"cannot be stored as JPEG ({error})") from None


def decode(data: bytes, codec: str, shape: tuple[int, int] | None = None) -> Gray:
    """Decode what `encode` made.

    A damaged strip without a checksum may give other pixels: readers check the CRC first.

    Args:
        data: The member's bytes.
        codec: One of `CODECS`.
        shape: (height, width) that it must have; None to take what comes.

    Returns:
        (H, W) uint8 or uint16.

    Raises:
        ValueError: If the bytes are not a whole image of the codec and shape.
    """
    try:
        image = _decode_jpeg(data, shape) if codec == "jpeg" else _decode_tiff(data, codec, shape)
    except (imagecodecs.TiffError, imagecodecs.Jpeg8Error, IndexError, MemoryError, RuntimeError) as error:
        raise ValueError(f"not a whole {codec} image ({error})") from None
    return image


def encode_tiff(image: Gray, level: int = _LEVEL) -> bytes:
    """Encode as `encode` does for the lossless codecs, at any level of zstd.

    Imagecodecs' own writer leaves a byte between strip and tags as it finds it in memory, so
    that two runs may differ.

    Args:
        image: (H, W) uint8 or uint16.
        level: Of zstd, 1 to 22.
    """
    differences: Any = imagecodecs.delta_encode(np.ascontiguousarray(image), axis=1)
    strip = bytes(imagecodecs.zstd_encode(differences, level=level))
    height, width = image.shape
    return _header(height, width, 8 * image.itemsize, len(strip)) + strip


def _header(height: int, width: int, bits: int, strip_bytes: int) -> bytes:
    """All that comes before the strip, little-endian."""
    tags = (
        (256, 4, width),
        (257, 4, height),
        (258, 3, bits),
        (259, 3, 50000),  # zstd
        (262, 3, 1),  # zero is black
        (273, 4, _START),
        (277, 3, 1),  # samples a pixel
        (278, 4, height),  # rows a strip
        (279, 4, strip_bytes),
        (317, 3, 2),  # horizontal differences
        (339, 3, 1),  # unsigned
    )
    body = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in tags)
    return (b"II*\0" + struct.pack("<IH", 8, len(tags)) + body).ljust(_START, b"\0")


def _decode_tiff(data: bytes, codec: str, shape: tuple[int, int] | None) -> Gray:
    if len(data) <= _START:
        raise ValueError(f"not a whole {codec} image ({len(data)} bytes)")
    width, _, _, height = struct.unpack_from("<IHHxxxxI", data, _WIDTH_AT)
    if shape not in (None, (height, width)):
        raise ValueError(_other_shape((height, width), shape))
    if data[:_START] != _header(height, width, CODECS[codec].bits, len(data) - _START):
        raise ValueError(f"not a {codec} image of this format")
    if _unpacked_bytes(data[_START : _START + 18]) != height * width * CODECS[codec].dtype.itemsize:
        raise ValueError(f"not a whole {codec} image (its strip has another size)")
    image = np.empty((height, width), CODECS[codec].dtype)
    imagecodecs.tiff_decode(data, out=image)
    return image


def _unpacked_bytes(frame: bytes) -> int:
    """What a zstd frame says it holds, looked at before memory is taken; -1 when it does not say.

    Source:
        RFC 8878, 3.1.1.1.
    """
    if frame[:4] != b"\x28\xb5\x2f\xfd" or len(frame) < 9:
        return -1
    flag, single = frame[4] >> 6, frame[4] >> 5 & 1
    start, size = 6 - single, (single, 2, 4, 8)[flag]
    if frame[4] & 0b1011 or not size:  # a dictionary, a reserved bit, no size
        return -1
    return int.from_bytes(frame[start : start + size], "little") + 256 * (flag == 1)


def _decode_jpeg(data: bytes, shape: tuple[int, int] | None) -> Gray:
    if data[:2] != b"\xff\xd8" or data[-2:] != b"\xff\xd9":
        raise ValueError("not a whole jpeg image (cut short)")
    image: NDArray[Any] = imagecodecs.jpeg8_decode(data)
    if image.ndim != 2 or image.dtype != np.uint8:
        raise ValueError(f"not a grey 8-bit JPEG but {image.dtype} with {image.ndim} axes")
    if shape not in (None, image.shape):
        raise ValueError(_other_shape(image.shape, shape))
    return image


def _other_shape(found: tuple[int, ...], wanted: tuple[int, int] | None) -> str:
    return f"an image of {found} pixels (height, width) was found, {wanted} was wanted"
