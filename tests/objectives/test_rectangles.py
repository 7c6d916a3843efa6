"""Images whose rows and columns differ: turning image and grid turns everything."""

from __future__ import annotations

import pytest
import torch
from made_batches import noise
from torch import Tensor

from xraytk.chance import Chance
from xraytk.models.vit import (
    Vit,
    VitConfig,
    normalise,
    patchify,
    share_per_patch,
    sincos_positions,
    unpatchify,
    valid_patches,
)
from xraytk.objectives.mae import MaeObjective
from xraytk.objectives.masking import atlas, ellipse, paper_rectangle, released_rectangle, share_map

WIDE = VitConfig(image_px=(24, 40), patch_px=8, width=16, depth=1, heads=2)
TALL = VitConfig(image_px=(40, 24), patch_px=8, width=16, depth=1, heads=2)
LIGHT = {"decoder_width": 8, "decoder_depth": 1, "decoder_heads": 2}


def turned(field: Tensor, rows: int, cols: int) -> Tensor:
    """Row by row to column by column: (..., rows * cols, P) of the transposed grid."""
    return field.unflatten(-2, (rows, cols)).transpose(-3, -2).flatten(-3, -2)  # type: ignore[no-untyped-call, no-any-return]


@pytest.mark.parametrize("shape", [(2, 1, 24, 40), (1, 3, 40, 24), (1, 3, 8, 8)])
def test_unpatchify_undoes_patchify_on_rectangles(shape: tuple[int, ...]) -> None:
    image = torch.rand(shape)
    patches = patchify(image, 8)
    assert patches.shape[1] == shape[2] * shape[3] // 64
    assert torch.equal(unpatchify(patches, 8, shape[2] // 8, shape[1]), image)


def test_turning_an_image_turns_its_patches_shares_and_padding() -> None:
    image = torch.rand(2, 1, 24, 40)
    there = patchify(image, 8).unflatten(2, (8, 8)).transpose(2, 3).flatten(2)  # type: ignore[no-untyped-call]
    torch.testing.assert_close(patchify(image.mT, 8), turned(there, 3, 5), rtol=0, atol=0)
    mask = torch.rand(2, 24, 40) > 0.5
    for of in (share_per_patch, valid_patches):
        assert torch.equal(of(mask.mT, 8), turned(of(mask, 8)[..., None], 3, 5)[..., 0])


def test_turning_the_grid_turns_the_positions_and_swaps_their_halves() -> None:
    one, two = sincos_positions(3, 5, 16), sincos_positions(5, 3, 16)
    swapped = torch.cat([two[1:, 8:], two[1:, :8]], 1)
    assert torch.equal(one[1:], turned(swapped, 5, 3))


def test_positions_over_the_same_grid_change_no_bit_and_others_lie_between() -> None:
    own = sincos_positions(3, 5, 16)
    assert torch.equal(sincos_positions(3, 5, 16, over=(3, 5)), own)
    tripled = sincos_positions(9, 15, 16, over=(3, 5))  # the middle of three lies on the old patch
    middles = tripled[1:].view(9, 15, 16)[1::3, 1::3].reshape(15, 16)
    torch.testing.assert_close(middles, own[1:], rtol=0, atol=1e-6)
    assert not tripled[0].any()  # the class token's
    norms = tripled[1:].norm(dim=1)
    torch.testing.assert_close(norms, torch.full_like(norms, 8**0.5))  # as long as those that were seen


def test_the_encoder_knows_rows_from_columns() -> None:
    torch.manual_seed(0)
    vit = Vit(WIDE).eval()
    assert (WIDE.size, WIDE.grid, WIDE.patches) == ((24, 40), (3, 5), 15)
    image = normalise(noise(2, 24, 40).image, 1)
    assert vit(image).shape == (2, 16, 16)
    with pytest.raises(ValueError, match=r"\(1, 40, 24\).*wants \(1, 24, 40\)"):
        vit(image.mT)


def test_a_pair_of_equal_numbers_is_one_number() -> None:
    torch.manual_seed(0)
    square, pair = (
        VitConfig(image_px=32, patch_px=8, width=16, depth=1, heads=2),
        VitConfig(image_px=(32, 32), patch_px=8, width=16, depth=1, heads=2),
    )
    assert (square.size, square.grid) == (pair.size, pair.grid)
    torch.manual_seed(0)
    one = Vit(square)
    torch.manual_seed(0)
    two = Vit(pair)
    image = normalise(noise(2, 32, 32).image, 1)
    assert torch.equal(one(image), two(image))


def test_policies_on_rectangles_by_hand() -> None:
    paper = paper_rectangle(4, 8).view(4, 8)
    assert paper[1].tolist() == pytest.approx([0, 0.5, 1, 1, 1, 1, 0.5, 0])
    assert paper[:, 3].tolist() == pytest.approx([0, 1, 1, 0])
    released = released_rectangle(20, 40).view(20, 40).nonzero()
    assert (released.min(0).values.tolist(), released.max(0).values.tolist()) == ([6, 6], [15, 30])


@pytest.mark.parametrize("policy", [paper_rectangle, ellipse, atlas])
def test_on_twice_the_columns_a_policy_is_the_same_in_shares(policy) -> None:  # type: ignore[no-untyped-def]
    coarse, fine = policy(8, 8).view(8, 8), policy(8, 16).view(8, 16)
    torch.testing.assert_close(fine.view(8, 8, 2).mean(2), coarse, rtol=0, atol=2e-2)


def test_a_share_map_is_of_its_grid() -> None:
    shares, none = torch.rand(2, 32), torch.zeros(2, dtype=torch.bool)
    for policy in ("contour", "rect-paper"):
        assert torch.equal(share_map(policy, shares, none, (4, 8))[1], paper_rectangle(4, 8))  # type: ignore[arg-type]
        assert not torch.equal(paper_rectangle(4, 8), paper_rectangle(8, 4))


@pytest.mark.parametrize("mask", ["contour", "random", "rect-paper", "rect-released", "ellipse", "atlas"])
@pytest.mark.parametrize("vit", [WIDE, TALL])
def test_every_policy_trains_and_draws_on_rectangles(vit: VitConfig, mask: str) -> None:
    torch.manual_seed(0)
    made = MaeObjective.build(vit, LIGHT | {"mask": mask, "inside": 0.8, "outside": 0.5})
    some = noise(2, *vit.size)
    made(some, Chance(0)).total.backward()
    shown = made.reconstruct(some, Chance(0))
    assert shown.painted.shape == (2, *vit.size)
    assert torch.equal(shown.original, some.image[:, 0])
    grey = (shown.masked == 128).float()[:, None]
    assert bool((patchify(grey, 8).mean(-1)[shown.hidden] == 1).all())  # hidden where it says
