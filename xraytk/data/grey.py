"""Stored values to grey, in the order of the standard, as one table over all bit patterns.

Padding, modality LUT or rescale, VOI LUT or window, sense of the grey scale. Every step is a
function of the stored value alone, so the image is touched once.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset

from xraytk.data.pictures import map_values
from xraytk.data.refused import Refused

Table = NDArray[np.float64]

_CLIP = (0.005, 0.995)
_FLAT = 0.02


def to_grey(raw: NDArray[Any], ds: Dataset) -> tuple[NDArray[np.uint16], str]:
    """Map bit patterns to grey over the full range, air dark and bone bright.

    Args:
        raw: (H, W) uint8 or uint16, as stored.
        ds: Header.

    Returns:
        (H, W) uint16 over 0..65535, and how the range was chosen ("lut", "linear",
        "linear_exact", "sigmoid", "percentile").

    Raises:
        Refused: If the bits make no sense, or all pixels are equal.

    Source:
        DICOM PS3.3 C.7.5.1.1.2 (padding), C.11.1 (modality LUT), C.11.2 (VOI LUT and its
        functions), C.7.6.3.1.2 and C.11.6 (sense). Percentiles 0.5 to 99.5 without a usable
        window: ours.
    """
    stored = stored_values(raw.dtype.itemsize * 8, ds)
    counts = cv2.calcHist([raw], [0], None, [stored.size], [0, stored.size]).ravel().astype(np.float64)
    padding = _padding(stored, ds)
    counts[padding] = 0
    if np.unique(stored[counts > 0]).size < 2:
        raise Refused("blank")
    modality = apply_modality(stored, ds)
    grey, voi = _voi(modality, ds, signed=bool(modality.min() < 0))
    if grey is not None:
        grey = np.clip(grey, 0, 1)
    if grey is None or _quantile(grey, counts, 0.99) - _quantile(grey, counts, 0.01) < _FLAT:
        low, high = (_quantile(modality, counts, q) for q in _CLIP)
        if high <= low:
            used = modality[counts > 0]
            low, high = float(used.min()), float(used.max())
        grey, voi = np.clip((modality - low) / max(high - low, 1e-12), 0, 1), "percentile"
    if _is_inverted(ds):
        grey = 1 - grey
    grey[padding] = 0
    table = np.rint(grey * 65535).astype(np.uint16)
    return map_values(table, raw), voi


def stored_values(allocated: int, ds: Dataset) -> Table:
    """The stored value of every bit pattern; bits outside the stored ones are masked.

    Source:
        DICOM PS3.5 8.1.1.
    """
    try:
        bits = int(ds.get("BitsStored", allocated) or allocated)
        high = int(ds.get("HighBit", bits - 1) if ds.get("HighBit") is not None else bits - 1)
        signed = int(ds.get("PixelRepresentation", 0) or 0) == 1
    except (TypeError, ValueError):
        raise Refused("implausible-header", "bits stored") from None
    if not (1 <= bits <= allocated and bits - 1 <= high < allocated):
        raise Refused("implausible-header", f"{bits} bits stored, high bit {high}, allocated {allocated}")
    codes = (np.arange(1 << allocated) >> (high + 1 - bits)) & ((1 << bits) - 1)
    if signed:
        codes = np.where(codes >> (bits - 1), codes - (1 << bits), codes)
    return codes.astype(np.float64)


def apply_modality(values: Table, ds: Dataset) -> Table:
    """Modality LUT if there is one, else rescale; a slope of 0 counts as none."""
    lut = _lut(ds, "ModalityLUTSequence", signed=bool(values.min() < 0))
    if lut is not None:
        first, data, _ = lut
        return data[np.clip(values - first, 0, data.size - 1).astype(np.intp)]
    slope, intercept = number(ds, "RescaleSlope"), number(ds, "RescaleIntercept")
    if slope is None or slope == 0:
        slope = 1.0
    return values * slope + (intercept or 0.0)


def _voi(values: Table, ds: Dataset, *, signed: bool) -> tuple[Table | None, str]:
    """VOI LUT, else the first window; None when there is neither or it is absurd."""
    lut = _lut(ds, "VOILUTSequence", signed=signed)
    if lut is not None:
        first, data, bits = lut
        top, highest = (1 << bits) - 1, int(data.max())
        if not top / 2 <= highest <= top:  # 12-bit entries under a descriptor of 16 are common
            top = highest
        return data[np.clip(np.rint(values) - first, 0, data.size - 1).astype(np.intp)] / max(top, 1), "lut"
    center, width = number(ds, "WindowCenter"), number(ds, "WindowWidth")
    if center is None or width is None or width <= 0:
        return None, ""
    function = str(ds.get("VOILUTFunction") or "LINEAR").strip().upper()
    if function == "SIGMOID":
        return 1 / (1 + np.exp(np.clip(-4 * (values - center) / width, -700, 700))), "sigmoid"
    if function == "LINEAR_EXACT":
        return (values - center) / width + 0.5, "linear_exact"
    if width < 1:
        return None, ""
    if width == 1:
        return (values > center - 0.5).astype(np.float64), "linear"
    return (values - (center - 0.5)) / (width - 1) + 0.5, "linear"


def _lut(ds: Dataset, keyword: str, *, signed: bool) -> tuple[int, Table, int] | None:
    """First value, entries and bits of a LUT sequence's first item; None if not usable.

    Source:
        DICOM PS3.3 C.11.1.1.1 and C.11.2.1.1.
    """
    try:
        item = ds[keyword].value[0]
        count, first, bits = (int(v) for v in item.LUTDescriptor)
        data = item["LUTData"].value
        count = count or 65536
        if isinstance(data, bytes):
            wide = len(data) >= 2 * count
            order = "<" if getattr(ds, "original_encoding", (None, True))[1] is not False else ">"
            entries = np.frombuffer(data, f"{order}u2" if wide else "u1")
        else:
            entries = np.atleast_1d(np.asarray(data, dtype=np.int64)) & 0xFFFF
    except Exception:
        return None
    if signed and first > 32767:
        first -= 65536
    if entries.size < count or count < 2:
        return None
    return first, entries[:count].astype(np.float64), bits if 8 <= bits <= 16 else 0


def _padding(stored: Table, ds: Dataset) -> NDArray[np.bool_]:
    """Which bit patterns mean "no image here"."""
    value, limit = number(ds, "PixelPaddingValue"), number(ds, "PixelPaddingRangeLimit")
    if value is None:
        return np.zeros(stored.size, bool)
    ends = [value, value if limit is None else limit]
    if stored.min() < 0:
        ends = [e - 65536 if e > 32767 else e for e in ends]
    else:
        ends = [e + 65536 if e < 0 else e for e in ends]
    return np.asarray((stored >= min(ends)) & (stored <= max(ends)))


def _is_inverted(ds: Dataset) -> bool:
    """MONOCHROME1 and PresentationLUTShape INVERSE say the same thing: it is done once."""
    shape = str(ds.get("PresentationLUTShape") or "").strip().upper()
    return str(ds.PhotometricInterpretation).strip().upper() == "MONOCHROME1" or shape == "INVERSE"


def _quantile(values: Table, counts: Table, share: float) -> float:
    """Quantile of a table's values, each as often as counted."""
    used = counts > 0
    order = np.argsort(values[used], kind="stable")
    total = np.cumsum(counts[used][order])
    return float(values[used][order][np.searchsorted(total, share * total[-1])])


def number(ds: Dataset, keyword: str) -> float | None:
    """First value of an element as a finite number; None if it is missing or is none."""
    try:
        value = ds.get(keyword)
        if value is None or value == "":
            return None
        found = float(value if isinstance(value, str | int | float) else np.atleast_1d(value)[0])
    except Exception:
        return None
    return found if np.isfinite(found) else None
