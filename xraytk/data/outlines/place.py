"""From the picture that a contour was drawn on to the ingested image, and back.

People draw on the ingested image or on its source. A source is shown as it is stored, while ingest
sets it upright, makes its pixels square and shrinks it; its size says which of the two it was.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from xraytk.data.contour import CLEAR, LUNGS, rasterise
from xraytk.data.corrections import NAMES, Correction
from xraytk.data.orientation import swaps_sides, to_stored, to_upright
from xraytk.data.outlines import labels
from xraytk.data.outlines.outline import Outline, Points, RefusedError
from xraytk.data.outlines.rings import area, checked, split_by_side

COLUMNS = (
    "image_id", "width", "height", "source_width", "source_height", "orientation", "aspect", "cropped",
)  # fmt: skip
"""Of the manifest; what `Facts` is made of."""
OVERLAP = 0.2
"""Share of the smaller lung from which on the other one may not cover it; human outlines share nothing."""
SAME = 0.95
"""Dice of right and left lung above which they are one outline."""
_DIGITS = 2


@dataclass(frozen=True, slots=True)
class Facts:
    """What the manifest says of an image, see `manifest.MANIFEST`."""

    image_id: str
    width: int
    height: int
    source_width: int | None = None
    source_height: int | None = None
    orientation: str | None = ""
    aspect: float | None = 1.0
    cropped: bool | None = False

    @property
    def stored(self) -> tuple[int, int] | None:
        """Width and height of the source as it is stored; None when unknown."""
        if not self.source_width or not self.source_height:
            return None
        wide, tall = self.source_width, self.source_height
        if swaps_sides(self.orientation or ""):
            wide, tall = tall, wide
        ratio = self.aspect or 1.0
        return round(wide / max(1.0, 1 / ratio)), round(tall / max(1.0, ratio))


def to_ingested(points: Points, facts: Facts) -> Points:
    """Move points from the stored source to the ingested image."""
    assert facts.source_width and facts.source_height  # noqa: PT018
    x, y = (points + 0.5).T
    shape = (facts.source_height, facts.source_width)
    at = to_upright((x, y, x, y), facts.orientation or "", facts.aspect or 1.0, shape)
    scale = np.array([facts.width / facts.source_width, facts.height / facts.source_height])
    return np.asarray(np.stack(at[:2], 1) * scale - 0.5)


def to_source(points: Points, facts: Facts) -> Points:
    """Move points from the ingested image to the stored source; inverse of `to_ingested`."""
    assert facts.source_width and facts.source_height  # noqa: PT018
    scale = np.array([facts.source_width / facts.width, facts.source_height / facts.height])
    x, y = ((points + 0.5) * scale).T
    shape = (facts.source_height, facts.source_width)
    at = to_stored((x, y, x, y), facts.orientation or "", facts.aspect or 1.0, shape)
    return np.asarray(np.stack(at[:2], 1) - 0.5)


def is_source_size(width: int, height: int, facts: Facts) -> bool:
    """Whether a picture has the size of the stored source; of resampled ones within a pixel."""
    stored, slack = facts.stored, 0 if facts.aspect in (None, 1.0) else 1
    return stored is not None and abs(stored[0] - width) <= slack and abs(stored[1] - height) <= slack


def is_on_source(outline: Outline, facts: Facts, *, is_original: bool) -> bool:
    """Whether an outline was drawn on the source, and not on the ingested image.

    Args:
        outline: With a size, or without.
        facts: Of the image.
        is_original: Whether the outline names the source's file; decides where both have one
            size, or no size is given.

    Raises:
        RefusedError: "another-size".
    """
    given = outline.width, outline.height
    if given[0] is None or given[1] is None:
        on_source = is_original
    else:
        same, source = given == (facts.width, facts.height), is_source_size(given[0], given[1], facts)
        if not same and not source:
            raise RefusedError("another-size", f"{given[0]} x {given[1]}")
        on_source = source and (is_original or not same)
    if on_source and facts.cropped:
        raise RefusedError("cropped-image", f"the image is {facts.width} x {facts.height}")
    if on_source and facts.stored is None:
        raise RefusedError("another-size", "drawn on a source of unknown size")
    return on_source


def settle(
    outline: Outline,
    facts: Facts,
    given: Mapping[str, str] | None,
    unknown: Counter[str],
    *,
    is_original: bool = False,
) -> Correction:
    """Make a correction of an outline.

    Args:
        outline: As it was read.
        facts: Of its image.
        given: The user's labels.
        unknown: Labels that nobody knows are counted here.
        is_original: Whether it names the source's file.

    Raises:
        RefusedError: With a reason of `outline.REASONS`.
    """
    named = [(labels.name_of(ring.label, given), ring) for ring in outline.rings]
    strange = [ring.label for name, ring in named if name is None] + list(outline.others)
    unknown.update(strange)
    known = [(name, ring) for name, ring in named if name not in (None, labels.IGNORED)]
    if not known:
        raise RefusedError(
            "unknown-label" if strange else "empty", f"{len(strange)} shapes" if strange else "no outlines"
        )
    on_source = is_on_source(outline, facts, is_original=is_original)
    width, height = facts.width, facts.height
    if on_source:
        width, height = facts.stored or (width, height)
        if outline.width and outline.height:
            width, height = outline.width, outline.height
    moved: list[tuple[str, Points]] = []
    for name, ring in known:
        points = checked(ring.points, width, height, traced=ring.traced)
        moved.append((str(name), to_ingested(points, facts) if on_source else points))
    polygons = [_polygon(name, points, facts) for name, points in _with_sides(moved, facts)]
    check_lungs(polygons, facts.width, facts.height)
    return Correction(
        facts.image_id, "drawn", facts.width, facts.height, tuple(polygons), origin=outline.source
    )


def _with_sides(moved: list[tuple[str, Points]], facts: Facts) -> list[tuple[str, Points]]:
    """Lungs without a side told apart, in the order of `corrections.NAMES`."""
    made = [(name, points) for name, points in moved if name in NAMES]
    for both, kind in ((labels.BOTH, "lung"), (labels.BOTH_CLEAR, "clear")):
        if rings := [points for name, points in moved if name == both]:
            found = split_by_side(rings, facts.width, facts.height)
            made += [(f"{side}_{kind}", points) for side, points in found]
    return sorted(made, key=lambda one: NAMES.index(one[0]))


def _polygon(name: str, points: Points, facts: Facts) -> dict[str, Any]:
    high = np.array([facts.width - 0.5, facts.height - 0.5])
    inside = np.clip(points, -0.5, high).round(_DIGITS)
    return {"name": name, "x": inside[:, 0].tolist(), "y": inside[:, 1].tolist()}


def check_lungs(polygons: Sequence[dict[str, Any]], width: int, height: int) -> None:
    """See that right and left lung are two, each on its side.

    Args:
        polygons: In pixels of the ingested image.
        width: Of the image.
        height: Of it.

    Raises:
        RefusedError: "same-outline", "lungs-overlap" or "sides-swapped".
    """
    for names in (LUNGS, CLEAR):
        rings = [[p for p in polygons if p["name"] == name] for name in names]
        if all(rings):
            right, left = (rasterise(some, height, width) for some in rings)
            shared, sizes = int((right & left).sum()), (int(right.sum()), int(left.sum()))
            if 2 * shared > SAME * sum(sizes) > 0:
                raise RefusedError("same-outline")
            if shared > OVERLAP * min(sizes):
                raise RefusedError("lungs-overlap", f"{shared / max(min(sizes), 1):.0%} of the smaller one")
    check_sides(polygons)


def check_sides(polygons: Sequence[dict[str, Any]]) -> None:
    """See that the right lung lies on the image's left.

    Raises:
        RefusedError: "sides-swapped".
    """
    at: dict[str, float] = {}
    for side in ("right", "left"):
        rings = [np.stack([p["x"], p["y"]], 1) for p in polygons if p["name"].startswith(side)]
        sizes = [area(ring) for ring in rings]
        if sum(sizes):
            at[side] = sum(s * float(r[:, 0].mean()) for s, r in zip(sizes, rings, strict=True)) / sum(sizes)
    if len(at) == 2 and at["right"] > at["left"]:
        raise RefusedError("sides-swapped", "the right lung is on the image's right")
