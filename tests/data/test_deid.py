from __future__ import annotations

import hashlib
import hmac
import multiprocessing
import stat
from pathlib import Path

import pytest

from xraytk.data.deid import Hasher, hashed, key_path, load_key, split_of
from xraytk.errors import DataError, UsageError

KEY = bytes(range(32))


def _load(path: Path) -> bytes:
    return load_key(path)


def test_a_key_is_made_once_and_only_its_owner_may_read_it(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "key"
    key = load_key(path)
    assert len(key) == 32
    assert load_key(path) == key
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [p.name for p in path.parent.iterdir()] == ["key"]


def test_processes_that_race_for_the_key_all_get_the_same(tmp_path: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        keys = pool.map(_load, [tmp_path / "key"] * 8, chunksize=1)
    assert len(set(keys)) == 1


def test_the_default_place_follows_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XRAYTK_KEY", "/somewhere/k")
    assert key_path() == Path("/somewhere/k")
    monkeypatch.delenv("XRAYTK_KEY")
    monkeypatch.setenv("XDG_CONFIG_HOME", "/cfg")
    assert key_path() == Path("/cfg/xraytk/key")
    monkeypatch.delenv("XDG_CONFIG_HOME")
    assert key_path() == Path.home() / ".config/xraytk/key"
    assert key_path(Path("mine")) == Path("mine")


def test_a_key_inside_the_output_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="inside the output"):
        load_key(tmp_path / "out" / "sub" / "key", outside=tmp_path / "out")
    assert not (tmp_path / "out").exists()
    (tmp_path / "link").symlink_to(tmp_path / "out")
    with pytest.raises(UsageError, match="inside the output"):
        load_key(tmp_path / "link" / "key", outside=tmp_path / "out")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_a_key_that_others_may_read_is_refused(tmp_path: Path, mode: int) -> None:
    load_key(tmp_path / "key")
    (tmp_path / "key").chmod(mode)
    with pytest.raises(DataError, match="chmod 600"):
        load_key(tmp_path / "key")


@pytest.mark.parametrize("text", ["", "secret", "ab" * 31, "zz" * 32, "ab" * 40])
def test_what_is_not_a_key_is_refused_without_being_shown(tmp_path: Path, text: str) -> None:
    path = tmp_path / "key"
    path.write_text(text)
    path.chmod(0o600)
    with pytest.raises(DataError, match="not a key") as caught:
        load_key(path)
    assert not text or text not in str(caught.value)


def test_a_hash_is_the_start_of_an_hmac_sha256() -> None:
    expected = hmac.new(KEY, "patient:张三".encode(), hashlib.sha256).hexdigest()[:16]
    assert hashed(KEY, "patient", "张三") == expected
    assert hashed(KEY, "study", "张三") != expected
    assert hashed(bytes(32), "patient", "张三") != expected
    assert len(hashed(KEY, "source", "broken-\udce9-name")) == 16


def test_splits_follow_the_hash_by_hand() -> None:
    assert split_of("0000000000000000") == "train"
    assert split_of("cccccccccccc0000") == "train"  # just below 0.8
    assert split_of("cccccccccccd0000") == "val"  # just above 0.8
    assert split_of("e666666666670000") == "test"  # just above 0.9
    assert split_of("8000000000000000", (0.5, 0.5, 0.0)) == "val"
    assert split_of("f" * 16, (1.0, 0.0, 0.0)) == "train"


def test_shares_of_the_splits_come_out() -> None:
    splits = [split_of(hashed(KEY, "patient", str(i))) for i in range(5000)]
    assert splits.count("train") / 5000 == pytest.approx(0.8, abs=0.02)
    assert splits.count("val") / 5000 == pytest.approx(0.1, abs=0.015)


def test_a_hasher_gives_what_hashed_gives() -> None:
    for key in (KEY, b"", bytes(64), bytes(65)):
        for value in ("", "a/b", "\udcff", "x" * 200):
            assert Hasher(key, "source")(value) == hashed(key, "source", value)
