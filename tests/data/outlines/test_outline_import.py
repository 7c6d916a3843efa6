"""What an import does with rows, good and bad."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest

from xraytk.data import corrections, manifest, pictures
from xraytk.data.corrections import Correction
from xraytk.data.deid import hashed
from xraytk.data.idmap import IdMap
from xraytk.errors import DataError
from xraytk.progress import Silent


def both(kit: SimpleNamespace) -> list[dict[str, Any]]:
    return [kit.shape("right lung", kit.RIGHT), kit.shape("左肺", kit.LEFT)]


BOW = [[10, 10], [50, 50], [50, 10], [10, 50]]


@pytest.mark.parametrize(
    ("shapes", "more", "reason"),
    [
        ([], {}, "empty"),
        ([("lung", [[1, 1], [5, 5], [9, 9]])], {}, "empty"),
        ([("lung", [])], {}, "fewer-than-three-points"),
        ([("lung", [[1, 1], [5, 5], [1, 1]])], {}, "fewer-than-three-points"),
        ([("lung", [[1, 1], [5, 500], [9, 9]])], {}, "outside-the-image"),
        ([("lung", BOW)], {}, "self-crossing"),
        ([("nodule", BOW)], {}, "unknown-label"),
        ([("lung", [[1, 1], [5, 50], [90, 9]])], {"imageWidth": 201}, "another-size"),
        ([("lung", [[1, 1], [5, 50], [90, 9]])], {"imageWidth": 10**9, "imageHeight": 10**9}, "another-size"),
        ([("lung", [[1, 1], [5, 50], [float("nan"), 9]])], {}, "not-readable"),
        ([("lung", [[1, 1], [5, 50], [10**400, 9]])], {}, "not-readable"),
        ([("lung", [[1, 1], [5, 50], "9"])], {}, "not-readable"),
        ([("lung", [[1, 1], [5, 50], [90, 9]])], {"imageWidth": "wide"}, "not-readable"),
        ([("lung", [[1, 1], [5, 50], [90, 9]])], {"imageWidth": -200}, "not-readable"),
        ([("lung", [[1, 1], [5, 50], [90, 9]])], {"imageWidth": True}, "not-readable"),
        ([("right_lung", [[150, 1], [150, 50], [190, 9]]), ("left_lung", [[1, 1], [5, 50], [9, 9]])], {},
         "sides-swapped"),
    ],
)  # fmt: skip
def test_a_bad_row_has_a_reason_and_stops_nothing(
    shapes: Any, more: Any, reason: str, tmp_path: Path, bring: Any, kit: SimpleNamespace
) -> None:
    kit.labelme(tmp_path / "in" / f"{kit.ID}.json", [kit.shape(*s) for s in shapes], **more)
    kit.labelme(tmp_path / "in" / f"{kit.OTHER}.json", both(kit))
    result, made, rejected = bring(tmp_path / "in")
    assert (result.imported, result.refused) == (1, {reason: 1})
    assert list(made) == [kit.OTHER]
    assert rejected[0]["reason"] == reason
    assert rejected[0]["image_id"] == (None if reason == "not-readable" else kit.ID)
    assert [p["name"] for p in made[kit.OTHER].polygons] == ["right_lung", "left_lung"]


def test_the_same_import_twice_gives_the_same_bytes(tmp_path: Path, bring: Any, kit: SimpleNamespace) -> None:
    kit.labelme(tmp_path / "in" / f"{kit.ID}.json", both(kit))
    kit.labelme(tmp_path / "in" / "nobody.json", both(kit))

    def content() -> dict[str, bytes]:
        return {str(p): p.read_bytes() for p in (tmp_path / "masks").rglob("*") if p.is_file()}

    bring(tmp_path / "in", key=kit.KEY)
    before = content()
    bring(tmp_path / "in", key=kit.KEY)
    assert content() == before
    assert len(before) == 2


def test_refused_rows_stay_until_their_file_or_image_is_imported(
    tmp_path: Path, bring: Any, kit: SimpleNamespace
) -> None:
    first = kit.labelme(tmp_path / "a" / f"{kit.ID}.json", [kit.shape("lung", BOW)])
    _, _, rejected = bring(first, key=kit.KEY)
    assert [r["reason"] for r in rejected] == ["self-crossing"]
    second = kit.labelme(tmp_path / "b" / f"{kit.OTHER}.json", [])
    _, _, rejected = bring(second, key=kit.KEY)
    assert sorted(r["reason"] for r in rejected) == ["empty", "self-crossing"]
    _, _, rejected = bring(kit.labelme(tmp_path / "c" / f"{kit.ID}.json", both(kit)), key=kit.KEY)
    assert [r["reason"] for r in rejected] == ["empty"]
    kit.labelme(second, both(kit))
    assert bring(second, key=kit.KEY)[2] == []


def test_the_later_of_two_contours_wins(tmp_path: Path, bring: Any, kit: SimpleNamespace) -> None:
    early = kit.labelme(tmp_path / "a" / f"{kit.ID}.json", both(kit))
    late = kit.labelme(tmp_path / "b" / f"{kit.ID}.json", [kit.shape("right lung", kit.RIGHT + 3)])
    result, made, rejected = bring(early, late)
    assert (result.imported, [r["reason"] for r in rejected]) == (1, ["several-for-one-image"])
    assert [p["name"] for p in made[kit.ID].polygons] == ["right_lung"]
    assert rejected[0]["image_id"] == kit.ID


def fill(points: Any, size: tuple[int, int] = (220, 200)) -> Any:
    return cv2.fillPoly(np.zeros(size, np.uint8), [points.round().astype(np.int32)], 255)


@pytest.mark.parametrize(
    "names",
    [
        ("{}_right.png", "{}_left.png"),
        ("rightMask/{}.png", "leftMask/{}.png"),
        ("right/{}_mask.png", "left/{}-right.png"),
    ],
)
def test_masks_of_each_lung_are_joined(
    names: tuple[str, str], tmp_path: Path, bring: Any, kit: SimpleNamespace
) -> None:
    for name, points in zip(names, (kit.RIGHT, kit.LEFT), strict=True):
        pictures.write_png(tmp_path / "in" / name.format(kit.ID), fill(points))
    result, made, rejected = bring(tmp_path / "in")
    assert (result.imported, rejected) == (1, [])
    for name in ("right_lung", "left_lung"):
        assert kit.dice(made[kit.ID].polygons, kit.contour()["polygons"], name, 220, 200) > 0.98


def test_masks_of_swapped_sides_are_refused_when_they_meet(
    tmp_path: Path, bring: Any, kit: SimpleNamespace
) -> None:
    pictures.write_png(tmp_path / "in" / f"{kit.ID}_left.png", fill(kit.RIGHT))
    pictures.write_png(tmp_path / "in" / f"{kit.ID}_right.png", fill(kit.LEFT))
    result, made, _ = bring(tmp_path / "in")
    assert result.refused == {"sides-swapped": 2}
    assert (result.imported, made) == (0, {}), "the first is not left alone on the wrong side"


def test_a_mask_of_values_takes_them_as_labels(tmp_path: Path, bring: Any, kit: SimpleNamespace) -> None:
    mask = (fill(kit.RIGHT) > 0) + 2 * (fill(kit.LEFT) > 0).astype(np.uint8)
    pictures.write_png(tmp_path / "in" / f"{kit.ID}.png", mask.astype(np.uint8))
    assert bring(tmp_path / "in")[0].unknown_labels == {"1": 1, "2": 1}
    _, made, _ = bring(tmp_path / "in", label_map={"1": "right_lung", "2": "left_lung"})
    assert [p["name"] for p in made[kit.ID].polygons] == ["right_lung", "left_lung"]


@pytest.mark.parametrize("kind", ["rgb", "rgba", "16 bit", "1 bit", "palette", "soft", "large"])
def test_masks_of_all_kinds_of_png_are_read(
    kind: str, tmp_path: Path, bring: Any, kit: SimpleNamespace
) -> None:
    from PIL import Image

    size, scale = ((880, 800), 4) if kind == "large" else ((220, 200), 1)
    mask = fill(kit.RIGHT * scale, size) | fill(kit.LEFT * scale, size)
    picture = Image.fromarray(mask)
    if kind == "16 bit":
        picture = Image.fromarray(mask.astype(np.uint16) * 257)
    elif kind == "soft":
        picture = Image.fromarray(cv2.GaussianBlur(mask, (3, 3), 0))
    else:
        picture = picture.convert({"rgb": "RGB", "rgba": "RGBA", "1 bit": "1", "palette": "P"}.get(kind, "L"))
    picture.save(tmp_path / f"{kit.ID}.png")
    _, made, rejected = bring(tmp_path / f"{kit.ID}.png")
    assert rejected == []
    for name in ("right_lung", "left_lung"):
        assert kit.dice(made[kit.ID].polygons, kit.contour()["polygons"], name, 220, 200) > 0.97


def test_a_radiograph_is_no_mask(tmp_path: Path, bring: Any, kit: SimpleNamespace) -> None:
    grey = np.random.default_rng(0).integers(0, 255, (220, 200)).astype(np.uint8)
    pictures.write_png(tmp_path / f"{kit.ID}.png", grey)
    assert bring(tmp_path / f"{kit.ID}.png")[0].refused == {"not-readable": 1}


def test_a_folder_of_labelme_may_hold_its_images(tmp_path: Path, bring: Any, kit: SimpleNamespace) -> None:
    kit.labelme(tmp_path / "in" / f"{kit.ID}.json", both(kit))
    pictures.write_png(tmp_path / "in" / f"{kit.ID}.png", np.zeros((220, 200), np.uint8))
    (tmp_path / "in" / "notes.txt").write_text("hello")
    result, _, rejected = bring(tmp_path / "in")
    assert (result.imported, result.left_out, rejected) == (1, 1, [])


def test_unknown_labels_beside_known_ones_are_counted(
    tmp_path: Path, bring: Any, kit: SimpleNamespace
) -> None:
    box = {"label": "lung", "points": [[1, 1], [5, 5]], "shape_type": "rectangle"}
    shapes = [*both(kit), kit.shape("clavicle", BOW), kit.shape("clavicle", BOW), box]
    path = kit.labelme(tmp_path / f"{kit.ID}.json", shapes)
    result, _, rejected = bring(path)
    assert (result.imported, rejected) == (1, [])
    assert result.unknown_labels == {"clavicle": 2, "(rectangle)": 1}


def test_what_was_reviewed_is_kept_unless_it_may_go(tmp_path: Path, bring: Any, kit: SimpleNamespace) -> None:
    reviewed = Correction(kit.ID, "rejected", 200, 220)
    corrections.save(tmp_path / "masks" / "corrections", reviewed)
    path = kit.labelme(tmp_path / f"{kit.ID}.json", both(kit))
    result, made, _ = bring(path)
    assert (result.refused, made[kit.ID]) == ({"already-reviewed": 1}, reviewed)
    _, made, _ = bring(path, keep_reviewed=False)
    assert made[kit.ID].origin == "labelme"


def test_a_source_is_found_by_its_name_in_the_map(tmp_path: Path, bring: Any, kit: SimpleNamespace) -> None:
    with IdMap(tmp_path / "key.paths") as paths:
        paths.add(kit.ID, "/in/Wang/IM 1.dcm")
        paths.add(kit.OTHER, "/in/Li/IM 1.dcm")
        paths.add("ab" * 8, "/in/Li/IM 9.dcm")
        large = [kit.shape(s["label"], np.array(s["points"]) * 4) for s in both(kit)]
        size = {"imageWidth": 800, "imageHeight": 880}
        for name in ("IM 1", "Wang/IM 1", "IM 9"):
            kit.labelme(tmp_path / "in" / f"{name}.json", large, imagePath=f"{name}.png", **size)
        result, made, rejected = bring(tmp_path / "in", sources=paths.items, key=kit.KEY)
    assert result.refused == {"ambiguous-name": 1, "unknown-image": 1}
    assert list(made) == [kit.ID]
    assert kit.dice(made[kit.ID].polygons, kit.contour()["polygons"], "right_lung", 220, 200) > 0.98
    assert {r["name_hash"] for r in rejected} == {
        hashed(kit.KEY, "outline", n) for n in ("IM 1.png", "IM 9.png")
    }
    assert b"Wang" not in (tmp_path / "masks" / "rejected.parquet").read_bytes()


class Notes(Silent):
    def __init__(self) -> None:
        self.said: list[str] = []

    def note(self, text: str) -> None:
        self.said.append(text)


def test_names_are_said_only_when_asked_for_and_never_written(
    tmp_path: Path, bring: Any, kit: SimpleNamespace
) -> None:
    path = kit.labelme(tmp_path / "in" / "Wang Wei.json", both(kit))
    notes = Notes()
    result, _, rejected = bring(path, progress=notes)
    assert (notes.said, rejected[0]["name_hash"]) == ([], None)
    assert "Wang" not in f"{result} {rejected}"
    bring(path, progress=notes, show_paths=True)
    assert notes.said == ["unknown-image: Wang Wei.png"]


def test_a_missing_path_is_an_error_before_anything_is_done(tmp_path: Path, bring: Any) -> None:
    with pytest.raises(DataError, match="path 1"):
        bring(tmp_path / "none")
    assert not (tmp_path / "masks").exists()


def test_coco_runs_and_parts_are_read(tmp_path: Path, bring: Any, kit: SimpleNamespace) -> None:
    from xraytk.data.outlines.runs import runs_of, text_of

    right, left = (runs_of(fill(points) > 0) for points in (kit.RIGHT, kit.LEFT))
    heart = (kit.HEART + 0.5).ravel().tolist()
    content = {
        "images": [{"id": "x", "file_name": f"{kit.ID}.png", "width": 200, "height": 220}, {"id": 2}],
        "categories": [
            {"id": 1, "name": "Right Lung"},
            {"id": 2, "name": "left"},
            {"id": 3, "name": "heart"},
        ],
        "annotations": [
            {"image_id": "x", "category_id": 1, "segmentation": {"size": [220, 200], "counts": right}},
            {
                "image_id": "x",
                "category_id": 2,
                "segmentation": {"size": [220, 200], "counts": text_of(left)},
            },
            {"image_id": "x", "category_id": 3, "segmentation": [heart, (np.array(heart) + 40).tolist()]},
            {"image_id": 99, "category_id": 3, "segmentation": [heart]},
            7,
        ],
    }
    (tmp_path / "a.json").write_text(json.dumps(content))
    result, made, _ = bring(tmp_path / "a.json", label_map={"left": "left_lung"})
    assert result.refused == {"not-readable": 1, "unknown-image": 1}
    assert [p["name"] for p in made[kit.ID].polygons] == ["right_lung", "left_lung", "heart", "heart"]
    assert kit.dice(made[kit.ID].polygons, kit.contour()["polygons"], "left_lung", 220, 200) > 0.98


def test_cvat_masks_are_read_within_their_box(tmp_path: Path, bring: Any, kit: SimpleNamespace) -> None:
    from xraytk.data.outlines.runs import runs_of

    mask = fill(kit.RIGHT) > 0
    runs = ", ".join(map(str, runs_of(mask[20:200, 20:100], "C")))
    (tmp_path / "a.xml").write_text(
        f'<annotations><image id="0" name="dir/{kit.ID}.png" width="200" height="220">'
        f'<mask label="R lung" rle="{runs}" left="20" top="20" width="80" height="180"/>'
        '<box label="x"/></image>'
        f'<image id="1" name="{kit.OTHER}.png" width="200" height="220"/><track/></annotations>'
    )
    result, made, _ = bring(tmp_path / "a.xml")
    assert result.refused == {"empty": 1, "not-readable": 1}
    assert kit.dice(made[kit.ID].polygons, kit.contour()["polygons"], "right_lung", 220, 200) > 0.98


def test_labelme_masks_are_read_at_their_place(tmp_path: Path, bring: Any, kit: SimpleNamespace) -> None:
    import base64

    data = pictures.encode_png((fill(kit.RIGHT)[20:200, 20:100] > 0).astype(np.uint8))
    shape = {
        "label": "right_lung",
        "points": [[20, 20], [99, 199]],
        "shape_type": "mask",
        "mask": base64.b64encode(data).decode(),
    }
    path = kit.labelme(tmp_path / f"{kit.ID}.json", [shape])
    _, made, _ = bring(path)
    assert kit.dice(made[kit.ID].polygons, kit.contour()["polygons"], "right_lung", 220, 200) > 0.98


def test_rows_of_our_table_that_have_no_contour_are_passed_over(
    tmp_path: Path, bring: Any, kit: SimpleNamespace
) -> None:
    rows = [kit.contour(), kit.contour(kit.OTHER) | {"status": "failed", "polygons": []}]
    manifest.write_table(tmp_path / "c.parquet", manifest.CONTOURS, rows)
    result, made, rejected = bring(tmp_path / "c.parquet")
    assert (result.imported, rejected, made[kit.ID].origin) == (1, [], "table")
