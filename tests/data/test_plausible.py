"""Trust in a contour: by hand on rectangles."""

from __future__ import annotations

import numpy as np
import pytest

from xraytk.data import plausible
from xraytk.data.plausible import Evidence


def lungs(right: tuple[float, ...], left: tuple[float, ...]) -> list[dict[str, object]]:
    return [
        {"name": name, "x": [x0, x1, x1, x0], "y": [y0, y0, y1, y1]}
        for name, (x0, y0, x1, y1) in (("right_lung", right), ("left_lung", left))
    ]


EVEN = lungs((10, 20, 40, 80), (60, 20, 90, 80))


def test_shape_by_hand() -> None:
    shape = plausible.shape_of(EVEN, 100, 200)
    assert shape is not None
    found = dict(zip(plausible.SHAPE, shape, strict=True))
    assert found["area"] == found["height"] == found["width"] == found["top_step"] == 0
    assert found["proportions"] == pytest.approx(np.log(80 / 60))
    assert found["right_fill"] == found["left_fill"] == pytest.approx(1)
    assert found["gap"] == pytest.approx(20 / 80)
    assert found["share"] == pytest.approx(np.log(3600 / 20_000))
    assert (found["centre_x"], found["centre_y"]) == (0.25, 0.5)


def test_one_lung_has_no_shape_and_no_confidence() -> None:
    assert plausible.shape_of(EVEN[:1], 100, 100) is None
    odd = plausible.oddness(None, np.zeros(12), np.eye(12))
    assert odd == float("inf")
    assert plausible.confidence(Evidence(1, 1, odd), np.array([1.0, -1, -1, -1])) == 0


def test_oddness_is_a_distance() -> None:
    shape = plausible.shape_of(EVEN, 100, 100)
    assert shape is not None
    assert plausible.oddness(shape, shape, np.eye(12)) == 0
    assert plausible.oddness(shape, shape - 2, np.eye(12)) == pytest.approx(2)


def test_evidence_falls_with_disagreement_and_doubt() -> None:
    sure = np.zeros((3, 2, 8, 8), np.float32)
    sure[:, 0, 2:6, 1:3] = sure[:, 1, 2:6, 5:7] = 1
    assert plausible.evidence(sure, 1.0) == Evidence(1.0, 1.0, 1.0)
    moved = sure.copy()
    moved[1, 0] = np.roll(moved[1, 0], 1, 1)
    assert plausible.evidence(moved, 1.0).agreement < 1
    assert plausible.evidence(sure * 0.6, 1.0).certainty < 0.8


def test_less_evidence_gives_less_confidence() -> None:
    weights = np.array([0.0, -0.3, -0.6, -0.4])
    best = Evidence(0.99, 0.99, 0.8)
    for worse in (Evidence(0.8, 0.99, 0.8), Evidence(0.99, 0.8, 0.8), Evidence(0.99, 0.99, 5.0)):
        assert plausible.confidence(worse, weights) < plausible.confidence(best, weights)
