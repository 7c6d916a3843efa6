"""Samples that could not be used, and were left out because the run was told to go on."""

from __future__ import annotations

import contextlib
import json
import os
import threading
from dataclasses import asdict, dataclass
from pathlib import Path

from xraytk.files import atomic_write


@dataclass(frozen=True, slots=True, order=True)
class Skipped:
    """A sample that could not be used.

    Args:
        shard: Name of its tar.
        image: Its hashed id.
        why: What was found.
    """

    shard: str
    image: str
    why: str


class SkipList:
    """Lists each sample once; on disk too, line by line, so that a killed run has its list.

    Several processes may share the file: each line is written at one stroke.

    Args:
        path: JSON lines, read if it is there; None keeps the list in memory.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._found: dict[tuple[str, str], Skipped] = {}
        self._read()

    def add(self, one: Skipped) -> None:
        """List a sample, unless it is listed; from any thread."""
        with self._lock:
            if (one.shard, one.image) in self._found:
                return
            self._found[one.shard, one.image] = one
            if self._path is not None:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
                try:
                    os.write(file, (json.dumps(asdict(one)) + "\n").encode())
                finally:
                    os.close(file)

    def all(self) -> list[Skipped]:
        """Samples in order of shard and image."""
        with self._lock:
            return sorted(self._found.values())

    def settle(self) -> int:
        """Write the file sorted, with each sample once, whoever listed it; return their number.

        One process calls it, when all are done.
        """
        self._read()
        found = self.all()
        if self._path is not None and found:
            with atomic_write(self._path, "w") as stream:
                stream.writelines(json.dumps(asdict(one)) + "\n" for one in found)
        return len(found)

    def _read(self) -> None:
        if self._path is None or not self._path.is_file():
            return
        for line in self._path.read_text(encoding="utf-8").splitlines():
            with contextlib.suppress(ValueError, TypeError):  # a line that was not written whole
                one = Skipped(**json.loads(line))
                self._found.setdefault((one.shard, one.image), one)
