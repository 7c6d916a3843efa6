"""Selections and tables of embeddings, read back and refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from xraytk.data.embeddings import as_table, read_embeddings
from xraytk.data.selection import fingerprint, read_selection
from xraytk.errors import DataError


def write(path: Path, **columns: object) -> Path:
    pq.write_table(pa.table(columns), path)
    return path


def test_the_kept_images_are_read_from_a_file_or_its_folder(tmp_path: Path) -> None:
    file = write(tmp_path / "selection.parquet", image_id=["a", "b", "c"], keep=[True, False, True])
    assert read_selection(file) == read_selection(tmp_path) == {"a", "c"}


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"image_id": ["a"], "kept": [True]}, "not a selection"),
        ({"image_id": ["a"], "keep": ["yes"]}, "not a selection"),
        ({"image_id": ["a", "a"], "keep": [True, False]}, "twice"),
        ({"image_id": ["a", None], "keep": [True, True]}, "empty"),
        ({"image_id": ["a"], "keep": [False]}, "keeps no image"),
    ],
)
def test_what_is_no_selection_is_refused(tmp_path: Path, columns: dict[str, list[object]], said: str) -> None:
    with pytest.raises(DataError, match=said):
        read_selection(write(tmp_path / "s.parquet", **columns))


def test_a_missing_selection_names_the_verb(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="xraytk curate"):
        read_selection(tmp_path / "none.parquet")


def test_a_fingerprint_is_of_the_set_and_not_of_its_order() -> None:
    assert fingerprint(["b", "a"]) == fingerprint(frozenset({"a", "b"})) != fingerprint(["a"])


def test_embeddings_are_lined_up_with_the_ids_asked_for(tmp_path: Path) -> None:
    pq.write_table(as_table(["a", "b", "c"], np.array([[1, 2], [0, 0], [5, 6]])), tmp_path / "e.parquet")
    rows, found = read_embeddings(tmp_path / "e.parquet", pa.array(["c", "x", "b", "a"]))
    assert rows.tolist() == [[5, 6], [0, 0], [0, 0], [1, 2]]
    assert found.tolist() == [True, False, False, True], "all zero is no embedding"


@pytest.mark.parametrize(
    "kind", [pa.list_(pa.float64()), pa.list_(pa.float32(), 2), pa.large_list(pa.float32())]
)
def test_lists_of_any_kind_and_a_folder_of_files_are_read(tmp_path: Path, kind: pa.DataType) -> None:
    for name in ("a", "b"):
        write(tmp_path / f"{name}.parquet", image_id=[name], vector=pa.array([[1.5, 2.5]], kind))
    rows, found = read_embeddings(tmp_path, pa.array(["b", "a"]))
    assert rows.tolist() == [[1.5, 2.5]] * 2
    assert found.all()


def test_an_embedding_that_is_not_finite_or_missing_is_none(tmp_path: Path) -> None:
    file = write(
        tmp_path / "e.parquet", image_id=["a", "b", "c"], embedding=[[1.0, np.nan], None, [1.0, 2.0]]
    )
    assert read_embeddings(file, pa.array(["a", "b", "c"]))[1].tolist() == [False, False, True]


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"image_id": ["a"], "size": [3]}, "not a table of embeddings"),
        ({"image_id": ["a", "b"], "embedding": [[1.0], [1.0, 2.0]]}, "different lengths"),
        ({"image_id": ["z"], "embedding": [[1.0]]}, "no embedding of these images"),
        ({"image_id": ["a"], "x": [[1.0]], "y": [[1.0]]}, "x, y"),
    ],
)
def test_what_are_no_embeddings_is_refused(
    tmp_path: Path, columns: dict[str, list[object]], said: str
) -> None:
    with pytest.raises(DataError, match=said):
        read_embeddings(write(tmp_path / "e.parquet", **columns), pa.array(["a", "b"]))
