"""What is stored: by hand, and back to the modality values."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest
from coded_files import Case, object_of
from pydicom import Dataset
from pydicom.sequence import Sequence

from xraytk.data import header
from xraytk.data.dicom import read_radiograph
from xraytk.records import Radiograph

CR = Case("explicit", 12)
FULL = {"WindowCenter": "2048", "WindowWidth": "4096"}


def slope(low: int = 0, high: int = 4095, side: int = 64) -> np.ndarray[Any, Any]:
    return np.rint(np.linspace(low, high, side * side)).astype(np.int64).reshape(side, side)


def chest(side: int = 256) -> np.ndarray[Any, Any]:
    """A soft picture of values 1000 to 3000."""
    noise = cv2.GaussianBlur(np.random.default_rng(0).random((side, side)), (0, 0), side / 10)
    return np.rint(1000 + 2000 * (noise - noise.min()) / np.ptp(noise)).astype(np.int64)


def read(values: np.ndarray[Any, Any], case: Case = CR, **elements: Any) -> Radiograph:
    return read_radiograph(object_of(case, values, **elements))


def undone(image: Radiograph) -> np.ndarray[Any, Any]:
    """Modality values, as the docstring of `grey` says."""
    assert image.range_low is not None
    assert image.range_high is not None
    share = (65535.0 - image.pixels if image.inverted else image.pixels.astype(float)) / 65535
    if image.voi == "log":
        return np.asarray(image.range_low * (image.range_high / image.range_low) ** share)
    return np.asarray(image.range_low + (image.range_high - image.range_low) * share)


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize(
    ("elements", "voi"),
    [
        ({"WindowCenter": "1500", "WindowWidth": "2001"}, "linear"),
        ({"WindowCenter": "1500", "WindowWidth": "2000", "VOILUTFunction": "LINEAR_EXACT"}, "linear_exact"),
        ({}, "percentile"),
        ({"RescaleSlope": "-2.5", "RescaleIntercept": "100"}, "percentile"),
        ({"PresentationIntentType": "FOR PROCESSING"}, "percentile"),
        ({"PresentationIntentType": "FOR PROCESSING", "PixelIntensityRelationship": "LIN"}, "log"),
    ],
)
def test_modality_values_within_the_range_come_back(
    elements: dict[str, str], voi: str, photometric: str
) -> None:
    values = slope(600, 2600)
    image = read(values, CR._replace(photometric=photometric), **elements)
    assert image.voi == voi
    assert image.inverted == (photometric == "MONOCHROME1")
    modality = values * float(elements.get("RescaleSlope", 1)) + float(elements.get("RescaleIntercept", 0))
    low, high = image.range_low, image.range_high
    assert low is not None
    assert high is not None
    inside = (modality >= low) & (modality <= high)
    step = (high - low) / 65535 * (4 if voi == "log" else 1)
    assert np.abs(undone(image) - modality)[inside].max() <= step
    assert image.clipped_low == pytest.approx((modality < low).mean(), abs=1e-6)
    assert image.clipped_high == pytest.approx((modality > high).mean(), abs=1e-6)


def test_a_sigmoid_and_a_lut_have_no_linear_range_but_say_so() -> None:
    image = read(slope(), **FULL, VOILUTFunction="SIGMOID")
    assert (image.voi, image.range_low, image.range_high, image.window) == (
        "sigmoid",
        None,
        None,
        (2048, 4096),
    )
    assert image.clipped_low == image.clipped_high == 0


def test_windows_and_luts_are_counted_and_an_absurd_lut_gives_way_to_the_window() -> None:
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [2, 5000, 16])
    item.add_new("LUTData", "OW", np.array([0, 65535], "<u2").tobytes())
    image = read(
        slope(), VOILUTSequence=Sequence([item]), WindowCenter=["2048", "9"], WindowWidth=["4096", "9"]
    )
    assert (image.voi, image.voi_count, image.window) == ("linear", 3, (2048, 4096))
    assert read(slope()).voi_count == 0


def test_padding_is_counted_apart_from_what_is_clipped() -> None:
    values = slope(0, 1000)
    values[:16] = 4000
    image = read(values, PixelPaddingValue=4000, WindowCenter="500.5", WindowWidth="1001")
    assert image.padded == 0.25
    assert (image.clipped_low, image.clipped_high) == (0, 0)


def framed(dark: int, light: int | None = None) -> np.ndarray[Any, Any]:
    """A chest behind a shutter, with a piece of open beam at one side."""
    values = np.full((400, 400), dark, np.int64)
    values[72:328, 72:328] = chest()
    values[72:328, 72:328] += np.random.default_rng(1).integers(0, 9, (256, 256))
    if light is not None:
        values[:, :72] = light
    return values


@pytest.mark.parametrize("values", [framed(0), framed(4095), framed(0, 4095), framed(4095, 0)])
def test_shutters_and_open_beam_do_not_count_in_the_percentiles(values: np.ndarray[Any, Any]) -> None:
    alone, image = read(chest()), read(values)
    assert image.voi == "percentile"
    for mine, other in ((image.range_low, alone.range_low), (image.range_high, alone.range_high)):
        assert mine is not None
        assert other is not None
        assert abs(mine - other) < 60


def test_bright_bones_within_the_image_do_count() -> None:
    values = chest()
    values[100:160, 60:200] = 4000
    assert read(values).range_high == 4000


def test_raw_detector_data_are_read_flagged_and_shown_with_bones_bright() -> None:
    intensity = slope(100, 4000)
    raw = {"PresentationIntentType": "FOR PROCESSING", "PixelIntensityRelationship": "LIN"}
    lit = read(intensity, **raw, PixelIntensityRelationshipSign=1)
    assert (lit.intent, lit.voi, lit.inverted) == ("PROCESSING", "log", True)
    assert lit.pixels[0, 0] == 65535
    assert lit.pixels[-1, -1] == 0
    assert lit.pixels[32, 0] < 65535 * 0.3  # half the intensity is far more than half the logarithm
    dense = read(intensity, **raw, PixelIntensityRelationshipSign=-1)
    assert dense.pixels[0, 0] == 0
    by_class = read(intensity, SOPClassUID="1.2.840.10008.5.1.4.1.1.1.1.1")
    assert by_class.intent == "PROCESSING"
    assert read(intensity, PresentationIntentType="FOR PRESENTATION").intent == "PRESENTATION"
    assert read(intensity).intent == ""


def test_windows_of_raw_detector_data_are_left_alone() -> None:
    image = read(slope(), PresentationIntentType="FOR PROCESSING", WindowCenter="9", WindowWidth="9")
    assert (image.voi, image.window) == ("percentile", None)


def test_more_values_than_the_stored_bits_hold_are_kept_when_the_image_is_smooth_only_so() -> None:
    values = chest()
    image = read(values, BitsStored=10, HighBit=9)
    assert (image.repairs, image.bits_stored) == (("bits-stored",), 12)
    assert (image.pixels == read(values).pixels).all()


@pytest.mark.parametrize("kind", ["letters", "constant", "noise"])
def test_what_lies_above_the_stored_bits_is_masked_when_it_is_an_overlay_or_rubbish(kind: str) -> None:
    values = chest()
    above = np.zeros_like(values)
    if kind == "letters":
        above[20:40, 20:60:3] = 1 << 12
    elif kind == "constant":
        above += 0xA000
    else:
        above = np.random.default_rng(0).integers(0, 16, values.shape) << 12
    image = read(values + above, CR._replace(bits=16), BitsStored=12, HighBit=11)
    assert image.repairs == ()
    assert (image.pixels == read(values).pixels).all()


def test_a_high_bit_that_the_pixels_contradict_is_not_believed() -> None:
    values = chest()
    for high in (15, 3):
        image = read(values, HighBit=high)
        assert image.repairs == ("high-bit",)
        assert (image.pixels == read(values).pixels).all()
    shifted = read(values << 4, CR._replace(bits=16), BitsStored=12, HighBit=15)
    assert shifted.repairs == ()
    assert (shifted.pixels == read(values).pixels).all()


def test_overlays_are_counted_and_not_burned_in() -> None:
    values = chest()
    drawn = object_of(CR, values)
    bits = {}
    for group in (0x6000, 0x6002):
        bits[group] = np.full(values.size // 8, 255, np.uint8).tobytes()
    image = read(values)
    ds = Dataset()
    for group, data in bits.items():
        ds.add_new((group, 0x0010), "US", 256)
        ds.add_new((group, 0x3000), "OW", data)
    assert header.overlays(ds) == 2
    assert image.overlays == 0
    assert (read_radiograph(drawn).pixels == image.pixels).all()


def test_films_and_captures_of_one_frame_are_read_and_several_frames_refused() -> None:
    assert read(slope(), Modality="RG").modality == "RG"
    words = read(slope(), SOPClassUID="1.2.840.10008.5.1.4.1.1.7.3", NumberOfFrames="1", **FULL)
    assert words.range_high == 4095
    with pytest.raises(Exception, match="multi-frame"):
        read(slope(), NumberOfFrames="12")


def test_a_colour_capture_is_stored_whole_and_its_window_ignored() -> None:
    values = np.dstack([slope(10, 200, 32)] * 3)
    image = read(values, Case("explicit", 8, photometric="RGB"), WindowCenter="5", WindowWidth="2")
    assert image.voi == "full"
    assert (image.pixels == values[..., 0] * 257).all()
    assert (image.range_low, image.range_high, image.clipped_high) == (0, 255, 0)


def _macro(name: str, **elements: Any) -> Sequence:
    item, held = Dataset(), Dataset()
    for keyword, value in elements.items():
        setattr(item, keyword, value)
    setattr(held, name, Sequence([item]))
    return Sequence([held])


@pytest.mark.parametrize(
    "group", ["SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"], ids=["shared", "frame"]
)
def test_an_enhanced_object_of_one_frame_is_read_by_its_functional_groups(group: str) -> None:
    window = {"WindowCenter": "2000", "WindowWidth": "1000"}
    enhanced = read(slope(), **{group: _macro("FrameVOILUTSequence", **window)})
    assert (enhanced.voi, enhanced.window) == ("linear", (2000, 1000))
    assert np.array_equal(enhanced.pixels, read(slope(), **window).pixels)
    rescale = {"RescaleSlope": "2", "RescaleIntercept": "-50"}
    enhanced = read(slope(), **{group: _macro("PixelValueTransformationSequence", **rescale)}, **window)
    assert np.array_equal(enhanced.pixels, read(slope(), **rescale, **window).pixels)
    enhanced = read(slope(), **{group: _macro("PixelMeasuresSequence", PixelSpacing=[0.2, 0.2])})
    assert enhanced.spacing_mm == (0.2, 0.2)


def test_functional_groups_change_nothing_that_the_top_level_says() -> None:
    groups = _macro("FrameVOILUTSequence", WindowCenter="9", WindowWidth="5", VOILUTFunction="SIGMOID")
    image = read(slope(), SharedFunctionalGroupsSequence=groups, **FULL)
    assert (image.voi, image.window) == ("linear", (2048, 4096))
    image = read(slope(), SharedFunctionalGroupsSequence=Sequence([]), **FULL)
    assert image.window == (2048, 4096)
