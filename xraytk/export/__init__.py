"""``xraytk export``: a trained encoder for timm, transformers and xraytk itself, with a model card.

- ``formats``: names and layouts of the tensors, and the libraries' config files.
- ``verify``: loads what was written with both libraries and compares tokens.
- ``card``: the README.md.
"""

from __future__ import annotations

import dataclasses
import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from safetensors.torch import save_file

from xraytk.errors import RunConflictError, UsageError
from xraytk.export import formats, verify
from xraytk.export.card import Facts, card
from xraytk.files import Workspace, atomic_folder, atomic_write, default_work, write_json
from xraytk.models.pretrained import EXPORT_MARK, Trained, find_trained, run_facts
from xraytk.models.vit import Vit
from xraytk.models.weights import EXPORTED
from xraytk.progress import Progress, Silent
from xraytk.records import as_plain

FORMAT = 1
"""File of an export, by which a later one knows that it may take its place."""
LIBRARIES = ("timm", "transformers")


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportConfig:
    """Settings of ``xraytk export``.

    Args:
        checkpoint: See `models.weights.find_weights`; the workspace's newest pretraining by default.
            Of a finetuned model its encoder is exported.
        work: The workspace.
        out: Folder; ``exports/<run>`` of the workspace by default.
        format: For which library.
        license: Of the weights, as model hubs abbreviate them ("cc-by-nc-4.0"); left to be filled in
            by default.
        about: What the images are, in a sentence of yours for the card; it is printed as it stands.
        ema: Prefer the moving average of the weights, where the run made one.
        verify: Load the result with the libraries and compare tokens.
    """

    checkpoint: Path | None = None
    work: Path = field(default_factory=default_work)
    out: Path | None = None
    format: Literal["timm", "transformers", "both"] = "both"
    license: str = ""
    about: str = ""
    ema: bool = True
    verify: bool = True

    def __post_init__(self) -> None:
        """Check the licence.

        Raises:
            UsageError: If it is no abbreviation.
        """
        if self.license and not re.fullmatch(r"[a-z0-9][a-z0-9.+-]*", self.license):
            raise UsageError(
                f"license is {self.license!r}", "wanted an abbreviation as in apache-2.0 or cc-by-nc-4.0"
            )


@dataclass(frozen=True, slots=True)
class ExportResult:
    """What was written.

    Args:
        out: The folder.
        checkpoint_sha256: Of the weights that were exported.
        ema: Whether they are a moving average.
        step: Update after which they were written; None when that is not known.
        parameters: Numbers of the encoder.
        image_px: Height and width of its images.
        fit: How images were put into that rectangle.
        differences: Largest difference of a token's numbers to ours on a phantom, by library.
        files: What was written, relative to the folder.
    """

    out: Path
    checkpoint_sha256: str
    ema: bool
    step: int | None
    parameters: int
    image_px: tuple[int, int]
    fit: str
    differences: dict[str, float]
    files: tuple[str, ...]


def run(config: ExportConfig, progress: Progress | None = None) -> ExportResult:
    """Export an encoder.

    Args:
        config: Settings.
        progress: Where to report to.

    Raises:
        DataError: If there is no such checkpoint, it is a pickle, or the libraries give other tokens.
        RunConflictError: If the folder holds something else.
        MachineError: If the disk is full.
    """
    progress = progress or Silent()
    trained = find_trained(config.checkpoint, config.work, ema=config.ema)
    out = config.out or Workspace(config.work).exports / trained.name
    _refuse_foreign(out)
    if trained.weights.absolute().is_relative_to(out.absolute()):
        raise RunConflictError(
            f"{out} holds the encoder that is to be exported",
            "an export replaces its folder",
            "Choose another folder with --out.",
        )
    wanted: list[str] = [*LIBRARIES] if config.format == "both" else [config.format]
    progress.note(f"encoder of {trained.weights}{' (moving average)' if trained.ema else ''}")
    encoder, known = trained.load(), run_facts(trained)
    with atomic_folder(out) as fresh:
        _write(fresh, encoder, trained, wanted, config.license)
        differences = verify.refuse_other_tokens(fresh, encoder, wanted) if config.verify else {}
        facts = Facts(
            trained=trained,
            run=known,
            parameters=sum(p.numel() for p in encoder.parameters()),
            sha256=trained.sha256(),
            formats=wanted,
            differences=differences,
            licence=config.license,
            about=config.about,
        )
        with atomic_write(fresh / "README.md", "w") as stream:
            stream.write(card(facts))
        files = sorted(str(path.relative_to(fresh)) for path in fresh.rglob("*") if path.is_file())
        result = ExportResult(
            out=out,
            checkpoint_sha256=facts.sha256,
            ema=trained.ema,
            step=known.get("step"),
            parameters=facts.parameters,
            image_px=trained.config.size,
            fit=trained.fit,
            differences=differences,
            files=(*files, EXPORT_MARK),
        )
        told = {key: value for key, value in as_plain(result).items() if key != "out"}
        write_json(fresh / EXPORT_MARK, {"format": FORMAT, **told})
    return result


def _refuse_foreign(out: Path) -> None:
    """Refuse to replace a folder that is no export."""
    if out.exists() and not (out / EXPORT_MARK).is_file() and (not out.is_dir() or any(out.iterdir())):
        raise RunConflictError(
            f"{out} is there already and is no export", todo="Choose another folder with --out."
        )


def _write(out: Path, encoder: Vit, trained: Trained, wanted: list[str], licence: str) -> None:
    """Write the weights for xraytk and for each library."""
    plain = {f"encoder.{name}": value.cpu().contiguous() for name, value in encoder.state_dict().items()}
    save_file(
        plain,
        out / EXPORTED,
        {
            "xraytk.format": "1",
            "xraytk.encoder_prefix": "encoder.",
            "xraytk.encoder": json.dumps(dataclasses.asdict(trained.config)),
            "xraytk.fit": trained.fit,
        },
    )
    layouts: dict[str, tuple[formats.Tensors, dict[str, dict[str, Any]]]] = {}
    if "timm" in wanted:
        about = formats.timm_config(trained.config, trained.fit, licence or "other")
        layouts["timm"] = (formats.timm_tensors(encoder), {"config.json": about})
    if "transformers" in wanted:
        layouts["transformers"] = (
            formats.transformers_tensors(encoder),
            {
                "config.json": formats.transformers_config(trained.config),
                "preprocessor_config.json": formats.processor_config(trained.config),
            },
        )
    for name, (tensors, trees) in layouts.items():
        (out / name).mkdir()
        save_file(tensors, out / name / "model.safetensors", {"format": "pt", "xraytk.fit": trained.fit})
        for file, tree in trees.items():
            write_json(out / name / file, tree)
