"""Pages that need no other file: scores of one system, of two, and cases, worst first."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from xraytk.data.page import Html, document, joined, picture, table, tag
from xraytk.models.tokens import units
from xraytk.records import RESEARCH_NOTICE
from xraytk.tasks.findings import Labels, label_many
from xraytk.tasks.metrics.text import rouge_l
from xraytk.tasks.scoring import grid, marked
from xraytk.tasks.scoring.reports import Pairs
from xraytk.tasks.scoring.scored import Scored, told
from xraytk.tasks.scoring.versus import Versus

Pictures = Callable[[str], NDArray[np.uint8] | None]
SHOWN = 40
"""Cases on a page."""
LONGEST = 5000
"""Characters of a text on a page."""
SIDES = (
    marked.STYLE
    + """
h3 { font-size: 1em; margin: 0 } .note { color: var(--soft); font-size: .9em; margin: .2em 0 }
.sides { display: grid; grid-template-columns: repeat(auto-fit, minmax(18em, 1fr)); gap: 1.2em }
.sides p { margin: .2em 0; white-space: pre-wrap } .name { color: var(--soft); font-size: .85em }
.worse { color: var(--alarm) } .better { color: var(--fine) }
"""
)
"""Look of `sides`."""
STYLE = (
    SIDES
    + """
table { font-size: .9em; margin: .3em 0 1em } td { white-space: nowrap }
.protocol td { white-space: normal; overflow-wrap: anywhere }
.wide { overflow-x: auto } section { margin: 2em 0 } h2 { font-size: 1.15em }
img { max-width: 100%; height: auto; background: #fff }
article { background: var(--card); border: 1px solid var(--line); border-radius: 6px; padding: 1em;
  margin: 1em 0; break-inside: avoid }
@media print { .wide { overflow: visible } table { font-size: .6em } td { white-space: normal } }
"""
)


@dataclass(frozen=True, slots=True)
class Case:
    """One image with its reports.

    Args:
        name: Image id.
        reference: The report, as far as it is shown.
        generated: By system, likewise.
        rouge: ROUGE-L by system.
        labels: What rules read in the reference ("") and in the text of each system; the mentions are
            those of what is shown.
    """

    name: str
    reference: str
    generated: Mapping[str, str]
    rouge: Mapping[str, float]
    labels: Mapping[str, Labels]


def cases_of(systems: Mapping[str, Pairs], lang: str) -> list[Case]:
    """All cases, worst first: by the mean of ROUGE-L and of the share of agreeing findings.

    Args:
        systems: The same images in the same order, by name of the system.
        lang: Of the reports.
    """
    first = next(iter(systems.values()))
    labels = {name: label_many(pairs.hypotheses, lang) for name, pairs in systems.items()}
    truth = label_many(first.references, lang)
    ranked = []
    for i, image in enumerate(first.ids):
        reference = first.references[i]
        generated = {name: pairs.hypotheses[i] for name, pairs in systems.items()}
        rouge = {name: rouge_l(units(text, lang), units(reference, lang)) for name, text in generated.items()}
        said = {"": truth[i], **{name: found[i] for name, found in labels.items()}}
        total = sum(worth(rouge[name], truth[i], said[name]) for name in systems)
        ranked.append((total, image, Case(image, reference, generated, rouge, said)))
    ranked.sort(key=lambda entry: entry[:2])
    return [_shown(case) for _, _, case in ranked]


def _shown(case: Case) -> Case:
    """A case whose texts are cut where a page would not bear more."""
    if len(case.reference) <= LONGEST and all(len(text) <= LONGEST for text in case.generated.values()):
        return case
    labels = {
        name: Labels(found.findings, tuple(m for m in found.mentions if m.end <= LONGEST))
        for name, found in case.labels.items()
    }
    generated = {name: _cut(text) for name, text in case.generated.items()}
    return Case(case.name, _cut(case.reference), generated, case.rouge, labels)


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[:LONGEST]} ... [{len(text):,} characters in all]"


def worth(rouge: float, truth: Labels, said: Labels) -> float:
    """How good a report is, for the order of cases: the mean of ROUGE-L and of agreeing findings."""
    found = marked.findings(truth.findings, said.findings)
    agree = sum(f.kind == "right" for f in found) / len(found) if found else 1.0
    return (rouge + agree) / 2


def sides(case: Case) -> Html:
    """The reference and what was generated, side by side, with the findings marked."""
    truth, known = case.labels[""], bool(case.reference.strip())
    several = len(case.generated) > 1  # the marks of the reference fit one system only
    first = case.labels[next(iter(case.generated))]
    shown = marked.reference(case.reference, truth, None if several else first)
    parts = [_side("reference", shown if known else _empty("(none)"))]
    for name, text in case.generated.items():
        said = case.labels[name]
        label = f"generated by {name}" if several else "generated"
        label += f", ROUGE-L {case.rouge[name]:.2f}" if known else ", nothing to compare with"
        body = marked.generated(text, said, truth if known else None) if text.strip() else _empty("(empty)")
        chips = marked.chips(marked.findings(truth.findings, said.findings)) if known else Html("")
        parts.append(_side(label, body, chips))
    return tag("div", *parts, class_="sides")


def _empty(words: str) -> Html:
    return tag("span", words, class_="worse")


def _side(label: str, body: Html, *more: Html) -> Html:
    return tag("div", tag("div", label, class_="name"), tag("p", body), *more)


def _article(case: Case, image: NDArray[np.uint8] | None) -> Html:
    shown = Html("") if image is None else picture(image, "the radiograph")
    return tag("article", tag("h3", case.name), shown, sides(case))


def pictures_of(folder: Path | None) -> Pictures:
    """Small pictures of a folder: ``<id>.png``, ``<id>.jpg``, or an ingest folder's ``<2>/<id>.png``."""

    def find(name: str) -> NDArray[np.uint8] | None:
        if folder is None or "/" in name or "\\" in name:
            return None
        for path in (folder / f"{name}.png", folder / f"{name}.jpg", folder / name[:2] / f"{name}.png"):
            if path.is_file():
                from xraytk.tasks.gallery import thumbnail

                pixels = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
                return None if pixels is None else thumbnail(np.asarray(pixels, dtype=np.uint8))
        return None

    return find


def _none(name: str) -> NDArray[np.uint8] | None:
    return None


def gallery(systems: Mapping[str, Pairs], lang: str, pictures: Pictures = _none) -> Html:
    """Cases, worst first, with the findings of both reports marked.

    Args:
        systems: The same images in the same order, by name of the system.
        lang: Of the reports.
        pictures: From an image id to (H, W) uint8, or None.
    """
    cases = cases_of(systems, lang)
    shown = cases[:SHOWN]
    told = "✓ in both, − missed, + invented: present or uncertain."
    return tag(
        "section",
        tag("h2", f"Cases, worst first ({len(shown)} of {len(cases):,})"),
        marked.legend(),
        tag("p", told, class_="note"),
        *(_article(case, pictures(case.name)) for case in shown),
    )


def of_scores(title: str, scored: Scored, figures: Mapping[str, bytes], cases: Html | None = None) -> str:
    """The page of one set of predictions."""
    parts = [
        tag("h1", title),
        tag("p", f"{scored.images:,} images of {scored.patients:,} patients"),
        tag("p", told(scored.protocol, scored.patients), class_="note"),
        tag("p", " ".join(RESEARCH_NOTICE.values()), class_="notice"),
        _notes(scored.notes, scored.absent),
        *(_grid(g) for g in grid.grids_of(scored)),
        *(_figure(name, data) for name, data in figures.items()),
        *([cases] if cases is not None else []),
        _protocol(scored.protocol),
    ]
    return document(title, joined(parts, "\n"), STYLE)


def of_versus(found: Versus, cases: Html | None = None) -> str:
    """The page of a comparison."""
    title = f"{found.names[0]} and {found.names[1]}"
    parts = [
        tag("h1", title),
        tag(
            "p",
            f"the same {found.images:,} images of {found.patients:,} patients; first minus second",
        ),
        tag("p", told(found.protocol, found.patients), class_="note"),
        tag("p", " ".join(RESEARCH_NOTICE.values()), class_="notice"),
        _notes(found.notes, {}),
        *(_grid(grid.of_differences(name, rows, found.names)) for name, rows in found.tables.items()),
        *([cases] if cases is not None else []),
        _protocol(found.protocol),
    ]
    return document(title, joined(parts, "\n"), STYLE)


def _notes(notes: Sequence[str], lacking: Mapping[str, str]) -> Html:
    lines = [*notes, *(f"{name}: {why}" for name, why in lacking.items())]
    return (
        tag("section", tag("h2", "To know"), *(tag("p", line, class_="note") for line in lines))
        if lines
        else Html("")
    )


def _grid(shown: grid.Grid) -> Html:
    notes = (tag("p", note, class_="note") for note in shown.notes)
    return tag("section", tag("h2", shown.title), tag("div", shown.html(), class_="wide"), *notes)


def _figure(name: str, data: bytes) -> Html:
    source = f"data:image/png;base64,{base64.b64encode(data).decode()}"
    return tag("section", tag("h2", name), tag("img", src=source, alt=name))


def _protocol(protocol: Mapping[str, Any]) -> Html:
    rows = [(key.replace("_", " "), plain(value)) for key, value in protocol.items()]
    return tag("section", tag("h2", "Protocol"), table(("", ""), rows, "protocol"))


def plain(value: Any) -> str:
    """A part of a protocol in words."""
    if isinstance(value, Mapping):
        return "; ".join(f"{k}: {plain(v)}" for k, v in value.items())
    return ", ".join(map(plain, value)) if isinstance(value, list | tuple) else str(value)
