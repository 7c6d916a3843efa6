"""`SearchConfig` in the words of transformers' ``generate``; and draws of which each row has its own."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import (
    GenerationConfig,
    LogitsProcessor,
    LogitsProcessorList,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from xraytk.chance import Chance
from xraytk.models.search import SearchConfig


class Draw(LogitsProcessor):
    """Makes the likeliest word one that is drawn: Gumbel noise on the log-probabilities.

    Args:
        seed: Of the draws.
        keys: (B) texts; each names its row, whose draws depend on nothing else.

    Source:
        Gumbel-max trick (Gumbel 1954); torch.multinomial would tie a row to its neighbours.
    """

    def __init__(self, seed: int, keys: Sequence[str]) -> None:
        digests = (hashlib.sha256(key.encode()).digest()[:8] for key in keys)
        self.rows = [Chance(seed, int.from_bytes(digest)) for digest in digests]

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Add noise to (B, V) logits."""
        drawn = torch.cat([row.rand(1, scores.shape[1]) for row in self.rows]).double()
        noise = -torch.log(-torch.log(drawn + 2.0**-25))  # in the middle of each of 2^24 steps
        return scores + noise.to(scores)


def generation_config(search: SearchConfig, *, longest: int, eos: int, pad: int) -> GenerationConfig:
    """The same in transformers' words; what is drawn is done by `processors`."""
    return GenerationConfig(  # type: ignore[no-untyped-call]
        max_new_tokens=longest,
        num_beams=search.beam,
        length_penalty=search.length_penalty if search.beam > 1 else 1.0,
        do_sample=False,
        no_repeat_ngram_size=search.no_repeat or None,
        use_cache=search.cached,
        eos_token_id=eos,
        pad_token_id=pad,
    )


def processors(search: SearchConfig, keys: Sequence[str]) -> LogitsProcessorList:
    """What is done to the logits before the best is taken; nothing unless words are drawn."""
    made = LogitsProcessorList()
    if search.sample:
        made.append(TemperatureLogitsWarper(search.temperature))
        if search.top_k:
            made.append(TopKLogitsWarper(search.top_k))
        if search.top_p < 1:
            made.append(TopPLogitsWarper(search.top_p))
        made.append(Draw(search.seed, keys))
    return made
