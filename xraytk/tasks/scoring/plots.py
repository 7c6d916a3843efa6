"""Pictures of scores as PNG: ROC, precision-recall, reliability, confusion, bars with intervals.

matplotlib is imported when a picture is drawn.
"""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from xraytk.tasks.metrics.calibration import reliability
from xraytk.tasks.metrics.labels import confusion
from xraytk.tasks.metrics.panel import Scores
from xraytk.tasks.metrics.values import Value
from xraytk.tasks.scoring.labels import Fitted, LabelSet

GREY, INK, ONE, TWO = "#bbbbbb", "#30363d", "#2b6cb0", "#b45309"
_FONTS = ["DejaVu Sans", "Noto Sans CJK SC", "WenQuanYi Micro Hei", "SimHei", "PingFang SC"]
DPI = 110


def _figure(wide: float, high: float) -> Any:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(wide, high), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _png(figure: Any) -> bytes:
    """Bytes of a figure, the same every time; signs that no font has are boxes."""
    import matplotlib as mpl

    stream = io.BytesIO()
    with mpl.rc_context({"font.family": _installed()}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        figure.savefig(stream, dpi=DPI, format="png", metadata={"Software": None})
    return stream.getvalue()


def _installed() -> list[str]:
    from matplotlib import font_manager

    there = {font.name for font in font_manager.fontManager.ttflist}
    return [name for name in _FONTS if name in there] or ["sans-serif"]


def curves(test: LabelSet, scores: Scores, kind: str) -> bytes:
    """ROC ("roc") or precision-recall ("pr") curves, one a label, with area and interval."""
    from sklearn.metrics import precision_recall_curve, roc_curve

    figure = _figure(6.4, 6.4)
    axes = figure.add_subplot()
    if kind == "roc":
        axes.plot([0, 1], [0, 1], color=GREY, linewidth=1)
    for c, label in enumerate(test.labels):
        area = scores[label]["auroc" if kind == "roc" else "auprc"]
        if area.reason:
            continue
        known = ~np.isnan(test.truth[:, c])
        truth, said = test.truth[known, c], test.scores[known, c]
        if kind == "roc":
            x, y, _ = roc_curve(truth, said)
        else:
            y, x, _ = precision_recall_curve(truth, said)
        axes.step(x, y, where="post", label=f"{label}  {area.text()}", linewidth=1.4)
    names = ("1 - specificity", "sensitivity") if kind == "roc" else ("sensitivity (recall)", "precision")
    axes.set(xlabel=names[0], ylabel=names[1], xlim=(0, 1), ylim=(0, 1.01), aspect="equal")
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc="lower right" if kind == "roc" else "lower left", fontsize=7)
    return _png(figure)


def _small(count: int, side: float, draw: Callable[[Any, int], None]) -> bytes:
    """Small pictures in rows of five."""
    columns = min(5, count)
    rows = math.ceil(count / columns)
    figure = _figure(side * columns, side * 1.08 * rows)
    for i in range(count):
        draw(figure.add_subplot(rows, columns, i + 1), i)
    return _png(figure)


def reliabilities(test: LabelSet, scores: Scores) -> bytes:
    """Reliability of each label: frequency over probability, with a histogram below."""

    def draw(axes: Any, c: int) -> None:
        found = reliability(test.scores[:, c], test.truth[:, c])
        axes.plot([0, 1], [0, 1], color=GREY, linewidth=1)
        if len(found.count):
            axes.bar(found.chance, found.count / found.count.max() * 0.2, width=0.03, color=GREY)
        axes.plot(found.chance, found.share, "o-", color=ONE, markersize=3, linewidth=1)
        ece = scores[test.labels[c]]["ece"]
        axes.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
        axes.set_title(f"{test.labels[c]}\nECE {ece.text() if not ece.reason else '-'}", fontsize=7)
        axes.tick_params(labelsize=6)

    return _small(len(test.labels), 2.3, draw)


def confusions(test: LabelSet, fitted: Fitted) -> bytes:
    """Counts of each label at its threshold."""

    def draw(axes: Any, c: int) -> None:
        label = test.labels[c]
        tp, fp, fn, tn = confusion(test.scores[:, c], test.truth[:, c], (fitted.thresholds or {})[label])
        table = np.array([[tn, fp], [fn, tp]])
        share = table / np.maximum(1, table.sum(axis=1, keepdims=True))
        axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
        for (row, column), number in np.ndenumerate(table):
            ink = "white" if share[row, column] > 0.6 else INK
            axes.text(column, row, f"{number:,}", ha="center", va="center", color=ink, fontsize=8)
        axes.set(xticks=[0, 1], yticks=[0, 1])
        axes.set_xticklabels(["said no", "said yes"], fontsize=6)
        axes.set_yticklabels(["absent", "present"], fontsize=6)
        axes.set_title(label, fontsize=7)

    return _small(len(test.labels), 2.0, draw)


def bars(values: Mapping[str, Value], name: str) -> bytes:
    """One horizontal bar a row with its interval; rows without a value say why."""
    rows = list(values)
    figure = _figure(7.2, 0.8 + 0.3 * len(rows))
    axes = figure.add_subplot()
    for i, row in enumerate(rows):
        value = values[row]
        if value.reason:
            axes.text(0.01, i, value.reason, va="center", fontsize=7, color=TWO)
            continue
        axes.barh(i, value.value, color=ONE, height=0.6)
        if not math.isnan(value.low):
            axes.plot([value.low, value.high], [i, i], color=INK, linewidth=1.4)
    axes.set(yticks=range(len(rows)), xlim=(0, 1), xlabel=f"{name}, 95 % interval over patients")
    axes.set_yticklabels(rows, fontsize=8)
    axes.invert_yaxis()
    return _png(figure)


def of_labels(test: LabelSet, fitted: Fitted, scores: Scores) -> dict[str, bytes]:
    """All pictures of predicted labels."""
    out = {"roc": curves(test, scores, "roc"), "pr": curves(test, scores, "pr")}
    if fitted.thresholds is not None:
        out["reliability"] = reliabilities(test, scores)
        out["confusion"] = confusions(test, fitted)
    out["auroc"] = bars(column(scores, "auroc"), "AUROC")
    return out


def of_reports(tables: Mapping[str, Scores]) -> dict[str, bytes]:
    """All pictures of scored reports: F1 of the findings, where there is a labeller."""
    return {
        f"{name}-f1": bars(column(tables[name], "f1"), "F1")
        for name in ("findings", "chexbert")
        if name in tables
    }


def column(scores: Scores, metric: str) -> dict[str, Value]:
    """One metric of all rows that have it."""
    return {row: values[metric] for row, values in scores.items() if metric in values}


def named(figures: Mapping[str, bytes]) -> Sequence[str]:
    """File names of figures."""
    return [f"{name}.png" for name in figures]
