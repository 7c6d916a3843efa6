"""Reading members by offset: from any thread, checked, and with errors that name the place."""

from __future__ import annotations

import pickle
import tarfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import ingest_like
import numpy as np
import pytest

from xraytk import shard
from xraytk.data import shards
from xraytk.data.pictures import to_8bit
from xraytk.errors import DataError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    ingest_like.make(tmp_path)
    shard.run(shard.ShardConfig(work=tmp_path, max_samples=3))
    return tmp_path / "shards"


def test_every_member_is_found_by_its_offset(folder):
    index = shards.ShardIndex.load(folder)
    reader = shards.ShardReader(index, keep_open=2)  # fewer than there are shards
    for row in np.random.default_rng(0).permutation(len(index)):
        info = index.shards[index.shard[row]]
        with tarfile.open(folder / info.name) as tar:
            for name in shards.MEMBERS:
                member = f"{index.image_id[row].decode()}.{shards.ending(name, index.codec)}"
                wanted = tar.extractfile(member).read() if member in tar.getnames() else None
                assert reader.read(int(row), name) == wanted
    assert len(reader._files) == 2
    reader.close()


def test_images_come_decoded_and_in_the_shape_that_is_asked_for(folder):
    index = shards.ShardIndex.load(folder)
    reader = shards.ShardReader(index)
    row = index.image_id.tolist().index(ingest_like.image_id(0).encode())
    assert np.array_equal(reader.image(row, shape=(90, 72)), to_8bit(ingest_like.picture(0)))
    with pytest.raises(DataError, match=r"\(90, 72\) pixels"):
        reader.image(row, shape=(72, 90))
    with pytest.raises(DataError, match="no member 'small'"):
        reader.image(row, "small")


def test_many_threads_read_what_one_reads(folder):
    index = shards.ShardIndex.load(folder)
    alone = shards.ShardReader(index)
    wanted = [alone.read(row, "image") for row in range(len(index))]
    reader = shards.ShardReader(index, keep_open=1)  # files close while others read them
    rows = np.random.default_rng(0).integers(0, len(index), 4000).tolist()
    with ThreadPoolExecutor(8) as pool:
        for row, data in zip(rows, pool.map(lambda row: reader.read(row, "image"), rows), strict=True):
            assert data == wanted[row]
    assert len(reader._files) == 1
    reader.close()


def test_a_pickled_reader_reads(folder):
    reader = shards.ShardReader(shards.ShardIndex.load(folder), keep_open=3)
    wanted = reader.read(5, "meta")
    copy = pickle.loads(pickle.dumps(reader))
    assert copy.read(5, "meta") == wanted
    copy.close()
    reader.close()


def broken(folder: Path, harm: str) -> tuple[shards.ShardReader, int, str]:
    """Harm the shard of the last val sample; returns a reader, its row, and what names it."""
    index = shards.ShardIndex.load(folder)
    row = int(index.rows("val")[-1])
    path = folder / index.shards[index.shard[row]].name
    data = bytearray(path.read_bytes())
    if harm == "missing":
        path.unlink()
    else:
        if harm == "flipped":
            data[int(index.offset[row, shards.SLOT["image"]]) + 1000] ^= 16
        else:
            del data[700:]
        path.write_bytes(data)
    return shards.ShardReader(index), row, rf"{path.name} is broken at image {index.image_id[row].decode()}"


@pytest.mark.parametrize(
    ("harm", "detail"),
    [
        ("missing", "the shard does not exist"),
        ("short", r"\d+ bytes of the image found, 6\d+ wanted"),
        ("flipped", r"crc32 of the image is \w{8}, the index says \w{8}"),
    ],
)
def test_a_broken_shard_names_itself_and_the_image(folder, harm, detail):
    reader, row, name = broken(folder, harm)
    with pytest.raises(DataError, match=name) as caught:
        reader.read(row, "image")
    assert caught.match(detail)
    assert caught.match("--repair")


def test_only_the_flipped_member_is_refused(folder):
    reader, row, _ = broken(folder, "flipped")
    assert reader.read(row, "meta")
    assert reader.read(row - 1, "image")


class Elsewhere:
    """A store whose tars lie under other names, as a cache has them."""

    def __init__(self, folder: Path, index: shards.ShardIndex) -> None:
        self.folder, self.index, self.closed = folder, index, False

    def path(self, number: int) -> Path:
        if number == 0:
            raise DataError("the server dropped the connection", "tried 5 times")
        return self.folder / self.index.shards[number].name

    def want(self, numbers) -> None:
        pass

    def close(self) -> None:
        self.closed = True


def test_a_reader_takes_tars_from_a_store_and_says_what_the_store_said(folder):
    index = shards.ShardIndex.load(folder)
    moved = folder.rename(folder.with_name("cache"))
    store = Elsewhere(moved, index)
    reader = shards.ShardReader(index, store)
    assert reader.read(len(index) - 1, "meta")
    first = int(np.flatnonzero(index.shard == 0)[0])
    with pytest.raises(DataError, match=f"image {index.image_id[first].decode()}") as caught:
        reader.read(first, "meta")
    assert caught.match("dropped the connection\n *tried 5 times")
    reader.close()
    assert store.closed
