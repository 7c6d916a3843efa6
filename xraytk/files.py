"""Files: the workspace, atomic writing, checksums and folder locks."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from xraytk.errors import DataError, MachineError, RunConflictError


def default_work() -> Path:
    """Return the workspace when none is named: ``$XRAYTK_WORK``, else ``./xraytk-work``."""
    return Path(os.environ.get("XRAYTK_WORK") or "xraytk-work")


@dataclass(frozen=True, slots=True)
class Workspace:
    """The folder that all verbs share: one sub-folder per verb.

    Args:
        root: The folder given by ``--work``, ``$XRAYTK_WORK`` or the default.
    """

    root: Path

    @property
    def ingest(self) -> Path:
        """Images, manifest and rejected table."""
        return self.root / "ingest"

    @property
    def masks(self) -> Path:
        """Lung contours."""
        return self.root / "masks"

    @property
    def curate(self) -> Path:
        """The selection, and what it looks like."""
        return self.root / "curate"

    @property
    def shards(self) -> Path:
        """Tar shards and their index."""
        return self.root / "shards"

    @property
    def runs(self) -> Path:
        """One folder per training run."""
        return self.root / "runs"

    @property
    def probes(self) -> Path:
        """Scores of encoders that have no run folder, one folder an encoder."""
        return self.root / "probes"

    @property
    def exports(self) -> Path:
        """Encoders for other libraries, one folder a run."""
        return self.root / "exports"

    @property
    def embeddings(self) -> Path:
        """Tables of features."""
        return self.root / "embeddings"

    @property
    def reports(self) -> Path:
        """Generated reports."""
        return self.root / "reports"


FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EISDIR)


@contextlib.contextmanager
def _safetensors_errors_are_os_errors() -> Iterator[None]:
    """Give back the number of a system error that safetensors hides in a text of its own."""
    try:
        yield
    except Exception as error:
        found = re.search(r"os error (\d+)", str(error))
        if type(error).__name__ != "SafetensorError" or found is None:
            raise
        raise OSError(int(found[1]), os.strerror(int(found[1]))) from None


@contextlib.contextmanager
def explain_os_errors(path: Path) -> Iterator[None]:
    """Turn a full disk or a forbidden folder into a message that says what to do.

    Args:
        path: The file or folder that is being written.

    Raises:
        MachineError: If the disk is full, a quota or size limit is reached, or writing is not allowed.
    """
    try:
        with _safetensors_errors_are_os_errors():
            yield
    except OSError as error:
        if error.errno in FULL:
            raise MachineError(
                f"no space left while writing {path.name}",
                f"in folder {path.parent}",
                "Free some space and run the same command again; finished work is kept.",
            ) from None
        if error.errno in _FORBIDDEN:
            raise MachineError(
                f"cannot write {path}",
                f"the system says: {error.strerror}",
                "Choose another folder with --work or --out, or change its permissions.",
            ) from None
        raise


def make_folder(path: Path) -> None:
    """Make a folder and those above it.

    Raises:
        MachineError: If it cannot be made, for whatever reason.
    """
    with explain_os_errors(path):
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            if error.errno in FULL:
                raise
            raise PermissionError(errno.EACCES, os.strerror(error.errno or 0)) from None


@contextlib.contextmanager
def atomic_write(path: Path, mode: str = "wb") -> Iterator[IO[Any]]:
    """Open a temporary file that takes the name ``path`` only when written whole.

    Args:
        path: Final name. Its folder is created.
        mode: "wb" or "w" (UTF-8).

    Raises:
        MachineError: If the disk is full or the folder cannot be written.
    """
    temporary = path.with_name(f".tmp-{os.getpid()}-{secrets.token_hex(4)}-{path.name}")
    make_folder(path.parent)
    with explain_os_errors(path):
        try:
            with temporary.open(mode, encoding=None if "b" in mode else "utf-8") as stream:
                yield stream
                stream.flush()
                os.fsync(stream.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder that takes the name ``path`` only when filled.

    A folder already at ``path`` is replaced.

    Args:
        path: Final name.
    """
    temporary = path.with_name(f".tmp-{os.getpid()}-{secrets.token_hex(4)}-{path.name}")
    make_folder(temporary)
    with explain_os_errors(path):
        try:
            yield temporary
            if path.exists():
                shutil.rmtree(path)
            temporary.replace(path)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def write_json(path: Path, value: object) -> None:
    """Write ``value`` as indented UTF-8 JSON, atomically, with a final newline."""
    with atomic_write(path, "w") as stream:
        json.dump(value, stream, ensure_ascii=False, indent=2, default=str)
        stream.write("\n")


def read_json(path: Path, made_by: str) -> dict[str, Any]:
    """Read a JSON object.

    Args:
        path: The file.
        made_by: The command that writes it, for the error message.

    Raises:
        DataError: If the file is missing or is not a JSON object.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(f"{path} does not exist", todo=f"Run `{made_by}` first.") from None
    except (ValueError, OSError) as error:
        raise DataError(f"{path} cannot be read", str(error), f"Run `{made_by}` to write it again.") from None
    if not isinstance(value, dict):
        raise DataError(f"{path} is not a JSON object", todo=f"Run `{made_by}` again.")
    return value


def sha256_of(path: Path) -> str:
    """SHA-256 of a file as 64 hexadecimal digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def remove_leftovers(folder: Path) -> None:
    """Remove what a killed process left under temporary names in ``folder``."""
    for path in folder.glob(".tmp-*"):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


@contextlib.contextmanager
def folder_lock(folder: Path) -> Iterator[None]:
    """Hold ``folder`` for this process; the lock goes with the process, even when killed.

    The lock file is removed at the end, so that a folder of results holds results only.

    Raises:
        RunConflictError: If another process holds it.
    """
    path = folder / ".lock"
    make_folder(folder)
    with explain_os_errors(path):
        stream = path.open("a+b")
    with stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            held = os.path.samestat(os.fstat(stream.fileno()), path.stat())
        except (BlockingIOError, FileNotFoundError):
            held = False
        if not held:  # another holds it, or has just removed it
            raise RunConflictError(
                f"{folder} is in use by another xraytk process",
                todo="Wait for it to end, or choose another folder with --out.",
            )
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def checkpoints(run: Path) -> list[Path]:
    """Checkpoint folders ``step-00001234`` of a run folder, oldest first; [] when there is none."""
    return sorted(p.parent for p in run.glob("step-[0-9]*/state.json"))


def checkpoint_step(checkpoint: Path) -> int:
    """Updates done when a checkpoint folder was written, from its name."""
    return int(checkpoint.name.removeprefix("step-"))
