from __future__ import annotations

from xraytk.tasks.metrics.values import Value, absent
from xraytk.tasks.scoring import grid

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
