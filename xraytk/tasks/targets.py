"""Which training images and labels a classifier learns from: budgets, rates, uncertain labels."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from xraytk import distributed
from xraytk.config import build
from xraytk.data import manifest
from xraytk.data.samples import StandIn
from xraytk.data.stream import Stream, StreamConfig
from xraytk.errors import DataError, UsageError
from xraytk.files import sha256_of
from xraytk.models.weights import find_weights
from xraytk.progress import Progress
from xraytk.records import UNCERTAIN
from xraytk.tasks import saved
from xraytk.tasks.classification import ClassifyTask
from xraytk.tasks.probe import drawn_patients

TEXTS = 1024
"""Samples without images that are read at a time."""
IMAGES = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelConfig:
    """What is made of uncertain training labels; in validation and test they count as unknown.

    Args:
        uncertain: "ignore" leaves them out, "zeros" and "ones" take them for absent and present,
            "self-trained" for the probabilities of ``uncertain_from``.
        uncertain_from: A finished run of ``finetune classify``.

    Source:
        CheXpert (Irvin et al. 2019), section 3.1.
    """

    uncertain: Literal["ignore", "zeros", "ones", "self-trained"] = "ignore"
    uncertain_from: Path | None = None

    def __post_init__(self) -> None:
        """Check that the fields fit each other.

        Raises:
            UsageError: If they do not.
        """
        if (self.uncertain == "self-trained") != (self.uncertain_from is not None):
            raise UsageError(
                f"labels.uncertain is {self.uncertain}, labels.uncertain_from {self.uncertain_from}",
                "self-trained needs a first model, and the others need none",
                "Train a first model, then set labels.uncertain=self-trained labels.uncertain_from=RUN.",
            )


@dataclass(frozen=True, slots=True)
class Chosen:
    """What is learned from.

    Args:
        only: The ``image_id`` of the images; None for all.
        uncertain: What stands for uncertain labels.
    """

    only: frozenset[str] | None = None
    uncertain: StandIn = math.nan


ALL = Chosen()
MakeStream = Callable[..., Stream]
"""Makes a stream of the training split; takes ``needs``, ``only``, ``uncertain``, and ``data``, a
`StreamConfig` when images are wanted."""


def images_of(share: float, seed: int, stream: MakeStream) -> frozenset[str] | None:
    """The training images with a label, of a share of their patients; None for all.

    Args:
        share: In (0, 1].
        seed: Of the draw; of the same seed a smaller share lies within a larger.
        stream: Makes streams of the training split.
    """
    of: dict[str, str] = {}
    count = 0
    for batch in stream(needs=frozenset({"patient_hash", "labels"}), uncertain=0.0).once(batch=TEXTS):
        count += len(batch.image_id)
        labelled = (~batch.labels.isnan()).any(1).tolist()
        rows = zip(batch.image_id, batch.patient_hash, labelled, strict=True)
        of.update((image, patient) for image, patient, there in rows if there)
    if not of or (share >= 1 and len(of) == count):
        return None
    drawn = drawn_patients(of.values(), share, seed)
    return frozenset(image for image, patient in of.items() if patient in drawn)


def rates_of(stream: Stream) -> list[float]:
    """Share of each label among its known values, soft ones too; NaN where none is known."""
    known, present = np.zeros(len(stream.labels)), np.zeros(len(stream.labels))
    for batch in stream.once(batch=TEXTS):
        labels = batch.labels.double().numpy()
        known += (~np.isnan(labels)).sum(0)
        present += np.nansum(labels, 0)
    return [float(p / k) if k else math.nan for p, k in zip(present, known, strict=True)]


def stand_in(
    config: LabelConfig,
    only: frozenset[str] | None,
    stream: MakeStream,
    folder: Path,
    device: torch.device,
    progress: Progress,
) -> StandIn:
    """What stands for uncertain training labels.

    Args:
        config: What is made of them.
        only: The training images; None for all.
        stream: Makes streams of the training split.
        folder: Where the probabilities of a first model are kept, so that a run goes on with the same.
        device: Where the first model runs.
        progress: Is told how many there are.

    Raises:
        DataError: If ``uncertain_from`` holds no finished classifier.
    """
    if config.uncertain_from is None:
        return {"zeros": 0.0, "ones": 1.0}.get(config.uncertain, math.nan)
    first = config.uncertain_from / "best"
    model = saved.load(first, device)
    if not isinstance(model.learner, ClassifyTask):
        raise DataError(
            f"{first} holds no classifier", todo="Name a finished run of `xraytk finetune classify`."
        )
    wanted = _uncertain(stream(needs=frozenset({"labels"}), only=only, uncertain=UNCERTAIN))
    name = hashlib.sha256("\n".join([sha256_of(find_weights(first)), *sorted(wanted)]).encode()).hexdigest()
    path = folder / f"uncertain-{name[:16]}.parquet"
    if distributed.gather(path.is_file())[0]:
        table = manifest.read_table(path, manifest.LABELS, "xraytk finetune").to_pylist()
        said = {(row["image_id"], row["label"]): row["value"] for row in table}
    else:
        said = _said(model, wanted, stream)
        if distributed.is_main():
            rows = [{"image_id": i, "label": n, "value": v} for (i, n), v in sorted(said.items())]
            manifest.write_table(path, manifest.LABELS, rows)
    total = sum(len(labels) for labels in wanted.values())
    progress.note(f"{len(said):,} of {total:,} uncertain labels are taken from the first model")
    return lambda image, label: said.get((image, label), math.nan)


def _uncertain(stream: Stream) -> dict[str, list[str]]:
    """The uncertain labels of every image that has one."""
    found = {}
    for batch in stream.once(batch=TEXTS):
        for image, row in zip(batch.image_id, (batch.labels == UNCERTAIN).tolist(), strict=True):
            if any(row):
                found[image] = [label for label, yes in zip(stream.labels, row, strict=True) if yes]
    return found


def _said(
    model: saved.Saved, wanted: dict[str, list[str]], stream: MakeStream
) -> dict[tuple[str, str], float]:
    """Probabilities of a model for the wanted labels that it knows; every process does its share."""
    if not wanted:
        return {}
    task: ClassifyTask = model.learner
    images = stream(
        needs=task.needs, only=frozenset(wanted), data=build(StreamConfig, model.facts["data"], "data.")
    )
    mine = {}
    share = images.once(batch=IMAGES, rank=distributed.rank(), world=distributed.world())
    for batch in share:
        for one in task.predict(batch):
            for label in wanted[one.image_id]:
                if label in one.scores:
                    mine[one.image_id, label] = one.scores[label]
    return {key: value for part in distributed.gather(mine) for key, value in part.items()}
