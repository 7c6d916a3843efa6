"""Pictures of what a model paints: a sheet of some images, and how they came to be painted so."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from xraytk.data.pictures import LUNG_BGR
from xraytk.objectives.painting import Reconstruction
from xraytk.records import Batch

TILE_PX, GAP_PX, LINE_PX = 304, 6, 34
INSIDE_BGR, OUTSIDE_BGR = (40, 130, 245), (215, 140, 60)
"""Tints of hidden patches: where the policy holds the chest to be, and elsewhere."""
_GROUND, _INK = 22, (235, 235, 235)
Picture = NDArray[np.uint8]


def reconstruction_sheet(samples: Batch, made: Reconstruction, *, norm_pix: bool, step: int) -> Picture:
    """One column an image; rows: image, policy, seen, painted and seen together, painted alone.

    Args:
        samples: B images.
        made: What was painted over them.
        norm_pix: Whether mean and contrast of the painted patches are those of the true ones.
        step: Updates done.

    Returns:
        (rows, cols, 3) uint8 BGR, about 1,900 pixels wide for six images.
    """
    original = made.original.numpy()
    undone = ", mean and contrast of each patch from the true one" if norm_pix else ""
    alone = [painted_alone(made, i) for i in range(len(original))]
    chosen = [policy_picture(made, i, samples.lung[i].numpy()) for i in range(len(original))]
    share = float(made.hidden.float().mean())
    rows: list[tuple[str, Sequence[NDArray[Any]]]] = [
        (f"image (step {step:,})", list(original)),
        (f"hidden patches, {share:.0%}: orange inside, blue outside the chest; lungs green", chosen),
        ("what the encoder sees", list(made.masked.numpy())),
        (f"painted, with what was seen{undone}", list(made.painted.numpy())),
        ("painted alone", alone),
    ]
    return stacked([row for _, row in rows], [words for words, _ in rows])


def painted_alone(made: Reconstruction, i: int) -> Picture:
    """The hidden patches of image ``i`` as predicted, all else dark."""
    painted = made.painted[i].numpy()
    where = spread(made.hidden[i].numpy(), painted.shape)
    return np.where(where, painted, np.uint8(_GROUND)).astype(np.uint8)


def policy_picture(made: Reconstruction, i: int, lung: NDArray[np.bool_]) -> Picture:
    """Image ``i`` with its hidden patches tinted, and the edge of its lungs.

    Args:
        made: What was hidden.
        i: Number of the image.
        lung: (H, W) bool.

    Returns:
        (H, W, 3) uint8 BGR.
    """
    image = made.original[i].numpy()
    hidden, inside = (spread(m[i].numpy(), image.shape) for m in (made.hidden, made.inside))
    out = np.repeat(image[:, :, None], 3, 2).astype(np.float32)
    for where, tint in ((hidden & inside, INSIDE_BGR), (hidden & ~inside, OUTSIDE_BGR)):
        out[where] = 0.42 * out[where] + 0.45 * np.array(tint, np.float32)
    edges, _ = cv2.findContours(lung.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    drawn = np.ascontiguousarray(np.clip(out, 0, 255).astype(np.uint8))
    thick = max(1, round(1.6 * image.shape[0] / TILE_PX))
    return np.asarray(cv2.drawContours(drawn, edges, -1, LUNG_BGR, thick), np.uint8)


def spread(patches: NDArray[np.bool_], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Patches to pixels.

    Args:
        patches: (N,) row by row, of square patches.
        shape: (H, W) of the image.

    Returns:
        (H, W).
    """
    px = round((shape[0] * shape[1] / len(patches)) ** 0.5)
    grid = patches.reshape(shape[0] // px, shape[1] // px)
    return np.repeat(np.repeat(grid, px, 0), px, 1)


def small(image: NDArray[Any], px: int = TILE_PX) -> Picture:
    """Fit a picture into a square of ``px``, grey or BGR to BGR, with black around it."""
    height, width = image.shape[:2]
    scale = px / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    fit = cv2.resize(image, size, interpolation=how)
    out = np.zeros((px, px, 3), np.uint8)
    top, left = (px - size[1]) // 2, (px - size[0]) // 2
    out[top : top + size[1], left : left + size[0]] = fit if fit.ndim == 3 else fit[:, :, None]
    return out


def stacked(rows: Sequence[Sequence[NDArray[Any]]], words: Sequence[str], px: int = TILE_PX) -> Picture:
    """Lay rows of pictures below each other, each under its line of words.

    Args:
        rows: Pictures, as many in each row.
        words: One line a row.
        px: Side of a picture on the sheet.

    Returns:
        (rows, cols, 3) uint8 BGR.
    """
    columns = max(len(row) for row in rows)
    wide, high = columns * (px + GAP_PX) + GAP_PX, len(rows) * (px + LINE_PX) + GAP_PX
    sheet = np.full((high, wide, 3), _GROUND, np.uint8)
    for r, row in enumerate(rows):
        top = r * (px + LINE_PX)
        write(sheet, words[r], GAP_PX, top + 5, most=wide - 2 * GAP_PX)
        for c, image in enumerate(row):
            left = GAP_PX + c * (px + GAP_PX)
            sheet[top + LINE_PX : top + LINE_PX + px, left : left + px] = small(image, px)
    return sheet


def course_sheet(originals: Sequence[Picture], courses: Sequence[tuple[int, Sequence[Picture]]]) -> Picture:
    """The same images over the course of training: one row an image, one column a step.

    Args:
        originals: The images.
        courses: Step, and what was painted of each image then; rising.

    Returns:
        (rows, cols, 3) uint8 BGR.
    """
    px = 232
    heads = ["image", *(f"step {step:,}" for step, _ in courses)]
    wide, high = len(heads) * (px + GAP_PX) + GAP_PX, len(originals) * (px + GAP_PX) + LINE_PX
    sheet = np.full((high, wide, 3), _GROUND, np.uint8)
    for c, head in enumerate(heads):
        left = GAP_PX + c * (px + GAP_PX)
        write(sheet, head, left, 5, most=px)
        for r, image in enumerate(originals):
            shown = image if c == 0 else courses[c - 1][1][r]
            top = LINE_PX + r * (px + GAP_PX)
            sheet[top : top + px, left : left + px] = small(shown, px)
    return sheet


def write(sheet: Picture, words: str, left: int, top: int, *, most: int, size: int = 20) -> None:
    """Write a line onto a sheet, smaller when it would be wider than ``most`` pixels."""
    from PIL import Image, ImageDraw, ImageFont

    font = ImageFont.truetype(_font(), size)
    while font.getlength(words) > most and size > 9:
        size -= 1
        font = ImageFont.truetype(_font(), size)
    wide = min(sheet.shape[1] - left, int(font.getlength(words)) + 2)
    line = Image.new("RGB", (wide, size + 8), (_GROUND,) * 3)
    ImageDraw.Draw(line).text((0, 1), words, _INK, font)
    sheet[top : top + line.height, left : left + wide] = np.asarray(line)[: len(sheet) - top, :, ::-1]


@cache
def _font() -> str:
    """A font that comes with matplotlib."""
    import matplotlib as mpl

    return str(Path(mpl.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf")
