"""The vocabularies that a decoder can write with, by name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from xraytk.errors import UsageError
from xraytk.files import read_json
from xraytk.models.pieces import KIND as PIECES
from xraytk.models.pieces import PieceVocabulary
from xraytk.models.r2gen_words import KIND as R2GEN
from xraytk.models.r2gen_words import Cleaner, R2GenVocabulary
from xraytk.models.tokens import Vocabulary
from xraytk.models.word_pieces import KIND as WORDPIECE
from xraytk.models.word_pieces import WordPieceVocabulary

CLEANERS: dict[str, Cleaner] = {"r2gen": "iu", "r2gen-mimic": "mimic"}


class DecoderVocabulary(Protocol):
    """What a decoder asks of its vocabulary."""

    @property
    def pad(self) -> int:
        """Number of padding."""

    @property
    def eos(self) -> int:
        """Number of the end; it may be that of padding."""

    def __len__(self) -> int:
        """Numbers in use."""

    def start(self, lang: str) -> int:
        """Number that starts a report in a language."""

    def room(self, max_tokens: int) -> int:
        """Numbers that may be written after the start."""

    def encode(self, text: str, lang: str, max_tokens: int) -> list[int]:
        """Turn a report into numbers."""

    def places(self, text: str, lang: str, max_tokens: int) -> list[tuple[int, int]]:
        """Where in a text the words of `encode` stand, without start and end: first, one past last."""

    def decode(self, numbers: Iterable[int], lang: str) -> str:
        """Turn numbers, without the start, into a text."""

    def save(self, path: Path) -> None:
        """Write it as JSON."""


def build(
    name: str, reports: Mapping[str, Iterable[str]], langs: Sequence[str], min_count: int, size: int = 4000
) -> DecoderVocabulary:
    """Collect the vocabulary of training reports, or take a ready one.

    Args:
        name: "words" (English words, Chinese characters), "wordpiece" (learned pieces of them),
            "r2gen", "r2gen-mimic", or the folder of a transformers tokenizer.
        reports: Texts by language.
        langs: Languages that will be learned.
        min_count: Rarer words become unknown; for "wordpiece", rarer pairs are not joined.
        size: Pieces of "wordpiece".

    Raises:
        UsageError: If it does not know a language.
        DataError: If there is no word, or no tokenizer.
    """
    if name == "words":
        return Vocabulary.build(reports, min_count)
    if name == WORDPIECE:
        return WordPieceVocabulary.learn(reports, size, min_count)
    if name not in CLEANERS:
        return PieceVocabulary.of(name)
    if unknown := sorted(set(langs) - {"en"}):
        raise UsageError(
            f"decoder.vocabulary {name} is R2Gen's, for English; the reports are in {', '.join(unknown)} too",
            todo="Set langs=['en'].",
        )
    return R2GenVocabulary.build(reports["en"], min_count, CLEANERS[name])


def load(path: Path) -> DecoderVocabulary:
    """Read a vocabulary of any kind.

    Raises:
        DataError: If the file is missing, broken or of another format.
    """
    kind = read_json(path, "xraytk finetune report").get("kind")
    if kind == R2GEN:
        return R2GenVocabulary.load(path)
    if kind == WORDPIECE:
        return WordPieceVocabulary.load(path)
    return PieceVocabulary.load(path) if kind == PIECES else Vocabulary.load(path)
