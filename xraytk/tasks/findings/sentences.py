"""Which parts of a report are statements about the image, and where its sentences are."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Literal

from xraytk.data.sections import language_of as _en_or_zh
from xraytk.data.sections import pieces

STATED = frozenset({"findings", "impression"})
"""Sections whose words are statements; the indication, the history and the like only ask or tell."""

_HEADED = re.compile(
    r"[:：】\]〕》>]|^[ \t]*[A-Z]{6,}\b|[\n.][ \t]*[A-Z]{6,}\b|\n|^\W*[\u4e00-\u9fff]{2,6}\s"
)
_EN_END = re.compile(
    r"""
    [.!]+(?=\s|$|[A-Z][a-z])                     # also a full stop without a blank behind it
    (?<!\bdr\.)(?<!\bDr\.)(?<!\bvs\.)(?<!\be\.g\.)(?<!\bi\.e\.)(?<!\bapprox\.)
    (?:(?<![cm]m\.)|(?=\s+[A-Z]|\s*$))           # "2 cm." ends only before a capital
    | \?(?=\s+[A-Z]|\s*$)
    | \n(?=[ \t]*\n|[ \t]*(?:[-*•]|\(?\d{1,2}[.)])\s)  # a blank line, a list
    """,
    re.VERBOSE,
)
_ZH_END = re.compile(
    r"[。！!；;\n]|[？?](?=\s+)|(?<!\d)\.(?!\d)|(?=(?<!\d)[1-9][.、．)）]\s?[\u4e00-\u9fff])"
)
_WRAPPED_CHARS = 55
_LONG_CHARS = 600
"""A sentence is cut here at the latest, so that time stays in proportion to text."""
_NUMBER = re.compile(r"\s*\(?\d{1,2}[.)]?\s*$")
_FOREIGN = re.compile(
    r"\b(?:der|die|das|und|kein|keine|keinen|ohne|nicht|ist|sind|im|les?|des|du|et|est|sans|pas|aucune?|dans"
    r"|els?|los|las|del|sin|hay|por|em|não|sem|dos?|della?|il|di|senza|non|een|geen|het|zonder|och|inga?)\b"
)
_ENGLISH = re.compile(
    r"\b(?:the|is|are|no|of|and|or|with|without|there|normal|in|on|heart|lungs?|right|left|was|has|seen|clear)\b"
)
_SCRIPTS = re.compile(
    r"[\u3040-\u30ff\uac00-\ud7af\u0400-\u04ff\u0600-\u06ff\u0900-\u097f\u0e00-\u0e7f\u0370-\u03ff]"
)
_FOREIGN_SHARE = 0.2


def language_of(text: str) -> Literal["en", "zh", "other", ""]:
    """Tell a report's language, so that a wrong one is an error and no silent zero.

    Returns:
        "en", "zh", "other" (other scripts; Latin text with more German, French, Spanish, Italian,
        Portuguese, Dutch or Swedish small words than English ones), or "" if there are no letters.
    """
    letters = sum(c.isalpha() for c in text)
    if not letters:
        return ""
    if len(_SCRIPTS.findall(text)) > _FOREIGN_SHARE * letters:
        return "other"
    if _en_or_zh(text) == "zh":
        return "zh"
    low = text.lower()
    foreign, english = len(_FOREIGN.findall(low)), len(_ENGLISH.findall(low))
    return "other" if foreign > english else "en"


def statements(text: str) -> Iterator[tuple[int, str]]:
    """The parts of a report that state what is seen, with their places."""
    if not _HEADED.search(text):
        yield 0, text
        return
    start = 0
    for piece in pieces(text):
        start += len(piece.heading)
        if piece.section in STATED:
            yield start, piece.body
        start += len(piece.body)


def sentences(text: str, lang: str) -> Iterator[tuple[int, str]]:
    """The sentences of a text with their places; numbers of a list alone are none.

    Source:
        Ours. English lines that are wrapped (long, and the next goes on) stay together.
    """
    start = 0
    for end in [*_ends(text, lang), len(text)]:
        while start < end:
            until = end
            if end - start > _LONG_CHARS:
                blank = max(text.rfind(sign, start, start + _LONG_CHARS) for sign in " ,，、")
                until = blank + 1 if blank > start else start + _LONG_CHARS
            part = text[start:until]
            if part.strip() and not _NUMBER.fullmatch(part):
                yield start, part
            start = until


def _ends(text: str, lang: str) -> Iterator[int]:
    if lang == "zh":
        yield from (m.end() for m in _ZH_END.finditer(text))
        return
    ends = {m.end() for m in _EN_END.finditer(text)}
    if "\n" in text:
        start = 0
        for line in text.splitlines(keepends=True):
            start += len(line)
            goes_on = text[start : start + 1].strip()[:1]
            if len(line.strip()) < _WRAPPED_CHARS and (not goes_on or not goes_on.islower()):
                ends.add(start)
    yield from sorted(ends)
