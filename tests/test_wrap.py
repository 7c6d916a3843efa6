from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from xraytk.data.dicom import read_radiograph
from xraytk.errors import DataError, UsageError
from xraytk.wrap import WrapConfig, run


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "png"
    (folder / "deep").mkdir(parents=True)
    for i, name in enumerate(("a.png", "b.jpg", "deep/c.png", "deep/a.tiff")):
        cv2.imwrite(str(folder / name), picture(i))
    (folder / "broken.png").write_bytes((folder / "a.png").read_bytes()[:90])
    (folder / "notes.txt").write_text("no picture")
    return folder


def picture(seed: int) -> np.ndarray[Any, Any]:
    smooth = cv2.GaussianBlur(np.random.default_rng(seed).random((60, 50)), (0, 0), 4)
    return np.rint(255 * (smooth - smooth.min()) / np.ptp(smooth)).astype(np.uint8)


def config(source: Path, **more: Any) -> WrapConfig:
    return WrapConfig(**{"source": source, "out": source.parent / "dcm", "workers": 1, **more})


def dicoms(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*.dcm"))}


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_a_wrapped_picture_comes_back_in_its_own_greys(pictures: Path, photometric: str) -> None:
    run(config(pictures, photometric=photometric, syntaxes=("jpeg-lossless", "explicit")))
    image = read_radiograph((pictures.parent / "dcm/a.dcm").read_bytes())
    assert (image.photometric, image.bits_stored, image.modality) == (photometric, 12, "DX")
    assert (np.rint(image.pixels / 257) == picture(0)).all()


def test_bad_pictures_are_counted_by_reason_and_the_tree_is_kept(pictures: Path) -> None:
    result = run(config(pictures))
    assert (result.written, result.skipped, result.rejected) == (4, 0, 1)
    assert list(result.reasons.values()) == [1]
    assert set(dicoms(result.out)) == {"a.dcm", "b.dcm", "deep/c.dcm", "deep/a.dcm"}


def test_a_rerun_skips_what_is_whole_and_writes_what_is_missing_again(pictures: Path) -> None:
    first = run(config(pictures))
    before = dicoms(first.out)
    (first.out / "a.dcm").unlink()
    again = run(config(pictures))
    assert (again.written, again.skipped) == (1, 3)
    assert dicoms(first.out) == before


def test_another_setting_or_another_picture_is_written_anew(pictures: Path) -> None:
    run(config(pictures))
    assert run(config(pictures, bits=10)).written == 4
    cv2.imwrite(str(pictures / "a.png"), picture(9))
    assert run(config(pictures, bits=10)).written == 1


def test_metadata_reaches_the_header(pictures: Path) -> None:
    table = pictures.parent / "about.csv"
    table.write_text("image,patient,sex,age,view,modality\na.png,P7,m,058Y,ap,CR\ndeep/a.tiff,P8,F,61,PA,\n")
    result = run(config(pictures, metadata=table))
    assert result.described == 2
    first = read_radiograph((result.out / "a.dcm").read_bytes())
    assert (first.identity.patient_id, first.sex, first.age_years) == ("P7", "M", 58.0)
    assert (first.view, first.modality) == ("AP", "CR")
    assert read_radiograph((result.out / "deep/a.dcm").read_bytes()).identity.patient_id == "P8"
    assert read_radiograph((result.out / "b.dcm").read_bytes()).view == "UNKNOWN"


def test_two_pictures_of_one_name_do_not_overwrite_each_other(pictures: Path) -> None:
    cv2.imwrite(str(pictures / "a.jpg"), picture(7))
    result = run(config(pictures))
    assert result.written == 5
    assert len(dicoms(result.out)) == 5


def test_two_processes_write_the_same_bytes_as_one(pictures: Path) -> None:
    run(config(pictures))
    run(config(pictures, out=pictures.parent / "two", workers=2))
    assert dicoms(pictures.parent / "dcm") == dicoms(pictures.parent / "two")


def test_wrong_settings_and_empty_folders_are_explained(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="does not exist"):
        run(config(tmp_path / "nowhere"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no pictures"):
        run(config(tmp_path / "empty"))
    for wrong in ({"bits": 7}, {"syntaxes": ("mpeg",)}, {"syntaxes": ()}, {"seed": -1}, {"workers": -1}):
        with pytest.raises(UsageError):
            config(tmp_path, **wrong)


def test_a_table_without_a_file_column_is_an_error(pictures: Path) -> None:
    table = pictures.parent / "about.csv"
    table.write_text("patient,sex\nP7,m\n")
    with pytest.raises(DataError, match="column"):
        run(config(pictures, metadata=table))
