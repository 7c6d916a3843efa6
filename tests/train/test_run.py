from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from xraytk.errors import RunConflictError, UsageError
from xraytk.train.run import prepare
from xraytk.train.saver import save

CONFIG: dict[str, Any] = {"batch": 8, "optim": {"lr": 0.1}, "machine": {"gpus": 1}, "out": "here"}


def write(folder: Path, step: int, config: dict[str, Any] = CONFIG) -> Path:
    learner = nn.Linear(1, 1)
    return save(folder, step, learner, torch.optim.AdamW(learner.parameters()), config)


def test_a_new_run_starts_and_writes_its_config(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "a"
    assert prepare(folder, CONFIG, "auto") is None
    assert tomllib.loads((folder / "config.toml").read_text()) == CONFIG


def test_the_same_config_goes_on_from_the_newest(tmp_path: Path) -> None:
    write(tmp_path, 1)
    newest = write(tmp_path, 2)
    assert prepare(tmp_path, CONFIG, "auto") == newest


def test_another_machine_place_or_rhythm_is_the_same_run(tmp_path: Path) -> None:
    newest = write(tmp_path, 2)
    moved = CONFIG | {"machine": {"gpus": 8}, "out": "there", "save_every": 3}
    assert prepare(tmp_path, moved, "auto") == newest


def test_another_config_is_refused_by_the_name_of_every_key(tmp_path: Path) -> None:
    write(tmp_path, 2)
    with pytest.raises(RunConflictError) as caught:
        prepare(tmp_path, {"batch": 16, "optim": {"lr": 0.2}}, "auto")
    assert "batch: 8 -> 16" in str(caught.value)
    assert "optim.lr: 0.1 -> 0.2" in str(caught.value)
    assert not (tmp_path / "config.toml").exists()


def test_a_run_without_a_checkpoint_has_nothing_to_lose(tmp_path: Path) -> None:
    prepare(tmp_path, CONFIG, "auto")
    assert prepare(tmp_path, {"batch": 16}, "auto") is None


def test_never_refuses_a_run_that_is_there(tmp_path: Path) -> None:
    assert prepare(tmp_path, CONFIG, "never") is None
    write(tmp_path, 2)
    with pytest.raises(RunConflictError, match="holds a run already"):
        prepare(tmp_path, CONFIG, "never")


def test_a_path_resumes_from_there_and_never_goes_back(tmp_path: Path) -> None:
    old, new = write(tmp_path / "a", 1), write(tmp_path / "a", 2)
    assert prepare(tmp_path / "b", CONFIG, str(old)) == old
    assert prepare(tmp_path / "a", CONFIG, str(tmp_path / "a")) == new
    with pytest.raises(RunConflictError, match="later than step-00000001"):
        prepare(tmp_path / "a", CONFIG, str(old))
    with pytest.raises(UsageError, match="names no checkpoint"):
        prepare(tmp_path / "a", CONFIG, str(tmp_path / "c"))


def test_leftovers_of_a_killed_process_are_swept(tmp_path: Path) -> None:
    (tmp_path / ".tmp-1-abcd-step-00000001").mkdir()
    prepare(tmp_path, CONFIG, "auto")
    assert [p.name for p in tmp_path.iterdir()] == ["config.toml"]
