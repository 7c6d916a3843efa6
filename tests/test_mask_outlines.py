"""Import and export by the verb mask."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from xraytk import mask
from xraytk.cli import app
from xraytk.data import corrections, deid, manifest, pictures
from xraytk.data.idmap import IdMap, default_path
from xraytk.data.phantoms.phantom import make_phantom
from xraytk.errors import DataError, UsageError
from xraytk.mask import MaskConfig

ID = "0a" * 8


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """A workspace of one chest, 256 x 256 of a source of 512 x 512, and its key and map."""
    made = make_phantom(0, size_px=256, findings=()).pixels
    image = cv2.resize((np.clip(made, 0, 1) * 65535).astype(np.uint16), (256, 256))
    ingest = tmp_path / "work" / "ingest"
    path = manifest.image_path(ID)
    pictures.write_png(ingest / path, image)
    row: dict[str, Any] = {"image_id": ID, "path": path, "view": "PA", "width": 256, "height": 256}
    row |= {"source_width": 512, "source_height": 512, "orientation": "", "aspect": 1.0, "cropped": False}
    manifest.write_table(ingest / "manifest" / "part-00000.parquet", manifest.MANIFEST, [row])
    deid.load_key(tmp_path / "key")
    with IdMap(default_path(tmp_path / "key")) as paths:
        paths.add(ID, "/hospital/film 7.dcm")
    return tmp_path / "work"


def test_what_is_exported_can_be_imported_again(work: Path, tmp_path: Path) -> None:
    mask.run(MaskConfig(work=work, overlays=0))
    before = (work / "masks" / "contours.parquet").read_bytes()
    done = mask.run(MaskConfig(work=work, export="png", out=tmp_path / "out"))
    assert done.exported is not None
    assert [p.name for p in (tmp_path / "out").iterdir()] == [f"{ID}.png"]
    assert (work / "masks" / "contours.parquet").read_bytes() == before
    got = mask.run(MaskConfig(work=work, overlays=0, imports=(tmp_path / "out",), key=tmp_path / "key"))
    assert got.imported is not None
    assert (got.imported.imported, got.imported.refused) == (1, {})
    correction = corrections.load(work / "masks" / "corrections" / f"{ID}.json")
    assert [p["name"] for p in correction.polygons] == ["right_lung", "left_lung"]


def test_an_export_reads_the_masks_folder_that_it_is_told(work: Path, tmp_path: Path) -> None:
    mask.run(MaskConfig(work=work, overlays=0, out=tmp_path / "elsewhere"))
    with pytest.raises(DataError, match="xraytk mask"):
        mask.run(MaskConfig(work=work, export="png"))
    done = mask.run(MaskConfig(work=work, export="png", masks=tmp_path / "elsewhere"))
    assert done.exported is not None
    assert (done.exported.written, done.out) == (1, tmp_path / "elsewhere" / "export-png")
    mask.run(MaskConfig(work=work, overlays=0))
    with pytest.raises(UsageError, match="over"):
        mask.run(MaskConfig(work=work, export="table", masks=tmp_path / "elsewhere", out=work / "masks"))
    with pytest.raises(UsageError, match="--out"):
        MaskConfig(work=work, masks=tmp_path / "elsewhere")


def test_a_contour_of_the_source_is_found_by_its_name_with_the_key(work: Path, tmp_path: Path) -> None:
    points = [[100, 100], [200, 100], [200, 300], [100, 300]]
    content = {
        "imagePath": "film 7.png",
        "imageWidth": 512,
        "imageHeight": 512,
        "shapes": [{"label": "A", "points": points, "shape_type": "polygon"}],
    }
    (tmp_path / "a.json").write_text(json.dumps(content))
    (tmp_path / "map.json").write_text('{"A": "right_lung"}')
    config = MaskConfig(
        work=work,
        overlays=0,
        imports=(tmp_path / "a.json",),
        key=tmp_path / "key",
        label_map=tmp_path / "map.json",
    )
    got = mask.run(config).imported
    assert got is not None
    assert got.imported == 1
    correction = corrections.load(work / "masks" / "corrections" / f"{ID}.json")
    assert correction.polygons[0]["x"] == [49.5, 99.5, 99.5, 49.5]


def test_no_key_is_made_by_an_import(work: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    mask.run(MaskConfig(work=work, overlays=0, imports=(tmp_path / "in",), key=tmp_path / "none" / "key"))
    assert not (tmp_path / "none").exists()


def test_wrong_wishes_are_refused(work: Path) -> None:
    with pytest.raises(UsageError, match="labelme"):
        MaskConfig(work=work, export="jpeg")
    with pytest.raises(UsageError, match="both"):
        MaskConfig(work=work, export="png", imports=(work,))
    mask.run(MaskConfig(work=work, overlays=0))
    with pytest.raises(UsageError, match="over"):
        mask.run(MaskConfig(work=work, export="table", out=work / "masks"))


def test_the_command_line_imports_and_exports(work: Path, tmp_path: Path) -> None:
    def xraytk(*words: object) -> Any:
        done = CliRunner().invoke(app, [*map(str, words), "--json", "--work", str(work)])
        assert done.exit_code == 0, done.output
        return json.loads(done.stdout)

    xraytk("mask", "--overlays", 0)
    assert xraytk("mask", "--export", "coco", "--out", tmp_path / "out")["exported"]["written"] == 1
    path = tmp_path / "out" / "annotations.json"
    done = xraytk("mask", "--import", path, "--import", path, "--overlays", 0, "--key", tmp_path / "key")
    assert done["imported"]["refused"] == {"several-for-one-image": 1}
    assert done["imported"]["imported"] == 1
