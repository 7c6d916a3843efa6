"""What the journal says of each file, and the tables that are made of it.

An entry holds hashed ids, sizes, and texts already scrubbed; nothing that names a person or a
path. The tables are a function of the entries alone, whatever order they were written in.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from xraytk.data.deid import hashed, split_of
from xraytk.data.scrub import scrub
from xraytk.data.sheet import Lookup, join_keys
from xraytk.data.sources import Source
from xraytk.data.text import Facts, Labels, Report
from xraytk.errors import DataError
from xraytk.records import Radiograph

Entry = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What reading one file gave.

    Args:
        sha256: Of the file; None when it could not be read.
        reason: Why it is refused; "" when it is not.
        detail: Numbers and names of syntaxes or errors only.
        radiograph: Without its pixels; None when refused.
        shape: (H, W) of the image that was written.
        source_shape: (H, W) of the image as it was.
    """

    sha256: str | None
    reason: str = ""
    detail: str = ""
    radiograph: Radiograph | None = field(default=None, repr=False)
    shape: tuple[int, int] = (0, 0)
    source_shape: tuple[int, int] = (0, 0)


@dataclass(frozen=True, slots=True)
class Tables:
    """The user's tables, and a hash that changes when one of them does; "" without any."""

    reports: Lookup[Report]
    labels: Labels
    metadata: Lookup[Facts]
    mark: str


def entry_of(name: str, source: Source, outcome: Outcome, key: bytes, tables: Tables) -> Entry:
    """The journal's entry for one file: hashed ids, and what the tables say of it, scrubbed.

    Args:
        name: "root hash/source hash".
        source: The file.
        outcome: Of reading it.
        key: Of the hashes.
        tables: The user's.
    """
    source_hash = name.partition("/")[2]
    entry: Entry = {"name": name, "size": source.size, "stamp": source.stamp}
    if outcome.radiograph is None:
        entry["rejected"] = {
            "source_hash": source_hash,
            "source_sha256": outcome.sha256,
            "reason": outcome.reason,
            "detail": outcome.detail,
        }
        return entry
    identity = outcome.radiograph.identity
    keys = join_keys(source.name, identity, key)
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
        "path": f"images/{image_id[:2]}/{image_id}.png",
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
        "source_hash": source_hash,
    }


def notes_on_earlier(
    again: Iterable[Entry], kept: Iterable[Entry], given: Mapping[str, object], mark: str
) -> list[str]:
    """What becomes of what the tables of earlier runs gave, for people.

    Args:
        again: Earlier entries of files that are read again.
        kept: Entries that stay.
        given: The tables now given, by name: reports, labels, metadata; None where there is none.
        mark: Of these tables.
    """
    again, kept = ([e for e in entries if "row" in e] for entries in (again, kept))
    notes = []
    if mark and (changed := sum(e["mark"] != mark for e in again)):
        notes.append(f"the tables are not those of the earlier run: {changed:,} files are read again")
    for i, (name, table) in enumerate(given.items()):
        lost, stay = (sum(e["found"][i] is not None for e in entries) for entries in (again, kept))
        if table is None and lost:
            notes.append(
                f"{name} of the earlier run are dropped: {lost:,} images; give --{name} again to keep them"
            )
        if not mark and stay:
            notes.append(f"{name} of the earlier run are kept: {stay:,} images; new files get none")
    return notes


def rank(entry: Entry) -> tuple[str, str]:
    """Of several files with one image, the smallest counts, in whatever order they were read."""
    return entry["row"]["source_hash"], entry["name"]


def holders(entries: Iterable[Entry]) -> dict[str, tuple[str, str]]:
    """For each image_id the rank of the file whose image is the one that is kept."""
    best: dict[str, tuple[str, str]] = {}
    for entry in entries:
        if "row" in entry:
            image_id = entry["row"]["image_id"]
            best[image_id] = min(rank(entry), best.get(image_id, rank(entry)))
    return best


@dataclass(frozen=True, slots=True)
class Collected:
    """Rows of the tables, in their final order."""

    images: list[Entry]
    rejected: list[Entry]
    reports: list[Entry]
    labels: list[Entry]
    found: tuple[set[tuple[str, int]], set[tuple[str, int]], set[tuple[str, int]]]
    scrubbed: int


def collect(entries: Iterable[Entry], shares: Sequence[float], mark: str) -> Collected:
    """Make the tables of all entries.

    Args:
        entries: The journal's, in any order.
        shares: Of train, val and test.
        mark: Of the tables now given, whose matched rows are told apart in ``found``
            (reports, labels, metadata); "" takes those of all earlier tables.

    Raises:
        DataError: If a patient was given two splits.
    """
    entries = sorted(entries, key=lambda e: e["name"])
    best = holders(entries)
    rejected = [e["rejected"] for e in entries if "row" not in e]
    kept: list[Entry] = []
    seen: set[tuple[str, str]] = set()
    for entry in sorted((e for e in entries if "row" in e), key=rank):
        row = entry["row"]
        same_file = (row["source_hash"], row["source_sha256"])
        if best[row["image_id"]] == rank(entry):
            kept.append(entry)
        elif same_file not in seen:  # the same tree ingested again from elsewhere is no news
            sha256 = row["source_sha256"]
            why = {"reason": "duplicate", "detail": row["image_id"]}
            rejected.append({"source_hash": row["source_hash"], "source_sha256": sha256, **why})
        seen.add(same_file)
    kept.sort(key=lambda e: str(e["row"]["image_id"]))
    splits = _given_splits(kept)
    images = []
    for entry in kept:
        patient = entry["row"]["patient_hash"]
        images.append({**entry["row"], "split": splits.get(patient) or split_of(patient, shares)})
    current = [(e["mark"], e["found"]) for e in kept if mark in ("", e["mark"])]
    found = tuple({(m, f[i]) for m, f in current if f[i] is not None} for i in range(3))
    return Collected(
        images=images,
        rejected=sorted(
            {tuple(sorted(r.items(), key=str)): r for r in rejected}.values(),
            key=lambda r: (r["source_hash"], r["reason"]),
        ),
        reports=[_report_row(e) for e in kept if e.get("en") or e.get("zh")],
        labels=[
            {"image_id": e["row"]["image_id"], "label": label, "value": value}
            for e in kept
            for label, value in sorted(e.get("labels", {}).items())
        ],
        found=(found[0], found[1], found[2]),
        scrubbed=sum(e.get("scrubbed", 0) for e in kept),
    )


def _report_row(entry: Entry) -> Entry:
    return {"image_id": entry["row"]["image_id"], "en": entry["en"] or None, "zh": entry["zh"] or None}


def _given_splits(entries: Iterable[Entry]) -> dict[str, str]:
    """The split of each patient that a metadata table names; it holds for all their images."""
    splits: dict[str, str] = {}
    clashes = set()
    for entry in entries:
        patient = entry["row"]["patient_hash"]
        if entry["given"] and splits.setdefault(patient, entry["given"]) != entry["given"]:
            clashes.add(patient)
    if clashes:
        raise DataError(
            f"the metadata puts {len(clashes):,} patients into two splits",
            "all images of a patient belong in one",
            "Correct the table and run the same command again.",
        )
    return splits
