"""Detection: the pretrained encoder and a light head that draws boxes around findings.

What is not drawn is not always absent: a set may have boxes on a few of its images, or of one
finding out of three. So an image counts as free of a finding where its labels say so, and is
left out for a finding that they claim, or do not mention, and nobody drew.
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
from numpy.typing import NDArray
from torch import Tensor, nn

from xraytk.chance import Chance
from xraytk.config import build
from xraytk.data.stream import Stream
from xraytk.errors import DataError, UsageError
from xraytk.models import box_maps
from xraytk.models.dense import DenseConfig, DenseDecoder
from xraytk.models.vit import Vit, VitConfig, normalise, valid_patches
from xraytk.records import Batch, Box, Loss
from xraytk.tasks.held_out import loss_of
from xraytk.tasks.metrics import boxes
from xraytk.tasks.metrics.masks import mean
from xraytk.tasks.metrics.values import Floats

MOST = 50
"""Boxes that are looked at in one image."""
LEAST = 0.05
"""Score below which nothing is kept."""
UNFITTED = 0.3
"""Threshold of a label without boxes in the validation split."""
_PRIOR = -math.log((1 - 0.02) / 0.02)
_TEXTS = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectConfig:
    """What is detected, and what an image without boxes means.

    Args:
        labels: Of the boxes; () for all of the training split.
        unmentioned: What an image is taken for that has no box of a finding, and no label of it
            either: "leave" it out for that finding, or "absent". Where an image has other boxes, it
            is absent.
        overlap: Boxes of one label that overlap a surer one by more are dropped, in (0, 1].
    """

    labels: tuple[str, ...] = ()
    unmentioned: str = "leave"
    overlap: float = 0.3

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            UsageError: If a value is out of range.
        """
        if self.unmentioned not in ("leave", "absent"):
            raise UsageError(f"detect.unmentioned is {self.unmentioned!r}", "wanted leave or absent")
        if not 0 < self.overlap <= 1:
            raise UsageError(f"detect.overlap is {self.overlap}", "wanted a share above 0 and up to 1")
        if len(set(self.labels)) < len(self.labels):
            raise UsageError(f"detect.labels is {list(self.labels)}", "wanted each once")


@dataclass(frozen=True, slots=True)
class Detected:
    """What the model says of one image, in pixels of the frame.

    Args:
        image_id: Hashed id.
        patient_hash: Hashed patient.
        found: Boxes, the surest first.
        scores: Of these, in [0, 1].
        truth: Boxes that were drawn, of other labels too.
        known: Labels whose boxes are all drawn.
        shape: Height and width of the image.
    """

    image_id: str
    patient_hash: str
    found: tuple[Box, ...]
    scores: tuple[float, ...]
    truth: tuple[Box, ...]
    known: frozenset[str]
    shape: tuple[int, int]


class DetectTask(nn.Module):
    """Encoder and a head that gives a map of centres for each label, and edges in every cell.

    Args:
        encoder: Shape of the encoder.
        dense: Size of the decoder.
        config: What is detected.
        labels: Names of the C labels.
        frozen: Leave the encoder as it is.
    """

    needs = frozenset({"image", "valid", "boxes", "labels", "shape"})

    def __init__(
        self,
        encoder: VitConfig,
        dense: DenseConfig,
        config: DetectConfig,
        labels: Sequence[str],
        *,
        frozen: bool = False,
    ) -> None:
        super().__init__()
        self.encoder = Vit(encoder).requires_grad_(not frozen)
        self.config, self.labels, self.frozen, self.size = config, tuple(labels), frozen, dense
        self.dense = DenseDecoder(encoder, dense, len(self.labels) + box_maps.EDGES)
        nn.init.constant_(self.dense.output.bias[: len(self.labels)], _PRIOR)  # type: ignore[index]

    def maps(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Logits of centres (B, C, h, w), and edges in cells (B, 4, h, w)."""
        config = self.encoder.config
        valid = valid_patches(batch.valid, config.patch_px)  # (B, N)
        image = normalise(batch.image, config.channels)
        out = self.dense(self.encoder, image, valid, frozen=self.frozen)
        return out[:, : len(self.labels)], box_maps.edges_of(out[:, len(self.labels) :])

    def forward(self, batch: Batch, chance: Chance) -> Loss:
        """Focal loss of the centres plus the overlap that the edges lack."""
        logits, edges = self.maps(batch)
        size = self.encoder.config.size
        made = box_maps.targets(batch.boxes, self.labels, size, self.dense.size)
        heat, truth, weight = (torch.from_numpy(part).to(logits.device) for part in made)
        centres = box_maps.focal_loss(logits, heat, self.known(batch).float())
        sides = box_maps.edge_loss(edges, truth, weight)
        return Loss(centres + sides, {"centres": centres.detach(), "edges": sides.detach()})

    def known(self, batch: Batch) -> Tensor:
        """Whether all boxes of a label are drawn: some are, or there are none to draw, (B, C) bool."""
        drawn = np.array([[any(b.label == n for b in found) for n in self.labels] for found in batch.boxes])
        some = np.array([[bool(found)] for found in batch.boxes])
        has = torch.from_numpy(drawn.reshape(len(batch.boxes), len(self.labels))).to(batch.labels.device)
        other = torch.from_numpy(some).to(batch.labels.device)
        unmentioned = torch.isnan(batch.labels) & (other | (self.config.unmentioned == "absent"))
        return has | (batch.labels == 0) | unmentioned

    @torch.no_grad()
    def predict(self, batch: Batch) -> list[Detected]:
        """Boxes of every image; the model is in evaluation mode meanwhile."""
        was_training = self.training
        self.eval()
        logits, edges = self.maps(batch)
        self.train(was_training)
        (rows, cols), (h, w) = self.encoder.config.size, self.dense.size
        scores, names, found = box_maps.peaks(logits.sigmoid(), edges, MOST)
        found = found * found.new_tensor([cols / w, rows / h, cols / w, rows / h])
        found[..., 0::2] = found[..., 0::2].clamp(0, cols)
        found[..., 1::2] = found[..., 1::2].clamp(0, rows)
        known = self.known(batch).tolist()
        out = []
        for i, image_id in enumerate(batch.image_id):
            kept, sure = self._kept(scores[i].cpu().numpy(), names[i].cpu().numpy(), found[i].cpu().numpy())
            told = frozenset(name for name, yes in zip(self.labels, known[i], strict=True) if yes)
            out.append(
                Detected(
                    image_id, batch.patient_hash[i], kept, sure, tuple(batch.boxes[i]), told, batch.shape[i]
                )
            )
        return out

    def _kept(
        self, scores: NDArray[Any], names: NDArray[Any], found: NDArray[Any]
    ) -> tuple[tuple[Box, ...], tuple[float, ...]]:
        """Boxes of one image that are sure enough, have an area, and repeat no surer one."""
        there = (scores >= LEAST) & (found[:, 2] > found[:, 0]) & (found[:, 3] > found[:, 1])
        made: list[tuple[float, Box]] = []
        for c, label in enumerate(self.labels):
            mine = np.flatnonzero(there & (names == c))
            kept = mine[boxes.suppress(found[mine].astype(np.float64), scores[mine], self.config.overlap)]
            made += [(float(scores[i]), Box(label, *map(float, found[i]))) for i in kept]
        made.sort(key=lambda pair: -pair[0])
        return tuple(box for _, box in made), tuple(score for score, _ in made)

    def validate(self, batches: Iterable[Batch]) -> dict[str, float]:
        """Score on the validation split, in the frame.

        Returns:
            "rsna_map" of each label at the best threshold of this split, their mean as "rsna_map" and
            "score" (minus the loss without one), and "loss".
        """
        losses, found = [], []
        for batch in batches:
            losses.append(loss_of(self, batch))
            found += self.predict(batch)
        cuts = {name: boxes.best_cut(per_image(found, name)) for name in self.labels}
        numbers = {f"rsna_map_{name}": score for name, (_, score) in cuts.items() if not math.isnan(score)}
        if losses:
            loss = sum(losses) / len(losses)
            score = mean(list(numbers.values()))
            if not math.isnan(score):
                numbers["rsna_map"] = score
            numbers |= {"loss": loss, "score": -loss if math.isnan(score) else score}
        return numbers

    def fitted(self, batches: Iterable[Batch]) -> dict[str, Any]:
        """Facts fitted on the validation split: the threshold of each label with the best score."""
        found = [one for batch in batches for one in self.predict(batch)]
        cuts = {name: boxes.best_cut(per_image(found, name))[0] for name in self.labels}
        return {"thresholds": {name: UNFITTED if math.isnan(cut) else cut for name, cut in cuts.items()}}

    def describe(self) -> dict[str, Any]:
        """What `rebuild` needs, as plain values."""
        return {
            "encoder": dataclasses.asdict(self.encoder.config),
            "dense": dataclasses.asdict(self.size),
            "detect": dataclasses.asdict(self.config),
            "labels": list(self.labels),
        }

    @classmethod
    def rebuild(cls, model: Mapping[str, Any], folder: Path) -> DetectTask:
        """Build the model that `describe` described, with random weights."""
        dense = build(DenseConfig, model["dense"], "dense.")
        config = build(DetectConfig, model["detect"], "detect.")
        return cls(build(VitConfig, model["encoder"], "encoder."), dense, config, model["labels"])


def per_image(found: Iterable[Detected], label: str) -> list[tuple[Floats, Floats, Floats]]:
    """Boxes of one label: found, their scores, and true ones, of each image where they are known."""
    return [
        (
            np.array([b[1:] for b in one.found if b.label == label], np.float64).reshape(-1, 4),
            np.array([s for b, s in zip(one.found, one.scores, strict=True) if b.label == label]),
            np.array([b[1:] for b in one.truth if b.label == label], np.float64).reshape(-1, 4),
        )
        for one in found
        if label in one.known
    ]


def count_boxes(stream: Stream, labels: Sequence[str]) -> dict[str, int]:
    """Count the boxes of each label.

    Args:
        stream: Of the training split; ``boxes`` are needed of it.
        labels: Those that are wanted; all where there is none.

    Raises:
        DataError: If there is no box, or none of a wanted label.
    """
    found: Counter[str] = Counter()
    for batch in stream.once(batch=_TEXTS):
        found.update(box.label for drawn in batch.boxes for box in drawn)
    lacking = [name for name in labels if not found[name]]
    if not found or lacking:
        there = ", ".join(f"{name} {count:,}" for name, count in sorted(found.items()))
        raise DataError(
            f"no training image has a box {' or '.join(lacking)}".rstrip(),
            f"the shards hold: {there or 'no box at all'}",
            "Give boxes to `xraytk ingest --boxes FILE` (or take a --layout that has some), then run "
            "`xraytk shard` again; choose others with --set detect.labels=[...].",
        )
    return {name: found[name] for name in (labels or sorted(found))}
