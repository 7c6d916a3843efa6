"""What a header says beside the pixels: identity, view, age, spacing, body part.

Headers are written by people and by machines in a hurry: every reader here gives its neutral
answer when an element is missing or broken.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from pydicom import Dataset
from pydicom.multival import MultiValue

from xraytk.data.grey import number
from xraytk.data.refused import Refused
from xraytk.records import Identity

MODALITIES = frozenset({"CR", "DX", "RG"})
"""What is read. RG is the conventional film, digitised: where an archive uses it for chests, they
are radiographs like others; other parts of the body are told by the header as with CR."""
KNOWN_MODALITIES = frozenset(
    {
        *(
            "AR",
            "AU",
            "BI",
            "BMD",
            "CR",
            "CT",
            "DG",
            "DOC",
            "DX",
            "ECG",
            "EPS",
            "ES",
            "FID",
            "GM",
            "HC",
            "HD",
        ),
        *(
            "IO",
            "IVOCT",
            "IVUS",
            "KER",
            "KO",
            "LEN",
            "LS",
            "MG",
            "MR",
            "NM",
            "OAM",
            "OCT",
            "OP",
            "OPM",
            "OPT",
        ),
        *("OPV", "OT", "PLAN", "PR", "PT", "PX", "REG", "RESP", "RF", "RG", "RTDOSE", "RTIMAGE", "RTPLAN"),
        *("RTRECORD", "RTSTRUCT", "RWV", "SC", "SEG", "SM", "SMR", "SR", "SRF", "TG", "US", "VA", "XA", "XC"),
    }
)
"""Codes that may be repeated in a refusal; anything else could be a text."""

PHOTOMETRICS = frozenset(
    {
        *("MONOCHROME1", "MONOCHROME2", "PALETTE COLOR", "RGB", "YBR_FULL", "YBR_FULL_422"),
        *("YBR_PARTIAL_422", "YBR_PARTIAL_420", "YBR_ICT", "YBR_RCT"),
    }
)
"""Photometric interpretations that are read (DICOM PS3.3 C.7.6.3.1.2)."""

_MAKERS = (
    ("AGFA", r"AGFA|爱克发"), ("Angell", r"ANGELL|安健"), ("Canon", r"CANON|佳能"),
    ("Carestream", r"CARESTREAM|锐珂"), ("Del Medical", r"DEL MEDICAL"), ("DRGEM", r"DRGEM"),
    ("DRTECH", r"DRTECH"), ("FUJIFILM", r"FUJI|富士"), ("GE", r"\bGE\b|\bGEMS\b|GENERAL ELECTRIC|通用电气"),
    ("Hologic", r"HOLOGIC|LORAD"), ("iRay", r"\bIRAY\b|奕瑞"), ("Kodak", r"KODAK|柯达"),
    ("Konica Minolta", r"KONICA|MINOLTA|柯尼卡"), ("Mindray", r"MINDRAY|迈瑞"),
    ("Neusoft", r"NEUSOFT|东软"), ("Philips", r"PHILIPS|飞利浦"), ("Rayence", r"RAYENCE"),
    ("Samsung", r"SAMSUNG|三星"), ("Shimadzu", r"SHIMADZU|岛津"), ("Siemens", r"SIEMENS|西门子"),
    ("Swissray", r"SWISSRAY"), ("Toshiba", r"TOSHIBA|东芝"),
    ("United Imaging", r"UNITED IMAGING|\bUIH\b|联影"),
    ("Varex", r"VAREX"), ("Varian", r"VARIAN"), ("Vieworks", r"VIEWORKS"), ("Wandong", r"WANDONG|万东"),
    ("xraytk", r"XRAYTK"), ("Radion AG", r"RADION AG"), ("Lumira Medical", r"LUMIRA MEDICAL"),
    ("Helios Imaging", r"HELIOS IMAGING"),
)  # fmt: skip
_MAKER_PATTERNS = tuple((name, re.compile(pattern)) for name, pattern in _MAKERS)
_DX = "1.2.840.10008.5.1.4.1.1.1.1"
_SOP_MODALITY = {"1.2.840.10008.5.1.4.1.1.1": "CR", _DX: "DX", f"{_DX}.1": "DX"}
_CHEST = re.compile(r"CHEST|THORA|TORAX|LUNG|PULMO|RIB|HEART|STERN|CXR|胸|肺|肋")
_ELSEWHERE = re.compile(
    r"(?<![A-Z])[LR]?(?:ABDOM|ANKLE|KNEE|HIP|PELVI|HAND|WRIST|FINGER|THUMB|FOOT|FEET|TOE|HEEL|CALCAN|ELBOW|"
    r"FOREARM|HUMER|SHOULDER|CLAVIC|SCAPUL|FEMUR|TIBIA|FIBUL|LEG|ARM\b|SKULL|HEAD|NECK|SINUS|JAW|MANDIB|TEETH|"
    r"TOOTH|DENTAL|SACR|COCCYX|BREAST|KUB\b|BLADDER|KIDNEY|PATELLA|NASAL|ORBIT|PHANTOM)|"
    r"SPINE|EXTREMITY|腹|膝|髋|骨盆|手|腕|足|踝|肘|肩|颈|腰|头|脊"
)
_VIEW_CODES = {
    "272479007": "PA", "R-10214": "PA",
    "399348003": "AP", "R-10206": "AP",
    "399067008": "LATERAL", "R-10228": "LATERAL", "399173006": "LATERAL", "R-10236": "LATERAL",
    "399198007": "LATERAL", "R-10232": "LATERAL", "260421001": "LATERAL", "399352003": "LATERAL",
    "399260004": "LATERAL", "399099002": "OTHER",
}  # fmt: skip
_POSITIONS = {
    "PA": "PA", "AP": "AP", "LL": "LATERAL", "RL": "LATERAL", "LAT": "LATERAL", "LATERAL": "LATERAL",
    "LLAT": "LATERAL", "RLAT": "LATERAL", "LLO": "OTHER", "RLO": "OTHER", "LLD": "OTHER", "RLD": "OTHER",
    "LAO": "OTHER", "RAO": "OTHER", "LPO": "OTHER", "RPO": "OTHER", "OBL": "OTHER",
}  # fmt: skip
_WORDS = (
    (re.compile(r"LATERAL|\bLAT\b|\bLL\b|\bRL\b|侧位"), "LATERAL"),
    (re.compile(r"\bPA\b|\bP-A\b|POSTERO.?ANTERIOR|后前位"), "PA"),
    (re.compile(r"\bAP\b|\bA-P\b|ANTERO.?POSTERIOR|前后位"), "AP"),
    (re.compile(r"OBLI|LORDOTIC|DECUB|斜位"), "OTHER"),
)
_SECRET = (
    "StudyDate", "SeriesDate", "AcquisitionDate", "ContentDate",
    "PatientID", "OtherPatientIDs", "IssuerOfPatientID", "PatientBirthDate", "PatientBirthTime",
    "AccessionNumber", "InstitutionName", "InstitutionAddress", "InstitutionalDepartmentName",
    "PatientAddress", "PatientTelephoneNumbers", "ReferringPhysicianAddress",
    "ReferringPhysicianTelephoneNumbers", "CountryOfResidence", "RegionOfResidence", "MilitaryRank",
    "BranchOfService", "MedicalRecordLocator", "AdmissionID", "CurrentPatientLocation", "StationName",
    "DeviceSerialNumber", "StudyID", "RequestedProcedureID", "FillerOrderNumberImagingServiceRequest",
    "PlacerOrderNumberImagingServiceRequest", "ResponsibleOrganization",
)  # fmt: skip

_TEXTS = frozenset({"AE", "CS", "LO", "SH", "ST", "UC", "UI", "UN"})
_ID_ENDINGS = ("ID", "IDs", "UID", "Number", "Identifier", "NumberProcedure")
_ID = re.compile(r"\d.*\d.*\d.*\d|\^")
_LONGEST_ID = 80


def text(ds: Dataset, keyword: str) -> str:
    """An element as text, all its values joined; "" when missing or broken."""
    try:
        value = ds.get(keyword)
        if value is None:
            return ""
        values = value if isinstance(value, MultiValue | list | tuple) else [value]
        return "\\".join(str(v).strip().strip("\0") for v in values)
    except Exception:
        return ""


def modality(ds: Dataset) -> str:
    """Modality, else what the SOP class says."""
    return text(ds, "Modality").upper() or _SOP_MODALITY.get(text(ds, "SOPClassUID"), "")


def photometric(ds: Dataset) -> str:
    """Photometric interpretation, one of `PHOTOMETRICS`.

    Raises:
        Refused: If it is another, whose text is not repeated.
    """
    found = text(ds, "PhotometricInterpretation").upper()
    if found not in PHOTOMETRICS:
        raise Refused("implausible-header", "photometric")
    return found


def maker(ds: Dataset) -> str:
    """Manufacturer by its usual name; "OTHER" when it is not a known one, "" when there is none.

    The element is free text, in which anything may stand; only known names are handed on.

    Source:
        Ours.
    """
    said = text(ds, "Manufacturer").upper()
    if not said:
        return ""
    return next((name for name, pattern in _MAKER_PATTERNS if pattern.search(said)), "OTHER")


def is_elsewhere(ds: Dataset) -> bool:
    """Whether the header clearly names another part of the body than the chest.

    The body part is asked first, then the coded region, then the descriptions.
    """
    regions = " ".join(text(item, "CodeMeaning") for item in items_of(ds, "AnatomicRegionSequence"))
    words = f"{text(ds, 'SeriesDescription')} {text(ds, 'ProtocolName')}"
    said = (text(ds, "BodyPartExamined") or regions or words).upper().replace("_", " ")
    return bool(_ELSEWHERE.search(said)) and not _CHEST.search(said)


def view(ds: Dataset) -> str:
    """View position: one of `records.VIEWS`.

    The position is asked first, then the view code, then descriptions, then the orientation,
    which tells a lateral from a frontal view but not PA from AP.

    Source:
        DICOM PS3.3 C.8.11.5 and CID 4010 (codes); the order is ours.
    """
    position = text(ds, "ViewPosition")
    if found := view_of(position):
        return found
    for item in items_of(ds, "ViewCodeSequence"):
        found = _VIEW_CODES.get(text(item, "CodeValue")) or view_of(text(item, "CodeMeaning"))
        if found:
            return found
    for words in (text(ds, "SeriesDescription"), text(ds, "ProtocolName")):
        if found := view_of(words):
            return found
    ways = text(ds, "PatientOrientation").upper().split("\\")
    return "LATERAL" if any(way[:1] in ("A", "P") for way in ways) else "UNKNOWN"


def view_of(words: str) -> str:
    """The only view that a text names: "PA", "chest ap", "侧位"; "" when none or several."""
    words = words.strip().upper().replace("_", " ")
    if words in _POSITIONS:
        return _POSITIONS[words]
    found = {name for pattern, name in _WORDS if pattern.search(words)}
    return found.pop() if len(found) == 1 else ""


def age_years(ds: Dataset) -> float | None:
    """Age at the study, from Patient's Age or the dates."""
    stated = years_of(text(ds, "PatientAge"))
    if stated is not None:
        return stated
    born, made = (text(ds, k) for k in ("PatientBirthDate", "StudyDate"))
    if not (re.fullmatch(r"\d{8}", born) and re.fullmatch(r"\d{8}", made)):
        return None
    age = (int(made[:4]) - int(born[:4])) - (made[4:] < born[4:])
    return float(age) if 0 <= age <= 130 else None


def years_of(words: str) -> float | None:
    """Years out of "61", "61.5" or a DICOM age string such as "018M".

    Source:
        DICOM PS3.5 6.2 (AS).
    """
    found = re.fullmatch(r"(\d{1,3}(?:\.\d+)?)([DWMY]?)", words.strip().upper())
    if not found:
        return None
    age = float(found[1]) / {"D": 365.25, "W": 52.18, "M": 12.0}.get(found[2], 1.0)
    return age if age <= 130 else None


def sex(ds: Dataset) -> str:
    """One of "M", "F", "O"; "" when unknown."""
    first = text(ds, "PatientSex").upper()[:1]
    return first if first in ("M", "F", "O") else ""


def spacing_mm(ds: Dataset) -> tuple[float, float] | None:
    """(row, column) spacing in the patient if calibrated, else at the detector; see `spacing`."""
    found = spacing(ds)
    return found[0] if found else None


def spacing(ds: Dataset) -> tuple[tuple[float, float], str] | None:
    """(row, column) spacing in mm and where it holds; None when unknown.

    Pixel Spacing is the spacing in the patient, unless it only repeats Imager Pixel Spacing,
    which many devices write: then it is that of the detector. That one is divided by the
    estimated magnification when this is given; magnification is not computed from distances,
    because the table is not the patient.

    Returns:
        The spacing, and "patient" (calibrated or corrected for magnification), "detector",
        or "nominal" (as scanned from film or a screen).

    Source:
        DICOM PS3.3 10.7.1.1 and 10.7.1.3.
    """
    found = {k: _pair(ds, k) for k in ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing")}
    pixel, imager, nominal = found.values()
    if pixel and pixel != imager:
        return pixel, "patient"
    if imager:
        magnified = number(ds, "EstimatedRadiographicMagnificationFactor") or 1.0
        if 1 < magnified < 3:
            return (imager[0] / magnified, imager[1] / magnified), "patient"
        return imager, "detector"
    return (nominal, "nominal") if nominal else None


def _pair(ds: Dataset, keyword: str) -> tuple[float, float] | None:
    try:
        row, column = (float(v) for v in ds.get(keyword))
    except Exception:
        return None
    return (row, column) if 0.01 < row < 10 and 0.01 < column < 10 else None


def intent(ds: Dataset) -> str:
    """What it is made for: "PRESENTATION", "PROCESSING" (raw detector data) or "" when not said.

    Source:
        DICOM PS3.3 C.8.11.1 (Presentation Intent Type), PS3.6 (SOP class).
    """
    said = text(ds, "PresentationIntentType").upper().removeprefix("FOR ")
    if said in ("PRESENTATION", "PROCESSING"):
        return said
    return {_DX: "PRESENTATION", f"{_DX}.1": "PROCESSING"}.get(text(ds, "SOPClassUID"), "")


def overlays(ds: Dataset) -> int:
    """How many overlay planes lie beside the pixels or in their unused bits.

    Source:
        DICOM PS3.3 C.9.2.
    """
    groups = {
        tag.group
        for tag in list(ds.keys())
        if 0x6000 <= tag.group <= 0x60FE and tag.element in (0x10, 0x3000)
    }
    return sum(1 for group in groups if not group % 2)


def identity(ds: Dataset) -> Identity:
    """Who it is of. Without a Patient ID, name and birth date stand for the patient.

    The issuer of the id is left out on purpose: it is often missing in part of an archive,
    and one patient under two hashes could fall into two splits.
    """
    patient = text(ds, "PatientID")
    if not patient and text(ds, "PatientName"):
        patient = f"{text(ds, 'PatientName')}|{text(ds, 'PatientBirthDate')}"
    return Identity(
        patient_id=patient,
        study_uid=text(ds, "StudyInstanceUID"),
        sop_uid=text(ds, "SOPInstanceUID"),
        accession=text(ds, "AccessionNumber"),
        secrets=tuple(sorted(set(_secrets(ds)), key=lambda s: (-len(s), s))),
    )


def _secrets(ds: Dataset, depth: int = 0) -> Iterator[str]:
    """All texts that name the patient or people around, longest forms and single parts."""
    for tag in list(ds.keys()):
        if tag.group >= 0x6000:
            continue
        try:
            element = ds[tag]
            if element.VR == "SQ" and depth < 4:
                for item in element.value:
                    yield from _secrets(item, depth + 1)
            elif element.VR == "PN":
                values = element.value if element.VM > 1 else [element.value]
                for value in values:
                    yield from name_parts(str(value))
            elif element.keyword in _SECRET:
                values = text(ds, element.keyword).split("\\")
                yield from (v for v in values if len(v) > 1)
                yield from _date_forms(values[0])
            elif element.VR in _TEXTS and (tag.is_private or element.keyword.endswith(_ID_ENDINGS)):
                values = element.value if element.VM > 1 else [element.value]
                yield from (v for v in map(str, values) if _ID.search(v) and len(v) < _LONGEST_ID)
        except Exception:  # noqa: S112, a broken element names nobody
            continue


def name_parts(name: str) -> Iterator[str]:
    """A person name's parts and its spellings, of two letters or more."""
    for group in name.split("="):
        parts = [p.strip() for p in re.split(r"[\^ ]", group) if p.strip()]
        forms = {*parts, " ".join(parts), "".join(parts), " ".join(reversed(parts))}
        yield from (f for f in forms if len(f) > 1)


def _date_forms(value: str) -> Iterator[str]:
    if re.fullmatch(r"(19|20)\d{6}", value):
        yield f"{value[:4]}-{value[4:6]}-{value[6:]}"


def items_of(ds: Dataset, keyword: str) -> list[Any]:
    """Items of a sequence; [] when missing or broken."""
    try:
        return list(ds.get(keyword) or [])
    except Exception:
        return []
