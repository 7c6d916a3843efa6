"""Scores of reports and of disease predictions, with intervals over patients.

Nothing here needs torch. Every score is a function of weights over the samples, so that one
bootstrap serves all: a resample of patients is a row of counts.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xraytk.models.tokens import units

Floats = NDArray[np.float64]
Score = Callable[[Floats], Floats]
"""From weights (R, n) to values (R,), NaN where the value does not exist."""

TEXT_METRICS = ("bleu_1", "bleu_2", "bleu_3", "bleu_4", "rouge_l", "cider")
LABEL_METRICS = ("auroc", "auprc", "f1", "accuracy")
CHUNK = 64  # resamples worked on at a time: bounds memory to CHUNK * n numbers


@dataclass(frozen=True, slots=True)
class Value:
    """A score with its 95 % interval.

    Args:
        value: NaN when it does not exist; then ``reason`` says why.
        low: 2.5th percentile over resamples of patients; NaN without a bootstrap.
        high: 97.5th percentile.
        n: Samples it was computed on.
        patients: Patients they come from.
        reason: "" unless the value or the interval does not exist.
    """

    value: float
    low: float
    high: float
    n: int
    patients: int
    reason: str = ""


# ---------------------------------------------------------------- text


def bleu_counts(hypotheses: Sequence[Sequence[str]], references: Sequence[Sequence[str]]) -> Floats:
    """Count, for each sample, what BLEU is made of.

    Returns:
        (n, 10): clipped matches of 1- to 4-grams, number of 1- to 4-grams of the hypothesis,
        length of the hypothesis, length of the reference.
    """
    rows = []
    for hyp, ref in zip(hypotheses, references, strict=True):
        matches = []
        for k in range(1, 5):
            found, wanted = Counter(_grams(hyp, k)), Counter(_grams(ref, k))
            matches.append(sum(min(count, wanted[gram]) for gram, count in found.items()))
        rows.append([*matches, *(max(0, len(hyp) - k) for k in range(4)), len(hyp), len(ref)])
    return np.asarray(rows, dtype=np.float64).reshape(-1, 10)


def bleu(counts: Floats) -> Floats:
    """BLEU-1 to BLEU-4 from summed counts.

    Args:
        counts: (R, 10), rows of `bleu_counts` summed over a corpus.

    Returns:
        (R, 4) in [0, 1].

    Source:
        Papineni 2002, with the small constants of pycocoevalcap.
    """
    correct, guess = counts[:, :4], counts[:, 4:8]
    precision = np.cumprod((correct + 1e-15) / (guess + 1e-9), axis=1)
    ratio = (counts[:, 8] + 1e-15) / (counts[:, 9] + 1e-9)
    brevity = np.where(ratio < 1, np.exp(1 - 1 / ratio), 1.0)
    return np.asarray(precision ** (1 / np.arange(1, 5)) * brevity[:, None], dtype=np.float64)


def rouge_l(hypothesis: Sequence[str], reference: Sequence[str]) -> float:
    """ROUGE-L of one pair: F-measure of the longest common subsequence, beta 1.2.

    Source:
        Lin 2004, as in pycocoevalcap: an empty text counts as one empty token.
    """
    hyp, ref = list(hypothesis) or [""], list(reference) or [""]
    common = _common_subsequence(hyp, ref)
    precision, recall = common / len(hyp), common / len(ref)
    if common == 0:
        return 0.0
    return (1 + 1.2**2) * precision * recall / (recall + 1.2**2 * precision)


def cider(hypotheses: Sequence[Sequence[str]], references: Sequence[Sequence[str]]) -> Floats:
    """CIDEr-D of every pair; the document frequencies come from all the references.

    Returns:
        (n,) in [0, 10]. All 0 when there is a single pair: its n-grams then tell nothing.

    Source:
        Vedantam 2015, as in pycocoevalcap: raw counts, clipping, Gaussian penalty with sigma
        6 on the difference of the numbers of bigrams.
    """
    n = len(references)
    total = np.zeros(n)
    for k in range(1, 5):
        refs = [Counter(_grams(ref, k)) for ref in references]
        seen = Counter(gram for counts in refs for gram in counts)
        idf = {gram: math.log(n / df) for gram, df in seen.items()}
        unseen = math.log(n) if n else 0.0
        for i, hyp in enumerate(hypotheses):
            total[i] += _cosine(Counter(_grams(hyp, k)), refs[i], idf, unseen)
    bigrams = [max(0, len(h) - 1) - max(0, len(r) - 1) for h, r in zip(hypotheses, references, strict=True)]
    penalty = np.exp(-(np.asarray(bigrams, dtype=np.float64) ** 2) / (2 * 6.0**2))
    return np.asarray(total / 4 * penalty * 10, dtype=np.float64)


def score_texts(
    hypotheses: Sequence[str],
    references: Sequence[str],
    lang: str,
    patients: Sequence[str],
    *,
    resamples: int = 1000,
    seed: int = 0,
) -> dict[str, Value]:
    """Score generated reports of one language.

    English is scored by word, Chinese by character, both as `models.tokens.units` splits
    them; references are whole, never truncated (protocol "full").

    Args:
        hypotheses: n generated texts; an empty one is scored as empty.
        references: n texts. Blank ones cannot be scored: leave them out before.
        lang: "en" or "zh".
        patients: n patients; the interval is over them.
        resamples: Bootstrap resamples; 0 for none.
        seed: Of the bootstrap.

    Returns:
        A `Value` for each of `TEXT_METRICS`. CIDEr keeps the document frequencies of all
        the references in every resample.
    """
    hyps, refs = [units(t, lang) for t in hypotheses], [units(t, lang) for t in references]
    counts = bleu_counts(hyps, refs)
    rouge = np.asarray([rouge_l(h, r) for h, r in zip(hyps, refs, strict=True)], dtype=np.float64)
    ciders = cider(hyps, refs)

    def scores(weights: Floats) -> Floats:
        means = weights @ np.stack([rouge, ciders], axis=1) / weights.sum(axis=1, keepdims=True)
        return np.concatenate([bleu(weights @ counts), means], axis=1)

    if not hyps:
        return {m: _absent(f"no {lang} reference") for m in TEXT_METRICS}
    values = summarise(scores, patients, resamples=resamples, seed=seed)
    out = dict(zip(TEXT_METRICS, values, strict=True))
    if len(hyps) == 1:
        out["cider"] = _absent("CIDEr needs at least two references", 1)
    return out


def _grams(tokens: Sequence[str], k: int) -> list[tuple[str, ...]]:
    return list(zip(*(tokens[i:] for i in range(k)), strict=False))


def _common_subsequence(a: Sequence[str], b: Sequence[str]) -> int:
    """Length of the longest common subsequence, one bit per token of ``b`` (Hyyrö 2004)."""
    where: dict[str, int] = {}
    for i, token in enumerate(b):
        where[token] = where.get(token, 0) | 1 << i
    full = (1 << len(b)) - 1
    row = full
    for token in a:
        hit = row & where.get(token, 0)
        row = ((row + hit) | (row - hit)) & full
    return len(b) - row.bit_count()


def _cosine(hyp: Mapping[Any, int], ref: Mapping[Any, int], idf: Mapping[Any, float], unseen: float) -> float:
    """Clipped tf-idf similarity of two bags of n-grams."""
    h = {gram: count * idf.get(gram, unseen) for gram, count in hyp.items()}
    r = {gram: count * idf[gram] for gram, count in ref.items()}
    norm = math.sqrt(sum(v * v for v in h.values())) * math.sqrt(sum(v * v for v in r.values()))
    if norm == 0:
        return 0.0
    return sum(min(value, r[gram]) * r[gram] for gram, value in h.items() if gram in r) / norm


# ---------------------------------------------------------------- labels


def auroc(scores: Floats, truth: Floats) -> Score:
    """Area under the ROC curve, ties counting half.

    Args:
        scores: (n,) higher means more likely.
        truth: (n,) 0 or 1; NaN leaves the sample out.

    Returns:
        A `Score`; equal to scikit-learn's ``roc_auc_score`` with weights, for many
        resamples at once.
    """
    order, starts, positive, negative = _ranked(scores, truth)

    def area(weights: Floats) -> Floats:
        if not len(order):
            return np.full(len(weights), np.nan)
        pos = np.add.reduceat(weights[:, order] * positive, starts, axis=1)
        neg = np.add.reduceat(weights[:, order] * negative, starts, axis=1)
        below = np.cumsum(neg, axis=1) - neg / 2
        return _ratio((pos * below).sum(axis=1), pos.sum(axis=1) * neg.sum(axis=1))

    return area


def auprc(scores: Floats, truth: Floats) -> Score:
    """Average precision: the step-wise area under the precision-recall curve.

    Args:
        scores: (n,) higher means more likely.
        truth: (n,) 0 or 1; NaN leaves the sample out.

    Returns:
        A `Score`; equal to scikit-learn's ``average_precision_score`` with weights.
    """
    order, starts, positive, negative = _ranked(-scores, truth)

    def area(weights: Floats) -> Floats:
        if not len(order):
            return np.full(len(weights), np.nan)
        pos = np.add.reduceat(weights[:, order] * positive, starts, axis=1)
        neg = np.add.reduceat(weights[:, order] * negative, starts, axis=1)
        hits, all_ = np.cumsum(pos, axis=1), np.cumsum(pos + neg, axis=1)
        precision = np.divide(hits, all_, out=np.zeros_like(hits), where=all_ > 0)
        both = (neg.sum(axis=1) > 0).astype(np.float64)
        return _ratio((pos * precision).sum(axis=1) * both, pos.sum(axis=1) * both)

    return area


def f1(scores: Floats, truth: Floats, threshold: float) -> Score:
    """F1 of ``scores >= threshold``; NaN when one class is missing."""
    cells = _confusion(scores, truth, threshold)

    def value(weights: Floats) -> Floats:
        tp, fp, fn, tn = (weights @ cells).T
        both = ((tp + fn) > 0) & ((fp + tn) > 0)
        return _ratio(2 * tp * both, (2 * tp + fp + fn) * both)

    return value


def accuracy(scores: Floats, truth: Floats, threshold: float) -> Score:
    """Share of samples on the right side of ``threshold``; NaN when one class is missing."""
    cells = _confusion(scores, truth, threshold)

    def value(weights: Floats) -> Floats:
        tp, fp, fn, tn = (weights @ cells).T
        both = ((tp + fn) > 0) & ((fp + tn) > 0)
        return _ratio((tp + tn) * both, (tp + fp + fn + tn) * both)

    return value


def best_threshold(scores: Floats, truth: Floats) -> float:
    """Threshold with the highest F1; fit it on the validation split only.

    Returns:
        Midway between two neighbouring scores, the smallest one among ties; 0.5 when one
        class is missing.
    """
    known = ~np.isnan(truth)
    scores, truth = scores[known], truth[known]
    if len(np.unique(truth)) < 2:
        return 0.5
    levels, group = np.unique(scores, return_inverse=True)
    hits = np.bincount(group, weights=truth)[::-1].cumsum()[::-1]  # positives at or above a level
    said = np.bincount(group)[::-1].cumsum()[::-1]
    best = int(np.argmax(2 * hits / (said + truth.sum())))
    return float(levels[0] if best == 0 else (levels[best - 1] + levels[best]) / 2)


def score_labels(
    scores: Floats,
    truth: Floats,
    labels: Sequence[str],
    thresholds: Mapping[str, float],
    patients: Sequence[str],
    *,
    resamples: int = 1000,
    seed: int = 0,
) -> dict[str, dict[str, Value]]:
    """Score multi-label predictions.

    Args:
        scores: (n, C) probabilities.
        truth: (n, C) 0 or 1, NaN where unknown.
        labels: The C names.
        thresholds: One a label, fitted on the validation split; 0.5 where missing.
        patients: n patients; intervals are over them.
        resamples: Bootstrap resamples; 0 for none.
        seed: Of the bootstrap.

    Returns:
        For each label, and for "macro" (mean over the labels for which the score exists in
        that resample), a `Value` for each of `LABEL_METRICS`.
    """
    parts: list[Score] = []
    for c, label in enumerate(labels):
        s, t = scores[:, c].astype(np.float64), truth[:, c].astype(np.float64)
        cut = thresholds.get(label, 0.5)
        parts += [auroc(s, t), auprc(s, t), f1(s, t, cut), accuracy(s, t, cut)]
    width = len(LABEL_METRICS)

    def together(weights: Floats) -> Floats:
        table = np.stack([part(weights) for part in parts], axis=1)
        cube = table.reshape(len(weights), len(labels), width)
        there = ~np.isnan(cube)
        macro = _ratio(np.where(there, cube, 0).sum(axis=1), there.sum(axis=1).astype(np.float64))
        return np.concatenate([table, macro], axis=1)

    if not labels or not len(scores):
        return {"macro": {m: _absent("no label, or no sample") for m in LABEL_METRICS}}
    known = [~np.isnan(truth[:, c]) for c in range(len(labels))]
    values = summarise(together, patients, resamples=resamples, seed=seed)
    out: dict[str, dict[str, Value]] = {}
    for c, label in enumerate([*labels, "macro"]):
        row = values[c * width : (c + 1) * width]
        used = known[c] if c < len(labels) else np.any(known, axis=0)
        why = _why_not(truth[:, c]) if c < len(labels) else "no label has both classes"
        people = len({p for p, there in zip(patients, used, strict=True) if there})
        out[label] = {
            metric: _with_counts(value, int(used.sum()), people, why)
            for metric, value in zip(LABEL_METRICS, row, strict=True)
        }
    return out


def _ranked(scores: Floats, truth: Floats) -> tuple[Any, Any, Floats, Floats]:
    """Order of the known samples by score, starts of the groups of ties, and both classes."""
    known = np.flatnonzero(~np.isnan(truth))
    order = known[np.argsort(scores[known], kind="stable")]
    ordered = scores[order]
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]]) if len(order) else order
    return order, starts, (truth[order] == 1).astype(np.float64), (truth[order] == 0).astype(np.float64)


def _confusion(scores: Floats, truth: Floats, threshold: float) -> Floats:
    """(n, 4): one-hot true positive, false positive, false negative, true negative."""
    said = scores >= threshold
    sick, well = truth == 1, truth == 0
    return np.stack([said & sick, said & well, ~said & sick, ~said & well], axis=1).astype(np.float64)


def _ratio(above: Floats, below: Floats) -> Floats:
    out: Floats = np.full(np.shape(above), np.nan)
    np.divide(above, below, out=out, where=below > 0)
    return out


def _why_not(truth: Floats) -> str:
    known = truth[~np.isnan(truth)]
    if not len(known):
        return "no known value in this split"
    return f"every known value in this split is {int(known[0])}"


# ---------------------------------------------------------------- intervals


def summarise(score: Score, patients: Sequence[str], *, resamples: int, seed: int) -> list[Value]:
    """Point value and percentile interval of one or several scores, over patients.

    Patients are drawn with replacement, each with all its samples.

    Args:
        score: From weights (R, n) to (R, m).
        patients: n patients.
        resamples: Number of draws; 0 for no interval.
        seed: Same seed, same interval.

    Returns:
        m values; the interval leaves out draws in which the score does not exist.
    """
    names, index = np.unique(np.asarray(patients, dtype=np.str_), return_inverse=True)
    point = score(np.ones((1, len(index))))[0]
    rng = np.random.default_rng(seed)
    draws = []
    for begin in range(0, resamples, CHUNK):
        size = (min(CHUNK, resamples - begin), len(names))
        chosen = rng.integers(0, len(names), size)
        counts = np.stack([np.bincount(row, minlength=len(names)) for row in chosen])
        draws.append(score(counts[:, index].astype(np.float64)))
    table = np.concatenate(draws) if draws else np.empty((0, len(point)))
    values = []
    for m, value in enumerate(point):
        there = table[~np.isnan(table[:, m]), m]
        low, high = np.percentile(there, [2.5, 97.5]) if len(there) else (np.nan, np.nan)
        values.append(Value(float(value), float(low), float(high), len(index), len(names)))
    return values


def _absent(reason: str, n: int = 0) -> Value:
    return Value(math.nan, math.nan, math.nan, n, n, reason)


def _with_counts(value: Value, n: int, patients: int, why: str) -> Value:
    if math.isnan(value.value):
        return Value(math.nan, math.nan, math.nan, n, patients, why)
    return Value(value.value, value.low, value.high, n, patients)
