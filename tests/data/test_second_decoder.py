"""What is decoded equals what ITK's GDCM, an independent decoder, makes of the same file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread

from xraytk.data.decode import decode
from xraytk.data.dicom_write import SYNTAXES, write_dx

itk = pytest.importorskip("SimpleITK", reason="needs SimpleITK, the second decoder")
KNOWN = sorted(set(SYNTAXES) - {"htjpeg2000"})
"""All but HTJ2K, which GDCM does not read."""


@pytest.mark.parametrize("bits", [8, 12, 16])
@pytest.mark.parametrize("name", KNOWN)
def test_stored_values_are_those_of_a_second_decoder(tmp_path: Path, name: str, bits: int) -> None:
    pixels = np.random.default_rng(bits).integers(0, 1 << bits, (48, 40)).astype(np.uint16)
    path = tmp_path / "image.dcm"
    write_dx(
        path, pixels, bits_stored=bits, photometric="MONOCHROME2", syntax=name, window=None, patient_id="1"
    )
    theirs = itk.GetArrayFromImage(itk.ReadImage(str(path), itk.sitkUInt16))[0]
    assert np.array_equal(decode(dcmread(path), SYNTAXES[name]), theirs)


def test_itk_inverts_monochrome1_and_we_do_it_ourselves(tmp_path: Path) -> None:
    """The trap for whoever mixes the two: ITK hands out inverted values without a word."""
    pixels = np.arange(48 * 40, dtype=np.uint16).reshape(48, 40)
    path = tmp_path / "image.dcm"
    write_dx(
        path,
        pixels,
        bits_stored=12,
        photometric="MONOCHROME1",
        syntax="explicit",
        window=None,
        patient_id="1",
    )
    theirs = itk.GetArrayFromImage(itk.ReadImage(str(path), itk.sitkUInt16))[0]
    assert np.array_equal(decode(dcmread(path), SYNTAXES["explicit"]), pixels)
    assert not np.array_equal(theirs, pixels)
