"""Measurements: by hand on rectangles."""

from __future__ import annotations

import pytest

from xraytk.data import thoracic


def box(name: str, x0: float, y0: float, x1: float, y1: float) -> dict[str, object]:
    return {"name": name, "x": [x0, x1, x1, x0], "y": [y0, y0, y1, y1]}


RIGHT, LEFT = box("right_lung", 10, 0, 40, 100), box("left_lung", 60, 0, 80, 90)
HEART = box("heart", 35, 50, 70, 95)


def test_areas_by_hand() -> None:
    found = thoracic.areas([RIGHT, LEFT], (0.2, 0.1))
    assert found == {
        "right_area_px": 3000,
        "left_area_px": 1800,
        "right_area_cm2": pytest.approx(0.6),
        "left_area_cm2": pytest.approx(0.36),
        "area_ratio": pytest.approx(0.6),
    }
    assert thoracic.areas([RIGHT], None)["right_area_cm2"] is None
    assert thoracic.areas([RIGHT], None)["area_ratio"] is None


def test_cardiothoracic_ratio_by_hand() -> None:
    assert thoracic.cardiothoracic_ratio([RIGHT, LEFT], HEART) == pytest.approx(35 / 70)
    assert thoracic.cardiothoracic_ratio([RIGHT], HEART) is None
    assert thoracic.cardiothoracic_ratio([RIGHT, LEFT], None) is None


def test_costophrenic_regions_lie_at_the_lower_outer_corners() -> None:
    right, left = thoracic.costophrenic_regions([RIGHT, LEFT], 120, 90)
    assert right["x0"] <= 10 <= right["x1"] <= 40
    assert right["y0"] <= 100 <= right["y1"]
    assert left["x0"] <= 80 <= left["x1"] <= 90  # within the image
    assert left["y0"] <= 90 <= left["y1"] <= 120


def test_parts_of_a_lung_count_together() -> None:
    part = box("right_lung", 10, 110, 20, 120)
    assert thoracic.areas([RIGHT, part, LEFT], None)["right_area_px"] == 3100
    assert len(thoracic.costophrenic_regions([RIGHT, part, LEFT], 120, 90)) == 2
