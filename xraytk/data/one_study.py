"""The one or two images of a study that somebody hands over.

No message names a file or quotes a header: both often name patients.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from xraytk.data import dicom
from xraytk.data.fitted import INGEST_PX
from xraytk.data.pictures import to_8bit
from xraytk.errors import DataError
from xraytk.records import FRONTAL_VIEWS, Radiograph

_STANDS_IN = "|"
"""In what stands for a patient without an id: name and birth date. An id cannot be compared with it."""


@dataclass(frozen=True, slots=True, eq=False)
class Given:
    """One image.

    Args:
        image_id: First 16 hexadecimal digits of the file's SHA-256, without a key.
        pixels: (H, W) uint8, as `ingest` and `shard` would store them.
        radiograph: What the file says.
    """

    image_id: str
    pixels: NDArray[np.uint8]
    radiograph: Radiograph


def read_study(paths: Sequence[Path]) -> list[Given]:
    """Read one frontal image, or two images of a study.

    Args:
        paths: One or two files: DICOM, PNG, JPEG or TIFF.

    Returns:
        The frontal image, and the other one; of two frontal ones PA comes before AP before UNKNOWN,
        and else the order stays.

    Raises:
        DataError: If one cannot be read, none is frontal, both are the same, or the headers name two
            patients or two studies.
    """
    names = ("the image",) if len(paths) == 1 else ("the first image", "the second image")
    given = [_read(path, name) for path, name in zip(paths, names, strict=True)]
    views = [one.radiograph.view for one in given]
    if not set(views) & set(FRONTAL_VIEWS):
        what = "the image gives no report: it is not a frontal view"
        raise DataError(
            what if len(given) == 1 else "the images give no report: neither is a frontal view",
            f"its header says {views[0]}; the models write about PA and AP only"
            if len(given) == 1
            else f"their headers say {' and '.join(views)}; one has to be PA or AP",
            "Give the frontal radiograph of the study.",
        )
    if len(given) == 2:
        _refuse_strangers(*given)
    order = (*FRONTAL_VIEWS, "LATERAL", "OTHER")
    return sorted(given, key=lambda one: order.index(one.radiograph.view))


def says_one_study(given: Sequence[Given]) -> bool:
    """Whether the headers of two images name patient and study, which then are the same."""
    a, b = (_who(one) for one in given)
    return all(a) and a == b


def _read(path: Path, name: str) -> Given:
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise DataError(f"{name} does not exist", todo="Check the path.") from None
    except IsADirectoryError:
        raise DataError(
            f"{name} is a folder", "wanted one file", "For many images, use `xraytk ingest`."
        ) from None
    except OSError as error:
        raise DataError(f"{name} cannot be read", f"the system says: {error.strerror}") from None
    try:
        radiograph = dicom.read_radiograph(data)
    except dicom.Refused as refused:
        raise DataError(
            f"{name} gives no report: {refused.reason}",
            dicom.REASONS[refused.reason] + (f" ({refused.detail})" if refused.detail else ""),
            "Give one chest radiograph: CR or DX DICOM, PNG, JPEG or TIFF.",
        ) from None
    pixels = to_8bit(dicom.resize_long_side(radiograph.pixels, INGEST_PX))
    return Given(hashlib.sha256(data).hexdigest()[:16], pixels, radiograph)


def _refuse_strangers(one: Given, other: Given) -> None:
    """Refuse two images that are the same, or not of one study; what the headers say is not shown."""
    if one.image_id == other.image_id:
        raise DataError("both images are the same file", todo="Give the other image, or only this one.")
    if np.array_equal(one.pixels, other.pixels):
        raise DataError("both images are the same picture", todo="Give the other image, or only this one.")
    for what, a, b in zip(("patients", "studies"), _who(one), _who(other), strict=True):
        like = what == "studies" or (_STANDS_IN in a) == (_STANDS_IN in b)
        if a and b and a != b and like:
            raise DataError(
                f"the two images are of different {what}",
                "their headers say so",
                "Give the images of one study, or each for itself.",
            )


def _who(one: Given) -> tuple[str, str]:
    """Patient and study, "" where the header does not say."""
    identity = one.radiograph.identity
    return identity.patient_id.strip(" \0"), identity.study_uid.strip(" \0")
