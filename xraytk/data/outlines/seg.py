"""DICOM Segmentation: reading, without highdicom; a binary or fractional one in native form.

Source:
    DICOM PS3.3 A.51, C.8.20 (Segmentation), C.7.6.16 (functional groups), PS3.5 8.1.1 (bits are
    packed from the lowest on, over the ends of frames); PS3.16 CID 6210 and 244 for the codes.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset

from xraytk.data import dicom
from xraytk.data.outlines.outline import (
    MOST_BYTES,
    Outline,
    Refusal,
    RefusedError,
    Ring,
    mask_shape,
    refusal,
)
from xraytk.data.outlines.rings import parts_of
from xraytk.data.refused import Refused

SOP_CLASS = "1.2.840.10008.5.1.4.1.1.66.4"
RIGHT_LUNG, LEFT_LUNG, LUNG, HEART = "3341006", "44029006", "39607008", "80891009"
"""SNOMED CT codes of structures."""
_SIDES = {"24028007": "right", "7771000": "left"}
_MOST_FRAMES = 10_000
_NATIVE = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2")


def read(path: Path) -> Iterator[Outline | Refusal]:
    """Read one file: an outline for each instance that it refers to.

    Args:
        path: DICOM Segmentation; of fractional ones what is more than half inside.
    """
    names = (path.stem,)
    try:
        if path.stat().st_size > MOST_BYTES:
            raise RefusedError("not-readable", f"more than {MOST_BYTES} bytes")
        with dicom.silence():
            found = _outlines(dicom.parse(path.read_bytes()), names)
    except Refused as refused:
        yield Refusal("not-readable", refused.reason, names, 0)
    except Exception as error:  # pydicom converts values late: any access may meet a broken one
        yield refusal(error, names, 0)
    else:
        yield from found


def _outlines(ds: Dataset, names: tuple[str, ...]) -> list[Outline]:
    if str(ds.get("SOPClassUID", "")) != SOP_CLASS:
        raise RefusedError("not-readable", "no segmentation")
    height, width = mask_shape(ds.Rows, ds.Columns)
    frames = int(ds.get("NumberOfFrames", 1))
    if not 0 < frames <= _MOST_FRAMES:
        raise RefusedError("not-readable", "an impossible number of frames")
    labels = {int(segment.SegmentNumber): _label(segment) for segment in ds.SegmentSequence}
    shared = _first(ds, "SharedFunctionalGroupsSequence")
    groups = list(ds.get("PerFrameFunctionalGroupsSequence", []))
    if len(groups) not in (0, frames):
        raise RefusedError("not-readable", "frames without their functional groups")
    masks = _Frames(ds, frames, height, width)
    rings: dict[str, list[Ring]] = {uid: [] for uid in _referenced(ds)} or {"": []}
    for i in range(frames):
        own = groups[i] if groups else Dataset()
        uid = _source(own) or _source(shared) or next(iter(rings))
        number = _segment(own) or _segment(shared)
        label = labels[number] if number else next(iter(labels.values()))
        rings.setdefault(uid, []).extend(Ring(label, part, traced=True) for part in parts_of(masks[i]))
    return [
        Outline(names, tuple(found), width, height, "seg", row, uid=uid or "-")
        for row, (uid, found) in enumerate(rings.items())
    ]


def _first(ds: Dataset, keyword: str) -> Dataset:
    """First item of a sequence; an empty one where there is none."""
    items = ds.get(keyword)
    return items[0] if items else Dataset()


def _source(group: Dataset) -> str:
    """The instance that a frame was made of."""
    image = _first(_first(group, "DerivationImageSequence"), "SourceImageSequence")
    return str(image.get("ReferencedSOPInstanceUID", "")).strip(" \0")


def _segment(group: Dataset) -> int:
    return int(_first(group, "SegmentIdentificationSequence").get("ReferencedSegmentNumber", 0))


def _referenced(ds: Dataset) -> list[str]:
    """Instances that the whole object refers to, in their order."""
    found = [
        str(instance.get("ReferencedSOPInstanceUID", "")).strip(" \0")
        for series in ds.get("ReferencedSeriesSequence", [])
        for instance in series.get("ReferencedInstanceSequence", [])
    ]
    return [uid for uid in dict.fromkeys(found) if uid]


def _label(segment: Dataset) -> str:
    """What a segment is of: by its codes, else its label."""
    kind = _first(segment, "SegmentedPropertyTypeCodeSequence")
    code = str(kind.get("CodeValue", ""))
    plain = {RIGHT_LUNG: "right_lung", LEFT_LUNG: "left_lung", HEART: "heart"}
    said = str(segment.get("SegmentLabel", ""))
    if code in plain:
        return said if said in ("right_clear", "left_clear") else plain[code]
    if code == LUNG:
        side = _SIDES.get(str(_first(kind, "SegmentedPropertyTypeModifierCodeSequence").get("CodeValue", "")))
        return f"{side}_lung" if side else said or "lungs"
    return said


class _Frames:
    """Frames of the pixel data, one at a time: all of them need not fit into memory as bytes."""

    def __init__(self, ds: Dataset, frames: int, height: int, width: int) -> None:
        if str(ds.get("SegmentationType", "")) not in ("BINARY", "FRACTIONAL"):
            raise RefusedError("not-readable", "a type of segmentation that is not read")
        if dicom.syntax_of(ds) not in _NATIVE:
            raise RefusedError("not-readable", "compressed")
        self._bits = int(ds.get("BitsAllocated", 0))
        self._shape = height, width
        self._data = np.frombuffer(ds.PixelData, np.uint8)
        self._most = int(ds.get("MaximumFractionalValue", 255))
        if self._bits not in (1, 8) or self._data.size * 8 < frames * height * width * self._bits:
            raise RefusedError("not-readable", f"{self._data.size} bytes of pixels")

    def __getitem__(self, i: int) -> NDArray[Any]:
        """Frame i, (H, W) bool."""
        size = self._shape[0] * self._shape[1]
        if self._bits == 8:
            frame = self._data[i * size : (i + 1) * size].reshape(self._shape)
            return np.asarray(frame.astype(np.uint16) * 2 > self._most)
        start = i * size
        packed = self._data[start // 8 : (start + size + 7) // 8]
        bits = np.unpackbits(packed, bitorder="little")[start % 8 : start % 8 + size]
        return bits.reshape(self._shape).astype(np.bool_)
