from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from phantom_work import VIT, pretrained, write_phantoms
from scipy.special import softmax

from xraytk import embed, evaluate
from xraytk.embed import similar
from xraytk.errors import DataError, RunConflictError, UsageError
from xraytk.evaluate.zero_shot import chances
from xraytk.tasks.language import LanguageConfig
from xraytk.train.launch import MachineConfig

SHAPES = ("No finding.", "Left nodule.", "Right nodule.", "Right effusion. Left nodule.")


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Phantoms that a small model of images and reports has learned by heart."""
    folder = tmp_path_factory.mktemp("towers")
    write_phantoms(folder)
    pretrained(folder, "clip", 120)
    return folder


@pytest.fixture(scope="module")
def squares(tmp_path_factory: pytest.TempPathFactory, shapes: SimpleNamespace) -> Path:
    """Squares whose place says the report, and a small model of both."""
    folder: Path = shapes.write(tmp_path_factory.mktemp("squares"), {"train": 32, "val": 8, "test": 8})
    # of three seeds one does not learn left from right: four different reports are few to contrast
    pretrained(folder, "clip", 80, vit=VIT | {"image_px": 32, "depth": 1}, seed=1)
    return folder


def score(work: Path, task: str, split: str = "train", **more: Any) -> evaluate.RunScores:
    given = {
        "work": work,
        "task": task,
        "split": split,
        "bootstrap": 10,
        "checkpoint": work / "runs" / "clip",
    }
    result = evaluate.run(evaluate.EvaluateConfig(**{**given, **more}))
    assert isinstance(result, evaluate.EvaluateResult)
    return result.runs[0]


def test_phantoms_known_by_heart_find_their_reports_and_back(work: Path, tmp_path: Path) -> None:
    done = score(work, "retrieval", out=tmp_path)
    assert set(done.scores) == {"en image to report", "en report to image"}
    for row in done.scores.values():
        assert row["R@1"].value > 0.9
        assert row["median rank"].value == 1
        assert row["R@1"].n == 16
    tree = json.loads((tmp_path / "metrics-train.json").read_text())
    assert tree["tables"]["by chance"]["en image to report"]["R@1"]["value"] == pytest.approx(1 / 16)
    assert len((tmp_path / "predictions-train.jsonl").read_text().splitlines()) == 16
    assert "R@10" in (tmp_path / "page-train.html").read_text()
    assert any("trained on" in note for note in done.notes)


def test_prompts_tell_the_labels_of_images_that_were_never_seen(squares: Path, tmp_path: Path) -> None:
    prompts = tmp_path / "mine.json"
    top = {"positive": ["No finding.", "Left nodule."], "negative": ["Right nodule."]}
    left = {"positive": ["No finding.", "Right nodule."], "negative": ["Left nodule."]}
    prompts.write_text(json.dumps({"en": {"labels": {"Top": top, "Left": left}}}))
    settings = LanguageConfig(prompts=prompts)
    done = score(squares, "zero-shot", "test", out=tmp_path, language=settings)
    assert done.scores["Top"]["auroc"].value > 0.9
    assert done.scores["Left"]["auroc"].value > 0.9
    assert done.protocol["prompts"]["en"]["Top"]["negative"] == ["Right nodule."]
    assert done.protocol["prompts"]["en"]["Never"]["negative"] == ["no never"]
    assert any("prompts in en" in note for note in done.notes)
    assert {"page.html", "roc.png"} <= {path.name for path in done.files}


def test_a_report_that_many_images_share_is_right_for_all_of_them(squares: Path) -> None:
    done = score(squares, "retrieval", "test")
    assert done.scores["en image to report"]["R@1"].value > 0.9
    assert done.scores["en report to image"]["R@1"].value > 0.9


def test_maps_of_phrases_change_where_the_squares_are(squares: Path, tmp_path: Path) -> None:
    # so small a model need not be nearer to the phrase there: it can tell by the patches around
    boxes = tmp_path / "boxes.csv"
    lines = ["image_id,phrase,label,x0,y0,x1,y1"]
    for number in range(48):
        top, left = divmod(number % 4, 2)
        edges = (left * 32 + 6, top * 32 + 6, left * 32 + 26, top * 32 + 26)
        lines.append(f"{number:016x},{SHAPES[number % 4]},kind {number % 4},{','.join(map(str, edges))}")
    boxes.write_text("\n".join(lines) + "\n")
    settings = LanguageConfig(boxes=boxes, pictures=3)
    done = score(squares, "grounding", "val", out=tmp_path, language=settings)
    assert max(done.scores[f"kind {kind}"]["CNR absolute"].value for kind in range(4)) > 1
    assert done.scores["all"]["box share"].value == pytest.approx(400 / 64**2)
    assert done.scores["all"]["CNR"].n == 8
    assert (tmp_path / "figures" / "phrases-val.png").stat().st_size > 1000


def test_softmax_of_the_two_prompts_is_the_published_one() -> None:
    rng = np.random.default_rng(0)
    image, positive, negative = (rng.standard_normal((3, 5)).astype(np.float32) for _ in range(3))
    both = np.stack([image @ positive.T, image @ negative.T])
    assert chances(image, positive, negative, "maco") == pytest.approx(softmax(both, axis=0)[0], abs=1e-6)
    plain = image / np.linalg.norm(image, axis=1, keepdims=True)
    both = np.stack([plain @ positive.T, plain @ negative.T])
    assert chances(image, positive, negative, "chexzero") == pytest.approx(softmax(both, axis=0)[0], abs=1e-6)


def test_maco_is_scored_in_both_languages_on_the_test_split_which_is_read_once(work: Path) -> None:
    run = pretrained(work, "maco", 2)
    done = {
        task: score(work, task, "test", checkpoint=run, bootstrap=0)
        for task in ("retrieval", "zero-shot", "grounding")
    }
    assert all(one.files[0] == run / task / "metrics.json" for task, one in done.items())
    assert {"en image to report", "zh report to image"} < set(done["retrieval"].scores)
    assert done["zero-shot"].protocol["prompts"]["zh"]["Pneumothorax"]["positive"] == ["可见气胸。"]
    assert done["grounding"].protocol["similarity"].endswith("times the place's weight over the greatest")
    score(work, "zero-shot", "test", checkpoint=run, bootstrap=0)
    other = LanguageConfig(method="chexzero")
    with pytest.raises(RunConflictError, match="read by zero-shot before"):
        score(work, "zero-shot", "test", checkpoint=run, bootstrap=0, language=other)


def test_what_cannot_be_scored_is_said(work: Path, tmp_path: Path) -> None:
    bad = tmp_path / "mine.toml"
    bad.write_text('[en.names]\n"Scoliosis" = "a bent spine"\n')
    with pytest.raises(DataError, match=r"unknown label in en.names: Scoliosis"):
        score(work, "zero-shot", language=LanguageConfig(prompts=bad))
    with pytest.raises(UsageError, match="langs is"):
        score(work, "retrieval", langs=("fr",))
    boxes = tmp_path / "boxes.jsonl"
    row = {"image_id": f"{0:016x}", "phrase": "a cloud", "x0": 5, "y0": 5, "x1": 5, "y1": 9}
    boxes.write_text(json.dumps(row) + "\n")
    with pytest.raises(DataError, match="the box of row 1 takes no pixel"):
        score(work, "grounding", language=LanguageConfig(boxes=boxes))
    boxes.write_text(json.dumps(row | {"x1": 30, "y1": 30}) + "\n")
    assert (
        score(work, "grounding", language=LanguageConfig(boxes=boxes), lang="en").scores["all"]["CNR"].n == 1
    )
    boxes.write_text(json.dumps(row | {"image_id": "nobody"}) + "\n")
    with pytest.raises(DataError, match="holds no box of these images"):
        score(work, "grounding", language=LanguageConfig(boxes=boxes))
    with pytest.raises(UsageError, match="is for an encoder"):
        evaluate.EvaluateConfig(task="retrieval", predictions=boxes, references=boxes)


def test_a_run_without_a_text_tower_is_named(work: Path) -> None:
    run = pretrained(work, "mae", 1)
    with pytest.raises(DataError, match="no text tower to compare images with") as error:
        score(work, "retrieval", checkpoint=run)
    assert "made by mae; wanted one of clip, maco" in str(error.value)


def test_a_language_that_a_model_does_not_read_is_named(work: Path) -> None:
    with pytest.raises(DataError, match="reads no language that is asked for") as error:
        score(work, "retrieval", lang="zh")
    assert "asked for zh; it reads en" in str(error.value)


def test_the_same_phantom_again_is_the_nearest_of_the_archive(work: Path, tmp_path: Path) -> None:
    done = score(work, "similar", "val", out=tmp_path / "scores")  # the first two training phantoms again
    assert done.scores["Consolidation"]["P@1"].value == 1
    assert done.scores["macro"]["P@1"].value > done.scores["macro"]["by chance"].value
    rows = (tmp_path / "scores" / "predictions-val.jsonl").read_text().splitlines()
    assert [json.loads(row)["nearest"][0] for row in rows] == [f"{0:016x}", f"{1:016x}"]
    assert (tmp_path / "scores" / "figures" / "neighbours-val.png").is_file()
    with pytest.raises(UsageError, match="learns on the train split"):
        score(work, "similar", "train")


def test_an_image_finds_itself_among_what_was_embedded(work: Path, tmp_path: Path) -> None:
    archive = tmp_path / "archive.parquet"
    run = work / "runs" / "clip"
    machine = MachineConfig(device="cpu", workers=1)
    embed.run(embed.EmbedConfig(work=work, checkpoint=run, out=archive, machine=machine))
    image = work / "ingest" / "images" / "00" / f"{5:016x}.png"
    given = {"index": archive, "checkpoint": run, "work": work, "machine": machine}
    found = similar.run(similar.SimilarConfig(query=str(image), out=tmp_path / "one", k=3, **given))
    (near,) = found.found.values()
    assert near[0] == (f"{5:016x}", pytest.approx(1, abs=1e-4))
    assert (len(near), found.queries, found.archive) == (3, 1, 20)
    assert found.sheet is not None
    whole = similar.run(similar.SimilarConfig(query=str(archive), out=tmp_path / "all", others=True, **given))
    assert all(image not in dict(pairs) for image, pairs in whole.found.items())
    other = pretrained(work, "mae", 1)
    with pytest.raises(DataError, match=r"was made by another encoder than mae"):
        similar.run(similar.SimilarConfig(query=str(image), **given | {"checkpoint": other}))
    with pytest.raises(DataError, match="is not a table of `xraytk embed`"):
        similar.run(similar.SimilarConfig(query=str(image), **given | {"index": image}))
