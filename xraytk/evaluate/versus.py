"""``xraytk evaluate A B``: two results on the same images in one page."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from xraytk.data.page import Html, joined
from xraytk.errors import DataError, UsageError
from xraytk.evaluate import files
from xraytk.evaluate.results import FORMAT, CompareResult
from xraytk.evaluate.settings import EvaluateConfig
from xraytk.files import read_json, write_json
from xraytk.records import LANGUAGES, as_plain
from xraytk.tasks.scoring import given, grid, labels, pages, reports
from xraytk.tasks.scoring import versus as scoring

SAME = frozenset(
    {"fingerprint", "task", "intervals", "images", "patients", "image_ids_sha256", "known", "truth_sha256"}
    | {"references_sha256", "empty_hypotheses", "labels", "not_predicted", "languages"}
)
"""Of a protocol: what is refused or said elsewhere when it differs, or does not change a score."""
ANEW = frozenset(
    {"protocol", "references", "hypotheses", "unknown_words", "metrics", "uncertain_findings", "averages"}
    | {"tokens", "labellers", "macro", "sensitivity_at", "specificity_at", "ece"}
)
"""Of a protocol: what a comparison does anew, for both alike."""
LONGEST = 100
"""Characters of a setting in a note."""


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two.

    Args:
        name: For people.
        table: Its predictions.
        thresholds: Of its labels, where its metrics.json has them.
        truth: Its truth; None when the predictions hold it.
        protocol: Of its metrics.json, with the temperature.
        notes: Of its metrics.json, with what is absent and why.
    """

    name: str
    table: Path
    thresholds: dict[str, float]
    truth: Path | None
    protocol: dict[str, Any]
    notes: tuple[str, ...]


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
    for side in (a, b):
        _refuse_without_truth(side, task)
    if task != "report" and config.lang:
        raise UsageError("--lang is given", f"{names[0]} and {names[1]} are labels, it is for reports")
    found, cases = _reports(a, b, config) if task == "report" else (_labels(a, b, config), None)
    out = config.out or config.results.parent / f"{names[0]}-vs-{names[1]}"
    merged = _merged(found)
    more = [*differing(a, b), *(f"{side.name}: {note}" for side in (a, b) for note in side.notes)]
    merged = replace(merged, notes=tuple(dict.fromkeys([*merged.notes, *more])))
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
    tree = read_json(metrics, "xraytk evaluate") if path.is_dir() and metrics.is_file() else {}
    cuts, protocol = tree.get("thresholds"), dict(tree.get("protocol", {}))
    if "temperature" in tree:
        protocol["temperature"] = f"{tree['temperature']:.4g}"
    lacking = [f"{what}: {why}" for what, why in tree.get("absent", {}).items()]
    notes = (*tree.get("notes", ()), *lacking)
    return Side(name, table, cuts if isinstance(cuts, dict) else {}, references, protocol, notes)


def _refuse_without_truth(side: Side, task: str) -> None:
    """Refuse a file of predictions whose truth is nowhere."""
    column = "reference" if task == "report" else "truth"
    if side.truth is None and column not in given.columns_of(side.table):
        raise DataError(
            f"{side.table.name} holds predictions without their {column}",
            f"wanted --references, or a column {column}, which the results of `xraytk evaluate` have",
            "Give the truth of both with --references FILE.",
        )


def differing(a: Side, b: Side) -> list[str]:
    """Say what of the stored protocols of two results is not the same."""
    if not a.protocol or not b.protocol:
        alone = [side.name for side in (a, b) if not side.protocol]
        known = len(alone) < 2
        return [f"{alone[0]} has no metrics.json: how it was made and scored is not known"] if known else []
    ours, theirs = (_flat(side.protocol) for side in (a, b))
    out = [
        f"made or scored differently, {key}: {a.name}: {_short(ours[key])} | {b.name}: {_short(theirs[key])}"
        + (", here both alike" if key.split(".")[0] in ANEW else "")
        for key in ours
        if key in theirs and ours[key] != theirs[key]
    ]
    for side, own, other in ((a, ours, theirs), (b, theirs, ours)):
        only = [key for key in own if key not in other]
        if only:
            out.append(f"only the protocol of {side.name} says: {', '.join(only)}")
    return out


def _flat(protocol: Mapping[str, Any]) -> dict[str, Any]:
    """What matters of a protocol, "search.beam" as one key; of one language without its name."""
    langs = [key for key in LANGUAGES if isinstance(protocol.get(key), Mapping)]
    if len(langs) == 1:
        protocol = {**protocol[langs[0]], **{k: v for k, v in protocol.items() if k != langs[0]}}
    out: dict[str, Any] = {}
    for key, value in protocol.items():
        if key in SAME:
            continue
        if isinstance(value, Mapping):
            out |= {f"{key}.{k}": v for k, v in _flat(value).items()}
        else:
            out[key] = value
    return out


def _short(value: Any) -> str:
    text = pages.plain(value)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."


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
        said = side.protocol.get("thresholds") if side.thresholds else labels.unfitted(found.labels).said
        if not found.chances:
            said = "none: the scores are not probabilities"
        fitted.append(labels.Fitted(cuts if found.chances else None, 1.0, str(said)))
    return [scoring.compare_labels(sets[0], sets[1], (a.name, b.name), options, (fitted[0], fitted[1]))]


def _merged(found: Sequence[scoring.Versus]) -> scoring.Versus:
    """Languages in one comparison."""
    if len(found) == 1:
        return found[0]
    tables = {f"{v.protocol['lang']}: {name}": table for v in found for name, table in v.tables.items()}
    protocol = {
        "task": found[0].task,
        **{key: found[0].protocol[key] for key in ("protocol", "averages", "intervals", "test")},
        "patients": max(v.patients for v in found),
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
    tables = files.write_tables(out, grids, found.protocol, found.notes, "comparison")
    paths = [out / "comparison.json", *tables, out / "comparison.html"]
    write_json(paths[0], tree)
    files.write_text(paths[-1], pages.of_versus(found, cases))
    return paths
