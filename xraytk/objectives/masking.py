"""Which patches an encoder sees: a share map says where the chest is, a draw chooses.

Every policy is a share map followed by the same `draw`. All functions are pure; chance comes
from `Chance` alone.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from xraytk.chance import Chance
from xraytk.models.lungs import lung_atlas

Policy = Literal["contour", "random", "rect-paper", "rect-released", "ellipse", "atlas"]

INSIDE_FROM = 0.5
"""A patch is inside from this share of its area on."""

ROUNDING = 1e-9
"""Added before flooring, so that 500 * (1 - 0.95) counts as 25 and not as 24."""


def share_map(policy: Policy, lung_share: Tensor, has_contour: Tensor, grid: tuple[int, int]) -> Tensor:
    """Where a policy holds the chest to be.

    An image without a contour (lungs not found, or not a frontal view) takes the rectangle of
    the paper under "contour".

    Args:
        policy: "contour": the image's own lungs; "rect-paper" and "rect-released": one rectangle
            for all; "ellipse": one ellipse for all; "atlas": where lungs lie on average; "random":
            nowhere, so that the outer ratio rules (the paper's "w/o CaM").
        lung_share: (B, N) float in [0, 1], row by row.
        has_contour: (B,) bool.
        grid: Rows and columns of patches; their product is N.

    Returns:
        (B, N) float in [0, 1].

    Source:
        Paper, section III-B; that images without a contour take the rectangle is ours: it hides
        about as much as a contour does.
    """
    if policy == "random":
        return torch.zeros_like(lung_share)
    if policy in _SAME_FOR_ALL:
        return _to(_SAME_FOR_ALL[policy](*grid), lung_share.device).expand_as(lung_share)
    rectangle = _to(paper_rectangle(*grid), lung_share.device).expand_as(lung_share)
    return torch.where(has_contour[:, None], lung_share, rectangle)


def paper_rectangle(rows: int, cols: int) -> Tensor:
    """Centred rectangle of 0.5 of the height and 0.625 of the width, as shares of patches.

    Args:
        rows: Of patches.
        cols: Of patches.

    Returns:
        (rows * cols,) float32 in [0, 1].

    Source:
        Paper, figure 2, and the unused variables of its release.
    """
    return (_covered(rows, 0.5)[:, None] * _covered(cols, 0.625)[None, :]).flatten()


def released_rectangle(rows: int, cols: int) -> Tensor:
    """The off-centre rectangle that the paper's release hides, patch by patch.

    Rows int(.25 R) + 1 to int(.75 R), columns int(.125 C) + 1 to int(.75 C), inclusive from 0; the
    release has R = C.

    Args:
        rows: Of patches.
        cols: Of patches.

    Returns:
        (rows * cols,) float32, 0 or 1.
    """
    inside = torch.zeros(rows, cols)
    inside[int(0.25 * rows) + 1 : int(0.75 * rows) + 1, int(0.125 * cols) + 1 : int(0.75 * cols) + 1] = 1
    return inside.flatten()


def ellipse(rows: int, cols: int) -> Tensor:
    """A centred ellipse of the same area and proportions as the paper's rectangle.

    Args:
        rows: Of patches.
        cols: Of patches.

    Returns:
        (rows * cols,) float32 in [0, 1], counted on 16 x 16 points a patch.

    Source:
        Ours: the thorax has no corners.
    """
    fine = 16
    y, x = ((torch.arange(n * fine, dtype=torch.float64) + 0.5) / (n * fine) - 0.5 for n in (rows, cols))
    radius = (0.5 * 0.625 / torch.pi) ** 0.5
    tall, wide = radius * (0.5 / 0.625) ** 0.5, radius * (0.625 / 0.5) ** 0.5
    inside: Tensor = (y[:, None] / tall) ** 2 + (x[None, :] / wide) ** 2 <= 1
    return inside.float().view(rows, fine, cols, fine).mean((1, 3)).flatten()


def atlas(rows: int, cols: int) -> Tensor:
    """Where lungs lie on average over human outlines of children and adults.

    Args:
        rows: Of patches.
        cols: Of patches.

    Returns:
        (rows * cols,) float32 in [0, 1].
    """
    share: Tensor = functional.adaptive_avg_pool2d(lung_atlas()[None, None], (rows, cols)).flatten()
    return share


_SAME_FOR_ALL = {
    "rect-paper": paper_rectangle,
    "rect-released": released_rectangle,
    "ellipse": ellipse,
    "atlas": atlas,
}


def visible_count(policy: Policy, grid: tuple[int, int], inside: float, outside: float) -> int:
    """K, how many patches of every image stay visible: one number for a whole run.

    What an image without padding wants whose chest lies where the policy says: floor(n (1 - inside))
    of its n patches inside and floor(m (1 - outside)) of the m outside. Under "contour" the lungs
    of the atlas stand for those of all images.

    Args:
        policy: As for `share_map`.
        grid: Rows and columns of patches.
        inside: Ratio hidden inside, in [0, 1).
        outside: Ratio hidden outside, in [0, 1), at most ``inside``.

    Source:
        One K for all images, so that what an image shows depends on no other image: ours.
    """
    if policy == "contour":
        policy = "atlas"
    with torch.device("cpu"):  # a number is wanted, whatever device a model is built on
        blank, none = torch.zeros(1, grid[0] * grid[1]), torch.zeros(1, dtype=torch.bool)
        return wanted_count(share_map(policy, blank, none, grid)[0], inside, outside)


def wanted_count(share: Tensor, inside: float, outside: float) -> int:
    """How many patches an image without padding wants to show; at least 1.

    Args:
        share: (N,) float in [0, 1], from `share_map`.
        inside: Ratio hidden inside.
        outside: Ratio hidden outside.
    """
    within = int((share >= INSIDE_FROM).sum())
    return max(1, _floor(within * (1 - inside)) + _floor((len(share) - within) * (1 - outside)))


def draw(
    lung_share: Tensor, valid: Tensor, inside: float, outside: float, chance: Chance, count: int
) -> Tensor:
    """Choose the patches that stay visible: few inside the chest, more outside.

    An image with n patches inside and m outside wants to show floor(n (1 - inside)) of the one
    and floor(m (1 - outside)) of the other, but all images show the same number K. An image that
    wants more than K shows less of its inside in proportion; the rest of K comes from outside. No
    image shows a greater part of its inside than of its outside. For one rectangle on all images
    this gives the counts of the paper's release. What an image shows is its own, however a batch
    is cut. Padding is shown only by an image that has fewer than K patches, which hides none.

    All is done where the tensors lie, and a GPU is not waited for.

    Args:
        lung_share: (B, N) float in [0, 1], from `share_map`.
        valid: (B, N) bool, False where a patch is padding.
        inside: Ratio hidden inside, in [0, 1).
        outside: Ratio hidden outside, in [0, 1), at most ``inside``.
        chance: Of the batch.
        count: K, from `visible_count`; at most N.

    Returns:
        (B, K) int64 patch numbers, rising.

    Source:
        Paper, section III-B and its release for the ratios; equal counts ours.
    """
    within = valid & (lung_share >= INSIDE_FROM)  # (B, N)
    inner, every = within.sum(1), valid.sum(1)
    keep_in = visible_inside(inner, every - inner, inside, outside, count)
    keep_out = torch.minimum(count - keep_in, every - inner)
    # Inside, outside, padding: sorted by region, by chance within each.
    region = torch.where(valid, (~within).float(), 2.0)
    noise = _to(chance.rand(*within.shape), within.device)
    order = torch.argsort(noise + region, dim=1, stable=True)
    place = torch.arange(order.shape[1], device=order.device)
    shown = place < keep_in[:, None]
    shown |= (place >= inner[:, None]) & (place < (inner + keep_out)[:, None])
    shown |= (place >= every[:, None]) & (place < (every + count - keep_in - keep_out)[:, None])
    return _sorted_by(~torch.zeros_like(shown).scatter(1, order, shown))[:, :count]


def unseen(keep_ids: Tensor, patches: int) -> Tensor:
    """The other patches of each image.

    Args:
        keep_ids: (B, K) int64.
        patches: N.

    Returns:
        (B, N - K) int64, rising; padding is among them.
    """
    seen = torch.zeros(len(keep_ids), patches, dtype=torch.bool, device=keep_ids.device)
    return _sorted_by(seen.scatter(1, keep_ids, True))[:, : patches - keep_ids.shape[1]]


def _sorted_by(flags: Tensor) -> Tensor:
    """Numbers of the columns of (B, N): those of False flags first, rising within each kind."""
    return torch.argsort(flags.to(torch.uint8), dim=1, stable=True)


def _to(values: Tensor, device: torch.device) -> Tensor:
    """Copy to a device; a GPU's queue is waited for only by memory that is not pinned."""
    return values.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else values


def visible_inside(within: Tensor, without: Tensor, inside: float, outside: float, count: int) -> Tensor:
    """How many of an image's K visible patches lie inside; see `draw`.

    Args:
        within: (B,) int64, patches inside.
        without: (B,) int64, patches outside; neither counts padding.
        inside: Ratio hidden inside.
        outside: Ratio hidden outside.
        count: K.

    Returns:
        (B,) int64.
    """
    want_in = (within.double() * (1 - inside) + ROUNDING).floor()
    want = want_in + (without.double() * (1 - outside) + ROUNDING).floor()
    scaled = want_in * (count / want.clamp_min(1)).clamp_max(1.0)
    even = count * within.double() / (within + without).clamp_min(1)  # the same part of inside and outside
    keep_in = (torch.minimum(scaled, even) + ROUNDING).floor().long()
    return torch.minimum(torch.maximum(keep_in, count - without), within)


def _floor(number: float) -> int:
    return int(number + ROUNDING)


def _covered(count: int, share: float) -> Tensor:
    """How much of each of ``count`` cells a centred interval of length ``share`` covers."""
    edges = torch.arange(count + 1, dtype=torch.float64) / count
    low, high = (1 - share) / 2, (1 + share) / 2
    covered = edges[1:].clamp(low, high) - edges[:-1].clamp(low, high)
    return (covered * count).float()
