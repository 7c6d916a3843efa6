"""The anatomy of a phantom: where organs and bones lie, as maps of thickness.

Everything is in millimetres in the plane of the detector: x is 0 on the midline and grows to
the image's right (the patient's left), y is 0 at the upper edge and grows downwards. Maps are
(H, W) float32: millimetres that the ray passes in a tissue.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline

Map = NDArray[np.floating[Any]]  # float32; products with Python numbers stay so
Mask = NDArray[np.bool_]
Points = NDArray[np.float64]  # (n, 2) x, y in mm


@dataclass(frozen=True, slots=True, kw_only=True)
class Body:
    """Measures of one patient in one exposure, drawn once.

    Args:
        half_mm: Half of the inner width of the thorax.
        lung_mm: Height from the right apex to the right dome.
        apex_mm: y of the apices.
        depth_mm: Thickness of the trunk.
        wall_mm: Thickness of the chest wall at the side.
        left_dome_mm: How much lower the left dome is than the right one.
        heart_ratio: Heart width / inner thorax width.
        heart_right: Share of the heart's width that lies right of the midline.
        breast_mm: Thickness of the breasts; 0 for none.
        lateral_scapula: How far outward the scapulae are, in half widths; small in AP views.
        field_mm: (height, width) of the exposed field.
        center_mm: x of the midline from the left edge.
        vessel_gain: Strength of the vascular markings.
        curve_mm: Sideways bow of the spine.
        shape: Small deviations of the outlines from the mean shape: upper, middle and lower
            wall, right and left dome, width of the mediastinum.
    """

    half_mm: float
    lung_mm: float
    apex_mm: float
    depth_mm: float
    wall_mm: float
    left_dome_mm: float
    heart_ratio: float
    heart_right: float
    breast_mm: float
    lateral_scapula: float
    field_mm: tuple[float, float]
    center_mm: float
    vessel_gain: float
    curve_mm: float
    shape: tuple[float, ...]


def draw_body(rng: np.random.Generator, *, female: bool, ap: bool, heart_ratio: float) -> Body:
    """Draw a patient; AP films show less inspiration and scapulae over the lungs."""
    half = rng.normal(131 if female else 143, 7)
    lung = rng.normal(232 if female else 252, 13) * (0.92 if ap else 1.0)
    apex = rng.uniform(34, 62)
    return Body(
        half_mm=half,
        lung_mm=lung,
        apex_mm=apex,
        depth_mm=rng.uniform(190, 235),
        wall_mm=rng.uniform(18, 36),
        left_dome_mm=rng.uniform(6, 18),
        heart_ratio=heart_ratio,
        heart_right=rng.uniform(0.30, 0.38),
        breast_mm=rng.uniform(14, 38) if female else 0.0,
        lateral_scapula=rng.uniform(0.66, 0.82) if ap else rng.uniform(0.84, 1.0),
        field_mm=(apex + lung * 1.12 + rng.uniform(18, 70), 2 * half + rng.uniform(34, 100)),
        center_mm=rng.normal(0, 5),
        vessel_gain=rng.uniform(0.75, 1.3),
        curve_mm=rng.normal(0, 4),
        shape=tuple(rng.normal(0, [0.022, 0.016, 0.012, 0.014, 0.014, 0.07])),
    )


class Canvas:
    """Pixels over a field in millimetres; draws soft-edged shapes as maps in [0, 1]."""

    def __init__(self, body: Body, size_px: int) -> None:
        height, width = body.field_mm
        self.spacing_mm = max(height, width) / size_px
        self.shape = (round(height / self.spacing_mm), round(width / self.spacing_mm))
        self._origin = -(width / 2 + body.center_mm)
        self.x: Map = (self._origin + (np.arange(self.shape[1], dtype=np.float32) + 0.5) * self.spacing_mm)[
            None, :
        ]
        self.y: Map = ((np.arange(self.shape[0], dtype=np.float32) + 0.5) * self.spacing_mm)[:, None]

    def _pixels(self, points: Points) -> NDArray[np.int32]:
        at = (np.asarray(points, float) - [self._origin, 0]) / self.spacing_mm - 0.5
        return np.rint(at * 16).astype(np.int32)  # 4 fractional bits, as cv2's shift wants

    def fill(self, points: Points) -> Map:
        """Fill a closed outline with 1."""
        canvas = np.zeros(self.shape, np.uint8)
        cv2.fillPoly(canvas, [self._pixels(points)], 255, cv2.LINE_AA, 4)
        return np.multiply(canvas, 1 / 255, dtype=np.float32)

    def strokes(self, lines: list[tuple[Points, float, float]]) -> Map:
        """Draw polylines of (points, width in mm, value in [0, 1]); the later lies on top."""
        canvas = np.zeros(self.shape, np.uint8)
        ends = np.cumsum([len(points) for points, _, _ in lines])[:-1]
        paths = np.split(self._pixels(np.concatenate([points for points, _, _ in lines])), ends)
        styles = [
            (max(1, round(width / self.spacing_mm)), round(255 * value * min(1.0, width / self.spacing_mm)))
            for _, width, value in lines
        ]
        for style, group in itertools.groupby(zip(styles, paths, strict=True), lambda pair: pair[0]):
            cv2.polylines(canvas, [path for _, path in group], False, style[1], style[0], cv2.LINE_AA, 4)
        return np.multiply(canvas, 1 / 255, dtype=np.float32)

    def blur(self, image: Map, sigma_mm: float) -> Map:
        """Gaussian blur; wide ones are made on a smaller grid."""
        sigma = sigma_mm / self.spacing_mm
        step = max(1, int(sigma / 4))
        if step == 1:
            return np.asarray(cv2.GaussianBlur(image, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE))
        size = (-(-self.shape[1] // step), -(-self.shape[0] // step))
        small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        small = cv2.GaussianBlur(small, (0, 0), sigma / step, borderType=cv2.BORDER_REPLICATE)
        return np.asarray(cv2.resize(small, self.shape[::-1], interpolation=cv2.INTER_LINEAR))

    def dome(self, inside: Map, radius_mm: float) -> Map:
        """Rise from 0 at the rim to 1 at ``radius_mm`` inside it, like a round body's thickness."""
        distance = cv2.distanceTransform((inside > 0.5).astype(np.uint8), cv2.DIST_L2, 5) * self.spacing_mm
        u = 1 - np.minimum(distance / radius_mm, 1)
        return np.asarray(np.sqrt(1 - u * u), np.float32)

    def ellipse(self, x: float, y: float, rx: float, ry: float) -> Map:
        """Thickness of an ellipsoid relative to its depth: sqrt(1 - r**2)."""
        r2 = ((self.x - x) / rx) ** 2 + ((self.y - y) / ry) ** 2
        return np.asarray(np.sqrt(np.maximum(1 - r2, 0)), np.float32)

    def noise(self, rng: np.random.Generator, sigma_mm: float) -> Map:
        """Smooth noise of mean 0 and standard deviation 1."""
        sigma = max(sigma_mm / self.spacing_mm, 0.6)
        step = max(1, int(sigma / 1.5))
        small = (-(-self.shape[0] // step) + 1, -(-self.shape[1] // step) + 1)
        rough = cv2.GaussianBlur(rng.standard_normal(small, dtype=np.float32), (0, 0), sigma / step)
        field = np.asarray(cv2.resize(rough, self.shape[::-1], interpolation=cv2.INTER_CUBIC))
        return np.asarray((field - field.mean()) / (field.std() + 1e-9), dtype=np.float32)


def curve(points: Any, n: int = 40) -> Points:
    """Smooth open curve through points, parametrised by the length of the chords."""
    p = np.asarray(points, float)
    t = np.concatenate([[0], np.cumsum(np.hypot(*np.diff(p, axis=0).T))])
    return np.asarray(CubicSpline(t, p, bc_type="natural")(np.linspace(0, t[-1], n)))


@dataclass(frozen=True, slots=True)
class Outlines:
    """Outlines in mm. Of each pair, the patient's right comes first.

    Args:
        lung: Closed outlines of the two pleural cavities as seen from the front.
        deep: The same, drawn on behind the diaphragm and the mediastinum.
        wall: Lateral walls from the apex to the costophrenic angle.
        domes: Diaphragm from the costophrenic angle to the midline.
        heart: Closed.
        mediastinum: Closed.
    """

    lung: tuple[Points, Points]
    deep: tuple[Points, Points]
    wall: tuple[Points, Points]
    domes: tuple[Points, Points]
    heart: Points
    mediastinum: Points


def outline(body: Body) -> Outlines:
    """Draw all outlines of a body."""
    sides = [_lung(body, sign) for sign in (-1, 1)]
    lungs, deeps, walls, domes = ((sides[0][i], sides[1][i]) for i in range(4))
    return Outlines(lungs, deeps, walls, domes, _heart(body), _mediastinum(body))


def _lung(body: Body, sign: int) -> tuple[Points, Points, Points, Points]:
    a, h = body.half_mm, body.lung_mm
    upper, middle, lower = body.shape[:3]
    drop = body.left_dome_mm / h if sign > 0 else 0.0
    top = drop + body.shape[3 if sign < 0 else 4]  # of the dome
    wall = curve(
        [
            *((0.30, 0.02), (0.40 + upper / 2, 0), (0.60 + upper, 0.07), (0.79 + upper, 0.22)),
            *((0.91 + middle, 0.43), (0.98 + lower, 0.67), (1.0, 0.9), (0.975, 1.11)),
        ]
    )
    dome = curve(
        [
            *((0.975, 1.11), (0.90, 1.03 + top / 2), (0.74, 0.975 + top / 2)),
            *((0.52, 0.95 + top), (0.28, 0.98 + top), (0.07, 1.03 + drop)),
        ],
        30,
    )
    inner = [
        (0.07, 1.03 + drop),
        (0.13, 0.85),
        (0.14, 0.6),
        (0.12, 0.4),
        (0.13, 0.2),
        (0.20, 0.07),
        (0.30, 0.02),
    ]
    medial = curve(inner, 30)
    behind = curve([(0.975, 1.11), (0.80, 1.16), (0.5, 1.17), (0.05, 1.15)], 20)
    core = curve([(0.05, 1.15), (0.06, 0.8), (0.06, 0.4), (0.10, 0.2), (0.20, 0.07), (0.30, 0.02)], 30)

    def place(points: Points) -> Points:
        return np.stack([sign * a * points[:, 0], body.apex_mm + h * points[:, 1]], axis=1)

    lung = place(np.concatenate([wall, dome[1:], medial[1:]]))
    deep = place(np.concatenate([wall, behind[1:], core[1:]]))
    return lung, deep, place(wall), place(dome)


def _heart(body: Body) -> Points:
    a, h = body.half_mm, body.lung_mm
    width = 2 * a * body.heart_ratio
    right, left = width * body.heart_right, width * (1 - body.heart_right)
    lift = 0.03 * (body.heart_ratio - 0.45) / 0.2
    rim = [
        *(
            (0.0, 0.40),
            (-0.13 * a, 0.46),
            (-0.84 * right, 0.62 - lift),
            (-right, 0.77),
            (-0.88 * right, 0.94),
        ),
        *((-0.45 * right, 1.03), (0.2 * left, 1.07), (0.7 * left, 1.06), (0.94 * left, 1.01), (left, 0.92)),
        *(
            (0.9 * left, 0.79 - lift),
            (0.66 * left, 0.64 - lift),
            (0.22 * a, 0.48),
            (0.1 * a, 0.40),
            (0.0, 0.40),
        ),
    ]
    points = curve(rim, 90)
    return np.stack([points[:, 0], body.apex_mm + h * points[:, 1]], axis=1)


def _mediastinum(body: Body) -> Points:
    a, h = body.half_mm, body.lung_mm
    right = curve(
        [
            *((-0.24, -0.2), (-0.19, 0.05), (-0.195, 0.2), (-0.215, 0.34), (-0.19, 0.46)),
            *((-0.17, 0.7), (-0.14, 1.15)),
        ],
        30,
    )
    left = curve(
        [
            *((0.14, 1.15), (0.17, 0.8), (0.20, 0.5), (0.235, 0.42), (0.205, 0.355), (0.27, 0.295)),
            *((0.25, 0.235), (0.18, 0.17), (0.18, 0.05), (0.24, -0.2)),
        ],
        40,
    )
    points = np.concatenate([right, left]) * [a * (1 + body.shape[5]), h]
    return np.asarray(points + np.array([0, body.apex_mm]))


def trunk(body: Body, canvas: Canvas) -> Map:
    """Thickness of the trunk, neck and shoulders, without holes for the lungs."""
    a, h, top = body.half_mm, body.lung_mm, body.apex_mm
    v = (canvas.y[:, 0] - top) / h
    wide = a + body.wall_mm
    at = [-0.35, -0.16, -0.06, 0.06, 0.22, 0.42, 0.75, 1.0, 1.3]
    half = np.interp(v, at, [58, 66, wide + 40, wide + 75, wide + 62, wide + 22, wide + 2, wide, wide - 4])
    depth = np.interp(v, at, np.array([0.62, 0.66, 0.62, 0.68, 0.82, 0.94, 1.0, 1.05, 1.12]) * body.depth_mm)
    kernel = max(3, round(16 / canvas.spacing_mm)) | 1
    half = cv2.GaussianBlur(half.reshape(-1, 1), (1, kernel), 0, borderType=cv2.BORDER_REPLICATE)
    u = np.minimum(np.abs(canvas.x) / half, 1)
    return np.asarray(depth[:, None] * np.sqrt(1 - u**2.6), dtype=np.float32)


def abdomen(body: Body, canvas: Canvas, lines: Outlines) -> Map:
    """What lies below the two domes of the diaphragm, in [0, 1]."""
    bottom = body.field_mm[0] + 60
    floor = [[body.half_mm, bottom], [-body.half_mm, bottom]]
    return canvas.blur(canvas.fill(np.concatenate([lines.domes[0], lines.domes[1][::-1], floor])), 1.2)


def vessels(body: Body, canvas: Canvas, rng: np.random.Generator) -> Map:
    """Thickness of blood in the branching vessels of both lungs."""
    a, h, top = body.half_mm, body.lung_mm, body.apex_mm
    lines: list[tuple[Points, float, float]] = []
    for sign, v in ((-1, 0.47), (1, 0.44)):
        lines += _tree(np.array([sign * 0.20 * a, top + h * v]), sign, h / 240, rng)
    lines.sort(key=lambda line: line[1])
    tree = canvas.blur(canvas.strokes(lines), 0.7)
    hila = canvas.ellipse(-0.215 * a, top + 0.50 * h, 15, 26) + canvas.ellipse(
        0.215 * a, top + 0.47 * h, 15, 26
    )
    return body.vessel_gain * (13 * tree + 13 * canvas.blur(hila, 4))


def _tree(
    root: Points, sign: int, scale: float, rng: np.random.Generator
) -> list[tuple[Points, float, float]]:
    """Grow the vessels of one lung, all branches of a generation at once, as `Canvas.strokes` takes them.

    A branch forks into a wide and a narrow one, until it is too narrow to be seen.
    """
    count, steps = 11, 4
    angle = np.linspace(-1.35, 1.45, count) + rng.normal(0, 0.08, count)  # 0 sideways, positive down
    width = 5.2 * rng.uniform(0.7, 1.15, count)
    start = np.repeat(root[None], count, axis=0)
    lines: list[tuple[Points, float, float]] = []
    for generation in range(7):
        n = len(width)
        length = rng.uniform(17, 30, n) * 0.86**generation * scale
        turns = angle[:, None] + np.cumsum(rng.normal(0, 0.10, (n, steps)), axis=1)
        legs = np.stack([sign * np.cos(turns), np.sin(turns)], axis=2) * (length / steps)[:, None, None]
        paths = np.concatenate([start[:, None], start[:, None] + np.cumsum(legs, axis=1)], axis=1)
        for path, w in zip(paths, np.round(width / 0.25) * 0.25, strict=True):
            lines.append((path, max(w, 0.5), min(1.0, max(w, 0.5) / 6.5)))
        spread, share = rng.uniform(0.25, 0.55, n), rng.uniform(0.68, 0.86, n)
        near, far = turns[:, -1] + spread * rng.uniform(0.2, 0.7, n), turns[:, -1] - spread
        grown = np.concatenate([width * share, width * (1.42 - share)])
        alive = grown > 0.6
        width = grown[alive]
        angle = np.concatenate([near, far])[alive]
        start = np.concatenate([paths[:, -1], paths[:, -1]])[alive]
    return lines
