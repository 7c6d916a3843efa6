"""Reading weights so that a mistake is an error and not a training from scratch.

Only safetensors files are read; nothing is unpickled.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from xraytk.config import build
from xraytk.errors import DataError, UsageError
from xraytk.files import checkpoints, read_json
from xraytk.models.vit import Vit, VitConfig

PICKLES = (".pt", ".pth", ".bin", ".ckpt", ".pkl", ".tar")
SHOWN = 3
"""Names listed in an error message."""


@dataclass(frozen=True, slots=True)
class LoadReport:
    """What became of the tensors of a checkpoint.

    Args:
        matched: Names that were loaded.
        missing: Names that the model has and the checkpoint lacks.
        unexpected: Names that the checkpoint has and the model lacks.
        misshaped: Lines "name: found (shape), wanted (shape)".
    """

    matched: tuple[str, ...]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    misshaped: tuple[str, ...]

    @property
    def whole(self) -> bool:
        """Whether every tensor found its place and every place its tensor."""
        return bool(self.matched) and not (self.missing or self.unexpected or self.misshaped)


def find_weights(checkpoint: Path) -> Path:
    """Find the weights file that a path means.

    Args:
        checkpoint: A run folder (its best checkpoint if it names one in ``best.json``, else the
            newest), a step folder, or a ``.safetensors`` file. Of a step folder the averaged
            weights are meant where it has them.

    Returns:
        Path of a safetensors file.

    Raises:
        DataError: If there is none, or the file is a pickle.
    """
    if checkpoint.is_file():
        if checkpoint.suffix.lower() in PICKLES:
            raise DataError(
                f"{checkpoint} is a pickle, which can run any code when it is loaded",
                "only safetensors files are read",
                "Convert it with safetensors.torch.save_file where you trust it.",
            )
        return checkpoint
    if (checkpoint / "model.safetensors").is_file():
        return _best_of(checkpoint)
    found = checkpoints(checkpoint)
    if not found:
        raise DataError(
            f"{checkpoint} holds no checkpoint",
            "wanted a run folder, a step folder or a .safetensors file",
            "Run `xraytk pretrain` first, or give another path.",
        )
    chosen = found[-1]
    if (checkpoint / "best.json").is_file():
        step = read_json(checkpoint / "best.json", "xraytk finetune").get("step")
        chosen = next((path for path in found if path.name == f"step-{step:08d}"), chosen)
    return _best_of(chosen)


def _best_of(checkpoint: Path) -> Path:
    """The averaged weights of a step folder where there are some, else the weights."""
    averaged = checkpoint / "ema.safetensors"
    return averaged if averaged.is_file() else checkpoint / "model.safetensors"


def encoder_config(checkpoint: Path) -> VitConfig:
    """Shape of the encoder in a checkpoint, from the header of its weights.

    Args:
        checkpoint: As for `find_weights`.

    Raises:
        DataError: If the header does not describe a ViT.
    """
    path = find_weights(checkpoint)
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
            "Use a checkpoint written by `xraytk pretrain` or `xraytk finetune`.",
        ) from None


def load_encoder(encoder: nn.Module, checkpoint: Path) -> LoadReport:
    """Load the encoder's part of a checkpoint.

    Args:
        encoder: Filled in place, only when all fits.
        checkpoint: As for `find_weights`; tensors of the encoder carry the prefix named in
            the header, and those of other parts are left alone.

    Returns:
        The report; always `LoadReport.whole`.

    Raises:
        DataError: If any tensor is missing, unexpected or of another shape.
    """
    path = find_weights(checkpoint)
    prefix = _metadata(path).get("xraytk.encoder_prefix", "encoder.")
    tensors = {
        name.removeprefix(prefix): tensor for name, tensor in _read(path).items() if name.startswith(prefix)
    }
    hint = ""
    if isinstance(encoder, Vit) and "xraytk.encoder" in _metadata(path):
        hint = _differing_shape(encoder.config, encoder_config(path))
    return _fill(encoder, tensors, f"the encoder of {path}", hint)


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


def compare(module: nn.Module, tensors: Mapping[str, Tensor]) -> LoadReport:
    """Compare tensors with a module's, without loading.

    Of tied weights a checkpoint may hold any one name.
    """
    wanted = module.state_dict()
    held = {wanted[name].data_ptr() for name in tensors if name in wanted}
    misshaped = {
        name: f"{name}: found {tuple(tensors[name].shape)}, wanted {tuple(tensor.shape)}"
        for name, tensor in wanted.items()
        if name in tensors and tensors[name].shape != tensor.shape
    }
    return LoadReport(
        matched=tuple(name for name in tensors if name in wanted and name not in misshaped),
        missing=tuple(n for n, t in wanted.items() if n not in tensors and t.data_ptr() not in held),
        unexpected=tuple(name for name in tensors if name not in wanted),
        misshaped=tuple(misshaped.values()),
    )


def _fill(module: nn.Module, tensors: dict[str, Tensor], what: str, hint: str) -> LoadReport:
    report = compare(module, tensors)
    if not report.whole:
        lines = [f"{len(report.matched)} tensors fit"]
        lists = {"missing": report.missing, "unexpected": report.unexpected, "mis-shaped": report.misshaped}
        for word, names in lists.items():
            if names:
                shown = "; ".join(names[:SHOWN]) + "; ..." * (len(names) > SHOWN)
                lines.append(f"{len(names)} {word}: {shown}")
        raise DataError(
            f"{what} does not fit", "\n".join(lines), hint or "Give a checkpoint of the same configuration."
        )
    module.load_state_dict(tensors, strict=False)
    return report


def _differing_shape(wanted: VitConfig, found: VitConfig) -> str:
    """Say what to set so that the encoder fits, or nothing when it does."""
    old, new = dataclasses.asdict(wanted), dataclasses.asdict(found)
    keys = [f"vit.{key}={new[key]}" for key in old if old[key] != new[key]]
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
