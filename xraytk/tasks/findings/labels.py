"""The fourteen observations, a mention of one, and what the mentions of a report add up to."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

Side = Literal["left", "right", "bilateral"]

FINDINGS = (
    "No Finding",
    "Enlarged Cardiomediastinum",
    "Cardiomegaly",
    "Lung Opacity",
    "Lung Lesion",
    "Edema",
    "Consolidation",
    "Pneumonia",
    "Atelectasis",
    "Pneumothorax",
    "Pleural Effusion",
    "Pleural Other",
    "Fracture",
    "Support Devices",
)
"""The observations of CheXpert, in the order of its files."""

ECM, HEART, OPACITY, LESION, EDEMA, CONSOLIDATION, PNEUMONIA = FINDINGS[1:8]
COLLAPSE, AIR, FLUID, PLEURA, FRACTURE, DEVICE = FINDINGS[8:]

UNCOUNTED = frozenset({EDEMA, CONSOLIDATION, PNEUMONIA, COLLAPSE})
"""Findings that "one" stands for only where no other is named."""
UNSIDED = frozenset({"No Finding", "Enlarged Cardiomediastinum", "Cardiomegaly"})


class Mention(NamedTuple):
    """One place in a text that speaks of a finding.

    Args:
        finding: One of `FINDINGS`, never "No Finding".
        start: First character, counted in the text that was given.
        end: One past the last character.
        state: 1 present, 0 absent, -1 uncertain.
        side: Where, if the text says so.
        sign: An indirect sign (a blunted angle, clear lungs): it counts only where the finding
            itself is not named.
    """

    finding: str
    start: int
    end: int
    state: int
    side: Side | None = None
    sign: bool = False


@dataclass(frozen=True, slots=True)
class Labels:
    """What a report says of each finding. It does not print its text."""

    findings: dict[str, int | None]
    """All of `FINDINGS`: 1 present, 0 absent, -1 uncertain, None not spoken of."""
    mentions: tuple[Mention, ...] = field(repr=False)
    """In the order of the text."""

    def side(self, finding: str) -> Side | None:
        """Where a finding is: over all mentions that agree with its label."""
        state = self.findings[finding]
        sides = {m.side for m in self.mentions if m.finding == finding and m.state == state}
        return joined(side for side in sides if side)


def joined(sides: Iterable[Side]) -> Side | None:
    """One side of several: left and right together are bilateral."""
    found = set(sides)
    return "bilateral" if len(found) > 1 else next(iter(found), None)


def aggregate(mentions: Sequence[Mention], *, blank: bool = False) -> dict[str, int | None]:
    """Add the mentions of a report up to one label a finding.

    Present beats uncertain beats absent. No finding is inferred from another one: an
    atelectasis makes no Lung Opacity, a large heart no Enlarged Cardiomediastinum. "No Finding"
    is 1 if nothing but Support Devices is present or uncertain, else None.

    Args:
        mentions: Of `xraytk.tasks.findings.label`.
        blank: The text says nothing at all; "No Finding" is None then.

    Source:
        Irvin 2019 (CheXpert), section 3. That an indirect sign gives way to words about the
        finding itself is ours.
    """
    out: dict[str, int | None] = dict.fromkeys(FINDINGS)
    for finding in FINDINGS[1:]:
        states = {m.state for m in that_count(mentions, finding)}
        out[finding] = next((state for state in (1, -1, 0) if state in states), None)
    seen = any(out[finding] in (1, -1) for finding in FINDINGS[1:-1])
    out["No Finding"] = None if seen or blank else 1
    return out


def that_count(mentions: Sequence[Mention], finding: str) -> list[Mention]:
    """Mentions of a finding without the signs that direct words on the same side overrule."""
    own = [m for m in mentions if m.finding == finding]
    direct = [m.side for m in own if not m.sign]
    return [m for m in own if not m.sign or not any(_meet(m.side, side) for side in direct)]


def _meet(one: Side | None, other: Side | None) -> bool:
    return one is None or other is None or one == other or "bilateral" in (one, other)
