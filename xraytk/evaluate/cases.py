"""The gallery of generated reports: worst cases and best ones, with maps of attention."""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from xraytk.config import Pixels
from xraytk.data.augment import Fit, fitted_box
from xraytk.data.made import taken
from xraytk.models.tokens import units
from xraytk.records import Batch, Prediction
from xraytk.tasks import attention, gallery
from xraytk.tasks.attention import AttentionConfig
from xraytk.tasks.findings import label
from xraytk.tasks.metrics.text import rouge_l
from xraytk.tasks.reporting import ReportTask
from xraytk.tasks.scoring import pages

SHOWN = 24
"""Worst cases on the page."""
MOST_KEPT = 1000
"""Images of which a small picture is kept, for other pages."""
_UNKNOWN = 2.0  # worth of a case without any reference: neither bad nor good


@dataclass(slots=True)
class Cases:
    """Collects cases as they are written, and keeps the images of the extreme ones.

    Args:
        task: What writes.
        size: Of the frame, in pixels.
        fit: How images lie in it.
        mapped: Worst and best cases, of each so many, that get maps of attention; 0 for none.
        maps: How those are made.
        thumbs: Small pictures of the first `MOST_KEPT` images, by id.
    """

    task: ReportTask
    size: Pixels
    fit: Fit
    mapped: int
    maps: AttentionConfig
    count: int = 0
    thumbs: dict[str, NDArray[np.uint8]] = field(default_factory=dict)
    _worst: list[tuple[float, str, _One]] = field(default_factory=list)
    _best: list[tuple[float, str, _One]] = field(default_factory=list)

    def add(self, batch: Batch, written: Mapping[str, Sequence[Prediction]]) -> None:
        """Look at a batch.

        Args:
            batch: B images.
            written: By language, B predictions.
        """
        for i, name in enumerate(batch.image_id):
            reports = {lang: _report(predictions[i], lang) for lang, predictions in written.items()}
            known = [r for r in reports.values() if r.reference.strip()]
            values = [pages.worth(r.rouge["generated"], r.labels[""], r.labels["generated"]) for r in known]
            mean = sum(values) / len(values) if values else _UNKNOWN
            self.count += 1
            if len(self.thumbs) < MOST_KEPT:
                self.thumbs[name] = gallery.beside(self._upright(batch, i, gallery.THUMB_PX))
            self._keep(self._worst, SHOWN, -mean, name, batch, i, reports)
            if values:
                self._keep(self._best, self.mapped, mean, name, batch, i, reports)

    def _keep(
        self,
        kept: list[tuple[float, str, _One]],
        most: int,
        rank: float,
        name: str,
        batch: Batch,
        i: int,
        reports: Mapping[str, pages.Case],
    ) -> None:
        """Keep the cases of the highest rank."""
        if most and (len(kept) < most or (rank, name) > kept[0][:2]):
            entry = (rank, name, _One(taken(batch, [i]), reports))
            (heapq.heappush if len(kept) < most else heapq.heapreplace)(kept, entry)

    def parts(self) -> dict[str, list[gallery.Case]]:
        """The cases of the page, worst first, then the best ones that are not among them."""
        worst = [one for _, _, one in sorted(self._worst, key=lambda entry: (-entry[0], entry[1]))]
        shown = {one.batch.image_id[0] for one in worst}
        ranked = sorted(self._best, key=lambda entry: (-entry[0], entry[1]))
        best = [one for _, _, one in ranked]
        told = {one.batch.image_id[0] for one in (*worst[: self.mapped], *best)}
        return {
            f"Worst first ({len(worst)} of {self.count:,})": [self._case(one, told) for one in worst],
            "Best": [self._case(one, told) for one in best if one.batch.image_id[0] not in shown],
        }

    def _case(self, one: _One, told: set[str]) -> gallery.Case:
        name = one.batch.image_id[0]
        picture = gallery.beside(self._upright(one.batch, 0, gallery.THUMB_PX))
        small = self._upright(one.batch, 0, gallery.MAP_PX)
        maps: dict[str, list[gallery.Shown]] = {}
        for lang, report in one.reports.items() if name in told else ():
            found = self.task.attend(one.batch, [report.generated["generated"]], lang, self.maps)[0]
            maps[lang] = [
                gallery.Shown(
                    one_map.term,
                    one_map.peak,
                    gallery.beside(
                        [
                            attention.drawn(
                                image, attention.laid(one_map, self.size, self.fit, image.shape, view)
                            )
                            for view, image in enumerate(small)
                        ]
                    ),
                )
                for one_map in found
            ]
        return gallery.Case(name, picture, one.reports, maps)

    def _upright(self, batch: Batch, i: int, px: int) -> list[NDArray[np.uint8]]:
        """The images of a sample out of their frames, in their own proportions, small."""
        views = [(batch.image[i, 0], batch.shape[i])]
        if (second := batch.second) is not None and second.there[i]:
            views.append((second.image[i, 0], second.shape[i]))
        out = []
        for plane, shape in views:
            top, left, height, width = fitted_box(*shape, self.size, self.fit)
            inside = plane[top : top + height, left : left + width].cpu().numpy()
            out.append(gallery.thumbnail(inside, px, shape))
        return out


@dataclass(frozen=True, slots=True, eq=False)
class _One:
    """One image as a batch, with its reports."""

    batch: Batch
    reports: Mapping[str, pages.Case]


def _report(prediction: Prediction, lang: str) -> pages.Case:
    """A generated report beside its reference, in one language."""
    reference, text = str(prediction.reference), prediction.text
    rouge = rouge_l(units(text, lang), units(reference, lang))
    labels = {"": label(reference, lang), "generated": label(text, lang)}
    return pages.Case(prediction.image_id, reference, {"generated": text}, {"generated": rouge}, labels)
