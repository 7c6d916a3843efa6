"""What is left to do: the sources that no entry of the journal answers.

They wait in an unnamed temporary database, so that a million of them take no memory, and so
that their paths, which may name patients, are gone with the process, however it ends.
"""

from __future__ import annotations

import pickle
import re
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from types import TracebackType
from typing import Any, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from xraytk.data.journal import Journal
from xraytk.data.reading import Source
from xraytk.data.storage import Storage
from xraytk.data.unit import Job

WORTH_ANOTHER_TRY = {
    *("unreadable", "vanished", "changed", "missing", "bad-dicomdir", "outside-folder"),
    *("crashed", "timed-out", "out-of-memory", "unexpected-error"),
}
_AT_ONCE = 1000
T = TypeVar("T")
_Rows = tuple[Sequence[str], Sequence[tuple[int, str]], NDArray[np.bool_], NDArray[np.bool_]]
_IMAGE = re.compile(r"(?:images|dicom)/([0-9a-f]{2})/\1[0-9a-f]{14}\.(?:png|dcm)")


class Todo:
    """Jobs that wait, in the order in which they were listed.

    Args:
        journal: What earlier runs did.
        storage: Where their images are.
        mark: Of the tables now given; "" when there are none, and earlier ones still count.
        with_dicom: Whether each image needs a DICOM file.

    Attributes:
        listed: Sources seen.
        earlier: Files of the root that had an entry.
        known: Of these, how many were listed.
        again: Of the jobs, how many had an entry that no longer fits.
        lost: Reports, labels and facts that these entries had from tables.
    """

    def __init__(self, journal: Journal, storage: Storage, mark: str, *, with_dicom: bool = False) -> None:
        self._journal, self._storage, self._mark = journal, storage, mark
        self._kinds = ("images", "dicom") if with_dicom else ("images",)
        self._base = sqlite3.connect("", isolation_level=None)
        self._base.executescript(
            "CREATE TABLE jobs(n INTEGER PRIMARY KEY, job BLOB);"
            "CREATE TABLE hidden(name TEXT PRIMARY KEY) WITHOUT ROWID; BEGIN;"
        )
        self._count = 0
        self._hides = False  # whether files were dropped since another with their image was
        self.listed = 0
        self.earlier = 0
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

    def fill(
        self,
        root: str,
        list_sources: Callable[[], Iterable[Source]],
        hash_of: Callable[[str], str],
        job_of: Callable[[str, Source], Job],
        tell: Callable[[int], None],
    ) -> None:
        """Compare what is listed with the journal; stale entries are taken out of it.

        Args:
            root: Hash that begins the names of all.
            list_sources: Lists them; called a second time when images have to be made again that
                other files had hidden as duplicates.
            hash_of: The hash of a source's name, 16 hexadecimal digits.
            job_of: The job of a name and its source.
            tell: Is told how many were listed.
        """
        finished = _Finished(self._rows(root))
        self.earlier = len(finished)
        for some in _in_batches(list_sources()):
            hashes = [hash_of(source.name) for source in some]
            known, fits = finished.find(hashes, [(source.size, source.stamp) for source in some])
            stale = []
            for i in np.flatnonzero(~fits).tolist():
                name = f"{root}/{hashes[i]}"
                self._add(job_of(name, some[i]))
                if known[i]:
                    stale.append(name)
            self._forget(stale)
            self.known += int(known.sum())
            self.listed += len(some)
            tell(self.listed)
        gone = [f"{root}/{digits}" for digits in finished.unseen_faults()]
        self._forget(gone)  # a folder that could not be read, and can be now
        self.earlier -= len(gone)
        if self._hides:
            for source in list_sources():
                name = f"{root}/{hash_of(source.name)}"
                if self._base.execute("SELECT 1 FROM hidden WHERE name=?", (name,)).fetchone():
                    self._add(job_of(name, source))

    def _rows(self, root: str) -> Iterator[_Rows]:
        """Source hashes of what is known, size and stamp, and whether it is done for good."""
        # Listing a folder costs a tenth of asking for each of its files, over a network a hundredth.
        # Remote storage is taken at the journal's word: listing a million objects takes minutes.
        local = self._storage.local is not None
        images = [_image_ids(self._storage.names(kind)) for kind in self._kinds if local]
        for some in _in_batches(self._journal.of_root(root)):
            hashes, sizes, stamps, reasons, marks, image_ids = zip(*some, strict=True)
            made = np.array([image_id is not None for image_id in image_ids])
            faulty = np.array([reason in WORTH_ANOTHER_TRY for reason in reasons])
            done = ~faulty
            if self._mark:  # without a table, earlier ones still count
                done &= ~made | np.array([mark == self._mark for mark in marks])
            wanted = _numbers(list(filter(None, image_ids)))
            for there in images:
                done[made] &= _find(wanted, there)[1]
            yield hashes, list(zip(sizes, stamps, strict=True)), done, faulty

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

    def jobs(self) -> Iterator[Job]:
        """The jobs, in order."""
        for (job,) in self._base.execute("SELECT job FROM jobs ORDER BY n"):
            yield pickle.loads(job)  # noqa: S301, written a moment ago by this process


class _Finished:
    """What is known of the files of a root, in 18 bytes each.

    Args:
        rows: In parts: source hashes, in order; sizes and stamps; whether they are done for good;
            whether they are worth another try.
    """

    def __init__(self, rows: Iterable[_Rows]) -> None:
        parts = [(_numbers(hashes), _prints(states), *flags) for hashes, states, *flags in rows]
        parts = parts or [(_numbers([]), _prints([]), np.zeros(0, bool), np.zeros(0, bool))]
        self._ids, self._prints, self._done, self._unseen = map(np.concatenate, zip(*parts, strict=True))

    def __len__(self) -> int:
        return len(self._ids)

    def find(
        self, hashes: Sequence[str], states: Sequence[tuple[int, str]]
    ) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Which of some files are known, and which of these are done for good and as they were."""
        at, known = _find(_numbers(hashes), self._ids)
        fits = known.copy()
        fits[known] = self._done[at[known]] & (self._prints[at[known]] == _prints(states)[known])
        self._unseen[at[known]] = False
        return known, fits

    def unseen_faults(self) -> list[str]:
        """Source hashes of what was worth another try, and was not found again."""
        return [f"{number:016x}" for number in self._ids[self._unseen].tolist()]


def _numbers(digits: Sequence[str]) -> NDArray[np.uint64]:
    """Texts of 16 hexadecimal digits as numbers."""
    return np.frombuffer(bytes.fromhex("".join(digits)), ">u8").astype(np.uint64)


def _prints(states: Sequence[tuple[int, str]]) -> NDArray[np.int64]:
    """64 bits of sizes and stamps, which hold in this process only."""
    return np.fromiter(map(hash, states), np.int64, len(states))


def _image_ids(names: Iterable[str]) -> NDArray[np.uint64]:
    """Image ids of files, sorted, in 8 bytes each."""
    parts = [
        _numbers([name[-20:-4] for name in some if _IMAGE.fullmatch(name)]) for some in _in_batches(names)
    ]
    return np.sort(np.concatenate([_numbers([]), *parts]))


def _find(values: NDArray[np.uint64], among: NDArray[np.uint64]) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Where values are in a sorted array, and whether they are."""
    at = among.searchsorted(values)
    found = at < len(among)
    found[found] = among[at[found]] == values[found]
    return at, found


def _in_batches(items: Iterable[T]) -> Iterator[list[T]]:
    rest = iter(items)
    while some := list(islice(rest, _AT_ONCE)):
        yield some
