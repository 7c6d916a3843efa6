from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import pickle
import random
import shutil
import tarfile
import zipfile
from pathlib import Path

import pytest

from xraytk.data import archives, unpack
from xraytk.data.archives import named_archive, single_name
from xraytk.data.sources import Source, list_sources, read_source
from xraytk.data.unreadable import REASONS, UnreadableError

PARTS = {"a": b"one", "b/c.dcm": b"two" * 3000, "empty": b"", "../../up": b"3", "/top": b"4"}
MODES = {"t.tar": "w", "t.tar.gz": "w:gz", "t.TGZ": "w:gz", "t.tar.bz2": "w:bz2", "t.txz": "w:xz"}


def _write_tar(path: Path, parts: dict[str, bytes], mode: str = "w") -> Path:
    with tarfile.open(path, mode) as archive:
        for name, data in parts.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def _write_zip(path: Path, parts: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in parts.items():
            archive.writestr(name, data)
    return path


def _content(root: Path) -> dict[str, bytes]:
    return {s.name: read_source(s) for s in list_sources(root)}


def _reasons(root: Path) -> dict[str, str]:
    reasons = {}
    for source in list_sources(root):
        try:
            read_source(source)
            reasons[source.name] = ""
        except UnreadableError as error:
            reasons[source.name] = error.reason
    return reasons


@pytest.mark.parametrize("name", MODES)
def test_tars_are_read_in_place(tmp_path: Path, name: str) -> None:
    root = _write_tar(tmp_path / name, PARTS, MODES[name])
    assert _content(root) == PARTS
    assert _content(tmp_path) == {f"{name}/{part}": data for part, data in PARTS.items()}
    assert [p.name for p in tmp_path.iterdir()] == [name]
    root.rename(tmp_path / "IM0001")
    assert _content(tmp_path / "IM0001") == PARTS, "the root is known by its content"
    assert list(_content(tmp_path)) == ["IM0001"], "others by their names"


@pytest.mark.parametrize("name", [*MODES, "t.zip"])
def test_members_come_in_any_order_and_in_another_process(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    _write_zip(path, PARTS) if name == "t.zip" else _write_tar(path, PARTS, MODES[name])
    found = list(list_sources(tmp_path)) * 3
    random.Random(0).shuffle(found)
    for source in pickle.loads(pickle.dumps(found)):
        assert read_source(source) == PARTS[source.name.removeprefix(f"{name}/")]


def test_a_single_compressed_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.dcm.gz").write_bytes(gzip.compress(b"one") + gzip.compress(b" two"))
    (tmp_path / "b.PNG.BZ2").write_bytes(bz2.compress(b"two"))
    (tmp_path / "c.xz").write_bytes(lzma.compress(b"three"))
    (tmp_path / "d.gz").write_bytes(b"no gzip at all")
    (tmp_path / "e.gz").write_bytes(_write_tar(tmp_path / "e.tar", {"x": b"1"}, "w:gz").read_bytes())
    (tmp_path / "e.tar").unlink()
    assert _reasons(tmp_path) == {
        "a.dcm.gz/a.dcm": "",
        "b.PNG.BZ2/b.PNG": "",
        "c.xz/c": "",
        "d.gz/d": "bad-archive",
        "e.gz/e": "nested-archive",
    }
    assert _content(tmp_path / "a.dcm.gz") == {"a.dcm": b"one two"}
    assert _content(tmp_path / "e.gz") == {"x": b"1"}, "the root is known by its content"


def test_a_file_with_an_archives_name_that_is_none_is_a_file(tmp_path: Path) -> None:
    for name in ("a.zip", "b.tar", "c.tar.gz"):
        (tmp_path / name).write_bytes(b"text")
        shutil.copy(tmp_path / name, tmp_path / f"{name}.dcm")
    dicom = b"PK\x03\x04" + bytes(124) + b"DICM"
    (tmp_path / "d.zip").write_bytes(dicom)
    assert _content(tmp_path)["d.zip"] == dicom
    assert len(_content(tmp_path)) == 7
    assert _content(tmp_path / "d.zip") == {"d.zip": dicom}


def test_names_say_what_a_file_is() -> None:
    assert {n: named_archive(n) for n in ("a.tar.GZ", "a.gz", "a.dcm", "tar", "a.tbz2", ".zip")} == {
        "a.tar.GZ": "many",
        "a.gz": "one",
        "a.dcm": "",
        "tar": "",
        "a.tbz2": "many",
        ".zip": "many",
    }
    names = {"a.dcm.gz": "a.dcm", "a.tgz": "a.tar", "a.tar.gz": "a.tar", "x": "x", ".gz": ".gz"}
    assert {n: single_name(n) for n in names} == names


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_members_of_one_name_are_told_apart(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "t.tar", "w") as tar, zipfile.ZipFile(tmp_path / "z.zip", "w") as packed:
        for name, data in (("a", b"1"), ("a/2", b"2"), ("a", b"3"), ("a", b"4")):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
            packed.writestr(name, data)
    content = _content(tmp_path)
    assert len(content) == 8
    assert sorted(content.values()) == sorted([b"1", b"2", b"3", b"4"] * 2)


def test_links_and_devices_inside_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"secret")
    with tarfile.open(tmp_path / "t.tar", "w") as archive:
        for i, (kind, target) in enumerate(
            (
                (tarfile.SYMTYPE, str(tmp_path / "secret")),
                (tarfile.LNKTYPE, "../secret"),
                (tarfile.BLKTYPE, ""),
            )
        ):
            info = tarfile.TarInfo(str(i))
            info.type, info.linkname = kind, target
            archive.addfile(info)
    with zipfile.ZipFile(tmp_path / "z.zip", "w") as packed:
        link = zipfile.ZipInfo("link")
        link.create_system, link.external_attr = 3, 0o120777 << 16
        packed.writestr(link, "secret")
    assert _reasons(tmp_path) == {
        "secret": "",
        **{f"t.tar/{i}": "not-a-file" for i in range(3)},
        "z.zip/link": "not-a-file",
    }


def test_archives_in_archives_have_their_reason(tmp_path: Path) -> None:
    inner = _write_zip(tmp_path / "inner", {"x": b"1"}).read_bytes()
    parts = {"by-name.tgz": b"1", "by-content": inner, "ok.dcm": b"1", "DICOMDIR": b"1", "d/dicomdir": b"1"}
    (tmp_path / "inner").unlink()
    _write_zip(tmp_path / "z.zip", parts)
    _write_tar(tmp_path / "t.tar.gz", parts, "w:gz")
    (tmp_path / "g.gz").write_bytes(gzip.compress(inner))
    nested = "nested-archive"
    assert _reasons(tmp_path) == {
        "g.gz/g": nested,
        **{f"{a}/{p}": nested for a in ("z.zip", "t.tar.gz") for p in ("by-name.tgz", "by-content")},
        **{f"{a}/ok.dcm": "" for a in ("z.zip", "t.tar.gz")},
    }


def test_bombs_end_when_they_become_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = {str(i): bytes(1 << 18) for i in range(16)}
    _write_zip(tmp_path / "z.zip", parts)
    _write_tar(tmp_path / "t.tar.gz", parts, "w:gz")
    _write_tar(tmp_path / "t.tar.xz", parts, "w:xz")
    _write_tar(tmp_path / "t.tar", parts)
    (tmp_path / "g.gz").write_bytes(gzip.compress(bytes(1 << 22)))
    monkeypatch.setattr(unpack, "FREE_BYTES", 1 << 20)
    reasons = _reasons(tmp_path)
    assert {reasons[name] for name in ("z.zip", "t.tar.gz", "t.tar.xz", "g.gz/g")} == {"bomb"}
    assert reasons["z.zip/0"] == reasons["t.tar.gz/0"] == reasons["t.tar/15"] == ""
    assert "z.zip/15" not in reasons
    monkeypatch.setattr(unpack, "FREE_BYTES", 1 << 30)
    monkeypatch.setattr(archives, "MAX_FILE_BYTES", 1 << 17)
    assert set(_reasons(tmp_path).values()) == {"too-large"}


def test_members_beyond_the_limit_are_one_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "MAX_MEMBERS", 3)
    _write_tar(tmp_path / "t.tar", {str(i): b"1" for i in range(9)})
    assert _reasons(tmp_path) == {**{f"t.tar/{i}": "" for i in range(3)}, "t.tar": "too-many-members"}


def test_an_archive_that_changed_since_it_was_listed_says_so(tmp_path: Path) -> None:
    path = _write_tar(tmp_path / "t.tar", {"a": b"1", "b": b"2"})
    found = list(list_sources(tmp_path))
    os.utime(path, (1, 1))
    for source in found:
        with pytest.raises(UnreadableError) as caught:
            read_source(source)
        assert caught.value.reason == "changed"
    path.unlink()
    with pytest.raises(UnreadableError) as caught:
        read_source(found[0])
    assert caught.value.reason == "vanished"


def test_a_changed_archive_is_opened_anew(tmp_path: Path) -> None:
    for size in (1, 2, 3):
        path = _write_zip(tmp_path / "z.zip", {"a": b"x" * size, "b": b"y" * size})
        assert _content(path) == {"a": b"x" * size, "b": b"y" * size}


def _try_all(root: Path, truth: dict[str, bytes], whole: bool) -> None:
    """Every source gives bytes or a reason; where a checksum guards them, the right bytes."""
    found = list(list_sources(root))
    assert found, "nothing is lost in silence"
    for source in found:
        try:
            data = read_source(source)
        except UnreadableError as error:
            assert error.reason in REASONS  # noqa: PT017
        else:
            assert not whole or data in truth.values()


@pytest.mark.parametrize("name", [*MODES, "t.zip", "t.gz"])
def test_damage_never_raises(tmp_path: Path, name: str) -> None:
    rng = random.Random(0)
    parts = {f"folder/{i}": rng.randbytes(700 * i) for i in range(6)}
    path = tmp_path / name
    if name == "t.gz":
        path.write_bytes(gzip.compress(parts["folder/5"]))
    elif name == "t.zip":
        _write_zip(path, parts)
    else:
        _write_tar(path, parts, MODES[name])
    data = path.read_bytes()
    for turn in range(140):
        damaged = bytearray(data[: len(data) * turn // 20] if turn < 20 else data)
        for _ in range(rng.randint(1, 6) if turn >= 20 else 0):
            at = rng.randrange(len(damaged)) if turn % 2 else rng.randrange(-300, 300) % len(damaged)
            damaged[at] = rng.randrange(256)
        path.write_bytes(damaged)
        os.utime(path, ns=(turn, turn))
        for root in (path, tmp_path):
            _try_all(root, parts, whole=name == "t.zip" and turn >= 20)


@pytest.mark.parametrize("name", ["t.tar", "t.tgz", "t.zip"])
def test_a_cut_archive_has_a_row_for_what_is_lost(tmp_path: Path, name: str) -> None:
    parts = {str(i): random.Random(i).randbytes(5000) for i in range(10)}
    path = tmp_path / name
    _write_zip(path, parts) if name == "t.zip" else _write_tar(path, parts, MODES.get(name, "w:gz"))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert _reasons(tmp_path)[name] == "bad-archive"


def test_no_place_prints_a_name(tmp_path: Path) -> None:
    _write_tar(tmp_path / "TOKEN.tar", {"TOKEN": b"1"})
    (found,) = list_sources(tmp_path)
    assert isinstance(found, Source)
    assert "TOKEN" not in repr(found)
