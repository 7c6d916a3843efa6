from __future__ import annotations

import base64
import csv
import io
import json
import logging
import sqlite3
import zipfile
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import planted
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from planted import Mint, assert_nothing_planted, find_planted, plant
from pydicom import dcmread

from xraytk import ingest
from xraytk.data.decode import decode
from xraytk.data.profile import clean_dicom
from xraytk.data.refused import Refused
from xraytk.ingest import IngestConfig

KEY = bytes(range(32))
KINDS: dict[str, dict[str, Any]] = {
    "dx-explicit": {},
    "dx-implicit": {"syntax": planted.IMPLICIT, "every": 2},
    "dx-deflated": {"syntax": planted.DEFLATED, "every": 9},
    "cr-jpeg-lossless": {
        "sop_class": planted.CR, "syntax": planted.LOSSLESS, "stuffing": planted.stuff_jpeg, "every": 9,
    },
    "cr-jpeg-ls": {
        "sop_class": planted.CR, "syntax": planted.JPEG_LS, "stuffing": planted.stuff_jpeg, "every": 9,
    },
    "dx-jpeg2000": {"syntax": planted.JPEG2000, "stuffing": planted.stuff_jpeg2000, "every": 9},
    "dx-rle": {"syntax": planted.RLE, "stuffing": planted.stuff_run_lengths, "every": 9},
    "sc-colour": {"sop_class": planted.SC, "colour": True, "every": 9},
    "sc-colour-jpeg": {
        "sop_class": planted.SC, "colour": True, "syntax": planted.JPEG, "stuffing": planted.stuff_jpeg,
        "every": 9,
    },
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_none_of_the_tokens_planted_in_an_object_leaves_it(kind: str, capfd: Any, caplog: Any) -> None:
    mint = Mint(seed=1)
    made = plant(mint, 1, **KINDS[kind])
    assert len(mint.tokens) >= (1000 if "every" in KINDS[kind] else 6000)
    everywhere, _ = find_planted(mint.tokens, texts=[made.data])
    missing = set(mint.tokens.values()) - {place for place, _ in everywhere}
    assert not missing, "planted but not there, so that the test would see nothing"
    outputs = [
        clean_dicom(made.data, key=KEY),
        clean_dicom(made.data, key=KEY, text_boxes=[(3, 5, 20, 15)], patient="00ff00ff00ff00ff"),
    ]
    said = capfd.readouterr()
    print(f"{len(mint.tokens):,} tokens planted in {kind}")
    assert_nothing_planted(mint.tokens, texts=[*outputs, said.out, said.err, caplog.text])


@pytest.mark.parametrize("kind", [k for k in KINDS if "colour" not in k])
def test_the_stored_values_are_those_of_the_planted_object(kind: str) -> None:
    made = plant(Mint(seed=2), 2, **{**KINDS[kind], "every": 50})
    ds = dcmread(io.BytesIO(clean_dicom(made.data, key=KEY)))
    assert np.array_equal(decode(ds, str(ds.file_meta.TransferSyntaxUID)), made.pixels)


def refused(data: bytes) -> str:
    with pytest.raises(Refused) as told:
        clean_dicom(data, key=KEY)
    return f"{told.value!r} {told.value} {told.value.__cause__!r} {told.value.__context__!r}"


def test_refusals_quote_nothing(capfd: Any, caplog: Any) -> None:
    mint = Mint(seed=3)
    caplog.set_level(logging.DEBUG)
    data = plant(mint, 3, every=9).data
    swapped = [
        data.replace(planted.DX.encode(), b"1.2.840.10008.5.1.4.1.1.2\0\0"),
        data.replace(b"MONOCHROME2 ", b"ZQNOTHING   "),
        data[: len(data) // 2],
        data[: len(data) // 3],
    ]
    texts = [refused(broken) for broken in swapped]
    said = capfd.readouterr()
    assert_nothing_planted(mint.tokens, texts=[*texts, said.out, said.err, caplog.text])


class Notes:
    """A progress that keeps what it is told."""

    def __init__(self) -> None:
        self.stream = io.StringIO()

    def task(self, name: str, total: int | None, unit: str = "images") -> Any:
        from xraytk.progress import Lines

        return Lines(self.stream, 0.0).task(name, total, unit)

    def note(self, text: str) -> None:
        self.stream.write(text + "\n")


def build_archive(root: Path, mint: Mint) -> list[planted.Planted]:
    """A folder of planted objects, a zip and a picture; all names hold tokens."""
    folder = root / mint.text("folder name") / f"{mint.text('folder name')}^{mint.han('folder name')}"
    folder.mkdir(parents=True)
    made = []
    for number, kind in enumerate(KINDS.values()):
        made.append(plant(mint, number, **{**kind, "every": 9}))
        (folder / f"{mint.text('file name')}.dcm").write_bytes(made[-1].data)
    with zipfile.ZipFile(folder / f"{mint.text('archive name')}.zip", "w") as archive:
        made.append(plant(mint, 20, every=9))
        archive.writestr(f"{mint.text('member name')}/{mint.han('member name')}.dcm", made[-1].data)
        archive.comment = mint.text("archive comment").encode()
    picture = (np.add.outer(np.arange(70), np.arange(90)) % 251).astype(np.uint8)
    (folder / f"{mint.text('picture name')}.png").write_bytes(planted.plant_png(mint, picture))
    (folder / f"{mint.text('name of no image')}.txt").write_text(mint.text("text file") * 9)
    whole = made[0].data
    (folder / f"{mint.text('name of a broken file')}.dcm").write_bytes(whole[: len(whole) // 2])
    return made


def write_tables(root: Path, made: list[planted.Planted], mint: Mint) -> tuple[Path, Path]:
    """Reports and labels keyed by accession, that name patients as their headers do."""
    reports, labels = root / f"{mint.text('name of the reports')}.csv", root / "labels.csv"
    with reports.open("w", newline="", encoding="utf-8") as stream:
        rows = csv.writer(stream)
        rows.writerow(["AccessionNumber", "report_en", "report_zh", mint.text("column name")])
        for one in made:
            latin, han, _ = one.patient_name.split("=")
            english = (
                f"Heart normal. Dictated for {latin.replace('^', ' ')}, MRN {one.patient_id}. Lungs clear."
            )
            chinese = f"心影正常。患者{han.replace('^', '')}，检查号{one.accession}。双肺清晰。"
            rows.writerow([one.accession, english, chinese, mint.text("column of the reports")])
    with labels.open("w", newline="", encoding="utf-8") as stream:
        rows = csv.writer(stream)
        rows.writerow(["AccessionNumber", "Effusion", mint.text("column name"), "Remark"])
        for number, one in enumerate(made):
            cells = [mint.text("cell of the labels"), mint.han("cell of the labels")]
            rows.writerow([one.accession, number % 2, *cells])
    return reports, labels


def test_none_of_the_tokens_planted_in_an_archive_leaves_through_ingest(
    tmp_path: Path, capfd: Any, caplog: Any
) -> None:
    mint, notes = Mint(seed=4), Notes()
    caplog.set_level(logging.DEBUG)
    made = build_archive(tmp_path / "in", mint)
    reports, labels = write_tables(tmp_path, made, mint)
    out = tmp_path / "out"
    config = IngestConfig(
        source=tmp_path / "in", work=tmp_path, out=out, key=tmp_path / "key", workers=1, max_px=64,
        reports=reports, labels=labels, write_dicom=True, not_chest="keep", burned_in="keep",
    )  # fmt: skip
    result = ingest.run(config, notes)
    assert result.images >= len(made)
    assert result.reports_matched == result.labels_matched == len(made)
    said = capfd.readouterr()
    texts = [said.out, said.err, caplog.text, notes.stream.getvalue(), repr(result), repr(config)[:0]]
    size = assert_nothing_planted(mint.tokens, [out], texts)
    print(f"{len(mint.tokens):,} tokens planted, {size:,} bytes looked at")
    assert size > 100_000


# --- the tests can fail ---------------------------------------------------------------------

LEAKS = {
    "plain": lambda t: t.encode(),
    "lower case": lambda t: t.lower().encode(),
    "upper case": lambda t: t.upper().encode(),
    "utf-16": lambda t: b"\1" + t.encode("utf-16-le"),
    "utf-16 big endian": lambda t: t.encode("utf-16-be"),
    "base64": lambda t: base64.b64encode(t.encode()),
    "base64, after one byte": lambda t: base64.b64encode(b"x" + t.encode() + b"yz"),
    "base64, after two bytes": lambda t: base64.urlsafe_b64encode(b"xy" + t.encode() + b"z"),
    "hexadecimal": lambda t: t.encode().hex().encode(),
    "json": lambda t: json.dumps({"a": t}).encode(),
    "png row": lambda t: cv2.imencode(".png", np.frombuffer(t.encode() * 9, np.uint8)[None])[1].tobytes(),
    "zip": lambda t: zipped(t),
    "zip in zip": lambda t: zipped(zipped(t)),
    "parquet": lambda t: parquet(t),
    "sqlite": lambda t: sqlite(t),
    "picture in html": lambda t: b'<img src="data:image/png;base64,' + base64.b64encode(png_text(t)) + b'">',
}


def zipped(content: str | bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a", content)
    return stream.getvalue()


def parquet(token: str) -> bytes:
    stream = io.BytesIO()
    pq.write_table(pa.table({"a": ["b", token] * 50}), stream, compression="zstd")
    return stream.getvalue()


def sqlite(token: str) -> bytes:
    db = sqlite3.connect(":memory:")
    db.execute("CREATE TABLE t (x)")
    db.execute("INSERT INTO t VALUES (?)", ("-" * 5000 + token + "-" * 5000,))
    db.commit()
    data = bytes(db.serialize())
    db.close()
    return data


def png_text(token: str) -> bytes:
    png = cv2.imencode(".png", np.zeros((4, 4), np.uint8))[1].tobytes()
    body = b"zTXt" + b"a\0\0" + zlib.compress(token.encode())
    chunk = (len(body) - 4).to_bytes(4, "big") + body + zlib.crc32(body).to_bytes(4, "big")
    return png[:33] + chunk + png[33:]


@pytest.mark.parametrize("how", LEAKS)
@pytest.mark.parametrize("what", ["text", "han", "uid", "date"])
def test_a_leak_is_found_in_every_form(tmp_path: Path, how: str, what: str) -> None:
    mint = Mint(seed=5)
    for _ in range(50):
        mint.text("somewhere")
    token = getattr(mint, what)("here")
    (tmp_path / "out.bin").write_bytes(LEAKS[how](token))
    found, _ = find_planted(mint.tokens, [tmp_path])
    assert {place for place, _ in found} == {"here"}
    with pytest.raises(AssertionError, match="leaks"):
        assert_nothing_planted(mint.tokens, [tmp_path])


def test_a_leak_in_a_name_or_a_message_is_found(tmp_path: Path) -> None:
    mint = Mint(seed=6)
    token, other = mint.text("here"), mint.han("there")
    (tmp_path / f"{token.lower()}.png").write_bytes(b"")
    found, _ = find_planted(mint.tokens, [tmp_path], [f"cannot read {other}"])
    assert {place for place, _ in found} == {"here", "there"}


def test_a_profile_that_keeps_one_attribute_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    from pydicom.dataset import Dataset

    from xraytk.data import profile

    mint = Mint(seed=7)
    made = plant(mint, 7, every=9)
    honest = profile.clean_header

    def leaky(ds: Dataset, *more: Any) -> Dataset:
        kept = honest(ds, *more)
        kept.StationName = ds.StationName
        return kept

    monkeypatch.setattr(profile, "clean_header", leaky)
    found, _ = find_planted(mint.tokens, texts=[clean_dicom(made.data, key=KEY)])
    assert {place for place, _ in found} == {"StationName"}
