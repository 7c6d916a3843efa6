from __future__ import annotations

import io
import os
import pickle
import socket
import zipfile
from pathlib import Path

import pytest

from xraytk.data import archives, reading
from xraytk.data.sources import Source, UnreadableError, list_files_from, list_sources, read_source


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
    for module in (reading, archives):
        monkeypatch.setattr(module, "MAX_FILE_BYTES", 1000)
    assert [_reason(s) for s in list_sources(tmp_path)] == ["too-large", "too-large"]


def test_a_source_never_prints_its_path(tmp_path: Path) -> None:
    assert "TOKEN" not in repr(Source("TOKEN", str(tmp_path / "TOKEN")))


def test_names_in_any_encoding_are_kept(tmp_path: Path) -> None:
    names = [
        b"plain",
        b"line\nend",
        b"latin-\xe4",
        "\u4e2d\u6587".encode(),
        b"\xff\xfe",
        b" space ",
        b"a" * 255,
    ]
    for name in names:
        (tmp_path / os.fsdecode(name)).write_bytes(name)
    found = pickle.loads(pickle.dumps(list(list_sources(tmp_path))))
    assert {os.fsencode(s.name): read_source(s) for s in found} == {n: n for n in names}


def test_what_is_no_file_has_its_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "dangling").symlink_to(tmp_path / "nothing")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket.zip")
        found = {s.name: _reason(s) for s in list_sources(Path())}
    assert found == {"dangling": "unreadable", "socket.zip": "not-a-file"}
    assert [s.fault for s in list_sources(tmp_path / "nothing")] == ["vanished"]


def test_folders_deeper_than_a_path_can_be_end(tmp_path: Path) -> None:
    deep = os.open(tmp_path, os.O_RDONLY)
    for _ in range(30):
        os.mkdir("x" * 200, dir_fd=deep)
        below = os.open("x" * 200, os.O_RDONLY, dir_fd=deep)
        os.close(deep)
        deep = below
    os.close(deep)
    assert {_reason(s) for s in list_sources(tmp_path)} == {"unreadable"}


def test_a_file_written_to_meanwhile_is_read_again_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"1")
    real, turns = os.fstat, [0]

    def write_meanwhile(descriptor: int) -> os.stat_result:
        status = real(descriptor)
        if turns[0]:
            turns[0] -= 1
            with path.open("ab") as stream:
                stream.write(b"2")
        return status

    (found,) = list_sources(tmp_path)
    monkeypatch.setattr(os, "fstat", write_meanwhile)
    turns[0] = 2
    assert read_source(found) == b"122"
    turns[0] = 99
    assert _reason(found) == "changed"


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux")
def test_a_file_with_more_than_its_size_is_changing() -> None:
    assert _reason(Source("x", "/proc/self/status")) == "changed"


def test_a_list_names_files_folders_and_archives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = tmp_path / "base"
    for name in ("d/b", "d/a", "f", "../up"):
        (base / name).parent.mkdir(parents=True, exist_ok=True)
        (base / name).write_bytes(name.encode())
    with zipfile.ZipFile(base / "z.zip", "w") as archive:
        archive.writestr("m", b"1")
    given = ["f", "./d/", "d/a", str(base / "f"), "z.zip", "../up", "gone", str(tmp_path / "up"), "d/../f"]
    (base / "list").write_text("\n".join(given))
    wanted = ["f", "d/a", "d/b", "z.zip/m", "../up", "gone", str(tmp_path / "up")]
    found = list(list_files_from(base / "list"))
    assert [s.name for s in found] == wanted
    assert [s.name for s in found if s.fault] == ["gone"]
    assert _reason(found[5]) == "missing"
    for folder in (base, tmp_path, base / "d"):
        monkeypatch.chdir(folder)
        relative = Path(os.path.relpath(base / "list"))
        again = list(list_files_from(relative))
        assert [s.name for s in again] == wanted
        assert [read_source(s) for s in again if not s.fault] == [
            read_source(s) for s in found if not s.fault
        ]
    monkeypatch.chdir(base)
    (base / "list").write_text(".")
    assert [s.name for s in list_files_from("list", [base / "d"])] == ["f", "z.zip/m"]


def test_a_list_from_a_stream_counts_from_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a\nb").write_bytes(b"1")
    monkeypatch.chdir(tmp_path)
    (found,) = list_files_from(io.BytesIO(b"a\nb\0"))
    assert (found.name, read_source(found)) == ("a\nb", b"1")
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"a\nb\0")))
    assert list(list_files_from("-")) == [found]


def test_listing_holds_no_more_than_a_folder(tmp_path: Path) -> None:
    for i in range(4):
        (tmp_path / str(i)).mkdir()
        (tmp_path / str(i) / "x").write_bytes(b"1")
    listing = list_sources(tmp_path)
    next(listing)
    (tmp_path / "3" / "y").write_bytes(b"1")
    assert [s.name for s in listing] == ["1/x", "2/x", "3/x", "3/y"], "a folder is opened when it is its turn"
