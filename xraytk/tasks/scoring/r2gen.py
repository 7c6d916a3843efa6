"""R2Gen's cleaner and its references, quirks included, so that its published protocol can be met.

For parity only: it eats decimals ("2.1 cm" becomes "21 cm") and joins what a slash parts.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

UNKNOWN = "<unk>"
_SIGNS = re.compile(r"[.,?;*!%^&_+():-\[\]{}]")  # ":-[" is a range in the original too: hyphens stay
_LOST = str.maketrans("", "", "\"/\\'")
_LISTS = (
    *(("1. ", ""), *((f". {n}. ", ". ") for n in range(2, 6))),
    *((f" {n}. ", ". ") for n in range(2, 6)),
)
_REPEATED = {"iu": (("..", ".", 3),), "mimic": (("__", "_", 7), ("  ", " ", 6), ("..", ".", 8))}


@dataclass(frozen=True, slots=True, kw_only=True)
class R2GenConfig:
    """Settings of the protocol "r2gen".

    Args:
        cleaner: "iu" or "mimic".
        max_words: R2Gen's max_seq_length: 60 for IU, 100 for MIMIC. References keep one word less.
        min_count: Words rarer than this in the training reports are unknown: 3 for IU, 10 for
            MIMIC.
    """

    cleaner: Literal["iu", "mimic"] = "iu"
    max_words: int = 60
    min_count: int = 3


def clean(report: str, cleaner: str) -> str:
    """Clean a report as R2Gen does.

    Args:
        report: Any text; an empty one becomes " .".
        cleaner: "iu" or "mimic".

    Source:
        R2Gen, modules/tokenizers.py; the number of times a sign is halved is the original's.
    """
    text = report.replace("\n", " ") if cleaner == "mimic" else report
    for old, new, times in _REPEATED[cleaner]:
        for _ in range(times):
            text = text.replace(old, new)
    for old, new in _LISTS:
        text = text.replace(old, new)
    sentences = (_SIGNS.sub("", s.translate(_LOST).strip().lower()) for s in text.strip().lower().split(". "))
    return " . ".join(sentences) + " ."


def vocabulary(reports: Iterable[str], config: R2GenConfig) -> frozenset[str]:
    """Words that R2Gen knows after training on these reports."""
    counts = Counter(word for report in reports for word in clean(report, config.cleaner).split())
    return frozenset(word for word, count in counts.items() if count >= config.min_count)


def reference(report: str, config: R2GenConfig, known: Collection[str] | None) -> list[str]:
    """What R2Gen scores against: the first words of the cleaned report, rare ones as ``<unk>``.

    Args:
        report: The report.
        config: Of the protocol.
        known: Of `vocabulary`; None leaves rare words as they are.
    """
    words: Sequence[str] = clean(report, config.cleaner).split()[: config.max_words - 1]
    return [word if known is None or word in known else UNKNOWN for word in words]
