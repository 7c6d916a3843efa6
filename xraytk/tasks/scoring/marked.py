"""Two reports side by side: what each says of findings, and whether the other says it too."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from xraytk.data.page import Html, joined, tag
from xraytk.tasks.findings import FINDINGS, Labels, Mention
from xraytk.tasks.findings.labels import joined as joined_sides
from xraytk.tasks.findings.labels import that_count

STYLE = """
mark { background: none; color: inherit; text-underline-offset: .2em; text-decoration-thickness: 2px;
  text-decoration-line: underline; border-radius: 3px; padding: 0 .1em }
mark.right { text-decoration-style: solid; text-decoration-color: var(--fine); --tint: var(--fine) }
mark.side { text-decoration-style: dotted; text-decoration-color: var(--four); --tint: var(--four) }
mark.missed { text-decoration-style: double; text-decoration-color: var(--alarm); --tint: var(--alarm) }
mark.made { text-decoration-style: wavy; text-decoration-color: var(--two); --tint: var(--two) }
mark.said { text-decoration-style: solid; text-decoration-color: var(--soft); --tint: var(--soft) }
mark.present, mark.uncertain { background: color-mix(in srgb, var(--tint) 25%, transparent) }
mark.absent::before { content: "¬"; color: var(--tint); font-weight: bold }
mark.uncertain::after { content: "?"; color: var(--tint); font-weight: bold; font-size: .7em;
  vertical-align: super }
.legend { color: var(--soft); font-size: .9em; margin: .4em 0 } .legend mark { color: var(--ink) }
.finding { display: inline-block; border: 1px solid currentColor; border-radius: 1em; padding: 0 .6em;
  margin: .15em .3em .15em 0; font-size: .85em }
.finding.right { color: var(--fine) } .finding.missed { color: var(--alarm) }
.finding.made { color: var(--two) }
"""

_KINDS = {
    "right": "said in both",
    "side": "said in both, of another side",
    "missed": "in the reference alone: missed",
    "made": "in the generated report alone: made up",
    "said": "",
}
"""What a mark means, the gravest last but one; "said": there is nothing to compare with."""
_STATES = {1: "present", 0: "absent", -1: "uncertain", None: "not mentioned"}


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


def reference(text: str, labels: Labels, generated: Labels | None) -> Html:
    """Mark what the reference says of findings by what the generated report says.

    Args:
        text: The reference; every character of it is kept.
        labels: What the labeller read in it.
        generated: What it read in the generated report; None marks without comparing.
    """
    return _marked(text, labels, generated, "missed")


def generated(text: str, labels: Labels, reference: Labels | None) -> Html:
    """Mark what the generated report says of findings by what the reference says; see `reference`."""
    return _marked(text, labels, reference, "made")


def legend() -> Html:
    """What the marks mean, in words, in the marks themselves."""
    kinds = [tag("mark", text, class_=f"{kind} present") for kind, text in _KINDS.items() if text]
    states = [
        tag("mark", "finding", class_="said present"),
        " is there, ",
        tag("mark", "finding", class_="said uncertain"),
        " may be there, ",
        tag("mark", "finding", class_="said absent"),
        " is denied or normal",
    ]
    told = " Read by rules from both texts; hold the pointer over a mark for the finding."
    return tag("p", "Findings: ", joined(kinds, "; "), ". ", *states, ".", told, class_="legend")


def _marked(text: str, labels: Labels, other: Labels | None, alone: str) -> Html:
    """Cut a text where mentions begin and end; each part shows the gravest of those over it."""
    mentions = _counted(labels)
    theirs = None if other is None else _counted(other)
    kinds = ["said" if theirs is None else _kind(m, mentions, theirs, alone) for m in mentions]
    cuts = sorted({0, len(text), *(m.start for m in mentions), *(m.end for m in mentions)})
    parts: list[object] = []
    for start, end in itertools.pairwise(cuts):
        over = [i for i, m in enumerate(mentions) if m.start <= start and m.end >= end]
        part = text[start:end]
        if over:
            worst = max(over, key=lambda i: (list(_KINDS).index(kinds[i]), mentions[i].state != 0))
            title = "; ".join(_title(mentions[i], _KINDS[kinds[i]]) for i in over)
            class_ = f"{kinds[worst]} {_STATES[mentions[worst].state]}"
            parts.append(tag("mark", part, class_=class_, title=title))
        else:
            parts.append(part)
    return joined(parts)


def _counted(labels: Labels) -> list[Mention]:
    """The mentions that make the labels, in the order of the text."""
    return sorted(
        (m for name in FINDINGS[1:] for m in that_count(labels.mentions, name)), key=lambda m: m[1:3]
    )


def _kind(mention: Mention, own: Sequence[Mention], theirs: Sequence[Mention], alone: str) -> str:
    """Whether the other report says the same of a finding: that it is, or is not, and where."""

    def alike(other: Mention) -> bool:
        return other.finding == mention.finding and bool(other.state) == bool(mention.state)

    said = [m for m in theirs if alike(m)]
    if not said:
        return alone
    there = {m.side for m in said}
    here = {m.side for m in own if alike(m)}
    if not mention.state or None in there | here or mention.side in there:
        return "right"
    return "right" if joined_sides(filter(None, here)) == joined_sides(filter(None, there)) else "side"


def _title(mention: Mention, kind: str) -> str:
    where = f", {mention.side}" if mention.side else ""
    return f"{mention.finding}, {_STATES[mention.state]}{where}{': ' if kind else ''}{kind}"


def findings(reference: Mapping[str, int | None], generated: Mapping[str, int | None]) -> list[Finding]:
    """Findings that one of two reports or both name as present or uncertain."""
    out = []
    for name in reference:
        ours, truth = generated.get(name), reference[name]
        said, wanted = ours in (1, -1), truth in (1, -1)
        if said or wanted:
            kind = "right" if said and wanted else "missed" if wanted else "made"
            out.append(Finding(name, kind, f"reference: {_STATES[truth]}; generated: {_STATES[ours]}"))
    return out


def chips(found: Iterable[Finding]) -> Html:
    """Findings as small coloured labels, with a sign for those who do not see colours."""
    signs = {"right": "✓", "missed": "− missed:", "made": "+ invented:"}
    return joined(
        tag("span", f"{signs[f.kind]} {f.name}", class_=f"finding {f.kind}", title=f.title) for f in found
    )
