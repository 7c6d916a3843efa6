"""Pictures: lossless reading and writing, overlays, contact sheets.

PNG is used wherever a person may want to look: every viewer opens it, and it holds 16 bits.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import imagecodecs
import numpy as np
from isal import isal_zlib
from numpy.typing import NDArray

from xraytk.errors import DataError
from xraytk.files import atomic_write

Gray = NDArray[Any]  # (H, W) uint8 or uint16

LUNG_BGR = (80, 220, 80)
FLAG_BGR = (60, 60, 255)
CLEAR_BGR = (230, 150, 60)


def encode_png(image: NDArray[Any]) -> bytes:
    """Encode (H, W) or (H, W, 3) BGR, uint8 or uint16, as PNG; the same bytes every time."""
    if image.ndim == 2:
        return _encode_grey(image)
    fine, data = cv2.imencode(".png", image, [cv2.IMWRITE_PNG_COMPRESSION, 1])
    if not fine:
        raise ValueError("OpenCV could not encode the image as PNG")
    return bytes(data.tobytes())


def _encode_grey(image: Gray) -> bytes:
    """Encode with the filter "up" on every row and ISA-L's fastest level.

    OpenCV's encoder takes ten times as long for the same size, most of it in zlib.

    Source:
        PNG specification (ISO/IEC 15948) 5, 9.2.
    """
    rows = image.astype(image.dtype.newbyteorder(">")).view(np.uint8).reshape(image.shape[0], -1)
    lines = np.empty((rows.shape[0], rows.shape[1] + 1), np.uint8)
    lines[:, 0] = 2
    lines[0, 1:] = rows[0]
    np.subtract(rows[1:], rows[:-1], out=lines[1:, 1:])
    height, width = image.shape
    header = struct.pack(">IIBBBBB", width, height, 8 * image.itemsize, 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", isal_zlib.compress(lines.tobytes(), 1)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body))
        + kind
        + body
        + struct.pack(">I", isal_zlib.crc32(body, isal_zlib.crc32(kind)))
        for kind, body in chunks
    )


def map_values(table: NDArray[np.uint16], image: NDArray[Any]) -> NDArray[np.uint16]:
    """``table[image]``, fast.

    Args:
        table: (256,) for uint8, (65536,) for uint16.
        image: (H, W) uint8 or uint16.

    Returns:
        (H, W) uint16.
    """
    if _WIDE_TABLES and image.dtype == np.uint16:
        return np.asarray(cv2.LUT(image, table), np.uint16)
    out = np.empty(image.shape, np.uint16)
    for top in range(0, len(image), 32):  # rows that stay in the cache
        np.take(table, image[top : top + 32], out=out[top : top + 32], mode="clip")
    return out


def _has_wide_tables() -> bool:
    """Whether this OpenCV maps 16-bit values, as versions from 5 on do."""
    try:
        return bool(cv2.LUT(np.array([[65535]], np.uint16), np.arange(65536, dtype=np.uint16))[0, 0] == 65535)
    except cv2.error:
        return False


_WIDE_TABLES = _has_wide_tables()


def decode_png(data: bytes) -> Gray:
    """Decode a grey PNG to (H, W) uint8 or uint16.

    Raises:
        ValueError: If the bytes are not a whole grey picture.
    """
    try:
        image: Gray = imagecodecs.png_decode(data)  # OpenCV would write its complaints to stderr
    except (imagecodecs.PngError, ValueError):
        raise ValueError("not a whole grey PNG") from None
    if image.ndim != 2:
        raise ValueError("not a grey PNG")
    return image


def write_png(path: Path, image: NDArray[Any]) -> None:
    """Write a PNG atomically."""
    with atomic_write(path) as stream:
        stream.write(encode_png(image))


def read_png(path: Path) -> Gray:
    """Read a grey PNG that a verb wrote.

    Raises:
        DataError: If it is missing or broken.
    """
    try:
        return decode_png(path.read_bytes())
    except FileNotFoundError:
        raise DataError(f"{path} does not exist", todo="Run `xraytk ingest` again.") from None
    except ValueError as error:
        raise DataError(f"{path} is broken", str(error), "Delete it and run `xraytk ingest` again.") from None


def to_8bit(image: Gray) -> NDArray[np.uint8]:
    """Map uint16 over 0..65535 to uint8 over 0..255, rounding to nearest; uint8 passes."""
    if image.dtype == np.uint8:
        return image
    return ((image.astype(np.uint32) * 255 + 32767) // 65535).astype(np.uint8)


def draw_polygons(
    image: Gray, polygons: Sequence[Mapping[str, Any]], color: tuple[int, int, int] = LUNG_BGR
) -> NDArray[np.uint8]:
    """Draw contours on a grey image.

    Args:
        image: (H, W) uint8 or uint16, or (H, W, 3) uint8 BGR.
        polygons: Each with "x" and "y" lists in pixels, as in the contours table.
        color: Blue, green, red.

    Returns:
        (H, W, 3) uint8 BGR.
    """
    out = image.copy() if image.ndim == 3 else cv2.cvtColor(to_8bit(image), cv2.COLOR_GRAY2BGR)
    width = max(1, round(max(image.shape) / 400))
    for polygon in polygons:
        points = np.stack([np.asarray(polygon["x"]), np.asarray(polygon["y"])], axis=1)
        cv2.polylines(out, [np.rint(points).astype(np.int32)], True, color, width, cv2.LINE_AA)
    return np.asarray(out, dtype=np.uint8)


def montage(
    tiles: Sequence[NDArray[Any]], captions: Sequence[str] = (), *, columns: int = 8, tile_px: int = 224
) -> NDArray[np.uint8]:
    """Lay pictures out on one sheet, each letterboxed into a square.

    Args:
        tiles: (H, W) or (H, W, 3) BGR, uint8 or uint16.
        captions: A line of ASCII under each; may be shorter than ``tiles``.
        columns: Pictures a row.
        tile_px: Side of a square.

    Returns:
        (rows, cols, 3) uint8 BGR.
    """
    columns = max(1, min(columns, len(tiles)))
    rows = max(1, -(-len(tiles) // columns))
    strip = 18 if captions else 0
    sheet = np.full((rows * (tile_px + strip), columns * tile_px, 3), 24, np.uint8)
    for i, tile in enumerate(tiles):
        top, left = i // columns * (tile_px + strip), i % columns * tile_px
        small = _fit(tile, tile_px - 4)
        y, x = top + (tile_px - small.shape[0]) // 2, left + (tile_px - small.shape[1]) // 2
        sheet[y : y + small.shape[0], x : x + small.shape[1]] = small
        if i < len(captions):
            at = (left + 4, top + tile_px + 12)
            cv2.putText(
                sheet,
                captions[i][: tile_px // 7],
                at,
                cv2.FONT_HERSHEY_SIMPLEX,
                0.38,
                (210, 210, 210),
                1,
                cv2.LINE_AA,
            )
    return sheet


def _fit(tile: NDArray[Any], px: int) -> NDArray[np.uint8]:
    scale = px / max(tile.shape[:2])
    size = (max(1, round(tile.shape[1] * scale)), max(1, round(tile.shape[0] * scale)))
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    small = cv2.resize(tile, size, interpolation=how)
    if small.dtype != np.uint8:
        small = to_8bit(small)
    return np.asarray(cv2.cvtColor(small, cv2.COLOR_GRAY2BGR) if small.ndim == 2 else small, dtype=np.uint8)
