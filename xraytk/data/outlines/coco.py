"""COCO: one JSON file of many images, polygons or runs.

Source:
    cocodataset.org, data format; written anew. Whole numbers lie at the edges of pixels.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from xraytk.data.corrections import NAMES
from xraytk.data.outlines.jsonfile import list_of, load_object
from xraytk.data.outlines.outline import (
    BAD,
    Outline,
    Points,
    Refusal,
    RefusedError,
    Ring,
    points_of,
    refusal,
    side_of,
)
from xraytk.data.outlines.rings import area, parts_of
from xraytk.data.outlines.runs import mask_of
from xraytk.files import atomic_write


def read(path: Path) -> Iterator[Outline | Refusal]:
    """Read one file: an outline for each of its images.

    Args:
        path: JSON with "images", "annotations" and "categories".
    """
    try:
        content = load_object(path)
        labels = {_number(c): str(c["name"]) for c in list_of(content.get("categories"))}
        images = list_of(content.get("images"))
        drawn: dict[Any, list[Any]] = {}
        astray = 0
        for annotation in list_of(content.get("annotations")):
            if isinstance(annotation, dict) and isinstance(annotation.get("image_id"), int | str):
                drawn.setdefault(annotation["image_id"], []).append(annotation)
            else:
                astray += 1
    except (*BAD, RefusedError) as error:
        yield refusal(error)
        return
    for row, image in enumerate(images):
        names: tuple[str, ...] = ()
        try:
            names = (str(image["file_name"]),)
            yield _outline(image, names, drawn.pop(_number(image), []), labels, row)
        except (*BAD, RefusedError) as error:
            yield refusal(error, names, row)
    astray += sum(map(len, drawn.values()))
    if astray:
        yield Refusal("unknown-image", f"{astray} annotations of no image of the file")


def _number(thing: dict[str, Any]) -> int | str:
    if not isinstance(thing["id"], int | str):
        raise RefusedError("not-readable", "id")
    return thing["id"]


def _outline(
    image: dict[str, Any], names: tuple[str, ...], drawn: list[Any], labels: dict[int | str, str], row: int
) -> Outline:
    width, height = side_of(image.get("width")), side_of(image.get("height"))
    rings: list[Ring] = []
    for annotation in drawn:
        label = labels.get(annotation.get("category_id"), "(none)")
        shape = annotation.get("segmentation")
        if isinstance(shape, dict):
            tall, wide = shape["size"]
            if (width is not None and wide != width) or (height is not None and tall != height):
                raise RefusedError("another-size", "runs of another size than their image")
            rings += [
                Ring(label, part, traced=True) for part in parts_of(mask_of(shape["counts"], tall, wide))
            ]
        else:
            rings += [Ring(label, points_of(list_of(flat)[::2], flat[1::2])) for flat in list_of(shape)]
    return Outline(names, tuple(rings), width, height, "coco", row)


def write(rows: Iterable[Outline], folder: Path) -> int:
    """Write `annotations.json`; return the number of images.

    Args:
        rows: In pixels of the ingested images.
        folder: Where to.
    """
    count = number = 0
    categories = [{"id": i, "name": name, "supercategory": "thorax"} for i, name in enumerate(NAMES, 1)]
    spare = folder / ".tmp-annotations"
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with atomic_write(folder / "annotations.json", "w") as stream, spare.open("w+") as later:
            stream.write('{"info": {"description": "xraytk"}, "licenses": [],\n"categories": ')
            stream.write(f'{json.dumps(categories)},\n"images": [')
            for count, row in enumerate(rows, 1):
                about = {
                    "id": count,
                    "file_name": f"{row.names[0]}.png",
                    "width": row.width,
                    "height": row.height,
                }
                stream.write(("," if count > 1 else "") + "\n" + json.dumps(about))
                for ring in row.rings:
                    number += 1
                    later.write(
                        ("," if number > 1 else "") + "\n" + json.dumps(_annotation(ring, number, count))
                    )
            stream.write('\n],\n"annotations": [')
            later.seek(0)
            while part := later.read(1 << 20):
                stream.write(part)
            stream.write("\n]}\n")
    finally:
        spare.unlink(missing_ok=True)
    return count


def _annotation(ring: Ring, number: int, image: int) -> dict[str, Any]:
    edges: Points = (ring.points + 0.5).round(3)
    low, high = edges.min(0), edges.max(0)
    return {
        "id": number,
        "image_id": image,
        "category_id": NAMES.index(ring.label) + 1,
        "segmentation": [edges.ravel().tolist()],
        "area": round(area(edges), 3),
        "bbox": [*low.tolist(), *(high - low).round(3).tolist()],
        "iscrowd": 0,
    }
