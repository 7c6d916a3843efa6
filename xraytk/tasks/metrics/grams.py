"""BLEU and CIDEr-D of a corpus from one table of n-grams, as whole arrays.

Tokens become numbers; an n-gram is the number of the (n-1)-gram before its last token and
that token. All counts of all texts then are one sorted array.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from xraytk.tasks.metrics.values import Floats

Ints = NDArray[np.int64]
Texts = Sequence[Sequence[str]]
LONGEST = 4
SIGMA = 6.0
"""Of CIDEr-D's penalty on the difference of lengths."""


def bleu_counts(hypotheses: Texts, references: Texts) -> Floats:
    """Count, for each sample, what BLEU is made of.

    Args:
        hypotheses: n lists of tokens.
        references: n lists of tokens.

    Returns:
        (n, 10): clipped matches of 1- to 4-grams, number of 1- to 4-grams of the hypothesis,
        length of the hypothesis, length of the reference.
    """
    return bleu_and_cider(hypotheses, references)[0]


def cider(hypotheses: Texts, references: Texts) -> Floats:
    """CIDEr-D of every pair; the document frequencies come from all the references.

    Returns:
        (n,) in [0, 10]. All 0 when there is a single pair: its n-grams then tell nothing.

    Source:
        Vedantam 2015, as in pycocoevalcap: raw counts, clipping, Gaussian penalty with sigma
        6 on the difference of the numbers of bigrams.
    """
    return bleu_and_cider(hypotheses, references)[1]


def bleu_and_cider(hypotheses: Texts, references: Texts) -> tuple[Floats, Floats]:
    """Both from the same n-grams; see `bleu_counts` and `cider`.

    Raises:
        ValueError: If there are not as many hypotheses as references.
    """
    n = len(references)
    if len(hypotheses) != n:
        raise ValueError(f"{len(hypotheses)} hypotheses, {n} references")
    lengths = np.array([len(text) for text in (*hypotheses, *references)], dtype=np.int64)
    hyp_len, ref_len = lengths[:n], lengths[n:]
    counts = np.zeros((n, 10))
    counts[:, 8], counts[:, 9] = hyp_len, ref_len
    total = np.zeros(n)
    for k, (doc, gram, count) in enumerate(_tables((*hypotheses, *references), lengths), start=1):
        in_ref = doc >= n
        row, found = doc - n * in_ref, _partners(doc, gram, count, n)
        mine = ~in_ref
        counts[:, k - 1] = np.bincount(row[mine], np.minimum(count, found)[mine], n)
        counts[:, k + 3] = np.maximum(0, hyp_len - k + 1)
        total += _cosine(row, gram, count, found, in_ref, n)
    apart = np.maximum(0, hyp_len - 1) - np.maximum(0, ref_len - 1)
    penalty = np.exp(-(apart.astype(np.float64) ** 2) / (2 * SIGMA**2))
    return counts, total / LONGEST * penalty * 10


def _tables(texts: Texts, lengths: Ints) -> list[tuple[Ints, Ints, Ints]]:
    """For 1- to 4-grams: document, number and count of every distinct n-gram of a document."""
    numbers: dict[str, int] = {}
    tokens = np.fromiter(
        (numbers.setdefault(token, len(numbers)) for token in itertools.chain.from_iterable(texts)),
        dtype=np.int64,
        count=int(lengths.sum()),
    )
    doc = np.repeat(np.arange(len(lengths)), lengths)
    left = np.repeat(np.cumsum(lengths), lengths) - np.arange(len(tokens))  # tokens up to the text's end
    gram, at = tokens, np.arange(len(tokens))
    out = []
    for k in range(1, LONGEST + 1):
        if k > 1:
            fits = left[at] >= k
            at, gram = at[fits], gram[fits]
            _, gram = np.unique(gram * len(numbers) + tokens[at + k - 1], return_inverse=True)
        wide = int(gram.max(initial=0)) + 1
        key, count = np.unique(doc[at] * wide + gram, return_counts=True)
        out.append((key // wide, key % wide, count))
    return out


def _partners(doc: Ints, gram: Ints, count: Ints, n: int) -> Ints:
    """Count of the same n-gram in the other text of the pair, 0 where it is not."""
    wide = int(gram.max(initial=0)) + 1
    key = doc * wide + gram  # sorted
    wanted = np.where(doc < n, doc + n, doc - n) * wide + gram
    place = np.minimum(np.searchsorted(key, wanted), max(0, len(key) - 1))
    return np.where(key[place] == wanted, count[place], 0) if len(key) else count


def _cosine(row: Ints, gram: Ints, count: Ints, found: Ints, in_ref: NDArray[np.bool_], n: int) -> Floats:
    """Clipped tf-idf similarity of each pair, for n-grams of one length."""
    df = np.bincount(gram[in_ref], minlength=int(gram.max(initial=0)) + 1)
    weight = np.log(max(n, 1)) - np.log(np.maximum(1, df))[gram]
    squared = (count * weight) ** 2
    norms = [np.sqrt(np.bincount(row[part], squared[part], n)) for part in (~in_ref, in_ref)]
    mine = ~in_ref
    shared = np.minimum(count, found) * found * weight**2
    above = np.bincount(row[mine], shared[mine], n)
    below = norms[0] * norms[1]
    return np.asarray(np.divide(above, below, out=np.zeros(n), where=below > 0), dtype=np.float64)
