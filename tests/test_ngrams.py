from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

from ngrams import NGrams


@pytest.mark.parametrize("order", [1, 2, 3, 5])
def test_the_chances_of_all_that_may_follow_sum_to_one(order: int) -> None:
    rng = np.random.default_rng(0)
    texts = [[0, *rng.choice([1, 2, 3, 3, 4], rng.integers(1, 9)).tolist(), 5] for _ in range(40)]
    model = NGrams(texts, order, symbols=6)
    for before in [(), (0,), (0, 3), (3, 4), (2, 2, 2, 2), (9,), (0, 1, 2)]:
        before = before[-(order - 1) :] if order > 1 else ()
        assert sum(model.probability(word, before) for word in range(1, 7)) == pytest.approx(1)


def test_words_alone_by_hand() -> None:
    # counts 2 and 1, so the discount is 1 / (1 + 2 * 1); two kinds share what it takes over 4 symbols
    model = NGrams([[0, 1, 1, 2]], 1, symbols=4)
    assert model.probability(1, ()) == pytest.approx((2 - 1 / 3) / 3 + 2 / 3 / 3 / 4)
    assert model.probability(7, ()) == pytest.approx(2 / 3 / 3 / 4)
    assert model.cost([[0, 1]]) == pytest.approx([-np.log2(11 / 18)])


def test_a_shorter_gram_counts_what_stands_before_it() -> None:
    # 3 stands thrice behind 2 alone: as a single word it counts once, like 2
    model = NGrams([[0, 1, 2, 3, 2, 3, 2, 3]], 2, symbols=3)
    assert model.counts[1] == {(1,): 1, (2,): 2, (3,): 1}
    assert model.counts[2][2, 3] == 3
