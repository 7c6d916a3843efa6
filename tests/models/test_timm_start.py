"""Starting from checkpoints in timm's layout."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import pytest
import timm
import torch
from safetensors.torch import save_file
from timm.models import save_for_hf
from timm.models.vision_transformer import VisionTransformer

from xraytk.errors import DataError, MachineError
from xraytk.models.vit import Vit, VitConfig, normalise, sincos_positions
from xraytk.models.weights import encoder_config, find_weights, load_encoder, started_from, write_report
from xraytk.progress import Silent

TINY: dict[str, Any] = {"img_size": (24, 32), "patch_size": 8, "embed_dim": 64, "depth": 2, "num_heads": 1}


def theirs(**changes: Any) -> VisionTransformer:
    """A small ViT of timm's in which no parameter is at a value that hides a mistake."""
    torch.manual_seed(0)
    model = VisionTransformer(**({"num_classes": 3} | TINY | changes)).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return model


def write(path: Path, model: VisionTransformer, prefix: str = "") -> Path:
    save_file({prefix + n: t.contiguous() for n, t in model.state_dict().items()}, path)
    return path


def ours(path: Path, **changes: Any) -> Vit:
    """Our encoder of the shape of the checkpoint's, filled with it."""
    tree = {"image_px": (24, 32), "patch_px": 8, "channels": 3, "width": 64, "depth": 2, "heads": 1}
    torch.manual_seed(1)
    encoder = Vit(started_from(VitConfig(**(tree | changes)), path)).eval()
    load_encoder(encoder, path)
    return encoder


def picture(rows: int = 24, cols: int = 32) -> torch.Tensor:
    rng = torch.Generator().manual_seed(2)
    return normalise(torch.randint(0, 256, (2, 1, rows, cols), generator=rng, dtype=torch.uint8), 1)


def about(folder: Path, **changes: Any) -> None:
    """A config.json as timm writes it."""
    size = {"input_size": [3, 24, 32], "mean": [0.5] * 3, "std": [0.5] * 3}
    tree = {"architecture": "test_vit", "model_args": {"num_heads": 1}, "pretrained_cfg": size | changes}
    (folder / "config.json").write_text(json.dumps(tree))


@torch.no_grad()
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("made_for", [1, 3])
def test_our_tokens_are_those_of_timm(tmp_path: Path, channels: int, made_for: int) -> None:
    model = theirs(in_chans=made_for)
    about(tmp_path)
    encoder = ours(write(tmp_path / "a.safetensors", model), channels=channels)
    image = picture()
    wanted = model.forward_features(image.expand(-1, made_for, -1, -1))
    made = encoder(image.expand(-1, channels, -1, -1))
    torch.testing.assert_close(made, wanted, rtol=1e-5, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("changes", [{"init_values": 0.3}, {"no_embed_class": True}, {"mlp_ratio": 2.0}])
def test_variants_of_timm_give_their_tokens_too(tmp_path: Path, changes: dict[str, Any]) -> None:
    model = theirs(**changes)
    about(tmp_path)
    path = write(tmp_path / "a.safetensors", model)
    encoder = ours(path, mlp_ratio=changes.get("mlp_ratio", 4.0))
    image = picture().expand(-1, 3, -1, -1)
    torch.testing.assert_close(encoder(image), model.forward_features(image), rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_grey_levels_named_in_config_json_change_no_token(tmp_path: Path) -> None:
    model = theirs()
    about(tmp_path, mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225])
    encoder = ours(write(tmp_path / "a.safetensors", model), channels=1)
    grey = (picture() + 1) / 2
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    seen = (grey - mean.view(3, 1, 1)) / std.view(3, 1, 1)
    torch.testing.assert_close(encoder(picture()), model.forward_features(seen), rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_a_norm_after_pooling_becomes_the_norm_of_each_token(tmp_path: Path) -> None:
    model = theirs(global_pool="avg", img_size=32)
    encoder = ours(write(tmp_path / "a.safetensors", model), image_px=32)
    image = picture(32, 32).expand(-1, 3, -1, -1)
    torch.testing.assert_close(
        encoder(image), model.fc_norm(model.forward_features(image)), rtol=1e-4, atol=1e-4
    )


def test_channels_patches_and_grid_change_at_once_and_the_report_says_so(tmp_path: Path) -> None:
    path = write(tmp_path / "a.safetensors", theirs(img_size=32), prefix="backbone.")
    wanted = VitConfig(image_px=(96, 64), patch_px=16, channels=1, width=64, depth=2, heads=1)
    encoder = Vit(started_from(wanted, path))
    report = load_encoder(encoder, path)
    write_report(tmp_path, path, report, Silent())
    said = "\n".join(report.lines())
    for part in (
        "100.0% of the numbers",
        "'backbone.' taken off",
        "channels 3 to 1, summed",
        "patches of 8 to 16 pixels, PI-resize",
        "grid of 4 x 4 to 6 x 4, bicubic",
        "other parts left alone: backbone.head.bias; backbone.head.weight",
        "no config.json",
    ):
        assert part in said, said
    kept = json.loads((tmp_path / "init.json").read_text())
    assert kept["matched"] == list(report.matched)
    assert kept["adapted"] == list(report.adapted)
    assert encoder(torch.zeros(1, 1, 96, 64)).shape == (1, 25, 64)


def test_fixed_positions_of_an_mae_stay_fixed_and_its_decoder_is_left(tmp_path: Path) -> None:
    model = theirs(img_size=32)
    model.pos_embed.data = sincos_positions(4, 4, 64)[None]
    tensors = dict(model.state_dict()) | {
        "mask_token": torch.zeros(1, 1, 8),
        "decoder_embed.bias": torch.ones(8),
    }
    tensors = {n: t for n, t in tensors.items() if not n.startswith("head")}
    save_file(tensors, tmp_path / "mae.safetensors")
    config = started_from(
        VitConfig(image_px=(32, 48), patch_px=8, width=64, depth=2, heads=1), tmp_path / "mae.safetensors"
    )
    assert (config.positions, config.seen_grid) == ("sincos", (4, 4))
    report = load_encoder(Vit(config), tmp_path / "mae.safetensors")
    assert set(report.ignored) == {"mask_token", "decoder_embed.bias"}
    assert "positions: fixed ones of 4 x 4 at the places of 4 x 6" in report.adapted
    assert report.share == 1


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"depth": 1}, r"12 unexpected: blocks\.1(.|\n)*Set vit\.depth=2"),
        ({"depth": 3}, r"12 missing: blocks\.2(.|\n)*Set vit\.depth=2"),
        ({"width": 32}, r"cls_token: found \(1, 1, 64\), wanted \(1, 1, 32\)"),
        ({"heads": 2}, "1 attention heads, wanted 2"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(tmp_path: Path, changes: dict[str, Any], says: str) -> None:
    about(tmp_path)
    path = write(tmp_path / "a.safetensors", theirs())
    with pytest.raises(DataError, match=says):
        ours(path, **changes)


def test_parts_that_we_do_not_have_are_refused_and_not_left_out(tmp_path: Path) -> None:
    path = write(tmp_path / "a.safetensors", theirs(img_size=32, reg_tokens=4, no_embed_class=True))
    with pytest.raises(DataError, match=r"1 unexpected: reg_token"):
        ours(path, image_px=32)
    convolutions = {"backbone.patch_embed.proj.weight": torch.zeros(64, 64, 1, 1)}
    save_file(convolutions, tmp_path / "release.safetensors")
    with pytest.raises(DataError, match=r"patch_embed.proj.weight of \(64, 64, 1, 1\), no pos_embed"):
        encoder_config(tmp_path / "release.safetensors")
    both = {f"{name}.patch_embed.proj.weight": torch.zeros(1) for name in ("student", "teacher")}
    save_file(both, tmp_path / "two.safetensors")
    with pytest.raises(DataError, match=r"2 encoders in the checkpoint\n.*'student\.', 'teacher\.'"):
        encoder_config(tmp_path / "two.safetensors")


def test_less_than_nearly_all_is_not_enough(tmp_path: Path) -> None:
    tensors = theirs(img_size=32).state_dict()
    save_file({n: t for n, t in tensors.items() if n != "pos_embed"}, tmp_path / "a.safetensors")
    with pytest.raises(DataError, match="no pos_embed"):
        encoder_config(tmp_path / "a.safetensors")
    save_file({n: t for n, t in tensors.items() if "1.mlp" not in n}, tmp_path / "b.safetensors")
    with pytest.raises(DataError, match=r"70\.9% of the numbers\n *4 missing: blocks\.1\.mlp"):
        ours(tmp_path / "b.safetensors", image_px=32)


def test_a_folder_as_timm_saves_it_says_its_heads(tmp_path: Path) -> None:
    model = timm.create_model("test_vit", img_size=(32, 48))
    save_for_hf(model, tmp_path, model_args={"img_size": (32, 48)}, safe_serialization=True)
    assert encoder_config(tmp_path) == VitConfig(
        image_px=(32, 48),
        patch_px=16,
        channels=3,
        width=64,
        depth=6,
        heads=2,
        mlp_ratio=3.0,
        positions="learned",
    )


def test_weights_of_timms_collection_come_from_the_cache_or_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(MachineError, match=r"weights timm/test_vit.r160_in1k cannot be fetched"):
        find_weights(Path("timm:test_vit.r160_in1k"))
    with pytest.raises(DataError, match="timm has no weights 'vit_base_patch17'"):
        find_weights(Path("timm:vit_base_patch17"))
    held = tmp_path / "models--timm--test_vit.r160_in1k"
    (held / "refs").mkdir(parents=True)
    (held / "refs" / "main").write_text("abc")
    save_for_hf(timm.create_model("test_vit"), held / "snapshots" / "abc", safe_serialization=True)
    assert encoder_config(Path("timm:test_vit.r160_in1k")).grid == (10, 10)
