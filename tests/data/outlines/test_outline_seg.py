"""DICOM segmentations, made by hand."""

from __future__ import annotations

import io
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from pydicom import Dataset
from seg_files import code, items, write

from xraytk.data import dicom_write, manifest, profile
from xraytk.data.contour import rasterise
from xraytk.data.deid import hashed
from xraytk.data.outlines import seg
from xraytk.data.outlines.formats import format_of, read
from xraytk.data.outlines.outline import Outline, Refusal


@pytest.fixture
def masks(kit: SimpleNamespace) -> list[Any]:
    """Of 221 x 201 pixels, so that frames do not begin with a byte."""
    return [rasterise([{"x": p[:, 0], "y": p[:, 1]}], 221, 201) for p in (kit.RIGHT, kit.LEFT)]


@pytest.fixture
def segments() -> list[Dataset]:
    side = items({"CodeValue": "7771000", "CodingSchemeDesignator": "SCT", "CodeMeaning": "Left"})
    return items(
        {"SegmentNumber": 1, "SegmentLabel": "Segment 1",
         "SegmentedPropertyTypeCodeSequence": code(seg.RIGHT_LUNG)},
        {"SegmentNumber": 2, "SegmentLabel": "Segment 2",
         "SegmentedPropertyTypeCodeSequence": code(seg.LUNG, SegmentedPropertyTypeModifierCodeSequence=side)},
    )  # fmt: skip


def test_bits_run_over_the_ends_of_frames(
    tmp_path: Path, masks: list[Any], segments: list[Dataset], kit: SimpleNamespace
) -> None:
    path = write(tmp_path / "a.dcm", masks, segments, ["1.2.9", "1.2.9"])
    assert format_of(path) == "seg"
    (found,) = read(path, "seg")
    assert isinstance(found, Outline)
    assert (found.uid, found.width, found.height) == ("1.2.9", 201, 221)
    assert [ring.label for ring in found.rings] == ["right_lung", "left_lung"]
    for ring, mask in zip(found.rings, masks, strict=True):
        assert (
            rasterise([{"x": ring.points[:, 0], "y": ring.points[:, 1]}], 221, 201) == mask
        ).mean() > 0.999


def test_an_instance_of_the_hospital_is_found_by_its_keyed_hash(
    tmp_path: Path, bring: Any, masks: list[Any], segments: list[Dataset], kit: SimpleNamespace
) -> None:
    """One file of two instances, one of which was not ingested."""
    images = kit.table(
        kit.image(
            hashed(kit.KEY, "image", "1.2.9"), width=201, height=221, source_width=201, source_height=221
        )
    )
    path = write(tmp_path / "a.dcm", [*masks, *masks], segments, ["1.2.9", "1.2.9", "1.2.8", "1.2.8"])
    result, made, rejected = bring(path, images=images, key=kit.KEY)
    assert (result.imported, result.refused) == (1, {"another-series": 1})
    assert rejected[0]["row"] == 1
    (correction,) = made.values()
    assert [p["name"] for p in correction.polygons] == ["right_lung", "left_lung"]
    assert bring(path, images=images)[0].refused == {"another-series": 2}, "without the key"


def test_an_instance_that_was_de_identified_is_found_by_its_file(
    tmp_path: Path, bring: Any, masks: list[Any], segments: list[Dataset], kit: SimpleNamespace
) -> None:
    from pydicom import dcmread

    stream = io.BytesIO()
    dicom_write.write_dx(
        stream, np.arange(221 * 201).reshape(221, 201).astype(np.uint16) % 4096, sop_uid="1.2.9"
    )
    file = tmp_path / manifest.image_path(kit.ID, "dicom")
    file.parent.mkdir(parents=True)
    file.write_bytes(profile.clean_dicom(stream.getvalue(), key=kit.KEY))
    uid = str(dcmread(file).SOPInstanceUID)
    images = kit.table(kit.image(width=201, height=221, source_width=201, source_height=221))
    for name in (f"{kit.ID}.dcm", "other.dcm"):
        path = write(tmp_path / name, masks, segments, [uid, uid])
        assert bring(path, images=images, dicom=tmp_path / "dicom")[0].imported == 1


@pytest.mark.parametrize(
    "more",
    [
        {"NumberOfFrames": 10**6},
        {"Rows": 60_000, "Columns": 60_000},
        {"Rows": 0},
        {"PixelData": b"\0\0"},
        {"SegmentationType": "LABELMAP"},
        {"SegmentSequence": []},
        {"PerFrameFunctionalGroupsSequence": items({})},
        {"BitsAllocated": 16},
    ],
)
def test_a_broken_segmentation_is_refused(
    more: dict[str, Any], tmp_path: Path, masks: list[Any], segments: list[Dataset]
) -> None:
    (found,) = read(write(tmp_path / "a.dcm", masks, segments, ["1.2.9"] * 2, **more), "seg")
    assert isinstance(found, Refusal)
    assert found.reason == "not-readable"


def test_a_fractional_segmentation_is_cut_in_the_middle(
    tmp_path: Path, masks: list[Any], segments: list[Dataset]
) -> None:
    soft = np.concatenate([np.where(m, 60, 40).ravel() for m in masks]).astype(np.uint8).tobytes()
    more = {"SegmentationType": "FRACTIONAL", "BitsAllocated": 8, "MaximumFractionalValue": 100}
    path = write(tmp_path / "a.dcm", masks, segments, ["1.2.9"] * 2, PixelData=soft, **more)
    (found,) = read(path, "seg")
    assert isinstance(found, Outline)
    ring = found.rings[0]
    assert (
        rasterise([{"x": ring.points[:, 0], "y": ring.points[:, 1]}], 221, 201) == masks[0]
    ).mean() > 0.999


def test_another_dicom_file_is_no_segmentation(tmp_path: Path, bring: Any) -> None:
    path = tmp_path / "in" / "a.dcm"
    path.parent.mkdir()
    dicom_write.write_dx(path, np.zeros((9, 9), np.uint16))
    assert bring(path)[0].refused == {"not-readable": 1}
    assert bring(path.parent)[0].left_out == 1
