"""Scores of reports and of disease predictions, with intervals over patients. No torch here.

- ``values``: a score is a function of weights over samples; a `Value` is its number.
- ``grams``, ``text``, ``meteor``: BLEU, ROUGE-L, CIDEr-D, METEOR.
- ``labels``, ``calibration``, ``panel``: curves, thresholds, ECE; tables of them.
- ``bootstrap``, ``delong``, ``compare``: intervals, tests, corrections.
"""

from __future__ import annotations

from xraytk.models.tokens import units
from xraytk.tasks.metrics.bootstrap import summarise
from xraytk.tasks.metrics.grams import bleu_counts, cider
from xraytk.tasks.metrics.labels import accuracy, auprc, auroc, best_threshold, f1
from xraytk.tasks.metrics.panel import LABEL_METRICS, Scores, score_labels
from xraytk.tasks.metrics.text import TEXT_METRICS, bleu, rouge_l, score_texts
from xraytk.tasks.metrics.values import Floats, Score, Value

__all__ = [
    "LABEL_METRICS", "TEXT_METRICS", "Floats", "Score", "Scores", "Value", "accuracy", "auprc", "auroc",
    "best_threshold", "bleu", "bleu_counts", "cider", "f1", "rouge_l", "score_labels", "score_texts",
    "summarise", "units",
]  # fmt: skip
