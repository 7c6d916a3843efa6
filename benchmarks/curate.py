"""What curation does to rare findings, to copies and to broken images, and how long it takes.

    python benchmarks/curate.py [--quick] [--json] [--seeds 5] [--images 1200] [--data DIR]
                                [--most 100000] [--parts phantoms,real,scale]

phantoms: 92 % are normal, 8 % have one of five findings (1.6 % each); one in ten is there twice
(same patient; another window, size or encoding), one in a hundred is spoilt. All go through
`ingest`, then `curate` keeps a quarter, compared by statistics of the pixels, by ingest's
signatures, and by embeddings of the encoder of the package's report model, which has learnt on
phantoms with such findings: a friendly judge. "rare x" is the share of images with a finding
among the kept over their share among all; a random choice has 1.00, with the spread that is given
for the same number of images. "both of a copy" is how many of 100 copied images are kept twice.
The settings of `curate` were chosen on other phantoms than those made here.

real: `cls_nih` (half of it pneumonia by choice of those who made it) and
`cls_pediatric_pneumonia`, the same way; the interval is of 1,000 random choices of as many images.

scale: 1,000,000 made points of 64 numbers; and farthest points of one crowd, exact against in
blocks: "gap" is the mean distance from the nearest chosen point of the hundredth of the points
that are worst off.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import platform
import resource
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from xraytk import curate, ingest
from xraytk.data import embeddings, pictures
from xraytk.data.choice import choose
from xraytk.data.prototypes import BLOCK, ZONES, spread_out
from xraytk.data.synthetic import LABELS, make_phantom

DATA = Path(__file__).parents[1] / "../shared/data"
RARE = tuple(label for label in LABELS if label != "No Finding")
SEED = 7_000_000  # of the first phantom; none below was looked at when settings were chosen
COPIES, SPOILT, NORMAL = 0.10, 0.01, 0.92
Picture = NDArray[np.uint16]
Rows = list[dict[str, Any]]


def copy_of(picture: Picture, rng: np.random.Generator) -> Picture:
    """The same radiograph with another window, size or encoding."""
    grey, kind = picture / 65535.0, int(rng.integers(4))
    if kind == 0:
        low, high = np.percentile(grey, [rng.uniform(0, 2), rng.uniform(98, 100)])
        grey = (grey - low) / (high - low)
    elif kind == 1:
        grey = grey ** rng.choice([0.7, 1.4])
    elif kind == 2:
        grey = cv2.resize(grey, None, fx=0.8, fy=0.8, interpolation=cv2.INTER_AREA)
    else:
        data = cv2.imencode(".jpg", np.rint(grey * 255), [cv2.IMWRITE_JPEG_QUALITY, 80])[1]
        grey = cv2.imdecode(data, cv2.IMREAD_GRAYSCALE) / 255
    return np.rint(np.clip(grey, 0, 1) * 65535).astype(np.uint16)


def spoil(picture: Picture, rng: np.random.Generator) -> Picture:
    """Inverted, half of it lost, drowned in noise, turned, or far overexposed."""
    out, kind = picture.copy(), int(rng.integers(5))
    if kind == 0:
        return np.asarray(65535 - out, np.uint16)
    if kind == 1:
        out[out.shape[0] // 2 :] = 0
    elif kind == 2:
        out = rng.normal(out * 0.3 + 20000, 9000).clip(0, 65535).astype(np.uint16)
    elif kind == 3:
        out = np.ascontiguousarray(np.rot90(out))
    else:
        out = np.where(out > 20000, 65535, out).astype(np.uint16)
    return out


def write_phantoms(folder: Path, seed: int, images: int) -> dict[str, dict[str, Any]]:
    """Write pictures, and tables for ingest; return what each file is by its SHA-256."""
    rng = np.random.default_rng([seed, 1])
    each = round(images * (1 - NORMAL) / len(RARE))
    kinds = [rare for rare in RARE for _ in range(each)]
    kinds = [""] * (images - len(kinds)) + kinds
    twice = set(rng.choice(images, round(images * COPIES), replace=False).tolist())
    spoilt = (
        set(rng.choice(images - each * len(RARE), round(images * SPOILT), replace=False).tolist()) - twice
    )
    known: dict[str, dict[str, Any]] = {}
    rows, labels = [], []

    def write(name: str, number: int, picture: Picture, **facts: Any) -> None:
        pictures.write_png(folder / "pngs" / name, picture)
        sha256 = hashlib.sha256((folder / "pngs" / name).read_bytes()).hexdigest()
        known[sha256] = {"number": number, "kind": kinds[number], **facts}
        rows.append((name, f"patient-{seed}-{number}", "PA", "train"))
        labels.append((name, kinds[number] or "No Finding"))

    for number, kind in enumerate(kinds):
        phantom = make_phantom(SEED + seed * 100_000 + number, size_px=256, findings=[kind] if kind else [])
        picture = np.rint(phantom.pixels * 65535).astype(np.uint16)
        bad = number in spoilt
        write(f"{number}.png", number, spoil(picture, rng) if bad else picture, spoilt=bad)
        if number in twice:
            write(f"{number}-again.png", number, copy_of(picture, rng), spoilt=False)
    write_csv(folder / "about.csv", ("file", "patient", "view", "split"), rows)
    write_csv(folder / "labels.csv", ("file", "labels"), labels)
    return known


def write_csv(path: Path, head: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    """Write a table."""
    with path.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([head, *rows])


def take_in(folder: Path, pngs: Path, workers: int) -> Path:
    """Ingest a folder of pictures."""
    ingest.run(
        ingest.IngestConfig(
            source=pngs,
            metadata=folder / "about.csv",
            labels=folder / "labels.csv",
            key=folder / "key",
            work=folder / "work",
            split=(1.0, 0.0, 0.0),
            workers=workers,
        )
    )
    return folder / "work" / "ingest"


def embed(folder: Path) -> Path:
    """Embed all images of an ingest folder: the mean of the default model's patch tokens."""
    import torch

    from xraytk.data import augment
    from xraytk.models.vit import normalise, valid_patches
    from xraytk.report import default_model
    from xraytk.tasks import saved

    torch.set_num_threads(1)
    encoder = saved.load(default_model(), torch.device("cpu")).learner.encoder.eval()
    side, patch = encoder.config.image_px, encoder.config.patch_px
    table = pq.read_table(folder / "manifest", columns=["image_id", "path"])
    ids, paths = table["image_id"].to_pylist(), table["path"].to_pylist()
    made = []
    for at in range(0, len(paths), 32):
        greys = [pictures.to_8bit(pictures.read_png(folder / path)) for path in paths[at : at + 32]]
        squares = [augment.place(grey, side, "letterbox") for grey in greys]
        image = torch.from_numpy(np.stack([square for square, _ in squares]))[:, None]
        valid = valid_patches(torch.from_numpy(np.stack([there for _, there in squares])), patch)
        with torch.no_grad():
            tokens = encoder(normalise(image, encoder.config.channels), valid=valid)[:, 1:]
        share = valid.float() / valid.float().sum(1, keepdim=True)
        made.append(torch.einsum("bn,bnd->bd", share, tokens).numpy())
    path = folder.parent / "embeddings.parquet"
    pq.write_table(embeddings.as_table(ids, np.concatenate(made)), path)
    return path


def on_phantoms(seeds: int, images: int, workers: int) -> Rows:
    """One row a way of comparing and a policy of copies, means over seeds."""
    found: dict[tuple[str, str], list[dict[str, float]]] = {}
    outliers: dict[str, Counter[str]] = {}
    for seed in range(seeds):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            known = write_phantoms(folder, seed, images)
            source = take_in(folder, folder / "pngs", workers)
            table = pq.read_table(source / "manifest", columns=["image_id", "source_sha256"])
            facts = {r["image_id"]: known[r["source_sha256"]] for r in table.to_pylist()}
            ways: dict[str, dict[str, Any]] = {
                "pixels": {},
                "signatures": {"statistics": "signatures"},
                "embeddings": {"embeddings": embed(source)},
            }
            for way, more in ways.items():
                for copies in ("keep", "patient"):
                    config = curate.CurateConfig(
                        source=source, out=folder / way, duplicates=copies, workers=workers, seed=seed, **more
                    )
                    curate.run(config)
                    chosen = pq.read_table(folder / way / "selection.parquet").to_pylist()
                    found.setdefault((way, copies), []).append(score(chosen, facts))
                outliers.setdefault(way, Counter()).update(_outliers(chosen, facts))
            found.setdefault(("random", "keep"), []).extend(by_chance(facts, chosen, seed))
            print(f"seed {seed} done: {len(facts)} images", file=sys.stderr, flush=True)
    rows: Rows = []
    for (way, copies), scores in found.items():
        row: dict[str, Any] = {"case": f"phantoms, {way}", "copies": copies, "seeds": seeds}
        for key in scores[0]:
            values = np.array([s[key] for s in scores])
            row[key] = round(float(values.mean()), 3)
            if key in ("rare x", "kept share rare"):
                row[f"{key} spread"] = round(float(values.std()), 3)
        rows.append(row)
    rows += [{"case": f"outliers, {way}", **dict(sorted(count.items()))} for way, count in outliers.items()]
    return rows


def score(chosen: Rows, facts: dict[str, dict[str, Any]]) -> dict[str, float]:
    """What a selection holds."""
    kept = [facts[row["image_id"]] for row in chosen if row["keep"]]
    every = [facts[row["image_id"]] for row in chosen]

    def share(some: list[dict[str, Any]], *kinds: str) -> float:
        return sum(fact["kind"] in kinds for fact in some) / len(some)

    pairs = {number for number, n in Counter(fact["number"] for fact in every).items() if n == 2}
    both = sum(n == 2 for number, n in Counter(fact["number"] for fact in kept).items() if number in pairs)
    return {
        "kept": len(kept),
        "all share rare": share(every, *RARE),
        "kept share rare": share(kept, *RARE),
        "rare x": share(kept, *RARE) / share(every, *RARE),
        **{rare: share(kept, rare) / share(every, rare) for rare in RARE},
        "both of a copy": 100 * both / max(len(pairs), 1),
        "spoilt kept": float(sum(fact["spoilt"] for fact in kept)),
        "spoilt": float(sum(fact["spoilt"] for fact in every)),
    }


def _outliers(chosen: Rows, facts: dict[str, dict[str, Any]]) -> Counter[str]:
    """What lies farthest out is, and what of it the default policy keeps."""
    count: Counter[str] = Counter()
    for row in chosen:
        if row["zone"] == ZONES[-1]:
            fact = facts[row["image_id"]]
            what = "spoilt" if fact["spoilt"] else "rare" if fact["kind"] else "normal"
            count[what] += 1
            count[f"{what} kept"] += row["keep"]
    return count


def by_chance(facts: dict[str, dict[str, Any]], chosen: Rows, seed: int) -> list[dict[str, float]]:
    """The same scores of random choices of as many images."""
    rng, count = np.random.default_rng([seed, 2]), sum(row["keep"] for row in chosen)
    out = []
    for _ in range(40):
        keep = set(rng.choice(sorted(facts), count, replace=False).tolist())
        out.append(score([{"image_id": name, "keep": name in keep} for name in facts], facts))
    return out


def on_real(data: Path, workers: int, most: int) -> Rows:
    """Shares of labels on public sets, against random choices."""
    rows: Rows = []
    for name, column in (("cls_nih", "labels"), ("cls_pediatric_pneumonia", "subtype")):
        if not (data / name / "manifest.csv").exists():
            continue
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place)
            with (data / name / "manifest.csv").open(encoding="utf-8") as stream:
                given = list(csv.DictReader(stream))
            given = given[:: max(1, -(-len(given) // most))]
            (folder / "pngs").mkdir()
            for r in given:
                (folder / "pngs" / Path(r["image"]).name).symlink_to((data / name / r["image"]).resolve())
            listed = [(Path(r["image"]).name, r["patient"], r.get("view", ""), "train") for r in given]
            write_csv(folder / "about.csv", ("file", "patient", "view", "split"), listed)
            write_csv(
                folder / "labels.csv", ("file", "labels"), [(Path(r["image"]).name, r[column]) for r in given]
            )
            source = take_in(folder, folder / "pngs", workers)
            ways: dict[str, dict[str, Any]] = {"pixels": {}, "embeddings": {"embeddings": embed(source)}}
            for way, more in ways.items():
                made = []
                for seed in range(5):
                    config = curate.CurateConfig(
                        source=source, out=folder / way, workers=workers, seed=seed, **more
                    )
                    made.append(curate.run(config))
                rows += labels_of(source, f"{name}, {way}", made)
    return rows


def labels_of(source: Path, case: str, made: list[curate.CurateResult]) -> Rows:
    """Share of each label among the kept over its share among all, and what chance gives."""
    table = pq.read_table(source / "labels.parquet").to_pylist()
    ids = pq.read_table(source / "manifest", columns=["image_id"])["image_id"].to_pylist()
    place = {image_id: i for i, image_id in enumerate(ids)}
    rng, rows = np.random.default_rng(0), []
    for label in sorted(made[0].labels):
        have = np.zeros(len(ids))
        for row in table:
            if row["label"] == label and row["value"] == 1 and row["image_id"] in place:
                have[place[row["image_id"]]] = 1
        kept = made[0].kept
        chance = [have[rng.choice(len(ids), kept, replace=False)].mean() / have.mean() for _ in range(1000)]
        ratios = [r.labels[label]["kept"] / r.kept / (r.labels[label]["images"] / r.curated) for r in made]
        low, high = np.percentile(chance, (2.5, 97.5))
        rows.append(
            {
                "case": f"{case}, {label}",
                "images": int(have.sum()),
                "of": len(ids),
                "x": round(float(np.mean(ratios)), 2),
                "spread": round(float(np.std(ratios)), 2),
                "chance from": round(float(low), 2),
                "to": round(float(high), 2),
            }
        )
    copies = made[0].reasons.get("near-duplicate", 0) + made[0].reasons.get("duplicate", 0)
    return [*rows, {"case": case, "kept": made[0].kept, "copies dropped": copies, "reasons": made[0].reasons}]


def on_scale(count: int) -> Rows:
    """Time and memory of choosing, and blocks against the exact choice."""
    rng = np.random.default_rng(0)
    centres = 0.6 * rng.standard_normal((200, 64), dtype=np.float32)
    which = rng.choice(200, count, p=rng.dirichlet(np.full(200, 0.3)))
    points = centres[which] + rng.standard_normal((count, 64), dtype=np.float32)
    wall, cpu = time.perf_counter(), time.process_time()
    made = choose(points, count // 4, trusted=np.ones(count, bool))
    rows: Rows = [
        {
            "case": f"choose of {count:,} x 64",
            "kept": int(made.keep.sum()),
            "wall_s": round(time.perf_counter() - wall, 1),
            "cpu_s": round(time.process_time() - cpu, 1),
            "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        }
    ]
    crowd = points[np.argsort(which, kind="stable")][: min(count, 32_768)]
    for block in (len(crowd), BLOCK, BLOCK // 4):
        wall = time.perf_counter()
        chosen = spread_out(crowd, len(crowd) // 4, block=block)
        spent = time.perf_counter() - wall
        gap = worst_gap(crowd, chosen)
        rows.append(
            {"case": f"{len(crowd):,} points in blocks of {block:,}", "wall_s": round(spent, 2), "gap": gap}
        )
    lot = rng.choice(len(crowd), len(crowd) // 4, replace=False)
    return [*rows, {"case": f"{len(crowd):,} points, at random", "gap": worst_gap(crowd, lot)}]


def worst_gap(points: NDArray[np.float32], chosen: NDArray[np.int64]) -> float:
    """Mean distance from the nearest chosen point, of the hundredth that is worst off."""
    nearest = np.full(len(points), np.inf)
    squares = (points * points).sum(1)
    for at in range(0, len(chosen), 1024):
        part = points[chosen[at : at + 1024]]
        away = squares[:, None] - 2 * points @ part.T + (part * part).sum(1)
        nearest = np.minimum(nearest, away.min(1))
    return round(float(np.sqrt(np.sort(np.maximum(nearest, 0))[-len(points) // 100 :]).mean()), 3)


def main() -> None:
    """Run the parts and print their rows."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--quick", action="store_true")
    arguments.add_argument("--json", action="store_true")
    arguments.add_argument("--seeds", type=int, default=5)
    arguments.add_argument("--images", type=int, default=1200)
    arguments.add_argument("--most", type=int, default=100_000, help="images of a public set")
    arguments.add_argument("--data", type=Path, default=DATA)
    arguments.add_argument("--workers", type=int, default=1)
    arguments.add_argument("--parts", default="phantoms,real,scale")
    said = arguments.parse_args()
    cv2.setNumThreads(1)
    parts = said.parts.split(",")
    rows: Rows = []
    if "phantoms" in parts:
        seeds, images = (1, 250) if said.quick else (said.seeds, said.images)
        rows += on_phantoms(seeds, images, said.workers)
    if "real" in parts:
        rows += on_real(said.data, said.workers, 100 if said.quick else said.most)
    if "scale" in parts:
        rows += on_scale(20_000 if said.quick else 1_000_000)
    if said.json:
        print(json.dumps({"machine": platform.processor() or platform.machine(), "rows": rows}))
        return
    for row in rows:
        print("  ".join(f"{key} {value}" for key, value in row.items()))


if __name__ == "__main__":
    main()
