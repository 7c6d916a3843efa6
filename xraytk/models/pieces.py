"""The vocabulary of a transformers tokenizer, for decoders."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable
from pathlib import Path

from tokenizers import Tokenizer
from transformers import AutoTokenizer

from xraytk.errors import DataError, UsageError
from xraytk.files import read_json, write_json
from xraytk.records import LANGUAGES

FORMAT = 1
KIND = "pieces"
OURS = ("words", "wordpiece", "r2gen", "r2gen-mimic")
"""Vocabularies that are no tokenizer's name."""
_TODO = f"Set decoder.vocabulary to {', '.join(OURS)}, or the folder or name of a transformers tokenizer."
_CHINESE = r"[\u3000-\u303f\u3400-\u9fff\uff00-\uffef]"
_BESIDE_CHINESE = re.compile(rf"(?<={_CHINESE}) +| +(?={_CHINESE})")


class PieceVocabulary:
    """A tokenizer's pieces; end, padding and a start a language are numbers after its own.

    Args:
        tokenizer: From the `tokenizers` library.

    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        tokenizer.no_padding()
        tokenizer.no_truncation()
        self.tokenizer, self.own = tokenizer, tokenizer.get_vocab_size(with_added_tokens=True)
        self.pad, self.eos = self.own, self.own + 1

    def __len__(self) -> int:
        return self.own + 2 + len(LANGUAGES)

    @classmethod
    def of(cls, name: str) -> PieceVocabulary:
        """The tokenizer of a transformers model.

        Args:
            name: Its folder, or its name on Hugging Face, from where it is fetched once.

        Raises:
            DataError: If there is none.
            UsageError: If it is not one of transformers' fast ones.
        """
        near = difflib.get_close_matches(name, OURS, 1, 0.8)
        if not Path(name).is_dir() and (near or name.count("/") > 1 or name.startswith((".", "/", "~"))):
            raise DataError(
                f"there is no tokenizer {name}",
                f"nearest: {near[0]}" if near else "there is no such folder",
                _TODO,
            )
        try:
            found = AutoTokenizer.from_pretrained(name)
        except (OSError, ValueError) as error:
            raise DataError(
                f"cannot load the tokenizer {name}",
                str(error).splitlines()[0],
                _TODO,
            ) from None
        if not found.is_fast:
            raise UsageError(f"the tokenizer {name} does not serve", "wanted a fast one (tokenizer.json)")
        return cls(Tokenizer.from_str(found.backend_tokenizer.to_str()))

    def start(self, lang: str) -> int:
        """Number of the token that starts a report in ``lang``."""
        return self.own + 2 + LANGUAGES.index(lang)

    def room(self, max_tokens: int) -> int:
        """Numbers that may be written: ``max_tokens`` and the end."""
        return max_tokens + 1

    def encode(self, text: str, lang: str, max_tokens: int) -> list[int]:
        """Start token, pieces, end; a report of more than ``max_tokens`` pieces is cut and has no end."""
        pieces = self.tokenizer.encode(text, add_special_tokens=False).ids
        end = [self.eos] if len(pieces) <= max_tokens else []
        return [self.start(lang), *pieces[:max_tokens], *end]

    def places(self, text: str, lang: str, max_tokens: int) -> list[tuple[int, int]]:
        """Where in a text the pieces of `encode` stand: first character, one past the last."""
        offsets: list[tuple[int, int]] = self.tokenizer.encode(text, add_special_tokens=False).offsets
        return offsets[:max_tokens]

    def decode(self, numbers: Iterable[int], lang: str) -> str:
        """Text up to the end token; without spaces beside Chinese, where WordPiece puts them."""
        pieces: list[int] = []
        for number in numbers:
            if number == self.eos:
                break
            if number < self.own:
                pieces.append(number)
        text = self.tokenizer.decode(pieces, skip_special_tokens=True).strip()
        return _BESIDE_CHINESE.sub("", text) if lang == "zh" else text

    def save(self, path: Path) -> None:
        """Write the whole tokenizer as JSON."""
        write_json(path, {"format": FORMAT, "kind": KIND, "tokenizer": json.loads(self.tokenizer.to_str())})

    @classmethod
    def load(cls, path: Path) -> PieceVocabulary:
        """Read a vocabulary.

        Raises:
            DataError: If the file is broken or of another format.
        """
        tree = read_json(path, "xraytk finetune report")
        if tree.get("format") != FORMAT or not isinstance(tree.get("tokenizer"), dict):
            raise DataError(f"{path} is not a vocabulary of format {FORMAT} of a transformers tokenizer")
        return cls(Tokenizer.from_str(json.dumps(tree["tokenizer"])))
