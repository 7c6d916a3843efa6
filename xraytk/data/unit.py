"""One file to one image: what a worker does, on this machine or another.

Bytes, radiograph, shrinking, a look at the pixels (field, text, likeness), encoding, writing.
"""

from __future__ import annotations

import hashlib
import warnings
from dataclasses import dataclass, field
from math import ceil, floor
from typing import TYPE_CHECKING, Literal

import numpy as np

from xraytk.data import burned, collimation, dicom, lookalike, pictures, sources, view
from xraytk.data.deid import patient_of
from xraytk.data.glance import glance
from xraytk.data.orientation import to_stored
from xraytk.data.profile import clean_dicom
from xraytk.data.refused import Refused
from xraytk.data.sr_class import is_sr
from xraytk.data.storage import Storage
from xraytk.records import Radiograph

if TYPE_CHECKING:
    from xraytk.data.sr import SrReport

PICTURES = ("png", "jpeg", "tiff")
METHOD = 2
"""Raised when the same file would give another image; a folder holds images of one method."""
THUMBNAIL_PX = 224
MOST_TEXT = 0.25
"""Share of an image that may be blanked; with more of it gone, it is no radiograph any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What shapes every image alike.

    Args:
        max_px: Longest side.
        burned_in: What is done with text in the pixels.
        crop: Whether collimated borders are cut off.
        for_processing: Whether raw detector data are read.
        not_chest: Whether images are kept whose pixels are surely no chest.
        write_dicom: Whether a de-identified DICOM file is written too.
        key: Of the hashes; needed for DICOM only.
    """

    max_px: int = 1280
    burned_in: Literal["blank", "reject", "keep"] = "blank"
    crop: bool = False
    for_processing: Literal["read", "reject"] = "read"
    not_chest: Literal["reject", "keep"] = "reject"
    write_dicom: bool = False
    key: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class Job:
    """What a worker is handed. It holds a path, so it never prints itself.

    Args:
        name: Root hash/source hash.
        source: The file.
        patient: Keyed hash of the patient, where a table names one for the file.
    """

    name: str
    source: sources.Source = field(repr=False)
    patient: str = ""

    @property
    def source_hash(self) -> str:
        """Keyed hash of the source's name."""
        return self.name.partition("/")[2]

    def target(self, ending: str = "png") -> str:
        """Temporary name of what is written of it."""
        return f"images/.tmp-{self.name.replace('/', '-')}.{ending}"


@dataclass(frozen=True, slots=True)
class Seen:
    """What the pixels tell.

    Args:
        field: Edges x0, y0, x1, y1 of the exposed field in the image that was written; None
            when all of it is exposed.
        cropped: Whether the image is the field alone.
        text_boxes: Text found in the pixels.
        blanked: Whether it was blanked.
        view: What `view.guess_view` says: FRONTAL, LATERAL, TURNED, INVERTED, UNKNOWN.
        view_confidence: Probability of that.
        signature: Of `lookalike`.
        pixel_sha256: Of the pixels that were written, with their shape.
    """

    field: tuple[int, int, int, int] | None
    cropped: bool
    text_boxes: int
    blanked: bool
    view: str
    view_confidence: float
    signature: bytes
    pixel_sha256: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """What reading one file gave.

    Args:
        sha256: Of the file; None when it could not be read.
        reason: Why it is refused; "" when it is not.
        detail: Numbers and names of syntaxes or errors only.
        radiograph: Without its pixels; None when refused.
        shape: (H, W) of the image that was written.
        source_shape: (H, W) of the image as it was, upright.
        place: Edges x0, y0, x1, y1 of what was written, in pixels of the image as it was.
        seen: What the pixels tell; None when refused.
        report: A structured report; its file gives no image.
        dicom: Whether a de-identified DICOM file was written.
        thumbnail: Whether a small picture of a refused image was written.
    """

    sha256: str | None
    reason: str = ""
    detail: str = ""
    radiograph: Radiograph | None = field(default=None, repr=False)
    shape: tuple[int, int] = (0, 0)
    source_shape: tuple[int, int] = (0, 0)
    place: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    seen: Seen | None = field(default=None, repr=False)
    report: SrReport | None = field(default=None, repr=False)
    dicom: bool = False
    thumbnail: bool = False


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
    except MemoryError:
        return Outcome(None, "out-of-memory")
    sha256 = hashlib.sha256(data).hexdigest()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # they quote the header
            outcome, files = _made_of(data, sha256, options, job.patient)
    except Refused as refused:
        return Outcome(sha256, refused.reason, refused.detail)
    except MemoryError:
        return Outcome(sha256, "out-of-memory")
    except Exception as error:
        return Outcome(sha256, "unexpected-error", type(error).__name__)
    for ending, content in files.items():
        storage.write(job.target(ending), content)
    return outcome


def _made_of(data: bytes, sha256: str, options: Options, patient: str) -> tuple[Outcome, dict[str, bytes]]:
    """The outcome, and what is to be written by ending.

    Raises:
        Refused: If the file gives no image.
    """
    if is_sr(data):
        from xraytk.data import sr  # slow to import

        return Outcome(sha256, "report", report=sr.read_sr(data)), {}
    radiograph = dicom.read_radiograph(data)
    if radiograph.intent == "PROCESSING" and options.for_processing == "reject":
        raise Refused("for-processing")
    shape = (radiograph.pixels.shape[0], radiograph.pixels.shape[1])
    small = dicom.resize_long_side(radiograph.pixels, options.max_px)
    glanced = glance(small)
    guess = view.guess_view(glanced)
    if guess.chest is False and options.not_chest == "reject":
        tiny = dicom.resize_long_side(burned.blank(small, burned.find_text(small)), THUMBNAIL_PX)
        return Outcome(sha256, "not-chest", "pixels", thumbnail=True), {"png": pictures.encode_png(tiny)}
    boxes = burned.find_text(small)
    share = sum((b.x1 - b.x0) * (b.y1 - b.y0) for b in boxes) / small.size
    if boxes and (options.burned_in == "reject" or (options.burned_in == "blank" and share > MOST_TEXT)):
        raise Refused("burned-in", f"{len(boxes)} boxes over {share:.0%} of the image")
    is_blanked = bool(boxes) and options.burned_in == "blank"
    files = {}
    if options.write_dicom and radiograph.syntax not in PICTURES:
        wrong = boxes if is_blanked else []
        patient = patient or patient_of(options.key, radiograph.identity)
        files["dcm"] = _clean(
            data,
            radiograph,
            wrong,
            small.shape,
            options.key,
            patient=patient,
            is_clean=len(wrong) == len(boxes),
        )
    image = burned.blank(small, boxes) if is_blanked else small
    found = collimation.find_field(glance(image) if is_blanked else glanced, image.shape)
    edges = (found.x0, found.y0, found.x1, found.y1) if found else None
    is_cropped = options.crop and edges is not None
    written = (0, 0, image.shape[1], image.shape[0])
    if is_cropped and edges is not None:
        written = edges
        image = np.ascontiguousarray(collimation.crop(image, found))
        edges = None
    files["png"] = pictures.encode_png(image)
    seen = Seen(
        field=edges,
        cropped=is_cropped,
        text_boxes=len(boxes),
        blanked=is_blanked,
        view=guess.view,
        view_confidence=guess.confidence,
        signature=lookalike.signature(glanced),
        pixel_sha256=hashlib.sha256(f"{image.shape} ".encode() + image.tobytes()).hexdigest(),
    )
    scale_x, scale_y = shape[1] / small.shape[1], shape[0] / small.shape[0]
    radiograph.pixels = np.empty((0, 0), np.uint16)
    outcome = Outcome(
        sha256,
        radiograph=radiograph,
        shape=(image.shape[0], image.shape[1]),
        source_shape=shape,
        place=(written[0] * scale_x, written[1] * scale_y, written[2] * scale_x, written[3] * scale_y),
        seen=seen,
        dicom="dcm" in files,
    )
    return outcome, files


def _clean(
    data: bytes,
    radiograph: Radiograph,
    boxes: list[burned.TextBox],
    shape: tuple[int, int],
    key: bytes,
    *,
    patient: str,
    is_clean: bool,
) -> bytes:
    """The file as de-identified DICOM, text blanked where it was found.

    Raises:
        Refused: If it cannot be cleaned.
    """
    height, width = radiograph.pixels.shape
    upright = [(b.x0, b.y0, b.x1, b.y1) for b in burned.scaled(boxes, shape, (height, width))]
    exact = (to_stored(box, radiograph.orientation, radiograph.aspect, (height, width)) for box in upright)
    stored = [(floor(x0), floor(y0), ceil(x1), ceil(y1)) for x0, y0, x1, y1 in exact]
    return clean_dicom(data, key=key, text_boxes=stored, patient=patient, looked_for_text=is_clean)
