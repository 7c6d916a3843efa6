"""The report decoder: a Transformer that writes a text while looking at image tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn
from transformers import Cache, DynamicCache, EncoderDecoderCache, GPT2Config, GPT2LMHeadModel

from xraytk.errors import UsageError
from xraytk.models.choosing import generation_config, processors
from xraytk.models.layers import xavier
from xraytk.models.r2gen import MemoryConfig, MemoryWriter
from xraytk.models.search import SearchConfig
from xraytk.models.vocabularies import DecoderVocabulary


@dataclass(frozen=True, slots=True, kw_only=True)
class DecoderConfig:
    """Size of the report decoder.

    Args:
        kind: "plain" (GPT-2's blocks with cross-attention), "r2gen" (relational memory) or "cmn"
            (cross-modal memory).
        width: Width of its tokens.
        depth: Blocks: self-attention, cross-attention and an MLP of 4 widths (of one in "r2gen"
            and "cmn", which have as many blocks again over the image tokens).
        heads: Attention heads; they divide the width.
        vocabulary: "words" (English words and Chinese characters of the training reports),
            "wordpiece" (pieces of them, learned from these reports), "r2gen" or "r2gen-mimic"
            (R2Gen's tokenizer for IU X-ray or MIMIC-CXR, with its quirks, English only), or the
            folder of a transformers tokenizer.
        max_tokens: Longest report in words, characters or pieces; longer ones are cut for training.
        min_count: Words seen less often in the training reports become unknown; pairs of pieces
            seen less often are not joined.
        pieces: Size of the vocabulary "wordpiece".
        dropout: On embeddings, attention and residuals, while training.
        memory: Sizes of the memories of "r2gen" and "cmn".
    """

    kind: Literal["plain", "r2gen", "cmn"] = "plain"
    width: int = 512
    depth: int = 6
    heads: int = 8
    vocabulary: str = "words"
    max_tokens: int = 100
    min_count: int = 3
    pieces: int = 4000
    dropout: float = 0.1
    memory: MemoryConfig = field(default_factory=MemoryConfig)

    def __post_init__(self) -> None:
        """Check each value."""
        for name in ("width", "depth", "heads", "max_tokens", "min_count", "pieces"):
            if getattr(self, name) < 1:
                raise UsageError(f"decoder.{name} is {getattr(self, name)}", "wanted: 1 or more")
        if self.width % self.heads:
            raise UsageError(f"decoder.width is {self.width}", f"wanted: a multiple of heads ({self.heads})")
        if self.kind != "plain" and self.width % 2:
            raise UsageError(f"decoder.width is {self.width}", f"wanted: an even one for kind {self.kind}")
        if not 0 <= self.dropout < 1:
            raise UsageError(f"decoder.dropout is {self.dropout}", "wanted: from 0 to below 1")


class ReportDecoder(nn.Module):
    """A writer of reports, by transformers' ``generate`` whatever its kind.

    Args:
        config: Its kind and size.
        vocabulary: What it can write.
        memory_width: Width of the image tokens it looks at.

    Source:
        "plain": ours, a plain pre-norm Transformer decoder; the language is told by the start
        token. The others: see `r2gen`.
    """

    def __init__(self, config: DecoderConfig, vocabulary: DecoderVocabulary, memory_width: int) -> None:
        super().__init__()
        self.config, self.vocabulary = config, vocabulary
        into = nn.Linear(memory_width, config.width)
        self.writer: GPT2LMHeadModel | MemoryWriter
        if config.kind == "plain":
            self.project = nn.Sequential(into, nn.LayerNorm(config.width))
            self.writer = _gpt2(config, vocabulary)
        else:
            self.project = nn.Sequential(into, nn.ReLU(), nn.Dropout(config.memory.image_dropout))
            xavier(self.project)
            self.writer = MemoryWriter(
                kind=config.kind,
                words=len(vocabulary),
                width=config.width,
                depth=config.depth,
                heads=config.heads,
                dropout=config.dropout,
                memory=config.memory,
            )

    def look(self, memory: Tensor, seen: Tensor) -> Tensor:
        """Image tokens as the writer wants them: (B, S, D) to its own width."""
        image: Tensor = self.project(memory)
        return self.writer.look(image, seen) if isinstance(self.writer, MemoryWriter) else image

    def forward(self, tokens: Tensor, memory: Tensor, seen: Tensor) -> Tensor:
        """Predict each next token.

        Args:
            tokens: (B, L) int64, starting with a start token, padded on the right.
            memory: (B, S, D) image tokens.
            seen: (B, S) bool, False where an image token is padding.

        Returns:
            (B, L, V) logits; those at position l are for the token at l + 1.
        """
        out = self.writer(
            input_ids=tokens,
            encoder_hidden_states=self.look(memory, seen),
            encoder_attention_mask=seen.long(),
            use_cache=False,
        )
        logits: Tensor = out.logits
        return logits

    @torch.no_grad()
    def write(
        self,
        memory: Tensor,
        seen: Tensor,
        lang: str,
        search: SearchConfig,
        keys: Sequence[str] | None = None,
    ) -> list[str]:
        """Write a report for each image.

        Args:
            memory: (B, S, D) image tokens.
            seen: (B, S) bool, False where an image token is padding.
            lang: "en" or "zh".
            search: How to choose the words.
            keys: B names of the images, from which each has its own draws; their places in the
                batch by default.

        Returns:
            B texts.
        """
        image = self.look(memory, seen)
        start = torch.full((len(memory), 1), self.vocabulary.start(lang), device=memory.device)
        writer: Any = self.writer  # its type hints do not admit their own model
        numbers = writer.generate(
            input_ids=start,
            attention_mask=torch.ones_like(start),
            encoder_hidden_states=image,
            encoder_attention_mask=seen.long(),
            logits_processor=processors(search, keys or [str(row) for row in range(len(memory))]),
            generation_config=generation_config(
                search,
                longest=self.vocabulary.room(self.config.max_tokens),
                eos=self.vocabulary.eos,
                pad=self.vocabulary.pad,
            ),
            **({"past_key_values": _cache(self.writer, image, search.beam)} if search.cached else {}),
        )
        return [self.vocabulary.decode(row, lang) for row in numbers[:, 1:].tolist()]


class _Still(DynamicCache):
    """Keys and values of the image. Beams change places only within their image: these stay."""

    def reorder_cache(self, beam_idx: Any) -> None:
        """Stay."""


def _cache(writer: GPT2LMHeadModel | MemoryWriter, image: Tensor, beams: int) -> Cache:
    """What `generate` starts with: keys and values of each image, computed once for all its beams."""
    if isinstance(writer, MemoryWriter):
        return writer.cache(image, beams)
    known = _Still()
    for number, block in enumerate(writer.transformer.h):
        attend: Any = block.crossattention
        pair = (
            part.unflatten(-1, (attend.num_heads, -1)).transpose(1, 2).repeat_interleave(beams, 0)
            for part in attend.c_attn(image).chunk(2, -1)
        )
        known.update(*pair, number)
    return EncoderDecoderCache(DynamicCache(), known)


def _gpt2(config: DecoderConfig, vocabulary: DecoderVocabulary) -> GPT2LMHeadModel:
    return GPT2LMHeadModel(
        GPT2Config(
            vocab_size=len(vocabulary),
            n_positions=config.max_tokens + 2,
            n_embd=config.width,
            n_layer=config.depth,
            n_head=config.heads,
            activation_function="gelu_pytorch_tanh",  # GPT-2's own, in one kernel
            initializer_range=config.width**-0.5,  # GPT-2's 0.02 is for wide ones: narrow ones look nowhere
            resid_pdrop=config.dropout,
            embd_pdrop=config.dropout,
            attn_pdrop=config.dropout,
            add_cross_attention=True,
            tie_word_embeddings=False,  # safetensors stores no shared tensors
            bos_token_id=None,
            eos_token_id=vocabulary.eos,
            pad_token_id=None,  # padding stands on the right, where causality hides it
        )
    )
