"""The map from ids to source paths, and whom studies are of, for the operator's eyes only.

It lies beside the key, outside of every output, and only its owner may read it: with it a person
finds the file that an id of a table or a message speaks of.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from xraytk.errors import DataError, MachineError, UsageError
from xraytk.files import explain_os_errors

_BATCH = 20_000
_SMALL = 1000
_WAIT_S = 60.0
_APPLICATION = 0x78726964  # "xrid", so that another program's database is never written to


def default_path(key_path: Path) -> Path:
    """Where the map of a key lies: beside it, under its name with ".paths" at the end."""
    return key_path.with_name(f"{key_path.name}.paths")


class IdMap:
    """Ids to paths, on disk. Rows are held back and written together; `close` writes the rest.

    Rows are appended, and of several for one id the last counts: that costs the same for the
    first row and for the millionth, and finding one, which people do now and then, is one pass.
    Superseded rows are dropped whenever the rows have doubled. A killed process loses only rows
    that were not flushed, and leaves a whole file. Several processes may add to one map.

    Args:
        path: The file; made with mode 0600 if there is none.
        outside: A folder in which it must not lie: the output.

    Raises:
        UsageError: If it lies inside ``outside``.
        DataError: If others may read it, or it is another kind of file.
        MachineError: If it cannot be made or opened.

    Source:
        Ours.
    """

    def __init__(self, path: Path, *, outside: Path | None = None) -> None:
        if outside is not None and path.resolve().is_relative_to(outside.resolve()):
            raise UsageError(
                "the map from ids to paths lies inside the output folder",
                "whoever is given the folder could read the names of files",
                "Choose another place for the key, the map lies beside it.",
            )
        self._path = path
        self._rows: dict[str, bytes] = {}
        self._people: list[tuple[str, str]] = []
        _make(path)
        with self._explained():
            self._db = sqlite3.connect(path, timeout=_WAIT_S, isolation_level=None)
        try:
            self._prepare()
        except BaseException:
            self._db.close()
            raise

    def _prepare(self) -> None:
        with self._explained():
            self._db.execute("PRAGMA busy_timeout = 60000")
            found = self._db.execute("PRAGMA application_id").fetchone()[0]
            tables = self._db.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
            if found != _APPLICATION and (found or tables):
                raise DataError(f"{self._path} is not a map from ids to paths", todo="Move it away.")
            self._db.execute("PRAGMA synchronous = NORMAL")
            self._db.execute(f"PRAGMA application_id = {_APPLICATION}")
            self._db.execute("CREATE TABLE IF NOT EXISTS paths (id TEXT NOT NULL, path BLOB NOT NULL)")
            self._db.execute(
                "CREATE TABLE IF NOT EXISTS people (study TEXT, secrets TEXT, UNIQUE(study, secrets))"
            )

    def add(self, name: str, path: str | os.PathLike[str]) -> None:
        """Note where the file of an id lies.

        Args:
            name: An image_id or a source_hash.
            path: Of the file; for a member of an archive, whatever names it. Any bytes pass.
        """
        self._rows[name] = os.fsencode(path)
        if len(self._rows) >= _BATCH:
            self.flush()

    def add_people(self, study: str, secrets: Iterable[str]) -> None:
        """Note what the header of a study's file says of people, for its reports to be scrubbed of.

        Args:
            study: Keyed hash.
            secrets: Names, ids, dates.
        """
        self._people.append((study, json.dumps(sorted(set(secrets)))))

    def people_of(self, study: str) -> tuple[frozenset[str], int]:
        """All that headers of a study say of people, and how many different headers said it."""
        self.flush()
        with self._explained():
            rows = self._db.execute("SELECT secrets FROM people WHERE study = ?", (study,)).fetchall()
        return frozenset(text for (row,) in rows for text in json.loads(row)), len(rows)

    def flush(self) -> None:
        """Write what was held back, all or nothing; then it outlives this process."""
        if not self._rows and not self._people:
            return
        with self._explained():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                self._db.executemany("INSERT INTO paths VALUES (?, ?)", self._rows.items())
                self._db.executemany("INSERT OR IGNORE INTO people VALUES (?, ?)", self._people)
                self._db.execute("COMMIT")
            except BaseException:
                with contextlib.suppress(sqlite3.Error):
                    self._db.execute("ROLLBACK")
                raise
        self._rows.clear()
        self._people.clear()

    def path_of(self, name: str) -> str | None:
        """The path of an id; None if it is not known. Bytes that are no text come as surrogates."""
        held = self._rows.get(name)
        if held is None:
            with self._explained():
                row = self._db.execute(
                    "SELECT path FROM paths WHERE id = ? ORDER BY rowid DESC LIMIT 1", (name,)
                ).fetchone()
            if row is None:
                return None
            held = row[0]
        return os.fsdecode(held)

    def items(self) -> Iterator[tuple[str, str]]:
        """All ids with their paths, in no order; of several paths of an id the last."""
        self.flush()
        with self._explained():
            rows = self._db.execute(
                "SELECT id, path FROM paths WHERE rowid IN (SELECT max(rowid) FROM paths GROUP BY id)"
            )
            for name, path in rows:
                yield name, os.fsdecode(path)

    def __len__(self) -> int:
        """Ids that are known, those held back included."""
        self.flush()
        with self._explained():
            return int(self._db.execute("SELECT count(DISTINCT id) FROM paths").fetchone()[0])

    def close(self) -> None:
        """Flush and close."""
        try:
            self.flush()
            self._drop_superseded()
        finally:
            self._db.close()

    def _drop_superseded(self) -> None:
        """Keep the last row of each id, when there are twice as many rows as the last time."""
        with self._explained():
            rows = self._db.execute("SELECT count(*) FROM paths").fetchone()[0]
            before = self._db.execute("PRAGMA user_version").fetchone()[0]
            if rows < 2 * before + _SMALL:
                return
            self._db.execute("BEGIN IMMEDIATE")
            self._db.execute(
                "DELETE FROM paths WHERE rowid NOT IN (SELECT max(rowid) FROM paths GROUP BY id)"
            )
            kept = self._db.execute("SELECT count(*) FROM paths").fetchone()[0]
            self._db.execute(f"PRAGMA user_version = {int(kept)}")
            self._db.execute("COMMIT")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return "IdMap()"

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        """SQLite's errors as ours; it quotes no row."""
        try:
            yield
        except sqlite3.DatabaseError as error:
            code = error.sqlite_errorname if hasattr(error, "sqlite_errorname") else type(error).__name__
            if code == "SQLITE_NOTADB":
                raise DataError(
                    f"{self._path} is not a map from ids to paths", todo="Move it away."
                ) from None
            raise MachineError(
                f"the map {self._path} cannot be used",
                f"SQLite says {code}",
                "Free space, or see who else uses it, and run the same command again.",
            ) from None


def _make(path: Path) -> None:
    """Make an empty file with mode 0600, or see that the one that is there is nobody else's to read."""
    with explain_os_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        number = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            mode = os.fstat(number).st_mode
        finally:
            os.close(number)
    if stat.S_IMODE(mode) & 0o077:
        raise DataError(
            f"the map {path} may be read by others",
            f"its mode is {stat.S_IMODE(mode):04o}, wanted 0600",
            f"Run `chmod 600 {path}`.",
        )
