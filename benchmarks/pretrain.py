"""A training step of a masked autoencoder: ours beside the public implementation (facebookresearch/mae).

    git clone https://github.com/facebookresearch/mae MAE     # CC BY-NC 4.0; not part of this project
    python benchmarks/pretrain.py --mae MAE [--preset vit-l] [--batch 2 8] [--device cpu|cuda] [--json]

Both have the same shape, the same 46 of 400 visible patches and the same loss over the hidden ones. All
is interleaved in one process, A B A B; medians are quoted. Peak memory is that of a process of its own
(CPU), or of the allocator (CUDA). The peer is patched only to run with today's timm and numpy: `Block`
loses `qk_scale`, `np.float` is float. It steps as its scripts do: AdamW in its default form, and on CUDA
fp16 autocast with a gradient scaler. Ours: fused AdamW, bf16 autocast on CUDA, fp32 on CPU. Without
--mae ours is measured alone.

`step` is a whole step from a batch on the device: forward, backward, clipping as each does it, optimizer.
`model` is forward and backward. `mfu` is model FLOPs (backward twice the forward; hidden patches cost what
they cost) over the rate of a large matrix product, measured here in the same precision.
"""

from __future__ import annotations

import argparse
import functools
import importlib
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from xraytk.chance import Chance
from xraytk.config import build, read_preset
from xraytk.models.flops import MaeShape, train_flops
from xraytk.models.vit import VitConfig
from xraytk.objectives.mae import MaeObjective
from xraytk.records import Batch
from xraytk.train.heap import keep_freed_memory
from xraytk.train.optim import OptimConfig, make_optimizer
from xraytk.train.parallel import blocks_of

HIDDEN = 0.885
"""46 of 400 patches stay visible, as the paper's ratios have it."""

Step = Callable[[], None]


class Side:
    """One implementation: its model and the two things that are timed."""

    def __init__(self, name: str, model: Step, step: Step, release: Step) -> None:
        self.name, self.model, self.step, self.release = name, model, step, release


def ours(vit: VitConfig, batch: int, device: torch.device, compiled: bool = False) -> Side:
    """The objective and optimizer of this package."""
    options = {"mask": "random", "inside": HIDDEN, "outside": HIDDEN, "norm_pix": False}
    learner: nn.Module = MaeObjective.build(vit, options).to(device).train()
    optimizer = make_optimizer(learner, OptimConfig())
    parameters = list(learner.parameters())
    given = grey_batch(vit, batch, device)
    if compiled:
        for block in blocks_of(learner):
            block.compile()
    chance = iter(range(10**9))

    def model() -> None:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            loss = learner(given, Chance(next(chance))).total
        loss.backward()

    def step() -> None:
        model()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()

    return Side("xraytk", model, step, functools.partial(optimizer.zero_grad, set_to_none=True))


def theirs(folder: Path, vit: VitConfig, batch: int, device: torch.device) -> Side:
    """The public MAE, patched only to run."""
    import timm.models.vision_transformer as timm_vit

    setattr(np, "float", float)  # noqa: B010
    plain = timm_vit.Block

    def block(*args: Any, qk_scale: object = None, **more: Any) -> nn.Module:
        return plain(*args, **more)

    timm_vit.Block = block  # type: ignore[misc, assignment]
    sys.path.insert(0, str(folder))
    try:
        models_mae = importlib.import_module("models_mae")
    finally:
        timm_vit.Block = plain  # type: ignore[misc]
    made = models_mae.MaskedAutoencoderViT(
        img_size=vit.image_px, patch_size=vit.patch_px, in_chans=vit.channels, embed_dim=vit.width,
        depth=vit.depth, num_heads=vit.heads, decoder_embed_dim=512, decoder_depth=8, decoder_num_heads=16,
        mlp_ratio=4, norm_layer=functools.partial(nn.LayerNorm, eps=1e-6), norm_pix_loss=False,
    )  # fmt: skip
    if vit.channels != 3:  # its patches are always of three colours
        made.patchify = functools.partial(_patchify, made)
    made = made.to(device).train()
    decayed = [p for p in made.parameters() if p.requires_grad and p.ndim > 1]
    rest = [p for p in made.parameters() if p.requires_grad and p.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": 0.05}, {"params": rest, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=6e-4, betas=(0.9, 0.95))
    scaler = torch.amp.GradScaler(device.type, enabled=device.type == "cuda")
    image = grey_batch(vit, batch, device).image.float().div(127.5).sub(1.0).expand(-1, vit.channels, -1, -1)

    def model() -> None:
        optimizer.zero_grad()
        with torch.autocast(device.type, torch.float16, enabled=device.type == "cuda"):
            loss, _, _ = made(image, mask_ratio=HIDDEN)
        scaler.scale(loss).backward()

    def step() -> None:
        model()
        scaler.step(optimizer)
        scaler.update()

    return Side("facebookresearch/mae", model, step, optimizer.zero_grad)


def _patchify(made: Any, image: torch.Tensor) -> torch.Tensor:
    side = made.patch_embed.patch_size[0]
    b, c, h, w = image.shape
    cut = image.reshape(b, c, h // side, side, w // side, side)
    return torch.einsum("nchpwq->nhwpqc", cut).reshape(b, -1, side**2 * c)


def grey_batch(vit: VitConfig, batch: int, device: torch.device) -> Batch:
    """A batch of noise."""
    side = vit.image_px
    image = torch.randint(0, 256, (batch, 1, side, side), dtype=torch.uint8, device=device)
    whole = torch.ones(1, 1, 1, dtype=torch.bool, device=device).expand(batch, side, side)
    none = torch.zeros(batch, dtype=torch.bool, device=device)
    empty = torch.zeros(batch, 0, device=device)
    return Batch(image, whole, ~whole, none, empty, {}, *([""] * batch for _ in range(3)))  # type: ignore[arg-type]


def timed(run: Step, device: torch.device) -> float:
    """Seconds of one call."""
    if device.type == "cuda":
        torch.cuda.synchronize()
    began = time.perf_counter()
    run()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - began


def matmul_peak(device: torch.device) -> float:
    """FLOP/s of a large matrix product on random numbers, in the precision of training; best of five."""
    cuda = device.type == "cuda"
    side, dtype = (8192, torch.bfloat16) if cuda else (2048, torch.float32)
    a, b = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    times = [timed(lambda: torch.mm(a, b), device) for _ in range(8)][3:]
    return float(2 * side**3 / min(times))


def memory(given: argparse.Namespace, who: str, batch: int, device: torch.device) -> float:
    """Peak GiB of two steps in a process of its own."""
    words = [sys.executable, __file__, "--alone", who, "--batch", str(batch), "--device", device.type]
    words += ["--preset", given.preset, *(["--mae", str(given.mae)] if given.mae else [])]
    done = subprocess.run(words, check=True, capture_output=True, text=True)
    return float(done.stdout.split()[-1])


def alone(given: argparse.Namespace, vit: VitConfig, device: torch.device) -> float:
    """Body of `memory`."""
    side = make(given, given.alone, vit, given.batch[0], device)
    for _ in range(2):
        side.step()
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated() / 2**30
    status = Path("/proc/self/status").read_text(encoding="ascii")  # getrusage starts at the parent's peak
    return int(status.split("VmHWM:")[1].split()[0]) / 2**20


def make(given: argparse.Namespace, who: str, vit: VitConfig, batch: int, device: torch.device) -> Side:
    """One implementation by name."""
    if who == "theirs":
        return theirs(given.mae, vit, batch, device)
    return ours(vit, batch, device, compiled=who == "compiled")


def measure(
    given: argparse.Namespace, vit: VitConfig, batch: int, device: torch.device
) -> list[dict[str, Any]]:
    """Rows of one batch size."""
    names = ["ours"] + ["compiled"] * given.compile + ["theirs"] * bool(given.mae)
    sides = {name: make(given, name, vit, batch, device) for name in names}
    visible = 1 - HIDDEN
    shape = MaeShape(
        image_px=vit.image_px, patch_px=vit.patch_px, channels=vit.channels, width=vit.width, depth=vit.depth,
        hidden=1 - int(vit.patches * visible + 1e-6) / vit.patches,
    )  # fmt: skip
    flops = train_flops(shape) * batch
    times: dict[tuple[str, str], list[float]] = {}
    peaks = []
    for turn in range(given.repeats + 2):
        for name, side in sides.items():
            for what in ("model", "step"):
                seconds = timed(getattr(side, what), device)
                if turn >= 2:
                    times.setdefault((name, what), []).append(seconds)
            side.release()
        peaks.append(matmul_peak(device))
    peak = max(peaks)
    del sides
    rows = []
    for what in ("model", "step"):
        best = {name: statistics.median(times[name, what]) for name in names}
        for name in names:
            row = {"batch": batch, "what": what, "who": name, "ms": 1000 * best[name]}
            row |= {"img_per_s": batch / best[name], "share_of_matmul": flops / best[name] / peak}
            row |= {"matmul_tflops": peak / 1e12, "runs": given.repeats}
            if "theirs" in best:
                row["ratio"] = best["theirs"] / best[name]
            if what == "step" and not given.no_memory and name != "compiled":
                row["peak_gib"] = memory(given, name, batch, device)
            rows.append(row)
    return rows


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--mae", type=Path, help="A clone of facebookresearch/mae.")
    parser.add_argument("--preset", default="paper")
    parser.add_argument("--batch", type=int, nargs="+", default=[2, 8])
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--compile", action="store_true", help="Ours with torch.compile too.")
    parser.add_argument("--no-memory", action="store_true")
    parser.add_argument("--quick", action="store_true", help="The preset tiny, three repeats.")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--alone", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.quick:
        given.preset, given.repeats = "tiny", 3
    device = torch.device(given.device)
    if device.type == "cpu":
        keep_freed_memory() if given.alone != "theirs" else None
    tree = read_preset(given.preset, "pretrain")["vit"]
    vit = build(VitConfig, tree)
    if given.alone:
        print(alone(given, vit, device))
        return
    machine = {
        "device": torch.cuda.get_device_name() if device.type == "cuda" else platform.machine(),
        "cores": os.cpu_count(), "threads": torch.get_num_threads(), "torch": torch.__version__,
        "preset": given.preset,
    }  # fmt: skip
    rows = []
    if not given.json:
        print(machine)
        print(
            f"{'batch':>5} {'what':6} {'who':9} {'ms':>9} {'img/s':>8} of matmul  ratio  peak GiB", flush=True
        )
    for batch in given.batch:
        measured = measure(given, vit, batch, device)
        rows += measured
        for row in [] if given.json else measured:
            show(row)
    if given.json:
        print(json.dumps({"machine": machine, "rows": rows}))


def show(row: dict[str, Any]) -> None:
    """Print one line of the table."""
    ratio = f"{row['ratio']:6.2f}" if "ratio" in row else " " * 6
    gib = f"{row['peak_gib']:9.2f}" if "peak_gib" in row else ""
    rate = f"{row['ms']:9.1f} {row['img_per_s']:8.1f} {100 * row['share_of_matmul']:8.1f}%"
    print(f"{row['batch']:5} {row['what']:6} {row['who']:9} {rate} {ratio} {gib}", flush=True)


if __name__ == "__main__":
    main()
