"""log.jsonl: one line for every few updates, written by the first process."""

from __future__ import annotations

import contextlib
import json
import resource
import sys
import time
from pathlib import Path
from typing import Any

import torch

from xraytk import distributed
from xraytk.files import atomic_write


class Journal:
    """Collects what happens in a step and writes means over several.

    Args:
        path: The file.
        batch: Images of one update, over all processes.
        device: Where the model is.
    """

    def __init__(self, path: Path, batch: int, device: torch.device) -> None:
        self.path, self.batch, self.device = path, batch, device
        self.waited = 0.0  # seconds spent waiting for data since the last line
        self._began = self._last = time.perf_counter()
        self._sums: dict[str, torch.Tensor] = {}
        self._counts: dict[str, int] = {}
        self._count = 0

    def cut(self, step: int) -> None:
        """Drop the lines after ``step`` and a last line that was not written whole; start the clock."""
        lines = [line for line in read(self.path) if line["step"] <= step]
        if distributed.is_main():
            with atomic_write(self.path, "w") as stream:
                stream.writelines(json.dumps(line) + "\n" for line in lines)
        self._began = self._last = time.perf_counter()

    def add(self, loss: torch.Tensor, parts: dict[str, torch.Tensor], norm: torch.Tensor) -> None:
        """Count one step in."""
        self._count += 1
        named = {"loss": loss, "grad_norm": norm} | {f"parts.{name}": part for name, part in parts.items()}
        for name, value in named.items():
            value = value.detach().double().to(self.device)
            self._sums[name] = self._sums[name] + value if name in self._sums else value
            self._counts[name] = self._counts.get(name, 0) + 1

    def write(self, step: int, lr: float) -> dict[str, Any]:
        """Write the means since the last line; every process must call it."""
        means = self._means()
        now = time.perf_counter()
        spent = max(now - self._last, 1e-9)
        line: dict[str, Any] = {
            "step": step,
            "loss": means.pop("loss"),
            "lr": lr,
            "grad_norm": means.pop("grad_norm"),
            "parts": {name.removeprefix("parts."): value for name, value in means.items()},
            "img_per_s": self._count * self.batch / spent,
            "data_wait": min(1.0, self.waited / spent),
            "memory_gib": memory_gib(self.device),
        }
        self.append(line)
        self._sums, self._counts, self._count, self.waited, self._last = {}, {}, 0, 0.0, now
        return line

    def _means(self) -> dict[str, float]:
        """Mean of each value over the steps and processes that had it.

        A part may be missing from a step, or from a process: a batch without Chinese reports
        has no Chinese loss.
        """
        own = {name: (float(value), self._counts[name]) for name, value in self._sums.items()}
        every = distributed.gather(own)
        names = dict.fromkeys(name for one in every for name in one)
        pairs = {name: [one[name] for one in every if name in one] for name in names}
        return {name: sum(v for v, _ in pair) / sum(n for _, n in pair) for name, pair in pairs.items()}

    def append(self, line: dict[str, Any]) -> None:
        """Add a line to the file."""
        if distributed.is_main():
            with self.path.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(line) + "\n")

    def losses(self) -> list[float]:
        """Every logged loss, in order."""
        return [line["loss"] for line in read(self.path) if "loss" in line]

    def speed(self, steps: int) -> float:
        """Images per second if ``steps`` updates were done since the journal was made."""
        return steps * self.batch / max(time.perf_counter() - self._began, 1e-9)


def read(path: Path) -> list[dict[str, Any]]:
    """Lines of a log, without one that was not written whole; [] when there is no file."""
    lines: list[dict[str, Any]] = []
    if path.is_file():
        for text in path.read_text(encoding="utf-8").splitlines():
            with contextlib.suppress(ValueError):
                lines.append(json.loads(text))
    return lines


def memory_gib(device: torch.device) -> float:
    """Most memory used so far: of the GPU's allocator, or of this process on CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**30
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**30 if sys.platform == "darwin" else peak / 2**20
