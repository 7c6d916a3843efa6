from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from phantom_pairs import make, overfit, phantoms, rng, take, without_reports

from xraytk.errors import UsageError
from xraytk.objectives.m3ae import M3aeConfig, draw_partners


def test_heads_that_know_nothing_cost_logarithms() -> None:
    made = make("m3ae")
    for part in (made.head.tell, made.belong):
        part.weight.data.zero_()
        part.bias.data.zero_()
    loss = made(phantoms(), rng())
    assert loss.parts["words"].item() == pytest.approx(math.log(made.text.codec.size), rel=1e-5)
    assert loss.parts["belong"].item() == pytest.approx(math.log(2), rel=1e-5)
    three = sum(loss.parts[name].item() for name in ("paint", "words", "belong"))
    assert loss.total.item() == pytest.approx(three, rel=1e-5)


def test_words_are_told_beside_the_whole_image_and_patches_painted_beside_the_whole_report() -> None:
    made, batch = make("m3ae").eval(), phantoms()
    one, two = made.draw(batch, rng(0)), made.draw(batch, rng(1))
    first = made.loss(batch, one).parts
    other_patches = made.loss(batch, dataclasses.replace(one, choice=two.choice)).parts
    torch.testing.assert_close(other_patches["words"], first["words"])
    torch.testing.assert_close(other_patches["belong"], first["belong"])
    assert other_patches["paint"] != first["paint"]
    covered = torch.full_like(one.shown, made.text.codec.mask)
    other_words = made.loss(batch, dataclasses.replace(one, shown=covered)).parts
    torch.testing.assert_close(other_words["paint"], first["paint"])
    torch.testing.assert_close(other_words["belong"], first["belong"])
    assert other_words["words"] != first["words"]


def test_patches_are_painted_after_the_first_layers_of_the_fusion() -> None:
    made, batch = make("m3ae", depth=3, paint_after=2).eval(), phantoms()
    draws = made.draw(batch, rng())
    before = made.loss(batch, draws).parts
    for layers in (made.fusion.image_layers, made.fusion.text_layers):
        layers[2].linear2.weight.data.normal_(generator=torch.Generator().manual_seed(5))
    after = made.loss(batch, draws).parts
    assert torch.equal(after["paint"], before["paint"])
    assert after["words"] != before["words"]
    made.fusion.image_layers[1].linear2.weight.data.normal_(generator=torch.Generator().manual_seed(6))
    assert made.loss(batch, draws).parts["paint"] != before["paint"]


def test_both_streams_of_a_layer_see_what_the_other_was_before_it() -> None:
    made = make("m3ae", depth=1).eval()
    image, text = torch.randn(2, 5, 32), torch.randn(2, 4, 32)
    nowhere = torch.zeros(2, 4, dtype=torch.bool)
    before = made.fusion(image, text, None, nowhere)[1]
    made.fusion.image_layers[0].linear2.weight.data.normal_(generator=torch.Generator().manual_seed(7))
    seen, read = made.fusion(image, text, None, nowhere)
    torch.testing.assert_close(read, before)
    assert seen.shape == (2, 5, 32)


def test_padding_of_images_and_reports_changes_nothing() -> None:
    made = make("m3ae", text={"max_tokens": 200}).eval()
    batch = dataclasses.replace(take(phantoms(), range(6)), valid=phantoms().valid[:6].clone())
    batch.valid[:3, :, 24:] = False
    other = batch.image.clone()
    other[:3, :, :, 24:] = 99
    draws = made.draw(batch, rng())
    one = made.loss(batch, draws).total
    torch.testing.assert_close(made.loss(dataclasses.replace(batch, image=other), draws).total, one)
    longer = {
        name: torch.nn.functional.pad(getattr(draws.codes, name), (0, 2), value=fill)
        for name, fill in (("tokens", 0), ("words", -1), ("real", False))
    }
    padded = dataclasses.replace(
        draws,
        codes=dataclasses.replace(draws.codes, **longer),
        hidden=torch.nn.functional.pad(draws.hidden, (0, 2)),
        shown=torch.nn.functional.pad(draws.shown, (0, 2)),
    )
    torch.testing.assert_close(made.loss(batch, padded).total, one, rtol=1e-4, atol=1e-5)


def test_half_of_the_reports_get_an_image_whose_report_reads_differently() -> None:
    texts = ["a", "a", "b", "c", "", "d"]
    present = torch.tensor([True, True, True, True, False, True])
    drawn = torch.stack([draw_partners(texts, present, rng(seed)) for seed in range(300)])
    changed = drawn != torch.arange(6)
    assert set(changed.sum(1).tolist()) == {2}  # of five
    assert not bool(changed[:, 4].any())
    assert 1 not in drawn[:, 0].tolist()
    assert float((changed[:, [0, 1, 2, 3, 5]].float().mean(0) - 0.4).abs().max()) < 0.1
    alike = draw_partners(["a", "a"], torch.ones(2, dtype=torch.bool), rng())
    assert alike.tolist() == [0, 1]


def test_an_image_without_a_report_is_nobody_s_partner() -> None:
    texts = ["a", "", "b", "--", "c", ""]
    present = torch.tensor([True, False, True, False, True, False])
    drawn = torch.stack([draw_partners(texts, present, rng(seed)) for seed in range(100)])
    own = torch.arange(6)
    assert set(drawn[:, present].flatten().tolist()) == {0, 2, 4}
    assert torch.equal(drawn[:, ~present], own[~present].expand(100, -1))
    alone = draw_partners(["a", "", "a"], torch.tensor([True, False, True]), rng())
    assert alone.tolist() == [0, 1, 2]


def test_words_and_patches_are_hidden_in_the_paper_s_shares() -> None:
    draws = make("m3ae").draw(phantoms(), rng())
    words = (draws.codes.words >= 0).sum(1)
    assert torch.equal(draws.hidden.sum(1), (words * 0.15 + 0.5).floor().clamp_min(1).long())
    assert draws.choice.hidden.sum(1).tolist() == [12] * 16


def test_a_batch_without_any_report_is_painted_alone() -> None:
    made = make("m3ae")
    loss = made(without_reports(phantoms(), range(16)), rng())
    assert (loss.parts["words"].item(), loss.parts["belong"].item()) == (0, 0)
    assert "matched" not in loss.parts
    loss.total.backward()
    bad = [n for n, p in made.named_parameters() if p.grad is None or not bool(p.grad.isfinite().all())]
    assert bad == []


def test_sixteen_phantoms_are_learned_by_heart() -> None:
    made = make("m3ae", pixels={"norm_pix": False})
    first, last = overfit(made, phantoms(), 40, lr=1e-2)
    assert last < 0.25 * first
    assert made(phantoms(), rng()).parts["matched"].item() > 0.9


def test_every_parameter_gets_a_gradient() -> None:
    made = make("m3ae")
    made(phantoms(), rng()).total.backward()
    assert [n for n, p in made.named_parameters() if p.grad is None or not bool(p.grad.any())] == []


def test_the_paintings_can_be_looked_at() -> None:
    assert make("m3ae").reconstruct(take(phantoms(), range(3)), rng()).painted.shape == (3, 32, 32)


def test_the_defaults_are_those_of_the_paper() -> None:
    config = M3aeConfig()
    assert (config.hidden_words, config.pixels.outside, config.norm_pix) == (0.15, 0.75, True)
    assert (config.width, config.depth, config.heads, config.paint_after) == (768, 6, 12, 3)
    assert (config.pixels.width, config.pixels.depth, config.pixels.heads) == (384, 4, 6)
    with pytest.raises(UsageError, match="paint_after"):
        M3aeConfig(paint_after=7)
