from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from xraytk import config as configs
from xraytk.errors import UsageError
from xraytk.finetune import FinetuneConfig
from xraytk.models.vit import VitConfig
from xraytk.objectives.mae import MaeConfig, MaeObjective
from xraytk.train.optim import OptimConfig, lr_at, lr_scale, make_optimizer, set_lr
from xraytk.train.parallel import clip_gradient


def test_the_rate_rises_peaks_halves_and_ends_by_hand() -> None:
    config = OptimConfig(lr=1.0, min_lr=0.1, warmup_share=0.1)
    assert lr_at(0, 100, config) == pytest.approx(0.1)
    assert lr_at(9, 100, config) == pytest.approx(1.0)
    assert lr_at(10, 100, config) == pytest.approx(1.0)
    assert lr_at(55, 100, config) == pytest.approx(0.55)  # half of the way down
    assert lr_at(31, 100, config) == pytest.approx(0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * 21 / 90)))
    assert lr_at(99, 100, config) == pytest.approx(0.1, abs=1e-3)


def test_every_update_has_a_rate_even_the_only_one() -> None:
    assert lr_at(0, 1000, OptimConfig(lr=1.0, warmup_share=0.0)) == 1.0
    assert lr_at(0, 1, OptimConfig(lr=1.0, warmup_share=0.05)) == 1.0
    assert all(lr_at(step, 20, OptimConfig(lr=1.0)) > 0 for step in range(20))


def test_a_stepped_rate_by_hand() -> None:
    half = OptimConfig(lr=1.0, schedule="step", step_share=0.5, step_factor=0.1, warmup_share=0.0)
    assert [lr_at(step, 100, half) for step in (0, 49, 50, 99)] == pytest.approx([1.0, 1.0, 0.1, 0.1])
    tenth = OptimConfig(
        lr=1.0, min_lr=0.2, schedule="step", step_share=0.1, step_factor=0.8, warmup_share=0.05
    )
    rates = [lr_at(step, 100, tenth) for step in (0, 4, 9, 10, 35, 99)]
    assert rates == pytest.approx([0.2, 1.0, 1.0, 0.8, 0.512, 0.2])


def test_adam_with_amsgrad_by_hand() -> None:
    config = OptimConfig(
        kind="adam", lr=0.1, weight_decay=0.5, beta1=0.5, beta2=0.5, eps=1e-3, amsgrad=True, clip=0.0
    )
    weight = nn.Linear(1, 1, bias=False)
    nn.init.ones_(weight.weight)
    optimizer = make_optimizer(weight, config)
    value, first, second, largest = 1.0, 0.0, 0.0, 0.0
    for step, slope in enumerate((4.0, 0.1, -0.2), 1):
        weight.weight.grad = torch.full((1, 1), slope)
        optimizer.step()
        total = slope + 0.5 * value  # decay in the gradient
        first, second = 0.5 * first + 0.5 * total, 0.5 * second + 0.5 * total**2
        largest = max(largest, second)
        root = math.sqrt(largest / (1 - 0.5**step)) + 1e-3
        value -= 0.1 * first / (1 - 0.5**step) / root
        assert weight.weight.item() == pytest.approx(value, rel=1e-5)


def test_adam_decays_all_and_r2gens_preset_has_its_two_rates() -> None:
    config = configs.load(FinetuneConfig, preset="r2gen").optim
    optimizer = make_optimizer(objective(), config)
    set_lr(optimizer, lr_at(0, 10, config))
    assert type(optimizer) is torch.optim.Adam
    assert sorted(group["lr"] for group in optimizer.param_groups) == pytest.approx([5e-5, 1e-4])
    assert {group["weight_decay"] for group in optimizer.param_groups} == {5e-5}
    assert all(group["amsgrad"] for group in optimizer.param_groups)


def test_each_number_of_the_gradient_is_clipped_and_the_norm_told_as_it_was() -> None:
    weight = nn.Parameter(torch.zeros(3))
    weight.grad = torch.tensor([3.0, -4.0, 0.05])
    norm = clip_gradient([weight], math.inf, 0.1)
    assert norm.item() == pytest.approx(math.sqrt(25.0025))
    torch.testing.assert_close(weight.grad, torch.tensor([0.1, -0.1, 0.05]))


def objective() -> MaeObjective:
    vit = VitConfig(image_px=32, patch_px=8, width=16, depth=3, heads=2)
    return MaeObjective(vit, MaeConfig(decoder_width=8, decoder_depth=1, decoder_heads=2))


def test_vectors_and_tokens_do_not_decay_and_nothing_is_left_out() -> None:
    made = objective()
    optimizer = make_optimizer(made, OptimConfig(weight_decay=0.3))
    decays = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    for name, parameter in made.named_parameters():
        free = parameter.ndim <= 1 or name.endswith("_token")
        assert decays.pop(id(parameter)) == (0.0 if free else 0.3), name
        assert parameter.requires_grad
    assert decays == {}


def test_frozen_parameters_are_left_out_and_all_frozen_is_refused() -> None:
    made = nn.Linear(2, 2)
    made.weight.requires_grad_(False)
    held = [p for g in make_optimizer(made, OptimConfig()).param_groups for p in g["params"]]
    assert len(held) == 1
    made.bias.requires_grad_(False)
    with pytest.raises(UsageError, match="nothing to train"):
        make_optimizer(made, OptimConfig())


@pytest.mark.parametrize(
    ("name", "scale"),
    [
        ("head.weight", 1.0),
        ("encoder.norm.weight", 0.1),
        ("encoder.blocks.2.attn.qkv.weight", 0.05),
        ("encoder.blocks.0.attn.qkv.weight", 0.0125),
        ("encoder.project.weight", 0.00625),
    ],
)
def test_layer_decay_by_hand(name: str, scale: float) -> None:
    config = OptimConfig(layer_decay=0.5, encoder_lr_scale=0.1)
    assert lr_scale(name, 3, config) == pytest.approx(scale)


def test_the_optimizer_holds_the_scaled_rate() -> None:
    optimizer = make_optimizer(objective(), OptimConfig(layer_decay=0.5))
    set_lr(optimizer, 0.8)
    rates = sorted({group["lr"] for group in optimizer.param_groups})
    assert rates == pytest.approx([0.05, 0.1, 0.2, 0.4, 0.8])


def test_adamw_takes_the_configured_moments() -> None:
    group = make_optimizer(nn.Linear(2, 2), OptimConfig(beta1=0.8, beta2=0.7)).param_groups[0]
    assert group["betas"] == (0.8, 0.7)


@pytest.mark.parametrize(
    ("wrong", "key"),
    [
        ({"lr": 0.0}, "optim.lr is 0.0"),
        ({"min_lr": 1.0}, "optim.min_lr"),
        ({"beta2": 1.0}, "optim.beta2"),
        ({"warmup_share": 1.0}, "optim.warmup_share"),
        ({"clip": -1.0}, "optim.clip"),
        ({"clip_value": -1.0}, "optim.clip_value"),
        ({"eps": 0.0}, "optim.eps"),
        ({"step_share": 0.0}, "optim.step_share"),
        ({"step_factor": 2.0}, "optim.step_factor"),
        ({"layer_decay": 0.0}, "optim.layer_decay"),
    ],
)
def test_a_value_out_of_range_is_refused_by_key(wrong: dict[str, float], key: str) -> None:
    with pytest.raises(UsageError, match=key):
        OptimConfig(**wrong)
