"""Segmentation: the pretrained encoder and a light decoder that outlines lungs, hearts, clear lungs.

Every class has a map of its own, since whole and clear lungs and the heart overlap. An image
that lacks the contour of a class teaches nothing of it, and is not scored for it.
"""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from xraytk.chance import Chance
from xraytk.config import Pixels, build
from xraytk.data import regions
from xraytk.data.augment import Fit
from xraytk.data.contour import CLEAR, LUNGS
from xraytk.data.stream import Stream
from xraytk.errors import DataError, UsageError
from xraytk.models.dense import DenseConfig, DenseDecoder
from xraytk.models.vit import Vit, VitConfig, normalise, valid_patches
from xraytk.records import Batch, Loss, Outlines
from xraytk.tasks.held_out import loss_of
from xraytk.tasks.metrics import masks

CLASSES = (*LUNGS, *CLEAR, "heart")
"""Contours that a workspace can have: of `xraytk mask`, or brought by `xraytk mask --import`."""
_TEXTS = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentConfig:
    """What is outlined.

    Args:
        classes: Some of "right_lung", "left_lung" (whole, behind the heart too), "right_clear",
            "left_clear" (without what the heart covers) and "heart".
    """

    classes: tuple[str, ...] = LUNGS

    def __post_init__(self) -> None:
        """Check the names.

        Raises:
            UsageError: If one is unknown or comes twice, or there is none.
        """
        unknown = [name for name in self.classes if name not in CLASSES]
        if unknown or not self.classes or len(set(self.classes)) < len(self.classes):
            raise UsageError(
                f"segment.classes is {list(self.classes)}", f"wanted some of {', '.join(CLASSES)}, each once"
            )


@dataclass(frozen=True, slots=True)
class Segmented:
    """What the model says of one image, in the frame.

    Args:
        image_id: Hashed id.
        patient_hash: Hashed patient.
        chances: (C, h, w) float32 in [0, 1], spread over the frame.
        truth: Contours in pixels of the frame, those of other names too.
        shape: Height and width of the image.
    """

    image_id: str
    patient_hash: str
    chances: NDArray[np.float32]
    truth: Outlines
    shape: tuple[int, int]


class SegmentTask(nn.Module):
    """Encoder and a decoder that gives one map a class.

    Args:
        encoder: Shape of the encoder.
        config: Size of the decoder.
        classes: Names of the C contours.
        frozen: Leave the encoder as it is.

    Source:
        Soft Dice: V-Net (Milletari et al. 2016), with binary cross-entropy, both weighing one.
    """

    needs = frozenset({"image", "valid", "outlines", "shape"})

    def __init__(
        self, encoder: VitConfig, config: DenseConfig, classes: Sequence[str], *, frozen: bool = False
    ) -> None:
        super().__init__()
        self.encoder = Vit(encoder).requires_grad_(not frozen)
        self.config, self.classes, self.frozen = config, tuple(classes), frozen
        self.dense = DenseDecoder(encoder, config, len(self.classes))

    def logits(self, batch: Batch) -> Tensor:
        """Score of every class in every cell.

        Returns:
            (B, C, h, w) float32 logits, spread over the frame.
        """
        config = self.encoder.config
        valid = valid_patches(batch.valid, config.patch_px)  # (B, N)
        image = normalise(batch.image, config.channels)
        out: Tensor = self.dense(self.encoder, image, valid, frozen=self.frozen)
        return out

    def forward(self, batch: Batch, chance: Chance) -> Loss:
        """Binary cross-entropy plus soft Dice, means over the contours that are known."""
        cross, overlap = self._losses(self.logits(batch), batch)
        return Loss(cross + overlap, {"cross_entropy": cross.detach(), "dice_loss": overlap.detach()})

    def _losses(self, logits: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        truth, known = self._truth(batch)
        seen = F.adaptive_avg_pool2d(batch.valid[:, None].float(), self.dense.size)  # (B, 1, h, w)
        each = F.binary_cross_entropy_with_logits(logits, truth, reduction="none")
        cross = (each * seen).sum((2, 3)) / seen.sum((2, 3)).clamp(min=1e-6)  # (B, C)
        overlap = 1 - soft_dice(logits.sigmoid() * seen, truth * seen)
        count = known.sum().clamp(min=1)
        return (cross * known).sum() / count, (overlap * known).sum() / count

    def _truth(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Share of every cell inside each contour, (B, C, h, w), and which are known, (B, C)."""
        size, cells = self.encoder.config.size, self.dense.size
        made = np.zeros((len(batch.outlines), len(self.classes), *cells), np.float32)
        known = np.zeros(made.shape[:2], np.float32)
        for i, outlines in enumerate(batch.outlines):
            for c, name in enumerate(self.classes):
                if name in outlines:
                    made[i, c] = regions.share_map(outlines[name], size, cells)
                    known[i, c] = 1
        device = batch.image.device
        return torch.from_numpy(made).to(device), torch.from_numpy(known).to(device)

    @torch.no_grad()
    def predict(self, batch: Batch) -> list[Segmented]:
        """Maps of every image; the model is in evaluation mode meanwhile."""
        was_training = self.training
        self.eval()
        chances = self.logits(batch).sigmoid().cpu().numpy()
        self.train(was_training)
        return [
            Segmented(*each)
            for each in zip(
                batch.image_id, batch.patient_hash, chances, batch.outlines, batch.shape, strict=True
            )
        ]

    def validate(self, batches: Iterable[Batch]) -> dict[str, float]:
        """Score on the validation split, in the frame.

        Returns:
            Dice of each class, mean over the images that have its contour; the mean of these as
            "dice" and "score"; "loss". {} where no image has a contour.
        """
        size = self.encoder.config.size
        found: dict[str, list[float]] = {name: [] for name in self.classes}
        losses = []
        for batch in batches:
            losses.append(loss_of(self, batch))
            for one in self.predict(batch):
                for name, values in found.items():
                    if name in one.truth:
                        truth = regions.filled(one.truth[name], *size)
                        values.append(masks.dice(self._in_frame(one, name), truth))
        numbers = {f"dice_{name}": sum(values) / len(values) for name, values in found.items() if values}
        if numbers:
            numbers["score"] = numbers["dice"] = sum(numbers.values()) / len(numbers)
            numbers["loss"] = sum(losses) / len(losses)
        return numbers

    def _in_frame(self, one: Segmented, name: str) -> NDArray[np.bool_]:
        size = self.encoder.config.size
        chances = one.chances[self.classes.index(name)]
        return np.asarray(regions.map_back(chances, size, size, "stretch") > 0.5)

    def fitted(self, batches: Iterable[Batch]) -> dict[str, Any]:
        """Facts fitted on the validation split: none, a cell is inside from 0.5 on."""
        return {}

    def describe(self) -> dict[str, Any]:
        """What `rebuild` needs, as plain values."""
        return {
            "encoder": dataclasses.asdict(self.encoder.config),
            "dense": dataclasses.asdict(self.config),
            "classes": list(self.classes),
        }

    @classmethod
    def rebuild(cls, model: Mapping[str, Any], folder: Path) -> SegmentTask:
        """Build the model that `describe` described, with random weights."""
        dense = build(DenseConfig, model["dense"], "dense.")
        return cls(build(VitConfig, model["encoder"], "encoder."), dense, model["classes"])


def soft_dice(chances: Tensor, truth: Tensor) -> Tensor:
    """Dice of chances, with one cell added above and below, so that two empty maps agree.

    Args:
        chances: (B, C, h, w) in [0, 1].
        truth: Of the same shape.

    Returns:
        (B, C).
    """
    both = (chances * truth).sum((2, 3))
    return (2 * both + 1) / (chances.sum((2, 3)) + truth.sum((2, 3)) + 1)


def check_outlines(stream: Stream, classes: Sequence[str]) -> dict[str, int]:
    """Count the images that have each contour.

    Args:
        stream: Of the training split; ``outlines`` are needed of it.
        classes: Names of contours.

    Raises:
        DataError: If no image has one of them.
    """
    found: Counter[str] = Counter()
    for batch in stream.once(batch=_TEXTS):
        for outlines in batch.outlines:
            found.update(outlines.keys())
    lacking = [name for name in classes if not found[name]]
    if lacking:
        there = ", ".join(f"{name} {count:,}" for name, count in sorted(found.items()))
        raise DataError(
            f"no training image has a contour {' or '.join(lacking)}",
            f"the shards hold: {there or 'no contour at all'}",
            "Run `xraytk mask` (or `xraytk mask --import` for outlines of your own), then `xraytk shard` "
            "again, or choose others with --set segment.classes=[...].",
        )
    return {name: found[name] for name in classes}


@dataclass(frozen=True, slots=True)
class Overlaps:
    """One image at its own resolution.

    Args:
        masks: (C, H, W) bool.
        truth: Contours in pixels of the image.
        dice: Of each class, NaN where its contour is not known.
        iou: Likewise.
    """

    masks: NDArray[np.bool_]
    truth: Outlines
    dice: list[float]
    iou: list[float]


def overlaps(one: Segmented, classes: Sequence[str], size: Pixels, fit: Fit) -> Overlaps:
    """Score one image.

    Args:
        one: A prediction.
        classes: Of its maps.
        size: Of the frame, in pixels.
        fit: How the image lies in it.
    """
    truth = regions.outlines_back(one.truth, one.shape, size, fit)
    found = np.stack([regions.map_back(m, one.shape, size, fit) > 0.5 for m in one.chances])
    made = Overlaps(found, truth, [math.nan] * len(classes), [math.nan] * len(classes))
    for c, name in enumerate(classes):
        if name in truth:
            filled = regions.filled(truth[name], *one.shape)
            made.dice[c], made.iou[c] = masks.dice(found[c], filled), masks.iou(found[c], filled)
    return made
