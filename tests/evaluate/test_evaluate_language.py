from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from phantom_work import pretrained, write_phantoms
from scipy.special import softmax

from xraytk import embed, evaluate
from xraytk.embed import similar
from xraytk.errors import DataError, RunConflictError, UsageError
from xraytk.evaluate.zero_shot import chances
from xraytk.tasks.language import LanguageConfig
from xraytk.train.launch import MachineConfig


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Phantoms that a small model of images and reports has learned by heart."""
    folder = tmp_path_factory.mktemp("towers")
    write_phantoms(folder)
    pretrained(folder, "clip", 120)
    return folder


def score(work: Path, task: str, split: str = "train", **more: Any) -> evaluate.RunScores:
    given = {"work": work, "task": task, "split": split, "bootstrap": 10, "run": work / "runs" / "clip"}
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


def test_labels_known_by_heart_are_told_by_prompts(work: Path) -> None:
    done = score(work, "zero-shot")
    assert done.scores["macro"]["auroc"].value > 0.7
    assert {"Nodule", "Consolidation", "No Finding", "macro"} < set(done.scores)
    assert done.protocol["prompts"]["en"]["Pneumothorax"]["negative"] == ["no pneumothorax"]
    assert any("prompts in en" in note for note in done.notes)


def test_findings_known_by_heart_are_grounded_better_than_chance(work: Path, tmp_path: Path) -> None:
    done = score(work, "grounding", out=tmp_path, lang="en")
    row = done.scores["all"]
    assert row["pointed"].value > 2 * row["box share"].value
    assert row["CNR"].value > 0.3
    assert (tmp_path / "figures" / "phrases-train.png").stat().st_size > 1000


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
        task: score(work, task, "test", run=run, bootstrap=0)
        for task in ("retrieval", "zero-shot", "grounding")
    }
    assert all(one.files[0] == run / task / "metrics.json" for task, one in done.items())
    assert {"en image to report", "zh report to image"} < set(done["retrieval"].scores)
    assert done["zero-shot"].protocol["prompts"]["zh"]["Pneumothorax"]["positive"] == ["可见气胸。"]
    assert done["grounding"].protocol["similarity"].endswith("times the place's weight over the greatest")
    score(work, "zero-shot", "test", run=run, bootstrap=0)
    other = LanguageConfig(method="chexzero")
    with pytest.raises(RunConflictError, match="read by zero-shot before"):
        score(work, "zero-shot", "test", run=run, bootstrap=0, language=other)


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
        score(work, "retrieval", run=run)
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
