"""What the rules of a language are made of, and how its patterns become one scan of a sentence."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from xraytk.tasks.findings.labels import Side

Meaning = Literal["present", "absent", "uncertain", "unsaid", "gone", "treated"]
"""What a cue makes of a finding. "unsaid": no statement (a question, a history), so no mention.
"gone": absent, but only for devices (removed). "treated": no longer there, but for fractures and
devices. "present": there ("no change in"), and no alternative to what it is listed with."""
Reach = Literal["ahead", "back", "both", "auto", "either", "beside", "before"]
"""Where a cue acts, up to the end of its clause. "auto": ahead if anything is there, else back.
"either": back if anything is there, else ahead. "beside": the nearest finding on each side.
"before": the finding that ends where the cue begins."""

_BLANKS = re.compile(r"\[[^\]]*\]|[ _]")
ALL = frozenset({1, 0, -1})


class Says(NamedTuple):
    """What a term says when nothing around it changes that."""

    finding: str
    state: int = 1
    sign: bool = False
    keep: frozenset[int] = ALL
    """States in which there is a mention at all."""


class Term(NamedTuple):
    """Words that name a finding; without ``says``, words that look like one and are none."""

    says: tuple[Says, ...]
    pattern: str


class Again(NamedTuple):
    """Words that stand for a finding named earlier in the sentence ("a small left one")."""

    pattern: str
    organs: bool = False
    """Whether they may stand for an organ ("the left one"): then they do if one was named last."""


class Organ(NamedTuple):
    """Words that name a part of the chest, which a quality then judges."""

    says: tuple[Says, ...]
    """The finding if the quality is bad; a good quality makes it absent."""
    name: str
    pattern: str


class Quality(NamedTuple):
    """Words that judge organs: 0 good, 1 bad, -1 between."""

    state: int
    organs: frozenset[str]
    pattern: str
    only_absent: bool = False
    """A bad quality that says something only where it is denied ("no abnormality")."""


class Cue(NamedTuple):
    """Words that change what a finding near them says; without a meaning, words that do not."""

    meaning: Meaning | None
    reach: Reach
    pattern: str


class Mark(NamedTuple):
    """Words and signs that shape a sentence.

    "stop" ends every scope, "fence" only that of absence ahead, "pause" may end one; "verb",
    "steady" and "or" help to decide.
    """

    kind: Literal["stop", "fence", "pause", "verb", "steady", "or"]
    pattern: str


Rule = Term | Again | Organ | Quality | Cue | Mark


class Token(NamedTuple):
    """A rule found in a sentence."""

    start: int
    end: int
    rule: Rule


@dataclass(frozen=True, slots=True)
class Rules:
    """All rules of a language."""

    rules: Sequence[Rule]
    """The first that fits wins."""
    sides: Mapping[str, Side | None]
    """Pattern to side; None: words that hold a side's name and mean none."""
    ends: Callable[[str, Sequence[Token], int], bool]
    """Whether the pause with this index ends the scopes around it."""
    words: bool
    """Whether blanks part the words. Then a blank in a pattern stands for blanks or hyphens, "_" for
    blanks, hyphens or nothing, and a pattern fits whole words, unless it begins with "=": that one
    is a regular expression as it stands, and is tried after the others."""
    gap: str
    """What may stand between a quality and the organ behind it."""
    listed: str
    """What may stand between two organs that share a quality, or two findings that share a side."""
    joined: str
    """The same for findings, across the end of a scope."""
    turn: str
    """What stands between a side and a finding that is elsewhere."""
    _scan: re.Pattern[str] = field(init=False)
    _sides: re.Pattern[str] = field(init=False)
    _side_of: tuple[Side | None, ...] = field(init=False)
    between: re.Pattern[str] = field(init=False)
    lists: re.Pattern[str] = field(init=False)
    joins: re.Pattern[str] = field(init=False)
    turns: re.Pattern[str] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_scan", self._union([rule.pattern for rule in self.rules]))
        object.__setattr__(self, "_sides", self._union(list(self.sides)))
        object.__setattr__(self, "_side_of", tuple(self.sides.values()))
        object.__setattr__(self, "between", re.compile(self.gap))
        object.__setattr__(self, "lists", re.compile(self.listed))
        object.__setattr__(self, "joins", re.compile(self.joined))
        object.__setattr__(self, "turns", re.compile(self.turn))

    def spaced(self, pattern: str) -> str:
        """A pattern as a regular expression."""
        blanks = {" ": "[ -]+", "_": "[ -]*"}
        return _BLANKS.sub(lambda m: blanks.get(m[0], m[0]), pattern) if self.words else pattern

    def _union(self, patterns: Sequence[str]) -> re.Pattern[str]:
        """One expression for all; the last group that took part numbers the first pattern that fits.

        The empty group stands last in each, and the word's start before all, so that the scan can
        tell by one character that most do not fit: a tenth of the time.
        """
        start, end = (r"(?<!\w)", r"(?!\w)") if self.words else ("", "")
        whole, parts = [], []
        for i, pattern in enumerate(patterns):
            if pattern.startswith("="):
                parts.append(f"(?:{pattern[1:]})(?P<r{i}>)")
            else:
                whole.append(f"(?:{self.spaced(pattern)}){end}(?P<r{i}>)")
        return re.compile("|".join([f"{start}(?:{'|'.join(whole)})", *parts]))

    def tokens(self, text: str) -> list[Token]:
        """The rules found in a sentence (lower case), from left to right, none inside another."""
        return [
            Token(m.start(), m.end(), self.rules[int((m.lastgroup or "")[1:])])
            for m in self._scan.finditer(text)
        ]

    def sides_of(self, text: str) -> list[tuple[int, int, Side]]:
        """The words for sides in a sentence: start, end, side."""
        found = [
            (m.start(), m.end(), self._side_of[int((m.lastgroup or "")[1:])])
            for m in self._sides.finditer(text)
        ]
        return [(start, end, side) for start, end, side in found if side]
