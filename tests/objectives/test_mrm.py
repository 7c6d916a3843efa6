from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from phantom_pairs import make, overfit, phantoms, rng, take, without_reports

from xraytk.errors import UsageError
from xraytk.objectives.mrm import MrmConfig


def test_a_head_that_knows_nothing_costs_the_logarithm_of_the_vocabulary() -> None:
    made = make("mrm")
    made.head.tell.weight.data.zero_()
    made.head.tell.bias.data.zero_()
    words = made(phantoms(), rng()).parts["words"].item()
    assert words == pytest.approx(math.log(made.text.codec.size), rel=1e-5)


def test_visible_words_and_padding_cost_nothing() -> None:
    longer = {"max_tokens": 60}
    made = make("mrm", text=longer)
    made.head.tell.weight.data.zero_()
    made.head.tell.bias.data.zero_()
    made.head.tell.bias.data[made.text.vocabulary.pad] = 5.0  # sure of padding, everywhere
    size = made.text.codec.size
    wrong = math.log(math.exp(5) + size - 1)  # on words, of which none is padding
    assert made(phantoms(), rng()).parts["words"].item() == pytest.approx(wrong, rel=1e-5)
    released = make("mrm", released=True, text=longer)
    released.load_state_dict(made.state_dict())
    draws = released.draw(phantoms(), rng())
    padding = (~draws.codes.real).float().mean().item()
    assert padding > 0
    by_hand = wrong - 5 * padding
    assert released.loss(phantoms(), draws).parts["words"].item() == pytest.approx(by_hand, rel=1e-5)


def test_half_of_the_words_are_hidden_and_three_quarters_of_the_patches() -> None:
    draws = make("mrm").draw(phantoms(), rng())
    words = (draws.codes.words >= 0).sum(1)
    assert torch.equal(draws.hidden.sum(1), (words * 0.5 + 0.5).floor().long())
    assert draws.choice.hidden.sum(1).tolist() == [12] * 16


def test_the_image_is_added_to_every_word() -> None:
    made, batch = make("mrm").eval(), phantoms()
    draws = made.draw(batch, rng())
    other = dataclasses.replace(batch, image=batch.image.flip(0))

    def words(some: object) -> float:
        return float(made.loss(some, draws).parts["words"])

    assert words(other) != words(batch)
    made.see.weight.data.zero_()
    assert words(other) == words(batch)


def test_words_of_images_without_a_report_do_not_count() -> None:
    made = make("mrm")
    batch = dataclasses.replace(phantoms(), reports=phantoms().reports | {"zh": [""] * 16})
    gaps = without_reports(batch, range(8))
    draws = made.draw(gaps, rng())
    assert not bool(draws.hidden[:8].any())
    none = made(without_reports(batch, range(16)), rng())
    assert none.parts["words"].item() == 0
    none.total.backward()
    assert [n for n, p in made.named_parameters() if p.grad is None] == []
    assert not bool(made.head.tell.bias.grad.any())


def test_sixteen_phantoms_are_learned_by_heart() -> None:
    made = make("mrm", pixels={"norm_pix": False})
    first, last = overfit(made, phantoms(), 60, lr=1e-2)
    assert last < 0.25 * first


def test_every_parameter_gets_a_gradient() -> None:
    made = make("mrm")
    made(phantoms(), rng()).total.backward()
    assert [n for n, p in made.named_parameters() if p.grad is None or not bool(p.grad.any())] == []


def test_the_paintings_can_be_looked_at() -> None:
    made = make("mrm", pixels={"enlarge": 2})
    out = made.reconstruct(take(phantoms(side=64), range(3)), rng())
    assert out.painted.shape == (3, 64, 64)
    assert made.config.norm_pix


def test_the_defaults_are_those_of_the_paper() -> None:
    config = MrmConfig()
    assert (config.hidden_words, config.released, config.norm_pix) == (0.5, False, True)
    assert (config.text.width, config.text.depth, config.text.heads) == (384, 6, 6)
    with pytest.raises(UsageError, match="hidden_words"):
        MrmConfig(hidden_words=0)
