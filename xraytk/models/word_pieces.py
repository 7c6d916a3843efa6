"""WordPiece learned from the training reports: a vocabulary of a chosen size, in both languages."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from tokenizers import Tokenizer
from tokenizers.decoders import WordPiece as WordPieceDecoder
from tokenizers.models import WordPiece
from tokenizers.pre_tokenizers import WhitespaceSplit
from tokenizers.trainers import WordPieceTrainer

from xraytk.errors import DataError
from xraytk.files import read_json, write_json
from xraytk.models.pieces import PieceVocabulary
from xraytk.models.tokens import UNK, Vocabulary, join, units

FORMAT = 1
KIND = "wordpiece"


class WordPieceVocabulary(PieceVocabulary):
    """Pieces of English words and Chinese characters, split and set as `tokens` does it.

    Args:
        tokenizer: Over units with a space between them.
        cased: How a lower-case word is written inside a sentence, where that is not lower case.
        ends: Signs after which English is capitalised.
    """

    def __init__(self, tokenizer: Tokenizer, cased: Mapping[str, str], ends: Collection[str]) -> None:
        super().__init__(tokenizer)
        self.unk = tokenizer.token_to_id(UNK)
        self.cased, self.ends = dict(cased), tuple(ends)

    @classmethod
    def learn(cls, reports: Mapping[str, Iterable[str]], size: int, min_count: int) -> WordPieceVocabulary:
        """Learn pieces from training reports.

        Args:
            reports: Texts by language.
            size: Pieces, beside padding, end and starts; more only where there are more characters.
            min_count: Rarer pairs of pieces are not joined.

        Raises:
            DataError: If there is not one word.

        Source:
            WordPiece (Schuster and Nakajima 2012), as the tokenizers library trains it.
        """
        texts = {lang: list(found) for lang, found in reports.items()}
        words = Vocabulary.build(texts)
        lines = [_spaced(text, lang) for lang in sorted(texts) for text in texts[lang]]
        trainer = WordPieceTrainer(
            vocab_size=size, min_frequency=min_count, special_tokens=_first(lines), show_progress=False
        )
        made = _tokenizer({UNK: 0})
        made.train_from_iterator(lines, trainer)
        made = _tokenizer(made.get_vocab())  # without what the trainer thinks of special tokens
        return cls(made, words.cased, words.ends)

    def encode(self, text: str, lang: str, max_tokens: int) -> list[int]:
        """Start token, pieces, end; a report of more than ``max_tokens`` pieces is cut and has no end."""
        return super().encode(_spaced(text, lang), lang, max_tokens)

    def decode(self, numbers: Iterable[int], lang: str) -> str:
        """Text up to the end token, with the training reports' capitals."""
        spaced = super().decode((number for number in numbers if number != self.unk), "en")
        return join((self.cased.get(unit, unit) for unit in spaced.split()), lang, self.ends)

    def save(self, path: Path) -> None:
        """Write the whole tokenizer and the capitals as JSON."""
        tree = {"format": FORMAT, "kind": KIND, "ends": self.ends, "cased": self.cased}
        write_json(path, {**tree, "tokenizer": json.loads(self.tokenizer.to_str())})

    @classmethod
    def load(cls, path: Path) -> WordPieceVocabulary:
        """Read a vocabulary.

        Raises:
            DataError: If the file is broken or of another format.
        """
        tree = read_json(path, "xraytk finetune report")
        tokenizer, cased, ends = (tree.get(key) for key in ("tokenizer", "cased", "ends"))
        whole = isinstance(tokenizer, dict) and isinstance(cased, dict) and isinstance(ends, list)
        if tree.get("format") != FORMAT or not whole:
            raise DataError(f"{path} is not a WordPiece vocabulary of format {FORMAT}")
        return cls(Tokenizer.from_str(json.dumps(tokenizer)), cased or {}, ends or ())


def _first(lines: Iterable[str]) -> list[str]:
    """What the trainer shall number first: the unknown, and all characters as pieces.

    Each as the start of a word, and inside of one too unless it always stands alone. Left to itself,
    it numbers those inside of words in an order that changes from call to call, and knows 1,000
    others at most.
    """
    words = {word for line in lines for word in line.split()}
    inside = {sign for word in words if len(word) > 1 for sign in word}
    return [UNK, *sorted(inside.union(*words)), *(f"##{sign}" for sign in sorted(inside))]


def _tokenizer(vocabulary: dict[str, int]) -> Tokenizer:
    made = Tokenizer(WordPiece(vocabulary, unk_token=UNK))
    made.pre_tokenizer = WhitespaceSplit()
    made.decoder = WordPieceDecoder(cleanup=False)
    return made


def _spaced(text: str, lang: str) -> str:
    return " ".join(units(text, lang))
