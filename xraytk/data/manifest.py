"""The tables between the verbs: manifest, side tables, contours.

All are Parquet, joined by ``image_id``. Every file carries ``xraytk.format`` in its schema's
metadata. Nothing here holds an identifier of a patient: only keyed hashes.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import pyarrow as pa
import pyarrow.parquet as pq

from xraytk.errors import DataError
from xraytk.files import atomic_write

FORMAT = 1
_ROW_GROUP = 10_000
_AT_ONCE = 500  # rows held as Python objects, which are ten times as large as columns

MANIFEST = pa.schema(
    [
        ("image_id", pa.string()),  # keyed hash, 16 hex digits; also the file's name
        ("source_sha256", pa.string()),  # of the file as it was
        ("patient_hash", pa.string()),  # keyed hash, 16 hex digits
        ("study_hash", pa.string()),
        ("split", pa.string()),  # train, val or test; a function of the patient
        ("path", pa.string()),  # of the PNG, relative to the ingest folder
        ("width", pa.int32()),  # of the PNG
        ("height", pa.int32()),
        ("source_width", pa.int32()),
        ("source_height", pa.int32()),
        ("spacing_x_mm", pa.float32()),  # of the PNG's pixels; null when unknown
        ("spacing_y_mm", pa.float32()),
        ("spacing_kind", pa.string()),  # where it holds: patient, detector, nominal, table
        ("bits_stored", pa.int32()),
        ("modality", pa.string()),
        ("intent", pa.string()),  # PRESENTATION, or PROCESSING: raw detector data, rendered
        ("view", pa.string()),  # PA, AP, LATERAL, OTHER, UNKNOWN
        ("view_source", pa.string()),  # header, table, pixels; "" when unknown
        ("pixel_view", pa.string()),  # as the pixels look: FRONTAL, LATERAL, TURNED, INVERTED, UNKNOWN
        ("pixel_view_confidence", pa.float32()),
        ("syntax", pa.string()),  # transfer syntax UID, or png / jpeg / tiff
        ("photometric", pa.string()),
        ("voi", pa.string()),  # how the grey range was chosen
        ("voi_count", pa.int32()),  # windows and LUTs of the header; the first was taken
        ("range_low", pa.float64()),  # modality value that is 0 in the PNG, before inversion
        ("range_high", pa.float64()),  # the one that is 65535; null for lut and sigmoid
        ("window_center", pa.float64()),
        ("window_width", pa.float64()),
        ("inverted", pa.bool_()),  # MONOCHROME1 or INVERSE: 65535 - grey is in the PNG
        ("clipped_low", pa.float32()),  # share of the pixels below the range
        ("clipped_high", pa.float32()),
        ("padded", pa.float32()),  # share that the header calls padding
        ("orientation", pa.string()),  # what was done to set it upright: flip-h, rot90, ...
        ("aspect", pa.float32()),  # height over width of a stored pixel; resampled to 1
        ("overlays", pa.int32()),  # overlay planes of the source; none is in the PNG
        ("repairs", pa.string()),  # what the header said wrong of its bits
        ("field", pa.list_(pa.int32(), 4)),  # x0, y0, x1, y1 of the exposed field; null: all of it
        ("cropped", pa.bool_()),  # the PNG is the field alone
        ("sex", pa.string()),
        ("age_years", pa.float32()),  # over 89: 90
        ("manufacturer", pa.string()),
        ("burned_in", pa.bool_()),  # the header says so
        ("text_boxes", pa.int32()),  # found in the pixels
        ("text_blanked", pa.bool_()),
        ("pixel_sha256", pa.string()),  # of the PNG's pixels, with their shape
        ("duplicate_of", pa.string()),  # image_id of the first image with the same pixels
        ("near_duplicate_of", pa.string()),  # image_id of the first image that looks alike
        ("signature", pa.string()),  # 64 bytes in hexadecimal digits, see `data.lookalike`
        ("source_hash", pa.string()),  # keyed hash of the source's path: finds the file again
    ],
    metadata={"xraytk.format": str(FORMAT)},
)

REJECTED = pa.schema(
    [
        ("source_hash", pa.string()),
        ("source_sha256", pa.string()),  # null when it could not be read
        ("reason", pa.string()),  # a fixed code, see `data.dicom.REASONS`
        ("detail", pa.string()),  # numbers and syntax names only, never file content
    ],
    metadata={"xraytk.format": str(FORMAT)},
)

REPORTS = pa.schema(
    [("image_id", pa.string()), ("en", pa.string()), ("zh", pa.string()), ("es", pa.string())],
    metadata={"xraytk.format": str(FORMAT)},
)

LABELS = pa.schema(  # long form: one row a known label
    [("image_id", pa.string()), ("label", pa.string()), ("value", pa.float32())],
    metadata={"xraytk.format": str(FORMAT)},
)

BOXES = pa.schema(  # rectangles that readers drew around findings
    [
        ("image_id", pa.string()),
        ("label", pa.string()),
        ("x0", pa.float32()),  # edges, in pixels of the PNG
        ("y0", pa.float32()),
        ("x1", pa.float32()),
        ("y1", pa.float32()),
        ("reader", pa.string()),  # the set's code; null when it names nobody
    ],
    metadata={"xraytk.format": str(FORMAT)},
)

POLYGON = pa.struct([("name", pa.string()), ("x", pa.list_(pa.float32())), ("y", pa.list_(pa.float32()))])

REGION = pa.struct([("name", pa.string()), *((edge, pa.float32()) for edge in ("x0", "y0", "x1", "y1"))])

CONTOURS = pa.schema(
    [
        ("image_id", pa.string()),
        ("status", pa.string()),  # ok, flagged (kept, look at it), failed, skipped (not frontal)
        ("reason", pa.string()),  # a fixed code when not ok
        ("confidence", pa.float32()),  # Dice to be expected with a human outline; null without one
        ("source", pa.string()),  # net, atlas (fitted, where the net is not sure), person; "" without
        ("checked", pa.string()),  # by a person: accepted, rejected, drawn; "" when by none
        ("width", pa.int32()),  # of the image the polygons are in
        ("height", pa.int32()),
        ("polygons", pa.list_(POLYGON)),  # right_lung, left_lung, whole: pixels, closed, x to the right
        ("others", pa.list_(POLYGON)),  # right_clear, left_clear: without what the heart covers; heart
        ("grid_rows", pa.int32()),
        ("grid_cols", pa.int32()),
        ("lung_share", pa.list_(pa.float32())),  # row-major, of the letterboxed square
        ("lung_area_share", pa.float32()),  # of the whole image
        ("right_area_px", pa.float32()),
        ("left_area_px", pa.float32()),
        ("right_area_cm2", pa.float32()),  # by the manifest's spacing; null without one
        ("left_area_cm2", pa.float32()),
        ("area_ratio", pa.float32()),  # left over right
        ("cardiothoracic_ratio", pa.float32()),  # null without an outline of the heart
        ("costophrenic", pa.list_(REGION)),  # edges in pixels, of the lateral angles
    ],
    metadata={"xraytk.format": str(FORMAT)},
)


def image_path(image_id: str, kind: Literal["images", "dicom"] = "images") -> str:
    """Where an image lies, relative to the ingest folder."""
    return f"{kind}/{image_id[:2]}/{image_id}" + (".png" if kind == "images" else ".dcm")


class TableWriter:
    """Writes rows as one Parquet file as they come, atomically, in a stable byte order.

    Args:
        path: The file.
        schema: One of this module's.

    Attributes:
        rows: How many were written.
    """

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self._schema = schema
        self._waiting: list[dict[str, Any]] = []
        self._columns: list[pa.Table] = []
        self.rows = 0
        self._stack = contextlib.ExitStack()
        stream = self._stack.enter_context(atomic_write(path))
        self._writer = self._stack.enter_context(pq.ParquetWriter(stream, schema, compression="zstd"))

    def add(self, row: Mapping[str, Any]) -> None:
        """Add a row; missing keys become null."""
        self._waiting.append(dict(row))
        self.rows += 1
        if len(self._waiting) == _AT_ONCE:
            self._pack()
        if self.rows % _ROW_GROUP == 0:
            self._flush()

    def _pack(self) -> None:
        self._columns.append(pa.Table.from_pylist(self._waiting, schema=self._schema))
        self._waiting = []

    def _flush(self) -> None:
        self._pack()
        if any(map(len, self._columns)):
            self._writer.write_table(pa.concat_tables(self._columns).combine_chunks())
        self._columns = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._flush()
        self._stack.__exit__(kind, error, trace)


def write_table(path: Path, schema: pa.Schema, rows: Iterable[Mapping[str, Any]]) -> int:
    """Write rows as one Parquet file, atomically, in a stable byte order.

    Args:
        path: The file.
        schema: One of this module's.
        rows: Dictionaries; missing keys become null.

    Returns:
        The number of rows.
    """
    with TableWriter(path, schema) as writer:
        for row in rows:
            writer.add(row)
    return writer.rows


def write_whole(path: Path, table: pa.Table) -> int:
    """Write a table of one of this module's schemas, as `write_table` does.

    Args:
        path: The file.
        table: Its chunks do not matter.

    Returns:
        The number of rows.
    """
    with atomic_write(path) as stream:
        pq.write_table(table.combine_chunks(), stream, compression="zstd")
    return int(table.num_rows)


def read_table(path: Path, schema: pa.Schema, made_by: str, columns: Sequence[str] | None = None) -> pa.Table:
    """Read a table: one file, or all ``*.parquet`` files of a folder in order of name.

    Args:
        path: File or folder.
        schema: What is wanted.
        made_by: The command that writes it, for the error message.
        columns: Only these.

    Raises:
        DataError: If it is missing, broken, of another format, or lacks a column.
    """
    wanted = list(columns or schema.names)
    parts = []
    for file in _files_of(path, made_by):
        with _explained(file, made_by):
            parts.append(_opened(file, made_by).read(columns=wanted).select(wanted))
    return pa.concat_tables(parts)


def read_batches(
    path: Path, schema: pa.Schema, made_by: str, columns: Sequence[str] | None = None, rows: int = 4096
) -> Iterator[pa.RecordBatch]:
    """Read a table as `read_table` does, but a few rows at a time.

    Args:
        path: File or folder.
        schema: What is wanted.
        made_by: The command that writes it, for the error message.
        columns: Only these.
        rows: Most rows of a batch.

    Raises:
        DataError: If it is missing, broken, of another format, or lacks a column.
    """
    wanted = list(columns or schema.names)
    for file in _files_of(path, made_by):
        with _explained(file, made_by):
            for batch in _opened(file, made_by).iter_batches(rows, columns=wanted, use_threads=False):
                yield batch.select(wanted)


def _files_of(path: Path, made_by: str) -> list[Path]:
    files = sorted(path.glob("*.parquet")) if path.is_dir() else [path]
    if not files or not files[0].exists():
        raise DataError(f"{path} does not exist", todo=f"Run `{made_by}` first.")
    return files


@contextlib.contextmanager
def _explained(file: Path, made_by: str) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowInvalid, pa.ArrowKeyError, KeyError, OSError) as error:
        raise DataError(
            f"{file} is not a whole table", str(error).splitlines()[0], f"Run `{made_by}` again."
        ) from None


def _opened(file: Path, made_by: str) -> pq.ParquetFile:
    part = pq.ParquetFile(file, pre_buffer=False)
    found = (part.schema_arrow.metadata or {}).get(b"xraytk.format", b"none").decode()
    if found != str(FORMAT):
        raise DataError(
            f"{file} has format {found}", f"this version reads {FORMAT}", f"Run `{made_by}` again."
        )
    return part
