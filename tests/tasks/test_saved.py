from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from xraytk.errors import DataError
from xraytk.models.vit import VitConfig
from xraytk.tasks import TASKS, saved
from xraytk.tasks.classification import ClassifyTask, HeadConfig

CPU = torch.device("cpu")


@pytest.fixture
def task() -> ClassifyTask:
    vit = VitConfig(image_px=32, patch_px=8, width=32, depth=1, heads=4)
    return ClassifyTask(vit, HeadConfig(kind="attention"), ("A", "B"), (0.2, 0.7))


def test_a_model_comes_back_with_its_weights_and_facts(task: ClassifyTask, tmp_path: Path) -> None:
    saved.save(tmp_path / "m", task, {"thresholds": {"A": 0.25}})
    again = saved.load(tmp_path / "m", CPU)
    assert isinstance(again.learner, ClassifyTask)
    assert again.facts == {"thresholds": {"A": 0.25}}
    assert not again.learner.training
    for name, tensor in task.state_dict().items():
        torch.testing.assert_close(again.learner.state_dict()[name], tensor, rtol=0, atol=0)


def test_half_precision_halves_the_file_and_loads_as_single(task: ClassifyTask, tmp_path: Path) -> None:
    for name, half in (("whole", False), ("half", True)):
        saved.save(tmp_path / name, task, {}, half=half)
    sizes = [(tmp_path / name / "model.safetensors").stat().st_size for name in ("half", "whole")]
    assert sizes[0] < 0.6 * sizes[1]
    again = saved.load(tmp_path / "half", CPU).learner
    assert all(p.dtype == torch.float32 for p in again.parameters())


def test_saving_again_replaces_the_folder(task: ClassifyTask, tmp_path: Path) -> None:
    for step in (1, 2):
        saved.save(tmp_path / "m", task, {"step": step})
    assert saved.load(tmp_path / "m", CPU).facts == {"step": 2}
    assert [path.name for path in tmp_path.iterdir()] == ["m"]


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("format", 99, "format 99"),
        ("task", "nowhere", "does not describe a model"),
        ("task", "xraytk.files:sha256_of", "does not describe a model"),
        ("model", {}, "does not describe a model"),
    ],
)
def test_a_folder_that_describes_no_model_is_refused(
    task: ClassifyTask, tmp_path: Path, key: str, value: object, message: str
) -> None:
    saved.save(tmp_path / "m", task, {})
    path = tmp_path / "m" / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), key: value}))
    with pytest.raises(DataError, match=message):
        saved.load(tmp_path / "m", CPU)


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        saved.load(tmp_path / "m", CPU)


def test_every_task_of_the_table_is_there() -> None:
    from xraytk.config import resolve

    for target in TASKS.values():
        assert {"predict", "describe", "rebuild", "validate", "fitted"} <= set(dir(resolve(target)))
