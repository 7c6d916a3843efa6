"""LabelMe: one JSON file an image.

Source:
    github.com/wkentaro/labelme, `label_file.py`; written anew. Whole numbers lie at the edges of
    pixels there.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from xraytk.data.outlines.jsonfile import list_of, load_object
from xraytk.data.outlines.masks import decode_mask
from xraytk.data.outlines.outline import (
    BAD,
    Outline,
    Refusal,
    RefusedError,
    Ring,
    points_of,
    refusal,
    side_of,
)
from xraytk.data.outlines.rings import parts_of
from xraytk.files import write_json


def read(path: Path) -> Iterator[Outline | Refusal]:
    """Read one file.

    Args:
        path: JSON with "shapes"; polygons and masks are taken.
    """
    names: tuple[str, ...] = (path.stem,)
    try:
        content = load_object(path)
        if isinstance(content.get("imagePath"), str):
            names = (content["imagePath"], path.stem)
        rings: list[Ring] = []
        others: list[str] = []
        for shape in list_of(content.get("shapes")):
            found = _rings(shape)
            others += [f"({shape.get('shape_type')})"] if found is None else []
            rings += found or []
        width, height = side_of(content.get("imageWidth")), side_of(content.get("imageHeight"))
    except (*BAD, RefusedError) as error:
        yield refusal(error, names, 0)
        return
    yield Outline(names, tuple(rings), width, height, "labelme", others=tuple(others))


def _rings(shape: dict[str, Any]) -> list[Ring] | None:
    """Outlines of a shape; None for one that is neither a polygon nor a mask."""
    label, kind = str(shape["label"]), shape.get("shape_type") or "polygon"
    if kind == "polygon":
        corners = list_of(shape["points"])
        return [Ring(label, points_of((p[0] for p in corners), (p[1] for p in corners)))]
    if kind != "mask":
        return None
    left, top = shape["points"][0]
    corner = points_of([left], [top], 0.0)[0].round()
    try:
        data = base64.b64decode(shape["mask"], validate=True)
    except binascii.Error:
        raise RefusedError("not-readable", "mask") from None
    return [Ring(label, part + corner, traced=True) for part in parts_of(decode_mask(data) > 0)]


def write(rows: Iterable[Outline], folder: Path) -> int:
    """Write `<image_id>.json` for each; return how many.

    Args:
        rows: In pixels of the ingested images.
        folder: Where to.
    """
    count = 0
    for row in rows:
        count += 1
        shapes = [
            {
                "label": ring.label,
                "points": (ring.points + 0.5).round(3).tolist(),
                "group_id": None,
                "description": "",
                "shape_type": "polygon",
                "flags": {},
                "mask": None,
            }
            for ring in row.rings
        ]
        content: dict[str, Any] = {
            "version": "5.5.0",
            "flags": {},
            "shapes": shapes,
            "imagePath": f"{row.names[0]}.png",
            "imageData": None,
            "imageHeight": row.height,
            "imageWidth": row.width,
        }
        write_json(folder / f"{row.names[0]}.json", content)
    return count
