"""Prototypes of a set of points, and which points to keep of each.

Most radiographs are alike. Prototypes (centres of k-means) say where the crowds are; the distance
from the nearest says how usual a point is. The crowds are thinned, evenly over the ground they
cover; what lies far out is kept whole.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

ZONES = ("central", "periphery", "tail", "outlier")
"""By distance d from the prototype, over its members' mean m and spread s: d <= m + s,
< m + 2s, < m + 3s, and beyond."""
CENTRAL, PERIPHERY, TAIL, OUTLIER = range(4)

LEAST_MEMBERS = 8
"""A prototype of fewer members has no spread worth the name; they go to the next nearest."""
BLOCK = 8192
"""Most points among which the farthest is looked for at once."""

Points = NDArray[np.float32]  # (N, D)
Ints = NDArray[np.int64]

_WHOLE = 100_000  # up to so many points k-means sees all in every round
_CHUNK = 1 << 16


@dataclass(frozen=True, slots=True)
class Prototypes:
    """Prototypes, and where each point lies.

    Args:
        centres: (K, D), the one of most members first.
        nearest: (N,) the prototype of each point.
        distance: (N,) float32, from it.
        zone: (N,) int8, place in `ZONES`.
    """

    centres: Points
    nearest: Ints
    distance: NDArray[np.float32]
    zone: NDArray[np.int8]


def find_prototypes(points: Points, count: int, seed: int) -> Prototypes:
    """Find prototypes and the zone of each point.

    Args:
        points: (N, D), N at least 1.
        count: How many are wanted; there are fewer where members would be, see `LEAST_MEMBERS`.
        seed: Of the start of k-means.

    Returns:
        The same for the same input, on one kind of processor.

    Source:
        CheXficient (zones; k-means as the start). There the prototypes then follow a moving
        encoder by an exponential mean, with Sinkhorn's balance against collapse. Here all points
        are at hand and do not move: k-means goes on to its end instead. Balance is left out on
        purpose, since it would cut crowds into equal parts and mix the rare into them.
    """
    from sklearn.cluster import KMeans, MiniBatchKMeans  # slow to import

    count = max(1, min(count, len(points) // LEAST_MEMBERS))
    with threadpool_limits(1):  # sums in one order
        if len(points) <= _WHOLE:
            means = KMeans(count, n_init=4, random_state=seed)
        else:
            means = MiniBatchKMeans(
                count, n_init=4, random_state=seed, batch_size=8192, max_no_improvement=50
            )
        centres = np.asarray(means.fit(points).cluster_centers_, np.float32)
        nearest, distance = _nearest(points, centres)
        while (members := np.bincount(nearest, minlength=len(centres))).min() < LEAST_MEMBERS < len(points):
            if len(centres) == 1:
                break
            centres = np.delete(centres, members.argmin(), axis=0)
            nearest, distance = _nearest(points, centres)
    order = np.argsort(-members, kind="stable")
    nearest = np.argsort(order)[nearest]
    return Prototypes(centres[order], nearest, distance, zones(nearest, distance))


def _nearest(points: Points, centres: Points) -> tuple[Ints, NDArray[np.float32]]:
    """The nearest centre of each point, and how far it is."""
    nearest = np.empty(len(points), np.int64)
    distance = np.empty(len(points), np.float32)
    squares = (centres * centres).sum(1)
    for at in range(0, len(points), _CHUNK):
        part = slice(at, at + _CHUNK)
        nearest[part] = (squares - 2 * points[part] @ centres.T).argmin(1)
        distance[part] = np.linalg.norm(points[part] - centres[nearest[part]], axis=1)
    return nearest, distance


def zones(nearest: Ints, distance: NDArray[np.float32]) -> NDArray[np.int8]:
    """Sort points into `ZONES` by the mean and spread of their own prototype's distances.

    Args:
        nearest: (N,) prototype of each.
        distance: (N,) from it.

    Returns:
        (N,) int8, place in `ZONES`.
    """
    far = distance.astype(np.float64)
    members = np.maximum(np.bincount(nearest), 1)
    mean = np.bincount(nearest, far) / members
    spread = np.sqrt(np.maximum(np.bincount(nearest, (far - mean[nearest]) ** 2) / members, 0))
    over = far - mean[nearest]
    unit = spread[nearest]
    tiny = 1e-6 * (1 + far)  # all at one distance: all central
    zone = (over > unit + tiny).astype(np.int8) + (over >= 2 * unit + tiny) + (over >= 3 * unit + tiny)
    return np.asarray(zone, np.int8)


def parts_of(budget: int, members: Ints) -> Ints:
    """Split a budget over prototypes in proportion to the roots of their members.

    Args:
        budget: How many are to be kept in all.
        members: (K,) how many there are of each.

    Returns:
        (K,) at most as many as there are; they sum to the budget, or to all there are.

    Source:
        CheXficient: the root, so that large crowds give a smaller share than small ones. What a
        small one cannot give is split over the others in the same way.
    """
    given = np.zeros(len(members), np.int64)
    left = min(int(budget), int(members.sum()))
    while left:
        root = np.sqrt(np.where(given < members, members, 0))
        wanted = left * root / root.sum()
        more = np.minimum(np.floor(wanted).astype(np.int64), members - given)
        if not more.any():  # less than one each: to the largest claims
            open_ = np.flatnonzero(given < members)
            more[open_[np.argsort(-wanted[open_], kind="stable")[:left]]] = 1
        given += more
        left -= int(more.sum())
    return given


def farthest(points: Points, count: int) -> Ints:
    """Choose points that lie far from one another: each next one is the farthest from all before.

    Args:
        points: (n, D).
        count: How many, at most n.

    Returns:
        (count,) places in ``points``, in the order of choice, that nearest to the middle first; of
        equals the first.

    Source:
        Gonzalez 1985; exact, n * count distances.
    """
    chosen = np.empty(count, np.int64)
    if not count:
        return chosen
    squares = np.einsum("nd,nd->n", points, points)
    away = np.full(len(points), np.inf, np.float32)
    pick = int(np.linalg.norm(points - points.mean(0), axis=1).argmin())
    for i in range(count):
        chosen[i] = pick
        np.minimum(away, squares - 2 * (points @ points[pick]) + squares[pick], out=away)
        away[pick] = -np.inf
        pick = int(away.argmax())
    return chosen


def spread_out(points: Points, count: int, *, block: int = BLOCK, threads: int = 1) -> Ints:
    """Choose as `farthest` does, in blocks where there are many points.

    A crowd of more than ``block`` points is halved across its widest axis until no part is larger;
    each part gives its share, chosen exactly. So the cost grows as the number of points and not
    as its square, and only neighbours across a cut can both be chosen.

    Args:
        points: (n, D).
        count: How many, at most n.
        block: Most points of a part.
        threads: Parts that are worked on together. Changes nothing in what is chosen.

    Returns:
        (count,) places in ``points``, sorted.
    """
    blocks = _halved(points, np.arange(len(points)), block)
    ends = np.cumsum([len(part) for part in blocks]) * count // max(len(points), 1)
    counts = np.diff(ends, prepend=0).tolist()
    with threadpool_limits(1), ThreadPoolExecutor(threads) as pool:
        chosen = pool.map(lambda part, many: part[farthest(points[part], many)], blocks, counts)
        return np.sort(np.concatenate([np.zeros(0, np.int64), *chosen]))


def _halved(points: Points, places: Ints, block: int) -> list[Ints]:
    """Cut places at the median of their widest axis until no part has more than ``block``."""
    if len(places) <= max(block, 1):
        return [places] if len(places) else []
    axis = int(points[places].var(0).argmax())
    order = np.argsort(points[places, axis], kind="stable")
    middle = len(places) // 2
    return [
        part for half in (order[:middle], order[middle:]) for part in _halved(points, places[half], block)
    ]
