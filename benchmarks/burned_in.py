"""How well burned-in text is found, how often a clean image is touched, and how long it takes.

    python benchmarks/burned_in.py [--quick] [--json] [--data DIR] [--cache DIR] [--sheet FILE.png]

Phantoms of 1280 pixels are enlarged to 2000 to 3000; `captions` burns text of 10 to 120 pixels of
letter height (for a long side of 2500) into them. A line counts as found when the boxes cover at
least 90 % of it. Clean phantoms are measured as they are (three in five have a lone L or R), and
once more with up to four wires, clips, zippers, markers and shutters drawn in. Seeds start at
10,050; the weights were fitted on seeds below 220. With --data, the second half of each set of
public radiographs is measured too (the weights saw the first): how many images are touched, which
says little without looking, because many hold text; --sheet writes what was found there.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from collections import defaultdict
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from burned_in_train import load, resized
from captions import Line, add_text
from clutter import add_clutter
from numpy.typing import NDArray

from xraytk.data import burned, textcells

SETS = ("cls_nih", "covid_hannover", "tb_shenzhen_lung", "hd", "cls_pediatric_pneumonia")
FIRST_SEED = 10_050
COVERED = 0.9
SIZES = (10, 14, 20, 50, 121)


def covered(line: Line, boxes: list[burned.TextBox], scale: float) -> float:
    """Share of a line's box that lies in found boxes."""
    x0, y0, x1, y1 = (round(v * scale) for v in line.box)
    inside = np.zeros((max(y1 - y0, 1), max(x1 - x0, 1)), bool)
    for b in boxes:
        inside[max(0, b.y0 - y0) : max(0, b.y1 - y0), max(0, b.x0 - x0) : max(0, b.x1 - x0)] = True
    return float(inside.mean())


def kinds(line: Line) -> list[str]:
    """The rows of the table that a line counts in."""
    size = next(f"{a}-{b - 1} px" for a, b in pairwise(SIZES) if line.cap_px < b)
    faint = "faint" if line.style == "faint" else "not faint"
    return ["all", line.where, line.style, line.script, size, f"{size}, {faint}",
            *(["rotated"] if line.rotated else []), *(["jpeg"] if line.jpeg else [])]  # fmt: skip


def phantoms(with_text: int, clean: int, cache: Path | None) -> list[dict[str, Any]]:
    """Rows of recall by kind, and of clean images touched."""
    found: dict[str, list[bool]] = defaultdict(list)
    touched: dict[str, list[bool]] = defaultdict(list)
    area = []
    for seed in range(FIRST_SEED, FIRST_SEED + max(with_text, clean)):
        rng = np.random.default_rng([99, seed])
        image = resized(load(seed, cache), rng.uniform(2000, 3000))
        if seed < FIRST_SEED + clean:
            grey, _ = textcells.grey(image)
            touched["clean phantoms"].append(bool(burned.find_text(grey)))
            grey, _ = textcells.grey(add_clutter(image, rng))
            touched["phantoms with clutter"].append(bool(burned.find_text(grey)))
        if seed < FIRST_SEED + with_text:
            drawn, lines = add_text(image, rng)
            grey, scale = textcells.grey(drawn)
            boxes = burned.find_text(grey)
            area.append(sum((b.x1 - b.x0) * (b.y1 - b.y0) for b in boxes) / grey.size)
            for line in lines:
                ok = covered(line, boxes, scale) >= COVERED
                for kind in kinds(line):
                    found[kind].append(ok)
    rows = [
        {"case": f"found: {k}", "share": float(np.mean(v)), "of": len(v)} for k, v in sorted(found.items())
    ]
    rows += [{"case": f"touched: {k}", "share": float(np.mean(v)), "of": len(v)} for k, v in touched.items()]
    return [
        *rows,
        {"case": "area blanked in images with text", "share": float(np.mean(area)), "of": len(area)},
    ]


def real(data: Path, most: int, tiles: list[NDArray[np.uint8]]) -> list[dict[str, Any]]:
    """Rows of public radiographs touched, and pictures of what was found."""
    rows: list[dict[str, Any]] = []
    for name in SETS:
        files = sorted((data / name / "images").glob("*.*"))
        half = files[len(files) // 2 :]
        touched = []
        for path in half[:: max(1, len(half) // most)][:most]:
            image = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
            boxes = burned.find_text(image)
            touched.append(bool(boxes))
            tiles += [_tile(image, box, f"{len(tiles)} {name[:6]} {path.stem[-12:]}") for box in boxes]
        rows.append({"case": f"touched: {name}", "share": float(np.mean(touched)), "of": len(touched)})
    return rows


def _tile(image: NDArray[np.uint8], box: burned.TextBox, title: str) -> NDArray[np.uint8]:
    pad = 10
    part = image[max(0, box.y0 - pad) : box.y1 + pad, max(0, box.x0 - pad) : box.x1 + pad]
    scale = min(200 / part.shape[1], 100 / part.shape[0])
    part = cv2.resize(part, None, fx=scale, fy=scale)[:100, :200]
    tile = np.zeros((120, 200), np.uint8)
    tile[: part.shape[0], : part.shape[1]] = part
    cv2.putText(tile, title, (2, 115), cv2.FONT_HERSHEY_SIMPLEX, 0.38, 255, 1, cv2.LINE_AA)
    return tile


def sheet(tiles: list[NDArray[np.uint8]], path: Path) -> None:
    """All tiles in one picture, 12 a row."""
    tiles = tiles + [np.zeros((120, 200), np.uint8)] * (-len(tiles) % 12)
    cv2.imwrite(str(path), np.vstack([np.hstack(tiles[i : i + 12]) for i in range(0, len(tiles), 12)]))


def speed(cache: Path | None, runs: int) -> dict[str, Any]:
    """Milliseconds of a search on the shrunken image, and of the shrinking, in turn."""
    big = resized(load(FIRST_SEED, cache), 3000)
    grey, _ = textcells.grey(big)
    ours, peer = [], []
    for _ in range(runs):
        start = time.perf_counter()
        burned.find_text(grey)
        middle = time.perf_counter()
        textcells.grey(big)
        ours.append(middle - start)
        peer.append(time.perf_counter() - middle)
    row = {"case": "search at 1280 px, against the INTER_AREA shrink to it", "peer": "shrink", "runs": runs}
    return row | {"ours_ms": 1e3 * min(ours), "peer_ms": 1e3 * min(peer), "ratio": min(peer) / min(ours)}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="20 phantoms")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--with-text", type=int, default=300)
    parser.add_argument("--clean", type=int, default=500)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--real", type=int, default=60, help="images of each public set")
    parser.add_argument("--cache", type=Path, help="phantoms kept as SEED.npy")
    parser.add_argument("--sheet", type=Path)
    options = parser.parse_args()
    cv2.setNumThreads(1)
    counts = (20, 20) if options.quick else (options.with_text, options.clean)
    rows = phantoms(*counts, options.cache)
    tiles: list[NDArray[np.uint8]] = []
    if options.data:
        rows += real(options.data, options.real, tiles)
    if options.sheet and tiles:
        sheet(tiles, options.sheet)
    rows.append(speed(options.cache, 30))
    if options.json:
        print(json.dumps({"machine": platform.processor() or platform.machine(), "rows": rows}))
        return
    for row in rows:
        if "share" in row:
            print(f"{row['case']:50} {100 * row['share']:6.1f} %  of {row['of']}")
        else:
            print(f"{row['case']}: {row['ours_ms']:.1f} ms against {row['peer_ms']:.1f} ms")


if __name__ == "__main__":
    main()
