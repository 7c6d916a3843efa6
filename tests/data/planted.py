"""Support for tests: DICOM objects with a unique token in everything that can hold a text.

`plant` makes them, `assert_nothing_planted` looks for the tokens, in every form, in files and texts.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import datetime as dt
import functools
import gzip
import io
import json
import random
import re
import sqlite3
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import cv2
import imagecodecs
import numpy as np
import pydicom.config
from pydicom import dcmwrite
from pydicom._dicom_dict import DicomDictionary, RepeatersDictionary
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.filereader import _read_file_meta_info, read_preamble
from pydicom.sequence import Sequence
from pydicom.uid import UID

from xraytk.data import profile_table

_ALPHABET = "BCDFGHJKLMNPQRSTVWXZ0123456789"
_HAN = (
    "赵钱孙李周吴郑王冯陈褚卫蒋沈韩杨朱秦尤许何吕施张孔曹严华金魏陶姜"
    "戚谢邹喻柏水窦章云苏潘葛奚范彭郎鲁韦昌马苗凤花方俞任袁柳"
)
_HANGUL = "가나다라마바사아자차카타파하거너더러머버서어저처커터퍼허고노도로모보소오조초코토포호"
_SHORTEST = 8
_COMMON_GROUPS = (0x0008, 0x0010, 0x0020, 0x0028)
DX, CR, SC = "1.2.840.10008.5.1.4.1.1.1.1", "1.2.840.10008.5.1.4.1.1.1", "1.2.840.10008.5.1.4.1.1.7"
IMPLICIT, EXPLICIT, DEFLATED = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.1.99"
RLE = "1.2.840.10008.1.2.5"
JPEG, LOSSLESS, JPEG_LS, JPEG2000 = (f"1.2.840.10008.1.2.4.{n}" for n in (50, 70, 80, 90))


class Mint:
    """Makes tokens that no other text holds, and notes where each was put."""

    def __init__(self, seed: int = 0) -> None:
        self.tokens: dict[str, str] = {}
        self._random = random.Random(seed)
        self._days = {True: dt.date(1880, 1, 1), False: dt.date(1890, 1, 1)}

    def text(self, place: str, length: int = 14) -> str:
        return self._note("ZQ" + "".join(self._random.choices(_ALPHABET, k=length - 2)), place)

    def han(self, place: str, letters: str = _HAN) -> str:
        return self._note("".join(self._random.choices(letters, k=7)), place)

    def uid(self, place: str) -> str:
        return self._note(f"1.2.826.0.1.{self._random.randrange(10**18, 10**19)}", place)

    def whole(self, place: str) -> str:
        return self._note(str(self._random.randrange(10**9, 2**31 - 1)), place)

    def decimal(self, place: str, start: str = "") -> str:
        start = start or f"{self._random.randrange(10, 100)}."
        return self._note(start + "".join(self._random.choices("123456789", k=16 - len(start))), place)

    def date(self, place: str, *, kept: bool = False) -> str:
        """A day of its own; dates that are shifted start earlier, so that none lands on another."""
        self._days[kept] += dt.timedelta(1)
        return self._note(f"{self._days[kept]:%Y%m%d}", place)

    def time(self, place: str) -> str:
        draw = self._random.randrange
        clock = f"{draw(8, 23):02d}{draw(10, 59)}{draw(10, 59)}.{draw(10**5, 10**6)}"
        return self._note(clock, place)

    def name(self, place: str) -> str:
        groups = [
            f"{self.text(place)}^{self.text(place)}",
            f"{self.han(place)}^{self.han(place)}",
            self.han(place, _HANGUL),
        ]
        return "=".join(groups)

    def _note(self, token: str, place: str) -> str:
        assert token not in self.tokens
        self.tokens[token] = place
        return token


_FIXED_WORDS = (
    "SpecificCharacterSet SOPClassUID Modality ImageType BodyPartExamined PresentationIntentType "
    "RescaleSlope RescaleIntercept WindowCenter WindowWidth KVP DistanceSourceToDetector PatientSize "
    "PatientWeight PixelSpacing ImagerPixelSpacing NominalScannedPixelSpacing NumberOfFrames "
    "PixelAspectRatio PhotometricInterpretation ContentSequence ViewCodeSequence ModalityLUTSequence "
    "VOILUTSequence"
)
_FIXED = frozenset(_FIXED_WORDS.split())
"""What an image must say truly to be read; all but the ids of classes get tokens of another kind."""


@dataclass(frozen=True)
class Planted:
    """One object, and the facts that a test needs of it."""

    data: bytes = field(repr=False)
    patient_id: str
    patient_name: str
    accession: str
    study_uid: str
    pixels: np.ndarray[Any, Any] = field(repr=False)


def value_for(mint: Mint, vr: str, place: str) -> Any:
    """A value of a VR that holds a token; None where none fits (binary numbers, ages)."""
    makers: dict[str, Callable[[], Any]] = {
        **dict.fromkeys(("LO", "ST", "LT", "UT", "UC", "SH", "CS", "AE"), lambda: mint.text(place)),
        "PN": lambda: mint.name(place),
        "UI": lambda: mint.uid(place),
        "IS": lambda: mint.whole(place),
        "DS": lambda: mint.decimal(place),
        "DA": lambda: mint.date(place),
        "TM": lambda: mint.time(place),
        "DT": lambda: f"{mint.date(place)}{mint.time(place)}",
        "UR": lambda: f"http://{mint.text(place)}.example/{mint.text(place)}",
        **dict.fromkeys(("OB", "OW", "UN", "OF", "OD", "OL"), lambda: mint.text(place, 16).encode()),
    }
    wide = "OW" if "OW" in vr else "OB" if "OB" in vr else vr
    return makers[wide]() if wide in makers else None


def plant(
    mint: Mint,
    number: int,
    *,
    sop_class: str = DX,
    syntax: str = EXPLICIT,
    colour: bool = False,
    stuffing: Callable[[bytes, Mint], bytes] | None = None,
    every: int = 1,
) -> Planted:
    """Make an object with tokens in every element of the dictionary that can hold one.

    Args:
        mint: Of the tokens.
        number: Different pixels for each.
        sop_class: DX, CR or SC.
        syntax: Transfer syntax.
        colour: Three samples.
        stuffing: Puts tokens into a codestream.
        every: Plant only every so many elements of the dictionary, and all of the common ones.
    """
    with pydicom.config.disable_value_validation():
        ds = Dataset()
        _plant_dictionary(ds, mint, every)
        _plant_nested(ds, mint, every)
        _plant_private(ds, mint)
        ds.SpecificCharacterSet, ds.SOPClassUID = "ISO_IR 192", sop_class
        ds.Modality = "CR" if sop_class == CR else "DX"
        ds.ImageType = ["ORIGINAL", "PRIMARY", mint.text("ImageType")]
        ds.PatientAge, ds.BodyPartExamined, ds.PresentationIntentType = "045Y", "CHEST", "FOR PRESENTATION"
        _plant_numbers(ds, mint)
        pixels = _put_pixels(ds, mint, number, syntax, colour, stuffing)
        data = _written(ds, mint, syntax)
    return Planted(
        data, ds.PatientID, str(ds.PatientName), ds.AccessionNumber, str(ds.StudyInstanceUID), pixels
    )


def _plant_dictionary(ds: Dataset, mint: Mint, every: int) -> None:
    for i, (number, (vr, _, name, _, keyword)) in enumerate(sorted(DicomDictionary.items())):
        group = number >> 16
        if i % every and group not in _COMMON_GROUPS:
            continue
        if group in (0x0000, 0x0002, 0xFFFE, 0x7FE0) or vr == "SQ" or keyword in _FIXED:
            continue
        place = keyword or name
        if vr == "DA" and keyword in profile_table.DATES:
            ds.add_new(number, "DA", mint.date(place, kept=True))
        elif vr == "DT" and keyword in profile_table.DATETIMES:
            ds.add_new(number, "DT", mint.date(place, kept=True) + mint.time(place))
        elif (value := value_for(mint, vr, place)) is not None:
            ds.add_new(number, vr if " " not in vr else "OW" if "OW" in vr else "OB", value)
    for mask, (vr, _, name, _, _) in sorted(RepeatersDictionary.items()):
        for digits in ("00", "02"):
            number = int(mask.replace("xx", digits).replace("x", "0"), 16)
            if number in ds or vr == "SQ":
                continue
            if (value := value_for(mint, vr, f"{name} {digits}")) is not None:
                ds.add_new(number, vr if " " not in vr else "OW", value)


def _plant_nested(ds: Dataset, mint: Mint, every: int) -> None:
    for i, (number, (vr, _, name, _, keyword)) in enumerate(sorted(DicomDictionary.items())):
        if i % every:
            continue
        if vr == "SQ" and keyword not in _FIXED:
            ds.add_new(number, "SQ", Sequence([_item(mint, f"{keyword or name}[0]")]))
    deep = Dataset()
    deep.PatientName, deep.ImageComments = mint.name("nested 5"), mint.text("nested 5")
    for depth in range(4):
        outer = Dataset()
        outer.ContentSequence, outer.TextValue = Sequence([deep]), mint.text(f"nested {4 - depth}")
        deep = outer
    ds.ContentSequence = Sequence([deep])
    view = Dataset()
    view.CodeValue, view.CodingSchemeDesignator = "272479007", "SCT"
    view.CodeMeaning, view.CodingSchemeVersion = (
        mint.text("known code's meaning"),
        mint.text("scheme version"),
    )
    view.ViewModifierCodeSequence = Sequence([_item(mint, "ViewCodeSequence[0].ViewModifierCodeSequence[0]")])
    ds.ViewCodeSequence = Sequence([view, _item(mint, "ViewCodeSequence[1]")])
    for keyword in ("ModalityLUTSequence", "VOILUTSequence"):
        table = Dataset()
        table.add_new("LUTDescriptor", "US", [4096, 0, 16])
        entries = np.linspace(0, 65535, 4096).astype("<u2").tobytes()
        table.add_new("LUTData", "OW", entries + mint.text(f"{keyword} after its last entry").encode())
        table.LUTExplanation = mint.text(f"{keyword}.LUTExplanation")
        table.ModalityLUTType = mint.text(f"{keyword}.ModalityLUTType")
        table.add_new((0x0029, 0x0010), "LO", mint.text(f"{keyword} private"))
        setattr(ds, keyword, Sequence([table]))


def _item(mint: Mint, place: str) -> Dataset:
    item = Dataset()
    item.CodeMeaning, item.CodeValue = mint.text(place), mint.text(place)
    item.ReferencedSOPInstanceUID = mint.uid(place)
    return item


def _plant_private(ds: Dataset, mint: Mint) -> None:
    for group in (0x0009, 0x0019, 0x0029, 0x00E1, 0x0905, 0x7FE1):
        ds.add_new((group, 0x0010), "LO", mint.text(f"private creator {group:04x}"))
        for place, vr in enumerate(("LO", "SH", "PN", "UT", "UN", "OB", "DA", "UI", "DS", "CS")):
            value = value_for(mint, vr, f"private {group:04x} {vr}")
            ds.add_new((group, 0x1001 + place), vr, value)
        ds.add_new((group, 0x1020), "SQ", Sequence([_item(mint, f"private {group:04x} SQ")]))
        csa = b"SV10\4\3\2\1" + mint.text(f"private {group:04x} CSA").encode() + b"\0" * 50
        ds.add_new((group, 0x1021), "OB", csa)
    ds.add_new((0x0011, 0x1001), "LO", mint.text("private without creator"))
    ds.add_new((0x0018, 0x0001), "UN", mint.text("unknown public element", 16).encode())
    ds.add_new((0x0008, 0x00EE), "LO", mint.text("unknown public element"))


def _plant_numbers(ds: Dataset, mint: Mint) -> None:
    """Numbers that an image needs, in their range, with a token in their last digits."""
    starts = {
        "RescaleSlope": "1.0000000", "RescaleIntercept": "0.000000", "WindowCenter": "2047.5",
        "WindowWidth": "4095.1", "KVP": "120.123", "DistanceSourceToDetector": "1800.12",
        "PatientSize": "1.7654321", "PatientWeight": "71.54321",
    }  # fmt: skip
    for keyword, start in starts.items():
        setattr(ds, keyword, mint.decimal(f"{keyword}, in its range", start))
    for keyword in ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing"):
        setattr(ds, keyword, [mint.decimal(f"{keyword}, in its range", "0.1431234") for _ in range(2)])
    ds.NumberOfFrames, ds.PixelAspectRatio = 1, ["1", "1"]
    ds.add_new("PixelIntensityRelationshipSign", "SS", 1)


def _put_pixels(
    ds: Dataset,
    mint: Mint,
    number: int,
    syntax: str,
    colour: bool,
    stuffing: Callable[[bytes, Mint], bytes] | None,
) -> np.ndarray[Any, Any]:
    height, width = 96, 80
    ramp = np.add.outer(np.arange(height), np.arange(width)) * (9 + number) + number * 31
    if colour or syntax == JPEG:
        pixels = (ramp % 256).astype(np.uint8)
        pixels = np.repeat(pixels[..., None], 3, 2) if colour else pixels
    else:
        pixels = (ramp % 4096).astype(np.uint16)
    ds.Rows, ds.Columns = height, width
    ds.SamplesPerPixel, ds.PixelRepresentation = (3 if colour else 1), 0
    ds.PhotometricInterpretation = ("YBR_FULL_422" if syntax == JPEG else "RGB") if colour else "MONOCHROME2"
    if colour:
        ds.PlanarConfiguration = 0
    ds.BitsAllocated = pixels.itemsize * 8
    ds.BitsStored = 8 if pixels.itemsize == 1 else 12
    ds.HighBit = ds.BitsStored - 1
    if syntax in (IMPLICIT, EXPLICIT, DEFLATED):
        tail = mint.text(f"{syntax} after the last pixel", 16).encode()
        ds.add_new("PixelData", "OW", pixels.tobytes() + tail)
        return pixels
    frame = _encode(pixels, syntax)
    if stuffing is not None:
        frame = stuffing(frame, mint)
    ds.add_new("PixelData", "OB", encapsulate([frame]))
    ds["PixelData"].is_undefined_length = True
    return pixels


def _encode(pixels: np.ndarray[Any, Any], syntax: str) -> bytes:
    if syntax == JPEG:
        return bytes(imagecodecs.jpeg8_encode(pixels, level=95))
    if syntax == LOSSLESS:
        return bytes(imagecodecs.jpeg8_encode(pixels, lossless=True, predictor=1, bitspersample=12))
    if syntax == JPEG_LS:
        return bytes(imagecodecs.jpegls_encode(pixels, level=0))
    if syntax == JPEG2000:
        return bytes(
            imagecodecs.jpeg2k_encode(pixels, level=0, codecformat="j2k", reversible=True, bitspersample=12)
        )
    from xraytk.data.dicom_write import encode_rle

    return encode_rle(pixels)


def stuff_jpeg(frame: bytes, mint: Mint) -> bytes:
    """Comments, EXIF, JFIF with a thumbnail, Photoshop and unknown segments, and a tail."""

    def segment(marker: int, content: bytes) -> bytes:
        return struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content

    extra = segment(0xFE, mint.text("JPEG comment").encode())
    for app in range(16):
        head = {1: b"Exif\0\0II*\0\x08\0\0\0", 13: b"Photoshop 3.0\0"}.get(app, b"")
        extra += segment(0xE0 + app, head + mint.text(f"JPEG APP{app}").encode())
    extra += segment(0xE0, b"JFXX\0\x10" + mint.text("JFIF extension").encode())
    extra += segment(0xFE, mint.han("JPEG comment").encode("utf-16-le"))
    end = frame.rindex(b"\xff\xd9")
    before_end = segment(0xFE, mint.text("JPEG comment after the scan").encode())
    if b"\xff\xf7" in frame:  # JPEG-LS ends where its last scan does
        extra, before_end = extra + before_end, b""
    tail = mint.text("after the end of the JPEG").encode()
    return frame[:2] + extra + frame[2:end] + before_end + frame[end : end + 2] + tail


def stuff_jpeg2000(frame: bytes, mint: Mint) -> bytes:
    """A comment, and a tail."""
    comment = b"\0\1" + mint.text("JPEG 2000 comment").encode()
    at = 4 + struct.unpack_from(">H", frame, 4)[0]
    tail = mint.text("after the end of the JPEG 2000").encode()
    return frame[:at] + struct.pack(">HH", 0xFF64, len(comment) + 2) + comment + frame[at:] + tail


def stuff_run_lengths(frame: bytes, mint: Mint) -> bytes:
    """A text in the unused offsets."""
    return frame[: 64 - 20] + mint.text("unused RLE offsets", 20).encode() + frame[64:]


def _written(ds: Dataset, mint: Mint, syntax: str) -> bytes:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = ds.SOPClassUID, mint.uid("file meta")
    meta.TransferSyntaxUID, meta.ImplementationClassUID = UID(syntax), UID(mint.uid("file meta"))
    meta.ImplementationVersionName = mint.text("file meta")
    for keyword in ("SourceApplicationEntityTitle", "SendingApplicationEntityTitle"):
        setattr(meta, keyword, mint.text(f"file meta {keyword}"))
    meta.ReceivingApplicationEntityTitle = mint.text("file meta")
    meta.PrivateInformationCreatorUID = UID(mint.uid("file meta"))
    meta.PrivateInformation = mint.text("file meta private", 16).encode()
    ds.file_meta = meta
    ds.preamble = mint.text("preamble", 128).encode()
    stream = io.BytesIO()
    dcmwrite(stream, ds, implicit_vr=syntax == IMPLICIT, little_endian=True, enforce_file_format=True)
    return stream.getvalue() + b"\0" * 8 + mint.text("after the data set", 16).encode()


def plant_png(mint: Mint, pixels: np.ndarray[Any, Any]) -> bytes:
    """A picture with texts."""
    png = cv2.imencode(".png", pixels)[1].tobytes()
    texts = [b"tEXt" + b"Author\0" + mint.text("PNG tEXt").encode()]
    texts.append(b"zTXt" + b"Title\0\0" + zlib.compress(mint.text("PNG zTXt").encode()))
    texts.append(b"iTXt" + b"Name\0\0\0\0\0" + mint.han("PNG iTXt").encode())
    chunks = b"".join(struct.pack(">I", len(t) - 4) + t + struct.pack(">I", zlib.crc32(t)) for t in texts)
    return png[:33] + chunks + png[33:] + mint.text("after the PNG").encode()


# --- looking for them ---------------------------------------------------------------------


def assert_nothing_planted(
    tokens: Mapping[str, str], paths: Iterable[Path] = (), texts: Iterable[str | bytes] = ()
) -> int:
    """See that no token stands in files or texts, in any of its forms.

    Args:
        tokens: Token to the place where it was planted.
        paths: Files, and folders with all below them; names count as well as contents.
        texts: What was printed, logged, or raised.

    Returns:
        Bytes that were looked at, inflated and decoded ones included.
    """
    found, size = find_planted(tokens, paths, texts)
    assert not found, f"{len(found)} leaks: {sorted(found)[:20]}"
    return size


def find_planted(
    tokens: Mapping[str, str], paths: Iterable[Path] = (), texts: Iterable[str | bytes] = ()
) -> tuple[set[tuple[str, str]], int]:
    """The places of the tokens that were found, each with where; and the bytes looked at."""
    needles = _needles(tuple(tokens))
    found, size = set(), 0
    for where, data in _all_bytes(paths, texts):
        for view_name, view in views(data):
            size += len(view)
            found |= {(tokens[t], f"{where}: {view_name}") for t in _hits(view, needles)}
    return found, size


@functools.lru_cache(maxsize=4)
def _needles(tokens: tuple[str, ...]) -> dict[bytes, dict[bytes, str]]:
    """Forms of all tokens in lower case, by their first 8 bytes."""
    made: dict[bytes, dict[bytes, str]] = {}
    for token in tokens:
        for form in forms(token):
            assert len(form) >= _SHORTEST, (token, form)
            made.setdefault(form[:_SHORTEST].lower(), {})[form.lower()] = token
    return made


def forms(token: str) -> set[bytes]:
    """How a token can stand in bytes; letters of either case are compared alike later."""
    encodings = ["utf-8", "utf-16-le", "utf-16-be", "utf-32-le"]
    encodings += ["gb18030", "euc-kr"] if not token.isascii() else []
    made: set[bytes] = set()
    for encoding in encodings:
        with contextlib.suppress(UnicodeEncodeError):
            made.add(token.encode(encoding))
    for plain in list(made):
        made.add(binascii.hexlify(plain))
        for shift in range(3):
            coded = base64.b64encode(b"\0" * shift + plain)
            inner = coded[-(-shift * 8 // 6) : (shift + len(plain)) * 8 // 6]
            made |= {inner, inner.replace(b"+", b"-").replace(b"/", b"_")}
    if not token.isascii():
        made |= {json.dumps(token)[1:-1].encode(), quote(token).encode()}
        made.add("".join(f"&#{ord(c)};" for c in token).encode())
    if re.fullmatch(r"\d{8}", token):
        made.add(f"{token[:4]}-{token[4:6]}-{token[6:]}".encode())
    return made


def _hits(view: bytes, needles: Mapping[bytes, Mapping[bytes, str]]) -> set[str]:
    low = view.lower()
    if len(low) < _SHORTEST:
        return set()
    heads = np.sort(np.frombuffer(b"".join(needles), "<u8"))
    windows = np.concatenate(
        [
            np.frombuffer(low, "<u8", (len(low) - shift) // 8, shift)
            for shift in range(8)
            if len(low) >= 8 + shift
        ]
    )
    places = np.searchsorted(heads, windows)
    matched = set(windows[heads[np.minimum(places, heads.size - 1)] == windows].tolist())
    hits = set()
    for head in matched:
        for form, token in needles[int(head).to_bytes(8, "little")].items():
            if form in low:
                hits.add(token)
    return hits


def _all_bytes(paths: Iterable[Path], texts: Iterable[str | bytes]) -> Iterator[tuple[str, bytes]]:
    for number, text in enumerate(texts):
        data = text if isinstance(text, bytes) else text.encode("utf-8", "surrogateescape")
        yield f"text {number}", data
    for path in paths:
        below = sorted(path.rglob("*")) if path.is_dir() else [path]
        for file in below:
            name = file.relative_to(path) if path.is_dir() else Path(file.name)
            yield "name", str(name).encode("utf-8", "surrogateescape")
            if file.is_file() and not file.is_symlink():
                yield file.suffix or file.name, file.read_bytes()


def views(data: bytes, depth: int = 0) -> Iterator[tuple[str, bytes]]:
    """The bytes as they are, and what can be unpacked out of them."""
    yield "raw", data
    if depth > 3:
        return
    for name, unpack in _UNPACKERS:
        with contextlib.suppress(Exception):
            for inner in unpack(data):
                for inner_name, view in views(inner, depth + 1):
                    yield f"{name} > {inner_name}", view


def _of_png(data: bytes) -> Iterator[bytes]:
    if data[:8] != b"\x89PNG\r\n\x1a\n":
        return
    at, packed = 8, b""
    while at + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        body = data[at + 8 : at + 8 + length]
        packed += body if kind == b"IDAT" else b""
        if kind in (b"zTXt", b"iCCP"):
            yield zlib.decompress(body[body.index(b"\0") + 2 :])
        at += 12 + length
    yield zlib.decompress(packed)
    yield np.ascontiguousarray(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)).tobytes()


def _of_parquet(data: bytes) -> Iterator[bytes]:
    if data[:4] == b"PAR1":
        import pyarrow.parquet as pq

        table = pq.read_table(io.BytesIO(data))
        yield repr((table.schema, table.schema.metadata)).encode()
        yield json.dumps(table.to_pylist(), ensure_ascii=False, default=str).encode()


def _of_sqlite(data: bytes) -> Iterator[bytes]:
    if data[:15] == b"SQLite format 3":
        with contextlib.closing(sqlite3.connect(":memory:")) as db:
            db.text_factory = bytes
            db.deserialize(data)
            for (name,) in db.execute("SELECT name FROM sqlite_schema WHERE type = 'table'").fetchall():
                for row in db.execute(f'SELECT * FROM "{name.decode()}"'):
                    yield b"\n".join(v if isinstance(v, bytes) else str(v).encode() for v in row)


def _of_zip(data: bytes) -> Iterator[bytes]:
    if data[:2] == b"PK":
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            for member in archive.infolist():
                yield member.filename.encode()
                yield archive.read(member)


def _of_tar(data: bytes) -> Iterator[bytes]:
    if data[257:262] == b"ustar":
        with tarfile.open(fileobj=io.BytesIO(data)) as archive:
            for member in archive:
                yield member.name.encode()
                if member.isfile():
                    yield archive.extractfile(member).read()  # type: ignore[union-attr]


def _of_gzip(data: bytes) -> Iterator[bytes]:
    if data[:2] == b"\x1f\x8b":
        yield gzip.decompress(data)


def _of_dicom(data: bytes) -> Iterator[bytes]:
    if data[128:132] == b"DICM":
        meta = _read_meta(data)
        if meta.TransferSyntaxUID == DEFLATED:
            at = 132 + 12 + meta.FileMetaInformationGroupLength
            yield zlib.decompress(data[at:], -zlib.MAX_WBITS)


def _read_meta(data: bytes) -> Dataset:
    stream = io.BytesIO(data)
    read_preamble(stream, False)
    return _read_file_meta_info(stream)


def _of_embedded(data: bytes) -> Iterator[bytes]:
    """Pictures inside of HTML."""
    for found in re.findall(rb"data:[a-z/+-]+;base64,([A-Za-z0-9+/=]+)", data):
        yield base64.b64decode(found)


_UNPACKERS: tuple[tuple[str, Callable[[bytes], Iterator[bytes]]], ...] = (
    ("png", _of_png), ("parquet", _of_parquet), ("sqlite", _of_sqlite), ("zip", _of_zip), ("tar", _of_tar),
    ("gzip", _of_gzip), ("dicom", _of_dicom), ("embedded", _of_embedded),
)  # fmt: skip
