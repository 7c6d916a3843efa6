from __future__ import annotations

import pytest
import torch

from xraytk.errors import UsageError
from xraytk.models import box_maps
from xraytk.models.dense import DenseConfig, DenseDecoder, depths
from xraytk.models.vit import Vit, VitConfig
from xraytk.records import Box


def test_layers_are_evenly_spread_and_the_last_is_among_them() -> None:
    assert depths(12, 4) == (2, 5, 8, 11)
    assert depths(2, 4) == (0, 1)
    assert depths(5, 1) == (4,)


@pytest.mark.parametrize(
    ("image_px", "patch_px", "size"),
    [((64, 96), 16, (32, 48)), (70, 14, (40, 40)), (64, 64, (32, 32)), ((32, 32), 2, (32, 32))],
)
def test_any_patch_and_rectangle_gives_a_map(
    image_px: int | tuple[int, int], patch_px: int, size: tuple[int, int]
) -> None:
    vit = VitConfig(image_px=image_px, patch_px=patch_px, width=16, depth=2, heads=2)
    decoder = DenseDecoder(vit, DenseConfig(layers=2, width=32, cells=48, detail=8), 3)
    image = torch.randn(2, 1, *vit.size)
    out = decoder(Vit(vit), image, torch.ones(2, vit.patches, dtype=torch.bool), frozen=False)
    assert decoder.size == size
    assert out.shape == (2, 3, *size)


def test_a_frozen_encoder_gets_no_gradient() -> None:
    vit = VitConfig(image_px=32, patch_px=8, width=16, depth=2, heads=2)
    encoder, decoder = Vit(vit), DenseDecoder(vit, DenseConfig(layers=1, width=32, cells=8, detail=0), 1)
    valid = torch.ones(1, vit.patches, dtype=torch.bool)
    decoder(encoder, torch.randn(1, 1, 32, 32), valid, frozen=True).sum().backward()
    assert all(p.grad is None for p in encoder.parameters())
    assert all(p.grad is not None for p in decoder.parameters())


def test_sizes_that_cannot_be_are_refused() -> None:
    with pytest.raises(UsageError, match=r"dense\.width is 36"):
        DenseConfig(width=36)
    with pytest.raises(UsageError, match=r"dense\.layers is 0"):
        DenseConfig(layers=0)


def test_maps_of_boxes_give_the_boxes_again() -> None:
    drawn = [Box("A", 10, 20, 50, 40), Box("B", 60, 60, 90, 100)]
    heat, edges, weight = box_maps.targets([drawn, []], ["A", "B"], (128, 128), (32, 32))
    assert [float(weight[i].sum()) for i in range(2)] == pytest.approx([2, 0], abs=1e-5)
    scores, names, found = box_maps.peaks(torch.from_numpy(heat), torch.from_numpy(edges), 2)
    assert scores[0].tolist() == [1.0, 1.0]
    boxes = {int(n): (e * 4).tolist() for n, e in zip(names[0], found[0], strict=True)}
    assert boxes == {0: [10, 20, 50, 40], 1: [60, 60, 90, 100]}
    assert float(scores[1].max()) == 0


def test_right_edges_cost_nothing_and_others_do() -> None:
    _, truth, weight = box_maps.targets([[Box("A", 8, 8, 24, 24)]], ["A"], (32, 32), (16, 16))
    edges, share = torch.from_numpy(truth), torch.from_numpy(weight)
    assert float(box_maps.edge_loss(edges, edges, share)) == pytest.approx(0, abs=1e-5)
    assert float(box_maps.edge_loss(edges + torch.tensor([4.0, 0, 4, 0])[:, None, None], edges, share)) > 0.5


def test_what_is_not_known_of_a_label_costs_nothing() -> None:
    heat, _, _ = box_maps.targets([[]], ["A", "B"], (32, 32), (8, 8))
    logits = torch.zeros(1, 2, 8, 8)
    known = torch.tensor([[1.0, 0.0]])
    half = box_maps.focal_loss(logits, torch.from_numpy(heat), known)
    whole = box_maps.focal_loss(logits, torch.from_numpy(heat), torch.ones(1, 2))
    assert float(whole) == pytest.approx(2 * float(half))
    assert float(box_maps.focal_loss(logits, torch.from_numpy(heat), torch.zeros(1, 2))) == 0
