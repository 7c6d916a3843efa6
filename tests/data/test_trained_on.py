from __future__ import annotations

from pathlib import Path

import ingest_like
import pyarrow.parquet as pq
import pytest

from xraytk import shard
from xraytk.data import trained_on
from xraytk.data.shard_index import ShardIndex
from xraytk.errors import DataError


def index_of(folder: Path, splits: list[str]) -> ShardIndex:
    """Images 0, 1, ... of a patient each, in these splits."""
    ingest_like.make(folder, len(splits), splits=splits, contours=False, sides=False)
    shard.run(shard.ShardConfig(work=folder, workers=1))
    return ShardIndex.load(folder / "shards")


def test_training_and_validation_patients_are_kept_and_those_of_the_run_before(tmp_path: Path) -> None:
    old = index_of(tmp_path / "a", ["test", "test", "test", "test", "train"])
    new = index_of(tmp_path / "b", ["test", "val", "train", "test"])
    first, second = tmp_path / "runs" / "first", tmp_path / "runs" / "second"
    (first / "step-1").mkdir(parents=True)
    second.mkdir()
    trained_on.write(first, old)
    trained_on.write(second, new, first / "step-1" / "model.safetensors")
    trained_on.write(second, new, going_on=True)
    table = pq.read_table(second / trained_on.NAME)
    seen = [*old.patient[old.rows("train")], *new.patient[new.rows("train")], *new.patient[new.rows("val")]]
    assert sorted(table["patient_hash"].to_pylist()) == sorted({bytes(name).decode() for name in seen})
    assert trained_on.refuse_shared(second, new) == ""


def test_of_weights_without_a_list_it_is_said_that_they_may_know_the_patients(tmp_path: Path) -> None:
    index = index_of(tmp_path / "a", ["train", "test"])
    trained_on.write(tmp_path, index, tmp_path / "exports" / "a" / "encoder.safetensors")
    assert "what the run started from" in trained_on.refuse_shared(tmp_path, index)
    trained_on.write(tmp_path, index, going_on=True)
    assert "not known" in trained_on.refuse_shared(tmp_path, index)


def test_a_test_split_with_a_patient_that_was_trained_on_is_refused(tmp_path: Path) -> None:
    index = index_of(tmp_path / "a", ["train", "val", "test", "test"])
    trained_on.write(tmp_path, index)
    assert trained_on.refuse_shared(tmp_path, index) == ""
    anew = index_of(tmp_path / "b", ["test", "test", "test"])
    with pytest.raises(DataError, match="trained on 2 of the 3 patients"):
        trained_on.refuse_shared(tmp_path, anew)
    assert "not known" in trained_on.refuse_shared(None, index)
    assert "not known" in trained_on.refuse_shared(tmp_path / "b", index)


def test_a_run_that_starts_anew_forgets_the_list_of_what_was_there(tmp_path: Path) -> None:
    wrong, right = index_of(tmp_path / "a", ["train", "train"]), index_of(tmp_path / "b", ["train", "test"])
    assert trained_on.write(tmp_path, wrong) == 0
    assert trained_on.write(tmp_path, right) == 0
    assert trained_on.refuse_shared(tmp_path, right) == ""


def test_a_start_from_a_model_that_knows_test_patients_is_counted_at_once(tmp_path: Path) -> None:
    before, now = index_of(tmp_path / "a", ["train", "train"]), index_of(tmp_path / "b", ["train", "test"])
    trained_on.write(tmp_path, before)
    (tmp_path / "run").mkdir()
    assert trained_on.write(tmp_path / "run", now, tmp_path / "model.safetensors") == 1


def test_a_broken_list_is_said(tmp_path: Path) -> None:
    index = index_of(tmp_path / "a", ["train", "test"])
    (tmp_path / trained_on.NAME).write_bytes(b"PAR1")
    with pytest.raises(DataError, match="cannot be read"):
        trained_on.refuse_shared(tmp_path, index)
