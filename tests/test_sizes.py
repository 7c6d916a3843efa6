"""By road: images that are not square, and encoders started from others, through the verbs."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from timm.models.vision_transformer import VisionTransformer

from xraytk import config as configs
from xraytk import finetune, pretrain, report
from xraytk.errors import DataError, UsageError
from xraytk.files import read_json
from xraytk.models.vit import VitConfig
from xraytk.models.weights import encoder_config
from xraytk.pretrain import PretrainConfig, resolved
from xraytk.progress import Silent


class Notes(Silent):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


def pretraining(work: Path, name: str, image_px: Any, **more: Any) -> PretrainConfig:
    tree = {
        "work": str(work),
        "name": name,
        "vit": {"image_px": image_px, "patch_px": 8, "width": 32, "depth": 2, "heads": 4},
        "data": {"image_px": image_px, "crop_scale": [0.6, 1.0], "rotate_deg": 5.0},
        "options": {"decoder_width": 16, "decoder_depth": 1, "decoder_heads": 2},
        "batch": 8,
        "steps": 2,
        "machine": {"device": "cpu"},
    }
    return configs.build(PretrainConfig, {**tree, **more})


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory, shapes: SimpleNamespace) -> Path:
    """A workspace with shards and a pretraining on 32 x 48 pixels."""
    work: Path = shapes.write(tmp_path_factory.mktemp("sizes"), {"train": 16, "val": 4})
    pretrain.run(pretraining(work, "wide", [32, 48]))
    return work


def test_a_rectangle_is_pretrained_drawn_and_said_in_the_run(work: Path) -> None:
    run = work / "runs" / "wide"
    vit = encoder_config(run)
    assert (vit.size, vit.grid, vit.seen_grid) == ((32, 48), (4, 6), None)
    sheet = cv2.imread(str(run / "figures" / "reconstruction-00000002.png"))
    assert sheet is not None
    first = sheet[2:286, 2:286].max(2) > 30  # the square of the letterboxed square picture
    assert first.any()
    again = configs.load(PretrainConfig, file=run / "config.toml")
    assert again == resolved(pretraining(work, "wide", [32, 48]))


def test_sizes_are_read_from_flags_and_must_agree() -> None:
    sets = ["vit.image_px=[1536,1280]", "data.image_px=[1536,1280]"]
    made = configs.load(PretrainConfig, sets=sets)
    assert (made.vit.grid, made.data.size) == ((24, 20), (1536, 1280))
    with pytest.raises(UsageError, match=r"Set data\.image_px=\[1536, 1280\]"):
        configs.load(PretrainConfig, sets=sets[:1])
    for wrong in ("[1536]", "[1,2,3]", '""', "[64,0]"):
        with pytest.raises(UsageError, match="image_px"):
            configs.load(PretrainConfig, sets=[f"vit.image_px={wrong}"])


def test_a_rectangle_is_finetuned_on_another_and_reported(
    work: Path, shapes: SimpleNamespace, tmp_path: Path
) -> None:
    tall = {"init": str(work / "runs" / "wide"), "data": {"image_px": [48, 32]}, "steps": 1, "encoder": {}}
    for task in ("report", "classify"):
        notes = Notes()
        made = finetune.run(shapes.config(work, task, **tall), notes)
        told = read_json(made.run / "best" / "config.json", "")
        encoder = configs.build(VitConfig, told["model"]["encoder"])
        assert (encoder.size, encoder.grid, encoder.seen_grid) == ((48, 32), (6, 4), (4, 6))
        assert "encoder: positions: fixed ones of 4 x 6 at the places of 6 x 4" in notes.notes
        assert json.loads((made.run / "init.json").read_text())["share"] == 1
    picture = np.zeros((256, 200), np.uint8)
    picture[20:100, 110:180] = 250
    cv2.imwrite(str(tmp_path / "a.png"), picture)
    said = report.run(report.ReportConfig(image=tmp_path / "a.png", work=work, out=tmp_path / "out"))
    assert said.model.startswith("your run report")
    assert set(said.findings) == {"Top", "Left", "Never"}


def test_the_same_grid_starts_with_the_positions_it_had_bit_for_bit(work: Path) -> None:
    made = pretraining(work, "again", [32, 48], init=str(work / "runs" / "wide"))
    pretrain.run(made)
    assert encoder_config(work / "runs" / "again").seen_grid is None
    other = pretraining(work, "larger", 64, init=str(work / "runs" / "wide"))
    pretrain.run(other)
    assert encoder_config(work / "runs" / "larger").seen_grid == (4, 6)
    saved = configs.load(PretrainConfig, file=work / "runs" / "larger" / "config.toml")
    assert saved.vit.seen_grid == (4, 6)
    assert pretrain.run(other).resumed_from == 2  # the same run, though its config names no grid


def test_a_vit_of_timms_is_started_from_and_the_run_keeps_what_matched(work: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = VisionTransformer(img_size=32, patch_size=16, embed_dim=32, depth=2, num_heads=4, num_classes=2)
    path = tmp_path / "timm.safetensors"
    save_file({n: t.contiguous() for n, t in model.state_dict().items()}, path)
    notes = Notes()
    still = {"lr": 1e-12, "weight_decay": 0.0}
    done = pretrain.run(pretraining(work, "timm", [32, 48], init=str(path), optim=still), notes)
    weights = load_file(done.checkpoint / "model.safetensors")
    torch.testing.assert_close(weights["encoder.blocks.1.attn.qkv.weight"], model.blocks[1].attn.qkv.weight)
    torch.testing.assert_close(weights["encoder.positions"][0], model.pos_embed[0, 0])
    kept = json.loads((done.run / "init.json").read_text())
    assert kept["share"] == 1.0
    assert kept["ignored"] == ["head.bias", "head.weight"]
    assert any("patches of 16 to 8 pixels" in note for note in notes.notes)
    assert encoder_config(done.run).positions == "learned"
    pickled = tmp_path / "mae_pretrain_vit_large.pth"
    pickled.write_bytes(b"no")
    with pytest.raises(DataError, match="is a pickle"):
        pretrain.run(pretraining(work, "pth", 32, init=str(pickled)))
