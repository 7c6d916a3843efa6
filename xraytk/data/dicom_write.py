"""Writing radiographs as DICOM objects: DX (For Presentation) and CR, in many transfer syntaxes.

For phantoms and for wrapping public pictures. Nothing here is random: equal arguments give
equal bytes.
"""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import Any, BinaryIO, Literal

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from pydicom import dcmwrite
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence
from pydicom.uid import UID

from xraytk.files import atomic_write

SYNTAXES: dict[str, str] = {
    "explicit": "1.2.840.10008.1.2.1",
    "implicit": "1.2.840.10008.1.2",
    "big-endian": "1.2.840.10008.1.2.2",
    "deflated": "1.2.840.10008.1.2.1.99",
    "rle": "1.2.840.10008.1.2.5",
    "jpeg-lossless": "1.2.840.10008.1.2.4.70",
    "jpeg-ls": "1.2.840.10008.1.2.4.80",
    "jpeg2000": "1.2.840.10008.1.2.4.90",
    "htjpeg2000": "1.2.840.10008.1.2.4.201",
}
"""Name to transfer syntax UID; all lossless."""

_SOP_CLASS = {"DX": "1.2.840.10008.5.1.4.1.1.1.1", "CR": "1.2.840.10008.5.1.4.1.1.1"}
_IMPLEMENTATION = "2.25.204514263480273651803714659170862113"
_VIEW_CODES = {
    "PA": ("272479007", "postero-anterior"),
    "AP": ("399348003", "antero-posterior"),
    "LATERAL": ("399067008", "lateral"),
}


def uid_from(*parts: object) -> str:
    """Make a UID out of texts: the same parts give the same UID.

    Names of files that are not UTF-8 (Python keeps their bytes as surrogates) count too.

    Source:
        DICOM PS3.5 B.2 (UUID derived UID): "2.25." and a 128-bit number.
    """
    digest = hashlib.sha256("\0".join(str(p) for p in parts).encode("utf-8", "surrogateescape")).digest()
    return f"2.25.{int.from_bytes(digest[:16], 'big')}"


def write_dx(
    target: Path | BinaryIO,
    pixels: NDArray[np.uint16],
    *,
    bits_stored: int = 12,
    photometric: Literal["MONOCHROME1", "MONOCHROME2"] = "MONOCHROME2",
    syntax: str = "explicit",
    window: tuple[float, float] | None = None,
    modality: Literal["DX", "CR"] = "DX",
    view: str = "",
    spacing_mm: tuple[float, float] | None = None,
    patient_id: str = "",
    patient_name: str = "",
    birth_date: str = "",
    sex: str = "",
    age_years: float | None = None,
    study_uid: str = "",
    series_uid: str = "",
    sop_uid: str = "",
    accession: str = "",
    study_date: str = "",
    institution: str = "",
    manufacturer: str = "xraytk",
    body_part: str = "CHEST",
) -> None:
    """Write one radiograph.

    Args:
        target: A path (written atomically) or a binary stream.
        pixels: (H, W) stored values, 0 to 2**bits_stored - 1; written as they are. With
            MONOCHROME1 the lowest value is the brightest.
        bits_stored: 8 to 16; 8 bits are stored in one byte, more in two.
        photometric: Sense of the grey scale.
        syntax: A key of `SYNTAXES`.
        window: (center, width) of a LINEAR VOI window, in stored values.
        modality: DX (For Presentation) or CR.
        view: "PA", "AP", "LATERAL" or "" when unknown.
        spacing_mm: (row, column) spacing at the detector.
        patient_id: Patient ID.
        patient_name: DICOM person name, "Family^Given"; Chinese as "Wang^Wei=王^伟".
        birth_date: YYYYMMDD.
        sex: "M", "F", "O" or "".
        age_years: Age in years.
        study_uid: Made from accession and patient when empty.
        series_uid: Made from the study when empty.
        sop_uid: Made from the series and the pixels when empty.
        accession: Accession number.
        study_date: YYYYMMDD.
        institution: Institution name.
        manufacturer: Manufacturer of the device.
        body_part: Body Part Examined.

    Raises:
        ValueError: If the pixels, the bits or the names are not of the kinds above.

    Source:
        DICOM PS3.3 A.26 (DX), A.2 (CR), C.8.11 (DX modules); PS3.5 8.2 and A.4.
    """
    pixels = _checked(pixels, bits_stored, syntax, modality, photometric)
    study_uid = study_uid or uid_from("study", patient_id, accession, study_date)
    series_uid = series_uid or uid_from("series", study_uid)
    ds = Dataset()
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.SOPClassUID = _SOP_CLASS[modality]
    ds.SOPInstanceUID = sop_uid or uid_from("sop", series_uid, hashlib.sha256(pixels.tobytes()).hexdigest())
    ds.StudyInstanceUID, ds.SeriesInstanceUID = study_uid, series_uid
    ds.PatientID, ds.PatientName = patient_id, patient_name
    ds.PatientBirthDate, ds.PatientSex = birth_date, sex
    if age_years is not None:
        ds.PatientAge = f"{int(age_years):03d}Y"
    ds.StudyDate = ds.SeriesDate = ds.ContentDate = ds.AcquisitionDate = study_date
    ds.StudyTime = ds.ContentTime = "120000"
    ds.AccessionNumber, ds.InstitutionName = accession, institution
    ds.StudyID, ds.ReferringPhysicianName = accession[-8:], ""
    ds.Manufacturer, ds.Modality, ds.BodyPartExamined = manufacturer, modality, body_part
    ds.SeriesNumber, ds.InstanceNumber = 1, 1
    _describe_view(ds, modality, view)
    _describe_pixels(ds, pixels, bits_stored, photometric, window, spacing_mm, modality)
    _write(target, ds, pixels, syntax, bits_stored)


def _checked(
    pixels: NDArray[np.uint16], bits_stored: int, syntax: str, modality: str, photometric: str
) -> NDArray[Any]:
    if syntax not in SYNTAXES:
        raise ValueError(f"syntax is one of {', '.join(SYNTAXES)}, found {syntax!r}")
    if modality not in _SOP_CLASS or photometric not in ("MONOCHROME1", "MONOCHROME2"):
        raise ValueError(f"cannot write modality {modality!r} with {photometric!r}")
    if not 8 <= bits_stored <= 16:
        raise ValueError(f"bits_stored is 8 to 16, found {bits_stored}")
    if pixels.ndim != 2 or pixels.size == 0 or max(pixels.shape) > 65535 or pixels.dtype.kind != "u":
        raise ValueError(f"pixels are (H, W) unsigned, found {pixels.shape} {pixels.dtype}")
    if int(pixels.max()) >= 1 << bits_stored:
        raise ValueError(f"pixels go to {pixels.max()}, which {bits_stored} bits do not hold")
    return np.ascontiguousarray(pixels, np.uint8 if bits_stored == 8 else np.uint16)


def _describe_view(ds: Dataset, modality: str, view: str) -> None:
    ds.ViewPosition = {"LATERAL": "LL"}.get(view, view)
    ds.PatientOrientation = ["A", "F"] if view == "LATERAL" else ["L", "F"]
    if modality != "DX":
        return
    ds.ImageLaterality = "U"
    ds.AnatomicRegionSequence = Sequence([_code("51185008", "Chest")])
    ds.ViewCodeSequence = Sequence([_code(*_VIEW_CODES[view])] if view in _VIEW_CODES else [])
    for item in ds.ViewCodeSequence:
        item.ViewModifierCodeSequence = Sequence([])
    ds.AcquisitionContextSequence = Sequence([])


def _code(value: str, meaning: str) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, "SCT", meaning
    return item


def _describe_pixels(
    ds: Dataset,
    pixels: NDArray[Any],
    bits_stored: int,
    photometric: str,
    window: tuple[float, float] | None,
    spacing_mm: tuple[float, float] | None,
    modality: str,
) -> None:
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, photometric
    ds.Rows, ds.Columns = pixels.shape
    ds.BitsAllocated, ds.BitsStored = pixels.itemsize * 8, bits_stored
    ds.HighBit, ds.PixelRepresentation = bits_stored - 1, 0
    if window is not None:
        ds.WindowCenter, ds.WindowWidth = (f"{v:.12g}" for v in window)
    if spacing_mm is not None:
        ds.ImagerPixelSpacing = [f"{v:.6g}" for v in spacing_mm]
    ds.ImageType = ["DERIVED", "PRIMARY"]
    ds.BurnedInAnnotation, ds.LossyImageCompression = "NO", "00"
    if modality == "DX":
        ds.PresentationIntentType = "FOR PRESENTATION"
        ds.PixelIntensityRelationship = "LOG"
        ds.PixelIntensityRelationshipSign = 1 if photometric == "MONOCHROME1" else -1
        ds.RescaleIntercept, ds.RescaleSlope, ds.RescaleType = "0", "1", "US"
        ds.PresentationLUTShape = "INVERSE" if photometric == "MONOCHROME1" else "IDENTITY"
        ds.DetectorType = ""


def _write(target: Path | BinaryIO, ds: Dataset, pixels: NDArray[Any], syntax: str, bits_stored: int) -> None:
    little = syntax != "big-endian"
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = ds.SOPClassUID, ds.SOPInstanceUID
    meta.TransferSyntaxUID = UID(SYNTAXES[syntax])
    meta.ImplementationClassUID, meta.ImplementationVersionName = UID(_IMPLEMENTATION), "XRAYTK"
    if syntax in ("explicit", "implicit", "big-endian", "deflated"):
        data = pixels.astype(pixels.dtype.newbyteorder("<" if little else ">"), copy=False).tobytes()
        ds.PixelData = data + b"\0" * (len(data) % 2)
        ds["PixelData"].VR = "OB" if pixels.itemsize == 1 and syntax != "implicit" else "OW"
    else:
        ds.PixelData = encapsulate([_encode(pixels, syntax, bits_stored)])
        ds["PixelData"].VR = "OB"
        ds["PixelData"].is_undefined_length = True
    ds.file_meta = meta
    buffer = io.BytesIO()
    dcmwrite(buffer, ds, implicit_vr=syntax == "implicit", little_endian=little, enforce_file_format=True)
    if isinstance(target, Path):
        with atomic_write(target) as stream:
            stream.write(buffer.getvalue())
    else:
        target.write(buffer.getvalue())


def _encode(pixels: NDArray[Any], syntax: str, bits_stored: int) -> bytes:
    """Compress one frame without loss.

    Source:
        PS3.5 A.4.2 (lossless JPEG, selection value 1 for .70), A.4.3, A.4.4, G (RLE).
    """
    if syntax == "rle":
        return encode_rle(pixels)
    if syntax == "jpeg-lossless":
        coded = imagecodecs.jpeg8_encode(pixels, lossless=True, predictor=1, bitspersample=bits_stored)
    elif syntax == "jpeg-ls":
        coded = imagecodecs.jpegls_encode(pixels, level=0)
    elif syntax == "jpeg2000":
        coded = imagecodecs.jpeg2k_encode(
            pixels, level=0, codecformat="j2k", reversible=True, bitspersample=bits_stored
        )
    else:
        coded = imagecodecs.htj2k_encode(pixels, reversible=True)
    return bytes(coded)


def encode_rle(pixels: NDArray[Any]) -> bytes:
    """Encode (H, W) or (H, W, samples) as byte planes, most significant first, each row by itself.

    Source:
        PS3.5 G.3 to G.5.
    """
    planes = pixels.astype(pixels.dtype.newbyteorder(">")).view(np.uint8)
    planes = planes.reshape(*pixels.shape[:2], -1)
    segments = []
    for plane in np.moveaxis(planes, -1, 0):
        packed = b"".join(imagecodecs.packbits_encode(row.tobytes()) for row in plane)
        segments.append(packed + b"\0" * (len(packed) % 2))
    offsets = 64 + np.cumsum([0, *(len(s) for s in segments[:-1])])
    header = np.zeros(16, "<u4")
    header[0], header[1 : 1 + len(segments)] = len(segments), offsets
    return header.tobytes() + b"".join(segments)
