from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import f1_score, precision_score, recall_score

from xraytk.tasks.scoring import clinical

NAMES = ("Edema", "Pneumonia", "Fracture")


def made(*rows: tuple[int | None, ...]) -> clinical.Found:
    return [dict(zip(NAMES, row, strict=True)) for row in rows]


HYP = made((1, 0, None), (-1, 1, None), (None, 1, None), (1, None, None))
REF = made((1, 1, None), (1, 1, None), (0, -1, None), (None, 0, None))


@pytest.mark.parametrize(
    ("policy", "edema"), [("positive", (2, 1, 0)), ("negative", (1, 1, 1)), ("ignore", (1, 1, 0))]
)
def test_uncertain_findings_count_as_the_policy_says(policy: str, edema: tuple[int, int, int]) -> None:
    rows = clinical.finding_rows(HYP, REF, policy)  # type: ignore[arg-type]
    assert tuple(rows.cells[:, 0].sum(axis=0).astype(int)) == edema


def test_agreement_equals_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    hyp, ref = rng.integers(0, 2, (2, 60, 3))
    rows = clinical.finding_rows(made(*map(tuple, hyp)), made(*map(tuple, ref)), "positive")
    found = rows.panel().values([str(i) for i in range(60)], resamples=0, seed=0)
    for metric, theirs in (("precision", precision_score), ("recall", recall_score), ("f1", f1_score)):
        assert [found[n][metric].value for n in NAMES] == pytest.approx(theirs(ref, hyp, average=None))
        assert found["micro"][metric].value == pytest.approx(theirs(ref, hyp, average="micro"))
        assert found["macro"][metric].value == pytest.approx(theirs(ref, hyp, average="macro"))
    assert found["Edema"]["in_references"].value == ref[:, 0].sum()
    assert found["Edema"]["in_generated"].value == hyp[:, 0].sum()


def test_what_nobody_names_has_a_reason_and_counts_in_no_mean() -> None:
    found = clinical.finding_rows(HYP, REF, "positive").panel().values(list("abcd"), resamples=10, seed=0)
    assert found["Fracture"]["f1"].reason == "named in no reference and in no generated report"
    both = [found[name]["f1"].value for name in NAMES[:2]]
    assert found["macro"]["f1"].value == pytest.approx(np.mean(both))
    missed = clinical.finding_rows(made((0, 0, 0)), made((1, 0, 0)), "positive").panel()
    values = missed.values(["a"], resamples=0, seed=0)
    assert values["Edema"]["precision"].reason == "named in no generated report"
    assert values["Edema"]["f1"].value == 0  # it was there and was missed: a true zero


def test_two_sets_are_joined() -> None:
    rows = clinical.finding_rows(HYP, REF, "positive")
    assert (rows + rows).cells.shape == (8, 3, 3)
