"""Fetching one file from a URL: in chunks, with a checksum, until it is right or hopeless."""

from __future__ import annotations

import contextlib
import hashlib
import random
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

from xraytk.data.cache import CacheConfig
from xraytk.data.remote import file_system, without_password
from xraytk.errors import DataError, InterruptedRunError, MachineError, XraytkError

CHUNK = 8 << 20
"""Bytes of one request, where a service is asked for ranges."""
_BUFFER = 4 << 20
_LONGEST_WAIT_S = 30.0
_PATIENCE = frozenset({408, 425, 429})
"""HTTP statuses of 4xx that another try can mend."""


class Sink(Protocol):
    """What bytes are written to."""

    @property
    def at(self) -> int:
        """Bytes so far."""
        ...

    def write(self, data: bytes) -> None:
        """Append bytes."""
        ...

    def restart(self) -> None:
        """Begin again."""
        ...

    def sha256(self) -> str:
        """SHA-256 of all bytes."""
        ...


class Memory:
    """A sink for small files."""

    def __init__(self) -> None:
        self.restart()

    @property
    def at(self) -> int:
        """Bytes so far."""
        return len(self.data)

    def write(self, data: bytes) -> None:
        """Append bytes."""
        self.data += data

    def restart(self) -> None:
        """Begin again."""
        self.data = bytearray()

    def sha256(self) -> str:
        """SHA-256 of all bytes."""
        return hashlib.sha256(self.data).hexdigest()


def below(url: str, name: str) -> str:
    """URL of a file in the folder at a URL; what stands after a "?" stays at the end."""
    head, mark, query = url.partition("?")
    return f"{head.rstrip('/')}/{name}{mark}{query}"


def fetch(
    url: str,
    sink: Sink,
    config: CacheConfig,
    *,
    size: int | None = None,
    sha256: str | None = None,
    stop: threading.Event | None = None,
    said: Callable[[], None] = lambda: None,
) -> None:
    """Fetch a whole file.

    A broken connection is taken up where it ended, where the service can; a file that is not
    what it should be is fetched anew. Between tries it waits, each time twice as long, a random
    share of it, so that many machines do not come back at the same moment. As long as new bytes
    arrive, the count of tries begins again.

    Args:
        url: Of the file.
        sink: Takes the bytes.
        config: Tries and waits.
        size: Bytes it must have, if known.
        sha256: Checksum it must have, if known.
        stop: Ends the fetch when set.
        said: Called after every chunk.

    Raises:
        DataError: If it does not exist, or stays another than the wanted one.
        MachineError: If the service cannot be reached or refuses.
        InterruptedRunError: If it was stopped.
    """
    stop = stop or threading.Event()
    failures = furthest = 0
    while True:
        began = sink.at
        wrong = False
        try:
            _receive(url, sink, config, size, stop, said)
            found = _mismatch(sink, size, sha256)
            if not found:
                return
            wrong = True
        except XraytkError:
            raise
        except Exception as error:
            found = _reason(url, error)
        failures = 1 if sink.at > furthest else failures + 1
        furthest = max(furthest, sink.at)
        if wrong or sink.at == began:  # nothing came where it ended: the service may know no ranges
            sink.restart()
        if failures >= config.tries:
            raise _gave_up(url, wrong, found, config.tries)
        wait = min(config.wait_s * 2 ** (failures - 1), _LONGEST_WAIT_S)
        if stop.wait(wait * random.uniform(0.5, 1.0)):
            raise _stopped(url)


def _receive(
    url: str,
    sink: Sink,
    config: CacheConfig,
    size: int | None,
    stop: threading.Event,
    said: Callable[[], None],
) -> None:
    """Read from where the sink is to the end; at most one byte more than wanted."""
    with _opened(url, sink.at, config, size) as source:
        while size is None or sink.at <= size:
            data = source.read(CHUNK)
            if not data:
                return
            sink.write(data)
            said()
            if stop.is_set():
                raise _stopped(url)


@contextlib.contextmanager
def _opened(url: str, at: int, config: CacheConfig, size: int | None) -> Iterator[Any]:
    protocol = url.partition("://")[0].lower()
    is_http = protocol in ("http", "https")
    system, path = file_system(url, **_timeouts(protocol, config.timeout_s))
    system.invalidate_cache()
    options: dict[str, Any] = {"block_size": CHUNK, "cache_type": "none"}
    if is_http and size:
        options["size"] = size  # saves asking for it
    if is_http and at == 0:
        options["block_size"] = 0  # one request for all
    with system.open(path, "rb", **options) as source:
        if at:
            source.seek(at)
        yield source


def _timeouts(protocol: str, seconds: float) -> Mapping[str, Any]:
    """Options that let a silent connection end, where a file system has them."""
    from fsspec.config import conf

    own: dict[str, Any] = {}
    if protocol in ("http", "https"):
        with contextlib.suppress(ImportError):  # `file_system` says what is missing
            import aiohttp

            timeout = aiohttp.ClientTimeout(total=None, sock_connect=seconds, sock_read=seconds)
            own = {"client_kwargs": {"timeout": timeout, "read_bufsize": _BUFFER}}
    elif protocol in ("s3", "s3a"):
        waits = {"connect_timeout": seconds, "read_timeout": seconds}
        own = {"config_kwargs": {**waits, "retries": {"max_attempts": 2}}}
    return {key: value for key, value in own.items() if key not in conf.get(protocol, {})}


def _mismatch(sink: Sink, size: int | None, sha256: str | None) -> str:
    """What is wrong with what has arrived; "" when nothing is."""
    if size is not None and sink.at != size:
        more = "more than " if sink.at > size else ""
        return f"{more}{min(sink.at, size):,} bytes arrived, {size:,} wanted"
    if sha256 is not None and (found := sink.sha256()) != sha256:
        return f"sha256 is {found[:12]}..., the index says {sha256[:12]}..."
    return ""


def _reason(url: str, error: Exception) -> str:
    """Name an error of the service, or raise when another try cannot mend it."""
    cause = error.__cause__ or error.__context__
    if isinstance(error, FileNotFoundError) and cause is not None and _status(cause) != 404:
        error = cause if isinstance(cause, Exception) else error  # fsspec says so of every fault
    status = _status(error)
    if isinstance(error, FileNotFoundError) or status == 404:
        raise DataError(
            f"{without_password(url)} does not exist",
            todo="Check the URL; shards are written by `xraytk shard`, index.json last.",
        ) from None
    refused = status is not None and 400 <= status < 500 and status not in _PATIENCE
    if isinstance(error, PermissionError) or refused:
        raise MachineError(
            f"{without_password(url)} may not be read",
            _name(error),
            "Check the credentials, and who may read it.",
        ) from None
    return _name(error)


def _status(error: BaseException) -> int | None:
    status = getattr(error, "status", None)
    return status if isinstance(status, int) else None


def _name(error: BaseException) -> str:
    status = _status(error)
    return type(error).__name__ + (f" {status}" if status else "")


def _gave_up(url: str, wrong: bool, found: str, tries: int) -> XraytkError:
    shown = without_password(url)
    if wrong:
        return DataError(
            f"{shown} is not what the index says, fetched {tries} times",
            found,
            "Copy the shards there again, index.json last; `xraytk shard --verify` checks the original.",
        )
    return MachineError(
        f"{shown} cannot be fetched, tried {tries} times",
        f"the last time: {found}",
        "Check network and service, then run the same command again; what has arrived is kept.",
    )


def _stopped(url: str) -> InterruptedRunError:
    return InterruptedRunError(
        f"fetching {without_password(url)} was stopped", todo="Run the same command again."
    )
