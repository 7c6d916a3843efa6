"""MaCo: masked autoencoding, and a contrast that trusts an image by which of its patches are seen.

Source: MaCo (Huang et al. 2024) and its release; written from their description.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from xraytk import distributed
from xraytk.chance import Chance
from xraytk.config import build
from xraytk.errors import UsageError
from xraytk.models.text_encoder import Codes, TextConfig, TextEncoder, VocabularySource
from xraytk.models.vit import Vit, VitConfig, initialise
from xraytk.objectives.painting import Choice, PaintConfig, Painter, Reconstruction
from xraytk.objectives.pairs import pair_up, row_losses, similarities
from xraytk.objectives.words import choose_reports, shuffled
from xraytk.records import Batch, Loss

PLACE_TEMPERATURE = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class MacoConfig:
    """Options of the objective.

    Args:
        recipe: "paper" weighs contrast and painting as ``lam`` says; "released" adds them one to
            one, whatever ``lam`` is, as the published code does.
        lam: Weight of the contrast, in [0, 1]; that of painting is the rest.
        temperature: T; the cosines are multiplied by a learned number that starts at 1 / T.
        shuffle: Shuffle the sentences of a report, and keep a random number of them.
        together: Images that are compared with each other; 0 for the whole batch.
        pixels: What is hidden and painted.
        text: What reads the reports.
    """

    recipe: Literal["paper", "released"] = "paper"
    lam: float = 0.9
    temperature: float = 0.03
    shuffle: bool = True
    together: int = 0
    pixels: PaintConfig = field(
        default_factory=lambda: PaintConfig(
            inside=0.5, outside=0.5, norm_pix=False, width=768, depth=4, heads=6
        )
    )
    text: TextConfig = field(default_factory=TextConfig)

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            UsageError: If a value is out of range.
        """
        if not (0 <= self.lam <= 1 and self.temperature > 0 and self.together >= 0):
            raise UsageError(
                f"options.lam is {self.lam}, temperature {self.temperature}, together {self.together}",
                "wanted 0 <= lam <= 1, temperature above 0, together at least 0",
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
        codes: The reports, as they are read.
    """

    choice: Choice
    codes: Codes


class MacoObjective(nn.Module):
    """Masked image encoder, report encoder, pixel decoder, and the correlation weight.

    ``place`` gives each place of the grid a weight (the release uses it for grounding too): an
    image's trust is softplus of their sum over the visible places, ln 2 at the start.

    Args:
        vit: Shape of the image encoder.
        config: The objective's options.
        vocabulary: Of the training reports.
    """

    options: ClassVar = MacoConfig

    def __init__(self, vit: VitConfig, config: MacoConfig, vocabulary: VocabularySource | None) -> None:
        super().__init__()
        self.config, self.together = config, config.together
        self.encoder = Vit(vit)
        self.painter = Painter(vit, config.pixels)
        self.needs = self.painter.needs | {"reports"}
        self.text = TextEncoder(config.text, vocabulary, first_stands=True)
        self.pool_text = nn.Sequential(nn.Linear(self.text.width, self.text.width), nn.Tanh())
        self.project = nn.Linear(vit.width, self.text.width)
        for part in (self.pool_text, self.project):
            part.apply(initialise)
        self.place = nn.Linear(vit.patches, 1)
        nn.init.zeros_(self.place.weight)
        nn.init.zeros_(self.place.bias)
        self.scale = nn.Parameter(torch.tensor([1 / config.temperature]))

    @classmethod
    def build(
        cls, vit: VitConfig, options: Mapping[str, Any], vocabulary: VocabularySource | None = None
    ) -> MacoObjective:
        """Make the objective from the ``[options]`` table of a config.

        Raises:
            UsageError: If an option is unknown or out of range.
        """
        return cls(vit, build(MacoConfig, options, "options."), vocabulary)

    def forward(self, batch: Batch, chance: Chance) -> Loss:
        """Loss of one batch.

        Images without a report are painted, and take no part in the contrast.

        Args:
            batch: With ``image``, ``valid``, ``reports``, and the lungs where the mask wants them.
            chance: Chooses patches, languages and sentences.

        Returns:
            The loss; parts ``contrast``, ``paint``, ``trust`` (mean over images), ``scale``,
            ``inside`` and ``hidden``.
        """
        return self.loss(batch, self.draw(batch, chance))

    def draw(self, batch: Batch, chance: Chance) -> Draws:
        """All chance of one forward pass."""
        choice = self.painter.choose(batch, chance)
        texts, langs = choose_reports(batch, self.config.text.langs, chance)
        if self.config.shuffle:
            texts = shuffled(texts, langs, chance)
        return Draws(choice, self.text.encode(texts, langs))

    def loss(self, batch: Batch, draws: Draws) -> Loss:
        """What follows from the draws."""
        codes, choice = draws.codes.to(batch.image.device), draws.choice
        fine = self.painter.fine(batch)
        tokens = self.encoder.encode(self.painter.coarse(batch, fine), keep_ids=choice.keep_ids)
        paint, parts = self.painter(tokens, fine, choice)
        image = self.project(tokens[:, 1:].mean(1))  # (B, D)
        trust = F.softplus(self.place(choice.visible().float()))[:, 0].float()  # (B,)
        contrast = correlation_loss(image, self._text(codes), trust, self.scale, codes.present)
        lam = self.config.lam
        total = lam * contrast + (1 - lam) * paint if self.config.recipe == "paper" else contrast + paint
        said = {
            "contrast": contrast,
            "paint": paint,
            "trust": trust.mean(),
            "scale": self.scale.detach().clone()[0],
        }
        return Loss(total, parts | {name: value.detach() for name, value in said.items()})

    @torch.no_grad()
    def reconstruct(self, batch: Batch, chance: Chance) -> Reconstruction:
        """Paint the hidden patches of a batch, to look at."""
        choice, fine = self.painter.choose(batch, chance), self.painter.fine(batch)
        tokens = self.encoder.encode(self.painter.coarse(batch, fine), keep_ids=choice.keep_ids)
        return self.painter.show(tokens, fine, choice)

    @torch.no_grad()
    def embed_image(self, batch: Batch) -> Tensor:
        """Vectors of whole images, (B, D), not of unit length.

        The release compares them with those of texts by the plain product.
        """
        tokens, valid = self._tokens(batch)
        weight = (valid / valid.sum(1, keepdim=True))[:, :, None].to(tokens.dtype)
        vectors: Tensor = self.project((tokens[:, 1:] * weight).sum(1)).float()
        return vectors

    @torch.no_grad()
    def embed_patches(self, batch: Batch) -> Tensor:
        """Vectors of patches, (B, N, D), not of unit length, comparable with those of `embed_text`."""
        vectors: Tensor = self.project(self._tokens(batch)[0][:, 1:]).float()
        return vectors

    @torch.no_grad()
    def place_shares(self) -> Tensor:
        """(N,) what the places of the grid weigh in grounding; they add up to 1.

        Source:
            MaCo's release: softmax of the places' weights over a temperature of 0.02.
        """
        return (self.place.weight[0].float() / PLACE_TEMPERATURE).softmax(0)

    def _tokens(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """(B, 1 + N, D) tokens of whole images, and (B, N) bool, False where a patch is padding."""
        valid = self.painter.valid(batch)
        patches = self.painter.coarse(batch, self.painter.fine(batch))
        return self.encoder.encode(patches, valid=None if bool(valid.all()) else valid), valid

    @torch.no_grad()
    def embed_text(self, texts: Sequence[str], lang: str = "en") -> Tensor:
        """Vectors of texts of one language, (len(texts), D); in evaluation mode meanwhile."""
        was_training = self.training
        self.eval()
        codes = self.text.encode(texts, [lang] * len(texts)).to(self.scale.device)
        vectors = self._text(codes).float()
        self.train(was_training)
        return vectors

    def _text(self, codes: Codes) -> Tensor:
        vectors: Tensor = self.pool_text(self.text(codes.tokens, codes.real)[:, 0])
        return vectors


def correlation_loss(image: Tensor, text: Tensor, trust: Tensor, scale: Tensor, present: Tensor) -> Tensor:
    """The weighted contrast, over all processes.

    A quarter of: the cross-entropy of each image over all reports with its logits multiplied by
    its trust; the same of each report over all images; and both without, but as a mean weighted
    by the trust, which gets no gradient there.

    Args:
        image: (B, D) features.
        text: (B, D) features.
        trust: (B,) float, s, above 0.
        scale: (1,) float, what cosines are multiplied by.
        present: (B,) bool, whether the image has a report.

    Returns:
        This process's part; the mean of the parts is the loss.

    Source:
        MaCo's release; 1/4 [CE(s S) + CE(s S^T) + WCE_s(S) + WCE_s(S^T)].
    """
    pairs = pair_up(image, text, present)
    trust = trust[pairs.own]  # (M,)
    fixed = trust.detach()
    scale = scale.float()
    normal = distributed.total(fixed.sum()).clamp_min(torch.finfo(torch.float32).tiny)
    total = fixed.sum() * 0.0
    for cosines in similarities(pairs):
        logits = scale * cosines
        total = total + pairs.mean(row_losses(trust[:, None] * logits, pairs.at))
        weighted = (fixed * row_losses(logits, pairs.at)).sum()
        total = total + weighted * (distributed.world() / normal)
    return total / 4
