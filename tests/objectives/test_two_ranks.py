"""Two gloo processes have the gradients of one under DDP, and train as one does under FSDP."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from phantom_pairs import make, phantoms, rng, take, without_reports
from torch.nn.parallel import DistributedDataParallel

from xraytk import distributed
from xraytk.progress import Progress
from xraytk.records import Batch
from xraytk.train import checkpoint
from xraytk.train.journal import read
from xraytk.train.launch import MachineConfig, launch
from xraytk.train.loop import FitPlan, fit
from xraytk.train.optim import OptimConfig, make_optimizer

TWO = MachineConfig(gpus=2, device="cpu")
KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "mae": ("mae", {}),
    "clip": ("clip", {}),
    "siglip": ("clip", {"loss": "siglip"}),
    "maco": ("maco", {}),
    "mrm": ("mrm", {}),
    "m3ae": ("m3ae", {}),
}
SHARDED = (*KINDS, "hot clip")  # that one begins with its temperature beyond the bound
GAPS = {"all": (), "some": (0, 1, 5, 9), "none on one": tuple(range(8)), "none": tuple(range(16))}

Found = dict[tuple[str, str], tuple[float, dict[str, Any]]]


def built(kind: str) -> Any:
    name, options = KINDS[kind.removeprefix("hot ")]
    made = make(name, **options)
    if kind == "hot clip":
        made.log_scale.data.fill_(1.1 * math.log(100))
    if hasattr(made, "place"):
        made.place.weight.data.normal_(
            generator=torch.Generator().manual_seed(7)
        )  # so that images differ in trust
    return made


def half(batch: Batch, rank: int) -> Batch:
    return take(batch, range(8 * rank, 8 * rank + 8))


def gradients(made: torch.nn.Module) -> dict[str, Any]:
    return {
        n.removeprefix("module."): p.grad.numpy() for n, p in made.named_parameters() if p.grad is not None
    }


def train(kind: str, folder: Path, machine: MachineConfig) -> None:
    """Three updates on phantoms of which some have no report, in the loop.

    A micro-batch has 4 images, so that the partners of m3ae are the same on one process and on
    two; what is compared with all the others is not cut.
    """
    made, batch = built(kind), without_reports(phantoms(), GAPS["some"])
    share = len(batch.image_id) // distributed.world()
    size = share if hasattr(made, "together") else 4

    def batches(start: int) -> Iterator[Batch]:
        while True:
            for first in range(distributed.rank() * share, (distributed.rank() + 1) * share, size):
                yield take(batch, range(first, first + size))

    (folder / kind).mkdir(exist_ok=True)
    plan = FitPlan(
        steps=3,
        batch=len(batch.image_id),
        optim=OptimConfig(lr=1e-3, min_lr=1e-3, warmup_share=0.0),
        log_every=1,
        machine=dataclasses.replace(machine, micro_batch=size),
    )
    fit(made, batches, plan, folder / kind, config={})


@dataclass(frozen=True)
class Job:
    folder: Path


def work(job: Job, progress: Progress) -> Found:
    """Forward and backward of this rank's half; what DDP makes of the gradients, as plain arrays."""
    for kind in SHARDED:
        train(kind, job.folder, dataclasses.replace(TWO, sharding="fsdp"))
    found: Found = {}
    for kind in KINDS:
        for gap, rows in GAPS.items():
            made = DistributedDataParallel(built(kind))
            mine = half(without_reports(phantoms(), rows), distributed.rank())
            total = made(mine, rng(100, 8 * distributed.rank())).total
            total.backward()
            mean = distributed.total(total).item() / distributed.world()
            found[kind, gap] = (mean, gradients(made))
    return found


def alone(kind: str, batch: Batch) -> tuple[float, dict[str, Any]]:
    """The same in one process; of all draws only the partners depend on the cut, so they are given."""
    made = built(kind)
    if kind == "m3ae":
        halves = [made.draw(half(batch, rank), rng(100, 8 * rank)).partner + 8 * rank for rank in (0, 1)]
        draws = dataclasses.replace(made.draw(batch, rng(100)), partner=torch.cat(halves))
        total = made.loss(batch, draws).total
    else:
        total = made(batch, rng(100)).total
    total.backward()
    return total.item(), gradients(made)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sharded")


@pytest.fixture(scope="module")
def found(folder: Path, forks: None) -> Any:
    return launch(work, Job(folder), TWO)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_two_processes_have_the_gradients_of_one(kind: str, found: Found) -> None:
    for gap, rows in GAPS.items():
        loss, own = alone(kind, without_reports(phantoms(), rows))
        both_loss, both = found[kind, gap]
        assert both_loss == pytest.approx(loss, rel=1e-5, abs=1e-6), gap
        assert own.keys() == both.keys(), gap
        for name, gradient in own.items():
            np.testing.assert_allclose(both[name], gradient, rtol=1e-4, atol=1e-5, err_msg=f"{gap}: {name}")


def trained(kind: str, folder: Path) -> tuple[list[list[float]], dict[str, Any], dict[str, Any]]:
    """Losses and gradient norms, weights, and the running means of the gradients, of a run."""
    made = built(kind)
    optimizer = make_optimizer(made, OptimConfig())
    checkpoint.load(folder / kind / "step-00000003", made, optimizer)
    lines = [
        [line["loss"], line["grad_norm"]] for line in read(folder / kind / "log.jsonl") if "loss" in line
    ]
    weights = {name: p.detach().numpy() for name, p in made.named_parameters()}
    means = {name: optimizer.state[p]["exp_avg"].numpy() for name, p in made.named_parameters()}
    return lines, weights, means


@pytest.mark.slow
@pytest.mark.parametrize("kind", SHARDED)
def test_two_processes_that_share_the_weights_train_as_one(
    kind: str, found: Found, folder: Path, tmp_path: Path
) -> None:
    train(kind, tmp_path, MachineConfig(device="cpu"))
    lines, weights, means = trained(kind, tmp_path)
    both_lines, both_weights, both_means = trained(kind, folder)
    assert len(lines) == 3
    np.testing.assert_allclose(both_lines, lines, rtol=1e-4)
    for name, weight in weights.items():
        np.testing.assert_allclose(both_means[name], means[name], rtol=1e-3, atol=1e-6, err_msg=name)
        sure = np.abs(means[name]) > 1e-5  # of what is rounding alone, AdamW makes whole steps
        np.testing.assert_allclose(both_weights[name][sure], weight[sure], rtol=0, atol=2e-5, err_msg=name)
    if kind == "hot clip":
        assert weights["log_scale"].item() > math.log(100)
        assert bool(means["log_scale"].any())  # it can come back


def test_within_alone_a_process_has_no_others() -> None:
    with distributed.alone():
        assert distributed.world() == 1
    rows = torch.ones(2, 3, requires_grad=True)
    assert distributed.gather_rows(rows) is rows
    assert distributed.total(rows).tolist() == rows.tolist()
