"""DICOM Segmentation: writing, with highdicom, for the de-identified DICOM files of ingest.

A segmentation refers to the instance that it was drawn on and has its size, so it needs the file
itself, and the contours are moved back into the stored image.
"""

from __future__ import annotations

import hashlib
import io
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset, dcmread, dcmwrite

from xraytk import __version__
from xraytk.data.contour import rasterise
from xraytk.data.dicom_write import uid_from
from xraytk.data.outlines import seg
from xraytk.data.outlines.outline import Outline, Points, RefusedError
from xraytk.errors import MachineError
from xraytk.files import atomic_write

CODES = {
    "right_lung": (seg.RIGHT_LUNG, "Right lung"),
    "left_lung": (seg.LEFT_LUNG, "Left lung"),
    "right_clear": (seg.RIGHT_LUNG, "Right lung"),
    "left_clear": (seg.LEFT_LUNG, "Left lung"),
    "heart": (seg.HEART, "Heart"),
}


def need_highdicom() -> None:
    """See that highdicom is there.

    Raises:
        MachineError: If it is not.
    """
    try:
        import highdicom  # noqa: F401
    except ImportError:
        raise MachineError(
            "DICOM SEG is written by highdicom, which is not installed",
            todo="Run `pip install 'xraytk[seg]'`.",
        ) from None


def write_one(row: Outline, source: Path, move: Callable[[Points, int, int], Points], folder: Path) -> None:
    """Write `<image_id>.dcm`, the same bytes every time.

    Args:
        row: In pixels of the ingested image.
        source: Its de-identified DICOM file.
        move: From those pixels to the stored ones of a file of so many columns and rows.
        folder: Where to.

    Raises:
        RefusedError: If the file cannot be read, or the outlines are not inside of it.

    Source:
        DICOM PS3.3 A.51; SNOMED CT codes of PS3.16 CID 6210.
    """
    try:
        image = dcmread(source)
    except Exception as error:
        raise RefusedError("not-readable", type(error).__name__) from None
    columns, rows = int(image.Columns), int(image.Rows)
    names = [name for name in CODES if any(r.label == name for r in row.rings)]
    masks: list[NDArray[np.bool_]] = []
    for name in names:
        moved = [move(r.points, columns, rows) for r in row.rings if r.label == name]
        masks.append(rasterise([{"x": p[:, 0], "y": p[:, 1]} for p in moved], rows, columns))
    inside = [(n, m) for n, m in zip(names, masks, strict=True) if m.any()]
    if not inside:
        raise RefusedError("empty", "nothing inside of the stored image")
    made = _segmentation(image, [n for n, _ in inside], np.stack([m for _, m in inside], -1)[None])
    stream = io.BytesIO()
    dcmwrite(stream, made, enforce_file_format=True)
    with atomic_write(folder / f"{row.names[0]}.dcm") as file:
        file.write(stream.getvalue())


def _segmentation(image: Dataset, names: list[str], masks: NDArray[np.bool_]) -> Dataset:
    """Make the object; masks are (1, H, W, segments)."""
    import highdicom
    from pydicom.sr.coding import Code

    about = [
        highdicom.seg.SegmentDescription(
            i,
            name,
            Code("123037004", "SCT", "Anatomical Structure"),
            Code(CODES[name][0], "SCT", CODES[name][1]),
            highdicom.seg.SegmentAlgorithmTypeValues.SEMIAUTOMATIC,
            highdicom.AlgorithmIdentificationSequence(
                "xraytk", Code("123109", "DCM", "Manual Processing"), __version__
            ),
        )
        for i, name in enumerate(names, 1)
    ]
    of = str(image.SOPInstanceUID)
    content = uid_from("seg", of, ",".join(names), hashlib.sha256(masks.tobytes()).hexdigest())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # they quote the header
        made: Dataset = highdicom.seg.Segmentation(
            [image],
            masks.astype(np.uint8),
            highdicom.seg.SegmentationTypeValues.BINARY,
            about,
            series_instance_uid=uid_from("seg series", str(image.SeriesInstanceUID)),
            series_number=1000,
            sop_instance_uid=content,
            instance_number=1,
            manufacturer="xraytk",
            manufacturer_model_name="xraytk",
            software_versions=__version__,
            device_serial_number="0",
            content_label="LUNGS",
            omit_empty_frames=False,
        )
    _settle(made, image, content)
    return made


def _settle(made: Dataset, image: Dataset, content: str) -> None:
    """Put what depends on the clock or on chance to what depends on the image."""
    made.ContentDate = str(image.get("StudyDate", "")) or "19000101"
    made.ContentTime = str(image.get("StudyTime", "")) or "000000"
    for keyword in ("InstanceCreationDate", "InstanceCreationTime", "SeriesDate", "SeriesTime"):
        if keyword in made:
            delattr(made, keyword)
    made.PatientIdentityRemoved = "YES"
    dimensions = uid_from("seg dimensions", content)

    def visit(_: Dataset, element: Any) -> None:
        if element.keyword == "DimensionOrganizationUID":
            element.value = dimensions
        elif element.keyword == "ContributionDateTime":
            element.value = made.ContentDate + "000000"

    made.walk(visit)
