"""The verb mask, on phantoms laid out as ingest does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pytest

from xraytk import mask
from xraytk.data import contour, corrections, manifest, pictures
from xraytk.data.corrections import Correction
from xraytk.data.phantoms.phantom import make_phantom
from xraytk.errors import DataError, RunConflictError, UsageError
from xraytk.mask import MaskConfig
from xraytk.progress import Silent, Task
from xraytk.records import as_plain


class Notes(Silent):
    """Keeps what was noted."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, message: str) -> None:
        self.notes.append(message)


VIEWS = ("PA", "AP", "UNKNOWN", "LATERAL", "PA", "PA")


@pytest.fixture(scope="module")
def pixels() -> list[np.ndarray[Any, np.dtype[np.uint16]]]:
    made = [make_phantom(seed, size_px=256, findings=()).pixels for seed in range(4)]
    images = [(np.clip(p, 0, 1) * 65535).astype(np.uint16) for p in made]
    noise = np.random.default_rng(0).integers(0, 65535, (200, 180)).astype(np.uint16)
    return [*images, images[0][:, ::-1].copy(), noise]


@pytest.fixture
def work(tmp_path: Path, pixels: list[np.ndarray[Any, np.dtype[np.uint16]]]) -> Path:
    """A workspace with six images: five chests, one of them lateral by name, and noise."""
    write_ingest(tmp_path / "work" / "ingest", pixels, VIEWS)
    return tmp_path / "work"


def write_ingest(folder: Path, images: list[Any], views: tuple[str, ...]) -> None:
    rows = []
    for i, (image, view) in enumerate(zip(images, views, strict=True)):
        image_id = f"{i:02x}" * 8
        path = f"images/{image_id[:2]}/{image_id}.png"
        pictures.write_png(folder / path, image)
        height, width = image.shape
        rows.append({"image_id": image_id, "path": path, "view": view, "width": width, "height": height})
    manifest.write_table(folder / "manifest" / "part-00000.parquet", manifest.MANIFEST, rows)


def contours(work: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = manifest.read_table(
        work / "masks" / "contours.parquet", manifest.CONTOURS, "xraytk mask"
    ).to_pylist()
    return rows


def test_every_image_gets_a_row_in_order_of_id(work: Path) -> None:
    result = mask.run(MaskConfig(work=work))
    rows = contours(work)
    assert [r["image_id"] for r in rows] == [f"{i:02x}" * 8 for i in range(6)]
    assert [r["status"] for r in rows] == ["ok", "ok", "ok", "skipped", "ok", "failed"]
    assert (result.ok, result.flagged, result.failed, result.skipped) == (4, 0, 1, 1)
    assert result.reasons == {"not-chest": 1, "not-frontal": 1}


def test_a_row_holds_polygons_and_their_shares(work: Path) -> None:
    mask.run(MaskConfig(work=work, grid=10))
    row = contours(work)[0]
    assert (row["grid_rows"], row["grid_cols"]) == (10, 10)
    assert [p["name"] for p in row["polygons"]] == ["right_lung", "left_lung"]
    again = contour.share_grid(row["polygons"], row["width"], row["height"], 10, 10)
    assert np.allclose(row["lung_share"], again)
    inside = contour.rasterise(row["polygons"], row["height"], row["width"])
    assert row["lung_area_share"] == pytest.approx(inside.mean())


def test_a_failed_image_has_a_row_without_polygons(work: Path) -> None:
    mask.run(MaskConfig(work=work))
    row = contours(work)[-1]
    assert (row["status"], row["reason"]) == ("failed", "not-chest")
    assert (row["polygons"], row["lung_share"], row["lung_area_share"]) == ([], [], 0.0)


def test_pictures_to_look_at_are_drawn(work: Path) -> None:
    result = mask.run(MaskConfig(work=work, overlays=3))
    drawn = sorted(p.stem for p in (work / "masks" / "overlays").iterdir())
    assert "05" * 8 in drawn, "the failed one comes first"
    assert len(drawn) == 3
    assert result.contact_sheet is not None
    assert cv2.imread(str(result.contact_sheet)) is not None


def test_no_overlays_are_drawn_when_none_are_wanted(work: Path) -> None:
    mask.run(MaskConfig(work=work))
    result = mask.run(MaskConfig(work=work, overlays=0))
    assert result.contact_sheet is None
    assert not (work / "masks" / "overlays").exists()
    assert not (work / "masks" / "contact-sheet.png").exists()


def test_the_summary_is_the_result(work: Path) -> None:
    result = mask.run(MaskConfig(work=work))
    summary = json.loads((work / "masks" / "summary.json").read_text())
    assert summary == {"format": 1, **as_plain(result)}


def test_a_missing_and_a_broken_image_become_rows_and_are_tried_again(work: Path) -> None:
    paths = sorted((work / "ingest" / "images").glob("*/*.png"))
    whole = [p.read_bytes() for p in paths[:2]]
    paths[0].unlink()
    paths[1].write_bytes(whole[1][:500])
    result = mask.run(MaskConfig(work=work))
    assert result.reasons == {"image-broken": 1, "image-missing": 1, "not-chest": 1, "not-frontal": 1}
    for path, data in zip(paths, whole, strict=False):
        path.write_bytes(data)
    result = mask.run(MaskConfig(work=work))
    assert (result.ok, result.kept) == (4, 4)


class Stopper(Silent):
    """Ends the run after two images, as Ctrl-C would."""

    def task(self, name: str, total: int | None, unit: str = "images") -> Task:
        task = super().task(name, total, unit)

        def stop(done: int, **facts: object) -> None:
            if name == "mask" and done == 2:
                raise KeyboardInterrupt

        task.update = stop  # type: ignore[method-assign]
        return task


def test_an_interrupted_run_goes_on_and_ends_with_the_same_bytes(work: Path) -> None:
    mask.run(MaskConfig(work=work, out=work / "whole"))
    with pytest.raises(KeyboardInterrupt):
        mask.run(MaskConfig(work=work), Stopper())
    assert not (work / "masks" / "contours.parquet").exists()
    result = mask.run(MaskConfig(work=work))
    assert result.kept == 2
    assert not (work / "masks" / "parts").exists()
    for name in ("contours.parquet", "contact-sheet.png"):
        assert (work / "masks" / name).read_bytes() == (work / "whole" / name).read_bytes()


def test_a_second_run_keeps_everything(work: Path) -> None:
    first = mask.run(MaskConfig(work=work))
    before = (work / "masks" / "contours.parquet").read_bytes()
    second = mask.run(MaskConfig(work=work))
    assert (first.kept, second.kept) == (0, 6)
    assert (work / "masks" / "contours.parquet").read_bytes() == before


def test_new_images_are_added_and_gone_ones_dropped(work: Path, pixels: list[Any]) -> None:
    mask.run(MaskConfig(work=work))
    write_ingest(work / "ingest", [*pixels[:5], pixels[0], pixels[1]][:7], (*VIEWS, "PA"))
    result = mask.run(MaskConfig(work=work))
    assert result.kept == 5, "the sixth has another size now, the seventh is new"
    assert len(contours(work)) == 7


def test_an_image_that_became_lateral_is_skipped_now(work: Path, pixels: list[Any]) -> None:
    mask.run(MaskConfig(work=work))
    write_ingest(work / "ingest", pixels, ("LATERAL", *VIEWS[1:]))
    result = mask.run(MaskConfig(work=work))
    assert (result.kept, contours(work)[0]["status"]) == (5, "skipped")


def test_another_grid_on_the_same_folder_is_a_conflict(work: Path) -> None:
    mask.run(MaskConfig(work=work))
    with pytest.raises(RunConflictError, match="grid: 20 -> 10"):
        mask.run(MaskConfig(work=work, grid=10))


def test_without_a_manifest_the_message_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="xraytk ingest"):
        mask.run(MaskConfig(work=tmp_path))


def test_an_empty_manifest_is_an_error(tmp_path: Path) -> None:
    manifest.write_table(tmp_path / "ingest" / "manifest" / "part-00000.parquet", manifest.MANIFEST, [])
    with pytest.raises(DataError, match="has no images"):
        mask.run(MaskConfig(work=tmp_path))


@pytest.mark.parametrize("wrong", [{"workers": -1}, {"grid": 0}, {"grid": 1000}, {"overlays": -1}])
def test_values_out_of_range_name_their_key(wrong: dict[str, int]) -> None:
    with pytest.raises(UsageError, match=next(iter(wrong))):
        MaskConfig(**wrong)


@pytest.mark.slow
def test_two_processes_give_the_same_bytes_as_one(tmp_path: Path, pixels: list[Any]) -> None:
    many = [pixels[i % 6] for i in range(24)]
    write_ingest(tmp_path / "ingest", many, ("PA",) * 24)
    for workers in (1, 2):
        mask.run(MaskConfig(work=tmp_path, out=tmp_path / str(workers), workers=workers, overlays=0))
    one, two = (tmp_path / str(n) / "contours.parquet" for n in (1, 2))
    assert one.read_bytes() == two.read_bytes()


def test_the_table_has_the_schema_of_the_format(work: Path) -> None:
    mask.run(MaskConfig(work=work))
    found = pa.parquet.read_schema(work / "masks" / "contours.parquet")
    assert found.equals(manifest.CONTOURS)
    assert found.metadata[b"xraytk.format"] == b"1"


def test_what_a_person_said_wins_and_can_be_taken_back(work: Path) -> None:
    mask.run(MaskConfig(work=work))
    before, folder = contours(work), work / "masks" / "corrections"
    sizes = [{"width": row["width"], "height": row["height"]} for row in before]
    box = {"name": "right_lung", "x": [10.0, 99.0, 99.0, 10.0], "y": [20.0, 20.0, 159.0, 159.0]}
    part = {"name": "right_lung", "x": [10.0, 15.0, 15.0, 10.0], "y": [5.0, 5.0, 10.0, 10.0]}
    other_lung = {"name": "left_lung", "x": [130.0, 160.0, 160.0], "y": [20.0, 20.0, 150.0]}
    heart = {"name": "heart", "x": [50.0, 120.0, 120.0, 50.0], "y": [80.0, 80.0, 140.0, 140.0]}
    corrections.save(
        folder,
        Correction(before[0]["image_id"], "drawn", **sizes[0], polygons=(box, part, other_lung, heart)),
    )
    corrections.save(folder, Correction(before[1]["image_id"], "rejected", **sizes[1]))
    other = tuple({**polygon, "x": [v + 1 for v in polygon["x"]]} for polygon in before[4]["polygons"])
    corrections.save(folder, Correction(before[4]["image_id"], "accepted", **sizes[4], polygons=other))
    mask.run(MaskConfig(work=work))
    drawn, rejected, *_, accepted, _ = contours(work)
    assert (drawn["status"], drawn["source"], drawn["checked"]) == ("ok", "person", "drawn")
    assert drawn["polygons"] == [box, part, other_lung], "these are all there are"
    assert drawn["others"] == [heart], "the net's clear lungs do not fit any more"
    assert drawn["cardiothoracic_ratio"] == pytest.approx(70 / 150)
    assert drawn["right_area_px"] == pytest.approx(89 * 139 + 25)
    assert (rejected["status"], rejected["reason"], rejected["polygons"]) == ("failed", "rejected", [])
    assert (accepted["status"], accepted["source"], accepted["checked"]) == ("ok", "net", "accepted")
    assert accepted["polygons"] == list(other), "as they were when they were accepted"
    for path in folder.iterdir():
        path.unlink()
    mask.run(MaskConfig(work=work))
    assert contours(work) == before


def test_a_correction_that_does_not_fit_is_left_out_and_noted(work: Path) -> None:
    mask.run(MaskConfig(work=work))
    before, folder = contours(work), work / "masks" / "corrections"
    corrections.save(folder, Correction(before[0]["image_id"], "rejected", 5, 5))
    (folder / f"{before[1]['image_id']}.json").write_text("{")
    (folder / "0123456789abcdef.json").write_text("{}")  # of an image that is gone
    notes = Notes()
    mask.run(MaskConfig(work=work), notes)
    assert contours(work) == before
    assert len(notes.notes) == 2
