"""One file to one image: what a worker does, on this machine or another."""

from __future__ import annotations

import hashlib
import warnings
from dataclasses import dataclass, field

import numpy as np

from xraytk.data import dicom, pictures, sources
from xraytk.data.storage import Storage
from xraytk.records import Radiograph


@dataclass(frozen=True, slots=True)
class Options:
    """What shapes every image alike.

    Args:
        max_px: Longest side.
    """

    max_px: int = 1280


@dataclass(frozen=True, slots=True)
class Job:
    """What a worker is handed. It holds a path, so it never prints itself.

    Args:
        name: Root hash/source hash.
        source: The file.
    """

    name: str
    source: sources.Source = field(repr=False)

    @property
    def target(self) -> str:
        """Temporary name of its image."""
        return f"images/.tmp-{self.name.replace('/', '-')}.png"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What reading one file gave.

    Args:
        sha256: Of the file; None when it could not be read.
        reason: Why it is refused; "" when it is not.
        detail: Numbers and names of syntaxes or errors only.
        radiograph: Without its pixels; None when refused.
        shape: (H, W) of the image that was written.
        source_shape: (H, W) of the image as it was.
        pixel_sha256: Of the pixels that were written, with their shape.
    """

    sha256: str | None
    reason: str = ""
    detail: str = ""
    radiograph: Radiograph | None = field(default=None, repr=False)
    shape: tuple[int, int] = (0, 0)
    source_shape: tuple[int, int] = (0, 0)
    pixel_sha256: str = ""


def read_one(storage: Storage, options: Options, job: Job) -> Outcome:
    """Read, decode and shrink one file, and write its image under a temporary name.

    Args:
        storage: Where to.
        options: What shapes the image.
        job: The file.

    Returns:
        What came of it; a file that gives no image has a reason, and raises nothing.

    Raises:
        MachineError: If the image cannot be written.
    """
    try:
        data = sources.read_source(job.source)
    except sources.UnreadableError as error:
        return Outcome(None, error.reason, error.detail)
    sha256 = hashlib.sha256(data).hexdigest()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # they quote the header
            radiograph = dicom.read_radiograph(data)
            small = dicom.resize_long_side(radiograph.pixels, options.max_px)
            png = pictures.encode_png(small)
    except dicom.Refused as refused:
        return Outcome(sha256, refused.reason, refused.detail)
    except MemoryError:
        return Outcome(sha256, "out-of-memory")
    except Exception as error:
        return Outcome(sha256, "unexpected-error", type(error).__name__)
    storage.write(job.target, png)
    source_height, source_width = radiograph.pixels.shape
    radiograph.pixels = np.empty((0, 0), np.uint16)
    height, width = small.shape
    pixel_sha256 = hashlib.sha256(f"{height} {width} ".encode() + small.tobytes()).hexdigest()
    return Outcome(sha256, "", "", radiograph, (height, width), (source_height, source_width), pixel_sha256)
