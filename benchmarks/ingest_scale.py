"""What ingest costs when there are many files: memory, resuming, worker processes, tables.

    python benchmarks/ingest_scale.py memory  [--few 1000] [--many 20000]
    python benchmarks/ingest_scale.py resume  [--files 1000000]
    python benchmarks/ingest_scale.py workers [--files 200] [--rounds 5]

``memory``: peak resident memory of the parent and of its largest worker, for few and for many
small radiographs (one phantom, other identifiers and a few other pixels in each). Each run is a
process of its own.

``resume``: a folder of N files of one byte and 10 new radiographs that are listed last, a journal
that says that the N are finished (entries as ingest writes them, other ids, hashes and
signatures), and an image for each: links to one PNG. Then `xraytk.ingest.run`; printed are wall
and processor seconds until the first new file is handed to a worker, those until the end, and peak
memory. All of it lies in --folder, best in memory (/dev/shm): 4 GB for a million.

``workers``: the same files (3000 x 2500, JPEG lossless) by one worker and by two, A B A B; and for
comparison the same processor work in one process and in two at once, which says what the machine
gives.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import resource
import shutil
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from xraytk import ingest
from xraytk.data.deid import hashed, load_key
from xraytk.data.dicom_write import write_dx
from xraytk.data.synthetic import make_phantom

PER_FOLDER = 1000
NEW = 10


def small_file(path: Path) -> bytes:
    """A radiograph of 160 x 128 pixels with long UIDs of its own."""
    pixels = np.rint(cv2.resize(make_phantom(1, size_px=160).pixels, (128, 160)) * 4095).astype(np.uint16)
    uid = "1.2.826.0.1.3680043.10.1000000000"
    facts = {"patient_id": "1000000000", "study_uid": uid + ".1", "sop_uid": uid + ".3"}
    write_dx(path, pixels, view="PA", window=(2000.0, 3000.0), spacing_mm=(0.2, 0.2), **facts)
    return path.read_bytes()


def many_files(folder: Path, count: int) -> None:
    """Copies of one file with other UIDs, patients and a few other pixels."""
    folder.mkdir(parents=True)
    one = small_file(folder / "first")
    (folder / "first").unlink()
    for number in range(count):
        made = bytearray(one.replace(b"1000000000", b"%010d" % (1000000000 + number)))
        made[-64:-32] = np.random.default_rng(number).integers(0, 8, 32, np.uint8).tobytes()
        path = folder / f"{number // PER_FOLDER:04d}" / f"{number:07d}.dcm"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(made)


def measured(source: Path, out: Path, key: Path, workers: int) -> dict[str, Any]:
    """Run ingest in this process; seconds until the first job is taken and until the end, peaks."""
    told: dict[str, Any] = {}
    engine = ingest._engine

    def watched(config: Any, read: Any, jobs: Iterator[Any]) -> Any:
        told["listed_s"], told["listed_cpu_s"] = time.monotonic() - began, time.process_time()

        def taken() -> Iterator[Any]:
            for job in jobs:
                if "first_s" not in told:
                    told["first_s"], told["first_cpu_s"] = time.monotonic() - began, time.process_time()
                    told["first_peak_mb"] = peak_mb()
                yield job

        yield from engine(config, read, taken())
        told["read_s"], told["read_cpu_s"] = time.monotonic() - began, time.process_time()
        told["read_peak_mb"] = peak_mb()

    ingest._engine = watched
    began = time.monotonic()
    result = ingest.run(ingest.IngestConfig(source=source, out=out, key=key, workers=workers))
    told |= {"images": result.images, "rejected": result.rejected}
    told |= {"end_s": time.monotonic() - began, "end_cpu_s": time.process_time(), "peak_mb": peak_mb()}
    told["worker_peak_mb"] = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    return {name: round(value, 2) for name, value in told.items()}


def peak_mb() -> float:
    """Largest resident memory of this process so far; ru_maxrss would count the process before exec."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def apart(*paths: Path, workers: int) -> dict[str, Any]:
    """`measured`, in a process of its own."""
    command = [sys.executable, __file__, "one", *map(str, paths), "--workers", str(workers)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def memory(folder: Path, few: int, many: int, workers: int) -> dict[str, Any]:
    """Peaks for few and for many files."""
    found = {}
    for count in (few, many):
        many_files(folder / f"in{count}", count)
        found[str(count)] = apart(
            folder / f"in{count}", folder / f"out{count}", folder / "key", workers=workers
        )
    return found


def finished(folder: Path, count: int) -> None:
    """A source, an output and a journal as if ``count`` files had been ingested, and some new ones."""
    source, out, key_file = folder / "in", folder / "out", folder / "key"
    many_files(source / "zz", NEW)
    apart(source, out, key_file, workers=-1)
    shutil.move(source / "zz", source / "zzz")  # which makes them new files
    key = load_key(key_file)
    root = hashed(key, "root", str(source.resolve()))
    base = sqlite3.connect(out / "journal.sqlite", isolation_level=None)
    template = json.loads(base.execute("SELECT entry FROM entries").fetchone()[0])
    columns = [name for _, name, *_ in base.execute("PRAGMA table_info(files)")]
    first = dict(zip(columns, base.execute("SELECT * FROM files").fetchone(), strict=True))
    (image,) = list(out.glob("images/*/*"))[:1]
    for one in range(256):
        (out / f"images/{one:02x}").mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    files, entries = [], []
    for number in range(count):
        name = f"{number // PER_FOLDER:04d}/{number:07d}"
        path = source / name
        if number % PER_FOLDER == 0:
            path.parent.mkdir()
        path.write_bytes(b"\0")
        row = dict(template["row"])
        row["source_hash"] = hashed(key, "source", name)
        row["image_id"] = hashed(key, "image", name)
        row["patient_hash"], row["study_hash"] = (hashed(key, k, str(number // 2)) for k in ("p", "s"))
        row["path"] = f"images/{row['image_id'][:2]}/{row['image_id']}.png"
        row["pixel_sha256"] = row["source_sha256"] = f"{number:064x}"
        row["signature"] = np.clip(rng.normal(0, 32, 64), -127, 127).astype(np.int8).tobytes().hex()
        os.link(image, out / row["path"])
        known = {"name": f"{root}/{row['source_hash']}", "size": 1, "stamp": str(path.stat().st_mtime_ns)}
        entry = template | known | {"row": row}
        mine = first | known | {"image_id": row["image_id"], "patient": row["patient_hash"]}
        files.append(tuple((mine | {"pixels": row["pixel_sha256"]}).values()))
        entries.append((known["name"], json.dumps(entry, separators=(",", ":"))))
    base.execute("PRAGMA cache_size=-1000000")
    base.execute("BEGIN")
    base.executemany(f"INSERT INTO files VALUES ({','.join('?' * len(columns))})", sorted(files))
    base.executemany("INSERT INTO entries VALUES (?, ?)", sorted(entries))
    base.execute("COMMIT")
    base.close()


def resume(folder: Path, count: int) -> dict[str, Any]:
    """Seconds of a second run over so many finished files."""
    finished(folder, count)
    size = (folder / "out/journal.sqlite").stat().st_size / 2**20
    found = apart(folder / "in", folder / "out", folder / "key", workers=1)
    return {"files": count, "journal_mb": round(size, 1), **found}


def busy(_: object) -> float:
    """Some processor work; its wall seconds."""
    data, began = np.random.default_rng(0).random((700, 700)).astype(np.float32), time.monotonic()
    for _ in range(400):
        data = cv2.GaussianBlur(data, (0, 0), 2)
    return time.monotonic() - began


def workers(folder: Path, count: int, rounds: int) -> dict[str, Any]:
    """Files a second with one worker and with two, and what the machine gives two processes."""
    source = folder / "in"
    coarse = cv2.resize(make_phantom(7, size_px=640).pixels, (2500, 3000), interpolation=cv2.INTER_CUBIC)
    for number in range(count):
        pixels = np.clip(coarse * 4095 + number % 8, 0, 4095).astype(np.uint16)
        if number < 8:
            write_dx(source / f"{number}.dcm", pixels, syntax="jpeg-lossless", patient_id=f"{number}")
        else:
            made = (source / f"{number % 8}.dcm").read_bytes()
            (source / f"{number}.dcm").write_bytes(made)
    seconds: dict[str, list[float]] = {"1": [], "2": [], "busy 1": [], "busy 2": []}
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        pool.map(busy, [0, 0])
        for _ in range(rounds):
            for number in (1, 2):
                out = folder / "out"
                told = apart(source, out, folder / "key", workers=number)
                seconds[str(number)].append(told["read_s"] - told["first_s"])
                shutil.rmtree(out)
                seconds[f"busy {number}"].append(statistics.mean(pool.map(busy, range(number), 1)))
    found = {name: round(statistics.median(each), 2) for name, each in seconds.items()}
    scaling = [a / b for a, b in zip(seconds["1"], seconds["2"], strict=True)]
    machine = [2 * a / b for a, b in zip(seconds["busy 1"], seconds["busy 2"], strict=True)]
    return {
        "files": count, "seconds": found, "scaling": round(statistics.median(scaling), 2),
        "scaling_each": [round(s, 2) for s in scaling], "machine": round(statistics.median(machine), 2),
        "machine_each": [round(s, 2) for s in machine],
    }  # fmt: skip


def main() -> None:
    """Measure and print one JSON object."""
    cv2.setNumThreads(1)
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("memory", "resume", "workers", "one"))
    parser.add_argument("paths", nargs="*", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--few", type=int, default=1000)
    parser.add_argument("--many", type=int, default=20_000)
    parser.add_argument("--files", type=int)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--folder", type=Path, help="where to work; a new folder in it is removed at the end")
    asked = parser.parse_args()
    if asked.what == "one":
        print(json.dumps(measured(*asked.paths, workers=asked.workers)))
        return
    with tempfile.TemporaryDirectory(dir=asked.folder) as name:
        folder = Path(name)
        if asked.what == "memory":
            found = memory(folder, asked.few, asked.many, asked.workers)
        elif asked.what == "resume":
            found = resume(folder, asked.files or 1_000_000)
        else:
            found = workers(folder, asked.files or 200, asked.rounds)
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
