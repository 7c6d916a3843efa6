"""Where shards are read from: a local folder as it is, or any URL through copies on a local disk.

A store hands out local paths. That of a URL fetches whole shards, each once for all processes of
a machine, checks their SHA-256 on arrival, and keeps as many as the cache may hold.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from xraytk.data.cache import Cache, CacheConfig, Part, default_folder
from xraytk.data.fetch import Memory, below, fetch
from xraytk.data.remote import is_url, without_password
from xraytk.data.shard_index import ShardIndex, ShardInfo, parse_head
from xraytk.data.shard_reader import FolderStore, Store
from xraytk.errors import UsageError, XraytkError
from xraytk.progress import Progress, Silent

_POLL_S = 0.1
_CLOSE_S = 2.0
_HELD_S = 1.0
_SLOW_S = 10.0
"""After so many seconds of waiting for a shard, and then three times as many, a note says so."""


def place_of(folder: str | Path) -> str | Path:
    """A folder as a store takes it: a URL stays a text, all else becomes a path."""
    return str(folder) if is_url(str(folder)) else Path(folder)


def shown(shards: str | Path | None) -> dict[str, str]:
    """The key ``shards`` of a saved config: without a password; {} for the workspace's own."""
    return {} if shards is None else {"shards": without_password(str(shards))}


def open_store(
    folder: str | Path,
    shards: Sequence[ShardInfo],
    cache: CacheConfig | None = None,
    progress: Progress | None = None,
) -> Store:
    """Open the store of a shards folder.

    Args:
        folder: A local folder, or a URL that fsspec reads.
        shards: The shards, as index.json lists them.
        cache: How a URL's shards are copied.
        progress: Where slow downloads are noted.

    Raises:
        UsageError: If the cache cannot hold the largest shard.
        MachineError: If the cache's folder cannot be used.
    """
    folder = place_of(folder)
    if isinstance(folder, Path):
        return FolderStore(folder, shards)
    return CachedStore(folder, shards, cache or CacheConfig(), progress)


def read_index(
    folder: str | Path, cache: CacheConfig | None = None, progress: Progress | None = None
) -> ShardIndex:
    """Read and check the index of a shards folder or URL; index.parquet is kept by its checksum.

    Args:
        folder: A local folder, or a URL that fsspec reads.
        cache: How a URL's files are copied.
        progress: Where slow downloads are noted.

    Raises:
        DataError: If it is missing, of another format, or not the one index.json names.
        MachineError: If the service cannot be reached, or the cache's folder cannot be used.
    """
    folder = place_of(folder)
    if isinstance(folder, Path):
        return ShardIndex.load(folder)
    cache = cache or CacheConfig()
    place = without_password(folder).rstrip("/")
    head = Memory()
    fetch(below(folder, "index.json"), head, cache)
    copies = _Copies(folder, cache, progress or Silent())
    sha256 = parse_head(bytes(head.data), place)["index_sha256"]
    while True:
        path, fd = copies.obtain("index.parquet", sha256, None)
        try:
            table = path.read_bytes()
        finally:
            os.close(fd)
        if hashlib.sha256(table).hexdigest() == sha256:
            return ShardIndex.from_bytes(bytes(head.data), table, place)
        copies.cache.remove(copies.entry(sha256))  # the disk has spoilt it


class _Copies:
    """Files at a URL and their copies in the cache.

    Args:
        url: Of the folder.
        config: How they are copied.
        progress: Where slow downloads are noted.
    """

    def __init__(self, url: str, config: CacheConfig, progress: Progress) -> None:
        self.url, self.config, self._progress = url, config, progress
        self.cache = Cache(config.folder or default_folder(), config.bytes)
        self.stop = threading.Event()
        where = without_password(url).rstrip("/")
        self._prefix = hashlib.sha256(where.encode()).hexdigest()[:12]

    def entry(self, sha256: str) -> str:
        """Name of a file's copy: another URL or other content, another name."""
        return f"{self._prefix}-{sha256}"

    def obtain(
        self, name: str, sha256: str, size: int | None, spare: frozenset[str] = frozenset()
    ) -> tuple[Path, int]:
        """Return the copy of a file, fetching it if need be, and a descriptor that holds it.

        Raises:
            DataError: If the file at the URL is missing or another.
            MachineError: If service, disk or cache fail.
        """
        notes = _Notes(name, self._progress)
        while True:
            if (found := self.cache.find(self.entry(sha256), size)) is not None:
                return found
            if self._bring(name, sha256, size, spare, notes, must=True):
                continue
            notes.waiting()
            self.stop.wait(_POLL_S)

    def ahead(self, name: str, sha256: str, size: int, spare: frozenset[str]) -> None:
        """Fetch a file if it is not there, nobody is at it, and nothing in ``spare`` has to go."""
        if not self.cache.touch(self.entry(sha256)):
            self._bring(name, sha256, size, spare, _Notes(name, Silent()), must=False)

    def _bring(
        self, name: str, sha256: str, size: int | None, spare: frozenset[str], notes: _Notes, must: bool
    ) -> bool:
        """Fetch a file; False when another is at it, or there is no room now."""
        entry = self.entry(sha256)
        with self.cache.claim(entry, name) as part:
            if part is None:
                return False
            if self.cache.touch(entry):  # came between the look and the claim
                return True
            if not self.cache.make_room(part, size or 0, spare=spare, must=must):
                return False
            fetch(
                below(self.url, name),
                part,
                self.config,
                size=size,
                sha256=sha256,
                stop=self.stop,
                said=lambda: notes.arriving(part, size),
            )
            part.finish()
            return True


class CachedStore:
    """Shards at a URL.

    A pickled store is opened again in its new process, with threads of its own and without notes.

    Args:
        url: Of the folder.
        shards: The shards, as index.json lists them.
        config: How they are copied.
        progress: Where slow downloads are noted.

    Raises:
        UsageError: If the cache cannot hold the largest shard.
        MachineError: If the cache's folder cannot be used.
    """

    def __init__(
        self, url: str, shards: Sequence[ShardInfo], config: CacheConfig, progress: Progress | None = None
    ) -> None:
        self._given = (url, tuple(shards), config)
        self._shards = tuple(shards)
        self._progress = progress or Silent()
        self._copies = _Copies(url, config, self._progress)
        self._check_bound(max((shard.bytes for shard in shards), default=0))
        self._say_if_short(sum(shard.bytes for shard in shards))
        self._copies.cache.tidy()
        self._held: dict[int, tuple[int, float]] = {}  # thread: descriptor of the copy handed to it, when
        self._lock = threading.Lock()
        self._wanted: list[int] = []
        self._spare: frozenset[str] = frozenset()
        self._ahead = _Ahead(self._fetch_ahead, config.threads)
        self._warned = False

    def __reduce__(self) -> tuple[Any, ...]:
        return CachedStore, self._given

    @property
    def capacity(self) -> int:
        """Bytes of shards that can be there at a time."""
        return self._copies.cache.bound

    def path(self, number: int) -> Path:
        """Return the local copy of a shard, fetching it if it is not there.

        The copy stays until this thread asks for the next one, or for a second at least; a file
        that is open by then can be read for as long as it is open.

        Args:
            number: Of the shard.

        Raises:
            DataError: If the shard at the URL is missing, or not the one of the index.
            MachineError: If service, disk or cache fail.
            InterruptedRunError: If the store is closed meanwhile.
        """
        self._let_go()
        shard = self._shards[number]
        path, fd = self._copies.obtain(shard.name, shard.sha256, shard.bytes, self._spare)
        with self._lock:
            self._held[threading.get_ident()] = fd, time.monotonic()
        self._ahead.queue(self._missing())  # there may be room now
        return path

    def want(self, numbers: Iterable[int]) -> None:
        """Say which shards are needed from now on, soonest first; returns at once.

        They are fetched ahead in this order, and go from the cache last. What an earlier call
        wanted and nobody has begun to fetch is forgotten.

        Args:
            numbers: Of the shards, those in use included.
        """
        self._let_go()
        wanted = list(dict.fromkeys(numbers))
        self._warn(sum(self._shards[n].bytes for n in wanted))
        held = itertools.accumulate(self._shards[number].bytes for number in wanted)
        fitting = [n for n, total in zip(wanted, held, strict=True) if total <= self.capacity]
        self._spare = frozenset(self._entry(number) for number in fitting)
        self._wanted = fitting
        for number in reversed(fitting):  # the last in the cache to go is what is needed first
            self._copies.cache.touch(self._entry(number))
        self._ahead.queue(self._missing())

    def forget(self, number: int) -> bool:
        """Remove the copy of a shard that proved broken on this disk, so that it is fetched anew."""
        self._let_go()
        self._copies.cache.remove(self._entry(number))
        return True

    def close(self) -> None:
        """Stop fetching; what has not arrived whole is removed."""
        self._copies.stop.set()
        self._ahead.close()
        self._let_go(every=True)

    def _let_go(self, every: bool = False) -> None:
        """Hold no longer what this thread was handed, and what others have surely opened by now."""
        now = time.monotonic()
        with self._lock:
            for thread, (fd, since) in list(self._held.items()):
                if every or thread == threading.get_ident() or now - since > _HELD_S:
                    del self._held[thread]
                    os.close(fd)

    def _entry(self, number: int) -> str:
        return self._copies.entry(self._shards[number].sha256)

    def _missing(self) -> list[int]:
        return [n for n in self._wanted if not (self._copies.cache.folder / self._entry(n)).exists()]

    def _fetch_ahead(self, number: int) -> None:
        shard = self._shards[number]
        self._copies.ahead(shard.name, shard.sha256, shard.bytes, self._spare)

    def _check_bound(self, largest: int) -> None:
        if largest > self.capacity:
            raise UsageError(
                f"the cache may hold {self.capacity / 1e9:.3g} GB, and the largest shard has "
                f"{largest / 1e9:.3g} GB",
                "wanted room for two shards at least",
                f"Set cache.gb to {2 * largest / 1e9:.3g} or more.",
            )

    def _say_if_short(self, total: int) -> None:
        if total > self.capacity:
            mean = total / len(self._shards)
            self._progress.note(
                f"the cache may hold {self.capacity / 1e9:.3g} GB of {total / 1e9:.3g} GB of shards: read "
                f"windows of at most {max(1, int(self.capacity / mean / 2))} shards (data.window), or set "
                f"cache.gb to {total / 1e9:.3g}"
            )

    def _warn(self, wanted: int) -> None:
        if wanted > self.capacity and not self._warned:
            self._warned = True
            self._progress.note(
                f"the cache may hold {self.capacity / 1e9:.3g} GB, and {wanted / 1e9:.3g} GB of shards are "
                f"wanted at a time: they will be fetched again and again. Set cache.gb to "
                f"{wanted / 1e9:.3g} or more, or a smaller window."
            )


class _Ahead:
    """A few threads that fetch in order; they end when there is nothing to do.

    Args:
        bring: Fetches one shard.
        threads: How many at a time.
    """

    def __init__(self, bring: Callable[[int], None], threads: int) -> None:
        self._bring, self._threads = bring, threads
        self._lock = threading.Lock()
        self._queue: deque[int] = deque()
        self._busy: set[int] = set()
        self._workers: list[threading.Thread] = []

    def queue(self, numbers: Sequence[int]) -> None:
        """Put these in the place of what has not begun."""
        with self._lock:
            self._queue = deque(n for n in numbers if n not in self._busy)
            self._workers = [worker for worker in self._workers if worker.is_alive()]
            for _ in range(min(len(self._queue), self._threads - len(self._workers))):
                worker = threading.Thread(target=self._work, daemon=True)
                self._workers.append(worker)
                worker.start()

    def close(self) -> None:
        """Forget what has not begun, and wait for what has."""
        self.queue([])
        for worker in list(self._workers):
            worker.join(_CLOSE_S)  # one that waits for a silent service ends by itself, later

    def _work(self) -> None:
        while True:
            with self._lock:
                if not self._queue:
                    self._workers.remove(threading.current_thread())
                    return
                number = self._queue.popleft()
                self._busy.add(number)
            try:
                self._bring(number)
            except (XraytkError, OSError):
                pass  # whoever asks for the shard tries again, and is told
            finally:
                with self._lock:
                    self._busy.discard(number)


class _Notes:
    """Says now and then that somebody waits for a shard."""

    def __init__(self, name: str, progress: Progress) -> None:
        self._name, self._progress = name, progress
        self._began = time.monotonic()
        self._next = self._began + _SLOW_S

    def arriving(self, part: Part, size: int | None) -> None:
        """After every chunk."""
        of = f" of {size / 1e6:,.0f}" if size else ""
        self._say(f"{part.at / 1e6:,.0f}{of} MB of {self._name} have arrived")

    def waiting(self) -> None:
        """While another fetches it, or there is no room yet."""
        self._say(f"waiting for {self._name}, which another process fetches or which needs room")

    def _say(self, text: str) -> None:
        now = time.monotonic()
        if now >= self._next:
            self._next = now + 3 * _SLOW_S
            self._progress.note(f"{text} in {now - self._began:.0f} s")
