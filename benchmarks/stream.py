"""From bytes on disk to a training-ready batch at 1280 x 1280: our stream beside its peers.

    python benchmarks/stream.py [--data FOLDER] [--quick] [--million] [--json]

Every way reads the same pictures, one core, page cache hot, and hands over what a training step
takes. All are run in turn, A B C A B C, in one process; medians are quoted.

- usual: PNG files, PIL and torchvision as training scripts have it (`RGB`, `Resize` to the
  square, `ToTensor`, `Normalize`); as the paper's release does it, in grey.
- webdataset: tars of JPEG (quality 95) read with the `webdataset` package, decoded by its own
  "l8" decoder, resized where need be.
- ours: shards (TIFF, zstd); `jpeg`: shards of JPEG.
- codec: our decoder on bytes that are in memory already, into nothing.

``--data`` takes a folder of radiographs (PNG or JPEG); without it pictures with a detector's
grain are made, which compress like radiographs. ``--million`` makes an index of 1,000,000
samples with tiny payloads (2 GB) and measures opening it and the first batch in a new process;
``peak_mb`` is of that process, torch and all other imports included.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import torch
import webdataset
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from xraytk import shard
from xraytk.data import codec, manifest, pictures, shard_index
from xraytk.data.order import epoch_order
from xraytk.data.shard_index import ShardIndex
from xraytk.data.shard_reader import ShardReader
from xraytk.data.shard_writer import ShardWriter
from xraytk.data.stream import Stream, StreamConfig
from xraytk.records import as_plain

SIDE = 1280
Image.MAX_IMAGE_PIXELS = None


def picture(rng: np.random.Generator) -> np.ndarray[Any, Any]:
    """Smooth anatomy plus quantum noise, 1280 x 1048, 16 bit: about as large as a radiograph."""
    coarse = rng.random((12, 10), np.float32)
    smooth = cv2.resize(coarse, (1048, SIDE), interpolation=cv2.INTER_CUBIC)
    grain = cv2.GaussianBlur(rng.standard_normal((SIDE, 1048)).astype(np.float32), (0, 0), 0.8)
    return np.clip((0.2 + 0.6 * smooth + 0.015 * grain) * 65535, 0, 65535).astype(np.uint16)


def pictures_of(data: Path | None, count: int) -> Iterable[np.ndarray[Any, Any]]:
    """16-bit pictures of 1280 pixels on the long side."""
    if data is None:
        rng = np.random.default_rng(0)
        yield from (picture(rng) for _ in range(count))
        return
    paths = sorted(p for p in data.rglob("*") if p.suffix.lower() in (".png", ".jpg", ".jpeg"))
    if not paths:
        sys.exit(f"{data} holds no PNG or JPEG pictures")
    for i in range(count):
        image = cv2.imread(str(paths[i % len(paths)]), cv2.IMREAD_GRAYSCALE)
        scale = SIDE / max(image.shape)
        size = round(image.shape[1] * scale), round(image.shape[0] * scale)
        how = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
        yield np.asarray(cv2.resize(image, size, interpolation=how), np.uint16) * np.uint16(257)


def prepare(work: Path, data: Path | None, count: int) -> dict[str, float]:
    """The same pictures as shards of both codecs, as PNG files and as a webdataset."""
    rows = []
    with webdataset.TarWriter(str(work / "peer.tar")) as peer:
        for i, image in enumerate(pictures_of(data, count)):
            name, grey = f"{i:016x}", pictures.to_8bit(image)
            path = f"images/{name[:2]}/{name}.png"
            pictures.write_png(work / "ingest" / path, image)
            Image.fromarray(grey).save(work / f"{name}.png")
            buffer = io.BytesIO()
            Image.fromarray(grey).save(buffer, "JPEG", quality=95)
            peer.write({"__key__": name, "jpg": buffer.getvalue()})
            row = {"image_id": name, "path": path, "split": "train", "view": "PA", "patient_hash": name}
            rows.append({**row, "height": image.shape[0], "width": image.shape[1]})
    manifest.write_table(work / "ingest/manifest/part-00000.parquet", manifest.MANIFEST, rows)
    facts = {}
    for name in ("tiff", "jpeg"):
        began = time.perf_counter()
        made = shard.run(shard.ShardConfig(work=work, out=work / name, codec=name, workers=1))
        facts[f"{name}_written_img_per_s"] = round(count / (time.perf_counter() - began), 1)
        facts[f"{name}_kib_per_image"] = round(made.bytes_per_image / 1024, 1)
    return facts


class PilFolder(Dataset[torch.Tensor]):
    """One PNG a sample, as scripts have it."""

    def __init__(self, folder: Path, *, colour: bool) -> None:
        self.paths = sorted(folder.glob("*.png"))
        steps: list[Any] = [transforms.Resize((SIDE, SIDE))]
        steps += [transforms.ToTensor(), transforms.Normalize([0.5], [0.5])]
        self.mode, self.steps = "RGB" if colour else "L", transforms.Compose(steps)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, i: int) -> torch.Tensor:
        with Image.open(self.paths[i]) as image:
            made: torch.Tensor = self.steps(image.convert(self.mode))
        return made


def squared(sample: tuple[Any]) -> torch.Tensor:
    """A decoded picture, letterboxed as ours is; bytes stay bytes, as with us."""
    image = sample[0]
    height, width = image.shape
    scale = SIDE / max(height, width)
    if scale != 1:
        image = cv2.resize(image, (round(width * scale), round(height * scale)), interpolation=cv2.INTER_AREA)
    out = np.zeros((SIDE, SIDE), np.uint8)
    top, left = (SIDE - image.shape[0]) // 2, (SIDE - image.shape[1]) // 2
    out[top : top + image.shape[0], left : left + image.shape[1]] = image
    return torch.from_numpy(out)[None]


def web(work: Path) -> Iterable[Any]:
    """The peer's pipeline, batches of 8."""
    made = webdataset.WebDataset(str(work / "peer.tar"), shardshuffle=False).decode("l8").to_tuple("jpg")
    return made.map(squared).batched(8, partial=True)


def milliseconds(batches: Callable[[], Any], count: int) -> float:
    """Of one sample in one pass."""
    began = time.perf_counter()
    for _ in batches():
        pass
    return (time.perf_counter() - began) / count * 1000


def ways_of(work: Path) -> dict[str, Callable[[], Any]]:
    """All that is compared."""
    config, needs = StreamConfig(image_px=SIDE), frozenset({"image", "valid"})
    ours = {c: Stream(work / c, "train", config, needs=needs) for c in ("tiff", "jpeg")}
    moved = StreamConfig(image_px=SIDE, crop_scale=(0.5, 1.0), rotate_deg=5.0)
    moving = Stream(work / "tiff", "train", moved, needs=needs)
    reader = ShardReader(ShardIndex.load(work / "tiff"))
    kept = [bytes(reader.read(i, "image") or b"") for i in range(len(reader.index))]
    grey = DataLoader(PilFolder(work, colour=False), batch_size=8)
    colour = DataLoader(PilFolder(work, colour=True), batch_size=8)

    def steps(stream: Stream, workers: int) -> Any:
        made = stream.training(batch=8, micro_batch=8, workers=workers)
        yield from (next(made) for _ in range(len(kept) // 8))
        made.close()

    return {
        "codec": lambda: (codec.decode(data, "tiff") for data in kept),
        "ours": lambda: ours["tiff"].once(batch=8, workers=1),
        "ours, 2 workers": lambda: ours["tiff"].once(batch=8, workers=2),
        "ours, crop + turn": lambda: steps(moving, 1),
        "ours, JPEG": lambda: ours["jpeg"].once(batch=8, workers=1),
        "webdataset, JPEG": lambda: web(work),
        "usual, grey": lambda: grey,
        "usual, RGB": lambda: colour,
    }


def compare(work: Path, count: int, runs: int) -> list[dict[str, Any]]:
    """Milliseconds a sample of every way, all in turn."""
    ways = ways_of(work)
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(runs):
        for name, way in ways.items():
            taken[name].append(milliseconds(way, count))
    ours = taken["ours"]
    rows = []
    for name, values in taken.items():
        ratio = statistics.median(v / o for v, o in zip(values, ours, strict=True))
        row = {"case": name, "ms": round(statistics.median(values), 2), "over_ours": round(ratio, 2)}
        rows.append({**row, "runs": runs})
    return rows


def make_million(folder: Path, count: int) -> None:
    """Shards of tiny images, written with the verb's own parts."""
    folder.mkdir(parents=True)
    rng, infos, rows = np.random.default_rng(0), [], []
    image = codec.encode(rng.integers(0, 256, (8, 8)).astype(np.uint8), "tiff")
    meta = json.dumps({"patient_hash": "p", "view": "PA", "height": 8, "width": 8}).encode()
    for start in range(0, count, 8192):
        name = f"train-{start // 8192:06d}.tar"
        with (folder / name).open("wb") as stream:
            writer = ShardWriter(stream, "tiff")
            for i in range(start, min(start + 8192, count)):
                key = hashlib.sha256(str(i).encode()).hexdigest()[:16]
                place = writer.add(key, {"image": image, "meta": meta})
                about = {"image_id": key, "patient": "p", "study": key[::-1], "view": "PA"}
                rows.append({**about, "split": "train", "shard": name, **place})
            sha256 = writer.close()
        held = min(8192, count - start)
        infos.append(shard_index.ShardInfo(name, "train", held, writer.bytes, sha256))
    table = shard_index.index_bytes(pa.Table.from_pylist(rows, schema=shard_index.INDEX))
    (folder / "index.parquet").write_bytes(table)
    head: dict[str, Any] = {"format": shard_index.FORMAT, "codec": "tiff", "also_px": 0, "labels": []}
    head |= {"counts": {"train": count}, "skipped": {}, "shards": [as_plain(info) for info in infos]}
    head["index_sha256"] = hashlib.sha256(table).hexdigest()
    head["head_sha256"] = shard_index.head_sha256(head)
    (folder / "index.json").write_text(json.dumps(head), encoding="utf-8")


COLD = """
import json, sys, time
from pathlib import Path
from xraytk.data.stream import Stream, StreamConfig
began = time.perf_counter()
stream = Stream(Path(sys.argv[1]), "train", StreamConfig(image_px=8), needs=frozenset({"image"}))
opened = time.perf_counter()
next(stream.training(batch=64, micro_batch=64, workers=1))
first = time.perf_counter()
peak = int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) / 1024
print(json.dumps({"open_s": opened - began, "first_batch_s": first - began, "peak_mb": peak}))
"""


def million(work: Path, count: int) -> dict[str, Any]:
    """Open the index and take the first batch in new processes; time of a shuffle."""
    make_million(work / "million", count)
    tries = []
    for _ in range(3):
        subprocess.run(["sync"], check=True)
        for path in (work / "million").iterdir():  # out of the page cache: a cold start
            with path.open("rb") as stream:
                os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        began = time.perf_counter()
        command = [sys.executable, "-c", COLD, str(work / "million")]
        done = subprocess.run(command, capture_output=True, check=True)
        tries.append({**json.loads(done.stdout), "process_s": time.perf_counter() - began})
    found = {name: round(statistics.median(t[name] for t in tries), 2) for name in tries[0]}
    began = time.perf_counter()
    epoch_order(0, 0, count)
    shuffle = round(time.perf_counter() - began, 3)
    return {"samples": count, **found, "shuffle_s": shuffle}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder of radiographs, instead of made pictures")
    parser.add_argument("--quick", action="store_true", help="end within a minute")
    parser.add_argument("--million", action="store_true", help="also the index of 1,000,000 samples")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    args = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    count, runs = (16, 3) if args.quick else (64, 7)
    with tempfile.TemporaryDirectory() as folder:
        facts: dict[str, Any] = prepare(Path(folder), args.data, count)
        rows = compare(Path(folder), count, runs)
        if args.million:
            facts["million"] = million(Path(folder), 1_000_000)
    machine = f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores"
    if args.json:
        print(json.dumps({"machine": machine, **facts, "rows": rows}))
        return
    print(f"{machine}; {json.dumps(facts)}")
    for row in rows:
        per_s, times = 1000 / row["ms"], row["over_ours"]
        print(f"{row['case']:18} {row['ms']:8.2f} ms  {per_s:7.1f} img/s  {times:6.2f} x ours")


if __name__ == "__main__":
    main()
