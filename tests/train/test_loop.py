from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from toy_learner import ToyLearner, batches

from xraytk.chance import Chance
from xraytk.errors import DataError, InterruptedRunError, MachineError, UsageError, XraytkError
from xraytk.records import Batch, Loss
from xraytk.train import checkpoint
from xraytk.train.journal import read
from xraytk.train.launch import MachineConfig
from xraytk.train.loop import FitPlan, FitResult, fit, micro_batch_of, seed_torch
from xraytk.train.optim import OptimConfig, lr_at


def plan(**changes: Any) -> FitPlan:
    values: dict[str, Any] = {
        "steps": 20,
        "batch": 8,
        "save_every": 10,
        "log_every": 1,
        "keep_last": 5,
        "machine": MachineConfig(device="cpu", micro_batch=4),
        "optim": OptimConfig(lr=1e-2, min_lr=1e-4, warmup_share=0.2),
    }
    return FitPlan(**(values | changes))


def train(folder: Path, **kwargs: Any) -> FitResult:
    learner = kwargs.pop("learner", None) or ToyLearner()
    made = {"batches": batches, "plan": plan(), "folder": folder, "config": {}} | kwargs
    return fit(learner, **made)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    newest = checkpoint.latest(folder)
    assert newest is not None
    files = ("model.safetensors", "optimizer.safetensors")
    return {f"{name}:{k}": v for name in files for k, v in load_file(newest / name).items()}


def assert_same(one: Path, other: Path) -> None:
    a, b = weights(one), weights(other)
    assert a.keys() == b.keys()
    assert [name for name in a if not torch.equal(a[name], b[name])] == []


def losses(folder: Path) -> list[tuple[int, float, float]]:
    return [(line["step"], line["loss"], line["grad_norm"]) for line in read(folder / "log.jsonl")]


class Killed(BaseException):
    """Stands for a process that is gone between two steps."""


def dying_at(step: int) -> Any:
    def source(start: int) -> Iterator[Batch]:
        for i, batch in enumerate(batches(start)):
            if i == 2 * (step - start) + 1:  # in the middle of the step
                raise Killed
            yield batch

    return source


def test_a_run_learns_and_logs_every_step(tmp_path: Path) -> None:
    result = train(tmp_path)
    lines = read(tmp_path / "log.jsonl")
    assert [line["step"] for line in lines] == list(range(1, 21))
    assert set(lines[0]) == {
        "step",
        "loss",
        "lr",
        "grad_norm",
        "parts",
        "img_per_s",
        "data_wait",
        "memory_gib",
        "time",
        "eta_s",
        "warm_up",
    }
    assert set(lines[0]) - set(lines[1]) == {"warm_up"}
    assert lines[-1]["eta_s"] == 0
    assert lines[0]["parts"]["twice"] == pytest.approx(2 * lines[0]["loss"])
    assert result.last_loss < 0.5 * result.first_loss
    assert result.checkpoint == tmp_path / "step-00000020"
    assert 0 < lines[-1]["memory_gib"] < 64


def test_the_optimizer_holds_the_rate_of_the_formula_at_every_step(tmp_path: Path) -> None:
    held: list[float] = []

    class Watching(ToyLearner):
        def forward(self, batch: Batch, chance: Chance) -> Loss:
            held.append(made[0].param_groups[0]["lr"])
            return super().forward(batch, chance)

    made: list[torch.optim.Optimizer] = []
    original = torch.optim.AdamW.__init__

    def remember(self: torch.optim.AdamW, *args: Any, **kwargs: Any) -> None:
        made.append(self)
        original(self, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.optim.AdamW, "__init__", remember)
        train(tmp_path, learner=Watching())
    wanted = [lr_at(step, 20, plan().optim) for step in range(20)]
    assert held[::2] == pytest.approx(wanted)
    assert [line["lr"] for line in read(tmp_path / "log.jsonl")] == pytest.approx(wanted)


ADAM = OptimConfig(kind="adam", amsgrad=True, lr=1e-2, clip_value=0.1, schedule="step")


@pytest.mark.parametrize("changes", [{}, {"optim": ADAM}], ids=["adamw", "adam"])
def test_ten_steps_a_kill_and_ten_steps_equal_twenty_bit_for_bit(
    tmp_path: Path, changes: dict[str, Any]
) -> None:
    train(tmp_path / "whole", plan=plan(**changes))
    with pytest.raises(Killed):
        train(tmp_path / "cut", plan=plan(**changes), batches=dying_at(14))
    assert losses(tmp_path / "cut")[-1][0] == 14  # four steps that the checkpoint does not know
    torch.manual_seed(99)  # what the resuming process drew before must not matter
    torch.rand(7)
    newest = checkpoint.latest(tmp_path / "cut")
    assert newest is not None
    assert newest.name == "step-00000010"
    train(tmp_path / "cut", plan=plan(**changes), resume_from=newest)
    assert_same(tmp_path / "whole", tmp_path / "cut")
    assert losses(tmp_path / "whole") == losses(tmp_path / "cut")


def test_a_torn_last_line_of_the_log_is_dropped(tmp_path: Path) -> None:
    train(tmp_path, plan=plan(steps=10))
    with (tmp_path / "log.jsonl").open("a") as stream:
        stream.write('{"step": 11, "lo')
    train(tmp_path, resume_from=checkpoint.latest(tmp_path))
    assert [step for step, _, _ in losses(tmp_path)] == list(range(1, 21))


@pytest.mark.parametrize(
    ("number", "micro", "step"), [(signal.SIGTERM, 0, 6), (signal.SIGTERM, 1, 7), (signal.SIGINT, 1, 7)]
)
def test_a_signal_drops_the_unfinished_step_saves_and_exits_75(
    tmp_path: Path, number: signal.Signals, micro: int, step: int
) -> None:
    def source(start: int) -> Iterator[Batch]:
        for i, batch in enumerate(batches(start)):
            if i == 2 * 6 + micro:
                os.kill(os.getpid(), number)
            yield batch

    before = signal.getsignal(number)
    with pytest.raises(InterruptedRunError, match=f"stopped after step {step} of 20") as caught:
        train(tmp_path / "cut", batches=source)
    assert caught.value.exit_code == 75
    assert signal.getsignal(number) is before
    train(tmp_path / "cut", resume_from=checkpoint.latest(tmp_path / "cut"))
    train(tmp_path / "whole")
    assert_same(tmp_path / "whole", tmp_path / "cut")


def test_a_finished_run_is_not_trained_again(tmp_path: Path) -> None:
    train(tmp_path)
    before = (tmp_path / "log.jsonl").read_text()
    result = train(tmp_path, resume_from=checkpoint.latest(tmp_path))
    assert (result.steps, result.img_per_s) == (20, 0.0)
    assert (tmp_path / "log.jsonl").read_text() == before


def test_accumulation_equals_one_large_batch(tmp_path: Path) -> None:
    class Plain(ToyLearner):  # without chance, which differs between cuts of a batch
        def __init__(self) -> None:
            super().__init__(dropout=0.0)

        def forward(self, batch: Batch, chance: Chance) -> Loss:
            x = batch.image.flatten(1).float() / 255
            return Loss((self.head(self.encoder(x))[:, 0] - x.mean(1)).square().mean())

    for micro in (2, 8):
        train(
            tmp_path / str(micro),
            learner=Plain(),
            plan=plan(machine=MachineConfig(device="cpu", micro_batch=micro)),
            batches=lambda start, micro=micro: batches(start, micro_batch=micro),
        )
    a, b = losses(tmp_path / "2"), losses(tmp_path / "8")
    torch.testing.assert_close(torch.tensor(a), torch.tensor(b), rtol=1e-4, atol=1e-6)


def test_the_gradient_norm_is_clipped_globally(tmp_path: Path) -> None:
    learner = ToyLearner()
    train(tmp_path, learner=learner, plan=plan(steps=1, optim=OptimConfig(lr=1e-9, clip=1e-3)))
    total = sum(float(p.grad.square().sum()) for p in learner.parameters() if p.grad is not None) ** 0.5
    assert total == pytest.approx(1e-3, rel=1e-3)
    assert losses(tmp_path)[0][2] > 1e-2  # logged as it was


def test_a_loss_that_is_not_finite_stops_before_the_update(tmp_path: Path) -> None:
    class Poisoned(ToyLearner):
        def forward(self, batch: Batch, chance: Chance) -> Loss:
            loss = super().forward(batch, chance)
            bad = batch.image_id[0] == f"{8 * 12:016x}"  # first image of step 12
            return Loss(loss.total * (float("nan") if bad else 1.0))

    learner = Poisoned()
    with pytest.raises(XraytkError, match="not finite at step 13"):
        train(tmp_path, learner=learner)
    assert all(bool(torch.isfinite(p).all()) for p in learner.parameters())
    newest = checkpoint.latest(tmp_path)
    assert newest is not None
    assert newest.name == "step-00000010"


def test_the_last_k_checkpoints_and_the_best_stay(tmp_path: Path) -> None:
    scores = {4: 0.1, 8: 0.9, 12: 0.3, 16: 0.2, 20: 0.4}
    seen: list[bool] = []

    def validate(learner: nn.Module) -> dict[str, float]:
        seen.append(learner.training or torch.is_grad_enabled())
        return {"score": scores[4 * len(seen)]}

    wanted = plan(save_every=5, keep_last=2, validate_every=4)
    result = train(tmp_path, plan=wanted, validate=validate)
    names = sorted(path.name for path in tmp_path.glob("step-*"))
    assert names == ["step-00000008", "step-00000015", "step-00000020"]
    assert result.best_step == 8
    assert result.validation == {"score": 0.4}
    assert not any(seen)
    assert json.loads((tmp_path / "best.json").read_text())["score"] == 0.9
    checked = [line["step"] for line in read(tmp_path / "log.jsonl") if "validation" in line]
    assert checked == [4, 8, 12, 16, 20]


def test_figures_are_drawn_on_time_and_at_the_end(tmp_path: Path) -> None:
    drawn: list[int] = []

    def draw(learner: nn.Module, step: int, folder: Path) -> None:
        assert not learner.training
        torch.rand(3)  # chance drawn here must not change the run
        drawn.append(step)

    train(tmp_path / "drawn", plan=plan(figure_every=8), figures=draw)
    assert drawn == [8, 16, 20]
    train(tmp_path / "plain")
    assert_same(tmp_path / "drawn", tmp_path / "plain")


def test_the_callers_chance_is_left_as_it_was(tmp_path: Path) -> None:
    torch.manual_seed(5)
    wanted = torch.rand(3)
    learner = ToyLearner()
    torch.manual_seed(5)
    train(tmp_path, learner=learner)
    assert torch.equal(torch.rand(3), wanted)


def test_every_forward_pass_has_its_own_chance() -> None:
    seen = set()
    for seed, step, micro in ((0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1)):
        seed_torch(seed, step, micro)
        seen |= {float(torch.rand(1)), float(Chance(seed, step, micro).rand(1))}
    assert len(seen) == 8


def test_a_stream_that_ends_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="ended"):
        train(tmp_path, batches=lambda start: iter([]))


def test_too_little_memory_says_what_to_lower(tmp_path: Path) -> None:
    class Huge(ToyLearner):
        def forward(self, batch: Batch, chance: Chance) -> Loss:
            torch.empty(2**50, dtype=torch.uint8)
            raise AssertionError

    with pytest.raises(MachineError, match=r"machine\.micro_batch"):
        train(tmp_path, learner=Huge())


def test_the_micro_batch_is_chosen_or_checked() -> None:
    assert micro_batch_of(1024, MachineConfig(device="cpu")) == 16
    assert micro_batch_of(12, MachineConfig(device="cpu")) == 12
    assert micro_batch_of(34, MachineConfig(device="cpu")) == 2
    assert micro_batch_of(12, MachineConfig(device="cpu", micro_batch=3)) == 3
    with pytest.raises(UsageError, match="Use one of 1, 2, 3, 4, 6, 12"):
        micro_batch_of(12, MachineConfig(device="cpu", micro_batch=5))


def test_plans_that_cannot_be_are_refused() -> None:
    with pytest.raises(UsageError, match="keep_last is 0"):
        plan(keep_last=0)


class SometimesSpeaking(ToyLearner):
    """Has a part in its loss only on every second forward pass."""

    def forward(self, batch: Batch, chance: Chance) -> Loss:
        loss = super().forward(batch, chance)
        self.calls = getattr(self, "calls", 0) + 1
        return Loss(loss.total, {"rare": loss.total.detach() * 0 + 3.0} if self.calls % 2 else {})


def test_a_part_that_is_not_always_there_is_a_mean_over_where_it_is(tmp_path: Path) -> None:
    train(tmp_path, learner=SometimesSpeaking(), plan=plan(log_every=5))
    assert {line["parts"]["rare"] for line in read(tmp_path / "log.jsonl")} == {3.0}
