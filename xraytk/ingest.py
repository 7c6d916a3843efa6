"""ingest: DICOM files or pictures -> 16-bit images, a manifest, and what came with them.

Every file that is found gets one row: in the manifest, or in the rejected table with a fixed
reason. Worker processes decode and shrink; this process gives hashed ids, joins and scrubs
reports, and keeps the journal, so that a killed run goes on where it was. Tables are written
from the journal at the end: a resumed run's are those of an undisturbed one, byte for byte.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from xraytk.data import dicom, manifest, pictures, sources
from xraytk.data.deid import hashed, key_path, load_key
from xraytk.data.entries import Collected, Outcome, Tables, collect, entry_of, holders, notes_on_earlier
from xraytk.data.journal import Journal
from xraytk.data.pool import each
from xraytk.data.sheet import Lookup
from xraytk.data.text import Facts, Labels, Report, read_labels, read_metadata, read_reports
from xraytk.errors import DataError, UsageError
from xraytk.files import (
    Workspace,
    atomic_write,
    default_work,
    explain_os_errors,
    folder_lock,
    remove_leftovers,
    sha256_of,
    write_json,
)
from xraytk.progress import Progress, Silent
from xraytk.records import SPLITS

FORMAT = 1
SHEET_IMAGES = 64
PART = Path("manifest/part-00000.parquet")

REASONS = {
    **sources.REASONS,
    "duplicate": "the same image (SOP Instance UID) was found elsewhere too; the detail is its image_id",
    "crashed": "decoding ended the worker process, twice",
    "timed-out": "decoding took longer than two minutes, twice",
    "unexpected-error": "decoding failed in a way that was not foreseen; the detail is the error's class",
}
"""Why ingest itself refuses a file; `data.dicom.REASONS` are why its content is refused."""

_WORTH_ANOTHER_TRY = ("unreadable", "crashed", "timed-out", "unexpected-error")


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestConfig:
    """What to read, and how.

    Args:
        source: A folder, a DICOM file, a picture, or a zip archive.
        work: The workspace.
        out: Where to write; None is ``ingest`` in the workspace.
        reports: CSV or JSONL of report texts.
        labels: CSV or JSONL of labels. A run without any table keeps what earlier runs' tables gave.
        metadata: CSV or JSONL of facts that pictures lack: patient, view, sex, age, split, spacing.
            What it says counts more than a DICOM header.
        key: File with the key of the hashes; None takes $XRAYTK_KEY, or the user's own.
        max_px: Longest side of the images that are written.
        split: Shares of train, val and test.
        workers: Processes; 0 is one per processor, 1 works in this process.
    """

    source: Path
    work: Path = field(default_factory=default_work)
    out: Path | None = None
    reports: Path | None = None
    labels: Path | None = None
    metadata: Path | None = None
    key: Path | None = None
    max_px: int = 1280
    split: tuple[float, float, float] = (0.8, 0.1, 0.1)
    workers: int = 0

    def __post_init__(self) -> None:
        """Check the values against each other."""
        if not 16 <= self.max_px <= 65535:
            raise UsageError(f"max_px is {self.max_px}", "wanted 16 to 65535")
        if self.workers < 0:
            raise UsageError(f"workers is {self.workers}", "wanted 0 (one per processor) or more")
        if min(self.split) < 0 or abs(sum(self.split) - 1) > 1e-6 or self.split[0] == 0:
            raise UsageError(
                f"split is {list(self.split)}",
                "wanted three shares (train, val, test) that sum to 1, train above 0",
            )


@dataclass(frozen=True, slots=True)
class IngestResult:
    """What came out.

    Args:
        images: Rows of the manifest.
        rejected: Rows of the rejected table.
        reasons: Rejected files by reason.
        patients: Distinct patients.
        splits: Images by split.
        reports_matched: Entries of the reports table that belong to an image.
        reports_unmatched: Entries that do not.
        labels_matched: Entries of the labels table that belong to an image.
        labels_unmatched: Entries that do not.
        out: The folder.
        contact_sheet: A picture of up to 64 images.
        seconds: Wall time.
    """

    images: int
    rejected: int
    reasons: dict[str, int]
    patients: int
    splits: dict[str, int]
    reports_matched: int
    reports_unmatched: int
    labels_matched: int
    labels_unmatched: int
    out: Path
    contact_sheet: Path
    seconds: float


@dataclass(frozen=True, slots=True)
class _Job:
    """What a worker is handed. It holds a path, so it never prints itself."""

    name: str
    source: sources.Source = field(repr=False)
    target: Path = field(repr=False)
    max_px: int = 0


def run(config: IngestConfig, progress: Progress = Silent()) -> IngestResult:  # noqa: B008
    """Ingest a source.

    Args:
        config: What to read, and how.
        progress: Where to report to.

    Raises:
        UsageError: If the source is the output folder.
        DataError: If the source or a table does not exist, a table does not fit, or no file is usable.
        RunConflictError: If the folder is in use, or was written with another configuration.
        MachineError: If the disk is full or a folder cannot be written.
    """
    began = time.monotonic()
    out = Workspace(config.work).ingest if config.out is None else config.out
    if not os.path.exists(config.source):  # noqa: PTH110, unlike Path.exists it never raises
        raise DataError("the source does not exist", todo="Check the path, and that its disk is mounted.")
    if out.exists() and out.samefile(config.source):
        raise UsageError("the source is the output folder", todo="Choose another folder with --out.")
    if not os.path.exists(key_path(config.key)):  # noqa: PTH110
        progress.note(f"a new key is made at {key_path(config.key)}; keep it, hashed ids depend on it")
    key = load_key(config.key, outside=out)
    tables = _read_tables(config, key, progress)
    settings = {
        "max_px": config.max_px,
        "split": list(config.split),
        "key": hashed(key, "fingerprint", ""),
    }
    with folder_lock(out):
        journal = Journal(out / "journal.jsonl", settings)
        remove_leftovers(out)
        remove_leftovers((out / PART).parent)
        with _swept(out / "images"):
            _read_all(config, out, key, journal, tables, progress)
        return _finish(config, out, journal, tables, began, progress)


@contextlib.contextmanager
def _swept(folder: Path) -> Iterator[None]:
    """Leave no temporary image behind, whatever happens."""
    remove_leftovers(folder)
    try:
        yield
    finally:
        remove_leftovers(folder)


def _read_tables(config: IngestConfig, key: bytes, progress: Progress) -> Tables:
    reports: Lookup[Report] = Lookup((), key)
    labels = Labels(Lookup((), key), (), 0, 0)
    metadata: Lookup[Facts] = Lookup((), key)
    marks = []
    if config.reports is not None:
        reports = read_reports(config.reports, key)
        marks.append(f"reports {sha256_of(config.reports)}")
    if config.labels is not None:
        labels = read_labels(config.labels, key)
        marks.append(f"labels {sha256_of(config.labels)}")
        progress.note(f"labels: {len(labels.names):,} labels, {labels.ignored:,} other columns left out")
        if labels.uncertain:
            progress.note(f"labels: {labels.uncertain:,} uncertain values left out")
    if config.metadata is not None:
        metadata = read_metadata(config.metadata, key)
        marks.append(f"metadata {sha256_of(config.metadata)}")
    for name, ambiguous in (
        ("reports", reports.ambiguous),
        ("labels", labels.table.ambiguous),
        ("metadata", metadata.ambiguous),
    ):
        if ambiguous:
            progress.note(f"{name}: {ambiguous:,} keys left out, their rows contradict each other")
    mark = hashed(key, "tables", ", ".join(marks)) if marks else ""
    return Tables(reports, labels, metadata, mark)


def _read_all(
    config: IngestConfig, out: Path, key: bytes, journal: Journal, tables: Tables, progress: Progress
) -> None:
    """Bring the journal up to date with the source."""
    work = Workspace(config.work)
    inputs = (config.reports, config.labels, config.metadata, key_path(config.key))
    leave_out = [out, work.ingest, work.masks, work.shards, work.runs, work.reports]
    leave_out += [path for path in inputs if path is not None]
    root = hashed(key, "root", str(config.source.resolve()))
    jobs = []
    with progress.task("list", None, "files") as task:
        for source in sources.list_sources(config.source, leave_out):
            name = f"{root}/{hashed(key, 'source', source.name)}"
            target = out / "images" / f".tmp-{hashed(key, 'source', name)}.png"
            jobs.append(_Job(name, source, target, config.max_px))
            task.update(len(jobs))
    before = dict(journal.entries)
    todo = _unfinished(jobs, journal, out, tables.mark)
    given = {"reports": config.reports, "labels": config.labels, "metadata": config.metadata}
    again = [before[job.name] for job in todo if job.name in before]
    for note in notes_on_earlier(again, journal.entries.values(), given, tables.mark):
        progress.note(note)
    if len(todo) < len(jobs):
        progress.note(f"{len(jobs) - len(todo):,} of {len(jobs):,} files were finished before")
    best = holders(journal.entries.values())
    counts: Counter[str] = Counter("row" if "row" in e else "rejected" for e in journal.entries.values())
    with (
        progress.task("ingest", len(jobs), "files") as task,
        journal.writing(),
        contextlib.closing(
            each(_read_one, todo, config.workers, late=Outcome(None, "timed-out"))
        ) as finished,
    ):
        task.update(len(jobs) - len(todo))
        for done, (job, outcome) in enumerate(finished, start=len(jobs) - len(todo) + 1):
            entry = entry_of(job.name, job.source, outcome or Outcome(None, "crashed"), key, tables)
            if "row" in entry:
                _place(job, entry["row"], out, best)
            journal.add(entry)
            counts["row" if "row" in entry else "rejected"] += 1
            task.update(done, images=counts["row"], rejected=counts["rejected"])


def _unfinished(jobs: list[_Job], journal: Journal, out: Path, mark: str) -> list[_Job]:
    """The jobs that no entry of the journal answers; stale entries are taken out of it."""
    todo, dropped = {}, set()
    for job in jobs:
        entry = journal.entries.get(job.name)
        if entry is None or _is_stale(entry, job.source, out, mark):
            todo[job.name] = job
            if old := journal.entries.pop(job.name, {}).get("row"):
                dropped.add(old["image_id"])
    if dropped:  # what a stale entry's image hid as duplicates has to be read again too
        for job in jobs:
            row = journal.entries.get(job.name, {}).get("row")
            if row and row["image_id"] in dropped:
                todo[job.name] = job
                del journal.entries[job.name]
    return list(todo.values())


def _is_stale(entry: Mapping[str, Any], source: sources.Source, out: Path, mark: str) -> bool:
    if (entry["size"], entry["stamp"]) != (source.size, source.stamp):
        return True
    if "row" not in entry:
        return entry["rejected"]["reason"] in _WORTH_ANOTHER_TRY
    other_tables = mark not in ("", entry["mark"])  # without a table, earlier ones still count
    return other_tables or not (out / entry["row"]["path"]).exists()


def _read_one(job: _Job) -> Outcome:
    """Read, decode and shrink one file; runs in a worker."""
    try:
        data = sources.read_source(job.source)
    except sources.UnreadableError as error:
        return Outcome(None, error.reason, error.detail)
    sha256 = hashlib.sha256(data).hexdigest()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # they quote the header
            radiograph = dicom.read_radiograph(data)
            small = dicom.resize_long_side(radiograph.pixels, job.max_px)
            png = pictures.encode_png(small)
    except dicom.Refused as refused:
        return Outcome(sha256, refused.reason, refused.detail)
    except Exception as error:
        return Outcome(sha256, "unexpected-error", type(error).__name__)
    with atomic_write(job.target) as stream:
        stream.write(png)
    source_height, source_width = radiograph.pixels.shape
    radiograph.pixels = np.empty((0, 0), np.uint16)
    height, width = small.shape
    return Outcome(sha256, "", "", radiograph, (height, width), (source_height, source_width))


def _place(job: _Job, row: Mapping[str, Any], out: Path, best: dict[str, tuple[str, str]]) -> None:
    """Give a new image its name, unless a file of smaller rank holds it."""
    mine = (row["source_hash"], job.name)
    path = out / row["path"]
    if best.setdefault(row["image_id"], mine) < mine:
        job.target.unlink()
        return
    with explain_os_errors(path):
        path.parent.mkdir(exist_ok=True)
        job.target.replace(path)
    best[row["image_id"]] = mine


def _finish(
    config: IngestConfig, out: Path, journal: Journal, tables: Tables, began: float, progress: Progress
) -> IngestResult:
    """Write the tables, the summary and the contact sheet."""
    made = collect(journal.entries.values(), config.split, tables.mark)
    reasons = dict(Counter(r["reason"] for r in made.rejected).most_common())
    splits = Counter(r["split"] for r in made.images)
    part, sheet = out / PART, out / "contact-sheet.png"
    manifest.write_table(out / "rejected.parquet", manifest.REJECTED, made.rejected)
    manifest.write_table(out / "reports.parquet", manifest.REPORTS, made.reports)
    manifest.write_table(out / "labels.parquet", manifest.LABELS, made.labels)
    if made.images:
        manifest.write_table(part, manifest.MANIFEST, made.images)
        _write_contact_sheet(sheet, out, made.images)
    else:
        part.unlink(missing_ok=True)
        sheet.unlink(missing_ok=True)
    _prune(out, {r["image_id"] for r in made.images})
    result = IngestResult(
        images=len(made.images),
        rejected=len(made.rejected),
        reasons=reasons,
        patients=len({r["patient_hash"] for r in made.images}),
        splits={name: splits[name] for name in SPLITS},
        reports_matched=len(made.found[0]),
        reports_unmatched=_unmatched(tables.reports, made.found[0]) + tables.reports.ambiguous,
        labels_matched=len(made.found[1]),
        labels_unmatched=_unmatched(tables.labels.table, made.found[1]),
        out=out,
        contact_sheet=sheet,
        seconds=round(time.monotonic() - began, 2),
    )
    write_json(out / "summary.json", _summary(result, made))
    if not made.images:
        counts = ", ".join(f"{reason} {count:,}" for reason, count in reasons.items())
        raise DataError(
            "no usable radiograph in the source",
            f"{result.rejected:,} files were refused: {counts}" if counts else "it holds no files",
            "See rejected.parquet in the output folder." if counts else "Check the path.",
        )
    _note_what_to_mend(config, result, made, tables, progress)
    return result


def _unmatched(table: Lookup[Any], found: set[tuple[str, int]]) -> int:
    """Entries of a table that belong to no image; what earlier tables gave does not count."""
    return max(len(table.values) - len(found), 0)


def _summary(result: IngestResult, made: Collected) -> dict[str, Any]:
    """Counts of everything that a person would ask for."""
    columns = ("modality", "view", "syntax", "photometric", "voi", "bits_stored", "sex")
    return {
        "format": FORMAT,
        "images": result.images,
        "rejected": result.rejected,
        "reasons": result.reasons,
        "splits": result.splits,
        "patients": result.patients,
        "studies": len({r["study_hash"] for r in made.images}),
        **{c: dict(Counter(str(r[c]) for r in made.images).most_common()) for c in columns},
        "burned_in": sum(bool(r["burned_in"]) for r in made.images),
        "with_spacing": sum(r["spacing_x_mm"] is not None for r in made.images),
        "reports": {
            "matched": result.reports_matched,
            "unmatched": result.reports_unmatched,
            "images_en": sum(r["en"] is not None for r in made.reports),
            "images_zh": sum(r["zh"] is not None for r in made.reports),
            "identifiers_scrubbed": made.scrubbed,
        },
        "labels": {
            "matched": result.labels_matched,
            "unmatched": result.labels_unmatched,
            "positive": dict(sorted(Counter(r["label"] for r in made.labels if r["value"]).items())),
            "negative": dict(sorted(Counter(r["label"] for r in made.labels if not r["value"]).items())),
        },
        "seconds": result.seconds,
    }


def _note_what_to_mend(
    config: IngestConfig, result: IngestResult, made: Collected, tables: Tables, progress: Progress
) -> None:
    """Say what a person would want to know before going on."""
    hint = "match by file name, accession number, StudyInstanceUID or SOPInstanceUID"
    for name, given, matched, unmatched in (
        ("reports", config.reports, result.reports_matched, result.reports_unmatched),
        ("labels", config.labels, result.labels_matched, result.labels_unmatched),
        ("metadata", config.metadata, len(made.found[2]), _unmatched(tables.metadata, made.found[2])),
    ):
        if given is not None and unmatched:
            progress.note(
                f"{name}: {matched:,} entries belong to an image, {unmatched:,} do not"
                + ("" if matched else f"; entries {hint}")
            )
    empty = [n for n, share in zip(SPLITS, config.split, strict=True) if share and not result.splits[n]]
    if empty:
        progress.note(
            f"no image is in {' or '.join(empty)}: there are {result.patients:,} patients, and a split is "
            "drawn per patient; give it larger shares, for example --set split=[0.6,0.2,0.2]"
        )
    burned_in = sum(bool(r["burned_in"]) for r in made.images)
    if burned_in:
        progress.note(f"{burned_in:,} images say that text is burned into their pixels; look at them")


def _write_contact_sheet(path: Path, out: Path, rows: list[dict[str, Any]]) -> None:
    """Draw up to 64 images, evenly over the manifest."""
    places = np.linspace(0, len(rows) - 1, min(SHEET_IMAGES, len(rows))).round().astype(int)
    chosen = [rows[i] for i in places]
    tiles = [pictures.read_png(out / r["path"]) for r in chosen]
    captions = [f"{r['image_id']} {r['view']}" for r in chosen]
    pictures.write_png(path, pictures.montage(tiles, captions))


def _prune(out: Path, image_ids: set[str]) -> None:
    """Remove images of earlier runs that no row of the manifest names any more."""
    for path in (out / "images").glob("[0-9a-f][0-9a-f]/*.png"):
        ours = len(path.stem) == 16 and path.stem.startswith(path.parent.name)
        if ours and path.stem not in image_ids:
            path.unlink()
