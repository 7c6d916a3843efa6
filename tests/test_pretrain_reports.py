from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from xraytk import pretrain
from xraytk.config import load, resolve
from xraytk.data.stream import StreamConfig
from xraytk.errors import DataError, RunConflictError, UsageError
from xraytk.models.tokens import Vocabulary
from xraytk.models.vit import VitConfig
from xraytk.objectives import OBJECTIVES
from xraytk.pretrain import PretrainConfig
from xraytk.train.journal import read
from xraytk.train.launch import MachineConfig

TEXT = {"width": 16, "depth": 1, "heads": 2, "max_tokens": 12, "min_count": 1}
PIXELS = {"width": 16, "depth": 1, "heads": 2}


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory, shapes: Any) -> Path:
    work: Path = shapes.write(tmp_path_factory.mktemp("work"), {"train": 16, "val": 4})
    return work / "shards"


def config(shards: Path, out: Path, objective: str = "clip", **changes: Any) -> PretrainConfig:
    options = {"text": TEXT} | ({} if objective == "clip" else {"pixels": PIXELS})
    values: dict[str, Any] = {
        "shards": shards,
        "out": out,
        "objective": objective,
        "options": options,
        "vit": VitConfig(image_px=32, patch_px=8, width=16, depth=1, heads=2),
        "data": StreamConfig(image_px=32),
        "batch": 8,
        "steps": 4,
        "save_every": 2,
        "log_every": 1,
        "machine": MachineConfig(device="cpu"),
    }
    return PretrainConfig(**(values | changes))


def losses(folder: Path) -> list[float]:
    return [line["loss"] for line in read(folder / "log.jsonl")]


@pytest.mark.parametrize("objective", ["clip", "maco", "mrm"])
def test_a_run_with_reports_that_was_cut_ends_as_one_that_was_not(
    shards: Path, tmp_path: Path, objective: str
) -> None:
    for name in ("whole", "cut"):
        pretrain.run(config(shards, tmp_path / name, objective))
    words = (tmp_path / "whole" / "tokenizer.json").read_bytes()
    assert (tmp_path / "cut" / "tokenizer.json").read_bytes() == words
    shutil.rmtree(tmp_path / "cut" / "step-00000004")
    (tmp_path / "cut" / "tokenizer.json").unlink()  # it can be made anew from the same shards
    assert pretrain.run(config(shards, tmp_path / "cut", objective)).resumed_from == 2
    assert (tmp_path / "cut" / "tokenizer.json").read_bytes() == words
    assert losses(tmp_path / "cut") == losses(tmp_path / "whole")
    one, two = (load_file(tmp_path / n / "step-00000004" / "model.safetensors") for n in ("cut", "whole"))
    assert all(torch.equal(one[key], two[key]) for key in two)


def test_a_run_does_not_go_on_with_other_words(shards: Path, tmp_path: Path) -> None:
    pretrain.run(config(shards, tmp_path))
    path = tmp_path / "tokenizer.json"
    words = Vocabulary.load(path)
    Vocabulary([*words.tokens[:-1], "zzz"], words.cased, words.ends).save(path)
    with pytest.raises(RunConflictError, match=r"inputs\.vocabulary"):
        pretrain.run(config(shards, tmp_path))


def test_words_of_a_run_that_came_to_nothing_are_made_anew(shards: Path, tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text("{}")
    pretrain.run(config(shards, tmp_path))
    assert "nodule" in Vocabulary.load(tmp_path / "tokenizer.json").tokens


def test_the_whole_batch_is_compared_however_small_a_micro_batch_is_asked_for(
    shards: Path, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=r"options\.together=4"):
        pretrain.run(config(shards, tmp_path, machine=MachineConfig(device="cpu", micro_batch=4)))
    pretrain.run(config(shards, tmp_path / "four", options={"text": TEXT, "together": 4}, steps=1))
    pretrain.run(config(shards, tmp_path / "eight", steps=1))
    four, eight = losses(tmp_path / "four")[0], losses(tmp_path / "eight")[0]
    assert four < eight - 0.3  # fewer to choose from: about ln 4 and ln 8


@pytest.mark.usefixtures("forks")
@pytest.mark.slow
def test_two_processes_share_the_words_and_compare_the_whole_batch(shards: Path, tmp_path: Path) -> None:
    text = TEXT | {"dropout": 0.0, "langs": ["en"]}
    for gpus in (1, 2):
        made = config(
            shards,
            tmp_path / str(gpus),
            options={"text": text},
            machine=MachineConfig(device="cpu", gpus=gpus),
        )
        pretrain.run(made)
    assert losses(tmp_path / "2") == pytest.approx(losses(tmp_path / "1"), rel=1e-4)


def test_larger_images_are_painted_than_the_encoder_sees(shards: Path, tmp_path: Path) -> None:
    options = {"text": TEXT, "pixels": PIXELS | {"enlarge": 2}}
    result = pretrain.run(
        config(shards, tmp_path, "mrm", options=options, data=StreamConfig(image_px=64), steps=1)
    )
    assert [p.name for p in result.figures] == ["curves.png", "reconstruction-00000001.png"]
    with pytest.raises(UsageError, match=r"Set data.image_px=64"):
        config(shards, tmp_path, "mrm", options=options)


def test_shards_without_reports_are_refused(tmp_path: Path, shapes: Any) -> None:
    work: Path = shapes.write(tmp_path / "work", {"train": 8})
    (work / "ingest" / "reports.parquet").unlink()
    shutil.rmtree(work / "shards")
    from xraytk import shard

    shard.run(shard.ShardConfig(work=work, workers=1))
    with pytest.raises(DataError, match="no report to learn words from"):
        pretrain.run(config(work / "shards", tmp_path / "run"))


@pytest.mark.parametrize("name", ["clip", "maco", "mrm", "m3ae", "medical-mae"])
def test_a_preset_builds(name: str) -> None:
    def words(langs: Sequence[str], min_count: int) -> Vocabulary:
        return Vocabulary.build({"en": ["the lungs are clear"]})

    preset = load(PretrainConfig, preset=name)
    kind = resolve(OBJECTIVES[preset.objective])
    with torch.device("meta"):
        more = {} if preset.objective == "mae" else {"vocabulary": words}
        made = kind.build(preset.vit, preset.options, **more)
    assert 85e6 < sum(p.numel() for p in made.encoder.parameters()) < 86e6  # ViT-B
    assert preset.data.image_px == preset.vit.image_px * (2 if name in ("maco", "mrm") else 1)
