"""Codecs for shards: time to encode, time to decode, size, on real radiographs.

    python benchmarks/codecs.py [--quick] [--json] [--data DIR]

DIR holds the public sets `hd` and `covid_hannover`; each image is brought to 1280 pixels on its
long side. The 8-bit rows are those pictures rounded to 8 bits, the 16-bit rows keep what the
resizing makes of them (an upper bound: a 12-bit detector leaves less to store). All codecs take
turns on each image. Times are the processor's, not the clock's, and medians over images and runs.
"ratio" is the time to decode over that of our TIFF at level 1 in the same depth.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import imagecodecs
import numpy as np
from numpy.typing import NDArray

from xraytk.data import codec
from xraytk.data.pictures import to_8bit

DATA = Path(__file__).parents[1] / "../shared/data"
LONG_SIDE = 1280
Image = NDArray[Any]


@dataclass
class Case:
    """One codec in one depth, and what was measured of it."""

    name: str
    bits: int
    encode: Callable[[Image], bytes]
    decode: Callable[[bytes], Image]
    lossless: bool = True
    encode_ms: list[float] = field(default_factory=list)
    decode_ms: list[float] = field(default_factory=list)
    kib: list[float] = field(default_factory=list)


def png(image: Image) -> bytes:
    """PNG as OpenCV writes it, level 3."""
    return cv2.imencode(".png", image, [cv2.IMWRITE_PNG_COMPRESSION, 3])[1].tobytes()


def tiff(level: int) -> Callable[[Image], bytes]:
    """Our TIFF at a level of zstd."""
    return lambda image: codec.encode_tiff(image, level)


def cases() -> list[Case]:
    """All that is measured; the first of each depth is what ratios are of."""
    made = []
    for bits, name in ((8, "tiff"), (16, "tiff16")):
        decode: Callable[[bytes], Image] = lambda data, n=name: codec.decode(data, n)  # noqa: E731
        made += [Case(f"TIFF, zstd {level}, predictor", bits, tiff(level), decode) for level in (1, 3, 6, 9)]
        made += [
            Case("PNG, level 3", bits, png, imagecodecs.png_decode),
            Case("JPEG-LS", bits, imagecodecs.jpegls_encode, imagecodecs.jpegls_decode),
            Case(
                "HTJ2K",
                bits,
                lambda a: imagecodecs.htj2k_encode(a, reversible=True),
                imagecodecs.htj2k_decode,
            ),
            Case(
                "JPEG XL, effort 1",
                bits,
                lambda a: imagecodecs.jpegxl_encode(a, lossless=True, effort=1),
                imagecodecs.jpegxl_decode,
            ),
        ]
    for quality in (90, 95):
        made.append(
            Case(
                f"JPEG, quality {quality}",
                8,
                lambda a, q=quality: codec.encode(a, "jpeg", q),
                lambda data: codec.decode(data, "jpeg"),
                lossless=False,
            )
        )
    return made


def images(data: Path, each: int) -> list[Image]:
    """Radiographs of both sets, 16 bits, long side 1280."""
    made = []
    for name in ("hd", "covid_hannover"):
        paths = sorted((data / name / "images").iterdir())
        for path in paths[:: max(1, len(paths) // each)][:each]:
            image = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE).astype(np.uint16) * np.uint16(257)
            scale = LONG_SIDE / max(image.shape)
            size = (round(image.shape[1] * scale), round(image.shape[0] * scale))
            how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
            made.append(cv2.resize(image, size, interpolation=how))
    return made


def measure(case: Case, image: Image) -> None:
    """Encode and decode one image once."""
    began = time.process_time()
    data = bytes(case.encode(image))
    between = time.process_time()
    back = case.decode(data)
    case.decode_ms.append((time.process_time() - between) * 1000)
    case.encode_ms.append((between - began) * 1000)
    case.kib.append(len(data) / 1024)
    if case.lossless and not np.array_equal(back, image):
        raise SystemExit(f"{case.name} is not lossless")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="end within a minute")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--data", type=Path, default=DATA)
    args = parser.parse_args()
    cv2.setNumThreads(1)
    each, runs = (3, 1) if args.quick else (12, 3)
    every = cases()
    for image in images(args.data, each):
        eight = to_8bit(image)
        for _ in range(runs):
            for case in every:
                measure(case, eight if case.bits == 8 else image)
    rows = []
    for case in sorted(every, key=lambda case: case.bits):
        base = next(c for c in every if c.bits == case.bits)
        ours, theirs = statistics.median(base.decode_ms), statistics.median(case.decode_ms)
        rows.append(
            {
                "case": case.name,
                "bits": case.bits,
                "encode_ms": round(statistics.median(case.encode_ms), 1),
                "decode_ms": round(theirs, 1),
                "kib": round(statistics.mean(case.kib)),
                "ratio": round(theirs / ours, 2),
                "runs": len(case.kib),
            }
        )
    if args.json:
        machine = f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores"
        print(json.dumps({"machine": machine, "rows": rows}))
        return
    print(f"{'codec':28} bits  encode ms  decode ms   KiB  ratio")
    for row in rows:
        print(
            f"{row['case']:28} {row['bits']:4}  {row['encode_ms']:9.1f}  {row['decode_ms']:9.1f} "
            f"{row['kib']:5}  {row['ratio']:5.2f}"
        )


if __name__ == "__main__":
    main()
