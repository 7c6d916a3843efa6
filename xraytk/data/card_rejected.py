"""The part of a dataset card on the files that gave no image, with thumbnails where there are some."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from xraytk.data import refused, sources
from xraytk.data.card_people import percent
from xraytk.data.charts import bar
from xraytk.data.columns import batches
from xraytk.data.looks import shrunk
from xraytk.data.page import Html, joined, picture, table, tag
from xraytk.data.pictures import read_png
from xraytk.errors import DataError

SHOWN = 12
"""Thumbnails of a reason."""
_BUDGET = 2_000_000  # characters of all thumbnails
_ROWS = 100_000
_MOST_DETAILS = 3
_QUALITY = 75
_THUMBNAIL = re.compile(r"[0-9a-f]{1,64}\.png")
_ID = re.compile(r"[0-9a-f]{16,64}")

REASONS = {**sources.REASONS, **refused.REASONS, "duplicate": "the same image was found elsewhere too"}


def is_secret(reason: str) -> bool:
    """Whether files refused for this reason may not be shown: the text in them may be a name."""
    return reason.startswith("burned")


def rejected(folder: Path, counts: Mapping[str, int], reasons: Mapping[str, str]) -> Html:
    """The section on rejected files.

    Args:
        folder: With ``rejected.parquet`` and perhaps ``rejected/<source_hash>.png``.
        counts: Reason to files.
        reasons: More explanations than `REASONS`.
    """
    table_file = folder / "rejected.parquet"
    if not table_file.exists():
        return tag("p", "Not recorded.", class_="soft")
    if not counts:
        return tag("p", "No file was rejected.")
    known = {**REASONS, **reasons}
    details, thumbnails = _scan(table_file, _listed(folder / "rejected"))
    whole = sum(counts.values())
    rows = []
    for reason, count in counts.items():
        said = joined([reason, tag("br"), tag("span", known.get(reason, "no explanation"), class_="soft")])
        often = ", ".join(f"{what} ({n:,})" for what, n in _most(details.get(reason, Counter())))
        rows.append((said, f"{count:,}", percent(count, whole), bar(count / whole), often))
    head = ("reason", "files", "share", "", "most often")
    parts = [tag("div", table(head, rows, "reasons"), class_="wide")]
    left = _BUDGET
    for reason, count in counts.items():
        figures = []
        for name in thumbnails.get(reason, []):
            figure = _figure(folder / "rejected" / f"{name}.png", name) if left > 0 else None
            if figure is not None:
                figures.append(figure)
                left -= len(figure)
        if figures:
            parts += [
                tag("h3", f"{reason}: {len(figures)} of {count:,}"),
                tag("div", *figures, class_="sheet"),
            ]
        elif is_secret(reason):
            parts += [tag("h3", reason), tag("p", "Not shown: the text may name a patient.", class_="soft")]
    return joined(parts)


def _listed(folder: Path) -> set[str]:
    """Hashes of the sources that have a thumbnail."""
    try:
        names = [path.name for path in folder.iterdir()]
    except OSError:
        return set()
    return {name.removesuffix(".png") for name in names if _THUMBNAIL.fullmatch(name)}


def _scan(path: Path, listed: set[str]) -> tuple[dict[str, Counter[str]], dict[str, list[str]]]:
    """What the details say, and which sources can be shown, by reason."""
    details: dict[str, Counter[str]] = {}
    thumbnails: dict[str, list[str]] = {}
    have = pa.array(sorted(listed), pa.string())
    for batch in batches(path, ("reason", "detail", "source_hash"), _ROWS):
        text = pa.table({n: pc.fill_null(batch.column(n).cast(pa.string()), "") for n in batch.schema.names})
        if "detail" in text.column_names:
            for row in text.group_by(["reason", "detail"]).aggregate([([], "count_all")]).to_pylist():
                if row["detail"] and not _ID.fullmatch(row["detail"]):
                    details.setdefault(row["reason"], Counter())[row["detail"]] += row["count_all"]
        if "source_hash" in text.column_names and len(have):
            for row in text.filter(pc.is_in(text["source_hash"], have)).to_pylist():
                if not is_secret(row["reason"]):
                    thumbnails.setdefault(row["reason"], []).append(row["source_hash"])
        for reason, found in details.items():  # of a million sizes, only the frequent ones matter
            details[reason] = Counter(dict(_most(found, 1000)))
    return details, {reason: sorted(set(names))[:SHOWN] for reason, names in thumbnails.items()}


def _most(found: Counter[str], count: int = _MOST_DETAILS) -> Sequence[tuple[str, int]]:
    return sorted(found.items(), key=lambda pair: (-pair[1], pair[0]))[:count]


def _figure(path: Path, name: str) -> Html | None:
    try:
        image = read_png(path)
    except (DataError, OSError):
        return None
    alt = f"Rejected file {name}"
    return tag("figure", picture(np.asarray(shrunk(image)), alt, quality=_QUALITY), tag("figcaption", name))
