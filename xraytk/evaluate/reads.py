"""How often a run's test split was read, so that nobody chooses by it without knowing.

A run folder holds ``test-reads.jsonl``: one line for every model and setting that was scored on
the test split. The same model and settings give the same numbers, so scoring them again is no
second reading; anything else is, and is refused unless it is asked for.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from xraytk.errors import RunConflictError
from xraytk.files import atomic_write, folder_lock

NAME = "test-reads.jsonl"


@contextlib.contextmanager
def reading(folder: Path, what: Mapping[str, Any], *, again: bool) -> Iterator[str]:
    """Hold a run's folder while its test split is read, and write the reading down.

    Training holds the same lock, so that a run is never trained and tested at once.

    Args:
        folder: Run folder.
        what: Model, shards and settings that the predictions depend on.
        again: Allow another reading than those before.

    Yields:
        What has to be said of it; "" for the first reading, or the same one again.

    Raises:
        RunConflictError: If the run is being trained, or this would be another reading.
    """
    if not os.access(folder, os.W_OK):
        yield f"{folder} cannot be written: this reading of the test split is not recorded there"
        return
    with folder_lock(folder):
        path = folder / NAME
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        line = json.dumps({"reading": _mark(what), **what}, sort_keys=True, ensure_ascii=False)
        if line not in lines:
            if lines and not again:
                raise RunConflictError(
                    f"the test split was read by {folder.name} before, with another model or other settings",
                    f"{len(lines)} reading{'s' * (len(lines) > 1)} in {path}",
                    "Choose models and settings with --split val. To read the test split all the same, "
                    "and have it said in the results: --set again=true.",
                )
            lines.append(line)
            with atomic_write(path, "w") as stream:
                stream.write("".join(f"{each}\n" for each in lines))
        count = len(lines)
        yield (
            ""
            if count == 1
            else f"the test split was read {count} times by this run, with different models or settings"
        )


def _mark(what: Mapping[str, Any]) -> str:
    text = json.dumps(what, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
