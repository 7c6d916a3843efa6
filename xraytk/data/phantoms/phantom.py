"""Phantom chest radiographs with known findings, masks and reports.

A phantom is computed, not painted: thickness maps of soft tissue, lung and bone give the
attenuation of every ray (Beer and Lambert), scatter and quantum noise are added, and the
detector's signal is turned into a picture as a digital X-ray machine does. Findings change the
maps, so that they look different under ribs, in a thick patient or behind the heart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from xraytk.data.phantoms import anatomy, bones, lesions, words
from xraytk.data.phantoms.anatomy import Body, Canvas, Map, Mask, Outlines
from xraytk.data.phantoms.lesions import Finding
from xraytk.errors import UsageError

LABELS = ("Cardiomegaly", "Consolidation", "Nodule", "Pleural Effusion", "Pneumothorax", "No Finding")

_LAID = ("Pleural Effusion", "Pneumothorax", "Consolidation", "Nodule")  # in order of laying
_SOFT_PER_MM, _BONE_PER_MM = 0.0195, 0.031  # attenuation at about 65 keV; bone beyond soft tissue
_LUNG_DENSITY = 0.25


@dataclass(frozen=True, slots=True)
class Phantom:
    """One phantom radiograph and all that is true of it.

    Args:
        pixels: (H, W) float32 in [0, 1], MONOCHROME2 sense: air is 0 (dark), bone near 1.
            The patient's right is on the image's left.
        left_lung: (H, W) bool: the patient's left lung field, whatever fills it, without heart
            and mediastinum (the convention of JSRT and Montgomery).
        right_lung: (H, W) bool.
        heart: (H, W) bool, above the diaphragm.
        findings: What is in the image; empty for a normal one.
        labels: 0 or 1 for each of `LABELS`.
        reports: {"en": ..., "zh": ...}.
        view: "PA" or "AP".
        sex: "M" or "F".
        age_years: Age.
        spacing_mm: Side of a pixel at the detector.
        heart_ratio: Cardiothoracic ratio, measured on the masks.
    """

    pixels: NDArray[np.float32]
    left_lung: Mask
    right_lung: Mask
    heart: Mask
    findings: tuple[Finding, ...]
    labels: dict[str, int]
    reports: dict[str, str]
    view: str
    sex: str
    age_years: int
    spacing_mm: float
    heart_ratio: float


def make_phantom(
    seed: int, *, size_px: int = 1024, findings: Sequence[str] | None = None, sex: str | None = None
) -> Phantom:
    """Make one phantom; the same arguments give the same phantom.

    Args:
        seed: Any whole number >= 0.
        size_px: Long side of the image, 64 or more.
        findings: Names out of `LABELS` that shall be in the image, up to three; empty or
            ("No Finding",) for a normal one; None to draw them.
        sex: "M" or "F"; None to draw it.

    Returns:
        The phantom.

    Raises:
        UsageError: If a finding is unknown, or the size is too small.

    Source:
        Ours: analytic, so that place and size of everything are known.
    """
    if size_px < 64:
        raise UsageError(f"size_px is {size_px}", "phantoms have 64 pixels or more on the long side")
    rng = np.random.default_rng(seed)
    drawn, ap = str(rng.choice(["M", "F"])), bool(rng.random() < 0.25)
    sex = sex or drawn
    age = int(np.clip(rng.normal(55, 17), 18, 92))
    names = _wanted(findings, rng)
    low, high = (0.545, 0.66) if "Cardiomegaly" in names else (0.40, 0.475)
    heart_ratio = rng.uniform(low, high) + (0.02 if ap else 0.0)
    body = anatomy.draw_body(rng, female=sex == "F", ap=ap, heart_ratio=heart_ratio)
    canvas = Canvas(body, size_px)
    lines = anatomy.outline(body)
    heart = canvas.fill(lines.heart)
    belly = anatomy.abdomen(body, canvas, lines)
    middle = canvas.fill(lines.mediastinum)
    sides = tuple((canvas.fill(p) > 0.5) & (heart <= 0.5) & (middle <= 0.5) for p in lines.lung)
    lungs = lesions.Lungs(
        sides=(sides[0], sides[1]),
        density=_LUNG_DENSITY * (1 + 0.05 * canvas.noise(rng, 2.2) + 0.04 * canvas.noise(rng, 9)),
        vessels=anatomy.vessels(body, canvas, rng),
        extra=np.zeros(canvas.shape, np.float32),
    )
    heart_seen = (heart > 0.5) & (belly < 0.5)
    laid: list[Finding] = []
    for name in names:
        if name in _LAID:
            laid.append(lesions.lay(name, laid, names, lungs, body, canvas, lines, rng))
    ratio, width_mm = _measure_heart(heart_seen, sides[0] | sides[1], canvas)
    if "Cardiomegaly" in names:
        laid.append(
            Finding(
                name="Cardiomegaly",
                size_mm=round(width_mm, 1),
                ratio=round(ratio, 2),
                box=lesions.box_of(heart_seen),
            )
        )
    signal = _project(body, canvas, lines, lungs, (heart, middle, belly), rng)
    return Phantom(
        pixels=_develop(signal, canvas, rng),
        left_lung=sides[1],
        right_lung=sides[0],
        heart=heart_seen,
        findings=tuple(laid),
        labels={label: int(label in names or (label == "No Finding" and not names)) for label in LABELS},
        reports=words.describe(laid, ratio, rng),
        view="AP" if ap else "PA",
        sex=sex,
        age_years=age,
        spacing_mm=canvas.spacing_mm,
        heart_ratio=ratio,
    )


def _wanted(findings: Sequence[str] | None, rng: np.random.Generator) -> list[str]:
    """Names in order of laying; drawn when None: one in three is normal."""
    names = LABELS[:-1]
    if findings is None:
        count = int(rng.choice([0, 1, 2, 3], p=[0.32, 0.40, 0.20, 0.08]))
        findings = [str(n) for n in rng.choice(names, count, replace=False)]
    unknown = [n for n in findings if n not in LABELS]
    if unknown:
        raise UsageError(f"there is no finding {unknown[0]!r}", f"there are: {', '.join(LABELS)}")
    chosen = set(findings) - {"No Finding"}
    if len(chosen) > 3:
        raise UsageError(f"{len(chosen)} findings are asked for", "a phantom has up to three")
    return [n for n in (*_LAID, "Cardiomegaly") if n in chosen]


def _measure_heart(heart: Mask, lungs: Mask, canvas: Canvas) -> tuple[float, float]:
    """Cardiothoracic ratio: widest heart / widest inner thorax; and the heart's width in mm."""
    width, thorax = (np.ptp(np.flatnonzero(m.any(axis=0))) + 1 for m in (heart, lungs))
    return float(width / thorax), float(width * canvas.spacing_mm)


def _project(
    body: Body,
    canvas: Canvas,
    lines: Outlines,
    lungs: lesions.Lungs,
    organs: tuple[Map, Map, Map],
    rng: np.random.Generator,
) -> Map:
    """Signal at the detector relative to the free beam, with scatter and noise.

    Source:
        Beer-Lambert: I = exp(-sum mu * thickness); scatter as a wide blur of the primary;
        quantum noise of variance I / dose.
    """
    heart, middle, belly = organs
    air = np.zeros(canvas.shape, np.float32)
    for deep in lines.deep:
        air = np.maximum(air, canvas.dome(canvas.fill(deep), 40))
    air *= 0.74 * body.depth_mm * (1 - 0.90 * belly)
    air *= 1 - 0.64 * canvas.dome(heart, 46)
    air *= 1 - 0.86 * canvas.dome(middle, 15)
    inside = np.minimum(air / 60, 1)
    soft = anatomy.trunk(body, canvas)
    soft = soft - air * (1 - lungs.density) + inside * (lungs.vessels * 0.9 + lungs.extra)
    soft += _outside(body, canvas, rng)
    bone = bones.skeleton(body, canvas, lines, rng)
    primary = np.exp(-_SOFT_PER_MM * np.maximum(soft, 0) - _BONE_PER_MM * bone)
    scatter = rng.uniform(0.25, 0.6) * canvas.blur(primary, 28)
    total = canvas.blur(primary, 0.25) + 0.35 * scatter
    dose = rng.uniform(2.5e4, 1.5e5) * canvas.spacing_mm**2
    return np.maximum(
        total + np.sqrt(total / dose) * rng.standard_normal(canvas.shape, dtype=np.float32), 1e-5
    )


def _outside(body: Body, canvas: Canvas, rng: np.random.Generator) -> Map:
    """Soft tissue to add or take away outside the lungs: breasts, trachea, gastric bubble."""
    a, h, top = body.half_mm, body.lung_mm, body.apex_mm
    out = np.zeros(canvas.shape, np.float32)
    if body.breast_mm:
        for sign in (-1, 1):
            x, y = sign * a * rng.uniform(0.56, 0.64), top + h * rng.uniform(0.72, 0.84)
            breast = canvas.ellipse(x, y, rng.uniform(56, 68), rng.uniform(50, 66))
            hang = np.clip((canvas.y - y + 50) / 90, 0, 1)  # thin above, full and round below
            out += body.breast_mm * canvas.blur(breast * hang, 2.5)
    shift = rng.normal(1.5, 1.5)
    pipe = np.array([(shift * 0.3, -20), (shift, top + 0.15 * h), (-2 - shift, top + 0.34 * h)])
    bronchi = [
        np.array([(-2 - shift, top + 0.34 * h), (-0.19 * a, top + 0.46 * h)]),
        np.array([(-2 - shift, top + 0.34 * h), (0.21 * a, top + 0.47 * h)]),
    ]
    tubes = canvas.strokes([(b, 9.0, 0.55) for b in bronchi] + [(pipe, 16.0, 1.0)])
    out -= 15 * canvas.blur(tubes, 2.0)
    if rng.random() < 0.7:
        x, y = a * rng.uniform(0.35, 0.55), top + h * rng.uniform(1.08, 1.13)
        bubble = canvas.ellipse(x, y, rng.uniform(18, 34), rng.uniform(9, 18))
        out -= rng.uniform(25, 60) * canvas.blur(bubble, 1.5)
    return out


def _develop(signal: Map, canvas: Canvas, rng: np.random.Generator) -> NDArray[np.float32]:
    """Turn the signal into a picture: logarithm, local contrast, grey curve, marker, shutter.

    Source:
        Ours, after what digital radiography does (unsharp masking in the log domain).
    """
    density = -np.log(signal)
    wide = canvas.blur(density, 22)
    fine = canvas.blur(density, 4)
    density = density - 0.30 * (wide - wide.mean()) + rng.uniform(0.4, 0.9) * (density - fine)
    low, high = np.percentile(density[::4, ::4], [1.0, 99.7])
    low -= (high - low) * rng.uniform(-0.02, 0.10)
    grey = np.clip((density - low) / (high - low), 0, 1)
    slope = rng.uniform(3.2, 5.0)
    middle = rng.uniform(0.44, 0.56)
    curve = 1 / (1 + np.exp(-slope * (grey - middle)))
    ends = 1 / (1 + np.exp(-slope * (np.array([0.0, 1.0]) - middle)))
    grey = (curve - ends[0]) / (ends[1] - ends[0])
    _mark(grey, canvas, rng)
    return np.asarray(grey, dtype=np.float32)


def _mark(grey: Map, canvas: Canvas, rng: np.random.Generator) -> None:
    """Add a lead letter at the patient's right or left, and black shutters, sometimes."""
    height, width = canvas.shape
    if rng.random() < 0.6:
        letter, x = ("R", 0.05) if rng.random() < 0.5 else ("L", 0.91)
        scale = height / 600
        at = (round(width * x), round(height * rng.uniform(0.08, 0.14)))
        lead = np.zeros(canvas.shape, np.uint8)
        cv2.putText(
            lead, letter, at, cv2.FONT_HERSHEY_SIMPLEX, scale, 255, max(1, round(2 * scale)), cv2.LINE_AA
        )
        np.maximum(grey, lead.astype(np.float32) / 255, out=grey)
    if rng.random() < 0.2:
        for axis, length in ((0, height), (1, width)):
            ends = [round(length * share) for share in rng.uniform(0.0, 0.03, 2)]
            lines = np.moveaxis(grey, axis, 0)
            lines[: ends[0]] = 0
            lines[length - ends[1] :] = 0
