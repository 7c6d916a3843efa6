"""A small learner and endless batches of which every number is known."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from xraytk import distributed
from xraytk.chance import Chance
from xraytk.records import Batch, Loss


class ToyLearner(nn.Module):
    """Predicts the mean grey of an image; dropout and noise draw on both sources of chance."""

    needs = frozenset({"image"})

    def __init__(self, *, dropout: float = 0.5, fail_at: float | None = None) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.encoder = nn.Sequential(nn.Linear(16, 8), nn.LayerNorm(8), nn.Dropout(dropout))
        self.head = nn.Linear(8, 1)

    def forward(self, batch: Batch, chance: Chance) -> Loss:
        x = batch.image.flatten(1).float() / 255  # (B, 16)
        noise = chance.rand(*x.shape)
        guess = self.head(self.encoder(x + 0.01 * noise))[:, 0]
        error = (guess - x.mean(1)).square().mean()
        return Loss(error, {"twice": 2 * error.detach()})


def picture(position: int) -> Tensor:
    rng = torch.Generator().manual_seed(position)
    return torch.randint(0, 256, (1, 4, 4), generator=rng, dtype=torch.uint8)


def make_batch(positions: list[int]) -> Batch:
    image = torch.stack([picture(p) for p in positions])
    every = torch.ones(image.shape[0], 4, 4, dtype=torch.bool)
    names = [f"{p:016x}" for p in positions]
    empty = {"en": [""] * len(names), "zh": [""] * len(names)}
    return Batch(
        image=image,
        valid=every,
        lung=~every,
        has_contour=torch.zeros(len(names), dtype=torch.bool),
        labels=torch.zeros(len(names), 0),
        reports=empty,
        image_id=names,
        patient_hash=names,
        view=["PA"] * len(names),
    )


def batches(start_step: int, *, batch: int = 8, micro_batch: int = 4) -> Iterator[Batch]:
    """The order law of the stream: position = step * batch + place."""
    share = batch // distributed.world()
    step = start_step
    while True:
        first = step * batch + distributed.rank() * share
        for begin in range(first, first + share, micro_batch):
            yield make_batch(list(range(begin, begin + micro_batch)))
        step += 1
