"""A radiograph's DICOM file to a de-identified one.

The Basic Application Level Confidentiality Profile of DICOM PS3.15 Annex E, done from the safe
side: a new object is made, and only what `profile_table` names is put into it, cleaned. With it go
the options Clean Pixel Data, Retain Longitudinal Temporal Information with Modified Dates, and
Retain Patient Characteristics (sex, age up to 90, height, weight; not the ethnic group, which is
free text). Overlays, curves, icons, descriptions and references to other objects are removed.
"""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Sequence

from pydicom import Dataset, dcmwrite
from pydicom.dataset import FileMetaDataset
from pydicom.sequence import Sequence as Items
from pydicom.uid import UID

from xraytk import __version__
from xraytk.data import dicom, header, profile_table
from xraytk.data.profile_header import clean_header, coded
from xraytk.data.profile_pixels import Box, CleanPixels, clean_pixels
from xraytk.data.refused import Refused

IMPLEMENTATION_UID = "2.25.204514263480273651803714659170862113"


def clean_dicom(
    data: bytes,
    *,
    key: bytes,
    text_boxes: Sequence[Box] = (),
    patient: str = "",
    looked_for_text: bool = False,
) -> bytes:
    """De-identify a radiograph.

    Args:
        data: The whole file.
        key: Of the pseudonyms, from `deid.load_key`. With the same key the same UID, id or
            patient becomes the same replacement in every file, and nobody without it can test a guess.
        text_boxes: (left, top, right, bottom) in pixels of the stored image; they are blanked.
        patient: Pseudonym of the patient, up to 64 hexadecimal digits (``patient_hash`` of the
            manifest), where the caller knows better than the header. It is written as it is.
        looked_for_text: Whether burned-in text was looked for, and none but ``text_boxes`` found;
            only then, or with boxes, the result claims Clean Pixel Data and no burned-in text.

    Returns:
        A DICOM file, the same for the same arguments. Its transfer syntax and its pixel values are
        those of ``data`` where nothing in them had to be removed; see `profile_pixels`.

    Raises:
        Refused: With a reason of `refused.REASONS`; it never carries a text of the header.

    Source:
        DICOM PS3.15 E.1 to E.3 and Table E.1-1, PS3.10 7.1; the allow-list is ours.
    """
    if not re.fullmatch("[0-9a-f]{0,64}", patient):
        raise ValueError("the pseudonym of the patient is not hexadecimal")
    with dicom.silence():
        try:
            ds = dicom.parse(data)
            syntax = dicom.syntax_of(ds)
            if not ds.get("PixelData"):
                raise Refused("no-pixels")
            made = clean_header(ds, key, patient, hashlib.sha256(data).hexdigest())
            pixels = clean_pixels(ds, syntax, text_boxes)
            _describe_pixels(made, ds, pixels)
            _describe_method(made, header.text(ds, "BurnedInAnnotation"), text_boxes, looked_for_text)
            return _written(made, pixels)
        except (Refused, MemoryError):
            raise
        except Exception as error:  # pydicom converts values late: any access may meet a broken one
            raise Refused("broken-header", type(error).__name__) from None


def _describe_pixels(made: Dataset, ds: Dataset, pixels: CleanPixels) -> None:
    for keyword, number in pixels.numbers.items():
        setattr(made, keyword, number)
    made.PhotometricInterpretation = pixels.photometric
    if pixels.photometric.startswith("MONO") and header.photometric(ds) != pixels.photometric:
        for keyword in ("PixelPaddingValue", "PixelPaddingRangeLimit", "PlanarConfiguration"):
            if keyword in made:
                del made[keyword]
    made.PixelData = pixels.data
    wide = pixels.numbers["BitsAllocated"] > 8 or pixels.syntax == "1.2.840.10008.1.2"
    made["PixelData"].VR = "OW" if wide and not pixels.coded else "OB"
    made["PixelData"].is_undefined_length = pixels.coded


def _describe_method(made: Dataset, burned_in: str, boxes: Sequence[Box], looked_for_text: bool) -> None:
    """Say what was done."""
    cleaned = bool(boxes) or looked_for_text
    if boxes:
        made.ImageType = ["DERIVED", *made.ImageType[1:]]
    if cleaned:
        made.BurnedInAnnotation = "NO"
    elif burned_in.upper() in ("YES", "NO"):
        made.BurnedInAnnotation = burned_in.upper()
    made.PatientIdentityRemoved = "YES"
    made.DeidentificationMethod = [f"xraytk {__version__}", "DICOM PS3.15 Annex E, allow-list"]
    codes = [code for code in profile_table.METHODS if cleaned or code != "113101"]
    made.DeidentificationMethodCodeSequence = Items(
        [coded(code, "DCM", profile_table.METHODS[code]) for code in codes]
    )
    made.LongitudinalTemporalInformationModified = "MODIFIED"


def _written(made: Dataset, pixels: CleanPixels) -> bytes:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = made.SOPClassUID, made.SOPInstanceUID
    meta.TransferSyntaxUID = UID(pixels.syntax)
    meta.ImplementationClassUID, meta.ImplementationVersionName = UID(IMPLEMENTATION_UID), "XRAYTK"
    made.file_meta = meta
    made.preamble = b"\0" * 128
    stream = io.BytesIO()
    implicit = pixels.syntax == "1.2.840.10008.1.2"
    dcmwrite(stream, made, implicit_vr=implicit, little_endian=True, enforce_file_format=True)
    return stream.getvalue()
