"""Disease prediction: the pretrained encoder and a multi-label head."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xraytk.chance import Chance
from xraytk.config import build
from xraytk.errors import DataError
from xraytk.models.label_text import embed_labels
from xraytk.models.vit import Vit, VitConfig, normalise, valid_patches
from xraytk.records import Batch, Loss, Prediction
from xraytk.tasks import metrics
from xraytk.tasks.heads import HeadConfig, PooledHead, VtbHead
from xraytk.tasks.scoring.labels import fit_on


class ClassifyTask(nn.Module):
    """Encoder and a head that gives one logit a label.

    Args:
        encoder: Shape of the encoder.
        config: Kind of the head, and weights of the loss.
        labels: Names of the C labels.
        rates: (C,) share of each label among its known training values; NaN where none is known.
        vectors: (C, T) vectors of the labels' names for a head of kind "vtb"; made when None.
        frozen: Leave the encoder as it is.

    Raises:
        DataError: If there is no label, or the text encoder cannot be loaded.

    Source:
        Weights: VTB (methods section 4).
    """

    needs = frozenset({"image", "valid", "labels"})
    rates: Tensor

    def __init__(
        self,
        encoder: VitConfig,
        config: HeadConfig,
        labels: Sequence[str],
        rates: Sequence[float] | None = None,
        *,
        vectors: Tensor | None = None,
        frozen: bool = False,
    ) -> None:
        super().__init__()
        if not labels:
            raise DataError(
                "there is no label to learn",
                "the shards hold no labels",
                "Give labels to `xraytk ingest --labels FILE`, then run `xraytk shard` again.",
            )
        self.encoder = Vit(encoder).requires_grad_(not frozen)
        self.config, self.labels, self.frozen = config, tuple(labels), frozen
        self.head: PooledHead | VtbHead
        if config.kind == "vtb":
            vectors = embed_labels(labels, config.text) if vectors is None else vectors
            self.head = VtbHead(encoder.width, vectors)
        else:
            self.head = PooledHead(encoder.width, len(labels), attention=config.kind == "attention")
        known = torch.tensor([0.5] * len(labels) if rates is None else list(rates))
        self.register_buffer("rates", torch.nan_to_num(known, nan=0.5))

    def logits(self, batch: Batch) -> Tensor:
        """Score of every label.

        Returns:
            (B, C) logits.
        """
        config = self.encoder.config
        valid = valid_patches(batch.valid, config.patch_px)  # (B, N)
        image = normalise(batch.image, config.channels)
        out: Tensor = self.head(self.encoder, image, valid, frozen=self.frozen)
        return out

    def forward(self, batch: Batch, chance: Chance) -> Loss:
        """Weighted binary cross-entropy, mean over the labels that are known."""
        logits = self.logits(batch).float()
        known = ~torch.isnan(batch.labels)
        truth = torch.nan_to_num(batch.labels)
        each = F.binary_cross_entropy_with_logits(logits, truth, reduction="none")
        return Loss((each * self._weights(truth) * known).sum() / known.sum().clamp(min=1))

    def _weights(self, truth: Tensor) -> Tensor:
        """Weight of every (B, C) truth in the loss."""
        if self.config.weight != "vtb":
            return torch.ones_like(truth)
        rates = self.rates.to(truth)
        return torch.exp(truth * (1 - rates) + (1 - truth) * rates)

    @torch.no_grad()
    def predict(self, batch: Batch) -> list[Prediction]:
        """Probability of every label; the model is in evaluation mode meanwhile."""
        was_training = self.training
        self.eval()
        scores = self.logits(batch).float().sigmoid().tolist()
        self.train(was_training)
        return [
            Prediction(
                image_id=image,
                patient_hash=patient,
                scores=dict(zip(self.labels, row, strict=True)),
                reference=dict(zip(self.labels, truth, strict=True)),
            )
            for image, patient, row, truth in zip(
                batch.image_id, batch.patient_hash, scores, batch.labels.tolist(), strict=True
            )
        ]

    @staticmethod
    def score(
        predictions: Sequence[Prediction],
        thresholds: Mapping[str, float],
        *,
        resamples: int = 1000,
        seed: int = 0,
    ) -> dict[str, dict[str, metrics.Value]]:
        """Score predictions per label; see `metrics.score_labels`."""
        labels = list(predictions[0].scores) if predictions else []
        scores, truth = as_arrays(predictions, labels)
        return metrics.score_labels(
            scores,
            truth,
            labels,
            thresholds,
            [p.patient_hash for p in predictions],
            resamples=resamples,
            seed=seed,
        )

    def validate(self, batches: Iterable[Batch]) -> dict[str, float]:
        """Score on the validation split.

        Returns:
            Mean of each metric over the labels (F1 and accuracy at the best thresholds of this
            split), the loss, and "score": the mean AUROC, or minus the loss without one.
        """
        predictions = [made for batch in batches for made in self.predict(batch)]
        scores, truth = as_arrays(predictions, self.labels)
        macro = self.score(predictions, self._thresholds(scores, truth), resamples=0)["macro"]
        numbers = {name: value.value for name, value in macro.items() if not value.reason}
        known = ~np.isnan(truth)
        if known.any():
            chance = np.clip(np.where(truth == 1, scores, 1 - scores), 1e-7, 1)
            each = -np.log(chance) * self._weights(torch.from_numpy(np.nan_to_num(truth))).cpu().numpy()
            numbers["loss"] = float(each[known].mean())
            numbers["score"] = numbers.get("auroc", -numbers["loss"])
        return numbers

    def fitted(self, batches: Iterable[Batch]) -> dict[str, Any]:
        """Facts fitted on the validation split: the temperature, and each label's best threshold after it."""
        predictions = [made for batch in batches for made in self.predict(batch)]
        found = fit_on(*as_arrays(predictions, self.labels), self.labels)
        return {"thresholds": found.thresholds, "temperature": found.temperature}

    def _thresholds(self, scores: metrics.Floats, truth: metrics.Floats) -> dict[str, float]:
        return {
            label: metrics.best_threshold(scores[:, c], truth[:, c]) for c, label in enumerate(self.labels)
        }

    def describe(self) -> dict[str, Any]:
        """What `rebuild` needs, as plain values."""
        return {
            "encoder": dataclasses.asdict(self.encoder.config),
            "head": dataclasses.asdict(self.config),
            "labels": list(self.labels),
            **({"text_width": self.head.vectors.shape[1]} if isinstance(self.head, VtbHead) else {}),
        }

    @classmethod
    def rebuild(cls, model: Mapping[str, Any], folder: Path) -> ClassifyTask:
        """Build the model that `describe` described, with random weights; no text encoder is loaded."""
        head = build(HeadConfig, model["head"], "head.")
        empty = torch.zeros(len(model["labels"]), model["text_width"]) if head.kind == "vtb" else None
        return cls(build(VitConfig, model["encoder"], "encoder."), head, model["labels"], vectors=empty)


def as_arrays(
    predictions: Sequence[Prediction], labels: Sequence[str]
) -> tuple[metrics.Floats, metrics.Floats]:
    """Scores and truth as (n, C) arrays; truth is NaN where unknown."""
    scores = [[p.scores[label] for label in labels] for p in predictions]
    truth = [[p.reference[label] for label in labels] for p in predictions if isinstance(p.reference, dict)]
    shape = (len(predictions), len(labels))
    return (
        np.asarray(scores, dtype=np.float64).reshape(shape),
        np.asarray(truth, dtype=np.float64).reshape(shape),
    )
