"""From the source to the ingested image and back."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest

from xraytk.data.contour import rasterise
from xraytk.data.orientation import TURNS, swaps_sides, turn
from xraytk.data.outlines.outline import Outline, RefusedError, Ring
from xraytk.data.outlines.place import Facts, settle, to_ingested, to_source

POINTS = np.array([[10.0, 20.0], [300.0, 40.0], [250.5, 333.0]])


def facts(how: str, aspect: float = 1.0) -> Facts:
    wide, tall = (400, 640) if swaps_sides(how) else (640, 400)
    stretched = (round(wide * max(1, 1 / aspect)), round(tall * max(1, aspect)))
    if swaps_sides(how):
        stretched = (round(tall * max(1, 1 / aspect)), round(wide * max(1, aspect)))[::-1]
    return Facts("0" * 16, stretched[0] // 2, stretched[1] // 2, *stretched, how, aspect, False)


@pytest.mark.parametrize("how", TURNS)
@pytest.mark.parametrize("aspect", [1.0, 2.0, 0.5])
def test_the_way_back_is_the_inverse(how: str, aspect: float) -> None:
    image = facts(how, aspect)
    assert np.allclose(to_source(to_ingested(POINTS, image), image), POINTS)


@pytest.mark.parametrize("how", TURNS)
def test_a_polygon_goes_where_the_pixels_go(how: str) -> None:
    size = (400, 640) if swaps_sides(how) else (640, 400)
    image = Facts("0" * 16, *size, *size, how)
    assert image.stored == (640, 400)
    corner = np.array([[10.0, 20], [300, 20], [300, 90], [100, 90], [100, 333], [10, 333]])
    before = rasterise([{"x": corner[:, 0], "y": corner[:, 1]}], 400, 640)
    moved = to_ingested(corner, image)
    after = rasterise([{"x": moved[:, 0], "y": moved[:, 1]}], image.height, image.width)
    assert (turn(before.astype(np.uint8), how).astype(bool) == after).all()


def outline(width: int | None, height: int | None, scale: float, kit: SimpleNamespace) -> Outline:
    rings = tuple(
        Ring(name, (points + 0.5) * scale - 0.5)
        for name, points in (("right_lung", kit.RIGHT), ("left_lung", kit.LEFT))
    )
    return Outline((kit.ID,), rings, width, height, "coco")


@pytest.mark.parametrize(
    ("size", "scale", "is_original"),
    [
        ((200, 220), 1, False),
        ((200, 220), 1, True),
        ((800, 880), 4, False),
        ((800, 880), 4, True),
        ((None, None), 1, False),
        ((None, None), 4, True),
    ],
)
def test_the_size_says_whether_the_source_or_the_image_was_drawn_on(
    size: tuple[int | None, int | None], scale: float, is_original: bool, kit: SimpleNamespace
) -> None:
    made = settle(
        outline(*size, scale, kit),
        Facts(kit.ID, 200, 220, 800, 880),
        None,
        Counter(),
        is_original=is_original,
    )
    assert (made.width, made.height, made.origin) == (200, 220, "coco")
    right = np.stack([made.polygons[0]["x"], made.polygons[0]["y"]], 1)
    assert np.allclose(right, kit.RIGHT, atol=0.01)


@pytest.mark.parametrize(
    ("size", "is_cropped", "reason"),
    [
        ((400, 440), False, "another-size"),
        ((220, 200), False, "another-size"),
        ((200, 221), False, "another-size"),
        ((800, 880), True, "cropped-image"),
        ((400, 440), True, "another-size"),
    ],
)
def test_other_sizes_and_sources_of_cropped_images_are_refused(
    size: tuple[int, int], is_cropped: bool, reason: str, kit: SimpleNamespace
) -> None:
    image = Facts(kit.ID, 200, 220, 800, 880, "", 1.0, is_cropped)
    with pytest.raises(RefusedError) as caught:
        settle(outline(*size, 1, kit), image, None, Counter(), is_original=True)
    assert caught.value.reason == reason


@pytest.mark.parametrize(
    ("shift", "reason"),
    [(0, "same-outline"), (1, "same-outline"), (35, "lungs-overlap"), (45, None), (90, None)],
)
def test_lungs_that_cover_one_another_are_refused(
    shift: int, reason: str | None, kit: SimpleNamespace
) -> None:
    """Ellipses 60 wide: 35 apart they share 0.30 of their area, 45 apart 0.14."""
    drawn = tuple(
        Ring(name, kit.RIGHT + np.array([by, 0])) for name, by in (("right_clear", 0), ("left_clear", shift))
    )
    whole = Outline((kit.ID,), drawn, 200, 220, "coco")
    image = Facts(kit.ID, 200, 220)
    if reason is None:
        assert len(settle(whole, image, None, Counter()).polygons) == 2
        return
    with pytest.raises(RefusedError) as caught:
        settle(whole, image, None, Counter())
    assert caught.value.reason == reason
