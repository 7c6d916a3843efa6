"""Language models that count: the peers of `language.py`."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Gram = tuple[int, ...]


class NGrams:
    """Interpolated Kneser-Ney.

    Args:
        sequences: Numbers, the start first.
        order: Of the longest grams; 1 knows no context.
        symbols: What may follow: the share of what was never seen is spread over so many.

    Source:
        Chen and Goodman 1999, one discount n1 / (n1 + 2 n2) an order; grams that begin with the
        start have no context before them and keep their counts.
    """

    def __init__(self, sequences: Sequence[Sequence[int]], order: int, symbols: int) -> None:
        self.order, self.symbols = order, symbols
        counts = [Counter[Gram]() for _ in range(order + 1)]
        for numbers in sequences:
            for at in range(1, len(numbers)):
                for k in range(1, min(order, at + 1) + 1):
                    counts[k][tuple(numbers[at - k + 1 : at + 1])] += 1
        starts = {numbers[0] for numbers in sequences}
        for k in range(1, order):
            before = Counter(gram[1:] for gram in counts[k + 1])
            known = {g: c if g[0] in starts else before[g] for g, c in counts[k].items()}
            counts[k] = Counter({g: c for g, c in known.items() if c})
        self.counts = counts
        self.discounts = [0.0] + [_discount(c) for c in counts[1:]]
        self.totals: dict[Gram, int] = defaultdict(int)
        self.kinds: dict[Gram, int] = defaultdict(int)
        for k in range(1, order + 1):
            for gram, count in counts[k].items():
                self.totals[gram[:-1]] += count
                self.kinds[gram[:-1]] += 1

    def probability(self, word: int, before: Gram) -> float:
        """Of a number after others, at most order - 1 of them."""
        shorter = self.probability(word, before[1:]) if before else 1 / self.symbols
        total = self.totals.get(before, 0)
        if not total:
            return shorter
        cut = self.discounts[len(before) + 1]
        seen = self.counts[len(before) + 1].get((*before, word), 0)
        return (max(seen - cut, 0.0) + cut * self.kinds[before] * shorter) / total

    def cost(self, sequences: Sequence[Sequence[int]]) -> NDArray[np.float64]:
        """(n,) bits of each sequence after its start."""
        return np.array(
            [
                -sum(
                    math.log2(self.probability(s[i], tuple(s[max(0, i - self.order + 1) : i])))
                    for i in range(1, len(s))
                )
                for s in sequences
            ]
        )


def _discount(counts: Counter[Gram]) -> float:
    once, twice = (sum(c == n for c in counts.values()) for n in (1, 2))
    return once / (once + 2 * twice) if once and twice else 0.5
