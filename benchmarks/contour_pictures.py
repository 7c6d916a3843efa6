"""What `contour.py` shows of its measurements: failures in words and pictures, Dice against confidence."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from xraytk.data import contour, pictures
from xraytk.tasks.lungs import Lungs

BELOW = 0.92
"""Dice under which an image is listed as a failure."""
EDGES = (0.0, 0.9, 0.94, 0.95, 0.96, 0.97, 0.975, 0.98, 0.985, 1.0)
_BAD = 0.9
_FEWEST = 10
COLUMNS = ("set", "file", "dice", "net_dice", "confidence", "status", "assd", "what_was_wrong")
ZONES = ("apex", "middle", "base")
Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Seen:
    """One image that was measured.

    Args:
        set: Name of its set.
        row: Of the set's manifest.
        found: What was shipped.
        net: Outlines of the net, in the set's convention.
        sure: Confidence.
        dice: Of what was shipped.
        net_dice: Of the net.
        assd: Of what was shipped, over the height of the lungs.
        wrong: Where the error is, see `wrong_of`; "" where the overlap is good.
    """

    set: str
    row: dict[str, str]
    found: Lungs
    net: tuple[contour.Polygon, ...]
    sure: float
    dice: float
    net_dice: float
    assd: float
    wrong: str


def wrong_of(found: Mask, truth: Mask) -> str:
    """Where most of the difference lies: which lung and third of it, too little or too much.

    Args:
        found: (H, W).
        truth: (H, W), a person's.

    Returns:
        As "too little: left base 71 %", with the share of all differing pixels; "left" is the
        patient's. "no outline" and "a whole lung" come before.
    """
    if not found.any():
        return "no outline"
    ys, xs = np.nonzero(truth)
    top, tall = ys.min(), np.ptp(ys) + 1
    _, _, stats, centres = cv2.connectedComponentsWithStats(truth.astype(np.uint8))
    large = np.argsort(-stats[1:, cv2.CC_STAT_AREA])[:2] + 1
    middle = float(centres[large, 0].mean()) if len(large) == 2 else float((xs.min() + xs.max()) / 2)
    share: dict[str, float] = {}
    total = max(int((found ^ truth).sum()), 1)
    halves = {"right": slice(0, round(middle)), "left": slice(round(middle), None)}
    for side, columns in halves.items():
        if truth[:, columns].any() and found[:, columns].sum() < 0.15 * truth[:, columns].sum():
            return f"too little: the whole {side} lung"
        for kind, error in (("too little", truth & ~found), ("too much", found & ~truth)):
            rows, _ = np.nonzero(error[:, columns])
            thirds = np.clip((rows - top) * 3 // tall, 0, 2)
            for zone, count in enumerate(np.bincount(thirds, minlength=3)):
                share[f"{kind}: {side} {ZONES[zone]}"] = float(count) / total
    worst = max(share, key=lambda name: share[name])
    return f"{worst} {share[worst]:.0%}" if share[worst] > 0.3 else "all around"


def write_failures(seen: Sequence[Seen], path: Path) -> None:
    """List the images below `BELOW`, worst first, and count what was wrong."""
    low = sorted((s for s in seen if s.dice < BELOW), key=lambda s: (s.set, s.dice))
    counts = Counter((s.set, s.wrong.rpartition(" ")[0] if "%" in s.wrong else s.wrong) for s in low)
    images = Counter(s.set for s in seen)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as stream:
        stream.write(f"# images whose contour has a Dice below {BELOW} with the person's, worst first\n")
        writer = csv.writer(stream, delimiter="\t", lineterminator="\n")
        writer.writerow(COLUMNS)
        for s in low:
            numbers = (f"{v:.3f}" for v in (s.dice, s.net_dice, s.sure))
            status = " ".join(filter(None, (s.found.status, s.found.reason, s.found.source)))
            writer.writerow([s.set, Path(s.row["image"]).name, *numbers, status, f"{s.assd:.4f}", s.wrong])
        stream.write("\n# where most of the error lies, by set\n")
        for (name, wrong), count in sorted(counts.items(), key=lambda c: (c[0][0], -c[1], c[0][1])):
            stream.write(f"# {name}\t{count} of {images[name]} images\t{wrong}\n")


def draw_worst(
    seen: Sequence[Seen], folder: Path, most: int, read: Callable[[Seen], tuple[Any, Mask]]
) -> None:
    """The lowest overlaps of each set: a person's outline green, the net's red, the fitted atlas blue.

    Args:
        seen: What was measured.
        folder: Where to; pictures of sets that may not be passed on, so outside of the repository.
        most: Of each set.
        read: Gives an image and the person's mask.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name in dict.fromkeys(s.set for s in seen):
        tiles, captions = [], []
        for s in sorted((s for s in seen if s.set == name), key=lambda s: s.dice)[:most]:
            image, truth = read(s)
            lines = [{**p, "name": ""} for p in contour.trace(truth)]
            tile = pictures.draw_polygons(pictures.draw_polygons(image, lines), s.net, pictures.FLAG_BGR)
            if s.found.source == "atlas":
                tile = pictures.draw_polygons(tile, s.found.polygons, pictures.CLEAR_BGR)
            tiles.append(tile)
            captions.append(f"{s.dice:.3f} sure {s.sure:.2f} {s.wrong}")
        for page in range(0, len(tiles), 12):
            sheet = pictures.montage(
                tiles[page : page + 12], captions[page : page + 12], columns=4, tile_px=420
            )
            pictures.write_png(folder / f"worst-{name}-{page // 12 + 1}.png", sheet)


def draw_confidence(seen: Sequence[Seen], path: Path) -> None:
    """Dice against confidence: of the images accepted from a threshold on, and by bins, with counts."""
    from matplotlib import pyplot as plt

    figure, axes = plt.subplot_mosaic(
        [["mean", "bins"], ["share", "bins"]],
        figsize=(10, 4.6),
        layout="constrained",
        height_ratios=[2, 1.2],
    )
    for color, (label, some) in zip(("C0", "C1"), _kinds(seen).items(), strict=False):
        sure, dice = np.array([s.sure for s in some]), np.array([s.net_dice for s in some])
        order = np.argsort(-sure)
        kept = np.arange(1, len(order) + 1)
        many = kept >= _FEWEST
        least, mean = sure[order][many], (np.cumsum(dice[order]) / kept)[many]
        bad = (np.cumsum(dice[order] < _BAD) / kept)[many]
        axes["mean"].plot(least, mean, color, label=f"{label}, {len(some)} images")
        axes["share"].plot(least, kept[many] / len(order), color)
        axes["share"].plot(least, bad, color, ls=":")
    axes["mean"].set(ylabel="mean Dice of the accepted")
    axes["mean"].legend(fontsize=8)
    axes["share"].set(xlabel="accepted from this confidence on", ylabel="share of images")
    axes["share"].set_title(f"accepted; dotted: below a Dice of {_BAD} among them", fontsize=8)
    _draw_bins(axes["bins"], _kinds(seen))
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=80)
    plt.close(figure)


def _kinds(seen: Sequence[Seen]) -> dict[str, list[Seen]]:
    """Sets of whole lungs, of which the confidence speaks, and of clear ones."""
    kinds = {
        "whole lungs": [s for s in seen if s.set != "tb_shenzhen_lung"],
        "clear lungs": [s for s in seen if s.set == "tb_shenzhen_lung"],
    }
    return {label: some for label, some in kinds.items() if some}


def _draw_bins(axes: Any, kinds: dict[str, list[Seen]]) -> None:
    """Mean and 5th to 95th percentile of Dice in each bin, with the number of images."""
    names = [f"{a:g}-{b:g}" for a, b in pairwise(EDGES)]
    for k, (label, some) in enumerate(kinds.items()):
        at = np.clip(np.digitize([s.sure for s in some], EDGES) - 1, 0, len(names) - 1)
        dice = np.array([s.net_dice for s in some])
        for i in sorted(set(at.tolist())):
            inside = dice[at == i]
            low, high = np.percentile(inside, [5, 95])
            x = i + 0.3 * k - 0.15
            axes.plot([x, x], [low, high], f"C{k}", lw=1)
            axes.plot(x, inside.mean(), f"C{k}o", ms=4, label=label if i == at.min() else None)
            axes.text(x, high + 0.003, str(len(inside)), ha="center", fontsize=7, color=f"C{k}")
    axes.set_xticks(range(len(names)), names, rotation=45, fontsize=7)
    axes.set(xlabel="confidence", ylabel="Dice: mean, 5th to 95th percentile, count", ylim=(None, 1.0))
    axes.legend(loc="lower right", fontsize=8)
