from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydicom import Dataset, config
from pydicom.data import get_testdata_file
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from xraytk.data.dicomdir import Reference, references
from xraytk.data.sources import list_sources, read_source
from xraytk.data.unreadable import UnreadableError


@pytest.fixture(autouse=True)
def _lenient() -> Iterator[None]:
    """Let pydicom write names that no DICOMDIR should have."""
    was, config.settings.writing_validation_mode = config.settings.writing_validation_mode, config.IGNORE
    reading, config.settings.reading_validation_mode = config.settings.reading_validation_mode, config.IGNORE
    yield
    config.settings.writing_validation_mode, config.settings.reading_validation_mode = was, reading


def _write(path: Path, ids: list[list[str] | str], syntax: str = ExplicitVRLittleEndian) -> Path:
    """A DICOMDIR by hand: one record a file."""
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.1.3.10"
    ds.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    ds.file_meta.TransferSyntaxUID = syntax
    ds.DirectoryRecordSequence = []
    for parts in [*ids, None]:
        record = Dataset()
        record.DirectoryRecordType = "IMAGE" if parts else "PATIENT"
        if parts:
            record.ReferencedFileID = parts
        ds.DirectoryRecordSequence.append(record)
    little, implicit = syntax != ExplicitVRBigEndian, syntax == ImplicitVRLittleEndian
    ds.save_as(path, enforce_file_format=True, little_endian=little, implicit_vr=implicit)
    return path


def _tree(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(name.encode())
    return root


def _faults(root: Path) -> dict[str, str]:
    return {s.name: s.fault for s in list_sources(root)}


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian])
def test_its_files_are_listed_and_it_is_passed_over(tmp_path: Path, syntax: str) -> None:
    media = _tree(tmp_path / "media", "IMAGES/IM1", "IMAGES/IM2", "extra/IM3")
    dicomdir = _write(media / "DICOMDIR", [["IMAGES", "IM2"], ["IMAGES", "IM1"], ["IMAGES", "GONE"]], syntax)
    named = {"IMAGES/IM1": "", "IMAGES/IM2": "", "IMAGES/GONE": "missing"}
    assert _faults(dicomdir) == named
    assert _faults(media) == {**named, "extra/IM3": ""}
    assert {f"media/{name}": fault for name, fault in _faults(media).items()} == _faults(tmp_path)
    assert [read_source(s) for s in list_sources(dicomdir) if not s.fault] == [b"IMAGES/IM1", b"IMAGES/IM2"]


def test_names_are_found_as_media_are_mounted(tmp_path: Path) -> None:
    _tree(tmp_path, "images/im1", "images/im2.;1", "IMAGES2/IM3.dcm")
    dicomdir = _write(tmp_path / "dicomdir", [["IMAGES", "IM1"], ["IMAGES", "IM2"], "IMAGES2/IM3.dcm"])
    assert _faults(dicomdir) == {"images/im1": "", "images/im2.;1": "", "IMAGES2/IM3.dcm": ""}


def test_nothing_outside_its_folder_is_opened(tmp_path: Path) -> None:
    media = _tree(tmp_path / "media", "IN/A")
    _tree(tmp_path, "secret", "media2/secret")
    (media / "LINK").symlink_to(tmp_path / "secret")
    (media / "DIR").symlink_to(tmp_path / "media2")
    ways: list[list[str] | str] = [
        ["..", "secret"],
        ["IN", "..", "..", "secret"],
        "../secret",
        str(tmp_path / "secret"),
        ["", "etc", "passwd"],
        ["C:", "secret"],
        ["LINK"],
        ["DIR", "secret"],
        ["IN", "A"],
    ]
    dicomdir = _write(media / "DICOMDIR", ways)
    found = _faults(dicomdir)
    assert found.pop("IN/A") == ""
    assert len(found) == 8 - 1  # ../secret twice
    assert set(found.values()) == {"outside-folder"}
    for source in list_sources(dicomdir):
        if source.fault:
            with pytest.raises(UnreadableError):
                read_source(source)


def test_a_broken_one_has_a_row_and_hides_nothing(tmp_path: Path) -> None:
    _tree(tmp_path, "A", "DICOMDIR")
    assert _faults(tmp_path) == {"A": "", "DICOMDIR": "bad-dicomdir"}
    assert _faults(tmp_path / "DICOMDIR") == {"DICOMDIR": "bad-dicomdir"}


def test_real_media_are_whole() -> None:
    for name in ("DICOMDIR", "DICOMDIR-bigEnd", "DICOMDIR-implicit", "DICOMDIR-nooffset"):
        dicomdir = get_testdata_file(f"dicomdirtests/{name}", download=False)
        found = list(references(str(dicomdir)))
        assert len(found) > 20
        assert {r.fault for r in found} == {""}


def test_damage_never_raises(tmp_path: Path) -> None:
    whole = _write(tmp_path / "DICOMDIR", [["A", f"IM{i}"] for i in range(20)]).read_bytes()
    rng = random.Random(0)
    for turn in range(150):
        data = bytearray(whole[: len(whole) * turn // 20] if turn < 20 else whole)
        for _ in range(rng.randint(1, 5) if turn >= 20 else 0):
            data[rng.randrange(len(data))] = rng.randrange(256)
        (tmp_path / "DICOMDIR").write_bytes(data)
        assert all(s.fault for s in list_sources(tmp_path))


def test_a_reference_never_prints_its_name() -> None:
    assert "TOKEN" not in repr(Reference("TOKEN"))
