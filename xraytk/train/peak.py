"""The rate of matrix products that a device reaches: what the speed of training is compared with."""

from __future__ import annotations

import time

import torch

CPU_S, CUDA_S = 0.2, 0.1
_SIDES = {"cpu": (256, 1024), "cuda": (1024, 4096, 8192)}


def matmul_flops(device: torch.device, dtype: torch.dtype = torch.float32) -> float:
    """Measure the rate of square matrix products: the fastest of those done in `CPU_S` or `CUDA_S`.

    The numbers are drawn from a normal distribution: equal ones cost a GPU less power, and it is
    faster with them than it ever is in training. The global generators are left alone.

    Args:
        device: Where.
        dtype: Of the factors; float32 is multiplied as torch is set to do it.

    Returns:
        Operations a second; a multiplication with its addition is two.
    """
    kind = "cuda" if device.type == "cuda" else "cpu"
    limit = CUDA_S if kind == "cuda" else CPU_S
    rng = torch.Generator(device).manual_seed(0)
    end, best = time.perf_counter() + limit, 0.0
    for side in _SIDES[kind]:
        if best and 2.0 * side**3 / best > limit / 4:  # a slow device: what was found will do
            break
        factor = torch.randn(side, side, generator=rng, device=device).to(dtype)
        _seconds(factor)  # takes memory and chooses a kernel
        best = max(best, 2.0 * side**3 / _seconds(factor))
    while time.perf_counter() < end:
        best = max(best, 2.0 * len(factor) ** 3 / _seconds(factor))
    return best


def _seconds(factor: torch.Tensor) -> float:
    """Time of one product, until it is there."""
    began = time.perf_counter()
    product = factor @ factor
    if factor.device.type == "cuda":
        torch.cuda.synchronize(factor.device)
    del product
    return max(time.perf_counter() - began, 1e-9)
