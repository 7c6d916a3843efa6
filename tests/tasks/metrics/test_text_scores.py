from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score

from xraytk.tasks import metrics
from xraytk.tasks.metrics import text

REFS = [
    "the heart is normal in size . the lungs are clear .",
    "there is a small left pleural effusion . no pneumothorax .",
    "mild cardiomegaly . no focal consolidation .",
]
HYPS = [
    "the heart size is normal . the lungs are clear .",
    "small left effusion . no pneumothorax is seen .",
    "no acute disease .",
]
ONE_EACH = ["a", "b", "c"]


def plain(hyps: list[str], refs: list[str], lang: str = "en") -> dict[str, float]:
    found = metrics.score_texts(hyps, refs, lang, [str(i) for i in range(len(refs))], resamples=0)
    return {name: value.value for name, value in found.items()}


def test_golden_values_of_the_reference_scorer() -> None:
    found = plain(HYPS, REFS)
    wanted = {
        "bleu_1": 0.681451,
        "bleu_2": 0.527251,
        "bleu_3": 0.416338,
        "bleu_4": 0.349892,
        "rouge_l": 0.632331,
        "cider": 3.165867,
    }
    assert found == pytest.approx(wanted, abs=1e-6)


def test_golden_values_of_each_sample() -> None:
    hyps, refs = [h.split() for h in HYPS], [r.split() for r in REFS]
    rouges = [metrics.rouge_l(h, r) for h, r in zip(hyps, refs, strict=True)]
    assert rouges == pytest.approx([0.862801, 0.687601, 0.346591], abs=1e-6)
    assert metrics.cider(hyps, refs) == pytest.approx([5.909007, 3.487495, 0.101099], abs=1e-6)


def test_the_same_text_scores_highest() -> None:
    assert plain(REFS, REFS) == pytest.approx(
        {m: 10.0 if m == "cider" else 1.0 for m in metrics.TEXT_METRICS}
    )


def test_cider_of_a_single_pair_is_zero_and_is_reported_as_absent() -> None:
    assert metrics.cider([["a", "b"]], [["a", "b"]]).tolist() == [0.0]
    found = metrics.score_texts(["a b"], ["a b"], "en", ["p"], resamples=0)
    assert np.isnan(found["cider"].value)
    assert "two references" in found["cider"].reason
    assert found["rouge_l"].value == 1.0


def test_cider_of_references_that_are_all_the_same_is_absent() -> None:
    found = metrics.score_texts(["a b", "c"], ["a b", "a b"], "en", ["p", "q"], resamples=5)
    assert np.isnan(found["cider"].value)
    assert "references that differ" in found["cider"].reason
    assert found["rouge_l"].value == 0.5


def test_empty_hypotheses_score_zero_and_raise_nothing() -> None:
    assert plain(["", "", ""], REFS) == pytest.approx(dict.fromkeys(metrics.TEXT_METRICS, 0.0), abs=1e-9)


def test_no_reference_at_all_gives_a_reason() -> None:
    found = metrics.score_texts([], [], "zh", [])
    assert all(np.isnan(v.value) and "zh" in v.reason for v in found.values())


def test_punctuation_and_case_do_not_count_in_english() -> None:
    assert plain(["The heart is normal in size. The lungs are clear.", *REFS[1:]], REFS)[
        "bleu_4"
    ] == pytest.approx(1)


def test_chinese_is_scored_by_character() -> None:
    hyps = metrics.bleu_counts([metrics.units("心影增大。", "zh")], [metrics.units("心影不大.", "zh")])
    assert hyps[0].tolist() == [4, 2, 0, 0, 5, 4, 3, 2, 5, 5]


@given(st.lists(st.sampled_from("abc"), max_size=12), st.lists(st.sampled_from("abc"), max_size=12))
@settings(max_examples=200, deadline=None)
def test_common_subsequence_equals_the_textbook_table(a: list[str], b: list[str]) -> None:
    table = np.zeros((len(a) + 1, len(b) + 1), int)
    for i, x in enumerate(a):
        for j, y in enumerate(b):
            table[i + 1, j + 1] = table[i, j] + 1 if x == y else max(table[i, j + 1], table[i + 1, j])
    assert text.common_subsequence(a, b) == table[-1, -1]


def drawn(n: int = 60, levels: int = 12) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    truth = (rng.random(n) < 0.4).astype(float)
    scores = np.round((rng.random(n) + 0.5 * truth) * levels) / levels  # with ties
    return scores, truth, rng.integers(0, 4, (5, n)).astype(float)


def test_areas_equal_scikit_learn_with_weights_and_ties() -> None:
    scores, truth, weights = drawn()
    for ours, theirs in ((metrics.auroc, roc_auc_score), (metrics.auprc, average_precision_score)):
        wanted = [theirs(truth, scores, sample_weight=w) for w in weights]
        assert ours(scores, truth)(weights) == pytest.approx(wanted, abs=1e-12)


def test_f1_and_accuracy_equal_scikit_learn() -> None:
    scores, truth, weights = drawn()
    wanted = [f1_score(truth, scores >= 0.5, sample_weight=w) for w in weights]
    assert metrics.f1(scores, truth, 0.5)(weights) == pytest.approx(wanted)
    right = ((scores >= 0.5) == (truth == 1)).astype(float)
    assert metrics.accuracy(scores, truth, 0.5)(weights) == pytest.approx(
        weights @ right / weights.sum(axis=1)
    )


def test_best_threshold_has_the_highest_f1_of_all_cuts() -> None:
    scores, truth, _ = drawn()
    cut = metrics.best_threshold(scores, truth)
    ones = np.ones((1, len(scores)))
    every = [metrics.f1(scores, truth, c)(ones)[0] for c in np.unique(scores)]
    assert metrics.f1(scores, truth, cut)(ones)[0] == pytest.approx(max(every))
    assert metrics.best_threshold(scores, np.ones_like(truth)) == 0.5


def test_a_label_with_one_value_is_absent_with_a_reason_and_left_out_of_the_mean() -> None:
    truth = np.array([[1.0, 0.0, np.nan], [0.0, 0.0, np.nan], [1.0, 0.0, np.nan]])
    scores = np.array([[0.9, 0.1, 0.5], [0.2, 0.2, 0.5], [0.8, 0.3, 0.5]])
    found = metrics.score_labels(scores, truth, ["A", "B", "C"], {}, ONE_EACH, resamples=20)
    assert found["A"]["auroc"].value == 1.0
    assert found["B"]["auroc"].reason == "every known value in this split is 0"
    assert found["C"]["f1"].reason == "no known value in this split"
    assert all(np.isnan(found[name][m].value) for name in "BC" for m in metrics.LABEL_METRICS)
    assert found["macro"]["auroc"].value == 1.0


def test_a_single_sample_is_scored_without_a_warning() -> None:
    found = metrics.score_labels(np.array([[0.4]]), np.array([[1.0]]), ["A"], {}, ["p"], resamples=10)
    assert np.isnan(found["A"]["auroc"].value)
    assert np.isnan(found["macro"]["auroc"].value)


def test_intervals_are_over_patients_not_images() -> None:
    truth = np.tile([1.0, 0.0], 20)
    scores = np.tile([0.9, 0.1, 0.4, 0.6], 10)
    apart = metrics.score_labels(scores[:, None], truth[:, None], ["A"], {}, [str(i) for i in range(40)])
    alike = [str(i // 4 % 2) for i in range(40)]  # two patients with the same images: no resample differs
    together = metrics.score_labels(scores[:, None], truth[:, None], ["A"], {}, alike)
    assert together["A"]["auroc"].low == together["A"]["auroc"].high == apart["A"]["auroc"].value
    assert apart["A"]["auroc"].low < apart["A"]["auroc"].value < apart["A"]["auroc"].high
    assert (together["A"]["auroc"].patients, together["A"]["auroc"].n) == (2, 40)


def test_the_same_seed_gives_the_same_interval() -> None:
    runs = [metrics.score_texts(HYPS, REFS, "en", ONE_EACH, resamples=100, seed=s) for s in (1, 1, 2)]
    assert runs[0] == runs[1]
    assert runs[0] != runs[2]
    assert runs[0]["cider"].low <= runs[0]["cider"].value <= runs[0]["cider"].high


def test_metrics_load_no_torch() -> None:
    code = "import sys, xraytk.tasks.metrics; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
