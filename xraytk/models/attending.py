"""Where a report decoder looks as it writes: its attention over the image tokens."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from transformers import GPT2LMHeadModel

from xraytk.errors import UsageError
from xraytk.models.language import ReportDecoder
from xraytk.models.layers import Attention
from xraytk.models.r2gen import MemoryWriter


@torch.no_grad()
def cross_attention(
    decoder: ReportDecoder,
    tokens: Tensor,
    memory: Tensor,
    seen: Tensor,
    *,
    layer: int = -1,
    heads: Sequence[int] = (),
) -> Tensor:
    """Attention of one block over the image tokens, in one forward pass over a finished text.

    What a causal decoder attends to depends on the words before alone, so that this is the attention
    with which the text was written, whatever search chose its words. Dropout has to be off.

    Args:
        decoder: Of any kind.
        tokens: (B, L) int64, a start token and words.
        memory: (B, S, D) image tokens, as `ReportDecoder.forward` gets them.
        seen: (B, S) bool, False where an image token is padding.
        layer: Of the writer's blocks; -1 is the last.
        heads: Whose mean is taken; all by default.

    Returns:
        (B, L, S) float32; row l is of the step that chooses the token at l + 1. Rows sum to one, and
        are 0 on padding.

    Raises:
        UsageError: If the decoder has no such layer or head.
    """
    depth, count = decoder.config.depth, decoder.config.heads
    if not -depth <= layer < depth:
        raise UsageError(f"maps.layer is {layer}", f"the decoder has {depth}: wanted {-depth} to {depth - 1}")
    if unknown := [head for head in heads if not 0 <= head < count]:
        raise UsageError(
            f"maps.heads names {unknown[0]}", f"the decoder has {count}: wanted 0 to {count - 1}"
        )
    image = decoder.look(memory, seen)
    writer = decoder.writer
    if isinstance(writer, MemoryWriter):
        found = _of_memory_writer(writer, tokens, image, seen, layer)
    else:
        found = _of_gpt2(writer, tokens, image, seen, layer)
    chosen = found[:, list(heads)] if heads else found  # (B, H, L, S)
    return chosen.float().mean(1)


def _of_gpt2(writer: GPT2LMHeadModel, tokens: Tensor, image: Tensor, seen: Tensor, layer: int) -> Tensor:
    """(B, H, L, S); only transformers' plain implementation tells its attention."""
    before = writer.config._attn_implementation
    writer.set_attn_implementation("eager")
    try:
        out = writer(
            input_ids=tokens,
            encoder_hidden_states=image,
            encoder_attention_mask=seen.long(),
            use_cache=False,
            output_attentions=True,
        )
    finally:
        writer.set_attn_implementation(before)
    found: Tensor = out.cross_attentions[layer]
    return found


def _of_memory_writer(
    writer: MemoryWriter, tokens: Tensor, image: Tensor, seen: Tensor, layer: int
) -> Tensor:
    """(B, H, L, S), computed again from what the layer was asked."""
    found: list[Tensor] = []

    def keep(module: nn.Module, asked: tuple[Tensor, tuple[Tensor, Tensor], Tensor], _: Tensor) -> None:
        assert isinstance(module, Attention)
        found.append(module.weights(*asked))

    block = writer.blocks[layer]
    handle = block.image.register_forward_hook(keep)  # type: ignore[union-attr]
    try:
        writer(input_ids=tokens, encoder_hidden_states=image, encoder_attention_mask=seen)
    finally:
        handle.remove()
    return found[0]
