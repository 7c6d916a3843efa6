"""Studies of two images on a GPU: the batches and the loss of the CPU."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import ingest_like
import pytest
import torch

from xraytk import shard
from xraytk.chance import Chance
from xraytk.data.stream import Stream, StreamConfig
from xraytk.models import vocabularies
from xraytk.models.language import DecoderConfig
from xraytk.models.vit import VitConfig
from xraytk.tasks.reporting import ReportTask

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


@pytest.mark.parametrize("turn", [0.0, 9.0])
def test_both_images_arrive_on_the_gpu_and_cost_there_what_they_cost_here(
    tmp_path: Path, turn: float
) -> None:
    ingest_like.make(tmp_path, 11, splits=["train"], in_study=2, views=("PA", "LATERAL"))
    shard.run(shard.ShardConfig(work=tmp_path, views=("PA", "LATERAL")))
    config = StreamConfig(image_px=32, views=2, rotate_deg=turn)
    torch.manual_seed(0)
    words = vocabularies.build("words", {"en": ["Report 0."]}, ("en",), 1)
    decoder = DecoderConfig(width=32, depth=1, heads=2, max_tokens=9, min_count=1, dropout=0.0)
    vit = VitConfig(image_px=32, patch_px=8, width=32, depth=1, heads=2)
    task = ReportTask(vit, decoder, words, ("en",), views=2).eval()
    found = []
    for name in ("cpu", "cuda"):
        device = torch.device(name)
        stream = Stream(tmp_path / "shards", "train", config, seed=1, needs=task.needs, device=device)
        batches = list(islice(stream.training(batch=6, micro_batch=3, workers=2), 6))
        assert {b.second.image.device.type for b in batches if b.second} == {name}
        found.append((batches, [task.to(device)(b, Chance(0)).total.item() for b in batches]))
    for here, there in zip(*(batches for batches, _ in found), strict=True):
        assert here.second is not None
        assert there.second is not None
        assert here.second.image_id == there.second.image_id
        for name in ("image", "valid", "there"):
            a, b = (getattr(one.second, name).float().cpu() for one in (here, there))
            assert (a - b).abs().mean() < 2.5
    assert found[1][1] == pytest.approx(found[0][1], rel=2e-2)
