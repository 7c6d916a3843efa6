"""How a long job says where it is.

A verb is handed a `Progress` and never prints. `Silent` is for Python callers, `Lines` for
logs and pipes; the bar for terminals lives in `xraytk.cli`.
"""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Protocol, Self, TextIO


class Task(Protocol):
    """One counted piece of work; a context manager."""

    def __enter__(self) -> Self:
        """Begin."""
        ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End, whole or not."""
        ...

    def update(self, done: int, **facts: object) -> None:
        """Say that ``done`` units are finished in all, with facts worth showing."""
        ...


class Progress(Protocol):
    """Where verbs report to."""

    def task(self, name: str, total: int | None, unit: str = "images") -> Task:
        """Start a counted piece of work; ``total`` is None when it is not known."""
        ...

    def note(self, text: str) -> None:
        """Say one line that a person should see."""
        ...


class Silent:
    """Says nothing."""

    def task(self, name: str, total: int | None, unit: str = "images") -> Task:
        """Return a task that says nothing."""
        return _LineTask(name, total, unit, None, 1.0)

    def note(self, text: str) -> None:
        """Say nothing."""


class Lines:
    """Plain lines, one at most every ``every_s`` seconds for each task.

    Args:
        stream: Where to; the standard error stream by default.
        every_s: Seconds between two lines of a task.
    """

    def __init__(self, stream: TextIO | None = None, every_s: float = 30.0) -> None:
        self._stream = stream or sys.stderr
        self._every_s = every_s

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Nothing to close."""

    def task(self, name: str, total: int | None, unit: str = "images") -> Task:
        """Start a task whose state is printed now and then, and at its end."""
        return _LineTask(name, total, unit, self._stream, self._every_s)

    def note(self, text: str) -> None:
        """Print one line."""
        print(text, file=self._stream, flush=True)


class _LineTask:
    def __init__(
        self, name: str, total: int | None, unit: str, stream: TextIO | None, every_s: float
    ) -> None:
        self._name, self._total, self._unit = name, total, unit
        self._stream, self._every_s = stream, every_s
        self._began = self._said = time.monotonic()
        self._began_at: int | None = None
        self._done = 0
        self._facts: dict[str, object] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._say(final=True)

    def update(self, done: int, **facts: object) -> None:
        if self._began_at is None:
            self._began_at = max(done - 1, 0)
        self._done = done
        self._facts = facts
        if time.monotonic() - self._said >= self._every_s:
            self._say(final=False)

    def _say(self, *, final: bool) -> None:
        if self._stream is None:
            return
        now = time.monotonic()
        self._said = now
        of = f"{self._done:,}" + (f"/{self._total:,}" if self._total is not None else "")
        parts = [f"{self._name}  {of} {self._unit}", *describe(self._facts)]
        spent = now - self._began
        fresh = self._done - (self._began_at or 0)
        if final:
            parts.append(f"took {duration(spent)}")
        elif self._total and fresh and "left" not in self._facts:
            parts.append(f"left {duration(spent / fresh * (self._total - self._done))}")
        print("  ".join(parts), file=self._stream, flush=True)


def describe(facts: dict[str, object]) -> list[str]:
    """Facts as short texts: floats with four significant digits, names with spaces."""
    return [
        f"{name.replace('_', ' ')} {value:.4g}"
        if isinstance(value, float)
        else f"{name.replace('_', ' ')} {value}"
        for name, value in facts.items()
    ]


def duration(seconds: float) -> str:
    """Seconds as "8s", "3m08s" or "6h12m"."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    return f"{whole // 3600}h{whole % 3600 // 60:02d}m"
