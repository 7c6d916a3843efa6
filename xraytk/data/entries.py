"""What the journal says of each file.

An entry holds hashed ids, sizes, and texts already scrubbed; nothing that names a person or a
path.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from xraytk.data.deid import hashed
from xraytk.data.journal import Entry
from xraytk.data.manifest import image_path
from xraytk.data.scrub import scrub
from xraytk.data.sheet import Lookup, join_keys
from xraytk.data.text import Facts, Labels, Report
from xraytk.data.unit import Job, Outcome


@dataclass(frozen=True, slots=True)
class Tables:
    """The user's tables, and a hash that changes when one of them does; "" without any."""

    reports: Lookup[Report]
    labels: Labels
    metadata: Lookup[Facts]
    mark: str


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
    found = [t.find(keys) for t in (tables.reports, tables.labels.table, tables.metadata)]
    facts = Facts() if found[2] is None else tables.metadata.values[found[2]]
    entry["row"] = _row(outcome, facts, key, source_hash)
    entry |= {"mark": tables.mark, "found": found, "given": facts.split or outcome.radiograph.split}
    if found[0] is not None:
        report = tables.reports.values[found[0]]
        ids = (identity.patient_id, identity.accession, identity.study_uid, identity.sop_uid)
        en, holes_en = scrub(report.en, (*identity.secrets, *ids))
        zh, holes_zh = scrub(report.zh, (*identity.secrets, *ids))
        entry |= {"en": en, "zh": zh, "scrubbed": holes_en + holes_zh}
    if found[1] is not None:
        entry["labels"] = tables.labels.table.values[found[1]]
    return entry


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
    return {
        "image_id": image_id,
        "source_sha256": outcome.sha256,
        "patient_hash": facts.patient_hash or hashed(key, "patient", who),
        "study_hash": hashed(key, "study", study or f"image:{sop}"),
        "path": image_path(image_id),
        "width": width,
        "height": height,
        "source_width": source_width,
        "source_height": source_height,
        "spacing_x_mm": spacing[1] * source_width / width if spacing else None,
        "spacing_y_mm": spacing[0] * source_height / height if spacing else None,
        "bits_stored": image.bits_stored,
        "modality": image.modality,
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
