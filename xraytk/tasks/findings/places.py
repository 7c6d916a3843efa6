"""On which side each finding of a sentence is."""

from __future__ import annotations

from collections.abc import Sequence

from xraytk.tasks.findings.labels import Side, joined
from xraytk.tasks.findings.rules import Cue, Mark, Rules, Says, Token

Span = tuple[int, int]
_LIST_CHARS = 24
_SHOWN = frozenset({"Lung Opacity", "Consolidation"})


def sides_of(
    text: str,
    items: Sequence[Span],
    says: Sequence[tuple[Says, ...]],
    tokens: Sequence[Token],
    cuts: Sequence[int],
    rules: Rules,
) -> list[Side | None]:
    """Tell the side of each item: by words inside it, before it, behind it, else shared in a list.

    Args:
        text: The sentence, lower case.
        items: Start and end of each, in order.
        says: What each says.
        tokens: The rules found in the sentence.
        cuts: Where scopes end.
        rules: Of the language.
    """
    words = rules.sides_of(text)
    if not words or not items:
        return [None] * len(items)
    pauses = [t.start for t in tokens if isinstance(t.rule, Mark) and t.rule.kind in ("pause", "or")]
    out: list[Side | None] = []
    sources: list[str] = []
    for item in items:
        side, source = _own(item, items, words, cuts, pauses)
        out.append(side)
        sources.append(source)
    _share(text, items, out, sources, cuts, rules)
    _carry(items, says, out, tokens, words)
    return out


def _own(
    item: Span,
    items: Sequence[Span],
    words: Sequence[tuple[int, int, Side]],
    cuts: Sequence[int],
    pauses: Sequence[int],
) -> tuple[Side | None, str]:
    start, end = item
    if inside := [side for a, b, side in words if start <= a and b <= end]:
        return joined(inside), "before"
    low = max([cut for cut in cuts if cut < start] + [e for _, e in items if e <= start], default=0)
    high = min([cut for cut in cuts if cut >= end] + [s for s, _ in items if s >= end], default=10**9)
    before = [(a, b, side) for a, b, side in words if a >= low and b <= start]
    near = [w for w in before if not any(w[1] <= p < start for p in pauses)]
    if near:
        first = near[0]
        linked = [w[2] for w in before if w[1] <= first[0] and first[0] - w[1] < _LIST_CHARS]
        return joined([*linked, *(side for _, _, side in near)]), "before"
    behind = [(a, b, side) for a, b, side in words if a >= end and b <= high]
    direct = [
        w
        for w in behind
        if not any(end <= p < w[0] for p in pauses)
        and (_free(w, items, pauses) or min(s for s, _ in items if s >= w[1]) - w[1] > w[0] - end)
    ]
    more = [w for w in behind if w not in direct and _free(w, items, pauses)]
    if direct or more:
        return joined(side for _, _, side in direct + more), "behind"
    return (joined(side for _, _, side in before), "before") if before else (None, "")


def _free(word: tuple[int, int, Side], items: Sequence[Span], pauses: Sequence[int]) -> bool:
    """Whether no item follows a word for a side before the next pause."""
    following = min((s for s, _ in items if s >= word[1]), default=None)
    return following is None or any(word[1] <= p < following for p in pauses)


def _share(
    text: str,
    items: Sequence[Span],
    out: list[Side | None],
    sources: list[str],
    cuts: Sequence[int],
    rules: Rules,
) -> None:
    """In "right effusion and atelectasis" both are right; so in "effusion and atelectasis on the right"."""
    pairs = [(i - 1, i, "before") for i in range(1, len(items))]
    pairs += [(i + 1, i, "behind") for i in range(len(items) - 2, -1, -1)]
    for giver, taker, source in pairs:
        first, second = sorted((giver, taker))
        start, end = items[first][1], items[second][0]
        if out[taker] or not out[giver] or sources[giver] != source or any(start <= c <= end for c in cuts):
            continue
        if start <= end and rules.lists.fullmatch(text, start, end):
            out[taker], sources[taker] = out[giver], source


def _carry(
    items: Sequence[Span],
    says: Sequence[tuple[Says, ...]],
    out: list[Side | None],
    tokens: Sequence[Token],
    words: Sequence[tuple[int, int, Side]],
) -> None:
    """What explains a finding, "right opacity, likely atelectasis", or says it again, is where it is."""
    for i in range(1, len(items)):
        start, end = items[i - 1][1], items[i][0]
        until = items[i + 1][0] if i + 1 < len(items) else 10**9
        if out[i] or not out[i - 1] or any(start <= a < end for a, _, _ in words):
            continue
        cues = [t.rule for t in tokens if isinstance(t.rule, Cue) and start <= t.start < until]
        explained = any(cue.meaning in (None, "uncertain") for cue in cues)
        shown = any(s.finding in _SHOWN or s.sign for s in says[i - 1])
        if (explained and shown) or {s.finding for s in says[i]} & {s.finding for s in says[i - 1]}:
            out[i] = out[i - 1]
