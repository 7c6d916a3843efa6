"""One function over many items on a Ray cluster, as `pool.each` does it on one machine.

A node that is lost costs time and no item: Ray gives its items to another. Workers write to
storage that all nodes reach, and send back only what is needed for the tables.
"""

from __future__ import annotations

import logging
import os
import signal
import time
from collections.abc import Callable, Generator, Iterable
from itertools import islice
from typing import Any, TypeVar

import xraytk
from xraytk.data.pool import limit_memory
from xraytk.errors import MachineError

I = TypeVar("I")  # noqa: E741
O = TypeVar("O")  # noqa: E741

_QUEUED_PER_CPU = 3
_TRIES = 3


def each(
    function: Callable[[I], O],
    items: Iterable[I],
    *,
    address: str | None = None,
    limit_s: float = 120.0,
    late: O | None = None,
    memory_gb: float = 0.0,
) -> Generator[tuple[I, O | None], None, None]:
    """Apply ``function`` to every item; pairs come in the order in which they are finished.

    Args:
        function: A function of a module, that raises only what should end the whole batch.
        items: Taken as they are needed; few are in flight at a time.
        address: Of the cluster; None takes $RAY_ADDRESS, or starts one on this machine.
        limit_s: Seconds that a worker may take for one item.
        late: What an item gives that took longer, each time.
        memory_gb: Memory that a worker may take for one item, as in `pool.each`.

    Yields:
        (item, result); the result is None when the item ended its worker each time.

    Raises:
        MachineError: If Ray is not installed, or the cluster cannot be reached.
    """
    ray = _import()
    ours = not ray.is_initialized()
    if ours:
        _connect(ray, address)
        _greet(ray)
    task = ray.remote(max_retries=_TRIES - 1, retry_exceptions=False)(_limited)
    shared = ray.put(function)
    flying: dict[Any, tuple[I, float]] = {}
    source = iter(items)
    try:
        while True:
            room = _QUEUED_PER_CPU * max(1, int(ray.cluster_resources().get("CPU", 1)))
            for item in islice(source, max(0, room - len(flying))):
                flying[task.remote(shared, limit_s, memory_gb, item)] = item, time.monotonic()
            if not flying:
                return
            done, _ = ray.wait(list(flying), num_returns=1)
            for reference in done:
                item, since = flying.pop(reference)
                yield item, _result(ray, reference, late if time.monotonic() - since >= limit_s else None)
    finally:
        for reference in flying:
            ray.cancel(reference, force=True)
        if ours:
            ray.shutdown()


def _import() -> Any:
    try:
        import ray
    except ImportError:
        raise MachineError(
            "--engine ray needs the package ray", "it is not installed", "Run `pip install 'xraytk[ray]'`."
        ) from None
    return ray


def _connect(ray: Any, address: str | None) -> None:
    try:
        ray.init(
            address=address or os.environ.get("RAY_ADDRESS") or None,
            include_dashboard=False,
            log_to_driver=False,  # decoders may print what they read
            logging_level=logging.ERROR,
            configure_logging=False,
        )
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise MachineError(
            "the Ray cluster cannot be reached",
            type(error).__name__,
            "Check the address ($RAY_ADDRESS), and that versions of Ray and Python are the same everywhere.",
        ) from None


def _greet(ray: Any) -> None:
    """See that workers know this package, so that no item is blamed for it."""
    wanted = xraytk.__version__
    try:
        found = ray.get(ray.remote(max_retries=0)(_version).remote())
    except Exception as error:
        found = type(error).__name__
    if found != wanted:
        raise MachineError(
            "the workers of the Ray cluster do not know this xraytk",
            f"found {found}, wanted {wanted}",
            "Install the same version of xraytk on every node.",
        )


def _version() -> str:
    return xraytk.__version__


def _result(ray: Any, reference: Any, lost: O | None) -> Any:
    """What a task gave; ``lost`` when its workers died."""
    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        raise error.cause from None
    except (ray.exceptions.RaySystemError, ray.exceptions.RayError):
        return lost


def _limited(function: Callable[[I], O], limit_s: float, memory_gb: float, item: I) -> O:
    """Call a function in a silent worker; after ``limit_s`` the alarm ends it, whatever code it is in."""
    _silence()
    limit_memory(memory_gb)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, limit_s)
    try:
        return function(item)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def _silence() -> None:
    """Let nothing that C libraries print of what they decode reach Ray's logs."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    os.close(nowhere)
