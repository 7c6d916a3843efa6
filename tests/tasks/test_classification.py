from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from xraytk.chance import Chance
from xraytk.errors import DataError
from xraytk.models.vit import VitConfig, set_drop_path
from xraytk.records import Batch
from xraytk.tasks.classification import ClassifyTask
from xraytk.tasks.heads import HeadConfig, VtbHead

LABELS = ("Top", "Left")


MakeBatch = Callable[..., Batch]


@pytest.fixture
def labelled(make_batch: MakeBatch) -> MakeBatch:
    return lambda count=8: with_labels(make_batch(count))


def with_labels(batch: Batch) -> Batch:
    labels = torch.tensor([[float(i % 4 < 2), float(i % 2 == 0)] for i in range(len(batch.image))])
    return dataclasses.replace(batch, labels=labels)


VIT = VitConfig(image_px=32, patch_px=8, width=32, depth=2, heads=4)


def made_task(*, frozen: bool = False, **head: Any) -> ClassifyTask:
    torch.manual_seed(0)
    return ClassifyTask(VIT, HeadConfig(**head), LABELS, [0.5, 0.25], frozen=frozen)


@pytest.mark.parametrize("kind", ["linear", "attention", "vtb"])
def test_a_tiny_model_learns_eight_samples_by_heart(kind: str, labelled: MakeBatch) -> None:
    task, batch = made_task(kind=kind), labelled()
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


@pytest.mark.parametrize("kind", ["linear", "attention", "vtb"])
def test_one_image_alone_gets_the_same_scores_as_in_a_batch(kind: str, labelled: MakeBatch) -> None:
    task, batch = made_task(kind=kind), labelled(4)
    one = dataclasses.replace(labelled(1), image=batch.image[2:3])
    assert task.predict(one)[0].scores == pytest.approx(task.predict(batch)[2].scores, abs=1e-5)


@pytest.mark.parametrize("kind", ["linear", "attention", "vtb"])
def test_padding_of_the_letterbox_changes_nothing(kind: str, labelled: MakeBatch) -> None:
    task, batch = made_task(kind=kind).eval(), labelled(2)
    batch.valid[:, :, 24:] = False
    before = task.logits(batch)
    batch.image[:, :, :, 24:] = 255
    torch.testing.assert_close(task.logits(batch), before)


def test_no_label_at_all_is_refused() -> None:
    with pytest.raises(DataError, match="no label"):
        ClassifyTask(VitConfig(image_px=32, patch_px=8, width=32, depth=1, heads=4), HeadConfig(), ())


def test_a_soft_truth_is_weighted_between_the_weights_of_its_ends(labelled: MakeBatch) -> None:
    task, batch = made_task().eval(), labelled(1)
    batch.labels = torch.tensor([[0.3, math.nan]])
    chance = torch.sigmoid(task.logits(batch)).detach().double().numpy()[0, 0]
    cross_entropy = -0.3 * np.log(chance) - 0.7 * np.log(1 - chance)
    wanted = cross_entropy * math.exp(0.3 * 0.5 + 0.7 * 0.5)
    assert task(batch, Chance(0)).total.item() == pytest.approx(wanted, rel=1e-5)


def test_labels_in_another_order_give_their_logits_in_that_order(labelled: MakeBatch) -> None:
    task, batch = made_task(kind="vtb").eval(), labelled(3)
    before = task.logits(batch)
    head = task.head
    assert isinstance(head, VtbHead)
    with torch.no_grad():
        for tensor in (head.vectors, head.weight, head.bias):
            tensor.copy_(tensor.flip(0).clone())
    torch.testing.assert_close(task.logits(batch), before.flip(1))
    assert not torch.allclose(before[:, 0], before[:, 1])


def test_names_of_labels_change_the_logits_only_through_the_last_block(labelled: MakeBatch) -> None:
    """By another road: the whole encoder on the image, then its last block once more by hand."""
    task, batch = made_task(kind="vtb").eval(), labelled(2)
    head, encoder = task.head, task.encoder
    assert isinstance(head, VtbHead)
    seen = []
    encoder.blocks[-1].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    encoder(batch.image.float() / 127.5 - 1)
    alone = seen.pop() + head.image_type
    names = (head.project(head.vectors) + head.text_type).expand(2, -1, -1)
    mixed = encoder.norm(encoder.blocks[-1](torch.cat([names, alone], 1)))[:, :2]
    wanted = torch.stack([mixed[:, c] @ head.weight[c] + head.bias[c] for c in range(2)], 1)
    torch.testing.assert_close(task.logits(batch), wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["linear", "vtb"])
def test_a_frozen_encoder_gets_no_gradient_and_all_of_the_head_does(kind: str, labelled: MakeBatch) -> None:
    task = made_task(kind=kind, frozen=True)
    task(labelled(4), Chance(0)).total.backward()
    assert all(p.grad is None for p in task.encoder.parameters())
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in task.head.parameters())


def test_a_head_of_names_comes_back_without_its_text_encoder(labelled: MakeBatch, tmp_path: Path) -> None:
    task = made_task(kind="vtb")
    described = task.describe()
    described["head"]["text"] = "/nowhere"
    again = ClassifyTask.rebuild(described, tmp_path)
    again.load_state_dict(task.state_dict())
    batch = labelled(2)
    torch.testing.assert_close(again.eval().logits(batch), task.eval().logits(batch))


def test_drop_path_rises_to_the_last_block_and_does_nothing_in_evaluation(labelled: MakeBatch) -> None:
    task, batch = made_task(), labelled(4)
    before = task.eval().logits(batch)
    set_drop_path(task.encoder.blocks, 0.5)
    rates = [getattr(block.drop_path1, "drop_prob", 0.0) for block in task.encoder.blocks]
    assert rates == [0.0, 0.5]
    torch.testing.assert_close(task.logits(batch), before, rtol=0, atol=0)
    assert not torch.allclose(task.train().logits(batch), before)
    set_drop_path(task.encoder.blocks, 0.0)
    torch.testing.assert_close(task.train().logits(batch), before)
