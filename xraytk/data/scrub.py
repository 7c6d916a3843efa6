"""Scrubbing: what the header says of people, and what identifies by its form, is blanked in reports.

A name that neither the header holds nor a word beside it betrays stays, so this is a safety net,
and no replacement for a de-identified report.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise

from xraytk.data.identifiers import CJK, LATIN, MONTHS, Found, identifiers, is_hole
from xraytk.data.names import names
from xraytk.data.names_zh import names_zh
from xraytk.data.places import places

HOLE = "___"
"""What stands where an identifier stood; the convention of the public report collections."""

KINDS = ("name", "date", "time", "age", "phone", "email", "url", "place", "id")
"""What is counted; of two kinds that fit, the first."""

ESCAPE = re.compile(r"\x1b(?:\$[()]?|[()-.])[0-9A-Z@]")
"""Escape sequences of ISO 2022, which a parser may leave in names."""
_PLAIN = str.maketrans({0xFF01 + i: 0x21 + i for i in range(94)} | {0x3000: " "})  # full-width forms
_WORD = re.compile(f"[{LATIN}]+|[{CJK}]")
_IS_CJK = re.compile(f"[{CJK}]")
_NAME_GAP = re.compile(r"[\s,.^'·・-]*")
_TITLES = ("医生", "医师", "主任", "教授", "先生", "女士", "护士", "技师", "某")
_LONGEST_CJK_NAME = 4
_SHORTEST_ID = 3
_SHORTEST_NUMBER = 4  # "123" stands in measurements
_LONGEST_GUESS = 6
_COMMON = (
    "an and are as at be but by do for go had has he her his if in is it may me my no nor not of on or "
    "own she so the to up us was we who yet you dr md mr mrs ms prof "
    "white black brown green gray grey young stone field hill wood rose sharp short strong stent line "
    "chest clear heart high large left long low lung mid mild new normal old rib ribs right small"
)
_COMMON_WORDS = frozenset(_COMMON.split())

_MONTH = (
    r"(?P<name>jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)"
    r"(?:uary|ruary|ch|il|e|y|ust|t|tember|ober|ember)?\.?"
)
_NTH = r"(?P<d>\d{1,2})(?:st|nd|rd|th)?"
_YEAR = r"(?P<y>\d{4}|\d{2})"
_GAP = r"[\s,./-]{0,3}"
_DATES = [
    re.compile(rf"(?<![{LATIN}])(?:{spelling})(?![{LATIN}])", re.IGNORECASE)
    for spelling in (
        r"(?P<y>\d{4})\s?[-./]\s?(?P<m>\d{1,2})\s?[-./]\s?(?P<d>\d{1,2})",
        r"(?P<y>\d{4})(?P<m>\d{2})(?P<d>\d{2})",
        rf"(?P<m>\d{{1,2}})\s?[-./]\s?(?P<d>\d{{1,2}})\s?[-./]\s?{_YEAR}",
        rf"(?P<d>\d{{1,2}})\s?[-./]\s?(?P<m>\d{{1,2}})\s?[-./]\s?{_YEAR}",
        rf"{_MONTH}{_GAP}{_NTH}{_GAP}{_YEAR}",
        rf"{_NTH}{_GAP}(?:of\s)?{_MONTH}{_GAP}{_YEAR}",
        rf"{_MONTH}\s?{_NTH}",
        rf"{_NTH}\s(?:of\s)?{_MONTH}",
    )
]
_DATES.append(re.compile(r"(?<!\d)(?:(?P<y>\d{4})\s*年\s*)?(?P<m>\d{1,2})\s*月\s*(?P<d>\d{1,2})\s*[日号]"))

Date = tuple[int, int, int]


@dataclass(slots=True)
class _Wanted:
    """What to look for.

    Args:
        phrases: By their first word: the words, and for ids the exact gaps between them.
        surnames: Single characters that go when a title follows.
        dates: (year, month, day).
    """

    phrases: dict[str, list[tuple[tuple[str, ...], tuple[str, ...] | None]]] = field(default_factory=dict)
    surnames: set[str] = field(default_factory=set)
    dates: set[Date] = field(default_factory=set)

    def add(self, words: Iterable[str], gaps: tuple[str, ...] | None = None) -> None:
        sequence = tuple(words)
        if sequence:
            self.phrases.setdefault(sequence[0], []).append((sequence, gaps))


@dataclass(frozen=True, slots=True)
class Scrubbed:
    """A text without identifiers, and how many there were.

    Args:
        text: With ``___`` where they stood.
        counts: By kind, only kinds of `KINDS` that were found.
    """

    text: str = field(repr=False)
    counts: dict[str, int]


def scrub_report(text: str, secrets: Iterable[str] = ()) -> Scrubbed:
    """Replace by ``___`` what the header says of the people, and what identifies by its form.

    Names of the header (DICOM person names too), its ids and dates are looked for, whatever their
    case, as whole words; dates in the spellings that reports use. Common words of reports that
    are also names ("No", "He", "Long") go only as part of the full name: "No pneumothorax" must
    keep its meaning. What goes without a header is told in `data.identifiers`,
    `data.names`, `data.names_zh` and `data.places`.

    Args:
        text: A report, in English or Chinese.
        secrets: Texts of the header: names, ids, dates (YYYYMMDD).

    Returns:
        The text, and the number of replacements by kind. Scrubbed again, it stays as it is.

    Source:
        Ours.
    """
    wanted = _Wanted()
    for secret in secrets:
        for group in unicodedata.normalize("NFC", ESCAPE.sub("", secret)).split("="):
            _want(group.strip().translate(_PLAIN), wanted)
    plain = text.translate(_PLAIN)
    found = {*_date_spans(plain, wanted.dates), *_word_spans(plain, wanted)}
    found |= {*identifiers(plain), *names(plain), *names_zh(plain), *places(plain)}
    out, at = [], 0
    counts: Counter[str] = Counter()
    for start, end, kind in sorted(found, key=lambda f: (f.start, -f.end, KINDS.index(f.kind))):
        if is_hole(text[start:end]):
            continue
        if start >= at:
            out += [text[at:start], HOLE]
            counts[kind] += 1
            at = end
        elif end > at:  # two finds overlap: one hole for both
            at = end
    return Scrubbed("".join([*out, text[at:]]), {kind: counts[kind] for kind in KINDS if counts[kind]})


def _want(group: str, wanted: _Wanted) -> None:
    """Add one text of the header."""
    found = list(_WORD.finditer(group))
    words = [_plain(m[0]) for m in found]
    if any(c.isdigit() for c in group):
        if sum(len(w) for w in words) >= (_SHORTEST_NUMBER if group.isdigit() else _SHORTEST_ID):
            wanted.add(words, tuple(group[a.end() : b.start()] for a, b in pairwise(found)))
            if len(whole := _plain("".join(m[0] for m in found))) >= _LONGEST_GUESS:
                wanted.add([whole])
        if date := re.fullmatch(r"(\d{4})[-./]?(\d{2})[-./]?(\d{2})(?:\d{6}.*)?", group):
            wanted.dates.add((int(date[1]), int(date[2]), int(date[3])))
        if "^" not in group:
            return
    parts = [p for p in re.split(r"[\s^,;]+", group) if p and not any(c.isdigit() for c in p)]
    if _IS_CJK.search(group):
        _want_cjk_name(parts, wanted)
    else:
        _want_name([_plain(p) for p in parts], wanted, apart="^" in group)


def _want_cjk_name(parts: list[str], wanted: _Wanted) -> None:
    """A Chinese, Japanese or Korean name: whole, its longer parts, a surname before a title.

    A surname of one character stands inside ordinary words (张 in 扩张), so it goes only with
    a title behind it.
    """
    whole = "".join(parts)
    for text in {whole, *parts}:
        if len(text) > 1:
            wanted.add(_plain(m[0]) for m in _WORD.finditer(text))
    if whole and len(whole) <= _LONGEST_CJK_NAME:
        wanted.surnames.add(whole[0])


def _want_name(parts: list[str], wanted: _Wanted, *, apart: bool) -> None:
    """Words in letters: the whole in both orders, and if ``apart`` each of two letters or more.

    Only person names, which "^" betrays, are taken apart: the words of an institution's name
    ("Chest Hospital") are needed in reports.
    """
    parts = [p for p in parts if _WORD.search(p)]
    if len(parts) > 1:
        for order in (parts, parts[::-1]):
            wanted.add(m[0] for p in order for m in _WORD.finditer(p))
            wanted.add(["".join(order)])
    for part in parts if apart or len(parts) == 1 else ():
        if len(part) > 1 and part not in _COMMON_WORDS:
            wanted.add(m[0] for m in _WORD.finditer(part))


def _plain(word: str) -> str:
    """A word as it is compared: lower case, without accents; numbers without leading zeros."""
    if word.isdigit():
        return word.lstrip("0")
    apart = unicodedata.normalize("NFKD", word.casefold())
    return "".join(c for c in apart if not unicodedata.combining(c))


def _word_spans(text: str, wanted: _Wanted) -> Iterator[Found]:
    """Spans of the wanted phrases, the longest at each word."""
    found = list(_WORD.finditer(text))
    words = [_plain(m[0]) for m in found]
    for i, word in enumerate(words):
        best = 0
        for phrase, gaps in wanted.phrases.get(word, ()):
            last = i + len(phrase) - 1
            if last < len(words) and tuple(words[i : last + 1]) == phrase and len(phrase) > best:
                between = [text[found[k].end() : found[k + 1].start()] for k in range(i, last)]
                if tuple(between) == gaps or (gaps is None and all(map(_NAME_GAP.fullmatch, between))):
                    best = len(phrase)
        if best:
            digits = any(c.isdigit() for w in words[i : i + best] for c in w)
            yield Found(found[i].start(), found[i + best - 1].end(), "id" if digits else "name")
        elif word in wanted.surnames and text.startswith(_TITLES, found[i].end()):
            yield Found(*found[i].span(), "name")


def _date_spans(text: str, dates: set[Date]) -> Iterator[Found]:
    """Spans that spell one of the dates; two digits of the year will do, or none."""
    for spelling in _DATES if dates else ():
        for found in spelling.finditer(text):
            parts = found.groupdict()
            month = int(parts["m"]) if parts.get("m") else MONTHS.index(parts["name"].lower()) + 1
            day, year = int(parts["d"]), parts.get("y")
            for y, m, d in dates:
                if (m, d) == (month, day) and (not year or int(year) in (y, y % 100)):
                    yield Found(*found.span(), "date")
