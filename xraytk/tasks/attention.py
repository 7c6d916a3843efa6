"""Maps of attention: the words that name a finding, and where a decoder looked as it wrote them.

No torch here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from xraytk.config import Pixels, rows_cols
from xraytk.data.augment import Fit, fitted_box
from xraytk.errors import UsageError
from xraytk.tasks.findings import label

MEANS = (
    "Each map is the decoder's attention over the image as it wrote the words: from the image's own greys "
    "(none) over purple and red to yellow (the map's own highest). The number is how many times an even "
    "share that highest one is. Attention shows where the decoder looked, not why it wrote what it wrote."
)
"""What a reader has to know of the maps."""

_STATES = {1: "present", 0: "absent", -1: "uncertain"}
_COVER = 0.65
"""Share of the colour where a map is highest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AttentionConfig:
    """Maps of attention.

    Args:
        layer: Block of the decoder; -1 is the last.
        heads: Whose mean is taken; all by default.
        most: Terms of a report that get a map, those that are present first.
    """

    layer: int = -1
    heads: tuple[int, ...] = ()
    most: int = 6

    def __post_init__(self) -> None:
        """Check each value; layer and heads are checked where the decoder is known.

        Raises:
            UsageError: If a value is out of range.
        """
        if self.most < 1:
            raise UsageError(f"maps.most is {self.most}", "wanted 1 or more")


@dataclass(frozen=True, slots=True)
class Term:
    """Words that name findings.

    Args:
        words: As they stand in the text.
        start: First character.
        end: One past the last.
        findings: Names.
        state: "present", "absent" or "uncertain".
    """

    words: str
    start: int
    end: int
    findings: tuple[str, ...]
    state: str


@dataclass(frozen=True, slots=True, eq=False)
class TermMap:
    """Where a decoder looked as it wrote a term.

    Args:
        term: The words.
        grid: (rows, cols) float32 over the patches, 0 on padding, of sum one; of two images one below
            the other.
        valid: (rows, cols) bool, False on padding.
        views: Images that it is over.
    """

    term: Term
    grid: NDArray[np.float32]
    valid: NDArray[np.bool_]
    views: int = 1

    @property
    def peak(self) -> float:
        """How many times an even share the highest patch has."""
        return float(self.grid.max() * self.valid.sum())


def terms(text: str, lang: str, most: int) -> list[Term]:
    """Find the words of a text that name findings.

    Args:
        text: A report.
        lang: "en" or "zh".
        most: How many are kept: present before uncertain before absent.

    Returns:
        In the order of the text, each place once.
    """
    found: dict[tuple[int, int, int], list[str]] = {}
    for mention in label(text, lang).mentions:
        found.setdefault((mention.start, mention.end, mention.state), []).append(mention.finding)
    ranked = sorted(found, key=lambda place: ((1, -1, 0).index(place[2]), place))[:most]
    return [
        Term(text[s:e], s, e, tuple(found[s, e, state]), _STATES[state]) for s, e, state in sorted(ranked)
    ]


def map_terms(
    text: str,
    lang: str,
    places: Sequence[tuple[int, int]],
    attention: NDArray[np.float32],
    valid: NDArray[np.bool_],
    most: int,
    views: int = 1,
) -> list[TermMap]:
    """Put the attention of words and pieces together into that of terms, by their mean.

    Args:
        text: A report.
        lang: Its language.
        places: First and one past the last character of each of its L words, characters or pieces.
        attention: (L, rows, cols) of each, 0 on padding.
        valid: (rows, cols) bool, False on padding.
        most: See `terms`.
        views: Images that the rows are of.

    Returns:
        A map a term; terms that were cut off have none.
    """
    out = []
    for term in terms(text, lang, most):
        rows = [i for i, (start, end) in enumerate(places) if start < term.end and end > term.start]
        rows = [i for i in rows if i < len(attention)]
        if rows:
            out.append(TermMap(term, attention[rows].mean(0), valid, views))
    return out


def laid(
    found: TermMap, frame: Pixels, fit: Fit, shape: tuple[int, int], view: int = 0
) -> NDArray[np.float32]:
    """Lay a map on the image: enlarged between the patches' centres, letterboxing undone.

    Args:
        found: Over the patches of the frame.
        frame: Size of the frame, in pixels.
        fit: How the image lies in it.
        shape: Height and width of the image, or of a smaller copy.
        view: Which image, from 0.

    Returns:
        (height, width) float32 in [0, 1], 1 at the highest patch of all images.
    """
    rows, cols = rows_cols(frame)
    high = len(found.grid) // found.views
    own = slice(view * high, (view + 1) * high)
    held = cv2.resize(found.valid[own].astype(np.float32), (cols, rows), interpolation=cv2.INTER_LINEAR)
    wide = cv2.resize(found.grid[own], (cols, rows), interpolation=cv2.INTER_LINEAR)
    whole = np.asarray(wide, np.float32) / np.maximum(held, 1e-6)  # padding takes nothing from its neighbours
    top, left, height, width = fitted_box(*shape, frame, fit)
    part = whole[top : top + height, left : left + width]
    out = cv2.resize(part, shape[::-1], interpolation=cv2.INTER_LINEAR)
    return np.asarray(np.clip(out / max(float(found.grid.max()), 1e-12), 0, 1), np.float32)


def drawn(image: NDArray[np.uint8], heat: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Colour an image by a map.

    Args:
        image: (H, W) uint8.
        heat: (H, W) in [0, 1].

    Returns:
        (H, W, 3) uint8 BGR; where the map is 0, the image's own greys.
    """
    colour = cv2.applyColorMap(np.rint(heat * 255).astype(np.uint8), cv2.COLORMAP_INFERNO)
    cover = _COVER * heat[..., None]
    return np.asarray(np.rint(image[..., None] * (1 - cover) + colour * cover), np.uint8)
