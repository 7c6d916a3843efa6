"""M3AE: hidden patches are painted with the report's help, hidden words told with the image's.

Source: M3AE (Chen et al. 2022) and its release; written from their description.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from xraytk.chance import Chance
from xraytk.config import build
from xraytk.errors import UsageError
from xraytk.models.fusion import Fusion
from xraytk.models.text_encoder import Codes, TextConfig, TextEncoder, VocabularySource
from xraytk.models.vit import Vit, VitConfig, initialise
from xraytk.objectives.painting import Choice, PaintConfig, Painter, Reconstruction
from xraytk.objectives.words import WordHead, choose_reports, cover, hide_words
from xraytk.records import Batch, Loss


@dataclass(frozen=True, slots=True, kw_only=True)
class M3aeConfig:
    """Options of the objective.

    Args:
        hidden_words: Share of the words of a report that is hidden, in (0, 1].
        width: Width of the fusion; a multiple of ``heads``.
        depth: Layers of the fusion.
        heads: Attention heads of the fusion.
        paint_after: Fusion layers after which patches are painted, 1 to ``depth``; words are
            told after the last.
        pixels: What is hidden and painted.
        text: What reads the reports; its dropout is the fusion's too.
    """

    hidden_words: float = 0.15
    width: int = 768
    depth: int = 6
    heads: int = 12
    paint_after: int = 3
    pixels: PaintConfig = field(default_factory=lambda: PaintConfig(width=384, depth=4, heads=6))
    text: TextConfig = field(default_factory=lambda: TextConfig(depth=12, max_tokens=64))

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            UsageError: If a value is out of range.
        """
        if not 0 < self.hidden_words <= 1:
            raise UsageError(f"options.hidden_words is {self.hidden_words}", "wanted above 0, at most 1")
        if self.heads < 1 or self.width < 1 or self.width % self.heads:
            raise UsageError(
                f"options.width is {self.width}", f"wanted a multiple of options.heads ({self.heads})"
            )
        if not 1 <= self.paint_after <= self.depth:
            raise UsageError(
                f"options.paint_after is {self.paint_after}", f"wanted 1 to options.depth ({self.depth})"
            )

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
        partner: (B,) int64, the image that each report is shown with when the question is
            whether they belong together: its own, or another one's.
    """

    choice: Choice
    codes: Codes
    hidden: Tensor
    shown: Tensor
    partner: Tensor


class M3aeObjective(nn.Module):
    """Image and report encoders, co-attention between them, and three questions of equal weight.

    Which words are hidden (image whole), what is under the hidden patches (report whole), do the
    two belong together (both whole). Each encoder runs on what is whole once, for all questions
    that want it; that is the same as once for each question.

    Args:
        vit: Shape of the image encoder.
        config: The objective's options.
        vocabulary: Of the training reports.
    """

    options: ClassVar = M3aeConfig

    def __init__(self, vit: VitConfig, config: M3aeConfig, vocabulary: VocabularySource | None) -> None:
        super().__init__()
        self.config = config
        self.encoder = Vit(vit)
        self.text = TextEncoder(config.text, vocabulary)
        self.fusion = Fusion(
            vit.width, self.text.width, config.width, config.depth, config.heads, config.text.dropout
        )
        self.painter = Painter(vit, config.pixels, width_in=config.width)
        self.needs = self.painter.needs | {"reports"}
        self.head = WordHead(config.width, self.text.codec.size)
        self.pool_image, self.pool_text = (
            nn.Sequential(nn.Linear(config.width, config.width), nn.Tanh()) for _ in range(2)
        )
        self.belong = nn.Linear(2 * config.width, 2)
        for part in (self.head, self.pool_image, self.pool_text, self.belong):
            part.apply(initialise)

    @classmethod
    def build(
        cls, vit: VitConfig, options: Mapping[str, Any], vocabulary: VocabularySource | None = None
    ) -> M3aeObjective:
        """Make the objective from the ``[options]`` table of a config.

        Raises:
            UsageError: If an option is unknown or out of range.
        """
        return cls(vit, build(M3aeConfig, options, "options."), vocabulary)

    def forward(self, batch: Batch, chance: Chance) -> Loss:
        """Loss of one batch.

        The mean over images of what each costs. One without a report is painted beside an empty
        one, and the two other questions cost it nothing.

        Args:
            batch: With ``image``, ``valid``, ``reports``, and the lungs where the mask wants them.
            chance: Chooses patches, languages, words and partners.

        Returns:
            The loss; parts ``paint``, ``words``, ``belong``, ``matched`` (share of right answers
            to the last question), ``inside`` and ``hidden``.
        """
        return self.loss(batch, self.draw(batch, chance))

    def draw(self, batch: Batch, chance: Chance) -> Draws:
        """All chance of one forward pass."""
        choice = self.painter.choose(batch, chance)
        texts, langs = choose_reports(batch, self.config.text.langs, chance)
        codes = self.text.encode(texts, langs)
        hidden = hide_words(codes.words, self.config.hidden_words, chance)
        shown = cover(codes, hidden, self.text.codec, chance, mixed=True)
        return Draws(choice, codes, hidden, shown, draw_partners(texts, codes.present, chance))

    def loss(self, batch: Batch, draws: Draws) -> Loss:
        """What follows from the draws."""
        device, choice = batch.image.device, draws.choice
        codes, hidden, partner = draws.codes.to(device), draws.hidden.to(device), draws.partner.to(device)
        fine = self.painter.fine(batch)
        patches = self.painter.coarse(batch, fine)
        valid = self.painter.valid(batch)
        padding = None if bool(valid.all()) else ~F.pad(valid, (1, 0), value=True)  # (B, 1 + N)
        image = self.encoder.encode(patches, valid=None if padding is None else valid)
        both = torch.cat([draws.shown.to(device), codes.tokens])  # reports with gaps, and whole
        gaps, text = self.text(both, codes.real.repeat(2, 1)).chunk(2)  # (B, L, D) each

        paint, parts = self.painter(self._beside_text(patches, choice, text, codes), fine, choice)
        seen, read = self.fusion(
            torch.cat([image, image[partner]]),
            torch.cat([gaps, text]),
            None if padding is None else torch.cat([padding, padding[partner]]),
            ~codes.real.repeat(2, 1),
        )
        count = len(image)
        words = self.head(read[:count], codes.tokens, hidden)
        belong, right = self._belonging(seen[count:, 0], read[count:, 0], partner, codes.present)
        said = {"paint": paint.detach(), "words": words.detach(), "belong": belong.detach()} | right
        return Loss(paint + words + belong, parts | said)

    @torch.no_grad()
    def reconstruct(self, batch: Batch, chance: Chance) -> Reconstruction:
        """Paint the hidden patches of a batch beside its reports, to look at."""
        draws = self.draw(batch, chance)
        codes, fine = draws.codes.to(batch.image.device), self.painter.fine(batch)
        text = self.text(codes.tokens, codes.real)
        patches = self.painter.coarse(batch, fine)
        return self.painter.show(self._beside_text(patches, draws.choice, text, codes), fine, draws.choice)

    def _beside_text(self, patches: Tensor, choice: Choice, text: Tensor, codes: Codes) -> Tensor:
        """Visible patches after the first fusion layers with a whole report, (B, 1 + K, D)."""
        tokens = self.encoder.encode(patches, keep_ids=choice.keep_ids)
        seen, _ = self.fusion(tokens, text, None, ~codes.real, self.config.paint_after)
        out: Tensor = seen
        return out

    def _belonging(
        self, image: Tensor, text: Tensor, partner: Tensor, present: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Loss of the question whether image and report belong together, and how often it is right.

        The loss is a mean over all images, of which those without a report cost nothing.
        """
        pooled = torch.cat([self.pool_image(image), self.pool_text(text)], 1)[present]
        logits = self.belong(pooled).float()  # (M, 2)
        truth = (partner == torch.arange(len(partner), device=partner.device)).long()[present]
        own = F.cross_entropy(logits, truth, reduction="sum")
        right = {"matched": (logits.argmax(1) == truth).float().mean()} if len(truth) else {}
        return own / len(partner), right


def draw_partners(texts: list[str], present: Tensor, chance: Chance) -> Tensor:
    """For each report the image it is shown with: for half of them another one's.

    Args:
        texts: B reports.
        present: (B,) bool, whether a report has a word.
        chance: Of the batch; partners are drawn among the images of a micro-batch, and so depend
            on how a batch is cut.

    Returns:
        (B,) int64. Another image is one with a report that reads differently, since most normal
        reports of a hospital are the same; where there is none, a report keeps its own.
    """
    rng, partner = chance.generator(), torch.arange(len(texts))
    there = present.nonzero()[:, 0]
    chosen = there[torch.randperm(len(there), generator=rng)][: len(there) // 2]
    for row in chosen.tolist():
        others = [i for i in there.tolist() if texts[i] != texts[row]]
        if others:
            partner[row] = others[int(torch.randint(len(others), (), generator=rng))]
    return partner
