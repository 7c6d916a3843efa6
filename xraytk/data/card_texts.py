"""The parts of a dataset card on what came with the images: reports, labels, boxes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from xraytk.data.card_people import NOT_RECORDED, block, percent, tally
from xraytk.data.charts import bar, histogram, legend
from xraytk.data.page import Html, joined, table, tag
from xraytk.records import SPLITS

_LANGUAGES = {"en": "English", "zh": "Chinese"}
_MOST_LABELS = 200
_COLOURS = (0, 2, 1)  # present stands out, absent does not


def reports(found: Mapping[str, Any], images: int) -> Html:
    """The section on reports."""
    if found["rows"] is None:
        return NOT_RECORDED
    if not found["rows"]:
        return tag("p", "No image has a report.")
    rows: list[tuple[object, ...]] = []
    for name, language in _LANGUAGES.items():
        count = found.get(f"images_{name}") or 0
        rows.append((language, f"{count:,}", percent(count, images), bar(count / max(images, 1))))
    rows.append(
        ("any", f"{found['rows']:,}", percent(found["rows"], images), bar(found["rows"] / max(images, 1)))
    )
    blocks = [
        block("Images with a report", table(("", "images", "share", ""), rows, "bars"), _scrubbed(found))
    ]
    blocks += [_lengths(_LANGUAGES.get(name, name), spread) for name, spread in found["length"].items()]
    return tag("div", *blocks, class_="grid")


def _scrubbed(found: Mapping[str, Any]) -> Html:
    lines = []
    total, kinds = found["identifiers_scrubbed"], found["scrubbed_by_kind"]
    if total is None:
        lines.append("How many identifiers were scrubbed from the texts is not recorded.")
    else:
        lines.append(f"Identifiers scrubbed from the texts: {total:,}.")
    if found["matched"] is not None:
        lines.append(
            f"Entries of the reports table that found an image: {found['matched']:,}; "
            f"that did not: {found['unmatched'] or 0:,}."
        )
    parts = [tag("p", line, class_="soft") for line in lines]
    if kinds:
        parts.append(table(("scrubbed", "times"), ((kind, f"{n:,}") for kind, n in kinds.items()), "numbers"))
    return joined(parts)


def _lengths(language: str, spread: Mapping[str, Any]) -> Html:
    names, counts = [*spread["counts"]], [*spread["counts"].values()]
    said = (
        f"Half of them have {spread['median']:,} {spread['unit']} or fewer; "
        f"8 in 10 have {spread['p10']:,} to {spread['p90']:,}."
    )
    chart = histogram(
        f"{language} reports by length in {spread['unit']}", names, {"": counts}, spread["unit"], "reports"
    )
    return block(f"Length, {language}", chart, tag("p", said, class_="soft"))


def labels(found: Mapping[str, Any], images: int) -> Html:
    """The section on labels: how many images are said to have each, and to be free of it."""
    if found["rows"] is None:
        return NOT_RECORDED
    positive, negative, uncertain = found["positive"], found["negative"], found["uncertain"]
    names = sorted({*positive, *negative, *uncertain}, key=lambda name: (-positive.get(name, 0), name))
    if not names:
        return tag("p", "No image has a label.")
    places = [place for place in found["by_split"] if place in SPLITS or _any(found["by_split"][place])]
    rows: list[tuple[object, ...]] = []
    for name in names[:_MOST_LABELS]:
        yes, no, doubt = (kind.get(name, 0) for kind in (positive, negative, uncertain))
        parts = yes / max(images, 1), no / max(images, 1), doubt / max(images, 1)
        row: list[object] = [
            name,
            f"{yes:,}",
            f"{no:,}",
            f"{doubt:,}",
            f"{max(images - yes - no - doubt, 0):,}",
        ]
        row += [percent(yes, yes + no) if yes + no else "", bar(*parts, colours=_COLOURS)]
        for place in places:
            split = found["by_split"][place]
            row.append(f"{split['positive'].get(name, 0):,} / {split['negative'].get(name, 0):,}")
        rows.append(tuple(row))
    head = ("label", "present", "absent", "uncertain", "unknown", "prevalence", "", *places)
    notes = [
        "Prevalence is of the images whose label is known. Bars are shares of all images; under a split "
        "stand present / absent."
    ]
    if len(names) > _MOST_LABELS:
        notes.append(f"{len(names) - _MOST_LABELS:,} rarer labels are left out here.")
    if found["matched"] is not None:
        notes.append(
            f"Entries of the labels table that found an image: {found['matched']:,}; "
            f"that did not: {found['unmatched'] or 0:,}."
        )
    wide = tag(
        "div", table(head, rows, "labels"), class_="wide", tabindex="0", role="region", aria_label="Labels"
    )
    key = legend(("present", "absent", "uncertain"), _COLOURS)
    return joined([key, wide, *(tag("p", note, class_="soft") for note in notes)])


def _any(kinds: Mapping[str, Mapping[str, int]]) -> bool:
    return any(kinds.values())


def boxes(found: Mapping[str, Any] | None) -> Html:
    """The section on boxes."""
    if found is None:
        return NOT_RECORDED
    said = tag("p", f"{found['boxes']:,} boxes on {found['images']:,} images.")
    return joined([said, tally("Boxes by label", found["labels"], unit="boxes")])
