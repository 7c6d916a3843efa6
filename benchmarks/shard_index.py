"""How long the index of a large shards folder takes to open, and how much memory.

    python benchmarks/shard_index.py [--quick] [--json] [--samples 1000000]

The index is made up: ids, lengths and checksums at random, 1,024 samples a shard, every member
there but the second image. It is opened in a process of its own, whose peak memory includes
Python and the packages that xraytk imports for it; that of the imports alone is beside it.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa

from xraytk.data import shard_parts
from xraytk.data.shard_index import INDEX, MEMBERS

OPEN = """
import json, sys, time
from pathlib import Path
from xraytk.data.shards import ShardIndex
def peak():  # not ru_maxrss, which a process inherits from its parent
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) // 1024
imports = peak()
times = []
for _ in range(int(sys.argv[2])):
    began = time.perf_counter(), time.process_time()
    index = ShardIndex.load(Path(sys.argv[1]))
    times.append((time.perf_counter() - began[0], time.process_time() - began[1]))
    rows = index.rows("train")
    if len(times) == 1:
        first_peak = peak()
    del index
clock, cpu = zip(*times)
made = {"clock_s": min(clock), "cpu_s": min(cpu), "peak_mb": first_peak, "imports_mb": imports}
print(json.dumps({"rows": len(rows), **made}))
"""
IN_SHARD = 1024
TYPICAL = {"image": 700_000, "contour": 6_000, "en": 400, "zh": 300, "labels": 200, "meta": 420}


def make(folder: Path, samples: int) -> None:
    """Write an index without its tars."""
    rng = np.random.default_rng(0)
    ids = np.sort(rng.integers(0, 2**63, samples, np.uint64))
    lengths = {m: (n * rng.uniform(0.7, 1.3, samples)).astype(np.int32) for m, n in TYPICAL.items()}
    parts = []
    for number, first in enumerate(range(0, samples, IN_SHARD)):
        count = min(IN_SHARD, samples - first)
        rows = slice(first, first + count)
        name = f"train-{number:06d}"
        sizes = np.stack([lengths[m][rows] for m in TYPICAL], 1)  # (count, members)
        blocks = 512 + -(-sizes // 512) * 512
        starts = np.cumsum(blocks.ravel()).reshape(blocks.shape) - blocks + 512
        columns: dict[str, object] = {
            "image_id": [f"{i:016x}" for i in ids[rows]],
            "split": ["train"] * count,
            "patient": [f"{i:016x}" for i in ids[rows]],
            "study": [f"{i:016x}"[::-1] for i in ids[rows]],
            "view": ["PA"] * count,
            "shard": [f"{name}.tar"] * count,
        }
        for slot, member in enumerate(TYPICAL):
            columns[f"{member}_offset"] = starts[:, slot]
            columns[f"{member}_length"] = sizes[:, slot]
            columns[f"{member}_crc32"] = rng.integers(0, 2**32, count, np.uint32)
        for what in ("offset", "length", "crc32"):
            columns |= {f"{m}_{what}": [None] * count for m in MEMBERS if m not in TYPICAL}
        table = pa.table({field.name: pa.array(columns[field.name], field.type) for field in INDEX})
        part = shard_parts.Part(table, int(blocks.sum()) + 10240, f"{number:064x}", {}, "")
        parts.append((name, "train", part))
    recipe = shard_parts.Recipe(codec="tiff", quality=0, also_px=0)
    order = shard_parts.Order(recipe=recipe, labels=[], left_out={}, shards=[p[:2] for p in parts])
    shard_parts.write_index(folder, parts, order)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="end within a minute")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--samples", type=int, default=1_000_000)
    args = parser.parse_args()
    runs = 3 if args.quick else 7
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make(folder, args.samples)
        done = subprocess.run(
            [sys.executable, "-c", OPEN, name, str(runs)], check=True, capture_output=True, text=True
        )
        row = {"case": f"{args.samples:,} samples", **json.loads(done.stdout), "runs": runs}
        row["index_mb"] = round((folder / "index.parquet").stat().st_size / 1e6, 1)
    if args.json:
        machine = f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores"
        print(json.dumps({"machine": machine, "rows": [row]}))
        return
    print(
        f"{row['case']}: index.parquet {row['index_mb']} MB; opens in {row['clock_s']:.2f} s, "
        f"{row['cpu_s']:.2f} s of them on the processor; peak {row['peak_mb']} MB, of which imports "
        f"{row['imports_mb']} MB"
    )


if __name__ == "__main__":
    main()
