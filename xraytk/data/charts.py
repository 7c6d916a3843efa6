"""Charts as inline SVG: bars, histograms and bands, with their numbers in words.

Colours are the page's variables (`data.page`), so that charts follow light, dark and paper.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from xraytk.data.page import Html, joined, tag

_COLOURS = ("var(--one)", "var(--two)", "var(--three)", "var(--four)")
_WIDTH, _HEIGHT, _LEFT, _BOTTOM, _TOP = 360, 190, 44, 34, 10

STYLE = """
svg.bar { display: block; width: 100%; min-width: 2.5em; height: .75em; margin-top: .45em }
svg.chart { width: 100%; max-width: 34em; height: auto; display: block }
svg.chart text { font-size: 10.5px; fill: var(--soft) }
svg, .key { print-color-adjust: exact; -webkit-print-color-adjust: exact }
.key { display: inline-block; width: .8em; height: .8em; margin: 0 .3em 0 .9em; vertical-align: baseline }
"""


def bar(*shares: float, colours: Sequence[int] = (0, 1, 2, 3)) -> Html:
    """Draw a bar that fills its table cell: one part for each share of the whole, in [0, 1].

    Args:
        shares: Of the parts.
        colours: Places in the palette.
    """
    parts = [tag("rect", width=100, height=10, fill="var(--track)")]
    at = 0.0
    for share, colour in zip(shares, colours, strict=False):
        fill = _COLOURS[colour]
        parts.append(tag("rect", x=_short(at), width=_short(100 * share), height=10, fill=fill))
        at += 100 * share
    return tag(
        "svg", *parts, class_="bar", viewBox="0 0 100 10", preserveAspectRatio="none", aria_hidden="true"
    )


def legend(names: Sequence[str], colours: Sequence[int] = (0, 1, 2, 3)) -> Html:
    """Name the colours of `bar` and `histogram`."""
    keys = []
    for name, colour in zip(names, colours, strict=False):
        square = tag("rect", width=10, height=10, fill=_COLOURS[colour])
        keys += [tag("svg", square, class_="key", viewBox="0 0 10 10", aria_hidden="true"), name]
    return tag("p", *keys, class_="legend")


def histogram(
    title: str, names: Sequence[str], series: Mapping[str, Sequence[int]], x_label: str, y_label: str
) -> Html:
    """Draw columns, stacked when there are several series.

    Args:
        title: What it shows, in words.
        names: Of the columns; as many are written as fit.
        series: Name to a count a column.
        x_label: Under the axis.
        y_label: What is counted.

    Returns:
        The chart, with a legend when there are several series.
    """
    counts = np.array([list(values) for values in series.values()], np.int64).reshape(len(series), len(names))
    ticks = _ticks(int(counts.sum(0).max(initial=0)))
    step = min((_WIDTH - _LEFT - 6) / max(len(names), 1), 52)
    parts = _axes(ticks, y_label, x_label)
    every = max(1, math.ceil(len(names) * 30 / (_WIDTH - _LEFT)))
    for i, name in enumerate(names):
        base = float(_HEIGHT - _BOTTOM)
        x = _LEFT + i * step
        said = ", ".join(
            f"{key}: {counts[k, i]:,}" if key else f"{counts[k, i]:,}" for k, key in enumerate(series)
        )
        rects = [tag("title", f"{name}: {said}")]
        for k in range(len(series)):
            height = counts[k, i] / ticks[-1] * (_HEIGHT - _BOTTOM - _TOP)
            base -= height
            rects.append(
                tag(
                    "rect",
                    x=_short(x + step * 0.08),
                    y=_short(base),
                    width=_short(step * 0.84),
                    height=_short(height),
                    fill=_COLOURS[k % len(_COLOURS)],
                )
            )
        parts.append(tag("g", *rects))
        if i % every == 0:
            middle, under = _short(x + step / 2), _HEIGHT - _BOTTOM + 13
            parts.append(tag("text", name, x=middle, y=under, text_anchor="middle"))
    chart = _chart(title, parts)
    return joined([legend(list(series)), chart]) if len(series) > 1 else chart


def band(title: str, lines: NDArray[np.float64], x_label: str, y_label: str) -> Html:
    """Draw a line in its band.

    Args:
        title: What it shows, in words.
        lines: (3, n) low, middle and high, at even steps from 0 to 1.
        x_label: Under the axis.
        y_label: What the height is, in percent.
    """
    top = max(float(lines.max()) * 100, 0.1)
    ticks = _ticks(math.ceil(top))
    x = _LEFT + (np.arange(lines.shape[1]) + 0.5) / lines.shape[1] * (_WIDTH - _LEFT - 6)
    y = _HEIGHT - _BOTTOM - lines * 100 / ticks[-1] * (_HEIGHT - _BOTTOM - _TOP)
    parts = _axes(ticks, y_label, x_label)
    around = _points([*zip(x, y[0], strict=True), *reversed([*zip(x, y[2], strict=True)])])
    parts.append(tag("polygon", points=around, fill="var(--one)", fill_opacity="0.3"))
    middle = _points([*zip(x, y[1], strict=True)])
    parts.append(tag("polyline", points=middle, fill="none", stroke="var(--one)", stroke_width="1.8"))
    for share, anchor in ((0.0, "start"), (0.5, "middle"), (1.0, "end")):
        at = _short(_LEFT + share * (_WIDTH - _LEFT - 6))
        parts.append(tag("text", f"{share:g}", x=at, y=_HEIGHT - _BOTTOM + 13, text_anchor=anchor))
    return _chart(title, parts)


def _axes(ticks: Sequence[int], y_label: str, x_label: str) -> list[Html]:
    parts = []
    for tick in ticks:
        y = _HEIGHT - _BOTTOM - tick / ticks[-1] * (_HEIGHT - _BOTTOM - _TOP)
        line = {"x1": _LEFT, "x2": _WIDTH - 6, "y1": _short(y), "y2": _short(y)}
        parts.append(tag("line", **line, stroke="var(--line)"))
        parts.append(tag("text", _thousands(tick), x=_LEFT - 5, y=_short(y + 3.5), text_anchor="end"))
    middle = (_TOP + _HEIGHT - _BOTTOM) // 2
    turned = f"rotate(-90 9 {middle})"
    parts.append(tag("text", y_label, x=9, y=middle, text_anchor="middle", transform=turned))
    right = (_LEFT + _WIDTH) // 2
    parts.append(tag("text", x_label, x=right, y=_HEIGHT - 6, text_anchor="middle"))
    return parts


def _chart(title: str, parts: Sequence[Html]) -> Html:
    inside = joined([tag("title", title), *parts])
    box = f"0 0 {_WIDTH} {_HEIGHT}"
    return tag("svg", inside, class_="chart", viewBox=box, role="img", aria_label=title)


def _ticks(top: int) -> list[int]:
    """Round numbers from 0 to at least ``top``, three to six of them."""
    rough = max(top, 1) / 4
    power = 10 ** math.floor(math.log10(rough)) if rough >= 1 else 1
    step = next(int(m * power) for m in (1, 2, 5, 10) if m * power >= rough)
    return [i * step for i in range(math.ceil(max(top, 1) / step) + 1)]


def _thousands(value: int) -> str:
    for size, letter in ((1_000_000, "M"), (1_000, "k")):
        if value >= 10 * size or (value >= size and value % size == 0):
            return f"{value / size:g}{letter}"
    return str(value)


def _short(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".")


def _points(pairs: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{_short(x)},{_short(y)}" for x, y in pairs)
