"""Scores of predictions and references that are files: no model, no workspace, no torch."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from xraytk.evaluate.results import FORMAT, EvaluateResult, RunScores
from xraytk.evaluate.settings import EvaluateConfig
from xraytk.files import atomic_write, write_json
from xraytk.records import as_plain
from xraytk.tasks.metrics.panel import Scores
from xraytk.tasks.scoring import grid, labels, pages, plots, reports
from xraytk.tasks.scoring.groups import Groups
from xraytk.tasks.scoring.scored import Scored, told

SAID = ("thresholds", "uncertain_labels", "uncertain_findings", "macro", "averages", "intervals", "test")
"""What of a protocol stands below the tables in words; metrics.json and the page have all."""


def run(config: EvaluateConfig) -> EvaluateResult:
    """Score a file of predictions against a file of references."""
    began = time.monotonic()
    assert config.predictions is not None
    out = config.out or config.predictions.parent / f"{config.predictions.stem}-scores"
    done = _reports(config, out) if config.task == "report" else _labels(config, out)
    return EvaluateResult("", (done,), round(time.monotonic() - began, 1))


def _reports(config: EvaluateConfig, out: Path) -> RunScores:
    assert config.predictions is not None
    assert config.references is not None
    lang = config.lang or "en"
    options = config.reports(lang)
    pairs = reports.read_pairs(config.predictions, config.references, options)
    scored = reports.score(pairs, options)
    cases = pages.gallery({"generated": pairs}, lang, pages.pictures_of(config.images))
    figures = plots.of_reports(scored.tables)
    page = pages.of_scores(f"{config.predictions.name}: generated reports", scored, figures, cases)
    return _done(config.predictions, out, scored, figures, page, scored.tables["words"])


def _labels(config: EvaluateConfig, out: Path) -> RunScores:
    assert config.predictions is not None
    assert config.references is not None
    options = config.labels()
    test, validation = labels.read_sets(
        config.predictions, config.references, config.validation, config.validation_references, options
    )
    fitted = labels.fit(validation, test)
    scored = labels.score(test, options, fitted)
    figures = plots.of_labels(labels.cooled(test, fitted), fitted, scored.tables["labels"])
    page = pages.of_scores(f"{config.predictions.name}: predicted labels", scored, figures)
    return _done(config.predictions, out, scored, figures, page, scored.tables["labels"])


def _done(
    predictions: Path, out: Path, scored: Scored, figures: Mapping[str, bytes], page: str, shown: Scores
) -> RunScores:
    tree = {
        "protocol": scored.protocol,
        "scores": plain(shown),
        "tables": {table: plain(rows) for table, rows in scored.tables.items()},
        "groups": {table: [plain_groups(g) for g in groups] for table, groups in scored.groups.items()},
        "absent": scored.absent,
        "notes": list(scored.notes),
        **scored.facts,
    }
    paths = write_run(out, predictions.name, tree, scored.rows, grid.grids_of(scored))
    paths += write_figures(out / "figures", figures)
    paths.append(out / "page.html")
    write_text(paths[-1], page)
    notes = (*scored.notes, *(f"{name}: {why}" for name, why in scored.absent.items()))
    findings = scored.tables.get("findings", {})
    return RunScores(
        predictions, scored.task, scored.images, shown, scored.protocol, tuple(paths), findings, notes
    )


def write_run(
    out: Path,
    name: str,
    tree: Mapping[str, Any],
    rows: Iterable[Mapping[str, Any]],
    grids: Sequence[grid.Grid],
    suffix: str = "",
) -> list[Path]:
    """Write metrics.json, predictions.jsonl and the tables.

    Args:
        out: Folder.
        name: Of the run or file.
        tree: The content of metrics.json.
        rows: Lines of predictions.jsonl.
        grids: Tables for people.
        suffix: Of the files' names.

    Returns:
        Their paths.
    """
    notes = [*tree.get("notes", ()), *(f"{name}: {why}" for name, why in tree.get("absent", {}).items())]
    paths = [out / f"metrics{suffix}.json", out / f"predictions{suffix}.jsonl"]
    write_json(paths[0], as_plain({"format": FORMAT, "run": name, **tree}))
    with atomic_write(paths[1], "w") as stream:
        for row in rows:
            stream.write(json.dumps(as_plain(row), ensure_ascii=False) + "\n")
    return [*paths, *write_tables(out, grids, tree["protocol"], notes, f"tables{suffix}")]


def write_figures(folder: Path, figures: Mapping[str, bytes], suffix: str = "") -> list[Path]:
    """Write pictures, and return their paths."""
    paths = []
    for name, data in figures.items():
        paths.append(folder / f"{name}{suffix}.png")
        with atomic_write(paths[-1]) as stream:
            stream.write(data)
    return paths


def write_text(path: Path, text: str) -> None:
    """Write a page."""
    with atomic_write(path, "w") as stream:
        stream.write(text)


def write_tables(
    out: Path, grids: Sequence[grid.Grid], protocol: Mapping[str, Any], notes: Sequence[str], name: str
) -> list[Path]:
    """Write tables as Markdown and as LaTeX, with the fingerprint, what was fitted, and the notes.

    Args:
        out: Folder.
        grids: The tables.
        protocol: Of all of them, with its "fingerprint".
        notes: What a reader has to know.
        name: Of the files.

    Returns:
        Their paths.
    """
    line = told(protocol)
    grids = [replace(g, told=line) for g in grids]
    notes = [
        *notes,
        *(f"{key.replace('_', ' ')}: {pages.plain(protocol[key])}" for key in SAID if key in protocol),
    ]
    paths = [out / f"{name}.md", out / f"{name}.tex"]
    listed = "\n".join(f"- {' '.join(note.split())}" for note in notes)
    write_text(paths[0], "\n".join([*(g.markdown() for g in grids), f"**To know**\n\n{listed}\n"]))
    lines = "\n".join(map(grid.comment, notes))
    write_text(paths[1], "\n".join([*(g.latex() for g in grids), f"{lines}\n"]))
    return paths


def plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """A table of scores, or a row of one, for JSON."""
    return {k: plain(v) if isinstance(v, Mapping) else asdict(v) for k, v in values.items()}


def plain_groups(found: Groups) -> dict[str, Any]:
    """Subgroups for JSON."""
    return {
        "fact": found.fact,
        "groups": {name: plain(rows) for name, rows in found.scores.items()},
        "minus_rest": {name: plain(rows) for name, rows in found.rest.items()},
        "best_minus_worst": plain(found.gap),
        "unknown": found.unknown,
        "small": list(found.small),
    }
