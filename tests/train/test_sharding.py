from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from toy_learner import batches

from xraytk import distributed
from xraytk.chance import Chance
from xraytk.progress import Progress
from xraytk.records import Batch, Loss
from xraytk.train import checkpoint
from xraytk.train.journal import read
from xraytk.train.launch import MachineConfig, launch
from xraytk.train.loop import FitPlan, FitResult, fit
from xraytk.train.optim import OptimConfig
from xraytk.train.parallel import blocks_of

ONE = MachineConfig(device="cpu", micro_batch=2)
TWO = replace(ONE, gpus=2)
SHARDED = replace(TWO, sharding="fsdp", checkpointing=True)


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm, self.linear = nn.LayerNorm(16), nn.Linear(16, 16)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.linear(self.norm(x)).tanh()


class BlockLearner(nn.Module):
    """Blocks, a parameter of one number, a tied one, a buffer; writes down what it drew for whom."""

    needs = frozenset({"image"})

    def __init__(self, notes: Path | None = None) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.notes = notes
        self.encoder = nn.Sequential(nn.ModuleDict({"blocks": nn.ModuleList(Block() for _ in range(3))}))
        self.head, self.scale = nn.Linear(16, 1), nn.Parameter(torch.ones(1))
        self.tied = self.head
        self.register_buffer("shift", torch.tensor(0.25))

    def forward(self, batch: Batch, chance: Chance) -> Loss:
        noise = chance.rand(len(batch.image), 16)
        if self.notes is not None and self.training:
            with (self.notes / f"drawn-{distributed.world()}-{distributed.rank()}.jsonl").open("a") as stream:
                stream.write(json.dumps(dict(zip(batch.image_id, noise.tolist(), strict=True))) + "\n")
        x = batch.image.flatten(1).float() / 255 + 0.1 * noise
        wanted = x.mean(1)
        for block in self.encoder[0]["blocks"]:
            x = block(x)
        error = (self.scale * self.head(x)[:, 0] + self.shift - wanted).square().mean()
        return Loss(error, {"seen": error.detach()})


@dataclass(frozen=True)
class Job:
    folder: Path
    machine: MachineConfig
    steps: int


def train(job: Job) -> FitResult:
    plan = FitPlan(
        steps=job.steps,
        batch=8,
        log_every=1,
        save_every=5,
        keep_last=9,
        machine=job.machine,
        optim=OptimConfig(lr=1e-2, warmup_share=0.0, min_lr=1e-2, ema=0.8, clip=0.05),
    )
    return fit(
        BlockLearner(job.folder),
        lambda start: batches(start, micro_batch=2),
        plan,
        job.folder,
        config={},
        resume_from=checkpoint.latest(job.folder),
        validate=lambda shown: {"sum": float(sum(p.double().abs().sum() for p in shown.parameters()))},
    )


def train_all(folder: Path, progress: Progress) -> None:
    """On two processes: to the end what one began, and all of it, in both ways."""
    for name, machine in (("ddp", TWO), ("fsdp", SHARDED)):
        train(Job(folder / f"one-{name}", machine, 10))
        train(Job(folder / name, machine, 5))


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, forks: None) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    for name in ("whole", "one-ddp", "one-fsdp", "ddp", "fsdp"):
        (folder / name).mkdir()
    for name, steps in (("whole", 10), ("one-ddp", 5), ("one-fsdp", 5)):
        train(Job(folder / name, ONE, steps))
    launch(train_all, folder, TWO)
    for name in ("ddp", "fsdp"):
        train(Job(folder / name, ONE, 10))  # and what two began, one ends
    return folder


@pytest.mark.parametrize("name", ["one-ddp", "one-fsdp", "ddp", "fsdp"])
def test_another_number_of_processes_goes_on_with_the_same_losses(runs: Path, name: str) -> None:
    wanted, found = (
        [
            (line["step"], line["loss"], line["grad_norm"])
            for line in read(runs / n / "log.jsonl")
            if "loss" in line
        ]
        for n in ("whole", name)
    )
    torch.testing.assert_close(torch.tensor(found), torch.tensor(wanted), rtol=1e-4, atol=1e-6)
    wanted_sum, found_sum = (read(runs / n / "log.jsonl")[-1]["validation"]["sum"] for n in ("whole", name))
    assert found_sum == pytest.approx(wanted_sum, rel=1e-5)  # of the averaged weights
    for file in ("model.safetensors", "ema.safetensors"):
        one, other = (load_file(runs / n / "step-00000010" / file) for n in ("whole", name))
        torch.testing.assert_close(other, one, rtol=1e-3, atol=1e-5)


def drawn(folder: Path) -> dict[str, Any]:
    lines = [json.loads(line) for path in folder.glob("drawn-*") for line in path.read_text().splitlines()]
    return {name: row for line in lines for name, row in line.items()}


@pytest.mark.parametrize("name", ["one-ddp", "one-fsdp", "ddp", "fsdp"])
def test_another_number_of_processes_draws_the_same_for_the_same_samples(runs: Path, name: str) -> None:
    assert len(drawn(runs / "whole")) == 10 * 8
    assert drawn(runs / name) == drawn(runs / "whole")


def test_a_sharded_checkpoint_has_whole_weights_and_an_optimizer_in_parts(runs: Path) -> None:
    names = sorted(path.name for path in (runs / "fsdp" / "step-00000005").iterdir())
    parts = [f"optimizer-0000{rank}-of-00002.safetensors" for rank in (0, 1)]
    assert names == ["ema.safetensors", "model.safetensors", *parts, "state.json"]
    whole = load_file(runs / "one-ddp" / "step-00000005" / "model.safetensors")
    sharded = load_file(runs / "fsdp" / "step-00000005" / "model.safetensors")
    assert {k: v.shape for k, v in whole.items()} == {k: v.shape for k, v in sharded.items()}
    assert "head.weight" in whole
    assert "tied.weight" not in whole


def test_blocks_are_what_stands_in_lists_of_modules() -> None:
    learner = BlockLearner()
    assert blocks_of(learner) == list(learner.encoder[0]["blocks"])
    assert blocks_of(nn.Linear(1, 1)) == []


@pytest.mark.parametrize("wrapped", [replace(ONE, checkpointing=True)])
def test_activations_made_twice_change_no_number_and_no_name(tmp_path: Path, wrapped: MachineConfig) -> None:
    for name, machine in (("plain", ONE), ("twice", wrapped)):
        (tmp_path / name).mkdir()
        train(Job(tmp_path / name, machine, 3))
    one, other = (load_file(tmp_path / n / "step-00000003" / "model.safetensors") for n in ("plain", "twice"))
    assert one.keys() == other.keys()
    assert all(torch.equal(one[key], other[key]) for key in one)
