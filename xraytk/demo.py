"""The whole road on synthetic radiographs: what a new user runs first.

Every stage is the verb itself with the preset ``tiny``; nothing here is done in another way.
Run again, each stage goes on where it stopped.
"""

from __future__ import annotations

import hashlib
import shlex
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from xraytk import config as configs
from xraytk import evaluate, finetune, ingest, mask, pretrain, report, shard
from xraytk.data import synthetic
from xraytk.errors import RunConflictError, UsageError
from xraytk.files import Workspace, atomic_write
from xraytk.progress import Progress, Silent, duration

SPLIT = (0.7, 0.15, 0.15)
"""Shares of patients for training, validation and test: with so few, a tenth would be too little."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoConfig:
    """Settings of the demo.

    Args:
        out: Folder to work in.
        patients: Phantom patients; most have one image, some have two.
        seed: Of the phantoms.
        size_px: Long side of the phantoms.
        workers: Processes for the data stages; 0 chooses by cores.
        pretrain_steps: Optimizer steps; 0 takes the preset's.
        finetune_steps: Optimizer steps of each finetuning; 0 takes the preset's.
    """

    out: Path = Path("xraytk-demo")
    patients: int = 80
    seed: int = 0
    size_px: int = 512
    workers: int = 0
    pretrain_steps: int = 0
    finetune_steps: int = 0

    def __post_init__(self) -> None:
        if self.patients < 8:
            raise UsageError(
                f"patients must be at least 8, found {self.patients}", "three splits by patient need some"
            )
        if not 64 <= self.size_px <= 4096:
            raise UsageError(f"size_px must be in 64..4096, found {self.size_px}")


@dataclass(frozen=True, slots=True)
class DemoResult:
    """What the demo made."""

    out: Path
    seconds: dict[str, float]
    stages: dict[str, Any]
    image: Path
    reports: dict[str, Any]
    look_at: list[Path] = field(default_factory=list)

    def lines(self) -> list[str]:
        """Return the demo's outcome for a person to read."""
        out = [*self.stages["evaluate"].lines(), ""]
        for made in self.reports.values():
            out += [*made.lines(), ""]
        out.append("Time: " + ", ".join(f"{name} {duration(s)}" for name, s in self.seconds.items()))
        out.append("Look at:")
        out += [f"  {path}" for path in self.look_at]
        work, image = shlex.quote(str(self.out / "work")), shlex.quote(str(self.image))
        out.append(f"Next: XRAYTK_WORK={work} xraytk report {image} --lang zh")
        return out


def run(config: DemoConfig, progress: Progress | None = None) -> DemoResult:
    """Make phantoms and take them from DICOM to two reports.

    Args:
        config: Settings.
        progress: Where to report to.

    Returns:
        What each stage returned, the reports, and the pictures worth looking at.
    """
    progress = progress or Silent()
    _claim(config)
    work = Workspace(config.out / "work")
    seconds: dict[str, float] = {}
    stages: dict[str, Any] = {}

    @contextmanager
    def stage(name: str) -> Iterator[None]:
        began = time.monotonic()
        yield
        seconds[name] = round(time.monotonic() - began, 1)

    dicoms, new = config.out / "dicoms", config.out / "new-patient"
    with stage("phantoms"):
        for folder, patients, seed in ((dicoms, config.patients, config.seed), (new, 1, config.seed + 1)):
            if not (folder / "labels.csv").exists():  # it is written last
                synthetic.write_archive(
                    folder,
                    patients=patients,
                    seed=seed,
                    size_px=config.size_px,
                    workers=config.workers,
                    progress=progress,
                )
    with stage("ingest"):
        stages["ingest"] = ingest.run(
            ingest.IngestConfig(
                source=dicoms / "dicom",
                work=work.root,
                reports=dicoms / "reports.csv",
                labels=dicoms / "labels.csv",
                key=_key(config),
                split=SPLIT,
                workers=config.workers,
            ),
            progress,
        )
    with stage("mask"):
        stages["mask"] = mask.run(mask.MaskConfig(work=work.root, workers=config.workers), progress)
    with stage("shard"):
        stages["shard"] = shard.run(shard.ShardConfig(work=work.root, workers=config.workers), progress)
    with stage("pretrain"):
        made = configs.load(
            pretrain.PretrainConfig,
            preset="tiny",
            flags={"work": work.root, "steps": config.pretrain_steps or None},
        )
        stages["pretrain"] = pretrain.run(made, progress)
    for task in ("report", "classify"):
        with stage(f"finetune {task}"):
            chosen = configs.load(
                finetune.FinetuneConfig,
                preset="tiny",
                flags={"work": work.root, "task": task, "steps": config.finetune_steps or None},
            )
            stages[f"finetune {task}"] = finetune.run(chosen, progress)
    with stage("evaluate"):
        stages["evaluate"] = evaluate.run(evaluate.EvaluateConfig(work=work.root), progress)
    image = min(path for path in (new / "dicom").rglob("*") if path.is_file())
    with stage("report"):
        reports = {
            lang: report.run(report.ReportConfig(image=image, lang=lang, work=work.root), progress)
            for lang in ("en", "zh")
        }
    return DemoResult(config.out, seconds, stages, image, reports, _pictures(work))


def _key(config: DemoConfig) -> Path:
    """Write a key that follows from the seed: phantoms have no secrets, and a demo is repeatable."""
    path = config.out / "key"
    if not path.exists():
        with atomic_write(path, "w") as stream:
            stream.write(hashlib.sha256(f"demo {config.seed}".encode()).hexdigest() + "\n")
        path.chmod(0o600)
    return path


def _claim(config: DemoConfig) -> None:
    """Write the settings into the folder, or compare with those that are there."""
    path = config.out / "demo.toml"
    wanted = configs.to_dict(config)
    if not path.exists():
        with atomic_write(path, "w") as stream:
            stream.write(configs.to_toml(config))
        return
    found = configs.read_toml(path)
    for key in ("out", "workers"):
        found.pop(key, None)
        wanted.pop(key, None)
    if lines := configs.differences(found, wanted):
        raise RunConflictError(
            f"{config.out} holds a demo with other settings",
            "\n".join(lines),
            "Name another folder: `xraytk demo FOLDER`.",
        )


def _pictures(work: Workspace) -> list[Path]:
    """Pictures and pages of a workspace, in the order of the road."""
    painted = sorted((work.runs / "pretrain" / "figures").glob("reconstruction-*.png"))
    curves = [p for p in sorted(work.runs.glob("*/figures/*.png")) if p not in painted]
    sheets = [work.ingest / name for name in ("card.html", "contact-sheet.png")]
    sheets.append(work.masks / "contact-sheet.png")
    return [p for p in [*sheets, *painted[-1:], *curves, *sorted(work.runs.glob("*/*.html"))] if p.exists()]
