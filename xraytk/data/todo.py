"""What is left to do: the sources that no entry of the journal answers.

They wait in an unnamed temporary database, so that a million of them take no memory, and so
that their paths, which may name patients, are gone with the process, however it ends.
"""

from __future__ import annotations

import pickle
import re
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from types import TracebackType
from typing import Self

import numpy as np

from xraytk.data.journal import Journal, Known
from xraytk.data.storage import Storage
from xraytk.data.unit import Job

WORTH_ANOTHER_TRY = (
    *("unreadable", "vanished", "changed", "missing", "bad-dicomdir", "outside-folder"),
    *("crashed", "timed-out", "out-of-memory", "unexpected-error"),
)
_AT_ONCE = 10_000
_IMAGE = re.compile(r"(?:images|dicom)/([0-9a-f]{2})/\1[0-9a-f]{14}\.(?:png|dcm)")


class Todo:
    """Jobs that wait, in the order in which they were listed.

    Attributes:
        listed: Sources seen.
        known: Of these, how many had an entry.
        again: Of the jobs, how many had an entry that no longer fits.
        lost: Reports, labels and facts that these entries had from tables.
    """

    def __init__(self, journal: Journal, storage: Storage, mark: str, *, with_dicom: bool = False) -> None:
        self._journal, self._mark = journal, mark
        kinds = ("images", "dicom") if with_dicom else ("images",)
        self._images = None if storage.local is None else [_Ids(storage.names(kind)) for kind in kinds]
        self._base = sqlite3.connect("", isolation_level=None)
        self._base.executescript(
            "CREATE TABLE jobs(n INTEGER PRIMARY KEY, job BLOB);"
            "CREATE TABLE hidden(name TEXT PRIMARY KEY) WITHOUT ROWID; BEGIN;"
        )
        self._count = 0
        self._hides = False  # whether files were dropped since another with their image was
        self.listed = 0
        self.known = 0
        self.again = 0
        self.lost = [0, 0, 0]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._base.close()

    def __len__(self) -> int:
        return self._count

    def fill(self, list_jobs: Callable[[], Iterable[Job]], tell: Callable[[int], None]) -> None:
        """Compare what is listed with the journal; stale entries are taken out of it.

        Args:
            list_jobs: Lists all sources; called a second time when images have to be made again
                that other files had hidden as duplicates.
            tell: Is told how many were listed.
        """
        for some in _in_batches(list_jobs()):
            known = self._journal.known([job.name for job in some])
            self.known += len(known)
            lost = self._lost_images(known.values())
            stale = []
            for job in some:
                entry = known.get(job.name)
                if entry is None or self._is_stale(entry, job, lost):
                    self._add(job)
                    if entry is not None:
                        stale.append(job.name)
            self._forget(stale)
            self.listed += len(some)
            tell(self.listed)
        if self._hides:
            for job in list_jobs():
                if self._base.execute("SELECT 1 FROM hidden WHERE name=?", (job.name,)).fetchone():
                    self._add(job)

    def _add(self, job: Job) -> None:
        self._base.execute("INSERT INTO jobs(job) VALUES (?)", (pickle.dumps(job, -1),))
        self._count += 1
        if self._hides:
            self._base.execute("DELETE FROM hidden WHERE name=?", (job.name,))

    def _forget(self, names: list[str]) -> None:
        for name in names:
            entry = self._journal.entry(name) or {}
            self.again += "row" in entry and entry["mark"] != self._mark
            for i, found in enumerate(entry.get("found", ())):
                self.lost[i] += found is not None
        others = self._journal.drop(names) if names else []
        self._hides |= bool(others)
        self._base.executemany("INSERT INTO hidden VALUES (?)", ((name,) for name in others))

    def _is_stale(self, known: Known, job: Job, lost: set[str]) -> bool:
        if (known.size, known.stamp) != (job.source.size, job.source.stamp):
            return True
        if known.image_id is None:
            return known.reason in WORTH_ANOTHER_TRY
        if self._mark not in ("", known.mark):  # without a table, earlier ones still count
            return True
        return known.image_id in lost

    def _lost_images(self, known: Iterable[Known]) -> set[str]:
        if self._images is None:
            return set()
        wanted = [k.image_id for k in known if k.image_id is not None]
        return set().union(*(kind.missing(wanted) for kind in self._images))

    def jobs(self) -> Iterator[Job]:
        """The jobs, in order."""
        for (job,) in self._base.execute("SELECT job FROM jobs ORDER BY n"):
            yield pickle.loads(job)  # noqa: S301, written a moment ago by this process


class _Ids:
    """Image ids of the files in the images folder, in 8 bytes each.

    Listing a folder costs a tenth of asking for each of its files, over a network a hundredth.
    Remote storage is taken at the journal's word: listing a million objects takes minutes.
    """

    def __init__(self, names: Iterable[str]) -> None:
        stems = (name[-20:-4] for name in names if _IMAGE.fullmatch(name))
        self._ids = np.sort(np.fromiter((int(stem, 16) for stem in stems), np.uint64))

    def missing(self, image_ids: Iterable[str]) -> set[str]:
        """Those that are not there."""
        wanted = list(image_ids)
        values = np.fromiter((int(image_id, 16) for image_id in wanted), np.uint64)
        at = self._ids.searchsorted(values)
        there = at < len(self._ids)
        there[there] = self._ids[at[there]] == values[there]
        return {wanted[i] for i in np.flatnonzero(~there)}


def _in_batches(jobs: Iterable[Job]) -> Iterator[list[Job]]:
    rest = iter(jobs)
    while some := list(islice(rest, _AT_ONCE)):
        yield some
