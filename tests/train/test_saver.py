from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from test_checkpoint import made
from toy_learner import ToyLearner, batches

from xraytk.errors import MachineError
from xraytk.records import Batch
from xraytk.train import checkpoint
from xraytk.train.launch import MachineConfig
from xraytk.train.loop import FitPlan, fit
from xraytk.train.saver import Saver


def saver(folder: Path, keep: Callable[[Path], None] = lambda _: None) -> Saver:
    return Saver(folder, sharded=False, keep=keep)


def plan(**changes: Any) -> FitPlan:
    machine = MachineConfig(device="cpu", micro_batch=4)
    values: dict[str, Any] = {"steps": 12, "batch": 8, "save_every": 4, "log_every": 1, "machine": machine}
    return FitPlan(**(values | changes))


def held_back(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Let no checkpoint be finished before the event."""
    gate, write = threading.Event(), checkpoint.write_state

    def late(*words: Any) -> None:
        assert gate.wait(60)
        write(*words)

    monkeypatch.setattr(checkpoint, "write_state", late)
    return gate


def test_what_is_written_is_the_state_of_that_step_though_training_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = held_back(monkeypatch)
    learner, optimizer = made()
    wanted = {name: tensor.clone() for name, tensor in learner.state_dict().items()}
    job = saver(tmp_path)
    job.start(3, learner, optimizer, None, {})
    for parameter in learner.parameters():
        parameter.data.zero_()
    assert checkpoint.latest(tmp_path) is None  # no name before all of it is there
    gate.set()
    job.wait()
    assert job.error() is None
    found = load_file(tmp_path / "step-00000003" / "model.safetensors")
    assert all(torch.equal(found[name], tensor) for name, tensor in wanted.items())
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000003"]


def test_the_loop_goes_on_while_a_checkpoint_is_written_and_waits_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = held_back(monkeypatch)

    def source(start: int) -> Iterator[Batch]:
        for i, batch in enumerate(batches(start)):
            if i == 2 * 7:  # three steps after the save of step 4
                assert not list(tmp_path.glob("step-*"))
                gate.set()
            yield batch

    result = fit(ToyLearner(), source, plan(keep_last=9), tmp_path, config={})
    names = [path.name for path in sorted(tmp_path.glob("step-*"))]
    assert names == ["step-00000004", "step-00000008", "step-00000012"]
    assert result.checkpoint.name == names[-1]


def test_a_write_that_fails_is_the_error_of_the_next_step(tmp_path: Path) -> None:
    def source(start: int) -> Iterator[Batch]:
        for i, batch in enumerate(batches(start)):
            if i == 2 * 3:  # the first save comes after the fourth step
                (tmp_path / ".tmp-step-00000004").write_text("a file where a folder should be")
            if i > 2 * 4:
                threading.Event().wait(0.05)  # a thread needs time to fail
            yield batch

    with pytest.raises(MachineError, match="cannot write"):
        fit(ToyLearner(), source, plan(steps=100), tmp_path, config={})


def test_the_last_k_and_every_nth_stay(tmp_path: Path) -> None:
    fit(ToyLearner(), batches, plan(save_every=1, keep_last=2, keep_every=5), tmp_path, config={})
    kept = [int(path.name.removeprefix("step-")) for path in sorted(tmp_path.glob("step-*"))]
    assert kept == [5, 10, 11, 12]
