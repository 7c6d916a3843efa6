"""One function over many items in worker processes that may die.

A decoder fed with a hospital's worst files can end its process, or never end. Here that costs
one item, not the batch: a worker that takes too long ends itself, the pool is rebuilt, and what
was in flight is tried again one by one.
"""

from __future__ import annotations

import contextlib
import functools
import multiprocessing
import multiprocessing.resource_tracker
import os
import resource
import signal
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from pathlib import Path
from typing import TypeVar

from xraytk.errors import MachineError
from xraytk.processes import leave_with_parent

I = TypeVar("I")  # noqa: E741
O = TypeVar("O")  # noqa: E741

_QUEUED_PER_WORKER = 3


def cpu_count() -> int:
    """The processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def each(
    function: Callable[[I], O],
    items: Iterable[I],
    workers: int,
    *,
    limit_s: float = 120.0,
    late: O | None = None,
    apart: bool = False,
    memory_gb: float = 0.0,
) -> Generator[tuple[I, O | None], None, None]:
    """Apply ``function`` to every item; pairs come in the order in which they are finished.

    Args:
        function: A function of a module, that raises only what should end the whole batch.
        items: Taken as they are needed; few are in flight at a time.
        workers: Processes; 1 works in this process, 0 takes one per processor.
        limit_s: Seconds that a worker may take for one item; this process has no limit.
        late: What an item gives that took longer, twice.
        apart: Never work in this process, which an item may end.
        memory_gb: Memory that a worker may take for one item, over what it has at its start; what
            asks for more gets a MemoryError. 0 sets no limit.

    Yields:
        (item, result); the result is None when the item ended its worker twice, the second
        time alone.

    Raises:
        MachineError: If worker processes cannot start.
    """
    if workers == 1 and not apart:
        yield from ((item, function(item)) for item in items)
        return
    count = workers or cpu_count()
    source = iter(items)
    while True:
        suspects: list[tuple[I, float]] = []
        limited = functools.partial(_limited, function, limit_s, memory_gb)
        yield from _until_broken(limited, source, count, count * _QUEUED_PER_WORKER, suspects)
        if not suspects:
            return
        again = iter([item for item, _ in suspects])
        lost = suspects
        while lost:
            lost = []
            yield from _until_broken(limited, again, 1, 1, lost)
            yield from ((item, late if spent_s >= limit_s else None) for item, spent_s in lost)


def _limited(function: Callable[[I], O], limit_s: float, memory_gb: float, item: I) -> O:
    """Call a function; after ``limit_s`` the alarm ends this worker, whatever code it is in."""
    limit_memory(memory_gb)
    signal.setitimer(signal.ITIMER_REAL, limit_s)
    try:
        return function(item)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def limit_memory(gigabytes: float) -> None:
    """Let this process take so much memory more than it has; 0 sets no limit."""
    taken = Path("/proc/self/statm")  # Linux; elsewhere there is no limit
    if gigabytes and taken.exists():
        pages = int(taken.read_text().split()[0])
        limit = pages * resource.getpagesize() + int(gigabytes * 2**30)
        _, most = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (limit if most < 0 else min(limit, most), most))


def _until_broken(
    function: Callable[[I], O],
    source: Iterator[I],
    workers: int,
    at_once: int,
    suspects: list[tuple[I, float]],
) -> Generator[tuple[I, O], None, None]:
    """Run one pool until the items end, or until it breaks.

    Then ``suspects`` were in flight, each for that many seconds.
    """
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_prepare_worker)
    try:
        _greet(pool)
        flying: dict[Future[O], tuple[I, float]] = {}
        while True:
            for item in islice(source, at_once - len(flying)):
                flying[_submit(pool, function, item)] = item, time.monotonic()
            if not flying:
                return
            done, _ = wait(flying, return_when=FIRST_COMPLETED)
            for future in done:
                item, since = flying.pop(future)
                if isinstance(future.exception(), BrokenProcessPool):
                    suspects.append((item, time.monotonic() - since))
                else:
                    yield item, future.result()
            if suspects:
                broken, _ = wait(flying)
                suspects.extend((item, 0.0) for f, (item, _) in flying.items() if f in broken)
                return
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _submit(pool: ProcessPoolExecutor, function: Callable[[I], O], item: I) -> Future[O]:
    """Submit, also to a pool that broke a moment ago."""
    try:
        with _interrupt_held():
            return pool.submit(function, item)
    except BrokenProcessPool as error:
        failed: Future[O] = Future()
        failed.set_exception(error)
        return failed


def _greet(pool: ProcessPoolExecutor) -> None:
    """See that a worker starts at all, so that this is not blamed on an item.

    Raises:
        MachineError: If it does not.
    """
    try:
        with _interrupt_held():
            first = pool.submit(os.getpid)
        first.result()
    except BrokenProcessPool:
        raise MachineError(
            "worker processes cannot start",
            "a script that calls this must do so under `if __name__ == '__main__':`",
            "Write it so, or set workers=1.",
        ) from None


@contextlib.contextmanager
def _interrupt_held() -> Iterator[None]:
    """Let workers that start meanwhile be deaf to Ctrl-C from their first instruction on.

    A process inherits the mask of the thread that starts it. A Ctrl-C of this moment is kept
    for this process until the end. The resource tracker starts before: its own start would
    take the mask away.
    """
    multiprocessing.resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _prepare_worker() -> None:
    """Leave Ctrl-C to the parent, end with it even when it is killed, and stay silent.

    C libraries print of what they decode; nothing of it may reach a log.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    os.close(nowhere)
    leave_with_parent()
