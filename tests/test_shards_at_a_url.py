"""Training and scoring on shards behind a web server."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from xraytk import config as configs
from xraytk import evaluate, finetune, pretrain

sys.path.insert(0, str(Path(__file__).parent / "data"))
from faulty_web import Web, served


@pytest.mark.slow
def test_the_road_is_the_same_from_a_url(
    tmp_path: Path, shapes: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XRAYTK_CACHE", str(tmp_path / "cache"))
    work = shapes.write(tmp_path / "work", {"train": 16, "val": 4, "test": 4})
    shards = work / "shards"
    files = {f"/shards/{path.name}": path.read_bytes() for path in shards.iterdir() if path.is_file()}
    settings = {
        "work": str(work),
        "vit": shapes.vit,
        "options": {"decoder_width": 16, "decoder_depth": 1, "decoder_heads": 2},
        "data": {"image_px": 32, "window": 1},
        "batch": 8,
        "steps": 3,
        "machine": {"device": "cpu"},
    }
    losses = []
    with served(Web(files)) as web:
        web.faults["/shards/train-000000.tar"] = ["drop", "500"]
        for name, where in (("near", str(shards)), ("far", f"{web.url}/shards")):
            made = configs.build(pretrain.PretrainConfig, {**settings, "shards": where, "name": name})
            result = pretrain.run(made)
            losses.append((result.loss_first, result.loss_last))
        tuned = shapes.config(work, "classify", shards=where, steps=4, validate_every=2, name="far-c")
        finetune.run(tuned)
        evaluate.run(evaluate.EvaluateConfig(work=work, checkpoint=work / "runs" / "far-c", shards=where))
    assert losses[0] == losses[1]
    assert web.asked["/shards/index.parquet"] == 1
    assert web.asked["/shards/train-000000.tar"] == 3
