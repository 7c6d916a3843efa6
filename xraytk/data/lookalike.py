"""Near duplicates: the same picture, windowed, encoded, resized or trimmed in another way.

A signature is 64 low frequencies of the picture's ranks, each against how it is spread over
chest radiographs: most chests look alike, and only what departs from them tells two apart. The
hash is the signs of the signature, so that half of all chests have each bit. Hashes close to one
another are found through an index, and signatures confirm them.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from xraytk.data.glance import glance

RADIUS = 8
"""Bits of 64: different patients' chests are that close in about 3 of 100,000 pairs."""
LIKENESS = 0.92
"""Least likeness of signatures; see `benchmarks/lookalike.py` for the curve of both."""
FARTHEST = 11  # radius that the index still answers quickly

_RANK_PX = 128
_THUMB_PX = 32
_UNIT = 32.0  # a signature's step of one spread
_BANDS = ((42, 22), (21, 21), (0, 21))  # shift and width of the parts of a hash
_CHUNK = 1 << 21  # candidate pairs looked at together
_ORDER = sorted(
    ((u, v) for u in range(9) for v in range(9) if (u, v) != (0, 0)), key=lambda p: (p[0] ** 2 + p[1] ** 2, p)
)[:64]
_ROWS, _COLS = np.array(_ORDER).T

# fmt: off
MEDIANS = np.array([
    -0.099, -2.635, -0.050, -3.928, 0.491, 2.116, 0.133, -1.013,
    0.292, -0.828, 0.015, -0.141, -0.387, -0.900, -0.059, -0.513,
    1.028, -0.065, 0.149, -0.832, -0.387, -0.288, 0.450, 0.085,
    -0.380, 0.095, 0.079, 0.206, -0.177, 0.324, -0.066, -0.102,
    -2.209, -0.367, -0.216, -0.020, 0.957, 0.074, -0.024, 0.223,
    0.364, 0.051, 0.073, -0.123, 0.028, 0.020, 0.033, -0.034,
    0.246, -0.061, -0.057, -0.028, 0.003, 0.000, -0.010, -0.198,
    -0.161, 0.209, 0.015, 0.082, 0.030, 0.146, 0.049, -0.069,
])
SPREADS = np.array([
    1.325, 2.066, 0.771, 2.052, 1.271, 1.166, 0.596, 1.130,
    0.718, 0.875, 0.522, 0.372, 0.493, 0.704, 1.096, 0.949,
    0.735, 0.303, 0.440, 0.765, 0.487, 1.003, 0.704, 0.339,
    0.550, 0.544, 0.264, 0.670, 0.397, 0.441, 0.318, 0.257,
    1.078, 0.613, 0.688, 0.226, 0.709, 0.335, 0.247, 0.350,
    0.431, 0.236, 0.756, 0.411, 0.383, 0.209, 0.209, 0.310,
    0.327, 0.425, 0.252, 0.341, 0.212, 0.250, 0.168, 0.658,
    0.427, 0.481, 0.238, 0.244, 0.199, 0.433, 0.271, 0.217,
])
# fmt: on


def signature(pixels: NDArray[Any]) -> bytes:
    """Describe a picture in 64 bytes, whatever its window, size or encoding.

    Args:
        pixels: (H, W) uint8 or uint16 grey. A mirrored or turned picture is another one.

    Returns:
        64 bytes: signed low frequencies, in 32nds of their spread over chest radiographs. All
        zero for a picture with nothing in it, which is like no other.

    Source:
        Ours, after pHash (Zauner 2010): of ranks, so that any rising grey curve gives the same;
        against the median over chests instead of the picture's own, so that bits tell chests
        apart. The whole picture, not its field: found fields change with the window (measured).
    """
    small = cv2.resize(glance(pixels), (_RANK_PX, _RANK_PX), interpolation=_way(pixels))
    if small.dtype != np.uint8:
        small = small.astype(np.uint16)
    counts = np.bincount(small.ravel(), minlength=int(small.max()) + 1)
    if counts.max() > 0.98 * small.size:
        return bytes(64)
    ranks = ((np.cumsum(counts) - counts / 2) / small.size).astype(np.float32)
    thumb = cv2.resize(ranks[small], (_THUMB_PX, _THUMB_PX), interpolation=cv2.INTER_AREA)
    waves = cv2.dct(thumb)[_ROWS, _COLS]
    steps = np.clip(np.rint((waves - MEDIANS) / SPREADS * _UNIT), -127, 127).astype(np.int8)
    steps[steps == 0] = 1  # zero is kept for "nothing in it"
    return bytes(steps.tobytes())


def hash_of(signature: bytes) -> int:
    """The signs of a signature: 64 bits; 0 for a picture with nothing in it."""
    return int.from_bytes(np.packbits(np.frombuffer(signature, np.int8) > 0).tobytes(), "big")


def likeness(one: NDArray[np.int8], other: NDArray[np.int8]) -> NDArray[np.float32]:
    """Cosine between signatures.

    Args:
        one: (..., 64).
        other: (..., 64).

    Returns:
        (...) in -1 to 1; 0 where a signature is empty.
    """
    a, b = one.astype(np.float32), other.astype(np.float32)
    size = np.sqrt((a * a).sum(-1) * (b * b).sum(-1))
    return np.asarray((a * b).sum(-1) / np.maximum(size, 1e-6), np.float32)


def near_duplicates(
    ids: Sequence[str],
    hashes: NDArray[np.uint64],
    *,
    radius: int = RADIUS,
    signatures: NDArray[np.int8] | None = None,
    least: float = LIKENESS,
) -> list[tuple[str, str, int]]:
    """Find pictures that look alike.

    Args:
        ids: N different names.
        hashes: (N,) of `hash_of`; 0 is like no other.
        radius: Most bits that may differ, 0 to 11.
        signatures: (N, 64) to confirm with; None to go by the hashes alone.
        least: Least likeness of signatures.

    Returns:
        Pairs (smaller id, larger id, bits that differ), sorted. Of pictures with one and the same
        hash, the one with the smallest id stands for all: each of the others is paired with it
        only, and it alone is compared with other hashes. So the answer is exact between different
        hashes, and a million equal ones give a million pairs.

    Raises:
        ValueError: If the radius is out of range, or lengths differ.

    Source:
        Multi-index hashing (Norouzi, Punjani and Fleet 2012): two hashes within r bits are
        within r/3 of one another in one of three parts, and those are looked up in a table.
    """
    if not 0 <= radius <= FARTHEST:
        raise ValueError(f"radius is {radius}, wanted 0 to {FARTHEST}")
    if len(ids) != len(hashes) or (signatures is not None and len(signatures) != len(ids)):
        raise ValueError("ids, hashes and signatures differ in number")
    order = np.array(sorted(range(len(ids)), key=ids.__getitem__), np.int64)
    order = order[hashes[order] != 0]
    unique, first, which = np.unique(hashes[order], return_index=True, return_inverse=True)
    stands = order[first]  # np.unique gives the first of equals, which has the smallest id
    equal = np.flatnonzero(stands[which] != order)
    found = [(stands[which[equal]], order[equal], np.zeros(len(equal), np.int64))]
    found += [(stands[a], stands[b], bits) for a, b, bits in _close(unique, radius)]
    out: list[tuple[str, str, int]] = []
    for a, b, bits in found:
        keep = np.ones(len(a), bool)
        for at in range(0, len(a) if signatures is not None else 0, _CHUNK // 32):
            part = slice(at, at + _CHUNK // 32)
            keep[part] = likeness(signatures[a[part]], signatures[b[part]]) >= least  # type: ignore[index]
        out += [
            (min(ids[i], ids[j]), max(ids[i], ids[j]), d)
            for i, j, d in zip(a[keep].tolist(), b[keep].tolist(), bits[keep].tolist(), strict=True)
        ]
    return sorted(out)


def group(pairs: Iterable[tuple[str, str, int]]) -> dict[str, str]:
    """For each name in a pair, the smallest name that a chain of pairs leads to."""
    head: dict[str, str] = {}

    def top(name: str) -> str:
        while head.setdefault(name, name) != name:
            head[name] = head[head[name]]
            name = head[name]
        return name

    for a, b, _ in pairs:
        low, high = sorted((top(a), top(b)))
        head[high] = low
    return {name: top(name) for name in sorted(head)}


def _way(pixels: NDArray[Any]) -> int:
    return cv2.INTER_AREA if min(pixels.shape) >= _RANK_PX else cv2.INTER_LINEAR


def _close(
    hashes: NDArray[np.uint64], radius: int
) -> Iterator[tuple[NDArray[Any], NDArray[Any], NDArray[Any]]]:
    """Places (i, j) and distances of all pairs of different hashes within the radius, in parts."""
    budgets = [radius // 3 - (band > radius % 3) for band in range(3)]
    for band, (shift, width) in enumerate(_BANDS):
        if budgets[band] < 0:
            continue
        mask = np.uint64((1 << width) - 1)
        keys = ((hashes >> np.uint64(shift)) & mask).astype(np.int32)
        order = np.argsort(keys, kind="stable").astype(np.int32)
        keys, sorted_hashes = keys[order], hashes[order]
        counts = np.bincount(keys, minlength=1 << width)
        starts = np.zeros((1 << width) + 1, np.int32)
        np.cumsum(counts, out=starts[1:])
        present = counts > 0
        for flip in _flips(width, budgets[band]):
            for one, other in _candidates(keys, starts, present, flip):
                changed = sorted_hashes[one] ^ sorted_hashes[other]
                bits = np.bitwise_count(changed)
                hit = np.flatnonzero(bits <= radius)
                changed = changed[hit]
                new = np.ones(len(hit), bool)
                for (low, wide), budget in zip(_BANDS[:band], budgets, strict=False):  # found before
                    part = (changed >> np.uint64(low)) & np.uint64((1 << wide) - 1)
                    new &= np.bitwise_count(part) > budget
                hit = hit[new]
                yield order[one[hit]], order[other[hit]], bits[hit].astype(np.int64)


def _flips(width: int, budget: int) -> list[int]:
    """All patterns of so many bits or fewer."""
    return [
        sum(1 << bit for bit in bits)
        for count in range(budget + 1)
        for bits in itertools.combinations(range(width), count)
    ]


def _candidates(
    keys: NDArray[np.int32], starts: NDArray[np.int32], present: NDArray[np.bool_], flip: int
) -> Iterator[tuple[NDArray[Any], NDArray[Any]]]:
    """Places of sorted keys that differ by just these bits, each pair once, some at a time."""
    if flip:
        wanted = keys ^ np.int32(flip)
        one = np.flatnonzero(present[wanted] & (keys < wanted))
        wanted = wanted[one]
        begin, count = starts[wanted], starts[wanted + 1] - starts[wanted]
    else:
        begin = np.arange(1, len(keys) + 1, dtype=np.int32)
        count = starts[keys + 1] - begin
        one = np.flatnonzero(count > 0)
        begin, count = begin[one], count[one]
    total = np.cumsum(count)
    at = 0
    while at < len(one):
        done = int(total[at - 1]) if at else 0
        to = max(at + 1, int(np.searchsorted(total, done + _CHUNK, side="right")))
        n = count[at:to]
        within = np.arange(int(n.sum())) - np.repeat(np.cumsum(n) - n, n)
        yield np.repeat(one[at:to], n), np.repeat(begin[at:to], n) + within
        at = to
