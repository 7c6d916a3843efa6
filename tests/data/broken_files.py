"""Good files, and endless ways to break them, all drawn from a seed."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator

import coded_files
import cv2
import numpy as np
from coded_files import Case, object_of, values_of
from pydicom import Dataset
from pydicom.sequence import Sequence

from xraytk.data.dicom import Refused, read_radiograph

VRS = (
    b"AE AS AT CS DA DS DT FD FL IS LO LT OB OD OF OL OV OW PN "
    b"SH SL SQ SS ST SV TM UC UI UL UN UR US UT UV ZZ"
).split()
LONG = frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())
LENGTHS = (0, 1, 2, 3, 0xFFFE, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF)
VALUES = (
    b"", b"0", b"-1", b"1", b"2", b"3", b"16", b"65535", b"99999999999", b"1e308", b"-1e308", b"1e-308",
    b"nan", b"inf", b"\\", b"\\\\\\\\", b"1\\x", b"a" * 5000, b"\xff" * 8, b"\0" * 8, b"\x80\0",
    b"\xff\x7f", b"RGB ",
    b"YBR_FULL_422", b"PALETTE COLOR ", b"FOR PROCESSING", b"SIGMOID ", b"LIN ", b"H\\R ",
    b"\x1b$B\xff", b"1.2.840.10008.1.2",
)  # fmt: skip


def seeds(side: tuple[int, int] = (51, 67)) -> dict[str, bytes]:
    """One small good file of every syntax and some more, rich in elements that are read; pictures too."""
    found = {}
    for name in coded_files.NAMES:
        bits = 8 if name in coded_files.LOSSY[:1] else 12
        case = Case(name, bits)
        found[name] = object_of(case, values_of(case, side), **_elements())
    rgb = Case("JPEG baseline .50", 8, photometric="YBR_FULL_422")
    found["colour"] = object_of(rgb, values_of(rgb, side))
    found["colour planes"] = object_of(
        Case("RLE", 8, photometric="RGB", planar=1), values_of(Case("RLE", 8, photometric="RGB"), side)
    )
    case, ramp = Case("explicit", 8), np.arange(256, dtype="<u2").tobytes()
    tables = {f"{c}PaletteColorLookupTableDescriptor": [256, 0, 16] for c in ("Red", "Green", "Blue")}
    tables |= {f"{c}PaletteColorLookupTableData": ramp for c in ("Red", "Green", "Blue")}
    found["palette"] = object_of(
        case, values_of(case, side), PhotometricInterpretation="PALETTE COLOR", **tables
    )
    raw = {"PresentationIntentType": "FOR PROCESSING", "PixelIntensityRelationship": "LIN"}
    found["raw"] = object_of(Case("explicit", 12, True), values_of(Case("explicit", 12, True), side), **raw)
    grey = values_of(Case("explicit", 8), side).astype(np.uint8)
    for ending in (".png", ".jpg", ".tiff"):
        found[ending] = cv2.imencode(ending, grey)[1].tobytes()
    return found


def _elements() -> dict[str, object]:
    lut = Dataset()
    lut.add_new("LUTDescriptor", "US", [256, 0, 16])
    lut.add_new("LUTData", "OW", np.arange(256, dtype="<u2").tobytes())
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "399348003", "SCT", "antero-posterior"
    return {
        "WindowCenter": ["2048", "100"], "WindowWidth": ["4096", "50"], "VOILUTFunction": "LINEAR",
        "RescaleSlope": "1", "RescaleIntercept": "0", "PixelPaddingValue": 0, "PixelPaddingRangeLimit": 0,
        "VOILUTSequence": Sequence([lut]), "ViewCodeSequence": Sequence([code]),
        "PresentationLUTShape": "IDENTITY",
        "PatientOrientation": ["R", "F"], "ImagerPixelSpacing": ["0.2", "0.3"], "NumberOfFrames": "1",
        "PatientAge": "045Y", "PatientBirthDate": "19600101", "StudyDate": "20200101",
        "Manufacturer": "Siemens",
        "SpecificCharacterSet": ["", "ISO 2022 IR 87"], "EstimatedRadiographicMagnificationFactor": "1.1",
        "BurnedInAnnotation": "NO",
    }  # fmt: skip


def elements_of(data: bytes) -> list[tuple[int, int, int]]:
    """(start, start of value, end) of the elements of an explicit little-endian file, down to the pixels."""
    at, found = 132, []
    while at + 12 <= len(data):
        wide = data[at + 4 : at + 6] in LONG
        value = at + (12 if wide else 8)
        length = struct.unpack_from("<I" if wide else "<H", data, value - (4 if wide else 2))[0]
        if length == 0xFFFFFFFF or value + length > len(data):
            found.append((at, value, len(data)))
            break
        found.append((at, value, value + length))
        at = value + length
    return found


def truncations(data: bytes) -> Iterator[bytes]:
    """Cut at every hundredth, and just before the end."""
    for percent in range(100):
        yield data[: len(data) * percent // 100]
    for less in (1, 2, 4, 8, 9):
        yield data[:-less]


def header_mutations(data: bytes) -> Iterator[bytes]:
    """Every element in turn: removed, emptied, doubled, of other types and lengths, with odd values."""
    for start, value, end in elements_of(data):
        head, rest = data[:start], data[end:]
        old, content = data[start:value], data[value:end]
        wide = old[4:6] in LONG

        def with_length(length: int, old: bytes = old, wide: bool = wide) -> bytes:
            return old[: 8 if wide else 6] + struct.pack(
                "<I" if wide else "<H", length & (2**32 - 1 if wide else 65535)
            )

        yield head + rest
        yield head + with_length(0) + rest
        yield head + (old + content) * 2 + rest
        for vr in VRS:
            yield head + old[:4] + vr + data[start + 6 :]
        for length in LENGTHS:
            yield head + with_length(length) + content + rest
        for odd in VALUES if len(content) < 1000 else ():
            yield head + with_length(len(odd)) + odd + rest


def nested(data: bytes, depth: int, *, undefined: bool = True) -> bytes:
    """A sequence in a sequence, and so on, before the pixels."""
    at = next(start for start, _, _ in elements_of(data) if data[start : start + 2] >= b"\x28\0")
    if undefined:
        inner = b"\x08\0\x40\x11SQ\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff" * depth
        return data[:at] + inner + data[at:]
    inner = b""
    for _ in range(depth):
        item = b"\xfe\xff\x00\xe0" + struct.pack("<I", len(inner)) + inner
        inner = b"\x08\0\x40\x11SQ\0\0" + struct.pack("<I", len(item)) + item
    return data[:at] + inner + data[at:]


def flips(data: bytes, rng: np.random.Generator) -> bytes:
    """Some bytes changed: anywhere, in the header, or at the head of the pixels; or a part moved."""
    broken = bytearray(data)
    kind = int(rng.integers(5))
    pixels = max(132, data.find(b"\xe0\x7f\x10\0"))
    low, high = ((0, len(data)), (132, pixels), (pixels, pixels + 200), (pixels, len(data)), (0, len(data)))[
        kind
    ]
    for _ in range(int(rng.integers(1, 12))):
        at = int(rng.integers(low, max(low + 1, min(high, len(data)))))
        if at < len(broken):
            broken[at] = (0, 255, int(rng.integers(256)), broken[at] ^ (1 << int(rng.integers(8))))[
                int(rng.integers(4))
            ]
    if kind == 4:
        a, b = sorted(int(v) for v in rng.integers(0, len(broken), 2))
        c = int(rng.integers(0, len(broken)))
        return bytes(broken[:c] + broken[a : min(b, a + 400)] + broken[c:])
    return bytes(broken)


def outcome(data: bytes) -> str:
    """A reason, or "image"; any other exception goes through."""
    try:
        image = read_radiograph(data)
    except Refused as refused:
        return refused.reason
    assert image.pixels.dtype == np.uint16
    assert image.pixels.ndim == 2
    return "image"


def bombs() -> dict[str, bytes]:
    """Files that ask for much."""
    plain = seeds()["explicit"]
    large = io.BytesIO()
    large.write(plain)
    return {
        **{f"nested {d} {u}": nested(plain, d, undefined=u) for d in (50, 2000, 9000) for u in (True, False)},
        "padded": plain + b"\0" * (64 << 20),
        "elements": plain[:132] + b"\x08\0\x05\0CS\0\0" * 200_000 + plain[132:],
    }
