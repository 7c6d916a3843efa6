"""Boxes from a user's table, by the road: in pixels of the original image, into shards and frames."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from xraytk import ingest, shard
from xraytk.data import manifest
from xraytk.data.stream import Stream, StreamConfig
from xraytk.progress import Silent


class Notes(Silent):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


def test_boxes_go_the_way_of_the_pixels(tmp_path: Path) -> None:
    """A picture of 300 x 200 with a bright square, shrunk to 150 x 100, then letterboxed into 64 x 64."""
    rng = np.random.default_rng(0)
    source = tmp_path / "pictures"
    source.mkdir()
    for name in ("a", "b"):
        picture = rng.integers(20, 60, (300, 200)).astype(np.uint8)
        picture[60:120, 40:100] = 250
        cv2.imwrite(str(source / f"{name}.png"), picture)
    table = tmp_path / "boxes.csv"
    table.write_text("file,x,y,width,height,label\na,40,60,60,60,Mass\na,500,60,60,60,Mass\nb,,,,,\n")
    notes, work = Notes(), tmp_path / "work"
    key = tmp_path / "key"
    key.write_text("0" * 64 + "\n")
    key.chmod(0o600)
    config = ingest.IngestConfig(
        source=source, work=work, boxes=table, key=key, max_px=150, not_chest="keep", burned_in="keep",
        split=(1.0, 0.0, 0.0), workers=-1,
    )  # fmt: skip
    ingest.run(config, notes)
    assert any(note.startswith("boxes: 1 images have some") for note in notes.notes)
    assert any(note.startswith("boxes: 1 lie outside of their image") for note in notes.notes)
    [row] = manifest.read_table(work / "ingest" / "boxes.parquet", manifest.BOXES, "").to_pylist()
    assert [row[edge] for edge in ("x0", "y0", "x1", "y1")] == [20, 30, 50, 60]
    shard.run(shard.ShardConfig(work=work, workers=1, views=("UNKNOWN", "PA", "AP", "LATERAL", "OTHER")))
    needs = frozenset({"image", "boxes", "shape"})
    stream = Stream(work / "shards", "train", StreamConfig(image_px=64), needs=needs)
    [batch] = stream.once(batch=2)
    [[box]] = [boxes for boxes in batch.boxes if boxes]
    at = batch.boxes.index([box])
    seen = np.argwhere(batch.image[at, 0].numpy() > 128)
    low, high = seen.min(0), seen.max(0) + 1
    np.testing.assert_allclose([box.y0, box.x0, box.y1, box.x1], [*low, *high], atol=1)
    assert box.label == "Mass"
    assert batch.shape == [(150, 100), (150, 100)]


@pytest.mark.parametrize("text", ["file,x,y,width,label\na,1,2,3,Mass\n"])
def test_a_table_without_a_column_ends_the_ingest_before_it_begins(tmp_path: Path, text: str) -> None:
    from xraytk.errors import DataError

    (tmp_path / "boxes.csv").write_text(text)
    (tmp_path / "pictures").mkdir()
    key = tmp_path / "key"
    key.write_text("0" * 64 + "\n")
    key.chmod(0o600)
    config = ingest.IngestConfig(
        source=tmp_path / "pictures", work=tmp_path / "work", boxes=tmp_path / "boxes.csv", key=key
    )
    with pytest.raises(DataError, match="lacks the column height"):
        ingest.run(config)
    assert not (tmp_path / "work" / "ingest" / "manifest").exists()
