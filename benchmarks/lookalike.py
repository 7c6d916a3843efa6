"""How well copies of a radiograph are found, and different patients' told apart.

    python benchmarks/lookalike.py [--quick] [--json] [--data DIR] [--random 1000000]

Every picture of a sample of public radiographs is copied in eleven ways. For each radius it is
said how many copies have a hash within it, how many originals have a different patient within
it, and both again after signatures confirm. The peer is the usual pHash (8 x 8 low frequencies
against their own median). Last, the index is run on random hashes.
"""

from __future__ import annotations

import argparse
import csv
import json
import random
import resource
import sys
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from xraytk.data import lookalike

DATA = Path(__file__).parents[1] / "../shared/data"
SETS = ("cls_nih", "covid_hannover", "tb_shenzhen_lung", "cls_pediatric_pneumonia")
RADII = (2, 4, 6, 7, 8, 9, 10, 11)


def classic(pixels: NDArray[Any]) -> NDArray[np.int8]:
    """The usual pHash, as signs."""
    waves = cv2.dct(cv2.resize(pixels, (32, 32), interpolation=cv2.INTER_AREA).astype(np.float32))[:8, :8]
    return np.where(waves.ravel() > np.median(waves), 1, -1).astype(np.int8)


def copies(picture: NDArray[np.uint8], rng: np.random.Generator) -> dict[str, NDArray[Any]]:
    """The same radiograph in other clothes."""
    grey, (height, width) = picture / 255.0, picture.shape
    low, high = np.percentile(grey, [rng.uniform(0, 3), rng.uniform(97, 100)])
    narrow = np.percentile(grey, [8, 92])
    shorter, quality = rng.uniform(0.4, 0.9), int(rng.integers(30, 80))
    jpeg = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    out: dict[str, NDArray[Any]] = {
        "window": np.clip((grey - low) / (high - low), 0, 1),
        "narrow window": np.clip((grey - narrow[0]) / max(narrow[1] - narrow[0], 0.01), 0, 1),
        "gamma": grey ** rng.choice([0.5, 0.7, 1.5, 2.0]),
        "sigmoid": 1 / (1 + np.exp(-rng.uniform(4, 8) * (grey - 0.5))),
        "jpeg": cv2.imdecode(jpeg, cv2.IMREAD_GRAYSCALE) / 255.0,
        "noise": np.clip(grey + rng.normal(0, 0.02, grey.shape), 0, 1),
    }
    size = (round(width * shorter), round(height * shorter))
    out["resized"] = np.clip(cv2.resize(grey, size, interpolation=cv2.INTER_CUBIC), 0, 1)
    for name, most in (("trimmed by 0-2 % a side", 0.02), ("trimmed by 0-4 % a side", 0.04)):
        top, left, bottom, right = (rng.uniform(0, most, 4) * (height, width, height, width)).astype(int)
        out[name] = grey[top : height - bottom, left : width - right]
    text = picture.copy()
    cv2.putText(text, "R PORTABLE", (width // 40, height // 12), 0, width / 450, 255, max(1, width // 160))
    out["labelled"] = text / 255.0
    out["framed by 5 %"] = cv2.copyMakeBorder(
        grey, *[height // 20] * 2, *[width // 20] * 2, cv2.BORDER_CONSTANT, value=0
    )
    return {name: np.rint(value * 65535).astype(np.uint16) for name, value in out.items()}


def sample(data: Path, most: int) -> list[tuple[str, Path]]:
    """Patients and paths, as many of each set."""
    out = []
    for name in SETS:
        if not (data / name / "manifest.csv").exists():
            continue
        with (data / name / "manifest.csv").open(encoding="utf-8") as stream:
            rows = list(csv.DictReader(stream))
        random.Random(3).shuffle(rows)
        out += [(f"{name} {r.get('patient') or r['image']}", data / name / r["image"]) for r in rows[:most]]
    return out


def measure(rows: list[tuple[str, Path]], every: int) -> list[dict[str, Any]]:
    """One row a radius."""
    rng = np.random.default_rng(0)
    ours, peer, made, peers = [], [], {}, {}
    for i, (_, path) in enumerate(rows):
        picture = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
        ours.append(np.frombuffer(lookalike.signature(picture), np.int8))
        peer.append(classic(picture))
        if i % every == 0:
            for name, copy in copies(picture, rng).items():
                made.setdefault(name, []).append((i, np.frombuffer(lookalike.signature(copy), np.int8)))
                peers.setdefault(name, []).append((i, classic(copy)))
    patients = np.array([p for p, _ in rows])
    other = patients[:, None] != patients[None]
    a, b = np.stack(ours), np.stack(peer)
    unit = a / np.linalg.norm(a.astype(np.float32), axis=1, keepdims=True)
    alike = unit @ unit.T >= lookalike.LIKENESS
    far, far_peer = apart(a, a), apart(b, b)
    table = []
    for radius in RADII:
        near = other & (far <= radius)
        row: dict[str, Any] = {
            "radius": radius,
            "images": len(rows),
            "pairs_of_patients_ppm": round(1e6 * float(near.sum() / other.sum()), 2),
            "with_another_patient_pct": round(100 * float(near.any(1).mean()), 3),
            "same_confirmed_pct": round(100 * float((near & alike).any(1).mean()), 3),
            "pHash_with_another_patient_pct": round(
                100 * float((other & (far_peer <= radius)).any(1).mean()), 3
            ),
        }
        for name, copied in made.items():
            mine, theirs = np.array([i for i, _ in copied]), np.stack([s for _, s in copied])
            bits = (np.sign(a[mine]) != np.sign(theirs)).sum(1)
            sure = lookalike.likeness(a[mine], theirs) >= lookalike.LIKENESS
            peer_bits = (b[mine] != np.stack([s for _, s in peers[name]])).sum(1)
            row[name] = [
                round(100 * float(hit.mean()), 1)
                for hit in (bits <= radius, (bits <= radius) & sure, peer_bits <= radius)
            ]
        table.append(row)
    return table


def apart(a: NDArray[np.int8], b: NDArray[np.int8]) -> NDArray[np.int64]:
    """Signs that differ, (N, M)."""
    x, y = np.where(a > 0, 1.0, -1.0).astype(np.float32), np.where(b > 0, 1.0, -1.0).astype(np.float32)
    return np.rint((64 - x @ y.T) / 2).astype(np.int64)


def time_index(count: int) -> dict[str, Any]:
    """The index on random hashes."""
    rng = np.random.default_rng(0)
    hashes = rng.integers(1, 1 << 63, count, dtype=np.uint64) * np.uint64(2)
    ids = [f"{i:016x}" for i in range(count)]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    wall, cpu = time.perf_counter(), time.process_time()
    pairs = lookalike.near_duplicates(ids, hashes)
    return {
        "random_hashes": count,
        "radius": lookalike.RADIUS,
        "pairs": len(pairs),
        "seconds": round(time.perf_counter() - wall, 1),
        "cpu_seconds": round(time.process_time() - cpu, 1),
        "more_memory_mib": round((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024),
    }


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="100 images a set instead of 700")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    parser.add_argument("--data", type=Path, default=DATA, help="folder with the sets")
    parser.add_argument("--random", type=int, default=1_000_000, help="random hashes for the index")
    args = parser.parse_args()
    cv2.setNumThreads(1)
    rows = sample(args.data, 100 if args.quick else 700)
    if not rows:
        print(f"no set found in {args.data}; give the folder that holds {', '.join(SETS)} with --data")
        return 3
    table, index = measure(rows, 4 if args.quick else 8), time_index(args.random)
    if args.json:
        print(json.dumps({"rows": table, "index": index}))
        return 0
    for row in table:
        print("  ".join(f"{k} {v}" for k, v in row.items() if not isinstance(v, list)))
        for name, value in row.items():
            if isinstance(value, list):
                print("    {:26} found {:5}  confirmed {:5}  pHash {:5}".format(name, *value))
    print("  ".join(f"{k} {v}" for k, v in index.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
