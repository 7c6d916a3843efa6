from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import dcmread

from xraytk.data.decode import decode
from xraytk.data.dicom import read_radiograph
from xraytk.data.dicom_write import SYNTAXES, uid_from, write_dx


def texture(bits: int) -> np.ndarray[Any, np.dtype[np.uint16]]:
    """Odd sides, smooth and noisy parts, both ends of the range."""
    rng = np.random.default_rng(bits)
    top = (1 << bits) - 1
    pixels = np.add.outer(np.arange(51), np.arange(67)) / 116 * top
    pixels[20:40] = rng.integers(0, top + 1, (20, 67))
    pixels[40:45] = 0
    return np.rint(pixels).astype(np.uint16)


def written(pixels: np.ndarray[Any, Any], **more: Any) -> bytes:
    out = io.BytesIO()
    write_dx(out, pixels, **more)
    return out.getvalue()


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
@pytest.mark.parametrize("syntax", SYNTAXES)
def test_every_syntax_gives_back_the_stored_values_bit_for_bit(syntax: str, bits: int) -> None:
    pixels = texture(bits)
    ds = dcmread(io.BytesIO(written(pixels, bits_stored=bits, syntax=syntax)))
    assert ds.file_meta.TransferSyntaxUID == SYNTAXES[syntax]
    assert (decode(ds, SYNTAXES[syntax]) == pixels).all()


@pytest.mark.parametrize("syntax", ["explicit", "implicit", "big-endian", "deflated", "rle", "jpeg-ls"])
def test_pydicom_reads_the_same_values(syntax: str) -> None:
    if syntax == "jpeg-ls":
        pytest.importorskip("jpeg_ls")
    ds = dcmread(io.BytesIO(written(texture(12), syntax=syntax)))
    assert (ds.pixel_array == texture(12)).all()


def test_the_whole_range_of_greys_comes_back_through_the_window_in_both_senses() -> None:
    pixels = texture(12)
    low, high = 0, 4095
    window = ((low + high) / 2 + 0.5, float(high - low + 1))
    positive = read_radiograph(written(pixels, window=window)).pixels
    negative = read_radiograph(written(4095 - pixels, window=window, photometric="MONOCHROME1")).pixels
    assert (positive == np.rint(pixels / 4095 * 65535)).all()
    assert np.abs(positive.astype(int) - negative).max() <= 1


def test_equal_arguments_give_equal_bytes_and_other_pixels_another_object() -> None:
    assert written(texture(12), patient_id="1") == written(texture(12), patient_id="1")
    one, two = (dcmread(io.BytesIO(written(texture(12) // k))).SOPInstanceUID for k in (1, 2))
    assert one != two


def test_the_header_says_what_was_asked_for() -> None:
    data = written(
        texture(12), view="AP", spacing_mm=(0.3, 0.3), patient_id="77", patient_name="Wang^Wei=王^伟",
        sex="F", age_years=61.9, accession="ACC", study_uid="1.2.3", sop_uid="1.2.3.4", modality="CR",
    )  # fmt: skip
    image = read_radiograph(data)
    assert (image.modality, image.view, image.spacing_mm) == ("CR", "AP", (0.3, 0.3))
    assert (image.sex, image.age_years, image.bits_stored) == ("F", 61.0, 12)
    who = image.identity
    assert (who.patient_id, who.study_uid, who.sop_uid, who.accession) == ("77", "1.2.3", "1.2.3.4", "ACC")
    assert "王伟" in who.secrets


def test_dx_objects_hold_the_elements_that_the_standard_requires() -> None:
    ds = dcmread(io.BytesIO(written(texture(12), photometric="MONOCHROME1", view="PA")))
    assert ds.SOPClassUID.name == "Digital X-Ray Image Storage - For Presentation"
    assert ds.PresentationLUTShape == "INVERSE"
    assert ds.ViewCodeSequence[0].CodeValue == "272479007"
    for keyword in (
        "ImageType", "PixelIntensityRelationship", "PixelIntensityRelationshipSign", "RescaleType",
        "AnatomicRegionSequence", "AcquisitionContextSequence", "ImageLaterality", "BurnedInAnnotation",
        "PresentationIntentType", "LossyImageCompression", "PatientOrientation", "DetectorType",
    ):  # fmt: skip
        assert keyword in ds


def test_a_path_is_written_atomically(tmp_path: Path) -> None:
    write_dx(tmp_path / "a" / "b.dcm", texture(12))
    assert [p.name for p in (tmp_path / "a").iterdir()] == ["b.dcm"]
    assert read_radiograph((tmp_path / "a" / "b.dcm").read_bytes()).pixels.shape == (51, 67)


@pytest.mark.parametrize(
    "wrong",
    [
        {"pixels": texture(14)},
        {"pixels": texture(12)[None]},
        {"pixels": texture(12).astype(np.int32)},
        {"bits_stored": 7},
        {"syntax": "mpeg"},
        {"modality": "CT"},
        {"photometric": "RGB"},
    ],
)
def test_what_cannot_be_written_is_an_error(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"bits_stored|pixels|syntax|modality"):
        written(**{"pixels": texture(12), **wrong})


def test_uids_are_valid_and_follow_from_their_parts() -> None:
    uid = uid_from("a", 1)
    assert uid == uid_from("a", 1) != uid_from("a1")
    assert uid.startswith("2.25.")
    assert len(uid) <= 64


def test_names_that_are_not_utf_8_have_uids_of_their_own() -> None:
    names = [os.fsdecode(name) for name in (b"bad\xff.png", b"bad\xfe.png")]
    assert len({uid_from("x", name) for name in names}) == 2
