"""What the user gives beside the images: tables, or the tables of a public data set."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from xraytk.data.deid import hashed
from xraytk.data.drawn import read_boxes
from xraytk.data.layouts import SETS, Box, Layout, detect_layout, read_layout
from xraytk.data.remote import is_url
from xraytk.data.sheet import Lookup
from xraytk.data.text import Facts, Report, read_labels, read_metadata, read_reports
from xraytk.files import sha256_of

Labels = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Tables:
    """The user's tables or the layout's, and a hash that changes when one does; "" without any."""

    reports: Lookup[Report]
    labels: Lookup[Labels]
    metadata: Lookup[Facts]
    boxes: Lookup[tuple[Box, ...]]
    mark: str = ""


def read_tables(
    given: Mapping[str, Path | None], layout: Layout | None, key: bytes, note: Callable[[str], None]
) -> Tables:
    """Read the tables; what they do not say, the layout does.

    Args:
        given: Paths of "reports", "labels", "metadata" and "boxes".
        layout: Of a public data set.
        key: Of the hashes.
        note: Is told what people want to know.

    Raises:
        DataError: If a table does not exist or does not fit.
    """
    reports: Lookup[Report] = Lookup(layout.reports if layout else (), key)
    labels: Lookup[Labels] = Lookup(layout.labels if layout else (), key)
    metadata: Lookup[Facts] = Lookup(layout.metadata if layout else (), key)
    boxes: Lookup[tuple[Box, ...]] = Lookup(layout.boxes if layout else (), key)
    if (path := given["reports"]) is not None:
        reports = read_reports(path, key)
    if (path := given["labels"]) is not None:
        read = read_labels(path, key)
        note(f"labels: {len(read.names):,} labels, {read.ignored:,} other columns left out")
        if read.uncertain:
            note(f"labels: {read.uncertain:,} values are uncertain (-1)")
        if read.contradictions:
            note(f"labels: {read.contradictions:,} values left out, their rows contradict each other")
        labels = cast(Lookup[Labels], read.table)
    if (path := given["metadata"]) is not None:
        metadata = read_metadata(path, key)
    if (path := given["boxes"]) is not None:
        boxes = read_boxes(path, key)
    for name, ambiguous in (
        ("reports", reports.ambiguous),
        ("labels", labels.ambiguous),
        ("metadata", metadata.ambiguous),
    ):
        if ambiguous:
            note(f"{name}: {ambiguous:,} keys left out, their rows contradict each other")
    marks = [f"layout {sha256_of(path)}" for path in layout.tables] if layout else []
    marks += [f"{name} {sha256_of(path)}" for name, path in given.items() if path is not None]
    mark = hashed(key, "tables", ", ".join(marks)) if marks else ""
    return Tables(reports, labels, metadata, boxes, mark)


def layout_of(name: str, source: str, key: bytes, note: Callable[[str], None]) -> Layout | None:
    """The layout that is asked for; without one, a hint where the source looks like a known set.

    Raises:
        UsageError: If there is no layout of that name.
        DataError: If the set's tables are not there, or broken.
    """
    if name:
        layout = read_layout(name, Path(source), key)
        for said in layout.notes:
            note(f"{name}: {said}")
        return layout
    if source and not is_url(source) and (guess := detect_layout(Path(source))):
        note(f"this looks like {SETS[guess].title}: --layout {guess} brings its labels and splits")
    return None


def unmatched(
    table: Lookup[Report] | Lookup[Labels] | Lookup[Facts] | Lookup[tuple[Box, ...]], found: int
) -> int:
    """Entries of a table that belong to no image; what earlier tables gave does not count."""
    return max(len(table.values) - found, 0)
