"""A masks folder with five contours to look at, and its images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from xraytk.data import manifest, pictures

WIDTH, HEIGHT = 160, 200
STATUS = {
    "aa": ("ok", ""),
    "bb": ("flagged", "off-centre"),
    "cc": ("failed", "no-lungs"),
    "dd": ("ok", ""),
    "ee": ("flagged", "poor-fit"),
    "ff": ("skipped", "not-frontal"),
    "99": ("failed", "image-missing"),
}


def full(two: str) -> str:
    return two * 8


def square(name: str, left: float, top: float = 40.0, side: float = 50.0) -> dict[str, Any]:
    x = [left, left + side, left + side, left]
    return {"name": name, "x": x, "y": [top, top, top + side, top + side]}


LUNGS = [square("right_lung", 20.0), square("left_lung", 90.0)]


def write_work(folder: Path) -> Path:
    """A workspace as `ingest` and `mask` leave it."""
    image = np.linspace(0, 65535, HEIGHT * WIDTH).astype(np.uint16).reshape(HEIGHT, WIDTH)
    ids = [full(two) for two in sorted(STATUS)]
    for image_id in ids:
        pictures.write_png(folder / "ingest" / manifest.image_path(image_id), image)
    size = {"width": WIDTH, "height": HEIGHT}
    images = [{"image_id": i, "path": manifest.image_path(i), "view": "PA", **size} for i in ids]
    manifest.write_table(folder / "ingest" / "manifest" / "part-0.parquet", manifest.MANIFEST, images)
    rows = []
    for image_id in ids:
        status, reason = STATUS[image_id[:2]]
        polygons = LUNGS if status in ("ok", "flagged") else []
        rows.append({"image_id": image_id, "status": status, "reason": reason, "polygons": polygons, **size})
    manifest.write_table(folder / "masks" / "contours.parquet", manifest.CONTOURS, rows)
    return folder
