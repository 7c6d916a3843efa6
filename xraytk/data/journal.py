"""The journal of ingest: what is known of each file, so that a killed run goes on.

An SQLite database in the output folder: an entry is there or is not, whatever kills the
process, and a million of them take no memory. It holds hashed ids, sizes, and texts already
scrubbed; nothing that names a person or a path.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from xraytk import config
from xraytk.errors import DataError, MachineError, RunConflictError
from xraytk.files import explain_os_errors, make_folder

FORMAT = 3
Entry = dict[str, Any]

_TABLES = """
CREATE TABLE {base}.settings(format INTEGER, value TEXT, whole INTEGER);
CREATE TABLE {base}.files(
    name TEXT PRIMARY KEY,          -- root hash/source hash
    size INTEGER NOT NULL,
    stamp TEXT NOT NULL,
    reason TEXT NOT NULL,           -- '' when there is an image
    mark TEXT NOT NULL,             -- of the tables that were joined
    image_id TEXT,
    patient TEXT,
    given TEXT,                     -- the split that a table names
    pixels TEXT,                    -- SHA-256 of the image's pixels
    study TEXT,                     -- of a structured report
    report INTEGER NOT NULL,        -- whether tables gave one
    labels INTEGER NOT NULL,
    facts INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE {base}.entries(name TEXT PRIMARY KEY, entry TEXT NOT NULL);  -- long rows: appended, not sorted
"""
_INDEXES = """
CREATE INDEX {base}.by_image ON files(image_id) WHERE image_id IS NOT NULL;
CREATE INDEX {base}.by_patient ON files(patient) WHERE given <> '';
CREATE INDEX {base}.by_study ON files(study) WHERE study IS NOT NULL;
CREATE INDEX {base}.by_pixels ON files(pixels, image_id) WHERE pixels IS NOT NULL;
"""
_PAGE_BYTES, _CACHE_KB = 8192, 8_000
_BEFORE_COPY = f"PRAGMA fresh.page_size={_PAGE_BYTES};" + (
    "PRAGMA fresh.journal_mode=OFF; PRAGMA fresh.synchronous=OFF; BEGIN;"
)
_COPY = """
INSERT INTO fresh.settings SELECT format, value, 1 FROM main.settings;
INSERT INTO fresh.files SELECT * FROM main.files ORDER BY name;
INSERT INTO fresh.entries SELECT * FROM main.entries ORDER BY name;
"""


class Journal:
    """Entries by name, on disk.

    Args:
        path: The database; made when it is missing. The folder's lock must be held.
        settings: Plain values that all entries depend on.

    Raises:
        RunConflictError: If the file was written under other settings.
        DataError: If it is not a journal of this version.
        MachineError: If the disk is full or the folder cannot be written.
    """

    def __init__(self, path: Path, settings: Mapping[str, Any]) -> None:
        self._path = path
        self._is_changed = False
        make_folder(path.parent)
        with self._explained():
            is_new = not path.exists() or path.stat().st_size == 0
            self._base = sqlite3.connect(path, isolation_level=None)
        try:
            with self._explained():
                self._base.execute("PRAGMA locking_mode=EXCLUSIVE")  # WAL without shared memory: NFS too
                self._base.execute(f"PRAGMA cache_size=-{_CACHE_KB}")
                if is_new:
                    self._make(settings)
                else:
                    self._check(settings)
        except BaseException:
            self._base.close()
            raise

    def _make(self, settings: Mapping[str, Any]) -> None:
        self._base.execute(f"PRAGMA page_size={_PAGE_BYTES}")
        self._base.executescript("BEGIN;" + (_TABLES + _INDEXES).format(base="main"))
        self._base.execute("INSERT INTO settings VALUES (?, ?, 0)", (FORMAT, _json(dict(settings))))
        self._base.execute("COMMIT")

    def _check(self, settings: Mapping[str, Any]) -> None:
        try:
            found = self._base.execute("SELECT format, value FROM settings").fetchone()
        except sqlite3.DatabaseError:
            found = None
        if not found or found[0] != FORMAT:
            raise DataError(
                f"{self._path} is not a journal of this version",
                f"wanted an SQLite database with format {FORMAT}",
                "Choose another folder with --out, or remove this one to start anew.",
            )
        if lines := config.differences(json.loads(found[1]), json.loads(_json(dict(settings)))):
            raise RunConflictError(
                f"{self._path.parent} was written with another configuration",
                "\n".join(lines),
                "Use the same configuration, or choose another folder with --out.",
            )

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        """Turn SQLite's complaints about the disk into a message that says what to do."""
        try:
            with explain_os_errors(self._path):
                yield
        except (sqlite3.OperationalError, sqlite3.DatabaseError) as error:
            name = getattr(error, "sqlite_errorname", "")
            if name.startswith(("SQLITE_FULL", "SQLITE_IOERR")):
                raise MachineError(
                    f"no space left while writing {self._path.name}",
                    f"in folder {self._path.parent}",
                    "Free some space and run the same command again; finished work is kept.",
                ) from None
            raise DataError(
                f"{self._path} cannot be used",
                f"SQLite says {name}",
                "Choose another folder with --out, or remove this one to start anew.",
            ) from None

    def close(self) -> None:
        """Let go of the database."""
        self._base.close()

    def of_root(self, root: str) -> Iterator[tuple[str, int, str, str, str, str | None]]:
        """What is known of the files of a source, in order of their names.

        Yields:
            Source hash, size, stamp, reason ("" when there is an image), mark of the tables that
            were joined, image_id (None when refused).
        """
        sql = (
            "SELECT substr(name, ?), size, stamp, reason, mark, image_id FROM files "
            "WHERE name > ? AND name < ? ORDER BY name"
        )
        with self._explained():
            yield from self._base.execute(sql, (len(root) + 2, f"{root}/", f"{root}0"))

    def add(self, entry: Entry) -> None:
        """Add an entry, or replace that of its name; a killed process keeps it when this has returned."""
        row = entry.get("row")
        values = (
            entry["name"],
            entry["size"],
            entry["stamp"],
            "" if row else entry["rejected"]["reason"],
            entry.get("mark", ""),
            row and row["image_id"],
            row and row["patient_hash"],
            entry.get("given", ""),
            row and row["pixel_sha256"],
            entry.get("report", {}).get("study"),
            *(number is not None for number in entry.get("found", (None, None, None))),
        )
        marks = ",".join("?" * len(values))
        with self._explained():
            self._begin()
            self._base.execute(f"INSERT OR REPLACE INTO files VALUES ({marks})", values)  # noqa: S608
            self._base.execute("INSERT OR REPLACE INTO entries VALUES (?, ?)", (entry["name"], _json(entry)))
            self._base.execute("COMMIT")

    def drop(self, names: Iterable[str]) -> list[str]:
        """Forget files, and all others that have the image of one of them: all of it or nothing.

        Returns:
            Names of the others.
        """
        others: set[str] = set()
        with self._explained():
            self._begin()
            for name in names:
                others.update(self._with_image_of(name))
                others.discard(name)
                self._forget(name)
            for name in others:
                self._forget(name)
            self._base.execute("COMMIT")
        return sorted(others)

    def _with_image_of(self, name: str) -> list[str]:
        sql = "SELECT o.name FROM files f JOIN files o ON o.image_id = f.image_id WHERE f.name=?"
        return [found for (found,) in self._base.execute(sql, (name,))]

    def _forget(self, name: str) -> None:
        self._base.execute("DELETE FROM entries WHERE name=?", (name,))
        self._base.execute("DELETE FROM files WHERE name=?", (name,))

    def _begin(self) -> None:
        """Begin a change; a journal that is only read stays as it is, byte for byte."""
        if not self._is_changed:
            self._base.execute("PRAGMA journal_mode=WAL")
            self._base.execute("PRAGMA synchronous=NORMAL")
            self._is_changed = True
        self._base.execute("BEGIN")
        self._base.execute("UPDATE settings SET whole=0")

    def same_image(self, image_ids: Iterable[str]) -> list[str]:
        """Names of all files with one of these images."""
        sql = "SELECT name FROM files WHERE image_id=?"
        with self._explained():
            return [name for image_id in image_ids for (name,) in self._base.execute(sql, (image_id,))]

    def holder(self, image_id: str) -> tuple[str, str] | None:
        """Rank (source hash, name) of the file whose image counts; None when no file has it.

        Of several files with one image the smallest counts, in whatever order they were read.
        """
        found = self.same_image([image_id])
        return min((rank(name) for name in found), default=None)

    def entry(self, name: str) -> Entry | None:
        """The entry of a file."""
        with self._explained():
            row = self._base.execute("SELECT entry FROM entries WHERE name=?", (name,)).fetchone()
        return json.loads(row[0]) if row else None

    def counts(self) -> tuple[int, int]:
        """Files with an image, and files refused."""
        with self._explained():
            row = self._base.execute("SELECT COUNT(image_id), COUNT(*) FROM files").fetchone()
        return row[0], row[1] - row[0]

    def accepted(self) -> Iterator[list[Entry]]:
        """Entries with an image, in order of image_id; those of one image together, the first counts.

        Each entry has "first_same_pixels": the smallest image_id of other images with the same
        pixels, or None.
        """
        sql = (
            "SELECT f.image_id, e.entry, (SELECT MIN(o.image_id) FROM files o WHERE o.pixels = f.pixels) "
            "FROM files f JOIN entries e USING (name) WHERE f.image_id IS NOT NULL ORDER BY f.image_id"
        )
        group: list[Entry] = []
        with self._explained():
            for image_id, text, first in self._base.execute(sql):
                entry = json.loads(text)
                entry["first_same_pixels"] = None if first == image_id else first
                if group and group[0]["row"]["image_id"] != image_id:
                    yield sorted(group, key=lambda e: rank(e["name"]))
                    group = []
                group.append(entry)
        if group:
            yield sorted(group, key=lambda e: rank(e["name"]))

    def refused(self) -> Iterator[Entry]:
        """Entries of refused files, in order of their names."""
        sql = "SELECT entry FROM files JOIN entries USING (name) WHERE reason <> '' ORDER BY name"
        with self._explained():
            for (text,) in self._base.execute(sql):
                yield json.loads(text)

    def ambiguous(self, table: int) -> set[tuple[str, int]]:
        """Rows (mark, number) of a table that files of several studies have by their names.

        Args:
            table: 0 for reports, 1 for labels, 2 for metadata.
        """
        number, by_file = (
            f"json_extract(entry, '$.found[{table}]')",
            f"json_extract(entry, '$.by_file[{table}]')",
        )
        sql = (
            f"SELECT mark, {number} AS n FROM files JOIN entries USING (name) "  # noqa: S608, a number
            f"WHERE n IS NOT NULL AND {by_file} GROUP BY mark, n "
            "HAVING COUNT(DISTINCT json_extract(entry, '$.own')) > 1"
        )
        with self._explained():
            return set(self._base.execute(sql))

    def with_texts(self) -> Iterator[Entry]:
        """Entries that hold a report; the journal may be changed meanwhile."""
        sql = (
            "SELECT name FROM entries WHERE json_extract(entry, '$.en', '$.zh', '$.es', '$.report') "
            "<> '[null,null,null,null]'"
        )
        with self._explained():
            names = [name for (name,) in self._base.execute(sql)]
        for name in names:
            if (entry := self.entry(name)) is not None:
                yield entry

    def reports_of(self, study: str) -> list[Entry]:
        """Structured reports of a study, final ones first."""
        sql = "SELECT entry FROM files JOIN entries USING (name) WHERE study=? ORDER BY name"
        with self._explained():
            found = [json.loads(text)["report"] for (text,) in self._base.execute(sql, (study,))]
        return sorted(found, key=lambda report: not report["final"])

    def signatures(self) -> Iterator[tuple[str, str]]:
        """Image_id and signature of each image, in order of image_id."""
        sql = (
            "SELECT f.image_id, json_extract(e.entry, '$.row.signature') FROM files f "
            "JOIN entries e USING (name) WHERE f.image_id IS NOT NULL ORDER BY f.image_id, f.name"
        )
        before = None
        with self._explained():
            for image_id, signature in self._base.execute(sql):
                if image_id != before:
                    yield image_id, signature
                before = image_id

    def has_reports(self) -> bool:
        """Whether there is any structured report."""
        return self._has("study IS NOT NULL")

    def has_given_splits(self) -> bool:
        """Whether tables name a split for any patient."""
        return self._has("given <> ''")

    def _has(self, condition: str) -> bool:
        with self._explained():
            sql = f"SELECT EXISTS (SELECT 1 FROM files WHERE {condition})"  # noqa: S608
            return bool(self._base.execute(sql).fetchone()[0])

    def given_split(self, patient: str) -> str | None:
        """The split that a table names for a patient."""
        sql = "SELECT MIN(given) FROM files WHERE patient=? AND given <> ''"
        with self._explained():
            found: str | None = self._base.execute(sql, (patient,)).fetchone()[0]
        return found

    def clashing_patients(self) -> int:
        """How many patients tables put into several splits."""
        sql = (
            "SELECT COUNT(*) FROM (SELECT patient FROM files WHERE given <> '' "
            "GROUP BY patient HAVING MIN(given) <> MAX(given))"
        )
        with self._explained():
            return int(self._base.execute(sql).fetchone()[0])

    def joined(self) -> tuple[int, int, int]:
        """Images to which earlier tables gave a report, labels and facts."""
        sql = "SELECT TOTAL(report), TOTAL(labels), TOTAL(facts) FROM files"
        with self._explained():
            found = self._base.execute(sql).fetchone()
        return int(found[0]), int(found[1]), int(found[2])

    def finish(self) -> None:
        """Write the database anew in one order, unless it is, and let go of it.

        Afterwards the file depends on its entries alone, byte for byte.
        """
        temporary = self._path.with_name(f".tmp-{secrets.token_hex(4)}-{self._path.name}")
        try:
            with self._explained():
                if self._base.execute("SELECT whole FROM settings").fetchone()[0]:
                    self._base.close()
                    return
                self._base.execute("ATTACH ? AS fresh", (str(temporary),))
                copy = (_BEFORE_COPY, _TABLES, _COPY, _INDEXES, "COMMIT;")  # indexes of sorted rows: quicker
                self._base.executescript("".join(copy).format(base="fresh"))
                self._base.close()
                _sync(temporary)
                temporary.replace(self._path)
        finally:
            temporary.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    """Have a file on disk before it takes the place of another."""
    with path.open("rb") as stream:
        os.fsync(stream.fileno())


def rank(name: str) -> tuple[str, str]:
    """Order of files with one image: (source hash, name)."""
    return name.partition("/")[2], name


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
