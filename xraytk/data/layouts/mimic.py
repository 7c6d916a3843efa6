"""MIMIC-CXR-JPG, and MIMIC-CXR (DICOM) with its tables; reports of both.

Source:
    Johnson et al., MIMIC-CXR-JPG 2.1.0 and MIMIC-CXR 2.1.0, PhysioNet 2024. Sections of the
    reports as the owners' own code takes them: findings and impression, else the last paragraph.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

from xraytk.data.layouts.cells import LabelRows, file_key, hasher, report_of, view_of
from xraytk.data.layouts.chexpert import FINDINGS
from xraytk.data.layouts.layout import Counts, Draft, nothing
from xraytk.data.layouts.tables import Index, PublicSet, rows_of
from xraytk.data.text import Facts, Report
from xraytk.errors import DataError

MIMIC = PublicSet(
    "MIMIC-CXR",
    "physionet.org/content/mimic-cxr-jpg and physionet.org/content/mimic-cxr (credentialed access)",
    dict.fromkeys(
        ("mimic-cxr-2*-metadata.csv", "mimic-cxr-2*-split.csv", "cxr-record-list.csv"),
        ("dicom_id", "study_id", "subject_id"),
    ),
)
_SPLITS = {"train": "train", "validate": "val", "test": "test"}
_IDS = ("dicom_id", "subject_id", "study_id")
_VIEWS = ("ViewPosition", "ViewCodeSequence_CodeMeaning")
_HEADING = re.compile(r"^[ \t]*([A-Z][A-Z /&,()-]{2,60}?)[ \t]*:", re.MULTILINE)
_STUDY = re.compile(r"s(\d+)\.txt")
_GROUP = re.compile(r"p\d\d")
_PATIENT = re.compile(r"p\d{8}")
_MAX_REPORT_BYTES = 1 << 20


def read_mimic(index: Index, key: bytes) -> Draft:
    """Read MIMIC-CXR: views, patients, studies, the official split, labels and reports by study.

    Args:
        index: The folder's tables.
        key: Of the hashes.

    Raises:
        DataError: If no table of the images is there, or one is broken.
    """
    main = MIMIC.need(index)
    split = index.find("mimic-cxr-2*-split.csv")
    chexpert, negbio = index.find("mimic-cxr-2*-chexpert.csv"), index.find("mimic-cxr-2*-negbio.csv")
    labels = chexpert or negbio
    sections = index.find("mimic_cxr_sectioned.csv")
    notes = [] if split else ["no mimic-cxr-2.0.0-split.csv: patients are drawn anew, not the official split"]
    if chexpert and negbio:
        notes.append("labels are those of the CheXpert labeler; NegBio's are passed over")
    part_of = {} if split is None else _parts(split, key)
    folders = [] if sections else _report_folders(index.folder)
    if not folders and sections is None:
        notes.append("no reports: neither files/p10/p10000032/s50414267.txt nor mimic_cxr_sectioned.csv")

    def reports(counts: Counts) -> Iterator[tuple[str, str, Report]]:
        return _sectioned(sections, counts) if sections else _reports(folders, counts)

    return Draft(
        tables=tuple(t for t in (main, split, chexpert, negbio, sections) if t),
        metadata=lambda counts: _facts(main, key, part_of, counts),
        labels=lambda counts: _labels(labels, counts) if labels else nothing(counts),
        reports=reports,
        notes=tuple(notes),
    )


def study_cell(study: str) -> str:
    """The key of a study, of which the hash is its images' study_hash."""
    return f"mimic:{study}"


def _parts(table: Path, key: bytes) -> dict[str, str]:
    """Part of each patient, by hash; the table has a row per image, and gives a patient one part.

    Raises:
        DataError: If a patient stands in two parts: then it is not the table as published.
    """
    part_of: dict[str, str] = {}
    patient_hash = hasher(key, "patient", "mimic")
    for subject, split in rows_of(table, ["subject_id", "split"], Counter()):
        part = _SPLITS.get(split, "")
        if subject.isdecimal() and part and part_of.setdefault(patient_hash(subject), part) != part:
            raise DataError(
                f"table {table.name} puts a patient into two parts",
                "the published one does not",
                "Fetch it again.",
            )
    return part_of


def _facts(
    main: Path, key: bytes, part_of: Mapping[str, str], counts: Counts
) -> Iterator[tuple[str, str, Facts]]:
    patient_hash, study_hash = hasher(key, "patient", "mimic"), hasher(key, "study", "mimic")
    for image, subject, study, position, meaning in rows_of(main, _IDS, counts, _VIEWS):
        if not image or not subject.isdecimal() or not study:
            counts["rows left out: they name no image, patient or study"] += 1
            continue
        who = patient_hash(subject)
        facts = Facts(
            patient_hash=who,
            study_hash=study_hash(study),
            view=view_of(position) or view_of(meaning),
            split=part_of.get(who, ""),
        )
        yield "file", file_key(image, 1), facts


def _labels(table: Path, counts: Counts) -> Iterator[tuple[str, str, Mapping[str, float]]]:
    rows = LabelRows(FINDINGS)
    for study, *cells in rows_of(table, ["study_id"], counts, FINDINGS):
        values = rows.values(tuple(cells), counts)
        if study and values:
            yield "study", study_cell(study), values


def _report_folders(folder: Path) -> list[Path]:
    """The folders p10 to p19, wherever the reports were unpacked."""
    tops = (folder, folder / "files", folder / "mimic-cxr-reports" / "files", folder / "mimic-cxr-reports")
    return [place for top in tops if top.is_dir() for place in _below(top, _GROUP)]


def _below(folder: Path, pattern: re.Pattern[str]) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if pattern.fullmatch(path.name))
    except OSError:
        return []


def _reports(folders: list[Path], counts: Counts) -> Iterator[tuple[str, str, Report]]:
    for group in folders:
        for patient in _below(group, _PATIENT):
            for path in _below(patient, _STUDY):
                found = _STUDY.fullmatch(path.name)
                try:
                    with path.open("rb") as stream:
                        text = stream.read(_MAX_REPORT_BYTES).decode("utf-8", "replace")
                except OSError:
                    counts["reports left out: they cannot be read"] += 1
                    continue
                report = report_of(*sections_of(text))
                if found and (report.en or report.zh):
                    yield "study", study_cell(found[1]), report


def sections_of(text: str) -> tuple[str, str]:
    """Findings and impression of a report; the last paragraph as findings when it has neither.

    Args:
        text: As written, with its headings in capitals.
    """
    marks = list(_HEADING.finditer(text))
    ends = [*(m.start() for m in marks), len(text)][1:]
    sections: dict[str, str] = {}
    for mark, end in zip(marks, ends, strict=False):
        name = mark[1].strip()
        which = "findings" if name.startswith("FINDING") else ""
        which = "impression" if name.startswith(("IMPRESSION", "CONCLUSION")) else which
        if which:
            sections[which] = f"{sections.get(which, '')} {text[mark.end() : end]}".strip()
    if sections:
        return sections.get("findings", ""), sections.get("impression", "")
    paragraphs = [p for p in re.split(r"\n\s*\n", text) if p.strip()]
    return (_HEADING.sub("", paragraphs[-1]) if paragraphs else ""), ""


def _sectioned(table: Path, counts: Counts) -> Iterator[tuple[str, str, Report]]:
    columns = ("findings", "impression", "last_paragraph")
    for study, findings, impression, last in rows_of(table, ["study"], counts, columns):
        report = report_of(findings, impression)
        report = report if report != Report() else report_of(last)
        if study and report != Report():
            yield "study", study_cell(study.removeprefix("s")), report
