"""Break files for minutes, and see that each gives an image or a reason.

    python benchmarks/fuzz.py [--minutes N] [--processes N] [--seed N] [--keep DIR] [--json]

Files of every transfer syntax (`tests/data/broken_files.py`) are cut at every hundredth, each element
of their headers is removed, emptied, doubled, given other types, lengths and values, and then
bytes are changed at random until the time is over. Each batch runs in a process of its own with
4 GB of address space; what crashes, raises anything but `Refused`, takes more than 2 s of
processor time or more than 2 GB is counted, and kept in DIR.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests/data"))

import broken_files
import numpy as np

MOST_S, MOST_KB, ADDRESS_SPACE = 2.0, 2 << 20, 4 << 30
BATCH = 2000
BATCH_S = 600


def files_of(batch: int, seed: int) -> Iterator[bytes]:
    """The broken files of a batch: first what is listed, of one good file each; then chance."""
    good = broken_files.seeds()
    names = sorted(good)
    if batch < len(names):
        yield from broken_files.truncations(good[names[batch]])
    elif batch == len(names):
        yield from broken_files.bombs().values()
    elif batch < len(names) + 3:
        name = ("explicit", "JPEG lossless .70")[batch - len(names) - 1]
        yield from broken_files.header_mutations(good[name])
    else:
        rng = np.random.default_rng([seed, batch])
        for _ in range(BATCH):
            yield broken_files.flips(good[names[int(rng.integers(len(names)))]], rng)


def run_batch(batch: int, seed: int, last: Path, out: Path) -> None:
    """Break and read, in a child; the file at hand lies in ``last`` for the case of a crash."""
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
    counts: Counter[str] = Counter()
    slowest = 0.0
    for data in files_of(batch, seed):
        last.write_bytes(data)
        began = time.process_time()
        try:
            counts[broken_files.outcome(data)] += 1
        except BaseException as error:
            counts[f"EXCEPTION {type(error).__name__}"] += 1
            _keep(out, data, type(error).__name__)
        took = time.process_time() - began
        slowest = max(slowest, took)
        if took > MOST_S:
            counts["SLOW"] += 1
            _keep(out, data, "slow")
    peak_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    if peak_kb > MOST_KB:
        counts["LARGE"] += 1
    found = {"counts": counts, "slowest_s": slowest, "peak_mb": peak_kb >> 10}
    (out / f"batch-{batch}.json").write_text(json.dumps(found), encoding="utf-8")


def _keep(out: Path, data: bytes, why: str) -> None:
    (out / f"{why}-{len(list(out.glob('*.bin')))}.bin").write_bytes(data)


def fuzz(minutes: float, processes: int, seed: int, out: Path) -> dict[str, Any]:
    """Run batches until the time is over; the listed ones are always finished."""
    out.mkdir(parents=True, exist_ok=True)
    spawn = multiprocessing.get_context("spawn")
    ends, batch = time.monotonic() + 60 * minutes, 0
    listed = len(broken_files.seeds()) + 3
    total: Counter[str] = Counter()
    slowest, peak_mb, running = 0.0, 0, {}
    while running or batch < listed or time.monotonic() < ends:
        while len(running) < processes and (batch < listed or time.monotonic() < ends):
            last = out / f"last-{batch}.bin"
            child = spawn.Process(target=run_batch, args=(batch, seed, last, out))
            child.start()
            running[batch] = (child, last, time.monotonic())
            batch += 1
        for number, (child, last, began) in list(running.items()):
            if child.is_alive() and time.monotonic() - began > BATCH_S:
                child.kill()
            child.join(0.1)
            if child.is_alive():
                continue
            del running[number]
            told = out / f"batch-{number}.json"
            if child.exitcode != 0 or not told.exists():
                total[f"CRASH {child.exitcode}"] += 1
                last.rename(out / f"crash-{number}.bin")
                continue
            found = json.loads(told.read_text(encoding="utf-8"))
            total.update(found["counts"])
            slowest, peak_mb = max(slowest, found["slowest_s"]), max(peak_mb, found["peak_mb"])
            last.unlink()
            told.unlink()
    bad = {key: count for key, count in total.items() if key.isupper() or " " in key}
    return {
        "files": sum(total.values()), "batches": batch, "outcomes": dict(total.most_common()), "bad": bad,
        "slowest_s": round(slowest, 2), "peak_mb": peak_mb,
    }  # fmt: skip


def main() -> None:
    """Fuzz, and print the counts; the exit code is 1 when anything bad was found."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", type=Path, help="a folder for the files that did harm")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    asked = parser.parse_args()
    out = asked.keep or Path(tempfile.mkdtemp(prefix="fuzz-"))
    found = fuzz(asked.minutes, asked.processes, asked.seed, out)
    if asked.json:
        print(json.dumps(found))
    else:
        print(f"{found['files']} broken files, slowest {found['slowest_s']} s, peak {found['peak_mb']} MB")
        for outcome, count in found["outcomes"].items():
            print(f"  {count:>8}  {outcome}")
        print(f"bad: {found['bad'] or 'none'}")
    sys.exit(bool(found["bad"]))


if __name__ == "__main__":
    main()
