from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from xraytk.data.drawn import read_boxes
from xraytk.data.sheet import join_keys
from xraytk.errors import DataError
from xraytk.records import Identity

KEY = b"k" * 32
HEAD = "file,x,y,width,height,label\n"


def read(tmp_path: Path, text: str):  # type: ignore[no-untyped-def]
    path = tmp_path / "boxes.csv"
    path.write_text(text)
    return read_boxes(path, KEY)


def test_rows_of_one_image_are_its_boxes(tmp_path: Path) -> None:
    table = read(tmp_path, HEAD + "a.png,1,2,3,4,Nodule\nb.png,,,,,\na.png,5,6,7.5,8,Mass\n")
    number = table.find(join_keys("folder/a.png", Identity(), KEY))
    assert number is not None
    edges = [(b.label, b.x0, b.y0, b.x1, b.y1) for b in table.values[number]]
    assert edges == [("Nodule", 1, 2, 4, 6), ("Mass", 5, 6, 12.5, 14)]
    assert table.values[table.find(join_keys("b.png", Identity(), KEY))] == ()


def test_a_parquet_table_says_the_same(tmp_path: Path) -> None:
    rows = [{"file": "a.png", "x": 1.0, "y": 2.0, "width": 3.0, "height": 4.0, "label": "Nodule"}]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "boxes.parquet")
    [[box]] = read_boxes(tmp_path / "boxes.parquet", KEY).values
    assert (box.x0, box.y0, box.x1, box.y1) == (1, 2, 4, 6)
    (tmp_path / "boxes.parquet").write_bytes(b"PAR1 no table")
    with pytest.raises(DataError, match="not a whole Parquet table"):
        read_boxes(tmp_path / "boxes.parquet", KEY)


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="lacks the columns width, label"):
        read(tmp_path, "file,x,y,height\na,1,2,3\n")
    with pytest.raises(DataError, match="lacks a key column"):
        read(tmp_path, "picture,x,y,width,height,label\na,1,2,3,4,Nodule\n")


@pytest.mark.parametrize("cells", ["1,2,0,4,N", "1,2,3,-4,N", "1,two,3,4,N", "1,2,3,,N", "1,2,3,4,"])
def test_a_row_that_is_no_box_is_named(tmp_path: Path, cells: str) -> None:
    with pytest.raises(DataError, match="row 3 is no box"):
        read(tmp_path, HEAD + f"a,1,2,3,4,N\na,{cells}\n")


def test_a_label_that_may_be_a_persons_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no names of findings") as caught:
        read(tmp_path, HEAD + "a,1,2,3,4,Doe^Jane\n")
    assert "Doe" not in str(caught.value)
