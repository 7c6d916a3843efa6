from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from xraytk.data import manifest
from xraytk.errors import DataError


def test_rows_come_back_and_missing_values_are_null(tmp_path: Path) -> None:
    path = tmp_path / "manifest" / "part-00000.parquet"
    assert manifest.write_table(path, manifest.MANIFEST, [{"image_id": "a", "width": 3}]) == 1
    back = manifest.read_table(path.parent, manifest.MANIFEST, "xraytk ingest").to_pylist()
    assert back[0]["image_id"] == "a"
    assert back[0]["spacing_x_mm"] is None


def test_polygons_survive(tmp_path: Path) -> None:
    polygon = {"name": "left_lung", "x": [1.0, 2.0, 2.0], "y": [1.0, 1.0, 2.0]}
    row = {"image_id": "a", "status": "ok", "polygons": [polygon], "lung_share": [0.0, 0.5]}
    manifest.write_table(tmp_path / "c.parquet", manifest.CONTOURS, [row])
    back = manifest.read_table(tmp_path / "c.parquet", manifest.CONTOURS, "xraytk mask").to_pylist()
    assert back[0]["polygons"] == [polygon]


def test_the_same_rows_give_the_same_bytes(tmp_path: Path) -> None:
    rows = [{"image_id": f"{i:04d}", "label": "Nodule", "value": 1.0} for i in range(50)]
    for name in ("a", "b"):
        manifest.write_table(tmp_path / name, manifest.LABELS, rows)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_missing_broken_and_foreign_tables_are_explained(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="Run `xraytk ingest` first"):
        manifest.read_table(tmp_path / "none", manifest.MANIFEST, "xraytk ingest")
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 not really")
    with pytest.raises(DataError, match="not a whole table"):
        manifest.read_table(tmp_path / "bad.parquet", manifest.MANIFEST, "xraytk ingest")
    pq.write_table(pa.table({"image_id": ["a"]}), tmp_path / "foreign.parquet")
    with pytest.raises(DataError, match="has format none"):
        manifest.read_table(tmp_path / "foreign.parquet", manifest.MANIFEST, "xraytk ingest")
    manifest.write_table(tmp_path / "labels.parquet", manifest.LABELS, [])
    with pytest.raises(DataError, match="not a whole table"):
        manifest.read_table(tmp_path / "labels.parquet", manifest.MANIFEST, "xraytk ingest")
