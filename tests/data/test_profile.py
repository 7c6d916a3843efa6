from __future__ import annotations

import io
import re
import shutil
import struct
import subprocess
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pydicom.config
import pytest
from pydicom import Dataset, dcmread, dcmwrite
from pydicom.datadict import tag_for_keyword
from pydicom.sequence import Sequence

from xraytk.data import profile_table
from xraytk.data.decode import decode
from xraytk.data.deid import hashed
from xraytk.data.dicom import read_radiograph
from xraytk.data.dicom_write import SYNTAXES, write_dx
from xraytk.data.profile import clean_dicom
from xraytk.data.profile_header import keyed_uid
from xraytk.data.profile_pixels import blank
from xraytk.data.refused import Refused

KEY = bytes(range(32))
RAMP = (np.add.outer(np.arange(64), np.arange(48)) * 37 % 4096).astype(np.uint16)
BASIC = {
    "AccessionNumber": "Z", "AcquisitionContextSequence": "X/Z", "AcquisitionDate": "X/Z",
    "AcquisitionDateTime": "X/Z/D", "AcquisitionTime": "X/Z", "AcquisitionUID": "U", "ContentDate": "Z/D",
    "ContentTime": "Z/D", "DeviceUID": "U", "FrameOfReferenceUID": "U", "InstanceCreationDate": "X/D",
    "InstanceCreationTime": "X/Z/D", "InstanceCreatorUID": "U", "IrradiationEventUID": "U",
    "PatientAge": "X", "PatientBirthDate": "Z", "PatientID": "Z/D", "PatientName": "Z", "PatientSex": "Z",
    "PatientSexNeutered": "X/Z", "PatientSize": "X", "PatientWeight": "X", "PregnancyStatus": "X",
    "ReferringPhysicianName": "Z", "SOPInstanceUID": "U", "SeriesDate": "X/D", "SeriesInstanceUID": "U",
    "SeriesTime": "X/D", "SmokingStatus": "X", "StudyDate": "Z", "StudyID": "Z", "StudyInstanceUID": "U",
    "StudyTime": "Z",
}  # fmt: skip
"""Table E.1-1 of DICOM PS3.15 (2024b), basic profile, for all that the allow-list names."""


def file_of(pixels: np.ndarray[Any, Any] = RAMP, **more: Any) -> bytes:
    stream = io.BytesIO()
    facts: dict[str, Any] = {
        "patient_id": "P77", "patient_name": "Wang^Wei=王^伟", "birth_date": "19690212", "sex": "F",
        "age_years": 55.0, "study_date": "20240308", "accession": "A1", "study_uid": "1.2.3", "view": "PA",
        "institution": "St. Anna", "spacing_mm": (0.143, 0.143), "window": (2048.0, 4096.0),
    }  # fmt: skip
    write_dx(stream, pixels, **{**facts, **more})
    return stream.getvalue()


def changed(data: bytes, **values: Any) -> bytes:
    ds = dcmread(io.BytesIO(data))
    with pydicom.config.disable_value_validation():
        for keyword, value in values.items():
            setattr(ds, keyword, value)
        stream = io.BytesIO()
        dcmwrite(stream, ds)
    return stream.getvalue()


def cleaned(data: bytes, **more: Any) -> Dataset:
    return dcmread(io.BytesIO(clean_dicom(data, key=KEY, **more)))


def stored(ds: Dataset) -> np.ndarray[Any, Any]:
    return decode(ds, str(ds.file_meta.TransferSyntaxUID))


def test_what_the_standards_table_names_is_done_to_all_that_is_kept() -> None:
    table = profile_table
    kept = {*table.PSEUDONYMS, *table.UIDS, *table.DATES, *table.TIMES, *table.DATETIMES, *table.EMPTY,
            *table.EMPTY_IN_DX, *table.WORDS, *table.NUMBERS, "PatientAge"}  # fmt: skip
    assert all(tag_for_keyword(keyword) for keyword in kept)
    assert set(table.ACTIONS) == set(BASIC) == kept & set(BASIC)
    for keyword, basic in BASIC.items():
        action = table.ACTIONS[keyword]
        option = {"C": r"(Date|Time)$", "K": r"^(Patient(Age|Sex|Size|Weight)|Smoking|Pregnancy)"}
        assert action in basic.split("/") or re.search(option[action], keyword), keyword


def test_an_object_says_who_cleaned_it_and_how() -> None:
    ds = cleaned(file_of())
    assert (ds.PatientIdentityRemoved, ds.LongitudinalTemporalInformationModified) == ("YES", "MODIFIED")
    codes = [item.CodeValue for item in ds.DeidentificationMethodCodeSequence]
    assert codes == ["113100", "113107", "113108"]
    assert ds.DeidentificationMethod[0].startswith("xraytk ")
    assert ds.file_meta.ImplementationVersionName == "XRAYTK"
    assert ds.preamble == b"\0" * 128
    assert ds.SpecificCharacterSet == "ISO_IR 192"


def test_ids_are_those_of_the_manifest() -> None:
    ds = cleaned(file_of())
    assert ds.PatientID == hashed(KEY, "patient", "P77")
    assert ds.PatientName == f"Patient^{ds.PatientID}"
    assert ds.AccessionNumber == hashed(KEY, "accession", "A1")
    assert ds.PatientBirthDate == ds.ReferringPhysicianName == ""
    assert "InstitutionName" not in ds
    assert cleaned(file_of(), patient="00ff").PatientID == "00ff"
    nameless = cleaned(file_of(patient_id=""))
    assert nameless.PatientID == hashed(KEY, "patient", "Wang^Wei=王^伟|19690212")


def test_equal_uids_stay_equal_in_all_files_under_one_key_only() -> None:
    one, two = cleaned(file_of()), cleaned(file_of(RAMP // 2))
    assert one.StudyInstanceUID == two.StudyInstanceUID == keyed_uid(KEY, "1.2.3")
    assert one.SOPInstanceUID != two.SOPInstanceUID
    assert one.SOPInstanceUID == one.file_meta.MediaStorageSOPInstanceUID
    assert keyed_uid(bytes(32), "1.2.3") != keyed_uid(KEY, "1.2.3")
    assert re.fullmatch(r"2\.25\.\d{1,39}", one.SOPInstanceUID)


def test_dates_move_by_one_number_of_weeks_and_the_age_stays() -> None:
    first, second = cleaned(file_of()), cleaned(file_of(study_date="20240318"))
    assert first.StudyDate == first.ContentDate != "20240308"
    assert int(np.datetime64(iso(second.StudyDate)) - np.datetime64(iso(first.StudyDate)) == 10)
    assert first.PatientAge == "055Y"
    assert first.StudyTime == "120000"


def iso(date: str) -> str:
    return f"{date[:4]}-{date[4:6]}-{date[6:]}"


@pytest.mark.parametrize(("years", "said"), [(89.0, "089Y"), (90.0, "090Y"), (104.0, "090Y")])
def test_the_oldest_share_one_age(years: float, said: str) -> None:
    assert cleaned(file_of(age_years=years)).PatientAge == said


def test_an_age_follows_from_the_dates_that_go() -> None:
    assert cleaned(file_of(age_years=None)).PatientAge == "055Y"


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_stored_values_and_what_is_seen_stay_the_same(syntax: str) -> None:
    data = file_of(syntax=syntax)
    ds = cleaned(data)
    assert np.array_equal(stored(ds), RAMP)
    before, after = read_radiograph(data), read_radiograph(clean_dicom(data, key=KEY))
    assert np.array_equal(before.pixels, after.pixels)
    assert (before.view, before.sex, before.spacing_mm) == (after.view, after.sex, after.spacing_mm)
    rewritten = {"rle": "explicit", "big-endian": "explicit"}.get(syntax, syntax)
    assert ds.file_meta.TransferSyntaxUID == SYNTAXES[rewritten]


@pytest.mark.parametrize("syntax", ["explicit", "implicit", "jpeg-lossless", "jpeg2000"])
def test_pixel_data_that_hold_nothing_else_keep_their_bytes(syntax: str) -> None:
    data = file_of(syntax=syntax)
    before, after = dcmread(io.BytesIO(data)).PixelData, cleaned(data).PixelData
    if syntax != "jpeg2000":  # whose encoder signs its work in a comment
        assert after == before
    assert len(after) <= len(before)


def test_equal_arguments_give_equal_bytes() -> None:
    assert clean_dicom(file_of(), key=KEY) == clean_dicom(file_of(), key=KEY)


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_boxes_take_the_value_of_their_surroundings(syntax: str) -> None:
    pixels = np.full((64, 48), 700, np.uint16)
    pixels[10:20, 5:25] = 4095
    pixels[40:, 30:] = 900
    ds = cleaned(file_of(pixels, syntax=syntax), text_boxes=[(5, 10, 25, 20)])
    assert ds.file_meta.TransferSyntaxUID == SYNTAXES["explicit"]
    pixels[10:20, 5:25] = 700
    assert np.array_equal(stored(ds), pixels)
    assert (ds.BurnedInAnnotation, ds.ImageType[0]) == ("NO", "DERIVED")
    assert "113101" in [item.CodeValue for item in ds.DeidentificationMethodCodeSequence]


def test_boxes_out_of_the_image_or_over_all_of_it_are_no_error() -> None:
    image = np.arange(12, dtype=np.uint8).reshape(3, 4)
    assert np.array_equal(blank(image, [(9, 9, 12, 12), (2, 2, 2, 3), (-5, -5, 0, 0)]), image)
    assert not blank(image, [(-1, -1, 99, 99)]).any()


def test_burned_in_text_is_denied_only_by_who_looked() -> None:
    burned = changed(file_of(), BurnedInAnnotation="YES")
    assert cleaned(burned).BurnedInAnnotation == "YES"
    assert cleaned(burned, looked_for_text=True).BurnedInAnnotation == "NO"
    assert "BurnedInAnnotation" not in cleaned(changed(file_of(), BurnedInAnnotation="Anna"))


@pytest.mark.parametrize(
    "syntax", ["explicit", "implicit", "big-endian", "deflated", "rle", "jpeg-ls", "jpeg-lossless"]
)
def test_an_overlay_in_the_unused_bits_of_pixels_goes(syntax: str) -> None:
    letters = np.zeros((64, 48), np.uint16)
    letters[5:9, 5:40] = 0x1000
    letters[20:22] = 0x8000
    data = changed(file_of(RAMP | letters, bits_stored=16, syntax=syntax), BitsStored=12, HighBit=11)
    ds = cleaned(data)
    raw = np.frombuffer(ds.PixelData, "<u2")[: RAMP.size].reshape(RAMP.shape)
    assert np.array_equal(raw, RAMP)
    assert (ds.BitsStored, ds.HighBit) == (12, 11)


@pytest.mark.parametrize("offsets", [(64, 0xFFFFFFF0), (64, 10**6), (4000, 70), (0, 64), (63, 70)])
def test_run_lengths_that_point_out_of_the_frame_are_refused(offsets: tuple[int, int]) -> None:
    data = file_of(syntax="rle")
    at = data.index(struct.pack("<II", 2, 64)) + 4
    with pytest.raises(Refused, match="undecodable"):
        clean_dicom(data[:at] + struct.pack("<II", *offsets) + data[at + 8 :], key=KEY)


def test_signed_values_keep_their_sign_without_an_overlay() -> None:
    values = RAMP.astype(np.int16) - 2048
    data = changed(file_of(values.view(np.uint16) & 0x0FFF | 0x4000, bits_stored=16),
                   BitsStored=12, HighBit=11, PixelRepresentation=1)  # fmt: skip
    raw = np.frombuffer(cleaned(data).PixelData, "<i2").reshape(values.shape)
    assert np.array_equal(raw, values)
    untouched = changed(file_of(values.view(np.uint16), bits_stored=16),
                        BitsStored=12, HighBit=11, PixelRepresentation=1)  # fmt: skip
    assert cleaned(untouched).PixelData == values.tobytes()


def test_values_in_the_high_bits_move_down() -> None:
    data = changed(file_of(RAMP << 4, bits_stored=16), BitsStored=12, HighBit=15)
    ds = cleaned(data)
    assert ds.HighBit == 11
    assert np.array_equal(stored(ds), RAMP)


def test_tables_stay_without_their_explanation() -> None:
    item = Dataset()
    item.LUTDescriptor, item.LUTExplanation = [4096, 0, 12], "Anna"
    item.LUTData = (np.arange(4096)[::-1]).astype("<u2").tobytes()
    data = changed(file_of(), VOILUTSequence=Sequence([item]))
    ds = cleaned(data)
    assert "LUTExplanation" not in ds.VOILUTSequence[0]
    assert np.array_equal(read_radiograph(data).pixels, read_radiograph(clean_dicom(data, key=KEY)).pixels)


def test_known_codes_get_our_meaning_and_unknown_ones_go() -> None:
    view = Dataset()
    view.CodeValue, view.CodingSchemeDesignator, view.CodeMeaning = "272479007", "SCT", "Anna"
    other = Dataset()
    other.CodeValue, other.CodingSchemeDesignator, other.CodeMeaning = "4711", "99ANNA", "Anna"
    ds = cleaned(changed(file_of(), ViewCodeSequence=Sequence([view, other])))
    assert [item.CodeMeaning for item in ds.ViewCodeSequence] == ["postero-anterior"]


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        *((k, "ANNA") for k in ("BodyPartExamined", "RescaleType", "DetectorType", "ViewPosition")),
        *(("KVP", "4915112345678"), ("SeriesNumber", "19690212"), ("InstanceNumber", "2147483647")),
        ("Manufacturer", "Anna"),
    ],
)  # fmt: skip
def test_a_text_in_the_wrong_element_does_not_pass(keyword: str, value: str) -> None:
    ds = cleaned(changed(file_of(), **{keyword: value}))
    assert str(ds.get(keyword) or "") in ("", "OTHER", "US")


def test_objects_that_are_no_radiographs_are_refused_without_a_word_of_theirs() -> None:
    for wrong in ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.2"}, {"Modality": "ANNA"}, {"SamplesPerPixel": 4}):
        with pytest.raises(Refused) as told:
            clean_dicom(changed(file_of(), **wrong), key=KEY)
        assert "ANNA" not in str(told.value)
    with pytest.raises(Refused):
        clean_dicom(b"nothing", key=KEY)


def test_a_pseudonym_is_hexadecimal() -> None:
    with pytest.raises(ValueError, match="hexadecimal"):
        clean_dicom(file_of(), key=KEY, patient="Anna")


@pytest.mark.parametrize("modality", ["DX", "CR"])
@pytest.mark.parametrize("syntax", SYNTAXES)
def test_pydicom_finds_no_fault_in_any_value(
    syntax: str, modality: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = clean_dicom(file_of(syntax=syntax, modality=modality), key=KEY, looked_for_text=True)
    monkeypatch.setattr(pydicom.config.settings, "reading_validation_mode", pydicom.config.RAISE)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ds = dcmread(io.BytesIO(data))
        assert len([element for element in ds.iterall() if element.value is not None]) > 40


@pytest.mark.parametrize("tool", ["dciodvfy", "dcmdump"])
@pytest.mark.parametrize("modality", ["DX", "CR"])
@pytest.mark.parametrize("syntax", ["explicit", "implicit", "deflated", "jpeg-lossless", "jpeg2000"])
def test_the_usual_checkers_find_no_error(tmp_path: Path, tool: str, modality: str, syntax: str) -> None:
    program = shutil.which(tool)
    if program is None:
        pytest.skip(f"needs {tool} of dicom3tools or dcmtk")
    if (tool, syntax) == ("dciodvfy", "deflated"):
        pytest.skip("dciodvfy reads no deflated objects")
    path = tmp_path / "a.dcm"
    path.write_bytes(clean_dicom(file_of(syntax=syntax, modality=modality), key=KEY, looked_for_text=True))
    ran = subprocess.run([program, str(path)], capture_output=True, text=True, check=False)
    assert ran.returncode == 0
    assert not [line for line in (ran.stdout + ran.stderr).splitlines() if re.match(r"(Error|E:|W:)", line)]


@pytest.mark.parametrize("syntax", ["explicit", "implicit", "jpeg-lossless", "jpeg-ls", "jpeg2000"])
def test_a_second_decoder_reads_the_same_pixels(tmp_path: Path, syntax: str) -> None:
    itk = pytest.importorskip("SimpleITK")
    path = tmp_path / "a.dcm"
    path.write_bytes(clean_dicom(file_of(syntax=syntax), key=KEY))
    assert np.array_equal(itk.GetArrayFromImage(itk.ReadImage(str(path)))[0], RAMP)


def test_highdicom_reads_the_same_pixels(tmp_path: Path) -> None:
    highdicom = pytest.importorskip("highdicom")
    path = tmp_path / "a.dcm"
    path.write_bytes(clean_dicom(file_of(), key=KEY))
    frame = highdicom.imread(path).get_frame(1, apply_voi_transform=False, apply_modality_transform=False)
    assert np.array_equal(frame, RAMP)


def test_real_objects_are_cleaned_or_refused(shared_data: Path) -> None:
    answers = []
    for path in sorted((shared_data / "dicom" / "cr_dx").rglob("*.dcm"))[:25]:
        data = path.read_bytes()
        try:
            clean = clean_dicom(data, key=KEY)
        except Refused as refused:
            answers.append(refused.reason)
            continue
        answers.append("cleaned")
        try:
            before = read_radiograph(data)
        except Refused:
            continue
        assert np.array_equal(before.pixels, read_radiograph(clean).pixels)
    assert answers.count("cleaned") >= 10
