"""Checkpoints: weights, optimizer and step, written whole or not at all, read without pickle.

A checkpoint is a folder ``step-00001234`` with ``model.safetensors``, ``ema.safetensors`` where
weights are averaged, ``optimizer.safetensors`` (or one part of it for each process that holds one)
and ``state.json``. The header of the weights says what the encoder is, so the file alone can
be loaded by `xraytk.models.weights`. Any number of processes reads what any number wrote.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict_loader import load as read_tensors
from torch.distributed.checkpoint.state_dict_saver import save as write_tensors

from xraytk.errors import DataError, RunConflictError
from xraytk.files import checkpoint_step, checkpoints, read_json, write_json
from xraytk.train.storage import Copies, PartReader, PartWriter, plain_errors, write_file

FORMAT = 2
ENCODER_PREFIX = "encoder."
WHOLE = ("model", "ema")
"""Kinds that are one file each whoever wrote them, because others read them."""


def state_of(
    learner: nn.Module, optimizer: torch.optim.Optimizer, averages: Mapping[str, Tensor] | None = None
) -> dict[str, Tensor]:
    """All that a checkpoint holds, as ``kind/name`` -> tensor; nothing is copied.

    Args:
        learner: Its ``state_dict``; of tied weights the first name.
        optimizer: Its state per parameter, under ``optimizer/key/parameter name``.
        averages: Averaged weights by name; with the buffers they make a model of their own.
    """
    weights = _unshared(learner)
    names: dict[Tensor, str] = {parameter: name for name, parameter in learner.named_parameters()}
    state = {f"model/{name}": tensor for name, tensor in weights.items()}
    if averages is not None:
        state |= {f"ema/{name}": averages.get(name, tensor) for name, tensor in weights.items()}
    for parameter, values in optimizer.state.items():
        state |= {f"optimizer/{key}/{names[parameter]}": value for key, value in values.items()}
    return state


def header_of(learner: nn.Module, step: int, config: Mapping[str, Any]) -> dict[str, str]:
    """Header of the weights: what they are of.

    Args:
        learner: Its ``encoder`` is described.
        step: Updates done.
        config: Of the run; ``data.fit`` says how images were put into their rectangle.
    """
    data = config.get("data", {})
    return {
        "xraytk.format": str(FORMAT),
        "xraytk.step": str(step),
        "xraytk.encoder_prefix": ENCODER_PREFIX,
        "xraytk.encoder": json.dumps(_encoder_config(learner)),
        **({"xraytk.fit": data["fit"]} if "fit" in data else {}),
    }


def write_whole(folder: Path, copies: Mapping[str, Tensor], header: dict[str, str]) -> None:
    """Write what one process holds all of.

    Args:
        folder: Where to; exists.
        copies: From `state_of`, on the CPU.
        header: Of the files.
    """
    for kind in dict.fromkeys(key.partition("/")[0] for key in copies):
        start = f"{kind}/"
        mine = {k.removeprefix(start): v.contiguous() for k, v in copies.items() if k.startswith(start)}
        write_file(folder / f"{kind}.safetensors", mine, header)


def write_parts(
    folder: Path,
    state: dict[str, Tensor],
    copies: Mapping[str, Tensor],
    header: dict[str, str],
    group: dist.ProcessGroup,
) -> None:
    """Write what every process holds parts of; returns when all have; every process must call it.

    Args:
        folder: Where to; exists, and is the same for all.
        state: From `state_of`; only its shapes are looked at.
        copies: This process's parts, on the CPU.
        header: Of the whole files that the first process makes of the parts.
        group: Processes that can talk beside the training; the parts are planned over it.

    Raises:
        XraytkError: Of the first process that could not write.
    """
    writer = PartWriter(folder, dist.get_rank(), dist.get_world_size())
    with plain_errors():
        write_tensors(state, storage_writer=writer, planner=Copies(copies), process_group=group)
    if dist.get_rank() == 0:
        reader = PartReader(folder)
        for kind in WHOLE:
            if whole := reader.whole(kind):
                write_file(folder / f"{kind}.safetensors", whole, header)
                for part in folder.glob(f"{kind}-*.safetensors"):
                    part.unlink()


def write_state(folder: Path, step: int, config: dict[str, Any]) -> None:
    """Write ``state.json``, the last file of a checkpoint."""
    write_json(folder / "state.json", {"format": FORMAT, "step": step, "config": config})


def load(
    path: Path,
    learner: nn.Module,
    optimizer: torch.optim.Optimizer,
    averages: Mapping[str, Tensor] | None = None,
) -> int:
    """Read a checkpoint back in place; every process must call it.

    Args:
        path: Folder of the checkpoint.
        learner: Filled in place; its parameters may be sharded.
        optimizer: Of its parameters.
        averages: Averaged weights, filled in place.

    Returns:
        Updates done.

    Raises:
        DataError: If it is broken, of another format, or of another learner.
    """
    step = int(read_state(path)["step"])
    reader = PartReader(path)
    weights = _unshared(learner)
    places = {f"model/{name}": tensor for name, tensor in weights.items()}
    _refuse_misfit(path, reader.shapes("model"), weights)
    if averages is not None:
        _refuse_misfit(path, reader.shapes("ema"), weights)
        places |= {f"ema/{name}": tensor for name, tensor in averages.items()}
    places |= _optimizer_places(path, reader.shapes("optimizer"), learner, optimizer)
    with plain_errors(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="torch.distributed is disabled")  # one process
        read_tensors(places, storage_reader=reader)
    return step


def read_state(path: Path) -> dict[str, Any]:
    """Read ``state.json`` of a checkpoint.

    Raises:
        DataError: If it is missing, or of another format.
    """
    try:
        state = read_json(path / "state.json", "xraytk pretrain")
    except DataError:
        raise _broken(path, "state.json is missing or no JSON") from None
    if not isinstance(state.get("step"), int):
        raise _broken(path, "state.json names no step")
    if state.get("format") != FORMAT:
        raise DataError(
            f"checkpoint {path} has format {state.get('format')}",
            f"this version reads {FORMAT}",
            "Use the version of xraytk that wrote it.",
        )
    return state


def _broken(path: Path, found: str) -> DataError:
    todo = "Remove that folder; the run goes on from the one before."
    return DataError(f"checkpoint {path} is broken", found, todo)


def latest(folder: Path) -> Path | None:
    """Newest whole checkpoint of a run folder, or None."""
    found = checkpoints(folder)
    return found[-1] if found else None


def prune(folder: Path, keep_last: int, keep_every: int = 0, keep_step: int | None = None) -> None:
    """Remove checkpoints that are not kept.

    Args:
        folder: Run folder.
        keep_last: How many of the newest stay.
        keep_every: Those after a multiple of so many updates stay too; 0 for none.
        keep_step: One more that stays: the best one.
    """
    for path in checkpoints(folder)[:-keep_last]:
        step = checkpoint_step(path)
        if step != keep_step and not (keep_every and step % keep_every == 0):
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
    """Tensors of a module's state, each once: of tied weights the first name."""
    state = module.state_dict(keep_vars=True)
    seen: set[int] = set()
    out: dict[str, Tensor] = {}
    for name, tensor in state.items():
        if id(tensor) not in seen:
            seen.add(id(tensor))
            out[name] = tensor.detach()
    return out


def _refuse_misfit(path: Path, found: dict[str, tuple[int, ...]], weights: dict[str, Tensor]) -> None:
    wanted = {name: tuple(tensor.shape) for name, tensor in weights.items()}
    if found != wanted:
        names = sorted(n for n in {*wanted, *found} if wanted.get(n) != found.get(n))
        lines = [f"{n}: found {found.get(n, 'none')}, wanted {wanted.get(n, 'none')}" for n in names[:5]]
        raise DataError(
            f"checkpoint {path} does not fit the model",
            "\n".join([*lines, f"{len(names)} tensors differ"]),
            "Resume with the configuration that wrote it, or start a new run with --init.",
        )


def _optimizer_places(
    path: Path, found: dict[str, tuple[int, ...]], learner: nn.Module, optimizer: torch.optim.Optimizer
) -> dict[str, Tensor]:
    """Make room in the optimizer for every tensor that was found."""
    parameters = dict(learner.named_parameters())
    trained = {id(p) for group in optimizer.param_groups for p in group["params"]}
    places = {}
    for flat, shape in found.items():
        key, _, name = flat.partition("/")
        parameter = parameters.get(name)
        fits = parameter is not None and id(parameter) in trained and shape in ((), tuple(parameter.shape))
        if parameter is None or not fits:
            raise DataError(
                f"the optimizer state of {path} does not fit the model",
                f"it holds {flat} of shape {shape}",
                "Resume with the configuration that wrote it.",
            )
        detached = parameter.detach()
        place = torch.zeros_like(detached) if shape else torch.zeros((), device=detached.device)
        optimizer.state[parameter][key] = places[f"optimizer/{flat}"] = place
    return places
