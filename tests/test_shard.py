"""The verb `shard`, on a folder like the one that ingest leaves."""

from __future__ import annotations

import gc
import json
import shutil
import signal
import subprocess
import sys
import tarfile
import warnings
from pathlib import Path
from typing import Any

import cv2
import imagecodecs
import ingest_like
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from xraytk import shard
from xraytk.data import manifest, shards
from xraytk.data.pictures import to_8bit
from xraytk.errors import DataError, RunConflictError, UsageError
from xraytk.files import folder_lock, sha256_of
from xraytk.records import VIEWS


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


def by_webdataset(*tars: Path, decode: Any = None) -> dict[str, dict[str, Any]]:
    """What the webdataset package makes of tars: samples by their key."""
    webdataset = pytest.importorskip("webdataset", reason="needs the webdataset package")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # webdataset leaves its files open
        data = webdataset.WebDataset(sorted(map(str, tars)), shardshuffle=False, empty_check=False)
        seen = {sample["__key__"]: sample for sample in (data.decode(decode) if decode else data)}
        gc.collect()
    return seen


def test_the_webdataset_package_reads_every_field(tmp_path):
    ids = ingest_like.make(tmp_path)
    result = run(tmp_path, max_samples=4)
    assert result.samples == {"train": 12, "val": 4, "test": 4}
    assert result.shards == 5
    seen = by_webdataset(*(tmp_path / "shards").glob("*.tar"))
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
        assert contour["polygons"] == ([] if i % 5 == 4 else [{"name": "right_lung", **ingest_like.BOX}])
        assert contour["others"] == ([] if i % 5 == 4 else [{"name": "right_clear", **ingest_like.BOX}])
        assert contour["confidence"] == (None if i % 5 == 4 else 0.97)
        assert (contour["source"], contour["checked"]) == ("net", "")
        meta = json.loads(sample["json"])
        assert (meta["patient_hash"], meta["spacing_x_mm"]) == (name[::-1], 0.14)
        assert (meta["view"], meta["spacing_kind"]) == ("PA", "detector")


@pytest.mark.parametrize("codec", shards.CODECS)
def test_every_codec_and_a_second_resolution_are_read_by_webdataset(tmp_path, codec):
    ids = ingest_like.make(tmp_path, 4, splits=["train"])
    run(tmp_path, codec=codec, also_px=45)
    ending = shards.CODECS[codec].ending
    seen = by_webdataset(tmp_path / "shards/train-000000.tar")
    for i, name in enumerate(ids):
        whole = ingest_like.picture(i)
        size = (36, 45) if i % 2 == 0 else (45, 30)  # width, height
        small = cv2.resize(whole, size, interpolation=cv2.INTER_AREA)
        for field, wanted in ((ending, whole), (f"small.{ending}", small)):
            found = shards.decode(seen[name][field], codec, wanted.shape)
            if codec == "jpeg":
                assert np.abs(found.astype(int) - to_8bit(wanted)).mean() < 6  # noise, at its worst
            else:
                assert np.array_equal(found, wanted if codec == "tiff16" else to_8bit(wanted))
        meta = json.loads(seen[name]["json"])
        assert (meta["small_width"], meta["small_height"]) == size
        assert meta["small_spacing_x_mm"] == round(0.14 * whole.shape[1] / size[0], 6)
        assert meta["small_spacing_y_mm"] is None
    index = shards.ShardIndex.load(tmp_path / "shards")
    assert (index.codec, index.also_px) == (codec, 45)


def test_webdataset_decodes_the_images_with_one_line_more(tmp_path):
    ids = ingest_like.make(tmp_path, 2, splits=["train"])
    run(tmp_path)
    webdataset = pytest.importorskip("webdataset", reason="needs the webdataset package")
    read = webdataset.handle_extension("tif", imagecodecs.tiff_decode)
    seen = by_webdataset(tmp_path / "shards/train-000000.tar", decode=read)
    for i, name in enumerate(ids):
        assert np.array_equal(seen[name]["tif"], to_8bit(ingest_like.picture(i)))
        assert seen[name]["json"]["image_id"] == name


def test_a_small_image_is_not_enlarged(tmp_path):
    ingest_like.make(tmp_path, 1, splits=["train"])
    run(tmp_path, also_px=512)
    reader = shards.ShardReader(shards.ShardIndex.load(tmp_path / "shards"))
    assert np.array_equal(reader.image(0, "small"), reader.image(0))
    meta = json.loads(reader.read(0, "meta"))
    assert (meta["small_height"], meta["small_spacing_x_mm"]) == (90, 0.14)
    reader.close()


def test_the_tar_command_lists_the_members(tmp_path):
    ids = ingest_like.make(tmp_path, 2, splits=["train"], contours=False)
    run(tmp_path, also_px=20)
    tar = tmp_path / "shards/train-000000.tar"
    if shutil.which("tar") is None:
        pytest.skip("needs the tar command")
    listed = subprocess.run(["tar", "tf", tar], check=True, capture_output=True, text=True).stdout.split()
    first, second = ids  # by study
    zh = [f"{n}.zh.txt" for n in ids[1:]]
    wanted = [
        f"{name}.{end}"
        for name in (first, second)
        for end in ("tif", "small.tif", "en.txt", "zh.txt", "labels.json", "json")
    ]
    assert listed == [name for name in wanted if not name.endswith("zh.txt") or name in zh]


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
    table = pq.read_table(tmp_path / "shards/skipped.parquet").to_pylist()
    assert {row["image_id"]: row["reason"] for row in table} == {
        ids[0]: "image_missing",
        ids[1]: "image_broken",
        ids[2]: "image_broken",
    }
    assert {(row["split"], row["shard"]) for row in table} == {("train", "train-000000.tar")}
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


def selection(path: Path, keep: dict[str, bool]) -> Path:
    pq.write_table(pa.table({"image_id": list(keep), "keep": list(keep.values())}), path)
    return path


def test_only_selected_images_go_in_and_another_selection_rewrites_what_it_must(tmp_path):
    ids = ingest_like.make(tmp_path, 12, splits=["train"])  # by study
    some = selection(tmp_path / "some.parquet", {name: i % 2 == 0 for i, name in enumerate(ids[:10])})
    result = run(tmp_path, select=some, max_samples=2)
    assert result.skipped == {"unselected": 7}  # five say no, two are not in the table
    index = shards.ShardIndex.load(tmp_path / "shards")
    assert [name.decode() for name in index.image_id] == ids[0:10:2]
    other = selection(tmp_path / "other.parquet", dict.fromkeys([*ids[0:8:2], ids[11]], True))
    result = run(tmp_path, select=other, max_samples=2)
    assert (result.kept, result.shards) == (2, 3)  # the first four are the same
    assert run(tmp_path, max_samples=2).samples == {"train": 12}


def test_the_images_of_a_study_lie_beside_each_other_in_one_shard(tmp_path):
    ids = ingest_like.make(tmp_path, 16, in_study=2, views=("PA", "LATERAL"))
    result = run(tmp_path, max_samples=3, views=("PA", "LATERAL"))
    index = shards.ShardIndex.load(tmp_path / "shards")
    assert result.samples == {"train": 12, "val": 2, "test": 2}
    assert [s.count for s in index.shards] == [2] * 8  # three would cut a study
    for row in range(0, 16, 2):
        pair = slice(row, row + 2)
        names = [name.decode() for name in index.image_id[pair]]
        assert names == sorted(names)
        assert ids.index(names[0]) // 2 == ids.index(names[1]) // 2
        assert len(set(index.study[pair])) == 1
        assert [VIEWS[v] for v in index.view[pair]] == [("PA", "LATERAL")[ids.index(n) % 2] for n in names]
    assert len(set(index.study.tolist())) == 8


def test_a_study_of_more_images_than_a_shard_holds_is_cut(tmp_path):
    ingest_like.make(tmp_path, 7, in_study=5, splits=["train"])
    run(tmp_path, max_samples=4)
    index = shards.ShardIndex.load(tmp_path / "shards")
    assert [s.count for s in index.shards] == [4, 3]  # the rest of the first goes with the second


def test_one_number_for_the_studies_of_all_patients_makes_no_study_of_two_patients(tmp_path):
    ingest_like.make(tmp_path, 4, splits=["train"])
    path = tmp_path / "ingest/manifest/part-00000.parquet"
    rows = [{**row, "study_hash": "same"} for row in pq.read_table(path).to_pylist()]
    manifest.write_table(path, manifest.MANIFEST, rows)
    run(tmp_path)
    assert len(set(shards.ShardIndex.load(tmp_path / "shards").study.tolist())) == 4


def test_a_mended_shard_of_a_selection_needs_the_selection_no_more(tmp_path):
    ids = ingest_like.make(tmp_path, 8, splits=["train"])
    some = selection(tmp_path / "some.parquet", dict.fromkeys(ids[::2], True))
    run(tmp_path, select=some, max_samples=2)
    before = tree(tmp_path / "shards")
    (tmp_path / "shards/train-000001.tar").unlink()
    some.unlink()
    run(tmp_path, repair=True)
    assert tree(tmp_path / "shards") == before


def test_a_selection_that_does_not_fit_is_refused(tmp_path):
    ids = ingest_like.make(tmp_path, 4)
    strange = selection(tmp_path / "a.parquet", dict.fromkeys([ids[0], "b" * 16, "c" * 16], True))
    with pytest.raises(DataError, match="2 of the 3 ids that it keeps are not among the 4 ingested images"):
        run(tmp_path, select=strange)
    none = selection(tmp_path / "b.parquet", dict.fromkeys(ids, False))
    with pytest.raises(DataError, match="keeps no image"):
        run(tmp_path, select=none)
    pq.write_table(pa.table({"image_id": ids}), tmp_path / "c.parquet")
    with pytest.raises(DataError, match="not a selection"):
        run(tmp_path, select=tmp_path / "c.parquet")
    with pytest.raises(DataError, match="xraytk curate"):
        run(tmp_path, select=tmp_path / "d.parquet")
    lateral = ingest_like.make(tmp_path, 4, views=("PA", "LATERAL"))
    only = selection(tmp_path / "e.parquet", {lateral[1]: True})
    with pytest.raises(DataError, match="keeps none of the 2 images of the wanted views"):
        run(tmp_path, select=only)


@pytest.mark.parametrize(
    ("change", "message"), [("1.2.840.113", "1 image ids that cannot be names"), (None, "more than once")]
)
def test_ids_that_cannot_be_names_are_refused_without_being_shown(tmp_path, change, message):
    ids = ingest_like.make(tmp_path, 3)
    path = tmp_path / "ingest/manifest/part-00000.parquet"
    table = pq.read_table(path)
    changed = pa.array([change or ids[1], *ids[1:]])
    table = table.set_column(table.schema.get_field_index("image_id"), "image_id", changed)
    pq.write_table(table.replace_schema_metadata(manifest.MANIFEST.metadata), path)
    with pytest.raises(DataError, match=message) as caught:
        run(tmp_path)
    assert "113" not in str(caught.value)


def test_another_codec_or_second_size_rewrites_all(tmp_path):
    ingest_like.make(tmp_path, 5)
    run(tmp_path)
    assert run(tmp_path, codec="jpeg").kept == 0
    assert run(tmp_path, codec="jpeg", quality=80).kept == 0
    assert run(tmp_path, codec="jpeg", quality=80, also_px=20).kept == 0
    assert run(tmp_path, codec="tiff", quality=80).kept == 0
    assert run(tmp_path, codec="tiff", quality=70).kept == 3  # which is JPEG's alone


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


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_samples": 0},
        {"workers": -1},
        {"views": ("FRONT",)},
        {"codec": "gif"},
        {"quality": 0},
        {"also_px": -1},
    ],
)
def test_values_out_of_range_are_refused_by_name(wrong):
    with pytest.raises(UsageError, match=next(iter(wrong))):
        shard.ShardConfig(**wrong)


def test_the_verb_needs_no_torch():
    code = "import sys, xraytk.shard; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
