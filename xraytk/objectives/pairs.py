"""Images and reports as pairs: what the contrastive objectives share.

Everything here is over all processes: each has its own rows against the columns of all, and
its part of the loss; the mean of the parts over processes is the loss of one process that has
the whole batch, and the same holds for gradients.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from xraytk import distributed
from xraytk.errors import UsageError


@dataclass(frozen=True, slots=True)
class Pairs:
    """Unit vectors of the images that have a report, and of their reports.

    Args:
        image: (M, D) float32 of this process.
        text: (M, D), likewise.
        images: (n, D) of all processes.
        texts: (n, D), likewise.
        at: (M,) int64, where the M own pairs stand among the n.
        own: (M,) int64, which images of this process's batch they are.
    """

    image: Tensor
    text: Tensor
    images: Tensor
    texts: Tensor
    at: Tensor
    own: Tensor

    @property
    def count(self) -> int:
        """Pairs of all processes, n."""
        return len(self.images)

    def mean(self, losses: Tensor) -> Tensor:
        """This process's part of the mean over all n of (M,) losses; 0 when there are none."""
        return losses.sum() * (distributed.world() / max(1, self.count))


def pair_up(image: Tensor, text: Tensor, present: Tensor) -> Pairs:
    """Gather the pairs of all processes, with gradient.

    Every process must call it, also one that has no pair.

    Args:
        image: (B, D) features of images; B is the same on all processes.
        text: (B, D) features of texts, of any value where there is no report.
        present: (B,) bool, whether the image has a report.
    """
    device = image.device
    every = distributed.gather_rows(present.to(device, torch.uint8)).cpu().bool()  # (W * B,)
    mine = slice(distributed.rank() * len(image), (distributed.rank() + 1) * len(image))
    number = every.long().cumsum(0) - 1
    own, kept = present.cpu().nonzero()[:, 0], every.nonzero()[:, 0].to(device)
    at = number[mine][own].to(device)
    own = own.to(device)
    with torch.autocast(device.type, enabled=False):  # 8 bits of mantissa do not tell neighbours apart
        image, text = F.normalize(image.float(), dim=-1), F.normalize(text.float(), dim=-1)
        images, texts = distributed.gather_rows(image)[kept], distributed.gather_rows(text)[kept]
    return Pairs(image[own], text[own], images, texts, at, own)


def similarities(pairs: Pairs) -> tuple[Tensor, Tensor]:
    """Cosines of the own images with all texts and of the own texts with all images, (M, n) each."""
    with torch.autocast(pairs.image.device.type, enabled=False):
        return pairs.image @ pairs.texts.T, pairs.text @ pairs.images.T


def row_losses(logits: Tensor, at: Tensor) -> Tensor:
    """Cross-entropy of each row.

    Args:
        logits: (M, n).
        at: (M,) int64, the right column of each row.

    Returns:
        (M,); M may be 0.
    """
    if not len(logits):
        return logits.sum(1)  # nothing, but joined to the graph
    return F.cross_entropy(logits, at, reduction="none")


def together_micro_batch(together: int, batch: int, micro_batch: int, world: int) -> int:
    """Images of one forward pass on one process, when images are compared with each other.

    What is compared is the mathematics of the loss, so it must not depend on the machine: to
    cut a batch into micro-batches, as other objectives may, would take negatives away.

    Args:
        together: Images that are compared, over all processes; 0 for the whole batch.
        batch: Images of one update, over all processes.
        micro_batch: What was asked for; 0 for no wish.
        world: Processes.

    Raises:
        UsageError: If the numbers do not go together.
    """
    together = together or batch
    if batch % together or together % world:
        raise UsageError(
            f"options.together is {together}, with batch {batch} on {world} process{'es' * (world > 1)}",
            "wanted a divisor of the batch and a multiple of the processes",
        )
    share = together // world
    if micro_batch not in (0, share):
        raise UsageError(
            f"machine.micro_batch {micro_batch} would change what images are compared with",
            f"{together} are compared at a time, on {world} process{'es' * (world > 1)} that is {share} each",
            f"Leave machine.micro_batch at 0, or set options.together={micro_batch * world} "
            "to compare fewer.",
        )
    return share
