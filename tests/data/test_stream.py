"""The order law, resume, ranks, workers, and what a batch holds."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from itertools import islice
from pathlib import Path

import ingest_like
import numpy as np
import pytest
import torch

from xraytk import shard
from xraytk.data import manifest, shards
from xraytk.data.memory import Memory
from xraytk.data.order import epoch_order as permutation
from xraytk.data.skipped import SkipList
from xraytk.data.stream import Stream, StreamConfig
from xraytk.errors import DataError, UsageError

MOVING = StreamConfig(image_px=48, crop_scale=(0.5, 1.0), rotate_deg=5.0, contrast=0.2)
STILL = StreamConfig(image_px=48)
WINDOWED = StreamConfig(image_px=48, crop_scale=(0.5, 1.0), rotate_deg=5.0, window=2)


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
    "wrong", [{"image_px": 0}, {"image_px": (48, 0)}, {"window": -1}, {"rotate_deg": 90.0}]
)
def test_values_out_of_range_are_refused_by_name(wrong):
    with pytest.raises(UsageError, match=next(iter(wrong))):
        StreamConfig(**wrong)


def test_the_batches_are_the_same_at_every_position_world_and_number_of_workers(folder):
    """Resumed at every step, cut over ranks, read by threads: the same samples, the same pixels."""
    stream = Stream(folder, "train", WINDOWED, seed=4)
    whole = list(islice(stream.training(batch=12, micro_batch=12), 6))
    for step in range(6):
        for world in (1, 2, 3, 4):
            share = 12 // world
            parts = []
            for rank in range(world):
                source = stream.training(
                    batch=12, micro_batch=share, start_step=step, rank=rank, world=world, workers=step % 4
                )
                parts.append(next(source))
                source.close()
            assert ids(parts) == whole[step].image_id
            assert torch.equal(torch.cat([b.image for b in parts]), whole[step].image)
            assert torch.equal(torch.cat([b.lung for b in parts]), whole[step].lung)


def test_a_window_reads_few_shards_at_a_time(folder):
    order = ids(islice(Stream(folder, "train", WINDOWED).training(batch=1, micro_batch=1), 15))
    index = shards.ShardIndex.load(folder)
    shard_of = dict(zip(index.image_id.tolist(), index.shard.tolist(), strict=True))
    read = [shard_of[name.encode()] for name in order]
    assert len(set(read)) == 4
    half = next(n for n in range(15) if len(set(read[: n + 1])) == 3)
    assert not set(read[:half]) & set(read[half:])


def test_the_device_turns_images_as_the_worker_does(tmp_path):
    """A smooth picture, since both interpolate between pixels, each in its own precision."""
    work = tmp_path
    ingest_like.make(work, 10, splits=("train",), picture=smooth)
    shard.run(shard.ShardConfig(work=work))
    for fit in ("letterbox", "stretch"):
        for size in (48, 200, (40, 72), (104, 56)):
            config = StreamConfig(
                image_px=size,
                fit=fit,
                crop_scale=(0.4, 1.0),
                crop_aspect=1.3,
                rotate_deg=20,
                shift=0.1,
                zoom=0.2,
                shear_deg=10,
                contrast=0.2,
                flip=0.5,
            )
            here, there = (
                next(
                    Stream(work / "shards", "train", config, warp_on_device=on_device).training(
                        batch=10, micro_batch=10
                    )
                )
                for on_device in (False, True)
            )
            assert there.image.shape == here.image.shape
            assert (there.valid != here.valid).float().mean() < 1e-4
            both = (there.valid & here.valid)[:, None]
            apart = (there.image.int() - here.image.int()).abs()[both]
            assert apart.max() <= 8
            assert apart.float().mean() < 1
            assert torch.equal(there.lung, here.lung)
            assert not there.image[:, 0][~there.valid].any()


def smooth(number: int) -> np.ndarray:
    height, width = ((90, 72), (64, 96))[number % 2]
    y, x = np.mgrid[:height, :width]
    return ((np.sin(x / 9 + number) + np.cos(y / 7)) * 15000 + 32000).astype(np.uint16)


def test_small_images_are_read_when_they_suffice(tmp_path):
    ingest_like.make(tmp_path, 6, splits=("train",), picture=smooth)
    shard.run(shard.ShardConfig(work=tmp_path, also_px=48))
    folder = tmp_path / "shards"
    path = folder / "train-000000.tar"
    data = bytearray(path.read_bytes())
    index = shards.ShardIndex.load(folder)
    data[int(index.offset[0, shards.SLOT["image"]]) + 200] ^= 8  # of one large image
    path.write_bytes(data)
    for config in (StreamConfig(image_px=48), StreamConfig(image_px=32, crop_scale=(0.5, 1.0))):
        batch = next(Stream(folder, "train", config).once(batch=6))
        assert batch.lung.any(dim=(1, 2)).sum() == batch.has_contour.sum()
    for config in (StreamConfig(image_px=49), StreamConfig(image_px=48, crop_scale=(0.5, 1.0))):
        with pytest.raises(DataError, match="crc32"):
            next(Stream(folder, "train", config).once(batch=6))


def test_lungs_lie_alike_on_small_and_large_images(tmp_path):
    for name, also in (("large", 0), ("both", 48)):
        ingest_like.make(tmp_path / name, 6, splits=("train",), picture=smooth)
        shard.run(shard.ShardConfig(work=tmp_path / name, also_px=also))
    large, small = (
        next(Stream(tmp_path / name / "shards", "train", STILL).once(batch=6)) for name in ("large", "both")
    )
    assert (large.lung != small.lung).float().mean() < 0.01
    assert (large.image.int() - small.image.int()).abs().float().mean() < 3


def test_16_bits_give_the_batches_of_8(tmp_path):
    for codec in ("tiff", "tiff16"):
        ingest_like.make(tmp_path / codec, 5)
        shard.run(shard.ShardConfig(work=tmp_path / codec, codec=codec))
    eight, sixteen = (
        next(Stream(tmp_path / codec / "shards", "train", STILL).once(batch=3))
        for codec in ("tiff", "tiff16")
    )
    assert same(eight, sixteen)


def test_a_flip_turns_image_lungs_words_and_labels(tmp_path):
    names = ingest_like.make(tmp_path, 4, splits=("train",))
    ingest_like.reports(tmp_path, dict.fromkeys(names, "Left effusion, RUL nodule."))
    labels = [
        {"image_id": name, "label": label, "value": float(label == "Left effusion")}
        for name in names
        for label in ("Left effusion", "Nodule", "Right effusion")
    ]
    manifest.write_table(tmp_path / "ingest/labels.parquet", manifest.LABELS, labels)
    shard.run(shard.ShardConfig(work=tmp_path))
    plain = Stream(tmp_path / "shards", "train", STILL, seed=2)
    always = Stream(tmp_path / "shards", "train", StreamConfig(image_px=48, flip=1.0), seed=2)
    a, b = (next(s.training(batch=4, micro_batch=4)) for s in (plain, always))
    assert a.image_id == b.image_id
    for name in ("image", "valid", "lung"):
        assert (getattr(a, name) != getattr(b, name).flip(-1)).float().mean() < 0.03  # a contour's rim
    assert torch.equal(a.image, b.image.flip(-1))
    assert b.reports["en"] == ["Right effusion, LUL nodule."] * 4
    assert torch.equal(b.labels, a.labels[:, [2, 1, 0]])


@pytest.fixture
def broken(tmp_path: Path) -> tuple[Path, list[str]]:
    """Shards of ten samples, three of which are broken, each in another way; and their ids."""
    names = ingest_like.make(tmp_path, 10, splits=("train",))
    shard.run(shard.ShardConfig(work=tmp_path, max_samples=2))
    folder = tmp_path / "shards"
    index = shards.ShardIndex.load(folder)
    (folder / "train-000001.tar").unlink()  # rows 2 and 3
    flipped = folder / "train-000002.tar"
    data = bytearray(flipped.read_bytes())
    data[int(index.offset[5, shards.SLOT["image"]]) + 300] ^= 1
    flipped.write_bytes(data)
    cut = folder / "train-000004.tar"
    os.truncate(cut, int(index.offset[9, shards.SLOT["image"]]) + 10)
    assert len(names) == 10
    return folder, [index.image_id[row].decode() for row in (2, 3, 5, 9)]


@pytest.mark.parametrize("workers", [0, 2])
def test_every_fault_is_one_error_that_names_shard_and_sample(broken, workers):
    folder, names = broken
    stream = Stream(folder, "train", STILL)
    for row, name, shard_name, what in (
        (2, names[0], "train-000001.tar", "does not exist"),
        (5, names[2], "train-000002.tar", "crc32"),
        (9, names[3], "train-000004.tar", "wanted"),
    ):
        with pytest.raises(DataError) as caught:
            list(stream.once(batch=1, rank=row, world=10, workers=workers))
        assert f"{shard_name} is broken at image {name}" in caught.value.what
        assert what in caught.value.detail
    assert not reading_threads()


@pytest.mark.parametrize("workers", [0, 3])
def test_broken_samples_are_replaced_and_listed_once(broken, tmp_path, workers):
    folder, names = broken
    listed = SkipList(tmp_path / "run" / "skipped.jsonl")
    config = StreamConfig(image_px=48, skip_bad=True, rotate_deg=5)
    stream = Stream(folder, "train", config, seed=1, skipped=listed)
    taken = list(islice(stream.training(batch=5, micro_batch=5, workers=workers), 4))  # two epochs
    assert not set(ids(taken)) & set(names)
    assert len(ids(taken)) == 20
    assert [one.image for one in listed.all()] == sorted(names, key=names.index)
    lines = (tmp_path / "run" / "skipped.jsonl").read_text().splitlines()
    assert len(lines) == 4
    assert json.loads(lines[0]).keys() == {"shard", "image", "why"}
    for step in range(4):  # the replacement is of the seed and the position
        again = Stream(folder, "train", config, seed=1).training(
            batch=5, micro_batch=5, start_step=step, workers=1
        )
        assert same(next(again), taken[step])
        again.close()


def test_reading_once_leaves_broken_samples_out(broken):
    folder, _ = broken
    stream = Stream(folder, "train", StreamConfig(image_px=48, skip_bad=True))
    found = list(stream.once(batch=2, workers=2))
    assert [len(b.image_id) for b in found] == [2, 1, 2, 1]  # the batch of the lost shard is none
    assert all(len(b.image) == len(b.labels) == len(b.view) == len(b.image_id) for b in found)
    assert len(stream.skipped.all()) == 4


def test_a_split_with_nothing_whole_ends_though_it_may_skip(tmp_path):
    ingest_like.make(tmp_path, 3, splits=("train",))
    shard.run(shard.ShardConfig(work=tmp_path))
    (tmp_path / "shards/train-000000.tar").unlink()
    stream = Stream(tmp_path / "shards", "train", StreamConfig(image_px=8, skip_bad=True))
    with pytest.raises(DataError, match="does not exist"):
        next(stream.training(batch=2, micro_batch=2, workers=2))
    with pytest.raises(DataError, match=r"(?s)all 3 were skipped.*does not exist"):
        list(stream.once(batch=2))


def reading_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("xraytk-read")]


def test_closing_early_leaves_no_thread(folder):
    source = Stream(folder, "train", MOVING).training(batch=4, micro_batch=4, workers=3)
    next(source)
    assert reading_threads()
    source.close()
    assert not reading_threads()
    source = Stream(folder, "train", MOVING).training(batch=4, micro_batch=4, workers=3)
    next(source)
    del source  # as a loop does that an exception leaves
    assert not reading_threads()


READER = """
import sys, time
from pathlib import Path
from xraytk.data.skipped import SkipList
from xraytk.data.stream import Stream, StreamConfig

stream = Stream(Path(sys.argv[1]), "train", StreamConfig(image_px=32))
batches = stream.training(batch=2, micro_batch=2, workers=2)
next(batches)
print("reading", flush=True)
if sys.argv[2] == "end":
    raise SystemExit(3)  # without closing
for batch in batches:
    pass
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 1), (signal.SIGTERM, -signal.SIGTERM), (None, 3)]
)
def test_a_process_that_reads_ahead_ends_when_told(folder, tmp_path, number, code):
    script = tmp_path / "reader.py"
    script.write_text(READER)
    command = [sys.executable, str(script), str(folder), "go" if number else "end"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout.readline() == b"reading\n"
        if number:
            process.send_signal(number)
        assert process.wait(timeout=60) in (code, -signal.SIGINT)


def test_memory_is_used_again_only_when_nothing_refers_to_it():
    memory = Memory()
    first = memory.empty((2, 3), torch.bool)
    place, view = first.data_ptr(), first[0].numpy()
    del first
    second = memory.empty((3, 2), torch.uint8)
    assert second.data_ptr() != place  # the view is still there
    del view
    third = memory.empty((6,), torch.uint8)
    assert third.data_ptr() == place
