"""Budgets and uncertain labels of `xraytk finetune classify`."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from xraytk import finetune, shard
from xraytk.data import manifest
from xraytk.data.shards import ShardIndex
from xraytk.data.skipped import SkipList
from xraytk.data.stream import Stream, StreamConfig
from xraytk.errors import DataError, UsageError
from xraytk.files import read_json
from xraytk.progress import Silent
from xraytk.records import UNCERTAIN

UNSURE = ("0000000000000000", "0000000000000003")


class Notes(Silent):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory, shapes: SimpleNamespace) -> Path:
    """Shards in which "Top" of two training images is uncertain."""
    work: Path = shapes.write(tmp_path_factory.mktemp("work"), {"train": 32, "val": 4})
    path = work / "ingest" / "labels.parquet"
    rows = manifest.read_table(path, manifest.LABELS, "").to_pylist()
    for row in rows:
        if row["image_id"] in UNSURE and row["label"] == "Top":
            row["value"] = UNCERTAIN
    rows.append({"image_id": UNSURE[0], "label": "Of nobody for sure", "value": UNCERTAIN})
    manifest.write_table(path, manifest.LABELS, rows)
    shard.run(shard.ShardConfig(work=work, workers=1))
    return work


def labels_of(work: Path, **more: Any) -> np.ndarray[Any, Any]:
    stream = Stream(work / "shards", "train", StreamConfig(image_px=8), needs=frozenset({"labels"}), **more)
    top = stream.labels.index("Top")
    rows = [r for b in stream.once(batch=8) for r in zip(b.image_id, b.labels[:, top].tolist(), strict=True)]
    return np.array([dict(rows)[image] for image in UNSURE])


def test_uncertain_survives_to_the_shards_and_is_unknown_unless_asked_for(work: Path) -> None:
    assert ShardIndex.load(work / "shards").labels == ("Left", "Never", "Top")
    assert np.isnan(labels_of(work)).all()
    assert labels_of(work, uncertain=UNCERTAIN).tolist() == [-1, -1]
    said = labels_of(work, uncertain=lambda image, label: 0.25 if image == UNSURE[0] else 0.75)
    assert said.tolist() == [0.25, 0.75]


@pytest.mark.parametrize(("policy", "rate"), [("ignore", 15 / 30), ("zeros", 15 / 32), ("ones", 17 / 32)])
def test_rates_follow_the_policy_for_uncertain_labels(
    policy: str, rate: float, work: Path, shapes: SimpleNamespace
) -> None:
    config = shapes.config(work, "classify", labels={"uncertain": policy})
    notes = Notes()
    chosen = finetune._chosen(config, SkipList(), notes)
    task = finetune._learner(config, SkipList(), notes, chosen)
    assert task.rates[task.labels.index("Top")].item() == pytest.approx(rate)


def test_a_first_model_says_what_is_uncertain_and_a_rerun_takes_the_same(
    work: Path, shapes: SimpleNamespace
) -> None:
    short = {"steps": 3, "validate_every": 0, "save_every": 3}
    first = finetune.run(shapes.config(work, "classify", name="first", **short))
    options = {"uncertain": "self-trained", "uncertain_from": str(first.run)}
    config = shapes.config(work, "classify", name="second", labels=options, **short)
    notes = Notes()
    second = finetune.run(config, notes)
    assert "2 of 2 uncertain labels are taken from the first model" in notes.notes
    (path,) = second.run.glob("uncertain-*.parquet")
    rows = manifest.read_table(path, manifest.LABELS, "").to_pylist()
    assert [(row["image_id"], row["label"]) for row in rows] == [(image, "Top") for image in UNSURE]
    assert all(0 < row["value"] < 1 for row in rows)
    chosen = finetune._chosen(config, SkipList(), notes)
    assert labels_of(work, uncertain=chosen.uncertain) == pytest.approx([row["value"] for row in rows])
    state = json.loads((next(iter(second.run.glob("step-*"))) / "state.json").read_text())
    assert "uncertain_from" in state["config"]["inputs"]


def test_a_first_model_that_is_not_there_or_not_asked_for_is_refused(
    work: Path, shapes: SimpleNamespace, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="self-trained needs a first model"):
        shapes.config(work, "classify", labels={"uncertain": "self-trained"})
    with pytest.raises(UsageError, match="self-trained needs a first model"):
        shapes.config(work, "classify", labels={"uncertain_from": str(tmp_path)})
    options = {"uncertain": "self-trained", "uncertain_from": str(tmp_path)}
    with pytest.raises(DataError, match=r"config\.json"):
        finetune.run(shapes.config(work, "classify", name="none", labels=options))


def test_training_images_without_a_label_are_left_out(shapes: SimpleNamespace, tmp_path: Path) -> None:
    work = shapes.write(tmp_path, {"train": 8, "val": 2, "test": 2})
    path = work / "ingest" / "labels.parquet"
    rows = [row for row in pq.read_table(path).to_pylist() if int(row["image_id"], 16) > 2]
    manifest.write_table(path, manifest.LABELS, rows)
    shard.run(shard.ShardConfig(work=work, workers=1))
    notes = Notes()
    only = finetune._chosen(shapes.config(work, "classify"), SkipList(), notes).only
    assert only == {f"{number:016x}" for number in range(3, 8)}
    assert notes.notes == ["5 training images with a label"]
    one = finetune._chosen(shapes.config(work, "classify", label_budget=0.2), SkipList(), notes).only
    assert one is not None
    assert one < only


def test_a_smaller_budget_lies_within_a_larger_and_holds_whole_patients(
    work: Path, shapes: SimpleNamespace
) -> None:
    notes = Notes()

    def images(share: float, seed: int = 3) -> frozenset[str]:
        config = shapes.config(work, "classify", label_budget=share, seed=seed)
        only = finetune._chosen(config, SkipList(), notes).only
        assert only is not None
        return only

    few, half = images(0.125), images(0.5)
    assert few < half
    assert (len(few), len(half)) == (4, 16)  # 2 and 8 of 16 patients, with two images each
    assert all(f"{int(image, 16) ^ 1:016x}" in few for image in few)
    assert images(0.5, seed=4) != half


def test_a_run_on_a_budget_sees_its_images_only(work: Path, shapes: SimpleNamespace) -> None:
    few = {"label_budget": 0.25, "steps": 2, "batch": 8, "head": {"kind": "vtb"}, "drop_path": 0.2}
    config = shapes.config(work, "classify", name="few", data={"randaug": 6}, **few)
    result = finetune.run(config)
    assert result.samples == 8
    best = read_json(result.run / "best" / "config.json", "")
    assert best["model"]["head"] == {"kind": "vtb", "weight": "vtb", "text": ""}
    learner = finetune._learner(config, SkipList(), Silent(), finetune._chosen(config, SkipList(), Silent()))
    chosen = finetune._chosen(config, SkipList(), Silent())
    seen = finetune._stream(finetune.resolve(config)[0], "train", learner, SkipList(), chosen)
    assert {i for batch in seen.once(batch=8) for i in batch.image_id} == chosen.only
    assert torch.isfinite(torch.tensor(result.last_loss))
    with pytest.raises(UsageError, match="batch 16 is more than the 8 training images"):
        finetune.run(dataclasses.replace(config, name="many", batch=16))


def test_budgets_and_drop_path_out_of_range_are_refused(shapes: SimpleNamespace, tmp_path: Path) -> None:
    for key, value in (("label_budget", 0.0), ("label_budget", 1.5), ("drop_path", 1.0)):
        with pytest.raises(UsageError, match=key):
            shapes.config(tmp_path, "classify", **{key: value})
    with pytest.raises(UsageError, match="are for classify"):
        shapes.config(tmp_path, "report", label_budget=0.1)
