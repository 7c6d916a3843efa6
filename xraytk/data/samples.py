"""One sample after the other, from a shard straight into its place in a batch.

The parts of a batch do not depend on each other: several threads fill one batch, each every
byte of its own samples, so that nothing is copied, cleared or joined afterwards.
"""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from xraytk.config import Pixels, rows_cols
from xraytk.data import augment, intensity, regions, sides, warp
from xraytk.data.ahead import Job
from xraytk.data.made import Made, empty, without
from xraytk.data.memory import Memory
from xraytk.data.order import chance
from xraytk.data.shards import SLOT, ShardReader
from xraytk.data.skipped import SkipList, Skipped
from xraytk.data.studies import Studies
from xraytk.errors import DataError, UsageError
from xraytk.records import LANGUAGES, UNCERTAIN, VIEWS, Batch

StandIn = float | Callable[[str, str], float]
"""A value, or one for each image and label."""
PIXELS = frozenset({"image", "valid", "lung", "has_contour"})
REGIONS = frozenset({"outlines", "boxes", "shape"})

_TRIES = 8
"""Replacements that are looked for; when all are broken, more than a sample is."""
_SECOND = 99
"""What marks the generator of a second image's draw; those of replacements are 2 to 9."""
_WIDEST = 1.5
"""Long over short side up to which a smaller image serves for "stretch"."""
_BROKEN = (KeyError, TypeError, ValueError, IndexError, OverflowError, cv2.error)
"""What comes of members that are whole but do not hold what they should."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamConfig(augment.AugmentConfig):
    """How samples come into the frame, and in which order.

    Args:
        image_px: Size of the frame, in pixels: one number for a square, or [rows, columns].
        fit: "letterbox" keeps the aspect ratio and pads; "stretch" does neither.
        window: Shards that are mixed with each other; 0 mixes all. For disks and object stores.
        skip_bad: Take another sample for a broken one, and list it, instead of ending.
        views: 1: a sample is an image. 2: a sample is a study with its first and, where it has one,
            its second image, see `data.studies`; studies without a frontal image are left out.
    """

    image_px: Pixels = 1280
    fit: augment.Fit = "letterbox"
    window: int = 0
    skip_bad: bool = False
    views: int = 1

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            UsageError: If a value is out of range.
        """
        augment.AugmentConfig.__post_init__(self)
        if min(self.size) < 1:
            raise UsageError(f"image_px must be at least 1, found {self.image_px}")
        if self.window < 0:
            raise UsageError(f"window must be at least 0, found {self.window}")
        if self.views not in (1, 2):
            raise UsageError(f"views is {self.views}", "wanted 1 (an image a sample) or 2 (a study)")

    @property
    def size(self) -> tuple[int, int]:
        """Rows and columns of the frame."""
        return rows_cols(self.image_px)


class Samples:
    """Fills batches from shards; from any thread.

    Args:
        reader: Of the split's images.
        config: How samples come into the frame.
        seed: Of the augmentation.
        needs: Fields of `Batch` that are wanted.
        labels: Names and order of the labels.
        uncertain: What stands for labels that their source calls uncertain.
        skipped: Where broken samples are listed.
        pinned: Batches lie in pinned memory.
        studies: The samples; every image is one when None.
    """

    def __init__(
        self,
        reader: ShardReader,
        config: StreamConfig,
        *,
        seed: int,
        needs: frozenset[str],
        labels: Sequence[str],
        skipped: SkipList,
        uncertain: StandIn = math.nan,
        pinned: bool = False,
        studies: Studies | None = None,
    ) -> None:
        self._reader = reader
        self._config = config
        self._seed = seed
        self._needs = needs
        self._labels = {name: i for i, name in enumerate(labels)}
        self._mirrored_labels = {sides.swapped(name): i for name, i in self._labels.items()}
        self._uncertain = uncertain
        self._skipped = skipped
        self._memory = Memory(pinned)
        self._image = self._which_image()
        self._studies = studies
        self._count = len(reader.index) if studies is None else len(studies)

    def job(
        self, numbers: Sequence[int], positions: Sequence[int] | None, on_device: bool = False
    ) -> Job[Made]:
        """Prepare one batch.

        Args:
            numbers: Of the samples: rows of the index, or places among the studies.
            positions: Of the samples in the order; None for no augmentation, and for leaving
                out a broken sample instead of replacing it.
            on_device: Leave the geometry to the device.
        """
        config, frame = self._config, self._config.size
        turned = on_device and positions is not None and "image" in self._needs
        made = empty(
            self._memory,
            len(numbers),
            frame,
            self._needs,
            labels=len(self._labels),
            canvas=warp.canvas_px(frame, config) if turned else None,
            two=self._studies is not None,
        )
        lost: list[int] = []
        places = [None] * len(numbers) if positions is None else positions
        parts = [
            functools.partial(self._part, made, lost, i, number, position)
            for i, (number, position) in enumerate(zip(numbers, places, strict=True))
        ]
        return Job(parts, functools.partial(without, made, lost))

    def _part(self, made: Made, lost: list[int], i: int, number: int, position: int | None) -> None:
        drawn = augment.NONE
        if position is not None:
            drawn = augment.draw(chance(self._seed, position, 1), self._config)
        if self._try(made, i, number, position, drawn) is None:
            return
        for again in range(_TRIES if position is not None else 0):
            other = int(chance(self._seed, position or 0, 2 + again).integers(self._count))
            error = self._try(made, i, other, position, drawn)
            if error is None:
                return
            if again == _TRIES - 1:
                raise error
        lost.append(i)

    def _try(
        self, made: Made, i: int, number: int, position: int | None, drawn: augment.Augmentation
    ) -> DataError | None:
        """Write a sample; where one of its images is broken and another may take its place, the error."""
        row = number if self._studies is None else int(self._studies.first[number])
        try:
            self._fill(made, i, row, drawn)
            if made.batch.second is not None and self._studies is not None:
                row = int(self._studies.second[number])
                self._fill_second(made, i, row, position, drawn)
        except DataError as error:
            if not self._config.skip_bad:
                raise
            self._skip(row, error)
            return error
        return None

    def _skip(self, row: int, error: DataError) -> None:
        index = self._reader.index
        shard = index.shards[int(index.shard[row])].name
        self._skipped.add(Skipped(shard, index.image_id[row].decode(), error.detail))

    def _fill(self, made: Made, i: int, row: int, drawn: augment.Augmentation) -> None:
        """Write every value of the i-th sample."""
        out = made.batch
        try:
            out.image_id[i] = self._reader.index.image_id[row].decode()
            if self._needs & {"patient_hash", "view"}:
                meta = self._json(row, "meta")
                out.patient_hash[i], out.view[i] = meta["patient_hash"], meta["view"]
            if self._needs & PIXELS:
                self._fill_pixels(made, i, row, drawn)
            if self._needs & REGIONS:
                self._fill_regions(out, i, row, drawn)
            if "labels" in self._needs:
                columns = self._mirrored_labels if drawn.flip else self._labels
                values = np.full(len(self._labels), np.nan, np.float32)
                for name, value in (self._json(row, "labels") or {}).items():
                    if name in columns:
                        values[columns[name]] = self._value(value, out.image_id[i], name)
                out.labels[i] = torch.from_numpy(values)
            if "reports" in self._needs:
                for language in LANGUAGES:
                    text = (self._reader.read(row, language) or b"").decode()
                    out.reports[language][i] = sides.swapped(text) if drawn.flip else text
        except _BROKEN as error:
            raise self._reader.broken(row, f"{type(error).__name__}: {error}") from error

    def _value(self, value: float, image_id: str, label: str) -> float:
        if value != UNCERTAIN:
            return value
        return self._uncertain if isinstance(self._uncertain, float) else self._uncertain(image_id, label)

    def _fill_pixels(self, made: Made, i: int, row: int, drawn: augment.Augmentation) -> None:
        out, size, fit = made.batch, self._config.size, self._config.fit
        shape: tuple[int, ...] | None = None
        if "image" in self._needs:
            name = self._image if self._has(row, self._image) else "image"
            image = intensity.change(self._reader.image(row, name), drawn.intensity)
            shape = image.shape if name == "image" else None
            valid = out.valid[i].numpy() if "valid" in self._needs and made.moves is None else None
            self._place(image, i, drawn, out.image[i, 0].numpy(), valid, made.moves)
        elif "valid" in self._needs:
            shape = self._shape(row)
            augment.place_valid(shape, fit, drawn, out.valid[i].numpy())
        if self._needs & {"lung", "has_contour"}:
            polygons = (self._json(row, "contour") or {}).get("polygons", [])
            out.has_contour[i] = bool(polygons)
            if "lung" in self._needs:
                lung = out.lung[i].numpy()
                lung[:] = False
                if polygons:
                    height, width = shape or self._shape(row)
                    matrix = augment.affine(height, width, size, fit, drawn)
                    augment.draw_polygons(polygons, matrix, lung)

    def _fill_regions(self, out: Batch, i: int, row: int, drawn: augment.Augmentation) -> None:
        """Contours and boxes in pixels of the frame; they are of the stored image, whatever was read."""
        meta, size = self._json(row, "meta"), self._config.size
        shape = out.shape[i] = (meta["height"], meta["width"])
        matrix = augment.affine(*shape, size, self._config.fit, drawn)
        if "outlines" in self._needs:
            found = self._json(row, "contour") or {}
            polygons = [*found.get("polygons", []), *found.get("others", [])]
            out.outlines[i] = regions.moved_outlines(polygons, matrix, flip=drawn.flip)
        if "boxes" in self._needs:
            out.boxes[i] = regions.moved_boxes(meta.get("boxes", []), matrix, size, flip=drawn.flip)

    def _fill_second(
        self, made: Made, i: int, row: int, position: int | None, first: augment.Augmentation
    ) -> None:
        """Write the second image of the i-th study, with a draw of its own; row -1 is none.

        A mirrored chest has a mirrored second image, but for a lateral: that is the same from both
        sides.
        """
        out, index = made.batch.second, self._reader.index
        assert out is not None
        plane = out.image[i, 0].numpy()
        valid = out.valid[i].numpy() if made.second_moves is None else None
        if row < 0:  # moves of nothing but zeros bring nothing onto the frame
            plane[:] = 0
            if valid is not None:
                valid[:] = False
            return
        try:
            view, shape = VIEWS[index.view[row]], (0, 0)
            drawn = augment.NONE
            if position is not None:
                drawn = augment.draw(chance(self._seed, position, _SECOND), self._config)
                drawn = replace(drawn, flip=first.flip and view != "LATERAL")
            if "shape" in self._needs:
                shape = self._shape(row)
            image = self._reader.image(row, self._image if self._has(row, self._image) else "image")
            self._place(intensity.change(image, drawn.intensity), i, drawn, plane, valid, made.second_moves)
            out.there[i], out.view[i], out.shape[i] = True, view, shape
            out.image_id[i] = index.image_id[row].decode()
        except _BROKEN as error:
            raise self._reader.broken(row, f"{type(error).__name__}: {error}") from error

    def _place(
        self,
        image: NDArray[np.uint8],
        i: int,
        drawn: augment.Augmentation,
        plane: NDArray[np.uint8],
        valid: NDArray[np.bool_] | None,
        moves: warp.Moves | None,
    ) -> None:
        """Put an image onto its plane: a frame, or the canvas for what the device shall do."""
        fit = self._config.fit
        if moves is not None:
            back, shape = warp.cut_out(image, self._config.size, fit, drawn, plane)
            moves.back[i] = torch.from_numpy(back)
            moves.size[i] = torch.tensor(shape)
            return
        if valid is not None:
            augment.place_valid(image.shape, fit, drawn, valid)
        augment.place_image(image, fit, drawn, plane, valid)

    def _which_image(self) -> str:
        """The stored image that is read: the small one where it has all that is wanted."""
        wanted = max(self._config.size) * self._config.largest_zoom
        if self._config.fit == "stretch":
            wanted *= _WIDEST
        return "small" if self._reader.index.also_px >= wanted else "image"

    def _has(self, row: int, name: str) -> bool:
        return int(self._reader.index.length[row, SLOT[name]]) >= 0

    def _shape(self, row: int) -> tuple[int, int]:
        meta = self._json(row, "meta")
        return meta["height"], meta["width"]

    def _json(self, row: int, name: str) -> Any:
        data = self._reader.read(row, name)
        return None if data is None else json.loads(data)
