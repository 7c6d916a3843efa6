"""Tables that users bring: CSV or JSONL, keyed by file name, accession number or UID.

A `Sheet` is what the file says; a `Lookup` is one value per image, found by keyed hashes, so
that no raw key stays in memory. Messages name the table, the row and known columns, never what
a cell holds; a table without a header line has cells where its columns' names should be.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from xraytk.data.deid import hashed
from xraytk.errors import DataError
from xraytk.records import Identity

T = TypeVar("T")

IMAGE_ENDINGS = (".dcm", ".dicom", ".dic", ".ima", ".png", ".jpg", ".jpeg", ".tif", ".tiff")

KEY_COLUMNS = {
    "sop": ("sopinstanceuid", "sopuid", "sop", "instanceuid"),
    "file": (
        *(
            "file",
            "filename",
            "filepath",
            "path",
            "image",
            "imagefile",
            "imagename",
            "imagepath",
            "imageindex",
        ),
        *("imageid", "dicom", "dicomfile", "dicompath", "dicomid", "文件名", "文件", "图像"),
    ),
    "accession": ("accession", "accessionnumber", "accessionno", "检查号", "影像号"),
    "study": ("studyinstanceuid", "studyuid", "study", "studyid"),
}
"""Names a key column may have, the most specific kind first."""

TEXT_COLUMNS = {
    "en": ("en", "reporten", "english", "enreport", "englishreport"),
    "zh": ("zh", "reportzh", "chinese", "zhreport", "chinesereport", "中文报告", "中文"),
    "any": (
        *("report", "text", "reporttext", "caption", "fullreport", "reportcontent", "narrative"),
        *("报告", "报告内容", "检查报告", "影像报告", "报告正文", "诊断报告"),
    ),
    "findings": (
        *(
            "findings",
            "finding",
            "reportfindings",
            "检查所见",
            "影像所见",
            "影像学所见",
            "影像表现",
            "影像学表现",
        ),
        *(
            "放射学表现",
            "放射学所见",
            "x线表现",
            "x线所见",
            "检查表现",
            "所见",
            "表现",
            "影像描述",
            "检查描述",
            "报告描述",
        ),
    ),
    "impression": (
        *(
            "impression",
            "impressions",
            "conclusion",
            "conclusions",
            "reportimpression",
            "诊断意见",
            "影像诊断",
        ),
        *(
            "影像学诊断",
            "放射学诊断",
            "x线诊断",
            "诊断结论",
            "诊断印象",
            "影像印象",
            "检查结论",
            "诊断结果",
            "报告诊断",
        ),
        *("印象", "结论", "诊断"),
    ),
}
"""Names of columns that hold a report, or a part of one."""

LABEL_COLUMNS = {
    "label": ("label",),
    "value": ("value",),
    "piped": ("labels", "findinglabels", "label", "标签"),
}
"""Names of columns that hold labels' names, or their values."""

FACT_COLUMNS = {
    "patient": ("patient", "patientid", "subject", "subjectid", "病人", "患者"),
    "view": ("view", "viewposition", "projection", "体位"),
    "sex": ("sex", "gender", "patientsex", "patientgender", "性别"),
    "age": ("age", "ageyears", "patientage", "年龄"),
    "split": ("split", "subset", "fold"),
    "spacing": ("spacing", "spacingmm", "pixelspacing", "pixelspacingmm"),
}
"""Names of columns that hold facts of an image."""

_KNOWN = {
    *("modality", "position"),
    *(
        name
        for group in (KEY_COLUMNS, TEXT_COLUMNS, LABEL_COLUMNS, FACT_COLUMNS)
        for names in group.values()
        for name in names
    ),
}
_MAX_CELL = 1 << 24


@dataclass(frozen=True, slots=True)
class Sheet:
    """A table as read.

    Args:
        name: The file's base name, for messages.
        columns: As written.
        rows: Texts, one per column; row ``i`` is number ``i + 2`` in a spreadsheet program.
    """

    name: str
    columns: tuple[str, ...] = field(repr=False)
    rows: tuple[tuple[str, ...], ...] = field(repr=False)

    def place(self, names: Iterable[str]) -> int | None:
        """Index of the first column that has one of the (plain) names; None if there is none."""
        plain = [plain_name(c) for c in self.columns]
        return next((plain.index(n) for n in names if n in plain), None)

    def key_columns(self) -> tuple[tuple[str, int], ...]:
        """The key columns: (kind, index), the most specific first.

        Raises:
            DataError: If there is none.
        """
        found = ((kind, self.place(names)) for kind, names in KEY_COLUMNS.items())
        keys = tuple((kind, index) for kind, index in found if index is not None)
        if not keys:
            raise self.lacks("a key column: file, accession, StudyInstanceUID or SOPInstanceUID")
        return keys

    def lacks(self, wanted: str) -> DataError:
        """The error for a column that is not there; of what is there it names only known names."""
        known = [plain for c in self.columns if (plain := plain_name(c)) in _KNOWN]
        return DataError(
            f"table {self.name} lacks {wanted}",
            f"{len(self.columns):,} columns, {len(known):,} known"
            + (f": {', '.join(known)}" if known else "")
            + "; is the header line missing?",
        )


class Lookup(Generic[T]):
    """Values found by an image's keys.

    Args:
        entries: For each distinct key of the table: kind, cell and value. An entry whose value
            is None is ambiguous: its rows contradict each other, and it matches nothing.
        key: Of the hashes.
    """

    def __init__(self, entries: Iterable[tuple[str, str, T | None]], key: bytes) -> None:
        self.values: list[T] = []
        self.ambiguous = 0
        self._where: dict[str, int | None] = {}
        for kind, cell, value in entries:
            if value is None:
                self.ambiguous += 1
                continue
            number = len(self.values)
            self.values.append(value)
            self._where[hashed(key, kind, cell)] = number
            for tail in _tails(cell) if kind == "file" else ():
                name = hashed(key, "tail", tail)
                self._where[name] = None if name in self._where else number

    def find(self, keys: Iterable[str]) -> int | None:
        """Number of the value that belongs to an image, by the first key that is known."""
        return next((n for n in map(self._where.get, keys) if n is not None), None)

    def key_of(self, keys: Iterable[str]) -> str | None:
        """The first key that is known."""
        return next((key for key in keys if self._where.get(key) is not None), None)


def join_keys(path: str, identity: Identity, key: bytes) -> tuple[str, ...]:
    """Hashed keys under which an image may stand in a table, the most specific first.

    A path in a table fits an image's path when one of them is the end of the other, so that a
    table may be written from above or from below the folder that is ingested. Case and the
    endings of image files do not count.

    Args:
        path: Relative path of the file, with "/".
        identity: Of the header.
        key: Of the hashes.
    """
    whole = canonical_path(path)
    keys = [("sop", _canonical("sop", identity.sop_uid))]
    keys += [("file", tail) for tail in _tails(whole)] + [("tail", whole)]
    keys += [("accession", _canonical("accession", identity.accession))]
    keys += [("study", _canonical("study", identity.study_uid))]
    return tuple(hashed(key, kind, value) for kind, value in keys if value)


def _canonical(kind: str, cell: str) -> str:
    """A key as it is compared; numbers without the leading zeros that spreadsheets lose."""
    if kind == "file":
        return canonical_path(cell)
    plain = cell.strip(" \0")
    return plain.lstrip("0") or plain if plain.isdigit() else plain


def canonical_path(path: str) -> str:
    """A path as it is compared: "/" between parts, lower case, no ending of an image file."""
    plain = "/".join(p for p in path.strip().replace("\\", "/").split("/") if p not in ("", ".")).casefold()
    ending = next((e for e in IMAGE_ENDINGS if plain.endswith(e)), "")
    return plain.removesuffix(ending)


def _tails(path: str) -> list[str]:
    """A path and its ends: "a/b/c", "b/c", "c"."""
    parts = path.split("/")
    return ["/".join(parts[i:]) for i in range(len(parts))]


def grouped(
    sheet: Sheet, value_of: Callable[[int, tuple[str, ...]], T], merge: Callable[[T, T], T | None]
) -> Iterator[tuple[str, str, T | None]]:
    """One entry per distinct key of a sheet, as `Lookup` takes them.

    Args:
        sheet: The table.
        value_of: (row number, row) to value.
        merge: Two values of one key to one, or None when they contradict each other.
    """
    keys = sheet.key_columns()
    entries: dict[tuple[str, str], T | None] = {}
    for i, row in enumerate(sheet.rows):
        cells = ((kind, row[index].strip()) for kind, index in keys)
        kind, cell = next(((k, c) for k, c in cells if c), ("", ""))
        if not cell:
            continue
        name = (kind, _canonical(kind, cell))
        value = value_of(i + 2, row)
        if name not in entries:
            entries[name] = value
        elif (old := entries[name]) is not None:
            entries[name] = merge(old, value)
    for (kind, cell), merged in entries.items():
        yield kind, cell, merged


def read_sheet(path: Path) -> Sheet:
    """Read a CSV (comma, semicolon or tab) or, by its ending, a JSONL or Parquet table.

    UTF-8 with or without a byte order mark, UTF-16 with one, else GB18030, which many Chinese
    hospital systems write.

    Raises:
        DataError: If there is no such file, it is empty, in no known encoding, or a row does not fit.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise DataError(f"table {path.name} does not exist", todo="Check the path.") from None
    except OSError as error:
        raise DataError(f"table {path.name} cannot be read", type(error).__name__) from None
    if path.suffix.lower() == ".parquet":
        return _filled(_from_records(_parquet(data, path.name), path.name))
    text = _decode(data, path.name)
    if path.suffix.lower() in (".jsonl", ".ndjson", ".json"):
        sheet = _from_jsonl(text, path.name)
    else:
        sheet = _from_csv(text, path.name)
    return _filled(sheet)


def _filled(sheet: Sheet) -> Sheet:
    if not sheet.rows:
        raise DataError(
            f"table {sheet.name} has no rows", "wanted a header line and one row per image or study"
        )
    return sheet


def plain_name(column: str) -> str:
    """A column's name as it is compared: lower case, without blanks, "_", "-" and "#"."""
    return "".join(c for c in column.casefold() if c not in " _-#.\ufeff\t")


def _decode(data: bytes, name: str) -> str:
    wide = data.startswith((b"\xff\xfe", b"\xfe\xff"))
    for encoding in ("utf-16",) if wide else ("utf-8-sig", "gb18030"):
        try:
            return data.decode(encoding)
        except UnicodeDecodeError:
            continue
    raise DataError(f"table {name} is in no known encoding", "wanted UTF-8, or GB18030", "Save it as UTF-8.")


def _from_csv(text: str, name: str) -> Sheet:
    head = text.split("\n", 1)[0]
    delimiter = max(",;\t", key=head.count)
    csv.field_size_limit(_MAX_CELL)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    columns: tuple[str, ...] = ()
    rows: list[tuple[str, ...]] = []
    try:
        for cells in reader:
            if not any(c.strip() for c in cells):
                continue
            if not columns:
                columns = tuple(c.strip() for c in cells)
                continue
            if len(cells) > len(columns) and any(cells[len(columns) :]):
                raise DataError(
                    f"table {name}, row {len(rows) + 2} does not fit its header",
                    f"it has {len(cells)} cells, the header has {len(columns)}",
                    "Put texts that hold the separator between double quotes.",
                )
            padded = [*cells, *[""] * (len(columns) - len(cells))]
            rows.append(tuple(padded[: len(columns)]))
    except csv.Error:
        raise DataError(
            f"table {name} is not CSV from row {len(rows) + 2} on",
            "a quote is not closed, or a cell is too long",
        ) from None
    return Sheet(name, columns, tuple(rows))


def _from_jsonl(text: str, name: str) -> Sheet:
    records: list[dict[str, Any]] = []
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except ValueError:
            record = None
        if not isinstance(record, dict):
            raise DataError(f"table {name}, line {number} is not a JSON object", "wanted one object a line")
        records.append(record)
    return _from_records(records, name)


def _parquet(data: bytes, name: str) -> list[dict[str, Any]]:
    try:
        rows: list[dict[str, Any]] = pq.read_table(io.BytesIO(data)).to_pylist()
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"table {name} is not a whole Parquet table", type(error).__name__) from None
    return rows


def _from_records(records: list[dict[str, Any]], name: str) -> Sheet:
    columns = tuple(dict.fromkeys(column for record in records for column in record))
    rows = tuple(tuple(_as_text(record.get(c)) for c in columns) for record in records)
    return Sheet(name, columns, rows)


def _as_text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "1" if value else "0"
    if isinstance(value, list):
        return "|".join(_as_text(v) for v in value)
    return json.dumps(value) if isinstance(value, dict) else str(value)
