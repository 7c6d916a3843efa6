"""Tables for people: the same cells as text, Markdown, LaTeX and HTML."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from xraytk.data.page import Html
from xraytk.data.page import table as html_table
from xraytk.tasks.metrics.compare import Difference
from xraytk.tasks.metrics.panel import Scores
from xraytk.tasks.metrics.values import Value
from xraytk.tasks.scoring.groups import Groups
from xraytk.tasks.scoring.scored import Scored

TITLES = {
    "bleu_1": "BLEU-1", "bleu_2": "BLEU-2", "bleu_3": "BLEU-3", "bleu_4": "BLEU-4", "rouge_l": "ROUGE-L",
    "cider": "CIDEr", "meteor": "METEOR", "auroc": "AUROC", "auprc": "AUPRC", "f1": "F1", "ece": "ECE",
    "brier": "Brier", "sensitivity_at": "sens. at spec.", "specificity_at": "spec. at sens.",
    "in_references": "in references", "in_generated": "in generated",
}  # fmt: skip
GAP = (
    "best minus worst is never below 0, and above 0 by chance alone: its interval is no test of a difference"
)
ECE = "ECE: that of a resample is larger by chance, so that a value can lie below its interval"
COUNTS = ("in_references", "in_generated")
_LATEX = {
    **{c: f"\\{c}" for c in "&%_#${}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "\\": r"\textbackslash{}",
}


@dataclass(frozen=True, slots=True)
class Grid:
    """A table of texts.

    Args:
        title: What it shows.
        head: Names of the columns; the first is that of the rows' names.
        rows: Cells.
        notes: Below it.
        told: Of `scored.told`, in files of tables.
    """

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()
    told: str = ""

    def lines(self) -> list[str]:
        """Aligned columns."""
        table = [self.head, *self.rows]
        wide = [max(len(row[c]) for row in table) for c in range(len(self.head))]
        out = ["  ".join(f"{cell:<{w}}" for cell, w in zip(row, wide, strict=True)).rstrip() for row in table]
        return [f"{self.title}:", *(f"  {line}" for line in out), *(f"  {note}" for note in self.notes)]

    def markdown(self) -> str:
        """A Markdown table with its title."""
        rows = [self.head, tuple("---" for _ in self.head), *self.rows]
        body = "\n".join("| " + " | ".join(cell.replace("|", r"\|") for cell in row) + " |" for row in rows)
        notes = "".join(f"\n\n{note}" for note in (*self.notes, *filter(None, [self.told])))
        return f"**{self.title}**\n\n{body}{notes}\n"

    def latex(self) -> str:
        """A LaTeX table (booktabs)."""
        rows = [" & ".join(_tex(cell) for cell in row) + r" \\" for row in (self.head, *self.rows)]
        body = "\n".join([r"\toprule", rows[0], r"\midrule", *rows[1:], r"\bottomrule"])
        columns = "l" + "c" * (len(self.head) - 1)
        notes = "".join(f"\n{comment(note)}" for note in self.notes)
        title = _tex(f"{self.title} ({self.told})" if self.told else self.title)
        return (
            f"\\begin{{table}}\n\\centering\n\\caption{{{title}}}\n\\begin{{tabular}}{{{columns}}}\n"
            f"{body}\n\\end{{tabular}}{notes}\n\\end{{table}}\n"
        )

    def html(self) -> Html:
        """A table of a page."""
        return html_table(self.head, self.rows)


def comment(text: str) -> str:
    """A line that LaTeX leaves out."""
    return f"% {' '.join(text.split())}"


def _tex(text: str) -> str:
    return "".join(_LATEX.get(c, c) for c in text)


def of_scores(title: str, scores: Scores) -> Grid:
    """Rows by metrics: value and interval, or the reason."""
    metrics = list(dict.fromkeys(metric for row in scores.values() for metric in row))
    rows, reasons = [], []
    for name, values in scores.items():
        some = next(iter(values.values()))
        cells = [_cell(m, values.get(m)) for m in metrics]
        rows.append((name, f"{some.n:,}", *cells))
        said: dict[str, list[str]] = {}
        for metric, value in values.items():
            if value.reason:
                said.setdefault(value.reason, []).append(TITLES.get(metric, metric))
        for reason, which in said.items():
            of = "" if len(which) == len(values) else f" {', '.join(which)}"
            reasons.append(f"{name}{of}: {reason}")
    if any(not math.isnan(row["ece"].low) for row in scores.values() if "ece" in row):
        reasons.append(ECE)
    head = ("", "images", *(TITLES.get(m, m) for m in metrics))
    return Grid(title, head, tuple(rows), tuple(reasons))


def _cell(metric: str, value: Value | None) -> str:
    if value is None:
        return ""
    if metric in COUNTS and not math.isnan(value.value):
        return f"{value.value:,.0f}" if value.value % 1 == 0 else f"{value.value:,.1f}"
    return value.text()


def of_groups(found: Groups, metric: str, row: str) -> Grid:
    """One score of each group of a fact, its distance to the rest, and the gap."""
    rows = []
    for name, scores in found.scores.items():
        value = scores[row][metric]
        rest = found.rest[name][row][metric].text()
        rows.append(
            (
                name,
                f"{value.n:,}",
                f"{value.patients:,}",
                value.text(),
                rest if name not in found.small else "-",
            )
        )
    gap = found.gap[row][metric]
    rows.append(("best minus worst", "", "", gap.text(), ""))
    notes = [f"{name}: fewer than 10 patients, not compared" for name in found.small]
    notes.append(GAP if gap.text() != "-" else f"best minus worst: {gap.reason}")
    if found.unknown:
        notes.append(f"unknown for {found.unknown:,} images")
    title = f"{TITLES.get(metric, metric)} ({row}) by {found.fact}"
    return Grid(
        title,
        (found.fact, "images", "patients", TITLES.get(metric, metric), "minus the rest"),
        tuple(rows),
        tuple(notes),
    )


def of_differences(title: str, found: dict[str, dict[str, Difference]], names: tuple[str, str]) -> Grid:
    """A row a score: both systems, their difference and its p-values."""
    rows, reasons = [], []
    for row, metrics in found.items():
        said: dict[str, list[str]] = {}
        for metric, d in metrics.items():
            if d.apart.reason:
                said.setdefault(d.apart.reason, []).append(TITLES.get(metric, metric))
            name = f"{row} {TITLES.get(metric, metric)}"
            rows.append(
                (name, d.a.text(), d.b.text(), d.apart.text(), *map(_p, (d.p, d.holm, d.fdr, d.delong)))
            )
        reasons += [f"{row} {', '.join(which)}: {why}" for why, which in said.items()]
    ends = [d.a.low for row in found.values() for metric, d in row.items() if metric == "ece"]
    reasons += [ECE] if any(not math.isnan(low) for low in ends) else []
    head = ("", *names, "difference", "p", "Holm", "Benjamini-Hochberg", "DeLong p")
    kept = [i for i in range(len(head)) if i < 5 or any(row[i] != "-" for row in rows)]
    cells = tuple(tuple(row[i] for i in kept) for row in rows)
    return Grid(title, tuple(head[i] for i in kept), cells, tuple(reasons))


def _p(value: float) -> str:
    if math.isnan(value):
        return "-"
    return "<0.001" if value < 0.001 else f"{value:.3f}"


def grids_of(scored: Scored) -> list[Grid]:
    """All tables of a set of scores."""
    out = [of_scores(name, table) for name, table in scored.tables.items()]
    for name, groups in scored.groups.items():
        scores = scored.tables[name]
        row, metrics = _told(name, list(scores))
        out += [of_groups(found, m, row) for found in groups for m in metrics]
    return out


def _told(name: str, rows: Sequence[str]) -> tuple[str, tuple[str, ...]]:
    """Which scores of subgroups are shown; metrics.json has all."""
    if name == "labels":
        return "macro", ("auroc",)
    if name == "words":
        return rows[0], ("bleu_4", "rouge_l")
    return "micro", ("f1",)
