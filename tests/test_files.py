from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from xraytk import files
from xraytk.errors import DataError, MachineError, RunConflictError


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    files.write_json(path, {"x": 1})
    with pytest.raises(TypeError), files.atomic_write(path) as stream:
        stream.write("text where bytes are wanted")
    assert files.read_json(path, "xraytk ingest") == {"x": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_a_failed_folder_leaves_the_old_folder(tmp_path: Path) -> None:
    target = tmp_path / "step"
    with files.atomic_folder(target) as folder:
        (folder / "a").write_text("1")
    with pytest.raises(FileNotFoundError), files.atomic_folder(target) as folder:
        (folder / "no such folder" / "b").write_text("2")
    assert [p.name for p in target.iterdir()] == ["a"]
    assert [p.name for p in tmp_path.iterdir()] == ["step"]


def test_leftovers_of_a_killed_process_are_removed(tmp_path: Path) -> None:
    (tmp_path / ".tmp-1-ab-x.png").write_text("half")
    (tmp_path / ".tmp-1-ab-step").mkdir()
    (tmp_path / "x.png").write_text("whole")
    files.remove_leftovers(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["x.png"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS])
def test_full_or_forbidden_disk_is_explained(tmp_path: Path, number: int) -> None:
    with pytest.raises(MachineError), files.explain_os_errors(tmp_path / "x"):
        raise OSError(number, os.strerror(number))


def test_a_write_that_the_system_refuses_leaves_nothing_behind(tmp_path: Path) -> None:
    code = (
        "import resource, signal, sys; from pathlib import Path; from xraytk import files\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "with files.atomic_write(Path(sys.argv[1])) as stream: stream.write(bytes(100000))\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "big")], capture_output=True, text=True)
    assert done.returncode != 0
    assert "MachineError" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_locked_folder_is_refused_to_a_second_holder(tmp_path: Path) -> None:
    with (
        files.folder_lock(tmp_path / "work"),
        pytest.raises(RunConflictError, match="in use"),
        files.folder_lock(tmp_path / "work"),
    ):
        pass
    with files.folder_lock(tmp_path / "work"):
        pass
    assert list((tmp_path / "work").iterdir()) == []


def test_reading_json_names_the_command_that_writes_it(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="Run `xraytk shard` first"):
        files.read_json(tmp_path / "none.json", "xraytk shard")
    (tmp_path / "bad.json").write_text("{")
    with pytest.raises(DataError, match="cannot be read"):
        files.read_json(tmp_path / "bad.json", "xraytk shard")
    (tmp_path / "list.json").write_text("[]")
    with pytest.raises(DataError, match="not a JSON object"):
        files.read_json(tmp_path / "list.json", "xraytk shard")


def test_sha256_of_the_empty_file(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    assert files.sha256_of(tmp_path / "empty").startswith("e3b0c44298fc1c14")


def test_a_folder_that_cannot_be_made_is_explained(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(MachineError, match="cannot write"), files.folder_lock(tmp_path / "file" / "work"):
        pass
