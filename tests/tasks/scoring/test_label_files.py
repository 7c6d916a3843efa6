from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import f1_score, roc_auc_score

from xraytk.errors import DataError
from xraytk.tasks.metrics.labels import best_threshold
from xraytk.tasks.scoring import labels

Csv = Callable[..., Path]
OPTIONS = labels.LabelOptions(resamples=20)


def written(csv: Csv, name: str, columns: str, rows: list[list[object]]) -> Path:
    return csv(name, columns + "\n" + "".join(",".join(map(str, row)) + "\n" for row in rows))


def drawn(n: int = 80) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    truth = (rng.random((n, 2)) < 0.4).astype(int)
    return np.round(1 / (1 + np.exp(-(2 * truth - 1 + rng.normal(size=(n, 2))))), 4), truth


@pytest.fixture
def files(csv: Csv) -> dict[str, Path]:
    scores, truth = drawn()
    return {
        "test": written(csv, "p.csv", "image_id,Edema,Mass", [[f"i{n}", *scores[n]] for n in range(40)]),
        "val": written(csv, "v.csv", "image_id,Edema,Mass", [[f"i{n}", *scores[n]] for n in range(40, 80)]),
        "truth": written(
            csv,
            "r.csv",
            "image_id,patient_id,Mass,Edema",
            [[f"i{n}", f"p{n // 2}", *truth[n, ::-1]] for n in range(80)],
        ),
    }


def test_columns_are_matched_by_name_and_scored_like_scikit_learn(files: dict[str, Path]) -> None:
    options = labels.LabelOptions(resamples=20, leave=True)
    test = labels.read_set(files["test"], files["truth"], options)
    fitted = labels.fit(None, test)
    found = labels.score(test, options, fitted)
    scores, truth = drawn()
    for c, name in enumerate(("Edema", "Mass")):
        assert found.tables["labels"][name]["auroc"].value == pytest.approx(
            roc_auc_score(truth[:40, c], scores[:40, c])
        )
        assert found.tables["labels"][name]["f1"].value == pytest.approx(
            f1_score(truth[:40, c], scores[:40, c] >= 0.5)
        )
        assert found.facts["delong"][name]["low"] < found.facts["delong"][name]["value"]
    assert found.protocol["thresholds"] == "0.5 for every label; nothing was fitted"
    assert found.patients == 20


def test_thresholds_and_temperature_are_fitted_on_validation_only(files: dict[str, Path]) -> None:
    test, validation = labels.read_sets(files["test"], files["truth"], files["val"], None, OPTIONS)
    assert validation is not None
    assert len(test.ids) == len(validation.ids) == 40
    fitted = labels.fit(validation, test)
    cool = labels.cooled(validation, fitted)
    assert fitted.thresholds == {
        name: best_threshold(cool.scores[:, c], cool.truth[:, c]) for c, name in enumerate(test.labels)
    }
    found = labels.score(test, OPTIONS, fitted)
    assert "40 validation images" in found.protocol["thresholds"]
    before = found.tables["before temperature scaling"]["macro"]["brier"].value
    assert before != found.tables["labels"]["macro"]["brier"].value


def test_a_temperature_changes_no_rank_however_small_the_probabilities(csv: Csv) -> None:
    scores, truth = drawn()
    scores = (scores / (1 - scores)) ** 3 * 1e-12  # of a rare label: far from 0.5, and unsure of themselves
    rows = [[f"i{n}", *scores[n]] for n in range(80)]
    pairs = (
        written(csv, "p.csv", "image_id,Edema,Mass", rows[:40]),
        written(csv, "v.csv", "image_id,Edema,Mass", rows[40:]),
    )
    known = written(csv, "r.csv", "image_id,Edema,Mass", [[f"i{n}", *truth[n]] for n in range(80)])
    test, validation = labels.read_sets(pairs[0], known, pairs[1], None, OPTIONS)
    fitted = labels.fit(validation, test)
    assert fitted.temperature > 2
    found = labels.score(test, OPTIONS, fitted).tables["labels"]
    for c, name in enumerate(("Edema", "Mass")):
        assert found[name]["auroc"].value == pytest.approx(roc_auc_score(truth[:40, c], scores[:40, c]))
        cool = labels.cooled(test, fitted).scores[:, c]
        assert np.array_equal(np.argsort(cool, kind="stable"), np.argsort(scores[:40, c], kind="stable"))


def test_what_is_fitted_on_is_never_scored(csv: Csv, files: dict[str, Path]) -> None:
    with pytest.raises(DataError, match=r"40 images are in the validation predictions"):
        labels.fit(
            *reversed(
                labels.read_sets(
                    files["val"], files["truth"], files["val"], None, labels.LabelOptions(leave=True)
                )
            )
        )
    one = csv("one.csv", "image_id,Edema,Mass\ni39,0.2,0.3\n")
    first = csv("first.csv", "image_id,Edema,Mass\ni38,0.2,0.3\n")
    test, validation = labels.read_sets(one, files["truth"], first, None, labels.LabelOptions(leave=True))
    with pytest.raises(DataError, match="1 patients are in the validation predictions"):
        labels.fit(validation, test)


def test_a_label_that_is_not_predicted_has_a_reason_and_no_number(csv: Csv) -> None:
    p = csv("p.csv", "image_id,Edema\na,0.9\nb,0.1\n")
    r = csv("r.csv", "image_id,Edema,Mass,remarks\na,1,0,x\nb,0,1,y\n")
    test = labels.read_set(p, r, OPTIONS)
    assert test.lacking == ("Mass",)
    found = labels.score(test, OPTIONS, labels.fit(None, test))
    assert found.tables["labels"]["Mass"]["auroc"].reason == "not predicted: no such column"
    assert any("Mass" in note for note in test.notes)
    with pytest.raises(DataError, match=r"(?s)share no label column.*predictions have: Edema"):
        labels.read_set(p, csv("s.csv", "image_id,Other\na,1\nb,0\n"), OPTIONS)


def test_one_class_only_and_unknown_values_have_reasons(csv: Csv) -> None:
    p = csv("p.csv", "image_id,A,B\na,0.9,0.2\nb,0.1,0.3\n")
    r = csv("r.csv", "image_id,A,B\na,0,\nb,0,nan\n")
    test = labels.read_set(p, r, OPTIONS)
    found = labels.score(test, OPTIONS, labels.fit(None, test))
    table = found.tables["labels"]
    assert table["A"]["auroc"].reason == "every known value in this split is 0"
    assert table["B"]["auroc"].reason == "no known value in this split"
    assert all(np.isnan(v.value) for v in table["B"].values())


@pytest.mark.parametrize(("policy", "known", "ones"), [("ignore", 3, 1), ("ones", 4, 2), ("zeros", 4, 1)])
def test_uncertain_values_count_as_the_policy_says_and_are_noted(
    csv: Csv, policy: str, known: int, ones: int
) -> None:
    p = csv("p.csv", "image_id;A\na;0,9\n".replace("0,9", "0.9") + "b;0.1\nc;0.2\nd;0.3\n")
    r = csv("r.csv", "image_id,A\na,1.0\nb,-1.0\nc,FALSE\nd,0\n")
    test = labels.read_set(p, r, labels.LabelOptions(uncertain=policy))  # type: ignore[arg-type]
    assert int((~np.isnan(test.truth)).sum()) == known
    assert np.nansum(test.truth) == ones
    assert any("1 uncertain values (-1) are" in note for note in test.notes)


@pytest.mark.parametrize("cell", ["", "nan", "x", "inf"])
def test_gaps_in_the_predictions_are_refused(csv: Csv, cell: str) -> None:
    p, r = csv("p.csv", f"image_id,A\na,0.9\nb,{cell}\n"), csv("r.csv", "image_id,A\na,1\nb,0\n")
    with pytest.raises(DataError, match=r"(?s)column A: 1 of 2 predictions are no number.*first: b"):
        labels.read_set(p, r, OPTIONS)


def test_references_that_are_no_labels_are_refused_without_naming_their_content(csv: Csv) -> None:
    p, r = csv("p.csv", "image_id,A\na,0.9\nb,0.2\n"), csv("r.csv", "image_id,A\na,1\nb,Jane\n")
    with pytest.raises(DataError, match="column A: 1 values are no label") as caught:
        labels.read_set(p, r, OPTIONS)
    assert "Jane" not in str(caught.value)


def test_numbers_that_are_no_probabilities_are_ranked_only(csv: Csv) -> None:
    p, r = csv("p.csv", "image_id,A\na,3\nb,-2\nc,1\n"), csv("r.csv", "image_id,A\na,1\nb,0\nc,0\n")
    test = labels.read_set(p, r, OPTIONS)
    found = labels.score(test, OPTIONS, labels.fit(None, test))
    assert found.tables["labels"]["A"]["auroc"].value == 1
    assert found.tables["labels"]["A"]["f1"].reason == "the scores are not probabilities"
    assert found.facts["thresholds"] is None


def test_our_own_predictions_can_be_scored_again(files: dict[str, Path], tmp_path: Path) -> None:
    import json

    from xraytk.records import as_plain

    options = labels.LabelOptions(resamples=0, leave=True)
    test = labels.read_set(files["test"], files["truth"], options)
    path = tmp_path / "predictions.jsonl"
    path.write_text("".join(json.dumps(as_plain(row)) + "\n" for row in labels.rows_of(test)))
    again = labels.read_set(path, path, options)
    assert again.labels == test.labels
    assert (again.scores == test.scores).all()
    assert (again.truth == test.truth).all()
    assert again.patients == test.patients


def test_another_truth_has_another_fingerprint(csv: Csv) -> None:
    ours = written(csv, "p.csv", "image_id,Edema", [["a", 0.1], ["b", 0.7], ["c", 0.3]])
    prints = []
    for name, cells in (("one", (0, 1, 1)), ("same", (0, 1, 1)), ("other", (1, 0, 1))):
        truth = written(
            csv, f"{name}.csv", "image_id,Edema", [list(row) for row in zip("abc", cells, strict=True)]
        )
        test = labels.read_set(ours, truth, OPTIONS)
        prints.append(labels.score(test, OPTIONS, labels.fit(None, test)).protocol["fingerprint"])
    assert prints[0] == prints[1] != prints[2]


def test_patients_that_could_not_be_checked_and_notes_on_the_validation_are_said(
    csv: Csv, files: dict[str, Path]
) -> None:
    _, truth = drawn()
    plain = [[f"i{n}", *truth[n]] for n in range(40, 80)]
    plain[0][1] = -1
    theirs = written(csv, "vr.csv", "image_id,Edema,Mass", plain)
    rows = [[f"i{n}", f"p{n}" if n else "", *truth[n]] for n in range(40)]
    ours = written(csv, "tr.csv", "image_id,patient_id,Edema,Mass", rows)
    test, validation = labels.read_sets(files["test"], ours, files["val"], theirs, OPTIONS)
    fitted = labels.fit(validation, test)
    notes = labels.score(test, OPTIONS, fitted).notes
    assert "validation: Edema: 1 uncertain values (-1) are left out" in notes
    assert any("both validation and test is not known: no patient_id in validation" in note for note in notes)
    assert any(note.startswith("1 images have no patient_id") for note in notes)
    both = labels.read_sets(files["test"], files["truth"], files["val"], None, OPTIONS)
    assert labels.fit(both[1], both[0]).notes == ()
