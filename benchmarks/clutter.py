"""What must not be taken for text, drawn into radiographs: markers, metal, shutters."""

from __future__ import annotations

import cv2
import numpy as np
from captions import REFERENCE_PX, Image16, Rng, fonts, glyphs, write
from numpy.typing import NDArray

MARKERS = ("L", "R", "L", "R", "左", "右", "AP", "PA", "<", "^")


def add_clutter(image: Image16, rng: Rng, *, most: int = 4) -> Image16:
    """Draw what is no text: markers, wires, clips, electrodes, chains, zippers, shutters, ticks."""
    canvas = image.astype(np.float32) / 65535
    kinds = (_marker, _wire, _clips, _electrode, _chain, _zipper, _shutter, _ticks, _tube, _device, _loops)
    for _ in range(int(rng.integers(1, most + 1))):
        kinds[int(rng.integers(len(kinds)))](canvas, rng)
    return np.rint(np.clip(canvas, 0, 1) * 65535).astype(np.uint16)


def _unit(canvas: NDArray[np.float32]) -> float:
    return max(canvas.shape) / REFERENCE_PX


def _lay(canvas: NDArray[np.float32], mask: NDArray[np.uint8], rng: Rng, least: float = 0.1) -> None:
    """Metal: attenuation added to what lies behind it, edges a little soft."""
    soft = cv2.GaussianBlur(mask.astype(np.float32) / 255, (0, 0), 0.5 + rng.uniform(0, 1.2) * _unit(canvas))
    strength = rng.uniform(least, 0.9)
    canvas += soft * strength * np.clip(1.1 - canvas, 0, 1)


def _place(canvas: NDArray[np.float32], rng: Rng) -> tuple[int, int]:
    return int(rng.uniform(0.05, 0.95) * canvas.shape[1]), int(rng.uniform(0.05, 0.95) * canvas.shape[0])


def _curve(canvas: NDArray[np.float32], rng: Rng, reach: float) -> NDArray[np.int32]:
    start = np.array(_place(canvas, rng), float)
    ends = start + rng.normal(0, reach, (3, 2)) * max(canvas.shape)
    t = np.linspace(0, 1, 400)[:, None]
    points = (
        (1 - t) ** 3 * start + 3 * (1 - t) ** 2 * t * ends[0] + 3 * (1 - t) * t**2 * ends[1] + t**3 * ends[2]
    )
    return np.rint(points).astype(np.int32)


def _marker(canvas: NDArray[np.float32], rng: Rng) -> None:
    text = str(rng.choice(MARKERS if fonts()["chinese"] else [m for m in MARKERS if ord(m[0]) < 128]))
    cap = rng.uniform(25, 120) * _unit(canvas)
    mask = glyphs(text, cap, rng)
    if rng.random() < 0.3:
        h, w = mask.shape
        mask = np.pad(mask, (h + w) // 2)
        h, w = mask.shape
        turn = cv2.getRotationMatrix2D((w / 2, h / 2), rng.uniform(-50, 50), 1)
        mask = cv2.warpAffine(mask, turn, (w, h))
    h, w = mask.shape
    x, y = (int(rng.uniform(0.02, 0.97) * (n - m)) for n, m in ((canvas.shape[1], w), (canvas.shape[0], h)))
    frame = rng.random()
    x, y = max(x, 0), max(y, 0)
    if frame < 0.25:
        r = round(0.8 * max(h, w))
        centre = (x + w // 2, y + h // 2)
        if frame < 0.12:
            cv2.circle(canvas, centre, r, 0.0, -1)
        cv2.circle(canvas, centre, r, 1.0, max(1, round(cap * 0.06)), cv2.LINE_AA)
    elif frame < 0.4:
        pad = round(cap * rng.uniform(0.2, 0.8))
        canvas[max(0, y - pad) : y + h + pad, max(0, x - pad) : x + w + pad] *= rng.uniform(0.5, 0.9)
        canvas[max(0, y - pad) : y + h + pad, max(0, x - pad) : x + w + pad] += rng.uniform(0, 0.2)
    if rng.random() < 0.5:
        mask = cv2.GaussianBlur(mask, (0, 0), 0.6 + rng.uniform(0, 2) * _unit(canvas))
    write(canvas, mask, x, y, 1.0 if rng.random() < 0.7 else rng.uniform(0.7, 1))


def _wire(canvas: NDArray[np.float32], rng: Rng) -> None:
    for _ in range(int(rng.integers(1, 4))):
        mask = np.zeros(canvas.shape, np.uint8)
        thick = max(1, round(rng.uniform(2, 12) * _unit(canvas)))
        cv2.polylines(mask, [_curve(canvas, rng, 0.25)], False, 255, thick, cv2.LINE_AA)
        _lay(canvas, mask, rng)


def _clips(canvas: NDArray[np.float32], rng: Rng) -> None:
    mask = np.zeros(canvas.shape, np.uint8)
    centre = np.array(_place(canvas, rng))
    for _ in range(int(rng.integers(2, 14))):
        at = centre + rng.normal(0, 60, 2) * _unit(canvas)
        step = rng.uniform(8, 40) * _unit(canvas) * np.array([np.cos(a := rng.uniform(0, 3.14)), np.sin(a)])
        ends = [tuple(int(v) for v in np.rint(p)) for p in (at - step / 2, at + step / 2)]
        cv2.line(mask, ends[0], ends[1], 255, max(1, round(rng.uniform(2, 6) * _unit(canvas))), cv2.LINE_AA)
    _lay(canvas, mask, rng, 0.3)


def _electrode(canvas: NDArray[np.float32], rng: Rng) -> None:
    for _ in range(int(rng.integers(1, 4))):
        mask = np.zeros(canvas.shape, np.uint8)
        centre, r = _place(canvas, rng), round(rng.uniform(15, 60) * _unit(canvas))
        cv2.circle(mask, centre, r, 255, -1 if rng.random() < 0.5 else max(1, r // 5), cv2.LINE_AA)
        cv2.circle(mask, centre, max(1, r // 3), 120, -1, cv2.LINE_AA)
        _lay(canvas, mask, rng)


def _chain(canvas: NDArray[np.float32], rng: Rng) -> None:
    mask = np.zeros(canvas.shape, np.uint8)
    points = _curve(canvas, rng, 0.15)
    size = max(1, round(rng.uniform(3, 12) * _unit(canvas)))
    travelled = np.cumsum(np.r_[0, np.hypot(*np.diff(points, axis=0).T)])
    for at in np.arange(0, travelled[-1], size * rng.uniform(1.8, 3)):
        x, y = points[min(np.searchsorted(travelled, at), len(points) - 1)]
        cv2.circle(mask, (int(x), int(y)), size, 255, -1 if size < 4 else max(1, size // 3), cv2.LINE_AA)
    _lay(canvas, mask, rng, 0.2)


def _zipper(canvas: NDArray[np.float32], rng: Rng) -> None:
    mask = np.zeros(canvas.shape, np.uint8)
    x, y = _place(canvas, rng)
    pitch, wide = rng.uniform(8, 24) * _unit(canvas), rng.uniform(15, 50) * _unit(canvas)
    for i in range(int(rng.integers(20, 90))):
        at = round(y + i * pitch)
        side = wide * 0.2 * (i % 2)
        cv2.line(mask, (round(x + side), at), (round(x + side + wide), at), 255, max(1, round(pitch * 0.4)))
    if rng.random() < 0.3:
        mask = np.ascontiguousarray(cv2.resize(mask.T, mask.shape[::-1], interpolation=cv2.INTER_AREA))
    _lay(canvas, mask, rng, 0.2)


def _shutter(canvas: NDArray[np.float32], rng: Rng) -> None:
    mask = np.zeros(canvas.shape, np.uint8)
    h, w = canvas.shape
    near = rng.uniform(0.02, 0.12, 4)
    left, top, right, bottom = near[0] * w, near[1] * h, (1 - near[2]) * w, (1 - near[3]) * h
    corners = [(left, top), (right, top), (right, bottom), (left, bottom)]
    tilt = rng.normal(0, 0.01, (4, 2)) * (rng.random() < 0.5) * np.array([w, h])
    cv2.fillPoly(mask, [np.rint(np.array(corners) + tilt).astype(np.int32)], 1)
    outside = 0.0 if rng.random() < 0.7 else 1.0 if rng.random() < 0.5 else float(rng.uniform(0, 0.4))
    canvas[mask == 0] = outside


def _ticks(canvas: NDArray[np.float32], rng: Rng) -> None:
    h, w = canvas.shape
    pitch, x = rng.uniform(15, 90) * _unit(canvas), round(rng.choice([0.01, 0.97]) * w)
    thick = max(1, round(rng.uniform(1, 4) * _unit(canvas)))
    start = rng.uniform(0.2, 0.4) * h
    for i in range(int(rng.integers(10, 40))):
        long = round((40 if i % 5 == 0 else 20) * _unit(canvas))
        at = round(start + i * pitch)
        cv2.line(canvas, (x, at), (x + long, at), 1.0, thick)


def _tube(canvas: NDArray[np.float32], rng: Rng) -> None:
    mask = np.zeros(canvas.shape, np.uint8)
    points, wide = _curve(canvas, rng, 0.2), round(rng.uniform(12, 50) * _unit(canvas))
    cv2.polylines(mask, [points], False, 150, max(3, wide), cv2.LINE_AA)
    cv2.polylines(mask, [points], False, 60, max(1, round(wide * 0.7)), cv2.LINE_AA)
    cv2.polylines(mask, [points], False, 255, max(1, wide // 8), cv2.LINE_AA)
    _lay(canvas, mask, rng)


def _device(canvas: NDArray[np.float32], rng: Rng) -> None:
    mask = np.zeros(canvas.shape, np.uint8)
    x, y = _place(canvas, rng)
    size = (rng.uniform(60, 160) * _unit(canvas), rng.uniform(60, 160) * _unit(canvas))
    cv2.ellipse(mask, ((x, y), size, float(rng.uniform(0, 180))), 150, -1, cv2.LINE_AA)
    for _ in range(int(rng.integers(2, 9))):
        at = np.array([x, y]) + rng.uniform(-0.35, 0.35, 2) * size
        far = at + rng.uniform(-0.3, 0.3, 2) * size
        corner = [tuple(int(v) for v in p) for p in (at, far)]
        cv2.rectangle(mask, corner[0], corner[1], 255, -1 if rng.random() < 0.5 else 2)
    cv2.polylines(mask, [_curve(canvas, rng, 0.2)], False, 200,
                  max(1, round(6 * _unit(canvas))), cv2.LINE_AA)  # fmt: skip
    _lay(canvas, mask, rng, 0.4)


def _loops(canvas: NDArray[np.float32], rng: Rng) -> None:
    """Sternal wires: small twisted loops down the midline."""
    h, w = canvas.shape
    mask = np.zeros(canvas.shape, np.uint8)
    x, y = w * rng.uniform(0.42, 0.58), h * rng.uniform(0.2, 0.4)
    thick = max(1, round(rng.uniform(3, 7) * _unit(canvas)))
    for _ in range(int(rng.integers(3, 8))):
        size = (rng.uniform(30, 80) * _unit(canvas), rng.uniform(15, 45) * _unit(canvas))
        at = (x + rng.normal(0, 10) * _unit(canvas), y)
        cv2.ellipse(mask, (at, size, float(rng.normal(0, 20))), 255, thick, cv2.LINE_AA)
        cv2.line(
            mask, (round(at[0]), round(y)), (round(at[0] + size[0] * 0.3), round(y + size[1])), 255, thick
        )
        y += rng.uniform(0.05, 0.1) * h
    _lay(canvas, mask, rng, 0.3)
