"""Boxes: overlap, non-maximum suppression, and the score of the RSNA Pneumonia Detection Challenge."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from xraytk.tasks.metrics.masks import mean
from xraytk.tasks.metrics.values import Floats

IOUS = tuple(round(0.4 + 0.05 * i, 2) for i in range(8))
"""Overlaps above which a box is a hit, 0.4 to 0.75; a score is the mean over them."""
CANDIDATES = tuple(round(0.05 * i, 2) for i in range(1, 20))
"""Thresholds among which the best is looked for."""


def overlap(a: Floats, b: Floats) -> Floats:
    """Intersection over union of every pair.

    Args:
        a: (n, 4) edges x0, y0, x1, y1.
        b: (m, 4).

    Returns:
        (n, m) in [0, 1].
    """
    a, b = a.reshape(-1, 4), b.reshape(-1, 4)
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    both = np.clip(high - low, 0, None).prod(2)
    sizes = [np.prod(x[:, 2:] - x[:, :2], axis=1) for x in (a, b)]
    return np.asarray(both / np.maximum(sizes[0][:, None] + sizes[1][None, :] - both, 1e-12))


def suppress(boxes: Floats, scores: Floats, most: float) -> NDArray[np.intp]:
    """Leave out boxes that overlap one of a higher score.

    Args:
        boxes: (n, 4) edges.
        scores: (n,).
        most: Overlap that is allowed.

    Returns:
        Numbers of those that stay, the highest score first.
    """
    order = np.argsort(-scores, kind="stable")
    pairs = overlap(boxes, boxes)
    kept: list[int] = []
    for i in order.tolist():
        if not kept or pairs[i, kept].max() <= most:
            kept.append(i)
    return np.asarray(kept, np.intp)


def hits(pairs: Floats, scores: Floats, least: float) -> int:
    """How many true boxes are found, each by one box at most.

    Args:
        pairs: (n, m) overlaps of n found and m true boxes.
        scores: (n,) of the found ones; higher ones choose first, each the free true box it overlaps most.
        least: Overlap above which it is a hit.
    """
    free = np.ones(pairs.shape[1], bool)
    for i in np.argsort(-scores, kind="stable"):
        fits = np.where(free & (pairs[i] > least), pairs[i], -1.0)
        if fits.size and fits.max() >= 0:
            free[int(fits.argmax())] = False
    return int((~free).sum())


def rsna_score(found: Floats, scores: Floats, truth: Floats) -> float:
    """Score of one image.

    Args:
        found: (n, 4) edges of boxes that are claimed.
        scores: (n,) confidences, for the order of matching alone.
        truth: (m, 4) edges of true boxes.

    Returns:
        Mean over `IOUS` of TP / (TP + FP + FN); 0 for claims on an image without true boxes; NaN where
        there is neither, such an image is left out of the mean.

    Source:
        Evaluation page of the RSNA Pneumonia Detection Challenge (Kaggle 2018).
    """
    n, m = len(found), len(truth)
    if not n and not m:
        return math.nan
    if not n or not m:
        return 0.0
    pairs = overlap(found, truth)
    right = [hits(pairs, scores, least) for least in IOUS]
    return sum(tp / (n + m - tp) for tp in right) / len(IOUS)


def best_cut(images: Sequence[tuple[Floats, Floats, Floats]]) -> tuple[float, float]:
    """The threshold with the highest mean `rsna_score`, the lower one of equals.

    Args:
        images: Of each the found boxes, their scores, and the true boxes.

    Returns:
        Threshold and mean score; NaN and NaN where no image has a true box.
    """
    if not any(len(truth) for _, _, truth in images):
        return math.nan, math.nan
    best = (-1.0, math.nan)
    for cut in CANDIDATES:
        score = mean([rsna_score(b[s >= cut], s[s >= cut], t) for b, s, t in images])
        if score > best[0]:
            best = (score, cut)
    return best[1], best[0]
