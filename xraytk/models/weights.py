"""Reading weights so that a mistake is an error and not a training from scratch.

Only safetensors files are read; nothing is unpickled. An encoder may come from a run of ours, or
from a checkpoint in the layout of timm or transformers; see `timm_layout`, `transformers_layout`, `adapt`.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from xraytk import distributed
from xraytk.config import build
from xraytk.errors import DataError, UsageError
from xraytk.files import checkpoints, read_json, write_json
from xraytk.models import adapt, timm_layout, transformers_layout
from xraytk.models.load_report import LoadReport, compare, shown
from xraytk.models.vit import EPSILON, Vit, VitConfig
from xraytk.progress import Progress
from xraytk.records import as_plain

PICKLES = (".pt", ".pth", ".bin", ".ckpt", ".pkl", ".tar")
EXPORTED = "encoder.safetensors"
"""The weights of an export, in our layout."""
EMA = "ema.safetensors"
"""Beside a checkpoint's weights: their moving average, where the run made one."""
WANTED = "wanted a run, a step folder, an export, a .safetensors file, or timm:NAME"
ENOUGH = 0.95
"""Share of an encoder's numbers that a foreign checkpoint must fill."""


def find_weights(checkpoint: Path, *, ema: bool = True) -> Path:
    """Find the weights file that a path means.

    Args:
        checkpoint: A run folder (its best checkpoint if it names one in ``best.json``, else the
            newest), a step folder, a folder of `xraytk export`, a ``.safetensors`` file, a folder as
            timm or transformers saves it, or ``timm:NAME`` for weights of timm's collection.
        ema: Of a step folder prefer the averaged weights, where it has them.

    Returns:
        Path of a safetensors file.

    Raises:
        DataError: If there is none, or the file is a pickle.
        MachineError: If ``timm:NAME`` cannot be fetched.
    """
    if str(checkpoint).startswith(timm_layout.FROM_HUB):
        return timm_layout.fetch(str(checkpoint).removeprefix(timm_layout.FROM_HUB))
    if checkpoint.is_file():
        if checkpoint.suffix.lower() in PICKLES:
            raise DataError(
                f"{checkpoint} is a pickle, which can run any code when it is loaded",
                "only safetensors files are read",
                "Convert it with safetensors.torch.save_file where you trust it.",
            )
        if checkpoint.suffix.lower() != ".safetensors":
            raise DataError(
                f"{checkpoint} is no weights file", WANTED, "Name the folder it lies in, or another one."
            )
        return checkpoint
    if (checkpoint / "model.safetensors").is_file():
        return _of_step(checkpoint, ema)
    found = checkpoints(checkpoint)
    if not found:
        for other in (EXPORTED, "best/model.safetensors"):
            if (checkpoint / other).is_file():
                return checkpoint / other
        raise _nothing(checkpoint)
    chosen = found[-1]
    if (checkpoint / "best.json").is_file():
        step = read_json(checkpoint / "best.json", "xraytk finetune").get("step")
        chosen = next((path for path in found if path.name == f"step-{step:08d}"), chosen)
    return _of_step(chosen, ema)


def _nothing(checkpoint: Path) -> DataError:
    """Say why a path means no weights."""
    if not checkpoint.exists():
        return DataError(f"{checkpoint} does not exist", WANTED, "Check the path.")
    if (checkpoint / "runs").is_dir():
        return DataError(
            f"{checkpoint} is a workspace",
            WANTED,
            f"Name one of its runs, as in {checkpoint / 'runs' / 'NAME'}.",
        )
    pickles = sorted(p.name for p in checkpoint.glob("*model*") if p.suffix.lower() in PICKLES)
    if pickles:
        return DataError(
            f"{checkpoint} holds pickles only, which can run any code when they are loaded",
            f"found {pickles[0]}; {WANTED}",
            "Save the model as safetensors where you trust it (transformers: save_pretrained).",
        )
    return DataError(
        f"{checkpoint} holds no checkpoint",
        WANTED,
        "Wait for the run's first checkpoint, run `xraytk pretrain`, or give another path.",
    )


def _of_step(checkpoint: Path, ema: bool) -> Path:
    averaged = checkpoint / EMA
    return averaged if ema and averaged.is_file() else checkpoint / "model.safetensors"


def encoder_config(checkpoint: Path) -> VitConfig:
    """Shape of the encoder in a checkpoint: from the header of its weights, or from timm's tensors.

    Args:
        checkpoint: As for `find_weights`.

    Raises:
        DataError: If the weights do not describe a ViT.
    """
    path = find_weights(checkpoint)
    if (foreign := _foreign(path)) is not None:
        return foreign.config
    text = _metadata(path).get("xraytk.encoder", "null")
    try:
        tree = json.loads(text)
        if not isinstance(tree, dict):
            raise ValueError("no description of the encoder")
        return build(VitConfig, tree)
    except (ValueError, UsageError) as error:
        raise DataError(
            f"{path} does not say what its encoder is",
            str(error),
            "Use a checkpoint written by `xraytk pretrain` or `xraytk finetune`, or a ViT of timm's or "
            "transformers'.",
        ) from None


def started_from(wanted: VitConfig, checkpoint: Path) -> VitConfig:
    """Give an encoder the kind of positions that a checkpoint's encoder has seen.

    Learned ones are interpolated to its grid when they are loaded. Fixed ones are spread over the
    grid on which they were seen; see `sincos_positions`.

    Args:
        wanted: The encoder that is to start from the checkpoint.
        checkpoint: As for `find_weights`.

    Returns:
        ``wanted`` with other ``positions`` and ``seen_grid``.
    """
    source = encoder_config(checkpoint)
    seen = source.seen_grid or source.grid
    fixed = source.positions == "sincos"
    return replace(
        wanted, positions=source.positions, seen_grid=seen if fixed and seen != wanted.grid else None
    )


def load_encoder(encoder: nn.Module, checkpoint: Path) -> LoadReport:
    """Load the encoder's part of a checkpoint, adapted to other channels, patches and grids.

    Args:
        encoder: Filled in place, only when all fits.
        checkpoint: As for `find_weights`. Of ours, tensors of the encoder carry the prefix named
            in the header, and those of other parts are left alone; every one must fit. Of a
            foreign one all blocks must fit, and `ENOUGH` of the numbers.

    Returns:
        The report.

    Raises:
        DataError: If a tensor is missing, unexpected or of another shape.
    """
    path = find_weights(checkpoint)
    foreign = _foreign(path)
    if foreign is not None and isinstance(encoder, Vit):
        return _load_foreign(encoder, path, foreign)
    prefix = _metadata(path).get("xraytk.encoder_prefix", "encoder.")
    tensors = {
        name.removeprefix(prefix): tensor for name, tensor in _read(path).items() if name.startswith(prefix)
    }
    if any(".lora_A." in name for name in tensors):
        raise DataError(
            f"the encoder of {path} holds adapters beside its weights",
            "a checkpoint of a run with lora.* goes on with that run alone",
            "Give the run's folder best, where they are merged.",
        )
    hint = ""
    lines: list[str] = []
    if isinstance(encoder, Vit) and "xraytk.encoder" in _metadata(path):
        source = encoder_config(path)
        hint = _differing_shape(encoder.config, source)
        _check_heads(path, encoder.config, source)
        if tensors.get("project.weight", torch.empty(0)).ndim == 2:
            convolution = adapt.as_convolution(tensors["project.weight"], source.channels)
            tensors, lines = adapt.adapted({**tensors, "project.weight": convolution}, source, encoder.config)
    return replace(_fill(encoder, tensors, f"the encoder of {path}", hint), adapted=tuple(lines))


def write_report(folder: Path, checkpoint: Path, report: LoadReport, progress: Progress) -> None:
    """Say what a run's encoder was started from, and keep it in ``init.json`` of the run folder."""
    first, *rest = report.lines()
    progress.note(f"encoder: {first} from {checkpoint}")
    for line in rest:
        progress.note(f"encoder: {line}")
    if distributed.is_main():
        write_json(folder / "init.json", {"format": 1, "checkpoint": str(checkpoint), **as_plain(report)})


def _foreign(path: Path) -> timm_layout.Foreign | None:
    """What a checkpoint in timm's or transformers' layout says of itself; None for one of ours."""

    def look() -> timm_layout.Foreign | None:
        with safe_open(path, "pt") as stream:
            names = list(stream.keys())
            if "xraytk.encoder" in (stream.metadata() or {}):
                return None
            if (named := transformers_layout.prefix_of(names)) is not None:
                return _foreign_of_transformers(path, named)
            prefix = timm_layout.prefix_of(names)
            if prefix is None:
                return None
            shapes = {name: stream.get_slice(name).get_shape() for name in names}
            table = stream.get_tensor(f"{prefix}pos_embed") if f"{prefix}pos_embed" in shapes else None
            return timm_layout.describe(path, shapes, prefix, table)

    found: timm_layout.Foreign | None = _opened(path, look)
    return found


def _foreign_of_transformers(path: Path, prefix: str) -> timm_layout.Foreign:
    tensors = load_file(path)
    if strange := transformers_layout.lacking(tensors, prefix):
        raise DataError(
            f"the encoder of {path} has parts that ours lacks",
            f"found {shown(strange)}",
            "Give a plain ViT, as DINOv2 without registers.",
        )
    tensors = transformers_layout.as_timm(tensors, prefix)
    shapes = {name: tensor.shape for name, tensor in tensors.items()}
    about = transformers_layout.about(path.parent)
    return timm_layout.describe(path, shapes, "", tensors.get("pos_embed"), about)


def _foreign_tensors(path: Path) -> dict[str, Tensor]:
    """All tensors of a foreign checkpoint as timm names them."""
    tensors = _read(path)
    named = transformers_layout.prefix_of(tensors)
    return tensors if named is None else transformers_layout.as_timm(tensors, named)


def _load_foreign(encoder: Vit, path: Path, foreign: timm_layout.Foreign) -> LoadReport:
    wanted, source = encoder.config, foreign.config
    notes = []
    if foreign.sure:
        _check_heads(path, wanted, source)
    else:
        notes.append("no config.json says how its images were normalised: taken as (x - 0.5) / 0.5, as ours")
        if wanted.heads != source.heads:
            notes.append(f"vit.heads is {wanted.heads}; a ViT of width {wanted.width} has {source.heads}")
    if foreign.norm_eps > EPSILON:  # a smaller one changes tokens by less than 1e-4
        raise DataError(
            f"the encoder of {path} has another epsilon in its LayerNorms",
            f"found {foreign.norm_eps:g}, wanted at most ours, {EPSILON:g}",
            "Give a ViT with that epsilon, as those of the public ViT, MAE, DeiT and DINOv2.",
        )
    if foreign.norm_eps != EPSILON:
        notes.append(f"config.json names the LayerNorm epsilon {foreign.norm_eps:g}; it is {EPSILON:g} here")
    tensors, lines, ignored = timm_layout.renamed(_foreign_tensors(path), foreign.prefix)
    tensors["positions"] = timm_layout.with_class_slot(tensors["positions"], source.grid)
    if {*foreign.mean, *foreign.std} != {0.5}:
        bias = tensors.get("project.bias", torch.zeros(source.width))
        tensors["project.weight"], tensors["project.bias"] = adapt.renormalise(
            tensors["project.weight"], bias, foreign.mean, foreign.std
        )
        lines.append(f"project: from images of mean {foreign.mean} and deviation {foreign.std}")
    tensors, more = adapt.adapted(tensors, source, wanted)
    report = compare(encoder, tensors)
    held = encoder.state_dict()
    filled = sum(held[name].numel() for name in report.matched)
    share = filled / sum(tensor.numel() for tensor in held.values())
    report = replace(report, adapted=(*lines, *more), ignored=tuple(ignored), notes=tuple(notes), share=share)
    gaps = [name for name in report.missing if name.startswith("blocks.")]
    if share < ENOUGH or gaps or report.unexpected or report.misshaped:
        todo = _differing_shape(wanted, source, only=("width", "depth", "heads", "mlp_ratio"))
        raise DataError(
            f"the encoder of {path} does not fit",
            "\n".join(report.lines()),
            todo or f"Give a plain ViT of which all blocks and {ENOUGH:.0%} of the numbers fit.",
        )
    encoder.load_state_dict(tensors, strict=False)
    return report


def _check_heads(path: Path, wanted: VitConfig, source: VitConfig) -> None:
    """The heads are in no tensor's shape: weights for others would load, and mean nothing."""
    if wanted.heads != source.heads and wanted.width == source.width:
        raise DataError(
            f"the encoder of {path} does not fit",
            f"it has {source.heads} attention heads, wanted {wanted.heads}",
            f"Set vit.heads={source.heads}.",
        )


def load_model(learner: nn.Module, checkpoint: Path) -> LoadReport:
    """Load every tensor of a learner.

    Args:
        learner: Filled in place, only when all fits.
        checkpoint: As for `find_weights`.

    Returns:
        The report; always `LoadReport.whole`.

    Raises:
        DataError: If any tensor is missing, unexpected or of another shape.
    """
    path = find_weights(checkpoint)
    return _fill(learner, _read(path), f"the model of {path}", "")


def _fill(module: nn.Module, tensors: dict[str, Tensor], what: str, hint: str) -> LoadReport:
    report = compare(module, tensors)
    if not report.whole:
        lines = [f"{len(report.matched)} tensors fit"]
        lists = {"missing": report.missing, "unexpected": report.unexpected, "mis-shaped": report.misshaped}
        lines += [f"{len(names)} {word}: {shown(names)}" for word, names in lists.items() if names]
        raise DataError(
            f"{what} does not fit", "\n".join(lines), hint or "Give a checkpoint of the same configuration."
        )
    module.load_state_dict(tensors, strict=False)
    return report


def _differing_shape(wanted: VitConfig, found: VitConfig, only: Sequence[str] = ()) -> str:
    """Say what to set so that the encoder fits, or nothing when it does."""
    old, new = dataclasses.asdict(wanted), dataclasses.asdict(found)
    keys = [f"vit.{key}={new[key]}" for key in only or old if old[key] != new[key]]
    return f"Set {' '.join(keys)} to match the checkpoint." if keys else ""


def _metadata(path: Path) -> dict[str, str]:
    def header() -> Any:
        with safe_open(path, "pt") as stream:
            return stream.metadata()

    return dict(_opened(path, header) or {})


def _read(path: Path) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = _opened(path, lambda: load_file(path))
    return tensors


def _opened(path: Path, read: Any) -> Any:
    try:
        return read()
    except FileNotFoundError:
        raise DataError(f"{path} does not exist", todo="Give another checkpoint.") from None
    except (SafetensorError, OSError) as error:
        raise DataError(
            f"{path} is not a whole safetensors file", str(error), "Give another checkpoint."
        ) from None
