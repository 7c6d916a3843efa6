"""How well lung contours agree with human outlines, and whether they know when they do not.

    python benchmarks/contour.py [--quick] [--json] [--data DIR] [--model FILE] [--save DIR] [--gallery DIR]

DIR holds the public sets of `contour_train.SHARES` and `UNMARKED`, each with images and a
manifest.csv; scored are the patients that training did not see. Each image is enlarged to 1280
pixels on its long side, in its native aspect ratio, as ingest would hand it over. In one run:

- net: `xraytk.tasks.lungs`, the answer of the lung net, in the set's own convention;
- shipped: what `xraytk mask` writes, that is with the fitted atlas where the net is not sure;
- classical: the analytic thorax fitted to the image (`xraytk.data.classical`);
- atlas: the mean of human outlines, the same for every image.

V7 outlines (adults, children) are of whole lungs, those of Shenzhen of clear ones; classical and
atlas know whole lungs only, so Shenzhen is harsh on them. "assd" is the average symmetric surface
distance over the height of the lungs.

With --save DIR, as benchmarks/results: the table as contour.txt, the curve of Dice against
confidence as contour-confidence.png, the images below a Dice of 0.92 as contour-failures.txt. With
--gallery DIR, outside of the repository since most images may not be passed on: pictures of the worst.
"""

from __future__ import annotations

import argparse
import csv
import json
import platform
import sys
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from contour_pictures import BELOW, Seen, draw_confidence, draw_worst, write_failures, wrong_of
from contour_train import FREE, SHARES, in_fifth, rows_of
from numpy.typing import NDArray

from xraytk.data import classical, contour, thoracic
from xraytk.models.lungs import LungModel, load_model, lung_model
from xraytk.tasks import lungs

REPOSITORY = Path(__file__).parents[1].resolve()
DATA = REPOSITORY / "../shared/data"
UNMARKED = {  # no human outline: only what is said of them
    "cls_nih": "adults, NIH",
    "kermany_native_aspect": "children",
    "negatives_non_chest": "no chest at all",
}
LONG_SIDE = 1280
MOST, QUICK = 400, 40
SURE_FROM = (0.0, 0.8, 0.85, 0.9, 0.92, 0.94, 0.95, 0.96, 0.97)
Mask = NDArray[np.bool_]


def kept_out(data: Path, name: str) -> list[dict[str, str]]:
    """Rows of patients that training did not see; see `contour_train.labelled`."""
    rows = [row for row in rows_of(data / name) if row["lung_mask"]]
    if name == "seg":
        free = {row["patient"] for row in rows if row["image_license"].strip() in FREE}
        return [row for row in rows if row["patient"] not in free]
    if name == "cls_pediatric_pneumonia":
        return [row for row in rows if row["split"] == "val"]
    return [row for row in rows if in_fifth(row["image"])]


def read(path: Path, native_size: str | None) -> NDArray[np.uint8]:
    """A grey picture of 1280 pixels on the long side, unsquashed where the native size is known."""
    image = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    width, height = map(int, native_size.split("x")) if native_size else image.shape[::-1]
    scale = LONG_SIDE / max(width, height)
    return cv2.resize(image, (round(width * scale), round(height * scale)), interpolation=cv2.INTER_LINEAR)


def dice(a: Mask, b: Mask) -> float:
    """Overlap of two masks, 0 to 1."""
    return 2 * float((a & b).sum()) / max(float(a.sum() + b.sum()), 1.0)


def surface_distance(a: Mask, b: Mask) -> float:
    """Average symmetric surface distance, over the height of the second mask; 1 if one is empty."""
    if not a.any() or not b.any():
        return 1.0
    small = [
        cv2.resize(m.astype(np.uint8), None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA) for m in (a, b)
    ]
    edges = [m - cv2.erode(m, np.ones((3, 3), np.uint8)) for m in small]
    far = [cv2.distanceTransform(1 - e, cv2.DIST_L2, 5) for e in edges]
    total = far[1][edges[0] > 0].sum() + far[0][edges[1] > 0].sum()
    rows = np.flatnonzero(small[1].any(1))
    return float(total / (edges[0].sum() + edges[1].sum()) / (rows[-1] - rows[0] + 1))


def of_atlas(model: LungModel, height: int, width: int) -> Mask:
    """The mean outline, letterboxed back into an image."""
    side = max(height, width)
    square = cv2.resize(model.atlas.numpy(), (side, side), interpolation=cv2.INTER_LINEAR) > 0.5
    top, left = (side - height) // 2, (side - width) // 2
    return square[top : top + height, left : left + width]


class Scores:
    """Dice and surface distance of one way of outlining, image by image."""

    def __init__(self) -> None:
        self.dice: list[float] = []
        self.assd: list[float] = []

    def add(self, found: Mask, truth: Mask) -> None:
        """Compare one image."""
        self.dice.append(dice(found, truth))
        self.assd.append(surface_distance(found, truth))

    def row(self) -> dict[str, float]:
        """Mean, a bootstrap interval of it, 5th percentile, and mean surface distance."""
        values, rng = np.array(self.dice), np.random.default_rng(0)
        means = rng.choice(values, (1000, len(values))).mean(1)
        low, high = np.percentile(means, [2.5, 97.5])
        return {
            "dice": round(float(values.mean()), 4),
            "from": round(float(low), 4),
            "to": round(float(high), 4),
            "p05": round(float(np.percentile(values, 5)), 4),
            "assd": round(float(np.mean(self.assd)), 4),
        }


def pair(data: Path, name: str, row: dict[str, str]) -> tuple[NDArray[np.uint8], Mask]:
    """An image and a person's mask of its lungs."""
    size = row.get("native_size") if name == "cls_pediatric_pneumonia" else None
    return read(data / name / row["image"], size), read(data / name / row["lung_mask"], size) > 127


def measure(data: Path, name: str, most: int, model: LungModel, seen: list[Seen]) -> list[dict[str, Any]]:
    """Rows of the table for a set with human outlines; every image goes into ``seen``."""
    rows = kept_out(data, name)
    rows = [rows[i] for i in np.random.default_rng(1).permutation(len(rows))[:most]]
    ways = {way: Scores() for way in ("net", "shipped", "classical", "atlas")}
    status: list[str] = []
    for row in rows:
        image, truth = pair(data, name, row)
        found = lungs.find(image.astype(np.uint16) * 257, model)
        said = lungs.ask([image], model)[0]
        own = said.clear if name == "tb_shenzhen_lung" else said.whole
        net = contour.rasterise(own, *truth.shape)
        shipped = net if found.source == "net" else contour.rasterise(found.polygons, *truth.shape)
        ways["net"].add(net, truth)
        ways["shipped"].add(shipped, truth)
        ways["classical"].add(contour.rasterise(classical.find_lungs(image).polygons, *truth.shape), truth)
        ways["atlas"].add(of_atlas(model, *truth.shape), truth)
        status.append(found.status)
        values = ways["shipped"].dice[-1], ways["net"].dice[-1], ways["shipped"].assd[-1]
        wrong = wrong_of(shipped, truth) if values[0] < BELOW else ""
        seen.append(Seen(name, row, found, own, said.confidence, *values, wrong))
    flagged = {
        "images": len(rows),
        **{f"{s}": status.count(s) for s in ("ok", "flagged", "failed", "skipped")},
    }
    return [{"set": name, "way": way, **scores.row(), **flagged} for way, scores in ways.items()]


def unmarked(data: Path, name: str, most: int, model: LungModel) -> dict[str, Any]:
    """What is said of a set without outlines, and how long it takes."""
    rows = rows_of(data / name)[:most]
    said, times = [], []
    for row in rows:
        image = read(data / name / row["image"], None).astype(np.uint16) * 257
        began = time.perf_counter()
        found = lungs.find(image, model)
        times.append(time.perf_counter() - began)
        said.append(f"{found.status} {found.reason}".strip())
    counts = {key: said.count(key) for key in sorted(set(said))}
    return {"set": name, "images": len(rows), **counts, "ms": round(1000 * float(np.median(times)))}


def by_confidence(seen: list[Seen]) -> list[dict[str, Any]]:
    """Of the images at least so sure: how many, their mean Dice, and the share below 0.9."""
    whole = [s for s in seen if s.set != "tb_shenzhen_lung"]
    out = []
    for least in SURE_FROM:
        values = np.array([s.net_dice for s in whole if s.sure >= least])
        if len(values):
            out.append(
                {
                    "sure_from": least,
                    "images": len(values),
                    "share": round(len(values) / len(whole), 3),
                    "dice": round(float(values.mean()), 4),
                    "below_0.9": round(float((values < 0.9).mean()), 4),
                }
            )
    return out


def heart_ratio(data: Path, model: LungModel) -> dict[str, Any]:
    """Error of the cardiothoracic ratio with the net's lungs, human hearts in both."""
    folder, errors = data / "seg_lr_heart", []
    if not (folder / "manifest.csv").exists():
        return {}
    with (folder / "manifest.csv").open(encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    for row in rows:
        image = read(folder / row["image"], None)
        right, left, heart = (read(folder / row[c], None) > 127 for c in ("right_lung", "left_lung", "heart"))
        human = [
            {**max(contour.trace(m), key=lambda p: len(p["x"])), "name": n}
            for n, m in zip((*contour.LUNGS, "heart"), (right, left, heart), strict=True)
            if m.any()
        ]
        whole = lungs.ask([image], model)[0].whole
        if len(human) == 3:
            values = [thoracic.cardiothoracic_ratio(p, human[2]) for p in (human[:2], whole)]
            if None not in values:
                errors.append(values[1] - values[0])
    e = np.array(errors)
    return {
        "images": len(e),
        "mean_error": round(float(e.mean()), 4),
        "mean_absolute": round(float(abs(e).mean()), 4),
        "p95_absolute": round(float(np.percentile(abs(e), 95)), 4),
    }


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help=f"{QUICK} images a set instead of {MOST}")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    parser.add_argument("--data", type=Path, default=DATA, help="folder with the sets")
    parser.add_argument("--model", type=Path, help="another lung model")
    parser.add_argument("--save", type=Path, help="write table, curve and failures to this folder")
    parser.add_argument("--gallery", type=Path, help="write the worst images to this folder")
    parser.add_argument("--worst", type=int, default=36, help="images of each set in the gallery")
    args = parser.parse_args()
    if args.gallery and args.gallery.resolve().is_relative_to(REPOSITORY):
        print("the images of the gallery may not be passed on: name a folder outside of the repository")
        return 2
    present = [name for name in (*SHARES, *UNMARKED) if (args.data / name / "manifest.csv").exists()]
    if not present:
        print(f"no set found in {args.data}; give the folder that holds {', '.join(SHARES)} with --data")
        return 3
    cv2.setNumThreads(1)
    model = load_model(args.model) if args.model else lung_model()
    most, rows = QUICK if args.quick else MOST, []
    seen: list[Seen] = []
    lines = [f"# python benchmarks/{Path(__file__).name}   (one thread of a {platform.machine()} machine)"]
    for name in present:
        made = (
            measure(args.data, name, most, model, seen)
            if name in SHARES
            else [unmarked(args.data, name, most, model)]
        )
        rows += made
        new = ["  ".join(f"{key} {value}" for key, value in row.items()) for row in made]
        lines += new
        if not args.json:
            print(*new, sep="\n", flush=True)
    curve, ratio = by_confidence(seen), heart_ratio(args.data, model)
    lines += [*map(json.dumps, curve), f"cardiothoracic ratio {json.dumps(ratio)}"]
    if args.gallery:
        draw_worst(seen, args.gallery, args.worst, lambda s: pair(args.data, s.set, s.row))
    if args.save:
        args.save.mkdir(parents=True, exist_ok=True)
        (args.save / "contour.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
        draw_confidence(seen, args.save / "contour-confidence.png")
        write_failures(seen, args.save / "contour-failures.txt")
    if args.json:
        machine = f"{platform.machine()}, 1 thread"
        print(json.dumps({"machine": machine, "rows": rows, "confidence": curve, "ratio": ratio}))
    else:
        print(*lines[-len(curve) - 1 :], sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
