from __future__ import annotations

import torch

from xraytk.train.peak import matmul_flops


def test_the_peak_is_measured_and_leaves_chance_alone() -> None:
    before = torch.get_rng_state()
    assert 1e8 < matmul_flops(torch.device("cpu")) < 1e15
    assert torch.equal(torch.get_rng_state(), before)
