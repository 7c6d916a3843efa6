"""Who may read a test split: no model that knows its patients, and none twice unsaid.

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

from xraytk.data import trained_on
from xraytk.data.shard_index import ShardIndex
from xraytk.errors import RunConflictError
from xraytk.files import atomic_write, folder_lock
from xraytk.tasks.scoring.scored import hash_of_ids

NAME = "test-reads.jsonl"


@contextlib.contextmanager
def reading(
    folder: Path, what: Mapping[str, Any], *, index: ShardIndex, run: Path | None, again: bool
) -> Iterator[list[str]]:
    """Hold a run's folder while its test split is read, and write the reading down.

    Training holds the same lock, so that a run is never trained and tested at once; and no patient
    is tested that it was trained on.

    Args:
        folder: Where readings are kept.
        what: Model and settings that the predictions depend on.
        index: Of the shards whose test split is read.
        run: Folder of the run that made the model; None where there is none.
        again: Allow another reading than those before.

    Yields:
        What has to be said of it.

    Raises:
        DataError: If a patient of the test split was trained on.
        RunConflictError: If the run is being trained, or this would be another reading.
    """
    notes = [note] if (note := trained_on.refuse_shared(run, index)) else []
    ids = [bytes(name).decode() for name in index.image_id[index.rows("test")]]
    what = {**what, "image_ids_sha256": hash_of_ids(ids)}
    with contextlib.suppress(OSError):  # it is said if it cannot be written
        folder.mkdir(parents=True, exist_ok=True)
    if not os.access(folder, os.W_OK):
        yield [*notes, f"{folder} cannot be written: this reading of the test split is not recorded there"]
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
        if count > 1:
            notes.append(
                f"the test split was read {count} times by this run, with different models or settings"
            )
        yield notes


def _mark(what: Mapping[str, Any]) -> str:
    text = json.dumps(what, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
