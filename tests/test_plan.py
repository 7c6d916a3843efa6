from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from xraytk import config as configs
from xraytk import plan
from xraytk.errors import DataError, UsageError
from xraytk.plan import PlanConfig
from xraytk.records import as_plain

PAPER: dict[str, Any] = {"images": 1_053_791, "epochs": 83.0, "gpus": 8, "cores": 64}


def planned(tmp_path: Path, **settings: Any) -> plan.PlanResult:
    return plan.run(PlanConfig(work=tmp_path, **settings))


def test_the_job_of_the_paper_takes_its_gpus_four_hours(tmp_path: Path) -> None:
    result = planned(tmp_path, **PAPER, disk_mb_s=20e3, loader_ms=5.0)
    assert result.bottleneck == "gpu"
    assert result.exaflop == pytest.approx(14.0, rel=0.01)
    assert result.hours == pytest.approx(3.9, rel=0.01)
    assert result.gpu_hours == pytest.approx(8 * result.hours)
    assert result.need_per_core == pytest.approx(result.img_per_s / 56)
    assert result.gpu_idle == 0


def test_a_loader_as_slow_as_that_of_the_paper_takes_its_660_hours(tmp_path: Path) -> None:
    result = planned(tmp_path, **PAPER, loader_ms=56 * 1e3 / 36.8)
    assert result.bottleneck == "cores"
    assert result.hours == pytest.approx(660, rel=0.01)
    assert result.gpu_idle > 0.99


def test_what_is_stated_wins_and_the_rest_says_where_it_is_from(tmp_path: Path) -> None:
    rates = planned(tmp_path, images=10, gpu="h100", image_kb=340.0).rates
    assert rates["tflops"] == plan.Rate(989.0, "peak of h100, data sheet")
    assert rates["image_kb"] == plan.Rate(340.0, "stated")
    assert rates["loader_ms"].source.startswith("default")
    assert planned(tmp_path, images=10, tflops=50.0).rates["tflops"] == plan.Rate(50.0, "stated")


def test_a_smaller_image_is_read_and_computed_sooner(tmp_path: Path) -> None:
    small = plan.MaeShape(image_px=640)
    large, half = planned(tmp_path, **PAPER), planned(tmp_path, **PAPER, model=small)
    assert half.rates["loader_ms"].value == large.rates["loader_ms"].value / 4
    assert half.gflop_train < large.gflop_train / 2


@pytest.mark.parametrize("preset", ["paper", "recommended", "tiny", "vit-s", "vit-b", "vit-l"])
def test_a_preset_plans_for_the_model_that_it_pretrains(preset: str) -> None:
    model, trained = (configs.read_preset(preset, verb) for verb in ("plan", "pretrain"))
    for name, value in model["model"].items():
        if name != "hidden":
            assert value == {**trained["options"]["mae"], **trained["vit"]}[name]
    configs.build(PlanConfig, model)


def test_without_images_or_shards_it_says_what_to_give(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="Give --images"):
        planned(tmp_path)
    with pytest.raises(DataError, match="does not exist"):
        planned(tmp_path, shards=tmp_path / "nowhere")


def test_a_value_that_cannot_be_is_refused() -> None:
    for wrong in ({"gpus": 0}, {"epochs": 0.0}, {"utilisation": 1.5}, {"gpu": "abacus"}, {"disk_mb_s": -1.0}):
        with pytest.raises(UsageError):
            PlanConfig(images=1, **wrong)  # type: ignore[arg-type]


def test_shards_are_counted_and_measured(tmp_path: Path, shapes: Any) -> None:
    shapes.write(tmp_path, {"train": 12, "val": 4})
    model = plan.MaeShape(image_px=64, patch_px=32)
    result = planned(tmp_path, measure=True, measure_s=0.2, gpu="t4", epochs=1.0, model=model)
    assert result.images == 12
    assert result.rates["image_kb"].source == "mean of the shards"
    assert result.rates["loader_ms"].source == "measured here on the shards"
    assert 0 < result.rates["loader_ms"].value < 1000
    assert "disk_mb_s" in result.rates
    assert result.first_epoch_img_per_s == result.img_per_s


def test_without_shards_phantoms_are_measured(tmp_path: Path) -> None:
    model = plan.MaeShape(image_px=128, patch_px=64)
    rates = planned(tmp_path, images=5, measure=True, measure_s=0.2, model=model).rates
    assert rates["loader_ms"].source == "measured here on phantoms"
    assert list(tmp_path.iterdir()) == []


def test_shards_at_a_url_add_the_network(tmp_path: Path, shapes: Any, monkeypatch: Any) -> None:
    monkeypatch.setenv("XRAYTK_CACHE", str(tmp_path / "cache"))
    shards = shapes.write(tmp_path, {"train": 12}) / "shards"
    result = planned(tmp_path, shards=f"file://{shards}")
    assert result.images == 12
    assert [limit.name for limit in result.limits] == ["gpu", "cores", "disk", "network"]


def test_the_command_prints_a_table_or_json() -> None:
    words = [sys.executable, "-m", "xraytk", "plan", "--images", "1053791", "--gpus", "8", "--cores", "64"]
    said = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    assert "GPU hours" in said
    assert "images/s" in said
    done = subprocess.run([*words, "--json"], capture_output=True, text=True, check=True)
    result = json.loads(done.stdout)
    assert result["epochs"] == 83
    assert {limit["name"] for limit in result["limits"]} == {"gpu", "cores", "disk"}
    assert result == as_plain(plan.run(PlanConfig(**PAPER)))
