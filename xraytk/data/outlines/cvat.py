"""CVAT's XML, "CVAT for images 1.1".

Read as it comes, a start tag at a time; a document type, and with it every entity, is refused.

Source:
    CVAT documentation, XML annotation format; written anew. Whole numbers lie at the edges of
    pixels.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from xml.parsers import expat
from xml.sax.saxutils import quoteattr

import numpy as np

from xraytk.data.outlines.outline import (
    BAD,
    MOST_BYTES,
    Outline,
    Refusal,
    RefusedError,
    Ring,
    mask_shape,
    points_of,
    refusal,
    side_of,
)
from xraytk.data.outlines.rings import parts_of
from xraytk.data.outlines.runs import mask_of
from xraytk.files import atomic_write

_CHUNK = 1 << 20
_SHAPES = ("polygon", "mask", "box", "polyline", "points", "ellipse", "cuboid", "skeleton", "tag")


def read(path: Path) -> Iterator[Outline | Refusal]:
    """Read one file: an outline for each of its images.

    Args:
        path: XML; tracks of videos are refused.
    """
    parser = _Parser()
    try:
        with path.open("rb") as stream:
            if path.stat().st_size > MOST_BYTES:
                raise RefusedError("not-readable", f"more than {MOST_BYTES} bytes")
            while chunk := stream.read(_CHUNK):
                parser.feed(chunk)
                yield from parser.taken()
            parser.feed(b"", is_last=True)
            yield from parser.taken()
    except (OSError, expat.ExpatError, *BAD, RefusedError) as error:
        yield from parser.taken()
        yield refusal(error)


class _Parser:
    """Start tags to outlines."""

    def __init__(self) -> None:
        self._expat = expat.ParserCreate()
        self._expat.StartElementHandler = self._start
        self._expat.EndElementHandler = self._end
        self._expat.StartDoctypeDeclHandler = self._forbidden
        self._expat.EntityDeclHandler = self._forbidden
        self._depth: list[str] = []
        self._done: list[Outline | Refusal] = []
        self._image: dict[str, str] | None = None
        self._shapes: list[tuple[str, dict[str, str]]] = []
        self._row = -1

    def feed(self, data: bytes, *, is_last: bool = False) -> None:
        self._expat.Parse(data, is_last)

    def taken(self) -> list[Outline | Refusal]:
        done, self._done = self._done, []
        return done

    def _forbidden(self, *_: object) -> None:
        raise RefusedError("not-readable", "a document type")

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        if not self._depth and tag != "annotations":
            raise RefusedError("not-readable", "not of CVAT")
        if tag == "track" and len(self._depth) == 1:
            self._done.append(Refusal("not-readable", "a track of a video"))
        elif tag == "image" and len(self._depth) == 1:
            self._image, self._shapes = attributes, []
            self._row += 1
        elif self._image is not None and len(self._depth) == 2 and tag in _SHAPES:
            self._shapes.append((tag, attributes))
        self._depth.append(tag)

    def _end(self, tag: str) -> None:
        self._depth.pop()
        if tag == "image" and len(self._depth) == 1 and self._image is not None:
            names = (self._image.get("name", ""),)
            try:
                self._done.append(_outline(self._image, names, self._shapes, self._row))
            except (*BAD, RefusedError) as error:
                self._done.append(refusal(error, names, self._row))
            self._image = None


def _outline(
    image: dict[str, str], names: tuple[str, ...], shapes: list[tuple[str, dict[str, str]]], row: int
) -> Outline:
    rings: list[Ring] = []
    others: list[str] = []
    for tag, shape in shapes:
        if tag == "polygon":
            corners = [pair.split(",") for pair in shape["points"].split(";") if pair.strip()]
            rings.append(Ring(shape["label"], points_of((c[0] for c in corners), (c[1] for c in corners))))
        elif tag == "mask":
            rings += _parts(shape, image)
        else:
            others.append(f"({tag})")
    return Outline(
        names,
        tuple(rings),
        side_of(image.get("width")),
        side_of(image.get("height")),
        "cvat",
        row,
        others=tuple(others),
    )


def _parts(shape: dict[str, str], image: dict[str, str]) -> list[Ring]:
    """Outlines of a mask, which is given row by row within its box."""
    left, top = int(float(shape["left"])), int(float(shape["top"]))
    tall, wide = mask_shape(shape["height"], shape["width"])
    mask_shape(image.get("height"), image.get("width"))
    mask = mask_of([int(n) for n in shape["rle"].split(",")], tall, wide, "C")
    return [Ring(shape["label"], part + np.array([left, top]), traced=True) for part in parts_of(mask)]


def write(rows: Iterable[Outline], folder: Path) -> int:
    """Write `annotations.xml`; return the number of images.

    Args:
        rows: In pixels of the ingested images.
        folder: Where to.
    """
    count = 0
    with atomic_write(folder / "annotations.xml", "w") as stream:
        stream.write('<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n  <version>1.1</version>\n')
        for count, row in enumerate(rows, 1):
            name = quoteattr(f"{row.names[0]}.png")
            stream.write(
                f'  <image id="{count - 1}" name={name} width="{row.width}" height="{row.height}">\n'
            )
            for ring in row.rings:
                points = ";".join(f"{x:.2f},{y:.2f}" for x, y in (ring.points + 0.5).tolist())
                stream.write(
                    f'    <polygon label={quoteattr(ring.label)} source="manual" occluded="0" '
                    f'points="{points}" z_order="0"></polygon>\n'
                )
            stream.write("  </image>\n")
        stream.write("</annotations>\n")
    return count
