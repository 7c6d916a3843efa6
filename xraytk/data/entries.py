"""What the journal says of each file.

An entry holds hashed ids, sizes, and texts already scrubbed; nothing that names a person or a
path.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable
from typing import Any

from xraytk.data.deid import hashed, patient_of
from xraytk.data.gather import LANGUAGES_READ
from xraytk.data.given import Tables
from xraytk.data.journal import Entry
from xraytk.data.layouts import Box, boxes_on
from xraytk.data.manifest import image_path
from xraytk.data.orientation import swaps_sides, to_upright
from xraytk.data.reading import Source
from xraytk.data.remote import is_url
from xraytk.data.scrub import scrub_report
from xraytk.data.sections import language_of
from xraytk.data.sheet import join_keys
from xraytk.data.sr import SrReport
from xraytk.data.text import Facts, Report
from xraytk.data.unit import Job, Outcome, Seen
from xraytk.records import Identity, Radiograph


def entry_of(job: Job, outcome: Outcome, key: bytes, tables: Tables) -> Entry:
    """The journal's entry for one file: hashed ids, and what the tables say of it, scrubbed.

    Args:
        job: The file.
        outcome: Of reading it.
        key: Of the hashes.
        tables: The user's.
    """
    source_hash = job.source_hash
    entry: Entry = {"name": job.name, "size": job.source.size, "stamp": job.source.stamp}
    if outcome.radiograph is None:
        entry["rejected"] = {
            "source_hash": source_hash,
            "source_sha256": outcome.sha256,
            "reason": outcome.reason,
            "detail": outcome.detail,
        }
        if outcome.report is not None:
            entry["report"] = _structured(outcome.report, key)
        return entry
    identity = outcome.radiograph.identity
    keys = join_keys(job.source.name, identity, key)
    number = tables.metadata.find(keys)
    facts = Facts() if number is None else tables.metadata.values[number]
    if facts.study_hash:  # a table may be keyed by a study that only another table tells of
        keys = (*keys, facts.study_hash)
    found = [tables.reports.find(keys), tables.labels.find(keys), number]
    by_file = set(join_keys(job.source.name, Identity(), key))
    entry["by_file"] = [
        int(t.key_of(keys) in by_file) for t in (tables.reports, tables.labels, tables.metadata)
    ]
    entry["own"] = hashed(key, "study", identity.study_uid.strip(" \0") or f"file:{outcome.sha256}")
    entry["row"] = _row(outcome, facts, key, source_hash)
    entry |= {"mark": tables.mark, "found": found, "given": facts.split or outcome.radiograph.split}
    if found[0] is not None:
        entry |= _scrubbed(tables.reports.values[found[0]], identity)
    if found[1] is not None:
        entry["labels"] = dict(tables.labels.values[found[1]])
    drawn = tables.boxes.find(keys)
    if drawn is not None:
        boxes = tables.boxes.values[drawn]
        entry["boxes"] = _drawn(boxes, outcome)
        entry["boxes_lost"] = len(boxes) - len(entry["boxes"])
    return entry


def _drawn(boxes: tuple[Box, ...], outcome: Outcome) -> list[list[Any]]:
    """Boxes in pixels of the image that was written, which may be a part of the source."""
    left, top, right, bottom = outcome.place
    height, width = outcome.source_shape
    scale_x, scale_y = outcome.shape[1] / (right - left), outcome.shape[0] / (bottom - top)
    made = []
    image = outcome.radiograph
    assert image is not None
    tall, wide = max(1.0, image.aspect), max(1.0, 1 / image.aspect)
    rows, columns = (width, height) if swaps_sides(image.orientation) else (height, width)
    stored = (round(rows / tall), round(columns / wide))
    for b in boxes_on(boxes, stored, stored):
        edges = to_upright((b.x0, b.y0, b.x1, b.y1), image.orientation, image.aspect, (height, width))
        x0, x1 = (min(max((x - left) * scale_x, 0.0), outcome.shape[1]) for x in edges[::2])
        y0, y1 = (min(max((y - top) * scale_y, 0.0), outcome.shape[0]) for y in edges[1::2])
        if x1 > x0 and y1 > y0:
            made.append([b.label, x0, y0, x1, y1, b.reader])
    return made


def _structured(report: SrReport, key: bytes) -> Entry:
    """A structured report's text, scrubbed, under the keyed hash of its study."""
    lang = language_of(report.text)
    study = report.study_uid.strip(" \0")
    made = _scrubbed(Report(**{lang: report.text}), report.identity, (report.accession, study))
    return {**made, "study": hashed(key, "study", study), "final": report.final}


def _scrubbed(report: Report, identity: Identity, more: tuple[str, ...] = ()) -> Entry:
    """A report's texts without what identifies, and how often what was replaced."""
    ids = (identity.patient_id, identity.accession, identity.study_uid, identity.sop_uid)
    texts: Entry = {}
    replaced: Counter[str] = Counter()
    for lang in LANGUAGES_READ:
        clean = scrub_report(getattr(report, lang), (*identity.secrets, *ids, *more))
        texts[lang] = clean.text
        replaced.update(clean.counts)
    return {**texts, "scrubbed": dict(sorted(replaced.items()))}


def rescrubbed(texts: Entry, people: Iterable[str]) -> bool:
    """Scrub an entry's texts, in place, of more secrets; return whether there was something.

    Args:
        texts: With "en", "zh", "es" and "scrubbed".
        people: Names, ids, dates.
    """
    people = tuple(people)
    replaced: Counter[str] = Counter(texts["scrubbed"])
    changed = False
    for lang in LANGUAGES_READ:
        clean = scrub_report(texts[lang], people)
        if clean.text != texts[lang]:
            texts[lang] = clean.text
            replaced.update(clean.counts)
            changed = True
    texts["scrubbed"] = dict(sorted(replaced.items()))
    return changed


def path_of(source: Source) -> str:
    """Where the operator finds a source: its full path, "!" and the member of an archive."""
    place = source.path if is_url(source.path) else os.path.abspath(source.path)  # noqa: PTH100, any bytes
    return f"{place}!{source.name}" if source.place is not None else place


def _row(outcome: Outcome, facts: Facts, key: bytes, source_hash: str) -> dict[str, Any]:
    """A row of the manifest, but for the split; only what is allowed to be known goes in."""
    image, seen = outcome.radiograph, outcome.seen
    assert image is not None and outcome.sha256 is not None and seen is not None  # noqa: PT018
    study, sop = (text.strip(" \0") for text in (image.identity.study_uid, image.identity.sop_uid))
    sop = sop or outcome.sha256
    image_id = hashed(key, "image", sop)
    (height, width), (source_height, source_width) = outcome.shape, outcome.source_shape
    left, top, right, bottom = outcome.place
    spacing = image.spacing_mm
    if facts.spacing_mm:  # of the stored pixels
        turned = facts.spacing_mm[::-1] if swaps_sides(image.orientation) else facts.spacing_mm
        spacing = (min(turned), min(turned)) if image.aspect != 1 else turned
    spacing_height, spacing_width = facts.spacing_of or (source_height, source_width)
    window = image.window or (None, None)
    return {
        "image_id": image_id,
        "source_sha256": outcome.sha256,
        "patient_hash": facts.patient_hash
        or patient_of(key, image.identity)
        or hashed(key, "patient", f"image:{sop}"),
        "study_hash": facts.study_hash or hashed(key, "study", study or f"image:{sop}"),
        "path": image_path(image_id),
        "width": width,
        "height": height,
        "source_width": source_width,
        "source_height": source_height,
        "spacing_x_mm": spacing[1] * spacing_width / source_width * (right - left) / width
        if spacing
        else None,
        "spacing_y_mm": spacing[0] * spacing_height / source_height * (bottom - top) / height
        if spacing
        else None,
        "spacing_kind": "table" if facts.spacing_mm else image.spacing_kind,
        "bits_stored": image.bits_stored,
        "modality": facts.modality or image.modality,
        "intent": image.intent,
        **_view(facts, image, seen),
        "syntax": image.syntax,
        "photometric": image.photometric,
        "voi": image.voi,
        "voi_count": image.voi_count,
        "range_low": image.range_low,
        "range_high": image.range_high,
        "window_center": window[0],
        "window_width": window[1],
        "inverted": image.inverted,
        "clipped_low": image.clipped_low,
        "clipped_high": image.clipped_high,
        "padded": image.padded,
        "orientation": image.orientation,
        "aspect": image.aspect,
        "overlays": image.overlays,
        "repairs": " ".join(image.repairs),
        "field": list(seen.field) if seen.field else None,
        "cropped": seen.cropped,
        "sex": facts.sex or image.sex,
        "age_years": _pooled(image.age_years if facts.age_years is None else facts.age_years),
        "manufacturer": image.manufacturer,
        "burned_in": image.burned_in,
        "text_boxes": seen.text_boxes,
        "text_blanked": seen.blanked,
        "pixel_sha256": seen.pixel_sha256,
        "signature": seen.signature.hex(),
        "source_hash": source_hash,
    }


def _view(facts: Facts, image: Radiograph, seen: Seen) -> dict[str, Any]:
    """The view: of a table, else of the header, else of the pixels where these are sure."""
    looks = {"pixel_view": seen.view, "pixel_view_confidence": seen.view_confidence}
    if facts.view:
        return {"view": facts.view, "view_source": "table", **looks}
    if image.view != "UNKNOWN":
        return {"view": image.view, "view_source": "header", **looks}
    if seen.view == "LATERAL":
        return {"view": "LATERAL", "view_source": "pixels", **looks}
    return {"view": "UNKNOWN", "view_source": "", **looks}


def _pooled(age_years: float | None) -> float | None:
    """Ages over 89 as 90: so few people are that old that the age identifies.

    Source:
        HIPAA, 45 CFR 164.514(b)(2)(i)(C).
    """
    return None if age_years is None else min(age_years, 90.0) if age_years > 89 else age_years
