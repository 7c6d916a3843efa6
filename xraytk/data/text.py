"""Reports, labels and facts that come with images, as users' tables hold them.

Reports: columns ``en`` and ``zh`` (or the like), or one text column whose language is seen
from its script. Labels: a column per label (1, 0, blank, -1 for uncertain), or ``label`` and
``value``, or one column of names separated by "|". Metadata: facts that plain pictures lack.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from xraytk.data.deid import hashed
from xraytk.data.sections import joined, split_sections, tidy, training_text
from xraytk.data.sections import language_of as language_of
from xraytk.data.sheet import (
    FACT_COLUMNS,
    KEY_COLUMNS,
    LABEL_COLUMNS,
    TEXT_COLUMNS,
    Lookup,
    Sheet,
    grouped,
    plain_name,
    read_sheet,
)
from xraytk.errors import DataError
from xraytk.records import SPLITS, UNCERTAIN

_VALUES = {"1": 1.0, "1.0": 1.0, "true": 1.0, "0": 0.0, "0.0": 0.0, "false": 0.0}
_UNCERTAIN = ("-1", "-1.0", "uncertain")
_CELLS = {**_VALUES, **dict.fromkeys(_UNCERTAIN, UNCERTAIN)}
_VIEWS = {"pa": "PA", "ap": "AP", "lateral": "LATERAL", "lat": "LATERAL", "l": "LATERAL", "ll": "LATERAL"}
_VIEWS |= {"rl": "LATERAL", "正位": "PA", "后前位": "PA", "前后位": "AP", "侧位": "LATERAL", "other": "OTHER"}
SEXES = {"m": "M", "male": "M", "男": "M", "f": "F", "female": "F", "女": "F", "o": "O", "other": "O"}
"""What tables say, in lower case, and the code of it."""
_SPLITS = {**{s: s for s in SPLITS}, "training": "train", "valid": "val", "validation": "val"}
_SPLITS |= {"validate": "val", "dev": "val", "testing": "test"}
_MAX_NAME = 64
_MAX_NAMES = 200
_MAX_RARE = 20
_NUMBER_OR_DATE = re.compile(r"[\d\s.,/:+年月日-]*\d[\d\s.,/:+年月日-]*")
_UID = re.compile(r"\d+(\.\d+){3,}")
LabelValues = dict[str, float | None]


@dataclass(frozen=True, slots=True)
class Report:
    """A report in English, Chinese or Spanish; "" where there is none."""

    en: str = field(default="", repr=False)
    zh: str = field(default="", repr=False)
    es: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Labels:
    """What a labels table holds.

    Args:
        table: For each key the known labels, 0 or 1, and `UNCERTAIN` ones.
        names: All labels of which a value is known, sorted.
        uncertain: Values that are uncertain.
        contradictions: Values left out because the table says 0 and 1 of the same image.
        ignored: Number of columns taken neither as key nor as label.
    """

    table: Lookup[dict[str, float]]
    names: tuple[str, ...]
    uncertain: int
    contradictions: int
    ignored: int


@dataclass(frozen=True, slots=True)
class Facts:
    """What a metadata table says of an image; "" and None where it says nothing.

    Args:
        patient_hash: Keyed hash.
        view: One of `records.VIEWS`.
        sex: "M", "F", "O".
        age_years: Years.
        split: "train", "val", "test".
        spacing_mm: (row, column).
        spacing_of: (height, width) of the picture that the spacing is of; None is the file itself.
        study_hash: Keyed hash of the study.
        modality: "CR", "DX".
    """

    patient_hash: str = ""
    view: str = ""
    sex: str = ""
    age_years: float | None = None
    split: str = ""
    spacing_mm: tuple[float, float] | None = None
    spacing_of: tuple[int, int] | None = None
    study_hash: str = ""
    modality: str = ""


def read_reports(path: Path, key: bytes) -> Lookup[Report]:
    """Read a table of reports.

    A cell that holds a whole report with headings gives its findings and impression.

    Args:
        path: CSV or JSONL.
        key: Of the hashes.

    Raises:
        DataError: If it has no key column or no text column, or cannot be read.
    """
    sheet = read_sheet(path)
    explicit = {"en": sheet.place(TEXT_COLUMNS["en"]), "zh": sheet.place(TEXT_COLUMNS["zh"])}
    whole = sheet.place(TEXT_COLUMNS["any"])
    parts = {name: sheet.place(TEXT_COLUMNS[name]) for name in ("findings", "impression")}
    if whole is None and not any(i is not None for i in (*explicit.values(), *parts.values())):
        raise sheet.lacks("a text column: en, zh, report, text, or findings and impression")

    def value_of(number: int, row: tuple[str, ...]) -> Report:
        texts = {lang: text_of(row[i]) if i is not None else "" for lang, i in explicit.items()}
        text = text_of(row[whole]) if whole is not None else ""
        if not text:
            text = report_of_parts(*("" if i is None else row[i] for i in parts.values()))
        if text and not texts[language_of(text)]:
            texts[language_of(text)] = text
        return Report(**texts)

    entries = grouped(sheet, value_of, _merge_reports)
    return Lookup(entries, key)


def text_of(report: str) -> str:
    """What is learned of a whole report, with or without headings: findings and impression."""
    return training_text(split_sections(report))


def report_of_parts(findings: str, impression: str) -> str:
    """What is learned of a report whose findings and impression are told apart.

    Headings within them are obeyed: an "Electronically signed by" after an impression ends it.
    """
    return joined([text_of(findings), text_of(impression)])


def _merge_reports(old: Report, new: Report) -> Report | None:
    for a, b in ((old.en, new.en), (old.zh, new.zh)):
        if a and b and a != b:
            return None
    return Report(en=old.en or new.en, zh=old.zh or new.zh)


def read_labels(path: Path, key: bytes) -> Labels:
    """Read a table of labels, in any of its three forms.

    Args:
        path: CSV or JSONL.
        key: Of the hashes.

    Raises:
        DataError: If it has no key column or no label, its labels look like free text or
            identifiers, all its rows contradict each other, or it cannot be read.
    """
    sheet = read_sheet(path)
    keys = {index for _, index in sheet.key_columns()}
    name_at, value_at, piped_at = (sheet.place(LABEL_COLUMNS[kind]) for kind in ("label", "value", "piped"))
    reader: _Wide | _Long | _Piped
    if name_at is not None and value_at is not None:
        reader = _Long(sheet, name_at, value_at)
    elif piped_at is not None:
        reader = _Piped(sheet, piped_at)
    else:
        reader = _Wide(sheet, keys)
    value_of: Callable[[int, tuple[str, ...]], LabelValues] = reader.values
    groups = grouped(sheet, value_of, _merge_labels)
    merged = list(groups)
    contradictions = sum(v is None for _, _, values in merged for v in (values or {}).values())
    entries = [
        (kind, cell, {name: v for name, v in (values or {}).items() if v is not None})
        for kind, cell, values in merged
    ]
    names = tuple(
        sorted({name for _, _, values in entries for name, value in values.items() if value != UNCERTAIN})
    )
    if not names and (contradictions or reader.uncertain):
        raise DataError(
            f"table {sheet.name} says nothing certain of any label",
            f"{contradictions:,} values contradict another row of the same image, "
            f"{reader.uncertain:,} are uncertain (-1)",
            "Give each label of an image one value.",
        )
    if not names:
        raise sheet.lacks("labels: columns of 0 and 1, or label and value, or names separated by |")
    ignored = len(sheet.columns) - len(keys | reader.used)
    return Labels(Lookup(entries, key), names, reader.uncertain, contradictions, ignored)


def _merge_labels(old: LabelValues, new: LabelValues) -> LabelValues | None:
    """Labels of one key from two rows; None where they contradict each other; a certain value wins."""
    merged = {**old, **new}
    for name in old.keys() & new.keys():
        if old[name] != new[name]:
            values = {old[name], new[name]} - {UNCERTAIN}
            merged[name] = values.pop() if len(values) == 1 else None
    return merged


def _check_header(sheet: Sheet, columns: set[int]) -> None:
    """Refuse names of label columns that look like the cells of a row."""
    names = [sheet.columns[i] for i in columns]
    odd = sum(
        "^" in name or len(name) > _MAX_NAME or bool(_NUMBER_OR_DATE.fullmatch(name) or _UID.search(name))
        for name in names
    )
    if odd:
        raise DataError(
            f"table {sheet.name} has no names of labels where they should be",
            f"{odd:,} of {len(names):,} names of label columns look like numbers, dates, UIDs or names of "
            "persons; is the header line missing?",
            "Write the names of the columns into the first line.",
        )


def _check_vocabulary(sheet: Sheet, column: int, names: Counter[str]) -> None:
    """Refuse a column whose cells look like free text or identifiers.

    Source:
        Ours: a label's name goes into every output, so cells that could name a person must not
        become one. Labels are few, short, hold no numbers, and come back.
    """
    odd = sum("^" in n or len(n) > _MAX_NAME or sum(c.isdigit() for c in n) >= 4 for n in names)
    once = sum(count == 1 for count in names.values())
    rare = len(names) > _MAX_RARE and once > len(names) / 2
    if odd or rare or len(names) > _MAX_NAMES:
        raise DataError(
            f"table {sheet.name}, column {sheet.columns[column]} holds no label names, but free text or "
            "identifiers",
            f"of {len(names):,} distinct values, {once:,} come only once, and {odd:,} hold 4 digits, a ^, "
            f"or more than {_MAX_NAME} characters; wanted at most {_MAX_NAMES} short names that come back",
            "Correct the column, or give one column of 0 and 1 for each label.",
        )


class _Wide:
    """A column per label: every column that holds nothing but 0, 1, -1 and blanks."""

    def __init__(self, sheet: Sheet, keys: set[int]) -> None:
        known = {n for names in (*FACT_COLUMNS.values(), *KEY_COLUMNS.values()) for n in names}
        self.uncertain = 0
        self.used: set[int] = set()
        self._columns = sheet.columns
        for i in range(len(sheet.columns)):
            cells = {row[i].strip().casefold() for row in sheet.rows} - {"", "nan"}
            named = plain_name(sheet.columns[i]) in {*known, ""} or i in keys
            if not named and cells & _VALUES.keys() and cells <= {*_VALUES, *_UNCERTAIN}:
                self.used.add(i)
        _check_header(sheet, self.used)

    def values(self, number: int, row: tuple[str, ...]) -> LabelValues:
        cells = {self._columns[i]: row[i].strip().casefold() for i in self.used}
        self.uncertain += sum(cell in _UNCERTAIN for cell in cells.values())
        return {name: _CELLS[cell] for name, cell in cells.items() if cell in _CELLS}


class _Long:
    """Columns ``label`` and ``value``: one row per image and label."""

    def __init__(self, sheet: Sheet, name_at: int, value_at: int) -> None:
        self.uncertain = 0
        self.used = {name_at, value_at}
        self._sheet, self._name_at, self._value_at = sheet, name_at, value_at
        _check_vocabulary(sheet, name_at, Counter(filter(None, (tidy(r[name_at]) for r in sheet.rows))))

    def values(self, number: int, row: tuple[str, ...]) -> LabelValues:
        name, cell = tidy(row[self._name_at]), row[self._value_at].strip().casefold()
        if cell in _UNCERTAIN:
            self.uncertain += 1
        if cell in _CELLS and name:
            return {name: _CELLS[cell]}
        if cell not in ("", "nan"):
            raise _wrong(self._sheet, number, self._value_at, "0, 1, -1 or nothing")
        return {}


class _Piped:
    """One column of names separated by "|"; a label that is not named is absent (0)."""

    def __init__(self, sheet: Sheet, at: int) -> None:
        self.uncertain = 0
        self.used = {at}
        self._at = at
        counts = Counter(name for row in sheet.rows for name in self._split(row))
        _check_vocabulary(sheet, at, counts)
        self._names = set(counts)

    def _split(self, row: tuple[str, ...]) -> set[str]:
        return {tidy(name) for name in row[self._at].split("|")} - {""}

    def values(self, number: int, row: tuple[str, ...]) -> LabelValues:
        there = self._split(row)
        return {name: float(name in there) for name in self._names} if there else {}


def read_metadata(path: Path, key: bytes) -> Lookup[Facts]:
    """Read a table of facts for plain pictures: patient, view, sex, age, split, spacing (mm).

    Args:
        path: CSV or JSONL.
        key: Of the hashes.

    Raises:
        DataError: If it has no key column or none of the facts, a split is none of train, val
            and test, a patient stands in two splits, or a spacing is not a length.
    """
    sheet = read_sheet(path)
    at = {fact: i for fact, names in FACT_COLUMNS.items() if (i := sheet.place(names)) is not None}
    if not at:
        raise sheet.lacks("facts: patient, view, sex, age, split or spacing")
    splits: dict[str, tuple[str, int]] = {}

    def value_of(number: int, row: tuple[str, ...]) -> Facts:
        cells = {fact: row[i].strip() for fact, i in at.items()}
        patient = cells.get("patient", "")
        facts = Facts(
            patient_hash=hashed(key, "patient", patient) if patient else "",
            view=view_of(cells.get("view", "")),
            sex=SEXES.get(cells.get("sex", "").casefold(), ""),
            age_years=age_of(cells.get("age", "")),
            split=_SPLITS.get(cells.get("split", "").casefold(), ""),
            spacing_mm=_spacing_of(cells.get("spacing", "")),
        )
        if cells.get("split") and not facts.split:
            raise _wrong(sheet, number, at["split"], "train, val or test")
        if cells.get("spacing") and facts.spacing_mm is None:
            raise _wrong(sheet, number, at["spacing"], "one or two lengths in millimetres")
        if patient and facts.split:
            split, first = splits.setdefault(patient, (facts.split, number))
            if split != facts.split:
                raise DataError(
                    f"table {sheet.name} has a patient in two splits",
                    f"rows {first} and {number} say {split} and {facts.split}",
                    "Give all images of a patient the same split.",
                )
        return facts

    return Lookup(grouped(sheet, value_of, lambda a, b: a if a == b else None), key)


def _wrong(sheet: Sheet, number: int, column: int, wanted: str) -> DataError:
    return DataError(
        f"table {sheet.name}, row {number}, column {sheet.columns[column]} has a wrong value",
        f"wanted {wanted}",
    )


def view_of(text: str) -> str:
    """One of `records.VIEWS`; "" for an empty text, "UNKNOWN" for one that is not understood."""
    word = re.split(r"[\s_-]", text.casefold())[0] if text else ""
    return _VIEWS.get(text.casefold(), _VIEWS.get(word, "UNKNOWN" if word else ""))


def age_of(text: str) -> float | None:
    """Years from "61", "61.5", or a DICOM age string such as "018M" (PS3.5 6.2, AS)."""
    found = re.fullmatch(r"(\d{1,3}(?:\.\d+)?)\s*([ymwd岁]?)", text.casefold())
    if found is None:
        return None
    per_year = {"m": 12.0, "w": 52.18, "d": 365.25}.get(found[2], 1.0)
    return float(found[1]) / per_year


def _spacing_of(text: str) -> tuple[float, float] | None:
    parts = [p for p in re.split(r"[\\,;\s\[\]()xX*|]+", text) if p]
    try:
        numbers = [float(p) for p in parts]
    except ValueError:
        return None
    if len(numbers) not in (1, 2) or not all(0 < n < 100 for n in numbers):
        return None
    return numbers[0], numbers[-1]
