"""A batch has the loss and the gradients of its parts, however it is cut."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from phantom_pairs import make, phantoms, rng, take, without_reports

LONG = {"text": {"max_tokens": 60}}  # so that the length of a micro-batch is that of its longest report
KINDS: dict[str, tuple[str, dict[str, Any], tuple[int, ...]]] = {
    "mae": ("mae", {}, (1, 2, 8)),
    "mrm": ("mrm", LONG, (1, 2, 8)),
    "mrm, released": ("mrm", LONG | {"released": True}, (1, 2, 8)),
    "m3ae, own images": ("m3ae", LONG, (1, 2, 8)),
    "m3ae, neighbours' images": ("m3ae", LONG, (2, 8)),
}


def cut(kind: str, size: int) -> tuple[float, dict[str, Any]]:
    """Loss and gradients of sixteen phantoms, a quarter without a report, in micro-batches.

    The partners of m3ae are drawn among a micro-batch, so here they are given.
    """
    name, options, _ = KINDS[kind]
    made, loss = make(name, **options), 0.0
    batch = without_reports(phantoms(), (0, 1, 5, 9))
    for first in range(0, 16, size):
        some = take(batch, range(first, first + size))
        draws = made.draw(some, rng(3, first)) if name == "m3ae" else None
        if draws is None:
            total = made(some, rng(3, first)).total
        else:
            partner = torch.arange(size) ^ int("neighbours" in kind)
            total = made.loss(some, dataclasses.replace(draws, partner=partner)).total
        (total * size / 16).backward()
        loss += total.item() * size / 16
    return loss, {n: p.grad.numpy() for n, p in made.named_parameters()}


@pytest.mark.parametrize("kind", KINDS)
def test_the_cut_changes_neither_loss_nor_gradients(kind: str) -> None:
    loss, gradients = cut(kind, 16)
    for size in KINDS[kind][2]:
        other_loss, other = cut(kind, size)
        assert other_loss == pytest.approx(loss, rel=1e-5), size
        for name, gradient in gradients.items():
            np.testing.assert_allclose(other[name], gradient, rtol=1e-4, atol=2e-6, err_msg=f"{size}: {name}")
