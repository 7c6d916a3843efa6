"""wrap: public pictures -> DICOM files as a hospital would keep them.

Most public chest radiographs are PNG or JPEG. Wrapped as DX or CR objects, with stored bits,
windows, both senses of the grey scale and several transfer syntaxes, they walk the same road
as an archive's own files.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import re
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from pydicom import dcmread

from xraytk.data.dicom import Refused, read_radiograph
from xraytk.data.dicom_write import SYNTAXES, uid_from, write_dx
from xraytk.data.header import view_of, years_of
from xraytk.data.pool import each
from xraytk.data.sheet import Lookup, Sheet, grouped, join_keys, read_sheet
from xraytk.data.sources import Source, UnreadableError, list_sources, read_source
from xraytk.errors import DataError, UsageError, XraytkError
from xraytk.files import folder_lock, remove_leftovers
from xraytk.progress import Progress, Silent
from xraytk.records import Identity

_ENDINGS = (".png", ".jpg", ".jpeg", ".tif", ".tiff")
REASONS = {
    "unsafe-name": "the name leads out of the folder, or cannot be a file's name there",
    "crashed": "decoding ended the worker process, twice",
    "unexpected-error": "wrapping failed in a way that was not foreseen",
}
"""Why wrap itself rejects a picture; the others are in `data.sources` and `data.dicom`."""

_LONGEST_NAME = 200  # bytes; file systems take 255, a temporary name needs some of them
_LONGEST_PATH = 2000
_KEY = b"wrap"  # of a lookup in memory; nothing hashed with it is written
_FACTS = {
    "patient": ("patient", "patientid", "subject", "subjectid", "病人", "患者"),
    "sex": ("sex", "gender", "patientsex", "patientgender", "性别"),
    "age": ("age", "patientage", "ageyears", "年龄"),
    "view": ("view", "viewposition", "position", "体位"),
    "modality": ("modality",),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class WrapConfig:
    """What to wrap, and as what.

    Args:
        source: A folder of PNG, JPEG or TIFF pictures (with all below it), a zip, or one picture.
        out: Folder for the DICOM files; the tree of the source is kept.
        metadata: CSV or JSONL with a file column, and patient, sex, age, view, modality where known.
        bits: Stored bits.
        syntaxes: Transfer syntaxes, taken in turn.
        photometric: Sense of the grey scale; "mixed" makes a third of them MONOCHROME1.
        seed: Of the choice of grey ranges, and of the UIDs.
        workers: Processes; 0 is one per processor, 1 works in this process.
    """

    source: Path
    out: Path
    metadata: Path | None = None
    bits: int = 12
    syntaxes: tuple[str, ...] = ("explicit", "jpeg-lossless", "implicit", "jpeg-ls", "rle", "jpeg2000")
    photometric: Literal["MONOCHROME2", "MONOCHROME1", "mixed"] = "mixed"
    seed: int = 0
    workers: int = 0

    def __post_init__(self) -> None:
        """Check the values."""
        if not 8 <= self.bits <= 16:
            raise UsageError(f"bits is {self.bits}", "wanted 8 to 16")
        unknown = [s for s in self.syntaxes if s not in SYNTAXES]
        if unknown or not self.syntaxes:
            raise UsageError(f"syntaxes is {list(self.syntaxes)}", f"wanted some of: {', '.join(SYNTAXES)}")
        if self.seed < 0:
            raise UsageError(f"seed is {self.seed}", "wanted 0 or more")
        if self.workers < 0:
            raise UsageError(f"workers is {self.workers}", "wanted 0 (one per processor) or more")


@dataclass(frozen=True, slots=True)
class WrapResult:
    """What came out.

    Args:
        written: Files written by this run.
        skipped: Files that an earlier run had written whole.
        rejected: Pictures that could not be wrapped.
        reasons: Rejected pictures by reason: `REASONS` here, in `data.sources` and in `data.dicom`.
        described: Pictures for which the metadata table had a row.
        out: The folder.
        seconds: Wall time.
    """

    written: int
    skipped: int
    rejected: int
    reasons: dict[str, int]
    described: int
    out: Path
    seconds: float


@dataclass(frozen=True, slots=True)
class _About:
    """What the metadata table says of one picture. Never prints itself."""

    patient: str = field(default="", repr=False)
    sex: str = ""
    age_years: float | None = None
    view: str = ""
    modality: str = ""


@dataclass(frozen=True, slots=True)
class _Job:
    """One picture. Holds paths, so it never prints itself."""

    source: Source = field(repr=False)
    target: Path | None = field(repr=False)
    about: _About = field(repr=False)
    bits: int = 12
    syntax: str = "explicit"
    photometric: str = "mixed"
    seed: int = 0


def run(config: WrapConfig, progress: Progress | None = None) -> WrapResult:
    """Wrap all pictures; a rerun skips what is whole.

    Args:
        config: What to wrap.
        progress: Where to report to.

    Returns:
        Counts.

    Raises:
        UsageError: If the source or the table does not exist.
        DataError: If there is no picture, or the table lacks a column.
    """
    began = time.monotonic()
    progress = progress or Silent()
    if not config.source.exists():
        raise UsageError(f"source {config.source} does not exist")
    with folder_lock(config.out):
        for folder in (config.out, *(p for p in config.out.rglob("*") if p.is_dir())):
            remove_leftovers(folder)
        table = _read_table(config.metadata) if config.metadata else None
        jobs = list(_jobs(config, table))
        if not jobs:
            raise DataError(
                f"there are no pictures in {config.source}", f"wanted files ending in {', '.join(_ENDINGS)}"
            )
        told: Counter[str] = Counter()
        with progress.task("wrap", len(jobs)) as task:
            for i, (_, outcome) in enumerate(each(_wrap, jobs, config.workers)):
                told[outcome or "crashed"] += 1
                bad = i + 1 - told["written"] - told["skipped"]
                task.update(i + 1, **({"rejected": bad} if bad else {}))
    reasons = {r: n for r, n in sorted(told.items()) if r not in ("written", "skipped")}
    return WrapResult(
        written=told["written"],
        skipped=told["skipped"],
        rejected=sum(reasons.values()),
        reasons=reasons,
        described=sum(job.about != _About() for job in jobs),
        out=config.out,
        seconds=round(time.monotonic() - began, 1),
    )


def _read_table(path: Path) -> Lookup[_About]:
    sheet = read_sheet(path)
    if not any(kind == "file" for kind, _ in sheet.key_columns()):
        raise sheet.lacks("a file column")
    at = {fact: i for fact, names in _FACTS.items() if (i := sheet.place(names)) is not None}
    if not at:
        raise sheet.lacks("facts: patient, sex, age, view or modality")

    def about(_: int, row: tuple[str, ...]) -> _About:
        cells = {fact: row[i].strip() for fact, i in at.items()}
        modality = cells.get("modality", "").upper()
        return _About(
            patient=cells.get("patient", ""),
            sex={"M": "M", "F": "F", "男": "M", "女": "F"}.get(cells.get("sex", "").upper()[:1], ""),
            age_years=years_of(cells.get("age", "")),
            view=view_of(cells.get("view", "")),
            modality=modality if modality in ("CR", "DX") else "",
        )

    return Lookup(grouped(_only_files(sheet), about, lambda a, b: a if a == b else None), _KEY)


def _only_files(sheet: Sheet) -> Sheet:
    """Drop cells of other keys, so that rows are found by their file."""
    file = next(index for kind, index in sheet.key_columns() if kind == "file")
    names = tuple("file" if i == file else f"({c})" for i, c in enumerate(sheet.columns))
    others = {index for kind, index in sheet.key_columns() if kind != "file"}
    columns = tuple(
        n if i == file or i in others else c
        for i, (n, c) in enumerate(zip(names, sheet.columns, strict=True))
    )
    return Sheet(sheet.name, columns, sheet.rows)


def _jobs(config: WrapConfig, table: Lookup[_About] | None) -> Iterator[_Job]:
    """One job a picture, in a stable order; its syntax follows from its place."""
    taken: set[str] = set()
    root = config.out.resolve()
    pictures = (
        s for s in list_sources(config.source, leave_out=[config.out]) if s.name.lower().endswith(_ENDINGS)
    )
    for i, source in enumerate(pictures):
        name = _free_name(source.name, taken)
        target = root / f"{name}.dcm"
        taken.add(name.casefold())
        found = table.find(join_keys(source.name, Identity(), _KEY)) if table else None
        yield _Job(
            source=source,
            target=target if _is_safe(target, root) else None,
            about=table.values[found] if table and found is not None else _About(),
            bits=config.bits,
            syntax=config.syntaxes[i % len(config.syntaxes)],
            photometric=config.photometric,
            seed=config.seed,
        )


def _free_name(name: str, taken: set[str]) -> str:
    r"""A relative path below the folder, without ending, that no other picture has.

    Members of zips may be named "../x", "/x" or "C:\x": only the plain parts count. A folder
    never ends in ".dcm", so that it is never in the way of a file. "" when nothing is left.
    """
    parts = [re.sub(r"^[A-Za-z]:", "", part) for part in re.split(r"[/\\]", name)]
    parts = [part for part in parts if part.strip(". ")]
    folders = [re.sub(r"(?i)\.dcm$", "-dcm", part) for part in parts[:-1]]
    last = parts[-1] if parts else ""
    stem = last.rpartition(".")[0]
    if not stem.strip(". "):
        return ""
    free = itertools.chain(
        (stem, last.replace(".", "-")), (f"{last.replace('.', '-')}-{n}" for n in itertools.count(2))
    )
    paths = ("/".join([*folders, candidate]) for candidate in free)
    return next(path for path in paths if path.casefold() not in taken)


def _is_safe(target: Path, root: Path) -> bool:
    """Whether a file can be written there, and lies in the folder, whatever links there are."""
    try:
        return (
            target.name != ".dcm"
            and all(len(os.fsencode(p)) <= _LONGEST_NAME for p in target.relative_to(root).parts)
            and len(os.fsencode(target)) <= _LONGEST_PATH
            and "\0" not in str(target)
            and target.resolve().is_relative_to(root)
            and not target.is_dir()
            and all(p.is_dir() or not p.exists() for p in target.parents)
        )
    except (OSError, ValueError, RuntimeError):
        return False


def _wrap(job: _Job) -> str:
    """Wrap one picture: "written", "skipped", or the reason why not."""
    if job.target is None:
        return "unsafe-name"
    try:
        return _wrap_to(job, job.target)
    except (UnreadableError, Refused) as refused:
        return refused.reason
    except XraytkError:  # a full disk would stop every other picture too
        raise
    except Exception:
        return "unexpected-error"


def _wrap_to(job: _Job, target: Path) -> str:
    data = read_source(job.source)
    digest = hashlib.sha256(data).hexdigest()
    about = job.about
    sop = uid_from(
        "wrap",
        job.source.name,
        digest,
        job.bits,
        job.syntax,
        job.photometric,
        job.seed,
        _about_key(about),
    )
    if _is_whole(target, sop):
        return "skipped"
    picture = read_radiograph(data)
    rng = np.random.default_rng(int(sop.split(".")[-1]))
    stored, window, photometric = _stored(picture.pixels, job, rng)
    patient = about.patient or f"P{hashlib.sha256(os.fsencode(job.source.name)).hexdigest()[:10]}"
    write_dx(
        target,
        stored,
        bits_stored=job.bits,
        photometric=photometric,
        syntax=job.syntax,
        window=window,
        modality="CR" if about.modality == "CR" else "DX",
        view=about.view,
        patient_id=patient,
        patient_name=f"Public^{patient}",
        sex=about.sex,
        age_years=about.age_years,
        study_uid=uid_from("wrap-study", job.seed, job.source.name, digest),
        sop_uid=sop,
        accession=f"W{digest[:12].upper()}",
        institution="Public data",
    )
    return "written"


def _about_key(about: _About) -> str:
    """The facts as one text, so that a changed table makes another object."""
    return "|".join(map(str, (about.patient, about.sex, about.age_years, about.view, about.modality)))


def _is_whole(path: Path, sop_uid: str) -> bool:
    """Whether a file is there and is the one that would be written; files appear only when whole."""
    if not path.exists():
        return False
    try:
        return (
            str(dcmread(path, specific_tags=["SOPInstanceUID"], stop_before_pixels=True).SOPInstanceUID)
            == sop_uid
        )
    except Exception:
        return False


def _stored(
    pixels: np.ndarray[tuple[int, ...], np.dtype[np.uint16]], job: _Job, rng: np.random.Generator
) -> tuple[
    np.ndarray[tuple[int, ...], np.dtype[np.uint16]],
    tuple[float, float],
    Literal["MONOCHROME1", "MONOCHROME2"],
]:
    """Spread the greys over most of the stored bits, with the LINEAR window that brings them back.

    Source:
        PS3.3 C.11.2.1.2: the window runs from c - 0.5 - (w-1)/2 to c - 0.5 + (w-1)/2.
    """
    top = (1 << job.bits) - 1
    spare = 0 if job.bits == 8 else top // 16
    low, high = int(rng.integers(0, spare + 1)), top - int(rng.integers(0, spare + 1))
    stored = (low + (pixels.astype(np.uint64) * (high - low) + 32767) // 65535).astype(np.uint16)
    inverted = job.photometric == "MONOCHROME1" or (job.photometric == "mixed" and rng.random() < 1 / 3)
    if inverted:
        stored, low, high = (top - stored).astype(np.uint16), top - high, top - low
    window = ((low + high) / 2 + 0.5, float(high - low + 1))
    return stored, window, "MONOCHROME1" if inverted else "MONOCHROME2"
