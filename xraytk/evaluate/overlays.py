"""Pictures of the worst cases: what was found over what is true."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from xraytk.config import Pixels
from xraytk.data import augment, pictures
from xraytk.data.augment import Fit

TRUE_BGR, FOUND_BGR = (80, 220, 80), (60, 120, 255)
SHOWN = 24
_LONG_PX = 320

Drawn = Mapping[str, Sequence[NDArray[np.float64]]]
"""Closed lines by name, each (n, 2) points in pixels of the image."""


@dataclass(slots=True)
class Worst:
    """Keeps pictures of the images with the lowest scores.

    Args:
        size: Of the frame, in pixels.
        fit: How images lie in it.
    """

    size: Pixels
    fit: Fit
    _kept: list[tuple[float, str, NDArray[np.uint8]]] = field(default_factory=list)

    def add(
        self,
        score: float,
        name: str,
        frame: NDArray[np.uint8],
        shape: tuple[int, int],
        truth: Drawn,
        found: Drawn,
    ) -> None:
        """Look at one image.

        Args:
            score: NaN is passed over.
            name: Hashed id.
            frame: (rows, cols) uint8, the image in its frame.
            shape: Height and width of the image.
            truth: What is true, in green.
            found: What was found, in orange.
        """
        if score != score or (len(self._kept) == SHOWN and -score <= self._kept[0][0]):
            return
        top, left, height, width = augment.fitted_box(*shape, self.size, self.fit)
        scale = _LONG_PX / max(shape)
        wide, tall = max(1, round(shape[1] * scale)), max(1, round(shape[0] * scale))
        small = cv2.resize(frame[top : top + height, left : left + width], (wide, tall))
        picture: NDArray[Any] = np.asarray(small, np.uint8)
        for drawn, colour in ((truth, TRUE_BGR), (found, FOUND_BGR)):
            polygons = [_scaled(points, scale) for parts in drawn.values() for points in parts]
            picture = pictures.draw_polygons(picture, polygons, colour)
        push = heapq.heappush if len(self._kept) < SHOWN else heapq.heappushpop
        push(self._kept, (-score, name, np.asarray(picture, np.uint8)))

    def sheet(self) -> dict[str, bytes]:
        """The pictures on one sheet as PNG, worst first, named "worst"; {} without one."""
        kept = sorted(self._kept, key=lambda one: (-one[0], one[1]))
        if not kept:
            return {}
        captions = [f"{-negative:.3f} {name}" for negative, name, _ in kept]
        sheet = pictures.montage([p for _, _, p in kept], captions, columns=6, tile_px=_LONG_PX)
        done, data = cv2.imencode(".png", sheet)
        assert done
        return {"worst": data.tobytes()}


def _scaled(points: NDArray[np.float64], scale: float) -> dict[str, Any]:
    moved = (points + 0.5) * scale - 0.5
    return {"x": moved[:, 0], "y": moved[:, 1]}


def outlines(mask: NDArray[np.bool_]) -> list[NDArray[np.float64]]:
    """Outer contours of a mask, each (n, 2) in pixels; simplified to half a pixel."""
    found, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    parts: Iterable[Any] = (cv2.approxPolyDP(part, 0.5, True)[:, 0] for part in found)
    return [np.asarray(part, np.float64) for part in parts if len(part) >= 3]
