from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from xraytk.chance import Chance
from xraytk.errors import DataError
from xraytk.models.vit import VitConfig
from xraytk.records import Batch
from xraytk.tasks.classification import ClassifyTask, HeadConfig

LABELS = ("Top", "Left")


MakeBatch = Callable[..., Batch]


@pytest.fixture
def labelled(make_batch: MakeBatch) -> MakeBatch:
    return lambda count=8: with_labels(make_batch(count))


def with_labels(batch: Batch) -> Batch:
    labels = torch.tensor([[float(i % 4 < 2), float(i % 2 == 0)] for i in range(len(batch.image))])
    return dataclasses.replace(batch, labels=labels)


def made_task(**head: Any) -> ClassifyTask:
    torch.manual_seed(0)
    return ClassifyTask(
        VitConfig(image_px=32, patch_px=8, width=32, depth=1, heads=4),
        HeadConfig(**head),
        LABELS,
        [0.5, 0.25],
    )


@pytest.mark.parametrize("pool", ["mean", "attention"])
def test_a_tiny_model_learns_eight_samples_by_heart(pool: str, labelled: MakeBatch) -> None:
    task, batch = made_task(pool=pool), labelled()
    optimizer = torch.optim.AdamW(task.parameters(), lr=3e-3)
    for _ in range(60):
        optimizer.zero_grad()
        task(batch, Chance(0)).total.backward()
        optimizer.step()
    assert task.validate([batch])["auroc"] == 1
    cuts = task.fitted([batch])["thresholds"]
    assert task.score(task.predict(batch), cuts, resamples=0)["macro"]["accuracy"].value == 1


def test_the_loss_is_the_weighted_cross_entropy_of_the_formula(labelled: MakeBatch) -> None:
    task, batch = made_task().eval(), labelled(2)
    batch.labels = torch.tensor([[1.0, 0.0], [0.0, math.nan]])
    chance = torch.sigmoid(task.logits(batch)).detach().double().numpy()
    terms = [
        -np.log(chance[0, 0]) * math.exp(1 - 0.5),
        -np.log(1 - chance[0, 1]) * math.exp(0.25),
        -np.log(1 - chance[1, 0]) * math.exp(0.5),
    ]
    assert task(batch, Chance(0)).total.item() == pytest.approx(sum(terms) / 3, rel=1e-5)
    plain = made_task(weight="none").eval()
    terms = [-np.log(chance[0, 0]), -np.log(1 - chance[0, 1]), -np.log(1 - chance[1, 0])]
    assert plain(batch, Chance(0)).total.item() == pytest.approx(sum(terms) / 3, rel=1e-5)


def test_a_batch_without_any_known_label_costs_nothing(labelled: MakeBatch) -> None:
    task, batch = made_task(), labelled(2)
    batch.labels[:] = torch.nan
    loss = task(batch, Chance(0)).total
    loss.backward()
    assert loss.item() == 0
    assert all(p.grad is None or torch.isfinite(p.grad).all() for p in task.parameters())


def test_one_image_alone_gets_the_same_scores_as_in_a_batch(labelled: MakeBatch) -> None:
    task, batch = made_task(), labelled(4)
    one = dataclasses.replace(labelled(1), image=batch.image[2:3])
    assert task.predict(one)[0].scores == pytest.approx(task.predict(batch)[2].scores, abs=1e-5)


@pytest.mark.parametrize("pool", ["mean", "attention"])
def test_padding_of_the_letterbox_changes_nothing(pool: str, labelled: MakeBatch) -> None:
    task, batch = made_task(pool=pool).eval(), labelled(2)
    batch.valid[:, :, 24:] = False
    before = task.logits(batch)
    batch.image[:, :, :, 24:] = 255
    torch.testing.assert_close(task.logits(batch), before)


def test_no_label_at_all_is_refused() -> None:
    with pytest.raises(DataError, match="no label"):
        ClassifyTask(VitConfig(image_px=32, patch_px=8, width=32, depth=1, heads=4), HeadConfig(), ())
