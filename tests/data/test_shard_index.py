"""The index of shards: compact, checked, and the same whoever serves it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import ingest_like
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from xraytk import shard
from xraytk.data import shard_index, shards
from xraytk.errors import DataError
from xraytk.records import VIEWS


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    ingest_like.make(tmp_path)
    shard.run(shard.ShardConfig(work=tmp_path, max_samples=3))
    return tmp_path / "shards"


def rewrite(folder: Path, **facts: object) -> None:
    """Change index.json as a faulty writer would: whole, but wrong."""
    head = json.loads((folder / "index.json").read_text()) | facts
    head["head_sha256"] = shard_index.head_sha256(head)
    (folder / "index.json").write_text(json.dumps(head))


def test_rows_of_a_split_are_those_of_its_shards(folder):
    index = shards.ShardIndex.load(folder)
    assert len(index.rows("train")) == 12
    assert len(index.rows("val")) == 4
    assert len(index.rows("elsewhere")) == 0
    part = index.take(index.rows("val"))
    assert len(part) == 4
    assert {index.shards[s].split for s in part.shard} == {"val"}
    assert index.labels == ("Effusion", "Nodule")
    assert (index.codec, index.also_px, index.folder) == ("tiff", 0, folder)


def test_the_index_is_what_the_table_says(folder):
    index, table = shards.ShardIndex.load(folder), pq.read_table(folder / "index.parquet")
    assert [i.decode() for i in index.image_id] == table["image_id"].to_pylist()
    assert [index.shards[s].name for s in index.shard] == table["shard"].to_pylist()
    assert [i.decode() for i in index.patient] == table["patient"].to_pylist()
    assert [i.decode() for i in index.study] == table["study"].to_pylist()
    assert [VIEWS[v] for v in index.view] == table["view"].to_pylist()
    for name, slot in shards.SLOT.items():
        for what, missing in (("offset", -1), ("length", -1), ("crc32", 0)):
            wanted = [missing if v is None else v for v in table[f"{name}_{what}"].to_pylist()]
            assert getattr(index, what)[:, slot].tolist() == wanted


def test_an_index_from_bytes_names_the_place_it_came_from(folder):
    head, table = ((folder / name).read_bytes() for name in ("index.json", "index.parquet"))
    index = shards.ShardIndex.from_bytes(head, table, "https://example.org/shards")
    assert np.array_equal(index.image_id, shards.ShardIndex.load(folder).image_id)
    with pytest.raises(DataError, match=r"https://example.org/shards/index.parquet is not whole"):
        shards.ShardIndex.from_bytes(head, table[:-1], "https://example.org/shards")


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"format": 2}, r"shards of format 2\n.*reads 3\n.*Run `xraytk shard` again"),
        ({"format": 4}, "this version reads 3"),
        ({"codec": "webp"}, "the codec 'webp'"),
        ({"labels": None}, "lacks a usable labels"),
        ({"shards": []}, "broken index"),
        ({"shards": [{"name": "train-000000.tar"}]}, "broken index"),
        ({"index_sha256": "0" * 64}, "sha256 is .* says 000000000000"),
    ],
)
def test_an_index_of_another_version_or_content_is_refused(folder, facts, message):
    rewrite(folder, **facts)
    with pytest.raises(DataError, match=message):
        shards.ShardIndex.load(folder)


@pytest.mark.parametrize(("column", "value"), [("study", None), ("view", "FRONT"), ("view", None)])
def test_a_sample_without_a_study_or_of_no_known_view_is_refused(folder, column, value):
    table = pq.read_table(folder / "index.parquet")
    at = table.schema.get_field_index(column)
    table = table.set_column(at, column, pa.array([value, *table[column].to_pylist()[1:]], pa.string()))
    data = shard_index.index_bytes(table)
    (folder / "index.parquet").write_bytes(data)
    rewrite(folder, index_sha256=hashlib.sha256(data).hexdigest())
    with pytest.raises(DataError, match="broken index"):
        shards.ShardIndex.load(folder)


def test_studies_of_two_patients_with_one_number_are_two(folder):
    assert shard_index.study_of("p1", "s") != shard_index.study_of("p2", "s")
    assert shard_index.study_of("p1", "s") == shard_index.study_of("p1", "s")
    assert len(shard_index.study_of("p1", "s")) == 16


def test_a_flipped_byte_anywhere_in_the_index_is_found(folder):
    rng = np.random.default_rng(0)
    for name in ("index.json", "index.parquet"):
        whole = (folder / name).read_bytes()
        for _ in range(60):
            data = bytearray(whole)
            data[rng.integers(0, len(data) - 2)] ^= 1 << rng.integers(0, 8)
            (folder / name).write_bytes(data)
            try:
                shards.ShardIndex.load(folder)
            except DataError:
                continue
            assert json.loads(data) == json.loads(whole)  # white space between values
        (folder / name).write_bytes(whole)


def test_no_shards_says_what_to_run(tmp_path):
    with pytest.raises(DataError, match="xraytk shard"):
        shards.ShardIndex.load(tmp_path)


def test_a_missing_table_is_refused(folder):
    (folder / "index.parquet").unlink()
    with pytest.raises(DataError, match=r"index.parquet is not whole"):
        shards.ShardIndex.load(folder)


def test_many_row_groups_and_ids_of_many_lengths_come_back(tmp_path):
    count = 70_000  # more than a row group holds
    ids = [f"{i:x}" for i in range(count)]
    columns = {field.name: pa.nulls(count, field.type) for field in shards.INDEX}
    columns |= {
        "image_id": pa.array(ids),
        "split": pa.array(["train"] * count),
        "patient": pa.array([f"{i // 4:x}" for i in range(count)]),
        "study": pa.array([f"{i // 2:x}" for i in range(count)]),
        "view": pa.array(["PA", "LATERAL"] * (count // 2)),
        "shard": pa.array([f"train-{i // 40_000:06d}.tar" for i in range(count)]),
        "meta_offset": pa.array(range(count), pa.int64()),
        "meta_length": pa.array([7] * count, pa.int32()),
        "meta_crc32": pa.array([2**32 - 1] * count, pa.uint32()),
    }
    table = shard_index.index_bytes(pa.table(columns, schema=shards.INDEX))
    assert table == shard_index.index_bytes(pa.table(columns, schema=shards.INDEX))
    head = {
        "format": 3,
        "codec": "tiff",
        "also_px": 0,
        "labels": [],
        "counts": {"train": count},
        "shards": [
            {"name": f"train-{i:06d}.tar", "split": "train", "count": n, "bytes": 1, "sha256": ""}
            for i, n in enumerate((40_000, 30_000))
        ],
        "index_sha256": hashlib.sha256(table).hexdigest(),
    }
    head["head_sha256"] = shard_index.head_sha256(head)
    index = shards.ShardIndex.from_bytes(json.dumps(head).encode(), table, "here")
    assert [i.decode() for i in index.image_id] == ids
    assert np.array_equal(index.study[::2], index.study[1::2])
    assert len(set(index.study.tolist())) == count // 2
    assert [VIEWS[v] for v in index.view[-2:]] == ["PA", "LATERAL"]
    meta = shards.SLOT["meta"]
    assert index.offset[:, meta].tolist() == list(range(count))
    assert set(index.crc32[:, meta].tolist()) == {2**32 - 1}
    assert set(index.length[:, shards.SLOT["image"]].tolist()) == {-1}
    assert np.bincount(index.shard).tolist() == [40_000, 30_000]
