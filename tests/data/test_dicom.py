from __future__ import annotations

import contextlib
import io
import time
import zlib
from pathlib import Path
from typing import Any

import cv2
import imagecodecs
import numpy as np
import pytest
from PIL import Image, ImageOps
from pydicom import Dataset, dcmread, dcmwrite
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence

from xraytk.data.dicom import Refused, read_radiograph, resize_long_side
from xraytk.data.dicom_write import SYNTAXES, write_dx

SHARED = Path(__file__).parents[2] / "../shared/data"
CHESTS = {
    "fo-dicom__CR-MONO1-10-chest",
    "pydicom-data__RG1_J2KI.dcm",
    "pylibjpeg-data__RG1_JLSN.dcm",
    "torchxrayvision__1.2.276.0.7230010.3.1.4.8323329.6904.1517875201.850819.dcm",
    "torchxrayvision__Fake_MONOHR1.dcm",
}


def ramp(low: int, high: int, kind: str = "<u2", also: tuple[int, ...] = ()) -> np.ndarray[Any, Any]:
    """32 x 32 values from low to high, both ends present, and ``also`` in the tenth row."""
    pixels = np.rint(np.linspace(low, high, 1024)).astype(kind).reshape(32, 32)
    pixels[10, : len(also)] = also
    return pixels


def file_of(pixels: np.ndarray[Any, Any], *, preamble: bool = True, **elements: Any) -> bytes:
    """Write an explicit little-endian CR object with the elements given."""
    ds = Dataset()
    ds.SOPClassUID, ds.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.1", "1.2.3.4"
    ds.StudyInstanceUID, ds.Modality, ds.BodyPartExamined = "1.2.3", "CR", "CHEST"
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.Rows, ds.Columns = pixels.shape[:2]
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = 16, 12, 11
    ds.PixelRepresentation = 0
    ds.PixelData = pixels.tobytes()
    ds["PixelData"].VR = "OW"
    for name, value in elements.items():
        if value is None:
            delattr(ds, name)
        else:
            setattr(ds, name, value)
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = SYNTAXES["explicit"]
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    out = io.BytesIO()
    if preamble:
        dcmwrite(out, ds, enforce_file_format=True)
    else:
        del ds.file_meta
        dcmwrite(out, ds, implicit_vr=False, little_endian=True)
    return out.getvalue()


def grey_at(data: bytes, pixels: np.ndarray[Any, Any], stored: int) -> int:
    """The grey that a stored value became."""
    return int(read_radiograph(data).pixels[pixels == stored][0])


HANG_S = 5.0
"""Processor seconds that only a hang takes: these took minutes before they were bounded."""
FULL = {"WindowCenter": "2048", "WindowWidth": "4096"}  # maps 0..4095 to black..white exactly


def test_a_linear_window_is_the_formula_of_the_standard() -> None:
    pixels = ramp(0, 1023)
    data = file_of(pixels, WindowCenter="512", WindowWidth="513")
    # y = (x - (c - 0.5)) / (w - 1) + 0.5: black up to 255.5, white from 767.5 on
    assert grey_at(data, pixels, 255) == 0
    assert grey_at(data, pixels, 256) == round(65535 * 0.5 / 512)
    assert grey_at(data, pixels, 512) == round(65535 * 256.5 / 512)
    assert grey_at(data, pixels, 768) == 65535
    assert read_radiograph(data).voi == "linear"


def test_linear_exact_and_sigmoid_are_their_formulas() -> None:
    pixels = ramp(0, 1023)
    exact = file_of(pixels, WindowCenter="512", WindowWidth="512", VOILUTFunction="LINEAR_EXACT")
    assert grey_at(exact, pixels, 256) == 0
    assert grey_at(exact, pixels, 384) == round(65535 * 0.25)
    sigmoid = file_of(pixels, WindowCenter="512", WindowWidth="400", VOILUTFunction="SIGMOID")
    assert grey_at(sigmoid, pixels, 512) == round(65535 * 0.5)
    assert grey_at(sigmoid, pixels, 612) == round(65535 / (1 + np.exp(-1)))
    assert (read_radiograph(exact).voi, read_radiograph(sigmoid).voi) == ("linear_exact", "sigmoid")


@pytest.mark.parametrize("shape", [None, "INVERSE"])
def test_monochrome1_is_inverted_once(shape: str | None) -> None:
    pixels = ramp(0, 4095)
    more = {"PresentationLUTShape": shape} if shape else {}
    data = file_of(pixels, PhotometricInterpretation="MONOCHROME1", **FULL, **more)
    assert grey_at(data, pixels, 0) == 65535
    assert grey_at(data, pixels, 4095) == 0


def test_presentation_lut_shape_inverse_inverts_alone() -> None:
    pixels = ramp(0, 4095)
    assert grey_at(file_of(pixels, PresentationLUTShape="INVERSE", **FULL), pixels, 0) == 65535
    assert grey_at(file_of(pixels, PresentationLUTShape="IDENTITY", **FULL), pixels, 0) == 0


def test_a_negative_slope_turns_the_values_before_the_window() -> None:
    pixels = ramp(0, 4095, also=(3000, 4000))
    # modality value = 4000 - x; the window is black at 0 and white at 1000
    data = file_of(
        pixels, RescaleSlope="-1", RescaleIntercept="4000", WindowCenter="500.5", WindowWidth="1001"
    )
    assert grey_at(data, pixels, 4000) == 0
    assert grey_at(data, pixels, 3000) == 65535
    assert grey_at(data, pixels, 0) == 65535


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_padding_ends_black_and_does_not_count(photometric: str) -> None:
    pixels = ramp(1000, 2000)
    pixels[:4] = 4000
    pixels[4] = 3990
    data = file_of(
        pixels, PhotometricInterpretation=photometric, PixelPaddingValue=4000, PixelPaddingRangeLimit=3990
    )
    image = read_radiograph(data)
    assert image.voi == "percentile"
    assert (image.pixels[:5] == 0).all()
    inside = image.pixels[5:]
    assert inside.min() < 1000
    assert inside.max() > 64000


def test_signed_values_are_two_s_complement_within_the_stored_bits() -> None:
    values = ramp(-1000, 1000, "<i2", also=(0,))
    garbage = (values.view("<u2") & 0x0FFF) | 0xA000  # overlay bits above the 12 stored ones
    data = file_of(garbage, PixelRepresentation=1, WindowCenter="0.5", WindowWidth="2001")
    assert grey_at(data, values, -1000) == 0
    assert grey_at(data, values, 1000) == 65535
    assert grey_at(data, values, 0) == round(65535 / 2)


def test_a_high_bit_above_the_stored_bits_is_shifted_down() -> None:
    pixels = ramp(0, 4095, also=(1000,))
    data = file_of((pixels << 4).astype("<u2"), HighBit=15, **FULL)
    assert grey_at(data, pixels, 1000) == round(65535 * 1000 / 4095)


def lut(descriptor: list[int], entries: list[int]) -> Sequence:
    item = Dataset()
    item.add_new("LUTDescriptor", "US", descriptor)
    item.add_new("LUTData", "OW", np.array(entries, "<u2").tobytes())
    return Sequence([item])


def test_a_voi_lut_is_preferred_to_a_window() -> None:
    pixels = ramp(0, 9)
    data = file_of(pixels, VOILUTSequence=lut([4, 3, 12], [0, 1000, 4095, 2000]), **FULL)
    found = [grey_at(data, pixels, x) for x in (0, 3, 4, 5, 6, 9)]
    assert found == [0, 0, round(65535 * 1000 / 4095), 65535] + 2 * [round(65535 * 2000 / 4095)]
    assert read_radiograph(data).voi == "lut"


def test_a_modality_lut_comes_before_the_window() -> None:
    pixels = ramp(0, 3)
    data = file_of(
        pixels,
        ModalityLUTSequence=lut([4, 0, 16], [300, 200, 100, 0]),
        WindowCenter="150.5",
        WindowWidth="301",
    )
    assert [grey_at(data, pixels, x) for x in range(4)] == [65535, 43690, 21845, 0]


def test_of_several_windows_the_first_is_taken() -> None:
    pixels = ramp(0, 4095, also=(1000,))
    data = file_of(pixels, WindowCenter=["2048", "10"], WindowWidth=["4096", "2"])
    assert grey_at(data, pixels, 1000) == round(65535 * 1000 / 4095)


@pytest.mark.parametrize(
    "window", [{}, {"WindowCenter": "0", "WindowWidth": "0"}, {"WindowCenter": "90000", "WindowWidth": "100"}]
)
def test_without_a_usable_window_percentiles_are_taken(window: dict[str, str]) -> None:
    pixels = ramp(500, 1523)
    image = read_radiograph(file_of(pixels, **window))
    assert image.voi == "percentile"
    low, high = 500 + 5, 500 + 1018
    assert abs(int(image.pixels[pixels == 1000][0]) - 65535 * (1000 - low) / (high - low)) < 70
    assert image.pixels[0, 0] == 0
    assert image.pixels[-1, -1] == 65535


def test_a_file_without_preamble_and_meta_information_is_read() -> None:
    pixels = ramp(0, 4095)
    data = file_of(pixels, preamble=False, **FULL)
    assert data[:2] == b"\x08\x00"
    assert grey_at(data, pixels, 4095) == 65535
    assert read_radiograph(data).syntax == SYNTAXES["explicit"]


def test_colour_becomes_luminance() -> None:
    red = np.zeros((32, 32, 3), np.uint8)
    red[:16, :, 0] = 255
    data = file_of(
        red, SamplesPerPixel=3, PhotometricInterpretation="RGB", PlanarConfiguration=0,
        BitsAllocated=8, BitsStored=8, HighBit=7, WindowCenter="128", WindowWidth="256",
    )  # fmt: skip
    image = read_radiograph(data).pixels
    assert image[0, 0] == round(0.299 * 255) * 257
    assert image[-1, -1] == 0


@pytest.mark.parametrize(
    ("elements", "reason"),
    [
        ({"Modality": "CT"}, "wrong-modality"),
        ({"Modality": None, "SOPClassUID": "1.2.840.10008.5.1.4.1.1.7"}, "wrong-modality"),
        ({"BodyPartExamined": "LKNEE"}, "not-chest"),
        ({"BodyPartExamined": None, "SeriesDescription": "Hand PA"}, "not-chest"),
        ({"NumberOfFrames": "2"}, "multi-frame"),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, "colour"),
        ({"Rows": 65000, "Columns": 65000}, "too-large"),
        ({"Rows": 8}, "too-small"),
        ({"Rows": 64}, "truncated"),
        ({"Rows": None}, "implausible-header"),
        ({"BitsStored": 20}, "implausible-header"),
        ({"BitsAllocated": 32}, "implausible-header"),
        ({"PixelData": None}, "truncated"),
        ({"PixelData": None, "Rows": None}, "no-pixels"),
    ],
)
def test_what_is_no_chest_radiograph_is_refused_with_its_reason(
    elements: dict[str, Any], reason: str
) -> None:
    data = file_of(ramp(0, 4095), PatientName="Zhang^Secret", **elements)
    with pytest.raises(Refused) as caught:
        read_radiograph(data)
    assert caught.value.reason == reason
    assert "Secret" not in repr(caught.value)


def test_a_body_part_that_holds_chest_or_nothing_is_accepted() -> None:
    for part in ("", "CHEST_TO_ABDOMEN", "THORAX", "RIBS", "UNKNOWN"):
        assert read_radiograph(file_of(ramp(0, 4095), BodyPartExamined=part)).modality == "CR"


def test_a_modality_that_is_no_code_is_not_repeated() -> None:
    with pytest.raises(Refused) as caught:
        read_radiograph(file_of(ramp(0, 4095), Modality="ZHANG"))
    assert str(caught.value) == "wrong-modality"


@pytest.mark.parametrize("data", [b"\0" * 10, b"hello world, this is text", b"\x08\x00ab" * 8])
def test_other_bytes_are_not_dicom(data: bytes) -> None:
    with pytest.raises(Refused) as caught:
        read_radiograph(data)
    assert caught.value.reason in ("not-dicom", "no-pixels", "broken-header", "wrong-modality")
    with pytest.raises(Refused, match="empty"):
        read_radiograph(b"")


def test_equal_pixels_are_blank() -> None:
    with pytest.raises(Refused, match="blank"):
        read_radiograph(file_of(np.full((32, 32), 7, "<u2")))


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_a_cut_or_scrambled_file_is_refused_or_read_but_never_fails_otherwise(syntax: str) -> None:
    rng = np.random.default_rng(1)
    out = io.BytesIO()
    noise = rng.integers(0, 4096, (64, 48)).astype(np.uint16)
    write_dx(out, noise, syntax=syntax, window=(2048, 4096))
    data = out.getvalue()
    with pytest.raises(Refused) as caught:
        read_radiograph(data[: len(data) * 3 // 4])
    assert caught.value.reason == "truncated"
    for _ in range(25):
        broken = bytearray(data)
        for at in rng.integers(128, len(data), 6):
            broken[at] = rng.integers(256)
        with contextlib.suppress(Refused):  # its own constructor checks the reason
            read_radiograph(bytes(broken))


def test_compressed_pixels_of_another_size_than_the_header_says_are_refused_before_decoding() -> None:
    out = io.BytesIO()
    write_dx(out, ramp(0, 4095), syntax="jpeg-lossless")
    ds = dcmread(io.BytesIO(out.getvalue()))
    ds.Rows = 64
    changed = io.BytesIO()
    ds.save_as(changed)
    with pytest.raises(Refused, match="implausible-header"):
        read_radiograph(changed.getvalue())


@pytest.mark.parametrize(
    ("elements", "view"),
    [
        ({"ViewPosition": "PA"}, "PA"),
        ({"ViewPosition": "AP"}, "AP"),
        ({"ViewPosition": "LL"}, "LATERAL"),
        ({"ViewPosition": "RLO"}, "OTHER"),
        ({"SeriesDescription": "W033 Chest a-p portable"}, "AP"),
        ({"SeriesDescription": "胸部后前位"}, "PA"),
        ({"SeriesDescription": "Chest PA and LAT"}, "UNKNOWN"),
        ({"PatientOrientation": ["A", "F"]}, "LATERAL"),
        ({"PatientOrientation": ["L", "F"]}, "UNKNOWN"),
        ({}, "UNKNOWN"),
    ],
)
def test_the_view_is_found_where_it_is_written(elements: dict[str, Any], view: str) -> None:
    data = file_of(ramp(0, 4095), SpecificCharacterSet="ISO_IR 192", **elements)
    assert read_radiograph(data).view == view


def test_the_view_code_counts_when_there_is_no_position() -> None:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = "R-10214", "SRT", ""
    assert read_radiograph(file_of(ramp(0, 4095), ViewCodeSequence=Sequence([item]))).view == "PA"


@pytest.mark.parametrize(
    ("elements", "years"),
    [
        ({"PatientAge": "045Y"}, 45.0),
        ({"PatientAge": "018M"}, 1.5),
        ({"PatientBirthDate": "19600615", "StudyDate": "20200614"}, 59.0),
        ({"PatientBirthDate": "19600615", "StudyDate": "20200615"}, 60.0),
        ({"PatientAge": ""}, None),
    ],
)
def test_the_age_is_stated_or_computed(elements: dict[str, str], years: float | None) -> None:
    assert read_radiograph(file_of(ramp(0, 4095), **elements)).age_years == years


def test_spacing_prefers_the_calibrated_one_and_undoes_the_magnification_of_the_other() -> None:
    def found(**elements: Any) -> tuple[tuple[float, float] | None, str]:
        image = read_radiograph(file_of(ramp(0, 4095), **elements))
        return image.spacing_mm, image.spacing_kind

    imager = {"ImagerPixelSpacing": ["0.2", "0.2"]}
    magnified = {**imager, "EstimatedRadiographicMagnificationFactor": "1.25"}
    assert found(**imager) == ((0.2, 0.2), "detector")
    assert found(**magnified) == ((0.16, 0.16), "patient")
    assert found(**magnified, PixelSpacing=["0.15", "0.15"]) == ((0.15, 0.15), "patient")
    assert found(**magnified, PixelSpacing=["0.2", "0.2"]) == ((0.16, 0.16), "patient")  # not calibrated
    assert found(**imager, PixelSpacing=["0.2", "0.2"]) == ((0.2, 0.2), "detector")
    assert found(NominalScannedPixelSpacing=["0.2", "0.2"]) == ((0.2, 0.2), "nominal")
    assert found(PixelSpacing=["0", "0"]) == (None, "")


def test_the_identity_is_complete_and_does_not_print_itself() -> None:
    data = file_of(
        ramp(0, 4095), SpecificCharacterSet="ISO_IR 192", PatientName="Zhang^Wei=张^伟", PatientID="ID7788",
        PatientBirthDate="19500312", AccessionNumber="ACC42", InstitutionName="Saint Aurelia",
        ReferringPhysicianName="House^Greg", PatientAddress="Elm Street 5",
    )  # fmt: skip
    image = read_radiograph(data)
    who = image.identity
    assert (who.patient_id, who.study_uid, who.sop_uid, who.accession) == (
        "ID7788",
        "1.2.3",
        "1.2.3.4",
        "ACC42",
    )
    wanted = {
        "Zhang",
        "Zhang Wei",
        "张伟",
        "ID7788",
        "1950-03-12",
        "19500312",
        "Saint Aurelia",
        "House",
        "Elm Street 5",
    }
    assert wanted <= set(who.secrets)
    for secret in wanted:
        assert secret not in repr(image.identity)


def test_without_an_id_name_and_birth_date_stand_for_the_patient() -> None:
    data = file_of(ramp(0, 4095), PatientName="Zhang^Wei", PatientBirthDate="19500312", PatientID="")
    assert read_radiograph(data).identity.patient_id == "Zhang^Wei|19500312"


def encoded(ending: str, image: np.ndarray[Any, Any]) -> bytes:
    return bytes(cv2.imencode(ending, image)[1].tobytes())


def test_plain_pictures_of_8_and_16_bits_are_read_as_they_are() -> None:
    eight = ramp(0, 255, "u1")
    image = read_radiograph(encoded(".png", eight))
    assert (image.pixels == eight.astype(np.uint16) * 257).all()
    assert (image.syntax, image.bits_stored, image.modality) == ("png", 8, "")
    sixteen = ramp(0, 65535, "<u2")
    for ending, syntax in ((".png", "png"), (".tiff", "tiff")):
        image = read_radiograph(encoded(ending, sixteen))
        assert (image.pixels == sixteen).all()
        assert (image.syntax, image.bits_stored, image.voi) == (syntax, 16, "full")


def test_a_16_bit_picture_with_12_significant_bits_is_stretched() -> None:
    image = read_radiograph(encoded(".png", ramp(0, 4095, "<u2")))
    assert (image.voi, image.bits_stored) == ("percentile", 12)
    assert image.pixels.max() == 65535


def test_colour_palette_and_transparent_pictures_become_luminance() -> None:
    red = np.zeros((40, 40, 3), np.uint8)
    red[:20, :, 2] = 255  # BGR
    for data in (encoded(".png", red), encoded(".png", cv2.cvtColor(red, cv2.COLOR_BGR2BGRA))):
        assert read_radiograph(data).pixels[0, 0] == 76 * 257
    out = io.BytesIO()
    Image.fromarray(cv2.cvtColor(red, cv2.COLOR_BGR2RGB)).quantize(4).save(out, "PNG")
    assert read_radiograph(out.getvalue()).pixels[0, 0] == 76 * 257
    assert abs(int(read_radiograph(encoded(".jpg", red)).pixels[0, 0]) - 76 * 257) < 3 * 257


def test_a_tiff_in_which_white_is_zero_is_inverted_once() -> None:
    out = io.BytesIO()
    eight = ramp(0, 255, "u1")
    Image.fromarray(eight).save(out, "TIFF", tiffinfo={262: 0})  # Pillow stores the complement
    assert (read_radiograph(out.getvalue()).pixels == eight.astype(np.uint16) * 257).all()
    sixteen = ramp(0, 65535)
    out = io.BytesIO()
    Image.fromarray(sixteen).save(out, "TIFF", tiffinfo={262: 0})  # and here it does not
    assert (read_radiograph(out.getvalue()).pixels == 65535 - sixteen).all()


@pytest.mark.parametrize("ending", [".png", ".jpg", ".tiff"])
def test_a_cut_picture_is_refused(ending: str) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (64, 64)).astype(np.uint8)
    data = encoded(ending, noise)
    for share in (0.02, 0.5, 0.9):
        with pytest.raises(Refused):
            read_radiograph(data[: int(len(data) * share)])


def test_shrinking_averages_and_never_enlarges() -> None:
    image = ramp(0, 65535, "<u2")
    small = resize_long_side(image, 16)
    assert small.shape == (16, 16)
    by_hand = image.reshape(16, 2, 16, 2).mean(axis=(1, 3))
    assert np.abs(small - by_hand).max() <= 1
    assert resize_long_side(image, 64) is image
    assert resize_long_side(np.zeros((100, 50), np.uint16), 40).shape == (40, 20)


@pytest.mark.skipif(not (SHARED / "dicom").is_dir(), reason="no ../shared/data/dicom here")
def test_every_file_of_the_collection_ends_in_an_image_or_a_refusal() -> None:
    read = set()
    files = sorted(p for p in (SHARED / "dicom").glob("*/*") if p.is_file())
    for path in files:
        try:
            image = read_radiograph(path.read_bytes())
        except Refused:
            continue
        else:
            read.add(path.name)
            assert image.pixels.dtype == np.uint16
    assert len(files) > 200
    assert read == CHESTS


@pytest.mark.skipif(not (SHARED / "dicom").is_dir(), reason="no ../shared/data/dicom here")
@pytest.mark.parametrize("name", sorted(CHESTS - {"torchxrayvision__Fake_MONOHR1.dcm"}))
def test_in_real_chests_the_mediastinum_is_brighter_than_the_lungs(name: str) -> None:
    image = read_radiograph((SHARED / "dicom/cr_dx" / name).read_bytes()).pixels
    height, width = image.shape
    rows = image[int(0.3 * height) : int(0.5 * height)]
    middle = rows[:, int(0.45 * width) : int(0.55 * width)].mean()
    lungs = [rows[:, int(a * width) : int(b * width)].mean() for a, b in ((0.2, 0.35), (0.65, 0.8))]
    assert middle > max(lungs)


@pytest.mark.parametrize("text", ["SECRET^JOHN", "RGB JOHN", "RGB\\JOHN", "CMYK", ""])
def test_a_photometric_that_is_none_is_refused_and_not_repeated(text: str) -> None:
    data = file_of(ramp(0, 4095)).replace(b"MONOCHROME2 ", text.ljust(12).encode())
    with pytest.raises(Refused) as caught:
        read_radiograph(data)
    assert str(caught.value) == "implausible-header (photometric)"


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("SECRETNAME JOHN", "OTHER"),
        ("GEORGE", "OTHER"),
        ("", ""),
        ('"GE Healthcare"', "GE"),
        ("GE MEDICAL SYSTEMS", "GE"),
        ("Philips Medical Systems, J. Secret", "Philips"),
        ("FUJI PHOTO FILM Co., ltd.", "FUJIFILM"),
        ("KONICA MINOLTA", "Konica Minolta"),
        ("上海联影医疗", "United Imaging"),
        ("xraytk", "xraytk"),
        ("Radion AG", "Radion AG"),
    ],
)
def test_of_the_manufacturer_only_a_known_name_is_handed_on(text: str, name: str) -> None:
    data = file_of(ramp(0, 4095), SpecificCharacterSet="ISO_IR 192", Manufacturer=text)
    assert read_radiograph(data).manufacturer == name


def test_a_transfer_syntax_that_is_no_uid_of_the_standard_is_not_repeated() -> None:
    known = "1.2.840.10008.1.2.88"
    for uid, detail in ((known, f" ({known})"), ("19500312.77.20240101", "")):
        data = file_of(ramp(0, 4095)).replace(b"1.2.840.10008.1.2.1\0", uid.encode())
        with pytest.raises(Refused) as caught:
            read_radiograph(data)
        assert str(caught.value) == f"unsupported-syntax{detail}"


def test_a_deflated_bomb_is_refused_before_it_is_parsed() -> None:
    out = io.BytesIO()
    write_dx(out, ramp(0, 4095), syntax="deflated")
    start = out.getvalue().index(b"UL\x04\0") + 8
    start += int.from_bytes(out.getvalue()[start - 4 : start], "little")
    deflater = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    deflater.compress(b"")
    zeros = deflater.compress(bytes(1 << 20)) + deflater.flush(zlib.Z_FULL_FLUSH)
    began = time.process_time()
    with pytest.raises(Refused, match="too-large"):
        read_radiograph(out.getvalue()[:start] + zeros * 3000)  # 3 GB
    assert time.process_time() - began < HANG_S


@pytest.mark.parametrize("padding", [b"\0" * 8, b"\x08\0\x05\0CS\0\0"])
@pytest.mark.parametrize("place", ["meta", "header", "end"])
def test_endless_empty_elements_cost_no_time(padding: bytes, place: str) -> None:
    data = file_of(ramp(0, 4095), **FULL)
    at = {"meta": data.index(b"\x08\0\x16\0UI"), "header": data.index(b"\x28\0\x02\0US"), "end": len(data)}
    bomb = data[: at[place]] + padding * (4 << 17) + data[at[place] :]
    began = time.process_time()
    if place == "end" and not any(padding):
        assert read_radiograph(bomb).pixels.max() == 65535
    else:
        with pytest.raises(Refused):
            read_radiograph(bomb)
    assert time.process_time() - began < HANG_S


def test_a_sequence_of_endless_items_costs_no_time() -> None:
    data = file_of(ramp(0, 4095), **FULL)
    at = data.index(b"\x28\0\x02\0US")
    items = b"\xfe\xff\x00\xe0\0\0\0\0" * (1 << 19) + b"\xfe\xff\xdd\xe0\0\0\0\0"
    began = time.process_time()
    with pytest.raises(Refused, match="implausible-header"):
        read_radiograph(data[:at] + b"\x08\0\x40\x11SQ\0\0\xff\xff\xff\xff" + items + data[at:])
    assert time.process_time() - began < HANG_S


def smooth(top: int) -> np.ndarray[Any, Any]:
    noise = cv2.GaussianBlur(np.random.default_rng(3).random((96, 80)), (0, 0), 6)
    return np.rint(top * (noise - noise.min()) / np.ptp(noise)).astype(np.uint8 if top < 256 else np.uint16)


def cut(jpeg: bytes, share: float) -> bytes:
    """Part of a codestream, with the marker that says that it is whole."""
    return jpeg[: int(len(jpeg) * share)] + b"\xff\xd9"


def jpeg_file(jpeg: bytes, syntax: str, bits: int) -> bytes:
    ds = dcmread(io.BytesIO(file_of(smooth(255).astype("<u2"))))
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = 8 if bits == 8 else 16, bits, bits - 1
    ds.PixelData = encapsulate([jpeg])
    ds["PixelData"].VR = "OB"
    ds["PixelData"].is_undefined_length = True
    ds.file_meta.TransferSyntaxUID = f"1.2.840.10008.1.2.4.{syntax}"
    out = io.BytesIO()
    dcmwrite(out, ds, enforce_file_format=True)
    return out.getvalue()


@pytest.mark.parametrize("share", [0.4, 0.5, 0.8])
def test_a_jpeg_cut_and_ended_properly_is_refused(share: float) -> None:
    eight, twelve = smooth(255), smooth(4095)
    grey = imagecodecs.jpeg8_encode(eight)
    colour = encoded(".jpg", np.dstack([eight, eight // 2, eight // 3]))
    lossless = imagecodecs.jpeg8_encode(twelve, lossless=True, predictor=1, bitspersample=12)
    for whole, broken in (
        (grey, cut(grey, share)),
        (colour, cut(colour, share)),
        (jpeg_file(grey, "50", 8), jpeg_file(cut(grey, share), "50", 8)),
        (jpeg_file(lossless, "70", 12), jpeg_file(cut(lossless, share), "70", 12)),
    ):
        assert read_radiograph(whole).pixels.shape == (96, 80)
        with pytest.raises(Refused, match="truncated"):
            read_radiograph(broken)


def test_a_whole_jpeg_that_ends_in_middle_grey_is_accepted() -> None:
    image = smooth(255)
    image[64:] = 128
    for data in (encoded(".jpg", image), jpeg_file(imagecodecs.jpeg8_encode(image), "50", 8)):
        assert read_radiograph(data).pixels.shape == (96, 80)


@pytest.mark.parametrize("ending", [".png", ".jpg", ".tiff"])
def test_broken_pictures_are_decoded_without_a_word(ending: str, capfd: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(2)
    data = encoded(ending, smooth(255))
    for _ in range(60):
        broken = bytearray(data)
        for at in rng.integers(8, len(data), 5):
            broken[at] = rng.integers(256)
        with contextlib.suppress(Refused):
            read_radiograph(bytes(broken))
    assert capfd.readouterr() == ("", "")


def test_a_voi_lut_of_12_bit_entries_under_a_descriptor_of_16_reaches_white() -> None:
    pixels = ramp(0, 3)
    data = file_of(pixels, VOILUTSequence=lut([4, 0, 16], [0, 1000, 2000, 4095]))
    assert [grey_at(data, pixels, x) for x in range(4)] == [
        round(65535 * v / 4095) for v in (0, 1000, 2000, 4095)
    ]
    darker = file_of(pixels, VOILUTSequence=lut([4, 0, 16], [0, 1000, 2000, 40000]))
    assert grey_at(darker, pixels, 3) == round(65535 * 40000 / 65535)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_jpeg_is_turned_and_mirrored_as_its_exif_says(orientation: int) -> None:
    exif = Image.Exif()
    exif[274] = orientation
    out = io.BytesIO()
    Image.fromarray(smooth(255)).save(out, "JPEG", exif=exif)
    with Image.open(io.BytesIO(out.getvalue())) as image:
        upright = np.asarray(ImageOps.exif_transpose(image))
    assert (read_radiograph(out.getvalue()).pixels == upright.astype(np.uint16) * 257).all()


def test_grey_pictures_with_transparency_are_read() -> None:
    for mode in ("LA", "L"):
        out = io.BytesIO()
        more = {"transparency": 7} if mode == "L" else {}
        Image.fromarray(smooth(255)).convert(mode).save(out, "PNG", **more)
        assert (read_radiograph(out.getvalue()).pixels == smooth(255).astype(np.uint16) * 257).all()
