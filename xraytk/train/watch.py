"""Who is told how a training goes: the trackers, and the list of the run's sessions.

A session is one call of the verb: a run that was stopped and gone on with has two.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from xraytk import distributed
from xraytk.errors import InterruptedRunError
from xraytk.train import trackers

SESSIONS = "sessions.jsonl"
"""File of a run folder: a line when a session begins to train, and one when it ends."""
PATHS = ("work", "shards", "select", "out", "init", "cache", "resume", "uncertain_from")
"""Keys of a config, in any table, that hold paths or URLs; no tracker, page or card is told of them."""
NAME_OR_FOLDER = ("model", "text", "vocabulary")
"""Keys that hold a name or a folder: nothing is told but what is `BUILT_IN`."""
BUILT_IN = ("", "words", "r2gen", "r2gen-mimic")
HIDDEN = "(not shown)"
"""Stands for a value that could be a path: paths may name patients."""


class Watch:
    """Is told of a training as it goes; one that is made without arguments tells nobody.

    Args:
        folder: Run folder; None keeps no list of sessions.
        about: Plain facts of the run that do not change: what is trained, on what.
        config: Resolved config as plain values.
        loggers: "wandb", "mlflow".
        flops_per_image: Operations of one image in training, forward and backward; 0 if not known.
        note: Says one line to a person.
    """

    def __init__(
        self,
        folder: Path | None = None,
        *,
        about: Mapping[str, Any] | None = None,
        config: Mapping[str, Any] | None = None,
        loggers: tuple[str, ...] = (),
        flops_per_image: float = 0.0,
        note: Callable[[str], None] = lambda text: None,
    ) -> None:
        self.flops_per_image = flops_per_image
        self.step = 0
        self._folder = folder if distributed.is_main() else None
        self._about, self._config = dict(about or {}), dict(config or {})
        self._loggers, self._note = loggers, note
        self._machine: dict[str, Any] = {}
        self._posts: list[trackers.Post] = []
        self.began = False  # a line was written

    def begin(self, step: int, machine: Mapping[str, Any]) -> None:
        """Training goes on after ``step`` updates; nothing is opened before the first line.

        Args:
            step: Updates done.
            machine: Plain facts of the device and the processes.
        """
        self.step, self._machine = step, dict(machine)

    def line(self, line: Mapping[str, Any]) -> None:
        """A line was added to the log."""
        if self._folder is None:
            return
        if not self.began:
            self._open(self._folder)
        self.step = int(line["step"])
        step, values = self.step, trackers.scalars_of(line)
        for post in self._posts:
            post.send(lambda tracker: tracker.scalars(step, values))

    def pictures(self, step: int, paths: Mapping[str, Path]) -> None:
        """Pictures were drawn."""
        for post in self._posts:
            post.send(lambda tracker: tracker.pictures(step, paths))

    def end(self, state: str) -> None:
        """The session ends: "finished", "stopped" or "failed"."""
        for post in self._posts:
            post.close(state)
        if self.began and self._folder is not None:
            self._write(self._folder, {"event": "end", "step": self.step, "state": state})
        self._posts = []

    def _open(self, folder: Path) -> None:
        self.began = True
        facts = {"about": self._about, "machine": self._machine}
        self._write(folder, {"event": "begin", "step": self.step, **facts})
        name, step = str(self._config.get("name") or self._about.get("name") or "run"), self.step
        config = public(self._config)
        made: dict[str, Callable[[], trackers.Tracker]] = {
            "tensorboard": lambda: trackers.TensorBoard(folder, step),
            "wandb": lambda: trackers.Wandb(folder, name, config),
            "mlflow": lambda: trackers.Mlflow(folder, name, config),
        }
        chosen = ("tensorboard", *self._loggers)
        self._posts = [trackers.Post(each, made[each], self._note) for each in dict.fromkeys(chosen)]

    def _write(self, folder: Path, line: Mapping[str, Any]) -> None:
        with (folder / SESSIONS).open("a", encoding="utf-8") as stream:
            stream.write(json.dumps({"time": round(time.time(), 1), **line}) + "\n")


def public(config: Mapping[str, Any]) -> dict[str, Any]:
    """A config as others may see it: without the keys of `PATHS`, `HIDDEN` for what could be a path.

    Tables within tables and lists are looked into. A text with a slash, a backslash or a tilde could be a
    path; so could any word under a key of `NAME_OR_FOLDER`.

    Args:
        config: Plain values, nested.
    """
    return {key: _public(key, value) for key, value in config.items() if key not in PATHS}


def _public(key: str, value: Any) -> Any:
    if isinstance(value, Mapping):
        return public(value)
    if isinstance(value, list | tuple):
        return [_public(key, each) for each in value]
    if isinstance(value, str):
        secret = set("/\\~") & set(value) or (key in NAME_OR_FOLDER and value not in BUILT_IN)
        return HIDDEN if secret else value
    return value if isinstance(value, int | float) or value is None else HIDDEN


@contextlib.contextmanager
def watching(watch: Watch) -> Iterator[Watch]:
    """See to it that a watch is told how the session ends."""
    state = "failed"
    try:
        yield watch
        state = "finished"
    except InterruptedRunError:
        state = "stopped"
        raise
    finally:
        watch.end(state)
