from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from xraytk import evaluate
from xraytk.errors import DataError, RunConflictError, UsageError
from xraytk.evaluate.probes import against
from xraytk.models.vit import Vit, VitConfig
from xraytk.tasks.metrics.compare import compare
from xraytk.tasks.metrics.panel import label_panel
from xraytk.tasks.probe import ProbeConfig
from xraytk.tasks.scoring.labels import LabelSet


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory, shapes: SimpleNamespace) -> Path:
    """A workspace with shards and a run whose encoder has its first weights."""
    work: Path = shapes.write(tmp_path_factory.mktemp("probe"), {"train": 48, "val": 16, "test": 16})
    step = work / "runs" / "pretrain" / "step-00000001"
    step.mkdir(parents=True)
    torch.manual_seed(5)
    encoder = Vit(VitConfig(**shapes.vit))
    tensors = {f"encoder.{name}": value for name, value in encoder.state_dict().items()}
    header = {"xraytk.encoder": json.dumps(shapes.vit), "xraytk.encoder_prefix": "encoder."}
    save_file(tensors, step / "model.safetensors", header)
    (step / "state.json").write_text('{"format": 1, "step": 1}')
    (step.parent / "config.toml").write_text('objective = "mae"\n')
    return work


def settings(work: Path, task: str = "linear-probe", **more: Any) -> evaluate.EvaluateConfig:
    return evaluate.EvaluateConfig(work=work, task=task, bootstrap=more.pop("bootstrap", 20), **more)


@pytest.mark.parametrize("task", ["linear-probe", "knn"])
def test_a_probe_is_scored_compared_and_written(work: Path, tmp_path: Path, task: str) -> None:
    probed = ProbeConfig(compare=("random", "pixels"), seeds=2, budgets=(0.3, 1.0), neighbours=(3, 5))
    result = evaluate.run(settings(work, task, out=tmp_path, probe=probed))
    scored = result.runs[0]
    assert (scored.task, scored.images, result.split) == (task, 16, "test")
    assert scored.scores["macro"]["auroc"].value > 0.8  # where a square lies is easy
    assert "Never" not in scored.scores
    assert any("too few known training values of both kinds to learn: Never" in note for note in scored.notes)
    tree = json.loads((tmp_path / "metrics.json").read_text())
    names = set(tree["tables"])
    assert {"random weights (mean of 2)", "minus random weights (mean of 2)"} < names
    assert {"pixels at 32 x 32", "this encoder, 0.3 of the patients (7)"} < names
    assert tree["model"]["chosen"]
    assert {path.name for path in scored.files} > {"page.html", "predictions.jsonl", "compared.png"}
    lines = [json.loads(line) for line in (tmp_path / "predictions.jsonl").read_text().splitlines()]
    assert len(lines) == 16
    assert set(lines[0]["scores"]) == {"Top", "Left"}
    page = (tmp_path / "page.html").read_text()
    assert "minus random weights" in page
    assert str(tmp_path) not in page
    assert "mean AUROC of random weights" in "\n".join(result.lines())


def test_without_a_test_split_validation_is_scored_and_nothing_is_chosen_on_it(
    work: Path, tmp_path: Path, shapes: SimpleNamespace
) -> None:
    other = shapes.write(tmp_path / "w", {"train": 32, "val": 8})
    shutil.copytree(work / "runs", other / "runs")
    result = evaluate.run(settings(other))
    assert result.split == "val"
    notes = " ".join(result.runs[0].notes)
    assert "there is no test split" in notes
    assert "within the training patients" in notes
    assert (other / "runs" / "pretrain" / "linear-probe" / "metrics-val.json").is_file()


def test_another_reading_of_the_test_split_is_refused(work: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(work / "runs" / "pretrain" / "step-00000001", run / "step-00000001")
    (run / "config.toml").write_text('objective = "mae"\n')
    cls = ProbeConfig(pool="cls")
    given = {"task": "knn", "checkpoint": run, "bootstrap": 0}
    evaluate.run(settings(work, **given))
    evaluate.run(settings(work, **given, probe=ProbeConfig(compare=("random",), seeds=1)))
    with pytest.raises(RunConflictError, match="read by knn before"):
        evaluate.run(settings(work, **given, probe=cls))
    evaluate.run(settings(work, **given, probe=cls, split="val"))
    again = evaluate.run(settings(work, **given, probe=cls, again=True))
    assert any("was read 2 times" in note for note in again.runs[0].notes)


@pytest.mark.parametrize("task", ["knn", "similar"])
def test_nothing_is_written_beside_weights_that_are_no_run(work: Path, tmp_path: Path, task: str) -> None:
    out = work / "exports" / f"mae-{task}"
    out.mkdir(parents=True)
    weights = work / "runs" / "pretrain" / "step-00000001" / "model.safetensors"
    shutil.copyfile(weights, out / "encoder.safetensors")
    (out / "export.json").write_text('{"format": 1}')
    done = evaluate.run(settings(work, task, checkpoint=out, bootstrap=0))
    assert sorted(path.name for path in out.iterdir()) == ["encoder.safetensors", "export.json"]
    home = work / "probes" / out.name / task
    assert {path.name for path in home.iterdir()} > {"metrics.json", "predictions.jsonl", "test-reads.jsonl"}
    assert all(path.is_relative_to(home) for path in done.runs[0].files)


def test_an_encoder_against_itself_differs_by_nothing_and_one_other_is_the_paired_difference() -> None:
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 2, (60, 2)).astype(np.float64)
    ids = tuple(f"{i:02d}" for i in range(60))
    one, other = (
        LabelSet(ids, ids, ("a", "b"), np.clip(truth * 0.2 + rng.random((60, 2)), 0, 1), truth)
        for _ in range(2)
    )
    _, apart = against(one, [one, one], resamples=30, seed=0)
    assert all(v.value == v.low == v.high == 0 for row in apart.values() for v in row.values())
    mean, apart = against(one, [other], resamples=30, seed=0)
    both = label_panel(
        np.concatenate([one.scores, other.scores]),
        np.concatenate([truth, truth]),
        ("a", "b"),
        None,
        metrics=("auroc", "auprc"),
    )
    wanted = compare(both.score, both.score, ids, resamples=30, seed=0)[4]
    assert mean["macro"]["auroc"].value == pytest.approx(wanted.b.value)
    assert apart["macro"]["auroc"].value == pytest.approx(wanted.apart.value)
    assert apart["macro"]["auroc"].low == pytest.approx(wanted.apart.low)


def test_wrong_input_is_refused(work: Path, tmp_path: Path, shapes: SimpleNamespace) -> None:
    with pytest.raises(UsageError, match="learns on the train split"):
        evaluate.run(settings(work, split="train"))
    with pytest.raises(DataError, match="no checkpoint of a pretraining"):
        evaluate.run(settings(tmp_path))
    with pytest.raises(UsageError, match="is for an encoder"):
        settings(work, predictions=tmp_path / "p.csv", references=tmp_path / "r.csv")
    other = shapes.write(tmp_path / "w", {"train": 4})
    with pytest.raises(DataError, match="no image in the test split"):
        evaluate.run(settings(other, checkpoint=work / "runs" / "pretrain"))
