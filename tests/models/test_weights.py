from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from xraytk.errors import DataError
from xraytk.models.vit import Vit, VitConfig
from xraytk.models.weights import encoder_config, find_weights, load_encoder, load_model
from xraytk.train.saver import save

SMALL = VitConfig(image_px=32, patch_px=8, width=16, depth=2, heads=2)


class Learner(nn.Module):
    def __init__(self, config: VitConfig = SMALL, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.encoder = Vit(config)
        self.head = nn.Linear(config.width, 3)


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(5, 4)
        self.out = nn.Linear(4, 5, bias=False)
        self.out.weight = self.embed.weight


def write(folder: Path, step: int = 1, learner: nn.Module | None = None) -> Path:
    learner = learner or Learner()
    return save(folder, step, learner, torch.optim.AdamW(learner.parameters()), {})


def test_the_encoder_of_a_run_comes_back_bit_for_bit(tmp_path: Path) -> None:
    write(tmp_path)
    fresh = Vit(SMALL)
    report = load_encoder(fresh, tmp_path)
    assert report.whole
    assert len(report.matched) == len(fresh.state_dict())
    for name, tensor in Learner().encoder.state_dict().items():
        assert torch.equal(fresh.state_dict()[name], tensor)


def test_the_header_says_what_the_encoder_is(tmp_path: Path) -> None:
    path = write(tmp_path)
    for place in (tmp_path, path, path / "model.safetensors"):
        assert encoder_config(place) == SMALL


def test_a_run_means_its_best_checkpoint_or_else_its_newest(tmp_path: Path) -> None:
    for step in (1, 2, 10):
        write(tmp_path, step)
    assert find_weights(tmp_path).parent.name == "step-00000010"
    (tmp_path / "best.json").write_text(json.dumps({"step": 2}))
    assert find_weights(tmp_path).parent.name == "step-00000002"


def test_another_prefix_is_an_error_and_not_silence(tmp_path: Path) -> None:
    weights = {f"backbone.{name}": tensor for name, tensor in Vit(SMALL).state_dict().items()}
    save_file(weights, tmp_path / "foreign.safetensors")
    fresh = Vit(SMALL)
    before = {k: v.clone() for k, v in fresh.state_dict().items()}
    with pytest.raises(DataError, match=r"0 tensors fit\n.*missing: .*cls_token"):
        load_encoder(fresh, tmp_path / "foreign.safetensors")
    assert all(torch.equal(before[k], v) for k, v in fresh.state_dict().items())


def test_another_shape_names_tensors_shapes_and_what_to_set(tmp_path: Path) -> None:
    write(tmp_path)
    wide = Vit(VitConfig(image_px=32, patch_px=8, width=24, depth=2, heads=2))
    with pytest.raises(DataError) as caught:
        load_encoder(wide, tmp_path)
    assert "cls_token: found (1, 1, 16), wanted (1, 1, 24)" in str(caught.value)
    assert "vit.width=16" in str(caught.value)


@pytest.mark.parametrize("depth", [1, 3])
def test_another_depth_is_refused_either_way(tmp_path: Path, depth: int) -> None:
    write(tmp_path)
    other = Vit(VitConfig(image_px=32, patch_px=8, width=16, depth=depth, heads=2))
    with pytest.raises(DataError, match=r"12 (missing|unexpected)"):
        load_encoder(other, tmp_path)


def test_a_model_must_match_in_every_tensor(tmp_path: Path) -> None:
    write(tmp_path)
    assert load_model(Learner(seed=1), tmp_path).whole
    with pytest.raises(DataError, match=r"2 unexpected: head\.(weight|bias)"):
        load_model(nn.ModuleDict({"encoder": Vit(SMALL)}), tmp_path)


def test_tied_weights_are_stored_once_and_load_whole(tmp_path: Path) -> None:
    tied = Tied()
    path = write(tmp_path, learner=tied)
    assert list(load_file(path / "model.safetensors")) == ["embed.weight"]
    other = Tied()
    assert load_model(other, path).whole
    assert torch.equal(other.out.weight, tied.embed.weight)


def test_half_precision_weights_fill_a_float_model(tmp_path: Path) -> None:
    half = {f"encoder.{n}": t.half() for n, t in Learner().encoder.state_dict().items()}
    save_file(half, tmp_path / "model.safetensors")
    fresh = Vit(SMALL)
    load_encoder(fresh, tmp_path)
    assert fresh.norm.weight.dtype == torch.float32


@pytest.mark.parametrize("ending", [".pth", ".pt", ".bin", ".ckpt"])
def test_a_pickle_is_never_opened(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"weights{ending}"
    path.write_bytes(b"not even a pickle")
    with pytest.raises(DataError, match="is a pickle"):
        load_encoder(Vit(SMALL), path)


def test_what_is_missing_or_broken_is_said(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no checkpoint"):
        load_encoder(Vit(SMALL), tmp_path)
    broken = tmp_path / "model.safetensors"
    broken.write_bytes(b"\x10\0\0\0\0\0\0\0{}")
    with pytest.raises(DataError, match="not a whole safetensors file"):
        load_encoder(Vit(SMALL), broken)
    save_file({"a": torch.zeros(1)}, broken)
    with pytest.raises(DataError, match="does not say what its encoder is"):
        encoder_config(broken)
