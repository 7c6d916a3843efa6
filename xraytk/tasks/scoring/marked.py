"""Two reports side by side: words that both have in the same order, findings that agree or not."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

from xraytk.data.page import Html, joined, tag
from xraytk.models.tokens import spans

STYLE = """
mark { background: none; color: inherit }
mark.same { background: color-mix(in srgb, var(--fine) 22%, transparent) }
mark.other { border-bottom: 2px solid color-mix(in srgb, var(--two) 70%, transparent) }
.finding { display: inline-block; border: 1px solid currentColor; border-radius: 1em; padding: 0 .6em;
  margin: .15em .3em .15em 0; font-size: .85em }
.right { color: var(--fine) } .missed { color: var(--alarm) } .made { color: var(--two) }
"""


@dataclass(frozen=True, slots=True)
class Finding:
    """One finding in both reports.

    Args:
        name: Of the finding.
        kind: "right" (both), "missed" (the reference alone) or "made" (the generated one alone).
        title: What each says, in words.
    """

    name: str
    kind: str
    title: str


def words(reference: str, generated: str, lang: str) -> tuple[Html, Html]:
    """Mark the words of both texts that match in order; the others are underlined.

    Returns:
        Both texts; every character of them is kept.
    """
    places = [spans(text, lang) for text in (reference, generated)]
    tokens = [[token for token, _, _ in found] for found in places]
    matcher = SequenceMatcher(None, tokens[0], tokens[1], autojunk=False)
    same: tuple[set[int], set[int]] = (set(), set())
    for block in matcher.get_matching_blocks():
        same[0].update(range(block.a, block.a + block.size))
        same[1].update(range(block.b, block.b + block.size))
    return _marked(reference, places[0], same[0]), _marked(generated, places[1], same[1])


def _marked(text: str, places: Sequence[tuple[str, int, int]], same: set[int]) -> Html:
    """Runs of tokens that are alike in one mark, with the blanks between them."""
    parts: list[object] = []
    at, i = 0, 0
    while i < len(places):
        j = i
        while j + 1 < len(places) and (j + 1 in same) == (i in same):
            j += 1
        start, end = places[i][1], places[j][2]
        parts += [text[at:start], tag("mark", text[start:end], class_="same" if i in same else "other")]
        at, i = end, j + 1
    return joined([*parts, text[at:]])


def findings(reference: Mapping[str, int | None], generated: Mapping[str, int | None]) -> list[Finding]:
    """Findings that one of two reports or both name as present or uncertain."""
    out = []
    for name in reference:
        ours, truth = generated.get(name), reference[name]
        said, wanted = ours in (1, -1), truth in (1, -1)
        if said or wanted:
            kind = "right" if said and wanted else "missed" if wanted else "made"
            out.append(Finding(name, kind, f"reference: {_state(truth)}; generated: {_state(ours)}"))
    return out


def chips(found: Iterable[Finding]) -> Html:
    """Findings as small coloured labels, with a sign for those who do not see colours."""
    signs = {"right": "✓", "missed": "− missed:", "made": "+ invented:"}
    return joined(
        tag("span", f"{signs[f.kind]} {f.name}", class_=f"finding {f.kind}", title=f.title) for f in found
    )


def _state(value: int | None) -> str:
    return {1: "present", 0: "absent", -1: "uncertain", None: "not mentioned"}[value]
