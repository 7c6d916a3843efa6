"""The labeller: from a report to mentions of findings, and to one label each.

A sentence is scanned once for terms ("effusion"), organs ("heart size"), qualities ("enlarged"),
cues ("no", "may represent") and marks ("but", ","). Each term, and each organ with its quality,
is an item; the cues whose scope reaches it decide its state.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import NamedTuple

from xraytk.errors import UsageError
from xraytk.records import LANGUAGES
from xraytk.tasks.findings.chinese import CHINESE
from xraytk.tasks.findings.english import ENGLISH
from xraytk.tasks.findings.labels import UNCOUNTED, UNSIDED, Labels, Mention, aggregate
from xraytk.tasks.findings.places import Place, sides_of
from xraytk.tasks.findings.rules import (
    ALL,
    Again,
    Cue,
    Mark,
    Meaning,
    Organ,
    Quality,
    Rules,
    Says,
    Term,
    Token,
)
from xraytk.tasks.findings.sentences import language_of, sentences, statements

_RULES: dict[str, Rules] = {"en": ENGLISH, "zh": CHINESE}
_WIDE = {
    wide: wide - 0xFEE0 for wide in (*range(0xFF10, 0xFF1A), *range(0xFF21, 0xFF3B), *range(0xFF41, 0xFF5B))
}
_LOWER = {upper: upper + 32 for upper in range(65, 91)} | _WIDE | {ord(c): " " for c in "\n\r\t\u00a0\u3000"}
_WIDE_UPPER = {wide: wide - 0xFEE0 + 32 for wide in range(0xFF21, 0xFF3B)}
_PLAIN = _LOWER | _WIDE_UPPER | {ord("’"): "'"}
_CACHED = 20_000
_ABSENT = frozenset({0})
_LEFT_BEHIND = frozenset({"Fracture", "Support Devices"})


class _Item(NamedTuple):
    """Something that is said of findings, before the cues."""

    start: int
    end: int
    ahead_of: int
    """Where a cue ahead must end by."""
    after: int
    """Cues ahead must begin here or later."""
    says: tuple[Says, ...]
    good: bool


def label(text: str, lang: str) -> Labels:
    """Label a report.

    Args:
        text: A report, with or without headings; indication, history, comparison and technique
            are left out where headings tell them apart.
        lang: "en" or "zh" (simplified).

    Returns:
        The label of each finding, and the mentions they rest on.

    Raises:
        UsageError: If lang is another language.

    Source:
        Ours; the observations and how mentions add up are CheXpert's (Irvin 2019).
    """
    if lang not in _RULES:
        raise UsageError(
            "no rules to label this language", f"lang is {lang!r}, must be one of {', '.join(LANGUAGES)}"
        )
    mentions: list[Mention] = []
    for offset, part in statements(text):
        for start, sentence in sentences(part, lang):
            at = offset + start
            mentions += (
                m._replace(start=m.start + at, end=m.end + at)
                for m in _mentions(sentence.translate(_PLAIN), lang)
            )
    return Labels(aggregate(mentions, blank=not any(c.isalpha() for c in text)), tuple(mentions))


def label_many(texts: Iterable[str], lang: str) -> list[Labels]:
    """Label reports one after the other; sentences that come again are read once.

    A text in another language says nothing: by the rules of this one it would have no finding.
    """
    return [label(text if language_of(text) in (lang, "") else "", lang) for text in texts]


@lru_cache(maxsize=_CACHED)
def _mentions(sentence: str, lang: str) -> tuple[Mention, ...]:
    """The mentions in a sentence, lower case, their places counted within it."""
    rules = _RULES[lang]
    tokens = rules.tokens(sentence)
    if not any(isinstance(t.rule, Term | Organ) and t.rule.says for t in tokens):
        return ()
    pauses = [t for t in tokens if isinstance(t.rule, Mark) and t.rule.kind == "pause"]
    cuts = [
        t.start
        for i, t in enumerate(tokens)
        if isinstance(t.rule, Mark)
        and (t.rule.kind == "stop" or (t.rule.kind == "pause" and rules.ends(sentence, tokens, i)))
    ]
    fences = cuts + [t.start for t in tokens if isinstance(t.rule, Mark) and t.rule.kind == "fence"]
    items = _items(sentence, tokens, cuts, rules)
    effects = _effects(tokens, items, cuts, fences, [p.start for p in pauses])
    _alternatives(tokens, items, effects, cuts)
    places = [_place(item, effect) for item, effect in zip(items, effects, strict=True)]
    sides = sides_of(sentence, places, tokens, cuts, rules)
    out = []
    for item, effect, side in zip(items, effects, sides, strict=True):
        for says in item.says:
            state = _state(says, effect, item.good)
            if state is not None:
                where = None if says.finding in UNSIDED else side
                out.append(Mention(says.finding, item.start, item.end, state, where, says.sign))
    return tuple(out)


def _place(item: _Item, effect: set[Meaning]) -> Place:
    findings = frozenset(says.finding for says in item.says)
    absent = item.good or "absent" in effect
    return Place(item.start, item.end, findings, any(says.sign for says in item.says), absent)


def _state(says: Says, effect: set[Meaning], good: bool) -> int | None:
    """The state of a finding under its cues; None: nothing is said of it."""
    state: int | None = says.state
    absent = "absent" in effect or ("gone" in effect and says.finding == "Support Devices")
    if "unsaid" in effect or ("treated" in effect and says.finding not in _LEFT_BEHIND):
        return None
    if good or says.state == 0:
        state = None if absent else 0
    elif absent:
        state = 0
    elif "uncertain" in effect:
        state = -1
    return state if state in says.keep else None


def _items(text: str, tokens: Sequence[Token], cuts: Sequence[int], rules: Rules) -> list[_Item]:
    """Terms that name findings, and organs with the quality that judges them."""
    out: list[_Item] = []
    judged: dict[int, Token] = {}
    for i, token in enumerate(tokens):
        rule = token.rule
        again = isinstance(rule, Again) and _named_before(tokens[:i], organs=rule.organs)
        if says := again or (isinstance(rule, Term) and rule.says):
            out.append(_Item(token.start, token.end, token.start, 0, says, False))
        elif isinstance(rule, Organ) and (quality := _quality(text, tokens, i, cuts, rules, judged)):
            judged[i] = quality
            out.append(_judged(tokens, i, quality))
    return sorted(out)


def _named_before(tokens: Sequence[Token], *, organs: bool) -> tuple[Says, ...]:
    """What the last term says, unless an organ was named last; one that is counted goes first."""
    named = [t.rule for t in tokens if isinstance(t.rule, Term | Organ) and t.rule.says]
    said = [rule.says for rule in named if isinstance(rule, Term)]
    if not said or (organs and isinstance(named[-1], Organ)):
        return ()
    counted = [says for says in said if not any(s.finding in UNCOUNTED for s in says)]
    return (counted or said)[-1]


def _judged(tokens: Sequence[Token], i: int, quality: Token) -> _Item:
    organ, rule = tokens[i], tokens[i].rule
    assert isinstance(rule, Organ)
    assert isinstance(quality.rule, Quality)
    start, end = min(organ.start, quality.start), max(organ.end, quality.end)
    behind = quality.start >= organ.end
    blocks = [
        t.end
        for t in tokens[:i]
        if isinstance(t.rule, Term | Quality) or (isinstance(t.rule, Mark) and t.rule.kind == "pause")
    ]
    state = quality.rule.state
    keep = _ABSENT if quality.rule.only_absent else ALL
    says = tuple(s._replace(state=s.state if state == 1 else state, keep=keep) for s in rule.says)
    after = organ.end if quality.rule.only_absent else max(blocks, default=0)
    return _Item(start, end, quality.start, after if behind else 0, says, state == 0)


def _quality(
    text: str, tokens: Sequence[Token], i: int, cuts: Sequence[int], rules: Rules, judged: dict[int, Token]
) -> Token | None:
    """The quality that judges an organ: the one right before it, else the next behind it."""
    organ = tokens[i]
    last = tokens[i - 1] if i else None
    near = last and _fits(last, organ) and not _cut(last.end, organ.start, cuts)
    if last and near and rules.between.fullmatch(text, last.end, organ.start):
        return last
    for other in tokens[i + 1 :]:
        if _cut(organ.end, other.start, cuts) or isinstance(other.rule, Term):
            break
        if _fits(other, organ):
            return other
    for j in range(i - 1, -1, -1):
        if isinstance(tokens[j].rule, Organ):
            shared = judged.get(j)
            linked = rules.lists.fullmatch(text, tokens[j].end, organ.start) and not _has_verb(
                tokens[i + 1 :]
            )
            return (
                shared
                if linked and shared and _fits(shared, organ) and shared.end <= tokens[j].start
                else None
            )
    return None


def _has_verb(tokens: Sequence[Token]) -> bool:
    """Whether something is said of what stands before these tokens, up to the next pause."""
    for token in tokens:
        if isinstance(token.rule, Mark):
            return token.rule.kind in ("verb", "steady")
    return False


def _fits(quality: Token, organ: Token) -> bool:
    return (
        isinstance(quality.rule, Quality)
        and isinstance(organ.rule, Organ)
        and organ.rule.name in quality.rule.organs
    )


def _cut(start: int, end: int, cuts: Sequence[int]) -> bool:
    return any(start <= cut <= end for cut in cuts)


def _effects(
    tokens: Sequence[Token],
    items: Sequence[_Item],
    cuts: Sequence[int],
    fences: Sequence[int],
    pauses: Sequence[int],
) -> list[set[Meaning]]:
    """What the cues make of each item."""
    out: list[set[Meaning]] = [set() for _ in items]
    for cue in tokens:
        if not isinstance(cue.rule, Cue) or cue.rule.meaning is None:
            continue
        meaning, reach = cue.rule.meaning, cue.rule.reach
        walls = cuts if meaning == "uncertain" else fences
        ahead = [
            i
            for i, item in enumerate(items)
            if item.after <= cue.start
            and cue.end <= item.ahead_of
            and not _cut(cue.end, item.ahead_of, walls)
        ]
        back = [
            i
            for i, item in enumerate(items)
            if item.end <= cue.start and not _cut(item.end, cue.start - 1, cuts)
        ]
        if reach == "before":
            chosen = [i for i in back if items[i].end >= cue.start - 1]
        elif reach == "beside":
            near = [i for i in back[-1:] if not _cut(items[i].end, cue.start, pauses)]
            chosen = near + ahead[:1]
        elif reach == "both":
            chosen = back + ahead
        else:
            forward = reach == "ahead" or (reach == "auto" and ahead) or (reach == "either" and not back)
            chosen = ahead if forward else back
        for i in chosen:
            out[i].add(meaning)
    return out


def _alternatives(
    tokens: Sequence[Token], items: Sequence[_Item], effects: list[set[Meaning]], cuts: Sequence[int]
) -> None:
    """Make both uncertain where a text says that there is one finding or the other."""
    for token in tokens:
        if not (isinstance(token.rule, Mark) and token.rule.kind == "or"):
            continue
        before = [i for i, item in enumerate(items) if item.end <= token.start][-1:]
        behind = [i for i, item in enumerate(items) if item.start >= token.end][:1]
        for i, j in zip(before, behind, strict=False):
            pair = items[i].says + items[j].says
            if _cut(items[i].end, items[j].start, cuts) or items[i].good or items[j].good:
                continue
            if "present" in effects[i] or "present" in effects[j]:
                continue
            if len({s.finding for s in pair}) > 1 and all(s.state for s in pair):
                effects[i].add("uncertain")
                effects[j].add("uncertain")
