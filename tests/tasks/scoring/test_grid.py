from __future__ import annotations

from dataclasses import replace

import numpy as np

from xraytk.tasks.metrics.panel import label_panel
from xraytk.tasks.metrics.values import Value, absent
from xraytk.tasks.scoring import grid
from xraytk.tasks.scoring.groups import groups_of

SCORES = {
    "Pleural_Other & co": {"auroc": Value(0.5, 0.25, 0.75, 1200, 3), "f1": absent("no threshold", 1200)},
    "Edema": {"auroc": absent("every value is 0", 7), "f1": absent("every value is 0", 7)},
}


def test_a_table_has_values_with_intervals_and_reasons_below() -> None:
    found = grid.of_scores("labels", SCORES)
    assert found.head == ("", "images", "AUROC", "F1")
    assert found.rows == (
        ("Pleural_Other & co", "1,200", "0.500 [0.250, 0.750]", "-"),
        ("Edema", "7", "-", "-"),
    )
    assert found.notes == ("Pleural_Other & co F1: no threshold", "Edema: every value is 0")
    assert any("1,200   0.500 [0.250, 0.750]  -" in line for line in found.lines())


def test_latex_and_markdown_are_escaped() -> None:
    found = grid.of_scores("a | b", SCORES)
    assert r"Pleural\_Other \& co & 1,200 & 0.500 [0.250, 0.750] & - \\" in found.latex()
    assert r"\begin{tabular}{lccc}" in found.latex()
    assert "| Pleural_Other & co | 1,200 |" in found.markdown()
    piped = grid.Grid("t", ("", "a|b"), (("x", "1"),))
    assert r"|  | a\|b |" in piped.markdown()


def test_counts_are_whole_numbers() -> None:
    scores = {"Edema": {"in_references": Value(1234.0, 1.0, 2.0, 5, 5)}}
    assert grid.of_scores("f", scores).rows == (("Edema", "5", "1,234"),)


def test_what_stands_with_every_table_is_in_markdown_and_in_the_caption() -> None:
    found = replace(grid.of_scores("labels", SCORES), told="fingerprint ab_c; in brackets: 95 % interval")
    assert found.markdown().endswith("\n\nfingerprint ab_c; in brackets: 95 % interval\n")
    assert r"\caption{labels (fingerprint ab\_c; in brackets: 95 \% interval)}" in found.latex()
    assert grid.comment("two\nlines") == "% two lines"


def test_an_ece_with_an_interval_and_a_gap_are_explained() -> None:
    scores = {"Edema": {"ece": Value(0.05, 0.06, 0.1, 9, 9)}}
    assert grid.of_scores("labels", scores).notes == (grid.ECE,)
    assert not grid.of_scores("labels", {"Edema": {"ece": Value(0.05, np.nan, np.nan, 9, 9)}}).notes
    truth = np.arange(60)[:, None] % 2.0
    panel = label_panel(np.full((60, 1), 0.5), truth, ["Mass"], {}, metrics=("auroc",))
    people = [str(i) for i in range(60)]
    sexes = ["F"] * 30 + ["M"] * 30
    for facts, note in (
        (sexes, grid.GAP),
        (["F"] * 55 + ["M"] * 5, "best minus worst: fewer than two groups"),
    ):
        made = groups_of(panel, {"sex": facts}, people, resamples=5, seed=0)[0]
        shown = grid.of_groups(made, "auroc", "macro")
        assert any(said.startswith(note) for said in shown.notes)
