"""The order law."""

from __future__ import annotations

import time
from itertools import islice

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from xraytk.data.order import Order, Outlook, epoch_order, positions


def shards_of(sizes: list[int]) -> np.ndarray:
    return np.repeat(np.arange(len(sizes)), sizes)


@given(
    sizes=st.lists(st.integers(0, 7), min_size=1, max_size=12).filter(sum),
    seed=st.integers(0, 5),
    epoch=st.integers(0, 3),
    window=st.integers(0, 14),
)
def test_every_epoch_has_each_sample_once(sizes, seed, epoch, window):
    shard = shards_of(sizes)
    order = epoch_order(seed, epoch, len(shard), shard=shard, window=window)
    assert sorted(order) == list(range(len(shard)))
    again = epoch_order(seed, epoch, len(shard), shard=shard, window=window)
    assert np.array_equal(order, again)


def test_an_order_is_of_its_seed_and_epoch():
    orders = [epoch_order(seed, epoch, 100).tolist() for seed in (0, 1) for epoch in (0, 1)]
    assert len({tuple(order) for order in orders}) == 4


def test_the_order_is_pinned():
    assert epoch_order(3, 1, 8).tolist() == [7, 1, 0, 6, 2, 3, 5, 4]
    shard = shards_of([2, 2, 2, 2])
    assert epoch_order(3, 1, 8, shard=shard, window=2).tolist() == [7, 6, 2, 3, 1, 0, 5, 4]


@given(
    sizes=st.lists(st.integers(1, 6), min_size=1, max_size=9),
    window=st.integers(1, 4),
    seed=st.integers(0, 9),
)
def test_a_window_reads_its_shards_and_no_other(sizes, window, seed):
    shard = shards_of(sizes)
    read = shard[epoch_order(seed, 0, len(shard), shard=shard, window=window)]
    at = 0
    seen: set[int] = set()
    while at < len(read):
        now = {int(n) for n in islice(dict.fromkeys(read[at:].tolist()), window)}
        length = sum(sizes[n] for n in now)
        inside = set(read[at : at + length].tolist())
        assert len(inside) <= window
        assert not inside & seen
        seen |= inside
        at += sum(sizes[n] for n in inside)


def test_a_window_as_wide_as_the_split_mixes_all():
    shard = shards_of([5, 3, 4])
    assert np.array_equal(epoch_order(1, 2, 12, shard=shard, window=3), epoch_order(1, 2, 12))


@given(
    world=st.sampled_from([1, 2, 3, 4]),
    micro=st.sampled_from([1, 2]),
    step=st.integers(0, 20),
)
def test_ranks_cut_each_step_into_equal_runs(world, micro, step):
    batch = 24
    share = batch // world
    each = [islice(positions(batch, micro, step, r, world), 2 * share // micro) for r in range(world)]
    flat = [[p for part in rank for p in part] for rank in each]
    for number in range(2):
        joined = [p for rank in flat for p in rank[number * share : (number + 1) * share]]
        assert joined == list(range((step + number) * batch, (step + number + 1) * batch))


@given(count=st.integers(1, 9), start=st.integers(0, 40), length=st.integers(0, 30), window=st.integers(0, 2))
def test_rows_go_on_through_epochs_from_anywhere(count, start, length, window):
    shard = np.arange(count) // 2
    whole = [int(row) for e in range(80) for row in epoch_order(7, e, count, shard=shard, window=window)]
    order = Order(7, count, shard, window)
    assert order.rows(range(start, start + length)) == whole[start : start + length]


def test_a_million_samples_are_ordered_within_a_second():
    shard = np.arange(1_000_000) // 1024
    began = time.process_time()
    epoch_order(0, 0, 1_000_000, shard=shard, window=16)
    assert time.process_time() - began < 10  # 0.1 s on a free machine; a tenfold slip would show


def test_the_outlook_names_coming_shards_soonest_first_and_only_news():
    told: list[list[int]] = []
    shard = np.array([3, 3, 5, 5, 9, 9])
    outlook = Outlook(shard, 2, lambda numbers: told.append(list(numbers)))
    rows = np.array([2, 3, 0, 1, 4, 5])
    for place in range(6):
        outlook.look(rows, place)
    assert told == [[5, 3], [3, 9], [9]]
