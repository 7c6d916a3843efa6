"""A page to look at: cases with their images and reports.

Pages are HTML with the images inside, because browsers have fonts for Chinese and plotting
libraries often have not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from xraytk.data.page import Html, document, joined, picture, tag
from xraytk.files import atomic_write
from xraytk.records import RESEARCH_NOTICE

THUMB_PX = 320

_STYLE = f"""
article {{ display: grid; grid-template-columns: {THUMB_PX}px 1fr; gap: 1.2em; background: var(--card);
  border: 1px solid var(--line); border-radius: 6px; padding: 1em; margin: 1em 0; break-inside: avoid }}
article img {{ width: 100%; height: auto }} h2 {{ font-size: 1em; margin: 0 0 .5em }}
article th {{ white-space: nowrap }}
@media (max-width: 45em) {{ article {{ grid-template-columns: 1fr }} }}
"""


@dataclass(frozen=True, slots=True)
class Case:
    """One image with lines of text.

    Args:
        name: Hashed id.
        image: (H, W) uint8, a `thumbnail`.
        lines: Label to text, in order.
    """

    name: str
    image: NDArray[np.uint8]
    lines: Mapping[str, str] = field(default_factory=dict)


def write_page(path: Path, title: str, subtitle: str, cases: Sequence[Case]) -> None:
    """Write cases as one HTML page that needs no other file."""
    notice = tag("p", " ".join(RESEARCH_NOTICE.values()), class_="notice")
    articles = joined((_article(case) for case in cases), "\n")
    page = document(title, joined([tag("h1", title), tag("p", subtitle), notice, articles]), _STYLE)
    with atomic_write(path, "w") as stream:
        stream.write(page)


def thumbnail(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Shrink (H, W) uint8 to at most `THUMB_PX` on its long side."""
    scale = min(1.0, THUMB_PX / max(image.shape))
    size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def _article(case: Case) -> Html:
    rows = (tag("tr", tag("th", label), tag("td", words)) for label, words in case.lines.items())
    return tag(
        "article",
        tag("div", picture(case.image, "")),
        tag("div", tag("h2", case.name), tag("table", *rows)),
    )
