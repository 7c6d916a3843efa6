"""A folder on a local disk that holds copies of remote files, up to a bound in bytes.

Many processes of one machine share it. A file has its final name only after its checksum was
right and its bytes were on disk: that name is the marker by which a copy is trusted. While it
arrives it is called ``.part-NAME`` and locked by the process that fills it, so that no other
fetches it too; a part that nobody locks was left by a killed process and is removed. Locks are
`flock`, which end with their process, however it ends.

What was used longest ago (time of change, set at every use) is removed first. A copy that a
thread is about to open is locked by `Cache.find` and stays. Once open, it can be read to its
end even when it is removed: POSIX keeps a file as long as somebody has it open.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import math
import os
import shutil
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from xraytk.errors import MachineError, UsageError
from xraytk.files import explain_os_errors

PART = ".part-"
_FULL = (errno.ENOSPC, errno.EDQUOT)  # what removing files can mend
_NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS)


def default_folder() -> Path:
    """Where copies of shards lie: ``$XRAYTK_CACHE``, else ``xraytk/shards`` in the user's cache."""
    if named := os.environ.get("XRAYTK_CACHE"):
        return Path(named)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "xraytk" / "shards"


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheConfig:
    """How remote shards are copied to this machine.

    Args:
        folder: Where to; see `default_folder`.
        gb: Most that all copies may take, in 1e9 bytes.
        threads: Shards fetched ahead at the same time.
        tries: Failures in a row after which a shard is given up.
        wait_s: Seconds before the second try; each further wait is twice as long, up to 30.
        timeout_s: Seconds without a byte after which a connection counts as broken.
    """

    folder: Path | None = None
    gb: float = 100.0
    threads: int = 4
    tries: int = 6
    wait_s: float = 0.5
    timeout_s: float = 30.0

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            UsageError: If a value is out of range.
        """
        for name, least in (("threads", 0), ("tries", 1), ("wait_s", 0)):
            if getattr(self, name) < least:
                raise UsageError(f"cache.{name} must be at least {least}, found {getattr(self, name)}")
        for name in ("gb", "timeout_s"):
            if not 0 < getattr(self, name) < math.inf:
                raise UsageError(f"cache.{name} must be more than 0, found {getattr(self, name)}")

    @property
    def bytes(self) -> int:
        """The bound, in bytes."""
        return int(self.gb * 1e9)


@dataclass(frozen=True, slots=True)
class _Entry:
    """A whole file, or a part of one."""

    name: str
    size: int
    used_ns: int


class Part:
    """A file on its way into a cache; made by `Cache.claim`.

    Args:
        cache: Where it goes.
        name: Its final name.
        shown: Its name in messages.
        fd: Open and locked.
    """

    def __init__(self, cache: Cache, name: str, shown: str, fd: int) -> None:
        self._cache, self.name, self.shown, self._fd = cache, name, shown, fd
        self.restart()

    def restart(self) -> None:
        """Begin again at the first byte."""
        self.at = 0
        self._hash = hashlib.sha256()

    def write(self, data: bytes) -> None:
        """Append bytes.

        Raises:
            MachineError: If the disk is full, and nothing that may go is left in the cache.
        """
        rest = memoryview(data)
        while rest:
            try:
                done = os.pwrite(self._fd, rest, self.at)
            except OSError as error:
                if error.errno not in _FULL or not self._cache.evict_one():
                    raise self._cache.no_space(self.shown, error) from None
                continue
            self._hash.update(rest[:done])
            self.at += done
            rest = rest[done:]

    def sha256(self) -> str:
        """SHA-256 of what has arrived."""
        return self._hash.hexdigest()

    def reserve(self, size: int) -> None:
        """Take the disk's space for the whole file now.

        Raises:
            OSError: If there is not enough.
        """
        try:
            os.posix_fallocate(self._fd, 0, max(size, 1))
        except OSError as error:
            os.ftruncate(self._fd, 0)
            if error.errno in _FULL:
                raise
            os.ftruncate(self._fd, size)  # a file system that cannot: others at least see the size
        except AttributeError:  # not on macOS
            os.ftruncate(self._fd, size)

    def finish(self) -> None:
        """Cut it to what has arrived, see that it is on disk, and give it its final name."""
        with explain_os_errors(self._cache.folder / self.name):
            os.ftruncate(self._fd, self.at)
            os.fsync(self._fd)
            _use(self._fd)
            (self._cache.folder / f"{PART}{self.name}").replace(self._cache.folder / self.name)


class Cache:
    """The folder.

    Args:
        folder: It is made, for this user only, when first written to.
        bound: Most bytes in it. Only copies that are being opened at that moment can exceed it.
    """

    def __init__(self, folder: Path, bound: int) -> None:
        self.folder, self.bound = folder, bound

    def find(self, name: str, size: int | None) -> tuple[Path, int] | None:
        """Find a whole file, note its use, and hold it until the caller has opened it.

        Args:
            name: Its name.
            size: Bytes it must have; one of another size is removed. None when not known.

        Returns:
            Its path, and a file descriptor that the caller closes; None when it is not there.
        """
        path = self.folder / name
        while True:
            try:
                fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
            except FileNotFoundError:
                return None
            except OSError as error:
                raise self._unusable(error) from None
            try:
                _lock(fd, fcntl.LOCK_SH)
                if not _still(fd, path):
                    os.close(fd)
                    continue  # removed in the meantime, perhaps there again
                if size is not None and os.fstat(fd).st_size != size:
                    path.unlink(missing_ok=True)
                    os.close(fd)
                    return None
                _use(fd)
            except OSError as error:
                os.close(fd)
                raise self._unusable(error) from None
            return path, fd

    def touch(self, name: str) -> bool:
        """Note the use of a file; False when it is not there."""
        try:
            _use(self.folder / name)
        except OSError:
            return False
        return True

    def remove(self, name: str) -> None:
        """Remove a file that proved broken."""
        (self.folder / name).unlink(missing_ok=True)

    @contextlib.contextmanager
    def claim(self, name: str, shown: str) -> Iterator[Part | None]:
        """Be the only one that fetches a file; what was not finished is removed at the end.

        Args:
            name: Final name of the file.
            shown: Its name in messages.

        Yields:
            The part to fill, or None when another process or thread is at it.
        """
        path = self.folder / f"{PART}{name}"
        with explain_os_errors(path):
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            if not self._try_lock(fd) or not _still(fd, path):
                yield None
                return
            os.ftruncate(fd, 0)
            try:
                yield Part(self, name, shown, fd)
            finally:
                if _still(fd, path):
                    path.unlink(missing_ok=True)
        finally:
            os.close(fd)

    def make_room(self, part: Part, size: int, *, spare: Collection[str], must: bool) -> bool:
        """Remove what was used longest ago until a part fits, and reserve its space.

        Args:
            part: What comes.
            size: Its bytes.
            spare: Names that go last, and only when the part must come in.
            must: Whether somebody waits for the part.

        Returns:
            False when there is no room: for one that must come in, only as long as other parts are
            arriving that take it, so that a later call succeeds.

        Raises:
            MachineError: If the disk is full and nothing that may go is left.
        """
        with self._locked():
            arriving = self._sweep(part.name)
            used = self._shrink(arriving + size, spare, must)
            if used > self.bound and (arriving or not must):
                return False
            return self._reserve(part, size, spare, must)

    def evict_one(self, spare: Collection[str] = (), must: bool = True) -> bool:
        """Remove the file used longest ago; False when there is none that may go."""
        with self._locked():
            return self._evict_oldest(spare, must)

    def tidy(self) -> None:
        """Remove the parts that killed processes left, and what is more than the bound."""
        if self.folder.is_dir():
            with self._locked():
                self._shrink(self._sweep(""), (), must=True)

    def no_space(self, name: str, error: OSError, size: int | None = None) -> MachineError:
        """Make the error for a file that cannot be written."""
        if error.errno not in _FULL:
            return self._unusable(error)
        free = shutil.disk_usage(self.folder).free
        wanted = "" if size is None else f", {size / 1e6:,.1f} MB wanted"
        return MachineError(
            f"no space left for a copy of {name}",
            f"{free / 1e6:,.1f} MB free in {self.folder}{wanted}, and nothing left to remove there",
            "Free some space, or set XRAYTK_CACHE to a folder on a larger disk; whole copies are kept.",
        )

    def _shrink(self, other: int, spare: Collection[str], must: bool) -> int:
        """Remove until whole files and ``other`` bytes keep the bound; return what they are then."""
        whole = self._whole()
        used = other + sum(entry.size for entry in whole)
        for entry in self._order(whole, spare, must):
            if used <= self.bound:
                break
            if self._evict(entry.name):
                used -= entry.size
        return used

    def _reserve(self, part: Part, size: int, spare: Collection[str], must: bool) -> bool:
        while True:
            try:
                part.reserve(size)
            except OSError as error:
                if self._evict_oldest(spare, must):
                    continue
                if must:
                    raise self.no_space(part.shown, error, size) from None
                return False
            return True

    def _evict_oldest(self, spare: Collection[str], must: bool) -> bool:
        return any(self._evict(entry.name) for entry in self._order(self._whole(), spare, must))

    def _order(self, whole: list[_Entry], spare: Collection[str], must: bool) -> list[_Entry]:
        """Who goes first."""
        first = [entry for entry in whole if entry.name not in spare]
        return first + [entry for entry in whole if must and entry.name in spare]

    def _evict(self, name: str) -> bool:
        """Remove a file unless somebody is opening it; True when it is gone."""
        path = self.folder / name
        try:
            fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return True
        except OSError:
            return False
        try:
            if not self._try_lock(fd):
                return False
            if _still(fd, path):  # else another has removed it, and perhaps it is there anew
                path.unlink()
            return True
        finally:
            os.close(fd)

    def _whole(self) -> list[_Entry]:
        """All whole files, the one used longest ago first."""
        return sorted((e for e in self._entries() if not e.name.startswith(".")), key=lambda e: e.used_ns)

    def _sweep(self, own: str) -> int:
        """Remove parts that nobody fills; return the bytes reserved for the others."""
        arriving = 0
        for entry in self._entries():
            if entry.name.startswith(PART) and entry.name != f"{PART}{own}" and not self._evict(entry.name):
                arriving += entry.size
        return arriving

    def _entries(self) -> Iterator[_Entry]:
        with os.scandir(self.folder) as found:
            for item in found:
                with contextlib.suppress(FileNotFoundError):
                    if item.is_file(follow_symlinks=False):
                        stat = item.stat(follow_symlinks=False)
                        yield _Entry(item.name, stat.st_size, stat.st_mtime_ns)

    def _try_lock(self, fd: int) -> bool:
        try:
            _lock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError as error:
            raise self._unusable(error) from None
        return True

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Be the only one that removes and reserves; held for as long as that takes, no longer."""
        path = self.folder / ".lock"
        with explain_os_errors(path):
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            try:
                _lock(fd, fcntl.LOCK_EX)
            except OSError as error:
                raise self._unusable(error) from None
            yield
        finally:
            os.close(fd)

    def _unusable(self, error: OSError) -> MachineError:
        why = "it has no file locks" if error.errno in _NO_LOCKS else f"the system says: {error.strerror}"
        return MachineError(
            f"the cache folder {self.folder} cannot be used",
            why,
            "Set XRAYTK_CACHE to a folder on a local disk that you may write.",
        )


def _use(file: int | Path) -> None:
    """Set the time of change to now; the system's own time stamps tick too slowly to tell an order."""
    now = time.time_ns()
    os.utime(file, ns=(now, now))


def _lock(fd: int, how: int) -> None:
    fcntl.flock(fd, how)


def _still(fd: int, path: Path) -> bool:
    """Whether a path still leads to an open file."""
    try:
        return os.path.samestat(os.fstat(fd), path.stat())
    except FileNotFoundError:
        return False
