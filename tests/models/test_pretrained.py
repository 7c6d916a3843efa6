from __future__ import annotations

import dataclasses
import json
import os
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from xraytk.errors import DataError
from xraytk.models.features import features, pool_tokens, width_of
from xraytk.models.pretrained import find_trained, run_facts
from xraytk.models.vit import Vit, VitConfig, normalise

SHAPE = VitConfig(image_px=32, patch_px=8, width=32, depth=1, heads=4)


def write_run(folder: Path, seed: int, *, ema: int | None = None, head: str = 'objective = "mae"') -> Vit:
    """A run folder with one checkpoint; the encoder of its average is that of seed ``ema``."""
    step = folder / "step-00000003"
    step.mkdir(parents=True)
    header = {
        "xraytk.encoder_prefix": "encoder.",
        "xraytk.encoder": json.dumps(dataclasses.asdict(SHAPE)),
    }
    out = None
    for name, of in (("model", seed), ("ema", ema)):
        if of is None:
            continue
        torch.manual_seed(of)
        out = Vit(SHAPE).eval()
        tensors = {f"encoder.{k}": v for k, v in out.state_dict().items()} | {"other.x": torch.zeros(1)}
        save_file(tensors, step / f"{name}.safetensors", header)
    (step / "state.json").write_text('{"format": 1, "step": 3}')
    (folder / "config.toml").write_text(f'{head}\nbatch = 4\n[data]\nfit = "stretch"\n')
    assert out is not None
    return out


def test_the_newest_pretraining_is_taken_and_finetuned_runs_are_not(tmp_path: Path) -> None:
    for number, name in enumerate(("late", "early", "classify")):
        head = 'task = "classify"' if name == "classify" else 'objective = "mae"'
        write_run(tmp_path / "runs" / name, number, head=head)
        age = 1000 if name == "early" else 2000 + number
        os.utime(tmp_path / "runs" / name / "step-00000003", (age, age))
    found = find_trained(None, tmp_path)
    assert (found.name, found.fit, found.ema) == ("late", "stretch", False)
    assert run_facts(found)["step"] == 3
    with pytest.raises(DataError, match="xraytk pretrain"):
        find_trained(None, tmp_path / "none")


def test_the_moving_average_is_preferred_unless_it_is_not_wanted(tmp_path: Path) -> None:
    average = write_run(tmp_path / "run", 1, ema=2)
    found = find_trained(tmp_path / "run", tmp_path)
    assert found.ema
    torch.testing.assert_close(found.load().project.weight, average.project.weight)
    plain = find_trained(tmp_path / "run", tmp_path, ema=False)
    assert not plain.ema
    assert not torch.equal(plain.load().project.weight, average.project.weight)
    assert plain.sha256() != found.sha256()


@pytest.mark.parametrize("place", ["nothing", "workspace", "empty", "hub", "run/config.toml"])
def test_what_is_no_checkpoint_is_told_from_what_is(tmp_path: Path, place: str) -> None:
    write_run(tmp_path / "run", 1)
    (tmp_path / "workspace" / "runs").mkdir(parents=True)
    (tmp_path / "empty").mkdir()
    (tmp_path / "hub").mkdir()
    (tmp_path / "hub" / "pytorch_model.bin").touch()
    said = {
        "nothing": "does not exist",
        "workspace": "is a workspace",
        "empty": "holds no checkpoint",
        "hub": "holds pickles only",
        "run/config.toml": "is no weights file",
    }
    with pytest.raises(
        DataError, match=rf"(?s){place} {said[place]}.*wanted a run, a step folder, an export"
    ):
        find_trained(tmp_path / place, tmp_path)


def test_a_finished_run_without_its_checkpoints_and_an_export_are_found(tmp_path: Path) -> None:
    write_run(tmp_path / "run", 1)
    (tmp_path / "run" / "step-00000003").rename(tmp_path / "run" / "best")
    assert find_trained(tmp_path / "run", tmp_path).fit == "stretch"
    (tmp_path / "export").mkdir()
    (tmp_path / "run" / "best" / "model.safetensors").rename(tmp_path / "export" / "encoder.safetensors")
    assert find_trained(tmp_path / "export", tmp_path).fit == "letterbox"


def test_encoders_without_a_run_are_told_apart_by_name(tmp_path: Path) -> None:
    places = []
    for number, export in enumerate(("mae-1", "mae-2")):
        write_run(tmp_path / "runs" / export, number)
        weights = tmp_path / "runs" / export / "step-00000003" / "model.safetensors"
        out = tmp_path / "exports" / export
        (out / "timm").mkdir(parents=True)
        (out / "export.json").write_text('{"format": 1}')
        bare = tmp_path / f"bare-{number}"
        bare.mkdir()
        for place in (
            out / "encoder.safetensors",
            out / "timm" / "model.safetensors",
            bare / "a.safetensors",
        ):
            shutil.copyfile(weights, place)
            places.append(place)
    found = [find_trained(place, tmp_path) for place in places]
    names = [each.name for each in found]
    assert names[:2] + names[3:5] == ["mae-1", "mae-1-timm", "mae-2", "mae-2-timm"]
    assert [names[2], names[5]] == [f"a-{found[i].sha256()[:8]}" for i in (2, 5)]
    assert len(set(names)) == 6
    assert found[0].results(tmp_path, "knn") == tmp_path / "probes" / "mae-1" / "knn"
    run = tmp_path / "runs" / "mae-1"
    assert find_trained(run, tmp_path).results(tmp_path / "other", "knn") == run / "knn"


def test_a_pickle_is_refused_unread(tmp_path: Path) -> None:
    (tmp_path / "model.pth").write_bytes(b"\x80\x04")
    with pytest.raises(DataError, match="is a pickle"):
        find_trained(tmp_path / "model.pth", tmp_path)


def test_vectors_leave_padding_out_and_both_is_class_then_mean() -> None:
    tokens = torch.arange(12.0).reshape(1, 4, 3)
    valid = torch.tensor([[True, True, False]])
    mean = pool_tokens(tokens, valid, "mean")
    assert mean.tolist() == [[4.5, 5.5, 6.5]]
    assert pool_tokens(tokens, valid, "cls").tolist() == [[0.0, 1.0, 2.0]]
    assert pool_tokens(tokens, valid, "both").tolist() == [[0.0, 1.0, 2.0, 4.5, 5.5, 6.5]]
    assert (width_of(SHAPE, "mean"), width_of(SHAPE, "both")) == (32, 64)


def test_features_are_those_of_the_encoder() -> None:
    torch.manual_seed(0)
    encoder = Vit(SHAPE).eval()
    image = torch.randint(0, 256, (2, 1, *SHAPE.size), dtype=torch.uint8)
    valid = torch.ones(2, 32, 32, dtype=torch.bool)
    with torch.no_grad():
        wanted = encoder(normalise(image, 1))[:, 1:].mean(1)
    torch.testing.assert_close(features(encoder, image, valid, "mean"), wanted, rtol=0, atol=1e-6)
