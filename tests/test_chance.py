from __future__ import annotations

import pytest
import torch

from xraytk.chance import Chance


def test_a_sample_has_its_numbers_however_the_batch_is_cut() -> None:
    whole = Chance(3, 7)
    first, second = whole.rand(12, 5), whole.rand(12, 2, 3)
    for at in (0, 4, 8):
        part = Chance(3, 7, at)
        assert torch.equal(part.rand(4, 5), first[at : at + 4])
        assert torch.equal(part.rand(4, 2, 3), second[at : at + 4])


def test_a_longer_row_begins_as_a_shorter_and_does_not_move_the_next_draw() -> None:
    short, long = Chance(0), Chance(0)
    assert torch.equal(short.rand(3, 4), long.rand(3, 9)[:, :4])
    assert torch.equal(short.rand(3, 4), long.rand(3, 4))


def test_seed_step_sample_and_draw_each_give_other_numbers() -> None:
    one = Chance(0)
    draws = [one.rand(2, 50), one.rand(2, 50), Chance(1).rand(2, 50), Chance(0, 1).rand(2, 50)]
    rows = torch.cat(draws)
    assert len(rows.flatten().unique()) == rows.numel()
    assert float(Chance(0).generator().initial_seed()) != float(Chance(0, first=1).generator().initial_seed())


def test_numbers_are_even_and_have_nothing_in_common() -> None:
    drawn = Chance(5).rand(400, 400).double()
    assert 0 <= float(drawn.min()) < float(drawn.max()) < 1
    assert float(drawn.mean()) == pytest.approx(0.5, abs=0.004)  # 5 deviations
    assert float(drawn.var()) == pytest.approx(1 / 12, rel=0.02)
    counts = torch.histc(drawn, 100, 0, 1)
    assert float(((counts - 1600) ** 2 / 1600).sum()) < 180  # chi squared, 99 degrees: p 1e-6
    for numbers in (drawn, drawn.T):
        apart = torch.corrcoef(numbers) - torch.eye(400)
        assert float(apart.abs().max()) < 0.3  # of 80,000 pairs, deviation 0.05: 6 of them
