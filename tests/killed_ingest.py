"""Runs ingest again and again in forked processes that are killed; for `test_ingest_kill.py`.

    python -c "import killed_ingest; killed_ingest.main()" points|changed|moments|full SOURCE FOLDER STEP

A fork of a process that has imported everything starts at once. Each round: a run that is killed,
or whose disk is full, then the same run left alone. Of the points at which a run can be killed
every STEP-th is tried; of random moments there are STEP; disks grow by STEP eighths. Prints one
JSON object: rounds, and what went wrong.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from xraytk import ingest
from xraytk.data import card, dicom, unit, view  # noqa: F401, at once, not in every fork
from xraytk.errors import MachineError

SEED = 7
CHANGES = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "open")
NO_CHANGES = ("SELECT", "PRAGMA")
FULL, WRONG = 5, 9


def run(source: Path, folder: Path, workers: int = -1, out: str = "out") -> None:
    """One ingest; how many files it read is in the file ``read``."""
    read: list[int] = []
    real = unit.read_one
    if workers == -1:
        ingest.read_one = lambda *given: (read.append(1), real(*given))[1]  # type: ignore[assignment]
    config = ingest.IngestConfig(
        source=source, out=folder / out, key=folder / "key", max_px=96, workers=workers, write_dicom=True
    )
    try:
        ingest.run(config)
    finally:
        (folder / "read").write_text(str(len(read)))


def forked(work: Callable[[], object]) -> int:
    """Start a fork that does some work, in a process group of its own; its id."""
    pid = os.fork()
    if pid == 0:
        os.setsid()
        code = WRONG
        try:
            work()
            code = 0
        except MachineError as error:
            code = FULL if "no space left" in str(error) else WRONG
        finally:
            os._exit(code)
    return pid


def ended(pid: int) -> int:
    """Wait for a fork; its exit code, or minus the signal that ended it."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def kill_group(leader: int) -> None:
    """Kill a process and all that it started, but for what tidies Python's semaphores away."""
    os.kill(leader, 9)
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            group = int((folder / "stat").read_text().rpartition(")")[2].split()[2])
            if group == leader and b"resource_tracker" not in (folder / "cmdline").read_bytes():
                os.kill(int(folder.name), 9)


def die_at(number: int, out: Path) -> None:
    """Have this process killed just before its ``number``-th change on disk or in a database."""
    left = [number]

    def count() -> None:
        left[0] -= 1
        if left[0] < 0:
            os.kill(os.getpid(), 9)

    def heard(event: str, given: tuple[Any, ...]) -> None:
        if event in CHANGES and str(given[0]).startswith(str(out)):
            if event == "open" and not (isinstance(given[2], int) and given[2] & (os.O_WRONLY | os.O_RDWR)):
                return
            count()

    class Watched(sqlite3.Connection):
        def execute(self, sql: str, *given: Any) -> sqlite3.Cursor:
            if not sql.startswith(NO_CHANGES):
                count()
            return super().execute(sql, *given)

        def executescript(self, sql: str) -> sqlite3.Cursor:
            count()
            return super().executescript(sql)

    real = sqlite3.connect
    sqlite3.connect = lambda *given, **more: real(*given, factory=Watched, **more)  # type: ignore[assignment]
    sys.addaudithook(heard)


def content(out: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {str(p.relative_to(out)): p.read_bytes() for p in sorted(out.rglob("*")) if p.is_file()}


def noted_down(out: Path) -> int:
    """Entries of the journal, as a copy of it says."""
    copy = out.parent / "copy"
    shutil.rmtree(copy, ignore_errors=True)
    copy.mkdir()
    for path in out.glob("journal.sqlite*"):
        shutil.copy(path, copy)
    if not (copy / "journal.sqlite").exists():
        return 0
    base = sqlite3.connect(copy / "journal.sqlite")
    try:
        return int(base.execute("SELECT COUNT(*) FROM files").fetchone()[0])
    except sqlite3.OperationalError:  # no such table
        return 0
    finally:
        base.close()


def again(
    source: Path, folder: Path, wanted: dict[str, bytes], files: int | None, out: str = "out"
) -> list[str]:
    """Run once more, undisturbed; what is wrong with the result."""
    before = noted_down(folder / out)
    code = ended(forked(lambda: run(source, folder, out=out)))
    made = content(folder / out)
    wrong = [name for name in wanted.keys() | made.keys() if wanted.get(name) != made.get(name)]
    read = int((folder / "read").read_text())
    if files is not None and read != files - before:
        wrong.append(f"{read} files were read, {before} of {files} had been")
    return wrong + ([f"exit code {code}"] if code else [])


def changed(source: Path, folder: Path, wanted: dict[str, bytes], files: int) -> dict[str, Any]:
    """The same over an earlier output, whose first file has become another since."""
    (folder / "out").rename(folder / "earlier")
    shutil.copy(source.parent / "other.dcm", sorted(source.iterdir())[0])
    shutil.copytree(folder / "earlier", folder / "out")
    ended(forked(lambda: run(source, folder)))
    return points(source, folder, content(folder / "out"), None)


def points(source: Path, folder: Path, wanted: dict[str, bytes], files: int | None) -> dict[str, Any]:
    """Kill at every change on disk and in the databases."""
    wrong, number, step = {}, 0, int(sys.argv[4])
    while True:
        shutil.rmtree(folder / "out", ignore_errors=True)
        if (folder / "earlier").exists():
            shutil.copytree(folder / "earlier", folder / "out")

        def work(number: int = number) -> None:
            die_at(number, folder / "out")
            run(source, folder)

        code = ended(forked(work))
        if code == 0:
            break
        found = again(source, folder, wanted, files)
        if found or code != -9:
            wrong[number] = [*found, code]
        number += step
    return {"rounds": number // step, "wrong": wrong}


def moments(source: Path, folder: Path, wanted: dict[str, bytes], files: int) -> dict[str, Any]:
    """Kill parent and workers at random moments of an undisturbed run's time."""
    began = time.monotonic()
    ended(forked(lambda: run(source, folder, workers=2)))
    whole = time.monotonic() - began
    wrong, killed = {}, 0
    for share in np.sort(np.random.default_rng(SEED).random(int(sys.argv[4]))):
        shutil.rmtree(folder / "out", ignore_errors=True)
        pid = forked(lambda: run(source, folder, workers=2))
        time.sleep(share * whole)
        kill_group(pid)
        killed += ended(pid) == -9
        if found := again(source, folder, wanted, files):
            wrong[f"{share:.2f}"] = found
    return {"rounds": killed, "wrong": wrong}


def full(source: Path, folder: Path, wanted: dict[str, bytes], files: int) -> dict[str, Any]:
    """Run on ever larger disks until all fits; after each, enlarge the disk and run again."""
    wrong, rounds, size = {}, 0, 16
    disk = folder / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}k", "tmpfs", disk], check=True)
    while True:
        shutil.rmtree(disk / "out", ignore_errors=True)
        subprocess.run(["mount", "-o", f"remount,size={size}k", disk], check=True)
        code = ended(forked(lambda: run(source, folder, out="disk/out")))
        if code == 0:
            break
        rounds += 1
        left = [p.name for p in (disk / "out").rglob(".tmp-*")]
        subprocess.run(["mount", "-o", "remount,size=64m", disk], check=True)
        found = again(source, folder, wanted, files, "disk/out") + left
        if found or code != FULL:
            wrong[size] = [*found, code]
        size += size * int(sys.argv[4]) // 8 + 4
    return {"rounds": rounds, "wrong": wrong}


def main() -> None:
    """Make what is wanted, then kill."""
    what, source, folder = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    files = sum(p.is_file() for p in source.rglob("*"))
    if ended(forked(lambda: run(source, folder))):
        sys.exit("an undisturbed run fails")
    wanted = content(folder / "out")
    print(json.dumps(globals()[what](source, folder, wanted, files)))
