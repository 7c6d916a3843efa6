"""Samples a second into training tensors: our shards against PNG files read with PIL.

    python benchmarks/stream.py [--quick] [--json]

The peer is what most training scripts do: a Dataset that opens a PNG with PIL, converts it to
grey, resizes it to the square with antialiasing and makes a float tensor, in a DataLoader.
Ours letterboxes, and leaves the normalising of bytes to the device. Both read the same
pixels (phantom-like pictures with the grain of a detector, 8 bit, long side 1280) and both
run in this process, one after the other, A B A B; the page cache is hot.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from xraytk import shard
from xraytk.data import manifest, pictures
from xraytk.data.stream import Stream, StreamConfig


def picture(rng: np.random.Generator) -> np.ndarray[Any, Any]:
    """Smooth anatomy plus quantum noise, 1280 x 1048: compresses like a radiograph."""
    coarse = rng.random((12, 10), np.float32)
    smooth = cv2.resize(coarse, (1048, 1280), interpolation=cv2.INTER_CUBIC)
    grain = cv2.GaussianBlur(rng.standard_normal((1280, 1048)).astype(np.float32), (0, 0), 0.8)
    return np.clip((0.2 + 0.6 * smooth + 0.015 * grain) * 65535, 0, 65535).astype(np.uint16)


def prepare(work: Path, count: int) -> None:
    """Write the same pictures as shards and as single PNG files."""
    rng = np.random.default_rng(0)
    rows = []
    for i in range(count):
        name, image = f"{i:016x}", picture(rng)
        path = f"images/{name[:2]}/{name}.png"
        pictures.write_png(work / "ingest" / path, image)
        Image.fromarray(pictures.to_8bit(image)).save(work / f"{name}.png")
        row = {"image_id": name, "path": path, "split": "train", "view": "PA", "patient_hash": name}
        rows.append({**row, "height": image.shape[0], "width": image.shape[1]})
    manifest.write_table(work / "ingest/manifest/part-00000.parquet", manifest.MANIFEST, rows)
    shard.run(shard.ShardConfig(work=work))


class PilFolder(Dataset[Tensor]):
    """One PNG a sample, as scripts have it."""

    def __init__(self, folder: Path, side: int) -> None:
        self.paths = sorted(folder.glob("*.png"))
        self.side = side

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, i: int) -> Tensor:
        with Image.open(self.paths[i]) as image:
            small = image.convert("L").resize((self.side, self.side), Image.Resampling.BILINEAR)
        return torch.from_numpy(np.asarray(small).copy())[None].float().div_(255).sub_(0.5).div_(0.5)


def rate(batches: Callable[[], Any], count: int) -> float:
    """Milliseconds a sample of one pass."""
    began = time.perf_counter()
    for _ in batches():
        pass
    return (time.perf_counter() - began) / count * 1000


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="end within a minute")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    args = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    count, runs = (24, 3) if args.quick else (96, 7)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        prepare(work, count)
        for side in (1280, 512):
            stream = Stream(work / "shards", "train", StreamConfig(image_px=side), needs=frozenset({"image"}))
            peer = DataLoader(PilFolder(work, side), batch_size=8)
            ours_ms, peer_ms = [], []
            for _ in range(runs):
                ours_ms.append(rate(lambda s=stream: s.once(batch=8), count))
                peer_ms.append(rate(lambda p=peer: p, count))
            ours, other = statistics.median(ours_ms), statistics.median(peer_ms)
            rows.append(
                {
                    "case": f"{side} px, one process",
                    "ours_ms": round(ours, 2),
                    "peer": "PIL + DataLoader",
                    "peer_ms": round(other, 2),
                    "ratio": round(other / ours, 2),
                    "runs": runs,
                }
            )
    if args.json:
        machine = f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores"
        print(json.dumps({"machine": machine, "rows": rows}))
        return
    for row in rows:
        print(
            f"{row['case']:22} ours {1000 / row['ours_ms']:6.1f} img/s  "
            f"{row['peer']} {1000 / row['peer_ms']:6.1f} img/s  ratio {row['ratio']}"
        )


if __name__ == "__main__":
    main()
