"""The dataset card: one HTML page that tells a person what an ingest folder holds.

It needs no other file and no network, and its bytes depend on the folder alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydicom.uid import UID

from xraytk import __version__
from xraytk.data import card_texts, charts
from xraytk.data.card_people import FEWEST, NOT_RECORDED, block, by_patients, people, percent, tally
from xraytk.data.card_rejected import rejected
from xraytk.data.card_style import STYLE
from xraytk.data.counts import SIDE_STEP_PX, summarise
from xraytk.data.looks import Look, Looks, look_at
from xraytk.data.page import Html, document, joined, picture, table, tag
from xraytk.data.storage import Storage
from xraytk.errors import UsageError
from xraytk.files import atomic_write
from xraytk.records import RESEARCH_NOTICE

QUALITY = 75  # of JPEG

_VOI = {
    "lut": "look-up table of the file",
    "linear": "window of the file (linear)",
    "linear_exact": "window of the file (linear, exact)",
    "sigmoid": "window of the file (sigmoid)",
    "percentile": "no window: 0.5th to 99.5th percentile",
    "full": "whole range",
}
_PICTURES = {"png": "PNG picture", "jpeg": "JPEG picture", "tiff": "TIFF picture"}
_VIEW_SOURCES = {"header": "the header", "pixels": "the pixels", "table": "the metadata table"}


@dataclass(frozen=True, slots=True)
class CardResult:
    """What was written.

    Args:
        path: The page.
        size_bytes: Of the page.
        images: Rows of the manifest.
        pictures: Small pictures in the page.
        unreadable: Images that were to be looked at and could not be read.
    """

    path: Path
    size_bytes: int
    images: int
    pictures: int
    unreadable: int


def write_card(
    folder: Path,
    *,
    made_at: str = "",
    command: str = "",
    reasons: Mapping[str, str] | None = None,
    summary: Mapping[str, Any] | None = None,
    images: Storage | None = None,
    fewest: int = FEWEST,
) -> CardResult:
    """Write ``card.html`` into an ingest folder.

    Args:
        folder: With ``manifest/`` and the images, and as far as there are any
            ``rejected.parquet``, ``reports.parquet``, ``labels.parquet``, ``boxes.parquet``, and
            ``rejected/<source_hash>.png``.
        made_at: When, to be written on it; without it the bytes depend on the folder alone.
        command: What made the folder; it must name no patient.
        reasons: Explanations of more reasons for refusal than `data` knows.
        summary: From `summarise`, if it has been called already.
        images: Where the images are, when they are not in ``folder``.
        fewest: Patients that a group by sex, age or manufacturer needs to be shown.

    Returns:
        What was written.

    Raises:
        UsageError: If ``fewest`` is below 1.
        DataError: If a table is broken.
        MachineError: If the disk is full or the folder cannot be written.
    """
    if fewest < 1:
        raise UsageError(f"fewest is {fewest}", "wanted 1 or more")
    found = summarise(folder) if summary is None else summary
    looks = look_at(folder, images or Storage(str(folder)))
    refused = rejected(folder, found["reasons"], reasons or {})
    count = found["images"]
    sections = {
        "What this is": _what(found),
        "At a glance": _glance(found),
        "Where the images come from": _origin(found, fewest),
        "Patients": people(found, fewest),
        "Reports": card_texts.reports(found["reports"], count),
        "Labels": card_texts.labels(found["labels"], count),
        "Boxes": card_texts.boxes(found["boxes"]),
        "Duplicates and burned-in text": _doubtful(found),
        "Grey values": _grey(looks),
        "Contact sheet": _sheet(looks),
        "Outliers": _outliers(looks),
        "Rejected files": refused,
    }
    page = document("Dataset card", _body(sections, made_at, command), charts.STYLE + STYLE)
    data = page.encode()
    path = folder / "card.html"
    with atomic_write(path) as stream:
        stream.write(data)
    return CardResult(path, len(data), count, page.count("<img "), looks.unreadable)


def _body(sections: Mapping[str, Html], made_at: str, command: str) -> Html:
    names = {title: title.lower().replace(" ", "-") for title in sections}
    made = [f"Made by xraytk {__version__}", f" on {made_at}" if made_at else "", "."]
    told = tag(
        "p", *made, " Command: " if command else "", tag("code", command) if command else "", class_="soft"
    )
    return joined(
        [
            tag("h1", "Dataset card"),
            tag(
                "p", "Radiographs and what is known of them, as ", tag("code", "xraytk ingest"), " left them."
            ),
            tag("p", RESEARCH_NOTICE["en"].split(". ")[0], ".", class_="notice"),
            told,
            tag("nav", *(tag("a", title, href=f"#{name}") for title, name in names.items())),
            tag(
                "main",
                *(
                    tag("section", tag("h2", title), part, id=names[title])
                    for title, part in sections.items()
                ),
            ),
        ]
    )


def _what(found: Mapping[str, Any]) -> Html:
    side = found["long_side_px"]
    size = f" The long side has at most {side:,} pixels here." if side else ""
    lines = (
        "This folder is a data set for research, made of files of a hospital or of public pictures. It is "
        "not a medical record and not fit for diagnosis.",
        "An image is a grey picture of one projection, in the sense in which air is dark and bone is "
        "bright, over the full range of 16 bits (0 to 65,535). The grey range is the one that a viewer "
        "would show: the file's window or look-up table where there is one; what lies outside is "
        f"clipped.{size}",
        "De-identified by an allow-list: of a header, only the facts counted below were kept. Patients, "
        "studies and images have keyed hashes for names; whoever has the key, and nobody else, can link "
        "them. Reports are scrubbed of what the headers say of people, which is a safety net and no proof.",
        "Look at the pictures before handing this page or the folder on. The tables beside it "
        "(summary.json, manifest, labels) hold exact numbers, also of small groups, which this page hides.",
    )
    return joined(tag("p", line) for line in lines)


def _tile(number: int | None, name: str) -> Html:
    return tag("div", tag("b", "–" if number is None else f"{number:,}"), tag("span", name))


def _glance(found: Mapping[str, Any]) -> Html:
    texts = found["reports"]["rows"]
    tiles = tag(
        "div",
        _tile(found["images"], "images"),
        _tile(found["patients"], "patients"),
        _tile(found["studies"], "studies"),
        _tile(texts, "images with a report"),
        _tile(found["rejected"], "files rejected"),
        class_="tiles",
    )
    if not found["images"]:
        return joined([tiles, tag("p", "The manifest is empty: no file gave an image.", class_="notice")])
    patients = found["patients_by"]["split"]
    whole = max(found["images"], 1)
    rows = [
        (name or "none", f"{n:,}", f"{patients.get(name, 0):,}", percent(n, whole), charts.bar(n / whole))
        for name, n in found["splits"].items()
    ]
    twice = found["patients_in_two_splits"]
    if twice:
        said = tag("p", f"Leak: {twice:,} times a patient is in one more split than one.", class_="notice")
    else:
        said = tag("p", "Checked: no patient is in two splits.", class_="ok")
    splits = block("Splits", table(("", "images", "patients", "share", ""), rows, "bars"), said)
    return joined([tiles, tag("div", splits, class_="grid")])


def _syntax_name(value: str) -> object:
    if value in _PICTURES:
        return _PICTURES[value]
    name = UID(value).name
    return value if name == value else joined([name, tag("br"), tag("span", value, class_="soft")])


def _origin(found: Mapping[str, Any], fewest: int) -> Html:
    known = found["with_spacing"]
    spacing = None if known is None else {"known": known, "not known": found["images"] - known}
    sides = found["source_long_side_px"]
    side_chart = NOT_RECORDED
    if sides:
        low, high = int(min(sides, key=int)), int(max(sides, key=int))
        steps = [*range(low, high + 1, SIDE_STEP_PX)]
        counts = {"": [sides.get(str(step), 0) for step in steps]}
        title = f"Images by long side before shrinking, in steps of {SIDE_STEP_PX} pixels"
        side_chart = charts.histogram(
            title, [str(step) for step in steps], counts, "pixels, lower end of each step", "images"
        )
    makers = found["manufacturer"], found["patients_by"]["manufacturer"]
    blocks = tag(
        "div",
        tally("Modality", found["modality"]),
        tally("View", found["view"]),
        tally("Where the view is known from", found["view_source"], lambda v: _VIEW_SOURCES.get(v, v)),
        by_patients("Manufacturer", *makers, fewest),
        tally("Bits stored", _in_order(found["bits_stored"])),
        tally("Grey range chosen by", found["voi"], lambda v: _VOI.get(v, v)),
        tally("Photometric interpretation", found["photometric"]),
        block("Long side of the source", side_chart),
        tally("Pixel spacing", spacing),
        class_="grid",
    )
    return joined([blocks, tally("Transfer syntax", found["syntax"], _syntax_name)])


def _in_order(counts: Mapping[str, int] | None) -> dict[str, int] | None:
    if counts is None:
        return None
    return dict(sorted(counts.items(), key=lambda pair: (not pair[0].isdigit(), pair[0].zfill(4))))


def _doubtful(found: Mapping[str, Any]) -> Html:
    again = sum(n for reason, n in found["reasons"].items() if reason.startswith("duplicate"))
    lines = {
        "Files left out because the same image was found elsewhere": again,
        "Images whose pixels are those of another image": found["same_pixels"],
        "Images marked as nearly the same as another": found["near_duplicates"],
        "Images with text burned in, as header or pixels say": found["burned_in"],
        "Images in which text was found and blanked": found["text_blanked"],
    }
    rows = [(name, "not recorded" if n is None else f"{n:,}") for name, n in lines.items()]
    return table(("", "number"), rows, "numbers")


def _grey(looks: Looks) -> Html:
    lines = looks.grey()
    if lines is None:
        return tag("p", "No image could be looked at.")
    count = f"{len(looks.sampled):,} images, evenly over the manifest"
    chart = charts.band(
        f"Mean histogram of grey values of {count}", lines, "grey value (0 black, 1 white)", "% of pixels"
    )
    said = f"The line is the mean over {count}; the band holds the middle 8 in 10 of them."
    missing = f" {looks.unreadable:,} images could not be read." if looks.unreadable else ""
    return tag("div", block("Histogram", chart, tag("p", said + missing, class_="soft")), class_="grid")


def _figure(look: Look, said: str = "") -> Html:
    image = picture(look.tile, f"Image {look.name}", quality=QUALITY)
    return tag("figure", image, tag("figcaption", look.name, tag("br") if said else "", said))


def _sheet(looks: Looks) -> Html:
    if not looks.sheet:
        return tag("p", "No image could be shown.")
    parts = []
    if looks.hidden:
        said = f"{looks.hidden:,} images with burned-in text are never shown on this page."
        parts.append(tag("p", said, class_="soft"))
    for view in sorted({look.view for look in looks.sheet}):
        shown = [_figure(look) for look in looks.sheet if look.view == view]
        parts += [tag("h3", f"View {view}"), tag("div", *shown, class_="sheet")]
    return joined(parts)


def _outliers(looks: Looks) -> Html:
    if not looks.sampled:
        return tag("p", "No image could be looked at.")
    parts = [tag("p", f"Of the {len(looks.sampled):,} images that were looked at.", class_="soft")]
    for title, shown in looks.extremes().items():
        unit = "spread" if title == "Least contrast" else "mean"
        figures = (_figure(look, f"{unit} {getattr(look, unit):.3f}") for look in shown)
        parts += [tag("h3", title), tag("div", *figures, class_="sheet")]
    return joined(parts)
