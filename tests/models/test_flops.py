from __future__ import annotations

import pytest
import torch
from made_batches import batch_of
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from xraytk.chance import Chance
from xraytk.errors import UsageError
from xraytk.models.flops import GPUS, MaeShape, count_flops, forward_flops, train_flops
from xraytk.models.vit import Vit, VitConfig
from xraytk.objectives.mae import MaeConfig, MaeObjective


@pytest.mark.parametrize(("hidden", "visible", "gflop"), [(0.75, 100, 90), (0.885, 46, 54)])
def test_the_model_of_the_paper_costs_what_was_measured(hidden: float, visible: int, gflop: float) -> None:
    shape = MaeShape(hidden=hidden)
    assert shape.visible == visible
    assert forward_flops(shape) / 1e9 == pytest.approx(gflop, rel=0.04)
    assert train_flops(shape) == 3 * forward_flops(shape)


def test_one_block_on_two_tokens_by_hand() -> None:
    shape = MaeShape(
        image_px=2, patch_px=1, width=4, depth=1, mlp_ratio=1.0, hidden=0.75, decoder_width=2, decoder_depth=1
    )
    project, narrow, paint = 2 * 1 * 1 * 4, 2 * 2 * 4 * 2, 2 * 3 * 2 * 1
    encoder = 2 * 2 * 16 * 4 + 2 * 2 * 16 * 2 + 2 * (2 * 2 * 2 * 4)
    decoder = 2 * 5 * 4 * 4 + 2 * 5 * 4 * 8 + 2 * (2 * 5 * 5 * 2)
    assert forward_flops(shape) == project + encoder + narrow + decoder + paint


def test_the_count_is_that_of_the_model_as_it_runs() -> None:
    vit = VitConfig(image_px=128, patch_px=16, width=64, depth=2, heads=4)
    options = MaeConfig(
        mask="random", outside=0.75, inside=0.75, decoder_width=32, decoder_depth=1, decoder_heads=2
    )
    learner = MaeObjective(vit, options)
    batch = batch_of(torch.zeros(3, 1, 128, 128, dtype=torch.uint8))
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        learner(batch, Chance(0))
    shape = MaeShape(
        image_px=128, patch_px=16, width=64, depth=2, hidden=0.75, decoder_width=32, decoder_depth=1
    )
    assert counter.get_total_flops() == 3 * forward_flops(shape)


def test_a_shape_that_cannot_be_is_refused() -> None:
    for wrong in ({"patch_px": 7}, {"hidden": 1.0}, {"depth": 0}, {"mlp_ratio": 0.0}):
        with pytest.raises(UsageError, match=f"model.{next(iter(wrong))}"):
            MaeShape(**wrong)  # type: ignore[arg-type]


def test_the_peaks_of_the_table_are_positive() -> None:
    assert min(GPUS.values()) > 0


def test_watching_products_counts_a_hidden_patch_where_it_is_used_only() -> None:
    encoder = Vit(VitConfig(image_px=64, patch_px=8, width=16, depth=2, heads=2)).train()
    image, keep = torch.zeros(2, 1, 64, 64), torch.arange(16).expand(2, -1)
    every, some = count_flops(lambda: encoder(image)), count_flops(lambda: encoder(image, keep_ids=keep))

    def by_hand(seen: int) -> int:
        tokens, width = 1 + seen, 16
        block = 2 * tokens * width * width * (4 + 2 * 4) + 4 * tokens**2 * width
        return 2 * (2 * seen * 64 * width + 2 * block)

    assert (every, some) == (by_hand(64), by_hand(16))
    assert encoder.project.weight.grad is None
