"""Reports as numbers and as vectors: a BERT-style encoder, made from scratch or from a folder.

From scratch its words are those of the training reports (`tokens.Vocabulary`): an English word
or a Chinese character is one token. A transformers model comes with its own pieces of words.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AutoModel, AutoTokenizer, BertConfig, BertModel

from xraytk.errors import DataError, UsageError
from xraytk.models.tokens import Vocabulary
from xraytk.records import LANGUAGES

VocabularySource = Callable[[Sequence[str], int], Vocabulary]
"""Gives the vocabulary for (languages, least count of a word); costs nothing until it is called."""

NO_WORD = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class TextConfig:
    """What reads the reports.

    Args:
        model: Name or folder of a transformers model with its tokenizer, only safetensors; ""
            makes one from scratch, of the size given here.
        width: Width of a token; a multiple of ``heads``.
        depth: Blocks.
        heads: Attention heads.
        max_tokens: Longest text in words, characters or pieces; longer ones are cut.
        min_count: Words seen less often in the training reports become unknown.
        dropout: On embeddings, attention and residuals, while training.
        langs: Languages that are read. Where an image has a report in several, each time one
            is drawn.
    """

    model: str = ""
    width: int = 768
    depth: int = 6
    heads: int = 12
    max_tokens: int = 100
    min_count: int = 3
    dropout: float = 0.1
    langs: tuple[str, ...] = LANGUAGES

    def __post_init__(self) -> None:
        """Check each value.

        Raises:
            UsageError: If one is out of range.
        """
        for name in ("width", "depth", "heads", "max_tokens", "min_count"):
            if getattr(self, name) < 1:
                raise UsageError(f"text.{name} is {getattr(self, name)}", "wanted at least 1")
        if self.width % self.heads:
            raise UsageError(f"text.width is {self.width}", f"wanted a multiple of text.heads ({self.heads})")
        if not 0 <= self.dropout < 1:
            raise UsageError(f"text.dropout is {self.dropout}", "wanted from 0 to below 1")
        if not self.langs or set(self.langs) - set(LANGUAGES):
            raise UsageError(f"text.langs is {list(self.langs)}", f"wanted some of {', '.join(LANGUAGES)}")


@dataclass(frozen=True, slots=True)
class Codes:
    """Texts as numbers, padded on the right.

    Args:
        tokens: (B, L) int64.
        words: (B, L) int64, which word of its text a token belongs to, counted from 0; `NO_WORD`
            for start, end, padding and unknown words.
        real: (B, L) bool, False on padding.
    """

    tokens: Tensor
    words: Tensor
    real: Tensor

    @property
    def present(self) -> Tensor:
        """(B,) bool, whether a text has a word at all."""
        return (self.words != NO_WORD).any(1)

    def to(self, device: torch.device) -> Codes:
        """Copy to a device."""
        return Codes(self.tokens.to(device), self.words.to(device), self.real.to(device))

    def lengthened(self, length: int, pad: int) -> Codes:
        """The same with padding up to a length, which is at least L."""
        more = (0, length - self.tokens.shape[1])
        return Codes(
            F.pad(self.tokens, more, value=pad),
            F.pad(self.words, more, value=NO_WORD),
            F.pad(self.real, more),
        )


class Codec(Protocol):
    """Turns texts into `Codes`.

    Args:
        size: Numbers in use, so the height of an embedding table.
        mask: Number that stands for a hidden word.
        pad: Number of padding.
        first_word: Numbers from here to ``size`` may stand in for a word at random.
    """

    size: int
    mask: int
    pad: int
    first_word: int

    def encode(self, texts: Sequence[str], langs: Sequence[str]) -> Codes:
        """Turn texts into numbers."""
        ...


class WordCodec:
    """Words of English and characters of Chinese, by a `Vocabulary`; one more number is the mask.

    Args:
        vocabulary: Of the training reports.
        max_tokens: Longer texts are cut.
    """

    def __init__(self, vocabulary: Vocabulary, max_tokens: int) -> None:
        self.vocabulary, self.max_tokens = vocabulary, max_tokens
        self.mask, self.size, self.pad = len(vocabulary), len(vocabulary) + 1, vocabulary.pad
        special = {vocabulary.pad, vocabulary.unk, vocabulary.eos}
        self.first_word = max(special | {vocabulary.start(lang) for lang in LANGUAGES}) + 1

    def encode(self, texts: Sequence[str], langs: Sequence[str]) -> Codes:
        """Start token of the language, words, end."""
        tokens = [
            self.vocabulary.encode(text, lang, self.max_tokens)
            for text, lang in zip(texts, langs, strict=True)
        ]
        words = []
        for row in tokens:
            numbers = iter(range(len(row)))
            words.append([next(numbers) if token >= self.first_word else NO_WORD for token in row])
        return _padded(tokens, words, self.pad)


class PieceCodec:
    """Pieces of words, by the tokenizer of a transformers model.

    Args:
        tokenizer: One that can say which word a piece belongs to.
        max_tokens: Longer texts are cut.
    """

    def __init__(self, tokenizer: Any, max_tokens: int) -> None:
        self.tokenizer, self.max_tokens = tokenizer, max_tokens
        if not tokenizer.is_fast or tokenizer.pad_token_id is None:
            raise UsageError(
                "this text model's tokenizer does not serve",
                "wanted one of transformers' fast tokenizers, with a padding token",
            )
        self.size, self.pad = len(tokenizer), tokenizer.pad_token_id
        self.mask = self.size - 1 if tokenizer.mask_token_id is None else tokenizer.mask_token_id
        self.first_word = 0

    def encode(self, texts: Sequence[str], langs: Sequence[str]) -> Codes:
        """Pieces between the tokenizer's own start and end."""
        made = self.tokenizer(list(texts), truncation=True, max_length=self.max_tokens + 2)
        words = [
            [NO_WORD if word is None else word for word in made.word_ids(row)] for row in range(len(texts))
        ]
        return _padded(made["input_ids"], words, self.pad)


class TextEncoder(nn.Module):
    """BERT's blocks, from transformers, without a pooler.

    Args:
        config: Its size, or the model to load.
        vocabulary: Asked for only when the model is made from scratch.
        first_stands: What learns from it compares texts by their first tokens. A model from scratch
            then starts with weights as large as keep the size of what goes through them (1 / root of
            the width). BERT's 0.02, at which words are told soonest, leaves that token the same for all
            texts: the mean cosine of two reports is above 0.999 at a width of 256 or less, and a
            contrast may never get away from chance.

    Raises:
        UsageError: If there is no vocabulary to make it from.
        DataError: If the named model cannot be loaded.
    """

    def __init__(
        self, config: TextConfig, vocabulary: VocabularySource | None, *, first_stands: bool = False
    ) -> None:
        super().__init__()
        self.config = config
        self.codec: Codec
        if config.model:
            tokenizer, self.model = _load(config.model)
            self.codec = PieceCodec(tokenizer, config.max_tokens)
        elif vocabulary is None:
            raise UsageError("this objective reads reports", "it was given neither vocabulary nor text.model")
        else:
            self.vocabulary = vocabulary(config.langs, config.min_count)
            self.codec = WordCodec(self.vocabulary, config.max_tokens)
            self.model = BertModel(_bert(config, self.codec.size, first_stands), add_pooling_layer=False)
        self.width: int = self.model.config.hidden_size

    def encode(self, texts: Sequence[str], langs: Sequence[str], *, full: bool = False) -> Codes:
        """Turn texts into numbers, on the CPU.

        Args:
            texts: B texts.
            langs: Their B languages.
            full: Pad to what the longest text may have, and not to the longest of these.
        """
        codes = self.codec.encode(texts, langs)
        return codes.lengthened(self.config.max_tokens + 2, self.codec.pad) if full else codes

    def forward(self, tokens: Tensor, real: Tensor, extra: Tensor | None = None) -> Tensor:
        """Vectors of tokens.

        Args:
            tokens: (B, L) int64.
            real: (B, L) bool, False on padding, which no token attends to.
            extra: (B, D) to add to every token's embedding.

        Returns:
            (B, L, D); the first of each text stands for the whole.
        """
        embedded = self.model.get_input_embeddings()(tokens)
        if extra is not None:
            embedded = embedded + extra[:, None].to(embedded.dtype)
        out: Tensor = self.model(inputs_embeds=embedded, attention_mask=real.long()).last_hidden_state
        return out


def _bert(config: TextConfig, size: int, first_stands: bool) -> BertConfig:
    return BertConfig(
        vocab_size=size,
        hidden_size=config.width,
        num_hidden_layers=config.depth,
        num_attention_heads=config.heads,
        intermediate_size=4 * config.width,
        hidden_dropout_prob=config.dropout,
        attention_probs_dropout_prob=config.dropout,
        max_position_embeddings=config.max_tokens + 2,
        initializer_range=config.width**-0.5 if first_stands else 0.02,
        pad_token_id=0,
    )


def _load(name: str) -> tuple[Any, Any]:
    """Tokenizer and model by name or folder; nothing is unpickled."""
    try:
        tokenizer = AutoTokenizer.from_pretrained(name)
        model = AutoModel.from_pretrained(name, use_safetensors=True, dtype=torch.float32)
    except (OSError, ValueError) as error:
        raise DataError(
            f"cannot load the text model {name}",
            str(error).splitlines()[0],
            "Give the folder of a transformers model with its tokenizer and model.safetensors.",
        ) from None
    if getattr(model, "pooler", None) is not None:
        model.pooler = None  # it would have no gradient
    return tokenizer, model


def _padded(tokens: Sequence[Sequence[int]], words: Sequence[Sequence[int]], pad: int) -> Codes:
    shape = (len(tokens), max(map(len, tokens), default=0))
    made = Codes(torch.full(shape, pad), torch.full(shape, NO_WORD), torch.zeros(shape, dtype=torch.bool))
    for row, (numbers, places) in enumerate(zip(tokens, words, strict=True)):
        made.tokens[row, : len(numbers)] = torch.tensor(numbers)
        made.words[row, : len(places)] = torch.tensor(places)
        made.real[row, : len(numbers)] = True
    return made
