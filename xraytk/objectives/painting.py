"""Hide patches, look at the others, paint what was hidden: the image side of every objective."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from xraytk.chance import Chance
from xraytk.errors import UsageError
from xraytk.models.pixels import PixelDecoder, mean_square, pixel_target
from xraytk.models.vit import (
    VitConfig,
    flat_ids,
    levels,
    normalise,
    patchify,
    share_per_patch,
    unpatchify,
    valid_patches,
)
from xraytk.objectives.masking import INSIDE_FROM, Policy, draw, share_map, unseen, visible_count
from xraytk.records import Batch


@dataclass(frozen=True, slots=True, kw_only=True)
class PaintConfig:
    """What is hidden, what is painted, and by how large a decoder.

    Args:
        mask: How the visible patches are chosen; see `masking.share_map`.
        inside: Ratio hidden inside the lungs.
        outside: Ratio hidden outside; with the policy "random" the one that counts.
        norm_pix: Predict each patch with its mean taken off and its deviation made 1.
        enlarge: How many times finer than the encoder's input the painted patches are (super
            resolution): ``data.image_px`` is ``vit.image_px`` times this.
        width: Width of a decoder token; a multiple of 4 and of ``heads``.
        depth: Blocks of the decoder.
        heads: Attention heads of the decoder.
    """

    mask: Policy = "random"
    inside: float = 0.75
    outside: float = 0.75
    norm_pix: bool = True
    enlarge: int = 1
    width: int = 512
    depth: int = 8
    heads: int = 16

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            UsageError: If a value is out of range.
        """
        if not 0 <= self.outside <= self.inside < 1:
            raise UsageError(
                f"inside is {self.inside} and outside {self.outside}", "wanted 0 <= outside <= inside < 1"
            )
        for name in ("enlarge", "width", "depth", "heads"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} is {getattr(self, name)}", "wanted at least 1")
        if self.width % self.heads or self.width % 4:
            raise UsageError(
                f"the decoder's width is {self.width}",
                f"wanted a multiple of 4 and of its heads ({self.heads})",
            )


@dataclass(frozen=True, slots=True)
class Choice:
    """Which patches are seen; all where the image lies.

    Args:
        keep_ids: (B, K) int64, rising.
        hidden_ids: (B, N - K) int64, rising: the others, padding among them.
        valid: (B, N) bool, False where a patch is padding.
        share: (B, N) float, share inside the lungs.
        inside: (B, N) bool, where the policy holds the chest to be.
    """

    keep_ids: Tensor
    hidden_ids: Tensor
    valid: Tensor
    share: Tensor
    inside: Tensor

    @property
    def hidden(self) -> Tensor:
        """(B, N) bool, True where a patch of the image is not seen."""
        return self.valid & ~self.visible()

    def visible(self) -> Tensor:
        """(B, N) bool, True where a patch is seen."""
        return torch.zeros_like(self.inside).scatter(1, self.keep_ids, True)


@dataclass(frozen=True, slots=True)
class Reconstruction:
    """Pictures of what the model sees and paints, all uint8.

    Args:
        original: (B, H, W).
        masked: (B, H, W), hidden patches grey.
        painted: (B, H, W), hidden patches as predicted, visible ones pasted.
        hidden: (B, N) bool.
        inside: (B, N) bool, True where the masking policy holds the chest to be.
    """

    original: Tensor
    masked: Tensor
    painted: Tensor
    hidden: Tensor
    inside: Tensor


class Painter(nn.Module):
    """Chooses patches, and scores and shows what is painted over the hidden ones.

    Args:
        vit: Shape of the encoder.
        config: What is hidden and painted.
        width_in: Width of the tokens to paint from; the encoder's by default.
    """

    def __init__(self, vit: VitConfig, config: PaintConfig, width_in: int = 0) -> None:
        super().__init__()
        self.vit, self.config = vit, config
        self.fine_px = vit.patch_px * config.enlarge
        self.visible = visible_count(config.mask, vit.grid, config.inside, config.outside)
        self.decoder = PixelDecoder(
            width_in or vit.width,
            vit.grid,
            self.fine_px**2 * vit.channels,
            width=config.width,
            depth=config.depth,
            heads=config.heads,
        )

    @property
    def needs(self) -> frozenset[str]:
        """Fields of a batch that the choice wants."""
        lungs = frozenset({"lung", "has_contour"}) if self.config.mask == "contour" else frozenset[str]()
        return frozenset({"image", "valid"}) | lungs

    def fine(self, batch: Batch) -> Tensor:
        """Grey levels of the patches as they are to be painted, (B, N, fine_px**2) uint8."""
        return patchify(batch.image, self.fine_px)

    def coarse(self, batch: Batch, fine: Tensor) -> Tensor:
        """Patches for `Vit.encode`: ``fine`` itself unless it is enlarged."""
        if self.config.enlarge == 1:
            return fine
        image = normalise(batch.image, self.vit.channels)
        small = F.interpolate(image, self.vit.size, mode="bicubic", antialias=True).clamp(-1, 1)
        return patchify(small, self.vit.patch_px)

    def valid(self, batch: Batch) -> Tensor:
        """(B, N) bool, False where a patch is padding; an image that is all padding is all image."""
        valid = valid_patches(batch.valid, self.fine_px)
        return valid if _one_value(valid) else valid | ~valid.any(1, keepdim=True)

    def choose(self, batch: Batch, chance: Chance) -> Choice:
        """Draw the patches that are seen."""
        share = share_per_patch(batch.lung, self.fine_px)
        valid = self.valid(batch)
        where = share_map(self.config.mask, share, batch.has_contour, self.vit.grid)
        keep_ids = draw(where, valid, self.config.inside, self.config.outside, chance, self.visible)
        return Choice(keep_ids, unseen(keep_ids, share.shape[1]), valid, share, where >= INSIDE_FROM)

    def forward(self, tokens: Tensor, fine: Tensor, choice: Choice) -> tuple[Tensor, dict[str, Tensor]]:
        """Squared error over the hidden patches.

        The error of a hidden patch is its mean over pixels; an image's loss the mean over its
        hidden patches; the total the mean over images. When all images have as many patches this
        is the paper's mean over all hidden patches, and it does not depend on how a batch is cut
        into micro-batches.

        Args:
            tokens: (B, 1 + K, D) of the visible patches.
            fine: (B, N, fine_px**2) uint8, from `fine`.
            choice: From `choose`.

        Returns:
            The loss; its parts ``inside`` (error inside the lungs; that of all when there are
            none) and ``hidden`` (share of the patches that was hidden).
        """
        real = choice.valid.gather(1, choice.hidden_ids)  # (B, N - K), False for padding
        weight = (real / (real.sum(1, keepdim=True).clamp_min(1) * len(real))).flatten()
        lungs = (choice.share.gather(1, choice.hidden_ids) >= INSIDE_FROM).flatten()
        ids = flat_ids(choice.hidden_ids, fine.shape[1])
        if fine.device.type == "cpu":  # a GPU paints padding too: to count it first would be to wait
            some = real.flatten().nonzero()[:, 0]
            ids, weight, lungs = ids[some], weight[some], lungs[some]
        predicted = self._paint(tokens, choice, ids)  # (M, P)
        target, _, _ = pixel_target(self._levels(fine, ids), self.config.norm_pix)
        error = mean_square(predicted, target)  # (M,)
        loss = (error * weight).sum()
        of_lungs = weight * lungs
        inside = torch.where(of_lungs.any(), (error * of_lungs).sum() / of_lungs.sum().clamp_min(1e-9), loss)
        return loss, {"inside": inside.detach(), "hidden": real.sum() / choice.valid.sum()}

    def _paint(self, tokens: Tensor, choice: Choice, ids: Tensor) -> Tensor:
        whole = _one_value(choice.valid) or (ids.device.type == "cpu" and bool(choice.valid.all()))
        mask = None if whole else choice.valid
        painted: Tensor = self.decoder(tokens, choice.keep_ids, ids, choice.valid.shape[1], mask)
        return painted

    @torch.no_grad()
    def show(self, tokens: Tensor, fine: Tensor, choice: Choice) -> Reconstruction:
        """Paint the hidden patches, to look at; arguments as for `forward`.

        With ``norm_pix`` the model predicts no mean and no contrast: these are taken from the
        patch that was hidden, so a picture looks better than the model alone could make it.
        """
        hidden = choice.hidden
        ids = hidden.flatten().nonzero()[:, 0]
        predicted = self._paint(tokens, choice, ids).float()
        _, mean, deviation = pixel_target(self._levels(fine, ids), self.config.norm_pix)
        whole = levels(fine, self.vit.channels)
        painted, masked = whole.clone(), whole.clone()
        painted.flatten(0, 1)[ids] = predicted * deviation + mean
        masked.flatten(0, 1)[ids] = 0.0
        original, seen, drawn = (self._picture(p) for p in (whole, masked, painted))
        return Reconstruction(original, seen, drawn, hidden.cpu(), choice.inside.cpu())

    def _levels(self, fine: Tensor, ids: Tensor) -> Tensor:
        return levels(fine.flatten(0, 1).index_select(0, ids), self.vit.channels)  # (M, P)

    def _picture(self, patches: Tensor) -> Tensor:
        image = unpatchify(patches, self.fine_px, self.vit.grid[0], self.vit.channels).mean(1)
        return ((image + 1) * 127.5).round().clamp(0, 255).to(torch.uint8).cpu()


def _one_value(valid: Tensor) -> bool:
    """Whether the stream says, without a look at the values, that nothing is padding."""
    return not any(valid.stride())
