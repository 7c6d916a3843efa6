"""Files that were made to do harm, or broken on their way: a reason, soon, and little memory."""

from __future__ import annotations

import json
import struct
import tracemalloc
import zlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from xraytk.data.outlines.formats import FORMATS, format_of, read
from xraytk.data.outlines.outline import REASONS, Outline, Refusal

BOMB = (
    '<?xml version="1.0"?><!DOCTYPE a [<!ENTITY a "lol">'
    + "".join(f'<!ENTITY {b} "{f"&{a};" * 10}">' for a, b in zip("abcdefgh", "bcdefghi", strict=True))
    + ']><annotations><image id="0" name="&i;" width="1" height="1"/></annotations>'
)
OUTSIDE = (
    '<?xml version="1.0"?><!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]>'
    '<annotations><image id="0" name="&x;"/></annotations>'
)


def png(width: int, height: int, data: bytes = b"") -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(data))
        + chunk(b"IEND", b"")
    )


def coco(segmentation: Any, **image: Any) -> str:
    return json.dumps(
        {
            "images": [{"id": 1, "file_name": "a.png", **image}],
            "categories": [{"id": 1, "name": "lung"}],
            "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "segmentation": segmentation}],
        }
    )


CVAT = (
    '<annotations><image id="0" name="a" width="{w}" height="{w}">'
    '<mask label="lung" {m}/></image></annotations>'
)
HOSTILE: dict[str, str | bytes] = {
    "bomb.xml": BOMB,
    "bomb-16.xml": BOMB.encode("utf-16"),
    "outside.xml": OUTSIDE,
    "truncated.xml": '<annotations><image id="0" name="a" width="10" height="10"><polygon label="lu',
    "html.xml": "<html></html>",
    "deep.xml": "<annotations>" + "<a>" * 100_000,
    "box.xml": CVAT.format(w=10, m='rle="1000000000000" left="0" top="0" width="1000000" height="1000000"'),
    "image.xml": CVAT.format(w=10**9, m='rle="4" left="0" top="0" width="2" height="2"'),
    "far.xml": CVAT.format(w=10, m='rle="0,4" left="nan" top="0" width="2" height="2"'),
    "runs.json": coco({"size": [2, 2], "counts": [10**18, 10**18]}),
    "runs-of-huge.json": coco({"size": [10**9, 10**9], "counts": [0, 10**18]}),
    "letters.json": coco({"size": [2, 2], "counts": "o" * 100_000}),
    "nan.json": coco([[float("nan")] * 8], width=10, height=10),
    "infinite.json": coco([[1, 2, float("inf"), 3, 4, 5]], width=10, height=10),
    "odd.json": coco([[1, 2, 3, 4, 5, 6, 7]], width=10, height=10),
    "size.json": coco([[1, 2, 3, 4, 5, 6]], width="1e999", height=10),
    "truncated.json": coco([[1, 2, 3, 4, 5, 6]])[:-30],
    "deep.json": '{"shapes": ' + "[" * 200_000,
    "list.json": '{"shapes": {"a": 1}, "imagePath": "a.png"}',
    "path.json": '{"shapes": [7], "imagePath": ["a.png"]}',
    "digits.json": '{"shapes": [], "imageWidth": ' + "9" * 10_000 + "}",
    "bytes.json": b'{"shapes": "\xff\xfe"',
    "mask.json": '{"shapes": [{"label": "lung", "shape_type": "mask", "points": [[0, 0]], "mask": "?"}]}',
    "bomb.png": png(65_000, 65_000, b"\0" * 1000),
    "huge.png": png(2**31 - 1, 2**31 - 1),
    "none.png": png(0, 10),
    "truncated.png": png(1000, 1000, b"\0" * 126_000)[:60],
    "short.png": b"\x89PNG\r\n\x1a\n",
    "short.parquet": b"PAR1PAR1",
    "seg.dcm": b"\0" * 128 + b"DICM" + b"1.2.840.10008.5.1.4.1.1.66.4\0" + b"\xff" * 500,
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_refused(name: str, tmp_path: Path) -> None:
    path, content = tmp_path / name, HOSTILE[name]
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    kind = format_of(path)
    assert kind, "its kind is known"
    tracemalloc.start()
    try:
        found = list(read(path, kind))
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert found
    assert all(isinstance(f, Refusal) and f.reason in REASONS for f in found), found
    assert most < 60_000_000
    assert "passwd" not in str(found)
    assert "root:" not in str(found)


@pytest.mark.parametrize("name", FORMATS)
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=some.binary(max_size=300))
def test_any_bytes_give_outlines_or_refusals(name: str, content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "any"
    path.write_bytes(content)
    assert all(isinstance(found, Outline | Refusal) for found in read(path, name))
    format_of(path)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    value=some.recursive(
        some.none() | some.booleans() | some.integers() | some.floats() | some.text(max_size=5),
        lambda inner: some.lists(inner, max_size=3)
        | some.dictionaries(
            some.sampled_from(["label", "points", "shape_type", "mask", "id", "image_id", "segmentation",
                               "size", "counts", "file_name", "width", "name", "category_id"]),
            inner, max_size=4,
        ),
    ),
    key=some.sampled_from(["shapes", "imagePath", "imageWidth", "images", "annotations", "categories"]),
)  # fmt: skip
def test_any_json_gives_outlines_or_refusals(
    value: Any, key: str, tmp_path: Path, kit: SimpleNamespace
) -> None:
    for name in ("labelme", "coco"):
        start = json.loads(coco([[1, 2, 3, 4, 5, 6]])) | {"shapes": [], "imagePath": "a"}
        path = tmp_path / "any.json"
        for content in (start | {key: value}, start | {key: [value]}):
            path.write_text(json.dumps(content))
            assert all(isinstance(found, Outline | Refusal) for found in read(path, name))


def test_nothing_quotes_a_name(tmp_path: Path) -> None:
    path = tmp_path / "Wang.json"
    path.write_text('{"shapes": [{"label": "Wang", "points": [["Wang", 1]]}], "imagePath": "Wang.png"}')
    assert "Wang" not in repr(list(read(path, "labelme")))
