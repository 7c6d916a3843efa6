"""Masks that people drew."""

from __future__ import annotations

from itertools import chain
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from xraytk.data.contour import rasterise


def read(path: Path) -> Any:
    with Image.open(path) as image:
        return np.asarray(image.convert("L"))


@pytest.mark.parametrize("folders", [("seg/lung",), ("seg_lr_heart/left_lung", "seg_lr_heart/right_lung")])
def test_masks_of_real_lungs_become_two_lungs(
    folders: tuple[str, ...], shared_data: Path, bring: Any, kit: SimpleNamespace
) -> None:
    files = [sorted((shared_data / folder).glob("*.png"))[:12] for folder in folders]
    rows, sources = [], {}
    for number, path in enumerate(files[0]):
        height, width = read(path).shape
        image_id = f"{number:016x}"
        rows.append(kit.image(image_id, width=width, height=height, source_width=width, source_height=height))
        sources[image_id] = str(path.with_suffix(".jpg"))
    result, made, rejected = bring(*chain(*files), images=kit.table(*rows), sources=lambda: sources.items())
    assert (result.imported, rejected) == (len(files[0]), [])
    for number, paths in enumerate(zip(*files, strict=True)):
        correction = made[f"{number:016x}"]
        assert {p["name"] for p in correction.polygons} == {"right_lung", "left_lung"}
        truth = np.any([read(path) > 0 for path in paths], 0)
        found = rasterise(correction.polygons, *truth.shape)
        assert 2 * (found & truth).sum() / (found.sum() + truth.sum()) > 0.99
