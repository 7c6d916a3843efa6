from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from xraytk.errors import DataError
from xraytk.tasks.metrics import delong, score_texts
from xraytk.tasks.scoring import grid, labels, reports, versus

NAMES = ("A", "B")
IDS = tuple(f"i{n}" for n in range(12))


def pairs(hyps: list[str], refs: list[str]) -> reports.Pairs:
    return reports.Pairs(IDS, tuple(f"p{n // 2}" for n in range(12)), tuple(hyps), tuple(refs))


def label_set(seed: int, gain: float) -> labels.LabelSet:
    truth = np.random.default_rng(0).integers(0, 2, (40, 2)).astype(float)
    noise = np.random.default_rng(seed).normal(size=(40, 2))
    ids = tuple(f"i{n}" for n in range(40))
    scores = 1 / (1 + np.exp(-gain * (truth - 0.5) - noise))
    return labels.LabelSet(ids, tuple(f"p{n}" for n in range(40)), ("Edema", "Mass"), scores, truth)


def test_reports_of_two_systems_have_the_scores_of_each_and_their_difference() -> None:
    refs = ["the heart is normal .", "no effusion .", "left effusion ."] * 4
    a, b = pairs(refs, refs), pairs(["no effusion ."] * 12, refs)
    options = reports.ReportOptions(resamples=100, meteor=False)
    found = versus.compare_reports(a, b, NAMES, options)
    row = found.tables["words (word)"]["word"]
    for metric, value in score_texts(b.hypotheses, refs, "en", b.patients, resamples=0).items():
        assert row[metric].b.value == pytest.approx(value.value)
        assert row[metric].apart.value == pytest.approx(row[metric].a.value - value.value)
    assert row["bleu_1"].p < 0.05
    assert row["bleu_1"].p <= row["bleu_1"].fdr <= row["bleu_1"].holm
    assert found.patients == 6
    assert set(found.tables["findings"]["micro"]) == {"f1"}


def test_labels_of_two_systems_have_delongs_test_too() -> None:
    a, b = label_set(1, 4.0), label_set(2, 1.0)
    fitted = labels.Fitted(dict.fromkeys(a.labels, 0.5), 1.0, "0.5")
    found = versus.compare_labels(a, b, NAMES, labels.LabelOptions(resamples=50), (fitted, fitted))
    table = found.tables["labels"]
    wanted = delong.paired(a.scores[:, 0], b.scores[:, 0], a.truth[:, 0], a.patients)
    assert wanted is not None
    assert table["Edema"]["auroc"].delong == wanted.p
    assert table["Edema"]["auroc"].apart.value == pytest.approx(wanted.value)
    assert np.isnan(table["macro"]["auroc"].delong)
    assert set(table["Edema"]) == set(versus.METRICS)


def test_a_scale_of_its_own_changes_no_test_of_an_order() -> None:
    a, b = label_set(1, 4.0), label_set(2, 1.0)
    none = labels.Fitted(None, 1.0, "none")
    chances = []
    for other in (b, replace(b, scores=1000 + 5 * b.scores)):
        both = versus.compare_labels(a, other, NAMES, labels.LabelOptions(resamples=50), (none, none))
        chances.append(both.tables["labels"]["Edema"]["auroc"].p)
    assert chances[0] == chances[1]


def test_the_correction_can_still_find_something_among_many_rows() -> None:
    refs = ["the heart is normal .", "no effusion ."] * 6
    found = versus.compare_reports(
        pairs(refs, refs), pairs([""] * 12, refs), NAMES, reports.ReportOptions(resamples=20, meteor=False)
    )
    assert all(d.p < 0.05 for d in found.tables["words (word)"]["word"].values())


def test_other_images_or_references_are_refused() -> None:
    refs = ["the heart is normal ."] * 12
    a, b = pairs(refs, refs), pairs(refs, ["no effusion .", *refs[1:]])
    options = reports.ReportOptions(resamples=0, meteor=False)
    with pytest.raises(DataError, match=r"(?s)1 references of A and B differ.*first: i0"):
        versus.compare_reports(a, b, NAMES, options)
    other = replace(a, ids=("x", *IDS[1:]))
    with pytest.raises(DataError, match=r"(?s)only the first has 1: i0.*only the second has 1: x"):
        versus.compare_reports(a, other, NAMES, options)
    left = versus.compare_reports(a, other, NAMES, replace(options, leave=True))
    assert left.images == 11
    assert any("2 images" in note for note in left.notes)
    with pytest.raises(DataError, match="no image in common"):
        versus.compare_reports(
            a, replace(a, ids=tuple(f"x{i}" for i in IDS)), NAMES, replace(options, leave=True)
        )
    x = label_set(1, 4.0)
    fitted = labels.Fitted(None, 1.0, "none")
    with pytest.raises(DataError, match="truth of A and B differs"):
        versus.compare_labels(
            x, replace(x, truth=1 - x.truth), NAMES, labels.LabelOptions(resamples=0), (fitted, fitted)
        )


def test_what_does_not_exist_has_a_reason_and_the_truth_is_in_the_fingerprint() -> None:
    a, b = label_set(1, 4.0), label_set(2, 1.0)
    fitted = labels.Fitted(dict.fromkeys(a.labels, 0.5), 1.0, "0.5")
    prints = []
    for first in (0.0, 1.0):
        truth = np.column_stack([a.truth[:, 0], np.full(40, first)])
        both = [replace(side, truth=truth) for side in (a, b)]
        found = versus.compare_labels(*both, NAMES, labels.LabelOptions(resamples=0), (fitted, fitted))
        assert (
            found.tables["labels"]["Mass"]["f1"].apart.reason
            == f"every known value in this split is {first:.0f}"
        )
        shown = grid.of_differences("labels", found.tables["labels"], NAMES)
        assert any(note.startswith("Mass AUROC") for note in shown.notes)
        prints.append(found.protocol["fingerprint"])
    assert prints[0] != prints[1]
    assert found.protocol["thresholds"] == {"A": "0.5", "B": "0.5"}


def test_a_comparison_names_its_own_file() -> None:
    refs = ["the heart is normal ."] * 12
    options = reports.ReportOptions(resamples=5, meteor=False)
    found = versus.compare_reports(pairs(refs, refs), pairs(refs, refs), NAMES, options)
    assert "BCa in comparison.json" in found.protocol["intervals"]
    assert found.tables["words (word)"]["word"]["cider"].a.reason.startswith("CIDEr needs")
