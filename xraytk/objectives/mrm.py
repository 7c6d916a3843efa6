"""MRM: paint hidden patches, and tell hidden words with the help of the visible ones.

Source: MRM (Zhou et al. 2023) and its release; written from their description.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from xraytk.chance import Chance
from xraytk.config import build
from xraytk.errors import UsageError
from xraytk.models.text_encoder import Codes, TextConfig, TextEncoder, VocabularySource
from xraytk.models.vit import Vit, VitConfig, initialise
from xraytk.objectives.painting import Choice, PaintConfig, Painter, Reconstruction
from xraytk.objectives.words import WordHead, choose_reports, cover, hide_words
from xraytk.records import Batch, Loss


@dataclass(frozen=True, slots=True, kw_only=True)
class MrmConfig:
    """Options of the objective.

    Args:
        hidden_words: Share of the words of a report that is hidden, in (0, 1].
        released: Count every token in the loss of words, visible ones and padding too, as the
            published code does by mistake; every report is then padded to ``text.max_tokens``.
        pixels: What is hidden and painted.
        text: What reads the reports.
    """

    hidden_words: float = 0.5
    released: bool = False
    pixels: PaintConfig = field(default_factory=lambda: PaintConfig(width=768, depth=4, heads=6))
    text: TextConfig = field(default_factory=lambda: TextConfig(width=384, heads=6))

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            UsageError: If a value is out of range.
        """
        if not 0 < self.hidden_words <= 1:
            raise UsageError(f"options.hidden_words is {self.hidden_words}", "wanted above 0, at most 1")

    @property
    def norm_pix(self) -> bool:
        """Whether patches are painted without their mean and contrast."""
        return self.pixels.norm_pix


@dataclass(frozen=True, slots=True)
class Draws:
    """All chance of one forward pass.

    Args:
        choice: The visible patches.
        codes: The reports.
        hidden: (B, L) bool, tokens of hidden words.
        shown: (B, L) int64, what stands there instead.
    """

    choice: Choice
    codes: Codes
    hidden: Tensor
    shown: Tensor


class MrmObjective(nn.Module):
    """Masked image encoder with a pixel decoder; masked reports read beside the image's mean.

    Args:
        vit: Shape of the image encoder.
        config: The objective's options.
        vocabulary: Of the training reports.
    """

    options: ClassVar = MrmConfig

    def __init__(self, vit: VitConfig, config: MrmConfig, vocabulary: VocabularySource | None) -> None:
        super().__init__()
        self.config = config
        self.encoder = Vit(vit)
        self.painter = Painter(vit, config.pixels)
        self.needs = self.painter.needs | {"reports"}
        self.text = TextEncoder(config.text, vocabulary)
        self.see = nn.Linear(vit.width, self.text.width)
        self.head = WordHead(self.text.width, self.text.codec.size)
        for part in (self.see, self.head):
            part.apply(initialise)

    @classmethod
    def build(
        cls, vit: VitConfig, options: Mapping[str, Any], vocabulary: VocabularySource | None = None
    ) -> MrmObjective:
        """Make the objective from the ``[options]`` table of a config.

        Raises:
            UsageError: If an option is unknown or out of range.
        """
        return cls(vit, build(MrmConfig, options, "options."), vocabulary)

    def forward(self, batch: Batch, chance: Chance) -> Loss:
        """Loss of one batch: painting plus words.

        An image's loss is that of its hidden patches plus that of its hidden words, which is 0
        without a report; the total is the mean over images.

        Args:
            batch: With ``image``, ``valid``, ``reports``, and the lungs where the mask wants them.
            chance: Chooses patches, languages and words.

        Returns:
            The loss; parts ``paint``, ``words``, ``inside`` and ``hidden``.
        """
        return self.loss(batch, self.draw(batch, chance))

    def draw(self, batch: Batch, chance: Chance) -> Draws:
        """All chance of one forward pass."""
        choice = self.painter.choose(batch, chance)
        chosen = choose_reports(batch, self.config.text.langs, chance)
        codes = self.text.encode(*chosen, full=self.config.released)
        hidden = hide_words(codes.words, self.config.hidden_words, chance)
        return Draws(choice, codes, hidden, cover(codes, hidden, self.text.codec, chance, mixed=False))

    def loss(self, batch: Batch, draws: Draws) -> Loss:
        """What follows from the draws."""
        device, choice = batch.image.device, draws.choice
        codes, hidden = draws.codes.to(device), draws.hidden.to(device)
        fine = self.painter.fine(batch)
        tokens = self.encoder.encode(self.painter.coarse(batch, fine), keep_ids=choice.keep_ids)
        paint, parts = self.painter(tokens, fine, choice)
        image = self.see(tokens[:, 1:].mean(1))  # (B, D), added to every token
        read = self.text(draws.shown.to(device), codes.real, image)  # (B, L, D)
        where = codes.present[:, None].expand_as(hidden) if self.config.released else hidden
        words = self.head(read, codes.tokens, where)
        return Loss(paint + words, parts | {"paint": paint.detach(), "words": words.detach()})

    @torch.no_grad()
    def reconstruct(self, batch: Batch, chance: Chance) -> Reconstruction:
        """Paint the hidden patches of a batch, to look at."""
        choice, fine = self.painter.choose(batch, chance), self.painter.fine(batch)
        tokens = self.encoder.encode(self.painter.coarse(batch, fine), keep_ids=choice.keep_ids)
        return self.painter.show(tokens, fine, choice)
