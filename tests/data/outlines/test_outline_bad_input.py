"""Each kind of bad input, in each format, through the command line: one clear row, and no more."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from seg_files import code, items, write
from typer.testing import CliRunner

from xraytk.cli import app
from xraytk.data import corrections, deid, manifest, pictures
from xraytk.data.contour import rasterise
from xraytk.data.deid import hashed
from xraytk.data.outlines import seg
from xraytk.data.outlines.outline import REASONS

Shapes = dict[str, np.ndarray[Any, Any]]
SIZE = (200, 220)
CODES = {"right_lung": seg.RIGHT_LUNG, "left_lung": seg.LEFT_LUNG}


def cases(kit: SimpleNamespace) -> dict[str, tuple[str, Shapes, tuple[int, int]]]:
    """Name to reason, shapes and size of the picture; masks can do fewer things wrong than polygons."""
    right, left = kit.RIGHT, kit.LEFT
    bow = np.array([[10, 10], [50, 50], [50, 10], [10, 50.0]])
    both = {"right_lung": right, "left_lung": left}
    return {
        "fine": ("", both, SIZE),
        "outside": ("outside-the-image", {**both, "left_lung": left + np.array([60, 0])}, SIZE),
        "crossing": ("self-crossing", {"right_lung": bow, "left_lung": left}, SIZE),
        "flat": ("empty", {"right_lung": np.array([[10, 10], [50, 10], [80, 10.0]])}, SIZE),
        "points": ("fewer-than-three-points", {"right_lung": bow[:2]}, SIZE),
        "nothing": ("empty", {}, SIZE),
        "size": ("another-size", both, (201, 220)),
        "same": ("same-outline", {"right_lung": right, "left_lung": right}, SIZE),
        "overlap": ("lungs-overlap", {"right_lung": right, "left_lung": right + np.array([35, 0])}, SIZE),
        "swapped": ("sides-swapped", {"right_lung": left, "left_lung": right}, SIZE),
        "cropped": ("cropped-image", {n: p * 4 for n, p in both.items()}, (800, 880)),
        "nobody": ("unknown-image", both, SIZE),
    }


POLYGONS_ONLY = ("outside", "crossing", "flat", "points")


def masks_of(shapes: Shapes, size: tuple[int, int]) -> Shapes:
    return {n: rasterise([{"x": p[:, 0], "y": p[:, 1]}], size[1], size[0]) for n, p in shapes.items()}


def as_labelme(folder: Path, files: dict[str, Any]) -> None:
    for name, (shapes, (wide, tall)) in files.items():
        drawn = [{"label": n, "points": p.tolist(), "shape_type": "polygon"} for n, p in shapes.items()]
        about = {"imagePath": f"{name}.png", "imageWidth": wide, "imageHeight": tall, "shapes": drawn}
        (folder / f"{name}.json").write_text(json.dumps(about))


def as_coco(folder: Path, files: dict[str, Any]) -> None:
    images, drawn = [], []
    for number, (name, (shapes, (wide, tall))) in enumerate(files.items()):
        images.append({"id": number, "file_name": f"{name}.png", "width": wide, "height": tall})
        for label, points in shapes.items():
            category = list(CODES).index(label)
            outline = [points.ravel().tolist()]
            drawn.append({"image_id": number, "category_id": category, "segmentation": outline})
    named = [{"id": i, "name": label} for i, label in enumerate(CODES)]
    content = {"images": images, "annotations": drawn, "categories": named}
    (folder / "a.json").write_text(json.dumps(content))


def as_cvat(folder: Path, files: dict[str, Any]) -> None:
    text = "<annotations>"
    for name, (shapes, (wide, tall)) in files.items():
        text += f'<image id="0" name="{name}.png" width="{wide}" height="{tall}">'
        for label, points in shapes.items():
            corners = ";".join(f"{x},{y}" for x, y in points)
            text += f'<polygon label="{label}" points="{corners}"/>'
        text += "</image>"
    (folder / "a.xml").write_text(text + "</annotations>")


def as_table(folder: Path, files: dict[str, Any]) -> None:
    rows = []
    for name, (shapes, (wide, tall)) in files.items():
        drawn = [{"name": n, "x": p[:, 0].tolist(), "y": p[:, 1].tolist()} for n, p in shapes.items()]
        rows.append({"image_id": name, "status": "ok", "width": wide, "height": tall, "polygons": drawn})
    manifest.write_table(folder / "a.parquet", manifest.CONTOURS, rows)


def as_png(folder: Path, files: dict[str, Any]) -> None:
    for name, (shapes, size) in files.items():
        made = masks_of(shapes, size) or {"right_lung": np.zeros(size[::-1], bool)}
        for label, mask in made.items():
            pictures.write_png(folder / f"{name}_{label}.png", mask.astype(np.uint8) * 255)


def as_seg(folder: Path, files: dict[str, Any]) -> None:
    for number, (name, (shapes, size)) in enumerate(files.items(), 1):
        made = masks_of(shapes, size) or {"right_lung": np.zeros(size[::-1], bool)}
        segments = items(
            *(
                {"SegmentNumber": i, "SegmentedPropertyTypeCodeSequence": code(CODES[n])}
                for i, n in enumerate(made, 1)
            )
        )
        write(folder / f"{name}.dcm", list(made.values()), segments, [f"1.2.{number}"] * len(made))


WRITERS = {
    "labelme": as_labelme,
    "coco": as_coco,
    "cvat": as_cvat,
    "table": as_table,
    "png": as_png,
    "seg": as_seg,
}


@pytest.mark.parametrize("kind", WRITERS)
def test_each_kind_of_bad_input_is_a_row(kind: str, tmp_path: Path, kit: SimpleNamespace) -> None:
    is_mask = kind in ("png", "seg")
    wanted = {name: c for name, c in cases(kit).items() if not (is_mask and name in POLYGONS_ONLY)}
    key = deid.load_key(tmp_path / "key")
    ids = {name: hashed(key, "image", f"1.2.{n}") for n, name in enumerate(wanted, 1)}
    rows = [
        kit.image(image_id, path=manifest.image_path(image_id), view="PA", cropped=name == "cropped")
        for name, image_id in ids.items()
        if name != "nobody"
    ]
    manifest.write_table(tmp_path / "work/ingest/manifest/part-00000.parquet", manifest.MANIFEST, rows)
    (tmp_path / "in").mkdir()
    # the seg of an unknown instance has the name of another image, which must not help
    WRITERS[kind](tmp_path / "in", {ids[name]: c[1:] for name, c in wanted.items()})
    flags = ["--work", tmp_path / "work", "--key", tmp_path / "key", "--overlays", 0, "--workers", 1]
    done = CliRunner().invoke(app, list(map(str, ["mask", "--import", tmp_path / "in", "--json", *flags])))
    assert done.exit_code == 0, done.output
    made = [corrections.load(p).image_id for p in (tmp_path / "work/masks/corrections").iterdir()]
    assert made == [ids["fine"]]
    assert json.loads(done.stdout)["imported"]["imported"] == 1
    table = pq.read_table(tmp_path / "work/masks/rejected.parquet").to_pylist()
    names = {hashed(key, "outline", n + end): name for name, i in ids.items() for n, end in said(i, kind)}
    found: dict[str, set[str]] = {}
    for row in table:
        found.setdefault(names[row["name_hash"]], set()).add(row["reason"])
        assert row["meaning"] == REASONS[row["reason"]]
        assert row["meaning"] in done.stderr
    reasons = {name: {reason} for name, (reason, *_) in wanted.items() if reason}
    if kind == "seg":
        reasons["nobody"] = {"another-series"}
    assert found == reasons


def said(image_id: str, kind: str) -> list[tuple[str, str]]:
    """Names by which a row may call its image."""
    if kind == "png":
        return [(f"{image_id}_{label}", "") for label in CODES]
    return [(image_id, "" if kind in ("table", "seg") else ".png")]
