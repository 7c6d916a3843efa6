"""BLEU, ROUGE-L, CIDEr-D and METEOR of a corpus of reports, with intervals over patients.

The formulas are those of pycocoevalcap, to its small constants, because published numbers are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from xraytk.models.tokens import units
from xraytk.tasks.metrics import meteor
from xraytk.tasks.metrics.bootstrap import summarise
from xraytk.tasks.metrics.grams import Texts, bleu_and_cider
from xraytk.tasks.metrics.values import Floats, Value, absent, ratio

TEXT_METRICS = ("bleu_1", "bleu_2", "bleu_3", "bleu_4", "rouge_l", "cider")
BETA = 1.2


def bleu(counts: Floats) -> Floats:
    """BLEU-1 to BLEU-4 from summed counts.

    Args:
        counts: (R, 10), rows of `grams.bleu_counts` summed over a corpus.

    Returns:
        (R, 4) in [0, 1].

    Source:
        Papineni 2002, with the small constants of pycocoevalcap.
    """
    correct, guess = counts[:, :4], counts[:, 4:8]
    precision = np.cumprod((correct + 1e-15) / (guess + 1e-9), axis=1)
    length = (counts[:, 8] + 1e-15) / (counts[:, 9] + 1e-9)
    with np.errstate(over="ignore"):  # an empty hypothesis: exp(-huge) is 0
        brevity = np.where(length < 1, np.exp(1 - 1 / length), 1.0)
    return np.asarray(precision ** (1 / np.arange(1, 5)) * brevity[:, None], dtype=np.float64)


def rouge_l(hypothesis: Sequence[str], reference: Sequence[str]) -> float:
    """ROUGE-L of one pair: F-measure of the longest common subsequence, beta 1.2.

    Source:
        Lin 2004, as in pycocoevalcap: an empty text counts as one empty token.
    """
    hyp, ref = list(hypothesis) or [""], list(reference) or [""]
    common = common_subsequence(hyp, ref)
    precision, recall = common / len(hyp), common / len(ref)
    if common == 0:
        return 0.0
    return (1 + BETA**2) * precision * recall / (recall + BETA**2 * precision)


def common_subsequence(a: Sequence[str], b: Sequence[str]) -> int:
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


NO_CIDER = "CIDEr needs at least two references that differ"


@dataclass(frozen=True, slots=True)
class TextRows:
    """What the text scores of n samples are made of; adding two sets of samples joins them.

    Args:
        counts: (n, 10) of `grams.bleu_counts`.
        rouge: (n,).
        cider: (n,), with the document frequencies of all the references; NaN where these are all
            the same text, of which every n-gram weighs nothing.
        meteor: (n, 23) statistics of the jar, or None.
    """

    counts: Floats
    rouge: Floats
    cider: Floats
    meteor: Floats | None = None

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of the scores, in order."""
        return (*TEXT_METRICS, "meteor") if self.meteor is not None else TEXT_METRICS

    def score(self, weights: Floats) -> Floats:
        """Corpus scores: from weights (R, n) to (R, metrics); NaN where nothing has a weight."""
        total = weights.sum(axis=1, keepdims=True)
        means = ratio(
            weights @ np.stack([self.rouge, self.cider], axis=1), np.broadcast_to(total, (len(total), 2))
        )
        parts = [np.where(total > 0, bleu(weights @ self.counts), np.nan), means]
        if self.meteor is not None:
            parts.append(np.where(total > 0, meteor.score(weights @ self.meteor)[:, None], np.nan))
        return np.concatenate(parts, axis=1)

    def __add__(self, other: TextRows) -> TextRows:
        both = self.meteor is not None and other.meteor is not None
        return TextRows(
            np.concatenate([self.counts, other.counts]),
            np.concatenate([self.rouge, other.rouge]),
            np.concatenate([self.cider, other.cider]),
            np.concatenate([self.meteor, other.meteor]) if both else None,
        )


def text_rows(hypotheses: Texts, references: Texts, stats: Floats | None = None) -> TextRows:
    """Count n pairs of token lists.

    Args:
        hypotheses: n lists of tokens.
        references: n lists of tokens.
        stats: (n, 23) of METEOR, if there are.
    """
    counts, ciders = bleu_and_cider(hypotheses, references)
    if len({tuple(reference) for reference in references}) < 2:
        ciders = np.full(len(references), np.nan)
    rouge = np.asarray([rouge_l(h, r) for h, r in zip(hypotheses, references, strict=True)], dtype=np.float64)
    return TextRows(counts, rouge, ciders, stats)


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
    if not hypotheses:
        return {m: absent(f"no {lang} reference") for m in TEXT_METRICS}
    rows = text_rows([units(t, lang) for t in hypotheses], [units(t, lang) for t in references])
    return score_rows(rows, patients, resamples=resamples, seed=seed)


def score_rows(rows: TextRows, patients: Sequence[str], *, resamples: int, seed: int) -> dict[str, Value]:
    """Corpus scores with intervals; CIDEr of references that are all the same is absent."""
    values = summarise(rows.score, patients, resamples=resamples, seed=seed)
    out = dict(zip(rows.metrics, values, strict=True))
    if np.isnan(rows.cider).all():
        people = len(set(patients))
        out["cider"] = absent(NO_CIDER, len(rows.cider), people)
    return out
