"""The format of shards: tar, index, reader, codec."""

from __future__ import annotations

import io
import json
import pickle
import tarfile
from pathlib import Path

import ingest_like
import numpy as np
import pytest

from xraytk import shard
from xraytk.data import shard_verify, shards
from xraytk.errors import DataError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    ingest_like.make(tmp_path)
    shard.run(shard.ShardConfig(work=tmp_path, max_samples=3))
    return tmp_path / "shards"


def test_the_tar_is_standard_and_offsets_point_at_the_content():
    stream = io.BytesIO()
    writer = shards.ShardWriter(stream, "tiff")
    place = writer.add("ab12", {"meta": b"{}", "image": b"x" * 600})
    sha256 = writer.close()
    data = stream.getvalue()
    assert place["image_offset"] == 512  # after one header block
    assert place["meta_offset"] == 512 + 1024 + 512  # the image fills two blocks
    assert place["en_offset"] is None
    assert len(data) == writer.bytes
    assert len(data) % 10240 == 0
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        assert tar.getnames() == ["ab12.tif", "ab12.json"]
        assert tar.extractfile("ab12.json").read() == b"{}"
    again = shards.ShardWriter(io.BytesIO(), "tiff")
    again.add("ab12", {"image": b"x" * 600, "meta": b"{}"})
    assert again.close() == sha256


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


def test_a_pickled_reader_reads(folder):
    reader = shards.ShardReader(shards.ShardIndex.load(folder))
    wanted = reader.read(5, "meta")
    copy = pickle.loads(pickle.dumps(reader))
    assert copy.read(5, "meta") == wanted
    copy.close()
    reader.close()


def test_rows_of_a_split_are_those_of_its_shards(folder):
    index = shards.ShardIndex.load(folder)
    assert len(index.rows("train")) == 12
    assert len(index.rows("val")) == 4
    assert len(index.rows("elsewhere")) == 0
    part = index.take(index.rows("val"))
    assert len(part) == 4
    assert {index.shards[s].split for s in part.shard} == {"val"}
    assert index.labels == ("Effusion", "Nodule")


def test_another_format_is_refused(folder):
    head = json.loads((folder / "index.json").read_text())
    (folder / "index.json").write_text(json.dumps(head | {"format": 1}))
    with pytest.raises(DataError, match="format 1"):
        shards.ShardIndex.load(folder)


def test_an_index_that_is_not_the_one_named_is_refused(folder):
    data = bytearray((folder / "index.parquet").read_bytes())
    data[100] ^= 1
    (folder / "index.parquet").write_bytes(data)
    with pytest.raises(DataError, match="sha256 is"):
        shards.ShardIndex.load(folder)
    (folder / "index.parquet").unlink()
    with pytest.raises(DataError, match="is not whole"):
        shard_verify.verify(folder)


def test_a_shard_cut_short_names_itself_and_the_image(folder):
    index = shards.ShardIndex.load(folder)
    reader = shards.ShardReader(index)
    row = int(index.rows("val")[-1])
    path = folder / index.shards[index.shard[row]].name
    path.write_bytes(path.read_bytes()[:700])
    with pytest.raises(DataError, match=rf"{path.name} is broken at image {index.image_id[row].decode()}"):
        reader.read(row, "meta")
    path.unlink()
    reader.close()
    with pytest.raises(DataError, match="--verify"):
        reader.read(row, "meta")


def test_no_shards_says_what_to_run(tmp_path):
    with pytest.raises(DataError, match="xraytk shard"):
        shards.ShardIndex.load(tmp_path)
