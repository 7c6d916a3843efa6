"""Masks and boxes by the road: phantoms with known lungs and findings, learned by heart."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from xraytk import config as configs
from xraytk import evaluate, finetune, shard
from xraytk.data import contour, manifest, pictures
from xraytk.data.synthetic import boxes_of, make_phantom
from xraytk.errors import DataError, MachineError, UsageError
from xraytk.files import read_json
from xraytk.progress import Silent

PX = 64
VIT = {"image_px": PX, "patch_px": 8, "width": 32, "depth": 2, "heads": 4}


def write_phantoms(work: Path, splits: dict[str, int], *, regions: bool = True) -> Path:
    """Fill a workspace's shards with phantoms that all have a consolidation, with lungs and boxes."""
    rows, contours, boxes = [], [], []
    for number, split in enumerate(name for name, count in splits.items() for _ in range(count)):
        phantom = make_phantom(number % 8, size_px=PX, findings=("Consolidation",))
        name = f"{number:016x}"
        path = f"images/{name[:2]}/{name}.png"
        pictures.write_png(work / "ingest" / path, np.rint(phantom.pixels * 65535).astype(np.uint16))
        height, width = phantom.pixels.shape
        size = {"width": width, "height": height}
        source = {"source_width": width, "source_height": height}
        ids = {"image_id": name, "patient_hash": name, "study_hash": name}
        rows.append({**ids, "split": split, "path": path, "view": "PA", **size, **source})
        lungs = contour.trace(phantom.left_lung | phantom.right_lung)
        known = {"status": "ok", "reason": "", "source": "person", "checked": "", "others": []}
        contours.append({"image_id": name, **known, **size, "polygons": lungs, "lung_share": []})
        for x, y, wide, tall, label in boxes_of(phantom):
            edges = {"x0": x, "y0": y, "x1": x + wide, "y1": y + tall}  # type: ignore[operator]
            boxes.append({"image_id": name, "label": label, **edges})
    manifest.write_table(work / "ingest" / "manifest" / "part-00000.parquet", manifest.MANIFEST, rows)
    if regions:
        manifest.write_table(work / "ingest" / "boxes.parquet", manifest.BOXES, boxes)
        manifest.write_table(work / "masks" / "contours.parquet", manifest.CONTOURS, contours)
    shard.run(shard.ShardConfig(work=work, workers=1))
    return work


def settings(work: Path, task: str, **more: Any) -> finetune.FinetuneConfig:
    tree = {
        "work": str(work),
        "task": task,
        "init": "none",
        "encoder": VIT,
        "dense": {"layers": 2, "width": 32, "cells": 16, "detail": 8},
        "optim": {"lr": 4e-3, "beta2": 0.95, "layer_decay": 1.0},
        "batch": 8,
        "steps": 30,
        "validate_every": 0,
        "save_every": 100,
        "machine": {"device": "cpu"},
    }
    return configs.build(finetune.FinetuneConfig, {**tree, **more})


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight phantoms, the same in all splits: what was learned by heart must be found again."""
    return write_phantoms(tmp_path_factory.mktemp("regions"), {"train": 8, "val": 8, "test": 8})


@pytest.fixture(scope="module")
def segmented(work: Path) -> finetune.FinetuneResult:
    return finetune.run(settings(work, "segment"))


@pytest.fixture(scope="module")
def detected(work: Path) -> finetune.FinetuneResult:
    return finetune.run(settings(work, "detect", steps=60))


def test_lungs_are_learned_by_heart(work: Path, segmented: finetune.FinetuneResult) -> None:
    assert segmented.validation["dice"] > 0.9
    [scored] = evaluate.run(evaluate.EvaluateConfig(work=work, task="segment", bootstrap=50)).runs  # type: ignore[union-attr]
    value = scored.scores["macro"]["dice"]
    assert value.low <= value.value <= value.high
    assert value.value > 0.9
    assert scored.scores["right_lung"]["iou"].value < scored.scores["right_lung"]["dice"].value
    assert (segmented.run / "figures" / "worst.png").is_file()
    rows = [json.loads(line) for line in (segmented.run / "predictions.jsonl").read_text().splitlines()]
    assert len(rows) == 8
    mean = np.mean([row["dice"]["left_lung"] for row in rows])
    assert scored.scores["left_lung"]["dice"].value == pytest.approx(mean)


def test_the_masks_that_are_written_are_those_that_were_scored(
    work: Path, segmented: finetune.FinetuneResult
) -> None:
    row = json.loads((segmented.run / "predictions.jsonl").read_text().splitlines()[0])
    mask = cv2.imread(str(segmented.run / "masks" / f"{row['image_id']}_left_lung.png"), cv2.IMREAD_GRAYSCALE)
    table = manifest.read_table(work / "masks" / "contours.parquet", manifest.CONTOURS, "").to_pylist()
    [truth] = [r for r in table if r["image_id"] == row["image_id"]]
    parts = [p for p in truth["polygons"] if p["name"] == "left_lung"]
    filled = contour.rasterise(parts, truth["height"], truth["width"])
    assert mask.shape == filled.shape
    dice = 2 * ((mask > 0) & filled).sum() / ((mask > 0).sum() + filled.sum())
    assert row["dice"]["left_lung"] == pytest.approx(dice, abs=0.01)


def test_boxes_are_learned_by_heart(work: Path, detected: finetune.FinetuneResult) -> None:
    [scored] = evaluate.run(evaluate.EvaluateConfig(work=work, task="detect", bootstrap=50)).runs  # type: ignore[union-attr]
    row = scored.scores["Consolidation"]
    assert row["sensitivity"].value == 1.0
    assert row["rsna_map"].value > 0.6
    cut = read_json(detected.run / "best" / "config.json", "")["facts"]["thresholds"]["Consolidation"]
    assert scored.protocol["thresholds"] == {"Consolidation": cut}
    first = json.loads((detected.run / "predictions.jsonl").read_text().splitlines()[0])
    table = manifest.read_table(work / "ingest" / "boxes.parquet", manifest.BOXES, "").to_pylist()
    [truth] = [r for r in table if r["image_id"] == first["image_id"]]
    assert first["truth"][0]["x"] == pytest.approx(truth["x0"], abs=0.5)
    assert first["truth"][0]["width"] == pytest.approx(truth["x1"] - truth["x0"], abs=0.5)


def test_without_masks_or_boxes_the_message_says_what_to_do(tmp_path: Path) -> None:
    work = write_phantoms(tmp_path, {"train": 8}, regions=False)
    with pytest.raises(
        DataError, match=r"(?s)no training image has a contour.*no contour at all.*xraytk mask"
    ):
        finetune.run(settings(work, "segment"))
    with pytest.raises(DataError, match=r"(?s)no training image has a box.*no box at all.*ingest --boxes"):
        finetune.run(settings(work, "detect"))


def test_a_contour_or_box_of_a_name_that_is_not_there_is_named(work: Path) -> None:
    with pytest.raises(DataError, match=r"(?s)contour heart.*left_lung 8, right_lung 8"):
        finetune.run(settings(work, "segment", segment={"classes": ["heart"]}, name="heart"))
    with pytest.raises(DataError, match=r"(?s)box Mass.*Consolidation 8"):
        finetune.run(settings(work, "detect", detect={"labels": ["Mass"]}, name="mass"))
    with pytest.raises(UsageError, match="wanted some of right_lung"):
        settings(work, "segment", segment={"classes": ["liver"]})
    with pytest.raises(UsageError, match="is for runs of the workspace"):
        evaluate.EvaluateConfig(task="detect", predictions=work / "p", references=work / "r")


class Notes(Silent):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


@pytest.fixture(scope="module")
def adapted(work: Path, segmented: finetune.FinetuneResult) -> tuple[finetune.FinetuneResult, list[str]]:
    """A short run with adapters, from the encoder of another, and what it said."""
    pytest.importorskip("peft", reason="needs the extra lora")
    notes = Notes()
    return finetune.run(with_adapters(work, segmented), notes), notes.notes


def with_adapters(work: Path, start: finetune.FinetuneResult) -> finetune.FinetuneConfig:
    more = {"init": str(start.run / "best"), "encoder": {}, "steps": 4, "save_every": 2, "keep_last": 2}
    return settings(work, "segment", name="lora", lora={"rank": 2}, **more)


def test_adapters_train_few_parameters_and_the_model_needs_no_peft(
    work: Path,
    segmented: finetune.FinetuneResult,
    adapted: tuple[finetune.FinetuneResult, list[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    result, notes = adapted
    assert any(note.startswith("lora: rank 2 on 4 layers") for note in notes)
    assert 0 < result.parameters_trained < segmented.parameters_trained
    folders = (result.run / "best", segmented.run / "best")
    made, before = (load_file(folder / "model.safetensors") for folder in folders)
    assert made.keys() == before.keys()
    changed = {name for name in made if name.startswith("encoder.") and not made[name].equal(before[name])}
    assert changed == {f"encoder.blocks.{i}.attn.{part}.weight" for i in range(2) for part in ("qkv", "proj")}
    monkeypatch.setitem(sys.modules, "peft", None)
    [scored] = evaluate.run(evaluate.EvaluateConfig(work=work, checkpoint=result.run, bootstrap=0)).runs  # type: ignore[union-attr]
    assert scored.scores["macro"]["dice"].value == pytest.approx(result.validation["dice"], abs=0.01)


def test_a_run_with_adapters_goes_on_where_it_stopped(
    work: Path, segmented: finetune.FinetuneResult, adapted: tuple[finetune.FinetuneResult, list[str]]
) -> None:
    run = adapted[0].run
    before = load_file(run / "best" / "model.safetensors")
    for name in ("best", "step-00000004"):
        shutil.rmtree(run / name)
    (run / "best.json").unlink()
    finetune.run(with_adapters(work, segmented))
    after = load_file(run / "best" / "model.safetensors")
    assert all(before[name].equal(after[name]) for name in before)
    with pytest.raises(DataError, match="holds adapters beside its weights"):
        finetune.run(settings(work, "segment", init=str(run), name="of-lora", encoder={}))


def test_adapters_and_a_frozen_encoder_exclude_each_other(work: Path) -> None:
    with pytest.raises(UsageError, match=r"lora\.rank is given with freeze=encoder"):
        settings(work, "segment", lora={"rank": 2}, freeze="encoder")


def test_without_peft_the_message_says_what_to_install(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(MachineError, match=r"xraytk\[lora\]"):
        finetune.run(settings(work, "segment", lora={"rank": 2}, name="no-peft"))


def test_an_encoder_that_was_never_trained_and_will_not_be_is_said(tmp_path: Path) -> None:
    learner = torch.nn.Module()
    learner.encoder = torch.nn.Linear(2, 2)
    for freeze, init, said in (("encoder", None, True), ("encoder", tmp_path, False), ("none", None, False)):
        notes = Notes()
        finetune._adapt(settings(tmp_path, "segment", freeze=freeze), learner, init, notes)
        assert any("random weights stay as they are" in note for note in notes.notes) == said
