"""Two systems on the same images: every score of both, the difference, and corrected p-values."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.stats import rankdata

from xraytk.errors import DataError
from xraytk.tasks.metrics import delong
from xraytk.tasks.metrics.compare import Difference, benjamini_hochberg, compare, holm
from xraytk.tasks.metrics.panel import RANKING, Panel, label_panel, reason
from xraytk.tasks.metrics.values import Floats, Value
from xraytk.tasks.scoring import given, reports
from xraytk.tasks.scoring.labels import Fitted, LabelOptions, LabelSet
from xraytk.tasks.scoring.scored import fingerprinted, hash_of_ids, hash_of_truth, intervals

METRICS = ("auroc", "auprc", "f1", "sensitivity", "specificity", "brier", "ece")
SWAPS = 40
"""Permutations for each test that is corrected together, at least: a corrected p can be small then."""
Differences = dict[str, dict[str, Difference]]


@dataclass(frozen=True, slots=True)
class Versus:
    """A comparison.

    Args:
        task: "report" or "classify".
        names: Of A and B.
        images: That both predicted.
        patients: Of how many patients.
        tables: Differences by the name of the table, by row and metric.
        protocol: All that the numbers depend on, with its "fingerprint".
        notes: On the input.
    """

    task: str
    names: tuple[str, str]
    images: int
    patients: int
    tables: dict[str, Differences]
    protocol: dict[str, Any]
    notes: tuple[str, ...]


def same_images(
    a: Sequence[str], b: Sequence[str], leave: bool, names: tuple[str, str]
) -> tuple[list[int], list[int], list[str]]:
    """Places of the images of both, in A's order.

    Raises:
        DataError: If there is none, or they differ and ``leave`` is off.
    """
    place = {image: i for i, image in enumerate(b)}
    left = [i for i, image in enumerate(a) if image in place]
    right = [place[a[i]] for i in left]
    only = [image for image in a if image not in place]
    ours = set(a)
    other = [image for image in b if image not in ours]
    if not left:
        raise DataError(
            f"{names[0]} and {names[1]} have no image in common",
            f"first: {given.first(a)}\nfirst: {given.first(b)}",
            "Compare predictions of the same split.",
        )
    if (only or other) and not leave:
        raise DataError(
            f"{names[0]} and {names[1]} are not of the same images",
            f"only the first has {len(only):,}: {given.first(only)}\n"
            f"only the second has {len(other):,}: {given.first(other)}",
            "Predict the same images, or compare those of both with --set unmatched=leave.",
        )
    notes = (
        [f"{len(only) + len(other):,} images that only one of them has are left out"] if only or other else []
    )
    return left, right, notes


def compare_reports(
    a: reports.Pairs, b: reports.Pairs, names: tuple[str, str], options: reports.ReportOptions
) -> Versus:
    """Compare generated reports.

    Raises:
        DataError: If the images or the references differ.
    """
    left, right, notes = same_images(a.ids, b.ids, options.leave, names)
    a, b = pairs_at(a, left), pairs_at(b, right)
    other = [i for i, x, y in zip(a.ids, a.references, b.references, strict=True) if x.split() != y.split()]
    if other:
        raise DataError(
            f"{len(other):,} references of {names[0]} and {names[1]} differ",
            f"first: {given.first(other)}",
            "Score both against the same file with --references.",
        )
    counted = [reports.count(pairs, options) for pairs in (a, b)]
    panels: dict[str, Panel] = {}
    for name in counted[0].words:
        rows = counted[0].words[name] + counted[1].words[name]
        panels[f"words ({name})"] = reports.text_panel(rows, name)
    for name in counted[0].findings:
        both = counted[0].findings[name] + counted[1].findings[name]
        panels[name] = both.panel(("f1",))
    tables = {
        name: _differences(panel, panel, a.patients, options.resamples, options.seed)
        for name, panel in panels.items()
    }
    protocol = {
        "task": "report",
        "protocol": options.protocol,
        "lang": options.lang,
        **counted[0].said,
        "uncertain_findings": options.policy,
        "averages": reports.AVERAGES,
        "images": len(a.ids),
        "patients": len(set(a.patients)),
        "image_ids_sha256": hash_of_ids(a.ids),
        **_tests(options.resamples, options.seed),
    }
    notes += [f"{name}: {why}" for name, why in counted[0].absent.items()]
    everything = (*notes, *(f"{n}: {note}" for n, p in zip(names, (a, b), strict=True) for note in p.notes))
    return Versus(
        "report",
        names,
        len(a.ids),
        len(set(a.patients)),
        corrected(tables),
        fingerprinted(protocol),
        everything,
    )


def pairs_at(pairs: reports.Pairs, at: Sequence[int]) -> reports.Pairs:
    """Some of the pairs, in this order."""

    def some(cells: Sequence[str]) -> tuple[str, ...]:
        return tuple(cells[i] for i in at)

    facts = {fact: some(cells) for fact, cells in pairs.facts.items()}
    return reports.Pairs(
        some(pairs.ids),
        some(pairs.patients),
        some(pairs.hypotheses),
        some(pairs.references),
        facts,
        pairs.notes,
    )


def compare_labels(
    a: LabelSet,
    b: LabelSet,
    names: tuple[str, str],
    options: LabelOptions,
    fitted: tuple[Fitted, Fitted],
) -> Versus:
    """Compare predicted labels; only those that both predict.

    Args:
        a: Of A.
        b: Of B.
        names: Of both.
        options: How.
        fitted: Thresholds of both.

    Raises:
        DataError: If the images or the truth differ, or no label is in both.
    """
    left, right, notes = same_images(a.ids, b.ids, options.leave, names)
    labels = [label for label in a.labels if label in b.labels]
    if not labels:
        raise DataError(f"{names[0]} and {names[1]} share no label")
    alone = sorted(set(a.labels) ^ set(b.labels))
    if alone:
        notes.append(f"labels that only one of them has are left out: {', '.join(alone)}")
    a, b = _labels_at(a, left, labels), _labels_at(b, right, labels)
    if not np.array_equal(a.truth, b.truth, equal_nan=True):
        raise DataError(
            f"the truth of {names[0]} and {names[1]} differs", "", "Score both against the same file."
        )
    panel, ranks = (_stacked(a, b, fitted, ranked, options) for ranked in (False, True))
    table = _differences(panel, ranks, a.patients, options.resamples, options.seed)
    for c, label in enumerate(labels):
        area = delong.paired(a.scores[:, c], b.scores[:, c], a.truth[:, c], a.patients)
        if area is not None:
            table[label]["auroc"] = replace(table[label]["auroc"], delong=area.p)
    protocol = {
        "task": "classify",
        "labels": labels,
        "thresholds": {name: f.said for name, f in zip(names, fitted, strict=True)},
        "images": len(a.ids),
        "patients": len(set(a.patients)),
        "image_ids_sha256": hash_of_ids(a.ids),
        "truth_sha256": hash_of_truth(a.ids, labels, a.truth),
        **_tests(options.resamples, options.seed),
    }
    everything = (*notes, *(f"{n}: {note}" for n, s in zip(names, (a, b), strict=True) for note in s.notes))
    tables = corrected({"labels": table})
    return Versus(
        "classify", names, len(a.ids), len(set(a.patients)), tables, fingerprinted(protocol), everything
    )


def _labels_at(found: LabelSet, at: Sequence[int], labels: Sequence[str]) -> LabelSet:
    columns = [found.labels.index(label) for label in labels]
    return replace(
        found,
        ids=tuple(found.ids[i] for i in at),
        patients=tuple(found.patients[i] for i in at),
        labels=tuple(labels),
        scores=found.scores[np.ix_(at, columns)],
        truth=found.truth[np.ix_(at, columns)],
    )


def _stacked(
    a: LabelSet, b: LabelSet, fitted: tuple[Fitted, Fitted], ranked: bool, options: LabelOptions
) -> Panel:
    """The table of A's samples followed by B's; ranks put both on one scale."""
    scores, truth = np.concatenate([a.scores, b.scores]), np.concatenate([a.truth, b.truth])
    n = len(a.ids)
    metrics: Sequence[str] = METRICS
    cuts: Floats | None = None
    if a.chances and b.chances:
        each = [[(f.thresholds or {}).get(label, 0.5) for label in a.labels] for f in fitted]
        cuts = np.repeat(np.array(each), n, axis=0)
    else:
        metrics = [m for m in METRICS if m in RANKING]
    ranks = np.concatenate([rankdata(s.scores, axis=0) / n for s in (a, b)]) if ranked else None
    return label_panel(
        scores, truth, a.labels, cuts, metrics=metrics, operating=options.operating, ranks=ranks
    )


def _differences(
    panel: Panel, ranks: Panel, patients: Sequence[str], resamples: int, seed: int
) -> Differences:
    wide = len(panel.metrics)
    together = len(panel.rows) if len(panel.rows) > 1 else wide
    swaps = max(resamples, SWAPS * together) if resamples else 0
    found = compare(panel.score, ranks.score, patients, resamples=resamples, seed=seed, permutations=swaps)
    why = panel.reasons(np.ones(2 * len(patients), dtype=np.bool_))
    out: Differences = {}
    for r, row in enumerate(panel.rows):
        each = zip(panel.metrics, found[r * wide : (r + 1) * wide], strict=True)
        out[row] = {metric: _reasoned(d, reason(why, row, metric)) for metric, d in each}
    return out


def _reasoned(found: Difference, why: str) -> Difference:
    """Say why scores do not exist."""

    def said(value: Value) -> Value:
        return replace(value, reason=why) if np.isnan(value.value) else value

    return replace(found, a=said(found.a), b=said(found.b), apart=said(found.apart))


def corrected(tables: dict[str, Differences]) -> dict[str, Differences]:
    """Correct p-values: over the metrics of a table of one row, else over the rows of each metric."""
    for table in tables.values():
        metrics = list(next(iter(table.values())))
        cells = [[(row, m) for row in table] for m in metrics]
        for family in [list(itertools.chain(*cells))] if len(table) == 1 else cells:
            chances = [table[row][m].p for row, m in family]
            for (row, m), strict, fdr in zip(family, holm(chances), benjamini_hochberg(chances), strict=True):
                table[row][m] = replace(table[row][m], holm=strict, fdr=fdr)
    return tables


def _tests(resamples: int, seed: int) -> dict[str, str]:
    return {
        "intervals": intervals(resamples, seed, "comparison.json") + ", the same for both",
        "test": f"A and B swapped for random patients, two-sided, at least {resamples} times; Holm and "
        "Benjamini-Hochberg over the rows of each metric, or over the metrics of a table of one row",
    }
