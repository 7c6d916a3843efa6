"""ingest: DICOM files or pictures -> 16-bit images, a manifest, and what came with them.

Every file that is found gets one row: in the manifest, or in the rejected table with a fixed
reason. Worker processes decode and shrink; this process gives hashed ids, joins and scrubs
reports, and keeps the journal, so that a killed run goes on where it was. Tables are written
from the journal at the end: a resumed run's are those of an undisturbed one, byte for byte.
"""

from __future__ import annotations

import contextlib
import functools
import os
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc

from xraytk.data import card, counts, manifest, sources
from xraytk.data.closing import (
    SHEET_IMAGES,
    Output,
    of_pictures,
    output_at,
    prune,
    prune_thumbnails,
    short_columns,
    swept,
    write_contact_sheet,
)
from xraytk.data.deid import Hasher, hashed, keep_key, key_path, open_key
from xraytk.data.entries import entry_of, path_of, rescrubbed
from xraytk.data.gather import PART, Gathered, write_tables
from xraytk.data.given import Tables, layout_of, read_tables, unmatched
from xraytk.data.idmap import IdMap, default_path
from xraytk.data.journal import Journal, rank
from xraytk.data.layouts import Layout
from xraytk.data.listing import Listing
from xraytk.data.pool import each
from xraytk.data.remote import is_url
from xraytk.data.sheet import join_keys
from xraytk.data.storage import Storage
from xraytk.data.todo import Todo
from xraytk.data.unit import METHOD, Job, Options, Outcome, read_one
from xraytk.errors import DataError, UsageError
from xraytk.files import Workspace, default_work, folder_lock, remove_leftovers, write_json
from xraytk.progress import Progress, Silent
from xraytk.records import SPLITS, Identity

FORMAT = 1
MEMORY_GB = 4.0
"""That a worker may take for one file; the largest radiograph needs about 1.5."""
TABLES = ("reports", "labels", "metadata")
SETTINGS = ("max_px", "burned_in", "crop", "for_processing", "not_chest", "write_dicom")

REASONS = {
    **sources.REASONS,
    "duplicate": "the same image (SOP Instance UID) was found elsewhere too; the detail is its image_id",
    "uid-clash": "another image has the same SOP Instance UID; the detail is its image_id",
    "crashed": "decoding ended the worker process, twice",
    "timed-out": "decoding took longer than two minutes, twice",
    "out-of-memory": "decoding wanted more memory than a worker may have",
    "unexpected-error": "decoding failed in a way that was not foreseen; the detail is the error's class",
}
"""Why ingest itself refuses a file; `data.dicom.REASONS` are why its content is refused."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestConfig:
    """What to read, and how.

    Args:
        source: A folder, a DICOM file, a DICOMDIR, a picture, an archive (zip, tar), or the URL of
            one (s3://...).
        files_from: Instead of ``source``, a list of such paths, one a line or separated by NUL;
            "-" is standard input. Relative ones count from the list's folder.
        work: The workspace.
        out: Folder or URL to write to; None is ``ingest`` in the workspace. The journal of a
            remote one stays in the workspace.
        reports: CSV or JSONL of report texts.
        labels: CSV or JSONL of labels. A run without any table keeps what earlier runs' tables gave.
        boxes: CSV, JSONL or Parquet of boxes around findings, keyed likewise: x, y, width, height in
            pixels of the original image, label.
        layout: A public data set whose tables lie in the source: a row of `layouts.LAYOUTS`, or
            "package.module:function". The tables here count more than the set's own.
        metadata: CSV or JSONL of facts that pictures lack: patient, view, sex, age, split, spacing.
            What it says counts more than a DICOM header.
        key: File with the key of the hashes; None takes $XRAYTK_KEY, or the user's own.
        max_px: Longest side of the images that are written.
        burned_in: What is done with text in the pixels: "blank" it, "reject" the image, or "keep" it.
        crop: Cut collimated borders off.
        for_processing: "read" raw detector data (rendered by percentiles of the logarithm), or
            "reject" them.
        not_chest: What is done with images whose pixels surely show no chest.
        write_dicom: Write de-identified DICOM files too, to ``dicom/``.
        show_paths: Name refused files in the progress, which is for the terminal of whoever may
            know them; the tables never do.
        split: Shares of train, val and test.
        workers: Processes that read; 0 is one per processor. -1 reads in this process, which a
            broken file may then end; so does memory://, which no other process sees.
        engine: "local", or "ray": worker processes of a Ray cluster, which must reach source and
            output under the same names.
        address: Of the Ray cluster; "" takes $RAY_ADDRESS, or starts one on this machine.
    """

    source: str | Path = ""
    files_from: str | Path = ""
    work: Path = field(default_factory=default_work)
    out: str | Path | None = None
    reports: Path | None = None
    labels: Path | None = None
    boxes: Path | None = None
    layout: str = ""
    metadata: Path | None = None
    key: Path | None = None
    max_px: int = 1280
    burned_in: Literal["blank", "reject", "keep"] = "blank"
    crop: bool = False
    for_processing: Literal["read", "reject"] = "read"
    not_chest: Literal["reject", "keep"] = "reject"
    write_dicom: bool = False
    show_paths: bool = False
    split: tuple[float, float, float] = (0.8, 0.1, 0.1)
    workers: int = 0
    engine: Literal["local", "ray"] = "local"
    address: str = ""

    def __post_init__(self) -> None:
        """Check the values against each other."""
        if bool(str(self.source)) == bool(str(self.files_from)):
            raise UsageError(
                "source and files_from are " + ("both given" if self.source else "both missing"),
                "wanted one of them",
                "Say `xraytk ingest FOLDER`, or `xraytk ingest --files-from LIST`.",
            )
        if self.layout and not self.source:
            raise UsageError("layout needs a source", "its tables are looked for in that folder")
        if not 16 <= self.max_px <= 65535:
            raise UsageError(f"max_px is {self.max_px}", "wanted 16 to 65535")
        if self.workers < -1:
            raise UsageError(f"workers is {self.workers}", "wanted 0 (one per processor) or more")
        if self.engine == "ray" and _is_in_memory(self):
            raise UsageError(
                "source or output is memory://, with --engine ray",
                "only this process sees that memory",
                "Use --engine local, or storage that all machines reach.",
            )
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
        out: The folder, or its URL.
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
    out: str
    contact_sheet: Path
    seconds: float


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
    place = output_at(config.out or Workspace(config.work).ingest, config.work / "remote")
    out, key_file = place.folder, key_path(config.key)
    _check_source(config, out)
    key, is_new = open_key(config.key, outside=out)
    layout = layout_of(config.layout, str(config.source), key, progress.note)
    given = {name: getattr(config, name) for name in (*TABLES, "boxes")}
    tables = read_tables(given, layout, key, progress.note)
    settings = {
        "key": hashed(key, "fingerprint", ""),
        "split": list(config.split),
        "method": METHOD,
        **{name: getattr(config, name) for name in SETTINGS},
    }
    with contextlib.ExitStack() as stack:
        stack.enter_context(folder_lock(out))
        if is_new:
            _check_journal(out / "journal.sqlite", settings)
            if not keep_key(config.key, key):  # another run has made one in the meantime
                stack.close()
                return run(config, progress)
            progress.note(f"a new key was made at {key_file}; keep it, hashed ids depend on it")
        journal = stack.enter_context(contextlib.closing(Journal(out / "journal.sqlite", settings)))
        paths = stack.enter_context(IdMap(default_path(key_file), outside=out))
        for folder in (out, (out / PART).parent):
            remove_leftovers(folder)
        listing = _listing(config, place, layout)
        work = _Run(config, place, key, journal, tables, paths, progress, listing)
        with swept(place.storage):
            work.read_all()
        result = work.finish(began)
        journal.finish()
    return result


def _check_journal(path: Path, settings: dict[str, Any]) -> None:
    """Refuse an output that is not of these settings, before anything is written."""
    if path.exists() and path.stat().st_size:
        Journal(path, settings).close()


def _check_source(config: IngestConfig, out: Path) -> None:
    given = str(config.source or config.files_from)
    if given == "-" or is_url(given):
        return
    source = Path(given)
    if not os.path.exists(source):  # noqa: PTH110, unlike Path.exists it never raises
        raise DataError("the source does not exist", todo="Check the path, and that its disk is mounted.")
    if source.resolve().is_relative_to(out.resolve()) and not config.files_from:
        raise UsageError(
            "the source is the output folder, or lies in it", todo="Choose another folder with --out."
        )


@dataclass(frozen=True, slots=True)
class _Run:
    """All that a run has at hand."""

    config: IngestConfig
    place: Output
    key: bytes = field(repr=False)
    journal: Journal
    tables: Tables
    paths: IdMap
    progress: Progress
    listing: Listing = field(repr=False)

    def read_all(self) -> None:
        """Bring the journal up to date with the source."""
        config, progress = self.config, self.progress
        root = hashed(self.key, "root", self.listing.root)
        with Todo(self.journal, self.place.storage, self.tables.mark, with_dicom=config.write_dicom) as todo:
            with progress.task("list", None, "files") as task:
                todo.fill(root, self.listing.__iter__, Hasher(self.key, "source"), self._job, task.update)
            self.paths.flush()
            for note in _notes_on_earlier(config, self.journal, todo, self.tables.mark):
                progress.note(note)
            if gone := todo.earlier - todo.known:
                progress.note(
                    f"{gone:,} files of earlier runs are no longer in the source; what came "
                    "of them stays. To drop it, ingest into a new folder"
                )
            before = todo.listed - len(todo)
            if before:
                progress.note(f"{before:,} of {todo.listed:,} files were finished before")
            images, rejected = self.journal.counts()
            chosen = {name: getattr(config, name) for name in SETTINGS}
            options = Options(**chosen, key=self.key if config.write_dicom else b"")
            read = functools.partial(read_one, self.place.storage, options)
            with (
                progress.task("ingest", todo.listed, "files") as task,
                contextlib.closing(_engine(config, read, todo.jobs())) as finished,
            ):
                task.update(before, images=images, rejected=rejected)
                for done, (job, outcome) in enumerate(finished, start=before + 1):
                    if self._note_down(job, outcome or Outcome(None, "crashed")):
                        images += 1
                    else:
                        rejected += 1
                    task.update(done, images=images, rejected=rejected)

    def _note_down(self, job: Job, outcome: Outcome) -> bool:
        """Give what a worker made its place and its entry; return whether it is an image."""
        entry = entry_of(job, outcome, self.key, self.tables)
        row = entry.get("row")
        where = path_of(job.source)
        if row:
            _place(job, outcome, row, self.place.storage, self.journal)
            self.paths.add(row["image_id"], where)
        elif outcome.thumbnail:
            self.place.storage.move(job.target("png"), f"rejected/{job.source_hash}.png")
        self.paths.add(job.source_hash, where)
        self._note_people(entry, outcome)
        self.paths.flush()
        self.journal.add(entry)
        return row is not None

    def _note_people(self, entry: dict[str, Any], outcome: Outcome) -> None:
        """Keep whom the header names beside the key: reports of the study are scrubbed of them all."""
        holder = outcome.report or outcome.radiograph
        if holder is None:
            return
        who = holder.identity
        study = entry["row"]["study_hash"] if "row" in entry else entry["report"]["study"]
        ids = (who.patient_id, who.accession, who.study_uid, who.sop_uid)
        self.paths.add_people(study, filter(None, (*who.secrets, *ids)))

    def _scrub_again(self) -> None:
        """Scrub reports of what other files of their study say of people."""
        for entry in self.journal.with_texts():
            texts = entry.get("report", entry)
            study = texts["study"] if "report" in entry else entry["row"]["study_hash"]
            people, headers = self.paths.people_of(study)
            if headers > 1 and rescrubbed(texts, people):
                self.journal.add(entry)

    def _job(self, name: str, source: sources.Source) -> Job:
        return Job(name, self._everywhere(source), self._patient_of(source))

    def _everywhere(self, source: sources.Source) -> sources.Source:
        """The source under a path that holds in any working folder, for other machines."""
        if self.config.engine == "local" or is_url(source.path):
            return source
        return source._replace(path=os.path.abspath(source.path))  # noqa: PTH100, any bytes

    def _patient_of(self, source: sources.Source) -> str:
        """The patient that a table names for a file, for its DICOM to agree with the manifest."""
        if not self.config.write_dicom or not self.tables.metadata.values:
            return ""
        number = self.tables.metadata.find(join_keys(source.name, Identity(), self.key))
        return "" if number is None else self.tables.metadata.values[number].patient_hash

    def finish(self, began: float) -> IngestResult:
        """Write the tables, the summary, the card and the contact sheet."""
        config, place, tables = self.config, self.place, self.tables
        sheet = place.folder / "contact-sheet.png"
        with self.progress.task("tables", None, "rows") as task:
            self._scrub_again()
            made = write_tables(self.journal, place.folder, config.split, tables.mark)
            task.update(made.images + made.rejected)
            images, damaged = short_columns(place.folder), 0
            if made.images:
                damaged = write_contact_sheet(sheet, place.storage, images)
            else:
                sheet.unlink(missing_ok=True)
            prune(place.storage, images)
            prune_thumbnails(place)
        result = IngestResult(
            images=made.images,
            rejected=made.rejected,
            reasons=dict(made.reasons.most_common()),
            patients=len(images["patient_hash"].unique()),
            splits={name: made.splits[name] for name in SPLITS},
            reports_matched=made.found[0],
            reports_unmatched=unmatched(tables.reports, made.found[0]) + tables.reports.ambiguous,
            labels_matched=made.found[1],
            labels_unmatched=unmatched(tables.labels, made.found[1]),
            out=str(place.folder) if place.storage.local else place.storage.root,
            contact_sheet=sheet,
            seconds=round(time.monotonic() - began, 2),
        )
        _write_card(config, place, result, made, of_pictures(images))
        place.finish()
        if config.show_paths:
            self._show_paths()
        if not made.images:
            counted = ", ".join(f"{reason} {count:,}" for reason, count in result.reasons.items())
            raise DataError(
                "no usable radiograph in the source",
                f"{result.rejected:,} files were refused: {counted}" if counted else "it holds no files",
                "See rejected.parquet in the output folder." if counted else "Check the path.",
            )
        if damaged:
            self.progress.note(
                f"{damaged:,} of the {SHEET_IMAGES} images looked at were damaged on disk and were removed; "
                "run the same command again to make them anew, and look after the disk"
            )
        for note in _notes(config, result, images, made, tables):
            self.progress.note(note)
        return result

    def _show_paths(self) -> None:
        """Name the refused files, for whoever may know them."""
        for entry in self.journal.refused():
            row = entry["rejected"]
            path = self.paths.path_of(row["source_hash"])
            self.progress.note(f"{row['source_hash']} {row['reason']}: {_printable(path or '')}")


def _printable(path: str) -> str:
    """A path without signs that would steer a terminal or cannot be encoded: they are spelled out."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in path)


def _engine(
    config: IngestConfig, read: Callable[[Job], Outcome], jobs: Iterator[Job]
) -> Generator[tuple[Job, Outcome | None], None, None]:
    """Hand the jobs to the workers."""
    late = Outcome(None, "timed-out")
    if config.engine == "ray":
        from xraytk.data import cluster  # Ray is large, and an extra

        return cluster.each(read, jobs, address=config.address or None, late=late, memory_gb=MEMORY_GB)
    workers = -1 if _is_in_memory(config) else config.workers
    return each(read, jobs, abs(workers), late=late, apart=workers != -1, memory_gb=MEMORY_GB)


def _is_in_memory(config: IngestConfig) -> bool:
    """Whether only this process sees the source or the output: memory://."""
    return any(str(place).startswith("memory://") for place in (config.source, config.out))


def _listing(config: IngestConfig, place: Output, layout: Layout | None) -> Listing:
    """The source without what xraytk itself wrote, and without the tables that come with it."""
    work = Workspace(config.work)
    inputs = (
        *(getattr(config, name) for name in (*TABLES, "boxes")),
        key_path(config.key),
        place.storage.local,
    )
    leave_out = [work.ingest, work.masks, work.shards, work.runs, work.reports]
    leave_out += [place.folder, default_path(key_path(config.key))]
    leave_out += [path for path in inputs if path is not None]
    leave_out += layout.tables if layout else ()
    endings = layout.endings if layout else ()
    return Listing(str(config.source or ""), str(config.files_from or ""), leave_out, endings)


def _notes_on_earlier(config: IngestConfig, journal: Journal, todo: Todo, mark: str) -> list[str]:
    """What becomes of what the tables of earlier runs gave, for people."""
    notes = []
    if mark and todo.again:
        notes.append(f"the tables are not those of the earlier run: {todo.again:,} files are read again")
    stay = (0, 0, 0) if mark else journal.joined()
    given = {"reports": config.reports, "labels": config.labels, "metadata": config.metadata}
    for (name, table), lost, kept in zip(given.items(), todo.lost, stay, strict=True):
        if table is None and lost:
            notes.append(
                f"{name} of the earlier run are dropped: {lost:,} images; give --{name} again to keep them"
            )
        if kept:
            notes.append(f"{name} of the earlier run are kept: {kept:,} images; new files get none")
    return notes


def _place(job: Job, outcome: Outcome, row: dict[str, Any], storage: Storage, journal: Journal) -> None:
    """Give a new image its name, unless a file of smaller rank holds it."""
    holder = journal.holder(row["image_id"])
    names = {"png": row["path"]}
    if outcome.dicom:
        names["dcm"] = manifest.image_path(row["image_id"], "dicom")
    for ending, name in names.items():
        if holder is not None and holder < rank(job.name):
            storage.remove(job.target(ending))
        else:
            storage.move(job.target(ending), name)


def _write_card(
    config: IngestConfig, place: Output, result: IngestResult, made: Gathered, pictured: int
) -> None:
    """Write summary.json and card.html."""
    told = {
        "reports": {
            "matched": result.reports_matched,
            "unmatched": result.reports_unmatched,
            "identifiers_scrubbed": made.scrubbed.total(),
            "scrubbed_by_kind": dict(sorted(made.scrubbed.items())),
            "structured": made.structured,
        },
        "labels": {"matched": result.labels_matched, "unmatched": result.labels_unmatched},
    }
    summary = counts.summarise(place.folder, told)
    if config.write_dicom:
        summary["dicom"] = {"written": result.images - pictured, "from_pictures": pictured}
    write_json(place.folder / "summary.json", summary)
    card.write_card(place.folder, reasons=REASONS, summary=summary, images=place.storage)


def _notes_on_boxes(config: IngestConfig, made: Gathered, tables: Tables) -> Iterator[str]:
    if config.boxes is not None:
        yield f"boxes: {made.boxed:,} images have some; the table names {len(tables.boxes.values):,}" + (
            "" if made.boxed else "; entries match as those of other tables"
        )
    if made.boxes_lost:
        yield (
            f"boxes: {made.boxes_lost:,} lie outside of their image and were left out; x, y, width, height "
            "are in pixels of the original image"
        )


def _notes(
    config: IngestConfig, result: IngestResult, images: pa.Table, made: Gathered, tables: Tables
) -> Iterator[str]:
    """What a person would want to know before going on."""
    hint = "match by file name, accession number, StudyInstanceUID or SOPInstanceUID"
    for name, given, matched, left in (
        ("reports", config.reports, result.reports_matched, result.reports_unmatched),
        ("labels", config.labels, result.labels_matched, result.labels_unmatched),
        ("metadata", config.metadata, made.found[2], unmatched(tables.metadata, made.found[2])),
    ):
        if given is not None and left:
            yield f"{name}: {matched:,} entries belong to an image, {left:,} do not" + (
                "" if matched else f"; entries {hint}"
            )
    yield from _notes_on_boxes(config, made, tables)
    for name, count in zip(TABLES, made.ambiguous, strict=True):
        if count:
            yield (
                f"{name}: {count:,} rows name files of several studies; "
                + ("they may be mixed up" if name == "metadata" else "they were left out")
                + ". Write longer paths, or StudyInstanceUIDs, into the table"
            )
    if clashes := made.reasons["uid-clash"]:
        yield f"{clashes:,} images have the SOP Instance UID of another image, and were left out"
    if config.write_dicom and (found := of_pictures(images)):
        yield f"{found:,} images came from pictures (PNG, JPEG, TIFF): no DICOM file is written of them"
    if made.structured:
        yield f"{made.structured:,} images have the text of a structured report of their study"
    empty = [n for n, share in zip(SPLITS, config.split, strict=True) if share and not result.splits[n]]
    if empty:
        yield (
            f"no image is in {' or '.join(empty)}: there are {result.patients:,} patients, and a split is "
            "drawn per patient; give it larger shares, for example --set split=[0.6,0.2,0.2]"
        )
    for look, what in (("TURNED", "lie on their side or head"), ("INVERTED", "have bone dark")):
        if found := pc.sum(pc.equal(images["pixel_view"], look)).as_py():
            yield f"{found:,} images seem to {what}; look at them (pixel_view in the manifest)"
    if burned_in := pc.sum(images["burned_in"]).as_py():
        yield f"{burned_in:,} images say that text is burned into their pixels; look at them"
    if found := pc.sum(pc.greater(images["text_boxes"], 0)).as_py():
        done = {"blank": "it was blanked", "keep": "it was kept"}[config.burned_in]
        yield f"text was found in the pixels of {found:,} images: {done}"
