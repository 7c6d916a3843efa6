"""PNG masks: a picture in the size of the image, white inside.

What a mask is of stands in its file's name or its folder's ("<image>_left.png",
"leftMask/<image>.png"), else it is of both lungs. A mask of several values is one of several
labels: the values are their names.
"""

from __future__ import annotations

import io
import re
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from xraytk.data import pictures
from xraytk.data.contour import rasterise
from xraytk.data.outlines.labels import BOTH, name_of
from xraytk.data.outlines.outline import (
    BAD,
    MOST_BYTES,
    Outline,
    Refusal,
    RefusedError,
    Ring,
    mask_shape,
    refusal,
)
from xraytk.data.outlines.rings import parts_of

_SUFFIX = re.compile(
    r"(.+?)[ _.-]((?:left|right|lungs?|heart|both|mask|seg|label|[lr]|[左右]?肺|心脏|[ _.-])+)", re.I
)
_FEW = 8
_GREY = 0.05
_CLASSES = (("right_lung", "left_lung"), ("right_clear", "left_clear"))


def read(path: Path) -> Iterator[Outline | Refusal]:
    """Read one mask.

    Args:
        path: PNG: grey, palette or colours; any value but 0 is inside.
    """
    names, label = names_of(path)
    try:
        if path.stat().st_size > MOST_BYTES:
            raise RefusedError("not-readable", f"more than {MOST_BYTES} bytes")
        mask = decode_mask(path.read_bytes())
        rings = _rings(mask, label)
    except (OSError, *BAD, RefusedError) as error:
        yield refusal(error, names, 0)
        return
    yield Outline(names, tuple(rings), mask.shape[1], mask.shape[0], "png")


def names_of(path: Path) -> tuple[tuple[str, ...], str]:
    """Names that the image of a mask may have, and what the mask's name says that it is of.

    The folder's word goes before the file's: sets of public images have names like "x-right.png".

    Args:
        path: "<image_id>.png", "<image_id>_left_lung.png", "leftMask/<name>.png", ...
    """
    found = _SUFFIX.fullmatch(path.stem)
    names = (path.stem, found[1]) if found else (path.stem,)
    folder = path.parent.name if len(path.parent.name) > 1 else ""
    said = [label for text in (folder, found[2] if found else "") if (label := _label(text))]
    one_sided = [label for label in said if label != BOTH]
    return names, one_sided[0] if one_sided else BOTH


def _label(text: str) -> str | None:
    """What a part of a name is of: "left", "leftMask", "right lung", "heart"."""
    return name_of(text) or name_of(f"{text} lung") if text else None


def decode_mask(data: bytes) -> NDArray[np.uint8]:
    """Decode a PNG of few values.

    Args:
        data: The whole file.

    Returns:
        (H, W) uint8 of classes: 0 outside; 1 inside where there is one class, else the values.

    Raises:
        RefusedError: If it is none, too large, or a picture of greys. The size is looked at before
            anything is unpacked.
    """
    if data[:8] != b"\x89PNG\r\n\x1a\n" or data[12:16] != b"IHDR" or len(data) < 33:
        raise RefusedError("not-readable", "no PNG")
    wide, tall = struct.unpack(">II", data[16:24])
    mask_shape(tall, wide)
    try:
        with Image.open(io.BytesIO(data), formats=["PNG"]) as image:
            values: NDArray[Any] = np.asarray(image)
    except Exception as error:  # Pillow raises many kinds, and warns of bombs
        raise RefusedError("not-readable", type(error).__name__) from None
    if values.ndim == 3:
        colours = values[..., : 3 if values.shape[2] > 2 else 1]
        values = np.asarray(colours.max(2))
    if values.dtype == np.bool_:
        return values.astype(np.uint8)
    return _classes(values)


def _classes(values: NDArray[Any]) -> NDArray[np.uint8]:
    """Few values as they are; a soft edge between 0 and the largest is cut in the middle."""
    top = int(values.max()) if values.size else 0
    if not 0 < top <= 65535 or values.min() < 0:
        return np.zeros(values.shape, np.uint8)
    counts = np.zeros(top + 1, np.int64)
    for rows in np.array_split(values, max(1, values.size >> 20)):  # bincount makes 8 bytes of each
        counts += np.bincount(rows.ravel(), minlength=top + 1)
    found = np.flatnonzero(counts)
    if len(found) <= 2:
        return np.asarray(values == top, np.uint8)
    if len(found) <= _FEW and top <= 255:
        return np.asarray(values, np.uint8)
    between = (found > top // 16) & (found < top - top // 16)
    if counts[found[between]].sum() > _GREY * values.size:
        raise RefusedError("not-readable", "a picture of greys is no mask")
    return np.asarray(values > top // 2, np.uint8)


def _rings(mask: NDArray[np.uint8], label: str) -> list[Ring]:
    values = [v for v in range(1, 256) if (mask == v).any()] if mask.max() > 1 else [1]
    if values == [1]:
        return [Ring(label, part, traced=True) for part in parts_of(mask)]
    return [Ring(str(value), part, traced=True) for value in values for part in parts_of(mask == value)]


def write(rows: Iterable[Outline], folder: Path) -> int:
    """Write `<image_id>.png`, 8 bits, 255 inside the lungs; return how many.

    Args:
        rows: In pixels of the ingested images. Hearts are left out; lungs without what the heart
            covers are drawn where there are no whole ones.
        folder: Where to.
    """
    count = 0
    for row in rows:
        assert row.width is not None and row.height is not None  # noqa: PT018
        kinds = [[r for r in row.rings if r.label in names] for names in _CLASSES]
        lungs = kinds[0] or kinds[1]
        inside = rasterise([{"x": r.points[:, 0], "y": r.points[:, 1]} for r in lungs], row.height, row.width)
        pictures.write_png(folder / f"{row.names[0]}.png", inside.astype(np.uint8) * 255)
        count += 1
    return count
