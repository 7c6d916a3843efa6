"""Greys by a lookup table."""

from __future__ import annotations

import numpy as np
import pytest

from xraytk.data import intensity, pictures
from xraytk.data.intensity import Intensity, change


def test_without_a_change_8_bits_pass_and_16_are_cut_as_everywhere():
    image = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    assert np.array_equal(change(image), pictures.to_8bit(image))
    small = np.arange(256, dtype=np.uint8).reshape(16, 16)
    assert change(small) is small


def test_a_table_by_hand():
    dark = intensity.table(Intensity(brightness=0.2), np.dtype(np.uint8), 100.0)
    assert (dark[0], dark[100], dark[204], dark[255]) == (51, 151, 255, 255)
    steep = intensity.table(Intensity(contrast=2.0), np.dtype(np.uint8), 100.0)
    assert (steep[49], steep[100], steep[150], steep[255]) == (0, 100, 200, 255)
    bent = intensity.table(Intensity(gamma=2.0), np.dtype(np.uint8), 0.0)
    assert (bent[0], bent[51], bent[255]) == (0, 10, 255)  # (51 / 255)**2 = 0.04


def test_contrast_turns_about_the_mean():
    image = np.random.default_rng(0).integers(80, 120, (100, 50), np.uint8)
    more = change(image, Intensity(contrast=1.5))
    assert more.std() == pytest.approx(1.5 * image.std(), rel=0.02)
    assert more.mean() == pytest.approx(image.mean(), abs=0.6)


def test_16_bits_are_changed_before_they_are_cut():
    image = np.linspace(30000, 31000, 1000).astype(np.uint16).reshape(25, 40)  # 4 greys of 8 bits
    spread = change(image, Intensity(contrast=20.0))
    assert spread.dtype == np.uint8
    assert len(np.unique(spread)) > 70


def test_both_depths_change_alike():
    fine = (np.random.default_rng(0).random((64, 64)) * 65535).astype(np.uint16)
    what = Intensity(gamma=1.2, contrast=1.1, brightness=-0.05)
    apart = change(fine, what).astype(int) - change(pictures.to_8bit(fine), what)
    assert np.abs(apart).max() <= 1
