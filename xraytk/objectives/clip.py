"""Contrastive pretraining: an image is next to its own report, and far from those of others.

Source: CLIP (Radford et al. 2021) and SigLIP (Zhai et al. 2023); written from the formulas.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from xraytk.chance import Chance
from xraytk.config import build
from xraytk.errors import UsageError
from xraytk.models.text_encoder import Codes, TextConfig, TextEncoder, VocabularySource
from xraytk.models.vit import Vit, VitConfig, initialise, normalise, valid_patches
from xraytk.objectives.pairs import Pairs, pair_up, row_losses, similarities
from xraytk.objectives.words import choose_reports
from xraytk.records import Batch, Loss

LARGEST_SCALE = math.log(100.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipConfig:
    """Options of the objective.

    Args:
        loss: "infonce" (which report of all belongs to the image, and the other way round) or
            "siglip" (does this report belong to this image, for every pair on its own).
        width: Width in which images and reports are compared.
        pool: What stands for an image: "mean" of its patches, or "cls", the class token.
        together: Images that are compared with each other; 0 for the whole batch. The batch is
            a multiple of it. It is what one forward pass over all processes must hold.
        text: What reads the reports.
    """

    loss: Literal["infonce", "siglip"] = "infonce"
    width: int = 512
    pool: Literal["mean", "cls"] = "mean"
    together: int = 0
    text: TextConfig = field(default_factory=TextConfig)

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            UsageError: If a value is out of range.
        """
        if self.width < 1 or self.together < 0:
            raise UsageError(
                f"options.width is {self.width} and options.together {self.together}",
                "wanted at least 1 and at least 0",
            )


class ClipObjective(nn.Module):
    """Two encoders, two projections, one temperature.

    Images without a report take no part; a batch without any costs nothing and moves nothing.

    Args:
        vit: Shape of the image encoder.
        config: The objective's options.
        vocabulary: Of the training reports.
    """

    options: ClassVar = ClipConfig
    needs = frozenset({"image", "valid", "reports"})

    def __init__(self, vit: VitConfig, config: ClipConfig, vocabulary: VocabularySource | None) -> None:
        super().__init__()
        self.config, self.together = config, config.together
        self.encoder = Vit(vit)
        self.text = TextEncoder(config.text, vocabulary, first_stands=True)
        self.project_image = nn.Linear(vit.width, config.width, bias=False)
        self.project_text = nn.Linear(self.text.width, config.width, bias=False)
        for projection in (self.project_image, self.project_text):
            initialise(projection)
        siglip = config.loss == "siglip"
        self.log_scale = nn.Parameter(torch.tensor([math.log(10.0 if siglip else 1 / 0.07)]))
        if siglip:
            self.bias = nn.Parameter(torch.tensor([-10.0]))

    @classmethod
    def build(
        cls, vit: VitConfig, options: Mapping[str, Any], vocabulary: VocabularySource | None = None
    ) -> ClipObjective:
        """Make the objective from the ``[options]`` table of a config.

        Raises:
            UsageError: If an option is unknown or out of range.
        """
        return cls(vit, build(ClipConfig, options, "options."), vocabulary)

    def forward(self, batch: Batch, chance: Chance) -> Loss:
        """Loss of one batch.

        Args:
            batch: With ``image``, ``valid``, ``reports``.
            chance: Chooses the language where an image has several reports.

        Returns:
            The loss; parts ``pairs`` (share of the images that have a report), ``scale``, and
            ``found`` (share of the images whose own report is the nearest of all).
        """
        return self.loss(batch, self.draw(batch, chance))

    def draw(self, batch: Batch, chance: Chance) -> Codes:
        """All chance of one forward pass."""
        return self.text.encode(*choose_reports(batch, self.config.text.langs, chance))

    def loss(self, batch: Batch, codes: Codes) -> Loss:
        """What follows from the draws."""
        codes = codes.to(batch.image.device)
        pairs = pair_up(self._image(batch), self._text(codes), codes.present)
        total = self._siglip(pairs) if self.config.loss == "siglip" else self._infonce(pairs)
        parts = {"pairs": codes.present.float().mean(), "scale": self._scale().detach()[0]}
        if len(pairs.at):
            parts["found"] = (similarities(pairs)[0].argmax(1) == pairs.at).float().mean()
        return Loss(total, parts)

    @torch.no_grad()
    def embed_image(self, batch: Batch) -> Tensor:
        """Unit vectors of images, (B, width), comparable with those of `embed_text`."""
        return F.normalize(self._image(batch).float(), dim=-1)

    @torch.no_grad()
    def embed_text(self, texts: Sequence[str], lang: str = "en") -> Tensor:
        """Unit vectors of texts of one language, (len(texts), width); in evaluation mode meanwhile."""
        was_training = self.training
        self.eval()
        codes = self.text.encode(texts, [lang] * len(texts)).to(self.log_scale.device)
        vectors = F.normalize(self._text(codes).float(), dim=-1)
        self.train(was_training)
        return vectors

    @torch.no_grad()
    def embed_patches(self, batch: Batch) -> Tensor:
        """Unit vectors of patches, (B, N, width), comparable with those of `embed_text`."""
        return F.normalize(self.project_image(self._tokens(batch)[0][:, 1:]).float(), dim=-1)

    def _tokens(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """(B, 1 + N, D) tokens, and (B, N) bool, False where a patch is padding."""
        vit = self.encoder.config
        valid = valid_patches(batch.valid, vit.patch_px)
        valid = valid | ~valid.any(1, keepdim=True)  # an image that is all padding is all image
        whole = bool(valid.all())
        return self.encoder(normalise(batch.image, vit.channels), valid=None if whole else valid), valid

    def _image(self, batch: Batch) -> Tensor:
        tokens, valid = self._tokens(batch)
        pooled = tokens[:, 0]
        if self.config.pool == "mean":
            weight = valid / valid.sum(1, keepdim=True)  # (B, N)
            pooled = (tokens[:, 1:] * weight[:, :, None].to(tokens.dtype)).sum(1)
        vectors: Tensor = self.project_image(pooled)
        return vectors

    def _text(self, codes: Codes) -> Tensor:
        vectors: Tensor = self.project_text(self.text(codes.tokens, codes.real)[:, 0])
        return vectors

    def _scale(self) -> Tensor:
        """(1,) in [1, 100]; a parameter beyond its bounds keeps its gradient, to come back by."""
        bounded = self.log_scale.clamp(0, LARGEST_SCALE)
        return (self.log_scale + (bounded - self.log_scale).detach()).exp()

    def _infonce(self, pairs: Pairs) -> Tensor:
        scale = self._scale()
        by_image, by_text = (scale * cosines for cosines in similarities(pairs))
        return pairs.mean(row_losses(by_image, pairs.at) + row_losses(by_text, pairs.at)) / 2

    def _siglip(self, pairs: Pairs) -> Tensor:
        logits = self._scale() * similarities(pairs)[0] + self.bias  # (M, n)
        sign = -torch.ones_like(logits)
        sign[torch.arange(len(logits), device=logits.device), pairs.at] = 1.0
        return pairs.mean(-F.logsigmoid(sign * logits).sum(1))
