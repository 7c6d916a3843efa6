"""Bit patterns to stored values: which bits count, and headers that say it wrong."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset

from xraytk.data.refused import Refused

_ROWS_LOOKED_AT = 256


class Layout(NamedTuple):
    """Where the stored value lies within a word.

    Args:
        bits: Bits of the value.
        shift: Bits below it.
        signed: Whether it is two's complement.
        repairs: What the header said wrong: "bits-stored", "high-bit".
    """

    bits: int
    shift: int
    signed: bool
    repairs: tuple[str, ...] = ()


def layout_of(ds: Dataset, allocated: int) -> Layout:
    """What the header says.

    A high bit that cannot be is taken as bits stored - 1.

    Source:
        DICOM PS3.5 8.1.1.
    """
    try:
        bits = int(ds.get("BitsStored", allocated) or allocated)
        high = int(bits - 1 if ds.get("HighBit") is None else ds.get("HighBit"))
        signed = int(ds.get("PixelRepresentation", 0) or 0) == 1
    except (TypeError, ValueError):
        raise Refused("implausible-header", "bits stored") from None
    repairs: tuple[str, ...] = ()
    if bits > allocated:  # 12 bits announced, and a codestream of 8
        bits, high, repairs = allocated, allocated - 1, ("bits-stored",)
    if bits < 1:
        raise Refused("implausible-header", f"{bits} bits stored, allocated {allocated}")
    if not bits - 1 <= high < allocated:
        high, repairs = bits - 1, (*repairs, "high-bit")
    return Layout(bits, high + 1 - bits, signed, repairs)


def settle(layout: Layout, raw: NDArray[Any], counts: NDArray[np.float64]) -> Layout:
    """Correct what the pixels contradict.

    Two errors of headers are told by the data. A high bit above bits stored - 1, while the
    words hold small numbers and use the bits below the value: the value is not shifted. And too
    few bits stored, as 10 for values up to 4095: what lies above the stored bits may be an
    overlay or rubbish, to be masked, or the top of the value. Only of the latter are words
    close to their neighbours as whole words: so the neighbours in a row that differ above the
    stored bits are asked whether whole words or masked ones are nearer to each other.

    Args:
        layout: What the header says.
        raw: (H, W) words.
        counts: How often each word occurs.

    Source:
        Ours.
    """
    used = np.flatnonzero(counts)
    top = int(used[-1])
    if layout.shift and top < 1 << layout.bits and (used & ((1 << layout.shift) - 1)).any():
        return layout._replace(shift=0, repairs=(*layout.repairs, "high-bit"))
    if layout.shift or layout.signed or top < 1 << layout.bits:
        return layout
    sample = raw[:: max(1, len(raw) // _ROWS_LOOKED_AT)].astype(np.int32)
    whole = np.abs(np.diff(sample, axis=1))
    at = np.diff(sample >> layout.bits, axis=1) != 0
    masked = np.abs(np.diff(sample & ((1 << layout.bits) - 1), axis=1))
    if not at.any() or whole[at].sum(dtype=np.int64) >= masked[at].sum(dtype=np.int64):
        return layout
    return layout._replace(bits=top.bit_length(), repairs=(*layout.repairs, "bits-stored"))


def stored_values(patterns: int, layout: Layout) -> NDArray[np.float64]:
    """The stored value of every bit pattern below ``patterns``; bits outside the stored ones are masked.

    Source:
        DICOM PS3.5 8.1.1.
    """
    codes = (np.arange(patterns) >> layout.shift) & ((1 << layout.bits) - 1)
    if layout.signed:
        codes = np.where(codes >> (layout.bits - 1), codes - (1 << layout.bits), codes)
    return codes.astype(np.float64)
