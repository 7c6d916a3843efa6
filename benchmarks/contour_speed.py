"""How many lung contours of 1280-pixel images a second, and whether batches help.

    python benchmarks/contour_speed.py [--quick] [--json] [--threads N]

`xraytk.tasks.lungs.find_batch` on phantoms of 1280 x 1280, 16 bits, with the net given 1, 4, 8 and 16
images at once; from the decoded image, and from a PNG file as ingest writes it, decoding
included. The ways take turns, round by round, and medians are compared, so that a machine's other
work slows all of them alike. "ratio" is against one image at a time from the same start: above 1
means that the batch is faster. Processor time is what a core that does nothing else would need.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from xraytk.data import pictures
from xraytk.data.phantoms.phantom import make_phantom
from xraytk.models.lungs import lung_model
from xraytk.tasks import lungs

SIDE = 1280
BATCHES = (1, 4, 8, 16)
IMAGES, ROUNDS, QUICK_ROUNDS = 16, 7, 2


def chests(count: int) -> list[NDArray[np.uint16]]:
    """Phantoms, enlarged from 640 pixels."""
    out = []
    for seed in range(count):
        made = np.clip(make_phantom(seed, size_px=640).pixels, 0, 1).astype(np.float32)
        large = cv2.resize(made, (SIDE, SIDE), interpolation=cv2.INTER_LINEAR)
        out.append(np.rint(large * 65535).astype(np.uint16))
    return out


def measure(rounds: int, threads: int) -> list[dict[str, Any]]:
    """Time every way in turn."""
    images, model = chests(IMAGES), lung_model()
    with tempfile.TemporaryDirectory() as name:
        paths = [Path(name) / f"{i}.png" for i in range(IMAGES)]
        for path, image in zip(paths, images, strict=True):
            pictures.write_png(path, image)
        spent: dict[tuple[str, int], list[tuple[float, float]]] = {}
        lungs.find_batch(images[:2], model)
        for _ in range(rounds):
            for start in ("decoded", "png"):
                for at_once in BATCHES:
                    wall, busy = time.perf_counter(), time.process_time()
                    given = images if start == "decoded" else [pictures.read_png(p) for p in paths]
                    lungs.find_batch(given, model, at_once=at_once, threads=threads)
                    took = time.perf_counter() - wall, time.process_time() - busy
                    spent.setdefault((start, at_once), []).append(took)
    middle = {key: np.median(np.array(times), 0) / IMAGES for key, times in spent.items()}
    return [
        {
            "case": f"{start}, {at_once} at once",
            "ms": round(1000 * float(wall), 1),
            "cpu_ms": round(1000 * float(busy), 1),
            "images_per_s": round(1 / float(wall), 1),
            "images_per_cpu_s": round(1 / float(busy), 1),
            "ratio": round(float(middle[start, 1][1] / busy), 2),
            "runs": rounds,
        }
        for (start, at_once), (wall, busy) in middle.items()
    ]


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_ROUNDS} rounds instead of {ROUNDS}")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    parser.add_argument("--threads", type=int, default=1, help="of `find_batch`")
    args = parser.parse_args()
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    rows = measure(QUICK_ROUNDS if args.quick else ROUNDS, args.threads)
    if args.json:
        print(json.dumps({"machine": f"{platform.machine()}, {args.threads} threads", "rows": rows}))
    else:
        for row in rows:
            print("  ".join(f"{key} {value}" for key, value in row.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
