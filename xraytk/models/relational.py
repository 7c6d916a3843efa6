"""R2Gen's relational memory, and the layer norm that it drives."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from xraytk.models.layers import Attention, UnbiasedNorm

BIAS = 0.1
"""First value of the biases of `ConditionalNorm`'s two networks."""


class RelationalMemory(nn.Module):
    """A few slots that every word of the text changes.

    With memory M and the embedding y of the next word: Z = attention of M to [M; y];
    C = M + Z; C = C + MLP(C); [I, G] = W y + U tanh(M);
    M' = sigmoid(I) * tanh(C) + sigmoid(G) * M.

    Args:
        slots: N.
        width: D.
        heads: They divide D.
        dropout: On the attention, while training.

    Source:
        R2Gen (Chen et al. 2020), section 3.2, with the released code's ReLU at the end of the MLP.
    """

    def __init__(self, slots: int, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.slots, self.width = slots, width
        self.attend = Attention(width, heads, dropout)
        self.mlp = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU())
        self.gate_word = nn.Linear(width, 2 * width)
        self.gate_memory = nn.Linear(width, 2 * width)

    def start(self, like: Tensor) -> Tensor:
        """(B, N, D) memory before the first word of ``like`` (B, L, D): a padded identity."""
        return torch.eye(self.slots, self.width).to(like).expand(len(like), -1, -1)

    def forward(self, words: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        """Read words one after the other.

        Args:
            words: (B, L, D) embeddings.
            memory: (B, N, D) before the first of them.

        Returns:
            (B, L, N * D) memory after each word, and (B, N, D) after the last.
        """
        keys, values = self.attend.keys_values(words)  # (B, heads, L, D / heads)
        gates = self.gate_word(words)  # (B, L, 2 D)
        after = []
        for t in range(words.shape[1]):
            own_keys, own_values = self.attend.keys_values(memory)
            known = (
                torch.cat((own_keys, keys[:, :, t : t + 1]), 2),
                torch.cat((own_values, values[:, :, t : t + 1]), 2),
            )
            candidate = memory + self.attend(memory, known)
            candidate = candidate + self.mlp(candidate)
            take, keep = (gates[:, t : t + 1] + self.gate_memory(torch.tanh(memory))).chunk(2, -1)
            memory = torch.sigmoid(take) * torch.tanh(candidate) + torch.sigmoid(keep) * memory
            after.append(memory.flatten(1))
        return torch.stack(after, 1), memory


class ConditionalNorm(UnbiasedNorm):
    """`UnbiasedNorm` whose gain and bias move with the memory.

    Args:
        width: D.
        told: Width of the flattened memory.

    Source:
        R2Gen (Chen et al. 2020), section 3.3 (MCLN).
    """

    def __init__(self, width: int, told: int) -> None:
        super().__init__(width)
        self.more_gain, self.more_bias = (
            nn.Sequential(nn.Linear(told, width), nn.ReLU(), nn.Linear(width, width)) for _ in range(2)
        )
        for name, parameter in (*self.more_gain.named_parameters(), *self.more_bias.named_parameters()):
            if name.endswith("bias"):
                nn.init.constant_(parameter, BIAS)

    def forward(self, x: Tensor, told: Tensor | None = None) -> Tensor:
        """Normalise (B, L, D) as (B, L, N * D) of the memory says."""
        gain: Tensor = self.gain + self.more_gain(told)
        bias: Tensor = self.bias + self.more_bias(told)
        return gain * self.scaled(x) + bias
