"""A trained encoder by whatever names it: a run, a checkpoint, a file, or the workspace's newest run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import torch
from safetensors import safe_open

from xraytk.config import read_toml
from xraytk.errors import DataError
from xraytk.files import Workspace, checkpoints, read_json, sha256_of
from xraytk.models.vit import Vit, VitConfig
from xraytk.models.weights import EMA, encoder_config, find_weights, load_encoder

Fit = Literal["letterbox", "stretch"]
EXPORT_MARK = "export.json"
"""File that makes a folder one of `xraytk export`."""
DIGITS = 8
"""Of a checksum, in a name."""


@dataclass(frozen=True, slots=True)
class Trained:
    """Where an encoder lies, and what is known of it.

    Args:
        weights: Its safetensors file: the moving average where there is one.
        config: Its shape.
        fit: How its images were put into their rectangle.
        run: The run folder; None for a bare file.
        ema: Whether ``weights`` are a moving average.
    """

    weights: Path
    config: VitConfig
    fit: Fit
    run: Path | None
    ema: bool

    @property
    def name(self) -> str:
        """For people and for files: the run, the export, or the file with digits of its checksum.

        Of the part of an export that is for another library ``<export>-<library>``. Files of
        different encoders have often one name, ``model``; hence the digits.
        """
        if self.run is not None:
            return self.run.absolute().name
        folder = self.weights.absolute().parent
        if (folder / EXPORT_MARK).is_file():
            return folder.name
        if (folder.parent / EXPORT_MARK).is_file():
            return f"{folder.parent.name}-{folder.name}"
        return f"{self.weights.stem}-{self.sha256()[:DIGITS]}"

    def results(self, work: Path, task: str) -> Path:
        """Folder for what a task finds: in the run, else in the workspace.

        Never beside the weights: an export is a folder that is given away.
        """
        home = self.run if self.run is not None else Workspace(work).probes / self.name
        return home / task

    def sha256(self) -> str:
        """SHA-256 of the weights' file."""
        return sha256_of(self.weights)

    def load(self, device: torch.device | None = None) -> Vit:
        """Build the encoder with these weights, frozen and in evaluation mode.

        Raises:
            DataError: If the weights do not fit their own description.
        """
        with torch.random.fork_rng(devices=[]):
            encoder = Vit(self.config)
        load_encoder(encoder, self.weights)
        return encoder.requires_grad_(False).eval().to(device or torch.device("cpu"))


def find_trained(checkpoint: Path | None, work: Path, *, ema: bool = True) -> Trained:
    """Find an encoder.

    Args:
        checkpoint: As for `weights.find_weights`; None for the workspace's newest pretraining.
        work: The workspace.
        ema: Prefer the moving average of the weights, where there is one.

    Returns:
        What was found; nothing is loaded yet.

    Raises:
        DataError: If there is none, it is a pickle, or it does not say what its encoder is.
    """
    weights = find_weights(checkpoint or newest_pretraining(work), ema=ema)
    config, run = encoder_config(weights), _run_of(weights.parent)
    return Trained(weights, config, fit_of(weights) or "letterbox", run, ema=weights.name == EMA)


def newest_pretraining(work: Path) -> Path:
    """Find the run folder of the pretraining that wrote a checkpoint last.

    Raises:
        DataError: If the workspace has none.
    """
    runs = Workspace(work).runs
    found = [
        (checkpoints(folder)[-1].stat().st_mtime, folder)
        for folder in sorted(runs.glob("*"))
        if checkpoints(folder) and "objective" in _toml(folder)
    ]
    if not found:
        raise DataError(
            f"{runs} holds no checkpoint of a pretraining",
            todo="Run `xraytk pretrain` first, or name a run, a step folder or a .safetensors file.",
        )
    return max(found)[1]


def run_facts(trained: Trained) -> dict[str, Any]:
    """What the run folder says of a training: ``config`` (plain), ``step``, and the result's numbers."""
    if trained.run is None:
        return {}
    facts: dict[str, Any] = {"config": _toml(trained.run)}
    state = trained.weights.parent / "state.json"
    if state.is_file():
        facts["step"] = read_json(state, "xraytk pretrain").get("step")
    metrics = trained.run / "metrics.json"
    if metrics.is_file():
        tree = read_json(metrics, "xraytk pretrain")
        facts |= {key: tree[key] for key in ("images", "steps", "loss_first", "loss_last") if key in tree}
    return facts


def _run_of(folder: Path) -> Path | None:
    """The run folder of a step folder, of ``best``, or of itself."""
    return next((place for place in (folder, folder.parent) if (place / "config.toml").is_file()), None)


def _toml(folder: Path) -> dict[str, Any]:
    path = folder / "config.toml"
    return read_toml(path) if path.is_file() else {}


def fit_of(weights: Path) -> Fit | None:
    """How the images of an encoder were put into their rectangle.

    Args:
        weights: A file, as `weights.find_weights` gives it.

    Returns:
        What the file's header says, else the config of the run it lies in; None when neither does.
    """
    with safe_open(weights, "pt") as stream:
        stated = (stream.metadata() or {}).get("xraytk.fit")
    if stated is None and (run := _run_of(weights.parent)) is not None:
        stated = _toml(run).get("data", {}).get("fit")
    return cast(Fit, stated) if stated in ("letterbox", "stretch") else None
