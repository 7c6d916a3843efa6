"""Which images of an archive are nearest to others: exact cosine, a block of the archive at a time."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from xraytk.tasks.metrics.panel import Panel
from xraytk.tasks.metrics.values import Floats, ratio

Single = NDArray[np.float32]
Ints = NDArray[np.int64]
NOBODY = -1
"""Stands where there are fewer than k."""


class Nearest:
    """The k nearest of all rows seen so far, for every query; only these and one block are in memory.

    Rows of equal similarity keep the order in which they came, so that blocks change nothing.

    Args:
        queries: (q, D), of any length above 0.
        k: How many.
        leave: (q,) groups, as patients: rows of a query's own group are left out; "" for none.
    """

    def __init__(self, queries: Single, k: int, leave: Sequence[str] | None = None) -> None:
        self._queries, self._k = unit(queries), k
        self._leave = None if leave is None else np.asarray(leave, np.str_)
        self.near = np.full((len(queries), 0), -np.inf, np.float32)
        self.at = np.full((len(queries), 0), NOBODY, np.int64)
        self.count = 0

    def add(self, rows: Single, groups: Sequence[str] | None = None) -> None:
        """Look at more rows of the archive.

        Args:
            rows: (n, D).
            groups: (n,) of the rows, where some are to be left out.
        """
        near = self._queries @ unit(rows).T  # (q, n)
        if self._leave is not None and groups is not None:
            own = (self._leave[:, None] == np.asarray(groups, np.str_)[None]) & (self._leave != "")[:, None]
            near[own] = -np.inf
        at = np.broadcast_to(np.arange(self.count, self.count + len(rows)), near.shape)
        near, at = np.concatenate([self.near, near], 1), np.concatenate([self.at, at], 1)
        order = np.argsort(-near, axis=1, kind="stable")[:, : self._k]
        self.near, self.at = np.take_along_axis(near, order, 1), np.take_along_axis(at, order, 1)
        self.at[np.isneginf(self.near)] = NOBODY
        self.count += len(rows)


def unit(x: Single) -> Single:
    """Rows of length one."""
    return np.asarray(x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12), np.float32)


def precision_panel(
    at: Ints, archive: Floats, truth: Floats, labels: Sequence[str], ranks: Sequence[int]
) -> Panel:
    """Precision at k of each label: of the k nearest images, the share that have the label too.

    Only queries that have the label count. A neighbour whose label is unknown is left out; beside it
    stands the label's share in the archive, which is what chance makes of it.

    Args:
        at: (q, K) rows of the archive, nearest first; `NOBODY` where there is none.
        archive: (n, C) labels, NaN where unknown.
        truth: (q, C) of the queries.
        labels: The C names.
        ranks: The k, at most K each.
    """
    there = at != NOBODY
    found = np.where(there[:, :, None], archive[np.maximum(at, 0)], np.nan)  # (q, K, C)
    known = ~np.isnan(found)
    has = np.nan_to_num(truth) == 1  # (q, C)
    parts = []
    for k in ranks:
        yes, all_of = np.nansum(found[:, :k], 1), known[:, :k].sum(1)  # (q, C) each
        parts.append(ratio(yes, all_of.astype(np.float64)))
    table = np.stack(parts, axis=2)  # (q, C, ranks)
    fine = has[:, :, None] & ~np.isnan(table)
    table = np.where(fine, table, 0.0)
    rates = ratio(np.nansum(archive, 0), (~np.isnan(archive)).sum(0).astype(np.float64))  # (C,)

    def score(weights: Floats) -> Floats:
        each = ratio(
            np.einsum("rq,qck->rck", weights, table),
            np.einsum("rq,qck->rck", weights, fine.astype(np.float64)),
        )
        chance = np.where(weights @ has > 0, rates[None], np.nan)[:, :, None]
        cube = np.concatenate([each, chance], axis=2)  # (R, C, ranks + 1)
        full = ~np.isnan(cube)
        macro = ratio(np.where(full, cube, 0).sum(1), full.sum(1).astype(np.float64))[:, None]
        return np.concatenate([cube, macro], axis=1).reshape(len(weights), -1)

    counted = {label: has[:, c] for c, label in enumerate(labels)} | {"macro": has.any(1)}
    why: dict[str | tuple[str, str], str] = dict.fromkeys(
        (*labels, "macro"), "no image that is asked for has it"
    )
    names = (*(f"P@{k}" for k in ranks), "by chance")
    return Panel((*labels, "macro"), names, score, counted, why)
