"""How well the classical lung contour agrees with human outlines.

    python benchmarks/contour.py [--quick] [--json] [--data DIR] [--worst FILE.png]

DIR holds the public sets named in `SETS`, each with images, lung masks and a manifest.csv. Each
image is enlarged to 1280 pixels on its long side, in its native aspect ratio, as ingest would
hand it over. The peer is the mean shape: the analytic thorax laid over the image unfitted.

Two conventions of outlining: V7 masks (adults, children) include the lung behind the heart, as
the contour does; the Shenzhen masks leave most of it out, which costs a perfect whole-lung
contour several points of Dice there.
"""

from __future__ import annotations

import argparse
import csv
import json
import platform
import random
import sys
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from xraytk.data import contour, pictures, thorax

DATA = Path(__file__).parents[1] / "../shared/data"
SETS = {  # folder: what it is
    "seg": "adults, V7",
    "tb_shenzhen_lung": "adults, Shenzhen",
    "cls_pediatric_pneumonia": "children, V7",
}
UNMARKED = {  # no human outline: only how many are flagged or failed
    "cls_nih": "adults, NIH",
    "covid_hannover": "adults, Hannover",
    "kermany_native_aspect": "children",
    "negatives_non_chest": "no chest at all",
}
TUNED_ON = 100
"""Of each set, this many were looked at while the method was made; they are left out here."""
LONG_SIDE = 1280
MOST, QUICK = 400, 60


def rows_of(folder: Path, count: int, *, marked: bool) -> list[dict[str, str]]:
    """A fixed sample of a set, without what the method was tuned on."""
    with (folder / "manifest.csv").open(encoding="utf-8") as stream:
        rows = [row for row in csv.DictReader(stream) if not marked or row["lung_mask"]]
    random.Random(1).shuffle(rows)
    return rows[TUNED_ON if marked else 0 :][:count]


def read(path: Path, native_size: str | None) -> NDArray[np.uint8]:
    """A grey picture of 1280 pixels on the long side, unsquashed where the native size is known."""
    image = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    width, height = map(int, native_size.split("x")) if native_size else image.shape[::-1]
    scale = LONG_SIDE / max(width, height)
    return cv2.resize(image, (round(width * scale), round(height * scale)), interpolation=cv2.INTER_LINEAR)


def dice(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    """Overlap of two masks, 0 to 1."""
    return 2 * float((a & b).sum()) / max(float(a.sum() + b.sum()), 1.0)


def mean_shape(height: int, width: int) -> NDArray[np.bool_]:
    """The unfitted thorax as a mask."""
    lungs = thorax.outlines(thorax.MEAN[None], width, height)[0]
    return contour.rasterise([{"x": p[:, 0], "y": p[:, 1]} for p in lungs], height, width)


def measure(folder: Path, count: int, *, marked: bool, worst: list[tuple[float, Any]]) -> dict[str, Any]:
    """One row of the table."""
    ours, peer, covered, flagged, status, times = [], [], [], [], [], []
    for row in rows_of(folder, count, marked=marked):
        size = row.get("native_size") if folder.name == "cls_pediatric_pneumonia" else None
        image = read(folder / row["image"], size).astype(np.uint16) * 257
        began = time.perf_counter()
        found = contour.find_lungs(image)
        times.append(time.perf_counter() - began)
        status.append(found.status)
        if marked:
            truth = read(folder / row["lung_mask"], size) > 127
            mask = contour.rasterise(found.polygons, *truth.shape)
            ours.append(dice(mask, truth))
            covered.append((mask & truth).sum() / max(truth.sum(), 1))
            peer.append(dice(mean_shape(*truth.shape), truth))
            flagged.append(found.status != "ok")
            worst.append((ours[-1], (image, truth, found)))
            worst.sort(key=lambda item: item[0])
            del worst[24:]
    out: dict[str, Any] = {"images": len(status), "ms": round(1000 * float(np.median(times)), 1)}
    out |= {f"{name}_share": round(status.count(name) / len(status), 3) for name in ("flagged", "failed")}
    if marked:
        d, low = np.array(ours), np.array(flagged)
        out |= {"dice": d.mean(), "dice_median": np.median(d), "dice_p05": np.percentile(d, 5)}
        out |= {"covered": np.mean(covered)}
        out |= {"mean_shape_dice": np.mean(peer), "dice_ok": d[~low].mean() if (~low).any() else None}
        out |= {"dice_flagged": d[low].mean() if low.any() else None}
    return {k: round(float(v), 4) if isinstance(v, np.floating) else v for k, v in out.items()}


def draw(worst: list[tuple[float, Any]], path: Path) -> None:
    """The lowest overlaps: human outline green, ours red."""
    tiles = []
    for _, (image, truth, found) in worst:
        tile = pictures.draw_polygons(image, contour.trace(truth))
        for polygon in found.polygons:
            points = np.stack([polygon["x"], polygon["y"]], 1).round().astype(np.int32)
            cv2.polylines(tile, [points], True, pictures.FLAG_BGR, 3)
        tiles.append(tile)
    captions = [f"{value:.2f} {found.status} {found.reason}" for value, (_, _, found) in worst]
    pictures.write_png(path, pictures.montage(tiles, captions, columns=6, tile_px=280))


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help=f"{QUICK} images a set instead of {MOST}")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    parser.add_argument("--data", type=Path, default=DATA, help="folder with the sets")
    parser.add_argument("--worst", type=Path, help="write the 24 lowest overlaps to this PNG")
    args = parser.parse_args()
    present = [name for name in (*SETS, *UNMARKED) if (args.data / name / "manifest.csv").exists()]
    if not present:
        print(f"no set found in {args.data}; give the folder that holds {', '.join(SETS)} with --data")
        return 3
    cv2.setNumThreads(1)
    count, worst, rows = QUICK if args.quick else MOST, [], []
    for name in present:
        case = {"case": name, "what": SETS.get(name) or UNMARKED[name]}
        rows.append(case | measure(args.data / name, count, marked=name in SETS, worst=worst))
        if not args.json:
            print("  ".join(f"{key} {value}" for key, value in rows[-1].items()), flush=True)
    if args.worst:
        draw(worst, args.worst)
    if args.json:
        print(json.dumps({"machine": f"{platform.machine()}, 1 thread", "rows": rows}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
