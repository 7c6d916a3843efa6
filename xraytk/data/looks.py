"""How the images of an ingest folder look: a few hundred are read, evenly over the manifest.

Images that are said to have text burned in are never shown, since the text may be a name.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from xraytk.data.columns import Codes, Columns
from xraytk.data.pictures import decode_png, to_8bit
from xraytk.data.storage import Storage

SAMPLED, SHOWN, EXTREMES = 160, 48, 6
"""Images that are measured, shown on the sheet, and shown of each kind of outlier."""
TILE_PX = 160
GREY_BINS = 64
_HISTOGRAM_PX = 256  # every n-th pixel, so that about this many a side count


@dataclass(frozen=True, slots=True)
class Look:
    """One image, small.

    Args:
        name: Hashed id.
        view: Of the manifest.
        tile: (H, W) uint8, long side at most `TILE_PX`.
        grey: (GREY_BINS,) shares of its pixels by grey value.
        mean: Of the grey values, in [0, 1].
        spread: Their standard deviation, in [0, 1].
    """

    name: str
    view: str
    tile: NDArray[np.uint8] = field(repr=False)
    grey: NDArray[np.float64] = field(repr=False)
    mean: float = 0.0
    spread: float = 0.0


@dataclass(frozen=True, slots=True)
class Looks:
    """What was seen.

    Args:
        sampled: Evenly over the manifest.
        sheet: By view, evenly among the views.
        unreadable: Images that were to be read and could not be.
        hidden: Images that may not be shown.
    """

    sampled: list[Look]
    sheet: list[Look]
    unreadable: int = 0
    hidden: int = 0

    def extremes(self) -> dict[str, list[Look]]:
        """The darkest, the brightest, and those with the least contrast of the sampled images."""
        dark = sorted(self.sampled, key=lambda look: (look.mean, look.name))
        flat = sorted(self.sampled, key=lambda look: (look.spread, look.name))
        return {
            "Darkest": dark[:EXTREMES],
            "Brightest": dark[::-1][:EXTREMES],
            "Least contrast": flat[:EXTREMES],
        }

    def grey(self) -> NDArray[np.float64] | None:
        """(3, GREY_BINS): the 10th percentile, mean and 90th percentile over the sampled images."""
        if not self.sampled:
            return None
        all_of_them = np.stack([look.grey for look in self.sampled])
        low, high = np.percentile(all_of_them, (10, 90), axis=0)
        return np.stack([low, all_of_them.mean(0), high])


def look_at(folder: Path, images: Storage) -> Looks:
    """Read a sample of an ingest folder's images.

    Args:
        folder: With ``manifest/``.
        images: Where the images are.

    Returns:
        The sample; the same one every time. A missing or broken image is counted.

    Raises:
        DataError: If the manifest is broken.
    """
    columns = Columns(folder / "manifest")
    views = columns.codes("view") or Codes(["UNKNOWN"], np.zeros(columns.rows, np.int64))
    marked = columns.read("burned_in")
    free = np.ones(columns.rows, bool)
    if marked is not None:
        free = ~np.asarray(pc.fill_null(marked.cast("bool"), False).to_numpy(), bool)
    places = np.flatnonzero(free)
    sampled = evenly(places, SAMPLED)
    sheet = _by_view(views, places)
    wanted = np.unique(np.concatenate([sampled, sheet]).astype(np.int64))
    names, paths = (columns.needed(name) for name in ("image_id", "path"))
    chosen = zip(wanted.tolist(), names.take(wanted).to_pylist(), paths.take(wanted).to_pylist(), strict=True)
    seen = {i: _look(images, n, p, views.names[views.codes[i]] or "UNKNOWN") for i, n, p in chosen}
    return Looks(
        sampled=[look for i in sampled.tolist() if (look := seen[i]) is not None],
        sheet=[look for i in sheet.tolist() if (look := seen[i]) is not None],
        unreadable=sum(look is None for look in seen.values()),
        hidden=int((~free).sum()),
    )


def evenly(places: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Take at most ``count`` members, evenly spaced, in order."""
    if len(places) <= count:
        return places
    return places[(np.arange(count) * len(places)) // count]


def _by_view(views: Codes, places: NDArray[np.int64]) -> NDArray[np.int64]:
    """Places of `SHOWN` images: as many of each view, as far as there are so many."""
    groups = [places[views.codes[places] == c] for c in np.argsort(views.names)]
    quota = [0] * len(groups)
    left = SHOWN
    while left and any(q < len(g) for q, g in zip(quota, groups, strict=True)):
        for i, group in enumerate(groups):
            if left and quota[i] < len(group):
                quota[i] += 1
                left -= 1
    none = np.zeros(0, np.int64)
    return np.concatenate([none, *(evenly(g, q) for g, q in zip(groups, quota, strict=True))])


def _look(images: Storage, name: str, path: str | None, view: str) -> Look | None:
    if not path or ".." in Path(path).parts or Path(path).is_absolute():
        return None
    try:
        image = decode_png(images.read(path))
    except (ValueError, OSError):
        return None
    step = max(1, max(image.shape) // _HISTOGRAM_PX)
    values = image[::step, ::step]
    top = 255 if image.dtype == np.uint8 else 65535
    found = np.bincount(values.ravel().astype(np.int64) * GREY_BINS // (top + 1), minlength=GREY_BINS)
    return Look(
        name=name,
        view=view,
        tile=shrunk(image),
        grey=found / values.size,
        mean=float(values.mean()) / top,
        spread=float(values.std()) / top,
    )


def shrunk(image: NDArray[Any]) -> NDArray[np.uint8]:
    """Shrink (H, W) uint8 or uint16 to at most `TILE_PX` on its long side, as uint8."""
    scale = min(1.0, TILE_PX / max(image.shape[:2]))
    size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    return to_8bit(cv2.resize(image, size, interpolation=cv2.INTER_AREA))
