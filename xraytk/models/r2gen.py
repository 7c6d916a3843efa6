"""R2Gen's and R2GenCMN's writers, with the face that transformers' ``generate`` wants."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import DynamicCache, GenerationMixin, PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutputWithPast

from xraytk.errors import UsageError
from xraytk.models.crossmodal import CrossModalMemory
from xraytk.models.layers import (
    Attention,
    FeedForward,
    ImageBlock,
    KeysValues,
    UnbiasedNorm,
    sinusoids,
    xavier,
)
from xraytk.models.relational import ConditionalNorm, RelationalMemory


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryConfig:
    """The memories of R2Gen and R2GenCMN.

    Args:
        slots: Slots of R2Gen's relational memory.
        rows: Rows of R2GenCMN's table.
        top_k: Rows that a token asks.
        image_dropout: On the image tokens as the writer gets them, while training.
    """

    slots: int = 3
    rows: int = 2048
    top_k: int = 32
    image_dropout: float = 0.5

    def __post_init__(self) -> None:
        """Check each value.

        Raises:
            UsageError: If one is out of range.
        """
        for name in ("slots", "rows", "top_k"):
            if getattr(self, name) < 1:
                raise UsageError(f"decoder.memory.{name} is {getattr(self, name)}", "wanted at least 1")
        if self.top_k > self.rows:
            raise UsageError(f"decoder.memory.top_k is {self.top_k}", f"wanted at most rows ({self.rows})")
        if not 0 <= self.image_dropout < 1:
            raise UsageError(
                f"decoder.memory.image_dropout is {self.image_dropout:g}", "wanted from 0 to below 1"
            )


class WriterCache(DynamicCache):
    """What is known of the words so far: keys and values, and the relational memory.

    Args:
        image: Keys and values of the image, a block. Beams change places only within their
            image, so that these stay where they are.
        table: Those of the cross-modal memory, if there is one.
    """

    def __init__(self, image: Sequence[KeysValues], table: KeysValues | None) -> None:
        super().__init__()
        self.image, self.table = image, table
        self.memory: Tensor | None = None

    def reorder_cache(self, beam_idx: Any) -> None:
        """Put the beams in another order."""
        super().reorder_cache(beam_idx)
        if self.memory is not None:
            self.memory = self.memory.index_select(0, beam_idx)


class WriterBlock(nn.Module):
    """One pre-norm block: attention to the words, attention to the image, MLP.

    Args:
        width: D.
        heads: They divide D.
        dropout: While training.
        told: Width of the memory that drives the norms; 0 for none.
    """

    def __init__(self, width: int, heads: int, dropout: float, told: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList(
            ConditionalNorm(width, told) if told else UnbiasedNorm(width) for _ in range(3)
        )
        self.words, self.image = Attention(width, heads, dropout), Attention(width, heads, dropout)
        self.feed = FeedForward(width, dropout)
        self.drop = nn.Dropout(dropout)

    def forward(
        self,
        x: Tensor,
        image: Tensor,
        seen: Tensor,
        told: Tensor | None,
        cache: WriterCache | None,
        number: int,
    ) -> Tensor:
        """Update words.

        Args:
            x: (B, L, D) words that are new.
            image: (B, S, D) image tokens.
            seen: (B, 1, 1, S) bool, False on padding.
            told: (B, L, N * D) memory after each word.
            cache: Of earlier words.
            number: Of this block in the cache.
        """
        y = self.norms[0](x, told)
        known = self.words.keys_values(y)
        if cache is not None:
            known = cache.update(*known, number)
        new, all_ = x.shape[1], known[0].shape[2]
        mask = torch.ones(new, all_, dtype=torch.bool, device=x.device).tril(all_ - new) if new > 1 else None
        x = x + self.drop(self.words(y, known, mask))
        known = self.image.keys_values(image) if cache is None else cache.image[number]
        x = x + self.drop(self.image(self.norms[1](x, told), known, seen))
        out: Tensor = x + self.drop(self.feed(self.norms[2](x, told)))
        return out


class MemoryWriter(PreTrainedModel, GenerationMixin):  # type: ignore[no-untyped-call]
    """An encoder over image tokens and a decoder with a memory.

    Args:
        kind: "r2gen" (relational memory) or "cmn" (cross-modal memory).
        words: V.
        width: D.
        depth: Blocks of the encoder, and of the decoder.
        heads: They divide D.
        dropout: While training.
        memory: Sizes of the memories.

    Source:
        R2Gen (Chen et al. 2020), R2GenCMN (Chen et al. 2021): MLPs as wide as the tokens, words
        scaled by the root of D, sinusoidal positions on words, and on image tokens in "cmn" only.
    """

    config_class = PretrainedConfig
    main_input_name = "input_ids"

    def __init__(
        self,
        *,
        kind: str,
        words: int,
        width: int,
        depth: int,
        heads: int,
        dropout: float,
        memory: MemoryConfig,
    ) -> None:
        sizes: dict[str, Any] = {"vocab_size": words, "hidden_size": width, "num_hidden_layers": depth}
        super().__init__(PretrainedConfig(**sizes))
        told = memory.slots * width if kind == "r2gen" else 0
        self.width, self.drop = width, nn.Dropout(dropout)
        self.embed = nn.Embedding(words, width)
        self.image_blocks = nn.ModuleList(ImageBlock(width, heads, dropout) for _ in range(depth))
        self.image_norm, self.norm = UnbiasedNorm(width), UnbiasedNorm(width)
        self.blocks = nn.ModuleList(WriterBlock(width, heads, dropout, told) for _ in range(depth))
        self.relational = RelationalMemory(memory.slots, width, heads, dropout) if told else None
        self.crossmodal = None if told else CrossModalMemory(memory.rows, width, heads, memory.top_k)
        self.head = nn.Linear(width, words)
        xavier(self)
        if self.crossmodal is not None:
            self.crossmodal.reset()

    def look(self, image: Tensor, seen: Tensor) -> Tensor:
        """Encode image tokens.

        Args:
            image: (B, S, D).
            seen: (B, S) bool, False on padding.
        """
        if self.crossmodal is not None:
            image = image + self.crossmodal(image)
            image = self.drop(image + sinusoids(0, image.shape[1], self.width, image))
        for block in self.image_blocks:
            image = block(image, seen[:, None, None])
        out: Tensor = self.image_norm(image)
        return out

    def cache(self, image: Tensor, beams: int = 1) -> WriterCache:
        """What is known before the first word.

        Args:
            image: (B, S, D) from `look`.
            beams: Texts that are written about each image, one after the other in the batch.
        """
        known = []
        for block in self.blocks:
            attend: Any = block.image
            keys, values = attend.keys_values(image)  # once for all beams
            known.append((keys.repeat_interleave(beams, 0), values.repeat_interleave(beams, 0)))
        return WriterCache(known, self.crossmodal.keys_values() if self.crossmodal is not None else None)

    def forward(
        self,
        input_ids: Tensor,
        encoder_hidden_states: Tensor,
        encoder_attention_mask: Tensor,
        past_key_values: WriterCache | None = None,
        attention_mask: Tensor | None = None,
        **unused: Any,
    ) -> CausalLMOutputWithPast:
        """Predict each next word.

        Args:
            input_ids: (B, L) int64 words that are new.
            encoder_hidden_states: (B, S, D) from `look`.
            encoder_attention_mask: (B, S), 0 on padding.
            past_key_values: Of earlier words, from `cache`; None keeps nothing.
            attention_mask: Not needed: padding stands on the right, where causality hides it.
            unused: What transformers gives besides.
        """
        del attention_mask, unused
        cache = past_key_values
        first = cache.get_seq_length() if cache is not None else 0
        words = self.embed(input_ids) * math.sqrt(self.width)
        words = words + sinusoids(first, input_ids.shape[1], self.width, words)
        x, told = self.drop(words), None
        if self.relational is not None:  # dropout drawn a second time, as in the released code
            told = self._remember(self.drop(words), cache)
        if self.crossmodal is not None:
            x = x + self.crossmodal(x, cache.table if cache is not None else None)
        seen = encoder_attention_mask.bool()[:, None, None]
        for number, block in enumerate(self.blocks):
            x = block(x, encoder_hidden_states, seen, told, cache, number)
        return CausalLMOutputWithPast(logits=self.head(self.norm(x)), past_key_values=cache)

    def _remember(self, words: Tensor, cache: WriterCache | None) -> Tensor:
        """(B, L, N * D) memory after each word; the last goes into the cache."""
        assert self.relational is not None
        before = cache.memory if cache is not None else None
        told, after = self.relational(words, self.relational.start(words) if before is None else before)
        if cache is not None:
            cache.memory = after
        return told  # type: ignore[no-any-return]

    def prepare_inputs_for_generation(  # type: ignore[override]  # what it leaves out, it needs not
        self, input_ids: Tensor, **kwargs: Any
    ) -> dict[str, Any]:
        """Leave out the words that the cache knows."""
        cache = kwargs.get("past_key_values")
        names = ("encoder_hidden_states", "encoder_attention_mask", "past_key_values")
        known = cache.get_seq_length() if cache is not None else 0
        return {"input_ids": input_ids[:, known:], **{name: kwargs.get(name) for name in names}}
