"""Tables of scores of which every image has a part: overlap of masks, and boxes found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from xraytk.tasks.metrics.bootstrap import summarise
from xraytk.tasks.metrics.masks import ratios
from xraytk.tasks.metrics.panel import Scores
from xraytk.tasks.metrics.values import Floats, Value, absent

MACRO = "macro"
Parts = tuple[Floats, Floats]
"""Of each of n images and C classes what is summed, and what the sum is divided by."""


def mean_parts(table: Floats) -> Parts:
    """Of a mean over the images that have a value; (n, C), NaN where one has none."""
    there = ~np.isnan(table)
    return np.where(there, table, 0.0), there.astype(np.float64)


def table_of(
    values: Mapping[str, Parts],
    names: Sequence[str],
    patients: Sequence[str],
    *,
    resamples: int,
    seed: int,
    lacking: str,
) -> Scores:
    """Scores with intervals over patients.

    Args:
        values: By metric.
        names: Of the C classes.
        patients: n patients.
        resamples: Of the bootstrap; 0 for no interval.
        seed: Of the bootstrap.
        lacking: What is said of a class that no image has a part in.

    Returns:
        By class and "macro", the mean of the classes; then by metric.
    """
    rows = (*names, MACRO)
    out: dict[str, dict[str, Value]] = {row: {} for row in rows}
    for metric, (above, below) in values.items():
        found = summarise(ratios(above, below), patients, resamples=resamples, seed=seed)
        has = below > 0
        counts = [*has.sum(0).tolist(), int(has.any(1).sum())]
        for row, value, n in zip(rows, found, counts, strict=True):
            out[row][metric] = replace(value, n=n) if n else absent(lacking)
    return dict(out)
