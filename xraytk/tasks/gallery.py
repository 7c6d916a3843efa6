"""A page to look at: cases with their images, reports in all languages, and maps of attention.

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
from xraytk.tasks import attention
from xraytk.tasks.scoring import marked, pages

THUMB_PX = 320
MAP_PX = 200
_QUALITY = 88  # of the maps, as JPEG

_STYLE = f"""{pages.SIDES}
article {{ display: grid; grid-template-columns: {THUMB_PX}px 1fr; gap: 1.2em; background: var(--card);
  border: 1px solid var(--line); border-radius: 6px; padding: 1em; margin: 1em 0; break-inside: avoid }}
article img {{ width: 100%; height: auto }} h2 {{ font-size: 1.15em; margin: 1.5em 0 .5em }}
.lang {{ margin: 0 0 1em }} .maps {{ display: flex; flex-wrap: wrap; gap: .6em; margin: .6em 0 }}
figure {{ margin: 0; width: {MAP_PX * 3 // 4}px }} figcaption {{ font-size: .8em; line-height: 1.3 }}
@media (max-width: 45em) {{ article {{ grid-template-columns: 1fr }} }}
"""


@dataclass(frozen=True, slots=True, eq=False)
class Shown:
    """A term and its map, laid on the image.

    Args:
        term: The words.
        peak: How many times an even share the highest patch has.
        image: (H, W, 3) uint8 BGR.
    """

    term: attention.Term
    peak: float
    image: NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Case:
    """One image with its reports.

    Args:
        name: Hashed id.
        image: (H, W) uint8, a `thumbnail`; of a study two `beside` each other.
        reports: By language.
        maps: By language, of the terms of the generated report.
    """

    name: str
    image: NDArray[np.uint8]
    reports: Mapping[str, pages.Case] = field(default_factory=dict)
    maps: Mapping[str, Sequence[Shown]] = field(default_factory=dict)


def write_page(path: Path, title: str, subtitle: str, parts: Mapping[str, Sequence[Case]]) -> None:
    """Write cases as one HTML page that needs no other file.

    Args:
        path: Of the page.
        title: Of the page.
        subtitle: A line below.
        parts: Cases in order, by heading; a part without one is left out.
    """
    notice = tag("p", " ".join(RESEARCH_NOTICE.values()), class_="notice")
    mapped = any(case.maps for cases in parts.values() for case in cases)
    told = [marked.legend()] + ([tag("p", attention.MEANS, class_="legend")] if mapped else [])
    body = [
        joined([tag("h2", heading), *(_article(case) for case in cases)], "\n")
        for heading, cases in parts.items()
        if cases
    ]
    page = document(title, joined([tag("h1", title), tag("p", subtitle), notice, *told, *body], "\n"), _STYLE)
    with atomic_write(path, "w") as stream:
        stream.write(page)


def thumbnail(
    image: NDArray[np.uint8], px: int = THUMB_PX, shape: tuple[int, ...] | None = None
) -> NDArray[np.uint8]:
    """Shrink an image; it never grows.

    Args:
        image: (H, W) uint8.
        px: Most on the long side.
        shape: Height and width whose proportions it gets; its own by default.
    """
    shape = image.shape if shape is None else shape
    scale = min(px, max(image.shape)) / max(shape)
    size = (max(1, round(shape[1] * scale)), max(1, round(shape[0] * scale)))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def beside(images: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """Lay images in a row, black below the lower ones.

    Args:
        images: (H, W) or (H, W, 3) uint8, all of one kind.
    """
    high = max(len(image) for image in images)
    sides = [((0, high - len(image)), *[(0, 0)] * (image.ndim - 1)) for image in images]
    return np.concatenate([np.pad(i, s) for i, s in zip(images, sides, strict=True)], axis=1)


def _article(case: Case) -> Html:
    langs = [
        tag("div", tag("div", lang, class_="name"), pages.sides(report), _maps(case, lang), class_="lang")
        for lang, report in case.reports.items()
    ]
    return tag(
        "article", tag("div", picture(case.image, "the radiograph")), tag("div", tag("h3", case.name), *langs)
    )


def _maps(case: Case, lang: str) -> Html:
    figures = []
    for shown in case.maps.get(lang, ()):
        said = "" if shown.term.state == "present" else f", {shown.term.state}"
        words = tag("b", shown.term.words, lang=lang)
        under = f" {', '.join(shown.term.findings)}{said}; {shown.peak:.1f} ×"
        alt = f"attention of {shown.term.words}"
        figures.append(
            tag("figure", picture(shown.image, alt, quality=_QUALITY), tag("figcaption", words, under))
        )
    return tag("div", *figures, class_="maps") if figures else Html("")
