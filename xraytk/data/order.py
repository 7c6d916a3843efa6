"""The order of training: which sample stands at which position, and who reads it. All pure.

Positions 0, 1, 2, ... run through one epoch after another. The order of epoch e is a
permutation of the split's samples that depends on (seed, e) alone; with a window it depends
on the sizes of the shards too. Step s consumes positions s * batch to (s + 1) * batch - 1; rank
r takes the r-th equal slice of them, cut into micro-batches in order. So the step number says
all, and any number of ranks and workers goes on from it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray


def chance(seed: int, *numbers: int) -> np.random.Generator:
    """Make the generator that belongs to these numbers.

    Source:
        Philox4x64, seeded through numpy's SeedSequence with [seed, *numbers].
    """
    return np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, *numbers])))


def epoch_order(
    seed: int, epoch: int, count: int, *, shard: NDArray[np.integer] | None = None, window: int = 0
) -> NDArray[np.int64]:
    """Order the samples of one epoch: a function of the arguments and of nothing else.

    With a window the shards are shuffled and taken ``window`` at a time, and the samples of
    those are shuffled with each other: only ``window`` shards are read at any time, and each
    once an epoch.

    Args:
        seed: Of the run.
        epoch: Number of the epoch, from 0.
        count: Samples.
        shard: (count,) number of each sample's shard, from 0; needed with a window.
        window: Shards that are mixed; 0 mixes all.

    Returns:
        (count,) every number below ``count`` once.

    Source:
        Ours: a stable sort of one global permutation by window keeps each window uniformly mixed.
    """
    generator = chance(seed, epoch)
    order = generator.permutation(count)
    if window <= 0 or shard is None or not count:
        return order
    place = generator.permutation(int(shard.max()) + 1)  # of each shard among the shards
    number = place // window
    kind = np.uint16 if len(place) < 1 << 16 else np.int64  # numpy sorts 16 bits by radix
    return order[np.argsort(number.astype(kind)[shard[order]], kind="stable")]


def positions(batch: int, micro_batch: int, step: int, rank: int, world: int) -> Iterator[range]:
    """Yield the positions of one rank's micro-batches, without end.

    Args:
        batch: Samples of one step over all ranks; a multiple of world * micro_batch.
        micro_batch: Samples of one range.
        step: First step.
        rank: Of this process.
        world: Number of processes.
    """
    share = batch // world
    while True:
        first = step * batch + rank * share
        for at in range(first, first + share, micro_batch):
            yield range(at, at + micro_batch)
        step += 1


class Order:
    """Rows by position; keeps the order of one epoch at a time.

    Args:
        seed: Of the run.
        count: Samples.
        shard: (count,) number of each sample's shard.
        window: Shards that are mixed; 0 mixes all.
    """

    def __init__(self, seed: int, count: int, shard: NDArray[np.integer], window: int = 0) -> None:
        self._seed, self._count, self._window = seed, count, window
        self._shard = np.unique(shard, return_inverse=True)[1] if window else None
        self._epoch = -1
        self.now = np.zeros(0, np.int64)  # the order of the epoch that was asked for last

    def rows(self, at: range) -> list[int]:
        """Rows at consecutive positions, which may lie in several epochs."""
        found: list[int] = []
        while len(found) < len(at):
            epoch, place = divmod(at.start + len(found), self._count)
            if epoch != self._epoch:
                self._epoch = epoch
                self.now = epoch_order(self._seed, epoch, self._count, shard=self._shard, window=self._window)
            found += self.now[place : place + len(at) - len(found)].tolist()
        return found


class Outlook:
    """Tells which shards come next, whenever that changes.

    Args:
        shard: (count,) number of each row's shard.
        most: Shards that are told.
        tell: Is called with their numbers, soonest first.
    """

    def __init__(self, shard: NDArray[np.integer], most: int, tell: Callable[[Sequence[int]], None]) -> None:
        self._shard, self._most, self._tell = shard, most, tell
        self._rows: NDArray[np.int64] | None = None
        self._numbers = self._last = np.zeros(0, np.int64)
        self._told: list[int] = []

    def look(self, rows: NDArray[np.int64], place: int, now: Sequence[int] = ()) -> None:
        """Tell of the shards that are read from a place on.

        Args:
            rows: In the order they are read.
            place: Where the reading is.
            now: Rows that are read first, of an epoch that ends.
        """
        if self._rows is not rows:
            self._rows = rows
            numbers, first = np.unique(self._shard[rows], return_index=True)
            last = len(rows) - 1 - np.unique(self._shard[rows[::-1]], return_index=True)[1]
            order = np.argsort(first, kind="stable")
            self._numbers, self._last = numbers[order], last[order]
        coming = self._numbers[self._last >= place][: self._most].tolist()
        coming = list(dict.fromkeys([*self._shard[list(now)].tolist(), *coming]))
        if coming != self._told:
            self._told = coming
            self._tell(coming)
