"""Side tables that are looked up on disk."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xraytk.data import manifest
from xraytk.data.side import Side, float_lists, polygon_lists

SCHEMA = pa.schema([("image_id", pa.string()), ("text", pa.string())])


def side(folder: Path, table: dict[str, str], ids: list[str], batch: int) -> Side:
    rows = [{"image_id": name, "text": text} for name, text in table.items()]
    batches = [
        pa.RecordBatch.from_pylist(rows[i : i + batch], schema=SCHEMA) for i in range(0, len(rows), batch)
    ]
    return Side(batches, SCHEMA, pa.array(ids, pa.string()), folder)


@given(st.data())
def test_every_row_finds_its_own_whatever_the_order(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("side")
    names = [f"id{i}" for i in range(12)]
    ids = data.draw(st.permutations(names))
    in_table = data.draw(st.lists(st.sampled_from([*names, "stranger"]), unique=True))
    made = side(folder, {name: f"text of {name}" for name in in_table}, ids, data.draw(st.integers(1, 5)))
    rows = data.draw(st.lists(st.integers(0, 11), unique=True, min_size=1))
    table, where = made.take(np.array(rows))
    texts = [] if table is None else table["text"].to_pylist()
    found = [texts[at] if at >= 0 else None for at in where.tolist()]
    assert found == [f"text of {ids[r]}" if ids[r] in in_table else None for r in rows]
    assert list(folder.iterdir()) == []


def test_nothing_stays_in_the_folder_when_reading_fails(tmp_path):
    def broken():
        yield pa.RecordBatch.from_pylist([{"image_id": "a", "text": "b"}], schema=SCHEMA)
        raise ValueError("no more")

    with pytest.raises(ValueError, match="no more"):
        Side(broken(), SCHEMA, pa.array(["a"]), tmp_path / "new")
    assert list((tmp_path / "new").iterdir()) == []


def test_numbers_are_rounded_and_nulls_are_empty():
    lists = pa.array([[0.14, 1 / 3], None, [], [2.0]], pa.list_(pa.float32()))
    assert float_lists(lists, 4) == [[0.14, 0.3333], [], [], [2.0]]


def test_polygons_become_dictionaries():
    box = {"name": "right_lung", "x": [1.25, 2.0], "y": [3.0, 4.126]}
    lists = pa.array([[box, {**box, "name": "left_lung"}], None, [box]], pa.list_(manifest.POLYGON))
    short = {"name": "right_lung", "x": [1.25, 2.0], "y": [3.0, 4.13]}
    assert polygon_lists(lists) == [[short, {**short, "name": "left_lung"}], [], [short]]
