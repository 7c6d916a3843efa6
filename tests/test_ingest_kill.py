from __future__ import annotations

import functools
import json
import os
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest

from xraytk import ingest
from xraytk.data import pool, synthetic, unit
from xraytk.data.dicom_write import write_dx
from xraytk.files import folder_lock
from xraytk.ingest import IngestConfig
from xraytk.progress import Silent

sys.path.insert(0, str(Path(__file__).parent / "data"))
import broken_files

HERE = Path(__file__).parent


def _dicom(path: Path, number: int) -> None:
    made = cv2.resize(synthetic.make_phantom(number, size_px=160).pixels, (128, 160))
    pixels = np.rint(made.clip(0, 1) * 4095).astype(np.uint16)
    write_dx(path, pixels, patient_id=f"P{number}", accession=f"A{number}", view="PA")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Two radiographs, the first of them twice, and a file that is none."""
    _dicom(tmp_path / "in" / "0", 0)
    _dicom(tmp_path / "in" / "1", 1)
    shutil.copy(tmp_path / "in" / "0", tmp_path / "in" / "0-again")
    (tmp_path / "in" / "notes").write_text("no image")
    _dicom(tmp_path / "other.dcm", 2)
    return tmp_path / "in"


def _killed(what: str, source: Path, *step: str, before: tuple[str, ...] = ()) -> dict[str, Any]:
    folder = source.parent / what
    folder.mkdir()
    code = "import killed_ingest; killed_ingest.main()"  # workers that start import no script again
    command = [*before, sys.executable, "-c", code, what, source, folder, *step]
    env = os.environ | {"PYTHONPATH": os.pathsep.join([str(HERE), *sys.path])}
    done = subprocess.run(command, stdout=subprocess.PIPE, timeout=300, env=env)
    assert done.returncode == 0
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("what", ["points", "changed"])
def test_killed_at_any_change_on_disk_it_goes_on_to_the_same_bytes(what: str, source: Path) -> None:
    found = _killed(what, source, "17")  # "1" tries all hundred and more, in a minute or two
    assert found["rounds"] >= 5
    assert found["wrong"] == {}


def test_killed_at_random_moments_with_its_workers_it_goes_on_to_the_same_bytes(source: Path) -> None:
    found = _killed("moments", source, "5")
    assert found["rounds"] >= 3
    assert found["wrong"] == {}


def test_a_full_disk_stops_it_clearly_and_once_there_is_space_it_goes_on(source: Path) -> None:
    own = ("unshare", "--map-root-user", "--mount")  # a disk of its own, that ends with the process
    probe = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", source.parent]
    if not shutil.which("unshare") or subprocess.run([*own, *probe], capture_output=True).returncode:
        pytest.skip("mounting a small disk is not allowed here")
    found = _killed("full", source, "6", before=own)
    assert found["rounds"] >= 3
    assert found["wrong"] == {}


def test_a_second_ingest_into_one_output_is_refused(source: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "xraytk", "ingest", source, "--out", tmp_path / "out"]
    with folder_lock(tmp_path / "out"):
        done = subprocess.run([*command, "--key", tmp_path / "key"], capture_output=True, text=True)
    assert done.returncode == 4
    assert "in use by another xraytk process" in done.stderr
    assert list((tmp_path / "out").iterdir()) == []


class OnceListed(Silent):
    """Does something between the listing and the reading."""

    def __init__(self, does: Callable[[], object]) -> None:
        self._does = does

    def task(self, name: str, total: int | None, unit: str = "images") -> Any:
        if name == "ingest":
            self._does()
        return super().task(name, total, unit)


def _rejected(out: Path) -> Counter[str]:
    return Counter(pq.read_table(out / "rejected.parquet")["reason"].to_pylist())


def test_files_that_change_or_vanish_once_listed(source: Path, tmp_path: Path) -> None:
    config = IngestConfig(source=source, out=tmp_path / "out", key=tmp_path / "key", workers=-1)

    def disturb() -> None:
        (source / "1").unlink()
        shutil.copy(tmp_path / "other.dcm", source / "0")

    assert ingest.run(config, OnceListed(disturb)).reasons == {"vanished": 1, "not-dicom": 1}
    first = pq.read_table(tmp_path / "out/manifest")["image_id"].to_pylist()
    _dicom(source / "1", 1)
    assert ingest.run(config).images == 3
    assert set(first) < set(pq.read_table(tmp_path / "out/manifest")["image_id"].to_pylist())
    ingest.run(IngestConfig(source=source, out=tmp_path / "out2", key=tmp_path / "key", workers=-1))
    for name in ("journal.sqlite", "manifest/part-00000.parquet", "rejected.parquet"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "out2" / name).read_bytes()


def _hangs(read: Callable[[unit.Job], unit.Outcome], marker: Path, job: unit.Job) -> unit.Outcome:
    if job.source.name == "1":
        time.sleep(60)
    return read(job)


def _dies(read: Callable[[unit.Job], unit.Outcome], marker: Path, job: unit.Job) -> unit.Outcome:
    if job.source.name == "1":
        os.kill(os.getpid(), 9)
    return read(job)


def _dies_once(read: Callable[[unit.Job], unit.Outcome], marker: Path, job: unit.Job) -> unit.Outcome:
    if job.source.name == "1" and not marker.exists():
        marker.touch()
        os.kill(os.getpid(), 9)
    return read(job)


@pytest.mark.parametrize(
    ("harm", "limit_s", "reasons"),
    [(_hangs, 2.0, {"timed-out": 1}), (_dies, 60.0, {"crashed": 1}), (_dies_once, 60.0, {})],
)
def test_a_worker_that_hangs_or_is_killed_costs_one_file_until_the_next_run(
    harm: Callable[..., unit.Outcome],
    limit_s: float,
    reasons: dict[str, int],
    source: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def engine(
        config: IngestConfig, read: Callable[[unit.Job], unit.Outcome], jobs: Iterator[unit.Job]
    ) -> Generator[tuple[unit.Job, unit.Outcome | None], None, None]:
        harmed = functools.partial(harm, read, tmp_path / "marker")
        return pool.each(harmed, jobs, 2, limit_s=limit_s, late=unit.Outcome(None, "timed-out"))

    config = IngestConfig(source=source, out=tmp_path / "out", key=tmp_path / "key", workers=-1)
    with monkeypatch.context() as patched:
        patched.setattr(ingest, "_engine", engine)
        result = ingest.run(config)
    usual = {"duplicate": 1, "not-dicom": 1}
    assert result.reasons == usual | reasons
    assert result.images == 2 - len(reasons)
    again = ingest.run(config)
    assert (again.images, again.reasons) == (2, usual)


def _damaged(folder: Path, count: int) -> None:
    rng = np.random.default_rng(3)
    good = broken_files.seeds()
    names = sorted(good)
    folder.mkdir()
    for number in range(count):
        data = good[names[number % len(names)]]
        cut = data[: int(rng.integers(len(data)))] if number % 3 == 0 else broken_files.flips(data, rng)
        (folder / f"{number:03d}").write_bytes(cut)


def test_300_damaged_files_give_one_row_each_and_no_surprise(tmp_path: Path) -> None:
    _damaged(tmp_path / "in", 300)
    config = IngestConfig(
        source=tmp_path / "in", out=tmp_path / "out", key=tmp_path / "key", workers=2, not_chest="keep",
        write_dicom=True,
    )  # fmt: skip
    result = ingest.run(config)
    assert result.images + result.rejected == 300
    assert not {"unexpected-error", "crashed", "timed-out", "out-of-memory"} & set(result.reasons)
    rows = pq.read_table(tmp_path / "out/manifest")["source_hash"].to_pylist()
    assert (
        len(set(rows) | set(pq.read_table(tmp_path / "out/rejected.parquet")["source_hash"].to_pylist()))
        == 300
    )
