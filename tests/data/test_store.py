from __future__ import annotations

import hashlib
import json
import pickle
import random
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest
from faulty_web import Web, served

from xraytk.data import store as stores
from xraytk.data.cache import CacheConfig, default_folder
from xraytk.data.shard_index import ShardIndex, ShardInfo
from xraytk.data.shard_reader import ShardReader
from xraytk.data.store import CachedStore, open_store, read_index
from xraytk.errors import DataError, MachineError, UsageError

SIZE = 300_000


def content(number: int, size: int = SIZE) -> bytes:
    return random.Random(number).randbytes(size)


def info(number: int, data: bytes) -> ShardInfo:
    sha256 = hashlib.sha256(data).hexdigest()
    return ShardInfo(f"train-{number:06d}.tar", "train", 1, len(data), sha256)


SHARDS = [info(n, content(n)) for n in range(6)]


@pytest.fixture
def web() -> Iterator[Web]:
    with served(Web({f"/shards/{s.name}": content(n) for n, s in enumerate(SHARDS)})) as web:
        yield web


@pytest.fixture
def make(web: Web, tmp_path: Path) -> Iterator[Any]:
    opened: list[CachedStore] = []

    def make(count: float = 6, **settings: Any) -> CachedStore:
        quick = {"wait_s": 0.001, "timeout_s": 0.5, "threads": 2}
        config = CacheConfig(folder=tmp_path / "cache", gb=count * SIZE / 1e9, **{**quick, **settings})
        store = CachedStore(f"{web.url}/shards", SHARDS, config)
        opened.append(store)
        return store

    yield make
    for store in opened:
        store.close()


def there(folder: Path) -> list[int]:
    """Numbers of the shards that are whole in a cache."""
    names = {path.name.partition("-")[2] for path in folder.glob("[!.]*")}
    return [n for n, shard in enumerate(SHARDS) if shard.sha256 in names]


def eventually(true: Any) -> None:
    until = time.monotonic() + 20
    while not true():
        assert time.monotonic() < until
        time.sleep(0.01)


def test_a_local_folder_is_read_in_place(tmp_path: Path) -> None:
    store = open_store(tmp_path, SHARDS)
    assert store.path(1) == tmp_path / SHARDS[1].name


def test_a_shard_is_fetched_once_and_then_found(make: Any, web: Web, tmp_path: Path) -> None:
    for _ in range(2):
        store = make()
        assert [store.path(n).read_bytes() for n in (0, 3, 0)] == [content(0), content(3), content(0)]
    assert web.asked == {"/shards/train-000000.tar": 1, "/shards/train-000003.tar": 1}
    assert (tmp_path / "cache").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("faults", [["drop"], ["wrong"], ["500"], ["503", "429"], ["stall"], ["drop"] * 4])
@pytest.mark.parametrize("ranges", [True, False])
def test_a_fault_that_passes_is_not_seen(make: Any, web: Web, faults: list[str], ranges: bool) -> None:
    web.ranges = ranges
    web.faults["/shards/train-000002.tar"] = list(faults)
    assert make().path(2).read_bytes() == content(2)
    assert not web.faults["/shards/train-000002.tar"]


def test_a_broken_connection_is_taken_up_where_it_ended(make: Any, web: Web) -> None:
    web.faults["/shards/train-000002.tar"] = ["drop"]
    assert make().path(2).read_bytes() == content(2)
    assert web.sent < 1.5 * SIZE  # a drop loses what lay in the buffers of the socket


def test_a_shard_that_is_not_there_is_named_at_once(make: Any, web: Web) -> None:
    del web.files["/shards/train-000004.tar"]
    with pytest.raises(DataError, match=r"127.0.0.1:\d+/shards/train-000004.tar does not exist"):
        make().path(4)
    assert web.asked["/shards/train-000004.tar"] <= 2


def test_a_shard_of_other_content_is_named_with_both_checksums(make: Any, web: Web, tmp_path: Path) -> None:
    web.files["/shards/train-000004.tar"] = content(99)
    with pytest.raises(DataError) as caught:
        make(tries=3).path(4)
    assert "train-000004.tar is not what the index says, fetched 3 times" in str(caught.value)
    assert hashlib.sha256(content(99)).hexdigest()[:12] in str(caught.value)
    assert SHARDS[4].sha256[:12] in str(caught.value)
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [".lock"]


@pytest.mark.parametrize(("size", "said"), [(1000, "1,000 bytes arrived, 300,000"), (400_000, "more than")])
def test_a_shard_of_another_size_is_refused(make: Any, web: Web, size: int, said: str) -> None:
    web.files["/shards/train-000004.tar"] = content(4, 500_000)[:size]
    with pytest.raises(DataError, match=said):
        make(tries=2).path(4)


def test_a_service_that_stays_broken_is_one_error(make: Any, web: Web) -> None:
    web.always["/shards/train-000001.tar"] = "500"
    with pytest.raises(MachineError) as caught:
        make(tries=3).path(1)
    assert "train-000001.tar cannot be fetched, tried 3 times" in str(caught.value)
    assert "ClientResponseError 500" in str(caught.value)
    assert web.asked["/shards/train-000001.tar"] == 3


def test_what_may_not_be_read_is_said_at_once_and_without_the_password(web: Web, tmp_path: Path) -> None:
    web.always["/shards/train-000001.tar"] = "403"
    config = CacheConfig(folder=tmp_path / "cache", tries=3)
    secret = web.url.replace("http://", "http://me:hush@")
    store = CachedStore(f"{secret}/shards?token=hush", SHARDS, config)
    with pytest.raises(MachineError, match=r"train-000001.tar may not be read") as caught:
        store.path(1)
    store.close()
    assert "hush" not in str(caught.value)
    assert web.asked["/shards/train-000001.tar"] == 1


def test_no_service_at_all_is_one_error(tmp_path: Path) -> None:
    config = CacheConfig(folder=tmp_path, tries=2, wait_s=0.001)
    store = CachedStore("http://127.0.0.1:9/shards", SHARDS, config)
    with pytest.raises(MachineError, match="cannot be fetched"):
        store.path(0)


def test_the_shard_used_longest_ago_goes_first_and_the_bound_holds(make: Any, tmp_path: Path) -> None:
    store = make(3)
    for number in (0, 1, 2, 0):  # 1 is now the oldest
        store.path(number)
    store.path(3)
    assert there(tmp_path / "cache") == [0, 2, 3]
    store.path(4)
    assert there(tmp_path / "cache") == [0, 3, 4]
    assert sum(path.stat().st_size for path in (tmp_path / "cache").iterdir()) <= 3 * SIZE


def test_a_smaller_bound_holds_from_the_next_opening_on(make: Any, tmp_path: Path) -> None:
    store = make(6)
    for number in (0, 1, 2, 3):
        store.path(number)
    store.close()
    make(2)
    assert there(tmp_path / "cache") == [2, 3]


def test_a_file_that_is_open_is_read_to_its_end_after_it_was_removed(make: Any, tmp_path: Path) -> None:
    store = make(1)
    with store.path(0).open("rb") as stream:
        store.path(1)
        assert there(tmp_path / "cache") == [1]
        assert stream.read() == content(0)


def test_what_another_thread_is_about_to_open_stays(make: Any, tmp_path: Path) -> None:
    store = make(1)
    thread = threading.Thread(target=store.path, args=(0,))
    thread.start()
    thread.join()
    store.path(1)  # the bound gives way for this moment
    assert there(tmp_path / "cache") == [0, 1]


def test_what_is_wanted_is_fetched_ahead_in_order(make: Any, web: Web, tmp_path: Path) -> None:
    store = make(threads=1)
    store.want([4, 1, 3])
    eventually(lambda: there(tmp_path / "cache") == [1, 3, 4])
    made = sorted((tmp_path / "cache").glob("[!.]*"), key=lambda path: path.stat().st_mtime_ns)
    assert [path.name.partition("-")[2] for path in made] == [SHARDS[n].sha256 for n in (4, 1, 3)]
    store.path(3)
    assert sum(web.asked.values()) == 3


def test_fetching_ahead_removes_nothing_that_is_wanted(make: Any, web: Web, tmp_path: Path) -> None:
    store = make(2)
    store.path(0)
    store.want([0, 1, 2, 3])
    eventually(lambda: there(tmp_path / "cache") == [0, 1])
    time.sleep(0.2)
    assert there(tmp_path / "cache") == [0, 1]
    store.want([1, 2])
    eventually(lambda: there(tmp_path / "cache") == [1, 2])


def test_an_error_ahead_is_raised_where_the_shard_is_asked_for(
    make: Any, web: Web, capfd: pytest.CaptureFixture[str]
) -> None:
    web.always["/shards/train-000001.tar"] = "500"
    store = make(tries=1)
    store.want([1, 2])
    eventually(lambda: web.asked["/shards/train-000002.tar"])
    with pytest.raises(MachineError, match=r"train-000001.tar cannot be fetched"):
        store.path(1)
    web.always.clear()
    assert store.path(1).read_bytes() == content(1)
    assert capfd.readouterr().err == ""


def test_close_ends_what_is_under_way(make: Any, web: Web, tmp_path: Path) -> None:
    web.delay_s = 0.3
    store = make(threads=1)
    store.want(range(6))
    eventually(lambda: sum(web.asked.values()) == 1)
    store.close()
    time.sleep(0.4)
    assert sum(web.asked.values()) == 1
    assert there(tmp_path / "cache") == []


def test_a_cache_smaller_than_a_shard_is_refused_with_the_number_needed(make: Any) -> None:
    with pytest.raises(UsageError, match=r"Set cache.gb to 0.0006 or more"):
        make(0.9)


def test_a_cache_smaller_than_what_is_wanted_is_noted_once(web: Web, tmp_path: Path) -> None:
    said: list[str] = []

    class Notes(stores.Silent):
        def note(self, text: str) -> None:
            said.append(text)

    config = CacheConfig(folder=tmp_path, gb=2 * SIZE / 1e9)
    store = open_store(f"{web.url}/shards", SHARDS, config, Notes())
    for _ in range(2):
        store.want([0, 1, 2])
    store.close()
    assert len(said) == 2
    assert "windows of at most 1 shards (data.window), or set cache.gb to 0.0018" in said[0]
    assert "Set cache.gb to 0.0009 or more" in said[1]


def test_a_copy_of_another_size_is_not_used(make: Any, web: Web, tmp_path: Path) -> None:
    store = make()
    with store.path(0).open("r+b") as stream:
        stream.truncate(1000)
    assert store.path(0).read_bytes() == content(0)
    assert web.asked["/shards/train-000000.tar"] == 2


def test_a_copy_that_proved_broken_is_fetched_anew(make: Any) -> None:
    store = make()
    store.path(0).write_bytes(bytes(SIZE))
    store.forget(0)
    assert store.path(0).read_bytes() == content(0)


def test_a_pickled_store_goes_on_in_its_new_process(make: Any) -> None:
    store = pickle.loads(pickle.dumps(make()))
    assert store.path(5).read_bytes() == content(5)
    store.close()


@pytest.mark.parametrize("kind", ["memory", "file"])
def test_any_url_that_fsspec_reads_will_do(kind: str, tmp_path: Path) -> None:
    url = f"memory://{tmp_path.name}" if kind == "memory" else f"file://{tmp_path}/remote"
    for number, shard in enumerate(SHARDS):
        with fsspec.open(f"{url}/{shard.name}", "wb", auto_mkdir=True) as stream:
            stream.write(content(number))
    store = open_store(url, SHARDS, CacheConfig(folder=tmp_path / "cache"))
    assert store.path(2).read_bytes() == content(2)
    store.close()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of one megabyte."""
    folder = tmp_path / "disk"
    folder.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(words, capture_output=True).returncode:
        pytest.skip("needs the right to mount a tmpfs")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_full_disk_costs_old_copies_and_not_the_run(web: Web, small_disk: Path) -> None:
    store = CachedStore(f"{web.url}/shards", SHARDS, CacheConfig(folder=small_disk / "cache"))
    for number in (0, 1, 2, 3, 4):
        assert store.path(number).read_bytes() == content(number)
    assert there(small_disk / "cache") == [2, 3, 4]
    store.want([4, 3, 2, 1, 0])  # no room without what is wanted sooner
    time.sleep(0.3)
    assert there(small_disk / "cache") == [2, 3, 4]
    store.close()


def test_a_disk_that_others_have_filled_is_one_error(web: Web, small_disk: Path) -> None:
    (small_disk / "other").write_bytes(bytes(900_000))
    store = CachedStore(f"{web.url}/shards", SHARDS, CacheConfig(folder=small_disk / "cache"))
    with pytest.raises(MachineError) as caught:
        store.path(0)
    assert "no space left for a copy of train-000000.tar" in str(caught.value)
    assert "set XRAYTK_CACHE" in str(caught.value)
    assert not sum(web.asked.values())
    (small_disk / "other").unlink()
    assert store.path(0).read_bytes() == content(0)
    store.close()


READ = """
import json, random, sys
from pathlib import Path
from xraytk.data.cache import CacheConfig
from xraytk.data.shard_index import ShardInfo
from xraytk.data.store import CachedStore
url, folder, seed, shards, phases = json.loads(sys.argv[1])
shards = [ShardInfo(*shard) for shard in shards]
rng = random.Random(seed)
for count, reads in phases:
    config = CacheConfig(folder=Path(folder), gb=count * shards[0].bytes / 1e9)
    store = CachedStore(url, shards, config)
    for _ in range(reads):
        number = rng.randrange(6)
        store.want([number, rng.randrange(6)])
        with store.path(number).open("rb") as stream:
            assert stream.read() == random.Random(number).randbytes(shards[0].bytes)
    store.close()
    print("read", flush=True)
    sys.stdin.readline()
"""


def start(web: Web, cache: Path, seed: int, phases: list[tuple[int, int]]) -> subprocess.Popen[str]:
    """Read shards at random in another process, so often from a cache of so many shards."""
    shards = [[s.name, s.split, s.count, s.bytes, s.sha256] for s in SHARDS]
    words = json.dumps([f"{web.url}/shards", str(cache), seed, shards, phases])
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    return subprocess.Popen([sys.executable, "-c", READ, words], **pipes)


def test_processes_share_a_cache_that_holds_all_and_one_that_does_not(web: Web, tmp_path: Path) -> None:
    web.delay_s = 0.05
    readers = [start(web, tmp_path / "cache", seed, [(6, 12), (2, 20)]) for seed in (1, 2)]
    for reader in readers:
        assert reader.stdout is not None
        assert reader.stdin is not None
        assert reader.stdout.readline() == "read\n"
    assert web.asked == {f"/shards/{shard.name}": 1 for shard in SHARDS}
    web.delay_s = 0.0
    for reader in readers:
        reader.communicate("\n\n")
        assert reader.returncode == 0
    assert len(there(tmp_path / "cache")) <= 4  # two, and one that each may be opening at that moment
    assert not list((tmp_path / "cache").glob(".part-*"))


def test_a_process_killed_while_it_fetches_leaves_nothing_that_is_used(
    make: Any, web: Web, tmp_path: Path
) -> None:
    web.delay_s = 1.0
    reader = start(web, tmp_path / "cache", 1, [(6, 30)])
    eventually(lambda: list((tmp_path / "cache").glob(".part-*")) and sum(web.asked.values()))
    reader.kill()
    reader.communicate()
    left = list((tmp_path / "cache").glob(".part-*"))
    assert left
    assert there(tmp_path / "cache") == []
    web.delay_s = 0.0
    store = make()
    assert not list((tmp_path / "cache").glob(".part-*"))
    for number in range(6):
        assert store.path(number).read_bytes() == content(number)


def test_a_thread_waits_for_another_that_fetches_the_same(make: Any, web: Web) -> None:
    web.delay_s = 0.2
    store = make()
    found: list[bytes] = []
    threads = [threading.Thread(target=lambda: found.append(store.path(1).read_bytes())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [content(1)] * 4
    assert web.asked["/shards/train-000001.tar"] == 1


def test_a_cache_folder_that_cannot_be_used_is_one_error(web: Web, tmp_path: Path) -> None:
    (tmp_path / "cache").write_bytes(b"a file")
    store = CachedStore(f"{web.url}/shards", SHARDS, CacheConfig(folder=tmp_path / "cache"))
    with pytest.raises(MachineError, match="cache"):
        store.path(0)
    store.close()


def test_the_cache_lies_where_the_user_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("XRAYTK_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_folder() == tmp_path / "xraytk" / "shards"
    monkeypatch.setenv("XRAYTK_CACHE", str(tmp_path / "fast"))
    assert default_folder() == tmp_path / "fast"


def test_another_user_of_the_same_url_finds_the_same_copies(web: Web, tmp_path: Path) -> None:
    config = CacheConfig(folder=tmp_path)
    with_password = web.url.replace("http://", "http://me:hush@")
    for url in (f"{web.url}/shards", f"{web.url}/shards/", f"{with_password}/shards?token=hush"):
        store = CachedStore(url, SHARDS, config)
        assert store.path(0).read_bytes() == content(0)
        store.close()
    assert web.asked == {"/shards/train-000000.tar": 1}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory, shapes: Any) -> Path:
    """A shards folder of twelve images."""
    work = shapes.write(tmp_path_factory.mktemp("written"), {"train": 8, "val": 4})
    return Path(work) / "shards"


@pytest.fixture
def shards_web(written: Path) -> Iterator[Web]:
    files = {f"/shards/{path.name}": path.read_bytes() for path in written.iterdir() if path.is_file()}
    with served(Web(files)) as web:
        yield web


def test_an_index_is_read_from_a_url_as_from_a_folder(written: Path, shards_web: Web, tmp_path: Path) -> None:
    config = CacheConfig(folder=tmp_path / "cache")
    local = ShardIndex.load(written)
    for _ in range(2):
        index = read_index(f"{shards_web.url}/shards", config)
        assert index.image_id.tolist() == local.image_id.tolist()
        assert index.fingerprint("train") == local.fingerprint("train")
    assert shards_web.asked["/shards/index.parquet"] == 1
    assert shards_web.asked["/shards/index.json"] == 2
    store = open_store(f"{shards_web.url}/shards", index.shards, config)
    here, there = ShardReader(local), ShardReader(index, store)
    for row in range(len(local)):
        for name in ("image", "meta", "zh"):
            assert there.read(row, name) == here.read(row, name)
    there.close()
    assert read_index(written).image_id.tolist() == local.image_id.tolist()


def test_an_index_that_is_missing_broken_or_another_is_one_error(shards_web: Web, tmp_path: Path) -> None:
    config = CacheConfig(folder=tmp_path / "cache", tries=2, wait_s=0.001)
    url = f"{shards_web.url}/shards"
    with pytest.raises(DataError, match=r"nowhere/index.json does not exist"):
        read_index(f"{shards_web.url}/nowhere", config)
    shards_web.always["/shards/index.parquet"] = "wrong"
    with pytest.raises(DataError, match=r"index.parquet is not what the index says"):
        read_index(url, config)
    shards_web.files["/shards/index.json"] = b'{"format": 99}'
    with pytest.raises(DataError, match="holds shards of format 99"):
        read_index(url, config)


def test_an_index_spoilt_on_this_disk_is_fetched_anew(shards_web: Web, tmp_path: Path) -> None:
    config = CacheConfig(folder=tmp_path / "cache")
    url = f"{shards_web.url}/shards"
    wanted = read_index(url, config).image_id.tolist()
    (copy,) = (tmp_path / "cache").glob("[!.]*")
    copy.write_bytes(copy.read_bytes()[:-1])
    assert read_index(url, config).image_id.tolist() == wanted
