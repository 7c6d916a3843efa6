"""The errors a user can see, and the exit code of each.

A message has up to three lines: what failed and on what, what was found against what was
wanted, and what to do. No message carries a patient identifier or a source file name that
could hold one; ids are the hashed ones.
"""

from __future__ import annotations

import traceback
from pathlib import Path
from typing import ClassVar


class XraytkError(Exception):
    """A problem that is explained to the user without a traceback.

    Args:
        what: What failed, and on what.
        detail: What was found, and what was wanted.
        todo: What the user can do about it.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, what: str, detail: str = "", todo: str = "") -> None:
        super().__init__(what, detail, todo)
        self.what = what
        self.detail = detail
        self.todo = todo

    def __str__(self) -> str:
        """Return the message, one part a line, the second and third indented."""
        rest = [f"  {line}" for part in (self.detail, self.todo) for line in part.splitlines()]
        return "\n".join([self.what, *rest])


class UsageError(XraytkError):
    """A flag, a config key or a combination of them that cannot be."""

    exit_code = 2


class DataError(XraytkError):
    """Input that is missing, broken, or not what the verb reads."""

    exit_code = 3


class RunConflictError(XraytkError):
    """A folder that is in use, or holds a run of another configuration."""

    exit_code = 4


class MachineError(XraytkError):
    """The machine: disk full, memory, a missing device or package."""

    exit_code = 5


class InterruptedRunError(XraytkError):
    """Stopped by SIGINT or SIGTERM after saving; the same command goes on."""

    exit_code = 75


def unexpected(error: Exception) -> XraytkError:
    """Say where an error happened that nobody foresaw, without its text, which could name a patient."""
    frames = traceback.extract_tb(error.__traceback__)
    places = [f"{Path(f.filename).name}:{f.lineno} {f.name}" for f in frames]
    return XraytkError(
        f"internal error, {type(error).__name__} at",
        "\n".join(places[-6:]),
        "Its text is withheld, as it may name a file or a patient; XRAYTK_DEBUG=1 shows all.\n"
        "Please report this with the lines above.",
    )
