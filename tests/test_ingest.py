from __future__ import annotations

import functools
import io
import json
import os
import resource
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest

from xraytk import ingest
from xraytk.data import pictures, synthetic
from xraytk.data.dicom_write import write_dx
from xraytk.errors import DataError, MachineError, RunConflictError, UsageError
from xraytk.ingest import IngestConfig
from xraytk.progress import Silent

TABLES = ("manifest/part-00000.parquet", "rejected.parquet", "reports.parquet", "labels.parquet")


class Notes(Silent):
    def __init__(self) -> None:
        self.said: list[str] = []

    def note(self, text: str) -> None:
        self.said.append(text)


@functools.cache
def _pixels(number: int, height: int = 160, width: int = 128) -> np.ndarray[Any, np.dtype[np.uint16]]:
    """A phantom of 12 bits, different for every number."""
    made = synthetic.make_phantom(number, size_px=160).pixels
    return np.rint(cv2.resize(made, (width, height), interpolation=cv2.INTER_AREA) * 4095).astype(np.uint16)


def _dicom(path: Path, number: int, **more: Any) -> None:
    facts: dict[str, Any] = {
        "patient_id": f"P{number // 2}",
        "patient_name": "Test^Person",
        "accession": f"ACC{number}",
        "study_date": "20240305",
        "birth_date": "19700102",
        "view": "PA",
        "window": (2000.0, 3000.0),
        "spacing_mm": (0.2, 0.2),
    } | more
    write_dx(path, _pixels(number), **facts)


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("key") / "key"


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve good files, one copy, and four that must be refused."""
    root = tmp_path_factory.mktemp("archive")
    for number in range(12):
        _dicom(root / f"d{number % 3}" / (f"im{number}" + ".dcm" * (number % 2)), number)
    (root / "copy").mkdir()
    shutil.copy(root / "d0" / "im0", root / "copy" / "again")
    (root / "notes.txt").write_text("not an image")
    (root / "empty").touch()
    (root / "torn.dcm").write_bytes((root / "d1" / "im1.dcm").read_bytes()[:20000])
    (root / "gone.dcm").symlink_to(root / "nowhere")
    return root


@pytest.fixture(scope="module")
def undisturbed(archive: Path, key: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("undisturbed") / "out"
    ingest.run(IngestConfig(source=archive, out=out, key=key, max_px=96, workers=-1))
    return out


def _rows(out: Path, table: str = TABLES[0]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(out / table).to_pylist()
    return rows


def _content(out: Path) -> dict[str, bytes]:
    """All files that must be equal: the tables, the images, the contact sheet."""
    files = [
        *TABLES,
        "contact-sheet.png",
        "summary.json",
        "journal.sqlite",
        *(str(p.relative_to(out)) for p in out.glob("images/*/*")),
    ]
    return {name: (out / name).read_bytes() for name in sorted(files)}


def test_every_file_has_one_row(undisturbed: Path) -> None:
    rows, rejected = _rows(undisturbed), _rows(undisturbed, "rejected.parquet")
    assert len(rows) == 12
    reasons = sorted(r["reason"] for r in rejected)
    assert reasons == ["duplicate", "empty", "not-dicom", "truncated", "unreadable"]
    assert len({r["source_hash"] for r in rows + rejected}) == 17
    assert [r["image_id"] for r in rows] == sorted(r["image_id"] for r in rows)
    summary = json.loads((undisturbed / "summary.json").read_text())
    assert (summary["format"], summary["images"], summary["rejected"]) == (1, 12, 5)


def test_images_are_16_bit_shrunk_and_described(undisturbed: Path) -> None:
    for row in _rows(undisturbed):
        image = pictures.read_png(undisturbed / row["path"])
        assert image.dtype == np.uint16
        assert image.shape == (row["height"], row["width"]) == (96, 77)
        assert (row["source_height"], row["source_width"]) == (160, 128)
        assert row["spacing_x_mm"] == pytest.approx(0.2 * 128 / 77)
        assert row["spacing_y_mm"] == pytest.approx(0.2 * 160 / 96)
        assert (row["modality"], row["view"], row["bits_stored"]) == ("DX", "PA", 12)
        data = (undisturbed / row["path"]).read_bytes()
        assert not any(chunk in data for chunk in (b"tEXt", b"iTXt", b"zTXt", b"eXIf", b"tIME"))
    assert cv2.imread(str(undisturbed / "contact-sheet.png")) is not None


def test_images_of_a_patient_share_patient_and_split(undisturbed: Path) -> None:
    patients: dict[str, set[str]] = {}
    for row in _rows(undisturbed):
        patients.setdefault(row["patient_hash"], set()).add(row["split"])
    assert len(patients) == 6
    assert all(len(splits) == 1 for splits in patients.values())


def test_two_processes_give_what_one_gives(
    archive: Path, key: Path, undisturbed: Path, tmp_path: Path
) -> None:
    ingest.run(IngestConfig(source=archive, out=tmp_path / "out", key=key, max_px=96, workers=2))
    assert _content(tmp_path / "out") == _content(undisturbed)


KILLED = """
import os, sys
from pathlib import Path
from xraytk import ingest
from xraytk.progress import Silent

class Killer(Silent):
    def task(self, name, total, unit="images"):
        task = super().task(name, total, unit)
        update = task.update
        def kill(done, **facts):
            update(done, **facts)
            if name == "ingest" and done >= 7:
                os.kill(os.getpid(), 9)
        task.update = kill
        return task

if __name__ == "__main__":
    source, out, key, workers = sys.argv[1:]
    config = ingest.IngestConfig(
        source=Path(source), out=Path(out), key=Path(key), max_px=96, workers=int(workers)
    )
    ingest.run(config, Killer())
"""


@pytest.mark.parametrize("workers", [-1, 2])
def test_a_killed_run_goes_on_to_the_same_bytes(
    archive: Path, key: Path, undisturbed: Path, tmp_path: Path, workers: int
) -> None:
    script, out = tmp_path / "killed.py", tmp_path / "out"
    script.write_text(KILLED)
    done = subprocess.run([sys.executable, script, archive, out, key, str(workers)], timeout=60)
    assert done.returncode == -9
    assert not (out / "rejected.parquet").exists()
    (out / "images" / ".tmp-1-ab-x.png").write_bytes(b"half")
    notes = Notes()
    ingest.run(IngestConfig(source=archive, out=out, key=key, max_px=96, workers=-1), notes)
    assert _content(out) == _content(undisturbed)
    assert not list(out.rglob(".tmp-*"))
    (finished,) = (int(note.split()[0]) for note in notes.said if "were finished before" in note)
    assert 6 <= finished < 17  # and not done again; one of the seven is a link to nowhere


def test_a_second_run_reads_nothing_and_adds_what_is_new(archive: Path, key: Path, tmp_path: Path) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    shutil.copytree(archive / "d0", source)
    config = IngestConfig(source=source, out=out, key=key, max_px=96, workers=-1)
    assert ingest.run(config).images == 4
    journal = (out / "journal.sqlite").read_bytes()
    assert ingest.run(config).images == 4
    assert (out / "journal.sqlite").read_bytes() == journal
    shutil.copytree(archive / "d1", source / "more")
    notes = Notes()
    assert ingest.run(config, notes).images == 8
    assert "4 of 8 files were finished before" in notes.said


def test_another_source_is_added_even_where_names_are_equal(key: Path, tmp_path: Path) -> None:
    for day in (1, 2):
        _dicom(tmp_path / f"day{day}" / "IM0001", day)
    config = {"out": tmp_path / "out", "key": key, "workers": -1}
    ingest.run(IngestConfig(source=tmp_path / "day1", **config))
    assert ingest.run(IngestConfig(source=tmp_path / "day2", **config)).images == 2
    (tmp_path / "day2").rename(tmp_path / "moved")  # the same tree from elsewhere is no news
    result = ingest.run(IngestConfig(source=tmp_path / "moved", **config))
    assert (result.images, result.rejected) == (2, 0)


def test_a_changed_file_replaces_its_image(key: Path, tmp_path: Path) -> None:
    _dicom(tmp_path / "in" / "a", 1)
    config = IngestConfig(source=tmp_path / "in", out=tmp_path / "out", key=key, workers=-1)
    ingest.run(config)
    old = _rows(tmp_path / "out")[0]["path"]
    _dicom(tmp_path / "in" / "a", 2, patient_name="Another^Length")
    assert ingest.run(config).images == 1
    assert [str(p.relative_to(tmp_path / "out")) for p in tmp_path.glob("out/images/*/*")] == [
        _rows(tmp_path / "out")[0]["path"]
    ]
    assert not (tmp_path / "out" / old).exists()


def test_a_lost_image_is_made_again(archive: Path, key: Path, undisturbed: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    shutil.copytree(undisturbed, out)
    (out / _rows(out)[3]["path"]).unlink()
    ingest.run(IngestConfig(source=archive, out=out, key=key, max_px=96, workers=-1))
    assert _content(out) == _content(undisturbed)


def test_of_different_files_with_one_uid_the_same_one_is_kept_in_any_order(key: Path, tmp_path: Path) -> None:
    kept = []
    for first, second in (("a", "b"), ("b", "a")):
        root, out = tmp_path / first / "in", tmp_path / first / "out"
        config = IngestConfig(source=root, out=out, key=key, workers=-1)
        for name in (first, second):
            _dicom(root / name, ord(name), sop_uid="1.2.3", patient_id="P")
            ingest.run(config)
        kept.append({k: v for k, v in _content(out).items() if k != "journal.sqlite"})  # knows the folder
    assert kept[0] == kept[1]
    assert len(_rows(out)) == 1
    (rejected,) = _rows(out, "rejected.parquet")
    assert (rejected["reason"], rejected["detail"]) == ("uid-clash", _rows(out)[0]["image_id"])


@pytest.mark.parametrize("change", [{"max_px": 64}, {"split": (0.5, 0.25, 0.25)}, {"key": "another"}])
def test_another_configuration_is_refused_by_name(
    archive: Path, key: Path, undisturbed: Path, tmp_path: Path, change: dict[str, Any]
) -> None:
    out = tmp_path / "out"
    shutil.copytree(undisturbed, out)
    if "key" in change:
        change = {"key": tmp_path / "key"}
    config: dict[str, Any] = {"source": archive, "out": out, "key": key, "max_px": 96, "workers": -1} | change
    with pytest.raises(RunConflictError, match=next(iter(change))):
        ingest.run(IngestConfig(**config))
    assert _content(out) == _content(undisturbed)


def test_zips_give_what_folders_give(archive: Path, key: Path, undisturbed: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as packed:
        for path in sorted(archive.rglob("*")):
            if path.is_file():
                packed.write(path, path.relative_to(archive))
    (tmp_path / "in").mkdir()
    shutil.copy(tmp_path / "a.zip", tmp_path / "in" / "inside.zip")
    for number, source in enumerate((tmp_path / "a.zip", tmp_path / "in")):
        out = tmp_path / f"out{number}"
        result = ingest.run(IngestConfig(source=source, out=out, key=key, max_px=96, workers=-1))
        assert (result.images, result.rejected) == (12, 4)
        ids = [(r["image_id"], r["source_sha256"], r["split"]) for r in _rows(out)]
        assert ids == [(r["image_id"], r["source_sha256"], r["split"]) for r in _rows(undisturbed)]


def test_a_single_file_is_a_source(archive: Path, key: Path, tmp_path: Path) -> None:
    result = ingest.run(IngestConfig(source=archive / "d0" / "im0", work=tmp_path, key=key, workers=-1))
    assert (result.images, result.out) == (1, str(tmp_path / "ingest"))


def test_the_output_inside_the_source_is_not_read(archive: Path, key: Path, tmp_path: Path) -> None:
    shutil.copytree(archive / "d0", tmp_path / "in")
    config = IngestConfig(source=tmp_path / "in", work=tmp_path / "in" / "xraytk-work", key=key, workers=-1)
    first = ingest.run(config)
    assert ingest.run(config).images == first.images == 4
    assert first.rejected == 0


def test_plain_pictures_take_their_facts_from_a_table(key: Path, tmp_path: Path) -> None:
    root = tmp_path / "pictures"
    (root / "x").mkdir(parents=True)
    for number, name in enumerate(("a.png", "x/b.jpg", "x/c.tif", "x/d.png")):
        cv2.imwrite(str(root / name), (_pixels(number) // 16).astype(np.uint8))
    table = root / "facts.csv"
    table.write_text(
        "file,patient,view,sex,age,split,spacing\n"
        "a.png,1,PA,F,61,test,0.5\nx/b.jpg,1,AP,F,61,,\nc.tif,2,lateral,m,7,val,\n"
    )
    out = tmp_path / "out"
    result = ingest.run(IngestConfig(source=root, out=out, metadata=table, key=key, max_px=80, workers=-1))
    assert (result.images, result.rejected, result.patients) == (4, 0, 3)
    rows = {r["view"]: r for r in _rows(out)}
    assert set(rows) == {"PA", "AP", "LATERAL", "UNKNOWN"}
    assert (rows["PA"]["split"], rows["AP"]["split"], rows["LATERAL"]["split"]) == ("test", "test", "val")
    assert rows["PA"]["patient_hash"] == rows["AP"]["patient_hash"]
    assert rows["PA"]["spacing_y_mm"] == pytest.approx(1.0)
    assert (rows["PA"]["sex"], rows["PA"]["age_years"], rows["AP"]["spacing_x_mm"]) == ("F", 61.0, None)
    assert {rows[v]["syntax"] for v in rows} == {"png", "jpeg", "tiff"}


def test_reports_and_labels_are_joined_by_every_kind_of_key(archive: Path, key: Path, tmp_path: Path) -> None:
    reports = tmp_path / "reports.jsonl"
    lines = [
        {"accession": "ACC1", "en": "Test Person, ACC1, of 1970-01-02: clear.", "zh": "清晰"},
        {"file": "d2/im2", "en": "By file."},
        {"file": "im4", "zh": "按文件"},
        {"accession": "ACC999", "en": "Of nobody."},
    ]
    reports.write_text("\n".join(json.dumps(line, ensure_ascii=False) for line in lines))
    labels = tmp_path / "labels.csv"
    labels.write_text("accession,Nodule,Mass\nACC1,1,0\nACC2,0,-1\nACC998,1,1\n")
    config = {"source": archive, "out": tmp_path / "out", "key": key, "max_px": 96, "workers": -1}
    result = ingest.run(IngestConfig(**config, reports=reports, labels=labels))
    assert (result.reports_matched, result.reports_unmatched) == (3, 1)
    assert (result.labels_matched, result.labels_unmatched) == (2, 1)
    texts = {(r["en"], r["zh"]) for r in _rows(tmp_path / "out", "reports.parquet")}
    assert texts == {("___, ___, of ___: clear.", "清晰"), ("By file.", None), (None, "按文件")}
    values = sorted((r["label"], r["value"]) for r in _rows(tmp_path / "out", "labels.parquet"))
    assert values == [("Mass", -1.0), ("Mass", 0.0), ("Nodule", 0.0), ("Nodule", 1.0)]
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["reports"]["identifiers_scrubbed"] == 3


def test_reports_given_later_are_those_of_a_run_that_had_them(
    archive: Path, key: Path, tmp_path: Path
) -> None:
    reports = tmp_path / "reports.csv"
    reports.write_text("accession,en\nACC1,Clear.\nACC2,Test was here.\n")
    config = {"source": archive, "key": key, "max_px": 96, "workers": -1}
    ingest.run(IngestConfig(**config, out=tmp_path / "late"))
    ingest.run(IngestConfig(**config, out=tmp_path / "late", reports=reports))
    ingest.run(IngestConfig(**config, out=tmp_path / "early", reports=reports))
    assert _content(tmp_path / "late") == _content(tmp_path / "early")
    assert len(_rows(tmp_path / "late", "reports.parquet")) == 2


def test_a_run_without_tables_keeps_those_of_the_run_before(archive: Path, key: Path, tmp_path: Path) -> None:
    source, out, notes = tmp_path / "in", tmp_path / "out", Notes()
    shutil.copytree(archive / "d0", source / "d0")
    (tmp_path / "r.csv").write_text("accession,en\nACC0,Clear.\nACC3,Nodule.\nACC1,Of a later file.\n")
    (tmp_path / "l.csv").write_text("accession,Nodule\nACC3,1\n")
    (tmp_path / "m.csv").write_text("file,view\nim0,LATERAL\n")
    config: dict[str, Any] = {"source": source, "out": out, "key": key, "max_px": 96, "workers": -1}
    tables: dict[str, Any] = {
        "reports": tmp_path / "r.csv",
        "labels": tmp_path / "l.csv",
        "metadata": tmp_path / "m.csv",
    }
    ingest.run(IngestConfig(**config, **tables))
    before = _content(out)
    result = ingest.run(IngestConfig(**config), notes)
    after = _content(out)
    assert all(after[name] == before[name] for name in before if name != "summary.json")  # counts the tables
    assert (result.reports_matched, result.reports_unmatched, result.labels_matched) == (2, 0, 1)
    assert "reports of the earlier run are kept: 2 images; new files get none" in notes.said
    assert "labels of the earlier run are kept: 1 images; new files get none" in notes.said
    shutil.copytree(archive / "d1", source / "d1")
    assert ingest.run(IngestConfig(**config)).images == 8
    assert len(_rows(out, "reports.parquet")) == 2
    ingest.run(IngestConfig(**config, **tables), notes)  # gives the new files theirs
    assert len(_rows(out, "reports.parquet")) == 3
    assert "4 of 8 files were finished before" in notes.said  # and reads the old no more


def test_what_changed_tables_cost_is_said(archive: Path, key: Path, tmp_path: Path) -> None:
    reports, labels, notes = tmp_path / "r.csv", tmp_path / "l.csv", Notes()
    reports.write_text("accession,en\nACC0,Clear.\nACC3,Nodule.\n")
    labels.write_text("accession,Nodule\nACC3,1\n")
    config: dict[str, Any] = {"source": archive / "d0", "out": tmp_path / "out", "key": key, "workers": -1}
    ingest.run(IngestConfig(**config, reports=reports), notes)
    assert not any("earlier" in note for note in notes.said)
    ingest.run(IngestConfig(**config, labels=labels), notes)
    assert "the tables are not those of the earlier run: 4 files are read again" in notes.said
    assert "reports of the earlier run are dropped: 2 images; give --reports again to keep them" in notes.said
    assert _rows(tmp_path / "out", "reports.parquet") == []


def test_no_column_or_cell_of_a_table_is_said(archive: Path, key: Path, tmp_path: Path) -> None:
    table, notes = tmp_path / "t.csv", Notes()
    config: dict[str, Any] = {"source": archive / "d0", "out": tmp_path / "out", "key": key, "workers": -1}
    table.write_text("accession,TOKEN^A,Nodule\nACC0,x,1\n")
    ingest.run(IngestConfig(**config, labels=table), notes)
    assert "labels: 1 labels, 1 other columns left out" in notes.said
    table.write_text("file,name,label\nim0,TOKEN,TOKEN WEI 1960\n")
    with pytest.raises(DataError, match="no label names") as caught:
        ingest.run(IngestConfig(**config, labels=table), notes)
    assert "TOKEN" not in "\n".join([str(caught.value), *notes.said])


@pytest.mark.parametrize("name", [None, "notes.txt"])
def test_nothing_usable_is_an_error_that_counts(tmp_path: Path, key: Path, name: str | None) -> None:
    (tmp_path / "in").mkdir()
    if name:
        (tmp_path / "in" / name).write_text("hello")
    with pytest.raises(DataError, match="1 files were refused: not-dicom 1" if name else "no files"):
        ingest.run(IngestConfig(source=tmp_path / "in", out=tmp_path / "out", key=key, workers=-1))
    assert len(_rows(tmp_path / "out", "rejected.parquet")) == (1 if name else 0)
    assert not (tmp_path / "out" / "manifest").exists()


def test_a_missing_source_or_table_is_missing_input(archive: Path, tmp_path: Path, key: Path) -> None:
    with pytest.raises(DataError, match="does not exist") as caught:
        ingest.run(IngestConfig(source=tmp_path / "TOKEN", out=tmp_path / "out", key=key))
    assert "TOKEN" not in str(caught.value)
    for table in ("reports", "labels", "metadata"):
        config: dict[str, Any] = {table: tmp_path / "none.csv"}
        with pytest.raises(DataError, match=r"none\.csv does not exist"):
            ingest.run(IngestConfig(source=archive, out=tmp_path / "out", key=key, **config))


def test_wrong_sources_and_values_are_usage_errors(tmp_path: Path, key: Path) -> None:
    with pytest.raises(UsageError, match="is the output folder"):
        ingest.run(IngestConfig(source=tmp_path, out=tmp_path, key=key))
    with pytest.raises(UsageError, match="inside the output"):
        ingest.run(IngestConfig(source=key, out=tmp_path / "out", key=tmp_path / "out" / "key"))
    for wrong in ({"max_px": 8}, {"workers": -2}, {"split": (0.5, 0.5, 0.5)}, {"split": (0.0, 0.5, 0.5)}):
        with pytest.raises(UsageError, match=next(iter(wrong))):
            IngestConfig(source=tmp_path, **wrong)  # type: ignore[arg-type]


def test_a_patient_given_two_splits_is_an_error(key: Path, tmp_path: Path) -> None:
    for number in (0, 1):
        _dicom(tmp_path / "in" / f"im{number}", number)
    table = tmp_path / "facts.csv"
    table.write_text("file,split\nim0,train\nim1,test\n")
    with pytest.raises(DataError, match="1 patients into two splits"):
        ingest.run(
            IngestConfig(source=tmp_path / "in", out=tmp_path / "out", metadata=table, key=key, workers=-1)
        )


def test_a_full_disk_is_explained_and_costs_nothing(
    archive: Path, key: Path, undisturbed: Path, tmp_path: Path
) -> None:
    config = IngestConfig(source=archive, out=tmp_path / "out", key=key, max_px=96, workers=-1)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)  # no file may grow further: a full disk
    resource.setrlimit(resource.RLIMIT_FSIZE, (6000, before[1]))
    try:
        with pytest.raises(MachineError, match="no space left"):
            ingest.run(config)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not list((tmp_path / "out").rglob(".tmp-*"))
    assert not (tmp_path / "out" / "manifest").exists()
    ingest.run(config)
    assert _content(tmp_path / "out") == _content(undisturbed)


SPOKEN = """
import sys
from pathlib import Path
from xraytk import ingest
from xraytk.errors import XraytkError
from xraytk.progress import Lines

if __name__ == "__main__":
    source, out, key, reports, labels, metadata = map(Path, sys.argv[1:7])
    config = ingest.IngestConfig(
        source=source, out=out, key=key, reports=reports, labels=labels, metadata=metadata,
        workers=int(sys.argv[7]),
    )
    try:
        print(ingest.run(config, Lines(every_s=0.0)))
    except XraytkError as error:
        print(error)
"""


@pytest.mark.parametrize("workers", [-1, 2])
def test_no_identifier_is_in_any_output(tmp_path: Path, workers: int) -> None:
    tokens = [f"QZ{letter}XK" for letter in "ABCDEFGHIJKLM"]
    name, given, patient, accession, place, folder, file, packed, member, junk, text, broken, last = tokens
    uid = "1.2.826.7777001"
    root = tmp_path / "in"
    facts: dict[str, Any] = {
        "patient_name": f"{name}^{given}=欧阳^致远",
        "patient_id": patient,
        "accession": accession,
        "institution": place,
        "study_uid": f"{uid}.1",
        "series_uid": f"{uid}.2",
        "birth_date": "19431117",
        "study_date": "20190823",
    }
    _dicom(root / folder / f"{file}.dcm", 1, **facts, sop_uid=f"{uid}.3")
    _dicom(root / f"{broken}.dcm", 2, **facts, sop_uid=f"{uid}.4")
    _dicom(root / f"{broken}2.dcm", 3, **facts | {"accession": "", "study_uid": f"{uid}.5"})
    whole, odd = root / f"{broken}.dcm", root / f"{broken}2.dcm"
    whole.write_bytes(whole.read_bytes()[:9000])
    odd.write_bytes(odd.read_bytes().replace(b"19431117", b"QZAXKBAD"))  # pydicom warns, quoting it
    (root / f"{broken}3.dcm").symlink_to(root / last)
    (root / junk).write_text(f"{junk} {name}")
    with zipfile.ZipFile(root / f"{packed}.zip", "w") as archive:
        archive.writestr(f"{member}/{member}", (root / folder / f"{file}.dcm").read_bytes())
        archive.writestr(f"{member}.txt", member)
    (root / f"{packed}2.zip").write_bytes(b"PK\x03\x04" + packed.encode())
    cv2.imwrite(str(root / f"{file}.png"), (_pixels(9) // 16).astype(np.uint8))
    sentence = (
        f"{name} {given} ({patient}, {accession}) born 1943-11-17 seen at {place} on Aug 23, 2019. {uid}.1"
    )
    reports, labels, metadata = tmp_path / "r.csv", tmp_path / "l.csv", tmp_path / "m.csv"
    reports.write_text(
        f'accession,en,zh\n{accession},"Clear. {sentence}",欧阳致远，双肺清晰。\n{text},Nobody.,\n'
    )
    labels.write_text(f"file,Nodule\n{folder}/{file}.dcm,1\n{text},0\n")
    metadata.write_text(f"file,patient,view\n{file}.png,{patient},PA\n")
    script, out = tmp_path / "s.py", tmp_path / "out"
    script.write_text(SPOKEN)
    done = subprocess.run(
        [sys.executable, script, root, out, tmp_path / "key", reports, labels, metadata, str(workers)],
        capture_output=True,
        timeout=60,
    )
    assert done.returncode == 0
    written = {str(p.relative_to(out)).encode() for p in out.rglob("*")}
    written |= {p.read_bytes() for p in out.rglob("*") if p.is_file()}
    written |= {repr(pq.read_table(p).to_pylist()).encode() for p in out.rglob("*.parquet")}
    everything = b"\n".join([done.stdout, done.stderr, *written]).lower()
    for secret in (*tokens, uid, "19431117", "1943-11", "20190823", "欧阳", "致远"):
        assert secret.lower().encode() not in everything, secret
    (report,) = _rows(out, "reports.parquet")
    assert report["en"].startswith("Clear. ___ (___, ___) born ___ seen at ___ on ___.")
    assert report["zh"] == "___，双肺清晰。"
    assert len(_rows(out)) >= 2


def test_unmatched_tables_and_empty_splits_are_mentioned(key: Path, tmp_path: Path) -> None:
    notes = Notes()
    _dicom(tmp_path / "in" / "a", 1)
    table = tmp_path / "r.csv"
    table.write_text("accession,en\nNONE,Clear.\n")
    ingest.run(
        IngestConfig(source=tmp_path / "in", out=tmp_path / "out", reports=table, key=key, workers=-1), notes
    )
    assert any("reports: 0 entries belong" in n and "accession number" in n for n in notes.said)
    assert any("--set split=" in n for n in notes.said)


def test_ingest_loads_no_torch() -> None:
    script = "import sys, xraytk.ingest; sys.exit('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert done.returncode == 0


def test_real_files_of_all_kinds_have_one_row_each(shared_data: Path, key: Path, tmp_path: Path) -> None:
    source = shared_data / "dicom"
    result = ingest.run(IngestConfig(source=source, out=tmp_path / "out", key=key, workers=-1))
    files = sum(p.is_file() for p in source.rglob("*"))
    assert result.images + result.rejected == files
    assert result.images >= 4
    assert "unexpected-error" not in result.reasons


def test_piped_names_of_other_folders_are_other_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number, name in enumerate("AB"):
        (tmp_path / name).mkdir()
        _dicom(tmp_path / name / "x.dcm", number, sop_uid=f"1.2.3.{number}")
        monkeypatch.chdir(tmp_path / name)
        monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(b"x.dcm\n")))
        config = IngestConfig(files_from="-", out=tmp_path / "out", key=tmp_path / "key", workers=-1)
        result = ingest.run(config)
    assert result.images == 2


def test_a_damaged_image_is_removed_noted_and_made_again(tmp_path: Path) -> None:
    _dicom(tmp_path / "in" / "a.dcm", 1)
    config = IngestConfig(source=tmp_path / "in", out=tmp_path / "out", key=tmp_path / "key", workers=-1)
    ingest.run(config)
    (image,) = (tmp_path / "out" / "images").rglob("*.png")
    whole = image.read_bytes()
    image.write_bytes(whole[:100])
    notes = Notes()
    ingest.run(config, notes)
    assert any("damaged" in said for said in notes.said)
    assert not image.exists()
    ingest.run(config)
    assert image.read_bytes() == whole


def test_a_file_url_is_a_folder(tmp_path: Path) -> None:
    _dicom(tmp_path / "in" / "a.dcm", 1)
    out = tmp_path / "new folder"
    config = IngestConfig(source=tmp_path / "in", out=out.as_uri(), key=tmp_path / "key", workers=-1)
    assert ingest.run(config).images == 1
    assert list((out / "images").rglob("*.png"))


def test_a_fault_that_is_gone_leaves_no_row(tmp_path: Path) -> None:
    _dicom(tmp_path / "in" / "a.dcm", 1)
    broken = tmp_path / "in" / "gone.dcm"
    broken.symlink_to(tmp_path / "nowhere")
    config = IngestConfig(source=tmp_path / "in", out=tmp_path / "out", key=tmp_path / "key", workers=-1)
    assert ingest.run(config).rejected == 1
    broken.unlink()
    notes = Notes()
    assert ingest.run(config, notes).rejected == 0
    assert not any("no longer" in said for said in notes.said)
