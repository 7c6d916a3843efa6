from __future__ import annotations

import dataclasses

import pytest
import torch
from made_batches import noise
from torch import Tensor

from xraytk.chance import Chance
from xraytk.errors import UsageError
from xraytk.models.pixels import mean_square, pixel_target
from xraytk.models.vit import VitConfig, normalise, patchify
from xraytk.objectives.mae import MaeConfig, MaeObjective
from xraytk.records import Batch

SMALL = VitConfig(image_px=32, patch_px=8, width=16, depth=1, heads=2)
LIGHT = {"decoder_width": 8, "decoder_depth": 1, "decoder_heads": 2}


def objective(vit: VitConfig = SMALL, **options: object) -> MaeObjective:
    torch.manual_seed(0)
    return MaeObjective.build(vit, LIGHT | options)


def rng(seed: int = 0) -> Chance:
    return Chance(seed)


def value(made: MaeObjective, some: Batch) -> float:
    return made(some, rng()).total.item()


def hidden_of(made: MaeObjective, some: Batch, seed: int = 0) -> Tensor:
    return made.reconstruct(some, rng(seed)).hidden


def paint_constant(made: MaeObjective, value: float) -> None:
    """Make the decoder predict one grey everywhere, whatever it sees."""
    torch.nn.init.zeros_(made.painter.decoder.paint.weight)
    torch.nn.init.constant_(made.painter.decoder.paint.bias, value)


def test_the_loss_of_a_toy_equals_the_hand_value() -> None:
    vit = VitConfig(image_px=4, patch_px=2, width=8, depth=1, heads=1)
    made = objective(vit, mask="random", outside=0.75, norm_pix=False)
    paint_constant(made, 0.5)
    some = noise(1, 4)
    greys = torch.tensor([[0, 0, 51, 51], [0, 0, 51, 51], [102, 102, 255, 255], [102, 102, 255, 255]])
    some = dataclasses.replace(some, image=greys.to(torch.uint8)[None, None])
    values = [-1.0, -0.6, -0.2, 1.0]  # of the four patches
    hidden = hidden_of(made, some)[0]
    assert int(hidden.sum()) == 3
    by_hand = sum((v - 0.5) ** 2 for v, h in zip(values, hidden.tolist(), strict=True) if h) / 3
    assert value(made, some) == pytest.approx(by_hand, rel=1e-5)


def test_norm_pix_divides_by_the_unbiased_deviation() -> None:
    target, mean, deviation = pixel_target(torch.tensor([[0.0, 2.0]]), norm_pix=True)
    assert (float(mean), float(deviation)) == pytest.approx((1.0, 2**0.5), rel=1e-5)
    assert target[0].tolist() == pytest.approx([-(2**-0.5), 2**-0.5], rel=1e-5)


def test_the_mean_square_has_the_gradient_of_torchs_own() -> None:
    predicted = torch.randn(5, 7, generator=torch.Generator().manual_seed(1)).requires_grad_()
    target, weight = torch.linspace(-1, 1, 35).view(5, 7), torch.arange(1.0, 6.0)
    ours, theirs = mean_square(predicted, target), (predicted - target).square().mean(-1)
    torch.testing.assert_close(ours, theirs)
    grads = [torch.autograd.grad((rows * weight).sum(), predicted)[0] for rows in (ours, theirs)]
    torch.testing.assert_close(*grads)
    half = mean_square(predicted.detach().bfloat16().requires_grad_(), target)
    assert half.dtype == torch.float32


def test_norm_pix_predicting_zero_costs_the_unbiased_share() -> None:
    made = objective(norm_pix=True)
    paint_constant(made, 0.0)
    assert value(made, noise()) == pytest.approx(63 / 64, rel=1e-4)  # (P - 1) / P


def test_the_loss_ignores_visible_patches() -> None:
    made, some = objective(norm_pix=False), noise()
    paint_constant(made, 0.0)
    hidden = hidden_of(made, some)
    values = patchify(normalise(some.image, 1), 8)
    by_hand = torch.stack([values[i][hidden[i]].square().mean() for i in range(3)]).mean()
    assert value(made, some) == pytest.approx(float(by_hand), rel=1e-5)


def test_the_loss_ignores_padding() -> None:
    made, some = objective(norm_pix=False).eval(), noise()
    some.valid[:, :, 24:] = False
    other = some.image.clone()
    other[:, :, :, 24:] = 200
    one = made(some, rng()).total
    two = made(dataclasses.replace(some, image=other), rng()).total
    torch.testing.assert_close(one, two, rtol=0, atol=0)
    assert not hidden_of(made, some).view(3, 4, 4)[:, :, 3].any()


def test_the_loss_does_not_depend_on_images_being_padded_elsewhere() -> None:
    made, some = objective(mask="random", norm_pix=False).eval(), noise()
    paint_constant(made, 0.0)
    some.valid[0, :, 16:] = False
    hidden, values = hidden_of(made, some), patchify(normalise(some.image, 1), 8).square()
    means = torch.stack([values[i][hidden[i]].mean() for i in range(3)])
    assert value(made, some) == pytest.approx(float(means.mean()), rel=1e-5)


def test_every_parameter_gets_a_gradient_the_norms_too() -> None:
    made = objective()
    made(noise(), rng()).total.backward()
    still = [n for n, p in made.named_parameters() if p.grad is None or not bool(p.grad.any())]
    assert still == []
    assert bool(made.encoder.blocks[0].norm1.weight.grad.ne(0).any())  # type: ignore[union-attr]


def test_reconstruction_pastes_visible_patches_and_undoes_norm_pix() -> None:
    for norm_pix in (True, False):
        made, some = objective(norm_pix=norm_pix), noise()
        paint_constant(made, 0.0)
        out = made.reconstruct(some, rng())
        original, painted = patchify(out.original[:, None], 8), patchify(out.painted[:, None], 8)
        masked = patchify(out.masked[:, None], 8)
        assert torch.equal(out.original, some.image[:, 0])
        assert torch.equal(painted[~out.hidden], original[~out.hidden])
        assert torch.equal(masked[~out.hidden], original[~out.hidden])
        assert set(masked[out.hidden].unique().tolist()) == {128}
        wanted = original[out.hidden].float().mean(-1) if norm_pix else torch.full((1,), 127.5)
        assert float((painted[out.hidden].float().mean(-1) - wanted).abs().max()) <= 0.51


def test_a_picture_of_nothing_but_padding_stops_nothing() -> None:
    some = noise()
    some.valid[1] = False
    assert bool(torch.isfinite(objective()(some, rng()).total))


def test_inside_and_hidden_are_reported() -> None:
    made, some = objective(norm_pix=False), noise()
    loss = made(some, rng())
    assert set(loss.parts) == {"inside", "hidden"}
    assert float(loss.parts["hidden"]) == pytest.approx(float(hidden_of(made, some).float().mean()))


def test_a_few_steps_overfit_one_batch() -> None:
    made, some = objective(norm_pix=False, decoder_width=32), noise(2)
    optimizer = torch.optim.AdamW(made.parameters(), lr=3e-3)
    first = value(made, some)
    for _ in range(150):
        loss = made(some, rng()).total
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.3 * first


def test_bf16_autocast_gives_nearly_the_same_loss() -> None:
    made, some = objective(), noise()
    some.valid[:, :, 24:] = False
    with torch.autocast("cpu", torch.bfloat16):
        half = made(some, rng()).total
    assert half.dtype == torch.float32
    assert half.item() == pytest.approx(value(made, some), rel=0.02)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"inside": 0.8}, "outside <= inside"),
        ({"mask": "circle"}, "options.mask must be one of"),
        ({"norm_pixx": True}, "did you mean options.norm_pix"),
        ({"decoder_width": 10, "decoder_heads": 4}, "options.decoder_width"),
    ],
)
def test_a_wrong_option_is_named(options: dict[str, object], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        MaeObjective.build(SMALL, options)


def test_the_defaults_are_those_of_the_paper_with_norm_pix() -> None:
    config = MaeConfig()
    assert (config.inside, config.outside, config.mask, config.norm_pix) == (0.95, 0.85, "contour", True)
    assert (config.decoder_width, config.decoder_depth, config.decoder_heads) == (512, 8, 16)
