"""What the files of a run folder say of the run; nothing else is asked."""

from __future__ import annotations

import fcntl
import math
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xraytk.errors import DataError
from xraytk.files import checkpoint_step, checkpoints
from xraytk.train.journal import read
from xraytk.train.run import SKIPPED
from xraytk.train.watch import SESSIONS, public


@dataclass(frozen=True, slots=True)
class Session:
    """One call of the verb on the run.

    Args:
        began: Seconds since 1970.
        first: Updates done before it.
        last: Updates done at its end, or by its last line of the log.
        seconds: From its begin to its end, or to its last line.
        state: "finished", "stopped", "failed", "running", or "killed": it ended without a word.
        machine: What it ran on.
    """

    began: float
    first: int
    last: int
    seconds: float
    state: str
    machine: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Record:
    """A run.

    Args:
        folder: Run folder.
        about: Facts that the verb wrote when the last session began.
        config: Resolved config, without what holds paths.
        lines: Of the log.
        sessions: In order; at least one.
        skipped: Broken samples that were left out.
        checkpoints: Updates done, and bytes on disk, of each checkpoint.
    """

    folder: Path
    about: dict[str, Any]
    config: dict[str, Any]
    lines: list[dict[str, Any]]
    sessions: list[Session]
    skipped: int
    checkpoints: list[tuple[int, int]]

    @property
    def trained(self) -> list[dict[str, Any]]:
        """Lines with a loss."""
        return [line for line in self.lines if "loss" in line]

    @property
    def step(self) -> int:
        """Updates that the log knows of."""
        return max((int(line["step"]) for line in self.lines), default=0)

    @property
    def steps(self) -> int:
        """Updates that were asked for."""
        return int(self.about.get("steps") or self.step)

    @property
    def state(self) -> str:
        """Of the last session; "finished" when all updates are done."""
        return "finished" if self.step >= self.steps else self.sessions[-1].state

    @property
    def verb(self) -> str:
        """What the run does: "pretraining" or "finetuning"."""
        return str(self.about.get("verb") or "training")

    @property
    def name(self) -> str:
        """Of the run."""
        return str(self.about.get("name") or self.config.get("name") or "run")


def read_record(folder: Path) -> Record:
    """Read what a run folder says.

    Args:
        folder: Run folder.

    Raises:
        DataError: If it holds no run that was trained.
    """
    events = [line for line in read(folder / SESSIONS) if {"event", "time", "step"} <= line.keys()]
    lines = read(folder / "log.jsonl")
    begins = [line for line in events if line["event"] == "begin"]
    if not begins:
        raise DataError(
            f"{folder} holds no training to show",
            f"wanted {SESSIONS}, which pretrain and finetune write with the first line of the log",
        )
    return Record(
        folder=folder,
        about=dict(begins[-1].get("about", {})),
        config=_config(folder),
        lines=lines,
        sessions=_sessions(events, lines, is_held(folder)),
        skipped=len({(one.get("shard"), one.get("image")) for one in read(folder / SKIPPED)}),
        checkpoints=[(checkpoint_step(path), _bytes(path)) for path in checkpoints(folder)],
    )


def is_held(folder: Path) -> bool:
    """Whether a process, this one or another, works in a folder; see `files.folder_lock`."""
    try:
        with (folder / ".lock").open("rb") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def _sessions(events: list[dict[str, Any]], lines: list[dict[str, Any]], held: bool) -> list[Session]:
    """Pairs of begin and end; a begin without an end was killed, unless it is the last and goes on."""
    found = []
    for i, event in enumerate(events):
        if event["event"] != "begin":
            continue
        after = events[i + 1] if i + 1 < len(events) else None
        first, began = int(event["step"]), float(event["time"])
        again = int(after["step"]) if after is not None and after["event"] == "begin" else math.inf
        own = [line for line in lines if first < line["step"] <= again]  # later ones were done again
        last, ended = (int(own[-1]["step"]), float(own[-1].get("time", began))) if own else (first, began)
        state = "running" if after is None and held else "killed"
        if after is not None and after["event"] == "end":
            last, ended, state = int(after["step"]), float(after["time"]), str(after["state"])
        machine = dict(event.get("machine", {}))
        found.append(Session(began, first, last, max(0.0, ended - began), state, machine))
    return found


def _config(folder: Path) -> dict[str, Any]:
    try:
        return public(tomllib.loads((folder / "config.toml").read_text(encoding="utf-8")))
    except (OSError, tomllib.TOMLDecodeError):
        return {}


def _bytes(checkpoint: Path) -> int:
    return sum(path.stat().st_size for path in checkpoint.rglob("*") if path.is_file())
