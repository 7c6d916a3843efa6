"""Phantom radiographs, and whole archives of them as a hospital keeps them.

`make_phantom` makes one; `write_archive` writes a tree of DICOM files, reports and labels.
The patients are invented. Their names, numbers and dates are there so that de-identification
has something to remove.
"""

from __future__ import annotations

import csv
import io
import multiprocessing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import cv2
import numpy as np

from xraytk.data.dicom_write import uid_from, write_dx
from xraytk.data.phantoms.lesions import Finding
from xraytk.data.phantoms.phantom import LABELS, Phantom, make_phantom
from xraytk.data.pool import each
from xraytk.errors import MachineError
from xraytk.files import atomic_write
from xraytk.progress import Progress, Silent

__all__ = ["LABELS", "ArchiveResult", "Finding", "Phantom", "make_phantom", "write_archive"]

_FAMILY = (
    ("Wang", "王"), ("Li", "李"), ("Zhang", "张"), ("Liu", "刘"), ("Chen", "陈"), ("Yang", "杨"),
    ("Huang", "黄"), ("Zhou", "周"), ("Wu", "吴"), ("Smith", ""), ("Garcia", ""), ("Mueller", ""),
    ("Rossi", ""), ("Dubois", ""), ("Kowalski", ""), ("Okafor", ""), ("Johansson", ""), ("Novak", ""),
)  # fmt: skip
_GIVEN_ZH = (
    ("Wei", "伟"), ("Fang", "芳"), ("Xiuying", "秀英"), ("Jianguo", "建国"), ("Min", "敏"), ("Lei", "磊"),
)  # fmt: skip
_GIVEN = (
    "Anna",
    "James",
    "Maria",
    "Peter",
    "Lucia",
    "Tomas",
    "Grace",
    "Erik",
    "Elena",
    "Paul",
    "Nora",
    "Victor",
)
_SITES = (
    ("Saint Aurelia Hospital", "Radion AG"),
    ("滨江市第二人民医院", "Lumira Medical"),
    ("Northfield Clinic", "Helios Imaging"),
)
_SYNTAXES = (
    "explicit", "implicit", "jpeg-lossless", "jpeg-ls", "jpeg2000",
    "rle", "explicit", "htjpeg2000", "deflated", "big-endian",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class ArchiveResult:
    """What `write_archive` wrote.

    Args:
        folder: The tree of DICOM files.
        reports: CSV: AccessionNumber, StudyInstanceUID, en, zh.
        labels: CSV: StudyInstanceUID and a column of 0 and 1 for each label.
        boxes: CSV: StudyInstanceUID, x, y, width, height (pixels), label: around each finding.
        patients: Number of patients.
        images: Number of images; every study has one.
    """

    folder: Path
    reports: Path
    labels: Path
    boxes: Path
    patients: int
    images: int


@dataclass(frozen=True, slots=True)
class _Study:
    accession: str
    study_uid: str
    en: str
    zh: str
    labels: tuple[int, ...]
    boxes: tuple[tuple[object, ...], ...]


def write_archive(
    folder: Path,
    *,
    patients: int,
    seed: int = 0,
    size_px: int = 1024,
    workers: int = 1,
    progress: Progress | None = None,
) -> ArchiveResult:
    """Write phantoms as DICOM files, with reports, labels and boxes; the same seed, the same bytes.

    A patient has one or two studies of one image. The files use 12 stored bits, both senses of
    the grey scale, windows, and every lossless transfer syntax; some names have no ending.

    Args:
        folder: Where to; ``dicom/``, ``reports.csv``, ``boxes.csv`` and ``labels.csv`` are made in it.
        patients: How many.
        seed: Any whole number >= 0.
        size_px: Long side of the images.
        workers: Processes; 0 is one per processor, 1 works in this process.
        progress: Where to report to.

    Returns:
        Paths and counts.
    """
    made: dict[int, list[_Study]] = {}
    make = partial(_write_patient, folder / "dicom", seed, size_px)
    with (progress or Silent()).task("phantoms", patients, "patients") as task:
        for index, written in each(make, range(patients), workers):
            if written is None:
                raise MachineError("a worker process died while making phantoms", todo="Try with workers=1.")
            made[index] = written
            task.update(len(made))
    studies = [study for index in sorted(made) for study in made[index]]
    reports, labels, boxes = (folder / f"{name}.csv" for name in ("reports", "labels", "boxes"))
    _write_csv(
        reports,
        ("AccessionNumber", "StudyInstanceUID", "en", "zh"),
        [(s.accession, s.study_uid, s.en, s.zh) for s in studies],
    )
    drawn = [(study.study_uid, *box) for study in studies for box in study.boxes]
    _write_csv(boxes, ("StudyInstanceUID", "x", "y", "width", "height", "label"), drawn)
    _write_csv(labels, ("StudyInstanceUID", *LABELS), [(s.study_uid, *s.labels) for s in studies])
    return ArchiveResult(folder / "dicom", reports, labels, boxes, patients, len(studies))


def _write_patient(folder: Path, seed: int, size_px: int, index: int) -> list[_Study]:
    """Write all studies of one patient."""
    if multiprocessing.parent_process() is not None:
        cv2.setNumThreads(1)
    rng = np.random.default_rng([seed, index, 1])
    patient_id = f"{rng.integers(10**7, 10**8)}"
    site, device = _SITES[index % len(_SITES)]
    count = 1 + int(rng.random() < 0.3)
    name, sex = _name(rng), str(rng.choice(["M", "F"]))
    year = int(rng.integers(2016, 2022))
    studies = []
    birth_year: int | None = None
    birth_rest = f"{rng.integers(1, 13):02d}{rng.integers(1, 28):02d}"
    for number in range(count):
        phantom = make_phantom(int(rng.integers(2**31)), size_px=size_px, sex=sex)
        date = f"{year + number}{rng.integers(1, 13):02d}{rng.integers(1, 28):02d}"
        birth_year = birth_year or year - phantom.age_years
        accession = f"A{date[2:]}{index:05d}{number}"
        study_uid = uid_from("phantom-study", seed, index, number)
        pixels, window, photometric = _stored(phantom.pixels, rng)
        where = folder / date[:4] / patient_id / f"S{number + 1}"
        write_dx(
            where / ("IM0001" if rng.random() < 0.3 else "IM0001.dcm"),
            pixels,
            bits_stored=12,
            photometric=photometric,
            syntax=_SYNTAXES[(3 * index + number) % len(_SYNTAXES)],
            window=window,
            modality="CR" if rng.random() < 0.3 else "DX",
            view=phantom.view,
            spacing_mm=(phantom.spacing_mm, phantom.spacing_mm),
            patient_id=patient_id,
            patient_name=name,
            birth_date=f"{birth_year}{birth_rest}",
            sex=phantom.sex,
            age_years=year + number - birth_year,
            study_uid=study_uid,
            series_uid=uid_from("phantom-series", seed, index, number),
            sop_uid=uid_from("phantom-image", seed, index, number),
            accession=accession,
            study_date=date,
            institution=site,
            manufacturer=device,
        )
        labels = tuple(phantom.labels[label] for label in LABELS)
        texts = (phantom.reports["en"], phantom.reports["zh"])
        studies.append(_Study(accession, study_uid, *texts, labels, boxes_of(phantom)))
    return studies


def boxes_of(phantom: Phantom) -> tuple[tuple[object, ...], ...]:
    """Boxes around the findings of a phantom: x, y, width, height in its pixels, label."""
    height, width = phantom.pixels.shape
    made = []
    for finding in phantom.findings:
        if finding.box is not None:
            x0, y0, x1, y1 = finding.box
            sides = (x0 * width, y0 * height, (x1 - x0) * width, (y1 - y0) * height)
            made.append((*(round(side, 1) for side in sides), finding.name))
    return tuple(made)


def _name(rng: np.random.Generator) -> str:
    family, character = _FAMILY[int(rng.integers(len(_FAMILY)))]
    if character:
        given, characters = _GIVEN_ZH[int(rng.integers(len(_GIVEN_ZH)))]
        return f"{family}^{given}={character}^{characters}"
    return f"{family}^{rng.choice(_GIVEN)}"


def _stored(
    grey: np.ndarray[tuple[int, ...], np.dtype[np.float32]], rng: np.random.Generator
) -> tuple[
    np.ndarray[tuple[int, ...], np.dtype[np.uint16]],
    tuple[float, float],
    Literal["MONOCHROME1", "MONOCHROME2"],
]:
    """Spread grey over part of 12 bits, with the LINEAR window that brings it back.

    Source:
        PS3.3 C.11.2.1.2: the window runs from c - 0.5 - (w-1)/2 to c - 0.5 + (w-1)/2.
    """
    low, high = int(rng.integers(40, 700)), int(rng.integers(2800, 4050))
    stored = np.rint(low + grey * (high - low)).astype(np.uint16)
    inverted = rng.random() < 0.35
    if inverted:
        stored, low, high = (4095 - stored).astype(np.uint16), 4095 - high, 4095 - low
    window = ((low + high) / 2 + 0.5, float(high - low + 1))
    return stored, window, "MONOCHROME1" if inverted else "MONOCHROME2"


def _write_csv(path: Path, head: tuple[str, ...], rows: list[tuple[object, ...]]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(head)
    writer.writerows(rows)
    with atomic_write(path, "w") as stream:
        stream.write(text.getvalue())
