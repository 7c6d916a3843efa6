"""An ingested image of two lungs and a heart, and what others' tools write of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from xraytk.data import corrections, manifest
from xraytk.data.contour import rasterise
from xraytk.data.outlines.bring import REJECTED, ImportResult, import_outlines

ID = "0123456789abcdef"
OTHER = "fedcba9876543210"
KEY = bytes(range(32))


def ellipse(x: float, y: float, wide: float, tall: float, count: int = 60) -> np.ndarray[Any, Any]:
    angle = np.linspace(0, 2 * np.pi, count, endpoint=False)
    return np.stack([x + wide * np.cos(angle), y + tall * np.sin(angle)], 1)


RIGHT, LEFT, HEART = ellipse(60, 100, 30, 70), ellipse(145, 95, 28, 66), ellipse(110, 130, 22, 25)


def image(image_id: str = ID, **facts: Any) -> dict[str, Any]:
    """A row of the manifest: 200 x 220, of a source four times that size."""
    plain = {"width": 200, "height": 220, "source_width": 800, "source_height": 880}
    return {"image_id": image_id, "orientation": "", "aspect": 1.0, "cropped": False, **plain, **facts}


def table(*rows: dict[str, Any]) -> pa.Table:
    return pa.Table.from_pylist(list(rows), schema=manifest.MANIFEST)


def contour(image_id: str = ID) -> dict[str, Any]:
    """A row of the contours table."""
    polygons = [
        {"name": name, "x": points[:, 0].tolist(), "y": points[:, 1].tolist()}
        for name, points in (("right_lung", RIGHT), ("left_lung", LEFT), ("heart", HEART))
    ]
    return {"image_id": image_id, "status": "ok", "width": 200, "height": 220, "polygons": polygons}


def dice(a: list[dict[str, Any]], b: list[dict[str, Any]], name: str, height: int, width: int) -> float:
    one, two = (rasterise([p for p in polygons if p["name"] == name], height, width) for polygons in (a, b))
    return float(2 * (one & two).sum() / max(one.sum() + two.sum(), 1))


def labelme(path: Path, shapes: list[dict[str, Any]], **more: Any) -> Path:
    content = {"imagePath": f"{path.stem}.png", "imageWidth": 200, "imageHeight": 220, "shapes": shapes}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content | more))
    return path


def shape(label: str, points: Any) -> dict[str, Any]:
    points = points.tolist() if isinstance(points, np.ndarray) else points
    return {"label": label, "points": points, "shape_type": "polygon"}


Bring = Callable[..., tuple[ImportResult, dict[str, corrections.Correction], list[dict[str, Any]]]]


@pytest.fixture
def bring(tmp_path: Path) -> Bring:
    """Import files; gives the result, the corrections by id, and the rejected rows."""

    def run(*paths: Path, images: pa.Table | None = None, **more: Any) -> Any:
        folder = tmp_path / "masks" / "corrections"
        images = table(image(), image(OTHER)) if images is None else images
        result = import_outlines(paths, images, folder, **more)
        made = {path.stem: corrections.load(path) for path in sorted(folder.glob("*.json"))}
        rows = manifest.read_table(result.rejected, REJECTED, "test").to_pylist()
        return result, made, rows

    return run


@pytest.fixture(scope="session")
def kit() -> SimpleNamespace:
    """The constants and makers of this file."""
    makers = {f.__name__: f for f in (ellipse, image, table, contour, dice, labelme, shape)}
    return SimpleNamespace(ID=ID, OTHER=OTHER, KEY=KEY, RIGHT=RIGHT, LEFT=LEFT, HEART=HEART, **makers)
