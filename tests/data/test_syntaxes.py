"""Every transfer syntax, bit for bit; `benchmarks/syntaxes.py` prints the same as a table."""

from __future__ import annotations

import io
import struct
import warnings

import coded_files
import numpy as np
import pytest
from coded_files import NAMES, NATIVE, Case, encode, fragments, object_of, values_of
from pydicom import dcmread

from xraytk.data import decode as decoding
from xraytk.data.decode import decode, join_fragments
from xraytk.data.dicom import read_radiograph
from xraytk.data.refused import Refused

CODED = [name for name in NAMES if name not in NATIVE]


def test_the_syntaxes_tested_are_those_that_are_read() -> None:
    assert set(NAMES.values()) | {"1.2.840.10008.1.2.4.111"} == decoding.SYNTAXES


@pytest.mark.parametrize("name", NAMES)
def test_values_are_those_written_and_those_of_every_second_decoder(name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the others
        found = [coded_files.compare(case) for case in coded_files.cases(name)]
    assert all(c.written in (True, None) for c in found)
    assert {gap for c in found for gap in c.others.values()} <= {0}


def test_itk_inverts_monochrome1_and_we_do_it_ourselves() -> None:
    """The trap for whoever mixes the two: ITK hands out inverted values without a word."""
    pytest.importorskip("SimpleITK", reason="needs SimpleITK, a second decoder")
    case = Case("explicit", 12, photometric="MONOCHROME1")
    data, values = object_of(case, values_of(case)), values_of(case)
    assert (decode(dcmread(io.BytesIO(data)), NAMES["explicit"]) == values).all()
    assert not np.array_equal(coded_files._by_gdcm(data), values)


@pytest.mark.parametrize("table", ["none", "basic", "wrong", "extended"])
@pytest.mark.parametrize("count", [1, 2, 7])
@pytest.mark.parametrize("name", CODED)
def test_a_frame_in_fragments_is_put_together_whatever_the_tables_say(
    name: str, count: int, table: str
) -> None:
    case = Case(name, 8)
    values = values_of(case)
    frame, more = encode(case, values), {}
    if table == "extended":
        more = {
            "ExtendedOffsetTable": struct.pack("<Q", 0),
            "ExtendedOffsetTableLengths": struct.pack("<Q", 77),
        }
    offsets = {"basic": (0,), "wrong": (0, 4096, 8)}.get(table, ())
    whole = dcmread(io.BytesIO(object_of(case, values)))
    cut = dcmread(io.BytesIO(object_of(case, values, fragments(frame, count, offsets), **more)))
    assert (decode(cut, NAMES[name]) == decode(whole, NAMES[name])).all()


def test_an_empty_or_cut_fragment_is_truncated() -> None:
    whole = fragments(b"abcdef", 3)
    assert join_fragments(whole) == b"abcdef"
    assert join_fragments(whole + b"\0\0\0\0\0\0\0\0") == b"abcdef"  # padding
    assert join_fragments(whole + b"\xfe\xff\xdd\xe0\0\0\0\0rest") == b"abcdef"
    for broken in (whole[:-1], fragments(b""), b"", whole + b"rubbish!"):
        with pytest.raises(Refused, match="truncated"):
            join_fragments(broken)


@pytest.mark.parametrize("name", CODED)
def test_zeros_after_the_frame_do_no_harm(name: str) -> None:
    case = Case(name, 8)
    values = values_of(case)
    padded = object_of(case, values, fragments(encode(case, values) + bytes(1000)))
    plain = decode(dcmread(io.BytesIO(object_of(case, values))), NAMES[name])
    assert (decode(dcmread(io.BytesIO(padded)), NAMES[name]) == plain).all()


def test_native_pixels_may_be_followed_by_more_and_have_odd_length() -> None:
    case = Case("explicit", 8)
    values = values_of(case)
    assert values.size % 2
    assert (decode(dcmread(io.BytesIO(object_of(case, values))), NAMES["explicit"]) == values).all()
    ds = dcmread(io.BytesIO(object_of(case, values)))
    ds.PixelData = ds.PixelData + b"more" * 99
    assert (decode(ds, NAMES["explicit"]) == values).all()


@pytest.mark.parametrize("said", ["explicit", "JPEG baseline .50", "RLE"])
@pytest.mark.parametrize("name", ["JPEG lossless .70", "JPEG-LS .80", "HTJ2K .201"])
def test_codestreams_are_told_by_their_own_bytes_when_the_header_names_another(name: str, said: str) -> None:
    case = Case(name, 12)
    ds = dcmread(io.BytesIO(object_of(case, values_of(case))))
    if said == "RLE":
        with pytest.raises(Refused):
            decode(ds, NAMES[said])
    else:
        assert (decode(ds, NAMES[said]) == values_of(case)).all()


def test_plain_pixels_under_the_name_of_a_compressed_syntax_are_read() -> None:
    case = Case("explicit", 12)
    ds = dcmread(io.BytesIO(object_of(case, values_of(case))))
    assert (decode(ds, NAMES["JPEG lossless .70"]) == values_of(case)).all()


def test_an_8_bit_codestream_under_a_header_of_12_bits_is_read() -> None:
    eight = Case("JPEG lossless .70", 8)
    data = object_of(eight, values_of(eight), BitsAllocated=16, BitsStored=12, HighBit=11)
    image = decode(dcmread(io.BytesIO(data)), NAMES[eight.name])
    assert image.dtype == np.uint16
    assert (image == values_of(eight)).all()


def test_a_run_length_bomb_finds_no_room() -> None:
    case = Case("RLE", 8)
    head = np.zeros(16, "<u4")
    head[:2] = 1, 64
    bomb = head.tobytes() + b"\x81\x00" * 4_000_000  # half a gigabyte
    with pytest.raises(Refused, match="undecodable"):
        read_radiograph(object_of(case, values_of(case), fragments(bomb)))


def test_a_codestream_of_too_many_tiles_or_other_samples_is_refused_before_decoding() -> None:
    case = Case("JPEG 2000 .90", 8)
    frame = bytearray(encode(case, values_of(case)))
    frame[40:42] = struct.pack(">H", 9000)
    with pytest.raises(Refused, match="9000"):
        read_radiograph(object_of(case, values_of(case), fragments(bytes(frame))))
    frame = bytearray(encode(case, values_of(case)))
    frame[8:16] = struct.pack(">2I", 9000, 9000)
    frame[24:32] = struct.pack(">2I", 1, 1)
    with pytest.raises(Refused, match="tiles"):
        read_radiograph(object_of(case, values_of(case), fragments(bytes(frame)), Rows=9000, Columns=9000))


def test_a_palette_becomes_the_luminance_of_its_colours() -> None:
    case = Case("explicit", 8)
    values = values_of(case)
    ramp = np.arange(256, dtype="<u2") * 257
    tables = {f"{c}PaletteColorLookupTableDescriptor": [256, 0, 16] for c in ("Red", "Green", "Blue")}
    entries = {"Red": ramp, "Green": ramp[::-1], "Blue": ramp * 0}
    tables |= {f"{c}PaletteColorLookupTableData": e.astype("<u2").tobytes() for c, e in entries.items()}
    image = read_radiograph(object_of(case, values, PhotometricInterpretation="PALETTE COLOR", **tables))
    by_hand = 0.299 * ramp[values] + 0.587 * ramp[::-1][values]
    assert np.abs(image.pixels - by_hand).max() <= 2
    assert (image.voi, image.photometric, image.range_high) == ("full", "PALETTE COLOR", 65535)
    with pytest.raises(Refused, match="colour"):
        read_radiograph(object_of(case, values, PhotometricInterpretation="PALETTE COLOR"))
