"""Header of a de-identified object: what `profile_table` names, cleaned; nothing else."""

from __future__ import annotations

import hashlib
import hmac
import math
import re

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.sequence import Sequence as Items

from xraytk.data import header, profile_table
from xraytk.data.dates import hour_of, shift_date, shift_datetime, shift_days
from xraytk.data.deid import hashed
from xraytk.data.refused import Refused

_DX = ("1.2.840.10008.5.1.4.1.1.1.1", "1.2.840.10008.5.1.4.1.1.1.1.1")
_CR = "1.2.840.10008.5.1.4.1.1.1"
_SC = "1.2.840.10008.5.1.4.1.1.7"
_AGE = re.compile(r"\d{3}[DWMY]")
_ORIENTATION = re.compile(r"[ALRPHF]{1,3}")
_MAX_AGE = 90
_MAX_LUT = 65536


def clean_header(ds: Dataset, key: bytes, patient: str, sha256: str) -> Dataset:
    """Make the header of a de-identified object, all but what describes its pixels.

    Args:
        ds: The object.
        key: Of the pseudonyms.
        patient: Pseudonym of the patient; "" takes `pseudonym_of_patient`.
        sha256: Of the file, which names an object without a UID.

    Raises:
        Refused: If it is no radiograph.
    """
    return _Cleaner(ds, key, patient, sha256).object()


def keyed_uid(key: bytes, uid: str) -> str:
    """Replace a UID: the same one becomes the same under one key.

    Args:
        key: From `deid.load_key`.
        uid: Any text.

    Source:
        DICOM PS3.5 B.2 ("2.25." and 128 bits); the bits are an HMAC-SHA256: ours.
    """
    digest = hmac.new(key, b"uid:" + uid.encode("utf-8", "surrogatepass"), hashlib.sha256).digest()
    return f"2.25.{int.from_bytes(digest[:16], 'big')}"


def pseudonym_of_patient(ds: Dataset, key: bytes, sha256: str) -> str:
    """The manifest's ``patient_hash`` of an object: of the patient, else the study, else the image."""
    patient, study, sop = (
        header.text(ds, keyword).strip(" \0")
        for keyword in ("PatientID", "StudyInstanceUID", "SOPInstanceUID")
    )
    if not patient and (name := header.text(ds, "PatientName")):
        patient = f"{name}|{header.text(ds, 'PatientBirthDate')}"
    return hashed(key, "patient", patient or (f"study:{study}" if study else f"image:{sop or sha256}"))


class _Cleaner:
    """Makes the new object out of an old one; holds both, so it never prints itself."""

    def __init__(self, ds: Dataset, key: bytes, patient: str, sha256: str) -> None:
        self._ds, self._key, self._sha256 = ds, key, sha256
        self._patient = patient or pseudonym_of_patient(ds, key, sha256)
        self._days = shift_days(key, self._patient)
        self._made = Dataset()

    def object(self) -> Dataset:
        made = self._made
        made.SpecificCharacterSet = "ISO_IR 192"
        self._name_class()
        for keyword in profile_table.UIDS:
            self._put_uid(keyword)
        self._put_pseudonyms()
        for keywords, change in (
            (profile_table.DATES, lambda v: shift_date(v, self._days)),
            (profile_table.DATETIMES, lambda v: shift_datetime(v, self._days)),
            (profile_table.TIMES, hour_of),
        ):
            for keyword in keywords:
                if value := change(header.text(self._ds, keyword)):
                    setattr(made, keyword, value)
        for keyword, allowed in profile_table.WORDS.items():
            self._put_words(keyword, allowed)
        for keyword, (low, high, most) in profile_table.NUMBERS.items():
            self._put_numbers(keyword, low, high, most)
        self._put_sequences()
        self._put_others()
        more = {_CR: profile_table.EMPTY_IN_CR, **dict.fromkeys(_DX, profile_table.EMPTY_IN_DX)}
        for keyword in (*profile_table.EMPTY, *more.get(made.SOPClassUID, ())):
            if keyword not in made:
                setattr(made, keyword, None)
        self._agree()
        return made

    def _agree(self) -> None:
        """Add and remove what follows from other attributes, so that the object stays a whole one."""
        made = self._made
        if (
            made.SOPClassUID not in _DX
            and made.get("BodyPartExamined") != "CHEST"
            and "Laterality" not in made
        ):
            made.Laterality = None
        if made.SOPClassUID.startswith(_SC) and "ConversionType" not in made:
            made.ConversionType = "WSD"
        rescale = ("RescaleIntercept", "RescaleSlope", "RescaleType")
        if "ModalityLUTSequence" in made:
            for keyword in rescale:
                made.pop(keyword, None)
        elif any(keyword in made for keyword in rescale[:2]):
            for keyword, usual in zip(rescale, ("0", "1", "US"), strict=True):
                if keyword not in made:
                    setattr(made, keyword, usual)

    def _name_class(self) -> None:
        said, kind = header.text(self._ds, "SOPClassUID"), header.modality(self._ds)
        if not said:
            said = {"CR": _CR, "DX": _DX[0]}.get(kind, "")
        if said not in profile_table.SOP_CLASSES or kind not in header.KNOWN_MODALITIES:
            raise Refused("wrong-modality", kind if kind in header.KNOWN_MODALITIES else "")
        self._made.SOPClassUID, self._made.Modality = said, kind

    def _put_uid(self, keyword: str) -> None:
        value = header.text(self._ds, keyword)
        if keyword == "SOPInstanceUID":
            value = value or f"file:{self._sha256}"
        elif keyword in ("StudyInstanceUID", "SeriesInstanceUID") and not value:
            value = f"{keyword} of {header.text(self._ds, 'SOPInstanceUID') or self._sha256}"
        if not value:
            return
        setattr(self._made, keyword, keyed_uid(self._key, value))
        if keyword == "FrameOfReferenceUID":
            self._made.PositionReferenceIndicator = None

    def _put_pseudonyms(self) -> None:
        for keyword, kind in profile_table.PSEUDONYMS.items():
            value = header.text(self._ds, keyword)
            if kind == "patient":
                setattr(
                    self._made,
                    keyword,
                    self._patient if keyword == "PatientID" else f"Patient^{self._patient}",
                )
            elif value:
                setattr(self._made, keyword, hashed(self._key, kind, value))

    def _put_words(self, keyword: str, allowed: frozenset[str]) -> None:
        said = header.text(self._ds, keyword).upper().split("\\")
        words = [word.strip() for word in said]
        words = words if all(word in allowed for word in words) else []
        if self._made.SOPClassUID in _DX:  # the side stands with the image there, and must
            words = {"ImageLaterality": words or ["U"], "Laterality": []}.get(keyword, words)
        if words:
            setattr(self._made, keyword, words if len(words) > 1 else words[0])

    def _put_numbers(self, keyword: str, low: float, high: float, most: int) -> None:
        values = numbers_within(header.text(self._ds, keyword), low, high, most)
        if values is None or keyword not in self._ds:
            return
        kind = self._ds[keyword].VR
        if kind in ("DS", "UN") or (kind == "IS" and all(v == int(v) for v in values)):
            texts = [f"{v:.{profile_table.WINDOW_DIGITS}g}" if kind != "IS" else str(int(v)) for v in values]
            setattr(self._made, keyword, texts if len(texts) > 1 else texts[0])
        elif kind in ("US", "SS") and len(values) == 1:
            setattr(self._made, keyword, int(values[0]))

    def _put_sequences(self) -> None:
        for keyword in profile_table.CODE_SEQUENCES:
            if items := self._codes(keyword):
                setattr(self._made, keyword, Items(items))
        for keyword in ("ModalityLUTSequence", "VOILUTSequence"):
            tables = [self._table(item, keyword) for item in header.items_of(self._ds, keyword)]
            if whole := [item for item in tables if item is not None]:
                setattr(self._made, keyword, Items(whole))

    def _codes(self, keyword: str) -> list[Dataset]:
        made = []
        for item in header.items_of(self._ds, keyword)[:4]:
            value, scheme = header.text(item, "CodeValue"), header.text(item, "CodingSchemeDesignator")
            if value in profile_table.CODES and scheme in profile_table.SCHEMES:
                code = coded(value, scheme, profile_table.CODES[value])
                if keyword == "ViewCodeSequence":
                    code.ViewModifierCodeSequence = Items([])
                made.append(code)
        return made

    def _table(self, item: Dataset, keyword: str) -> Dataset | None:
        """One look-up table, its explanation left out."""
        try:
            count, first, bits = (int(v) for v in item.LUTDescriptor)
            entries = _lut_entries(item, count & 0xFFFF or _MAX_LUT)
        except Exception:
            return None
        if entries is None or not 8 <= bits <= 16:
            return None
        made = Dataset()
        count, first = entries.size % _MAX_LUT, first & 0xFFFF
        if header.text(self._ds, "PixelRepresentation") == "1":
            first, count = first - (first >> 15 << 16), count - (count >> 15 << 16)
            made.add_new("LUTDescriptor", "SS", [count, first, bits])
        else:
            made.add_new("LUTDescriptor", "US", [count, first, bits])
        made.add_new("LUTData", "OW", entries.astype("<u2").tobytes())
        if keyword == "ModalityLUTSequence":
            kind = header.text(item, "ModalityLUTType").upper()
            made.ModalityLUTType = kind if kind in profile_table.WORDS["RescaleType"] else "US"
        return made

    def _put_others(self) -> None:
        """Attributes whose rule is their own: maker, age, orientation, padding."""
        ds, made = self._ds, self._made
        made.ImageType = _image_type(ds)
        if maker := header.maker(ds):
            made.Manufacturer = maker
        if age := capped_age(ds):
            made.PatientAge = age
        orientation = header.text(ds, "PatientOrientation").upper().split("\\")
        if len(orientation) == 2 and all(map(_ORIENTATION.fullmatch, orientation)):
            made.PatientOrientation = orientation
        signed = header.text(ds, "PixelRepresentation") == "1"
        for keyword in ("PixelPaddingValue", "PixelPaddingRangeLimit"):
            values = numbers_within(header.text(ds, keyword), -32768, 65535, 1)
            if values is not None and values[0] == int(values[0]):
                value = int(values[0]) & 0xFFFF
                made.add_new(keyword, "SS" if signed else "US", value - (value >> 15 << 16) * signed)


def _image_type(ds: Dataset) -> list[str]:
    """The first two values; further ones are a maker's own."""
    words = [word.strip() for word in header.text(ds, "ImageType").upper().split("\\")]
    return [
        next((word for word in words[:1] if word in ("ORIGINAL", "DERIVED")), "DERIVED"),
        next((word for word in words[1:2] if word in ("PRIMARY", "SECONDARY")), "PRIMARY"),
    ]


def _lut_entries(item: Dataset, count: int) -> NDArray[np.uint16] | None:
    value = item["LUTData"].value
    if isinstance(value, bytes):
        wide = len(value) >= 2 * count
        little = getattr(item, "original_encoding", (None, True))[1] is not False
        entries = np.frombuffer(value, ("<u2" if little else ">u2") if wide else "u1")
    else:
        entries = np.atleast_1d(np.asarray(value, np.int64)) & 0xFFFF
    return entries[:count].astype(np.uint16) if 2 <= count <= entries.size else None


def numbers_within(text: str, low: float, high: float, most: int) -> list[float] | None:
    """Values of an element with numbers, if all lie within a range and their count fits.

    Args:
        text: Of the element.
        low: Lowest value.
        high: Highest value.
        most: Most values; 2 wants a pair.
    """
    try:
        values = [float(part) for part in text.split("\\")] if text.isascii() else []
    except ValueError:
        return None
    inside = all(math.isfinite(v) and low <= v <= high for v in values)
    return values if inside and (len(values) == 2 if most == 2 else 1 <= len(values) <= most) else None


def capped_age(ds: Dataset) -> str:
    """Patient's Age as it is stated or follows from the dates; over 89 years it is "090Y".

    Source:
        DICOM PS3.5 6.2 (AS); HIPAA 45 CFR 164.514(b)(2)(i)(C): ages over 89 are one category.
    """
    said, years = header.text(ds, "PatientAge").strip().upper(), header.age_years(ds)
    if years is None:
        return ""
    if years >= _MAX_AGE:
        return f"{_MAX_AGE:03d}Y"
    return said if _AGE.fullmatch(said) else f"{int(years):03d}Y"


def coded(value: str, scheme: str, meaning: str) -> Dataset:
    """An item of a code sequence."""
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item
