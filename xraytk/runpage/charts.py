"""Line charts as inline SVG, in the page's colours: light, dark and paper; readable on a phone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from xraytk.data.page import Html, joined, tag
from xraytk.train.curves import Series, is_wide, smoothed

BINS = 160
"""Points of a line at most; more are put together: their mean is drawn, their range behind it."""
FEW, MANY = 12, 40
"""Up to so many points are drawn as dots too; from so many on noisy ones are pale under their mean."""
_COLOURS = ("var(--one)", "var(--two)", "var(--fine)", "var(--four)", "var(--three)", "var(--alarm)")
_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 420, 210, 52, 8, 8, 32

STYLE = """
svg.lines { width: 100%; height: auto; display: block }
svg.lines text { font-size: 11px; fill: var(--soft) }
"""
Bins = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]


@dataclass(frozen=True, slots=True)
class _Frame:
    """Where steps and values lie in the drawing."""

    first: float
    last: float
    low: float
    high: float
    log: bool

    def x(self, steps: NDArray[np.float64]) -> list[float]:
        wide = _WIDTH - _LEFT - _RIGHT
        across = _LEFT + (steps - self.first) / max(self.last - self.first, 1) * wide
        return [float(x) for x in across]

    def y(self, values: NDArray[np.float64]) -> list[float]:
        low, high, at = self.low, self.high, values
        if self.log:
            low, high, at = math.log(low), math.log(high), np.log(values)
        up = (at - low) / max(high - low, 1e-12) * (_HEIGHT - _BOTTOM - _TOP)
        return [float(y) for y in _HEIGHT - _BOTTOM - up]


def chart(title: str, series: Series, marks: Sequence[int] = (), *, noisy: bool = False) -> Html:
    """Draw lines over the steps.

    Args:
        title: What it shows, in words.
        series: Name to steps and values; names are shown when there are several.
        marks: Steps at which a vertical line stands.
        noisy: Whether a moving mean is drawn over the values, and their axis may be logarithmic,
            which it is for positive values of wide range.

    Returns:
        The chart with its legend; nothing when there is no value.
    """
    every = {name: binned(*pair) for name, pair in series.items() if np.isfinite(pair[1]).any()}
    if not every:
        return Html("")
    lows, highs = [bins[1] for bins in every.values()], [bins[3] for bins in every.values()]
    wide = noisy and is_wide([*lows, *highs])
    low, high = min(float(v.min()) for v in lows), max(float(v.max()) for v in highs)
    ticks = log_ticks(low, high) if wide else even_ticks(low, high)
    frame = _Frame(
        first=min(0.0, *(float(bins[0][0]) for bins in every.values())),
        last=max(float(bins[0][-1]) for bins in every.values()),
        low=min(low, ticks[0]),
        high=max(high, ticks[-1]),
        log=wide,
    )
    parts = [tag("title", title), *_axes(frame, ticks)]
    places, low_y = frame.x(np.array(marks, np.float64)), _HEIGHT - _BOTTOM
    parts += [_line(x, _TOP, x, low_y, "var(--alarm)", stroke_dasharray="4 3") for x in places]
    for i, (name, bins) in enumerate(every.items()):
        parts += _drawn(frame, name or title, bins, _COLOURS[i % len(_COLOURS)], noisy)
    box = f"0 0 {_WIDTH} {_HEIGHT}"
    svg = tag("svg", *parts, class_="lines", viewBox=box, role="img", aria_label=title)
    return joined([_legend(list(every)), svg]) if len(every) > 1 else svg


def _axes(frame: _Frame, ticks: Sequence[float]) -> list[Html]:
    parts = []
    for tick, y in zip(ticks, frame.y(np.array(ticks)), strict=True):
        parts.append(_line(_LEFT, y, _WIDTH - _RIGHT, y, "var(--line)"))
        parts.append(tag("text", f"{tick:.4g}", x=_LEFT - 5, y=_short(y + 3.5), text_anchor="end"))
    steps = [tick for tick in even_ticks(frame.first, frame.last, most=5) if tick <= frame.last]
    under = _HEIGHT - _BOTTOM + 14
    for tick, x in zip(steps, frame.x(np.array(steps)), strict=True):
        anchor = "end" if x > _WIDTH - 20 else "middle"
        parts.append(tag("text", f"{tick:,.0f}", x=_short(x), y=under, text_anchor=anchor))
    middle = (_LEFT + _WIDTH) // 2
    return [*parts, tag("text", "step", x=middle, y=_HEIGHT - 4, text_anchor="middle")]


def _drawn(frame: _Frame, name: str, bins: Bins, colour: str, noisy: bool) -> list[Html]:
    """A line, the range of what was put together behind it, and dots where there are few."""
    steps, least, mean, most = bins
    x, parts = frame.x(steps), []
    if (most > least).any():
        around = [*zip(x, frame.y(least), strict=True), *reversed([*zip(x, frame.y(most), strict=True)])]
        parts.append(tag("polygon", points=_points(around), fill=colour, fill_opacity="0.18"))
    if noisy and len(mean) >= MANY:
        pale = _points([*zip(x, frame.y(mean), strict=True)])
        parts.append(tag("polyline", points=pale, fill="none", stroke=colour, stroke_opacity="0.35"))
        mean = smoothed(mean)
    line = [*zip(x, frame.y(mean), strict=True)]
    said = tag("title", f"{name}: {mean[-1]:.4g} at step {steps[-1]:,.0f}")
    points = _points(line)
    parts.append(tag("polyline", said, points=points, fill="none", stroke=colour, stroke_width="1.7"))
    if len(line) <= FEW:
        parts += [tag("circle", cx=_short(a), cy=_short(b), r="2.4", fill=colour) for a, b in line]
    return parts


def binned(steps: NDArray[np.float64], values: NDArray[np.float64]) -> Bins:
    """Steps, least, mean and most of at most `BINS` groups of neighbours; what is not finite is left out."""
    fine = np.isfinite(values)
    steps, values = steps[fine], values[fine]
    if len(values) <= BINS:
        return steps, values, values, values
    edges = np.linspace(0, len(values), BINS + 1).astype(int)[:-1]
    counts = np.diff([*edges, len(values)])
    return (
        np.add.reduceat(steps, edges) / counts,
        np.minimum.reduceat(values, edges),
        np.add.reduceat(values, edges) / counts,
        np.maximum.reduceat(values, edges),
    )


def even_ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Round numbers at even distances, from at most ``low`` to at least ``high``."""
    if low > 0 and low < 0.6 * high:
        low = 0.0
    spread = high - low or abs(high) or 1.0
    rough = spread / (most - 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= rough * 0.999)
    begin, end = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [i * step for i in range(begin, max(end, begin + 1) + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """Round numbers between two positive ones: powers of ten, with 2 and 5 where there are few."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    every: Sequence[float] = (1, 2, 5) if len(powers) <= 4 else (1,)
    found = [m * 10.0**p for p in powers for m in every]
    inside = [tick for tick in found if low <= tick <= high]
    return inside or [low, high]


def _legend(names: Sequence[str]) -> Html:
    keys: list[object] = []
    for i, name in enumerate(names):
        square = tag("rect", width=10, height=10, fill=_COLOURS[i % len(_COLOURS)])
        keys += [tag("svg", square, class_="key", viewBox="0 0 10 10", aria_hidden="true")]
        keys += [name.replace("_", " ")]
    return tag("p", *keys, class_="legend")


def _line(x1: float, y1: float, x2: float, y2: float, colour: str, **more: str) -> Html:
    return tag("line", x1=_short(x1), y1=_short(y1), x2=_short(x2), y2=_short(y2), stroke=colour, **more)


def _short(value: float) -> str:
    return f"{value:.1f}".rstrip("0").rstrip(".")


def _points(pairs: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{_short(x)},{_short(y)}" for x, y in pairs)
