"""The verb `shard`, on a folder like the one that ingest leaves."""

from __future__ import annotations

import gc
import json
import signal
import subprocess
import sys
import tarfile
import warnings
from pathlib import Path

import ingest_like
import numpy as np
import pytest
import webdataset

from xraytk import shard
from xraytk.data import shards
from xraytk.data.pictures import to_8bit
from xraytk.errors import DataError, RunConflictError, UsageError
from xraytk.files import folder_lock, sha256_of


class Notes:
    """A progress that keeps its notes."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def task(self, name, total, unit="images"):
        return shard.Silent().task(name, total, unit)

    def note(self, text: str) -> None:
        self.lines.append(text)


def run(work: Path, **config) -> shard.ShardResult:
    return shard.run(shard.ShardConfig(work=work, **config))


def tree(folder: Path) -> dict[str, str]:
    """SHA-256 of all that a reader of shards sees."""
    return {p.name: sha256_of(p) for p in sorted(folder.iterdir()) if p.is_file() and p.name != ".lock"}


def test_the_webdataset_package_reads_every_field(tmp_path):
    ids = ingest_like.make(tmp_path)
    result = run(tmp_path, max_samples=4)
    assert result.samples == {"train": 12, "val": 4, "test": 4}
    assert result.shards == 5
    tars = sorted(str(p) for p in (tmp_path / "shards").glob("*.tar"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # webdataset leaves its files open
        seen = {s["__key__"]: s for s in webdataset.WebDataset(tars, shardshuffle=False, empty_check=False)}
        gc.collect()
    assert sorted(seen) == sorted(ids)
    for i, name in enumerate(ids):
        sample = seen[name]
        image = shards.decode(sample["tif"], "tiff")
        assert np.array_equal(image, to_8bit(ingest_like.picture(i)))
        assert sample["en.txt"].decode() == f"Report {i}."
        assert ("zh.txt" in sample) == bool(i % 2)
        labels = json.loads(sample["labels.json"])
        assert labels == ({"Effusion": 1, "Nodule": 1} if i % 2 else {"Nodule": 0})
        contour = json.loads(sample["contour.json"])
        assert contour["status"] == ("failed" if i % 5 == 4 else "ok")
        assert contour["grid"] == [2, 2]
        assert contour["lung_share"] == [0.1, 0.2, 0.3, 0.4]
        assert contour["polygons"] == ([] if i % 5 == 4 else [{"name": "right", **ingest_like.BOX}])
        meta = json.loads(sample["json"])
        assert (meta["patient_hash"], meta["spacing_x_mm"]) == (name[::-1], 0.14)


def test_members_come_in_a_fixed_order_and_without_a_trace_of_the_source(tmp_path):
    ingest_like.make(tmp_path, 2)
    run(tmp_path)
    path = tmp_path / "shards/train-000000.tar"
    with tarfile.open(path) as tar:
        infos = tar.getmembers()
    assert [i.name.split(".", 1)[1] for i in infos[:5]] == [
        "tif",
        "contour.json",
        "en.txt",
        *(["labels.json", "json"] if "zh" not in infos[3].name else ["zh.txt", "labels.json"]),
    ]
    assert {(i.mtime, i.uid, i.gid, i.mode) for i in infos} == {(0, 0, 0, 0o644)}
    data = path.read_bytes()
    assert b"5ec4e7" not in data
    assert b"50c4ce" not in data
    assert b"images/" not in data


def test_the_number_of_workers_changes_no_byte(tmp_path):
    ingest_like.make(tmp_path)
    run(tmp_path, out=tmp_path / "one", workers=1, max_samples=5)
    run(tmp_path, out=tmp_path / "two", workers=2, max_samples=5)
    assert tree(tmp_path / "one") == tree(tmp_path / "two")


DEADLY = """
import os, signal, sys
from pathlib import Path
from xraytk import shard
from xraytk.progress import Silent

class Deadly(Silent):
    def task(self, name, total, unit="images"):
        task = super().task(name, total, unit)
        task.update = lambda done, **facts: done == int(sys.argv[2]) and os.kill(os.getpid(), signal.SIGKILL)
        return task

shard.run(shard.ShardConfig(work=Path(sys.argv[1]), max_samples=5), Deadly())
"""


def test_killed_again_and_again_it_goes_on_to_the_same_bytes(tmp_path):
    ingest_like.make(tmp_path, 30, splits=["train"])
    run(tmp_path, out=tmp_path / "whole", max_samples=5)
    for image in (3, 13, 25):  # before the shard of the image takes its name
        done = subprocess.run([sys.executable, "-c", DEADLY, str(tmp_path), str(image)], check=False)
        assert done.returncode == -signal.SIGKILL
        assert not (tmp_path / "shards/index.json").exists()
        assert len(list((tmp_path / "shards").glob("train-*.tar"))) == (image - 1) // 5
    assert run(tmp_path, max_samples=5).kept == 4
    assert list((tmp_path / "shards").glob(".tmp-*")) == []
    assert tree(tmp_path / "shards") == tree(tmp_path / "whole")


def test_a_second_run_keeps_all_and_a_new_report_rewrites_one_shard(tmp_path):
    ids = ingest_like.make(tmp_path)
    run(tmp_path, max_samples=4)
    before = tree(tmp_path / "shards")
    assert run(tmp_path, max_samples=4).kept == 5
    assert tree(tmp_path / "shards") == before
    texts = {name: f"Report {i}." for i, name in enumerate(ids)} | {ids[0]: "Another text."}
    ingest_like.reports(tmp_path, texts)
    assert run(tmp_path, max_samples=4).kept == 4
    after = tree(tmp_path / "shards")
    assert sum(after[k] != before[k] for k in before if k.endswith(".tar")) == 1


def test_shards_of_an_older_run_are_removed(tmp_path):
    ingest_like.make(tmp_path)
    run(tmp_path, max_samples=4)
    run(tmp_path, max_samples=100)
    assert sorted(p.name for p in (tmp_path / "shards").glob("*.tar")) == [
        "test-000000.tar",
        "train-000000.tar",
        "val-000000.tar",
    ]
    assert len(list((tmp_path / "shards/parts").glob("*.parquet"))) == 3
    run(tmp_path, verify=True)


def test_a_missing_and_a_broken_image_are_counted_not_fatal(tmp_path, capfd):
    ids = ingest_like.make(tmp_path)
    paths = [tmp_path / f"ingest/images/{name[:2]}/{name}.png" for name in ids]
    paths[0].unlink()
    paths[1].write_bytes(paths[1].read_bytes()[:900])
    paths[2].write_bytes(b"")
    result = run(tmp_path)
    assert result.skipped == {"image_broken": 2, "image_missing": 1}
    assert sum(result.samples.values()) == 17
    assert run(tmp_path).skipped == result.skipped  # kept shards remember
    assert capfd.readouterr() == ("", "")


def test_a_shard_with_no_usable_image_is_left_out(tmp_path):
    ids = ingest_like.make(tmp_path, 5)
    for name in ids[:3]:
        (tmp_path / f"ingest/images/{name[:2]}/{name}.png").unlink()
    result = run(tmp_path)
    assert result.samples == {"val": 1, "test": 1}
    assert result.shards == 2
    assert run(tmp_path).kept == 3


def test_nothing_usable_is_an_error(tmp_path):
    ids = ingest_like.make(tmp_path, 3)
    for name in ids:
        (tmp_path / f"ingest/images/{name[:2]}/{name}.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match="3 image_broken"):
        run(tmp_path)
    assert not (tmp_path / "shards/index.json").exists()


def test_only_the_wanted_views_are_kept(tmp_path):
    ingest_like.make(tmp_path, views=("PA", "LATERAL"))
    result = run(tmp_path)
    assert result.skipped == {"view": 10}
    assert sum(result.samples.values()) == 10
    with pytest.raises(DataError, match="20 images are of other views than AP"):
        run(tmp_path, views=("AP",))


def test_shards_can_be_made_without_contours_reports_and_labels(tmp_path):
    ingest_like.make(tmp_path, 5, contours=False, sides=False)
    notes = Notes()
    shard.run(shard.ShardConfig(work=tmp_path), notes)
    assert notes.lines == ["no lung contours: the shards go without (run `xraytk mask` to have them)"]
    assert shards.ShardIndex.load(tmp_path / "shards").labels == ()
    with pytest.raises(DataError, match="does not exist"):
        run(tmp_path, masks=tmp_path / "masks")


def test_contours_of_other_images_are_refused(tmp_path):
    ids = ingest_like.make(tmp_path, 3)
    ingest_like.write_contours(tmp_path, [{"image_id": ids[0], "width": 10, "height": 90}])
    with pytest.raises(DataError, match=f"width of {ids[0]} differs"):
        run(tmp_path)


def test_verify_finds_one_flipped_bit_and_names_the_shard(tmp_path):
    ingest_like.make(tmp_path)
    run(tmp_path)
    assert run(tmp_path, verify=True).samples == {"train": 12, "val": 4, "test": 4}
    path = tmp_path / "shards/val-000000.tar"
    data = bytearray(path.read_bytes())
    data[2000] ^= 1
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"val-000000.tar: sha256 is \w{12}\.\.\., wanted is \w{12}"):
        run(tmp_path, verify=True)
    path.unlink()
    with pytest.raises(DataError, match=r"val-000000.tar does not exist"):
        run(tmp_path, verify=True)
    assert run(tmp_path).kept == 2
    run(tmp_path, verify=True)


def test_no_ingest_folder_says_what_to_run(tmp_path):
    with pytest.raises(DataError, match="xraytk ingest"):
        run(tmp_path)


def test_a_folder_in_use_is_refused(tmp_path):
    ingest_like.make(tmp_path, 5)
    with folder_lock(tmp_path / "shards"), pytest.raises(RunConflictError):
        run(tmp_path)


@pytest.mark.parametrize("wrong", [{"max_samples": 0}, {"workers": -1}, {"views": ("FRONT",)}])
def test_values_out_of_range_are_refused_by_name(wrong):
    with pytest.raises(UsageError, match=next(iter(wrong))):
        shard.ShardConfig(**wrong)


def test_the_verb_needs_no_torch():
    code = "import sys, xraytk.shard; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
