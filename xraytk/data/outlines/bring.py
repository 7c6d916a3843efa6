"""Import: contours of other people's files become corrections, or rows of the rejected table."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from xraytk.data import corrections, manifest
from xraytk.data.corrections import Correction
from xraytk.data.deid import hashed
from xraytk.data.outlines import labels
from xraytk.data.outlines.formats import format_of, listed, read
from xraytk.data.outlines.outline import REASONS, Outline, Refusal, RefusedError
from xraytk.data.outlines.place import check_lungs, settle
from xraytk.data.outlines.whose import Images
from xraytk.errors import DataError
from xraytk.progress import Progress, Silent

REJECTED = pa.schema(
    [
        ("file_hash", pa.string()),  # keyed hash of the path; without a key, of the content
        ("row", pa.int32()),  # place in the file, from 0; -1 for the file
        ("format", pa.string()),  # "" when unknown
        ("image_id", pa.string()),  # null when the image is not known
        ("name_hash", pa.string()),  # keyed hash of the name that the row gives; null without a key
        ("reason", pa.string()),  # a fixed code, see `outline.REASONS`
        ("detail", pa.string()),  # numbers and fixed words only
        ("meaning", pa.string()),  # of the reason, and what to do
    ],
    metadata={"xraytk.format": str(manifest.FORMAT)},
)
_MOST_LABELS = 20


@dataclass(frozen=True, slots=True)
class ImportResult:
    """What an import brought.

    Args:
        imported: Images with a contour.
        refused: Number of rows by reason.
        formats: Number of files by format.
        left_out: Files of folders that are of no known format.
        unknown_labels: Shapes by label that nobody knows, the most frequent first.
        rejected: The table of what was refused.
    """

    imported: int
    refused: dict[str, int]
    formats: dict[str, int]
    left_out: int
    unknown_labels: dict[str, int]
    rejected: Path


class _Row(NamedTuple):
    """Where a contour came from."""

    file_hash: str
    row: int
    format: str
    names: tuple[str, ...]


@dataclass(slots=True)
class _Import:
    """An import under way."""

    images: Images
    folder: Path
    key: bytes | None = field(repr=False)
    given: Mapping[str, str] | None
    keep_reviewed: bool
    say: Callable[[str], None] | None
    made: dict[str, list[_Row]] = field(default_factory=dict, repr=False)
    rejected: list[dict[str, Any]] = field(default_factory=list)
    unknown: Counter[str] = field(default_factory=Counter)

    def take(self, found: Outline | Refusal, file_hash: str, kind: str) -> None:
        """Save one row's contour, or note why not."""
        row = _Row(file_hash, found.row, kind, found.names)
        if isinstance(found, Refusal):
            self.refuse(row, found.reason, found.detail)
            return
        image_id = None
        try:
            facts, is_original = self.images.find(found)
            image_id = facts.image_id
            made = settle(found, facts, self.given, self.unknown, is_original=is_original)
            self._save(made, row)
        except RefusedError as error:
            self.refuse(row, error.reason, error.detail, image_id)

    def _save(self, made: Correction, row: _Row) -> None:
        """Write a correction: joined with one of other lungs from this import, else instead of it."""
        path = self.folder / f"{made.image_id}.json"
        before = _load(path)
        if self.keep_reviewed and before is not None and before.origin == "review":
            raise RefusedError("already-reviewed", before.decision)
        earlier = self.made.get(made.image_id, [])
        rows = [row]
        if earlier and before is not None:
            if {p["name"] for p in before.polygons}.isdisjoint(p["name"] for p in made.polygons):
                made, rows = self._joined(before, made, path, earlier), [*earlier, row]
            else:
                for old in earlier:
                    self.refuse(old, "several-for-one-image", "", made.image_id)
        if made != before:
            corrections.save(self.folder, made)
        self.made[made.image_id] = rows

    def _joined(self, before: Correction, more: Correction, path: Path, earlier: list[_Row]) -> Correction:
        """Contours of different lungs in one; where these cannot be two lungs, none of them is kept."""
        both = (*before.polygons, *more.polygons)
        polygons = tuple(sorted(both, key=lambda p: corrections.NAMES.index(p["name"])))
        try:
            check_lungs(polygons, more.width, more.height)
        except RefusedError as error:
            path.unlink()
            del self.made[more.image_id]
            for old in earlier:
                self.refuse(old, error.reason, error.detail, more.image_id)
            raise
        return replace(more, polygons=polygons)

    def refuse(self, row: _Row, reason: str, detail: str = "", image_id: str | None = None) -> None:
        """Note a row of the rejected table."""
        name = row.names[0] if row.names else ""
        self.rejected.append(
            {
                "file_hash": row.file_hash,
                "row": row.row,
                "format": row.format,
                "image_id": image_id,
                "name_hash": hashed(self.key, "outline", name) if self.key and name else None,
                "reason": reason,
                "detail": detail,
                "meaning": REASONS[reason],
            }
        )
        if self.say:
            printable = name.encode("utf-8", "backslashreplace").decode()
            printable = "".join(c if c.isprintable() else "?" for c in printable)
            self.say(f"{reason}{f' ({detail})' if detail else ''}: {printable}")


def import_outlines(
    paths: Sequence[Path],
    manifest_table: pa.Table,
    corrections_folder: Path,
    *,
    key: bytes | None = None,
    sources: Callable[[], Iterable[tuple[str, str]]] | None = None,
    dicom: Path | None = None,
    label_map: Mapping[str, str] | None = None,
    rejected: Path | None = None,
    keep_reviewed: bool = True,
    show_paths: bool = False,
    progress: Progress | None = None,
) -> ImportResult:
    """Make corrections of the contours in files; the same files give the same bytes.

    Of several contours of one image the last counts, in the order of ``paths`` and of names; but
    contours of different lungs, as in left and right masks, are joined.

    Args:
        paths: Files and folders of any of `formats.FORMATS`.
        manifest_table: Of `place.COLUMNS` at least.
        corrections_folder: Where corrections go.
        key: Of the hashes, if the operator has it.
        sources: Ids and paths of the sources, as `idmap.IdMap.items`, if the operator has them.
        dicom: Folder of de-identified DICOM files, if there is one.
        label_map: The user's labels to ours.
        rejected: The rejected table; "rejected.parquet" beside the corrections by default. Rows of
            earlier imports stay, but for those of the same files and of images imported since.
        keep_reviewed: Whether what a person decided in the review wins.
        show_paths: Whether refused names are said to ``progress``. They are never written.
        progress: Where to report to.

    Raises:
        DataError: If one of the paths does not exist.
        UsageError: If the label map gives names that are not ours.
        MachineError: If the disk is full.
    """
    progress = progress or Silent()
    rejected = rejected or corrections_folder.parent / "rejected.parquet"
    given = labels.checked_map(label_map) if label_map else None
    files = list(listed(paths))
    images = Images(manifest_table, key=key, paths=sources, dicom=dicom)
    work = _Import(
        images, corrections_folder, key, given, keep_reviewed, progress.note if show_paths else None
    )
    kinds: Counter[str] = Counter()
    left_out, hashes = 0, set()
    with progress.task("import", None, "contours") as task:
        done = 0
        for path, is_named in files:
            kind = format_of(path)
            if not kind and not is_named:
                left_out += 1
                continue
            kinds[kind or "unknown"] += 1
            hashes.add(name := _hash_of(path, key))
            for found in read(path, kind):
                work.take(found, name, kind)
                task.update(done := done + 1, refused=len(work.rejected))
    _write_rejected(rejected, work.rejected, hashes, set(work.made))
    said: Counter[str] = Counter()
    for label, count in work.unknown.items():
        said[labels.said(label)] += count
    return ImportResult(
        imported=len(work.made),
        refused=dict(sorted(Counter(row["reason"] for row in work.rejected).items())),
        formats=dict(sorted(kinds.items())),
        left_out=left_out,
        unknown_labels=dict(sorted(said.items(), key=lambda one: (-one[1], one[0]))[:_MOST_LABELS]),
        rejected=rejected,
    )


def _load(path: Path) -> Correction | None:
    """The correction that is there; None where there is none, or a broken one."""
    if not path.exists():
        return None
    try:
        return corrections.load(path)
    except DataError:
        return None


def _hash_of(path: Path, key: bytes | None) -> str:
    if key is not None:
        return hashed(key, "outlines", os.path.abspath(path))  # noqa: PTH100, any bytes
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()[:16]
    except OSError:
        return ""


def _write_rejected(path: Path, rows: list[dict[str, Any]], files: set[str], imported: set[str]) -> None:
    """Write the table: the new rows, and the old ones that still hold."""
    table = pa.Table.from_pylist(rows, schema=REJECTED)
    try:
        old = pq.read_table(path, schema=REJECTED)
    except (OSError, pa.ArrowException, KeyError, ValueError):
        old = REJECTED.empty_table()
    gone = pc.or_(_among(old["file_hash"], files), _among(old["image_id"], imported))
    order = [(name, "ascending") for name in ("file_hash", "row", "reason", "image_id")]
    table = pa.concat_tables([old.filter(pc.invert(gone)), table]).sort_by(order)
    manifest.write_whole(path, table.replace_schema_metadata(REJECTED.metadata))


def _among(column: pa.ChunkedArray, names: set[str]) -> pa.ChunkedArray:
    return pc.fill_null(pc.is_in(column, pa.array(sorted(names), pa.string())), fill_value=False)
