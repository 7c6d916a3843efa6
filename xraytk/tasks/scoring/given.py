"""Predictions and references as anybody writes them: one row an image, found by its id.

Every doubt is an error that says how many rows and which ones first, or a note; nothing is
dropped or scored 0 in silence.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from xraytk.data.sheet import FACT_COLUMNS, KEY_COLUMNS, TEXT_COLUMNS, Sheet, plain_name, read_sheet
from xraytk.data.text import SEXES, age_of, view_of
from xraytk.errors import DataError

IDS = ("imageid", "image", "id", "uid", "key", *(n for names in KEY_COLUMNS.values() for n in names))
PATIENTS = (*FACT_COLUMNS["patient"], "patienthash")
SITES = ("site", "hospital", "institution", "centre", "center", "机构", "医院")
LANGS = ("lang", "language", "语言")
FACTS = ("sex", "age", "view", "site")
FOLDED = ("scores", "truth")
"""Columns of our own predictions.jsonl that hold objects."""
SHOWN = 3
"""Ids named in a message."""
BLANK = frozenset({"", "nan", "na", "n/a", "none", "null", "nat", "-nan"})
BANDS = ((18, "0-17"), (40, "18-39"), (65, "40-64"), (math.inf, "65 and older"))
"""Ages below the number are in the band."""


@dataclass(frozen=True, slots=True)
class Table:
    """A table with one row an image.

    Args:
        name: The file's name, for messages.
        ids: n distinct image ids.
        columns: Cells by column, without those below.
        patients: n patients; () where the table does not say.
        facts: Groups of each image by "sex", "age" (band), "view", "site"; "" where unknown.
    """

    name: str
    ids: tuple[str, ...]
    columns: Mapping[str, tuple[str, ...]]
    patients: tuple[str, ...] = ()
    facts: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def rows(self, at: Sequence[int]) -> Table:
        """Some of the rows, in this order."""

        def some(cells: Sequence[str]) -> tuple[str, ...]:
            return tuple(cells[i] for i in at) if cells else ()

        return Table(
            self.name,
            some(self.ids),
            {name: some(cells) for name, cells in self.columns.items()},
            some(self.patients),
            {name: some(cells) for name, cells in self.facts.items()},
        )


def read(path: Path, lang: str = "", unfold: str = "") -> Table:
    """Read a CSV or JSONL table.

    Args:
        path: CSV (comma, semicolon or tab; any usual encoding) or JSONL.
        lang: Where rows say their language, only those of this one.
        unfold: "scores" or "truth": a column of JSON objects whose keys are columns of their own.

    Raises:
        DataError: If it cannot be read, has no id column, lacks ids, or has one twice.
    """
    sheet = read_sheet(path)
    names = (*IDS, "study")
    at = sheet.place(names)
    if at is None:
        raise sheet.lacks("a column image_id")
    rows = _of_language(sheet, lang)
    ids = tuple(row[at].strip() for row in rows)
    _refuse_ids(sheet.name, ids)
    special = {"patient": sheet.place(PATIENTS), "site": sheet.place(SITES)}
    special |= {fact: sheet.place(FACT_COLUMNS[fact]) for fact in ("sex", "age", "view")}
    taken = {at, sheet.place(LANGS), sheet.place(FACT_COLUMNS["split"]), *special.values()}
    columns = {
        column: tuple(row[i] for row in rows)
        for i, column in enumerate(sheet.columns)
        if i not in taken and column.strip()
    }
    _refuse_columns(sheet.name, [c for i, c in enumerate(sheet.columns) if i not in taken and c.strip()])
    folded = {plain_name(c): columns.pop(c) for c in list(columns) if plain_name(c) in FOLDED and unfold}
    if unfold in folded:
        columns |= _unfolded(folded[unfold], sheet.name, unfold)

    def cells(name: str) -> list[str]:
        place = special[name]
        return [row[place].strip() for row in rows] if place is not None else []

    patients: tuple[str, ...] = ()
    if special["patient"] is not None:
        patients = tuple(p or f"image {i}" for p, i in zip(cells("patient"), ids, strict=True))
    groups = {
        fact: tuple(group(fact, cell) for cell in cells(fact)) for fact in FACTS if special[fact] is not None
    }
    return Table(sheet.name, ids, columns, patients, groups)


def columns_of(path: Path) -> frozenset[str]:
    """Plain names of the columns of a table."""
    return frozenset(plain_name(column) for column in read_sheet(path).columns)


def languages(path: Path) -> list[str]:
    """Languages that the rows of a table say; [] when they say none."""
    sheet = read_sheet(path)
    at = sheet.place(LANGS)
    return [] if at is None else sorted({row[at].strip().casefold() for row in sheet.rows})


def _of_language(sheet: Sheet, lang: str) -> tuple[tuple[str, ...], ...]:
    at = sheet.place(LANGS)
    if at is None or not lang:
        return sheet.rows
    rows = tuple(row for row in sheet.rows if row[at].strip().casefold() in (lang, ""))
    if not rows:
        there = ", ".join(sorted({row[at].strip() for row in sheet.rows})[:5])
        raise DataError(f"{sheet.name} has no row of language {lang}", f"its rows say: {there}")
    return rows


def _refuse_ids(name: str, ids: Sequence[str]) -> None:
    empty = [i for i, image in enumerate(ids) if not image]
    if empty:
        raise DataError(
            f"{name} has {len(empty):,} of {len(ids):,} rows without an image id",
            f"first at row {empty[0] + 2}",
            "Give every row the id of its image.",
        )
    again = [image for image, count in Counter(ids).items() if count > 1]
    if again:
        raise DataError(
            f"{name} has {len(again):,} image ids in more than one row",
            f"first: {first(again)}",
            "Keep one row an image (and language); with several references, choose one.",
        )


def _refuse_columns(name: str, columns: Sequence[str]) -> None:
    counts = Counter(plain_name(column) for column in columns)
    again = [column for column in columns if counts[plain_name(column)] > 1]
    if again:
        raise DataError(
            f"{name} has columns of the same name",
            f"first: {first(again)}",
            "Keep one of them; case, blanks, _ and - do not tell columns apart.",
        )


def first(ids: Iterable[str]) -> str:
    """The first few of several ids, for a message."""
    some = list(ids)
    return ", ".join(some[:SHOWN]) + (", ..." if len(some) > SHOWN else "")


def _unfolded(cells: Sequence[str], name: str, column: str) -> dict[str, tuple[str, ...]]:
    """Columns of a column of JSON objects."""
    try:
        trees = [json.loads(cell) for cell in cells]
        keys = dict.fromkeys(key for tree in trees for key in tree)
        return {key: tuple("" if tree.get(key) is None else str(tree[key]) for tree in trees) for key in keys}
    except (ValueError, TypeError, AttributeError):
        raise DataError(f"{name}, column {column} does not hold JSON objects") from None


def group(fact: str, cell: str) -> str:
    """The group a cell puts an image in: a sex, an age band, a view, a site; "" if unknown."""
    if cell.casefold() in BLANK:
        return ""
    if fact == "sex":
        return SEXES.get(cell.casefold(), cell)
    if fact == "view":
        found = view_of(cell)
        return cell.upper() if found in ("", "UNKNOWN") else found
    if fact == "age":
        years = age_of(cell)
        return "" if years is None else next(name for limit, name in BANDS if years < limit)
    return cell


def text_column(table: Table, lang: str) -> tuple[str, ...]:
    """The reports of a table.

    Raises:
        DataError: If it has no text column.
    """
    plain = {plain_name(column): cells for column, cells in table.columns.items()}
    wanted = (*TEXT_COLUMNS["any"], *TEXT_COLUMNS[lang], "prediction", "generated", "hypothesis", "reference")
    found = next((plain[name] for name in wanted if name in plain), None)
    if found is None:
        raise DataError(f"{table.name} lacks a column text", f"it has: {', '.join(list(table.columns)[:8])}")
    return tuple("" if cell.strip().casefold() in BLANK else cell for cell in found)


def match(predictions: Table, references: Table, *, leave: bool) -> tuple[Table, Table, list[str]]:
    """Bring both tables to the same images in the order of the references.

    Args:
        predictions: Of a system.
        references: The truth.
        leave: Leave references without a prediction out, instead of refusing.

    Returns:
        Both tables and notes. Predictions without a reference are always left out, with a note.

    Raises:
        DataError: If no id is in both, or references lack a prediction.
    """
    place = {image: i for i, image in enumerate(predictions.ids)}
    both = [i for i, image in enumerate(references.ids) if image in place]
    lacking = [image for image in references.ids if image not in place]
    wanted = set(references.ids)
    extra = [image for image in predictions.ids if image not in wanted]
    if not both:
        raise DataError(
            f"no image id of {predictions.name} is in {references.name}",
            f"{len(predictions.ids):,} predictions, first: {first(predictions.ids)}\n"
            f"{len(references.ids):,} references, first: {first(references.ids)}",
            "Write the ids in both files the same way.",
        )
    if lacking and not leave:
        raise DataError(
            f"{len(lacking):,} of {len(references.ids):,} references have no prediction",
            f"first: {first(lacking)}",
            "Predict for every image; or leave these out of the scores with --set unmatched=leave.",
        )
    notes = []
    if lacking:
        notes.append(
            f"{len(lacking):,} references without a prediction are left out, first: {first(lacking)}"
        )
    if extra:
        notes.append(f"{len(extra):,} predictions without a reference are left out, first: {first(extra)}")
    ours = predictions.rows([place[references.ids[i]] for i in both])
    return ours, references.rows(both), notes


def patients_of(predictions: Table, references: Table) -> tuple[tuple[str, ...], list[str]]:
    """The patient of each image; where neither table says, every image is one of its own."""
    known = references.patients or predictions.patients
    if len(set(known)) == 1:
        return known, ["all images are of one patient: there is no interval"]
    if known:
        return known, []
    return references.ids, ["no column patient_id: every image counts as a patient of its own, so that "
                            "intervals are too narrow if patients have several"]  # fmt: skip


def facts_of(predictions: Table, references: Table) -> dict[str, tuple[str, ...]]:
    """Facts of both tables; the references' win."""
    return {**predictions.facts, **references.facts}
