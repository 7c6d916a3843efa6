from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from phantom_pairs import make, phantoms, rng, take, without_reports
from torch.nn.parallel import DistributedDataParallel

from xraytk import distributed
from xraytk.progress import Progress
from xraytk.records import Batch
from xraytk.train.launch import MachineConfig, launch

TWO = MachineConfig(gpus=2, device="cpu")
KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "mae": ("mae", {}),
    "clip": ("clip", {}),
    "siglip": ("clip", {"loss": "siglip"}),
    "maco": ("maco", {}),
    "mrm": ("mrm", {}),
    "m3ae": ("m3ae", {}),
}
GAPS = {"all": (), "some": (0, 1, 5, 9), "none on one": tuple(range(8)), "none": tuple(range(16))}

Found = dict[tuple[str, str], tuple[float, dict[str, Any]]]


def built(kind: str) -> Any:
    made = make(KINDS[kind][0], **KINDS[kind][1])
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


@dataclass(frozen=True)
class Job:
    kinds: tuple[str, ...]


def work(job: Job, progress: Progress) -> Found:
    """Forward and backward of this rank's half; what DDP makes of the gradients, as plain arrays."""
    found: Found = {}
    for kind in job.kinds:
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
def found() -> Any:
    return launch(work, Job(tuple(KINDS)), TWO)


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


def test_within_alone_a_process_has_no_others() -> None:
    with distributed.alone():
        assert distributed.world() == 1
    rows = torch.ones(2, 3, requires_grad=True)
    assert distributed.gather_rows(rows) is rows
    assert distributed.total(rows).tolist() == rows.tolist()
