"""Masked autoencoding: see a few patches, paint the rest.

Source: the paper, section III, on MAE (He et al. 2022); written from the formulas.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import nn

from xraytk.chance import Chance
from xraytk.config import build
from xraytk.errors import UsageError
from xraytk.models.vit import Vit, VitConfig
from xraytk.objectives.masking import Policy
from xraytk.objectives.painting import PaintConfig, Painter, Reconstruction
from xraytk.records import Batch, Loss


@dataclass(frozen=True, slots=True, kw_only=True)
class MaeConfig:
    """Options of the objective.

    Args:
        mask: How the visible patches are chosen; see `masking.share_map`.
        inside: Ratio hidden inside the lungs.
        outside: Ratio hidden outside.
        norm_pix: Predict each patch with its mean taken off and its deviation made 1.
        decoder_width: Width of a decoder token; a multiple of 4 and of ``decoder_heads``.
        decoder_depth: Blocks of the decoder.
        decoder_heads: Attention heads of the decoder.

    Source:
        Paper, section III; norm_pix from MAE, off in the paper.
    """

    mask: Policy = "contour"
    inside: float = 0.95
    outside: float = 0.85
    norm_pix: bool = True
    decoder_width: int = 512
    decoder_depth: int = 8
    decoder_heads: int = 16

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            UsageError: If a value is out of range.
        """
        if not 0 <= self.outside <= self.inside < 1:
            raise UsageError(
                f"options.inside is {self.inside} and options.outside {self.outside}",
                "wanted 0 <= outside <= inside < 1",
            )
        for name in ("decoder_width", "decoder_depth", "decoder_heads"):
            if getattr(self, name) < 1:
                raise UsageError(f"options.{name} is {getattr(self, name)}", "wanted at least 1")
        if self.decoder_width % self.decoder_heads or self.decoder_width % 4:
            raise UsageError(
                f"options.decoder_width is {self.decoder_width}",
                f"wanted a multiple of 4 and of options.decoder_heads ({self.decoder_heads})",
            )


class MaeObjective(nn.Module):
    """Encoder on the visible patches, light decoder on all, squared error on the hidden ones.

    Args:
        vit: Shape of the encoder.
        config: The objective's options.
    """

    options: ClassVar = MaeConfig
    needs = frozenset({"image", "valid", "lung", "has_contour"})

    def __init__(self, vit: VitConfig, config: MaeConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Vit(vit)
        self.painter = Painter(
            vit,
            PaintConfig(
                mask=config.mask,
                inside=config.inside,
                outside=config.outside,
                norm_pix=config.norm_pix,
                width=config.decoder_width,
                depth=config.decoder_depth,
                heads=config.decoder_heads,
            ),
        )

    @classmethod
    def build(cls, vit: VitConfig, options: Mapping[str, Any]) -> MaeObjective:
        """Make the objective from the ``[options]`` table of a config.

        Raises:
            UsageError: If an option is unknown or out of range.
        """
        return cls(vit, build(MaeConfig, options, "options."))

    def forward(self, batch: Batch, chance: Chance) -> Loss:
        """Loss of one batch; see `Painter.forward`.

        Args:
            batch: With ``image``, ``valid``, ``lung``, ``has_contour``.
            chance: Chooses the patches.

        Returns:
            The loss; parts ``inside`` (error inside the lungs) and ``hidden`` (share hidden).
        """
        patches = self.painter.fine(batch)  # (B, N, P)
        choice = self.painter.choose(batch, chance)
        tokens = self.encoder.encode(patches, keep_ids=choice.keep_ids)
        return Loss(*self.painter(tokens, patches, choice))

    @torch.no_grad()
    def reconstruct(self, batch: Batch, chance: Chance) -> Reconstruction:
        """Paint the hidden patches of a batch, to look at; see `Painter.show`.

        Args:
            batch: As for `forward`.
            chance: Chooses the patches.
        """
        patches = self.painter.fine(batch)
        choice = self.painter.choose(batch, chance)
        return self.painter.show(self.encoder.encode(patches, keep_ids=choice.keep_ids), patches, choice)
