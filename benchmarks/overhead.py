"""What logging and an asynchronous checkpoint cost a training: updates a second with and without.

    python benchmarks/overhead.py [--quick] [--json] [--save-every N]

`xraytk.train.loop.fit` trains an MAE on random images that lie in memory, on the GPU where there is
one. Three ways take turns in short runs, round by round: with no line of the log and no checkpoint
but the last; with a line after every update; with a checkpoint in the middle of the run. Medians
over rounds are compared, so that a machine's other work slows all ways alike. What is timed begins
after a first checkpoint, which takes the memory that later ones use again. A checkpoint costs once,
whatever lies between two: "share" is its cost in seconds over the time between two checkpoints,
``save_every`` updates apart; that of a line for one every ``log_every`` updates.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from xraytk.models.vit import VitConfig
from xraytk.objectives.mae import MaeConfig, MaeObjective
from xraytk.records import Batch
from xraytk.train.launch import MachineConfig, device_of
from xraytk.train.loop import FitPlan, fit

VIT_B = VitConfig(image_px=1280, patch_px=64, width=768, depth=12, heads=12)
TINY = VitConfig(image_px=320, patch_px=32, width=128, depth=5, heads=4)
USUAL = MaeConfig(mask="random")
SMALL = MaeConfig(mask="random", decoder_width=96, decoder_depth=2, decoder_heads=4)


def images(side: int, batch: int, device: torch.device) -> Iterator[Batch]:
    """The same random images for ever."""
    names = [f"{i:016x}" for i in range(batch)]
    every = torch.ones(batch, side, side, dtype=torch.bool, device=device)
    made = Batch(
        image=torch.randint(0, 256, (batch, 1, side, side), dtype=torch.uint8, device=device),
        valid=every,
        lung=~every,
        has_contour=torch.zeros(batch, dtype=torch.bool, device=device),
        labels=torch.zeros(batch, 0, device=device),
        reports={"en": [""] * batch, "zh": [""] * batch},
        image_id=names,
        patient_hash=names,
        view=["PA"] * batch,
    )
    while True:
        yield made


def seconds_per_step(
    vit: VitConfig,
    decoder: MaeConfig,
    batch: int,
    steps: int,
    skipped: int,
    *,
    log_every: int,
    save_every: int,
) -> float:
    """Mean time of an update after the first ``skipped``; what comes after the last is not counted."""
    machine = MachineConfig(micro_batch=batch)
    device = device_of(machine)
    marks: list[float] = []

    def timed(start: int) -> Iterator[Batch]:
        for made in images(vit.image_px, batch, device):
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            marks.append(time.perf_counter())
            yield made

    torch.manual_seed(0)
    plan = FitPlan(steps=steps, batch=batch, log_every=log_every, save_every=save_every, machine=machine)
    with tempfile.TemporaryDirectory() as folder:
        fit(MaeObjective(vit, decoder), timed, plan, Path(folder), config={})
    return (marks[-1] - marks[skipped]) / (len(marks) - 1 - skipped)


def measure(
    vit: VitConfig, decoder: MaeConfig, batch: int, steps: int, rounds: int, save_every: int, log_every: int
) -> list[dict[str, Any]]:
    """Run the ways in turn.

    Args:
        vit: Shape of the encoder.
        decoder: Shape of the decoder.
        batch: Images of an update.
        steps: Updates of one run; checkpoints come after a third and after two thirds, and what
            is timed begins at half.
        rounds: Runs of each way.
        save_every: Updates between checkpoints for which the share is given.
        log_every: Updates between lines for which the share is given.
    """
    never = steps + 1
    ways = {
        "nothing": {"log_every": never, "save_every": never},
        "a line every update": {"log_every": 1, "save_every": never},
        "a checkpoint": {"log_every": never, "save_every": steps // 3},
    }
    spent: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            spent[name].append(seconds_per_step(vit, decoder, batch, steps, steps // 2, **way))
    plain = statistics.median(spent["nothing"])
    rows = []
    for name, times in spent.items():
        median = statistics.median(times)
        lines = name == "a line every update"
        extra = (median - plain) * (1 if lines else steps - 1 - steps // 2)  # of one line, or one checkpoint
        per_step = extra / (log_every if lines else save_every)
        rows.append(
            {
                "case": name,
                "steps_per_s": 1 / median,
                "extra_s": extra,
                "share": per_step / plain,
                "runs": len(times),
                "ratio_of_pairs": statistics.median(
                    a / b for a, b in zip(times, spent["nothing"], strict=True)
                ),
            }
        )
    return rows


def main() -> None:
    """Measure, and print a table or JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="the preset tiny")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--save-every", type=int, default=500)
    parser.add_argument("--log-every", type=int, default=10)
    given = parser.parse_args()
    if not torch.cuda.is_available():
        torch.set_num_threads(1)
    size: tuple[VitConfig, MaeConfig, int, int, int] = (TINY, SMALL, 16, 48, 9)
    if not given.quick:
        more = (128, 90, 3) if torch.cuda.is_available() else (8, 12, 3)
        size = (VIT_B, USUAL, *more)
    rows = measure(*size, given.save_every, given.log_every)
    if given.json:
        machine = {"processor": platform.machine(), "torch": torch.__version__}
        json.dump({"machine": machine, "rows": rows}, sys.stdout, indent=2)
        return
    apart = f"save_every {given.save_every}, log_every {given.log_every}"
    print(f"{'':22} steps/s   extra s   share at {apart}")
    for row in rows:
        print(
            f"{row['case']:22} {row['steps_per_s']:7.3f} {row['extra_s']:9.3f} {100 * row['share']:10.2f} %"
        )


if __name__ == "__main__":
    main()
