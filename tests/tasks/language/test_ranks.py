from __future__ import annotations

import numpy as np
import pytest

from xraytk.tasks.language import ranks
from xraytk.tasks.language.ranks import Places, groups, places, rank_panel, weighted_median

EYE = np.eye(4, dtype=np.float32)


def test_ranks_of_four_pairs_are_those_on_paper() -> None:
    # similarities of a query with four reports: its own is first, second, last, first
    near = np.array(
        [[0.9, 0.1, 0.2, 0.3], [0.5, 0.4, 0.1, 0.2], [0.3, 0.2, 0.1, 0.9], [0, 0.1, 0.2, 0.3]], np.float32
    )
    found = places(near, np.arange(4), EYE, np.arange(4))
    assert found.ranks().tolist() == [1, 2, 4, 1]
    assert [found.hits(k).mean() for k in (1, 2, 3, 4)] == [0.5, 0.75, 0.75, 1.0]


def test_any_image_with_the_same_report_is_right() -> None:
    group, spelled = groups(["No finding.", "no  finding.", "Left nodule.", "NO FINDING. "])
    assert group.tolist() == [0, 0, 1, 0]
    assert spelled == ["No finding.", "Left nodule."]
    # the report of image 0 is nearest to image 3, which has it too
    near = np.array([[0.1, 0.2, 0.5, 0.9]], np.float32)
    found = places(near, np.array([0]), EYE, group)
    assert found.ranks().tolist() == [1]
    assert found.all_right.tolist() == [3]


def test_equal_similarities_give_what_a_random_order_gives() -> None:
    # one wrong above; then one right and three wrong that are alike
    near = np.array([[0.9, 0.5, 0.5, 0.5, 0.5, 0.1]], np.float32)
    found = places(near, np.array([1]), np.eye(6, dtype=np.float32), np.arange(6))
    assert found.ranks().tolist() == [3.5]  # 2, 3, 4 or 5
    assert [found.hits(k)[0] for k in (1, 2, 3, 5, 6)] == pytest.approx([0, 0.25, 0.5, 1, 1])
    two = Places(np.array([0]), np.array([2]), np.array([2]), np.array([2]), 4)
    assert two.hits(1)[0] == pytest.approx(1 / 2)
    assert two.hits(2)[0] == pytest.approx(5 / 6)  # 1 - (2 choose 2) / (4 choose 2)


def test_a_model_that_says_the_same_of_everything_scores_what_chance_does() -> None:
    same = np.ones((30, 5), np.float32)
    group = np.arange(30) // 3
    found = places(same, group, same, group)
    rng = np.random.default_rng(0)
    first = [1 + int(np.flatnonzero(rng.permutation(group) == 0)[0]) for _ in range(4000)]
    assert found.ranks().mean() == pytest.approx(np.mean(first), rel=0.05)
    assert found.hits(5).mean() == pytest.approx(np.mean(np.asarray(first) <= 5), abs=0.03)
    chance = found.by_chance()
    assert chance.hits(5).tolist() == found.hits(5).tolist()
    assert chance.ranks().tolist() == found.ranks().tolist()


def test_blocks_of_queries_do_not_change_the_ranks(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    queries, candidates = (rng.standard_normal((23, 6)).astype(np.float32) for _ in range(2))
    whole = places(queries, np.arange(23), candidates, np.arange(23))
    monkeypatch.setattr(ranks, "CHUNK", 5)
    assert (
        places(queries, np.arange(23), candidates, np.arange(23)).ranks().tolist() == whole.ranks().tolist()
    )


def test_the_weighted_median_is_that_of_repeated_values() -> None:
    rng = np.random.default_rng(2)
    values, weights = rng.integers(1, 9, 15).astype(float), rng.integers(0, 4, (20, 15)).astype(float)
    wanted = [np.median(np.repeat(values, row.astype(int))) for row in weights]
    assert weighted_median(values, weights).tolist() == wanted
    assert np.isnan(weighted_median(values, np.zeros((1, 15))))[0]


def test_images_without_a_report_are_no_queries() -> None:
    known = np.array([True, False, True])
    found = Places(np.array([0, 3]), np.array([0, 0]), np.array([1, 1]), np.array([1, 1]), 9)
    panel = rank_panel([("en", found)], (1, 5), known)
    scores = panel.values(["a", "b", "c"], resamples=0, seed=0)["en"]
    assert [scores[m].value for m in ("R@1", "R@5", "median rank")] == [0.5, 1.0, 2.5]
    assert scores["R@1"].n == 2
