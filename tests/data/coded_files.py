"""Objects in every transfer syntax that is read, made by hand; and what other decoders make of them."""

from __future__ import annotations

import io
import struct
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import imagecodecs
import numpy as np
from pydicom import Dataset, dcmread, dcmwrite
from pydicom.dataset import FileMetaDataset
from pydicom.pixels import pixel_array

from xraytk.data.bits import layout_of, stored_values
from xraytk.data.colour import luminance
from xraytk.data.decode import decode
from xraytk.data.dicom_write import encode_rle

Array = np.ndarray[Any, Any]
UID = "1.2.840.10008.1.2"
NAMES = {
    "implicit": UID,
    "explicit": f"{UID}.1",
    "big-endian": f"{UID}.2",
    "deflated": f"{UID}.1.99",
    "encapsulated uncompressed": f"{UID}.1.98",
    "deflated frame": f"{UID}.8.1",
    "RLE": f"{UID}.5",
    "JPEG baseline .50": f"{UID}.4.50",
    "JPEG extended .51": f"{UID}.4.51",
    "JPEG lossless .57": f"{UID}.4.57",
    "JPEG lossless .70": f"{UID}.4.70",
    "JPEG-LS .80": f"{UID}.4.80",
    "JPEG-LS near .81": f"{UID}.4.81",
    "JPEG 2000 .90": f"{UID}.4.90",
    "JPEG 2000 .91": f"{UID}.4.91",
    "HTJ2K .201": f"{UID}.4.201",
    "HTJ2K RPCL .202": f"{UID}.4.202",
    "HTJ2K .203": f"{UID}.4.203",
    "JPEG XL .110": f"{UID}.4.110",
    "JPEG XL .112": f"{UID}.4.112",
}
NATIVE = ("implicit", "explicit", "big-endian", "deflated")
LOSSY = (
    "JPEG baseline .50",
    "JPEG extended .51",
    "JPEG-LS near .81",
    "JPEG 2000 .91",
    "HTJ2K .203",
    "JPEG XL .112",
)
BITS = (8, 10, 12, 14, 16)
STAND_INS = {"JPEG XL": NAMES["HTJ2K .201"], "deflated": NAMES["JPEG-LS .80"]}
"""What pydicom does not write, is written under another syntax's name."""
ITEM = b"\xfe\xff\x00\xe0"


class Case(NamedTuple):
    name: str
    bits: int
    signed: bool = False
    photometric: str = "MONOCHROME2"
    planar: int = 0

    @property
    def colour(self) -> bool:
        return not self.photometric.startswith("MONOCHROME")


def cases(name: str) -> Iterator[Case]:
    """All that a syntax can hold: DCT 8 or 12 bits unsigned, JPEG XL unsigned, the others anything."""
    bits = {"JPEG baseline .50": (8,), "JPEG extended .51": (8, 10, 12)}.get(name, BITS)
    unsigned_only = name in LOSSY[:2] or name.startswith("JPEG XL")
    for count in bits:
        for signed in (False,) if unsigned_only else (False, True):
            for photometric in ("MONOCHROME1", "MONOCHROME2"):
                yield Case(name, count, signed, photometric)
    if name == "JPEG extended .51":
        return
    yield Case(name, 8, photometric="YBR_FULL_422" if name == "JPEG baseline .50" else "RGB")
    if name in (*NATIVE, "encapsulated uncompressed", "deflated frame", "RLE"):
        yield Case(name, 8, photometric="RGB", planar=1)
        yield Case(name, 8, photometric="YBR_FULL", planar=0)
        yield Case(name, 16, photometric="RGB", planar=1)


def values_of(case: Case, shape: tuple[int, int] = (51, 67)) -> Array:
    """Stored values: a slope, noise and both ends of the range, odd sides."""
    rng = np.random.default_rng(case.bits)
    high, wide = shape
    top = (1 << case.bits) - 1
    values = np.add.outer(np.arange(high), np.arange(wide)) / (high + wide - 2) * top
    values[high // 2 : -8] = rng.integers(0, top + 1, (high - 8 - high // 2, wide))
    values[-8:-4] = 0
    values = np.rint(values).astype(np.int64) - (1 << (case.bits - 1) if case.signed else 0)
    if case.colour:
        values = np.dstack([values, values[::-1], values[:, ::-1]])
    return values


def words_of(case: Case, values: Array) -> Array:
    """Values as words: sign-extended when signed."""
    return values.astype(f"{'i' if case.signed else 'u'}{1 if case.bits == 8 else 2}")


def encode(case: Case, values: Array) -> bytes:
    """One frame, not for `NATIVE` syntaxes."""
    words, name, bits = words_of(case, values), case.name, case.bits
    plain = words.view(f"u{words.itemsize}") & ((1 << bits) - 1)
    plain = plain.astype(f"u{words.itemsize}")
    if name in ("encapsulated uncompressed", "deflated frame"):
        data = native_bytes(case, words)
        if name == "encapsulated uncompressed":
            return data
        deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
        return deflater.compress(data) + deflater.flush()
    if name == "RLE":
        return encode_rle(words)
    if name in LOSSY[:2]:
        return bytes(imagecodecs.jpeg8_encode(plain, level=90, bitspersample=8 if bits == 8 else 12))
    if "lossless" in name:
        predictor = 1 if name.endswith(".70") else 6
        more = {"colorspace": "RGB", "outcolorspace": "RGB"} if case.colour else {}
        return bytes(
            imagecodecs.jpeg8_encode(plain, lossless=True, predictor=predictor, bitspersample=bits, **more)
        )
    if name.startswith("JPEG-LS"):
        return bytes(imagecodecs.jpegls_encode(plain, level=2 if name.endswith(".81") else 0))
    if name.startswith("JPEG 2000"):
        lossless = name.endswith(".90")
        return bytes(imagecodecs.jpeg2k_encode(
            words, level=0 if lossless else 40, codecformat="j2k", reversible=lossless, bitspersample=bits
        ))  # fmt: skip
    if name.startswith("JPEG XL"):
        more = {"lossless": True} if name.endswith(".110") else {"distance": 1.0}
        return bytes(imagecodecs.jpegxl_encode(plain, **more))
    return bytes(imagecodecs.htj2k_encode(words, reversible=not name.endswith(".203")))


def native_bytes(case: Case, words: Array, order: str = "<") -> bytes:
    arranged = np.moveaxis(words, 2, 0) if case.planar else words
    return np.ascontiguousarray(arranged).astype(words.dtype.newbyteorder(order)).tobytes()


def fragments(frame: bytes, count: int = 1, table: tuple[int, ...] = ()) -> bytes:
    """A frame in so many items of even length, after a basic offset table."""
    frame += b"\0" * (len(frame) % 2)
    size = max(2, -(-len(frame) // count // 2) * 2)
    parts = [frame[at : at + size] for at in range(0, len(frame), size)]
    items = [struct.pack(f"<{len(table)}I", *table), *parts]
    return b"".join(ITEM + struct.pack("<I", len(item)) + item for item in items)


def object_of(case: Case, values: Array, pixel_data: bytes | None = None, **elements: Any) -> bytes:
    """A CR object (a Secondary Capture for colour)."""
    words, ds = words_of(case, values), Dataset()
    ds.SOPClassUID = "1.2.840.10008.5.1.4.1.1.7" if case.colour else "1.2.840.10008.5.1.4.1.1.1"
    ds.SOPInstanceUID, ds.StudyInstanceUID, ds.Modality, ds.BodyPartExamined = (
        "1.2.3.4",
        "1.2.3",
        "CR",
        "CHEST",
    )
    ds.PatientID, ds.PatientName = "P1", "Doe^Jane"
    ds.SamplesPerPixel, ds.PhotometricInterpretation = (3 if case.colour else 1), case.photometric
    if case.colour:
        ds.PlanarConfiguration = case.planar
    ds.Rows, ds.Columns = words.shape[:2]
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = words.itemsize * 8, case.bits, case.bits - 1
    ds.PixelRepresentation = int(case.signed)
    for key, value in elements.items():
        setattr(ds, key, value)
    little, implicit = case.name != "big-endian", case.name == "implicit"
    if case.name in NATIVE:
        data = native_bytes(case, words, "<" if little else ">")
        ds.PixelData = data + b"\0" * (len(data) % 2)
        ds["PixelData"].VR = "OB" if words.itemsize == 1 and not implicit else "OW"
    else:
        ds.PixelData = pixel_data if pixel_data is not None else fragments(encode(case, values))
        ds["PixelData"].VR, ds["PixelData"].is_undefined_length = "OB", True
    ds.file_meta = FileMetaDataset()
    uid = NAMES[case.name]
    stand_in = uid if case.name in NATIVE else STAND_INS.get(case.name[:8].strip(), uid)
    ds.file_meta.TransferSyntaxUID = stand_in
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    out = io.BytesIO()
    dcmwrite(out, ds, implicit_vr=implicit, little_endian=little, enforce_file_format=True)
    return out.getvalue().replace(stand_in.encode(), uid.ljust(len(stand_in), chr(0)).encode(), 1)


def second(case: Case, values: Array) -> dict[str, Array]:
    """Values by every other decoder that reads the object: engine to (H, W) or (H, W, 3).

    Grey values are taken from a twin with MONOCHROME2, because ITK hands out inverted values of
    MONOCHROME1. ITK is not asked for what it converts (YBR) or gets wrong (planes of 16-bit
    RLE colours: pydicom and the values that were written say so). An engine that refuses the
    object is left out.
    """
    found, ways = {}, {"GDCM": _by_gdcm}
    grey = case if case.colour else case._replace(photometric="MONOCHROME2")
    data = object_of(grey, values)
    if case.photometric == "YBR_FULL" or (case.colour and (case.name, case.bits) == ("RLE", 16)):
        del ways["GDCM"]
    if case.name in NATIVE or case.name == "RLE":
        ways["pydicom"] = lambda data: _by_pydicom(data, "pydicom")
    if case.name.startswith("JPEG-LS"):
        ways["pyjpegls"] = lambda data: _by_pydicom(data, "pyjpegls")
    if "2000" in case.name or "HTJ2K" in case.name:
        ways["pylibjpeg-openjpeg"] = lambda data: _by_pydicom(data, "pylibjpeg")
    for engine, way in ways.items():
        try:
            found[engine] = stored(case, way(data).astype(np.int64))
        except Exception:
            continue
    return found


def stored(case: Case, values: Array) -> Array:
    """Values without what is outside the stored bits (DICOM PS3.5 8.1.1), which few decoders mask."""
    values = values & ((1 << case.bits) - 1)
    return np.where(values >> (case.bits - 1), values - (1 << case.bits), values) if case.signed else values


class Comparison(NamedTuple):
    case: Case
    written: bool | None
    """Whether the values are those that were written; None for lossy syntaxes."""
    others: dict[str, int]
    """Largest difference from each other decoder."""


def compare(case: Case) -> Comparison:
    """Decode one case with xraytk and with all others."""
    values = values_of(case)
    ds = dcmread(io.BytesIO(object_of(case, values)))
    raw = decode(ds, NAMES[case.name])
    allocated = raw.itemsize * 8
    mine = (
        raw.astype(np.int64) if case.colour else stored_values(1 << allocated, layout_of(ds, allocated))[raw]
    )

    def as_grey(found: Array, photometric: str) -> Array:
        if not case.colour:
            return found
        return luminance(found.astype(words_of(case, values).dtype), photometric, is_rgb=False).astype(
            np.int64
        )

    written = None if case.name in LOSSY else bool((mine == as_grey(values, case.photometric)).all())
    photometric = "RGB" if case.photometric == "YBR_FULL_422" else case.photometric  # they convert
    others = {
        engine: int(np.abs(mine - as_grey(found, photometric)).max())
        for engine, found in second(case, values).items()
    }
    return Comparison(case, written, others)


def _by_gdcm(data: bytes) -> Array:
    import SimpleITK

    SimpleITK.ProcessObject.SetGlobalWarningDisplay(False)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "image.dcm"
        path.write_bytes(data)
        return np.asarray(SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(path))))[0]


def _by_pydicom(data: bytes, plugin: str) -> Array:
    ds = dcmread(io.BytesIO(data))
    native = ds.file_meta.TransferSyntaxUID in [NAMES[n] for n in NATIVE]
    more = {} if native else {"decoding_plugin": plugin}
    return np.asarray(pixel_array(ds, raw=True, **more))
