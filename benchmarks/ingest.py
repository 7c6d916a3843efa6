"""Time of one radiograph from DICOM bytes to a written 16-bit PNG: ours against the usual script.

    python benchmarks/ingest.py [--rounds 7] [--json]

The peer is what everybody writes: pydicom reads, applies modality and VOI LUT, OpenCV shrinks
by area averaging and writes a PNG with its default settings. Ours does all that `ingest` does
for a file: hash of the source, header, identity, decoding, grey in the order of the standard,
curation, shrinking, encoding, hash of the pixels, writing with fsync, and its row. "blind" is
ours without looking at the pixels for text, field, view and likeness, which the peer has not.

3000 x 2500, 12 bits stored, a phantom with the grain of a detector; one thread; both run in
this process, one after the other, A B A B. The numbers are medians of processor time, which
other work on the machine disturbs less than wall time.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import cv2
import numpy as np
import pydicom
from pydicom.pixels import apply_modality_lut, apply_voi_lut
from threadpoolctl import threadpool_limits

from xraytk.data import dicom, sources, unit, view
from xraytk.data.deid import hashed
from xraytk.data.dicom_write import write_dx
from xraytk.data.entries import entry_of
from xraytk.data.given import Tables
from xraytk.data.sheet import Lookup
from xraytk.data.storage import Storage

SYNTAXES = {
    "uncompressed": "explicit",
    "RLE": "rle",
    "JPEG lossless": "jpeg-lossless",
    "JPEG-LS": "jpeg-ls",
    "JPEG 2000": "jpeg2000",
    "HTJ2K": "htjpeg2000",
}
KEY = bytes(32)
TABLES = Tables(Lookup((), KEY), Lookup((), KEY), Lookup((), KEY), Lookup((), KEY))


def picture(height: int = 3000, width: int = 2500) -> np.ndarray[Any, np.dtype[np.uint16]]:
    """A thorax at coarse resolution, enlarged, with a detector's grain: 12 bits."""
    from xraytk.data.synthetic import make_phantom

    coarse = make_phantom(7, size_px=640).pixels.astype(np.float32)
    smooth = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    grain = np.random.default_rng(0).standard_normal((height, width)).astype(np.float32)
    return np.clip(smooth * 4095 + 18 * cv2.GaussianBlur(grain, (0, 0), 0.7), 0, 4095).astype(np.uint16)


def peer(path: Path, out: Path) -> None:
    """The usual script."""
    ds = pydicom.dcmread(path)
    grey = apply_voi_lut(apply_modality_lut(ds.pixel_array, ds), ds).astype(np.float32)
    if ds.PhotometricInterpretation == "MONOCHROME1":
        grey = grey.max() - grey
    low, high = grey.min(), grey.max()
    whole = ((grey - low) / (high - low) * 65535).astype(np.uint16)
    scale = 1280 / max(whole.shape)
    size = (round(whole.shape[1] * scale), round(whole.shape[0] * scale))
    cv2.imwrite(str(out), cv2.resize(whole, size, interpolation=cv2.INTER_AREA))


def ours(path: Path, folder: Path) -> None:
    """What a worker and the process above it do for a file."""
    (source,) = sources.list_sources(path)
    job = unit.Job(f"root/{hashed(KEY, 'source', source.name)}", source)
    outcome = unit.read_one(Storage(str(folder)), unit.Options(), job)
    entry = entry_of(job, outcome, KEY, TABLES)
    (folder / job.target()).replace(folder / (entry["row"]["image_id"] + ".png"))


def blind(path: Path, folder: Path) -> None:
    """Ours without the look at the pixels (text, field, view, likeness), which the peer has not."""
    guess = view.Guess("FRONTAL", True, 1.0, (1.0, 0.0, 0.0, 0.0))
    with (
        mock.patch.object(unit.burned, "find_text", return_value=[]),
        mock.patch.object(unit.collimation, "find_field", return_value=None),
        mock.patch.object(unit.lookalike, "signature", return_value=bytes(64)),
        mock.patch.object(unit.view, "guess_view", return_value=guess),
    ):
        ours(path, folder)


def cpu_ms(work: Callable[[], object]) -> float:
    """Processor time of one call."""
    began = time.process_time()
    work()
    return 1000 * (time.process_time() - began)


def measure(path: Path, folder: Path, rounds: int) -> dict[str, float]:
    """Medians for one file, in ms, and the ratio peer / ours."""
    data = path.read_bytes()
    ds = dicom.parse(data)
    syntax = dicom.syntax_of(ds)
    raw = dicom.decode(ds, syntax)
    whole = np.asarray(raw, dtype=np.uint16)
    size = (1280 * whole.shape[1] // whole.shape[0], 1280)
    works: dict[str, Callable[[], object]] = {
        "peer": lambda: peer(path, folder / "peer.png"),
        "ours": lambda: ours(path, folder),
        "blind": lambda: blind(path, folder),
        "decode": lambda: dicom.decode(ds, syntax),
        "resize": lambda: cv2.resize(whole, size, interpolation=cv2.INTER_AREA),
    }
    times: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(rounds + 1):
        for name, work in works.items():
            times[name].append(cpu_ms(work))
    found = {name: round(statistics.median(each[1:]), 1) for name, each in times.items()}
    for name in ("ours", "blind"):
        ratios = [p / o for p, o in zip(times["peer"][1:], times[name][1:], strict=True)]
        found[f"peer / {name}"] = round(statistics.median(ratios), 2)
        found[f"({name} - decode) / resize"] = round((found[name] - found["decode"]) / found["resize"], 2)
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--only", help="one syntax")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    threadpool_limits(1)
    pixels = picture()
    table = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "images").mkdir()
        for title, syntax in SYNTAXES.items():
            if options.only in (None, title):
                path = folder / f"{title}.dcm"
                write_dx(path, pixels, syntax=syntax, window=(2048.0, 4096.0), spacing_mm=(0.14, 0.14))
                table[title] = measure(path, folder, options.rounds)
                if not options.json:
                    print(
                        f"{title:14} " + "  ".join(f"{k} {v:g}" for k, v in table[title].items()), flush=True
                    )
    if options.json:
        print(json.dumps(table, indent=2))


if __name__ == "__main__":
    main()
