from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from phantom_pairs import make, overfit, phantoms, rng, take, without_reports

from xraytk.errors import UsageError
from xraytk.objectives.pairs import pair_up, together_micro_batch
from xraytk.records import Batch

EYE = torch.eye(2)
BOTH = torch.ones(2, dtype=torch.bool)


def still(batch: Batch) -> Batch:
    """English only, so that nothing is left to chance."""
    return dataclasses.replace(batch, reports=batch.reports | {"zh": [""] * len(batch.image_id)})


def test_two_pairs_at_right_angles_cost_what_the_formula_says() -> None:
    made = make("clip")
    made.log_scale.data.fill_(math.log(2.0))
    loss = made._infonce(pair_up(3 * EYE, 5 * EYE, BOTH))  # lengths do not count
    assert loss.item() == pytest.approx(math.log(1 + math.exp(-2)), rel=1e-5)


def test_pairs_that_are_all_alike_cost_the_logarithm_of_their_number() -> None:
    same = torch.ones(5, 4)
    loss = make("clip")._infonce(pair_up(same, same, torch.ones(5, dtype=torch.bool)))
    assert loss.item() == pytest.approx(math.log(5), rel=1e-5)


def test_siglip_costs_what_the_formula_says() -> None:
    made = make("clip", loss="siglip")
    assert made.log_scale.exp().item() == pytest.approx(10)
    assert made.bias.item() == -10
    made.log_scale.data.zero_()
    made.bias.data.zero_()
    loss = made._siglip(pair_up(EYE, EYE, BOTH))  # one right pair and one wrong one a row
    assert loss.item() == pytest.approx(math.log(1 + math.exp(-1)) + math.log(2), rel=1e-5)


def test_the_scale_starts_at_one_over_seven_hundredths_and_ends_at_a_hundred() -> None:
    made, batch = make("clip"), phantoms()
    assert made.log_scale.exp().item() == pytest.approx(1 / 0.07)
    made.log_scale.data.fill_(9.0)
    assert made(batch, rng()).parts["scale"].item() == pytest.approx(100)
    made.log_scale.data.fill_(-1.0)
    assert made(batch, rng()).parts["scale"].item() == pytest.approx(1)
    assert made.log_scale.shape == (1,)  # sharded training takes no scalar


@pytest.mark.parametrize("loss", ["infonce", "siglip"])
def test_images_without_a_report_are_left_out(loss: str) -> None:
    made, batch = make("clip", loss=loss), still(phantoms())
    with_gaps = made(without_reports(batch, (1, 4)), rng())
    left = [i for i in range(16) if i not in (1, 4)]
    torch.testing.assert_close(with_gaps.total, made(take(batch, left), rng()).total)
    assert with_gaps.parts["pairs"].item() == pytest.approx(14 / 16)


@pytest.mark.parametrize("loss", ["infonce", "siglip"])
def test_a_batch_without_any_report_costs_nothing_and_moves_nothing(loss: str) -> None:
    made = make("clip", loss=loss)
    total = made(without_reports(phantoms(), range(16)), rng()).total
    total.backward()
    assert total.item() == 0
    assert [n for n, p in made.named_parameters() if p.grad is None or bool(p.grad.any())] == []


def test_the_order_of_the_batch_does_not_matter() -> None:
    made, batch = make("clip"), still(phantoms())
    order = torch.randperm(16, generator=torch.Generator().manual_seed(1)).tolist()
    torch.testing.assert_close(made(batch, rng()).total, made(take(batch, order), rng()).total)


def test_padding_changes_nothing() -> None:
    made, batch = make("clip"), still(phantoms())
    batch = dataclasses.replace(batch, valid=batch.valid.clone())
    batch.valid[:, :, 24:] = False
    other = batch.image.clone()
    other[:, :, :, 24:] = 77
    torch.testing.assert_close(
        made(batch, rng()).total, made(dataclasses.replace(batch, image=other), rng()).total
    )


@pytest.mark.parametrize("loss", ["infonce", "siglip"])
def test_sixteen_phantoms_are_told_apart(loss: str) -> None:
    made = make("clip", loss=loss, text={"width": 64}, width=32)
    batch = still(phantoms())
    first, last = overfit(made, batch, 100 if loss == "infonce" else 200, lr=2e-3)
    assert last < 0.1 * first
    assert made(batch, rng()).parts["found"].item() == 1
    images, texts = made.embed_image(batch), made.embed_text(batch.reports["en"])
    assert torch.equal((images @ texts.T).argmax(1), torch.arange(16))
    torch.testing.assert_close(images.norm(dim=1), torch.ones(16))


def test_a_narrow_reader_gets_away_from_chance() -> None:
    """With first weights as small as BERT's, all reports are one to it, and the loss stays at log 16."""
    first, last = overfit(make("clip"), still(phantoms()), 60, lr=3e-3)
    assert first == pytest.approx(math.log(16), rel=0.15)
    assert last < 0.5 * first


def test_every_parameter_gets_a_gradient() -> None:
    for loss in ("infonce", "siglip"):
        made = make("clip", loss=loss, pool="cls")
        made(phantoms(), rng()).total.backward()
        still_ones = [n for n, p in made.named_parameters() if p.grad is None or not bool(p.grad.any())]
        assert still_ones == []


def test_a_batch_that_is_compared_is_not_cut() -> None:
    assert together_micro_batch(0, 1024, 0, 8) == 128
    assert together_micro_batch(256, 1024, 0, 8) == 32
    assert together_micro_batch(256, 1024, 32, 8) == 32
    with pytest.raises(UsageError, match=r"set options.together=128 to compare fewer"):
        together_micro_batch(0, 1024, 16, 8)
    with pytest.raises(UsageError, match=r"options.together is 300"):
        together_micro_batch(300, 1024, 0, 8)


def test_bf16_autocast_compares_in_full_precision() -> None:
    made, batch = make("clip"), still(phantoms())
    with torch.autocast("cpu", torch.bfloat16):
        half = made(batch, rng()).total
    assert half.dtype == torch.float32
    assert half.item() == pytest.approx(made(batch, rng()).total.item(), rel=0.05)
