"""Transfer syntaxes against second decoders: what is decoded, and whether two agree bit for bit.

    python benchmarks/syntaxes.py [--json]

Every syntax that is read, with 8, 10, 12, 14 and 16 stored bits, signed and unsigned, MONOCHROME1
and 2, and colour secondary captures by pixel and by plane. "written" counts the cases whose stored
values are those that were written (lossless syntaxes); the columns of the other decoders count
equal cases of those that they read, with the largest difference where they are not equal.
GDCM has its own engines but for JPEG-LS (CharLS) and JPEG 2000 (OpenJPEG), which are ours too;
pyjpegls is CharLS, pylibjpeg-openjpeg is OpenJPEG. Ours for reversible HTJ2K is OpenJPH.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests/data"))

import coded_files

ENGINES = ("GDCM", "pydicom", "pyjpegls", "pylibjpeg-openjpeg")


def row_of(name: str) -> dict[str, Any]:
    """Counts over all cases of a syntax."""
    found = [coded_files.compare(case) for case in coded_files.cases(name)]
    lossless = [c.written for c in found if c.written is not None]
    row: dict[str, Any] = {"syntax": name, "uid": coded_files.NAMES[name], "cases": len(found)}
    row["written"] = f"{sum(lossless)}/{len(lossless)}" if lossless else "lossy"
    for engine in ENGINES:
        gaps = [c.others[engine] for c in found if engine in c.others]
        same, worst = sum(gap == 0 for gap in gaps), max(gaps, default=0)
        row[engine] = f"{same}/{len(gaps)}" + (f" (off by {worst})" if worst else "") if gaps else "-"
    return row


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Other decoders print to the file descriptor of stderr."""
    kept, null = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        os.dup2(kept, 2)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    asked = parser.parse_args()
    with quiet():
        rows = [row_of(name) for name in coded_files.NAMES]
    if asked.json:
        print(json.dumps({"rows": rows}))
        return
    heads = ("syntax", "cases", "written", *ENGINES)
    widths = [max(len(h), *(len(str(row[h])) for row in rows)) for h in heads]
    for row in [dict(zip(heads, heads, strict=True)), *rows]:
        print("  ".join(str(row[h]).ljust(w) for h, w in zip(heads, widths, strict=True)).rstrip())
    print(f"{sum(row['cases'] for row in rows)} cases")


if __name__ == "__main__":
    main()
