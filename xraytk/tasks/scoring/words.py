"""How texts are split for a score: by word, by character, by Chinese word, or as R2Gen does."""

from __future__ import annotations

import functools
import importlib.util
import warnings
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

from xraytk.models.r2gen_words import clean
from xraytk.models.tokens import SPLITTING, join, units
from xraytk.tasks.scoring import r2gen

Tokens = list[list[str]]


@dataclass(frozen=True, slots=True)
class Splitting:
    """One way to split; where it cannot be used, why.

    Args:
        name: "word" or "character".
        said: How it works, for the protocol.
        hypothesis: From a text to tokens.
        reference: From a text to tokens.
        absent: "" unless it cannot be used.
    """

    name: str
    said: str
    hypothesis: Callable[[str], list[str]]
    reference: Callable[[str], list[str]]
    absent: str = ""

    def split(self, hypotheses: Sequence[str], references: Sequence[str]) -> tuple[Tokens, Tokens]:
        """Tokens of all texts."""
        return [self.hypothesis(t) for t in hypotheses], [self.reference(t) for t in references]


def splittings(
    lang: str, protocol: str, config: r2gen.R2GenConfig, known: Collection[str] | None
) -> tuple[Splitting, ...]:
    """The ways in which a language is split under a protocol.

    Args:
        lang: "en" or "zh".
        protocol: "full" or "r2gen" (English only).
        config: Of "r2gen".
        known: R2Gen's words, of the training reports.
    """
    if protocol == "r2gen":
        said = f"R2Gen's cleaner ({config.cleaner}), blanks"
        return (
            Splitting(
                "word",
                said,
                lambda t: clean(t, config.cleaner).split(),
                lambda t: r2gen.reference(t, config, known),
            ),
        )
    own = functools.partial(units, lang=lang)
    if lang == "en":
        return (Splitting("word", SPLITTING, own, own),)
    return (Splitting("character", SPLITTING, own, own), _chinese_words())


def _chinese_words() -> Splitting:
    """Words of jieba, which is an extra."""
    if importlib.util.find_spec("jieba") is None:
        return Splitting("word", "", list, list, "absent: no jieba (pip install 'xraytk[zh]')")
    jieba = _jieba()
    said = f"jieba {jieba.__version__} with its own dictionary, after: {SPLITTING}"
    return Splitting("word", said, _words, _words)


def _words(text: str) -> list[str]:
    clean = join(units(text, "zh"), "zh")
    return [word for word in _jieba().lcut(clean) if not word.isspace()]


@functools.cache
def _jieba() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its source has escapes that newer Pythons warn of
        import jieba

        jieba.setLogLevel("ERROR")
        jieba.initialize()
    return jieba
