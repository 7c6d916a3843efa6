"""How quickly this machine reads: one core from shards to batches, and the disk alone."""

from __future__ import annotations

import contextlib
import json
import os
import statistics
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import torch

from xraytk.config import Pixels, rows_cols
from xraytk.data import codec, shard_parts, synthetic
from xraytk.data.shard_index import INDEX, ShardIndex, study_of
from xraytk.data.shard_writer import ShardWriter
from xraytk.data.stream import Stream, StreamConfig
from xraytk.files import atomic_write

PIXELS = frozenset({"image", "valid", "lung", "has_contour"})
"""Fields that pretraining wants."""
SHARD = "train-000000"
_BATCH = 8
_READ = 8 << 20


def loader_ms(folder: Path, image_px: Pixels, seconds: float) -> float:
    """Measure how long one core takes to read, decode, augment and place an image, in milliseconds.

    Args:
        folder: A local shards folder.
        image_px: Size of the frame.
        seconds: How long to measure.

    Raises:
        DataError: If there are no shards.
    """
    config = StreamConfig(image_px=image_px, crop_scale=(0.5, 1.0), rotate_deg=5.0)
    index = ShardIndex.load(folder)
    split = max(index.shards, key=lambda shard: (shard.split == "train", shard.count)).split
    stream = Stream(folder, split, config, needs=PIXELS)
    share: list[float] = []
    with _one_thread():
        batches = iter(stream.training(batch=_BATCH, micro_batch=_BATCH))
        next(batches)
        until = time.perf_counter() + seconds
        while not share or time.perf_counter() < until:
            began = time.thread_time()  # of the core alone: what waits for the disk is not its work
            next(batches)
            share.append((time.thread_time() - began) / _BATCH)
    return 1e3 * statistics.median(share)


def make_shards(folder: Path, image_px: Pixels, count: int = 4) -> Path:
    """Write a shard of phantom radiographs of the size that is trained on.

    Args:
        folder: Where to.
        image_px: Size of the frame that they are made for: its longer side is theirs.
        count: How many; they all differ.
    """
    rows = []
    with atomic_write(folder / f"{SHARD}.tar") as stream:
        writer = ShardWriter(stream, "tiff")
        for seed in range(count):
            phantom = synthetic.make_phantom(seed, size_px=max(rows_cols(image_px)))
            image = np.rint(phantom.pixels * 255).astype(np.uint8)
            height, width = image.shape
            meta = {"patient_hash": f"{seed:016x}", "view": "PA", "height": height, "width": width}
            box = [[width // 8, height // 8], [width // 2, height // 8], [width // 2, 7 * height // 8]]
            polygon = {"name": "right_lung", "x": [p[0] for p in box], "y": [p[1] for p in box]}
            members = {
                "image": codec.encode(image, "tiff"),
                "contour": json.dumps({"polygons": [polygon]}).encode(),
                "meta": json.dumps(meta).encode(),
            }
            image_id = f"{seed:016x}"
            place = writer.add(image_id, members)
            about = {"image_id": image_id, "patient": image_id, "study": study_of(image_id, image_id)}
            rows.append({**about, "view": "PA", "split": "train", "shard": f"{SHARD}.tar", **place})
        sha256 = writer.close()
    part = shard_parts.Part(pa.Table.from_pylist(rows, schema=INDEX), writer.bytes, sha256, {}, "")
    recipe = shard_parts.Recipe(codec="tiff", quality=0, also_px=0)
    shards = [(SHARD, "train")]
    order = shard_parts.Order(recipe=recipe, labels=[], left_out={}, shards=shards)
    shard_parts.write_index(folder, [(SHARD, "train", part)], order)
    return folder


def disk_mb_s(files: list[Path], most_bytes: int = 1 << 30) -> float | None:
    """Measure how quickly files are read from start to end, past the page cache where that can be.

    Args:
        files: What to read.
        most_bytes: When to stop.

    Returns:
        Megabytes (1e6) a second; None when nothing could be read, or this system cannot forget.
    """
    if not hasattr(os, "posix_fadvise"):
        return None
    done, spent = 0, 0.0
    for path in files:
        if done >= most_bytes:
            break
        fd = os.open(path, os.O_RDONLY)
        try:
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
            began = time.perf_counter()
            while done < most_bytes and (got := len(os.read(fd, _READ))):
                done += got
            spent += time.perf_counter() - began
        finally:
            os.close(fd)
    return done / 1e6 / spent if done else None


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """Keep OpenCV and torch on one core."""
    before = cv2.getNumThreads(), torch.get_num_threads()
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(before[0])
        torch.set_num_threads(before[1])
