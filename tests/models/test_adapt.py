from __future__ import annotations

import timm.layers
import torch
from torch import Tensor
from torch.nn import functional as F

from xraytk.models import adapt
from xraytk.models.vit import patchify


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def tokens(weight: Tensor, image: Tensor) -> Tensor:
    return F.conv2d(image, weight, stride=weight.shape[-1]).flatten(2).mT


def test_a_grey_image_and_its_repetition_give_the_same_tokens() -> None:
    colour, grey, image = noise(5, 3, 4, 4), noise(5, 1, 4, 4), noise(2, 1, 8, 12, seed=1)
    three = image.expand(-1, 3, -1, -1)
    torch.testing.assert_close(tokens(adapt.change_channels(colour, 1), image), tokens(colour, three))
    torch.testing.assert_close(tokens(adapt.change_channels(grey, 3), three), tokens(grey, image))
    assert adapt.change_channels(colour, 3) is colour


def test_an_enlarged_patch_keeps_its_token() -> None:
    weight, patch = noise(5, 3, 4, 4), noise(7, 3, 4, 4, seed=1)
    for side in (5, 8, 16):
        large = F.interpolate(patch, (side, side), mode="bilinear", antialias=True)
        torch.testing.assert_close(
            tokens(adapt.resize_patches(weight, side), large), tokens(weight, patch), rtol=1e-4, atol=1e-4
        )
    assert adapt.resize_patches(weight, 4) is weight


def test_resizing_patches_is_what_timm_does_without_separating_the_axes() -> None:
    weight = noise(3, 1, 8, 8)
    for side in (4, 12):
        theirs = timm.layers.resample_patch_embed(weight, [side, side], interpolation="bilinear")
        torch.testing.assert_close(adapt.resize_patches(weight, side), theirs, rtol=1e-4, atol=1e-5)


def test_positions_of_the_same_grid_change_no_bit_and_a_constant_field_stays() -> None:
    table = noise(1 + 12, 8)
    assert adapt.resize_positions(table, (3, 4), (3, 4)) is table
    flat = torch.cat([table[:1], torch.full((12, 8), 0.7)])
    for new in ((6, 8), (2, 2), (5, 3), (4, 3)):
        made = adapt.resize_positions(flat, (3, 4), new)
        assert made.shape == (1 + new[0] * new[1], 8)
        assert torch.equal(made[0], table[0])  # the class token's
        torch.testing.assert_close(made[1:], torch.full_like(made[1:], 0.7))


def test_turning_the_grid_turns_the_positions() -> None:
    table = noise(1 + 12, 2)
    turned = torch.cat([table[:1], table[1:].view(3, 4, 2).transpose(0, 1).reshape(12, 2)])
    one = adapt.resize_positions(table, (3, 4), (5, 9))[1:].view(5, 9, 2)
    two = adapt.resize_positions(turned, (4, 3), (9, 5))[1:].view(9, 5, 2)
    torch.testing.assert_close(one, two.transpose(0, 1))


def test_other_grey_levels_are_put_into_the_projection() -> None:
    weight, bias, image = noise(5, 3, 4, 4), noise(5), torch.rand(2, 3, 8, 8)
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    theirs = (image - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)
    ours_weight, ours_bias = adapt.renormalise(weight, bias, mean, std)
    torch.testing.assert_close(
        tokens(ours_weight, 2 * image - 1) + ours_bias, tokens(weight, theirs) + bias, rtol=1e-4, atol=1e-4
    )


def test_a_convolution_is_a_linear_map_of_patches_and_back() -> None:
    weight, image = noise(5, 3, 4, 4), noise(2, 3, 8, 12)
    linear = adapt.as_linear(weight)
    torch.testing.assert_close(patchify(image, 4) @ linear.T, tokens(weight, image))
    assert torch.equal(adapt.as_convolution(linear, 3), weight)
