"""Two streams of tokens, an image's and a report's, that look at each other."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Fusion(nn.Module):
    """Co-attention: in every layer each stream attends to itself, then to the other, then an MLP.

    Both streams of a layer look at what the other was before that layer.

    Args:
        width_image: Of the image tokens it is given.
        width_text: Of the text tokens it is given.
        width: Of its own tokens; a multiple of ``heads``.
        depth: Layers.
        heads: Attention heads.
        dropout: While training.

    Source:
        M3AE (Chen et al. 2022), section 2; layers are torch's, with the norm after each part,
        as in BERT.
    """

    def __init__(
        self, width_image: int, width_text: int, width: int, depth: int, heads: int, dropout: float
    ) -> None:
        super().__init__()

        def layers() -> nn.ModuleList:
            return nn.ModuleList(
                nn.TransformerDecoderLayer(
                    width, heads, 4 * width, dropout, activation="gelu", batch_first=True
                )
                for _ in range(depth)
            )

        self.project_image = nn.Linear(width_image, width)
        self.project_text = nn.Linear(width_text, width)
        self.kind = nn.Parameter(torch.zeros(2, width))
        nn.init.normal_(self.kind, std=0.02)
        self.image_layers, self.text_layers = layers(), layers()

    def forward(
        self,
        image: Tensor,
        text: Tensor,
        image_padding: Tensor | None,
        text_padding: Tensor,
        depth: int | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Let the streams look at each other.

        Args:
            image: (B, S, D) tokens.
            text: (B, L, D) tokens.
            image_padding: (B, S) bool, True where nothing is to be seen; None for nowhere.
            text_padding: (B, L) bool, likewise.
            depth: Layers to go through; all of them when None.

        Returns:
            (B, S, width) and (B, L, width).
        """
        image, text = self.project_image(image) + self.kind[0], self.project_text(text) + self.kind[1]
        for see, read in list(zip(self.image_layers, self.text_layers, strict=True))[:depth]:
            image, text = (
                see(image, text, tgt_key_padding_mask=image_padding, memory_key_padding_mask=text_padding),
                read(text, image, tgt_key_padding_mask=text_padding, memory_key_padding_mask=image_padding),
            )
        return image, text
