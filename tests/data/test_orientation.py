from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from coded_files import Case, object_of
from pydicom import Dataset

from xraytk.data import orientation
from xraytk.data.dicom import read_radiograph
from xraytk.records import Radiograph

UPRIGHT = np.arange(64 * 48).reshape(64, 48)
"""A frontal image as it is looked at: the patient's left on the right, feet below."""
FULL = {"WindowCenter": "2048", "WindowWidth": "4096"}
LAID = {  # how an upright frontal image (rows to L, columns to F) may have been stored
    "L\\F": UPRIGHT,
    "R\\F": UPRIGHT[:, ::-1],
    "L\\H": UPRIGHT[::-1],
    "R\\H": UPRIGHT[::-1, ::-1],
    "F\\L": UPRIGHT.T,
    "F\\R": UPRIGHT[:, ::-1].T,
    "H\\L": UPRIGHT[::-1].T,
    "H\\R": UPRIGHT[::-1, ::-1].T,
}


def read(values: np.ndarray[Any, Any], **elements: Any) -> Radiograph:
    return read_radiograph(object_of(Case("explicit", 12), values, **FULL, **elements))


def test_all_eight_ways_to_lie_are_undone_and_named() -> None:
    wanted = read(UPRIGHT).pixels
    done = {}
    for words, stored in LAID.items():
        image = read(np.ascontiguousarray(stored), PatientOrientation=words.split("\\"))
        assert (image.pixels == wanted).all(), words
        done[words] = image.orientation
    assert done == {
        "L\\F": "", "R\\F": "flip-h", "L\\H": "flip-v", "R\\H": "rot180",
        "F\\L": "transpose", "F\\R": "rot90", "H\\L": "rot270", "H\\R": "transverse",
    }  # fmt: skip
    assert set(done.values()) == set(orientation.TURNS)


@pytest.mark.parametrize(
    ("words", "way"), [("A\\F", ""), ("P\\F", ""), ("P\\H", "rot180"), ("F\\A", "rot90"), ("H\\A", "rot270")]
)
def test_laterals_are_rotated_but_never_mirrored(words: str, way: str) -> None:
    image = read(UPRIGHT, PatientOrientation=words.split("\\"))
    assert (image.orientation, image.view) == (way, "LATERAL")


@pytest.mark.parametrize(
    "elements",
    [
        {},
        {"PatientOrientation": ""},
        {"PatientOrientation": ["R"]},
        {"PatientOrientation": ["R", "L"]},
        {"PatientOrientation": ["R", "X"]},
        {"PatientOrientation": ["H", "F"]},
        {"PatientOrientation": ["R", "F"], "ViewPosition": "LL"},
        {"PatientOrientation": ["P", "H"], "ViewPosition": "PA"},
        {"PatientOrientation": ["L", "F"], "FieldOfViewHorizontalFlip": "YES", "FieldOfViewRotation": "90"},
        {"FieldOfViewHorizontalFlip": "YES"},
    ],
)
def test_without_a_clear_word_nothing_is_turned(elements: dict[str, Any]) -> None:
    image = read(UPRIGHT, **elements)
    assert image.orientation == ""
    assert (image.pixels == read(UPRIGHT).pixels).all()


def test_oblique_words_count_by_their_first_letter() -> None:
    ds = Dataset()
    ds.PatientOrientation = ["RA", "FR"]
    assert orientation.turn_of(ds, "PA") == "flip-h"


def test_pixels_become_square_in_the_finer_spacing_and_things_keep_their_size() -> None:
    values = np.zeros((100, 100), np.int64)
    values[40:60, 40:60] = 4095  # 8 mm high, 4 mm wide
    image = read(values, ImagerPixelSpacing=["0.4", "0.2"])
    assert (image.pixels.shape, image.spacing_mm, image.aspect) == ((200, 100), (0.2, 0.2), 2.0)
    inside = np.argwhere(image.pixels > 32767)
    assert (np.ptp(inside, axis=0) + 1).tolist() == [40, 20]


def test_the_aspect_ratio_counts_where_there_is_no_spacing_and_a_hundredth_does_not() -> None:
    assert read(UPRIGHT, PixelAspectRatio=["1", "2"]).pixels.shape == (64, 96)
    assert read(UPRIGHT, PixelAspectRatio=["1000", "1"]).pixels.shape == (64, 48)
    near = read(UPRIGHT, PixelSpacing=["0.1500", "0.1508"])
    assert (near.pixels.shape, near.spacing_mm, near.aspect) == ((64, 48), (0.15, 0.1508), 1.0)


def test_a_turned_image_with_unequal_pixels_keeps_both_right() -> None:
    stored = np.ascontiguousarray(UPRIGHT.T)
    image = read(stored, PatientOrientation=["F", "L"], ImagerPixelSpacing=["0.2", "0.4"])
    assert (image.pixels.shape, image.spacing_mm) == ((128, 48), (0.2, 0.2))


def test_a_bomb_of_an_aspect_ratio_shrinks_instead() -> None:
    image = orientation.to_square(np.zeros((100, 100), np.uint16), 2.0, 15_000)
    assert image.shape == (100, 50)
