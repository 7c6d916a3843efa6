"""Indiana University's chest X-rays of Open-i: the NLM's XML reports, or the two CSVs of Kaggle.

Source:
    Demner-Fushman et al., Preparing a collection of radiology examinations, JAMIA 2016; the
    collection has one study per patient.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree as ET

from xraytk.data.layouts.cells import file_key, hasher, report_of, tidy, view_of
from xraytk.data.layouts.layout import Counts, Draft, Named
from xraytk.data.layouts.tables import Index, PublicSet, rows_of
from xraytk.data.text import Facts, Report
from xraytk.errors import DataError

OPENI = PublicSet(
    "Indiana University chest X-rays (Open-i)",
    "openi.nlm.nih.gov/faq#collection",
    {"indiana_reports.csv": ("uid", "MeSH", "findings", "impression")},
)
_XML_NAME = re.compile(r"\d{1,6}\.xml")
_MAX_XML_BYTES = 1 << 20
_TRIES = 20
_UNKNOWN = ("no indexing", "technical quality of image unsatisfactory")
_MAX_NAME = 64
_IMAGE_ID = re.compile(r"CXR(\d+)_(?:\1_)?(.+)")


@dataclass(frozen=True, slots=True)
class _Study:
    """One report.

    Args:
        number: Of the study, which is the patient's: "1".
        images: Names.
        report: Findings and impression.
        terms: Headings of MeSH and RadLex without their qualifiers; empty where nobody indexed it.
    """

    number: str = field(repr=False)
    images: tuple[str, ...] = field(repr=False)
    report: Report
    terms: frozenset[str]


def xml_folder(index: Index) -> Path | None:
    """The folder of the XML reports, if there is one: of its first files one is a report."""
    xml = [path for name, path in index.files.items() if _XML_NAME.fullmatch(name)]
    for folder in dict.fromkeys(path.parent for path in xml):
        if any(_parse(path) for path in _xml_files(folder)[:_TRIES]):
            return folder
    return None


def _xml_files(folder: Path) -> list[Path]:
    try:
        files = [path for path in folder.iterdir() if _XML_NAME.fullmatch(path.name)]
    except OSError:
        return []
    return sorted(files, key=lambda p: int(p.stem))


def read_openi(index: Index, key: bytes) -> Draft:
    """Read Open-i: reports, labels of MeSH headings, patients; of Kaggle's form, views too.

    Args:
        index: The folder's tables.
        key: Of the hashes.

    Raises:
        DataError: If neither reports nor tables are there.
    """
    folder, table = xml_folder(index), OPENI.main(index)
    projections = index.find("indiana_projections.csv")
    notes = ["Open-i has no official split: patients are drawn"]
    if folder is None and (table is None or projections is None):
        raise DataError(
            f"the folder does not hold {OPENI.title} as published",
            "looked for ecgen-radiology/1.xml (or NLMCXR_reports/ecgen-radiology/1.xml), and for "
            "indiana_reports.csv with indiana_projections.csv; plain, .gz or .zip",
            f"The set is to be had at {OPENI.site}; put its reports beside the images.",
        )

    def studies(counts: Counts) -> Iterator[_Study]:
        if folder is not None:
            return _from_xml(folder, counts)
        assert table is not None and projections is not None  # noqa: PT018
        return _from_tables(table, projections, counts)

    names = sorted({term for study in studies(Counter()) for term in study.terms})

    def facts(counts: Counts) -> Iterator[tuple[str, str, Facts]]:
        views = _views(projections) if folder is None and projections else {}
        return _facts(studies(counts), views, key)

    return Draft(
        tables=() if folder else tuple(t for t in (table, projections) if t),
        metadata=facts,
        labels=lambda counts: _labels(studies(Counter()), names),
        reports=lambda counts: _reports(studies(Counter())),
        notes=tuple(notes),
    )


def _from_xml(folder: Path, counts: Counts) -> Iterator[_Study]:
    """Studies in the order of their numbers."""
    for path in _xml_files(folder):
        study = _parse(path)
        if study is None:
            counts["reports left out: they are no XML of the collection"] += 1
        elif not study.images:
            counts["reports without images"] += 1
        else:
            yield study


def _parse(path: Path) -> _Study | None:
    try:
        with path.open("rb") as stream:
            data = stream.read(_MAX_XML_BYTES + 1)
        if len(data) > _MAX_XML_BYTES or b"<!ENTITY" in data:
            return None
        root = ET.fromstring(data)  # noqa: S314, without entities it cannot grow
    except (OSError, ET.ParseError, ValueError):
        return None
    if root.tag != "eCitation":
        return None
    texts = {e.get("Label", "").upper(): e.text or "" for e in root.iter("AbstractText")}
    uid = next((e.get("id", "") for e in root.iter("uId")), "") or f"CXR{path.stem}"
    return _Study(
        number=uid.removeprefix("CXR"),
        images=tuple(i for e in root.iter("parentImage") if (i := e.get("id", ""))),
        report=report_of(texts.get("FINDINGS", ""), texts.get("IMPRESSION", "")),
        terms=_terms(e.text or "" for e in root.iter("major")),
    )


def _terms(headings: Iterator[str]) -> frozenset[str]:
    """The headings of "Cardiomegaly/borderline"; none when the study was not indexed."""
    terms = {tidy(h.split("/")[0]) for h in headings} - {""}
    if any(t.casefold() in _UNKNOWN for t in terms):
        return frozenset()
    return frozenset(t for t in terms if len(t) <= _MAX_NAME)


def _from_tables(table: Path, projections: Path, counts: Counts) -> Iterator[_Study]:
    images: dict[str, list[str]] = {}
    for uid, name in rows_of(projections, ["uid", "filename"], counts):
        images.setdefault(uid, []).append(name)
    columns = ["uid", "MeSH", "findings", "impression"]
    for uid, mesh, findings, impression in rows_of(table, columns, counts):
        if uid not in images:
            counts["reports without images"] += 1
            continue
        terms = _terms(iter(mesh.split(";")))
        yield _Study(uid, tuple(images[uid]), report_of(findings, impression), terms)


def _views(projections: Path) -> dict[str, str]:
    """Lateral images by name; that an image is frontal does not tell PA from AP."""
    rows = rows_of(projections, ["filename", "projection"], Counter())
    return {name: view_of(side) for name, side in rows if view_of(side)}


def _keys(image: str) -> tuple[str, ...]:
    """PNGs are named "CXR1_1_IM-0001-3001", the DICOM files "1_IM-0001-3001"."""
    found = _IMAGE_ID.fullmatch(image)
    return (file_key(image), file_key(f"{found[1]}_{found[2]}")) if found else (file_key(image),)


def _facts(
    studies: Iterator[_Study], views: Mapping[str, str], key: bytes
) -> Iterator[tuple[str, str, Facts]]:
    patient_hash, study_hash = hasher(key, "patient", "openi"), hasher(key, "study", "openi")
    for study in studies:
        who, which = patient_hash(study.number), study_hash(study.number)
        for image in study.images:
            for name in _keys(image):
                yield "file", name, Facts(patient_hash=who, study_hash=which, view=views.get(image, ""))


def _labels(studies: Iterator[_Study], names: list[str]) -> Iterator[tuple[str, str, Mapping[str, float]]]:
    """A heading that a study does not have is absent."""
    everything = dict.fromkeys(names)
    for study in studies:
        if study.terms:
            yield "study", f"openi:{study.number}", Named(everything, study.terms)


def _reports(studies: Iterator[_Study]) -> Iterator[tuple[str, str, Report]]:
    for study in studies:
        if study.report != Report():
            yield "study", f"openi:{study.number}", study.report
