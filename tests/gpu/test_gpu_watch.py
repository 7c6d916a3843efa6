from __future__ import annotations

from pathlib import Path

import pytest
import torch

from xraytk.models.flops import count_flops
from xraytk.models.vit import Vit, VitConfig
from xraytk.train.journal import Journal
from xraytk.train.peak import matmul_flops
from xraytk.train.watch import Watch

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


def test_products_in_bf16_are_faster_than_in_fp32() -> None:
    device = torch.device("cuda")
    assert 1e12 < matmul_flops(device, torch.float32) < matmul_flops(device, torch.bfloat16) < 5e15


def test_a_line_says_what_the_allocator_used_and_reserved_and_not_what_the_measuring_did(
    tmp_path: Path,
) -> None:
    device = torch.device("cuda")
    watch = Watch(flops_per_image=1e9)
    journal = Journal(tmp_path / "log.jsonl", 4, device, steps=9, dtype=torch.bfloat16, watch=watch)
    journal.cut(0)
    held = torch.zeros(2**28, device=device)  # 1 GiB
    journal.add(held[0], {}, held[1])
    line = journal.write(1, 1e-3)
    assert 1.0 <= line["memory_gib"] < 1.3
    assert line["reserved_gib"] >= line["memory_gib"]
    assert line["mfu"] > 0


def test_the_same_operations_are_counted_as_on_cpu() -> None:
    encoder = Vit(VitConfig(image_px=64, patch_px=8, width=16, depth=2, heads=2))
    image = torch.zeros(2, 1, 64, 64)
    on_cpu = count_flops(lambda: encoder(image))
    encoder.cuda()
    assert count_flops(lambda: encoder(image.cuda())) == on_cpu
