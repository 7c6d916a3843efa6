"""Ranks of the right answer among candidates, when some are alike and several are right.

A query's rank is the expected one when candidates of equal similarity are put in a random order:
a model that says the same of everything scores what chance does, and no more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import hypergeom

from xraytk.tasks.metrics.panel import Panel
from xraytk.tasks.metrics.values import Floats, ratio

CHUNK = 1024
"""Queries whose similarities are in memory at a time."""
DIGITS = 6
"""Digits of a cosine that count; what agrees in them is alike."""
MEDIAN = "median rank"
Single = NDArray[np.float32]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Places:
    """Where the best right candidate of each of n queries stands.

    Args:
        above: (n,) wrong candidates that are nearer.
        wrong: (n,) wrong candidates as near as the best right one.
        right: (n,) right candidates as near as the best one, at least 1.
        all_right: (n,) right candidates, near or far.
        count: Candidates.
    """

    above: Ints
    wrong: Ints
    right: Ints
    all_right: Ints
    count: int

    def hits(self, k: int) -> Floats:
        """(n,) chance that a right candidate is among the first k."""
        alike = self.wrong + self.right
        room = np.clip(k - self.above, 0, alike)
        return np.asarray(hypergeom.sf(0, alike, self.right, room), np.float64)

    def ranks(self) -> Floats:
        """(n,) expected rank of the first right candidate, from 1."""
        return np.asarray(self.above + (self.wrong + self.right + 1) / (self.right + 1), np.float64)

    def by_chance(self) -> Places:
        """The same queries when all candidates are alike."""
        none = np.zeros_like(self.above)
        return Places(none, self.count - self.all_right, self.all_right, self.all_right, self.count)


def places(queries: Single, of_query: Ints, candidates: Single, of_candidate: Ints) -> Places:
    """Compare every query with every candidate.

    Args:
        queries: (n, D) of length one.
        of_query: (n,) what each query is about.
        candidates: (m, D) of length one.
        of_candidate: (m,) what each candidate is about: those about the same are right. Every query
            has at least one.
    """
    parts = []
    for at in range(0, len(queries), CHUNK):
        near = np.round(queries[at : at + CHUNK] @ candidates.T, DIGITS)  # (q, m)
        right = of_query[at : at + CHUNK, None] == of_candidate[None]
        best = np.where(right, near, -np.inf).max(1, keepdims=True)
        nearer, alike = near > best, near == best
        parts.append(
            [(nearer & ~right).sum(1), (alike & ~right).sum(1), (alike & right).sum(1), right.sum(1)]
        )
    above, wrong, level, every = np.concatenate(parts, axis=1).astype(np.int64)
    return Places(above, wrong, level, every, len(candidates))


def groups(texts: Sequence[str]) -> tuple[Ints, list[str]]:
    """Texts that read the same, whatever their spaces and capitals.

    Returns:
        (n,) the number of each text among the different ones, and one spelling of each of these.
    """
    plain = [" ".join(text.split()).casefold() for text in texts]
    number = {text: i for i, text in enumerate(dict.fromkeys(plain))}
    spelled = {number[p]: text for p, text in reversed(list(zip(plain, texts, strict=True)))}
    return np.asarray([number[p] for p in plain], np.int64), [spelled[i] for i in range(len(number))]


def rank_panel(rows: Sequence[tuple[str, Places]], ranks: Sequence[int], known: NDArray[np.bool_]) -> Panel:
    """R@k and the median rank of several directions over the same images.

    Args:
        rows: A name, and the places of the images that are known.
        ranks: The k.
        known: (n,) images that are queries; the others have no text.
    """
    columns: list[Floats] = []
    medians: list[Floats] = []
    for _, found in rows:
        columns += [found.hits(k) for k in ranks]
        medians.append(found.ranks())
    hits = np.stack(columns, axis=1).reshape(-1, len(rows), len(ranks))  # (m, rows, ranks)

    def score(weights: Floats) -> Floats:
        some = weights[:, known]
        means = ratio(np.einsum("rn,nak->rak", some, hits), some.sum(1)[:, None, None])
        middle = np.stack([weighted_median(values, some) for values in medians], axis=1)
        return np.concatenate([means, middle[:, :, None]], axis=2).reshape(len(weights), -1)

    names = tuple(name for name, _ in rows)
    return Panel(names, (*(f"R@{k}" for k in ranks), MEDIAN), score, dict.fromkeys(names, known))


def weighted_median(values: Floats, weights: Floats) -> Floats:
    """Median of values that count several times.

    Args:
        values: (n,).
        weights: (R, n) whole numbers, how often each counts.

    Returns:
        (R,); the mean of the two middle ones where their number is even, NaN where nothing counts.
    """
    order = np.argsort(values, kind="stable")
    ranked, running = values[order], np.cumsum(weights[:, order], axis=1)
    half = running[:, -1:] / 2
    low = (running < half).sum(1)
    high = (running <= half).sum(1)
    last = len(values) - 1
    middle = (ranked[np.minimum(low, last)] + ranked[np.minimum(high, last)]) / 2
    return np.where(half[:, 0] > 0, middle, np.nan)
