from __future__ import annotations

import dataclasses
import json
import os
import shutil
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from xraytk import pretrain, shard
from xraytk.config import load, to_toml
from xraytk.data import manifest, pictures, selection
from xraytk.data.shards import ShardIndex
from xraytk.data.stream import StreamConfig
from xraytk.errors import DataError, RunConflictError, UsageError
from xraytk.models.vit import VitConfig
from xraytk.models.weights import encoder_config
from xraytk.pretrain import PretrainConfig, make_objective
from xraytk.train.journal import read
from xraytk.train.launch import MachineConfig
from xraytk.train.optim import OptimConfig

WIDTH, HEIGHT = 48, 64
TRAIN = 12


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixteen drawn chests of 64 x 48 pixels: a bright body with two dark lungs."""
    work = tmp_path_factory.mktemp("work")
    rows, contours = [], []
    for i in range(TRAIN + 4):
        name = f"{i + 1:016x}"
        chest = np.full((HEIGHT, WIDTH), 40000, np.uint16)
        polygons = []
        for side, x in (("right", 15), ("left", 33)):
            points = cv2.ellipse2Poly((x, 30 + i % 5), (6 + i % 3, 18), 0, 0, 360, 15)
            cv2.fillPoly(chest, [points], 9000)
            polygons.append({"name": side, "x": points[:, 0].tolist(), "y": points[:, 1].tolist()})
        pictures.write_png(work / "ingest" / "images" / f"{name}.png", chest)
        split = "train" if i < TRAIN else "val"
        rows.append(
            {"image_id": name, "patient_hash": name, "study_hash": name, "split": split, "view": "PA"}
            | {"path": f"images/{name}.png", "width": WIDTH, "height": HEIGHT, "bits_stored": 16}
            | {"source_width": WIDTH, "source_height": HEIGHT, "modality": "DX", "sex": "", "syntax": "png"}
        )
        contours.append(
            {"image_id": name, "status": "ok", "width": WIDTH, "height": HEIGHT, "polygons": polygons}
            | {"grid_rows": 1, "grid_cols": 1, "lung_share": [0.3], "lung_area_share": 0.3, "reason": ""}
        )
    manifest.write_table(work / "ingest" / "manifest" / "part-00000.parquet", manifest.MANIFEST, rows)
    manifest.write_table(work / "masks" / "contours.parquet", manifest.CONTOURS, contours)
    shard.run(shard.ShardConfig(work=work, workers=1))
    return work / "shards"


def config(shards: Path, out: Path, **changes: Any) -> PretrainConfig:
    values: dict[str, Any] = {
        "shards": str(shards),
        "out": out,
        "vit": VitConfig(image_px=64, patch_px=8, width=16, depth=2, heads=2),
        "data": StreamConfig(image_px=64, crop_scale=(0.6, 1.0), rotate_deg=5.0),
        "options": {"decoder_width": 16, "decoder_depth": 1, "decoder_heads": 2, "norm_pix": False},
        "optim": OptimConfig(lr=3e-3),
        "batch": 8,
        "steps": 6,
        "save_every": 3,
        "log_every": 1,
        "machine": MachineConfig(device="cpu", micro_batch=4),
    }
    return PretrainConfig(**(values | changes))


def losses(folder: Path) -> list[float]:
    return [line["loss"] for line in read(folder / "log.jsonl")]


def test_a_run_writes_what_the_readme_says(shards: Path, tmp_path: Path) -> None:
    result = pretrain.run(config(shards, tmp_path / "run"))
    run = tmp_path / "run"
    assert (result.steps, result.images, result.resumed_from) == (6, TRAIN, 0)
    assert result.checkpoint == run / "step-00000006"
    assert [p.name for p in result.figures] == ["curves.png", "reconstruction-00000006.png"]
    assert json.loads((run / "metrics.json").read_text())["loss_last"] == losses(run)[-1]
    assert 0 < read(run / "log.jsonl")[-1]["mfu"] < 1
    page = result.page.read_text()
    assert "finished" in page
    assert "data:image/jpeg" in page
    assert str(tmp_path) not in page
    assert len(list((run / "tensorboard").iterdir())) == 1
    assert encoder_config(run) == config(shards, run).vit
    again = load(PretrainConfig, file=run / "config.toml")
    assert again == pretrain.resolved(config(shards, run))  # the saved config reruns it
    assert again.options["inside"] == 0.95  # which nobody has given
    fast = [line["img_per_s"] for line in read(run / "log.jsonl") if not line.get("warm_up")]
    assert min(fast) <= result.img_per_s <= max(fast)


def test_the_same_images_are_painted_over_the_course_of_a_run(shards: Path, tmp_path: Path) -> None:
    result = pretrain.run(config(shards, tmp_path / "run", steps=3, figure_every=1))
    sheet = cv2.imread(str(tmp_path / "run" / "figures" / "reconstruction-00000001.png"))
    assert sheet is not None
    blue, green, red = (sheet[:, :, i].astype(int) for i in range(3))
    assert ((green > blue + 60) & (green > red + 60)).any()  # the lungs' edge
    assert tmp_path / "run" / "figures" / "course.png" in result.figures


def test_a_run_that_was_cut_ends_as_one_that_was_not(shards: Path, tmp_path: Path) -> None:
    pretrain.run(config(shards, tmp_path / "whole"))
    pretrain.run(config(shards, tmp_path / "cut"))
    for name in ("step-00000006", "metrics.json"):  # as if killed after the checkpoint at step 3
        path = tmp_path / "cut" / name
        if path.is_dir():
            for part in path.iterdir():
                part.unlink()
            path.rmdir()
    result = pretrain.run(config(shards, tmp_path / "cut"))
    assert result.resumed_from == 3
    assert losses(tmp_path / "cut") == losses(tmp_path / "whole")
    one, two = (
        load_file(tmp_path / name / "step-00000006" / "model.safetensors") for name in ("cut", "whole")
    )
    assert all(torch.equal(one[key], two[key]) for key in two)


def test_a_run_that_is_killed_and_stopped_ends_bit_for_bit_as_one_that_is_not(
    shards: Path, tmp_path: Path, preloaded: Any
) -> None:
    wanted = config(shards, tmp_path, objective="tests.waiting_mae:WaitingMae", steps=8, save_every=2)
    (tmp_path / "config.toml").write_text(to_toml(wanted))

    def go(run: str, wait_at: int = 0, kill: int = 0) -> Any:
        """The verb in a process of its own, sent a signal in the forward pass ``wait_at`` of its call."""
        words = ("pretrain", "--config", tmp_path / "config.toml", "--out", tmp_path / run)
        place = tmp_path / f"{run}.pid"
        env = os.environ | ({"WAIT_AT": str(wait_at), "WAIT_FILE": str(place)} if kill else {})
        with ThreadPoolExecutor(1) as pool:
            done = pool.submit(preloaded, *words, env=env)
            while kill and not done.done():
                if place.exists():
                    os.kill(int(place.read_text()), kill)
                    place.unlink()
                    break
                time.sleep(0.01)
            return done.result()

    whole = go("whole")
    assert whole.returncode == 0, whole.stderr
    assert go("cut", 10, signal.SIGKILL).returncode == -signal.SIGKILL  # in the middle of step 5
    assert {p.name for p in (tmp_path / "cut").glob("step-*")} >= {"step-00000002"}
    stopped = go("cut", 5, signal.SIGTERM)
    assert stopped.returncode == 75
    assert "everything is saved" in stopped.stderr
    assert len(losses(tmp_path / "cut")) < 8
    done = go("cut")
    assert done.returncode == 0, done.stderr
    for name in ("model", "optimizer"):
        one, two = (
            load_file(tmp_path / r / "step-00000008" / f"{name}.safetensors") for r in ("whole", "cut")
        )
        assert one.keys() == two.keys()
        assert [key for key in one if not torch.equal(one[key], two[key])] == []
    exact = ("step", "loss", "lr", "grad_norm", "parts")
    logs = [
        [[line[key] for key in exact] for line in read(tmp_path / r / "log.jsonl")] for r in ("whole", "cut")
    ]
    assert logs[0] == logs[1]


@pytest.mark.usefixtures("forks")
@pytest.mark.slow
def test_two_processes_give_the_losses_of_one(shards: Path, tmp_path: Path) -> None:
    pretrain.run(config(shards, tmp_path / "one", steps=3))
    two = MachineConfig(device="cpu", micro_batch=4, gpus=2)
    result = pretrain.run(config(shards, tmp_path / "two", steps=3, machine=two))
    assert result.steps == 3
    assert losses(tmp_path / "two") == pytest.approx(losses(tmp_path / "one"), rel=1e-4)


@pytest.mark.parametrize("mask", ["contour", "random", "rect-paper", "rect-released"])
def test_every_masking_policy_trains(shards: Path, tmp_path: Path, mask: str) -> None:
    options = config(shards, tmp_path).options | {"mask": mask, "norm_pix": True}
    result = pretrain.run(config(shards, tmp_path / mask, steps=2, options=options))
    assert result.loss_last > 0


def test_loader_processes_change_no_number(shards: Path, tmp_path: Path) -> None:
    pretrain.run(config(shards, tmp_path / "none", steps=3))
    two = MachineConfig(device="cpu", micro_batch=4, workers=2)
    pretrain.run(config(shards, tmp_path / "two", steps=3, machine=two))
    assert losses(tmp_path / "none") == losses(tmp_path / "two")


def test_another_config_in_the_same_folder_is_refused(shards: Path, tmp_path: Path) -> None:
    pretrain.run(config(shards, tmp_path, steps=1))
    with pytest.raises(RunConflictError, match=r"optim\.lr: 0\.003 -> 0\.1"):
        pretrain.run(config(shards, tmp_path, steps=1, optim=OptimConfig(lr=0.1)))
    with pytest.raises(RunConflictError, match="holds a run already"):
        pretrain.run(config(shards, tmp_path, steps=1, resume="never"))


def test_options_are_compared_by_what_they_mean(shards: Path, tmp_path: Path) -> None:
    few = config(shards, tmp_path, steps=1)
    pretrain.run(few)
    spelled = dataclasses.replace(few, options={**few.options, "mask": "contour", "inside": 0.95})
    assert pretrain.run(spelled).resumed_from == 1
    other = dataclasses.replace(few, options={**few.options, "inside": 0.9})
    with pytest.raises(RunConflictError, match=r"\n  options\.inside: 0\.95 -> 0\.9\n"):
        pretrain.run(other)


def test_a_selection_is_all_that_is_trained_on_and_part_of_the_runs_identity(
    shards: Path, tmp_path: Path
) -> None:
    def select(name: str, count: int) -> Path:
        rows = [{"image_id": f"{i + 1:016x}", "keep": i < count} for i in range(TRAIN)]
        manifest.write_table(tmp_path / name, selection.SELECTION, rows)
        return tmp_path / name

    few, more = select("few.parquet", 9), select("more.parquet", 10)
    done = pretrain.run(config(shards, tmp_path / "run", steps=1, select=few))
    assert done.images == 9
    again = shutil.copy(few, tmp_path / "renamed.parquet")
    assert pretrain.run(config(shards, tmp_path / "run", steps=1, select=again)).resumed_from == 1
    for other in (more, None):
        with pytest.raises(RunConflictError, match=r"inputs\.select"):
            pretrain.run(config(shards, tmp_path / "run", steps=1, select=other))


def test_init_takes_the_encoder_of_another_run(shards: Path, tmp_path: Path) -> None:
    pretrain.run(config(shards, tmp_path / "a", steps=1))
    tiny_step = OptimConfig(lr=1e-12)
    pretrain.run(config(shards, tmp_path / "b", steps=1, seed=5, init=tmp_path / "a", optim=tiny_step))
    one, two = (load_file(tmp_path / n / "step-00000001" / "model.safetensors") for n in ("a", "b"))
    torch.testing.assert_close(one["encoder.project.weight"], two["encoder.project.weight"])
    assert not torch.allclose(one["painter.decoder.paint.weight"], two["painter.decoder.paint.weight"])
    wide = VitConfig(image_px=64, patch_px=8, width=32, depth=2, heads=2)
    with pytest.raises(DataError, match=r"wanted \(1, 1, 32\)"):
        pretrain.run(config(shards, tmp_path / "c", steps=1, vit=wide, init=tmp_path / "a"))


@pytest.mark.parametrize("then", ["trained on", "gone"])
def test_a_run_goes_on_when_its_init_has_changed_or_is_gone(shards: Path, tmp_path: Path, then: str) -> None:
    start, late = tmp_path / "start", config(shards, tmp_path / "late", steps=2, save_every=1, keep_last=2)
    pretrain.run(config(shards, start, steps=2, save_every=1, keep_last=2))
    shutil.move(start / "step-00000002", tmp_path / "later")
    late = dataclasses.replace(late, init=start, vit=dataclasses.replace(late.vit, positions="learned"))
    pretrain.run(late)
    whole = load_file(late.folder / "step-00000002" / "model.safetensors")
    shutil.rmtree(late.folder / "step-00000002")
    if then == "gone":
        shutil.rmtree(start)
    else:
        shutil.move(tmp_path / "later", start / "step-00000002")
    assert pretrain.run(late).resumed_from == 1
    again = load_file(late.folder / "step-00000002" / "model.safetensors")
    assert all(torch.equal(whole[name], again[name]) for name in whole)
    if then == "trained on":  # another path is looked at: other weights, then the same
        with pytest.raises(RunConflictError, match=r"inputs\.init"):
            pretrain.run(dataclasses.replace(late, init=start / "step-00000002"))
        assert pretrain.run(dataclasses.replace(late, init=start / "step-00000001")).resumed_from == 2
    with pytest.raises(RunConflictError, match=r"inputs\.init"):
        pretrain.run(dataclasses.replace(late, init=None))


def test_what_does_not_go_together_is_said(shards: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="batch 16 is more than the 12 training images"):
        pretrain.run(config(shards, tmp_path, batch=16))
    with pytest.raises(UsageError, match=r"machine\.micro_batch 3 does not divide"):
        pretrain.run(config(shards, tmp_path, machine=MachineConfig(device="cpu", micro_batch=3)))
    with pytest.raises(UsageError, match=r"data\.image_px is 1280 and vit\.image_px 64"):
        config(shards, tmp_path, data=StreamConfig())
    with pytest.raises(UsageError, match="no objective 'clipp'"):
        make_objective(config(shards, tmp_path, objective="clipp"))
    with pytest.raises(DataError):
        pretrain.run(config(tmp_path / "none", tmp_path))
    assert not (tmp_path / "config.toml").exists()


def test_epochs_become_steps() -> None:
    assert PretrainConfig().plan(1_053_791).steps == 85_415
    assert PretrainConfig(steps=7).plan(1_053_791).steps == 7


def test_weights_depend_on_the_seed_alone(shards: Path, tmp_path: Path) -> None:
    first = make_objective(config(shards, tmp_path)).state_dict()
    torch.manual_seed(123)
    second = make_objective(config(shards, tmp_path)).state_dict()
    other = make_objective(config(shards, tmp_path, seed=1)).state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.equal(first["painter.decoder.paint.weight"], other["painter.decoder.paint.weight"])


def test_the_paper_preset_is_the_paper() -> None:
    paper = load(PretrainConfig, preset="paper")
    vit = paper.vit
    assert (vit.image_px, vit.patch_px, vit.channels, vit.width, vit.depth, vit.heads) == (
        (1280, 64, 1, 1024, 24, 16)
    )
    assert paper.data == StreamConfig(image_px=1280, fit="stretch")
    assert (paper.optim.lr, paper.optim.weight_decay) == (2.5e-4, 0.04)
    assert (paper.optim.beta1, paper.optim.beta2) == (0.9, 0.999)
    assert (paper.batch, paper.epochs) == (1024, 83)
    with torch.device("meta"):
        made = make_objective(paper)
    options: Any = made.config
    assert (options.mask, options.inside, options.outside, options.norm_pix) == ("contour", 0.95, 0.85, False)
    encoder = sum(p.numel() for p in made.encoder.parameters())  # type: ignore[union-attr]
    assert 300e6 < encoder < 310e6


def test_the_tiny_preset_builds_and_a_key_keeps_its_neighbours() -> None:
    tiny = load(PretrainConfig, preset="tiny", sets=["optim.lr=1e-3"])
    assert tiny.optim.lr == 1e-3
    assert sum(p.numel() for p in make_objective(tiny).parameters()) < 5e6
    changed = load(PretrainConfig, sets=["data.contrast=0.1"])
    assert changed.data == dataclasses.replace(PretrainConfig().data, contrast=0.1)


def test_a_copied_checkpoint_is_gone_on_from(shards: Path, tmp_path: Path) -> None:
    first = pretrain.run(config(shards, tmp_path / "first", steps=6))
    shutil.copytree(first.run / "step-00000003", tmp_path / "kept" / "step-00000003")
    second = pretrain.run(
        config(shards, tmp_path / "second", steps=6, resume=str(tmp_path / "kept" / "step-00000003"))
    )
    assert second.resumed_from == 3
    one, two = (load_file(made.checkpoint / "model.safetensors") for made in (first, second))
    assert all(torch.equal(one[key], two[key]) for key in two)


def test_a_run_that_met_a_broken_sample_goes_on_when_told_to_skip_it(shards: Path, tmp_path: Path) -> None:
    shutil.copytree(shards, tmp_path / "shards")
    index = ShardIndex.load(tmp_path / "shards")
    row = int(index.rows("train")[4])
    path = tmp_path / "shards" / index.shards[int(index.shard[row])].name
    data = bytearray(path.read_bytes())
    data[int(index.offset[row, 0]) + 170] ^= 1
    path.write_bytes(data)
    moving = StreamConfig(image_px=64, crop_scale=(0.6, 1.0), rotate_deg=5.0)
    plain = config(tmp_path / "shards", tmp_path / "run", data=moving, batch=4, save_every=1)
    name = index.image_id[row].decode()
    with pytest.raises(DataError, match=f"{path.name} is broken at image {name}"):
        pretrain.run(plain)
    skipping = dataclasses.replace(plain, data=dataclasses.replace(moving, skip_bad=True))
    result = pretrain.run(skipping)
    assert (result.steps, result.skipped) == (6, 1)
    listed = [json.loads(line) for line in (tmp_path / "run" / "skipped.jsonl").read_text().splitlines()]
    assert [(one["shard"], one["image"]) for one in listed] == [(path.name, name)]
    assert "crc32" in listed[0]["why"]
