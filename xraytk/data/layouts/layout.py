"""What a public data set says of its images, in one form for all sets.

A reader of a set gives a `Draft`: functions that stream entries from the set's tables, and that
count what they leave out. `surveyed` runs them once, so that notes and names are known before
anything is joined; the `Layout` then streams again, and holds no row.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Generic, TypeVar

from xraytk.data.text import Facts, Report

T = TypeVar("T")

Counts = Counter[str]
"""What was left out, by a phrase for people."""

Entry = tuple[str, str, T]
"""(kind of key, key, value); kinds as in `data.sheet.KEY_COLUMNS`."""

Make = Callable[[Counts], Iterator[tuple[str, str, T]]]
"""Streams entries, and counts what it leaves out."""

BESIDE_IMAGES = (
    *(".csv", ".csv.gz", ".csv.zip", ".tsv", ".txt", ".txt.gz", ".json", ".json.gz", ".xml", ".html"),
    *(
        ".pdf",
        ".md",
        ".xlsx",
        ".docx",
        ".py",
        ".ipynb",
        ".sh",
        ".log",
        "license",
        "readme",
        "image_filenames",
    ),
)
"""Ends of the names (lower case) of files that lie beside the images of the public sets."""


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle that a reader drew around a finding.

    Args:
        label: Of the finding, as the set writes it.
        x0: Left edge, pixels, 0 is the left edge of the first column.
        y0: Top edge, pixels.
        x1: Right edge, above ``x0``.
        y1: Bottom edge, above ``y0``.
        reader: The set's code of who drew it; "" when it names nobody.
        of: (height, width) of the picture that the edges are of; None is the file as stored.
    """

    label: str
    x0: float
    y0: float
    x1: float
    y1: float
    reader: str = ""
    of: tuple[int, int] | None = None


def boxes_on(boxes: Iterable[Box], source: tuple[int, int], shape: tuple[int, int]) -> tuple[Box, ...]:
    """Move boxes from the source to the image that is written.

    Args:
        boxes: In pixels of ``Box.of``, or of the source.
        source: (height, width) of the file.
        shape: (height, width) of the image, which is the whole source, resized.

    Returns:
        Boxes in pixels of the image, cut at its edges; those outside of it are left out.

    Source:
        Ours. Pixel edges, not centres, so that the size of a box scales with the image.
    """
    out = []
    for box in boxes:
        height, width = box.of or source
        x0, x1 = (min(max(x * shape[1] / width, 0.0), float(shape[1])) for x in (box.x0, box.x1))
        y0, y1 = (min(max(y * shape[0] / height, 0.0), float(shape[0])) for y in (box.y0, box.y1))
        if x1 > x0 and y1 > y0:
            out.append(Box(box.label, x0, y0, x1, y1, box.reader, shape))
    return tuple(out)


class Named(Mapping[str, float]):
    """Labels of a set that names what is present: 1 where it is named, else 0.

    As a dictionary in all but size: PadChest names a few of a hundred for each of 160,000 images.

    Args:
        all_names: Shared by all images; a dictionary for the order of its keys.
        present: Those of this image.
    """

    __slots__ = ("_all", "_present")

    def __init__(self, all_names: Mapping[str, object], present: Iterable[str]) -> None:
        self._all = all_names
        self._present = tuple(sorted(set(present) & all_names.keys()))

    def __getitem__(self, name: str) -> float:
        if name not in self._all:
            raise KeyError(name)
        return float(name in self._present)

    def __iter__(self) -> Iterator[str]:
        return iter(self._all)

    def __len__(self) -> int:
        return len(self._all)


@dataclass(frozen=True, slots=True)
class Rows(Generic[T]):
    """Entries that are read from the tables each time they are walked through."""

    make: Make[T] = field(repr=False)

    def __iter__(self) -> Iterator[tuple[str, str, T]]:
        return self.make(Counter())


@dataclass(frozen=True, slots=True)
class Layout:
    """What a public data set says of its images.

    Entries are (kind of key, key, value), as `data.sheet.Lookup` takes them. A "study" entry
    belongs to all images whose facts have its ``hashed(key, "study", cell)`` as study_hash.
    Patients and studies of the facts are hashed; no raw id is kept.

    Args:
        metadata: Facts.
        labels: Known labels, 0 or 1. Equal rows share one mapping; ``dict(...)`` makes a copy.
        reports: Texts.
        boxes: Rectangles, one entry per image that has some.
        tables: The tables that were read.
        endings: Ends of names (lower case) of files that are no images; to be passed over while
            listing, as the tables are.
        names: All labels, sorted.
        notes: What was left out and how often, for people.
    """

    metadata: Iterable[tuple[str, str, Facts]]
    labels: Iterable[tuple[str, str, Mapping[str, float]]]
    reports: Iterable[tuple[str, str, Report]]
    boxes: Iterable[tuple[str, str, tuple[Box, ...]]]
    tables: tuple[Path, ...]
    endings: tuple[str, ...]
    names: tuple[str, ...]
    notes: tuple[str, ...]


def nothing(counts: Counts) -> Iterator[tuple[str, str, T]]:
    """No entries: for what a set does not have."""
    return iter(())


@dataclass(frozen=True, slots=True)
class Draft:
    """A set's tables, found and opened once, before the survey.

    Args:
        tables: The tables that are read.
        metadata: Streams facts.
        labels: Streams labels.
        reports: Streams reports. They are not surveyed: a set may have a file for each.
        boxes: Streams boxes.
        notes: Known already.
    """

    tables: tuple[Path, ...]
    metadata: Make[Facts] = field(default=nothing, repr=False)
    labels: Make[Mapping[str, float]] = field(default=nothing, repr=False)
    reports: Make[Report] = field(default=nothing, repr=False)
    boxes: Make[tuple[Box, ...]] = field(default=nothing, repr=False)
    notes: tuple[str, ...] = ()


def surveyed(draft: Draft) -> Layout:
    """Walk once through a set's tables, for its notes and the names of its labels.

    A set whose split puts a patient into two parts loses its split, with a note: images of one
    patient must not be on both sides of a test.

    Raises:
        DataError: If a table is broken.
    """
    counts: Counts = Counter()
    split_of: dict[str, str] = {}
    clashes = set()
    for _, _, facts in draft.metadata(counts):
        if not facts.split or not facts.patient_hash:
            continue
        if split_of.setdefault(facts.patient_hash, facts.split) != facts.split:
            clashes.add(facts.patient_hash)
    names: set[str] = set()
    for _, _, values in draft.labels(counts):
        names.update(values)
    for _ in draft.boxes(counts):
        pass
    notes = [*draft.notes, *(f"{count:,} {phrase}" for phrase, count in counts.items() if count)]
    if clashes:
        notes.append(
            f"the set's own split is not used: it puts {len(clashes):,} patients into two parts; "
            "patients are drawn anew"
        )
    return Layout(
        metadata=Rows(_without_split(draft.metadata) if clashes else draft.metadata),
        labels=Rows(draft.labels),
        reports=Rows(draft.reports),
        boxes=Rows(draft.boxes),
        tables=draft.tables,
        endings=BESIDE_IMAGES,
        names=tuple(sorted(names)),
        notes=tuple(notes),
    )


def _without_split(make: Make[Facts]) -> Make[Facts]:
    def made(counts: Counts) -> Iterator[tuple[str, str, Facts]]:
        return ((kind, cell, replace(facts, split="")) for kind, cell, facts in make(counts))

    return made
