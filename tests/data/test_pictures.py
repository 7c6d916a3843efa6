from __future__ import annotations

import io
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from xraytk.data import pictures
from xraytk.errors import DataError


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_png_is_lossless(tmp_path: Path, kind: type) -> None:
    image = np.random.default_rng(0).integers(0, np.iinfo(kind).max, (13, 17)).astype(kind)
    pictures.write_png(tmp_path / "a.png", image)
    back = pictures.read_png(tmp_path / "a.png")
    assert back.dtype == kind
    assert np.array_equal(back, image)


def test_16_bit_maps_to_8_bit_at_both_ends_and_rounds() -> None:
    image = np.array([[0, 128, 129, 32896, 65535]], np.uint16)
    assert pictures.to_8bit(image).tolist() == [[0, 0, 1, 128, 255]]


def test_broken_and_missing_pictures_are_explained(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        pictures.read_png(tmp_path / "none.png")
    (tmp_path / "bad.png").write_bytes(b"\x89PNG....")
    with pytest.raises(DataError, match="is broken"):
        pictures.read_png(tmp_path / "bad.png")


def test_sheet_has_a_place_for_every_tile() -> None:
    tiles = [np.full((40, 30), 255, np.uint8), np.zeros((30, 40, 3), np.uint8), np.zeros((5, 5), np.uint16)]
    sheet = pictures.montage(tiles, ["a", "b"], columns=2, tile_px=50)
    assert sheet.shape == (2 * 68, 100, 3)
    assert sheet[25, 25].tolist() == [255, 255, 255]
    assert pictures.montage([], columns=2, tile_px=50).shape == (50, 50, 3)


def test_polygons_are_drawn_where_they_lie() -> None:
    square = {"x": [10, 30, 30, 10], "y": [10, 10, 30, 30]}
    drawn = pictures.draw_polygons(np.zeros((40, 40), np.uint16), [square])
    assert drawn[10, 20, 1] > 150 > drawn[10, 20, 0]
    assert drawn[20, 20].tolist() == [0, 0, 0]


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (9, 1), (37, 53)])
def test_every_reader_reads_our_png(kind: type, shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(0, np.iinfo(kind).max + 1, shape).astype(kind)
    data = pictures.encode_png(image)
    assert np.array_equal(pictures.decode_png(data), image)
    assert np.array_equal(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED), image)
    with Image.open(io.BytesIO(data)) as opened:
        opened.load()
        assert np.array_equal(np.asarray(opened).astype(kind), image)


def test_values_are_mapped_alike_with_and_without_opencvs_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    for kind, size in ((np.uint8, 256), (np.uint16, 65536)):
        image = rng.integers(0, size, (70, 33)).astype(kind)
        table = rng.integers(0, 65536, size).astype(np.uint16)
        for wide in (pictures._has_wide_tables(), False):
            monkeypatch.setattr(pictures, "_WIDE_TABLES", wide)
            assert np.array_equal(pictures.map_values(table, image), table[image])
