"""Score predicted probabilities against labels: curves, thresholds, calibration, subgroups."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from xraytk.data.sheet import plain_name
from xraytk.errors import DataError
from xraytk.tasks.metrics import calibration, delong
from xraytk.tasks.metrics.labels import best_threshold
from xraytk.tasks.metrics.panel import ALL_LABEL_METRICS, OPERATING, Panel, label_panel
from xraytk.tasks.metrics.values import Floats, absent
from xraytk.tasks.scoring import given
from xraytk.tasks.scoring.groups import groups_of
from xraytk.tasks.scoring.scored import Scored, fingerprinted, hash_of_ids, hash_of_truth, intervals

GROUP_METRICS = ("auroc", "auprc", "f1", "sensitivity", "specificity", "ece")
VALUES = {"1": 1.0, "1.0": 1.0, "true": 1.0, "0": 0.0, "0.0": 0.0, "false": 0.0}
VALUES |= {"-1": -1.0, "-1.0": -1.0, "uncertain": -1.0}


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelOptions:
    """How labels are scored.

    Args:
        uncertain: How -1 in the references counts: "ignore" leaves it out, "ones", "zeros".
        operating: Specificity at which the sensitivity is read off the curve, and the reverse.
        leave: Leave references without a prediction out, instead of refusing.
        resamples: Of the bootstrap.
        seed: Of the bootstrap.
    """

    uncertain: Literal["ignore", "zeros", "ones"] = "ignore"
    operating: float = OPERATING
    leave: bool = False
    resamples: int = 1000
    seed: int = 0


@dataclass(frozen=True, slots=True)
class LabelSet:
    """Predictions and truth of the same n images.

    Args:
        ids: Images.
        patients: Their patients.
        labels: The C names.
        scores: (n, C).
        truth: (n, C), 0 or 1, NaN unknown.
        facts: Groups of the images by fact.
        notes: On the input.
        lacking: Labels of the references that were not predicted.
        peopled: Whether the patients were told; else every image is one of its own.
    """

    ids: tuple[str, ...]
    patients: tuple[str, ...]
    labels: tuple[str, ...]
    scores: Floats
    truth: Floats
    facts: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    lacking: tuple[str, ...] = ()
    peopled: bool = True

    @property
    def chances(self) -> bool:
        """Whether all scores are in [0, 1], as probabilities are."""
        return bool(((self.scores >= 0) & (self.scores <= 1)).all())


@dataclass(frozen=True, slots=True)
class Fitted:
    """What was fitted on validation predictions, and nowhere else.

    Args:
        thresholds: One a label; None when the scores are no probabilities and nothing was fitted.
        temperature: Of all labels; 1 without validation.
        said: How, for the protocol.
        notes: On what it was fitted on.
    """

    thresholds: dict[str, float] | None
    temperature: float
    said: str
    notes: tuple[str, ...] = ()


def read_set(predictions: Path, references: Path, options: LabelOptions) -> LabelSet:
    """Read and match both tables.

    Raises:
        DataError: If one is not what it should be, or they share no label.
    """
    ours, truth = given.read(predictions, unfold="scores"), given.read(references, unfold="truth")
    return set_of(ours, truth, options)


def read_sets(
    predictions: Path,
    references: Path,
    validation: Path | None,
    validation_references: Path | None,
    options: LabelOptions,
) -> tuple[LabelSet, LabelSet | None]:
    """Read what is scored and, if given, what thresholds are fitted on.

    Args:
        predictions: To be scored.
        references: Their truth; it may hold that of the validation images too.
        validation: Predictions for validation images.
        validation_references: Their truth; ``references`` by default.
        options: How labels are read.

    Raises:
        DataError: As `read_set`.
    """
    if validation is None:
        return read_set(predictions, references, options), None
    ours, fitted_on = (given.read(path, unfold="scores") for path in (predictions, validation))
    truth = given.read(references, unfold="truth")
    theirs = truth if validation_references is None else given.read(validation_references, unfold="truth")
    if validation_references is None:
        test, fitted = set(ours.ids), set(fitted_on.ids)
        at = [i for i, image in enumerate(truth.ids) if image in fitted or image not in test]
        theirs = truth.rows(at) if at else truth
        truth = truth.rows([i for i, image in enumerate(truth.ids) if image in test or image not in fitted])
    loose = replace(options, leave=options.leave or validation_references is None)
    return set_of(ours, truth, options), set_of(fitted_on, theirs, loose)


def set_of(ours: given.Table, truth: given.Table, options: LabelOptions) -> LabelSet:
    """Match tables that were read; see `read_set`."""
    ours, truth, notes = given.match(ours, truth, leave=options.leave)
    predicted = {plain_name(c): c for c in ours.columns}
    wanted = {plain_name(c): c for c in truth.columns}
    common = [(wanted[name], predicted[name]) for name in wanted if name in predicted]
    if not common:
        raise DataError(
            f"{ours.name} and {truth.name} share no label column",
            f"predictions have: {_some(ours.columns)}\nreferences have: {_some(truth.columns)}",
            "Name the columns of both files alike; labels of references are 1, 0, -1 or blank.",
        )
    values = np.stack([_truth(truth, column, notes, options.uncertain) for column, _ in common], axis=1)
    scores = np.stack([_scores(ours, column) for _, column in common], axis=1)
    lacking = [c for n, c in wanted.items() if n not in predicted and _is_label(truth.columns[c])]
    if lacking:
        notes.append(f"{len(lacking)} labels of the references are not predicted: {_some(lacking)}")
    extra = [c for n, c in predicted.items() if n not in wanted]
    if extra:
        notes.append(f"{len(extra)} columns of the predictions are in no reference: {_some(extra)}")
    patients, more = given.patients_of(ours, truth)
    names = tuple(column for column, _ in common)
    facts = given.facts_of(ours, truth)
    peopled = bool(ours.patients or truth.patients)
    told = (*notes, *more)
    return LabelSet(truth.ids, patients, names, scores, values, facts, told, tuple(lacking), peopled)


def _some(names: Sequence[str] | Mapping[str, Any]) -> str:
    return ", ".join(list(names)[:8]) + (", ..." if len(names) > 8 else "")


def _is_label(cells: Sequence[str]) -> bool:
    plain = [cell.strip().casefold() for cell in cells]
    return all(cell in VALUES or cell in given.BLANK for cell in plain)


def _truth(table: given.Table, column: str, notes: list[str], uncertain: str) -> Floats:
    plain = [cell.strip().casefold() for cell in table.columns[column]]
    wrong = [i for i, cell in enumerate(plain) if cell not in VALUES and cell not in given.BLANK]
    if wrong:
        raise DataError(
            f"{table.name}, column {column}: {len(wrong):,} values are no label",
            f"first: image {table.ids[wrong[0]]}; wanted 1, 0, -1 (uncertain) or blank (unknown)",
        )
    values = np.array([VALUES.get(cell, math.nan) for cell in plain])
    doubtful = values == -1
    if doubtful.any():
        meant = {"ignore": math.nan, "zeros": 0.0, "ones": 1.0}[uncertain]
        how = {"ignore": "left out", "zeros": "taken as 0", "ones": "taken as 1"}[uncertain]
        notes.append(f"{column}: {int(doubtful.sum()):,} uncertain values (-1) are {how}")
        values[doubtful] = meant
    return values


def _scores(table: given.Table, column: str) -> Floats:
    values = np.array([_number(cell) for cell in table.columns[column]])
    wrong = np.flatnonzero(~np.isfinite(values))
    if len(wrong):
        raise DataError(
            f"{table.name}, column {column}: {len(wrong):,} of {len(values):,} predictions are no number",
            f"first: {given.first(table.ids[i] for i in wrong)}",
            "Predict every label of every image; a gap would be left out of the score, and flatter it.",
        )
    return values


def _number(cell: str) -> float:
    try:
        return float(cell)
    except ValueError:
        return math.nan


def fit(validation: LabelSet | None, test: LabelSet) -> Fitted:
    """Fit temperature and thresholds on validation predictions; without them fit nothing.

    Raises:
        DataError: If an image or a patient is in both, or a label is missing.
    """
    if not test.chances:
        return Fitted(None, 1.0, "none: the scores are not probabilities")
    if validation is None:
        return unfitted(test.labels)
    _refuse_shared(validation, test)
    if not validation.chances:
        raise DataError(
            "the validation predictions are not probabilities, those to be scored are",
            "found numbers outside 0 to 1",
            "Write both files with the same model.",
        )
    places = {label: i for i, label in enumerate(validation.labels)}
    lacking = [label for label in test.labels if label not in places]
    if lacking:
        raise DataError(f"the validation predictions lack {len(lacking)} labels", _some(lacking))
    at = [places[label] for label in test.labels]
    fitted = fit_on(validation.scores[:, at], validation.truth[:, at], test.labels)
    notes = [f"validation: {note}" for note in validation.notes]
    unsaid = [n for n, s in (("validation", validation), ("test", test)) if not s.peopled]
    if unsaid:
        notes.append(
            "whether a patient is in both validation and test is not known: "
            f"no patient_id in {' or '.join(unsaid)}"
        )
    blank = [
        p for s in (validation, test) for p, i in zip(s.patients, s.ids, strict=True) if p == f"image {i}"
    ]
    if blank:
        notes.append(
            f"{len(blank):,} images have no patient_id: whether their patients are in both validation and "
            "test is not known"
        )
    return replace(fitted, notes=tuple(notes))


def fit_on(scores: Floats, truth: Floats, names: Sequence[str]) -> Fitted:
    """Fit one temperature, and of the cooled probabilities a threshold a label.

    Args:
        scores: (n, C) probabilities of validation images.
        truth: (n, C), 0 or 1, NaN unknown.
        names: Of the C labels.
    """
    temperature = calibration.fit_temperature(scores, truth)
    cool = calibration.cool(scores, temperature)
    cuts = {label: best_threshold(cool[:, c], truth[:, c]) for c, label in enumerate(names)}
    return Fitted(cuts, temperature, said_of(temperature, f"{len(scores)} validation images"))


def said_of(temperature: float, where: str) -> str:
    """How was fitted, for the protocol."""
    bound = " (the end of its range)" if calibration.at_bound(temperature) else ""
    return f"highest F1 on {where}; one temperature, {temperature:.4g}{bound}"


def unfitted(names: Sequence[str]) -> Fitted:
    """What counts where there is no validation."""
    return Fitted(dict.fromkeys(names, 0.5), 1.0, "0.5 for every label; nothing was fitted")


def _refuse_shared(validation: LabelSet, test: LabelSet) -> None:
    for what, ours, theirs in (
        ("images", validation.ids, test.ids),
        ("patients", validation.patients, test.patients),
    ):
        both = sorted(set(ours) & set(theirs))
        if both:
            raise DataError(
                f"{len(both):,} {what} are in the validation predictions and in those to be scored",
                f"first: {given.first(both)}" if what == "images" else "",
                "What is fitted on an image must not be scored on it, nor on another one of its patient.",
            )


def score(test: LabelSet, options: LabelOptions, fitted: Fitted) -> Scored:
    """Score predictions.

    Args:
        test: Of `read_set`.
        options: How.
        fitted: Of `fit`.
    """
    panel = panel_of(test, fitted, options)
    draws = {"resamples": options.resamples, "seed": options.seed}
    scores = panel.values(test.patients, **draws)
    for label in test.lacking:
        scores[label] = {m: absent("not predicted: no such column", len(test.ids)) for m in ALL_LABEL_METRICS}
    tables = {"labels": scores}
    if fitted.temperature != 1.0:
        before = label_panel(test.scores, test.truth, test.labels, {}, metrics=("brier", "ece"))
        tables["before temperature scaling"] = before.values(test.patients, **draws)
    groups = groups_of(panel_of(test, fitted, options, GROUP_METRICS), test.facts, test.patients, **draws)
    return Scored(
        "classify",
        len(test.ids),
        len(set(test.patients)),
        tables,
        _protocol(test, fitted, options),
        dict.fromkeys(test.lacking, "not predicted: no such column"),
        (*test.notes, *fitted.notes),
        {"labels": groups},
        rows_of(cooled(test, fitted)),
        {
            "thresholds": fitted.thresholds,
            "temperature": fitted.temperature,
            "delong": _delong(test),
        },
    )


def cooled(test: LabelSet, fitted: Fitted) -> LabelSet:
    """The same predictions after temperature scaling."""
    return replace(test, scores=calibration.cool(test.scores, fitted.temperature))


def panel_of(
    test: LabelSet, fitted: Fitted, options: LabelOptions, metrics: Sequence[str] = ALL_LABEL_METRICS
) -> Panel:
    """The table of scores after temperature scaling, at the fitted thresholds.

    Ranks are those before: cooled probabilities next to 0 or 1 can be the same number.
    """
    return label_panel(
        cooled(test, fitted).scores,
        test.truth,
        test.labels,
        fitted.thresholds,
        metrics=metrics,
        operating=options.operating,
        ranks=test.scores,
    )


def _delong(test: LabelSet) -> dict[str, Any]:
    """DeLong's interval of each label's AUROC."""
    out = {}
    for c, label in enumerate(test.labels):
        area = delong.interval(test.scores[:, c], test.truth[:, c], test.patients)
        out[label] = None if area is None else asdict(area)
    return out


def _protocol(test: LabelSet, fitted: Fitted, options: LabelOptions) -> dict[str, Any]:
    return fingerprinted(
        {
            "task": "classify",
            "labels": list(test.labels),
            "not_predicted": list(test.lacking),
            "thresholds": fitted.said,
            "unknown_labels": "left out",
            "uncertain_labels": options.uncertain,
            "macro": "mean over the labels whose score exists: both classes are there, for precision "
            "something is predicted present too; for Brier and ECE any value is known",
            "sensitivity_at": f"specificity {options.operating:g}, read off the curve",
            "specificity_at": f"sensitivity {options.operating:g}, read off the curve",
            "ece": f"{calibration.BINS} bins of equal width, probability of the label",
            "images": len(test.ids),
            "patients": len(set(test.patients)),
            "known": {label: int((~np.isnan(test.truth[:, c])).sum()) for c, label in enumerate(test.labels)},
            "image_ids_sha256": hash_of_ids(test.ids),
            "truth_sha256": hash_of_truth(test.ids, test.labels, test.truth),
            "intervals": intervals(options.resamples, options.seed)
            + "; DeLong over patients in metrics.json",
        }
    )


def rows_of(test: LabelSet) -> tuple[dict[str, Any], ...]:
    """Lines for predictions.jsonl."""

    def named(values: Floats) -> dict[str, float]:
        return {label: float(value) for label, value in zip(test.labels, values, strict=True)}

    return tuple(
        {
            "image_id": image,
            "patient_id": test.patients[i],
            "scores": named(test.scores[i]),
            "truth": named(test.truth[i]),
            **{fact: cells[i] for fact, cells in test.facts.items() if fact != "age"},
        }
        for i, image in enumerate(test.ids)
    )
