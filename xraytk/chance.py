"""Random numbers of samples: the same however a batch is cut over processes and micro-batches."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

_STEP = np.uint64(0x9E3779B97F4A7C15)
Keys = np.ndarray[tuple[int, ...], np.dtype[np.uint64]]


class Chance:
    """Random numbers of which every sample has its own, drawn from (seed, step, sample).

    Each call of `rand` starts a new sequence of every sample. So what one draw took does not move
    the next, and a longer row begins with the numbers of a shorter one.

    Args:
        seed: The run's.
        step: Updates done.
        first: Index of the first sample within the global batch of the update.

    Source:
        SplitMix64 (Steele, Lea and Flood 2014), started anew for each sample and draw; torch has
        no generator with a state a row.
    """

    def __init__(self, seed: int, step: int = 0, first: int = 0) -> None:
        words = np.random.SeedSequence([seed, step]).generate_state(1, np.uint64)
        self._key, self._first, self._draws = words[0], first, 0

    def rand(self, samples: int, *shape: int) -> Tensor:
        """Numbers of the first ``samples`` samples.

        Args:
            samples: B.
            shape: Of the numbers of one sample.

        Returns:
            (B, *shape) float32 in [0, 1), on the CPU.
        """
        self._draws += 1
        sample = np.arange(self._first, self._first + samples, dtype=np.uint64)
        keys = _mix(_mix(self._key + sample * _STEP) + np.full(1, self._draws, np.uint64) * _STEP)
        places = np.arange(1, math.prod(shape) + 1, dtype=np.uint64) * _STEP
        bits = _mix(keys[:, None] + places)
        bits >>= np.uint64(40)  # 24 bits are what a float32 holds
        return torch.from_numpy(bits.astype(np.float32)).mul_(2.0**-24).view(samples, *shape)

    def generator(self) -> torch.Generator:
        """A generator for what is drawn over several samples together; differs with the cut."""
        self._draws += 1
        words = np.random.SeedSequence([int(self._key), self._first, self._draws])
        return torch.Generator().manual_seed(int(words.generate_state(1, np.uint64)[0] >> np.uint64(1)))


def _mix(numbers: Keys) -> Keys:
    """Stir each number, in place, so that neighbours have nothing in common."""
    numbers ^= numbers >> np.uint64(30)
    numbers *= np.uint64(0xBF58476D1CE4E5B9)
    numbers ^= numbers >> np.uint64(27)
    numbers *= np.uint64(0x94D049BB133111EB)
    numbers ^= numbers >> np.uint64(31)
    return numbers
