"""Finetuned runs of the workspace, on images they never saw.

Reads the ``best/`` model of each run, which exists only when its training has ended.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import replace
from pathlib import Path
from typing import Any

from xraytk.config import build, to_dict
from xraytk.data.shard_index import ShardIndex
from xraytk.data.store import read_index
from xraytk.data.stream import Stream, StreamConfig
from xraytk.data.studies import studies_of
from xraytk.errors import DataError
from xraytk.evaluate import files, regions
from xraytk.evaluate.cases import Cases
from xraytk.evaluate.facts import facts_of
from xraytk.evaluate.reads import reading
from xraytk.evaluate.results import EvaluateResult, RunScores
from xraytk.evaluate.settings import EvaluateConfig
from xraytk.files import Workspace
from xraytk.progress import Progress
from xraytk.records import SPLITS, Batch, Prediction
from xraytk.tasks import gallery, metrics, saved
from xraytk.tasks.answering import VqaTask
from xraytk.tasks.classification import ClassifyTask, as_arrays
from xraytk.tasks.detection import DetectTask
from xraytk.tasks.metrics.values import absent
from xraytk.tasks.reporting import ReportTask
from xraytk.tasks.scoring import clinical, grid, labels, pages, plots, reports
from xraytk.tasks.scoring.scored import Scored, fingerprinted, hash_of_ids, intervals
from xraytk.tasks.segmentation import SegmentTask
from xraytk.train.launch import check_devices, device_of
from xraytk.train.run import INPUTS


def run(config: EvaluateConfig, progress: Progress) -> EvaluateResult:
    """Score finetuned runs.

    Args:
        config: Settings.
        progress: Where to report to.

    Raises:
        DataError: If there is no finetuned run, or the split is empty.
        RunConflictError: If the test split would be read a second time with other settings.
    """
    began = time.monotonic()
    check_devices(config.machine)
    folders = _runs(config)
    shards = config.shards or Workspace(config.work).shards
    index = _refuse_empty(shards, config)
    device = device_of(config.machine)
    done = []
    for folder in folders:
        model = saved.load(folder / "best", device)
        out = folder if config.out is None else config.out / folder.name
        score = _scorer(model.learner, config)
        if score is None:
            continue
        _refuse_alone(model.learner, index, config.split, folder)
        with _told(config, folder, model, index) as said:
            done.append(score(config, folder, out, model, shards, progress, said))
    if not done:
        raise DataError(
            f"there is no finetuned run of task {config.task}", todo="Run `xraytk finetune` first."
        )
    seconds = round(time.monotonic() - began, 1)
    return EvaluateResult(config.split, tuple(done), seconds)


def _scorer(task: Any, config: EvaluateConfig) -> Callable[..., RunScores] | None:
    """What scores a task, if it is asked for."""
    if isinstance(task, ReportTask) and config.task in ("all", "report"):
        return _reports
    if isinstance(task, ClassifyTask) and config.task in ("all", "classify"):
        return _labels
    if isinstance(task, SegmentTask) and config.task in ("all", "segment"):
        return _regions
    if isinstance(task, DetectTask) and config.task in ("all", "detect"):
        return _regions
    if isinstance(task, VqaTask) and config.task in ("all", "vqa"):
        from xraytk.evaluate import answers

        return answers.score
    return None


def _told(
    config: EvaluateConfig, folder: Path, model: saved.Saved, index: ShardIndex
) -> contextlib.AbstractContextManager[list[str]]:
    """Write a reading of the test split down; other splits may be read as often as one likes."""
    if config.split != "test":
        return contextlib.nullcontext([])
    what: dict[str, Any] = {
        "weights": model.facts.get(INPUTS, {}).get("weights", ""),
        "data": data_of(model),
    }
    if isinstance(model.learner, ReportTask):
        what |= {"search": to_dict(config.search)}
    else:
        what |= {"thresholds": model.facts.get("thresholds", {})}
        what |= {key: model.facts[key] for key in ("temperature",) if key in model.facts}
    return reading(folder, what, index=index, run=folder, again=config.again)


def _runs(config: EvaluateConfig) -> list[Path]:
    """Run folders with a finished model."""
    if config.checkpoint is not None:
        return [saved.find(config.checkpoint).parent]
    runs = Workspace(config.work).runs
    found = sorted(path.parent.parent for path in runs.glob("*/best/config.json"))
    if not found:
        raise DataError(
            f"{runs} holds no finetuned model",
            todo="Run `xraytk finetune` (report, classify, ...) first, to its end.",
        )
    return found


def _refuse_empty(shards: str | Path, config: EvaluateConfig) -> ShardIndex:
    """Refuse an empty split; return the index."""
    index, split = read_index(shards, config.cache), config.split
    counts = {name: len(index.rows(name)) for name in SPLITS}
    if not counts[split]:
        there = ", ".join(f"{name} {count:,}" for name, count in counts.items())
        raise DataError(
            f"there is no image in the {split} split of {shards}",
            f"found: {there}",
            "Ingest images of more patients, or choose another split with --split.",
        )
    return index


def _refuse_alone(task: Any, index: ShardIndex, split: str, folder: Path) -> None:
    """Refuse shards without second images for a model of two views: it would be another test than its own."""
    if getattr(task, "views", 1) == 1 or (studies_of(index.take(index.rows(split))).second >= 0).any():
        return
    raise DataError(
        f"{folder.name} looks at two images of a study, and no study of the {split} split has a second one",
        f"the shards are {index.place}",
        "Name shards with lateral images: --shards FOLDER, made with "
        """`xraytk shard --set 'views=["PA","AP","UNKNOWN","LATERAL"]' --out FOLDER`.""",
    )


def _reports(
    config: EvaluateConfig,
    folder: Path,
    out: Path,
    model: saved.Saved,
    shards: str | Path,
    progress: Progress,
    said: Sequence[str],
) -> RunScores:
    """Write and score reports in every language."""
    task: ReportTask = model.learner
    langs = [lang for lang in config.asked_langs if lang in task.langs]
    if not langs:
        raise DataError(
            f"{folder} knows no language that is asked for",
            f"asked for {', '.join(config.asked_langs)}; it learned {', '.join(task.langs)}",
        )
    written: dict[str, list[Prediction]] = {lang: [] for lang in langs}
    frame = build(StreamConfig, model.facts["data"], "data.")
    kept = Cases(task, frame.image_px, frame.fit, config.mapped, config.maps)
    for batch in batches(config, model, shards, progress, f"evaluate {folder.name}", {"shape"}):
        new = {lang: task.predict(batch, lang, config.search) for lang in langs}
        kept.add(batch, new)
        for lang in langs:
            written[lang] += new[lang]
    ids = [p.image_id for p in written[langs[0]]]
    facts = {fact: dict(zip(ids, cells, strict=True)) for fact, cells in facts_of(config, ids).items()}
    scored: dict[str, Scored] = {}
    scores: metrics.Scores = {}
    galleries = {}
    rows: list[dict[str, Any]] = []
    for lang in langs:
        pairs = _pairs(written[lang], facts)
        rows += reports.rows_of(_pairs(written[lang], facts, blank=True), lang)
        if not pairs.ids:
            scores[lang] = {m: absent(f"no {lang} reference") for m in metrics.TEXT_METRICS}
            continue
        scored[lang] = found = reports.score(pairs, config.reports(lang))
        scores[lang] = next(iter(found.tables["words"].values()))
        galleries[lang] = pages.gallery({"generated": pairs}, lang, kept.thumbs.get)
    protocol = fingerprinted(
        {
            "task": "report",
            "protocol": config.protocol,
            "patients": len({p.patient_hash for p in written[langs[0]]}),
            "search": to_dict(config.search),
            "max_tokens": task.decoder.config.max_tokens,
            **{lang: bare(s.protocol) for lang, s in scored.items()},
            **protocol_of(config, model, ids),
        }
    )
    notes = _notes(scored, said)
    tree = {"scores": {lang: files.plain(row) for lang, row in scores.items()}, **tree_of(scored, protocol)}
    tree["notes"] = list(notes)
    grids = [
        grid.Grid(f"{lang}: {g.title}", g.head, g.rows, g.notes)
        for lang, s in scored.items()
        for g in grid.grids_of(s)
    ]
    paths = files.write_run(out, folder.name, tree, rows, grids, suffix_of(config))
    for lang, found in scored.items():
        paths.append(out / f"page-{lang}{suffix_of(config)}.html")
        title = f"{folder.name}, {config.split} split, {lang}"
        whole = {**found.protocol, **{k: protocol[k] for k in protocol if k not in langs}}
        shown = replace(found, protocol=whole, notes=(*said, *found.notes))
        files.write_text(
            paths[-1], pages.of_scores(title, shown, plots.of_reports(found.tables), galleries[lang])
        )
    paths.append(out / f"gallery{suffix_of(config)}.html")
    subtitle = f"{folder.name}, {config.split} split, by the mean of ROUGE-L and of agreeing findings"
    gallery.write_page(paths[-1], "Reports: reference and generated", subtitle, kept.parts())
    findings = {
        f"{lang} {row}": values
        for lang, s in scored.items()
        for row, values in s.tables.get("findings", {}).items()
        if row in clinical.MEANS
    }
    return RunScores(folder, "report", len(ids), scores, protocol, tuple(paths), findings, notes)


def _pairs(
    written: list[Prediction], facts: Mapping[str, Mapping[str, str]], *, blank: bool = False
) -> reports.Pairs:
    """Those predictions that have a reference, or all of them."""
    kept = [p for p in written if blank or str(p.reference).strip()]
    return reports.Pairs(
        tuple(p.image_id for p in kept),
        tuple(p.patient_hash for p in kept),
        tuple(p.text for p in kept),
        tuple(str(p.reference) for p in kept),
        {fact: tuple(cells.get(p.image_id, "") for p in kept) for fact, cells in facts.items()},
    )


def _labels(
    config: EvaluateConfig,
    folder: Path,
    out: Path,
    model: saved.Saved,
    shards: str | Path,
    progress: Progress,
    said: Sequence[str],
) -> RunScores:
    """Predict and score labels."""
    task: ClassifyTask = model.learner
    predictions: list[Prediction] = []
    for batch in batches(config, model, shards, progress, f"evaluate {folder.name}"):
        predictions += task.predict(batch)
    fitted = _fitted(model)
    ids = tuple(p.image_id for p in predictions)
    scores, truth = as_arrays(predictions, task.labels)
    facts = facts_of(config, ids)
    test = labels.LabelSet(ids, tuple(p.patient_hash for p in predictions), task.labels, scores, truth, facts)
    scored = labels.score(test, config.labels(), fitted)
    protocol = fingerprinted({**bare(scored.protocol), **protocol_of(config, model, list(ids))})
    scored = replace(scored, protocol=protocol)
    table = scored.tables["labels"]
    notes = _notes({"": scored}, said)
    if model.facts.get("thresholds") and config.split == model.facts.get("fitted_on"):
        notes += ("thresholds and temperature were fitted on these images: F1 and calibration flatter",)
    tree = {
        "scores": files.plain(table),
        **tree_of({"": scored}, protocol),
        "notes": list(notes),
        **scored.facts,
    }
    paths = files.write_run(out, folder.name, tree, scored.rows, grid.grids_of(scored), suffix_of(config))
    figures = plots.of_labels(labels.cooled(test, fitted), fitted, table)
    paths += files.write_figures(out / "figures", figures, suffix_of(config))
    paths.append(out / f"page{suffix_of(config)}.html")
    shown = replace(scored, notes=notes, absent={})
    files.write_text(paths[-1], pages.of_scores(f"{folder.name}, {config.split} split", shown, figures))
    return RunScores(folder, "classify", len(ids), table, protocol, tuple(paths), {}, notes)


def _fitted(model: saved.Saved) -> labels.Fitted:
    """What was fitted on the validation split when the run ended."""
    cuts, temperature = model.facts.get("thresholds"), float(model.facts.get("temperature", 1.0))
    if not cuts:
        return labels.unfitted(model.learner.labels)
    return labels.Fitted(cuts, temperature, labels.said_of(temperature, "the validation split"))


def _regions(
    config: EvaluateConfig,
    folder: Path,
    out: Path,
    model: saved.Saved,
    shards: str | Path,
    progress: Progress,
    said: Sequence[str],
) -> RunScores:
    """Predict and score masks or boxes."""
    stream = batches(config, model, shards, progress, f"evaluate {folder.name}")
    frame = build(StreamConfig, model.facts["data"], "data.")
    if isinstance(model.learner, SegmentTask):
        place = out / f"masks{suffix_of(config)}"
        scored, figures = regions.score_masks(model.learner, stream, frame, config, place)
    else:
        scored, figures = regions.score_boxes(model.learner, stream, frame, config, model.facts)
    ids = [row["image_id"] for row in scored.rows]
    protocol = fingerprinted({**bare(scored.protocol), **protocol_of(config, model, ids)})
    scored = replace(scored, protocol=protocol)
    table = next(iter(scored.tables.values()))
    notes = _notes({"": scored}, said)
    tree = {"scores": files.plain(table), **tree_of({"": scored}, protocol), "notes": list(notes)}
    paths = files.write_run(
        out, folder.name, {**tree, **scored.facts}, scored.rows, grid.grids_of(scored), suffix_of(config)
    )
    paths += files.write_figures(out / "figures", figures, suffix_of(config))
    paths.append(out / f"page{suffix_of(config)}.html")
    shown = replace(scored, notes=notes, absent={})
    files.write_text(paths[-1], pages.of_scores(f"{folder.name}, {config.split} split", shown, figures))
    return RunScores(folder, scored.task, len(ids), table, protocol, tuple(paths), {}, notes)


def tree_of(scored: Mapping[str, Scored], protocol: dict[str, Any]) -> dict[str, Any]:
    """More of metrics.json: all tables and subgroups."""

    def named(lang: str, table: str) -> str:
        return f"{lang}: {table}" if lang else table

    return {
        "protocol": protocol,
        "tables": {named(lang, n): files.plain(t) for lang, s in scored.items() for n, t in s.tables.items()},
        "groups": {
            named(lang, n): [files.plain_groups(g) for g in found]
            for lang, s in scored.items()
            for n, found in s.groups.items()
        },
    }


def _notes(scored: Mapping[str, Scored], said: Sequence[str]) -> tuple[str, ...]:
    """What has to be said: of the reading, of the input, and what is absent."""
    told = [f"{lang}: {line}" if lang else line for lang, s in scored.items() for line in s.notes]
    lacking = [
        f"{lang} {name}: {why}".strip() for lang, s in scored.items() for name, why in s.absent.items()
    ]
    return (*said, *told, *lacking)


def batches(
    config: EvaluateConfig,
    model: saved.Saved,
    shards: str | Path,
    progress: Progress,
    name: str,
    more: Set[str] = frozenset(),
) -> Iterator[Batch]:
    """Yield the split that is scored, as the task wants it and ``more`` fields, with progress."""
    task = model.learner
    stream = Stream(
        shards,
        config.split,
        build(StreamConfig, data_of(model), "data."),
        needs=task.needs | {"patient_hash"} | more,
        labels=getattr(task, "labels", None),
        device=device_of(config.machine),
        cache=config.cache,
        progress=progress,
    )
    with progress.task(name, stream.count) as counted:
        seen = 0
        for batch in stream.once(batch=config.batch, workers=config.machine.workers):
            yield batch
            seen += len(batch.image_id)
            counted.update(seen)


def data_of(model: saved.Saved) -> dict[str, Any]:
    """Settings of the stream that a model wants; ``views`` only where it looks at two."""
    data: dict[str, Any] = model.facts["data"]
    views = getattr(model.learner, "views", 1)
    return data if views == 1 else {**data, "views": views}


def protocol_of(config: EvaluateConfig, model: saved.Saved, ids: list[str]) -> dict[str, Any]:
    """What all tasks state."""
    return {
        "split": config.split,
        "images": len(ids),
        "image_ids_sha256": hash_of_ids(ids),
        "data": data_of(model),
        "intervals": intervals(config.bootstrap, config.seed),
        "selection": "best on the validation split" if "validation" in model.facts else "last state",
    }


def bare(protocol: Mapping[str, Any]) -> dict[str, Any]:
    """A protocol without its fingerprint."""
    return {key: value for key, value in protocol.items() if key != "fingerprint"}


def suffix_of(config: EvaluateConfig) -> str:
    """What the names of files of this split end with."""
    return "" if config.split == "test" else f"-{config.split}"
