"""R2GenCMN's cross-modal memory: one table that image tokens and words both ask."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from xraytk.models.layers import KeysValues, xavier


class CrossModalMemory(nn.Module):
    """A learned table; each token gets a mixture of the rows that answer it best.

    Args:
        rows: Rows of the table.
        width: D, of the rows and of the tokens.
        heads: They divide D.
        top_k: Rows that are mixed, a head and token; at most ``rows``.

    Source:
        R2GenCMN (Chen et al. 2021): a table from N(0, 1 / D), read as the standard deviation;
        scores scaled by the root of a head's width; softmax over the best rows alone.
    """

    def __init__(self, rows: int, width: int, heads: int, top_k: int) -> None:
        super().__init__()
        self.heads, self.top_k = heads, top_k
        self.query, self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(4))
        self.table = nn.Parameter(torch.empty(rows, width))
        self.reset()

    def reset(self) -> None:
        """Draw all weights anew."""
        xavier(self)
        nn.init.normal_(self.table, std=1 / self.table.shape[1])

    def keys_values(self) -> KeysValues:
        """Keys and values of the table: each (heads, rows, D / heads)."""
        return self._split(self.key(self.table)), self._split(self.value(self.table))

    def forward(self, x: Tensor, known: KeysValues | None = None) -> Tensor:
        """What the table answers to (B, L, D), of the same shape; to be added.

        Args:
            x: What asks.
            known: From `keys_values`, where they are kept between words.
        """
        asked = self._split(self.query(x).flatten(0, 1))  # (heads, B * L, D / heads): no copies of the table
        keys, values = known or self.keys_values()
        scores = asked @ keys.transpose(1, 2) / math.sqrt(asked.shape[-1])  # (heads, B * L, rows)
        best, which = scores.topk(self.top_k, dim=-1)
        shares = torch.zeros_like(scores).scatter(-1, which, best.softmax(-1).to(scores))
        out: Tensor = self.out((shares @ values).transpose(0, 1).flatten(1)).view_as(x)
        return out

    def _split(self, x: Tensor) -> Tensor:
        return x.reshape(*x.shape[:-1], self.heads, -1).transpose(-3, -2)
