from __future__ import annotations

import os
import zipfile
from pathlib import Path

import pytest

from xraytk.data import sources
from xraytk.data.sources import Source, UnreadableError, list_sources, read_source


def _names(root: Path, leave_out: tuple[Path, ...] = ()) -> list[str]:
    return [s.name for s in list_sources(root, leave_out)]


def _reason(source: Source) -> str:
    with pytest.raises(UnreadableError) as caught:
        read_source(source)
    return caught.value.reason


def test_folders_are_listed_deep_and_in_order(tmp_path: Path) -> None:
    for name in ("b/2", "b/1", "a", "c/.hidden"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(name.encode())
    found = list(list_sources(tmp_path))
    assert [s.name for s in found] == ["a", "b/1", "b/2", "c/.hidden"]
    assert read_source(found[1]) == b"b/1"


def test_a_single_file_is_listed_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"1")
    assert _names(tmp_path / "x") == ["x"]


def test_a_loop_of_links_ends(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "f").write_bytes(b"1")
    (tmp_path / "a" / "up").symlink_to(tmp_path)
    (tmp_path / "self").symlink_to(tmp_path / "self")
    found = {s.name: s for s in list_sources(tmp_path)}
    assert set(found) == {"a/f", "self"}
    assert _reason(found["self"]) == "unreadable"


def test_what_is_left_out_is_passed_over(tmp_path: Path) -> None:
    for name in ("out/x", "in/y", "table.csv"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"1")
    (tmp_path / "alias").symlink_to(tmp_path / "out")
    left_out = (tmp_path / "out", tmp_path / "in" / ".." / "table.csv", tmp_path / "missing")
    assert _names(tmp_path, left_out) == ["in/y"]


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (found,) = list_sources(tmp_path)
    assert _reason(found) == "not-a-file"
    assert _reason(Source("pipe", str(tmp_path / "pipe"))) == "not-a-file"


def test_a_file_that_went_away_has_vanished(tmp_path: Path) -> None:
    assert _reason(Source("x", str(tmp_path / "x"))) == "vanished"


def test_zips_are_read_in_place(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "z.ZIP", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("p/a", b"one")
        archive.writestr("p/", b"")
        archive.writestr("../../b", b"two")
    found = {s.name: s for s in list_sources(tmp_path)}
    assert {name: read_source(s) for name, s in found.items()} == {
        "z.ZIP/p/a": b"one",
        "z.ZIP/../../b": b"two",
    }
    assert _names(tmp_path / "z.ZIP") == ["p/a", "../../b"]
    assert [p.name for p in tmp_path.iterdir()] == ["z.ZIP"]


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_members_of_one_name_are_told_apart(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "z.zip", "w") as archive:
        archive.writestr("a", b"one")
        archive.writestr("a", b"two")
    found = list(list_sources(tmp_path))
    assert len({s.name for s in found}) == 2
    assert [read_source(s) for s in found] == [b"one", b"two"]


def test_broken_encrypted_and_nested_archives_have_their_reasons(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "good.zip", "w") as archive:
        archive.writestr("inner.zip", b"PK")
        archive.writestr("a", b"content that is found again")
    data = (tmp_path / "good.zip").read_bytes()
    (tmp_path / "bad-member.zip").write_bytes(data.replace(b"found again", b"lost again!"))
    locked = bytearray(data)
    for at in (6, data.index(b"PK\x01\x02") + 8):
        locked[at] |= 1
    (tmp_path / "locked.zip").write_bytes(bytes(locked))
    (tmp_path / "torn.zip").write_bytes(data[:40])
    found = {s.name: s for s in list_sources(tmp_path)}
    assert _reason(found["good.zip/inner.zip"]) == "nested-archive"
    assert _reason(found["bad-member.zip/a"]) == "bad-archive"
    assert _reason(found["locked.zip/inner.zip"]) == "encrypted"
    assert _reason(found["torn.zip"]) == "bad-archive"


def test_bombs_are_refused_unread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with zipfile.ZipFile(tmp_path / "z.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a", bytes(1 << 20))
    (tmp_path / "big").write_bytes(bytes(2000))
    monkeypatch.setattr(sources, "MAX_FILE_BYTES", 1000)
    assert [_reason(s) for s in list_sources(tmp_path)] == ["too-large", "too-large"]


def test_a_source_never_prints_its_path(tmp_path: Path) -> None:
    assert "TOKEN" not in repr(Source("TOKEN", str(tmp_path / "TOKEN")))
