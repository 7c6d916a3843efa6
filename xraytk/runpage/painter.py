"""Draws the figures of a run while it trains, and writes its page."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import cv2
import numpy as np
from torch import nn

from xraytk import distributed
from xraytk.chance import Chance
from xraytk.data.pictures import read_png, write_png
from xraytk.errors import DataError
from xraytk.objectives.painting import Reconstruction
from xraytk.records import Batch
from xraytk.runpage.page import PAGE, write_page
from xraytk.runpage.sheet import Picture, course_sheet, reconstruction_sheet
from xraytk.train.curves import draw_curves
from xraytk.train.watch import Watch, watching

COURSE_PX, COURSE_IMAGES, COURSE_STEPS = 232, 3, 6
"""Side of a picture of the course; images and steps of the strip."""
PAGE_SHARE = 0.01
"""Of the time, that curves and page may take."""


class Painter:
    """Draws curves and reconstructions, of the same images every time, and writes the page.

    Args:
        folder: Run folder.
        steps: Updates of the whole run.
        samples: Images to paint; None when there is nothing to paint.
        seed: Chooses the patches that are hidden.
    """

    def __init__(self, folder: Path, steps: int, samples: Batch | None = None, seed: int = 0) -> None:
        self.folder, self.steps, self.samples, self.seed = folder, steps, samples, seed
        self._began, self._spent = time.monotonic(), 0.0

    def __call__(self, learner: nn.Module, step: int, figures: Path) -> dict[str, Path]:
        """Draw what there is to draw after ``step`` updates; returns what was painted, by name.

        Curves and page are left out while they would take more than `PAGE_SHARE` of the time; at
        the end they are always written.
        """
        drawn: dict[str, Path] = {}
        if self.samples is not None and hasattr(learner, "reconstruct"):
            drawn |= self._paint(learner, self.samples, step, figures)
        began = time.monotonic()
        if step == self.steps or self._spent <= PAGE_SHARE * (began - self._began):
            draw_curves(self.folder)
            write_page(self.folder)
            self._spent += time.monotonic() - began
        return drawn

    def _paint(self, learner: nn.Module, samples: Batch, step: int, figures: Path) -> dict[str, Path]:
        device = next(learner.parameters()).device
        made: Reconstruction = cast(Any, learner).reconstruct(samples.to(device), Chance(self.seed))
        sheet, painted = figures / f"reconstruction-{step:08d}.png", figures / "course" / f"{step:08d}.png"
        norm_pix = bool(cast(Any, learner).config.norm_pix)
        write_png(sheet, reconstruction_sheet(samples, made, norm_pix=norm_pix, step=step))
        shown = range(min(COURSE_IMAGES, len(samples.image_id)))
        write_png(figures / "course" / "original.png", _row([made.original[i].numpy() for i in shown]))
        write_png(painted, _row([made.painted[i].numpy() for i in shown]))
        course = draw_course(self.folder)
        return {"reconstruction": sheet} | ({"course": course} if course else {})


@contextlib.contextmanager
def showing(watch: Watch, folder: Path, step: int) -> Iterator[None]:
    """Forget figures of later steps at the begin, and write the page at the end, however it comes.

    Args:
        watch: Is told how the session ends.
        folder: Run folder.
        step: Updates done before.
    """
    if distributed.is_main():
        forget_after(folder, step)
    try:
        with watching(watch):
            yield
    finally:
        if distributed.is_main() and (watch.began or not (folder / PAGE).is_file()):
            with contextlib.suppress(DataError):  # ended before its first line
                write_page(folder)


def forget_after(folder: Path, step: int) -> None:
    """Remove figures of steps that will be done again."""
    figures = folder / "figures"
    for path in (*figures.glob("reconstruction-*.png"), *(figures / "course").glob("[0-9]*.png")):
        if int(path.stem.removeprefix("reconstruction-")) > step:
            path.unlink(missing_ok=True)


def draw_course(folder: Path) -> Path | None:
    """Draw ``figures/course.png``: images over the course of training; None with fewer than two steps."""
    place = folder / "figures" / "course"
    every = sorted(place.glob("[0-9]*.png"))
    if len(every) < 2:
        return None
    try:
        originals = _cells(read_png(place / "original.png"))
        courses = [(int(path.stem), _cells(read_png(path))) for path in _evenly(every)]
    except DataError:  # one of them is broken
        return None
    if len({len(cells) for _, cells in courses} | {len(originals)}) > 1:
        return None
    path = folder / "figures" / "course.png"
    write_png(path, course_sheet(originals, courses))
    return path


def _evenly(paths: Sequence[Path]) -> list[Path]:
    """First, last, and some between: closer to each other early, when more changes."""
    count = min(COURSE_STEPS, len(paths))
    at = np.geomspace(1, len(paths), count).round().astype(int) - 1
    for i in range(1, count):  # distinct ones
        at[i] = max(at[i], at[i - 1] + 1)
    return [paths[i] for i in at]


def _row(images: Sequence[Picture]) -> Picture:
    """Grey pictures side by side, each in a square."""
    cells = []
    for image in images:
        scale = COURSE_PX / max(image.shape)
        size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
        cell = np.zeros((COURSE_PX, COURSE_PX), np.uint8)
        cell[: size[1], : size[0]] = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        cells.append(cell)
    return np.concatenate(cells, 1)


def _cells(row: Picture) -> list[Picture]:
    return [row[:, x : x + COURSE_PX] for x in range(0, row.shape[1], COURSE_PX)]
