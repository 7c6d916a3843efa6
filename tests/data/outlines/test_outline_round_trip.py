"""What is exported comes back when it is imported."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from xraytk.data import dicom_write, manifest, pictures, profile
from xraytk.data.outlines.formats import FORMATS, format_of
from xraytk.data.outlines.give import export_outlines
from xraytk.errors import DataError, UsageError


def contours(*rows: dict[str, Any]) -> pa.Table:
    return pa.Table.from_pylist(list(rows), schema=manifest.CONTOURS)


def write_dicom(folder: Path, image_id: str, key: bytes, sop: str, **more: Any) -> None:
    """A de-identified DICOM file as ingest writes it, of 880 x 800."""
    import io

    stream = io.BytesIO()
    pixels = np.add.outer(np.arange(880), np.arange(800)).astype(np.uint16)
    dicom_write.write_dx(stream, pixels, sop_uid=sop, patient_id="P", study_date="20200101", **more)
    path = folder / manifest.image_path(image_id, "dicom")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(profile.clean_dicom(stream.getvalue(), key=key))


@pytest.mark.parametrize("name", FORMATS)
def test_lungs_come_back_as_they_went(name: str, tmp_path: Path, bring: Any, kit: SimpleNamespace) -> None:
    if name == "seg":
        pytest.importorskip("highdicom")
    for number, image_id in enumerate((kit.ID, kit.OTHER)):
        write_dicom(tmp_path / "ingest", image_id, kit.KEY, f"1.2.{number}") if name == "seg" else None
    images = kit.table(kit.image(), kit.image(kit.OTHER))
    rows = contours(kit.contour(), kit.contour(kit.OTHER))
    done = [
        export_outlines(rows, images, name, tmp_path / f"out{i}", dicom=tmp_path / "ingest" / "dicom")
        for i in range(2)
    ]
    assert (done[0].written, done[0].left_out) == (2, {})
    files = sorted((tmp_path / "out0").iterdir())
    assert {format_of(path) for path in files} == {name}
    assert [p.read_bytes() for p in files] == [p.read_bytes() for p in sorted((tmp_path / "out1").iterdir())]
    result, made, rejected = bring(tmp_path / "out0", dicom=tmp_path / "ingest" / "dicom")
    assert (result.imported, rejected, result.unknown_labels) == (2, [], {})
    for image_id in (kit.ID, kit.OTHER):
        assert made[image_id].origin == name
        for polygon in kit.contour()["polygons"]:
            if name == "png" and polygon["name"] == "heart":
                continue
            found = kit.dice(made[image_id].polygons, kit.contour()["polygons"], polygon["name"], 220, 200)
            assert found > 0.99, (name, polygon["name"], found)


def test_png_masks_are_of_eight_bits_in_the_size_of_the_image(tmp_path: Path, kit: SimpleNamespace) -> None:
    export_outlines(contours(kit.contour()), kit.table(kit.image()), "png", tmp_path)
    mask = pictures.read_png(tmp_path / f"{kit.ID}.png")
    assert (mask.shape, mask.dtype, np.unique(mask).tolist()) == ((220, 200), np.uint8, [0, 255])
    assert mask[100, 60] == 255
    assert mask[130, 110] == 0, "the heart is no lung"


def test_contours_of_other_images_and_sizes_are_counted(tmp_path: Path, kit: SimpleNamespace) -> None:
    rows = contours(
        kit.contour("0" * 16), kit.contour() | {"width": 100}, kit.contour(kit.OTHER) | {"polygons": []}
    )
    images = kit.table(kit.image(), kit.image(kit.OTHER))
    done = export_outlines(rows, images, "coco", tmp_path)
    assert (done.written, done.left_out) == (0, {"another-size": 1, "unknown-image": 1})


def test_segmentations_need_dicom_files(tmp_path: Path, kit: SimpleNamespace) -> None:
    images, rows = kit.table(kit.image()), contours(kit.contour())
    with pytest.raises(DataError, match="--write-dicom"):
        export_outlines(rows, images, "seg", tmp_path / "out", dicom=tmp_path / "none")
    pytest.importorskip("highdicom")
    (tmp_path / "dicom").mkdir()
    done = export_outlines(rows, images, "seg", tmp_path / "out", dicom=tmp_path / "dicom")
    assert done.left_out == {"no-dicom": 1}


def test_an_unknown_format_is_a_wrong_use(tmp_path: Path, kit: SimpleNamespace) -> None:
    with pytest.raises(UsageError, match="labelme"):
        export_outlines(contours(), kit.table(), "nifti", tmp_path)


def test_a_segmentation_says_nothing_of_the_patient_and_lies_on_the_stored_image(
    tmp_path: Path, kit: SimpleNamespace, bring: Any
) -> None:
    """The source lies on its side, the contour does not."""
    pytest.importorskip("highdicom")
    import pydicom

    ingest = tmp_path / "ingest"
    write_dicom(ingest, kit.ID, kit.KEY, "1.2.3", patient_name="Secret^Name", institution="Hospital")
    images = kit.table(
        kit.image(width=220, height=200, source_width=880, source_height=800, orientation="rot90")
    )
    row = kit.contour() | {"width": 220, "height": 200}
    for polygon in row["polygons"]:
        polygon["y"] = [y * 0.9 for y in polygon["y"]]
    export_outlines(contours(row), images, "seg", tmp_path / "out", dicom=ingest / "dicom")
    (path,) = (tmp_path / "out").iterdir()
    data = path.read_bytes()
    assert b"Secret" not in data
    assert b"Hospital" not in data
    ds = pydicom.dcmread(path)
    assert (ds.Rows, ds.Columns) == (880, 800)
    _, made, _ = bring(tmp_path / "out", images=images, dicom=ingest / "dicom")
    for name in ("right_lung", "left_lung", "heart"):
        assert kit.dice(made[kit.ID].polygons, row["polygons"], name, 200, 220) > 0.99
