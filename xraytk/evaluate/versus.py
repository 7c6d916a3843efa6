"""``xraytk evaluate A B``: two results on the same images in one page."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from xraytk.data.page import Html, joined
from xraytk.errors import DataError
from xraytk.evaluate import files
from xraytk.evaluate.results import FORMAT, CompareResult
from xraytk.evaluate.settings import EvaluateConfig
from xraytk.files import read_json, write_json
from xraytk.records import LANGUAGES, as_plain
from xraytk.tasks.scoring import given, grid, labels, pages, reports
from xraytk.tasks.scoring import versus as scoring


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two.

    Args:
        name: For people.
        table: Its predictions.
        thresholds: Of its labels, where its metrics.json has them.
        truth: Its truth; None when the predictions hold it.
    """

    name: str
    table: Path
    thresholds: dict[str, float]
    truth: Path | None


def run(config: EvaluateConfig) -> CompareResult:
    """Compare two results.

    Raises:
        DataError: If they are not of the same kind, images and truth.
    """
    began = time.monotonic()
    assert config.results is not None
    assert config.against is not None
    paths = (config.results, config.against)
    names = _names(paths)
    a, b = (_side(path, name, config.references) for path, name in zip(paths, names, strict=True))
    task = _task(a, config)
    if _task(b, config) != task:
        raise DataError(
            f"{names[0]} and {names[1]} are not of the same kind", "one is of reports, one of labels"
        )
    found, cases = _reports(a, b, config) if task == "report" else (_labels(a, b, config), None)
    out = config.out or config.results.parent / f"{names[0]}-vs-{names[1]}"
    merged = _merged(found)
    written = _write(out, merged, cases)
    seconds = round(time.monotonic() - began, 1)
    return CompareResult(
        names, task, merged.images, merged.tables, merged.protocol, merged.notes, tuple(written), seconds
    )


def _names(paths: Sequence[Path]) -> tuple[str, str]:
    """Names of the two: of their folders or files, longer ones when they are the same."""
    plain = [path.resolve() for path in paths]
    for depth in range(1, 4):
        a, b = ("-".join(p.with_suffix("").parts[-depth:]) for p in plain)
        if a != b:
            return a, b
    return "A", "B"


def _side(path: Path, name: str, references: Path | None) -> Side:
    table = path / "predictions.jsonl" if path.is_dir() else path
    if not table.is_file():
        raise DataError(
            f"{path} holds no predictions",
            "wanted a file of predictions, or a folder with predictions.jsonl",
            "Run `xraytk evaluate` on it first.",
        )
    metrics = path / "metrics.json"
    cuts = (
        read_json(metrics, "xraytk evaluate").get("thresholds")
        if path.is_dir() and metrics.is_file()
        else None
    )
    return Side(name, table, cuts if isinstance(cuts, dict) else {}, references)


def _task(side: Side, config: EvaluateConfig) -> str:
    if config.task != "all":
        return config.task
    return "report" if given.columns_of(side.table) & {"text", "report", "en", "zh"} else "classify"


def _reports(a: Side, b: Side, config: EvaluateConfig) -> tuple[list[scoring.Versus], Html]:
    """Compare in every language that both have."""
    found, cases = [], []
    for lang in [config.lang] if config.lang else _languages(a, b):
        options = config.reports(lang)
        pairs = [reports.read_pairs(side.table, side.truth or side.table, options) for side in (a, b)]
        found.append(scoring.compare_reports(pairs[0], pairs[1], (a.name, b.name), options))
        left, right, _ = scoring.same_images(pairs[0].ids, pairs[1].ids, True, (a.name, b.name))
        systems = {a.name: scoring.pairs_at(pairs[0], left), b.name: scoring.pairs_at(pairs[1], right)}
        cases.append(pages.gallery(systems, lang, pages.pictures_of(config.images)))
    return found, joined(cases)


def _languages(a: Side, b: Side) -> list[str]:
    there = [given.languages(side.table) for side in (a, b)]
    return [lang for lang in LANGUAGES if all(lang in langs for langs in there)] or ["en"]


def _labels(a: Side, b: Side, config: EvaluateConfig) -> list[scoring.Versus]:
    options = config.labels()
    sets = [labels.read_set(side.table, side.truth or side.table, options) for side in (a, b)]
    fitted = []
    for side, found in zip((a, b), sets, strict=True):
        cuts = {label: side.thresholds.get(label, 0.5) for label in found.labels}
        said = "of its metrics.json" if side.thresholds else "0.5 for every label; nothing was fitted"
        fitted.append(labels.Fitted(cuts if found.chances else None, 1.0, said))
    return [scoring.compare_labels(sets[0], sets[1], (a.name, b.name), options, (fitted[0], fitted[1]))]


def _merged(found: Sequence[scoring.Versus]) -> scoring.Versus:
    """Languages in one comparison."""
    if len(found) == 1:
        return found[0]
    tables = {f"{v.protocol['lang']}: {name}": table for v in found for name, table in v.tables.items()}
    protocol = {
        "task": found[0].task,
        "languages": [v.protocol for v in found],
        "fingerprint": "-".join(v.protocol["fingerprint"] for v in found),
    }
    notes = tuple(f"{v.protocol['lang']}: {note}" for v in found for note in v.notes)
    first = found[0]
    images, patients = max(v.images for v in found), max(v.patients for v in found)
    return scoring.Versus(first.task, first.names, images, patients, tables, protocol, notes)


def _write(out: Path, found: scoring.Versus, cases: Html | None) -> list[Path]:
    tree = {"format": FORMAT, **as_plain(found)}
    grids = [grid.of_differences(name, table, found.names) for name, table in found.tables.items()]
    paths = [out / "comparison.json", *files.write_tables(out, grids, "comparison"), out / "comparison.html"]
    write_json(paths[0], tree)
    files.write_text(paths[-1], pages.of_versus(found, cases))
    return paths
