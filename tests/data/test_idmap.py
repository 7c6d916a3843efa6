from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from xraytk.data.idmap import IdMap, default_path
from xraytk.errors import DataError, UsageError


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_an_id_gives_its_path_back_before_and_after_closing(tmp_path: Path) -> None:
    with IdMap(tmp_path / "deep" / "map") as found:
        found.add("00ff", "/archive/Müller^Anna/王伟.dcm")
        assert found.path_of("00ff") == "/archive/Müller^Anna/王伟.dcm"
        assert found.path_of("00fe") is None
    with IdMap(tmp_path / "deep" / "map") as found:
        assert found.path_of("00ff") == "/archive/Müller^Anna/王伟.dcm"


def test_names_that_are_no_text_come_back_as_the_same_bytes(tmp_path: Path) -> None:
    name = os.fsdecode(b"/archive/\xff\xfe.dcm")
    with IdMap(tmp_path / "map") as found:
        found.add("1", name)
        found.flush()
        assert os.fsencode(found.path_of("1") or "") == b"/archive/\xff\xfe.dcm"


def test_an_id_added_again_takes_the_new_path(tmp_path: Path) -> None:
    with IdMap(tmp_path / "map") as found:
        found.add("1", "/old")
        found.flush()
        found.add("1", "/new")
        assert found.path_of("1") == "/new"
        assert len(found) == 1


def test_nobody_else_may_read_it_even_with_an_open_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        with IdMap(tmp_path / "new" / "map") as found:
            found.add("1", "/a")
            found._db.execute("BEGIN IMMEDIATE")
            found._db.execute("INSERT INTO paths VALUES ('2', x'00')")
            assert {mode(p) for p in (tmp_path / "new").iterdir()} == {0o600}
            found._db.execute("COMMIT")
    finally:
        os.umask(before)
    assert mode(tmp_path / "new") == 0o700


def test_a_map_that_others_may_read_is_refused(tmp_path: Path) -> None:
    IdMap(tmp_path / "map").close()
    (tmp_path / "map").chmod(0o640)
    with pytest.raises(DataError, match="0640"):
        IdMap(tmp_path / "map")


def test_it_never_lies_in_the_output(tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        IdMap(tmp_path / "out" / "map", outside=tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("content", [b"not a database, but a text of some length" * 9, None])
def test_another_file_is_refused_and_left_as_it_is(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "map"
    if content is None:
        import sqlite3

        db = sqlite3.connect(path)
        db.execute("CREATE TABLE other (x)")
        db.close()
        content = path.read_bytes()
    else:
        path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(DataError, match="not a map"):
        IdMap(path)
    assert path.read_bytes() == content


def test_a_killed_process_leaves_all_that_it_flushed(tmp_path: Path) -> None:
    script = f"""
        import os, signal
        from pathlib import Path
        from xraytk.data.idmap import IdMap
        found = IdMap(Path({str(tmp_path / "map")!r}))
        for i in range(1000):
            found.add(f"{{i:04x}}", f"/a/{{i}}")
        found.flush()
        found.add("late", "/b")
        os.kill(os.getpid(), signal.SIGKILL)
    """
    ended = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], check=False)
    assert ended.returncode == -signal.SIGKILL
    with IdMap(tmp_path / "map") as found:
        assert len(found) == 1000
        assert found.path_of("03e7") == "/a/999"
        assert found.path_of("late") is None


def test_two_maps_on_one_file_add_to_each_other(tmp_path: Path) -> None:
    with IdMap(tmp_path / "map") as one, IdMap(tmp_path / "map") as two:
        one.add("1", "/a")
        two.add("2", "/b")
        one.flush()
        two.flush()
        assert (one.path_of("2"), two.path_of("1")) == ("/b", "/a")


def test_it_does_not_print_what_it_holds(tmp_path: Path) -> None:
    with IdMap(tmp_path / "map") as found:
        found.add("1", "/archive/Anna")
        assert "Anna" not in repr(found)


def test_it_lies_beside_the_key() -> None:
    assert default_path(Path("/home/me/.config/xraytk/key")) == Path("/home/me/.config/xraytk/key.paths")


def test_adding_the_same_ids_run_after_run_does_not_make_it_grow(tmp_path: Path) -> None:
    sizes = []
    for run in range(12):
        with IdMap(tmp_path / "map") as found:
            for i in range(1500):
                found.add(f"{i:016x}", f"/archive/{run}/{i:08}")
        sizes.append((tmp_path / "map").stat().st_size)
    assert max(sizes) < 4 * sizes[0]
    with IdMap(tmp_path / "map") as found:
        assert len(found) == 1500
        assert found.path_of(f"{7:016x}") == "/archive/11/00000007"


def test_all_ids_are_listed_with_their_last_path(tmp_path: Path) -> None:
    with IdMap(tmp_path / "key.paths") as paths:
        for name, path in (("a", "/1"), ("b", "/2"), ("a", "/3")):
            paths.add(name, path)
        assert sorted(paths.items()) == [("a", "/3"), ("b", "/2")]
