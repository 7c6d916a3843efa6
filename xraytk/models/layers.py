"""The layers of R2Gen's and R2GenCMN's Transformer, where they differ from torch's."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

KeysValues = tuple[Tensor, Tensor]


class UnbiasedNorm(nn.Module):
    """gain * (x - mean) / (std + eps) + bias, with the unbiased std, and eps outside the root.

    Args:
        width: D.

    Source:
        R2Gen (Chen et al. 2020), as released; `torch.nn.LayerNorm` is another function.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gain, self.bias = nn.Parameter(torch.ones(width)), nn.Parameter(torch.zeros(width))
        self.eps = 1e-6

    def scaled(self, x: Tensor) -> Tensor:
        """(..., D) with mean 0 and unbiased standard deviation 1."""
        return (x - x.mean(-1, keepdim=True)) / (x.std(-1, keepdim=True) + self.eps)

    def forward(self, x: Tensor, told: Tensor | None = None) -> Tensor:
        """Normalise (..., D); what the memory tells is for `ConditionalNorm`."""
        return self.gain * self.scaled(x) + self.bias


class Attention(nn.Module):
    """Multi-head attention whose keys and values can be kept.

    Args:
        width: D.
        heads: They divide D.
        dropout: On the attention, while training.
    """

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.query, self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(4))

    def keys_values(self, x: Tensor) -> KeysValues:
        """Keys and values of (B, S, D): each (B, heads, S, D / heads)."""
        return self._split(self.key(x)), self._split(self.value(x))

    def forward(self, x: Tensor, known: KeysValues, mask: Tensor | None = None) -> Tensor:
        """Let (B, L, D) look at what has keys and values.

        Args:
            x: What asks.
            known: Keys and values of S tokens.
            mask: Bool, broadcastable to (B, heads, L, S), True where a token may be seen.
        """
        asked = self._split(self.query(x))
        drop = self.dropout if self.training else 0.0
        found = F.scaled_dot_product_attention(asked, *known, attn_mask=mask, dropout_p=drop)
        out: Tensor = self.out(found.transpose(1, 2).flatten(2))
        return out

    def weights(self, x: Tensor, known: KeysValues, mask: Tensor) -> Tensor:
        """What `forward` of the same gives to each token: (B, heads, L, S), rows of sum one."""
        asked = self._split(self.query(x))
        scores = asked @ known[0].transpose(-1, -2) / math.sqrt(asked.shape[-1])
        return scores.masked_fill(~mask, -math.inf).softmax(-1)

    def _split(self, x: Tensor) -> Tensor:
        return x.reshape(*x.shape[:-1], self.heads, -1).transpose(1, 2)


class FeedForward(nn.Sequential):
    """Linear, ReLU, dropout, linear; as wide inside as outside."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__(nn.Linear(width, width), nn.ReLU(), nn.Dropout(dropout), nn.Linear(width, width))


class ImageBlock(nn.Module):
    """One pre-norm block of the encoder over image tokens.

    Args:
        width: D.
        heads: They divide D.
        dropout: While training.
    """

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.norms = nn.ModuleList(UnbiasedNorm(width) for _ in range(2))
        self.attend = Attention(width, heads, dropout)
        self.feed = FeedForward(width, dropout)
        self.drop = nn.Dropout(dropout)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """(B, S, D) to the same; ``mask`` (B, 1, 1, S), False on padding."""
        y = self.norms[0](x)
        x = x + self.drop(self.attend(y, self.attend.keys_values(y), mask))
        out: Tensor = x + self.drop(self.feed(self.norms[1](x)))
        return out


def sinusoids(first: int, count: int, width: int, like: Tensor) -> Tensor:
    """Positions as sines (even places) and cosines (odd ones).

    Args:
        first: First position.
        count: L.
        width: D, even.
        like: For its device and type.

    Returns:
        (L, D).

    Source:
        Vaswani et al. 2017, section 3.5.
    """
    place = torch.arange(first, first + count, device=like.device, dtype=torch.float32)[:, None]
    rate = torch.exp(
        torch.arange(0, width, 2, device=like.device, dtype=torch.float32) * (-math.log(1e4) / width)
    )
    return torch.stack((torch.sin(place * rate), torch.cos(place * rate)), dim=-1).flatten(1).to(like)


def xavier(module: nn.Module) -> None:
    """Draw every matrix of a module anew, Xavier uniform; vectors stay."""
    for parameter in module.parameters():
        if parameter.dim() > 1:
            nn.init.xavier_uniform_(parameter)
