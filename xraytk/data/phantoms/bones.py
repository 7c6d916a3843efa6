"""The bones of a phantom: thickness of compact bone along the ray, beyond soft tissue."""

from __future__ import annotations

import numpy as np

from xraytk.data.phantoms.anatomy import Body, Canvas, Map, Outlines, Points, curve


def skeleton(body: Body, canvas: Canvas, lines: Outlines, rng: np.random.Generator) -> Map:
    """Thickness of compact bone: ribs, clavicles, scapulae, humeri, spine."""
    bone = _ribs(body, canvas, lines, rng) + _clavicles(body, canvas, rng)
    bone += _shoulders(body, canvas) + _spine(body, canvas, rng)
    return bone


def _ribs(body: Body, canvas: Canvas, lines: Outlines, rng: np.random.Generator) -> Map:
    h, top = body.lung_mm, body.apex_mm
    back, front = [], []
    pitch = rng.uniform(0.092, 0.100)
    slope = rng.uniform(0.9, 1.12)
    for side, sign in enumerate((-1, 1)):
        wall = lines.wall[side]
        for i in range(11):
            y0 = top + h * (-0.055 + pitch * i) + rng.normal(0, 0.6)
            drop = h * slope * (0.13 + 0.026 * min(i, 7))
            reach = np.interp(y0 + 0.5 * drop, wall[:, 1], np.abs(wall[:, 0])) + 2.5
            phi = np.linspace(0.0, np.pi * (0.78 if i < 7 else 0.58), 60)
            x = 16 + (reach - 16) * np.sin(np.minimum(phi, np.pi / 2)) ** 0.9
            x = np.where(phi > np.pi / 2, reach * np.sin(phi) ** 0.8, x)
            y = y0 + drop * (1 - np.cos(phi)) / 2 - 4 * np.sin(2 * np.minimum(phi, np.pi / 2))
            path = np.stack([sign * x, y], axis=1)
            back.append(path[phi <= np.pi * 0.53])
            front.append(path[phi >= np.pi * 0.47])
    width = rng.uniform(9.5, 12.0)
    strength = rng.uniform(0.8, 1.15)
    behind = _tubes(canvas, back, width, 0.62)
    ahead = _tubes(canvas, front, width * 1.15, 0.7)
    return strength * (9.5 * behind + 5.5 * ahead)


def _tubes(canvas: Canvas, paths: list[Points], width: float, core: float) -> Map:
    """Hollow tubes: a full rim and a core of less bone."""
    outer = canvas.strokes([(p, width, 1.0) for p in paths])
    hollow = canvas.strokes([(p, width * 0.6, 1.0) for p in paths])
    return canvas.blur(outer - (1 - core) * np.minimum(outer, hollow), 0.9)


def _clavicles(body: Body, canvas: Canvas, rng: np.random.Generator) -> Map:
    h, top = body.lung_mm, body.apex_mm
    lift = rng.uniform(-0.02, 0.05)
    paths = []
    for sign in (-1, 1):
        tilt = rng.normal(0, 0.008)
        points = [(14, 0.155), (40, 0.125), (75, 0.09), (110, 0.04), (150, 0.0), (175, -0.01)]
        paths.append(curve([(sign * x, top + h * (v - lift + tilt)) for x, v in points]))
    return 8.5 * _tubes(canvas, paths, 11.5, 0.7)


def _shoulders(body: Body, canvas: Canvas) -> Map:
    a, h, top = body.half_mm, body.lung_mm, body.apex_mm
    out = np.zeros(canvas.shape, np.float32)
    for sign in (-1, 1):
        inner = body.lateral_scapula * a
        blade = curve(
            [
                (inner + 6, 0.02),
                (inner - 2, 0.22),
                (inner + 10, 0.50),
                (inner + 24, 0.40),
                (inner + 44, 0.12),
                (inner + 6, 0.02),
            ],
            50,
        )
        blade = np.stack([sign * blade[:, 0], top + h * blade[:, 1]], axis=1)
        out += 2.2 * canvas.blur(canvas.fill(blade), 1.0) + 2.2 * canvas.blur(
            canvas.strokes([(blade, 3.5, 1.0)]), 1.0
        )
        out += 13 * canvas.ellipse(sign * (a + 62), top + 0.05 * h, 25, 27)
    return out


def _spine(body: Body, canvas: Canvas, rng: np.random.Generator) -> Map:
    h, top = body.lung_mm, body.apex_mm
    rims, plates, pedicles = [], [], []
    y = top - 0.42 * h
    size = 15.0
    while y < body.field_mm[0] + 30:
        x = body.curve_mm * np.sin(np.pi * (y - top) / (1.4 * h))
        half = 11 + 0.45 * size
        box = np.array(
            [
                (-half, 0),
                (-half * 0.88, size / 2),
                (-half, size),
                (half, size),
                (half * 0.88, size / 2),
                (half, 0),
                (-half, 0),
            ]
        )
        box += (x, y)
        rims.append(canvas.fill(box))
        plates.append((box, 2.0, 1.0))
        for sign in (-1, 1):
            angle = np.linspace(0, 2 * np.pi, 20)
            ring = np.stack(
                [x + sign * half * 0.62 + 3.2 * np.cos(angle), y + size * 0.35 + 4.6 * np.sin(angle)], axis=1
            )
            pedicles.append((ring, 2.0, 1.0))
        pedicles.append((np.array([(x, y + size * 0.55), (x, y + size * 1.0)]), 4.0, 0.8))
        y += size + 3.6
        size = min(size + rng.uniform(0.5, 0.9), 26)
    bodies = np.asarray(np.max(rims, axis=0), dtype=np.float32)
    lines = canvas.strokes(plates) + canvas.strokes(pedicles)
    return canvas.blur(3.2 * bodies + 3.6 * lines, 0.8)
