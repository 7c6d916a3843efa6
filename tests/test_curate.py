"""Curation by road: copies dropped, bad images named, bytes repeatable, later verbs fed."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest

from xraytk import curate
from xraytk.curate import REASONS, CurateConfig
from xraytk.data import embeddings, lookalike, manifest, pictures
from xraytk.data.selection import read_selection
from xraytk.errors import DataError, UsageError
from xraytk.progress import Silent

TRAIN, OTHER = 80, 8
BROKEN, MISSING, EMPTY, LATERAL = range(4)
COPY, NEAR, FOREIGN = TRAIN + OTHER, TRAIN + OTHER + 1, TRAIN + OTHER + 2


class Notes(Silent):
    def __init__(self) -> None:
        self.said: list[str] = []

    def note(self, text: str) -> None:
        self.said.append(text)


def name_of(number: int) -> str:
    return f"{number * 7919 % 99991:016x}"


def row(number: int, picture: np.ndarray, **more: Any) -> dict[str, Any]:
    name = name_of(number)
    return {
        "image_id": name,
        "patient_hash": f"p{number // 2:015d}",
        "study_hash": name,
        "split": "train" if number < TRAIN else "test",
        "path": manifest.image_path(name),
        "view": "PA",
        "height": picture.shape[0],
        "width": picture.shape[1],
        "bits_stored": 12,
        "pixel_sha256": name,
        "pixel_view": "FRONTAL",
        "signature": lookalike.signature(picture).hex(),
        "burned_in": False,
    } | more


def drawn(number: int) -> np.ndarray:
    """A soft picture; every tenth has a bright disc in it."""
    rng = np.random.default_rng(number)
    small = rng.random((6, 5)).astype(np.float32) * 0.3 + np.linspace(0.2, 0.6, 6, dtype=np.float32)[:, None]
    picture = cv2.resize(small, (100, 120), interpolation=cv2.INTER_CUBIC)
    if number % 10 == 9:
        cv2.circle(picture, (30, 70), 18, 1.0, -1)
    return (np.clip(picture, 0, 1) * 65535).astype(np.uint16)


@pytest.fixture(scope="module")
def ingest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eighty training images, eight others, three copies; one broken, one missing, one empty."""
    folder = tmp_path_factory.mktemp("ingest")
    rows, labels = [], []
    for number in range(TRAIN + OTHER):
        picture = drawn(number) if number != EMPTY else np.full((120, 100), 900, np.uint16)
        rows.append(row(number, picture, view="LATERAL" if number == LATERAL else "PA"))
        pictures.write_png(folder / rows[-1]["path"], picture)
        labels.append({"image_id": name_of(number), "label": "Disc", "value": float(number % 10 == 9)})
    for number, (of, patient, same) in {
        COPY: (10, 10 // 2, "duplicate_of"),
        NEAR: (12, 12 // 2, "near_duplicate_of"),
        FOREIGN: (14, 99, "near_duplicate_of"),
    }.items():
        shape = drawn(of)[:-2] if number != COPY else drawn(of)
        more = {same: name_of(of), "split": "train", "patient_hash": f"p{patient:015d}"}
        more |= {"pixel_sha256": name_of(of)} if number == COPY else {}
        rows.append(row(number, shape, **more))
        pictures.write_png(folder / rows[-1]["path"], shape)
    (folder / rows[BROKEN]["path"]).write_bytes(b"no picture")
    (folder / rows[MISSING]["path"]).unlink()
    manifest.write_table(folder / "manifest" / "part-00000.parquet", manifest.MANIFEST, rows)
    manifest.write_table(folder / "labels.parquet", manifest.LABELS, labels)
    return folder


def run(ingest: Path, out: Path, **more: Any) -> curate.CurateResult:
    return curate.run(CurateConfig(**{"source": ingest, "out": out, "workers": 1, "prototypes": 4} | more))


def rows_of(out: Path) -> dict[str, dict[str, Any]]:
    return {r["image_id"]: r for r in pq.read_table(out / "selection.parquet").to_pylist()}


@pytest.fixture(scope="module")
def made(ingest: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("curate")
    run(ingest, out)
    return out


def test_every_image_has_a_row_with_a_known_reason_and_the_counts_agree(ingest: Path, made: Path) -> None:
    rows = rows_of(made)
    said = json.loads((made / "summary.json").read_text())
    assert list(rows) == sorted(rows)
    assert len(rows) == TRAIN + OTHER + 3
    assert {r["reason"] for r in rows.values()} <= set(REASONS)
    curated = [r for r in rows.values() if r["split"] == "train" and r["reason"] != "view"]
    assert said["curated"] == len(curated) == TRAIN + 3 - 1
    assert said["kept"] == sum(r["keep"] for r in curated) == round(0.25 * len(curated))
    assert sum(said["reasons"].values()) == len(rows)
    assert sum(z["kept"] for z in said["zones"].values()) == said["kept"]
    assert said["labels"]["Disc"]["images"] == 8


def test_val_and_test_are_kept_whole(made: Path) -> None:
    others = [r for r in rows_of(made).values() if r["split"] != "train"]
    assert len(others) == OTHER
    assert all(r["keep"] and r["reason"] == "split" and r["prototype"] is None for r in others)


def test_a_bad_image_is_a_row_with_a_reason(made: Path) -> None:
    rows = rows_of(made)
    wanted = {BROKEN: "image-broken", MISSING: "image-missing", EMPTY: "image-empty", LATERAL: "view"}
    assert {n: rows[name_of(n)]["reason"] for n in wanted} == wanted
    assert not any(rows[name_of(n)]["keep"] for n in wanted)


def test_copies_of_a_patient_are_dropped_and_those_of_another_counted(made: Path) -> None:
    rows = rows_of(made)
    assert rows[name_of(COPY)]["reason"] in ("duplicate", "spread", "tail", "budget", "outlier-kept")
    pair = {rows[name_of(10)]["reason"], rows[name_of(COPY)]["reason"]}
    assert "duplicate" in pair
    assert len(pair) == 2
    near = rows[name_of(NEAR)]
    assert (near["reason"], near["twin_of"]) == ("near-duplicate", name_of(12)), (
        "the one with more pixels stays"
    )
    assert rows[name_of(FOREIGN)]["twin_of"] is None
    assert json.loads((made / "summary.json").read_text())["across_patients"] == 2


def test_bytes_do_not_depend_on_interruptions_or_workers(ingest: Path, made: Path, tmp_path: Path) -> None:
    class Stop(Silent):
        def note(self, text: str) -> None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):  # after the statistics, before the choice
        curate.run(CurateConfig(source=ingest, out=tmp_path, workers=1, prototypes=4), Stop())
    assert not (tmp_path / "selection.parquet").exists()
    run(ingest, tmp_path, workers=2)
    for name in ("selection.parquet", "statistics.parquet", "contact-sheet.html", "map.png"):
        assert (tmp_path / name).read_bytes() == (made / name).read_bytes(), name


def test_a_rerun_reads_only_images_that_failed_or_changed(ingest: Path, made: Path, tmp_path: Path) -> None:
    class Count(Silent):
        total = -1

        def task(self, name: str, total: int | None, unit: str = "images") -> Any:
            self.total = total if name == "statistics" and total is not None else self.total
            return super().task(name, total, unit)

    (tmp_path / "statistics.parquet").write_bytes((made / "statistics.parquet").read_bytes())
    count = Count()
    curate.run(CurateConfig(source=ingest, out=tmp_path, workers=1, prototypes=4, keep=0.5), count)
    assert count.total == 2, "the broken one and the missing one"
    (tmp_path / "statistics.parquet").write_bytes(b"cut off")
    count = Count()
    curate.run(CurateConfig(source=ingest, out=tmp_path, workers=1, prototypes=4, keep=0.5), count)
    assert count.total > TRAIN - 5


def test_what_a_person_decided_holds(ingest: Path, tmp_path: Path) -> None:
    say = {name_of(20): "1", name_of(21): "1", name_of(29): "0", name_of(BROKEN): "0", "never-seen": "1"}
    with (tmp_path / "said.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([("image_id", "keep"), *say.items()])
    notes = Notes()
    out = tmp_path / "out"
    config = CurateConfig(source=ingest, out=out, workers=1, prototypes=4, decided=tmp_path / "said.csv")
    result = curate.run(config, notes)
    rows = rows_of(out)
    assert [rows[n]["keep"] for n in say if n in rows] == [True, True, False, False]
    assert result.reasons["decided"] == 4
    assert result.kept == round(0.25 * result.curated), "they count"
    assert any("1 decided images are not" in said for said in notes.said)
    (tmp_path / "said.csv").write_text("image_id,keep\nx,perhaps\n")
    with pytest.raises(DataError, match="neither 1 nor 0"):
        curate.run(config)


def test_outliers_are_kept_unless_their_pixels_are_doubtful(ingest: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    ids = [name_of(n) for n in range(TRAIN)]
    points = rng.standard_normal((TRAIN, 3)).astype(np.float32) * 0.02 + (1, 0, 0)
    points[40:42] = (0, 1, 0.1), (0, -0.2, 1)
    pq.write_table(embeddings.as_table(ids, points), tmp_path / "e.parquet")
    folder = tmp_path / "ingest"
    rows = pq.read_table(ingest / "manifest").to_pylist()
    for r in rows:
        r["pixel_view"] = "UNKNOWN" if r["image_id"] == name_of(41) else r["pixel_view"]
    manifest.write_table(folder / "manifest" / "part-00000.parquet", manifest.MANIFEST, rows)
    found = {}
    for policy in ("chests", "keep", "drop"):
        made = run(
            folder, tmp_path / policy, embeddings=tmp_path / "e.parquet", prototypes=1, outliers=policy
        )
        table = rows_of(tmp_path / policy)
        assert {table[name_of(n)]["zone"] for n in (40, 41)} == {"outlier"}
        found[policy] = [table[name_of(n)]["reason"] for n in (40, 41)]
        assert made.numbers == "embeddings"
        assert made.reasons["no-embedding"] == 1, "of the images left, that of another patient's copy"
    assert found == {
        "chests": ["outlier-kept", "outlier"],
        "keep": ["outlier-kept"] * 2,
        "drop": ["outlier"] * 2,
    }


def test_signatures_need_no_pixels(ingest: Path, tmp_path: Path) -> None:
    result = run(ingest, tmp_path, statistics="signatures")
    assert result.kept == round(0.25 * result.curated)
    assert result.reasons["image-empty"] == 1
    assert not (tmp_path / "statistics.parquet").exists()


def test_an_older_manifest_without_marks_is_curated_with_a_note(ingest: Path, tmp_path: Path) -> None:
    table = pq.read_table(ingest / "manifest")
    gone = [
        n
        for n in table.schema.names
        if n.endswith("duplicate_of") or n in ("pixel_view", "signature", "field")
    ]
    (tmp_path / "manifest").mkdir()
    pq.write_table(table.drop_columns(gone), tmp_path / "manifest" / "part-00000.parquet")
    (tmp_path / "images").symlink_to(ingest / "images")
    notes = Notes()
    config = CurateConfig(source=tmp_path, out=tmp_path / "out", workers=1, prototypes=4)
    result = curate.run(config, notes)
    assert result.kept > 0
    assert "no copies" in notes.said[0]
    with pytest.raises(DataError, match="no signatures"):
        run(tmp_path, tmp_path / "other", statistics="signatures")


def test_pictures_with_text_burned_in_are_not_shown(ingest: Path, tmp_path: Path) -> None:
    rows = pq.read_table(ingest / "manifest").to_pylist()
    for r in rows:
        r["burned_in"] = True
    manifest.write_table(tmp_path / "manifest" / "part-00000.parquet", manifest.MANIFEST, rows)
    (tmp_path / "images").symlink_to(ingest / "images")
    run(tmp_path, tmp_path / "out")
    assert "<img" not in (tmp_path / "out" / "contact-sheet.html").read_text()


def test_no_training_image_is_an_error_and_so_is_no_manifest(ingest: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="none of 0 images"):
        run(ingest, tmp_path / "a", views=("OTHER",))
    with pytest.raises(DataError, match="xraytk ingest"):
        run(tmp_path / "nowhere", tmp_path / "b")


@pytest.mark.parametrize(
    "wrong", [{"keep": 0.0}, {"keep": 1.5}, {"prototypes": 0}, {"splits": ("training",)}, {"whiten": 2.0}]
)
def test_settings_that_cannot_be_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        CurateConfig(**wrong)


def test_the_selection_is_one_that_later_verbs_read(made: Path) -> None:
    kept = read_selection(made)
    assert kept == {name for name, r in rows_of(made).items() if r["keep"]}
