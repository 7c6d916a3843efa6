"""`xraytk shard --verify` and `--repair`, on every kind of damage."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import ingest_like
import pytest

from xraytk import shard
from xraytk.data import shards
from xraytk.errors import DataError, UsageError
from xraytk.files import sha256_of
from xraytk.progress import Silent


class Notes(Silent):
    """A progress that keeps its notes."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def note(self, text: str) -> None:
        self.lines.append(text)


def run(work: Path, progress: Silent | None = None, **config) -> shard.ShardResult:
    return shard.run(shard.ShardConfig(work=work, **config), progress)


def tree(folder: Path) -> dict[str, str]:
    return {str(p.relative_to(folder)): sha256_of(p) for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """20 images in 8 shards, one image of which is broken."""
    ids = ingest_like.make(tmp_path)
    (tmp_path / f"ingest/images/{ids[7][:2]}/{ids[7]}.png").write_bytes(b"")
    run(tmp_path, max_samples=3, also_px=32, codec="jpeg")
    return tmp_path


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 4
    path.write_bytes(data)


def cut(path: Path, at: int) -> None:
    path.write_bytes(path.read_bytes()[:at])


def append(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"x")


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "a flipped byte": (
        lambda out: flip(out / "val-000000.tar", 2000),
        r"val-000000.tar: .* broken: \w{16} of 3",
    ),
    "a flipped byte of a header": (lambda out: flip(out / "val-000000.tar", 110), "no image is broken"),
    "a truncated shard": (
        lambda out: cut(out / "train-000001.tar", 9000),
        r"train-000001.tar has 9000 bytes",
    ),
    "an empty shard": (lambda out: cut(out / "test-000001.tar", 0), r"test-000001.tar has 0 bytes"),
    "a missing shard": (lambda out: (out / "test-000000.tar").unlink(), r"test-000000.tar does not exist"),
    "a longer shard": (lambda out: append(out / "test-000000.tar"), "no image is broken"),
    "no index.json": (lambda out: (out / "index.json").unlink(), "index.json does not exist"),
    "a cut index.json": (lambda out: cut(out / "index.json", 200), "index.json cannot be read"),
    "a changed index.json": (lambda out: flip(out / "index.json", 170), "index.json"),
    "no index.parquet": (lambda out: (out / "index.parquet").unlink(), "index.parquet is not whole"),
    "a flipped byte of the table": (
        lambda out: flip(out / "index.parquet", 99),
        "index.parquet is not whole",
    ),
    "a strange tar": (lambda out: (out / "old.tar").write_bytes(b"x"), "old.tar is not in the index"),
}


@pytest.mark.parametrize("harm", DAMAGE)
def test_damage_is_named_and_mended_to_the_same_bytes(work, harm):
    out = work / "shards"
    before = tree(out)
    damage, message = DAMAGE[harm]
    damage(out)
    harmed = tree(out)
    with pytest.raises(DataError, match=message) as caught:
        run(work, verify=True)
    assert caught.match("--repair")
    assert tree(out) == harmed  # verify writes nothing
    result = run(work, repair=True)
    assert result.kept == (7 if "shard" in harm or ("flipped byte" in harm and "table" not in harm) else 8)
    assert result.changed == 0
    assert result.skipped == {"image_broken": 1}
    assert tree(out) == before
    run(work, verify=True)


def test_all_problems_are_listed_at_once(work):
    out = work / "shards"
    for name in ("no index.json", "a truncated shard", "a missing shard", "a flipped byte"):
        DAMAGE[name][0](out)
    with pytest.raises(DataError, match="4 problems, 8 shards") as caught:
        run(work, verify=True)
    for word in (
        "index.json does not exist",
        "train-000001.tar has",
        "test-000000.tar does",
        "val-000000.tar:",
    ):
        assert caught.match(word)
    assert run(work, repair=True).kept == 5
    run(work, verify=True)


def test_repair_of_what_is_whole_writes_nothing(work):
    out = work / "shards"
    times = {p: p.stat().st_mtime_ns for p in out.rglob("*")}
    result = run(work, repair=True)
    assert (result.kept, result.samples) == (8, {"train": 11, "val": 4, "test": 4})
    assert times == {p: p.stat().st_mtime_ns for p in out.rglob("*")}


def test_repair_touches_no_whole_shard_and_a_run_after_it_keeps_all(work):
    out = work / "shards"
    times = {p: p.stat().st_mtime_ns for p in out.glob("*.tar")}
    DAMAGE["a truncated shard"][0](out)
    run(work, repair=True)
    changed = {p.name for p in out.glob("*.tar") if p.stat().st_mtime_ns != times[p]}
    assert changed == {"train-000001.tar"}
    assert run(work, max_samples=3, also_px=32, codec="jpeg").kept == 8


def test_repair_says_when_the_input_has_changed_since(work):
    out = work / "shards"
    ids = [ingest_like.image_id(i) for i in range(20)]
    ingest_like.reports(work, dict.fromkeys(ids, "Another text."))
    DAMAGE["a missing shard"][0](out)
    notes = Notes()
    result = run(work, notes, repair=True)
    assert result.changed == 1
    assert notes.lines == [
        "test-000000.tar is whole again, but other than it was: its input has changed since"
    ]
    run(work, verify=True)
    reader = shards.ShardReader(shards.ShardIndex.load(out))
    texts = [reader.read(row, "en") for row in range(len(reader.index))]
    assert texts.count(b"Another text.") == 3
    reader.close()
    assert run(work, max_samples=3, also_px=32, codec="jpeg").kept == 1  # the one just written


def test_new_images_in_the_ingest_folder_do_not_move_those_of_a_mended_shard(work):
    out = work / "shards"
    before = tree(out)
    ids = ingest_like.make(work, 40)
    (work / f"ingest/images/{ids[7][:2]}/{ids[7]}.png").write_bytes(b"")
    DAMAGE["a truncated shard"][0](out)
    assert run(work, repair=True).changed == 0
    assert tree(out) == before


def test_images_that_are_gone_are_named_and_the_other_shards_are_mended(work):
    out = work / "shards"
    DAMAGE["a truncated shard"][0](out)
    DAMAGE["a missing shard"][0](out)
    index = shards.ShardIndex.load(out)
    shard_of = [s.name for s in index.shards].index("train-000001.tar")
    gone = index.image_id[list(index.shard).index(shard_of)].decode()
    (work / f"ingest/images/{gone[:2]}/{gone}.png").unlink()
    with pytest.raises(DataError, match="1 of 2 broken shards") as caught:
        run(work, repair=True)
    assert caught.match(f"train-000001.tar needs image {gone}: image_missing")
    assert caught.match("xraytk shard")
    with pytest.raises(DataError, match="1 problem"):
        run(work, verify=True)
    assert run(work, max_samples=3, also_px=32, codec="jpeg").skipped == {
        "image_broken": 1,
        "image_missing": 1,
    }
    run(work, verify=True)


def test_images_that_left_the_manifest_are_counted(work):
    DAMAGE["a missing shard"][0](work / "shards")
    ingest_like.make(work, 10)
    with pytest.raises(DataError, match=r"test-000000.tar: \d of its 3 images are no longer in"):
        run(work, repair=True)


def test_an_index_that_cannot_be_made_again_says_what_to_run(work):
    out = work / "shards"
    (out / "index.json").unlink()
    part = out / "parts/val-000000.parquet"
    whole = part.read_bytes()
    cut(part, 100)
    with pytest.raises(DataError, match="the parts of 1 of 8 shards are missing") as caught:
        run(work, repair=True)
    assert caught.match("Run `xraytk shard` again")
    part.write_bytes(whole)
    (out / "parts/order.json").unlink()
    with pytest.raises(DataError, match="neither a whole index nor parts"):
        run(work, repair=True)
    assert run(work, max_samples=3, also_px=32, codec="jpeg").kept == 8


def test_shards_without_their_parts_are_verified_and_mended(work):
    out = work / "shards"
    before = {name: sha for name, sha in tree(out).items() if not name.startswith("parts")}
    for path in (out / "parts").iterdir():
        path.unlink()
    run(work, verify=True)
    DAMAGE["a flipped byte"][0](out)
    assert run(work, repair=True).kept == 7
    assert {name: sha for name, sha in tree(out).items() if not name.startswith("parts")} == before


def test_a_half_written_folder_is_not_taken_for_a_whole_one(work):
    """Parts of two runs with other settings never become one index."""
    out = work / "shards"
    killer = (
        "import os, signal, sys; from pathlib import Path; from xraytk import shard;"
        "from xraytk.progress import Silent\n"
        "class Deadly(Silent):\n"
        "    def task(self, name, total, unit='images'):\n"
        "        task = super().task(name, total, unit)\n"
        "        task.update = lambda done, **_: done == 8 and os.kill(os.getpid(), signal.SIGKILL)\n"
        "        return task\n"
        "shard.run(shard.ShardConfig(work=Path(sys.argv[1]), max_samples=3), Deadly())\n"
    )
    subprocess.run([sys.executable, "-c", killer, str(work)], check=False, env=os.environ)
    with pytest.raises(DataError, match="never finished, or it was lost"):
        run(work, verify=True)
    with pytest.raises(DataError, match="neither a whole index nor parts"):
        run(work, repair=True)
    run(work, max_samples=3)
    assert shards.ShardIndex.load(out).codec == "tiff"
    run(work, verify=True)


def test_killed_at_any_rename_it_goes_on_to_the_same_files(tmp_path):
    ingest_like.make(tmp_path, 6, splits=["train"])
    script = Path(__file__).with_name("killed_shard.py")
    done = subprocess.run(
        [sys.executable, script, str(tmp_path)], check=True, capture_output=True, text=True, timeout=300
    )
    lines = [line.split() for line in done.stdout.splitlines()]
    assert len(lines) == 2 * 8  # 2 shards and 2 parts, order, skipped, index.parquet, index.json
    assert all(line[3] == "True" for line in lines)
    assert [line[2] for line in lines] == ["False"] * 15 + ["True"]  # the index comes last


def test_no_shards_at_all_says_what_to_run_first(tmp_path):
    for what in ("verify", "repair"):
        with pytest.raises(DataError, match="Run `xraytk shard` first"):
            run(tmp_path, **{what: True})


def test_shards_of_another_version_are_neither_verified_nor_mended(work):
    (work / "shards/index.json").write_text('{"format": 1}')
    for what in ("verify", "repair"):
        with pytest.raises(DataError, match="shards of format 1"):
            run(work, **{what: True})
    run(work, max_samples=3)
    run(work, verify=True)


def test_verify_and_repair_exclude_each_other():
    with pytest.raises(UsageError, match="exclude"):
        shard.ShardConfig(verify=True, repair=True)
