"""The stream of studies: two images a sample, in an order that is a law too."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import ingest_like
import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from xraytk import shard
from xraytk.data import manifest, shards
from xraytk.data.order import epoch_order
from xraytk.data.stream import Stream, StreamConfig
from xraytk.errors import DataError, UsageError
from xraytk.records import VIEWS

STILL = StreamConfig(image_px=32, views=2)
MOVING = StreamConfig(image_px=32, views=2, crop_scale=(0.5, 1.0), rotate_deg=9.0, contrast=0.3, flip=0.5)
ONE = StreamConfig(image_px=32)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seven training studies: an image and its lateral each, but the last, which has one image."""
    work = tmp_path_factory.mktemp("work")
    ingest_like.make(work, 13, splits=["train"], in_study=2, views=("PA", "LATERAL"))
    shard.run(shard.ShardConfig(work=work, max_samples=4, views=("PA", "LATERAL")))
    return work / "shards"


def number(name: str) -> int:
    return [ingest_like.image_id(i) for i in range(13)].index(name)


def same(a, b) -> bool:
    tensors = all(torch.equal(x, y) for x, y in zip(_tensors(a), _tensors(b), strict=True))
    return tensors and (a.image_id, a.second.image_id) == (b.image_id, b.second.image_id)


def _tensors(batch):
    return batch.image, batch.valid, batch.second.image, batch.second.valid, batch.second.there


def test_a_sample_is_a_study_with_its_frontal_image_and_its_lateral(folder):
    stream = Stream(folder, "train", STILL)
    assert (stream.count, stream.pairs) == (7, 6)
    plain = {n: b for b in Stream(folder, "train", ONE).once(batch=1) for n in b.image_id}
    assert len(plain) == 13
    found = list(stream.once(batch=3))
    assert [len(b.image_id) for b in found] == [3, 3, 1]
    for batch in found:
        for i, name in enumerate(batch.image_id):
            of_first = plain[name]
            assert (batch.view[i], number(name) % 2) == ("PA", 0)
            assert torch.equal(batch.image[i], of_first.image[0])
            assert batch.reports["en"][i] == of_first.reports["en"][0] == f"Report {number(name)}."
            assert batch.patient_hash[i] == of_first.patient_hash[0]
            if name == ingest_like.image_id(12):
                assert not batch.second.there[i]
                assert not batch.second.image[i].any()
                assert not batch.second.valid[i].any()
                assert (batch.second.image_id[i], batch.second.view[i]) == ("", "")
                continue
            beside = plain[batch.second.image_id[i]]
            assert number(batch.second.image_id[i]) == number(name) + 1
            assert batch.second.there[i]
            assert batch.second.view[i] == "LATERAL"
            assert torch.equal(batch.second.image[i], beside.image[0])
            assert torch.equal(batch.second.valid[i], beside.valid[0])
            assert batch.second.shape[i] == ingest_like.picture(number(name) + 1).shape


def test_the_order_is_a_permutation_of_the_studies(folder):
    stream = Stream(folder, "train", STILL, seed=3)
    names = [n for b in stream.once(batch=7) for n in b.image_id]
    order = [n for b in islice(stream.training(batch=7, micro_batch=7), 2) for n in b.image_id]
    assert order == [names[i] for e in (0, 1) for i in epoch_order(3, e, 7)]


def test_ranks_workers_and_a_resumed_run_see_the_same_pairs(folder):
    whole = list(islice(Stream(folder, "train", MOVING, seed=3).training(batch=4, micro_batch=4), 4))
    ahead = Stream(folder, "train", MOVING, seed=3).training(batch=4, micro_batch=4, workers=2, start_step=2)
    assert all(same(a, b) for a, b in zip(whole[2:], ahead, strict=False))
    ahead.close()
    stream = Stream(folder, "train", MOVING, seed=3)
    ranks = [list(islice(stream.training(batch=4, micro_batch=1, rank=r, world=2), 8)) for r in (0, 1)]
    for step, batch in enumerate(whole):
        parts = [b for r in (0, 1) for b in ranks[r][2 * step : 2 * step + 2]]
        joined = [torch.cat(tensors) for tensors in zip(*(_tensors(b) for b in parts), strict=True)]
        assert all(torch.equal(a, b) for a, b in zip(joined, _tensors(batch), strict=True))
    shares = [n for r in (0, 1) for b in stream.once(batch=2, rank=r, world=2) for n in b.image_id]
    assert shares == [n for b in stream.once(batch=7) for n in b.image_id]


def test_two_images_of_one_study_have_draws_of_their_own(tmp_path):
    ingest_like.make(tmp_path, 8, splits=["train"], in_study=2, picture=lambda i: ingest_like.picture(0))
    shard.run(shard.ShardConfig(work=tmp_path))
    still, moving = (
        next(Stream(tmp_path / "shards", "train", config, seed=1).training(batch=4, micro_batch=4))
        for config in (STILL, MOVING)
    )
    assert torch.equal(still.image, still.second.image)
    assert not any(torch.equal(a, b) for a, b in zip(moving.image, moving.second.image, strict=True))
    same_first = next(
        Stream(
            tmp_path / "shards",
            "train",
            StreamConfig(image_px=32, crop_scale=(0.5, 1.0), rotate_deg=9.0, contrast=0.3, flip=0.5),
            seed=1,
            only=set(moving.image_id),
        ).training(batch=4, micro_batch=4)
    )
    assert same_first.image_id == moving.image_id
    assert torch.equal(same_first.image, moving.image)  # a second image changes nothing of the first


def test_a_flip_is_of_the_whole_study_but_a_lateral_is_the_same_from_both_sides(folder, tmp_path):
    ingest_like.make(tmp_path, 8, splits=["train"], in_study=2, views=("PA", "AP"))
    shard.run(shard.ShardConfig(work=tmp_path))
    flipped = StreamConfig(image_px=32, views=2, flip=1.0)
    for place, turned in ((folder, False), (tmp_path / "shards", True)):
        a, b = (
            next(Stream(place, "train", config, seed=2).training(batch=4, micro_batch=4))
            for config in (STILL, flipped)
        )
        assert torch.equal(b.image, a.image.flip(-1))
        assert torch.equal(b.second.image, a.second.image.flip(-1) if turned else a.second.image)


def test_the_device_turns_both_images_as_the_processor_does(folder):
    config = StreamConfig(image_px=32, views=2, rotate_deg=9.0, crop_scale=(0.6, 1.0))
    here, there = (
        next(Stream(folder, "train", config, warp_on_device=w).training(batch=7, micro_batch=7))
        for w in (False, True)
    )
    assert not torch.equal(here.second.image, next(Stream(folder, "train", STILL).once(batch=7)).second.image)
    for name in ("image", "valid"):
        for a, b in ((here, there), (here.second, there.second)):
            assert (getattr(a, name).float() - getattr(b, name).float()).abs().mean() < 2.5
    lone = there.image_id.index(ingest_like.image_id(12))
    assert not there.second.image[lone].any()
    assert not there.second.valid[lone].any()


def test_what_is_not_needed_is_not_read_and_one_view_has_no_second(folder):
    texts = next(Stream(folder, "train", STILL, needs=frozenset({"reports"})).once(batch=7))
    assert texts.second is None
    assert len([t for t in texts.reports["en"] if t]) == 7
    assert next(Stream(folder, "train", ONE).once(batch=2)).second is None


def test_a_selection_is_a_split_of_its_images_alone(folder):
    chosen = {ingest_like.image_id(i) for i in (0, 2, 3, 5)}  # of the last study the lateral only
    stream = Stream(folder, "train", STILL, only=chosen)
    (batch,) = stream.once(batch=9)
    assert [number(n) for n in batch.image_id] == [0, 2]
    assert batch.second.there.tolist() == [False, True]
    with pytest.raises(DataError, match="no frontal image of the split 'train'"):
        Stream(folder, "train", STILL, only={ingest_like.image_id(5)})


def test_images_of_one_study_number_in_two_splits_never_meet(tmp_path):
    ingest_like.make(tmp_path, 6, in_study=2, splits=["train"])
    path = tmp_path / "ingest/manifest/part-00000.parquet"
    rows = pq.read_table(path).to_pylist()
    for i, row in enumerate(rows):  # as no ingest does: a patient in two splits
        row["split"] = ("train", "test")[i % 2]
    manifest.write_table(path, manifest.MANIFEST, rows)
    shard.run(shard.ShardConfig(work=tmp_path))
    for split in ("train", "test"):
        stream = Stream(tmp_path / "shards", split, STILL)
        assert (stream.count, stream.pairs) == (3, 0)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_study_of_which_either_image_is_broken_is_replaced_and_the_image_listed(tmp_path, workers):
    ingest_like.make(tmp_path, 12, splits=["train"], in_study=2, views=("PA", "LATERAL"))
    shard.run(shard.ShardConfig(work=tmp_path, views=("PA", "LATERAL")))
    index = shards.ShardIndex.load(tmp_path / "shards")
    path = tmp_path / "shards/train-000000.tar"
    data = bytearray(path.read_bytes())
    lateral = [row for row in range(12) if VIEWS[index.view[row]] == "LATERAL"][1]
    data[int(index.offset[lateral, shards.SLOT["image"]]) + 300] ^= 1
    path.write_bytes(data)
    broken = index.image_id[lateral].decode()
    with pytest.raises(DataError, match=f"broken at image {broken}"):
        list(Stream(tmp_path / "shards", "train", STILL).once(batch=2, workers=workers))
    config = StreamConfig(image_px=32, views=2, skip_bad=True, rotate_deg=5)
    stream = Stream(tmp_path / "shards", "train", config, seed=1)
    found = list(islice(stream.training(batch=6, micro_batch=6, workers=workers), 2))
    assert [len(b.image_id) for b in found] == [6, 6]
    assert not {broken} & {n for b in found for n in b.second.image_id}
    assert all(b.second.there.all() for b in found)
    assert [one.image for one in stream.skipped.all()] == [broken]
    assert [len(b.image_id) for b in stream.once(batch=6, workers=workers)] == [5]


def test_three_views_are_refused():
    with pytest.raises(UsageError, match="views is 3"):
        StreamConfig(views=3)


def test_the_second_images_of_a_window_lie_in_its_shards(folder):
    index = shards.ShardIndex.load(folder)
    window = StreamConfig(image_px=32, views=2, window=1)
    stream = Stream(folder, "train", window, seed=5)
    shard_of = dict(zip((n.decode() for n in index.image_id), index.shard.tolist(), strict=True))
    (batch,) = islice(stream.training(batch=7, micro_batch=7), 1)
    read = [shard_of[n] for n in batch.image_id]
    assert all(shard_of[n] == s for n, s in zip(batch.second.image_id, read, strict=True) if n)
    assert len(np.flatnonzero(np.diff(read))) == len(set(read)) - 1  # each shard once
