"""One image, whatever is wrong with it, as the rectangle that an encoder looks at.

No torch here: worker processes import it.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from xraytk.config import Pixels
from xraytk.data import augment, dicom, pictures, sources
from xraytk.errors import DataError

INGEST_PX = 1280
"""Long side that `ingest` shrinks to before anything else; done here too, for equal pixels."""


@dataclass(frozen=True, slots=True)
class Shape:
    """The rectangle that images are put into.

    Args:
        image_px: As `augment.place` takes it.
        fit: Keep the aspect ratio, or not.
    """

    image_px: Pixels
    fit: augment.Fit


@dataclass(frozen=True, slots=True, kw_only=True)
class Read:
    """What reading one image gave.

    Args:
        image_id: Its name; of a file the first 16 digits of its SHA-256; "" when it has no bytes.
        view: What a file's header says.
        reason: A fixed code when there is no image; else "".
        detail: Numbers, and codes of errors or syntaxes only.
        image: (H, W) uint8; None with a reason.
        valid: (H, W) bool, False where letterboxing padded; None with a reason.
    """

    image_id: str = ""
    view: str = ""
    reason: str = ""
    detail: str = ""
    image: NDArray[np.uint8] | None = None
    valid: NDArray[np.bool_] | None = None


def read_file(shape: Shape, job: tuple[int, sources.Source]) -> Read:
    """Read a radiograph's file as `report` does.

    Args:
        shape: What it becomes.
        job: Its number, and the file.
    """
    try:
        data = sources.read_source(job[1])
    except sources.UnreadableError as error:
        return Read(reason=error.reason, detail=error.detail)
    name = hashlib.sha256(data).hexdigest()[:16]
    try:
        radiograph = dicom.read_radiograph(data)
    except dicom.Refused as refused:
        return Read(image_id=name, reason=refused.reason, detail=refused.detail)
    except MemoryError:
        return Read(image_id=name, reason="too-large")
    picture = pictures.to_8bit(dicom.resize_long_side(radiograph.pixels, INGEST_PX))
    image, valid = augment.place(picture, shape.image_px, shape.fit)
    return Read(image_id=name, view=radiograph.view, image=image, valid=valid)


def read_png(shape: Shape, image_id: str, path: Path) -> Read:
    """Read an image that `ingest` wrote."""
    try:
        picture = pictures.to_8bit(pictures.read_png(path))
    except (DataError, OSError):
        return Read(image_id=image_id, reason="image-broken" if path.exists() else "image-missing")
    image, valid = augment.place(picture, shape.image_px, shape.fit)
    return Read(image_id=image_id, image=image, valid=valid)
