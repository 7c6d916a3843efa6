from __future__ import annotations

import importlib
import io
import sys
import tarfile
import uuid
import zipfile
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest

from xraytk.data.remote import is_url, without_password
from xraytk.data.sources import list_files_from, list_sources, read_source
from xraytk.data.unreadable import UnreadableError
from xraytk.errors import DataError, MachineError, UsageError


@pytest.fixture
def bucket() -> Iterator[str]:
    """A URL in memory below which nothing lies yet."""
    name = f"bucket-{uuid.uuid4().hex}"
    yield f"memory://{name}"
    system = fsspec.filesystem("memory")
    if system.exists(f"/{name}"):
        system.rm(f"/{name}", recursive=True)


def _put(url: str, data: bytes) -> None:
    with fsspec.open(url, "wb") as stream:
        stream.write(data)


def _content(url: str) -> dict[str, bytes]:
    return {s.name: read_source(s) for s in list_sources(url)}


def _tar(mode: str) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode=mode) as archive:
        for name, data in (("a", b"one"), ("b", b"two")):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return stream.getvalue()


def _zip() -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("a", b"one")
        archive.writestr("b", b"two")
    return stream.getvalue()


def test_all_below_a_url_is_listed_as_in_a_folder(bucket: str, tmp_path: Path) -> None:
    parts = {
        "b/2": b"2",
        "b/1": b"1",
        "a": b"a",
        "c/d/e:f?g#h%20": b"odd",
        "c/DICOMDIR": b"",
        "t.tgz": _tar("w:gz"),
    }
    parts |= {"z.zip": _zip(), "t.tar": _tar("w"), "empty": b""}
    for name, data in parts.items():
        _put(f"{bucket}/{name}", data)
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(data)
    (tmp_path / "c" / "DICOMDIR").unlink()
    wanted = _content(str(tmp_path))
    assert list(_content(bucket).items()) == list(wanted.items())
    assert _content(f"{bucket}/") == wanted
    assert _content(f"file://{tmp_path}") == wanted


def test_the_root_may_be_a_file_or_an_archive(bucket: str) -> None:
    _put(f"{bucket}/x/one", b"1")
    _put(f"{bucket}/x/unnamed", _tar("w:bz2"))
    assert _content(f"{bucket}/x/one") == {"one": b"1"}
    assert _content(f"{bucket}/x/unnamed") == {"a": b"one", "b": b"two"}


def test_a_file_written_anew_has_another_stamp(bucket: str) -> None:
    _put(f"{bucket}/x", b"1")
    (before,) = list_sources(bucket)
    _put(f"{bucket}/x", b"2")
    (after,) = list_sources(bucket)
    assert before.stamp != after.stamp
    assert (before.name, before.size) == (after.name, after.size)


def test_a_file_that_went_away_has_vanished(bucket: str) -> None:
    for name, data in (("x", b"1"), ("z.zip", _zip())):
        _put(f"{bucket}/{name}", data)
    found = list(list_sources(bucket))
    fsspec.filesystem("memory").rm(f"/{bucket.removeprefix('memory://')}", recursive=True)
    for source in found:
        with pytest.raises(UnreadableError) as caught:
            read_source(source)
        assert caught.value.reason == "vanished"


def test_damage_never_raises(bucket: str) -> None:
    for name, data in (("t.tgz", _tar("w:gz")), ("z.zip", _zip()), ("t.tar", _tar("w"))):
        for i in range(20):
            _put(f"{bucket}/{i}-{name}", data[: len(data) * i // 20])
    found = list(list_sources(bucket))
    assert len(found) >= 60
    for source in found:
        try:
            read_source(source)
        except UnreadableError as error:
            assert error.reason == "bad-archive"  # noqa: PT017


def test_a_list_may_hold_urls(bucket: str, tmp_path: Path) -> None:
    _put(f"{bucket}/x/one", b"1")
    _put(f"{bucket}/z.zip", _zip())
    (tmp_path / "list").write_text(f"{bucket}/x\n{bucket}/z.zip\n{bucket}/x/one\n")
    found = {s.name: read_source(s) for s in list_files_from(tmp_path / "list")}
    assert found == {f"{bucket}/x/one": b"1", f"{bucket}/z.zip/a": b"one", f"{bucket}/z.zip/b": b"two"}


def test_a_url_in_a_list_that_leads_nowhere_is_missing(bucket: str) -> None:
    (found,) = list_files_from(io.BytesIO(f"{bucket}/TOKEN".encode()))
    assert found.fault == "missing"


def test_a_url_that_leads_nowhere_is_an_error_without_it(bucket: str) -> None:
    for url, kind in ((f"{bucket}/TOKEN", DataError), ("nonsense://TOKEN", UsageError)):
        with pytest.raises(kind) as caught:
            list(list_sources(url))
        assert "TOKEN" not in str(caught.value)


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "s3fs", None)
    monkeypatch.delitem(importlib.import_module("fsspec.registry")._registry, "s3", raising=False)
    with pytest.raises(MachineError) as caught:
        list(list_sources("s3://TOKEN/x"))
    assert "pip install s3fs" in str(caught.value)
    assert "TOKEN" not in str(caught.value)


def test_what_is_a_url_and_what_is_not() -> None:
    assert is_url("s3://a")
    assert is_url("gs://a/b")
    assert not any(map(is_url, ("s3:/a", "/a://b", "a/b", "", "C:\\x")))


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://bob:secret@host:1/x", "http://host:1/x"),
        ("s3://bucket/archive", "s3://bucket/archive"),
        ("https://host/x?signature=secret", "https://host/x"),
    ],
)
def test_a_url_is_shown_without_its_password(url: str, shown: str) -> None:
    assert without_password(url) == shown
