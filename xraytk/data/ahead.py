"""Work done ahead, in threads, and handed over in order.

Decoders, OpenCV, zstd and file reads hold no lock of Python's, so threads use as many cores as
processes do, and what they make lies where it is wanted: nothing is pickled or copied, and an
error arrives as it was raised. Several threads work on one batch, so the first one comes soon.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Generic, TypeVar

import cv2

T = TypeVar("T")


@dataclass(slots=True)
class Job(Generic[T]):
    """One thing to make in parts that do not depend on each other.

    Args:
        parts: Each a call that does one part.
        finish: Called when all are done; makes what is handed over.
    """

    parts: Sequence[Callable[[], None]]
    finish: Callable[[], T]


def done_ahead(jobs: Iterable[Job[T]], workers: int, name: str) -> Generator[T, None, None]:
    """Yield what the jobs make, in their order, while ``workers`` threads are some jobs ahead.

    Nothing runs before the first is asked for. Closing the iterator, an error, or Ctrl-C ends the
    threads before it returns: parts that have begun are finished, the others dropped.

    Args:
        jobs: Read as needed, by the caller's thread.
        workers: Threads; 0 does the work in the caller's.
        name: Of the threads.

    Raises:
        Exception: What a part raised, as it is; the first one in order.
    """
    if workers == 0:
        for job in jobs:
            for part in job.parts:
                part()
            yield job.finish()
        return
    pool = ThreadPoolExecutor(workers, thread_name_prefix=name)
    source = iter(jobs)
    begun: deque[tuple[Job[T], list[Future[None]]]] = deque()
    try:
        with one_thread_a_call():
            while True:
                while not _enough(begun, workers) and (coming := next(source, None)) is not None:
                    begun.append((coming, [pool.submit(part) for part in coming.parts]))
                if not begun:
                    return
                job, futures = begun.popleft()
                for future in futures:
                    future.result()
                yield job.finish()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _enough(begun: deque[tuple[Job[T], list[Future[None]]]], workers: int) -> bool:
    """Two jobs ahead of the one that is waited for, and four parts a thread."""
    return len(begun) >= 3 and sum(len(futures) for _, futures in begun) >= 4 * workers


@contextlib.contextmanager
def one_thread_a_call() -> Iterator[None]:
    """Keep OpenCV from splitting each call over all cores, which the threads use already."""
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(before)
