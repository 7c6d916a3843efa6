"""The order law, resume, ranks, workers, and what a batch holds."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from itertools import islice
from pathlib import Path

import ingest_like
import numpy as np
import pytest
import torch

from xraytk import shard
from xraytk.data import shards
from xraytk.data.stream import Stream, StreamConfig, permutation
from xraytk.errors import DataError, UsageError

MOVING = StreamConfig(image_px=48, crop_scale=(0.5, 1.0), rotate_deg=5.0, contrast=0.2)
STILL = StreamConfig(image_px=48)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    work = tmp_path_factory.mktemp("work")
    ingest_like.make(work, 25)  # 15 for training: no batch divides it
    shard.run(shard.ShardConfig(work=work, max_samples=4))
    return work / "shards"


def same(a, b) -> bool:
    tensors = all(
        torch.equal(torch.nan_to_num(getattr(a, n).float(), -1), torch.nan_to_num(getattr(b, n).float(), -1))
        for n in ("image", "valid", "lung", "has_contour", "labels")
    )
    return tensors and (a.image_id, a.reports, a.view) == (b.image_id, b.reports, b.view)


def ids(batches) -> list[str]:
    return [name for b in batches for name in b.image_id]


def test_the_order_is_one_permutation_after_another(folder):
    stream = Stream(folder, "train", STILL, seed=3)
    order = ids(islice(stream.training(batch=6, micro_batch=2), 15))  # 30 samples: two epochs
    names = [n.decode() for n in shards.ShardIndex.load(folder).take(_rows(folder)).image_id]
    wanted = [names[i] for e in (0, 1) for i in permutation(3, e, 15)]
    assert order == wanted
    assert Counter(order[:15]) == Counter(names)
    assert order[:15] != order[15:]


def test_a_selection_is_a_split_of_its_samples_alone(folder):
    names = [n.decode() for n in shards.ShardIndex.load(folder).take(_rows(folder)).image_id]
    only = {*names[1::2], "not-in-these-shards"}
    stream = Stream(folder, "train", STILL, seed=3, only=only)
    assert stream.count == 7
    assert ids(stream.once(batch=3)) == names[1::2]
    wanted = [names[1::2][i] for i in permutation(3, 0, 7)]
    assert ids(islice(stream.training(batch=7, micro_batch=7), 1)) == wanted
    with pytest.raises(DataError, match="no selected sample"):
        Stream(folder, "train", STILL, only={"not-in-these-shards"})


def _rows(folder: Path) -> np.ndarray:
    return shards.ShardIndex.load(folder).rows("train")


@pytest.mark.parametrize("world", [1, 2, 4])
def test_any_number_of_ranks_sees_the_same_steps(folder, world):
    whole = Stream(folder, "train", MOVING, seed=3)
    single = list(islice(whole.training(batch=8, micro_batch=8), 6))
    ranks = [
        list(islice(whole.training(batch=8, micro_batch=1, rank=r, world=world), 6 * 8 // world))
        for r in range(world)
    ]
    share = 8 // world
    for step, batch in enumerate(single):
        parts = [b for r in range(world) for b in ranks[r][step * share : (step + 1) * share]]
        assert ids(parts) == batch.image_id
        assert torch.equal(torch.cat([b.image for b in parts]), batch.image)


def test_resumed_at_any_step_it_goes_on_as_if_never_stopped(folder):
    stream = Stream(folder, "train", MOVING, seed=1)
    whole = list(islice(stream.training(batch=4, micro_batch=4), 12))
    for step in range(12):
        again = Stream(folder, "train", MOVING, seed=1).training(batch=4, micro_batch=4, start_step=step)
        assert same(next(again), whole[step])


def test_workers_change_nothing(folder):
    stream = Stream(folder, "train", MOVING, seed=1)
    state = torch.get_rng_state()
    here = list(islice(stream.training(batch=4, micro_batch=2), 10))
    read_ahead = stream.training(batch=4, micro_batch=2, workers=2)
    there = list(islice(read_ahead, 10))
    read_ahead.close()
    assert all(same(a, b) for a, b in zip(here, there, strict=True))
    only = Stream(folder, "val", STILL, needs=frozenset({"labels"}))
    one, two = list(only.once(batch=2)), list(only.once(batch=2, workers=1))
    assert all(same(a, b) for a, b in zip(one, two, strict=True))
    assert torch.equal(torch.get_rng_state(), state)  # the global generator is the learner's


def test_the_seed_changes_order_and_augmentation(folder):
    a = next(Stream(folder, "train", MOVING, seed=1).training(batch=15, micro_batch=15))
    b = next(Stream(folder, "train", MOVING, seed=2).training(batch=15, micro_batch=15))
    assert a.image_id != b.image_id
    assert sorted(a.image_id) == sorted(b.image_id)
    at = b.image_id.index(a.image_id[0])
    assert not torch.equal(a.image[0], b.image[at])


def test_once_is_every_sample_in_index_order_unmoved(folder):
    stream = Stream(folder, "train", MOVING)
    batches = list(stream.once(batch=4))
    assert [len(b.image_id) for b in batches] == [4, 4, 4, 3]
    still = list(Stream(folder, "train", STILL).once(batch=4))
    assert all(same(a, b) for a, b in zip(batches, still, strict=True))
    shares = [ids(stream.once(batch=4, rank=r, world=4)) for r in range(4)]
    assert [name for share in shares for name in share] == ids(batches)
    assert sorted(map(len, shares)) == [3, 4, 4, 4]


def test_a_batch_holds_what_was_ingested(folder):
    names = [ingest_like.image_id(i) for i in range(25)]
    for batch in Stream(folder, "train", STILL).once(batch=4):
        assert batch.image.dtype == torch.uint8
        assert batch.image.shape[1:] == (1, 48, 48)
        assert batch.valid.shape == batch.lung.shape == batch.image[:, 0].shape
        for b, name in enumerate(batch.image_id):
            number = names.index(name)
            assert batch.reports["en"][b] == f"Report {number}."
            assert batch.reports["zh"][b] == ("双肺清晰。" if number % 2 else "")
            effusion, nodule = batch.labels[b].tolist()
            assert nodule == number % 2
            assert effusion == 1 if number % 2 else effusion != effusion  # NaN: unknown
            assert batch.patient_hash[b] == name[::-1]
            assert batch.view[b] == "PA"
            assert batch.has_contour[b] == batch.lung[b].any()
            height, width = ingest_like.picture(number).shape
            assert batch.valid[b].float().mean() == pytest.approx(
                min(height, width) / max(height, width), abs=0.02
            )
    failed = [b.has_contour.any() for b in Stream(folder, "test", STILL).once(batch=5)]
    assert failed == [False]


def test_what_is_not_needed_is_not_made(folder):
    full = next(Stream(folder, "train", STILL).once(batch=3))
    part = next(Stream(folder, "train", STILL, needs=frozenset({"lung"})).once(batch=3))
    assert torch.equal(part.lung, full.lung)
    assert part.image.shape == full.image.shape
    assert not part.image.any()
    assert part.valid.all()
    assert part.labels.isnan().all()
    assert part.reports == {"en": [""] * 3, "zh": [""] * 3}
    valid = next(Stream(folder, "train", STILL, needs=frozenset({"valid"})).once(batch=3))
    assert torch.equal(valid.valid, full.valid)
    assert not valid.has_contour.any()
    with pytest.raises(UsageError, match="no images"):
        Stream(folder, "train", STILL, needs=frozenset({"images"}))


def test_labels_come_in_the_order_asked_for(folder):
    asked = Stream(folder, "train", STILL, labels=("Nodule", "Hernia"))
    batch = next(asked.once(batch=15))
    assert asked.labels == ("Nodule", "Hernia")
    assert not batch.labels[:, 0].isnan().any()
    assert batch.labels[:, 1].isnan().all()


def test_a_batch_that_cannot_be_cut_says_so(folder):
    stream = Stream(folder, "train", STILL)
    with pytest.raises(UsageError, match="2 processes x micro-batches of 3 = 6 must divide it"):
        stream.training(batch=8, micro_batch=3, world=2)
    with pytest.raises(UsageError, match="rank"):
        stream.training(batch=8, micro_batch=4, world=2, rank=2)


def test_an_empty_split_says_what_there_is(folder):
    with pytest.raises(DataError, match="splits with samples: test, train, val"):
        Stream(folder, "tune", STILL)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_broken_member_names_the_shard_and_the_image(tmp_path, workers):
    ingest_like.make(tmp_path, 5)
    shard.run(shard.ShardConfig(work=tmp_path))
    index = shards.ShardIndex.load(tmp_path / "shards")
    row = int(index.rows("train")[1])
    path = tmp_path / "shards/train-000000.tar"
    data = bytearray(path.read_bytes())
    data[int(index.offset[row, shards.SLOT["image"]]) + 800] ^= 8
    path.write_bytes(data)
    wanted = rf"train-000000.tar is broken at image {index.image_id[row].decode()}\n.*\n.*--verify"
    with pytest.raises(DataError, match=wanted):
        list(Stream(tmp_path / "shards", "train", STILL).once(batch=2, workers=workers))


@pytest.mark.parametrize(
    "wrong", [{"image_px": 0}, {"crop_scale": (0.9, 0.5)}, {"rotate_deg": 90.0}, {"contrast": 1.0}]
)
def test_values_out_of_range_are_refused_by_name(wrong):
    with pytest.raises(UsageError, match=next(iter(wrong))):
        StreamConfig(**wrong)


READER = """
import multiprocessing, sys, time
from pathlib import Path
from xraytk.data.stream import Stream, StreamConfig

if __name__ == "__main__":
    stream = Stream(Path(sys.argv[1]), "train", StreamConfig(image_px=32))
    batches = stream.training(batch=2, micro_batch=2, workers=2)
    next(batches)
    print(*[child.pid for child in multiprocessing.active_children()], flush=True)
    time.sleep(60)
"""


@pytest.mark.slow
def test_workers_end_with_a_killed_parent_and_outlast_a_signal(folder, tmp_path):
    script = tmp_path / "reader.py"
    script.write_text(READER)
    with subprocess.Popen([sys.executable, str(script), str(folder)], stdout=subprocess.PIPE) as process:
        pids = [int(pid) for pid in process.stdout.readline().split()]
        assert len(pids) == 2
        for pid in pids:
            os.kill(pid, signal.SIGTERM)
        time.sleep(0.5)
        assert all(_lives(pid) for pid in pids)
        process.kill()
    until = time.monotonic() + 10
    while any(_lives(pid) for pid in pids):
        assert time.monotonic() < until
        time.sleep(0.05)


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
