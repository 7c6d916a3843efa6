"""Findings of a phantom: drawn with a known place and size, then laid into the maps.

A finding changes what the ray meets: fluid and consolidation fill the lung (its density
rises towards that of water), a nodule adds a ball of tissue, a pneumothorax takes lung away.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from xraytk.data.phantoms.anatomy import Body, Canvas, Map, Mask, Outlines

SIDES = ("right", "left")  # the patient's
ZONES = ("upper", "middle", "lower")


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One finding, as it is in the image.

    Args:
        name: One of `phantom.LABELS`.
        side: "right" or "left" of the patient; "" for the heart.
        zone: "upper", "middle" or "lower" third of the lung; "" where it has no sense.
        degree: "small", "moderate" or "large".
        size_mm: Diameter of a nodule or consolidation; height of an effusion above the
            costophrenic angle; widest gap of a pneumothorax; width of the heart.
        ratio: Share of the lung's area that a pneumothorax takes, or the cardiothoracic ratio.
        center: (x, y) of its middle as shares of the image's width and height.
        box: Edges x0, y0, x1, y1 of what it fills, as such shares; None where nothing is filled.
    """

    name: str
    side: str = ""
    zone: str = ""
    degree: str = ""
    size_mm: float = 0.0
    ratio: float = 0.0
    center: tuple[float, float] = (0.5, 0.5)
    box: tuple[float, float, float, float] | None = None


@dataclass(slots=True)
class Lungs:
    """What the findings change.

    Args:
        sides: The two lung fields, the patient's right first, outside heart and mediastinum.
        density: Of the lung relative to water.
        vessels: Thickness of the vessels in mm.
        extra: Tissue to add in mm.
    """

    sides: tuple[Mask, Mask]
    density: Map
    vessels: Map
    extra: Map


def lay(
    name: str,
    taken: Sequence[Finding],
    wanted: Sequence[str],
    lungs: Lungs,
    body: Body,
    canvas: Canvas,
    lines: Outlines,
    rng: np.random.Generator,
) -> Finding:
    """Place one finding where the earlier ones leave room, and change the maps.

    Args:
        name: "Pleural Effusion", "Pneumothorax", "Consolidation" or "Nodule".
        taken: The findings laid before; fluid and air come first.
        wanted: All findings that the phantom shall have.
        lungs: Changed in place.
        body: The measures.
        canvas: The pixels.
        lines: The outlines.
        rng: Where chance comes from.

    Returns:
        The finding.
    """
    places = free_places(name, taken)
    side, zone = places[int(rng.integers(len(places)))]
    if name == "Pleural Effusion":
        return _effusion(side, _effusion_degrees(wanted), lungs, body, canvas, rng)
    if name == "Pneumothorax":
        return _pneumothorax(side, lungs, body, canvas, lines, rng)
    if name == "Consolidation":
        return _consolidation(side, zone, lungs, body, canvas, rng)
    return _nodule(side, zone, lungs, body, canvas, rng)


def free_places(name: str, taken: Sequence[Finding]) -> list[tuple[int, str]]:
    """Where a finding can go without hiding another or being hidden: (index of the side, zone).

    Fluid and air take a side each. A consolidation or a nodule keeps off a collapsed lung, off
    the zones that fluid may cover, and off each other's zone. Whatever three findings are
    wanted, there is a place for the last one.
    """
    zones = ZONES if name in ("Consolidation", "Nodule") else ("",)
    places = []
    for i, side in enumerate(SIDES):
        here = [f for f in taken if f.side == side]
        names = {f.name for f in here}
        if "Pneumothorax" in names or (zones == ("",) and names):
            continue
        wet = "Pleural Effusion" in names
        places += [
            (i, z) for z in zones if not (wet and z != "upper") and z not in {f.zone for f in here} - {""}
        ]
    return places


def _effusion_degrees(wanted: Sequence[str]) -> list[str]:
    """Amounts of fluid that leave the other wanted findings to be seen."""
    if "Cardiomegaly" in wanted:
        return ["small"]
    return ["small", "moderate"] if len(wanted) > 1 else ["small", "moderate", "large"]


def _effusion(
    side: int, degrees: list[str], lungs: Lungs, body: Body, canvas: Canvas, rng: np.random.Generator
) -> Finding:
    degree = str(rng.choice(degrees))
    low, high = {"small": (0.20, 0.27), "moderate": (0.36, 0.52), "large": (0.62, 0.82)}[degree]
    height = rng.uniform(low, high) * body.lung_mm
    sign = (-1, 1)[side]
    floor = body.apex_mm + 1.11 * body.lung_mm
    u = np.clip(sign * canvas.x / body.half_mm, 0, 1.05)
    hollow, bend = {"small": (0.30, 5.0), "moderate": (0.62, 3.0), "large": (0.78, 2.5)}[degree]
    level = floor - height * (hollow + (1 - hollow) * np.clip((u - 0.1) / 0.9, 0, 1) ** bend)
    fluid = 1 / (1 + np.exp(np.clip((level - canvas.y) / rng.uniform(2.2, 4.5), -30, 30)))
    fluid = np.where(sign * canvas.x > 0, 0.96 * fluid, 0).astype(np.float32)
    lungs.density += (1 - lungs.density) * fluid
    lungs.vessels *= 1 - fluid
    return Finding(
        name="Pleural Effusion",
        side=SIDES[side],
        degree=degree,
        size_mm=round(height, 1),
        center=_center(
            canvas, sign * (0.92 if degree == "small" else 0.7) * body.half_mm, floor - 0.6 * height
        ),
        box=box_of((fluid > 0.5) & lungs.sides[side]),
    )


def _pneumothorax(
    side: int, lungs: Lungs, body: Body, canvas: Canvas, lines: Outlines, rng: np.random.Generator
) -> Finding:
    degree = str(rng.choice(["small", "moderate", "large"], p=[0.3, 0.45, 0.25]))
    scale = {"small": (0.86, 0.90), "moderate": (0.72, 0.82), "large": (0.45, 0.62)}[degree]
    shrink = rng.uniform(*scale)
    sign = (-1, 1)[side]
    root = np.array([sign * 0.16 * body.half_mm, body.apex_mm + 0.60 * body.lung_mm])
    outline = root + (lines.deep[side] - root) * [shrink, shrink * 0.5 + 0.5 * min(1.0, shrink + 0.12)]
    inner = canvas.fill(outline)
    whole = canvas.fill(lines.deep[side])
    air = np.clip(whole - inner, 0, 1)
    rim = canvas.blur(canvas.strokes([(outline, 1.3, 1.0)]), 0.5) * whole
    rim *= canvas.blur((canvas.y < body.apex_mm + 0.9 * body.lung_mm).astype(np.float32), 6)
    lungs.density += inner * 0.22 * (1 - shrink)
    lungs.density *= 1 - 0.97 * air
    lungs.vessels *= 1 - air
    lungs.extra += 7.0 * rim
    field = lungs.sides[side]
    ratio = float((air > 0.5)[field].mean())
    gap = (
        cv2.distanceTransform(((air > 0.5) & field).astype(np.uint8), cv2.DIST_L2, 5).max()
        * 2
        * canvas.spacing_mm
    )
    return Finding(
        name="Pneumothorax",
        side=SIDES[side],
        degree="small" if ratio < 0.2 else "moderate" if ratio < 0.5 else "large",
        size_mm=round(float(gap), 1),
        ratio=round(ratio, 2),
        center=_center(canvas, sign * 0.75 * body.half_mm, body.apex_mm + 0.25 * body.lung_mm),
        box=box_of((air > 0.5) & field),
    )


def _consolidation(
    side: int, zone: str, lungs: Lungs, body: Body, canvas: Canvas, rng: np.random.Generator
) -> Finding:
    radius = rng.uniform(17, 34)
    x, y = _spot(side, zone, lungs, body, canvas, rng, radius * 0.55)
    cloud = np.zeros(canvas.shape, np.float32)
    for _ in range(6):
        dx, dy = rng.normal(0, radius * 0.45, 2)
        rx, ry = radius * rng.uniform(0.45, 0.8, 2)
        part = np.exp(-0.5 * (((canvas.x - x - dx) / rx) ** 2 + ((canvas.y - y - dy) / ry) ** 2))
        cloud += 0.5 * part.astype(np.float32)
    cloud = np.clip(cloud * (1 + 0.28 * canvas.noise(rng, 4) + 0.12 * canvas.noise(rng, 1.5)), 0, None)
    cloud = 1 - np.exp(-1.3 * cloud)
    patch = np.where(lungs.sides[side] | (cloud > 0.6), cloud, 0.3 * cloud)
    patch = canvas.blur(np.where(canvas.x * (-1, 1)[side] > 0, patch, 0).astype(np.float32), 1.0)
    lungs.density += (0.95 - lungs.density) * patch * rng.uniform(0.5, 0.72)
    area = float((patch > 0.35).sum()) * canvas.spacing_mm**2
    return Finding(
        name="Consolidation",
        side=SIDES[side],
        zone=zone,
        degree="large" if radius > 27 else "moderate",
        size_mm=round(2 * float(np.sqrt(area / np.pi)), 1),
        center=_center(canvas, x, y),
        box=box_of(patch > 0.35),
    )


def _nodule(
    side: int, zone: str, lungs: Lungs, body: Body, canvas: Canvas, rng: np.random.Generator
) -> Finding:
    diameter = float(round(rng.uniform(12, 29)))
    x, y = _spot(side, zone, lungs, body, canvas, rng, diameter / 2 + 4)
    stretch = rng.uniform(0.92, 1.08)
    r = diameter / 2
    ball = canvas.ellipse(x, y, r * stretch, r / stretch)
    lungs.extra += 1.35 * diameter * canvas.blur(ball, 0.4)
    return Finding(
        name="Nodule",
        side=SIDES[side],
        zone=zone,
        degree="small" if diameter < 18 else "large",
        size_mm=diameter,
        center=_center(canvas, x, y),
        box=box_of(ball > 0.5),
    )


def _spot(
    side: int, zone: str, lungs: Lungs, body: Body, canvas: Canvas, rng: np.random.Generator, room_mm: float
) -> tuple[float, float]:
    """Draw a place in a third of a lung field, ``room_mm`` away from its rim if there is such."""
    third = ZONES.index(zone)
    top = body.apex_mm + 0.97 * body.lung_mm * (third + 0.12) / 3
    bottom = body.apex_mm + 0.97 * body.lung_mm * (third + 0.88) / 3
    field = lungs.sides[side]
    distance = cv2.distanceTransform(field.astype(np.uint8), cv2.DIST_L2, 3) * canvas.spacing_mm
    rows = (canvas.y >= top) & (canvas.y <= bottom)
    best = float(np.where(rows, distance, 0).max())
    allowed = np.flatnonzero(rows & (distance >= min(room_mm, 0.85 * best)))
    row, col = np.unravel_index(int(rng.choice(allowed)), canvas.shape)
    return float(canvas.x[0, col]), float(canvas.y[row, 0])


def box_of(mask: Mask) -> tuple[float, float, float, float] | None:
    """Edges x0, y0, x1, y1 of a mask, as shares of its width and height; None of an empty one."""
    if not mask.any():
        return None
    rows, cols = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    height, width = mask.shape
    edges = (cols[0] / width, rows[0] / height, (cols[-1] + 1) / width, (rows[-1] + 1) / height)
    x0, y0, x1, y1 = (round(float(edge), 5) for edge in edges)
    return x0, y0, x1, y1


def _center(canvas: Canvas, x: float, y: float) -> tuple[float, float]:
    height, width = canvas.shape
    left = float(canvas.x[0, 0]) - canvas.spacing_mm / 2
    return (
        round((x - left) / canvas.spacing_mm / width, 4),
        round(y / canvas.spacing_mm / height, 4),
    )
