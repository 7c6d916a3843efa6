"""Scores of subgroups: of each sex, age band, view and site, and how far apart they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from xraytk.tasks.metrics.bootstrap import draw
from xraytk.tasks.metrics.panel import Panel, Scores
from xraytk.tasks.metrics.values import Floats

LEAST = 10
"""Patients a group needs to count in a gap; smaller ones are scored, and not compared."""


@dataclass(frozen=True, slots=True)
class Groups:
    """Scores of the groups of one fact.

    Args:
        fact: "sex", "age", "view" or "site".
        scores: By group.
        rest: Group minus all other images, by group.
        gap: Best minus worst of the groups that are large enough. It is never below 0, and in
            small groups it is large by chance; its interval is no test of a difference.
        unknown: Images of which the fact is not known.
        small: Groups of fewer than `LEAST` patients.
    """

    fact: str
    scores: dict[str, Scores]
    rest: dict[str, Scores]
    gap: Scores
    unknown: int
    small: tuple[str, ...]


def groups_of(
    panel: Panel,
    facts: Mapping[str, Sequence[str]],
    patients: Sequence[str],
    *,
    resamples: int,
    seed: int,
) -> list[Groups]:
    """Score the groups of every fact that parts the images in at least two.

    Args:
        panel: What to score.
        facts: Group of each image by fact; "" where unknown.
        patients: n patients.
        resamples: Of the bootstrap; all groups of a fact share the draws.
        seed: Of the bootstrap.
    """
    people = np.asarray(patients, dtype=np.str_)
    out = []
    for fact, cells in facts.items():
        names = sorted({cell for cell in cells if cell})
        if len(names) < 2:
            continue
        parts = {name: np.array([cell == name for cell in cells]) for name in names}
        small = tuple(n for n, part in parts.items() if len(np.unique(people[part])) < LEAST)
        out.append(_one(panel, fact, parts, small, patients, resamples, seed))
    return out


def _one(
    panel: Panel,
    fact: str,
    parts: dict[str, NDArray[np.bool_]],
    small: tuple[str, ...],
    patients: Sequence[str],
    resamples: int,
    seed: int,
) -> Groups:
    known = np.any(list(parts.values()), axis=0)
    large = [i for i, name in enumerate(parts) if name not in small]

    def together(weights: Floats) -> Floats:
        inside = [panel.score(weights * part) for part in parts.values()]
        others = [panel.score(weights * (known & ~part)) for part in parts.values()]
        rest = [a - b for a, b in zip(inside, others, strict=True)]
        return np.concatenate([*inside, *rest, _spread([inside[i] for i in large], inside[0])], axis=1)

    found = draw(together, patients, resamples=resamples, seed=seed).values()
    m, k = len(panel.rows) * len(panel.metrics), len(parts)
    each = [found[i * m : (i + 1) * m] for i in range(2 * k + 1)]
    return Groups(
        fact,
        {name: panel.named(each[i], patients, part) for i, (name, part) in enumerate(parts.items())},
        {
            name: panel.named(each[k + i], patients, part, "does not exist in this group, or outside it")
            for i, (name, part) in enumerate(parts.items())
        },
        panel.named(each[2 * k], patients, known, "fewer than two groups that are large enough have it"),
        int((~known).sum()),
        small,
    )


def _spread(values: list[Floats], like: Floats) -> Floats:
    """Largest minus smallest; NaN with fewer than two that exist."""
    if len(values) < 2:
        return np.full_like(like, np.nan)
    cube = np.stack(values)
    there = ~np.isnan(cube)
    high = np.where(there, cube, -np.inf).max(axis=0)
    low = np.where(there, cube, np.inf).min(axis=0)
    return np.where(there.sum(axis=0) > 1, high - low, np.nan)
