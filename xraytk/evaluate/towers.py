"""A pretraining whose images and texts can be compared: found, loaded, and shown a split."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from xraytk.config import build, read_toml, resolve
from xraytk.data.store import read_index
from xraytk.data.stream import Stream, StreamConfig
from xraytk.errors import DataError, UsageError
from xraytk.evaluate import files, workspace
from xraytk.evaluate.reads import reading
from xraytk.evaluate.results import RunScores
from xraytk.evaluate.settings import EvaluateConfig
from xraytk.files import Workspace
from xraytk.models.pretrained import Trained, find_trained
from xraytk.models.tokens import Vocabulary
from xraytk.models.weights import load_model
from xraytk.objectives import OBJECTIVES
from xraytk.progress import Progress
from xraytk.records import SPLITS, Batch
from xraytk.tasks.scoring import grid, pages
from xraytk.tasks.scoring.scored import Scored, fingerprinted
from xraytk.train.launch import device_kind, device_of

TEXTS = 128
"""Texts of one forward pass."""
Split = Literal["train", "val", "test"]
Single = NDArray[np.float32]
WITH_TOWERS = ("clip", "maco")


@dataclass(frozen=True, slots=True)
class Towers:
    """An objective that embeds images and texts into one space.

    Args:
        objective: In evaluation mode; has ``embed_image``, ``embed_text`` and ``embed_patches``.
        name: Of the objective, as its run names it.
        options: Of its run.
        trained: Where its weights lie.
        data: How its images were put into their rectangle.
        langs: Languages that it reads.
    """

    objective: Any
    name: str
    options: Mapping[str, Any]
    trained: Trained
    data: StreamConfig
    langs: tuple[str, ...]

    def texts(self, texts: Sequence[str], lang: str) -> Single:
        """Embed texts of one language, (n, D); not all of length one."""
        parts = [
            self.objective.embed_text(list(texts[at : at + TEXTS]), lang)
            for at in range(0, len(texts), TEXTS)
        ]
        return np.asarray(torch.cat(parts).cpu().numpy(), np.float32)


@dataclass(frozen=True, slots=True)
class Seen:
    """One split, seen once.

    Args:
        ids: n images.
        patients: Theirs.
        image: (n, D), not all of length one.
        reports: n texts by language, "" where there is none.
        truth: (n, C) labels, NaN where unknown.
        labels: Their names.
    """

    ids: tuple[str, ...]
    patients: tuple[str, ...]
    image: Single
    reports: Mapping[str, tuple[str, ...]]
    truth: NDArray[np.float64]
    labels: tuple[str, ...]


def load(config: EvaluateConfig) -> Towers:
    """Load the towers of a pretraining.

    Raises:
        DataError: If there is none, its objective embeds no texts, or its weights do not fit.
    """
    trained = find_trained(config.checkpoint, config.work, ema=config.language.ema)
    if trained.run is None:
        raise DataError(
            f"{trained.weights} has no run folder",
            f"task {config.task} wants the run's config.toml and words beside the weights",
            "Name the folder of the pretraining.",
        )
    tree = read_toml(trained.run / "config.toml")
    name, options = str(tree.get("objective", "")), tree.get("options", {})
    kind = resolve(OBJECTIVES.get(name, name)) if name in OBJECTIVES or ":" in name else None
    if kind is None or not all(
        hasattr(kind, part) for part in ("build", "embed_image", "embed_text", "embed_patches")
    ):
        raise DataError(
            f"{trained.run} has no text tower to compare images with",
            f"it was made by {name or 'no pretraining'}; wanted one of {', '.join(WITH_TOWERS)}",
            "Pretrain with `xraytk pretrain --objective clip`, or name such a run.",
        )
    run = trained.run
    with torch.random.fork_rng(devices=[]):
        objective = kind.build(
            trained.config, options, vocabulary=lambda langs, least: Vocabulary.load(run / "tokenizer.json")
        )
    load_model(objective, trained.weights)
    objective.requires_grad_(False).eval().to(device_of(config.machine))
    data = {"image_px": trained.config.image_px, "fit": trained.fit}
    data |= {key: value for key, value in tree.get("data", {}).items() if key in data}
    stream = build(StreamConfig, data, "data.")
    return Towers(objective, name, options, trained, stream, tuple(objective.config.text.langs))


def languages(towers: Towers, config: EvaluateConfig) -> list[str]:
    """Languages that are asked for and read.

    Raises:
        DataError: If there is none.
    """
    found = [lang for lang in config.asked_langs if lang in towers.langs]
    if not found:
        raise DataError(
            f"{towers.trained.name} reads no language that is asked for",
            f"asked for {', '.join(config.asked_langs)}; it reads {', '.join(towers.langs)}",
        )
    return found


def split_of(shards: str | Path, config: EvaluateConfig) -> tuple[Split, list[str]]:
    """The split that is scored, and what has to be said of it.

    Raises:
        DataError: If it holds no image.
    """
    index = read_index(shards, config.cache)
    counts = {name: len(index.rows(name)) for name in SPLITS}
    if counts[config.split]:
        said = "these images were trained on: nothing is proved by them"
        return config.split, [said] if config.split == "train" else []
    if config.split == "test" and counts["val"]:
        return "val", ["there is no test split: the validation split is scored"]
    there = ", ".join(f"{name} {count:,}" for name, count in counts.items())
    raise DataError(
        f"there is no image in the {config.split} split of {shards}",
        f"found: {there}",
        "Ingest images of more patients, or choose another split with --split.",
    )


def batches(
    towers: Towers,
    config: EvaluateConfig,
    split: Split,
    needs: frozenset[str],
    progress: Progress,
    **more: Any,
) -> Iterator[Batch]:
    """Yield a split as the objective was trained on it, with progress."""
    stream = Stream(
        config.shards or Workspace(config.work).shards,
        split,
        towers.data,
        needs=frozenset({"image", "valid", "patient_hash"}) | needs,
        device=device_of(config.machine),
        cache=config.cache,
        progress=progress,
        **more,
    )
    seen = 0
    with progress.task(f"{config.task} {split}", stream.count) as task, computing(config):
        for batch in stream.once(batch=config.batch, workers=config.machine.workers):
            yield batch
            seen += len(batch.image_id)
            task.update(seen)


def computing(config: EvaluateConfig) -> contextlib.AbstractContextManager[Any]:
    """The precision of forward passes."""
    kind, wanted = device_kind(config.machine), config.machine.precision
    half = wanted == "bf16" or (wanted == "auto" and kind == "cuda")
    return torch.autocast(kind, torch.bfloat16, enabled=half)


def look(
    towers: Towers, config: EvaluateConfig, split: Split, needs: frozenset[str], progress: Progress
) -> Seen:
    """Embed the images of a split, and keep what belongs to them."""
    ids: list[str] = []
    patients: list[str] = []
    vectors: list[Tensor] = []
    truth: list[NDArray[np.float64]] = []
    reports: dict[str, list[str]] = {lang: [] for lang in towers.langs}
    for batch in batches(towers, config, split, needs, progress):
        ids += batch.image_id
        patients += batch.patient_hash
        vectors.append(towers.objective.embed_image(batch).float().cpu())
        truth.append(batch.labels.cpu().numpy().astype(np.float64))
        for lang, texts in reports.items():
            texts += batch.reports[lang]
    names = read_index(config.shards or Workspace(config.work).shards, config.cache).labels
    return Seen(
        tuple(ids),
        tuple(patients),
        np.asarray(torch.cat(vectors).numpy(), np.float32),
        {lang: tuple(texts) for lang, texts in reports.items()},
        np.concatenate(truth),
        tuple(names),
    )


def unit(x: Single) -> Single:
    """Rows of length one."""
    return np.asarray(x / np.maximum(np.linalg.norm(x, axis=-1, keepdims=True), 1e-12), np.float32)


def run(
    config: EvaluateConfig,
    progress: Progress,
    score: Callable[[Towers, Split, Progress], tuple[Scored, dict[str, bytes]]],
) -> tuple[Split, RunScores]:
    """Load towers, score them on a split, write what came of it.

    Args:
        config: Settings.
        progress: Where to report to.
        score: Gives the scores, and pictures by name.

    Raises:
        DataError: As `load` and `split_of`.
        RunConflictError: If the test split would be read a second time with other settings.
    """
    shards = config.shards or Workspace(config.work).shards
    split, notes = split_of(shards, config)
    towers = load(config)
    home = towers.trained.results(config.work, config.task)
    settings = {k: str(v) for k, v in asdict(config.language).items() if k not in ("pictures", "ranks")}
    with told(config, towers.trained, home, shards, split, settings) as more:
        scored, figures = score(towers, split, progress)
    return split, write(config, towers.trained, split, scored, figures, [*notes, *more], config.out or home)


def told(
    config: EvaluateConfig,
    trained: Trained,
    home: Path,
    shards: str | Path,
    split: Split,
    settings: Mapping[str, Any],
) -> contextlib.AbstractContextManager[list[str]]:
    """Write a reading of the test split down, as for finetuned runs."""
    if split != "test":
        return contextlib.nullcontext([])
    what = {"weights": trained.sha256(), config.task: dict(settings)}
    index = read_index(shards, config.cache)
    return reading(home, what, index=index, run=trained.run, again=config.again)


def write(
    config: EvaluateConfig,
    trained: Trained,
    split: Split,
    scored: Scored,
    figures: Mapping[str, bytes],
    notes: Sequence[str],
    out: Path,
) -> RunScores:
    """Write metrics.json, predictions, tables, pictures and page."""
    protocol = fingerprinted(
        {
            "task": config.task,
            "split": split,
            **{key: value for key, value in workspace.bare(scored.protocol).items() if key != "task"},
            "fit": trained.fit,
        }
    )
    notes = [*scored.notes, *notes]
    shown = next(iter(scored.tables.values()))
    tree = {
        "scores": files.plain(shown),
        **workspace.tree_of({"": scored}, protocol),
        "notes": notes,
        **scored.facts,
        "model": {"weights": trained.sha256(), "ema": trained.ema},
    }
    suffix = "" if split == "test" else f"-{split}"
    paths = files.write_run(out, trained.name, tree, scored.rows, grid.grids_of(scored), suffix)
    paths += files.write_figures(out / "figures", figures, suffix)
    paths.append(out / f"page{suffix}.html")
    title = f"{trained.name}: {config.task}, {split} split"
    told = Scored(
        config.task,
        scored.images,
        scored.patients,
        scored.tables,
        protocol,
        scored.absent,
        tuple(notes),
        scored.groups,
    )
    files.write_text(paths[-1], pages.of_scores(title, told, figures))
    where = trained.run or trained.weights
    return RunScores(where, config.task, scored.images, shown, protocol, tuple(paths), {}, tuple(notes))


def refuse_split(config: EvaluateConfig) -> None:
    """Refuse the training split, for what learns on it."""
    if config.split == "train":
        raise UsageError(
            f"{config.task} learns on the train split", "", "Score another one: --split test or val."
        )
