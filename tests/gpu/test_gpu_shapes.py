"""Rectangles and foreign encoders on a GPU: the numbers of the CPU."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from made_batches import noise
from safetensors.torch import save_file
from timm.models.vision_transformer import VisionTransformer

from xraytk.chance import Chance
from xraytk.data.augment import AugmentConfig
from xraytk.data.warp import Moves, canvas_px, warp
from xraytk.models.vit import Vit, VitConfig, normalise
from xraytk.models.weights import load_encoder, started_from
from xraytk.objectives.mae import MaeObjective

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")

LIGHT = {"decoder_width": 32, "decoder_depth": 1, "decoder_heads": 2}


@pytest.mark.parametrize("positions", ["sincos", "learned"])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_step_on_a_rectangle_is_that_of_the_cpu(positions: str, channels: int) -> None:
    vit = VitConfig(
        image_px=(96, 128), patch_px=16, channels=channels, width=64, depth=2, heads=4,
        positions=positions,  # type: ignore[arg-type]
    )  # fmt: skip
    found = []
    for device in ("cpu", "cuda"):
        torch.manual_seed(0)
        made = MaeObjective.build(vit, LIGHT | {"inside": 0.8, "outside": 0.6}).to(device)
        loss = made(noise(4, 96, 128).to(torch.device(device)), Chance(1)).total
        loss.backward()
        found.append(
            (loss.item(), {n: p.grad.cpu() for n, p in made.named_parameters() if p.grad is not None})
        )
    (here, there) = found
    assert there[0] == pytest.approx(here[0], rel=1e-3)
    for name, gradient in here[1].items():
        torch.testing.assert_close(there[1][name], gradient, rtol=2e-2, atol=2e-4, msg=name)


def test_a_rectangle_is_trained_in_bf16() -> None:
    torch.manual_seed(0)
    vit = VitConfig(image_px=(1536, 1280), patch_px=64, width=128, depth=2, heads=4)
    made = MaeObjective.build(vit, LIGHT).cuda()
    optimizer = torch.optim.AdamW(made.parameters(), lr=1e-3, fused=True)
    some, losses = noise(4, 1536, 1280).to(torch.device("cuda")), []
    for step in range(20):
        with torch.autocast("cuda", torch.bfloat16):
            loss = made(some, Chance(step)).total
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert sum(losses[-5:]) < sum(losses[:5])


@torch.no_grad()
def test_timms_tokens_on_a_gpu(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = VisionTransformer(
        img_size=(48, 64), patch_size=16, embed_dim=64, depth=2, num_heads=1, num_classes=0
    )
    save_file({n: t.contiguous() for n, t in model.state_dict().items()}, tmp_path / "a.safetensors")
    shape = VitConfig(image_px=(48, 64), patch_px=16, channels=1, width=64, depth=2, heads=1)
    with pytest.raises(Exception, match="how its patches lie"):
        started_from(shape, tmp_path / "a.safetensors")  # 12 patches are no square
    (tmp_path / "config.json").write_text(
        '{"architecture": "test_vit", "model_args": {"img_size": [48, 64], "num_heads": 1}, '
        '"pretrained_cfg": {"mean": [0.5], "std": [0.5]}}'
    )
    encoder = Vit(started_from(shape, tmp_path / "a.safetensors")).eval()
    load_encoder(encoder, tmp_path / "a.safetensors")
    image = normalise(noise(4, 48, 64).image, 1).cuda()
    wanted = model.eval().cuda().forward_features(image.expand(-1, 3, -1, -1))
    torch.testing.assert_close(encoder.cuda()(image), wanted, rtol=1e-3, atol=1e-3)


def test_canvases_are_turned_into_rectangles_as_on_the_cpu() -> None:
    rows, cols = canvas_px((40, 72), AugmentConfig(rotate_deg=20))
    rng = torch.Generator().manual_seed(0)
    smooth = torch.nn.functional.interpolate(
        torch.rand(3, 1, 6, 6, generator=rng), (rows, cols), mode="bicubic"
    )
    canvas = (smooth.clamp(0, 1) * 255).to(torch.uint8)
    back = torch.tensor([[0.9, 0.2, 3.0], [-0.2, 0.9, 12.0]]).expand(3, -1, -1).contiguous()
    moves = Moves(back, torch.tensor([[float(rows), float(cols)]]).expand(3, -1).contiguous())
    here = warp(canvas, moves, (40, 72))
    there = warp(canvas.cuda(), moves.to(torch.device("cuda")), (40, 72))
    assert (here[1] == there[1].cpu()).float().mean() > 0.999
    both = (here[1] & there[1].cpu())[:, None]
    assert (here[0].int() - there[0].cpu().int()).abs()[both].max() <= 1
