"""One function over many items in worker processes that may die.

A decoder fed with a hospital's worst files can end its process. Here that costs one item, not
the batch: the pool is rebuilt, and what was in flight is tried again one by one.
"""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from typing import TypeVar

from xraytk.errors import MachineError

I = TypeVar("I")  # noqa: E741
O = TypeVar("O")  # noqa: E741

_QUEUED_PER_WORKER = 3


def cpu_count() -> int:
    """The processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def each(
    function: Callable[[I], O], items: Iterable[I], workers: int
) -> Generator[tuple[I, O | None], None, None]:
    """Apply ``function`` to every item; pairs come in the order in which they are finished.

    Args:
        function: A function of a module, that raises only what should end the whole batch.
        items: Taken as they are needed; few are in flight at a time.
        workers: Processes; 1 works in this process, 0 takes one per processor.

    Yields:
        (item, result); the result is None when the item ended its worker twice, the second
        time alone.

    Raises:
        MachineError: If worker processes cannot start.
    """
    if workers == 1:
        yield from ((item, function(item)) for item in items)
        return
    count = workers or cpu_count()
    source = iter(items)
    while True:
        suspects: list[I] = []
        yield from _until_broken(function, source, count, count * _QUEUED_PER_WORKER, suspects)
        if not suspects:
            return
        again = iter(suspects)
        lost = suspects
        while lost:
            lost = []
            yield from _until_broken(function, again, 1, 1, lost)
            yield from ((item, None) for item in lost)


def _until_broken(
    function: Callable[[I], O], source: Iterator[I], workers: int, at_once: int, suspects: list[I]
) -> Generator[tuple[I, O], None, None]:
    """Run one pool until the items end, or until it breaks; then ``suspects`` were in flight."""
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_prepare_worker)
    try:
        _greet(pool)
        flying: dict[Future[O], I] = {}
        while True:
            for item in islice(source, at_once - len(flying)):
                flying[_submit(pool, function, item)] = item
            if not flying:
                return
            done, _ = wait(flying, return_when=FIRST_COMPLETED)
            for future in done:
                item = flying.pop(future)
                if isinstance(future.exception(), BrokenProcessPool):
                    suspects.append(item)
                else:
                    yield item, future.result()
            if suspects:
                broken, _ = wait(flying)
                suspects.extend(flying[f] for f in flying if f in broken)
                return
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _submit(pool: ProcessPoolExecutor, function: Callable[[I], O], item: I) -> Future[O]:
    """Submit, also to a pool that broke a moment ago."""
    try:
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
        pool.submit(os.getpid).result()
    except BrokenProcessPool:
        raise MachineError(
            "worker processes cannot start",
            "a script that calls this must do so under `if __name__ == '__main__':`",
            "Write it so, or set workers=1.",
        ) from None


def _prepare_worker() -> None:
    """Leave Ctrl-C to the parent, end with it even when it is killed, and stay silent.

    C libraries print of what they decode; nothing of it may reach a log.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    os.close(nowhere)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)
