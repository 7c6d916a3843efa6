"""The gallery of generated reports: worst cases and best ones, with maps of attention."""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from xraytk.config import Pixels
from xraytk.data.augment import Fit, fitted_box
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
                self.thumbs[name] = self._upright(batch, i, gallery.THUMB_PX)
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
            entry = (rank, name, _One(_alone(batch, i), reports))
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
        picture = self._upright(one.batch, 0, gallery.THUMB_PX)
        small = self._upright(one.batch, 0, gallery.MAP_PX)
        maps: dict[str, list[gallery.Shown]] = {}
        for lang, report in one.reports.items() if name in told else ():
            found = self.task.attend(one.batch, [report.generated["generated"]], lang, self.maps)[0]
            maps[lang] = [
                gallery.Shown(
                    one_map.term,
                    one_map.peak,
                    attention.drawn(small, attention.laid(one_map, self.size, self.fit, small.shape)),
                )
                for one_map in found
            ]
        return gallery.Case(name, picture, one.reports, maps)

    def _upright(self, batch: Batch, i: int, px: int) -> NDArray[np.uint8]:
        """An image out of its frame, in its own proportions, small."""
        top, left, height, width = fitted_box(*batch.shape[i], self.size, self.fit)
        plane = batch.image[i, 0].cpu().numpy()
        return gallery.thumbnail(plane[top : top + height, left : left + width], px, batch.shape[i])


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


def _alone(batch: Batch, i: int) -> Batch:
    """A copy of one image of a batch, as a batch."""
    one = slice(i, i + 1)
    return Batch(
        image=batch.image[one].clone(),
        valid=batch.valid[one].clone(),
        lung=batch.lung[one].clone(),
        has_contour=batch.has_contour[one].clone(),
        labels=batch.labels[one].clone(),
        reports={lang: texts[one] for lang, texts in batch.reports.items()},
        image_id=batch.image_id[one],
        patient_hash=batch.patient_hash[one],
        view=batch.view[one],
        shape=batch.shape[one],
    )
