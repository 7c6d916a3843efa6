"""The curves of a run, drawn from its log: loss and its parts, rate, gradient, speed, use."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xraytk.files import atomic_write
from xraytk.train.journal import read
from xraytk.train.watch import SESSIONS

COLOURS = ("#2b6cb0", "#b45309", "#1b6e3c", "#7a4f9e", "#5b7083", "#b3261e")
"""Those of the pages, in their order."""
_SOFT, _LINE = "#5a6370", "#dcdfe3"
LOGARITHMIC = ("loss", "parts of the loss", "norm of the gradient")
"""Panels whose axis may be logarithmic."""
SHARES = frozenset({"hidden"})
"""Parts of a loss that are none, but shares of the patches."""
WIDE_FROM = 10.0
"""From this ratio of the largest to the smallest value on, an axis is logarithmic."""
Series = dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]]


def series_of(
    lines: Sequence[Mapping[str, Any]], *path: str
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Steps and values of one number of the log.

    Args:
        lines: Of the log.
        path: Key, and key within it.

    Returns:
        (n,) steps and (n,) values, of the lines that have the number.
    """
    steps, values = [], []
    for line in lines:
        value: Any = line
        for key in path:
            value = value.get(key) if isinstance(value, Mapping) else None
        if isinstance(value, int | float):
            steps.append(line["step"])
            values.append(value)
    return np.array(steps, np.float64), np.array(values, np.float64)


def names_in(lines: Sequence[Mapping[str, Any]], table: str) -> list[str]:
    """Names of the numbers of a table of the log, in order of appearance."""
    return list(dict.fromkeys(name for line in lines for name in line.get(table, {})))


def resumes(folder: Path) -> list[int]:
    """Steps after which the run was gone on with."""
    return [line["step"] for line in read(folder / SESSIONS) if line.get("event") == "begin"][1:]


def smoothed(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """A centred mean over about a twentieth of the values, shorter at both ends."""
    reach = len(values) // 40
    sums = np.concatenate([[0.0], np.nancumsum(values)])
    at = np.arange(len(values))
    low, high = np.maximum(0, at - reach), np.minimum(len(values), at + reach + 1)
    mean: NDArray[np.float64] = (sums[high] - sums[low]) / (high - low)
    return mean


def is_wide(every: Sequence[NDArray[np.float64]]) -> bool:
    """Whether values are better seen on a logarithmic axis."""
    found = np.concatenate(every) if every else np.zeros(0)
    found = found[np.isfinite(found)]
    return bool(len(found) and found.min() > 0 and found.max() / found.min() >= WIDE_FROM)


def draw_curves(folder: Path) -> Path:
    """Draw ``figures/curves.png`` of a run folder from its log.

    Args:
        folder: Run folder.

    Returns:
        The picture's path.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # slow to import
    from matplotlib.figure import Figure

    lines, marks = read(folder / "log.jsonl"), resumes(folder)
    panels = _panels(lines)
    rows = 2 + math.ceil(len(panels) / 2)
    figure = Figure(figsize=(11, 2.1 * rows), dpi=110)
    canvas = FigureCanvasAgg(figure)
    inch = 1 / (2.1 * rows)  # a fixed layout is drawn three times as fast as a constrained one
    grid = figure.add_gridspec(
        rows, 2, left=0.06, right=0.99, bottom=0.35 * inch, top=1 - 0.3 * inch, wspace=0.13, hspace=0.42
    )
    places = [grid[2 + i // 2, i % 2] for i in range(len(panels))]
    _panel(figure.add_subplot(grid[:2, :]), "loss", _losses(lines), marks, ghost=True)
    for place, (title, series) in zip(places, panels, strict=True):
        _panel(figure.add_subplot(place), title, series, marks, ghost="images" in title)
    path = folder / "figures" / "curves.png"
    with atomic_write(path) as stream:
        canvas.print_png(stream, metadata={"Software": None})  # type: ignore[no-untyped-call]
    return path


def _losses(lines: Sequence[Mapping[str, Any]]) -> Series:
    found = {"training": series_of(lines, "loss"), "validation": series_of(lines, "validation", "loss")}
    return {name: pair for name, pair in found.items() if len(pair[0])}


def parts_of(lines: Sequence[Mapping[str, Any]]) -> Series:
    """Parts of the loss, by name."""
    return {name: series_of(lines, "parts", name) for name in names_in(lines, "parts") if name not in SHARES}


def _panels(lines: Sequence[Mapping[str, Any]]) -> list[tuple[str, Series]]:
    """What stands below the loss: title and series; only what the log has."""
    parts = parts_of(lines)
    scores = {
        name: series_of(lines, "validation", name) for name in names_in(lines, "validation") if name != "loss"
    }
    wait, use = series_of(lines, "data_wait"), series_of(lines, "mfu")
    shares = {"waiting for data": wait, "of the matmul peak (MFU)": use}
    memory = {
        "used": series_of(lines, "memory_gib"),
        "reserved": series_of(lines, "reserved_gib"),
    }
    panels = [
        ("parts of the loss", parts),
        ("validation", scores),
        ("learning rate", {"": series_of(lines, "lr")}),
        ("norm of the gradient", {"": series_of(lines, "grad_norm")}),
        ("images per second", {"": series_of(lines, "img_per_s")}),
        ("memory of a process (GiB)", {k: pair for k, pair in memory.items() if len(pair[0])}),
        ("share of the time, of the peak (%)", {k: (s, 100 * v) for k, (s, v) in shares.items() if len(s)}),
    ]
    return [(title, series) for title, series in panels if any(len(steps) for steps, _ in series.values())]


def _panel(axes: Any, title: str, series: Series, marks: Sequence[int], *, ghost: bool) -> None:
    """Draw one panel; with ``ghost`` long series pale under their moving mean."""
    axes.set_title(title, loc="left", fontsize=9, color=_SOFT)
    for i, (name, (steps, values)) in enumerate(series.items()):
        colour, few = COLOURS[i % len(COLOURS)], len(steps) < 40
        style = {"marker": "o", "markersize": 2.5} if few or name == "validation" else {}
        if ghost and not few and name != "validation":
            axes.plot(steps, values, color=colour, lw=0.6, alpha=0.3)
            values = smoothed(values)
        axes.plot(steps, values, color=colour, lw=1.5, label=name.replace("_", " "), **style)
    if is_wide([values for _, values in series.values()]) and title in LOGARITHMIC:
        axes.set_yscale("log")
    for mark in marks:
        axes.axvline(mark, color=COLOURS[5], lw=0.8, ls=(0, (4, 3)), alpha=0.8)
    if title == "learning rate":
        axes.ticklabel_format(axis="y", scilimits=(0, 0))
    if title.startswith(("share", "images", "memory")):
        axes.set_ylim(0, None)
    if marks and title == "loss":
        axes.axvline(marks[0], color=COLOURS[5], lw=0.8, ls=(0, (4, 3)), label="gone on with")
    if len(axes.get_legend_handles_labels()[0]) and (len(series) > 1 or title == "loss"):
        axes.legend(frameon=False, fontsize=7.5, ncols=2 if len(series) > 3 else 1, labelcolor=_SOFT)
    axes.grid(alpha=0.6, color=_LINE, lw=0.6)
    axes.tick_params(labelsize=7.5, colors=_SOFT)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(_LINE)
