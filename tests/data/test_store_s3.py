"""Shards on object storage, on a local S3 server."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from xraytk.data.cache import CacheConfig
from xraytk.data.shard_index import ShardIndex
from xraytk.data.shard_reader import ShardReader
from xraytk.data.store import open_store, read_index
from xraytk.errors import DataError

moto = pytest.importorskip("moto.server", reason="needs a local S3 server: pip install 'moto[server]' s3fs")
pytest.importorskip("s3fs", reason="needs the extra: pip install 'xraytk[s3]'")
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    import fsspec

    server = moto.ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    for name, value in (
        ("AWS_ENDPOINT_URL", f"http://{host}:{port}"),
        ("AWS_ACCESS_KEY_ID", "test"),
        ("AWS_SECRET_ACCESS_KEY", "test"),
        ("AWS_DEFAULT_REGION", "us-east-1"),
    ):
        monkeypatch.setenv(name, value)
    fsspec.filesystem("s3", skip_instance_cache=True).mkdir("archive")
    yield "s3://archive"
    server.stop()


def test_object_storage_gives_what_a_folder_gives(bucket: str, tmp_path: Path, shapes: Any) -> None:
    import fsspec

    folder = shapes.write(tmp_path, {"train": 8, "val": 4}) / "shards"
    system = fsspec.filesystem("s3", skip_instance_cache=True)
    for path in folder.iterdir():
        if path.is_file():
            system.put_file(str(path), f"archive/shards/{path.name}")
    config = CacheConfig(folder=tmp_path / "cache", tries=2, wait_s=0.01)
    local, index = ShardIndex.load(folder), read_index(f"{bucket}/shards", config)
    assert index.fingerprint("train") == local.fingerprint("train")
    store = open_store(f"{bucket}/shards", index.shards, config)
    store.want(range(len(index.shards)))
    here, there = ShardReader(local), ShardReader(index, store)
    for row in range(len(local)):
        assert there.read(row, "image") == here.read(row, "image")
    there.close()
    copies = {path.name[13:] for path in (tmp_path / "cache").glob("[!.]*")}
    assert {shard.sha256 for shard in local.shards} <= copies

    name = local.shards[0].name
    system.pipe_file(f"archive/shards/{name}", bytes(local.shards[0].bytes))
    store = open_store(f"{bucket}/shards", index.shards, CacheConfig(folder=tmp_path / "x", tries=2))
    with pytest.raises(DataError, match=hashlib.sha256(bytes(local.shards[0].bytes)).hexdigest()[:12]):
        store.path(0)
    system.rm_file(f"archive/shards/{name}")
    with pytest.raises(DataError, match=f"s3://archive/shards/{name} does not exist"):
        store.path(0)
    store.close()
