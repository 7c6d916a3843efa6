from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from xraytk.chance import Chance
from xraytk.models.lungs import lung_model
from xraytk.objectives.masking import (
    atlas,
    draw,
    ellipse,
    paper_rectangle,
    released_rectangle,
    share_map,
    unseen,
    visible_count,
    wanted_count,
)

RELEASED = {  # grid: patches inside, outside, kept inside, kept outside
    14: (63, 133, 3, 19),
    16: (80, 176, 4, 26),
    20: (130, 270, 6, 40),
    24: (180, 396, 9, 59),
    28: (252, 532, 12, 79),
    32: (320, 704, 16, 105),
    40: (500, 1100, 25, 165),
    80: (2000, 4400, 100, 660),
}


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def everywhere(shape: tuple[int, ...]) -> Tensor:
    return torch.ones(shape, dtype=torch.bool)


@pytest.mark.parametrize("grid", RELEASED)
def test_the_released_rectangle_keeps_the_counts_of_the_release(grid: int) -> None:
    n_in, n_out, keep_in, keep_out = RELEASED[grid]
    share = released_rectangle(grid, grid).expand(2, -1)
    assert (int(share[0].sum()), int((share[0] == 0).sum())) == (n_in, n_out)
    ids = draw(share, everywhere((2, grid * grid)), 0.95, 0.85, Chance(0), keep_in + keep_out)
    assert visible_count("rect-released", (grid, grid), 0.95, 0.85) == keep_in + keep_out
    assert ids.shape == (2, keep_in + keep_out)
    assert share.gather(1, ids).sum(1).tolist() == [keep_in, keep_in]


def test_the_released_rectangle_is_off_centre_as_released() -> None:
    rows, cols = released_rectangle(20, 20).view(20, 20).nonzero().T
    assert (int(rows.min()), int(rows.max()), int(cols.min()), int(cols.max())) == (6, 15, 3, 15)


def test_the_paper_rectangle_is_centred_and_covers_five_sixteenths() -> None:
    share = paper_rectangle(20, 20).view(20, 20)
    assert torch.equal(share, share.flip(0))
    torch.testing.assert_close(share, share.flip(1))
    assert float(share.sum()) == pytest.approx(0.5 * 0.625 * 400)


def test_every_policy_is_a_share_map() -> None:
    lungs = torch.rand(3, 16, generator=generator())
    has_contour = torch.tensor([True, False, True])
    assert not share_map("random", lungs, has_contour, (4, 4)).any()
    assert torch.equal(share_map("rect-paper", lungs, has_contour, (4, 4))[2], paper_rectangle(4, 4))
    assert torch.equal(share_map("rect-released", lungs, has_contour, (4, 4))[0], released_rectangle(4, 4))
    mixed = share_map("contour", lungs, has_contour, (4, 4))
    assert torch.equal(mixed[0], lungs[0])
    assert torch.equal(mixed[1], paper_rectangle(4, 4))  # no contour: the rectangle


def test_random_masking_hides_the_outer_ratio() -> None:
    count = visible_count("random", (20, 20), 0.95, 0.85)
    ids = draw(torch.zeros(1, 400), everywhere((1, 400)), 0.95, 0.85, Chance(0), count)
    assert ids.shape == (1, 60)


def test_two_images_of_a_batch_are_drawn_apart_and_a_seed_repeats() -> None:
    share = released_rectangle(20, 20).expand(2, -1)
    ids = draw(share, everywhere((2, 400)), 0.95, 0.85, Chance(3), 46)
    assert not torch.equal(ids[0], ids[1])
    assert torch.equal(ids, draw(share, everywhere((2, 400)), 0.95, 0.85, Chance(3), 46))


def test_every_patch_of_a_region_is_as_likely() -> None:
    share = released_rectangle(8, 8)
    chance, count = Chance(0), wanted_count(share, 0.8, 0.5)
    counts = torch.zeros(64)
    for _ in range(60):
        ids = draw(share.expand(50, -1), everywhere((50, 64)), 0.8, 0.5, chance, count)
        counts += torch.bincount(ids.flatten(), minlength=64)
    rates = counts / 3000
    inside, outside = rates[share > 0], rates[share == 0]
    assert inside.std() < 0.02
    assert outside.std() < 0.02
    assert float(inside.mean()) < float(outside.mean())


@st.composite
def batches(make: st.DrawFn) -> tuple[Tensor, Tensor, float, float, int]:
    b, n, seed = make(st.integers(1, 5)), make(st.integers(4, 150)), make(st.integers(0, 2**31))
    rng = generator(seed)
    share = torch.rand(b, n, generator=rng) ** make(st.sampled_from([0.2, 1.0, 5.0]))
    valid = torch.rand(b, n, generator=rng) < make(st.sampled_from([0.3, 0.8, 1.1]))
    valid[:, :2] = True
    outside = make(st.floats(0, 0.95))
    return share, valid, make(st.floats(outside, 0.99)), outside, seed


@given(batches())
@settings(deadline=None, max_examples=200)
def test_the_law_of_context_aware_masking(case: tuple[Tensor, Tensor, float, float, int]) -> None:
    share, valid, inside, outside, seed = case
    count = wanted_count(share[0], inside, outside)
    ids = draw(share, valid, inside, outside, Chance(seed), count)
    assert ids.shape[1] == count <= share.shape[1]
    hidden = valid.scatter(1, ids, False)
    assert ids.shape[0] == share.shape[0]
    assert torch.equal(
        torch.cat([ids, unseen(ids, share.shape[1])], 1).sort(1).values[0], torch.arange(share.shape[1])
    )
    assert bool((ids.diff(dim=1) > 0).all())  # no patch twice
    assert torch.equal(
        valid.gather(1, ids).sum(1), valid.sum(1).clamp_max(count)
    )  # padding when nothing else is left
    assert torch.equal(hidden.sum(1), (valid.sum(1) - count).clamp_min(0))
    within, without = valid & (share >= 0.5), valid & (share < 0.5)
    for i in range(len(share)):
        n_in, n_out = int(within[i].sum()), int(without[i].sum())
        if n_in and n_out and n_in + n_out > count:
            hidden_in = int((hidden & within)[i].sum()) / n_in
            hidden_out = int((hidden & without)[i].sum()) / n_out
            assert hidden_in >= hidden_out - 1e-9


def test_images_with_larger_lungs_show_more_of_them() -> None:
    share = torch.zeros(2, 400)
    share[0, :60] = 1
    share[1, :200] = 1
    ids = draw(share, everywhere((2, 400)), 0.95, 0.85, Chance(0), 47)
    shown = share.gather(1, ids).sum(1).tolist()
    assert shown == [2, 10]  # they want 3 + 51 and 10 + 30: floor(3 * 47 / 54), and its own 10


def test_what_an_image_shows_does_not_depend_on_the_others_of_its_batch() -> None:
    share = torch.rand(6, 64, generator=generator(1))
    together = draw(share, everywhere((6, 64)), 0.9, 0.6, Chance(5, 2), 20)
    apart = [draw(share[i : i + 2], everywhere((2, 64)), 0.9, 0.6, Chance(5, 2, i), 20) for i in (0, 2, 4)]
    assert torch.equal(together, torch.cat(apart))
    assert visible_count("contour", (20, 20), 0.95, 0.85) == visible_count("atlas", (20, 20), 0.95, 0.85)


@pytest.mark.parametrize("grid", [4, 14, 20, 40])
def test_the_ellipse_is_centred_and_as_large_as_the_rectangle(grid: int) -> None:
    share = ellipse(grid, grid).view(grid, grid)
    torch.testing.assert_close(share, share.flip(0))
    torch.testing.assert_close(share, share.flip(1))
    assert float(share.mean()) == pytest.approx(0.5 * 0.625, rel=0.01)
    assert int(share[grid // 2].count_nonzero()) >= int(share[:, grid // 2].count_nonzero())


@pytest.mark.parametrize("grid", [7, 14, 20, 80])
def test_the_atlas_is_two_lungs_beside_the_middle(grid: int) -> None:
    share = atlas(grid, grid).view(grid, grid)
    assert float(share.min()) >= 0
    assert float(share.max()) <= 1
    middle, quarter = share[grid // 2, grid // 2], share[grid // 2, grid // 4]
    assert float(quarter) > 0.5 > float(middle)
    assert float(share[0].max()) < 0.2


def test_the_atlas_is_read_without_moving_the_chance_of_a_training() -> None:
    lung_model.cache_clear()
    torch.manual_seed(3)
    first = torch.rand(2)
    torch.manual_seed(3)
    atlas(8, 8)
    assert torch.equal(torch.rand(2), first)
