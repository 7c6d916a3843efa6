"""A folder like the one that ingest and mask leave, made by hand from random pictures."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from xraytk.data import manifest, pictures

SPLITS = ("train", "train", "train", "val", "test")
BOX = {"x": [10.0, 40.0, 40.0, 10.0], "y": [12.0, 12.0, 60.0, 60.0]}


def image_id(number: int) -> str:
    return hashlib.sha256(b"image %d" % number).hexdigest()[:16]


def picture(number: int) -> np.ndarray[Any, Any]:
    """Of two shapes in turn: 90 x 72 and 64 x 96."""
    height, width = ((90, 72), (64, 96))[number % 2]
    rng = np.random.default_rng(number)
    return (rng.random((height, width)) * 65535).astype(np.uint16)


def make(
    work: Path,
    count: int = 20,
    *,
    splits: Sequence[str] = SPLITS,
    views: Sequence[str] = ("PA",),
    contours: bool = True,
    sides: bool = True,
    in_study: int = 1,
    picture: Callable[[int], np.ndarray[Any, Any]] = picture,
) -> list[str]:
    """Write ``work/ingest`` and ``work/masks``; return the ids in order of their number.

    So many images after each other are a study ``in_study``, each of its own patient; splits go by studies.
    """
    ids = [image_id(i) for i in range(count)]
    rows = []
    for i, name in enumerate(ids):
        path = f"images/{name[:2]}/{name}.png"
        image = picture(i)
        pictures.write_png(work / "ingest" / path, image)
        rows.append(
            {
                "image_id": name,
                "patient_hash": ids[i - i % in_study][::-1],
                "study_hash": f"s{i // in_study:015d}",
                "source_sha256": "5ec4e7" * 10,
                "source_hash": "50c4ce",
                "split": splits[i // in_study % len(splits)],
                "path": path,
                "height": image.shape[0],
                "width": image.shape[1],
                "spacing_x_mm": 0.14,
                "spacing_kind": "detector",
                "view": views[i % len(views)],
                "sex": "F",
            }
        )
    manifest.write_table(work / "ingest/manifest/part-00000.parquet", manifest.MANIFEST, rows)
    if sides:
        reports(work, {name: f"Report {i}." for i, name in enumerate(ids)})
        labels = [
            {"image_id": name, "label": label, "value": float(i % 2)}
            for i, name in enumerate(ids)
            for label in ("Nodule", "Effusion")[: 1 + i % 2]
        ]
        manifest.write_table(work / "ingest/labels.parquet", manifest.LABELS, labels)
    if contours:
        write_contours(work, rows)
    return ids


def reports(work: Path, english: dict[str, str]) -> None:
    """Reports in English for all, in Chinese for every other one."""
    rows = [
        {"image_id": name, "en": text, "zh": "双肺清晰。" if i % 2 else None}
        for i, (name, text) in enumerate(english.items())
    ]
    manifest.write_table(work / "ingest/reports.parquet", manifest.REPORTS, rows)


def write_contours(work: Path, rows: Sequence[dict[str, Any]]) -> None:
    """A box for every image but each fifth, which failed."""
    made = [
        {
            "image_id": row["image_id"],
            "status": "failed" if i % 5 == 4 else "ok",
            "width": row["width"],
            "height": row["height"],
            "polygons": [] if i % 5 == 4 else [{"name": "right_lung", **BOX}],
            "others": [] if i % 5 == 4 else [{"name": "right_clear", **BOX}],
            "confidence": None if i % 5 == 4 else 0.97,
            "source": "net",
            "checked": "",
            "grid_rows": 2,
            "grid_cols": 2,
            "lung_share": [0.1, 0.2, 0.3, 0.4],
        }
        for i, row in enumerate(rows)
    ]
    manifest.write_table(work / "masks/contours.parquet", manifest.CONTOURS, made)
