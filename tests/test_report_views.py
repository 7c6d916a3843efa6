"""The road of studies of two images: shards, a report run, its evaluation, a report of two files."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest

from xraytk import evaluate, finetune, pretrain, report, shard
from xraytk.data import manifest, pictures
from xraytk.data.dicom_write import write_dx
from xraytk.data.stream import StreamConfig
from xraytk.errors import DataError, UsageError
from xraytk.files import read_json
from xraytk.progress import Silent

VIEWS = ("PA", "AP", "UNKNOWN", "LATERAL")
EN = ("No finding.", "Left nodule.")
SPLITS = {"train": 9, "val": 3, "test": 4}


class Notes(Silent):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


def picture(kind: int) -> np.ndarray[Any, Any]:
    """Bands of grey for a frontal image (-1) or a lateral (0), and a lateral with a square (1)."""
    made = np.repeat(np.arange(40, 104, dtype=np.uint16) * 257, 64).reshape(64, 64)
    if kind == 1:
        made[16:48, 16:48] = 250 * 257
    return made


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory, shapes: SimpleNamespace) -> Path:
    """Studies whose finding is to be seen on the lateral alone, and a finished run about them.

    All frontal images are alike. The last study of the test split has no lateral.
    """
    work = tmp_path_factory.mktemp("views")
    rows, reports = [], []
    number = 0
    for split, count in SPLITS.items():
        for _ in range(count):
            kind = number % 2
            lone = (split, _) == ("test", SPLITS["test"] - 1)
            for view in ("PA",) if lone else ("PA", "LATERAL"):
                name = f"{number:08x}{len(rows):08x}"
                path = f"images/{name[:2]}/{name}.png"
                pictures.write_png(work / "ingest" / path, picture(kind if view == "LATERAL" else -1))
                keys = {"image_id": name, "patient_hash": f"p{number}", "study_hash": f"s{number:03}"}
                sizes = dict.fromkeys(("width", "height", "source_width", "source_height"), 64)
                rows.append({**keys, "split": split, "path": path, "view": view, **sizes})
                reports.append({"image_id": name, "en": EN[kind], "zh": None})
            number += 1
    manifest.write_table(work / "ingest/manifest/part-00000.parquet", manifest.MANIFEST, rows)
    manifest.write_table(work / "ingest/reports.parquet", manifest.REPORTS, reports)
    shard.run(shard.ShardConfig(work=work, views=VIEWS, workers=1))
    notes = Notes()
    done = finetune.run(two_views(shapes, work), notes)
    assert (done.samples, done.validation["rouge_l_en"]) == (9, 1.0)
    assert "9 of 9 training studies have a second image" in notes.notes
    assert "9 of 9 training studies have a report in en" in notes.notes
    return work


def two_views(shapes: SimpleNamespace, work: Path, **more: Any) -> finetune.FinetuneConfig:
    steps = {"steps": 60, "validate_every": 20, "save_every": 60, "batch": 8}
    encoder = {**shapes.vit, "depth": 1}
    tree = {"data": {"views": 2}, "encoder": encoder, "name": "report", **steps, **more}
    made: finetune.FinetuneConfig = shapes.config(work, "report", **tree)
    return made


def test_the_run_knows_that_it_looks_at_two_images(work: Path) -> None:
    best = read_json(work / "runs/report/best/config.json", "")
    assert best["model"]["views"] == 2
    assert best["facts"]["data"] == {"image_px": 32, "fit": "letterbox"}
    assert "views = 2" in (work / "runs/report/config.toml").read_text(encoding="utf-8")


def test_evaluate_counts_studies_and_writes_one_report_for_each(work: Path) -> None:
    (scores,) = evaluate.run(evaluate.EvaluateConfig(work=work, task="report", bootstrap=20, mapped=1)).runs
    assert scores.images == 4
    assert scores.protocol["data"]["views"] == 2
    lines = (work / "runs/report/predictions.jsonl").read_text(encoding="utf-8").splitlines()
    written = {row["image_id"]: row for row in map(json.loads, lines)}
    table = pq.read_table(work / "ingest/manifest/part-00000.parquet").to_pylist()
    frontal = sorted(row["image_id"] for row in table if (row["split"], row["view"]) == ("test", "PA"))
    assert sorted(written) == frontal
    texts = [str(written[name]["text"]) for name in frontal]
    assert texts[:3] == [EN[number % 2] for number in range(12, 15)]  # of the last there is no lateral
    assert (work / "runs/report/gallery.html").is_file()


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    """DICOM files of one study, whose names and headers name a person; and of others."""
    made = {}
    for name, kind, about in (
        ("frontal", -1, {"view": "PA", "study_uid": "1.2.3"}),
        ("lateral", 1, {"view": "LATERAL", "study_uid": "1.2.3"}),
        ("again", -1, {"view": "AP", "study_uid": "1.2.3"}),
        ("unnamed", 1, {"view": "LATERAL", "study_uid": "1.2.3", "patient_id": ""}),
        ("clear", 0, {"view": "LATERAL", "study_uid": "1.2.3"}),
        ("earlier", 1, {"view": "LATERAL", "study_uid": "1.2.4"}),
        ("stranger", 1, {"view": "LATERAL", "study_uid": "1.2.3", "patient_id": "4711"}),
    ):
        made[name] = tmp_path / f"Doe^Jane-{name}.dcm"
        who = {"patient_id": "0815", "patient_name": "Doe^Jane", **about}
        grey = picture(kind) // 16 + 64 * (name == "clear")  # not the frontal's picture
        write_dx(made[name], grey, bits_stored=12, window=(2048.0, 4096.0), **who)
    return made


@pytest.mark.parametrize("turned", [False, True])
def test_two_files_of_a_study_are_one_report_in_either_order(
    work: Path, files: dict[str, Path], tmp_path: Path, turned: bool
) -> None:
    pair = [files["frontal"], files["lateral"]]
    image, second = reversed(pair) if turned else pair
    config = report.ReportConfig(image=image, second=second, work=work, out=tmp_path / "out", attention=True)
    made = report.run(config)
    assert made.text == "Left nodule."
    assert (made.view, made.second_view) == ("PA", "LATERAL")
    assert made.second_id
    assert made.second_id != made.image_id
    assert "Nothing says" not in made.notice
    tree = json.loads(made.files[1].read_text(encoding="utf-8"))
    assert tree["second_id"] == made.second_id
    assert "Doe" not in made.files[0].read_text(encoding="utf-8") + json.dumps(tree)
    drawn = cv2.imread(str(made.files[2]))
    assert drawn.shape == (378, 720, 3)
    clear = report.run(report.ReportConfig(image=files["frontal"], second=files["clear"], work=work))
    assert clear.text == "No finding."


def test_a_header_without_an_id_is_of_no_known_patient_and_not_of_another(
    work: Path, files: dict[str, Path]
) -> None:
    config = report.ReportConfig(image=files["frontal"], second=files["unnamed"], work=work)
    made = report.run(config)
    assert made.text == "Left nodule."
    assert "Nothing says" in made.notice
    assert "images: PA, LATERAL" in made.lines()


def test_one_image_and_two_of_a_study_have_files_of_their_own(
    work: Path, files: dict[str, Path], tmp_path: Path
) -> None:
    one = report.run(report.ReportConfig(image=files["frontal"], work=work, out=tmp_path))
    two = report.run(
        report.ReportConfig(image=files["frontal"], second=files["lateral"], work=work, out=tmp_path)
    )
    assert not set(one.files) & set(two.files)
    assert two.files[0].name == f"{two.image_id}+{two.second_id}.en.txt"


def test_two_views_are_not_tested_on_shards_without_second_images(
    work: Path, shapes: SimpleNamespace, tmp_path: Path
) -> None:
    alone = shapes.write(tmp_path, {"train": 1, "test": 2}) / "shards"
    with pytest.raises(DataError, match="no study of the test split has a second one"):
        evaluate.run(evaluate.EvaluateConfig(work=work, task="report", shards=alone, again=True))


def test_a_model_of_two_views_writes_about_one_image_too(work: Path, files: dict[str, Path]) -> None:
    made = report.run(report.ReportConfig(image=files["frontal"], work=work))
    assert made.text
    assert made.second_id == made.second_view == ""


@pytest.mark.parametrize(
    ("pair", "message"),
    [
        (("frontal", "earlier"), "of different studies"),
        (("frontal", "stranger"), "of different patients"),
        (("lateral", "clear"), "neither is a frontal view"),
        (("frontal", "frontal"), "both images are the same file"),
        (("frontal", "again"), "both images are the same picture"),
        (("frontal", "nobody"), "the second image does not exist"),
        (("nobody", "lateral"), "the first image does not exist"),
    ],
)
def test_what_is_no_study_is_refused_without_a_name(
    work: Path, files: dict[str, Path], tmp_path: Path, pair: tuple[str, str], message: str
) -> None:
    image, second = (files.get(name, tmp_path / "Doe^Jane.dcm") for name in pair)
    with pytest.raises(DataError, match=message) as caught:
        report.run(report.ReportConfig(image=image, second=second, work=work))
    assert not {"Doe", "Jane", "0815", "4711", "1.2."} & {
        word for word in ("Doe", "Jane", "0815", "4711", "1.2.") if word in str(caught.value)
    }


def test_two_pictures_without_headers_are_said_to_be_of_no_known_study(work: Path, tmp_path: Path) -> None:
    for name, kind in (("a", -1), ("b", 1)):
        pictures.write_png(tmp_path / f"{name}.png", picture(kind))
    for lang, words in (("en", "Nothing says that both images are of one study."),):
        config = report.ReportConfig(
            image=tmp_path / "a.png", second=tmp_path / "b.png", work=work, lang=lang
        )
        made = report.run(config)
        assert words in made.notice
        assert (made.text, made.view, made.second_view) == ("Left nodule.", "UNKNOWN", "UNKNOWN")


def test_a_model_of_one_view_refuses_two_images(files: dict[str, Path], tmp_path: Path) -> None:
    config = report.ReportConfig(image=files["frontal"], second=files["lateral"], work=tmp_path / "none")
    with pytest.raises(DataError, match=r"(?s)looks at one image.*data\.views=2"):
        report.run(config)


def test_two_views_without_any_second_image_are_refused_and_say_how_to_shard(
    work: Path, shapes: SimpleNamespace, tmp_path: Path
) -> None:
    shard.run(shard.ShardConfig(work=work, out=tmp_path / "frontal", workers=1))
    config = two_views(shapes, work, shards=str(tmp_path / "frontal"), out=str(tmp_path / "run"))
    with pytest.raises(DataError, match=r"(?s)no training study has a second image.*views=.*LATERAL"):
        finetune.run(config)


def test_two_views_are_for_reports_alone(shapes: SimpleNamespace, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"data\.views is for report"):
        shapes.config(tmp_path, "classify", data={"views": 2})
    with pytest.raises(UsageError, match=r"data\.views is for .*report"):
        pretrain.PretrainConfig(data=StreamConfig(views=2))
