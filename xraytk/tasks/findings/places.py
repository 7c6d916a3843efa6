"""On which side each finding of a sentence is."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from xraytk.tasks.findings.labels import Side, joined
from xraytk.tasks.findings.rules import Cue, Mark, Rules, Token

_SHOWN = frozenset({"Lung Opacity", "Consolidation"})
"""Findings that others explain."""
_ALONE = frozenset({"Edema"})
"""Findings that do not take the side of what they are listed with."""
_LINK_CHARS = 24
_LINK = re.compile(r"[\s,、]*(?:and|or|/|及|和|与)?[\s]*(?:\w+\s+){0,2}(?:to\s+)?[\s、]*")
_FAR = 10**9
_Word = tuple[int, int, Side]
"""A word for a side: start, end, side."""


class Place(NamedTuple):
    """Where an item stands in its sentence, what it names, and whether that is absent."""

    start: int
    end: int
    findings: frozenset[str]
    sign: bool
    absent: bool


@dataclass(slots=True)
class _Sentence:
    text: str
    places: Sequence[Place]
    words: Sequence[_Word]
    tokens: Sequence[Token]
    cuts: Sequence[int]
    rules: Rules
    pauses: list[int] = field(init=False)
    sides: list[Side | None] = field(init=False)
    sources: list[str] = field(init=False)
    """How each side was found: "before", "behind", "carried", "" if not."""

    def __post_init__(self) -> None:
        pauses = {t.start for t in self.tokens if isinstance(t.rule, Mark) and t.rule.kind in ("pause", "or")}
        self.pauses = sorted({*self.cuts, *pauses})
        self.sides, self.sources = [None] * len(self.places), [""] * len(self.places)

    def paused(self, start: int, end: int) -> bool:
        return any(start <= p < end for p in self.pauses)

    def cut(self, start: int, end: int) -> bool:
        return any(start <= c <= end for c in self.cuts)


def sides_of(
    text: str, places: Sequence[Place], tokens: Sequence[Token], cuts: Sequence[int], rules: Rules
) -> list[Side | None]:
    """Tell the side of each item: by words inside it, before it, behind it, else by its neighbours.

    Args:
        text: The sentence, lower case.
        places: The items, in order.
        tokens: The rules found in the sentence.
        cuts: Where scopes end.
        rules: Of the language.
    """
    words = rules.sides_of(text)
    if not words or not places:
        return [None] * len(places)
    sentence = _Sentence(text, places, words, tokens, cuts, rules)
    for i in range(len(places)):
        sentence.sides[i], sentence.sources[i] = _own(sentence, i)
    _share(sentence)
    _carry(sentence)
    _share(sentence)
    return sentence.sides


def _own(s: _Sentence, i: int) -> tuple[Side | None, str]:
    """The side that words near an item tell."""
    start, end, *_ = s.places[i]
    if inside := [side for a, b, side in s.words if start <= a and b <= end]:
        return joined(inside), "before"
    last = max([p.end for p in s.places if p.end <= start], default=0)
    low = max([last, *(c for c in s.cuts if c < start)])
    high = min(
        [*(c for c in s.cuts if c >= end), *(p.start for p in s.places if p.start >= end)], default=_FAR
    )
    earlier = [w for w in s.words if w[0] >= last and w[1] <= start]
    before = [w for w in earlier if w[0] >= low]
    if near := [w for w in before if not s.paused(w[1], start)]:
        return joined([*_linked(s, near[0], earlier), *(side for _, _, side in near)]), "before"
    behind = [w for w in s.words if w[0] >= end and w[1] <= high and _behind(s, w, end)]
    if behind:
        return joined(side for _, _, side in behind), "behind"
    if s.places[i].absent or not earlier:
        return None, ""
    turned = not before and s.rules.turns.search(s.text, earlier[-1][1], start)
    return (None, "") if turned else (joined(side for _, _, side in before or earlier), "before")


def _linked(s: _Sentence, word: _Word, earlier: Sequence[_Word]) -> list[Side]:
    """The sides that "and" ties to a word: "moderate right and small left effusions"."""
    return [
        w[2]
        for w in earlier
        if w[1] <= word[0] and word[0] - w[1] < _LINK_CHARS and _LINK.fullmatch(s.text, w[1], word[0])
    ]


def _behind(s: _Sentence, word: _Word, end: int) -> bool:
    """Whether a word behind an item speaks of it, and not of the next item."""
    following = min((p.start for p in s.places if p.start >= word[1]), default=_FAR)
    free = following == _FAR or s.paused(word[1], following)
    return free or (not s.paused(end, word[0]) and following - word[1] > word[0] - end)


def _share(s: _Sentence) -> None:
    """In "right effusion and atelectasis" both are right; so in "effusion and atelectasis on the right"."""
    n = len(s.places)
    pairs = [(i - 1, i) for i in range(1, n)] + [(i + 1, i) for i in range(n - 2, -1, -1)]
    for giver, taker in pairs:
        wanted = ("before", "carried") if giver < taker else ("behind",)
        if s.sides[taker] or not s.sides[giver] or s.sources[giver] not in wanted:
            continue
        start, end = s.places[min(giver, taker)].end, s.places[max(giver, taker)].start
        if start > end or s.places[taker].findings & _ALONE:
            continue
        listed = not s.cut(start, end) and s.rules.lists.fullmatch(s.text, start, end)
        if listed or s.rules.joins.fullmatch(s.text, start, end):
            s.sides[taker], s.sources[taker] = s.sides[giver], s.sources[giver]


def _carry(s: _Sentence) -> None:
    """What explains a finding, "right opacity, likely atelectasis", or says it again, is where it is."""
    for i in range(1, len(s.places)):
        last, place = s.places[i - 1], s.places[i]
        until = s.places[i + 1].start if i + 1 < len(s.places) else _FAR
        if s.sides[i] or not s.sides[i - 1] or any(last.end <= a < place.start for a, _, _ in s.words):
            continue
        cues = [t.rule for t in s.tokens if isinstance(t.rule, Cue) and last.end <= t.start < until]
        explains = any(cue.meaning in (None, "uncertain") for cue in cues)
        shown = last.findings & _SHOWN or last.sign or s.sources[i - 1] == "carried"
        if (explains and shown) or place.findings & last.findings:
            s.sides[i], s.sources[i] = s.sides[i - 1], "carried"
