"""The tables of ingest, made of the journal's entries.

They are a function of the entries alone, whatever order these were written in, and are
written as they are read: a million rows take no memory.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from xraytk.data import lookalike, manifest
from xraytk.data.deid import split_of
from xraytk.data.journal import Entry, Journal
from xraytk.errors import DataError

LANGUAGES_READ = ("en", "zh", "es")
PART = Path("manifest/part-00000.parquet")


@dataclass(slots=True)
class Gathered:
    """Totals over the tables that were written.

    Args:
        images: Rows of the manifest.
        rejected: Rows of the rejected table.
        reasons: Rejected files by reason.
        splits: Images by split.
        found: Rows of the user's reports, labels and metadata that belong to an image.
        scrubbed: Identifiers replaced in reports, by kind.
        structured: Images with the text of a structured report.
        ambiguous: Rows of the user's reports, labels and metadata that files of several studies
            have by their names; reports and labels of these are left out.
        boxed: Images with a box.
        boxes_lost: Boxes that lie outside of their image.
    """

    images: int = 0
    rejected: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    splits: Counter[str] = field(default_factory=Counter)
    found: tuple[int, int, int] = (0, 0, 0)
    scrubbed: Counter[str] = field(default_factory=Counter)
    structured: int = 0
    ambiguous: tuple[int, int, int] = (0, 0, 0)
    boxed: int = 0
    boxes_lost: int = 0


def write_tables(journal: Journal, out: Path, shares: Sequence[float], mark: str) -> Gathered:
    """Write manifest, rejected table, reports, labels and boxes.

    Args:
        journal: The entries.
        out: The ingest folder.
        shares: Of train, val and test.
        mark: Of the tables now given, whose matched rows are counted; "" takes those of all
            earlier tables.

    Raises:
        DataError: If a patient was given two splits.
        MachineError: If the disk is full.
    """
    if clashes := journal.clashing_patients():
        raise DataError(
            f"the metadata puts {clashes:,} patients into two splits",
            "all images of a patient belong in one",
            "Correct the table and run the same command again.",
        )
    made = Gathered()
    split, reports = journal.has_given_splits(), journal.has_reports()
    alike = _alike(journal)
    unclear = [journal.ambiguous(table) for table in range(3)]
    made.ambiguous = (len(unclear[0]), len(unclear[1]), len(unclear[2]))
    with contextlib.ExitStack() as stack:
        distinct = stack.enter_context(_Distinct())
        writers = {
            name: stack.enter_context(manifest.TableWriter(out / path, schema))
            for name, path, schema in (
                ("images", PART, manifest.MANIFEST),
                ("reports", "reports.parquet", manifest.REPORTS),
                ("labels", "labels.parquet", manifest.LABELS),
                ("boxes", "boxes.parquet", manifest.BOXES),
                ("rejected", "rejected.parquet", manifest.REJECTED),
            )
        }
        for group in journal.accepted():
            first = group[0]
            _leave_out(first, unclear)
            row = _image_row(first, journal if split else None, shares, alike)
            made.splits[row["split"]] += 1
            writers["images"].add(row)
            texts = _texts_of(first, journal if reports else None, made)
            made.scrubbed.update(texts.get("scrubbed", {}))
            _write_beside(first, texts, writers)
            made.boxed += bool(first.get("boxes"))
            made.boxes_lost += first.get("boxes_lost", 0)
            if mark in ("", first["mark"]):
                distinct.found(first)
            distinct.duplicates(group)
        for entry in journal.refused():
            distinct.rejected(entry["rejected"])
        for rejected in distinct.all_rejected():
            made.reasons[rejected["reason"]] += 1
            writers["rejected"].add(rejected)
        made.images, made.rejected = writers["images"].rows, writers["rejected"].rows
        made.found = distinct.counts()
    if not made.images:
        (out / PART).unlink()
        (out / PART).parent.rmdir()
    return made


def _leave_out(entry: Entry, unclear: Sequence[set[tuple[str, int]]]) -> None:
    """Take from an entry the report and the labels of rows that belong to nobody for sure."""
    for table, names in enumerate((LANGUAGES_READ, ("labels",))):
        if (entry["mark"], entry["found"][table]) in unclear[table]:
            entry["found"][table] = None
            for name in names:
                entry.pop(name, None)


def _image_row(
    entry: Entry, journal: Journal | None, shares: Sequence[float], alike: dict[str, str]
) -> dict[str, Any]:
    patient, same = entry["row"]["patient_hash"], entry["first_same_pixels"]
    image_id = entry["row"]["image_id"]
    like = alike.get(image_id, image_id)
    return {
        **entry["row"],
        "split": (journal and journal.given_split(patient)) or split_of(patient, shares),
        "duplicate_of": same,
        "near_duplicate_of": like if like not in (image_id, same) else None,
    }


def _alike(journal: Journal) -> dict[str, str]:
    """For each image that looks like others, the first of them."""
    ids: list[str] = []
    packed = bytearray()
    for image_id, signature in journal.signatures():
        ids.append(image_id)
        packed += bytes.fromhex(signature)
    signatures = np.frombuffer(packed, np.int8).reshape(-1, 64)
    signs = np.packbits(signatures > 0, axis=1)
    hashes = np.ascontiguousarray(signs).view(">u8").ravel().astype(np.uint64)
    return lookalike.group(lookalike.near_duplicates(ids, hashes, signatures=signatures))


def _texts_of(entry: Entry, journal: Journal | None, made: Gathered) -> Entry:
    """An image's report: of the tables, else of the structured reports of its study."""
    if any(entry.get(lang) for lang in LANGUAGES_READ):
        return entry
    found = journal.reports_of(entry["row"]["study_hash"]) if journal else ()
    texts: Entry = {}
    for report in reversed(found):  # the final one counts most
        for lang in LANGUAGES_READ:
            if report[lang]:
                texts |= {lang: report[lang], "scrubbed": report["scrubbed"]}
    made.structured += bool(texts)
    return texts


def _write_beside(entry: Entry, report: Entry, writers: dict[str, manifest.TableWriter]) -> None:
    image_id = entry["row"]["image_id"]
    texts = {lang: report.get(lang) or None for lang in LANGUAGES_READ}
    if any(texts.values()):
        writers["reports"].add({"image_id": image_id, **texts})
    for label, x0, y0, x1, y1, reader in entry.get("boxes", ()):
        edges = {"x0": x0, "y0": y0, "x1": x1, "y1": y1}
        writers["boxes"].add({"image_id": image_id, "label": label, **edges, "reader": reader or None})
    for label, value in sorted(entry.get("labels", {}).items()):
        writers["labels"].add({"image_id": image_id, "label": label, "value": value})


class _Distinct:
    """Rows that may come several times, sorted, in an unnamed database that goes with the process."""

    def __enter__(self) -> _Distinct:
        self._base = sqlite3.connect("", isolation_level=None)
        self._base.executescript(
            "CREATE TABLE rejected(source_hash TEXT, reason TEXT, detail TEXT, source_sha256 TEXT, "
            "UNIQUE(source_hash, reason, detail, source_sha256));"
            "CREATE TABLE found(number INTEGER, mark TEXT, row INTEGER, UNIQUE(number, mark, row)); BEGIN;"
        )
        return self

    def __exit__(self, *error: object) -> None:
        self._base.close()

    def rejected(self, row: dict[str, Any]) -> None:
        """Add a row of the rejected table."""
        values = [row[k] or "" for k in ("source_hash", "reason", "detail", "source_sha256")]
        self._base.execute("INSERT OR IGNORE INTO rejected VALUES (?, ?, ?, ?)", values)

    def duplicates(self, group: list[Entry]) -> None:
        """Add all files of one image but the first; the same file under another root is no news."""
        seen = {(group[0]["row"]["source_hash"], group[0]["row"]["source_sha256"])}
        for entry in group[1:]:
            row = entry["row"]
            same_file = (row["source_hash"], row["source_sha256"])
            if same_file not in seen:
                same = row["pixel_sha256"] == group[0]["row"]["pixel_sha256"]
                why = "duplicate" if same else "uid-clash"
                self.rejected({**row, "reason": why, "detail": row["image_id"]})
            seen.add(same_file)

    def found(self, entry: Entry) -> None:
        """Count the rows of the user's tables that an image has."""
        rows = [(i, entry["mark"], n) for i, n in enumerate(entry["found"]) if n is not None]
        self._base.executemany("INSERT OR IGNORE INTO found VALUES (?, ?, ?)", rows)

    def all_rejected(self) -> Iterator[dict[str, Any]]:
        """Rows of the rejected table, each once, sorted."""
        names = ("source_hash", "reason", "detail", "source_sha256")
        for values in self._base.execute("SELECT * FROM rejected ORDER BY 1, 2, 3, 4"):
            row = dict(zip(names, values, strict=True))
            yield {**row, "source_sha256": row["source_sha256"] or None}

    def counts(self) -> tuple[int, int, int]:
        """Distinct rows found of reports, labels and metadata."""
        found = dict(self._base.execute("SELECT number, COUNT(*) FROM found GROUP BY number"))
        return found.get(0, 0), found.get(1, 0), found.get(2, 0)
