"""A user's table of boxes: rectangles that readers drew around findings."""

from __future__ import annotations

from pathlib import Path

from xraytk.data.layouts.cells import number_of, tidy
from xraytk.data.layouts.layout import Box
from xraytk.data.sheet import Lookup, Sheet, grouped, read_sheet
from xraytk.errors import DataError

COLUMNS = {
    "x": ("x", "xmin", "left", "x0"),
    "y": ("y", "ymin", "top", "y0"),
    "width": ("width", "w", "boxwidth"),
    "height": ("height", "h", "boxheight"),
    "label": ("label", "class", "classname", "finding", "findinglabel"),
}
"""What a row says of its box, and names that the columns may have."""
_MOST_NAMES = 200


def read_boxes(path: Path, key: bytes) -> Lookup[tuple[Box, ...]]:
    """Read a table with one row a box; several rows of one key are several boxes.

    Args:
        path: CSV, JSONL or Parquet: a key column as in other tables, then x and y of the upper left
            corner, width and height in pixels of the original image (0 is the outer edge of the
            first pixel), and the label. Rows without any number say nothing.
        key: Of the hashes.

    Raises:
        DataError: If a column is missing, a cell is no number, a box has no area, or there are too
            many labels for them to be names of findings.
    """
    sheet = read_sheet(path)
    sheet.key_columns()
    at = {name: sheet.place(names) for name, names in COLUMNS.items()}
    lacking = [name for name, place in at.items() if place is None]
    if lacking:
        raise sheet.lacks(f"the column{'s' * (len(lacking) > 1)} {', '.join(lacking)}")
    places = {name: place for name, place in at.items() if place is not None}
    names = {tidy(row[places["label"]]) for row in sheet.rows}
    if len(names) > _MOST_NAMES or any("^" in name or len(name) > 100 for name in names):
        raise DataError(
            f"table {sheet.name}, column {sheet.columns[places['label']]} holds no names of findings",
            f"wanted at most {_MOST_NAMES} short names that come back, found {len(names):,}",
        )

    def value_of(number: int, row: tuple[str, ...]) -> tuple[Box, ...]:
        cells = [row[places[name]].strip() for name in ("x", "y", "width", "height")]
        if not any(cell for cell in cells if cell.casefold() != "nan"):
            return ()
        return (_box(sheet, number, tidy(row[places["label"]]), cells),)

    entries = grouped(sheet, value_of, _both)
    return Lookup(entries, key)


def _both(a: tuple[Box, ...], b: tuple[Box, ...]) -> tuple[Box, ...]:
    return a + b


def _box(sheet: Sheet, number: int, label: str, cells: list[str]) -> Box:
    x, y, width, height = map(number_of, cells)
    if x is None or y is None or width is None or height is None or width <= 0 or height <= 0 or not label:
        raise DataError(
            f"table {sheet.name}, row {number} is no box",
            "wanted numbers x, y, width, height, the last two above 0, and a label",
        )
    return Box(label, x, y, x + width, y + height)
