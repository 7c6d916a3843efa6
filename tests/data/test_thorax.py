"""The analytic thorax: its drawing by hand, its fit on a picture of itself."""

from __future__ import annotations

import cv2
import numpy as np

from xraytk.data import thorax


def test_the_mean_plan_draws_two_lungs_beside_the_spine() -> None:
    right, left = thorax.outlines(thorax.MEAN[None], 200, 180)[0]
    assert right.shape == left.shape == (len(thorax.SEGMENTS), 2)
    assert right[:, 0].max() < 100 < left[:, 0].min()
    assert right[:, 0].min() == 200 * (0.5 - 0.375)
    assert left[:, 0].max() == 200 * (0.5 + 0.375)


def test_a_symmetric_plan_draws_mirrored_lungs() -> None:
    plan = thorax.MEAN.copy()
    plan[list(thorax.PLAN).index("bottom_step")] = 0
    right, left = thorax.outlines(plan[None], 200, 180)[0]
    assert np.allclose(right[:, 0] + left[:, 0], 200)
    assert np.allclose(right[:, 1], left[:, 1])


def test_normals_point_out_of_both_lungs() -> None:
    lungs = thorax.outlines(thorax.MEAN[None], 200, 180)[0]
    out = thorax.normals(lungs)
    for points, normal in zip(lungs, out, strict=True):
        mask = np.zeros((180, 200), np.uint8)
        cv2.fillPoly(mask, [np.rint(points).astype(np.int32)], 1)
        x, y = np.rint(points + 4 * normal).astype(int).T
        assert mask[y, x].mean() < 0.1
        x, y = np.rint(points - 4 * normal).astype(int).T
        assert mask[y, x].mean() > 0.9


def test_a_thorax_drawn_from_a_plan_is_found_again() -> None:
    plan = thorax.MEAN + 0.7 * thorax.SPREAD * np.array([1, -1, 1, 0.5, -1, 0.5, 1, -0.5, 0, 0, 0])
    picture = np.full((176, 192), 0.6, np.float32)
    for points in thorax.outlines(plan[None], 192, 176)[0]:
        cv2.fillPoly(picture, [np.rint(points).astype(np.int32)], -1.2)
    fit = thorax.fit(thorax.blur(picture, 2.0))
    drawn, found = (thorax.outlines(p[None], 192, 176)[0] for p in (plan, fit.plan))
    assert np.abs(drawn - found).mean() < 0.02 * 192
    assert (fit.edges > 0.5).all()
    assert (fit.dark > 1).all()


def test_the_fit_is_the_same_every_time() -> None:
    picture = np.random.default_rng(0).standard_normal((96, 96)).astype(np.float32)
    assert np.array_equal(thorax.fit(picture).plan, thorax.fit(picture).plan)


def test_normalising_forgets_scale_and_offset() -> None:
    image = np.random.default_rng(1).integers(0, 4000, (90, 100)).astype(np.uint16)
    assert np.allclose(thorax.normalise(image), thorax.normalise(image * 3 + 77), atol=0.02)


def test_air_beside_the_body_is_as_bright_as_tissue() -> None:
    image = np.full((100, 120), 180, np.uint8)
    image[:, :12] = 0
    image[30:70, 50:70] = 0  # not joined to a border
    grey = thorax.normalise(image)
    assert (grey[:, :8] >= 0.3).all()
    assert grey[50, 60] < 0


def test_normalising_an_image_that_is_nearly_all_black_gives_numbers() -> None:
    image = np.zeros((90, 100), np.uint16)
    image[40:42, 40:42] = 5000
    assert np.isfinite(thorax.normalise(image)).all()
