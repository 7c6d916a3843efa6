"""Frozen encoders on the labels of the workspace: the tasks ``linear-probe`` and ``knn``.

One pass over the images serves the encoder and all that it is compared with.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, cast

import cv2
import numpy as np
import torch

from xraytk.data.store import read_index
from xraytk.data.stream import Stream, StreamConfig
from xraytk.errors import DataError, UsageError
from xraytk.evaluate import files, workspace
from xraytk.evaluate.facts import facts_of
from xraytk.evaluate.reads import reading
from xraytk.evaluate.results import EvaluateResult, RunScores
from xraytk.evaluate.settings import EvaluateConfig
from xraytk.files import Workspace
from xraytk.models.features import features
from xraytk.models.pretrained import Trained, find_trained
from xraytk.models.vit import Vit
from xraytk.progress import Progress
from xraytk.records import Batch
from xraytk.tasks import metrics
from xraytk.tasks.metrics.bootstrap import draw
from xraytk.tasks.metrics.panel import Scores, label_panel
from xraytk.tasks.metrics.values import Floats
from xraytk.tasks.probe import Kind, Probed, Samples, Single, budget, learnable, probe
from xraytk.tasks.scoring import grid, labels, pages, plots
from xraytk.tasks.scoring.labels import Fitted, LabelSet
from xraytk.tasks.scoring.scored import Scored, fingerprinted, hash_of_ids, intervals
from xraytk.train.launch import check_devices, device_kind, device_of

PIXELS_PX = 32
RANKED = ("auroc", "auprc")
Split = Literal["train", "val", "test"]
Extractor = Callable[[Batch], Single]


@dataclass(frozen=True, slots=True)
class Material:
    """Features of all images, by encoder, and what they are scored on.

    Args:
        labels: Names.
        split: The split that is scored.
        train: By encoder.
        tune: By encoder; None when there is no validation split apart from what is scored.
        test: By encoder.
        notes: On what is there.
    """

    labels: tuple[str, ...]
    split: Split
    train: Mapping[str, Samples]
    tune: Mapping[str, Samples] | None
    test: Mapping[str, Samples]
    notes: tuple[str, ...]


def run(config: EvaluateConfig, progress: Progress) -> EvaluateResult:
    """Probe an encoder.

    Raises:
        DataError: If there is no encoder, no image or no label to learn.
        RunConflictError: If the test split would be read a second time with other settings.
    """
    began = time.monotonic()
    check_devices(config.machine)
    kind = cast(Kind, config.task)
    trained = find_trained(config.checkpoint, config.work, ema=config.probe.ema)
    shards = config.shards or Workspace(config.work).shards
    split, notes = _split(shards, config)
    home = trained.results(config.work, kind)
    out = home if config.out is None else config.out
    with _told(config, trained, home, shards, split) as more:
        material = gather(config, trained, shards, split, progress)
        made = _scores(config, kind, trained, material, (*notes, *more), out)
    return EvaluateResult(split, (made,), round(time.monotonic() - began, 1))


def _split(shards: str | Path, config: EvaluateConfig) -> tuple[Split, list[str]]:
    """The split that is scored, and what has to be said of it."""
    if config.split == "train":
        raise UsageError("a probe learns on the train split", "", "Score another one: --split test or val.")
    index = read_index(shards, config.cache)
    counts = {name: len(index.rows(name)) for name in ("train", "val", "test")}
    there = ", ".join(f"{name} {count:,}" for name, count in counts.items())
    todo = "Ingest images of more patients."
    if not counts["train"]:
        raise DataError(f"there is no image in the train split of {shards}", f"found: {there}", todo)
    if counts[config.split]:
        return config.split, []
    if config.split == "test" and counts["val"]:
        return "val", ["there is no test split: the validation split is scored, and nothing is chosen on it"]
    raise DataError(f"there is no image in the {config.split} split of {shards}", f"found: {there}", todo)


def _told(
    config: EvaluateConfig, trained: Trained, home: Path, shards: str | Path, split: Split
) -> contextlib.AbstractContextManager[list[str]]:
    """Write a reading of the test split down, as for finetuned runs."""
    if split != "test":
        return contextlib.nullcontext([])
    index = read_index(shards, config.cache)
    kept = {key: value for key, value in asdict(config.probe).items() if key not in ("compare", "seeds")}
    what = {"weights": trained.sha256(), "fit": trained.fit, "probe": kept}
    return reading(home, what, index=index, run=trained.run, again=config.again)


def gather(
    config: EvaluateConfig, trained: Trained, shards: str | Path, split: Split, progress: Progress
) -> Material:
    """Read all images once, and compute the features of every encoder.

    Args:
        config: Settings.
        trained: The encoder.
        shards: Folder or URL.
        split: The split that is scored.
        progress: Where to report to.

    Raises:
        DataError: If the shards hold no label.
    """
    wanted = extractors(config, trained)
    index = read_index(shards, config.cache)
    names = tuple(index.labels)
    if not names:
        raise DataError(
            f"{shards} holds no labels",
            todo="Give labels to `xraytk ingest --labels FILE`, then run `xraytk shard` again.",
        )
    splits: tuple[Split, ...] = ("train", "val", split) if len(index.rows("val")) else ("train", split)
    found = {
        one: _features(config, trained, shards, one, wanted, names, progress) for one in dict.fromkeys(splits)
    }
    tune = found["val"] if split != "val" and "val" in found else None
    chosen = "on the validation split" if tune is not None else "within the training patients"
    return Material(names, split, found["train"], tune, found[split], (f"C or k is chosen {chosen}",))


def extractors(config: EvaluateConfig, trained: Trained) -> dict[str, Extractor]:
    """What makes features, by name: "" is the encoder itself."""
    device, pool = device_of(config.machine), config.probe.pool
    half = config.machine.precision == "bf16" or (
        config.machine.precision == "auto" and device_kind(config.machine) == "cuda"
    )

    def of(encoder: Vit) -> Extractor:
        return lambda batch: features(encoder, batch.image, batch.valid, pool, half=half).cpu().numpy()

    out = {"": of(trained.load(device))}
    if "random" in config.probe.compare:
        for seed in range(config.probe.seeds):
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(config.seed + seed)
                fresh = Vit(trained.config).requires_grad_(False).eval().to(device)
            out[f"random {seed}"] = of(fresh)
    if "pixels" in config.probe.compare:
        out["pixels"] = _pixels
    return out


def _pixels(batch: Batch) -> Single:
    """The images at 32 x 32, as rows of numbers in [0, 1]."""
    size, images = (PIXELS_PX, PIXELS_PX), batch.image[:, 0].cpu().numpy()
    small = [cv2.resize(image, size, interpolation=cv2.INTER_AREA) for image in images]
    return np.asarray(np.stack(small).reshape(len(small), -1) / 255, np.float32)


def _features(
    config: EvaluateConfig,
    trained: Trained,
    shards: str | Path,
    split: Split,
    wanted: Mapping[str, Extractor],
    names: tuple[str, ...],
    progress: Progress,
) -> dict[str, Samples]:
    """Features and labels of one split."""
    stream = Stream(
        shards,
        split,
        StreamConfig(image_px=trained.config.image_px, fit=trained.fit),
        needs=frozenset({"image", "valid", "labels", "patient_hash"}),
        labels=names,
        device=device_of(config.machine),
        cache=config.cache,
        progress=progress,
    )
    ids: list[str] = []
    patients: list[str] = []
    truth: list[Any] = []
    rows: dict[str, list[Single]] = {name: [] for name in wanted}
    with progress.task(f"features {split}", stream.count) as task:
        for batch in stream.once(batch=config.batch, workers=config.machine.workers):
            for name, extract in wanted.items():
                rows[name].append(extract(batch))
            ids += batch.image_id
            patients += batch.patient_hash
            truth.append(batch.labels.cpu().numpy().astype(np.float64))
            task.update(len(ids))
    known = np.concatenate(truth)
    return {name: Samples(tuple(ids), tuple(patients), np.concatenate(x), known) for name, x in rows.items()}


def _scores(
    config: EvaluateConfig,
    kind: Kind,
    trained: Trained,
    material: Material,
    notes: Sequence[str],
    out: Path,
) -> RunScores:
    """Fit, predict, compare, write."""
    ids = material.test[""].ids
    facts = facts_of(config, ids)
    notes = [*material.notes, *notes]
    shares = sorted(config.probe.budgets)
    first = predict(config, kind, material, "", shares[-1], facts)
    fitted = _fitted(first.probed, first, material)
    scored = labels.score(first.test, config.labels(), fitted)
    bars = {"this encoder": scored.tables["labels"]["macro"]["auroc"]}
    for share in reversed(shares):
        ours = first if share == shares[-1] else predict(config, kind, material, "", share, facts)
        where = "" if share == 1 else f", {share:.3g} of the patients ({ours.patients:,})"
        notes += [f"{note}{where}" for note in (*ours.notes, *ours.probed.notes)]
        if ours is not first:
            table = _table(ours.test, config)
            scored.tables[f"this encoder{where}"] = table
            bars[f"this encoder{where}"] = table["macro"]["auroc"]
        for name, members in _baselines(config).items():
            theirs = [predict(config, kind, material, each, share, facts).test for each in members]
            mean, apart = against(ours.test, theirs, resamples=config.bootstrap, seed=config.seed)
            scored.tables[f"{name}{where}"], scored.tables[f"minus {name}{where}"] = mean, apart
            bars[f"{name}{where}"] = mean["macro"]["auroc"]
            notes.append(_said(name + where, mean, apart, theirs))
    return _write(config, kind, trained, material, scored, first, fitted, bars, notes, out)


def _baselines(config: EvaluateConfig) -> dict[str, list[str]]:
    """Names of baselines, and of the features they are made of."""
    out = {}
    if "random" in config.probe.compare:
        seeds = config.probe.seeds
        out[f"random weights (mean of {seeds})"] = [f"random {seed}" for seed in range(seeds)]
    if "pixels" in config.probe.compare:
        out[f"pixels at {PIXELS_PX} x {PIXELS_PX}"] = ["pixels"]
    return out


@dataclass(frozen=True, slots=True)
class Predicted:
    """Predictions of one probe.

    Args:
        test: For the images that are scored.
        probed: As the probe gave them.
        columns: Of the labels that could be learned.
        patients: Of the training images that were used.
        notes: Labels that could not be learned.
    """

    test: LabelSet
    probed: Probed
    columns: tuple[int, ...]
    patients: int
    notes: tuple[str, ...]


def predict(
    config: EvaluateConfig,
    kind: Kind,
    material: Material,
    name: str,
    share: float,
    facts: Mapping[str, tuple[str, ...]],
) -> Predicted:
    """Fit one probe on a share of the training patients and predict.

    Args:
        config: Settings.
        kind: Which probe.
        material: Of `gather`.
        name: Of the features.
        share: Of the training patients.
        facts: Groups of the scored images.

    Raises:
        DataError: If no label has both values among them.
    """
    train, test = budget(material.train[name], share, config.seed), material.test[name]
    columns = np.flatnonzero(learnable(train.truth))
    if not len(columns):
        raise DataError(
            f"no label can be learned from {len(train.ids):,} training images",
            "wanted both values of a label at least twice",
            "Use more patients, or other labels.",
        )
    lacking = [label for c, label in enumerate(material.labels) if c not in set(columns.tolist())]
    names = tuple(material.labels[c] for c in columns)
    tune = None if material.tune is None else _columns(material.tune[name], columns)
    probed = probe(kind, _columns(train, columns), tune, test.x, names, config.probe)
    kept = LabelSet(test.ids, test.patients, names, probed.scores, test.truth[:, columns], facts)
    notes = (
        (f"too few known training values of both kinds to learn: {', '.join(lacking)}",) if lacking else ()
    )
    return Predicted(kept, probed, tuple(columns.tolist()), len(set(train.patients)), notes)


def _columns(samples: Samples, columns: Any) -> Samples:
    return replace(samples, truth=samples.truth[:, columns])


def _fitted(probed: Probed, first: Predicted, material: Material) -> Fitted:
    """Temperature and thresholds of the validation split, where there is one."""
    names = first.test.labels
    if probed.tuned is None or material.tune is None:
        return labels.unfitted(names)
    return labels.fit_on(probed.tuned, material.tune[""].truth[:, list(first.columns)], names)


def _table(test: LabelSet, config: EvaluateConfig) -> Scores:
    panel = label_panel(test.scores, test.truth, test.labels, None, metrics=RANKED)
    return panel.values(test.patients, resamples=config.bootstrap, seed=config.seed)


def against(
    ours: LabelSet, theirs: Sequence[LabelSet], *, resamples: int, seed: int
) -> tuple[Scores, Scores]:
    """Compare with the mean of several others on the same images.

    Args:
        ours: Predictions.
        theirs: Of the same images and labels.
        resamples: Of patients, the same for all.
        seed: Of the bootstrap.

    Returns:
        Scores of the others, averaged in each resample, and ours minus these, with intervals.
    """
    panels = [label_panel(s.scores, s.truth, s.labels, None, metrics=RANKED) for s in (ours, *theirs)]

    def both(weights: Floats) -> Floats:
        mean = np.mean([panel.score(weights) for panel in panels[1:]], axis=0)
        return np.concatenate([mean, panels[0].score(weights) - mean], axis=1)

    found = draw(both, ours.patients, resamples=resamples, seed=seed).values()
    half = len(found) // 2
    return panels[0].named(found[:half], ours.patients), panels[0].named(found[half:], ours.patients)


def _said(name: str, mean: Scores, apart: Scores, theirs: Sequence[LabelSet]) -> str:
    """The comparison in a line."""
    if mean["macro"]["auroc"].reason:
        return f"no mean AUROC of {name}: {mean['macro']['auroc'].reason}"
    each = [label_panel(s.scores, s.truth, s.labels, None, metrics=("auroc",)) for s in theirs]
    values = [
        float(panel.score(np.ones((1, len(s.ids))))[0, -1]) for panel, s in zip(each, theirs, strict=True)
    ]
    spread = f", {min(values):.3f} to {max(values):.3f}" if len(values) > 1 else ""
    there = mean["macro"]["auroc"]
    minus = apart["macro"]["auroc"].text()
    return f"mean AUROC of {name}: {there.text()}{spread}; this encoder minus it: {minus}"


def _write(
    config: EvaluateConfig,
    kind: Kind,
    trained: Trained,
    material: Material,
    scored: Scored,
    first: Predicted,
    fitted: Fitted,
    bars: Mapping[str, metrics.Value],
    notes: Sequence[str],
    out: Path,
) -> RunScores:
    """Write metrics.json, predictions, tables, page and pictures."""
    test = first.test
    told = {key: value for key, value in asdict(config.probe).items() if key not in ("compare", "seeds")}
    protocol = fingerprinted(
        {
            **workspace.bare(scored.protocol),
            "task": kind,
            "split": material.split,
            "images": len(test.ids),
            "image_ids_sha256": hash_of_ids(test.ids),
            "training_images": len(material.train[""].ids),
            "training_ids_sha256": hash_of_ids(material.train[""].ids),
            "fit": trained.fit,
            "probe": told,
            "chosen": material.notes[0],
            "intervals": intervals(config.bootstrap, config.seed),
        }
    )
    scored = replace(scored, task=kind, protocol=protocol, notes=tuple(notes))
    model = {"weights": trained.sha256(), "ema": trained.ema, "chosen": first.probed.chosen}
    tree = {
        "scores": files.plain(scored.tables["labels"]),
        **workspace.tree_of({"": scored}, protocol),
        "notes": list(notes),
        **scored.facts,
        "model": model,
    }
    suffix = "" if material.split == "test" else f"-{material.split}"
    paths = files.write_run(out, trained.name, tree, scored.rows, grid.grids_of(scored), suffix)
    figures = plots.of_labels(labels.cooled(test, fitted), fitted, scored.tables["labels"])
    if len(bars) > 1:
        figures["compared"] = plots.bars(bars, "mean AUROC")
    paths += files.write_figures(out / "figures", figures, suffix)
    paths.append(out / f"page{suffix}.html")
    title = f"{trained.name}: {kind}, {material.split} split"
    files.write_text(paths[-1], pages.of_scores(title, scored, figures))
    where = trained.run or trained.weights
    return RunScores(
        where, kind, len(test.ids), scored.tables["labels"], protocol, tuple(paths), {}, tuple(notes)
    )
