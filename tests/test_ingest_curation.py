"""What ingest does beyond turning files into images: text, fields, copies, reports, sets, lists."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow.parquet as pq
import pydicom
import pytest
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from xraytk import ingest
from xraytk.data import orientation, synthetic
from xraytk.data.dicom_write import write_dx
from xraytk.data.idmap import IdMap
from xraytk.data.pictures import read_png
from xraytk.errors import DataError, RunConflictError, UsageError
from xraytk.ingest import IngestConfig
from xraytk.progress import Lines


@pytest.fixture
def settings(tmp_path: Path) -> dict[str, Any]:
    return {"source": tmp_path / "in", "out": tmp_path / "out", "key": tmp_path / "key", "workers": -1}


def phantom(seed: int) -> NDArray[np.uint16]:
    return np.rint(synthetic.make_phantom(seed, size_px=900).pixels * 4095).astype(np.uint16)


def with_text(pixels: NDArray[np.uint16]) -> NDArray[np.uint16]:
    ink = np.zeros(pixels.shape, np.uint8)
    cv2.putText(ink, "DOE JANE 1961-04-09", (60, 90), cv2.FONT_HERSHEY_SIMPLEX, 1.3, 255, 3)
    cv2.putText(ink, "ID 4711-0815 12:33", (60, 140), cv2.FONT_HERSHEY_SIMPLEX, 1.3, 255, 3)
    return np.where(ink > 128, np.uint16(4095), pixels)


def rows(out: Path, table: str = "manifest/part-00000.parquet") -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = pq.read_table(out / table).to_pylist()
    return found


@pytest.mark.parametrize("way", ["blank", "reject", "keep"])
def test_text_in_the_pixels_is_blanked_rejected_or_kept(settings: dict[str, Any], way: str) -> None:
    pixels = phantom(3)
    write_dx(
        settings["source"] / "a", with_text(pixels), window=(2048.0, 4096.0), patient_id="A", sop_uid="1.2.3"
    )
    write_dx(settings["source"] / "b", phantom(4), window=(2048.0, 4096.0), patient_id="B", sop_uid="1.2.4")
    ingest.run(IngestConfig(**settings, burned_in=way, write_dicom=True))  # type: ignore[arg-type]
    images = {row["text_boxes"] > 0: row for row in rows(settings["out"])}
    if way == "reject":
        assert [r["reason"] for r in rows(settings["out"], "rejected.parquet")] == ["burned-in"]
        assert set(images) == {False}
        return
    row = images[True]
    assert row["text_blanked"] is (way == "blank")
    made = read_png(settings["out"] / row["path"]).astype(int)
    height = len(made)
    scale = height / pixels.shape[0]
    there = made[round(50 * scale) : round(145 * scale), round(60 * scale) : round(520 * scale)]
    assert (np.abs(np.diff(there, axis=1)) > 20000).any() == (way == "keep")
    ds = pydicom.dcmread(settings["out"] / "dicom" / row["image_id"][:2] / f"{row['image_id']}.dcm")
    stored = ds.pixel_array[50:145, 60:520].astype(int)
    assert (np.abs(np.diff(stored, axis=1)) > 1500).any() == (way == "keep")
    assert "JANE" not in str(ds)
    assert ds.PatientIdentityRemoved == "YES"


def test_a_collimated_image_says_its_field_and_is_cropped_when_asked(
    settings: dict[str, Any], tmp_path: Path
) -> None:
    pixels = phantom(5)
    height, width = pixels.shape
    pixels = np.maximum(pixels, 300)
    pixels[: height // 8] = pixels[:, : width // 8] = 0
    write_dx(settings["source"] / "a", pixels, window=(2048.0, 4096.0), spacing_mm=(0.4, 0.4))
    ingest.run(IngestConfig(**settings))
    (whole,) = rows(settings["out"])
    x0, y0, x1, y1 = whole["field"]
    assert abs(x0 - width // 8) < 12
    assert abs(y0 - height // 8) < 12
    assert not whole["cropped"]
    ingest.run(IngestConfig(**{**settings, "out": tmp_path / "cropped"}, crop=True))
    (part,) = rows(tmp_path / "cropped")
    assert (part["width"], part["height"], part["cropped"]) == (x1 - x0, y1 - y0, True)
    assert part["spacing_x_mm"] == pytest.approx(whole["spacing_x_mm"])


def test_copies_and_likenesses_name_the_first(settings: dict[str, Any]) -> None:
    pixels = phantom(6)
    write_dx(settings["source"] / "a", pixels, window=(2048.0, 4096.0), sop_uid="1.2.1", patient_id="A")
    write_dx(settings["source"] / "b", pixels, window=(2048.0, 4096.0), sop_uid="1.2.2", patient_id="A")
    write_dx(settings["source"] / "c", pixels, window=(1900.0, 3500.0), sop_uid="1.2.3", patient_id="A")
    write_dx(settings["source"] / "d", phantom(8), window=(2048.0, 4096.0), sop_uid="1.2.4", patient_id="D")
    ingest.run(IngestConfig(**settings))
    found = rows(settings["out"])
    assert sum(row["duplicate_of"] is not None for row in found) == 1
    groups = {row["near_duplicate_of"] or row["duplicate_of"] or row["image_id"] for row in found}
    assert len(groups) == 2


def structured_report(path: Path, study_uid: str, text: str, name: str = "Doe^Jane") -> None:
    item = Dataset()
    item.RelationshipType, item.ValueType, item.TextValue = "CONTAINS", "TEXT", text
    concept = Dataset()
    concept.CodeValue, concept.CodingSchemeDesignator, concept.CodeMeaning = "121071", "DCM", "Finding"
    item.ConceptNameCodeSequence = [concept]
    ds = Dataset()
    ds.SOPClassUID, ds.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.88.11", generate_uid()
    ds.StudyInstanceUID, ds.Modality, ds.PatientName, ds.PatientID = study_uid, "SR", name, "P-77"
    ds.ValueType, ds.ContinuityOfContent, ds.ContentSequence = "CONTAINER", "SEPARATE", [item]
    ds.CompletionFlag, ds.VerificationFlag = "COMPLETE", "VERIFIED"
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    path.parent.mkdir(exist_ok=True)
    ds.save_as(path, enforce_file_format=True)


def test_a_structured_report_is_joined_by_its_study_and_scrubbed(settings: dict[str, Any]) -> None:
    write_dx(settings["source"] / "im", phantom(9), study_uid="1.2.77", patient_id="P-77")
    structured_report(settings["source"] / "sr", "1.2.77", "Jane Doe has clear lungs.")
    structured_report(settings["source"] / "other", "1.2.78", "Of another study.")
    ingest.run(IngestConfig(**settings))
    (report,) = rows(settings["out"], "reports.parquet")
    assert report["en"] == "___ has clear lungs."
    assert {r["reason"] for r in rows(settings["out"], "rejected.parquet")} == {"report"}


def test_paths_are_kept_beside_the_key_and_shown_when_asked(settings: dict[str, Any], tmp_path: Path) -> None:
    write_dx(settings["source"] / "JaneDoe.dcm", phantom(1))
    (settings["source"] / "SECRET.txt").write_text("no image")
    said = io.StringIO()
    ingest.run(IngestConfig(**settings), Lines(said, every_s=0.0))
    assert "SECRET" not in said.getvalue()
    ingest.run(IngestConfig(**settings, show_paths=True), Lines(said, every_s=0.0))
    assert f"not-dicom: {settings['source'] / 'SECRET.txt'}" in said.getvalue()
    (row,), (bad,) = rows(settings["out"]), rows(settings["out"], "rejected.parquet")
    paths = tmp_path / "key.paths"
    assert paths.stat().st_mode & 0o777 == 0o600
    with IdMap(paths) as found:
        assert found.path_of(row["image_id"]) == str(settings["source"] / "JaneDoe.dcm")
        assert found.path_of(row["source_hash"]) == str(settings["source"] / "JaneDoe.dcm")
        assert found.path_of(bad["source_hash"]) == str(settings["source"] / "SECRET.txt")


def test_paths_that_are_shown_steer_no_terminal(settings: dict[str, Any]) -> None:
    write_dx(settings["source"] / "a", phantom(1))
    for name in ("a\x1b[31mb\nc", "\u202egnp.txt", os.fsdecode(b"\xff.txt")):
        (settings["source"] / name).write_text("no image")
    said = io.StringIO()
    ingest.run(IngestConfig(**settings, show_paths=True), Lines(said, every_s=0.0))
    shown = [line for line in said.getvalue().splitlines() if ": " in line and "not-dicom" in line]
    assert len(shown) == 3
    assert all(line.isprintable() for line in shown)
    assert any(line.endswith("a\\x1b[31mb\\nc") for line in shown)


def test_pictures_that_get_no_dicom_file_are_told(settings: dict[str, Any]) -> None:
    write_dx(settings["source"] / "a", phantom(1))
    cv2.imwrite(str(settings["source"] / "b.png"), (phantom(2) >> 4).astype(np.uint8))
    said = io.StringIO()
    ingest.run(IngestConfig(**settings, write_dicom=True), Lines(said, every_s=0.0))
    assert "1 images came from pictures" in said.getvalue()
    summary = json.loads((settings["out"] / "summary.json").read_text())
    assert summary["dicom"] == {"written": 1, "from_pictures": 1}
    assert len(list((settings["out"] / "dicom").rglob("*.dcm"))) == 1


def test_memory_is_written_by_this_process_whatever_the_workers(settings: dict[str, Any]) -> None:
    fsspec = pytest.importorskip("fsspec")
    write_dx(settings["source"] / "a", phantom(1))
    out = {"out": f"memory://{settings['out'].name}", "workers": 2, "work": settings["out"]}
    with pytest.raises(UsageError, match="memory://"):
        IngestConfig(**(settings | out), engine="ray")
    assert ingest.run(IngestConfig(**(settings | out))).images == 1
    system = fsspec.filesystem("memory")
    assert [name for name in system.find("/out") if name.endswith(".png") and "/images/" in name]
    system.rm("/out", recursive=True)


def test_a_refused_run_leaves_no_new_key(settings: dict[str, Any], tmp_path: Path) -> None:
    write_dx(settings["source"] / "a", phantom(1))
    other = settings | {"key": tmp_path / "other"}
    with pytest.raises(DataError):
        ingest.run(IngestConfig(**other, labels=tmp_path / "none.csv"))
    ingest.run(IngestConfig(**settings))
    with pytest.raises(RunConflictError, match="key"):
        ingest.run(IngestConfig(**other))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in", "key", "key.paths", "out"]


def test_a_list_of_files_gives_what_the_folder_gives(settings: dict[str, Any], tmp_path: Path) -> None:
    for number in range(3):
        write_dx(settings["source"] / f"im{number}", phantom(number), sop_uid=f"1.2.{number}")
    ingest.run(IngestConfig(**settings))
    listed = tmp_path / "in" / "list.txt"
    listed.write_text("im0\nim2\n")
    script = "import sys; from xraytk.cli import main; main()"
    for given, feed in ((str(listed), b""), ("-", b"in/im0\0in/im2\0")):
        out = tmp_path / f"out{len(feed)}"
        words = ["ingest", "--files-from", given, "--out", str(out), "--key", str(settings["key"])]
        done = subprocess.run(
            [sys.executable, "-c", script, *words], input=feed, capture_output=True, cwd=tmp_path, timeout=120
        )
        assert done.returncode == 0, done.stderr.decode()
        wanted = {row["image_id"]: row["pixel_sha256"] for row in rows(settings["out"])}
        found = {row["image_id"]: row["pixel_sha256"] for row in rows(out)}
        assert len(found) == 2
        assert found.items() <= wanted.items()


def test_a_public_set_brings_labels_boxes_splits_and_patients(settings: dict[str, Any]) -> None:
    root = settings["source"]
    (root / "images").mkdir(parents=True)
    names = ["00000001_000.png", "00000001_001.png", "00000002_000.png"]
    for number, name in enumerate(names):
        picture = cv2.resize(phantom(number) // 16, (1024, 1024)).astype(np.uint8)
        cv2.imwrite(str(root / "images" / name), picture)
    head = "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
    head += "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y],\n"
    (root / "Data_Entry_2017.csv").write_text(
        head
        + f"{names[0]},Cardiomegaly|Effusion,0,1,58,M,PA,2682,2749,0.143,0.143,\n"
        + f"{names[1]},No Finding,1,1,58,M,AP,2682,2749,0.143,0.143,\n"
        + f"{names[2]},Nodule,0,2,81,F,PA,2500,2048,0.168,0.168,\n"
    )
    (root / "BBox_List_2017.csv").write_text(
        f"Image Index,Finding Label,Bbox [x,y,w,h],,,\n{names[0]},Cardiomegaly,100,200,300,400,,,\n"
    )
    (root / "test_list.txt").write_text(f"{names[2]}\n")
    (root / "train_val_list.txt").write_text(f"{names[0]}\n{names[1]}\n")
    result = ingest.run(IngestConfig(**settings, layout="nih", max_px=512))
    assert (result.images, result.rejected, result.patients) == (3, 0, 2)
    views = sorted((row["view"], row["sex"], row["split"]) for row in rows(settings["out"]))
    assert views[1:] == [("PA", "F", "test"), ("PA", "M", views[0][2])]
    labels = {(r["label"], r["value"]) for r in rows(settings["out"], "labels.parquet")}
    assert ("Cardiomegaly", 1.0) in labels
    assert ("Nodule", 0.0) in labels
    (box,) = rows(settings["out"], "boxes.parquet")
    assert [round(box[k]) for k in ("x0", "y0", "x1", "y1")] == [50, 100, 200, 300]


def test_source_and_list_exclude_each_other() -> None:
    for given in ({}, {"source": "a", "files_from": "b"}):
        with pytest.raises(UsageError, match="files_from"):
            IngestConfig(**given)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "way", ["", "flip-h", "flip-v", "rot180", "transpose", "rot90", "rot270", "transverse"]
)
@pytest.mark.parametrize("aspect", [1.0, 2.0, 0.5])
def test_boxes_find_their_way_back_to_the_stored_pixels(way: str, aspect: float) -> None:
    stored = np.zeros((40, 60), np.uint16)
    stored[8:16, 20:36] = 1
    upright = orientation.turn(orientation.to_square(stored, aspect, 10**9), way)
    y, x = np.nonzero(upright)
    box = (int(x.min()), int(y.min()), int(x.max()) + 1, int(y.max()) + 1)
    back = orientation.to_stored(box, way, aspect, upright.shape)
    assert back == pytest.approx((20, 8, 36, 16), abs=1)
    assert orientation.to_upright(back, way, aspect, upright.shape) == pytest.approx(box)


def test_a_memory_bomb_costs_its_file_only(tmp_path: Path) -> None:
    """A header that asks for most of what is allowed, beside a good file, in a worker of its own."""
    write_dx(tmp_path / "in" / "good", phantom(1), patient_id="G")
    write_dx(tmp_path / "in" / "bomb", phantom(2), patient_id="B", syntax="jpeg2000")
    bomb = tmp_path / "in" / "bomb"
    data = bomb.read_bytes()
    at = data.index(b"\xff\x4f\xff\x51") + 8
    bomb.write_bytes(data[:at] + (10**6).to_bytes(4, "big") * 2 + data[at + 8 :])
    code = (
        "import sys; from pathlib import Path; from xraytk import ingest\n"
        "if __name__ == '__main__':\n"
        "    source, out, key = sys.argv[1:]\n"
        "    config = ingest.IngestConfig(source=source, out=out, key=Path(key), workers=1)\n"
        "    r = ingest.run(config)\n"
        "    print(r.images, r.rejected)\n"
    )
    script = tmp_path / "s.py"
    script.write_text(code)
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path / "in"), str(tmp_path / "out"), str(tmp_path / "key")],
        capture_output=True, text=True, timeout=120, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.stdout.split() == ["1", "1"], done.stderr


def test_reports_are_scrubbed_of_what_all_files_of_their_study_say(
    settings: dict[str, Any], tmp_path: Path
) -> None:
    for number, name in enumerate(("Miller^Ada", "Quist^Berta")):
        who = {"study_uid": "1.2.9", "sop_uid": f"1.2.9.{number}", "accession": "A77", "patient_name": name}
        write_dx(settings["source"] / f"im{number}", phantom(number), **who)  # type: ignore[arg-type]
    table = tmp_path / "r.csv"
    table.write_text("accession,en\nA77,Seen by Miller and Quist. Clear lungs.\n")
    for _ in range(2):
        ingest.run(IngestConfig(**settings, reports=table))
        texts = {r["en"] for r in rows(settings["out"], "reports.parquet")}
        assert texts == {"Seen by ___ and ___. Clear lungs."}
    journal = (settings["out"] / "journal.sqlite").read_bytes()
    assert b"Miller" not in journal
    assert b"Quist" not in journal


def test_a_row_that_names_files_of_several_studies_is_left_out_and_said(
    settings: dict[str, Any], tmp_path: Path
) -> None:
    for number in (1, 2):
        write_dx(settings["source"] / f"p{number}" / "im", phantom(number), study_uid=f"1.2.{number}")
    write_dx(settings["source"] / "p3" / "other", phantom(3), study_uid="1.2.3")
    table, said = tmp_path / "r.csv", io.StringIO()
    table.write_text("file,en\nim,Of whom?\nother,Clear.\n")
    result = ingest.run(IngestConfig(**settings, reports=table), Lines(said, every_s=0.0))
    assert [r["en"] for r in rows(settings["out"], "reports.parquet")] == ["Clear."]
    assert (result.reports_matched, result.reports_unmatched) == (1, 1)
    assert "reports: 1 rows name files of several studies; they were left out" in said.getvalue()


def test_other_pixels_under_the_same_uid_are_called_a_clash(settings: dict[str, Any]) -> None:
    for number in (1, 2):
        write_dx(settings["source"] / f"im{number}", phantom(number), sop_uid="1.2.3")
    ingest.run(IngestConfig(**settings))
    (row,) = rows(settings["out"], "rejected.parquet")
    assert (row["reason"], row["detail"]) == ("uid-clash", rows(settings["out"])[0]["image_id"])


def test_dicom_says_the_patient_of_the_table_and_comes_back_when_lost(
    settings: dict[str, Any], tmp_path: Path
) -> None:
    for number in (1, 2):
        write_dx(settings["source"] / f"im{number}", phantom(number), patient_id=f"P{number}")
    table = tmp_path / "m.csv"
    table.write_text("file,patient\nim1,X\nim2,X\n")
    config = IngestConfig(**settings, metadata=table, write_dicom=True)
    ingest.run(config)
    (patient,) = {row["patient_hash"] for row in rows(settings["out"])}
    files = sorted(settings["out"].glob("dicom/*/*.dcm"))
    assert {pydicom.dcmread(file).PatientID for file in files} == {patient}
    before = files[0].read_bytes()
    files[0].unlink()
    ingest.run(config)
    assert files[0].read_bytes() == before


def test_files_that_are_gone_are_counted(settings: dict[str, Any]) -> None:
    for number in (1, 2):
        write_dx(settings["source"] / f"im{number}", phantom(number))
    ingest.run(IngestConfig(**settings))
    (settings["source"] / "im2").unlink()
    said = io.StringIO()
    assert ingest.run(IngestConfig(**settings), Lines(said, every_s=0.0)).images == 2
    assert "1 files of earlier runs are no longer in the source" in said.getvalue()
