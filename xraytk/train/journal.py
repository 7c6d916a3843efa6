"""log.jsonl: one line for every few updates, written by the first process."""

from __future__ import annotations

import contextlib
import json
import platform
import resource
import sys
import time
from pathlib import Path
from typing import Any

import torch

import xraytk
from xraytk import distributed
from xraytk.files import atomic_write
from xraytk.progress import duration
from xraytk.train.peak import matmul_flops
from xraytk.train.watch import Watch

SMOOTH = 0.8
"""Weight of the pace before a line in the pace after it."""


class Journal:
    """Collects what happens in a step and writes means over several.

    Args:
        path: The file.
        batch: Images of one update, over all processes.
        device: Where the model is.
        steps: Updates of the whole run, to say how much time is left; 0 if not known.
        dtype: In which matrix products are done.
        watch: Is told of every line.
    """

    def __init__(
        self,
        path: Path,
        batch: int,
        device: torch.device,
        *,
        steps: int = 0,
        dtype: torch.dtype = torch.float32,
        watch: Watch | None = None,
    ) -> None:
        self.path, self.batch, self.device = path, batch, device
        self.steps, self.dtype, self.watch = steps, dtype, watch or Watch()
        self.waited = 0.0  # seconds spent waiting for data since the last line
        self.peak = 0.0  # operations a second of all devices, measured
        self._began = self._last = time.perf_counter()
        self._sums: dict[str, torch.Tensor] = {}
        self._counts: dict[str, int] = {}
        self._timed = 0  # steps since the last line, without the first of the session
        self._warm = False  # the first step is over: compiling, first reads
        self._waited_first = 0.0
        self._steady = (0, 0.0)  # steps without the first of the session, and their seconds
        self._first_s = 0.0
        self._pace_s: float | None = None  # smoothed seconds of a step

    def cut(self, step: int) -> None:
        """Drop the lines after ``step`` and a last line that was not written whole; start the clock.

        Every process must call it: the peak of all devices is measured here.
        """
        lines = [line for line in read(self.path) if line["step"] <= step]
        if distributed.is_main():
            with atomic_write(self.path, "w") as stream:
                stream.writelines(json.dumps(line) + "\n" for line in lines)
        if self.watch.flops_per_image and step < self.steps:
            self.peak = sum(distributed.gather(matmul_flops(self.device, self.dtype)))
            if self.device.type == "cuda":
                torch.cuda.reset_peak_memory_stats(self.device)
        self.watch.begin(step, machine_facts(self.device, self.dtype, self.peak))
        self._began = self._last = time.perf_counter()

    def add(self, loss: torch.Tensor, parts: dict[str, torch.Tensor], norm: torch.Tensor) -> None:
        """Count one step in."""
        named = {"loss": loss, "grad_norm": norm} | {f"parts.{name}": part for name, part in parts.items()}
        for name, value in named.items():
            value = value.detach().double().to(self.device)
            self._sums[name] = self._sums[name] + value if name in self._sums else value
            self._counts[name] = self._counts.get(name, 0) + 1
        if self._warm:
            self._timed += 1
        else:
            self._warm, self._waited_first, self.waited = True, self.waited, 0.0
            self._last = time.perf_counter()
            self._first_s = self._last - self._began

    def write(self, step: int, lr: float) -> dict[str, Any]:
        """Write the means since the last line; every process must call it.

        The first step of a session is no part of the speed: it compiles, and waits for the first
        images. A line of that step alone has its speed all the same, and says ``warm_up``.
        """
        means, memory = self._gathered()
        now = time.perf_counter()
        timed = (
            (self._timed, self._last, self.waited) if self._timed else (1, self._began, self._waited_first)
        )
        count, since, waited = timed
        spent = max(now - since, 1e-9)
        speed = count * self.batch / spent
        if self._timed:
            self._steady = (self._steady[0] + count, self._steady[1] + spent)
        line: dict[str, Any] = {
            "step": step,
            "time": round(time.time(), 1),
            "loss": means.pop("loss"),
            "lr": lr,
            "grad_norm": means.pop("grad_norm"),
            "parts": {name.removeprefix("parts."): value for name, value in means.items()},
            "img_per_s": speed,
            "data_wait": min(1.0, waited / spent),
            **self._use(speed),
            **memory,
            "eta_s": self._left(step, spent / count if self._timed else None),
            **({} if self._timed else {"warm_up": True}),
        }
        self.append(line)
        self._sums, self._counts, self._timed, self.waited, self._last = {}, {}, 0, 0.0, now
        return line

    def _use(self, img_per_s: float) -> dict[str, float]:
        """Operations of the model a second, in 1e12, and as share of the measured peak."""
        done = img_per_s * self.watch.flops_per_image
        return {"tflops": done / 1e12, "mfu": done / self.peak} if self.peak else {}

    def _left(self, step: int, pace_s: float | None) -> float | None:
        """Seconds to the last step, by a pace that is smoothed over some lines."""
        if pace_s is not None:
            before = pace_s if self._pace_s is None else self._pace_s
            self._pace_s = SMOOTH * before + (1 - SMOOTH) * pace_s
        if self._pace_s is None or not self.steps:
            return None
        return round(self._pace_s * (self.steps - step), 1)

    def _gathered(self) -> tuple[dict[str, float], dict[str, float]]:
        """Mean of each value over the steps and processes that had it; most memory of any process.

        A part may be missing from a step, or from a process: a batch without Chinese reports
        has no Chinese loss.
        """
        own = {name: (float(value), self._counts[name]) for name, value in self._sums.items()}
        every = distributed.gather((own, memory_of(self.device)))
        names = dict.fromkeys(name for one, _ in every for name in one)
        pairs = {name: [one[name] for one, _ in every if name in one] for name in names}
        means = {name: sum(v for v, _ in pair) / sum(n for _, n in pair) for name, pair in pairs.items()}
        return means, {name: max(memory[name] for _, memory in every) for name in every[0][1]}

    def append(self, line: dict[str, Any]) -> None:
        """Add a line to the file."""
        if distributed.is_main():
            with self.path.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(line) + "\n")
            self.watch.line(line)

    def losses(self) -> list[float]:
        """Every logged loss, in order."""
        return [line["loss"] for line in read(self.path) if "loss" in line]

    def speed(self) -> float:
        """Images a second of the session, as its lines have it: without the first step.

        The steady speed: the mean over all steps but the first, which compiles and waits for the
        first images. That of the first when there was no other; 0 when there was none.
        """
        steps, spent = self._steady if self._steady[0] else (int(self._warm), self._first_s)
        return steps * self.batch / max(spent, 1e-9)


def read(path: Path) -> list[dict[str, Any]]:
    """Lines of a log, without one that was not written whole; [] when there is no file."""
    lines: list[dict[str, Any]] = []
    if path.is_file():
        for text in path.read_text(encoding="utf-8").splitlines():
            with contextlib.suppress(ValueError):
                lines.append(json.loads(text))
    return lines


def memory_of(device: torch.device) -> dict[str, float]:
    """Most memory so far, in GiB: used and reserved by the GPU's allocator, or of this process on CPU."""
    if device.type == "cuda":
        used, reserved = torch.cuda.max_memory_allocated(device), torch.cuda.max_memory_reserved(device)
        return {"memory_gib": used / 2**30, "reserved_gib": reserved / 2**30}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"memory_gib": peak / 2**30 if sys.platform == "darwin" else peak / 2**20}


def machine_facts(device: torch.device, dtype: torch.dtype, peak: float) -> dict[str, Any]:
    """What a run is trained on, without the name of the host."""
    cuda = device.type == "cuda"
    return {
        "device": torch.cuda.get_device_name(device) if cuda else f"CPU ({platform.machine()})",
        "processes": distributed.world(),
        "threads": torch.get_num_threads(),
        "precision": str(dtype).removeprefix("torch."),
        "peak_tflops": peak / 1e12,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "xraytk": xraytk.__version__,
    }


def progress_facts(line: dict[str, Any]) -> dict[str, object]:
    """What of a line stands in the progress of a run."""
    facts: dict[str, object] = {
        "loss": line["loss"],
        "lr": line["lr"],
        "img/s": f"{line['img_per_s']:,.0f}" if line["img_per_s"] >= 10 else f"{line['img_per_s']:.2g}",
        "data wait": f"{100 * line['data_wait']:.1f}%",
    }
    if "mfu" in line:
        facts["mfu"] = f"{100 * line['mfu']:.0f}%"
    facts["memory"] = f"{line['memory_gib']:.1f} GiB"
    if line.get("warm_up"):
        facts["warming"] = "up"
    elif line["eta_s"] is not None:
        facts["left"] = duration(line["eta_s"])
    return facts
