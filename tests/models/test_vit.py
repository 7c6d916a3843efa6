from __future__ import annotations

import math

import pytest
import torch

from xraytk.errors import UsageError
from xraytk.models.vit import (
    Vit,
    VitConfig,
    levels,
    normalise,
    patchify,
    share_per_patch,
    sincos_positions,
    unpatchify,
    valid_patches,
)

SMALL = VitConfig(image_px=32, patch_px=8, width=16, depth=2, heads=2)


def encoder(config: VitConfig = SMALL) -> Vit:
    torch.manual_seed(0)
    return Vit(config).eval()


def picture(config: VitConfig = SMALL, count: int = 2) -> torch.Tensor:
    shape = (count, 1, config.image_px, config.image_px)
    rng = torch.Generator().manual_seed(1)
    return normalise(torch.randint(0, 256, shape, generator=rng, dtype=torch.uint8), config.channels)


def test_the_defaults_are_vit_l_on_400_patches_of_64_pixels() -> None:
    config = VitConfig()
    assert (config.patches, config.patch_values) == (400, 4096)
    with torch.device("meta"):
        count = sum(p.numel() for p in Vit(config).parameters())
    assert count == 24 * (12 * 1024**2 + 13 * 1024) + 4096 * 1024 + 1024 + 1024 + 2 * 1024


@pytest.mark.parametrize(
    ("wrong", "key"),
    [
        ({"image_px": 1000}, "vit.patch_px"),
        ({"channels": 2}, "vit.channels"),
        ({"width": 1000}, "vit.width"),
        ({"depth": 0}, "vit.depth"),
        ({"mlp_ratio": 0.0}, "vit.mlp_ratio"),
    ],
)
def test_a_shape_that_cannot_be_is_refused_by_key(wrong: dict[str, float], key: str) -> None:
    with pytest.raises(UsageError, match=key):
        VitConfig(**wrong)  # type: ignore[arg-type]


def test_patchify_by_hand_and_unpatchify_is_its_inverse() -> None:
    image = torch.arange(16.0).view(1, 1, 4, 4)
    assert patchify(image, 2)[0].tolist() == [[0, 1, 4, 5], [2, 3, 6, 7], [8, 9, 12, 13], [10, 11, 14, 15]]
    colour = torch.rand(2, 3, 8, 12)
    assert torch.equal(unpatchify(patchify(colour, 4), 4, 2, 3), colour)


def test_positions_by_hand() -> None:
    table = sincos_positions(2, 3, 8)
    assert table.shape == (7, 8)
    assert not table[0].any()  # the class token
    x, y = 2, 1  # last patch: column 2 in the first half, row 1 in the second
    speeds = [1.0, 10000 ** (-1 / 2)]
    by_hand = [f(p * s) for p in (x, y) for f in (math.sin, math.cos) for s in speeds]
    assert table[-1].tolist() == pytest.approx(by_hand, abs=1e-6)


def test_grey_becomes_minus_one_to_one() -> None:
    image = torch.tensor([0, 51, 255], dtype=torch.uint8).view(1, 1, 1, 3)
    torch.testing.assert_close(normalise(image, 3)[0, :, 0], torch.tensor([[-1.0, -0.6, 1.0]] * 3))


def test_shares_and_validity_of_patches_by_hand() -> None:
    mask = torch.zeros(1, 4, 4, dtype=torch.bool)
    mask[0, :2, :3] = True
    assert share_per_patch(mask, 2).tolist() == [[1.0, 0.5, 0.0, 0.0]]
    assert valid_patches(mask, 2).tolist() == [[True, True, False, False]]


def test_all_patches_kept_in_order_equal_no_choice() -> None:
    vit, image = encoder(), picture()
    every = torch.arange(16).expand(2, -1)
    torch.testing.assert_close(vit(image, keep_ids=every), vit(image))


def test_tokens_follow_the_order_of_the_kept_patches() -> None:
    vit, image = encoder(), picture()
    ids = torch.tensor([[3, 0, 7], [5, 9, 2]])
    turned = vit(image, keep_ids=ids.flip(1))
    torch.testing.assert_close(turned[:, 1:].flip(1), vit(image, keep_ids=ids)[:, 1:])


def test_hidden_patches_change_nothing() -> None:
    vit, image = encoder(), picture()
    ids = torch.tensor([[0, 5], [0, 5]])
    other = unpatchify(torch.rand(2, 16, 64), 8, 4)
    kept = patchify(other, 8).scatter(1, ids[:, :, None].expand(-1, -1, 64), patchify(image, 8)[:, [0, 5]])
    torch.testing.assert_close(
        vit(unpatchify(kept, 8, 4), keep_ids=ids), vit(image, keep_ids=ids), rtol=0, atol=0
    )


def test_padding_changes_no_token_of_the_image() -> None:
    vit, image = encoder(), picture()
    valid = torch.ones(2, 16, dtype=torch.bool)
    valid[:, 12:] = False
    other = image.clone()
    other[:, :, 24:] = 0.7
    torch.testing.assert_close(vit(image, valid=valid)[:, :13], vit(other, valid=valid)[:, :13])
    few = torch.arange(12).expand(2, -1)
    torch.testing.assert_close(
        vit(image, valid=valid)[:, :13], vit(image, keep_ids=few), rtol=1e-4, atol=1e-5
    )


def test_three_channels_take_a_repeated_grey_image() -> None:
    config = VitConfig(image_px=32, patch_px=8, channels=3, width=16, depth=1, heads=2)
    assert encoder(config)(picture(config)).shape == (2, 17, 16)


def test_an_image_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match=r"\(1, 16, 16\).*wants \(1, 32, 32\)"):
        encoder()(torch.zeros(1, 1, 16, 16))


def test_grey_levels_of_patches_are_what_the_normalised_image_has() -> None:
    image = torch.randint(0, 256, (2, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(2))
    for channels in (1, 3):
        whole = patchify(normalise(image, channels), 4)
        torch.testing.assert_close(levels(patchify(image, 4), channels), whole)
        vit = Vit(VitConfig(image_px=8, patch_px=4, channels=channels, width=8, depth=1, heads=2))
        ids = torch.tensor([[2, 0], [1, 3]])
        torch.testing.assert_close(
            vit.encode(patchify(image, 4), keep_ids=ids), vit.encode(whole, keep_ids=ids)
        )
