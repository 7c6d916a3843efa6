"""Masked autoencoding: see a few patches, paint the rest.

Source: the paper, section III, on MAE (He et al. 2022); written from the formulas.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from xraytk.config import build
from xraytk.errors import UsageError
from xraytk.models.vit import (
    Vit,
    VitConfig,
    attention_mask,
    initialise,
    make_blocks,
    normalise,
    patchify,
    share_per_patch,
    sincos_positions,
    unpatchify,
    valid_patches,
)
from xraytk.objectives.masking import INSIDE_FROM, Policy, draw, hidden_patches, share_map
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


@dataclass(frozen=True, slots=True)
class Reconstruction:
    """Pictures of what the model sees and paints, all uint8.

    Args:
        original: (B, H, W).
        masked: (B, H, W), hidden patches grey.
        painted: (B, H, W), hidden patches as predicted, visible ones pasted.
        hidden: (B, N) bool.
    """

    original: Tensor
    masked: Tensor
    painted: Tensor
    hidden: Tensor


class MaeObjective(nn.Module):
    """Encoder on the visible patches, light decoder on all, squared error on the hidden ones.

    Args:
        vit: Shape of the encoder.
        config: The objective's options.
    """

    needs = frozenset({"image", "valid", "lung", "has_contour"})
    positions: Tensor  # (1 + N, decoder width)

    def __init__(self, vit: VitConfig, config: MaeConfig) -> None:
        super().__init__()
        self.config = config
        width = config.decoder_width
        self.encoder = Vit(vit)
        self.narrow = nn.Linear(vit.width, width)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, width))
        self.decoder = make_blocks(width, config.decoder_depth, config.decoder_heads)
        self.decoder_norm = nn.LayerNorm(width, eps=1e-6)
        self.paint = nn.Linear(width, vit.patch_values)
        self.register_buffer("positions", sincos_positions(vit.grid, vit.grid, width), persistent=False)
        for part in (self.narrow, self.decoder, self.paint):
            part.apply(initialise)
        nn.init.normal_(self.mask_token, std=0.02)

    @classmethod
    def build(cls, vit: VitConfig, options: Mapping[str, Any]) -> MaeObjective:
        """Make the objective from the ``[options]`` table of a config.

        Raises:
            UsageError: If an option is unknown or out of range.
        """
        return cls(vit, build(MaeConfig, options, "options."))

    def forward(self, batch: Batch, rng: torch.Generator) -> Loss:
        """Loss of one batch.

        The squared error of a hidden patch is its mean over pixels; an image's loss the mean over
        its hidden patches; the total the mean over images. When all images have as many patches
        this is the paper's mean over all hidden patches, and it does not depend on how a batch
        is cut into micro-batches.

        Args:
            batch: With ``image``, ``valid``, ``lung``, ``has_contour``.
            rng: Chooses the patches.

        Returns:
            The loss; parts ``inside`` (error inside the lungs; that of all when there are none) and
            ``hidden`` (share of the patches that was hidden).
        """
        patches = self._patches(batch)  # (B, N, P)
        keep_ids, hidden, valid, share = self._choose(batch, rng)
        predicted = self._predict(patches, keep_ids, hidden, valid)  # (M, P), M hidden in all
        where = hidden.to(patches.device)
        target, _, _ = self._target(patches[where])
        error = (predicted.float() - target).square().mean(-1)  # (M,)
        counts = hidden.sum(1).clamp_min(1)  # (B,)
        weight = (1.0 / (counts * len(counts)))[:, None].expand_as(hidden)[hidden].to(error.device)
        total = (error * weight).sum()
        lungs = (share >= INSIDE_FROM)[hidden].to(error.device)  # (M,)
        inside = torch.where(lungs.any(), (error * lungs).sum() / lungs.sum().clamp_min(1), error.mean())
        ratio = (hidden.sum() / valid.sum()).to(error.device)
        return Loss(total, {"inside": inside.detach(), "hidden": ratio})

    @torch.no_grad()
    def reconstruct(self, batch: Batch, rng: torch.Generator) -> Reconstruction:
        """Paint the hidden patches of a batch, to look at.

        With ``norm_pix`` the model predicts no mean and no contrast: these are taken from the
        patch that was hidden, so a picture looks better than the model alone could make it.

        Args:
            batch: As for `forward`.
            rng: Chooses the patches.
        """
        patches = self._patches(batch)
        keep_ids, hidden, valid, _ = self._choose(batch, rng)
        predicted = self._predict(patches, keep_ids, hidden, valid).float()
        where = hidden.to(patches.device)
        _, mean, deviation = self._target(patches[where])
        painted, masked = patches.clone(), patches.clone()
        painted[where] = predicted * deviation + mean
        masked[where] = 0.0
        original, seen, drawn = (self._picture(p) for p in (patches, masked, painted))
        return Reconstruction(original, seen, drawn, hidden)

    def _patches(self, batch: Batch) -> Tensor:
        vit = self.encoder.config
        return patchify(normalise(batch.image, vit.channels), vit.patch_px)

    def _choose(self, batch: Batch, rng: torch.Generator) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """(B, K) visible ids; (B, N) hidden, valid and lung share; all but the ids on the CPU."""
        patch_px = self.encoder.config.patch_px
        share = share_per_patch(batch.lung, patch_px).cpu()
        valid = valid_patches(batch.valid, patch_px).cpu()
        valid |= ~valid.any(1, keepdim=True)  # an image that is nothing but padding is all image
        where = share_map(self.config.mask, share, batch.has_contour.cpu())
        keep_ids = draw(where, valid, self.config.inside, self.config.outside, rng)
        return keep_ids.to(batch.image.device), hidden_patches(keep_ids, valid), valid, share

    def _predict(self, patches: Tensor, keep_ids: Tensor, hidden: Tensor, valid: Tensor) -> Tensor:
        """Decoder output for the hidden patches, image by image: (M, P)."""
        seen = self.narrow(self.encoder.encode(patches, keep_ids=keep_ids))  # (B, 1 + K, D)
        b, n = hidden.shape
        blank = self.mask_token.to(seen.dtype).expand(b, n, -1)
        spots = keep_ids[:, :, None].expand(-1, -1, seen.shape[2])
        tokens = torch.cat([seen[:, :1], blank.scatter(1, spots, seen[:, 1:])], 1) + self.positions
        mask = None if bool(valid.all()) else attention_mask(valid.to(tokens.device))
        for block in self.decoder:
            tokens = block(tokens, attn_mask=mask)
        wanted = self.decoder_norm(tokens[:, 1:][hidden.to(tokens.device)])  # (M, D)
        painted: Tensor = self.paint(wanted)
        return painted

    def _target(self, patches: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What to predict for (M, P) patches, and the (M, 1) mean and deviation taken off."""
        if not self.config.norm_pix:
            return patches, patches.new_zeros(len(patches), 1), patches.new_ones(len(patches), 1)
        mean = patches.mean(-1, keepdim=True)
        deviation = (patches.var(-1, keepdim=True) + 1e-6).sqrt()  # unbiased
        return (patches - mean) / deviation, mean, deviation

    def _picture(self, patches: Tensor) -> Tensor:
        vit = self.encoder.config
        image = unpatchify(patches, vit.patch_px, vit.grid, vit.channels).mean(1)
        return ((image + 1) * 127.5).round().clamp(0, 255).to(torch.uint8).cpu()
