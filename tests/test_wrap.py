from __future__ import annotations

import os
import zipfile
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


NAMES = (
    "../../evil.png", "/evil.png", "..\\evil.png", "C:\\evil.png", "a/../evil.png", "evil.jpg",
    "evil-png.png", "evil.dcm/deep.png", "evil-dcm/deep.png", ".lock/x.png", "..png",
    "n" * 240 + ".png", ".lock.png",
)  # fmt: skip


def test_names_in_a_zip_cannot_lead_out_of_the_folder_nor_onto_each_other(tmp_path: Path) -> None:
    png = cv2.imencode(".png", picture(1))[1].tobytes()
    source = tmp_path / "a/b/c/pictures.zip"
    source.parent.mkdir(parents=True)
    with zipfile.ZipFile(source, "w") as archive:
        for name in NAMES:
            archive.writestr(name, png)
    result = run(config(source))
    assert result.reasons == {"unsafe-name": 3}
    assert result.written == len(NAMES) - 3 == len(dicoms(result.out))
    everything = {p for p in tmp_path.rglob("*") if p.is_file()}
    assert everything == {source, *result.out.rglob("*.dcm")}
    assert run(config(source)).skipped == result.written


def test_a_link_in_the_folder_does_not_lead_out_of_it(pictures: Path) -> None:
    (pictures.parent / "elsewhere").mkdir()
    (pictures.parent / "dcm").mkdir()
    (pictures.parent / "dcm/deep").symlink_to(pictures.parent / "elsewhere")
    result = run(config(pictures))
    assert (result.written, result.reasons["unsafe-name"]) == (2, 2)
    assert not any((pictures.parent / "elsewhere").iterdir())


def test_a_name_that_is_not_utf_8_is_wrapped(pictures: Path) -> None:
    odd = pictures / os.fsdecode(b"bad\xff\xfe.png")
    try:
        odd.write_bytes((pictures / "a.png").read_bytes())
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    result = run(config(pictures))
    assert (result.written, result.rejected) == (5, 1)


def test_what_was_not_foreseen_costs_one_picture_only(pictures: Path) -> None:
    table = pictures.parent / "about.jsonl"
    table.write_text('{"image": "b.jpg", "patient": "\\ud800"}\n')
    result = run(config(pictures, metadata=table))
    assert (result.written, result.reasons["unexpected-error"]) == (3, 1)
