"""Against pycocoevalcap, where it is installed, on public reports."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest

from xraytk.tasks.metrics import meteor, text
from xraytk.tasks.metrics.grams import bleu_and_cider

PAIRS = 590


@pytest.fixture(scope="module")
def pairs(shared_data: Path) -> tuple[list[list[str]], list[list[str]]]:
    lines = (shared_data / "reports_iu" / "reports.jsonl").read_text(encoding="utf-8").splitlines()
    reports = [json.loads(line) for line in lines]
    found = [text.units(r["findings"] or r["impression"], "en") for r in reports]
    found = [tokens for tokens in found if tokens]
    return found[PAIRS : 2 * PAIRS], found[:PAIRS]


def as_coco(texts: list[list[str]]) -> dict[int, list[str]]:
    return {i: [" ".join(tokens)] for i, tokens in enumerate(texts)}


def test_scores_equal_pycocoevalcap_to_a_millionth(pairs: tuple[list[list[str]], list[list[str]]]) -> None:
    if importlib.util.find_spec("pycocoevalcap") is None:
        pytest.skip("needs pycocoevalcap, which is no dependency")
    from pycocoevalcap.bleu.bleu import Bleu
    from pycocoevalcap.cider.cider import Cider
    from pycocoevalcap.rouge.rouge import Rouge

    hyps, refs = pairs
    rows = text.text_rows(hyps, refs)
    ours = rows.score(np.ones((1, PAIRS)))[0]
    args = as_coco(refs), as_coco(hyps)
    bleus, each = Bleu(4).compute_score(*args, verbose=0)
    rouge, rouges = Rouge().compute_score(*args)
    cider, ciders = Cider().compute_score(*args)
    assert ours == pytest.approx([*bleus, rouge, cider], abs=1e-6)
    assert np.abs(text.bleu(rows.counts).T - np.array(each)).max() < 1e-6
    assert rows.rouge == pytest.approx(np.asarray(rouges), abs=1e-6)
    assert rows.cider == pytest.approx(np.asarray(ciders), abs=1e-6)


def test_empty_hypotheses_score_as_in_pycocoevalcap(pairs: tuple[list[list[str]], list[list[str]]]) -> None:
    if importlib.util.find_spec("pycocoevalcap") is None:
        pytest.skip("needs pycocoevalcap, which is no dependency")
    from pycocoevalcap.bleu.bleu import Bleu
    from pycocoevalcap.cider.cider import Cider

    hyps, refs = [[], *pairs[0][1:20]], pairs[1][:20]
    counts, ciders = bleu_and_cider(hyps, refs)
    args = as_coco(refs), as_coco(hyps)
    wanted = Bleu(4).compute_score(*args, verbose=0)[0]
    assert text.bleu(counts.sum(axis=0, keepdims=True))[0] == pytest.approx(wanted, abs=1e-6)
    assert ciders == pytest.approx(Cider().compute_score(*args)[1], abs=1e-6)


@pytest.mark.slow
def test_meteor_is_that_of_the_jar_for_each_pair_and_the_corpus(
    pairs: tuple[list[list[str]], list[list[str]]],
) -> None:
    found = meteor.find()
    if found.absent:
        pytest.skip(f"needs METEOR: {found.absent}")
    hyps, refs = ([" ".join(tokens) for tokens in part[:12]] for part in pairs)
    hyps[0], hyps[1] = refs[0], ""
    stats = meteor.statistics(hyps, refs, found)
    each, corpus = meteor.evaluate(stats, found)
    assert meteor.score(stats) == pytest.approx(each, abs=1e-12)
    assert meteor.score(stats.sum(axis=0, keepdims=True))[0] == pytest.approx(corpus, abs=1e-12)
    assert each[0] == 1
    assert each[1] == 0
