"""Colour of secondary captures to grey: luminance, and tables of palettes.

A colour object is a picture of a screen: no window applies to it (DICOM PS3.3 C.11.2.1.2 is for
grey images only), so its luminance is stored as it is.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.pixels.processing import apply_color_lut

from xraytk.data.refused import Refused

_WEIGHTS = (19595, 38470, 7471)
"""0.299, 0.587, 0.114 of 65536."""
_ROWS = 256


def luminance(image: NDArray[Any], photometric: str, *, is_rgb: bool) -> NDArray[Any]:
    """Grey of a colour image.

    Args:
        image: (H, W, 3) uint8 or uint16.
        photometric: Photometric interpretation.
        is_rgb: Whether a decoder has turned it into RGB already.

    Returns:
        (H, W) of the same type. Of YBR it is the first plane; of YBR_PARTIAL that plane
        stretched from its 16..235 to the full range.

    Source:
        DICOM PS3.3 C.7.6.3.1.2 (ITU-R BT.601).
    """
    if is_rgb or photometric == "RGB":
        return _mix(image)
    first = np.ascontiguousarray(image[..., 0])
    if not photometric.startswith("YBR_PARTIAL"):
        return first
    unit = 1 << (first.itemsize * 8 - 8)
    table = np.clip((np.arange(256 * unit) - 16 * unit) * (255 / 219), 0, 256 * unit - 1)
    return np.asarray(np.rint(table).astype(first.dtype)[first])


def palette_greys(ds: Dataset, codes: int) -> NDArray[np.uint16]:
    """Luminance of every code of a palette image, over 0..65535.

    Args:
        ds: Header, with the three tables (plain or segmented).
        codes: How many codes there are: 256 or 65536.

    Raises:
        Refused: If the tables cannot be read.

    Source:
        DICOM PS3.3 C.7.6.3.1.5, C.7.6.3.1.6, C.7.9.2.
    """
    try:
        kind = np.uint8 if codes == 256 else np.uint16
        colours = np.asarray(apply_color_lut(np.arange(codes, dtype=kind)[None], ds)[0])
        wide = colours.itemsize == 2 and int(colours.max()) > 255  # 8-bit entries in 16 are common
        greys = _mix(colours[:, :3]).astype(np.uint32) * (1 if wide else 257)
    except Exception as error:
        raise Refused("colour", f"palette: {type(error).__name__}") from None
    return np.asarray(greys, np.uint16)


def _mix(colours: NDArray[Any]) -> NDArray[Any]:
    """Luminance of (..., 3) uint8 or uint16, rounded; in integers, so that it is the same anywhere."""
    grey = np.empty(colours.shape[:-1], colours.dtype)
    for top in range(0, len(colours), _ROWS):  # a block at a time, to save memory
        planes = np.moveaxis(colours[top : top + _ROWS], -1, 0).astype(np.uint32)
        mixed = planes[0] * _WEIGHTS[0] + planes[1] * _WEIGHTS[1] + planes[2] * _WEIGHTS[2]
        grey[top : top + _ROWS] = (mixed + 32768) >> 16
    return grey
