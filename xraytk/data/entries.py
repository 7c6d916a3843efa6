"""What the journal says of each file.

An entry holds hashed ids, sizes, and texts already scrubbed; nothing that names a person or a
path.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from xraytk.data.deid import hashed
from xraytk.data.journal import Entry
from xraytk.data.layouts import Box, boxes_on
from xraytk.data.manifest import image_path
from xraytk.data.scrub import scrub
from xraytk.data.sheet import Lookup, join_keys
from xraytk.data.text import Facts, Report
from xraytk.data.unit import Job, Outcome
from xraytk.records import Identity


@dataclass(frozen=True, slots=True)
class Tables:
    """The user's tables or the layout's, and a hash that changes when one does; "" without any."""

    reports: Lookup[Report]
    labels: Lookup[Mapping[str, float]]
    metadata: Lookup[Facts]
    boxes: Lookup[tuple[Box, ...]]
    mark: str = ""


def entry_of(job: Job, outcome: Outcome, key: bytes, tables: Tables) -> Entry:
    """The journal's entry for one file: hashed ids, and what the tables say of it, scrubbed.

    Args:
        job: The file.
        outcome: Of reading it.
        key: Of the hashes.
        tables: The user's.
    """
    source_hash = job.name.partition("/")[2]
    entry: Entry = {"name": job.name, "size": job.source.size, "stamp": job.source.stamp}
    if outcome.radiograph is None:
        entry["rejected"] = {
            "source_hash": source_hash,
            "source_sha256": outcome.sha256,
            "reason": outcome.reason,
            "detail": outcome.detail,
        }
        return entry
    identity = outcome.radiograph.identity
    keys = join_keys(job.source.name, identity, key)
    number = tables.metadata.find(keys)
    facts = Facts() if number is None else tables.metadata.values[number]
    if facts.study_hash:  # a table may be keyed by a study that only another table tells of
        keys = (*keys, facts.study_hash)
    found = [tables.reports.find(keys), tables.labels.find(keys), number]
    entry["row"] = _row(outcome, facts, key, source_hash)
    entry |= {"mark": tables.mark, "found": found, "given": facts.split or outcome.radiograph.split}
    if found[0] is not None:
        entry |= _scrubbed(tables.reports.values[found[0]], identity)
    if found[1] is not None:
        entry["labels"] = dict(tables.labels.values[found[1]])
    drawn = tables.boxes.find(keys)
    if drawn is not None:
        boxes = boxes_on(tables.boxes.values[drawn], outcome.source_shape, outcome.shape)
        entry["boxes"] = [[b.label, b.x0, b.y0, b.x1, b.y1, b.reader] for b in boxes]
    return entry


def _scrubbed(report: Report, identity: Identity) -> Entry:
    """A report's texts without what its study's header says of people, and what was replaced."""
    ids = (identity.patient_id, identity.accession, identity.study_uid, identity.sop_uid)
    texts: Entry = {}
    holes = 0
    for lang in ("en", "zh", "es"):
        texts[lang], count = scrub(getattr(report, lang), (*identity.secrets, *ids))
        holes += count
    return {**texts, "scrubbed": holes}


def _row(outcome: Outcome, facts: Facts, key: bytes, source_hash: str) -> dict[str, Any]:
    """A row of the manifest, but for the split; only what is allowed to be known goes in."""
    image = outcome.radiograph
    assert image is not None and outcome.sha256 is not None  # noqa: PT018
    patient, study, sop = (
        text.strip(" \0")
        for text in (image.identity.patient_id, image.identity.study_uid, image.identity.sop_uid)
    )
    sop = sop or outcome.sha256
    who = patient or (f"study:{study}" if study else f"image:{sop}")
    image_id = hashed(key, "image", sop)
    (height, width), (source_height, source_width) = outcome.shape, outcome.source_shape
    spacing = facts.spacing_mm or image.spacing_mm
    spacing_height, spacing_width = facts.spacing_of or (source_height, source_width)
    return {
        "image_id": image_id,
        "source_sha256": outcome.sha256,
        "patient_hash": facts.patient_hash or hashed(key, "patient", who),
        "study_hash": facts.study_hash or hashed(key, "study", study or f"image:{sop}"),
        "path": image_path(image_id),
        "width": width,
        "height": height,
        "source_width": source_width,
        "source_height": source_height,
        "spacing_x_mm": spacing[1] * spacing_width / width if spacing else None,
        "spacing_y_mm": spacing[0] * spacing_height / height if spacing else None,
        "bits_stored": image.bits_stored,
        "modality": facts.modality or image.modality,
        "view": facts.view or image.view,
        "syntax": image.syntax,
        "photometric": image.photometric,
        "voi": image.voi,
        "sex": facts.sex or image.sex,
        "age_years": image.age_years if facts.age_years is None else facts.age_years,
        "manufacturer": image.manufacturer,
        "burned_in": image.burned_in,
        "pixel_sha256": outcome.pixel_sha256,
        "source_hash": source_hash,
    }
