"""What cells of public tables mean: views, ages, sexes, labels, texts."""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Callable, Sequence

from xraytk.data.deid import hashed
from xraytk.data.layouts.layout import Box, Counts
from xraytk.data.sheet import canonical_path
from xraytk.data.text import Report, language_of
from xraytk.records import UNCERTAIN

OLDEST = 120
_VALUES = {"1": 1.0, "1.0": 1.0, "0": 0.0, "0.0": 0.0, "-1": UNCERTAIN, "-1.0": UNCERTAIN}
_VIEWS = {
    **dict.fromkeys(("pa", "postero-anterior", "posteroanterior"), "PA"),
    **dict.fromkeys(("ap", "antero-posterior", "anteroposterior", "ap_horizontal"), "AP"),
    **dict.fromkeys(("lateral", "left lateral", "right lateral", "l", "ll", "rl", "lat"), "LATERAL"),
    "xtable lateral": "LATERAL",
}
_SILENT = ("", "nan", "none", "unk", "unknown", "frontal")
_AGE = re.compile(r"(\d{1,3}(?:\.\d+)?)\s*([ymwd]?)", re.IGNORECASE)
_PER_YEAR = {"m": 12.0, "w": 52.18, "d": 365.25}


def view_of(text: str) -> str:
    """One of `records.VIEWS`: OTHER for decubitus, lordotic, oblique and rib views; "" for none."""
    plain = text.casefold()
    return "" if plain in _SILENT else _VIEWS.get(plain, "OTHER")


def sex_of(text: str) -> str:
    """Return "M", "F", "O", or "" where it says nothing."""
    first = text.casefold()[:1]
    return {"m": "M", "f": "F", "o": "O"}.get(first, "") if text.casefold() not in _SILENT else ""


def age_of(text: str, counts: Counts, *, youngest: float = 0.0) -> float | None:
    """Years from "58", "058Y", "006M"; None, counted, where nobody is so old.

    Args:
        text: The cell.
        counts: Gets what is no age.
        youngest: Of the set; below it the cell is a placeholder.

    Source:
        NIH ChestX-ray14 has ages above 400, which are errors of entry.
    """
    if text.casefold() in _SILENT:
        return None
    found = _AGE.fullmatch(text)
    years = float(found[1]) / _PER_YEAR.get(found[2].casefold(), 1.0) if found else math.inf
    if youngest <= years <= OLDEST:
        return years
    counts[f"ages left out: they are not in {youngest:g} to {OLDEST} years"] += 1
    return None


def number_of(text: str) -> float | None:
    """A finite number, or None."""
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def hasher(key: bytes, kind: str, public: str) -> Callable[[str], str]:
    """Hash ids of a set, as "set:id", so that two sets never share a patient by chance.

    Args:
        key: Of the hashes.
        kind: "patient" or "study".
        public: The set's short name.
    """

    @functools.lru_cache(maxsize=4096)
    def hash_of(raw: str) -> str:
        return hashed(key, kind, f"{public}:{raw}") if raw else ""

    return hash_of


def file_key(cell: str, parts: int = 0) -> str:
    """A path or name as a "file" key: canonical, its last ``parts`` parts (0: all)."""
    plain = canonical_path(cell)
    return "/".join(plain.split("/")[-parts:]) if parts else plain


def tidy(text: str) -> str:
    """One line, without control characters and doubled blanks."""
    line = " ".join(text.split())
    if line.isprintable():
        return line
    return " ".join("".join(c if c.isprintable() else " " for c in line).split())


def report_of(*parts: str) -> Report:
    """A report of findings and impression, in the language of its script.

    Args:
        parts: Sections in their order; each is ended by a full stop when another follows.
    """
    sections = [s for s in map(tidy, parts) if s and s.casefold() not in ("nan", "none")]
    whole = "".join(sections)
    zh = not whole.isascii() and language_of(whole) == "zh"
    stop, gap = ("。", "") if zh else (".", " ")
    ended = [s if s[-1] in ".。!?！？;；:" else s + stop for s in sections[:-1]]
    text = gap.join([*ended, *sections[-1:]])
    return Report(zh=text) if zh else Report(en=text)


class LabelRows:
    """Labels from rows of 1, 0, -1 (uncertain) and blanks (unknown: left out).

    Equal rows share one dictionary, since a table has few distinct ones.

    Args:
        names: Of the columns.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self._names = tuple(names)
        self._known: dict[tuple[str, ...], tuple[dict[str, float], int, int]] = {}

    def values(self, cells: tuple[str, ...], counts: Counts) -> dict[str, float]:
        """Known and uncertain labels of a row; counts the latter, and what is left out."""
        if cells not in self._known:
            known = {n: _VALUES[c] for n, c in zip(self._names, cells, strict=True) if c in _VALUES}
            uncertain = sum(value == UNCERTAIN for value in known.values())
            odd = sum(c not in ("", "nan", "NaN") for c in cells) - len(known)
            self._known[cells] = (known, uncertain, odd)
        known, uncertain, odd = self._known[cells]
        if uncertain:
            counts["labels are uncertain (-1)"] += uncertain
        if odd:
            counts["labels left out: they are none of 1, 0, -1"] += odd
        return known


def box_of(
    label: str, edges: Sequence[str], counts: Counts, *, reader: str = "", of: tuple[int, int] | None = None
) -> Box | None:
    """A box from the texts of x0, y0, x1, y1; None, counted, where they are none.

    Args:
        label: Of the finding.
        edges: Left, top, right, bottom.
        counts: Gets what is no box.
        reader: Who drew it.
        of: As in `Box`.
    """
    numbers = [n for n in map(number_of, edges) if n is not None]
    if len(numbers) == 4 and numbers[0] < numbers[2] and numbers[1] < numbers[3]:
        x0, y0, x1, y1 = numbers
        if of is None or (x0 < of[1] and y0 < of[0] and x1 > 0 and y1 > 0):
            return Box(label, x0, y0, x1, y1, reader, of)
    counts["boxes left out: they have no area, or lie outside of the picture"] += 1
    return None


def corners(x: str, y: str, width: str, height: str) -> tuple[str, str, str, str]:
    """x, y, width, height as x0, y0, x1, y1; still texts."""
    left, top, across, down = (number_of(t) for t in (x, y, width, height))
    right = "" if left is None or across is None else repr(left + across)
    return x, y, right, "" if top is None or down is None else repr(top + down)
