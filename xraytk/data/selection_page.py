"""What a selection looks like: a contact sheet by prototype and zone, and a map of all points.

Images that are said to have text burned in are never shown, since the text may be a name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from xraytk.data.looks import evenly, shrunk
from xraytk.data.page import Html, document, joined, picture, tag
from xraytk.data.pictures import read_png
from xraytk.data.prototypes import ZONES, Points, Prototypes
from xraytk.errors import DataError
from xraytk.files import atomic_write

SHOWN = 4
"""Pictures of each zone of a prototype."""
OUTLIERS = 96
"""Pictures of outliers, farthest first, at the top of the page."""
POINTS = 20_000
"""Points of the map at most."""

_SAID = {
    "central": "nearest to the prototype",
    "periphery": "farther than usual",
    "tail": "rare: all kept",
    "outlier": "farthest out",
}
_STYLE = """
section { border-top: 1px solid var(--line); padding-top: .6em }
.row { display: flex; flex-wrap: wrap; gap: 1.2em } .zone p { margin: .2em 0; color: var(--soft) }
figure { display: inline-block; margin: 0 .3em .3em 0; width: 104px; vertical-align: top }
figure img { width: 104px; height: 104px; object-fit: contain; border: 2px solid transparent }
figure.kept img { border-color: var(--fine) }
figcaption { font-size: 10px; color: var(--soft) }
"""


@dataclass(frozen=True, slots=True)
class Shown:
    """What the page is made of: N points and their pictures.

    Args:
        ids: Hashed ids.
        paths: Of the PNGs.
        hidden: (N,) True where the picture may not be shown.
        points: (N, D).
        found: Their prototypes and zones.
        keep: (N,) bool.
        reason: (N,) fixed codes.
    """

    ids: Sequence[str]
    paths: Sequence[Path]
    hidden: NDArray[np.bool_]
    points: Points
    found: Prototypes
    keep: NDArray[np.bool_]
    reason: NDArray[np.str_]


def write_sheet(path: Path, shown: Shown, facts: Mapping[str, object]) -> None:
    """Write the contact sheet.

    Args:
        path: The HTML file.
        shown: What to show.
        facts: Said at the top.
    """
    found = shown.found
    top = tag("table", *(tag("tr", tag("th", name), tag("td", value)) for name, value in facts.items()))
    out = np.flatnonzero(found.zone == ZONES.index("outlier"))
    out = out[np.argsort(-found.distance[out], kind="stable")]
    parts = [tag("h1", "Selection"), top, _legend()]
    if len(out):
        said = (
            f"{len(out):,} images lie at 3 spreads or more from their prototype. Some are broken, some are "
            "rare diseases: look at each, and say with --decided which are kept."
        )
        parts.append(tag("section", tag("h2", "Outliers"), tag("p", said), *_tiles(shown, out[:OUTLIERS])))
    parts += [_prototype(shown, number) for number in range(len(found.centres))]
    with atomic_write(path, "w") as stream:
        stream.write(document("Selection", joined(parts), _STYLE))


def _legend() -> Html:
    said = "A green frame: kept. The number is the distance from the prototype. Pictures with text burned in"
    return tag("p", f"{said} by their header are not shown.")


def _prototype(shown: Shown, number: int) -> Html:
    """One prototype: its zones, from the nearest outwards."""
    found = shown.found
    mine = np.flatnonzero(found.nearest == number)
    mine = mine[np.argsort(found.distance[mine], kind="stable")]
    zones = []
    for code, zone in enumerate(ZONES):
        there = mine[found.zone[mine] == code]
        chosen = there[:SHOWN] if zone == "central" else evenly(there, SHOWN)
        said = f"{zone} ({_SAID[zone]}): {len(there):,}, kept {int(shown.keep[there].sum()):,}"
        if len(there):
            zones.append(tag("div", tag("p", said), *_tiles(shown, chosen), class_="zone"))
    head = f"Prototype {number}: {len(mine):,} images, kept {int(shown.keep[mine].sum()):,}"
    return tag("section", tag("h2", head), tag("div", *zones, class_="row"))


def _tiles(shown: Shown, places: NDArray[np.int64]) -> list[Html]:
    return [_tile(shown, place) for place in places.tolist()]


def _tile(shown: Shown, place: int) -> Html:
    name = shown.ids[place]
    inside: list[object] = []
    if shown.hidden[place]:
        inside.append(tag("p", "not shown"))
    else:
        try:
            inside.append(picture(shrunk(read_png(shown.paths[place])), name, quality=72))
        except DataError:
            inside.append(tag("p", "cannot be read"))
    said = f"{name} {shown.found.distance[place]:.2f} {shown.reason[place]}"
    inside.append(tag("figcaption", said))
    return tag("figure", *inside, class_="kept" if shown.keep[place] else None)


def write_map(path: Path, shown: Shown) -> None:
    """Draw the points on the two strongest directions: what is kept over what is not.

    Args:
        path: The PNG file; the same bytes for the same points and version of matplotlib.
        shown: What to draw; of more than `POINTS` some, evenly.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # slow to import
    from matplotlib.figure import Figure

    points = shown.points if shown.points.shape[1] > 1 else np.pad(shown.points, ((0, 0), (0, 1)))
    some = evenly(np.arange(len(points)), POINTS)
    x, y, keep = points[some, 0], points[some, 1], shown.keep[some]
    figure = Figure(figsize=(12, 6), dpi=110, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2, sharex=True, sharey=True)
    size = 4 if len(some) > 3000 else 12
    left.scatter(x, y, s=size, c=shown.found.nearest[some] % 20, cmap="tab20", lw=0)
    left.set(title=f"{len(points):,} images, coloured by prototype")
    right.scatter(x[~keep], y[~keep], s=size, c="#c8ccd0", lw=0, label="not kept")
    for code, (zone, colour) in enumerate(
        zip(ZONES, ("#2b6cb0", "#1b6e3c", "#b45309", "#b3261e"), strict=True)
    ):
        mine = keep & (shown.found.zone[some] == code)
        right.scatter(x[mine], y[mine], s=size, c=colour, lw=0, label=f"kept, {zone}")
    right.set(title=f"{int(shown.keep.sum()):,} kept")
    right.legend(frameon=False, markerscale=2, fontsize=8)
    for axes in (left, right):
        axes.set(xlabel="first direction", ylabel="second direction")
    with atomic_write(path) as stream:
        canvas.print_png(stream)  # type: ignore[no-untyped-call]
