"""Checkpoints: weights, optimizer and step, written whole or not at all, read without pickle.

A checkpoint is a folder ``step-00001234`` with ``model.safetensors``, ``optimizer.safetensors``
and ``state.json``. The header of the weights says what the encoder is, so the file alone can
be loaded by `xraytk.models.weights`.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from xraytk.errors import DataError, RunConflictError
from xraytk.files import atomic_folder, checkpoint_step, checkpoints, read_json, write_json

FORMAT = 1
ENCODER_PREFIX = "encoder."


def save(
    folder: Path,
    step: int,
    learner: nn.Module,
    optimizer: torch.optim.Optimizer,
    config: dict[str, Any],
) -> Path:
    """Write the state after ``step`` updates.

    Args:
        folder: Run folder.
        step: Updates done.
        learner: Its ``state_dict`` is written; its ``encoder.config`` describes the encoder.
        optimizer: Its state per parameter is written under the parameter's name.
        config: Resolved config of the run, as plain values.

    Returns:
        The checkpoint's folder.

    Raises:
        MachineError: If the disk is full.
    """
    path = folder / f"step-{step:08d}"
    metadata = {
        "xraytk.format": str(FORMAT),
        "xraytk.step": str(step),
        "xraytk.encoder_prefix": ENCODER_PREFIX,
        "xraytk.encoder": json.dumps(_encoder_config(learner)),
    }
    with atomic_folder(path) as fresh:
        save_file(_unshared(learner), fresh / "model.safetensors", metadata)
        save_file(
            _flat_optimizer(learner, optimizer),
            fresh / "optimizer.safetensors",
            {"xraytk.format": str(FORMAT)},
        )
        write_json(fresh / "state.json", {"format": FORMAT, "step": step, "config": config})
        for part in fresh.iterdir():
            with part.open("rb") as stream:
                os.fsync(stream.fileno())
    return path


def load(path: Path, learner: nn.Module, optimizer: torch.optim.Optimizer) -> int:
    """Read a checkpoint back into a learner and its optimizer.

    Returns:
        Updates done.

    Raises:
        DataError: If it is broken, of another format, or of another learner.
    """
    step = int(read_state(path)["step"])
    weights = _read(path / "model.safetensors")
    wanted = {name: tuple(tensor.shape) for name, tensor in _unshared(learner).items()}
    found = {name: tuple(tensor.shape) for name, tensor in weights.items()}
    if found != wanted:
        names = sorted(n for n in {*wanted, *found} if wanted.get(n) != found.get(n))
        lines = [f"{n}: found {found.get(n, 'none')}, wanted {wanted.get(n, 'none')}" for n in names[:5]]
        raise DataError(
            f"checkpoint {path} does not fit the model",
            "\n".join([*lines, f"{len(names)} tensors differ"]),
            "Resume with the configuration that wrote it, or start a new run with --init.",
        )
    learner.load_state_dict(weights, strict=False)
    _load_optimizer(path, learner, optimizer)
    return step


def read_state(path: Path) -> dict[str, Any]:
    """Read ``state.json`` of a checkpoint.

    Raises:
        DataError: If it is missing, or of another format.
    """
    state = read_json(path / "state.json", "xraytk pretrain")
    if state.get("format") != FORMAT:
        raise DataError(
            f"checkpoint {path} has format {state.get('format')}",
            f"this version reads {FORMAT}",
            "Use the version of xraytk that wrote it.",
        )
    return state


def latest(folder: Path) -> Path | None:
    """Newest whole checkpoint of a run folder, or None."""
    found = checkpoints(folder)
    return found[-1] if found else None


def prune(folder: Path, keep_last: int, keep_step: int | None = None) -> None:
    """Remove all but the newest checkpoints.

    Args:
        folder: Run folder.
        keep_last: How many stay.
        keep_step: One more that stays: the best one.
    """
    for path in checkpoints(folder)[:-keep_last]:
        if checkpoint_step(path) != keep_step:
            shutil.rmtree(path, ignore_errors=True)


def refuse_newer(folder: Path, chosen: Path) -> None:
    """Refuse to go back in a run whose later checkpoints would be mixed with the new ones.

    Raises:
        RunConflictError: If ``folder`` holds a checkpoint later than ``chosen``.
    """
    newest = latest(folder)
    if newest is not None and checkpoint_step(newest) > int(read_state(chosen)["step"]):
        raise RunConflictError(
            f"{folder} holds checkpoints later than {chosen.name}",
            f"the newest is {newest.name}",
            "Remove the later ones, or choose another run with --name.",
        )


def _encoder_config(learner: nn.Module) -> dict[str, Any] | None:
    config = getattr(getattr(learner, "encoder", None), "config", None)
    return dataclasses.asdict(config) if dataclasses.is_dataclass(config) else None  # type: ignore[arg-type]


def _unshared(module: nn.Module) -> dict[str, Tensor]:
    """Tensors of a module, contiguous, each memory once: of tied weights the first name."""
    seen: set[int] = set()
    out: dict[str, Tensor] = {}
    for name, tensor in module.state_dict().items():
        if tensor.numel() and tensor.data_ptr() in seen:
            continue
        seen.add(tensor.data_ptr())
        out[name] = tensor.contiguous()
    return out


def _flat_optimizer(learner: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Optimizer state as ``key/parameter name`` -> tensor."""
    names: dict[Tensor, str] = {parameter: name for name, parameter in learner.named_parameters()}
    return {
        f"{key}/{names[parameter]}": value.contiguous()
        for parameter, state in optimizer.state.items()
        for key, value in state.items()
    }


def _load_optimizer(path: Path, learner: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    parameters = dict(learner.named_parameters())
    trained = {id(p) for group in optimizer.param_groups for p in group["params"]}
    for flat, value in _read(path / "optimizer.safetensors").items():
        key, _, name = flat.partition("/")
        parameter = parameters.get(name)
        fits = parameter is not None and id(parameter) in trained and value.shape in ((), parameter.shape)
        if parameter is None or not fits:
            raise DataError(
                f"the optimizer state of {path} does not fit the model",
                f"it holds {flat} of shape {tuple(value.shape)}",
                "Resume with the configuration that wrote it.",
            )
        optimizer.state[parameter][key] = value.to(parameter.device)


def _read(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except FileNotFoundError:
        raise DataError(f"{path} does not exist", todo="Use another checkpoint.") from None
    except (SafetensorError, OSError) as error:
        raise DataError(
            f"{path} is broken", str(error), "Remove that folder; the run goes on from the one before."
        ) from None
