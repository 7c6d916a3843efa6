"""Time and memory of the dataset card for a manifest of many rows.

    python benchmarks/card.py --rows 1000000

The tables are made up; 64 pictures of 1280 x 1040 stand for all images. There is no peer to
compare with: the numbers show that the card can be made after every ingest.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from xraytk.data import card, manifest, pictures

PICTURES, LABELS, STEP = 64, 14, 50_000


def make(folder: Path, rows: int, rng: np.random.Generator) -> None:
    """Write an ingest folder of ``rows`` images of ``rows / 2`` patients."""
    for i in range(PICTURES):
        image = rng.integers(0, 65536, (1280, 1040), np.uint16) // 4 + 20_000
        pictures.write_png(folder / f"images/{i:02d}.png", image.astype(np.uint16))
    words = np.array(["the", "heart", "lungs", "are", "clear", "normal", "in", "size", "without", "effusion"])
    (folder / "manifest").mkdir()
    files = {
        "manifest": (folder / "manifest/part-00000.parquet", manifest.MANIFEST),
        "reports": (folder / "reports.parquet", manifest.REPORTS),
        "labels": (folder / "labels.parquet", manifest.LABELS),
        "rejected": (folder / "rejected.parquet", manifest.REJECTED),
    }
    writers = {
        name: pq.ParquetWriter(path, schema, compression="zstd") for name, (path, schema) in files.items()
    }
    for start in range(0, rows, STEP):
        n = min(STEP, rows - start)
        ids = [f"{i:016x}" for i in range(start, start + n)]
        texts = [" ".join(words[rng.integers(0, len(words), 50)]) for _ in range(n)]
        patients = rng.integers(0, max(rows // 2, 1), n)
        table = {
            "image_id": ids,
            "source_sha256": [f"{i:064x}" for i in range(start, start + n)],
            "patient_hash": [f"{p:016x}" for p in patients],
            "study_hash": ids,
            "split": [("train", "val", "test")[p % 3] for p in patients],
            "path": [f"images/{i % PICTURES:02d}.png" for i in range(n)],
            "width": [1040] * n,
            "height": [1280] * n,
            "source_width": rng.integers(1000, 3000, n),
            "source_height": rng.integers(1000, 3000, n),
            "spacing_x_mm": rng.random(n),
            "spacing_y_mm": rng.random(n),
            "bits_stored": rng.integers(8, 17, n),
            "modality": rng.choice(["CR", "DX"], n),
            "view": rng.choice(["PA", "AP", "LATERAL", "UNKNOWN"], n),
            "syntax": rng.choice(["1.2.840.10008.1.2.1", "1.2.840.10008.1.2.4.70"], n),
            "photometric": ["MONOCHROME2"] * n,
            "voi": ["linear"] * n,
            "sex": rng.choice(["M", "F", ""], n),
            "age_years": rng.integers(0, 100, n),
            "manufacturer": rng.choice(["GE", "Philips", "OTHER"], n),
            "burned_in": [False] * n,
            "source_hash": ids,
        }
        writers["manifest"].write_table(pa.table(table).cast(manifest.MANIFEST))
        writers["reports"].write_table(
            pa.table({"image_id": ids, "en": texts, "zh": texts}).cast(manifest.REPORTS)
        )
        labels = {
            "image_id": np.repeat(ids, LABELS),
            "label": [f"Label {k}" for k in range(LABELS)] * n,
            "value": (rng.random(n * LABELS) < 0.1).astype(np.float32),
        }
        writers["labels"].write_table(pa.table(labels).cast(manifest.LABELS))
        no = {
            "source_hash": ids,
            "source_sha256": ids,
            "reason": rng.choice(["truncated", "not-chest", "too-small"], n),
            "detail": rng.choice(["MR", "9 x 9", ""], n),
        }
        writers["rejected"].write_table(pa.table(no).cast(manifest.REJECTED))
    for writer in writers.values():
        writer.close()


def _peak_mib() -> int:
    """Most memory of this process; getrusage would count the parent's, from before exec."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) // 1024


def measure(folder: Path) -> dict[str, float]:
    """Write the card in this process."""
    began, cpu = time.perf_counter(), time.process_time()
    result = card.write_card(folder)
    return {
        "images": result.images,
        "seconds": round(time.perf_counter() - began, 2),
        "cpu_seconds": round(time.process_time() - cpu, 2),
        "peak_mib": _peak_mib(),
        "page_mib": round(result.size_bytes / 2**20, 2),
    }


def main() -> None:
    """Make a folder, then measure in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--quick", action="store_true", help="20,000 rows")
    parser.add_argument("--measure", type=Path, help="only measure this folder")
    parser.add_argument("--keep", type=Path, help="make the tables here and keep them")
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(measure(arguments.measure)))
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.keep or Path(temporary)
        folder.mkdir(exist_ok=True)
        make(folder, 20_000 if arguments.quick else arguments.rows, np.random.default_rng(0))
        subprocess.run([sys.executable, __file__, "--measure", str(folder)], check=True)


if __name__ == "__main__":
    main()
