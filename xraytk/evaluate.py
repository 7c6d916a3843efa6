"""``xraytk evaluate``: finetuned runs against images they never saw.

Reads the ``best/`` model of each run, which exists only when its training has ended.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from xraytk.config import build
from xraytk.data.cache import CacheConfig
from xraytk.data.store import read_index
from xraytk.data.stream import Stream, StreamConfig
from xraytk.errors import DataError, UsageError
from xraytk.files import Workspace, atomic_write, default_work, write_json
from xraytk.models.tokens import SPLITTING, units
from xraytk.progress import Progress, Silent
from xraytk.records import LANGUAGES, SPLITS, Batch, Prediction, as_plain
from xraytk.tasks import gallery, metrics, saved
from xraytk.tasks.classification import ClassifyTask, as_arrays
from xraytk.tasks.reporting import ReportTask
from xraytk.train.launch import MachineConfig, check_devices, device_of

FORMAT = 1
SHOWN = 24
"""Cases in the gallery."""
MOST_KEPT = 1000
"""Images among which they are chosen."""

REPORT_METRICS = ("bleu_1", "bleu_2", "bleu_3", "bleu_4", "rouge_l", "cider")
Scores = dict[str, dict[str, metrics.Value]]


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluateConfig:
    """Settings of ``xraytk evaluate``.

    Args:
        run: A finetuned run; all of the workspace's by default.
        task: Only runs of this task.
        work: The workspace.
        shards: Shards folder or URL; the workspace's by default.
        out: Folder for the results, one sub-folder a run; the run's own folder by default.
        split: Split to score; "test" is meant to be read once, at the end.
        langs: Languages of reports; those the model did not learn are left out.
        bootstrap: Resamples over patients for the intervals; 0 for none.
        beam: Beams of the decoder; 1 is greedy.
        no_repeat: Forbid repeating n-grams of this length; 0 forbids none.
        batch: Images of one forward pass.
        seed: Of the bootstrap.
        cache: How shards at a URL are copied to a local disk.
        machine: Device and loader processes.
    """

    run: Path | None = None
    task: Literal["all", "report", "classify"] = "all"
    work: Path = field(default_factory=default_work)
    shards: str | Path | None = None
    out: Path | None = None
    split: Literal["train", "val", "test"] = "test"
    langs: tuple[str, ...] = LANGUAGES
    bootstrap: int = 1000
    beam: int = 3
    no_repeat: int = 0
    batch: int = 16
    seed: int = 0
    cache: CacheConfig = field(default_factory=CacheConfig)
    machine: MachineConfig = field(default_factory=MachineConfig)

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            UsageError: If a value is out of range.
        """
        for name, least in (("bootstrap", 0), ("beam", 1), ("no_repeat", 0), ("batch", 1), ("seed", 0)):
            if getattr(self, name) < least:
                raise UsageError(f"{name} is {getattr(self, name)}", f"wanted at least {least}")
        unknown = [lang for lang in self.langs if lang not in LANGUAGES]
        if unknown or not self.langs:
            raise UsageError(f"langs is {list(self.langs)}", f"wanted some of {', '.join(LANGUAGES)}")


@dataclass(frozen=True, slots=True)
class RunScores:
    """Scores of one run.

    Args:
        run: Run folder.
        task: "report", "classify" or another task's name.
        images: Images of the split.
        scores: By language or label ("macro" is their mean), then by metric.
        protocol: All that a score depends on besides the model; its "fingerprint" tells
            whether two numbers can be compared.
        files: What was written.
    """

    run: Path
    task: str
    images: int
    scores: Scores
    protocol: dict[str, Any]
    files: tuple[Path, ...]


@dataclass(frozen=True, slots=True)
class EvaluateResult:
    """Scores of all runs.

    Args:
        split: What was scored.
        runs: One entry a run.
        seconds: Time of this call.
    """

    split: str
    runs: tuple[RunScores, ...]
    seconds: float

    def lines(self) -> list[str]:
        """Return a table a run for people to read: score and 95 % interval over patients."""
        out = []
        for scored in self.runs:
            out += ["", f"{scored.run.name}, {self.split} split, {scored.images:,} images: {scored.run}"]
            out += _table(scored.task, scored.scores)
            out.append(f"protocol {scored.protocol['fingerprint']}")
            out += [f"  {path}" for path in scored.files]
        return out


def run(config: EvaluateConfig, progress: Progress | None = None) -> EvaluateResult:
    """Score finetuned runs.

    Args:
        config: Settings.
        progress: Where to report to.

    Raises:
        DataError: If there is no finetuned run, or the split is empty.
    """
    began = time.monotonic()
    check_devices(config.machine)
    progress = progress or Silent()
    folders = _runs(config)
    shards = config.shards or Workspace(config.work).shards
    _refuse_empty(shards, config)
    device = device_of(config.machine)
    done = []
    for folder in folders:
        model = saved.load(folder / "best", device)
        out = folder if config.out is None else config.out / folder.name
        if isinstance(model.learner, ReportTask) and config.task in ("all", "report"):
            done.append(_reports(config, folder, out, model, shards, progress))
        elif isinstance(model.learner, ClassifyTask) and config.task in ("all", "classify"):
            done.append(_labels(config, folder, out, model, shards, progress))
    if not done:
        raise DataError(
            f"there is no finetuned run of task {config.task}", todo="Run `xraytk finetune` first."
        )
    seconds = round(time.monotonic() - began, 1)
    return EvaluateResult(config.split, tuple(done), seconds)


def _runs(config: EvaluateConfig) -> list[Path]:
    """Run folders with a finished model."""
    if config.run is not None:
        if not (config.run / "best" / "config.json").is_file():
            raise DataError(
                f"{config.run} holds no finetuned model",
                "wanted a run folder with best/config.json, which is written when the training ends",
                "Run `xraytk finetune report` or `xraytk finetune classify` first, to its end.",
            )
        return [config.run]
    runs = Workspace(config.work).runs
    found = sorted(path.parent.parent for path in runs.glob("*/best/config.json"))
    if not found:
        raise DataError(
            f"{runs} holds no finetuned model",
            todo="Run `xraytk finetune report` or `xraytk finetune classify` first, to its end.",
        )
    return found


def _refuse_empty(shards: str | Path, config: EvaluateConfig) -> None:
    index, split = read_index(shards, config.cache), config.split
    counts = {name: len(index.rows(name)) for name in SPLITS}
    if not counts[split]:
        there = ", ".join(f"{name} {count:,}" for name, count in counts.items())
        raise DataError(
            f"there is no image in the {split} split of {shards}",
            f"found: {there}",
            "Ingest images of more patients, or choose another split with --split.",
        )


def _reports(
    config: EvaluateConfig,
    folder: Path,
    out: Path,
    model: saved.Saved,
    shards: str | Path,
    progress: Progress,
) -> RunScores:
    """Write and score reports in every language."""
    task: ReportTask = model.learner
    langs = [lang for lang in config.langs if lang in task.langs]
    if not langs:
        raise DataError(
            f"{folder} knows no language that is asked for",
            f"asked for {', '.join(config.langs)}; it learned {', '.join(task.langs)}",
        )
    written: dict[str, list[Prediction]] = {lang: [] for lang in langs}
    images: list[NDArray[np.uint8]] = []
    for batch in _batches(config, model, shards, progress, f"evaluate {folder.name}"):
        if len(images) < MOST_KEPT:
            images += [gallery.thumbnail(image) for image in batch.image[:, 0].cpu().numpy()]
        for lang in langs:
            written[lang] += task.predict(batch, lang, beam=config.beam, no_repeat=config.no_repeat)
    scores = {
        lang: task.score(written[lang], lang, resamples=config.bootstrap, seed=config.seed) for lang in langs
    }
    protocol = {
        "task": "report",
        "references": "whole, not truncated (protocol full)",
        "tokens": SPLITTING,
        "unit": {"en": "word", "zh": "character"},
        "metrics": "BLEU, ROUGE-L (beta 1.2), CIDEr-D with the formulas of pycocoevalcap",
        "beam": config.beam,
        "no_repeat": config.no_repeat,
        "max_tokens": task.decoder.config.max_tokens,
        **_protocol(config, model, [p.image_id for p in written[langs[0]]]),
    }
    rows = [
        {
            "image_id": p.image_id,
            "patient_id": p.patient_hash,
            "lang": lang,
            "text": p.text,
            "reference": p.reference,
        }
        for lang in langs
        for p in written[lang]
    ]
    files = _write(config, folder, out, scores, protocol, rows)
    files.append(out / f"gallery{_suffix(config)}.html")
    cases = _worst_first(written, images)
    subtitle = (
        f"{folder.name}, {config.split} split, {len(cases)} of {len(images)} images, worst ROUGE-L first"
    )
    gallery.write_page(files[-1], "Reports: reference and generated", subtitle, cases)
    return RunScores(folder, "report", len(written[langs[0]]), scores, protocol, tuple(files))


def _worst_first(written: dict[str, list[Prediction]], images: list[NDArray[np.uint8]]) -> list[gallery.Case]:
    """Cases for the gallery, those with the lowest mean ROUGE-L first."""
    ranked = []
    for i, image in enumerate(images):
        lines: dict[str, str] = {}
        values = []
        for lang, predictions in written.items():
            reference, text = str(predictions[i].reference), predictions[i].text
            lines[f"reference {lang}"] = reference or "(none)"
            if reference.strip():
                value = metrics.rouge_l(units(text, lang), units(reference, lang))
                values.append(value)
                lines[f"generated {lang}"] = f"{text}  (ROUGE-L {value:.2f})"
            else:
                lines[f"generated {lang}"] = text
        first = next(iter(written.values()))[i]
        mean = float(np.mean(values)) if values else 2.0  # nothing to compare with: last
        ranked.append((mean, gallery.Case(first.image_id, image, lines)))
    ranked.sort(key=lambda pair: (pair[0], pair[1].name))
    return [case for _, case in ranked[:SHOWN]]


def _labels(
    config: EvaluateConfig,
    folder: Path,
    out: Path,
    model: saved.Saved,
    shards: str | Path,
    progress: Progress,
) -> RunScores:
    """Predict and score labels."""
    task: ClassifyTask = model.learner
    predictions: list[Prediction] = []
    for batch in _batches(config, model, shards, progress, f"evaluate {folder.name}"):
        predictions += task.predict(batch)
    cuts = model.facts.get("thresholds", {})
    scores = task.score(predictions, cuts, resamples=config.bootstrap, seed=config.seed)
    protocol = {
        "task": "classify",
        "labels": list(task.labels),
        "thresholds": "highest F1 on the validation split" if cuts else "0.5",
        "unknown labels": "left out",
        "macro": "mean over the labels with both classes",
        **_protocol(config, model, [p.image_id for p in predictions]),
    }
    rows = [
        {"image_id": p.image_id, "patient_id": p.patient_hash, "scores": p.scores, "truth": p.reference}
        for p in predictions
    ]
    files = _write(config, folder, out, scores, protocol, rows)
    files.append(out / "figures" / f"roc{_suffix(config)}.png")
    gallery.draw_roc(files[-1], *as_arrays(predictions, task.labels), task.labels, scores)
    return RunScores(folder, "classify", len(predictions), scores, protocol, tuple(files))


def _batches(
    config: EvaluateConfig, model: saved.Saved, shards: str | Path, progress: Progress, name: str
) -> Iterator[Batch]:
    task = model.learner
    stream = Stream(
        shards,
        config.split,
        build(StreamConfig, model.facts["data"], "data."),
        needs=task.needs | {"patient_hash"},
        labels=task.labels if isinstance(task, ClassifyTask) else None,
        device=device_of(config.machine),
        cache=config.cache,
    )
    with progress.task(name, stream.count) as counted:
        seen = 0
        for batch in stream.once(batch=config.batch, workers=config.machine.workers):
            yield batch
            seen += len(batch.image_id)
            counted.update(seen)


def _protocol(config: EvaluateConfig, model: saved.Saved, ids: list[str]) -> dict[str, Any]:
    """What all tasks state."""
    return {
        "split": config.split,
        "images": len(ids),
        "image_ids_sha256": hashlib.sha256("\n".join(sorted(ids)).encode()).hexdigest(),
        "data": model.facts["data"],
        "intervals": f"95 % percentile, {config.bootstrap} resamples of patients, seed {config.seed}",
        "selection": "best on the validation split" if "validation" in model.facts else "last state",
    }


def _write(
    config: EvaluateConfig,
    folder: Path,
    out: Path,
    scores: Scores,
    protocol: dict[str, Any],
    rows: list[dict[str, Any]],
) -> list[Path]:
    """Write metrics and predictions; finish the protocol with its fingerprint."""
    text = json.dumps(protocol, sort_keys=True, ensure_ascii=False)
    protocol["fingerprint"] = hashlib.sha256(text.encode()).hexdigest()[:16]
    files = [out / f"metrics{_suffix(config)}.json", out / f"predictions{_suffix(config)}.jsonl"]
    plain = {name: {metric: asdict(v) for metric, v in part.items()} for name, part in scores.items()}
    write_json(
        files[0], as_plain({"format": FORMAT, "run": folder.name, "protocol": protocol, "scores": plain})
    )
    with atomic_write(files[1], "w") as stream:
        for row in rows:
            stream.write(json.dumps(as_plain(row), ensure_ascii=False) + "\n")
    return files


def _suffix(config: EvaluateConfig) -> str:
    return "" if config.split == "test" else f"-{config.split}"


def _table(task: str, scores: Scores) -> list[str]:
    """Aligned columns: a row a language or label, a column a metric."""
    columns = ("auroc", "auprc", "f1", "accuracy") if task == "classify" else REPORT_METRICS
    wide = max(len(name) for name in scores)
    out = [" " * wide + "      n" + "".join(f"  {name:<20}" for name in columns)]
    for name, values in scores.items():
        first = values[columns[0]]
        if all(values[c].reason for c in columns):
            out.append(f"{name:<{wide}}  {first.n:>5}  {first.reason}")
            continue
        cells = [
            "-" if v.reason else f"{v.value:.3f} [{v.low:.3f}, {v.high:.3f}]"
            for v in (values[c] for c in columns)
        ]
        out.append(f"{name:<{wide}}  {first.n:>5}" + "".join(f"  {cell:<20}" for cell in cells))
    return out
