"""Codecs of shards: lossless where they say so, the same bytes every time, errors not crashes."""

from __future__ import annotations

import importlib
import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from xraytk.data import codec

SHAPES = st.one_of(
    st.tuples(st.just(1), st.integers(1, 300)),
    st.tuples(st.integers(1, 300), st.just(1)),
    st.tuples(st.integers(1, 60), st.integers(1, 60)),
)


def smooth(height: int = 90, width: int = 72, dtype: type = np.uint8) -> np.ndarray:
    rng = np.random.default_rng(height * width)
    ramp = np.add.outer(np.arange(height), np.arange(width)) / (height + width)
    return ((ramp * 0.9 + rng.random((height, width)) * 0.1) * np.iinfo(dtype).max).astype(dtype)


@given(SHAPES.flatmap(lambda shape: arrays(np.uint8, shape)))
def test_tiff_gives_every_pixel_back(image):
    data = codec.encode(image, "tiff")
    assert np.array_equal(codec.decode(data, "tiff", image.shape), image)


@given(SHAPES.flatmap(lambda shape: arrays(np.uint16, shape)))
def test_tiff16_gives_every_pixel_back(image):
    data = codec.encode(image, "tiff16")
    assert np.array_equal(codec.decode(data, "tiff16", image.shape), image)


@pytest.mark.parametrize("name", ["tiff", "tiff16"])
@pytest.mark.parametrize("shape", [(1, 1), (1, 97), (97, 1), (33, 41)])
def test_pillow_reads_what_we_write(name, shape):
    pillow = pytest.importorskip("PIL", minversion="12", reason="older wheels have no zstd in libtiff")
    image = codec.fitted(smooth(*shape, np.uint16), name)
    read = importlib.import_module(f"{pillow.__name__}.Image").open(io.BytesIO(codec.encode(image, name)))
    assert np.array_equal(np.asarray(read), image)


def test_tifffile_reads_what_we_write():
    tifffile = pytest.importorskip("tifffile", reason="needs tifffile, which is no dependency")
    image = smooth(dtype=np.uint16)
    data = codec.encode(image, "tiff16")
    assert np.array_equal(tifffile.imread(io.BytesIO(data)), image)
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        names = {tag.name for tag in file.pages[0].tags}
        assert len(file.pages[0].dataoffsets) == 1
    assert not names & {"DateTime", "Software", "HostComputer", "Artist", "ImageDescription"}


@pytest.mark.parametrize("name", codec.CODECS)
def test_the_same_pixels_give_the_same_bytes(name):
    image = codec.fitted(smooth(31, 47, np.uint16), name)
    shifted = np.asfortranarray(image)
    assert len({codec.encode(x, name) for x in (image, image.copy(), shifted) for _ in range(5)}) == 1


def test_the_header_is_as_computed_by_hand():
    data = codec.encode(np.array([[7, 8, 6]], np.uint8), "tiff")
    assert data[:10] == b"II*\0\x08\0\0\0\x0b\0"  # little-endian, eleven tags at byte 8
    assert data[10:22] == bytes([0, 1, 4, 0, 1, 0, 0, 0, 3, 0, 0, 0])  # ImageWidth 3
    assert data[22:34] == bytes([1, 1, 4, 0, 1, 0, 0, 0, 1, 0, 0, 0])  # ImageLength 1
    assert data[160:164] == b"\x28\xb5\x2f\xfd"  # the strip is one zstd frame


def test_jpeg_is_close_and_smaller_at_lower_quality():
    image = smooth(200, 160)
    high, low = codec.encode(image, "jpeg", 95), codec.encode(image, "jpeg", 50)
    assert len(low) < len(high)
    error = codec.decode(high, "jpeg", (200, 160)).astype(int) - image
    assert np.abs(error).mean() < 3


def test_pixels_take_the_depth_of_the_codec():
    wide = np.array([[0, 128, 129, 65535]], np.uint16)
    assert codec.fitted(wide, "tiff").tolist() == [[0, 0, 1, 255]]  # 257 grey values each
    assert codec.fitted(wide, "tiff16") is wide
    narrow = np.array([[0, 1, 255]], np.uint8)
    assert codec.fitted(narrow, "tiff16").tolist() == [[0, 257, 65535]]
    assert codec.fitted(narrow, "jpeg") is narrow


@pytest.mark.parametrize("name", codec.CODECS)
def test_an_image_of_another_depth_or_shape_is_refused(name):
    other = np.uint16 if codec.CODECS[name].bits == 8 else np.uint8
    for image in (smooth(dtype=other), np.zeros((4, 4, 3), np.uint8), np.zeros((0, 4), np.uint8)):
        with pytest.raises(ValueError, match="holds no"):
            codec.encode(image, name)
    data = codec.encode(codec.fitted(smooth(9, 5), name), name)
    with pytest.raises(ValueError, match=r"\(9, 5\) pixels .* \(5, 9\) was wanted"):
        codec.decode(data, name, (5, 9))


def test_one_codec_does_not_read_the_other():
    data = {name: codec.encode(codec.fitted(smooth(), name), name) for name in codec.CODECS}
    for wrote in codec.CODECS:
        for reads in set(codec.CODECS) - {wrote}:
            with pytest.raises(ValueError, match=reads):
                codec.decode(data[wrote], reads)


def test_an_image_too_large_for_jpeg_is_refused():
    with pytest.raises(ValueError, match="JPEG"):
        codec.encode(np.zeros((1, 70_000), np.uint8), "jpeg")
    assert codec.decode(codec.encode(np.ones((1, 70_000), np.uint8), "tiff"), "tiff").sum() == 70_000


def damaged(data: bytes, rng: np.random.Generator) -> bytes:
    """Cut, or with some bits flipped, more often near the start where the structure is."""
    if rng.random() < 0.2:
        return data[: rng.integers(0, len(data))]
    out = bytearray(data)
    for _ in range(rng.integers(1, 5)):
        at = rng.integers(0, min(len(out), 700)) if rng.random() < 0.7 else rng.integers(0, len(out))
        out[at] = rng.integers(0, 256) if rng.random() < 0.5 else out[at] ^ (1 << rng.integers(0, 8))
    return bytes(out)


@pytest.mark.parametrize("name", codec.CODECS)
def test_damaged_bytes_give_a_value_error_or_an_image_of_the_right_kind(name, capfd):
    image = codec.fitted(smooth(60, 50, np.uint16), name)
    data = codec.encode(image, name)
    rng, errors = np.random.default_rng(1), 0
    for _ in range(1500):
        broken = damaged(data, rng)
        for shape in (image.shape, None):
            try:
                found = codec.decode(broken, name, shape)
            except ValueError:
                errors += 1
                continue
            assert found.dtype == image.dtype
            assert found.ndim == 2
            assert shape in (None, found.shape)
    assert errors > 500
    assert capfd.readouterr() == ("", "")
