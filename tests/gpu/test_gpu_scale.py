from __future__ import annotations

import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

sys.path.insert(0, str(Path(__file__).parents[1] / "train"))  # toy learners

from toy_learner import batches

from xraytk.models.vit import VitConfig
from xraytk.objectives.mae import MaeConfig, MaeObjective
from xraytk.progress import Progress
from xraytk.train import checkpoint
from xraytk.train.journal import read
from xraytk.train.launch import MachineConfig, launch
from xraytk.train.loop import FitPlan, fit
from xraytk.train.optim import OptimConfig
from xraytk.train.places import Place

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")

VIT = VitConfig(image_px=4, patch_px=2, width=32, depth=2, heads=2)
ONE = MachineConfig(device="cuda", micro_batch=4)
PLAN = FitPlan(
    steps=6, batch=8, save_every=2, keep_last=9, log_every=1, optim=OptimConfig(ema=0.9), machine=ONE
)


def learner() -> MaeObjective:
    torch.manual_seed(0)
    light = MaeConfig(mask="random", decoder_width=16, decoder_depth=1, decoder_heads=2)
    return MaeObjective(VIT, light)


def train(folder: Path, plan: FitPlan = PLAN) -> list[float]:
    fit(learner(), batches, plan, folder, config={}, resume_from=checkpoint.latest(folder))
    return [line["loss"] for line in read(folder / "log.jsonl")]


def train_in_a_group(job: tuple[Path, FitPlan], progress: Progress) -> list[float]:
    return train(*job)


@pytest.mark.parametrize("change", [{"checkpointing": True}, {"compile": True}, {"precision": "fp32"}])
def test_ways_to_train_have_the_losses_of_the_plain_one(tmp_path: Path, change: dict[str, bool]) -> None:
    plain = train(tmp_path / "plain")
    other = train(tmp_path / "other", replace(PLAN, machine=replace(ONE, **change)))
    assert other == pytest.approx(plain, rel=2e-2)
    names = (set(load_file(tmp_path / n / "step-00000006" / "model.safetensors")) for n in ("plain", "other"))
    assert next(names) == next(names)


def test_a_run_that_was_cut_ends_as_one_that_was_not(tmp_path: Path) -> None:
    whole = train(tmp_path / "whole")
    train(tmp_path / "cut")
    for step in (4, 6):
        shutil.rmtree(tmp_path / "cut" / f"step-{step:08d}")
    assert train(tmp_path / "cut") == pytest.approx(whole, rel=1e-3)


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")
@pytest.mark.parametrize("sharding", ["ddp", "fsdp"])
def test_two_gpus_have_the_losses_of_one(tmp_path: Path, sharding: str) -> None:
    machine = MachineConfig(device="cuda", micro_batch=4, gpus=2, sharding=sharding)  # type: ignore[arg-type]
    two = launch(train_in_a_group, (tmp_path / "two", replace(PLAN, machine=machine)), machine)
    assert two == pytest.approx(train(tmp_path / "one"), rel=2e-2)


def test_a_sharded_run_of_one_gpu_has_the_losses_of_a_plain_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = train(tmp_path / "plain")
    for name, value in Place(0, 1, 0, "localhost", 29617).variables().items():
        monkeypatch.setenv(name, value)  # as torchrun has it
    machine = replace(ONE, sharding="fsdp")
    sharded = launch(train_in_a_group, (tmp_path / "fsdp", replace(PLAN, machine=machine)), machine)
    assert sharded == pytest.approx(plain, rel=2e-2)
    names = {path.name for path in (tmp_path / "fsdp" / "step-00000006").iterdir()}
    assert {"model.safetensors", "ema.safetensors", "optimizer-00000-of-00001.safetensors"} <= names


def test_what_is_saved_is_the_state_of_its_step(tmp_path: Path) -> None:
    """The copy to pinned memory is not overtaken by the updates that follow."""
    train(tmp_path / "every", replace(PLAN, save_every=1))
    for step in (1, 2, 3):
        folder = tmp_path / f"only-{step}"
        fit(learner(), batches, replace(PLAN, steps=6, save_every=step, keep_last=9), folder, config={})
        one = load_file(folder / f"step-{step:08d}" / "model.safetensors")
        other = load_file(tmp_path / "every" / f"step-{step:08d}" / "model.safetensors")
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5)
