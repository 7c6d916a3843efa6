"""Stored values to grey, in the order of the standard, as one table over all bit patterns.

Padding, modality LUT or rescale, VOI LUT or window, sense of the grey scale. Every step is a
function of the stored value alone, so the image is touched once.

What is stored. The result is 16 bits, and every pixel is ``round(65535 * y)`` of

1. the stored value ``x``: bits outside the stored ones (overlays of old kind, rubbish) are
   masked, unless the pixels show that the header counts them wrong (`bits.settle`);
2. the modality value ``m``: the modality LUT's entry, else ``slope * x + intercept``;
3. ``y`` in 0..1: the VOI LUT's entry, else the first window. **Here it is clipped**: what lies
   outside of the window becomes 0 or 1, and that is all that is lost, but for rounding to one
   65535th of the range. Of several windows or LUTs the first is taken, as viewers do, and their
   number recorded. A VOI that leaves nearly one grey (98 % of the pixels within 2 % of the
   range) is a wrong one, and the next kind is tried. Without a usable one the range is the 0.5 and
   99.5 percentiles of the exposed part: padding does not count, nor do large even areas at
   either end of the range that touch the border (shutters, open beam);
4. ``1 - y`` for MONOCHROME1 or Presentation LUT Shape INVERSE, once. Padding becomes 0.

So with "linear", "linear_exact", "percentile" and "full" the modality values come back as
``low + (high - low) * g / 65535``, where ``g`` is the pixel (65535 - pixel when inverted); with
"log" as ``low * (high / low) ** (g / 65535)``; with "sigmoid" by its inverse with the window's
centre and width, where the slope leaves enough greys; with "lut" not, as tables need not have
an inverse. The shares of pixels clipped at both ends are recorded.

For Processing objects hold what the detector saw. Their windows, if any, are not meant for
looking: the range is that of the percentiles, of the logarithm of the values when these are said
to be linear in the intensity, and the sense is that of the Pixel Intensity Relationship Sign.
No edge or contrast enhancement, which the maker would add, is imitated.

Colour objects and palettes are pictures of a screen: the whole range is stored, nothing clipped.
Overlays in groups 60xx are graphics beside the image: counted, never burned in.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset

from xraytk.data.bits import layout_of, settle, stored_values
from xraytk.data.pictures import map_values
from xraytk.data.refused import Refused

Table = NDArray[np.float64]

_CLIP = (0.005, 0.995)
_FLAT = 0.02
_LOOKED_AT_PX = 512
_BAND, _SHUTTER, _LEAST_EXPOSED = 0.02, 0.04, 0.25


@dataclass(slots=True)
class Grey:
    """An image in grey, and how it became so; see the module for what is stored.

    Args:
        pixels: (H, W) uint16 over 0..65535, air dark and bone bright.
        voi: "lut", "linear", "linear_exact", "sigmoid", "percentile", "log" or "full".
        range_low: Modality value that maps to 0, before any inversion; None without one.
        range_high: Modality value that maps to 65535.
        window: (center, width) of the window taken.
        voi_count: Windows and VOI LUTs in the header.
        inverted: Whether 1 - y was stored.
        clipped_low: Share of the pixels, padding apart, below the range.
        clipped_high: Share above it.
        padded: Share of all pixels that are padding.
        bits: Significant bits, after repair.
        repairs: See `bits.Layout`.
    """

    pixels: NDArray[np.uint16]
    voi: str
    range_low: float | None
    range_high: float | None
    window: tuple[float, float] | None
    voi_count: int
    inverted: bool
    clipped_low: float
    clipped_high: float
    padded: float
    bits: int
    repairs: tuple[str, ...]


class _Range(NamedTuple):
    """A way from modality values to y, not yet clipped, per bit pattern."""

    y: Table
    voi: str
    low: float | None = None
    high: float | None = None
    window: tuple[float, float] | None = None


def to_grey(raw: NDArray[Any], ds: Dataset, *, processing: bool = False, colour: bool = False) -> Grey:
    """Map bit patterns to grey over the full range, air dark and bone bright.

    Args:
        raw: (H, W) uint8 or uint16, as stored.
        ds: Header.
        processing: Whether it is a For Processing object.
        colour: Whether it is the luminance of a colour image or palette.

    Raises:
        Refused: If the bits make no sense, or all pixels are equal.

    Source:
        DICOM PS3.3 C.7.5.1.1.2 (padding), C.11.1 (modality LUT), C.11.2 (VOI LUT and its
        functions), C.7.6.3.1.2 and C.11.6 (sense), C.8.11.3.1.2 (intensity). Percentiles 0.5 to
        99.5 of the exposed part without a usable window: ours.
    """
    allocated = raw.dtype.itemsize * 8
    counts = cv2.calcHist([raw], [0], None, [1 << allocated], [0, 1 << allocated]).ravel().astype(np.float64)
    layout = layout_of(Dataset() if colour else ds, allocated)
    layout = settle(layout, raw, counts)
    if not layout.signed:  # tables no longer than the largest word
        counts = counts[: int(np.flatnonzero(counts)[-1]) + 1]
    stored = stored_values(counts.size, layout)
    padding = np.zeros(stored.size, bool) if colour else _padding(stored, ds)
    padded = float(counts[padding].sum())
    counts[padding] = 0
    used = stored[counts > 0]
    if used.size == 0 or used.min() == used.max():
        raise Refused("blank")
    modality = stored if colour else apply_modality(stored, ds)
    if colour:
        found, inverted = _between(modality, 0, (1 << allocated) - 1, "full"), False
    elif processing:
        found, inverted = _of_processing(raw, modality, counts, padding, ds), _is_attenuated(ds)
    else:
        found, inverted = _of_presentation(raw, modality, counts, padding, ds), _is_inverted(ds)
    grey = np.clip(found.y, 0, 1)
    if inverted:
        grey = 1 - grey
    grey[padding] = 0
    table = np.zeros(1 << allocated, np.uint16)
    table[: grey.size] = np.rint(grey * 65535)
    total = counts.sum()
    return Grey(
        pixels=map_values(table, raw),
        voi=found.voi,
        range_low=found.low,
        range_high=found.high,
        window=found.window,
        voi_count=0 if colour else _count(ds),
        inverted=inverted,
        clipped_low=round(float(counts[found.y < -1e-9].sum() / total), 6),
        clipped_high=round(float(counts[found.y > 1 + 1e-9].sum() / total), 6),
        padded=round(padded / raw.size, 6),
        bits=layout.bits,
        repairs=layout.repairs,
    )


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


def _of_presentation(
    raw: NDArray[Any], modality: Table, counts: Table, padding: NDArray[np.bool_], ds: Dataset
) -> _Range:
    """VOI LUT, else the first window, else percentiles."""
    for found in _given(modality, ds):
        y = np.clip(found.y, 0, 1)
        if _quantile(y, counts, 0.99) - _quantile(y, counts, 0.01) >= _FLAT:
            return found
    low, high = _percentiles(raw, modality, counts, padding)
    return _between(modality, low, high, "percentile")


def _of_processing(
    raw: NDArray[Any], modality: Table, counts: Table, padding: NDArray[np.bool_], ds: Dataset
) -> _Range:
    """Percentiles, of the logarithm if values are linear in the intensity of the beam."""
    low, high = _percentiles(raw, modality, counts, padding)
    if str(ds.get("PixelIntensityRelationship") or "").strip().upper() != "LIN":
        return _between(modality, low, high, "percentile")
    quantum = abs(number(ds, "RescaleSlope") or 1.0)
    low, high = max(low, quantum), max(high, 2 * quantum)
    logs = np.log(np.maximum(modality, quantum / 2))
    return _between(logs, float(np.log(low)), float(np.log(high)), "log")._replace(low=low, high=high)


def _between(values: Table, low: float, high: float, voi: str) -> _Range:
    return _Range((values - low) / max(high - low, 1e-12), voi, low, high)


def _given(values: Table, ds: Dataset) -> Iterator[_Range]:
    """What the header offers: VOI LUT, then the first window.

    Source:
        DICOM PS3.3 C.11.2.1.2 and C.11.2.1.3.
    """
    lut = _lut(ds, "VOILUTSequence", signed=bool(values.min() < 0))
    if lut is not None:
        first, data, bits = lut
        top, highest = (1 << bits) - 1, int(data.max())
        if not top / 2 <= highest <= top:  # 12-bit entries under a descriptor of 16 are common
            top = highest
        yield _Range(
            data[np.clip(np.rint(values) - first, 0, data.size - 1).astype(np.intp)] / max(top, 1), "lut"
        )
    center, width = number(ds, "WindowCenter"), number(ds, "WindowWidth")
    if center is None or width is None or width <= 0:
        return
    function, window = str(ds.get("VOILUTFunction") or "LINEAR").strip().upper(), (center, width)
    if function == "SIGMOID":
        y = 1 / (1 + np.exp(np.clip(-4 * (values - center) / width, -700, 700)))
        yield _Range(y, "sigmoid", window=window)
    elif function == "LINEAR_EXACT":
        low, high = center - width / 2, center + width / 2
        yield _Range((values - center) / width + 0.5, "linear_exact", low, high, window)
    elif width == 1:
        step = (values > center - 0.5).astype(np.float64)
        yield _Range(step, "linear", center - 0.5, center - 0.5, window)
    elif width > 1:
        low, high = center - 0.5 - (width - 1) / 2, center - 0.5 + (width - 1) / 2
        yield _Range((values - (center - 0.5)) / (width - 1) + 0.5, "linear", low, high, window)


def _count(ds: Dataset) -> int:
    """How many windows and VOI LUTs the header has."""
    try:
        centers = ds.get("WindowCenter")
        windows = 0 if centers in (None, "") else len(np.atleast_1d(centers))
        return windows + len(ds.get("VOILUTSequence") or [])
    except Exception:
        return 0


def _percentiles(
    raw: NDArray[Any], modality: Table, counts: Table, padding: NDArray[np.bool_]
) -> tuple[float, float]:
    """The 0.5 and 99.5 percentiles of the exposed part; the ends of what is used if they are equal."""
    exposed = exposed_counts(raw, modality, counts, padding)
    low, high = (_quantile(modality, exposed, q) for q in _CLIP)
    if high <= low:
        used = modality[counts > 0]
        low, high = float(used.min()), float(used.max())
    return low, high


def exposed_counts(raw: NDArray[Any], modality: Table, counts: Table, padding: NDArray[np.bool_]) -> Table:
    """How often each word occurs outside of shutters and open beam.

    Shutters and open beam are even areas at the ends of the range that touch the border. They are
    looked for on every n-th pixel: what lies within 2 % of either end of the range and hangs
    together with the border, when it is more than 4 % of the image (an even histogram has 2 %
    there). If less than a quarter of the image would be left, nothing is left out.

    Args:
        raw: (H, W) words.
        modality: Value of each word.
        counts: How often each word occurs, padding left out.
        padding: Which words are padding.

    Returns:
        Like ``counts``, or of every n-th pixel.

    Source:
        Ours.
    """
    step = max(1, max(raw.shape) // _LOOKED_AT_PX)
    small = np.ascontiguousarray(raw[::step, ::step])
    value, beside = modality[small], padding[small]
    low, high = (_quantile(modality, counts, q) for q in (0.001, 0.999))
    band, left_out = _BAND * (high - low), beside.copy()
    for end in (value <= low + band, value >= high - band):
        area = _touching_border(end | beside) & ~beside
        if area.mean() > _SHUTTER:
            left_out |= area
    if np.array_equal(left_out, beside) or 1 - left_out.mean() < _LEAST_EXPOSED:
        return counts
    return np.bincount(small[~left_out], minlength=counts.size).astype(np.float64)


def _touching_border(area: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Those parts of an area (H, W) that hang together with the border."""
    _, names = cv2.connectedComponents(area.astype(np.uint8), connectivity=4)
    border = np.unique(np.concatenate([names[0], names[-1], names[:, 0], names[:, -1]]))
    return np.asarray(np.isin(names, border[border > 0]))


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


def _is_attenuated(ds: Dataset) -> bool:
    """Whether low values of a For Processing object are what the beam did not pass: bone.

    The sign of the relationship says it; without one the photometric interpretation.

    Source:
        DICOM PS3.3 C.8.11.3.1.2: sign 1 when lower values are lower intensity, -1 when higher are.
    """
    sign = number(ds, "PixelIntensityRelationshipSign")
    return sign > 0 if sign else _is_inverted(ds)


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
