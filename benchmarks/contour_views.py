"""What `xraytk mask` does with frontal chests, and with what is none.

    python benchmarks/contour_views.py [--quick] [--json] [--data DIR] [--model FILE] [--most N]

For each public set in DIR, for laterals drawn by `examples/train_view_model.py`, and for frontal
chests that were turned, cropped, framed or badly exposed: how many contours are ok, flagged, or
refused, by reason. A frontal chest should not be refused, and a lateral one never be ok. "doubt" is
of pictures that the view model takes for nothing surely, and least for a frontal chest: the highest
confidence of laterals (to be below `lungs.DOUBTED`) and of what is no chest (below `lungs.LOST`),
and the lowest of frontal chests (above it).
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from xraytk.data import view
from xraytk.models.lungs import LungModel, load_model, lung_model
from xraytk.tasks import lungs

REPOSITORY = Path(__file__).parents[1].resolve()
DATA = REPOSITORY / "../shared/data"
FRONTAL = (
    "cls_nih",
    "hd",
    "covid_hannover",
    "seg",
    "tb_shenzhen_lung",
    "kermany_native_aspect",
    "cls_pediatric_pneumonia",
)
OTHER = ("negatives_non_chest",)
DRAWN, VARIED = 60, 25
Picture = NDArray[Any]
Case = tuple[str, bool, Picture]
"""Name of a set, whether it is of frontal chests, and an image."""


def read(path: Path, native_size: str | None) -> Picture:
    """A grey picture, unsquashed where the native size is known."""
    image = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    if native_size:
        width, height = map(int, native_size.split("x"))
        scale = 640 / max(width, height)
        image = cv2.resize(image, (round(width * scale), round(height * scale)))
    return image


def rows_of(folder: Path, most: int) -> list[dict[str, str]]:
    """Rows of a set's manifest, evenly taken; none where it is not there."""
    if not (folder / "manifest.csv").exists():
        return []
    with (folder / "manifest.csv").open(encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    return rows[:: max(1, -(-len(rows) // most))]


def cases(data: Path, most: int) -> Iterator[Case]:
    """All that is looked at."""
    for name in (*FRONTAL, *OTHER):
        for row in rows_of(data / name, most):
            size = row.get("native_size") if name == "cls_pediatric_pneumonia" else None
            yield name, name in FRONTAL, read(data / name / row["image"], size)
    pairs = data / "iu_pairs_small"
    if (pairs / "pairs.jsonl").exists():
        for line in (pairs / "pairs.jsonl").read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            yield f"iu {row['view']}", row["view"] == "frontal", read(pairs / row["image"], None)
    sys.path.append(str(REPOSITORY / "examples"))
    from train_view_model import lateral

    for seed in range(min(DRAWN, most)):
        drawn = np.clip(lateral(np.random.default_rng(seed)), 0, 1)
        yield "drawn laterals", False, np.rint(drawn * 255).astype(np.uint8)
    for name in FRONTAL:
        for row in rows_of(data / name, min(VARIED, most)):
            size = row.get("native_size") if name == "cls_pediatric_pneumonia" else None
            image = read(data / name / row["image"], size)
            yield from ((f"frontal, {how}", True, made) for how, made in varied(image))


def varied(image: Picture) -> Iterator[tuple[str, Picture]]:
    """A frontal chest as archives have it at times."""
    height, width = image.shape
    centre = (width / 2, height / 2)
    for angle in (-15, 15):
        turn = cv2.getRotationMatrix2D(centre, angle, 1.0)
        yield "turned by 15 degrees", cv2.warpAffine(image, turn, (width, height))
    yield "an eighth cut off each side", image[height // 8 : -height // 8, width // 8 : -width // 8]
    yield "framed in black", cv2.copyMakeBorder(image, *[max(height, width) // 5] * 4, cv2.BORDER_CONSTANT)
    grey = image / 255.0
    yield "dark", np.rint(255 * grey**2.5).astype(np.uint8)
    yield "light", np.rint(255 * grey**0.4).astype(np.uint8)
    yield "inverted", 255 - image


def measure(data: Path, most: int, model: LungModel) -> tuple[list[dict[str, Any]], dict[str, float | None]]:
    """Counts by set, and the confidences between which the threshold must lie."""
    counts: dict[tuple[str, bool], Counter[str]] = {}
    doubt: dict[str, list[float]] = {"frontal_least": [], "lateral_most": [], "other_most": []}
    for name, is_frontal, image in cases(data, most):
        found, guess = lungs.find(image, model), view.guess_view(image)
        word = "refused" if found.status in ("failed", "skipped") else found.status
        said = [word, f"{found.status} {found.reason}"] if word == "refused" else [word]
        counts.setdefault((name, is_frontal), Counter()).update(["images", *said])
        if guess.view == "UNKNOWN" and guess.chest is None and guess.scores[0] < lungs.FRONTAL:
            kind = "frontal_least" if is_frontal else "lateral_most" if "lateral" in name else "other_most"
            doubt[kind].append(lungs.ask([image], model)[0].confidence)
    rows = [{"set": n, "frontal": f, **c} for (n, f), c in counts.items()]
    edges = {
        kind: round(min(sure) if kind == "frontal_least" else max(sure), 3) if sure else None
        for kind, sure in doubt.items()
    }
    return rows, edges


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="10 images a set")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    parser.add_argument("--data", type=Path, default=DATA, help="folder with the sets")
    parser.add_argument("--model", type=Path, help="another lung model")
    parser.add_argument("--most", type=int, default=900, help="images of a set at most")
    args = parser.parse_args()
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    model = load_model(args.model) if args.model else lung_model()
    rows, doubt = measure(args.data, 10 if args.quick else args.most, model)
    if args.json:
        print(json.dumps({"rows": rows, "doubt": doubt}))
        return 0
    for row in rows:
        print("  ".join(f"{key} {value}" for key, value in row.items()))
    print(f"doubt {json.dumps(doubt)}  thresholds {lungs.DOUBTED} {lungs.LOST}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
