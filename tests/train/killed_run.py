"""A training of the toy learner in a process of its own, to be killed: ``killed_run.py FOLDER STEP [hang]``.

It waits to be killed in step STEP, or with "hang" while its second checkpoint is written.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from toy_learner import ToyLearner, batches

from xraytk.records import Batch
from xraytk.train import checkpoint
from xraytk.train.launch import MachineConfig
from xraytk.train.loop import FitPlan, fit
from xraytk.train.optim import OptimConfig
from xraytk.train.run import prepare

PLAN = FitPlan(
    steps=20,
    batch=8,
    save_every=10,
    log_every=1,
    machine=MachineConfig(device="cpu", micro_batch=4),
    optim=OptimConfig(lr=1e-2, ema=0.9),
)


def train(folder: Path, source: Any = batches) -> None:
    """Train to the end, from where the run stopped."""
    resume_from = prepare(folder, {}, "auto")
    fit(ToyLearner(), source, PLAN, folder, config={}, resume_from=resume_from)


def slowly(start: int) -> Iterator[Batch]:
    """Batches that give whoever kills this process the time to do it, in the middle of a step."""
    for i, batch in enumerate(batches(start)):
        if i == 2 * int(sys.argv[2]) + 1:
            (Path(sys.argv[1]) / "now").touch()
            time.sleep(60)
        yield batch


if __name__ == "__main__":
    torch.set_num_threads(1)
    if len(sys.argv) > 3:  # the second checkpoint is never finished
        whole = checkpoint.write_state
        written: list[int] = []

        def second_hangs(folder: Path, step: int, config: dict[str, Any]) -> None:
            written.append(step)
            if len(written) > 1:
                (Path(sys.argv[1]) / "now").touch()
                time.sleep(60)
            whole(folder, step, config)

        checkpoint.write_state = second_hangs
    train(Path(sys.argv[1]), slowly)
