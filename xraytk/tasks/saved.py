"""A finetuned model as a folder: weights, what they are, vocabulary.

    model.safetensors   all weights
    config.json         {"format", "task": a name of TASKS or "module:Class", "model", "facts"}
    tokenizer.json      the vocabulary, where there is one

The same for the best state of a run and for the model that comes with the package.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from safetensors.torch import save_file
from torch import nn

from xraytk.config import resolve
from xraytk.errors import DataError, UsageError
from xraytk.files import atomic_folder, read_json, write_json
from xraytk.models.weights import load_model
from xraytk.tasks import TASKS

FORMAT = 1


@dataclass(frozen=True, slots=True)
class Saved:
    """A model that was read from a folder.

    Args:
        learner: The task, in evaluation mode.
        facts: What was stored with it: data settings, thresholds, score, origin.
    """

    learner: Any
    facts: dict[str, Any]


def save(folder: Path, learner: nn.Module, facts: dict[str, Any], *, half: bool = False) -> None:
    """Write a model folder, whole or not at all; one already there is replaced.

    Args:
        folder: The folder.
        learner: A task.
        facts: Plain values to keep with it.
        half: Store float16, to halve the size.
    """
    target = f"{type(learner).__module__}:{type(learner).__qualname__}"
    task = cast(Any, learner)
    state = {
        name: (tensor.half() if half and tensor.is_floating_point() else tensor).cpu().contiguous()
        for name, tensor in learner.state_dict().items()
    }
    with atomic_folder(folder) as fresh:
        save_file(
            state,
            fresh / "model.safetensors",
            {
                "xraytk.format": str(FORMAT),
                "xraytk.encoder_prefix": "encoder.",
                "xraytk.encoder": json.dumps(task.describe()["encoder"]),
                **({"xraytk.fit": facts["data"]["fit"]} if "data" in facts else {}),
            },
        )
        if hasattr(task, "vocabulary"):
            task.vocabulary.save(fresh / "tokenizer.json")
        write_json(
            fresh / "config.json",
            {
                "format": FORMAT,
                "task": next((name for name, known in TASKS.items() if known == target), target),
                "model": task.describe(),
                "facts": facts,
            },
        )


def find(checkpoint: Path) -> Path:
    """Find the model folder that a path means.

    Args:
        checkpoint: A finetuned run, or its folder ``best``.

    Raises:
        DataError: If there is none; ``best`` is written when the training has ended.
    """
    for folder in (checkpoint / "best", checkpoint):
        if (folder / "config.json").is_file() and (folder / "model.safetensors").is_file():
            return folder
    raise DataError(
        f"{checkpoint} holds no finetuned model" if checkpoint.exists() else f"{checkpoint} does not exist",
        "wanted a run of `xraytk finetune` with the folder best, which is written when the training ends",
        "Run `xraytk finetune report` or `xraytk finetune classify` first, to its end.",
    )


def load(folder: Path, device: torch.device) -> Saved:
    """Read a model folder.

    Raises:
        DataError: If it is missing, broken, of another format, or its weights do not fit.
    """
    tree, kind = _read(folder), task_of(folder)
    try:
        learner = kind.rebuild(tree["model"], folder)
    except (AttributeError, KeyError, TypeError, UsageError) as error:
        raise _undescribed(folder, error) from None
    load_model(learner, folder / "model.safetensors")
    return Saved(learner.to(device).eval(), tree.get("facts", {}))


def task_of(folder: Path) -> Any:
    """Class of the task whose model is in a folder.

    Raises:
        DataError: If the folder holds no model, or one of another format.
    """
    name = _read(folder).get("task")
    try:
        return resolve(TASKS.get(str(name), str(name)))
    except UsageError as error:
        raise _undescribed(folder, error) from None


def _read(folder: Path) -> dict[str, Any]:
    tree = read_json(folder / "config.json", "xraytk finetune")
    if tree.get("format") != FORMAT:
        raise DataError(
            f"model folder {folder} has format {tree.get('format')}",
            f"this version reads {FORMAT}",
            "Use the version of xraytk that wrote it, or finetune again.",
        )
    return tree


def _undescribed(folder: Path, error: Exception) -> DataError:
    return DataError(f"{folder / 'config.json'} does not describe a model", str(error), "Finetune again.")
