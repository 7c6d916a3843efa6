"""R2Gen's references, with the quirks of its cleaner, so that its published protocol can be met.

For parity only: it eats decimals ("2.1 cm" becomes "21 cm") and joins what a slash parts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from xraytk.models.r2gen_words import UNKNOWN, Cleaner, clean


@dataclass(frozen=True, slots=True, kw_only=True)
class R2GenConfig:
    """Settings of the protocol "r2gen".

    Args:
        cleaner: "iu" or "mimic".
        max_words: R2Gen's max_seq_length: 60 for IU, 100 for MIMIC. References keep one word less.
        min_count: Words rarer than this in the training reports are unknown: 3 for IU, 10 for
            MIMIC.
    """

    cleaner: Cleaner = "iu"
    max_words: int = 60
    min_count: int = 3


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
