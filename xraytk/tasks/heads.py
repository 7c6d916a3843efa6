"""Heads of the disease classifier: from an image's tokens to one logit a label."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from xraytk.models.vit import Vit, attention_mask


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadConfig:
    """The head of a classifier.

    Args:
        kind: "linear": the mean of the patch tokens; "attention": their mean weighted by a learned
            query; "vtb": names of the labels as tokens beside those of the image.
        weight: "vtb" weighs each label's loss by exp(1 - r) where it is present and exp(r) where
            it is absent, r being its share in the training split; "none" does not.
        text: For "vtb", name or folder of the transformers model that reads the names of the labels
            (CLIP, or one of sentences); "" takes their letters and needs none.
    """

    kind: Literal["linear", "attention", "vtb"] = "linear"
    weight: Literal["none", "vtb"] = "vtb"
    text: str = ""


class PooledHead(nn.Module):
    """One vector an image, a norm, and one linear output a label.

    Args:
        width: D, of the tokens.
        count: C, labels.
        attention: Weigh the patches by a learned query instead of alike.

    Source:
        Mean over patch tokens with a norm: MAE, appendix A.
    """

    def __init__(self, width: int, count: int, *, attention: bool) -> None:
        super().__init__()
        self.query = nn.Linear(width, 1) if attention else None
        self.norm = nn.LayerNorm(width)
        self.output = nn.Linear(width, count)
        nn.init.trunc_normal_(self.output.weight, std=0.01)
        nn.init.zeros_(self.output.bias)

    def forward(self, encoder: Vit, image: Tensor, valid: Tensor, *, frozen: bool) -> Tensor:
        """Logits.

        Args:
            encoder: Of the tokens.
            image: (B, channels, H, W) float, normalised.
            valid: (B, N) bool, False where a patch is padding.
            frozen: Nothing of the encoder learns.

        Returns:
            (B, C).
        """
        with torch.set_grad_enabled(torch.is_grad_enabled() and not frozen):
            tokens = encoder(image, valid=valid)[:, 1:]  # (B, N, D)
        if self.query is None:
            share = valid.to(tokens.dtype)
            share = share / share.sum(dim=1, keepdim=True)
        else:
            share = self.query(tokens)[..., 0].masked_fill(~valid, float("-inf")).softmax(dim=1)
        pooled = torch.einsum("bn,bnd->bd", share.to(tokens.dtype), tokens)  # (B, D)
        out: Tensor = self.output(self.norm(pooled))
        return out


class VtbHead(nn.Module):
    """Names of labels as tokens: they and the image's meet in the encoder's last block.

    The vectors of the names are frozen and part of the weights, so that a finished model needs no
    text encoder. There is no batch norm over the logits: with one image, or one label, its batch
    statistics are the value itself, and between training and use the thresholds would shift. Each
    label's own weights and bias scale and place its logit instead, and one image alone gets the
    logits that it gets among others.

    Args:
        width: D, of the tokens.
        vectors: (C, T) vectors of the labels' names.

    Source:
        VTB, methods section 4: all blocks but the last see the image alone; projected names and
        tokens of the image get a type vector each; the last block and the norm see both; the token of
        each label gives its logit.
    """

    vectors: Tensor

    def __init__(self, width: int, vectors: Tensor) -> None:
        super().__init__()
        self.register_buffer("vectors", vectors)
        self.project = nn.Linear(vectors.shape[1], width)
        self.text_type = nn.Parameter(torch.zeros(width))
        self.image_type = nn.Parameter(torch.zeros(width))
        self.weight = nn.Parameter(torch.empty(len(vectors), width))
        self.bias = nn.Parameter(torch.zeros(len(vectors)))
        for parameter, std in ((self.text_type, 0.02), (self.image_type, 0.02), (self.weight, 0.01)):
            nn.init.trunc_normal_(parameter, std=std)

    def forward(self, encoder: Vit, image: Tensor, valid: Tensor, *, frozen: bool) -> Tensor:
        """Logits; see `PooledHead.forward`."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and not frozen):
            seen = encoder.below_last(image, valid=valid)  # (B, 1 + N, D)
        names = self.project(self.vectors) + self.text_type  # (C, D)
        names = names.to(seen.dtype).expand(len(seen), -1, -1)
        tokens = torch.cat([seen + self.image_type.to(seen.dtype), names], 1)  # (B, 1 + N + C, D)
        there = valid.new_ones(len(valid), len(self.vectors))
        mixed = encoder.blocks[-1](tokens, attn_mask=attention_mask(torch.cat([valid, there], 1)))
        named = encoder.norm(mixed[:, -len(self.vectors) :])  # (B, C, D)
        return torch.einsum("bcd,cd->bc", named, self.weight.to(named.dtype)) + self.bias
