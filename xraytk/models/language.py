"""The report decoder: a Transformer that writes a text while looking at image tokens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import GenerationConfig, GPT2Config, GPT2LMHeadModel

from xraytk.errors import UsageError
from xraytk.models.tokens import Vocabulary


@dataclass(frozen=True, slots=True, kw_only=True)
class DecoderConfig:
    """Size of the report decoder.

    Args:
        width: Width of its tokens.
        depth: Blocks, each with self-attention, cross-attention and an MLP of 4 widths.
        heads: Attention heads; they divide the width.
        max_tokens: Longest report in words or characters; longer ones are cut for training.
        min_count: Words seen less often in the training reports become unknown.
        dropout: On embeddings, attention and residuals, while training.
    """

    width: int = 512
    depth: int = 6
    heads: int = 8
    max_tokens: int = 100
    min_count: int = 3
    dropout: float = 0.1

    def __post_init__(self) -> None:
        """Check each value."""
        for name in ("width", "depth", "heads", "max_tokens", "min_count"):
            if getattr(self, name) < 1:
                raise UsageError(f"decoder.{name} is {getattr(self, name)}", "wanted: 1 or more")
        if self.width % self.heads:
            raise UsageError(f"decoder.width is {self.width}", f"wanted: a multiple of heads ({self.heads})")
        if not 0 <= self.dropout < 1:
            raise UsageError(f"decoder.dropout is {self.dropout}", "wanted: from 0 to below 1")


class ReportDecoder(nn.Module):
    """GPT-2 blocks with cross-attention, from transformers, so that its ``generate`` serves.

    Args:
        config: Its size.
        vocabulary: What it can write.
        memory_width: Width of the image tokens it looks at.

    Source:
        Ours: a plain pre-norm Transformer decoder; the language is told by the start token.
    """

    def __init__(self, config: DecoderConfig, vocabulary: Vocabulary, memory_width: int) -> None:
        super().__init__()
        self.config, self.vocabulary = config, vocabulary
        self.project = nn.Sequential(nn.Linear(memory_width, config.width), nn.LayerNorm(config.width))
        self.writer = GPT2LMHeadModel(
            GPT2Config(
                vocab_size=len(vocabulary),
                n_positions=config.max_tokens + 2,
                n_embd=config.width,
                n_layer=config.depth,
                n_head=config.heads,
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
            encoder_hidden_states=self.project(memory),
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
        *,
        beam: int = 3,
        no_repeat: int = 0,
        cached: bool = True,
    ) -> list[str]:
        """Write a report for each image.

        Args:
            memory: (B, S, D) image tokens.
            seen: (B, S) bool, False where an image token is padding.
            lang: "en" or "zh".
            beam: Beams; 1 is greedy. Beams are ranked by mean log-probability per token.
            no_repeat: Forbid repeating n-grams of this length; 0 forbids none.
            cached: Keep keys and values of earlier tokens: faster, and the same text.

        Returns:
            B texts.
        """
        start = torch.full((len(memory), 1), self.vocabulary.start(lang), device=memory.device)
        writer: Any = self.writer  # its type hints do not admit their own model
        numbers = writer.generate(
            input_ids=start,
            attention_mask=torch.ones_like(start),
            encoder_hidden_states=self.project(memory),
            encoder_attention_mask=seen.long(),
            generation_config=GenerationConfig(  # type: ignore[no-untyped-call]
                max_new_tokens=self.config.max_tokens + 1,
                num_beams=beam,
                do_sample=False,
                no_repeat_ngram_size=no_repeat or None,
                use_cache=cached,
                eos_token_id=self.vocabulary.eos,
                pad_token_id=self.vocabulary.pad,
            ),
        )
        return [self.vocabulary.decode(row, lang) for row in numbers[:, 1:].tolist()]
