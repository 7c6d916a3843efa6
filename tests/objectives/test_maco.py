from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest
import torch
from phantom_pairs import make, overfit, phantoms, rng, take, without_reports

from xraytk.errors import UsageError
from xraytk.models.vit import levels
from xraytk.objectives.maco import Draws, MacoConfig, correlation_loss

EYE, BOTH = torch.eye(2), torch.ones(2, dtype=torch.bool)


def test_two_pairs_at_right_angles_cost_what_the_formula_says() -> None:
    trust, scale = torch.tensor([1.0, 3.0]), torch.tensor([2.0])
    each = [math.log(1 + math.exp(-2 * s)) for s in (1.0, 3.0)]  # logits times trust
    plain = math.log(1 + math.exp(-2))  # whose weighted mean is itself
    by_hand = (2 * sum(each) / 2 + 2 * plain) / 4
    assert correlation_loss(EYE, EYE, trust, scale, BOTH).item() == pytest.approx(by_hand, rel=1e-5)


def test_the_weighted_half_is_a_weighted_mean_without_gradient_to_the_weights() -> None:
    image = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    text = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    trust = torch.tensor([0.5, 1.0, 2.0], requires_grad=True)
    scale, every = torch.tensor([3.0]), torch.ones(3, dtype=torch.bool)
    loss = correlation_loss(image, text, trust, scale, every)
    loss.backward()
    cosines, at = image @ text.T, torch.arange(3)
    ce = torch.nn.functional.cross_entropy
    free = trust.detach().clone().requires_grad_()
    weighed = [ce(free[:, None] * 3 * s, at) for s in (cosines, cosines.T)]
    fixed = [(trust.detach() * ce(3 * s, at, reduction="none")).sum() / 3.5 for s in (cosines, cosines.T)]
    by_hand = (sum(weighed) + sum(fixed)) / 4
    by_hand.backward()
    torch.testing.assert_close(loss, by_hand)
    torch.testing.assert_close(trust.grad, free.grad)


def test_at_the_start_every_image_is_trusted_by_the_logarithm_of_two() -> None:
    made = make("maco")
    assert not bool(made.place.weight.any())
    for seed in range(3):
        assert made(phantoms(), rng(seed)).parts["trust"].item() == pytest.approx(math.log(2))


def test_trust_is_softplus_over_the_visible_places() -> None:
    made, batch = make("maco"), phantoms()
    made.place.weight.data.copy_(torch.arange(16.0)[None] / 16)
    draws = made.draw(batch, rng())
    assert draws.choice.keep_ids.shape == (16, 8)  # half of sixteen patches
    sums = (draws.choice.keep_ids / 16).sum(1)
    wanted = torch.nn.functional.softplus(sums).mean()
    torch.testing.assert_close(made.loss(batch, draws).parts["trust"], wanted)


def test_the_multiplier_starts_at_one_over_t_and_is_free() -> None:
    made = make("maco")
    assert made.scale.item() == pytest.approx(1 / 0.03)
    made.scale.data.fill_(500.0)
    assert made(phantoms(), rng()).parts["scale"].item() == 500


def test_the_paper_weighs_and_the_release_adds() -> None:
    paper = make("maco")(phantoms(), rng())
    c, p = paper.parts["contrast"].item(), paper.parts["paint"].item()
    assert paper.total.item() == pytest.approx(0.9 * c + 0.1 * p, rel=1e-5)
    released = make("maco", recipe="released")(phantoms(), rng())
    assert released.total.item() == pytest.approx(c + p, rel=1e-5)


def test_the_order_of_the_batch_does_not_matter_to_the_contrast() -> None:
    made, batch = make("maco"), phantoms()
    made.place.weight.data.normal_(generator=torch.Generator().manual_seed(3))
    draws = made.draw(batch, rng())
    order = torch.randperm(16, generator=torch.Generator().manual_seed(1))

    def ordered(part: Any) -> Any:
        return type(part)(**{f.name: getattr(part, f.name)[order] for f in dataclasses.fields(part)})

    turned = made.loss(take(batch, order.tolist()), Draws(ordered(draws.choice), ordered(draws.codes)))
    torch.testing.assert_close(turned.total, made.loss(batch, draws).total)


def test_images_without_a_report_are_painted_and_not_compared() -> None:
    made = make("maco")
    none = made(without_reports(phantoms(), range(16)), rng())
    assert none.parts["contrast"].item() == 0
    assert none.total.item() == pytest.approx(0.1 * none.parts["paint"].item())
    none.total.backward()
    assert [n for n, p in made.named_parameters() if p.grad is None] == []
    some = made(without_reports(phantoms(), range(4)), rng())
    assert math.isfinite(some.total.item())


def test_enlarged_patches_lie_where_the_encoder_sees_them() -> None:
    made, batch = make("maco", pixels={"enlarge": 2, "norm_pix": False}), phantoms(side=64)
    grey = made.painter.fine(batch)
    coarse, fine = made.painter.coarse(batch, grey), levels(grey, 1)
    assert (fine.shape, coarse.shape) == ((16, 16, 256), (16, 16, 64))
    assert float((fine.mean(2) - coarse.mean(2)).abs().max()) < 0.1
    made.painter.decoder.paint.weight.data.zero_()
    made.painter.decoder.paint.bias.data.fill_(0.25)
    draws = made.draw(batch, rng())
    hidden = draws.choice.hidden
    by_hand = torch.stack([(fine[i][hidden[i]] - 0.25).square().mean() for i in range(16)]).mean()
    assert made.loss(batch, draws).parts["paint"].item() == pytest.approx(by_hand.item(), rel=1e-5)
    assert made.reconstruct(batch, rng()).painted.shape == (16, 64, 64)


def test_sixteen_phantoms_are_learned_by_heart() -> None:
    made, batch = make("maco", shuffle=False, recipe="released", text={"width": 64}), phantoms()
    first, last = overfit(made, batch, 80)
    assert last < 0.25 * first
    parts = made(batch, rng()).parts
    assert parts["contrast"].item() < 0.2


def test_whole_images_and_texts_can_be_embedded() -> None:
    made, batch = make("maco"), phantoms()
    assert made.embed_image(batch).shape == made.embed_text(batch.reports["zh"], "zh").shape == (16, 32)
    assert made.training


def test_every_parameter_gets_a_gradient() -> None:
    made = make("maco")
    made(phantoms(), rng()).total.backward()
    assert [n for n, p in made.named_parameters() if p.grad is None or not bool(p.grad.any())] == []


def test_the_defaults_are_those_of_the_paper() -> None:
    config = MacoConfig()
    assert (config.recipe, config.lam, config.temperature) == ("paper", 0.9, 0.03)
    assert (config.pixels.mask, config.pixels.outside, config.norm_pix) == ("random", 0.5, False)
    with pytest.raises(UsageError, match="lam"):
        MacoConfig(lam=1.5)
