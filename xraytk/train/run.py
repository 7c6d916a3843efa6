"""The run folder: whether to resume, and from where; what may differ and what may not."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import tomli_w

from xraytk import distributed
from xraytk.config import differences
from xraytk.errors import RunConflictError, UsageError
from xraytk.files import atomic_write, checkpoint_step, remove_leftovers
from xraytk.train.checkpoint import latest, read_state, refuse_newer

NO_IDENTITY = frozenset(
    {
        "machine",
        "work",
        "out",
        "name",
        "resume",
        "save_every",
        "keep_last",
        "keep_every",
        "log_every",
        "figure_every",
        "loggers",
    }
    | {"shards", "select", "init"}  # paths; `INPUTS` holds what they lead to
    | {"cache", "data.skip_bad"}  # a run that met a broken sample may go on with it
)
"""Keys that are not the run's identity: it goes on when they differ."""


SKIPPED = "skipped.jsonl"
"""File of a run folder that lists the samples left out: shard, image, why."""

INPUTS = "inputs"
"""Key of a run's state that holds the fingerprints of what it was made of; not a config key."""


def check_length(steps: int, epochs: float) -> None:
    """Check how long a run shall be.

    Raises:
        UsageError: If neither says it, or one is out of range.
    """
    if steps < 0 or (steps == 0 and not 0 < epochs < math.inf):
        raise UsageError(
            f"steps is {steps} and epochs {epochs}", "wanted steps of at least 1, or epochs above 0"
        )


def check_name(name: str) -> None:
    """Check the name of a run.

    Raises:
        UsageError: If it is no plain folder name.
    """
    if not name or "/" in name or name.startswith("."):
        raise UsageError(f"name is {name!r}", "wanted a plain folder name")


def check_batch(batch: int, count: int) -> None:
    """Check the images of one update against those of the training split.

    Raises:
        UsageError: If an update would see an image twice.
    """
    if batch > count:
        raise UsageError(
            f"batch {batch} is more than the {count} training images",
            "an update would see an image twice",
            f"Set batch={2 ** int(math.log2(count))} or lower (and optim.lr to match), or use --preset tiny.",
        )


def prepare(folder: Path, config: dict[str, Any], resume: str) -> Path | None:
    """Make the run folder ready and find the checkpoint to go on from.

    Every process may call it; the first one writes ``config.toml``, the others wait for it.

    Args:
        folder: Run folder.
        config: Resolved config as plain values, and under `INPUTS` the fingerprints of shards
            and initial weights: a run goes on with the same ones only. Of weights under the same
            path it is the fingerprint at the start; see `started_as`.
        resume: "auto" (the newest checkpoint, if any), "never", or the path of a checkpoint.

    Returns:
        A checkpoint folder, or None to start from the beginning.

    Raises:
        RunConflictError: If a run of another config is there, or any run with "never".
        UsageError: If ``resume`` names no checkpoint.
    """
    chosen = _choose(folder, resume)
    if chosen is not None:
        refuse_other_config(chosen, config)
        refuse_newer(folder, chosen)
    if distributed.is_main():
        remove_leftovers(folder)
        with atomic_write(folder / "config.toml") as stream:
            stream.write(_toml(config).encode())
    distributed.barrier()
    return chosen


def started_as(folder: Path, resume: str, init: Path | None) -> dict[str, Any]:
    """Find how the run began that is to be gone on with.

    A checkpoint has all that a run took from its ``init``, whose file may have changed or gone by
    then. So what it led to is kept with the run, and read anew only where another path is named.

    Args:
        folder: Run folder.
        resume: As for `prepare`.
        init: As it is given now.

    Returns:
        The config of the checkpoint, with `INPUTS`; {} for a new run, or one with another ``init``.

    Raises:
        RunConflictError: If there is a run, and ``resume`` is "never".
        UsageError: If ``resume`` names no checkpoint.
    """
    chosen = _choose(folder, resume)
    old: dict[str, Any] = {} if chosen is None else read_state(chosen).get("config", {})
    return old if old.get("init") == (None if init is None else str(init)) else {}


def refuse_other_config(chosen: Path, config: dict[str, Any]) -> None:
    """Compare the config of a checkpoint with the one at hand.

    Raises:
        RunConflictError: Naming every key that differs and is part of the run's identity.
    """
    old = _identity(read_state(chosen).get("config", {}))
    lines = differences(old, _identity(config))
    if lines:
        raise RunConflictError(
            f"{chosen.parent} holds a run of another configuration",
            "\n".join(lines),
            "Give the old values to go on with it, or choose another run with --name.\n"
            "(inputs: fingerprints of the shards, of the selection and of the weights at the start)",
        )


def _choose(folder: Path, resume: str) -> Path | None:
    newest = latest(folder)
    if resume == "auto":
        return newest
    if resume == "never":
        if newest is not None:
            raise RunConflictError(
                f"{folder} holds a run already",
                f"its newest checkpoint is after step {checkpoint_step(newest):,}",
                "Choose another run with --name, or go on with --resume auto.",
            )
        return None
    path = Path(resume)
    chosen = latest(path) or path
    if not (chosen / "state.json").is_file():
        raise UsageError(
            f"--resume {resume} names no checkpoint",
            "wanted auto, never, a run folder or a step folder",
        )
    return chosen


def _identity(config: dict[str, Any]) -> dict[str, Any]:
    return {
        key: {k: v for k, v in value.items() if f"{key}.{k}" not in NO_IDENTITY}
        if isinstance(value, dict)
        else value
        for key, value in config.items()
        if key not in NO_IDENTITY
    }


def _toml(config: dict[str, Any]) -> str:
    plain = {k: v for k, v in config.items() if not isinstance(v, dict)}
    tables = {k: v for k, v in config.items() if isinstance(v, dict) and k != INPUTS}
    return tomli_w.dumps({**plain, **tables})
