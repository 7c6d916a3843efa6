"""The journal of a data verb: one line a finished file, so that a killed run goes on.

The first line holds the settings; later lines are entries, and the last one of a name counts.
A line that was torn by a kill is dropped.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from xraytk import config
from xraytk.errors import DataError, RunConflictError
from xraytk.files import atomic_write, explain_os_errors

FORMAT = 1


class Journal:
    """Entries by name, in memory and on disk.

    Args:
        path: The file; made with its first line when it is missing.
        settings: Plain values that all entries depend on.

    Raises:
        RunConflictError: If the file was written under other settings.
        DataError: If its first line is not a journal's.
    """

    def __init__(self, path: Path, settings: Mapping[str, Any]) -> None:
        self.entries: dict[str, dict[str, Any]] = {}
        self._path = path
        if not path.exists():
            with atomic_write(path, "w") as stream:
                stream.write(_line({"format": FORMAT, "settings": dict(settings)}))
        whole = 0
        with path.open("rb") as lines:
            for line in lines:
                if not line.endswith(b"\n"):
                    break
                if whole == 0:
                    self._check(_parsed(line), settings)
                else:
                    entry = _parsed(line)
                    if isinstance(entry.get("name"), str):
                        self.entries[entry["name"]] = entry
                whole += len(line)
        if whole == 0:
            self._check({}, settings)
        with explain_os_errors(path), path.open("r+b") as stream_bytes:
            stream_bytes.truncate(whole)

    def _check(self, head: dict[str, Any], settings: Mapping[str, Any]) -> None:
        if head.get("format") != FORMAT:
            raise DataError(
                f"{self._path} is not a journal of this version",
                f"its first line should be an object with format {FORMAT}",
                "Choose another folder with --out, or remove this one to start anew.",
            )
        if lines := config.differences(head.get("settings", {}), json.loads(json.dumps(settings))):
            raise RunConflictError(
                f"{self._path.parent} was written with another configuration",
                "\n".join(lines),
                "Use the same configuration, or choose another folder with --out.",
            )

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Keep the file open, for `add`."""
        with explain_os_errors(self._path), self._path.open("a", encoding="utf-8") as stream:
            self._stream = stream
            yield

    def add(self, entry: dict[str, Any]) -> None:
        """Add an entry; its "name" is a hashed one."""
        self.entries[entry["name"]] = entry
        self._stream.write(_line(entry))
        self._stream.flush()


def _line(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")) + "\n"


def _parsed(line: bytes) -> dict[str, Any]:
    """An object, or an empty one where a line is broken: that file is done again."""
    try:
        value = json.loads(line)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
