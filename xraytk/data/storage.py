"""Where ingest writes: a local folder, or the URL of shared storage (fsspec).

Objects appear whole or not at all. A `Storage` is handed to worker processes, on this machine
or another, so it holds nothing but its root.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from xraytk.data.remote import file_system, is_url, without_password
from xraytk.errors import MachineError
from xraytk.files import atomic_write, explain_os_errors, remove_leftovers


@dataclass(frozen=True, slots=True)
class Storage:
    """A folder of written objects.

    Args:
        root: Local path, or URL.
    """

    root: str = field(repr=False)

    @property
    def local(self) -> Path | None:
        """The folder, when it is local."""
        return None if is_url(self.root) else Path(self.root)

    def write(self, name: str, data: bytes) -> None:
        """Write an object.

        Raises:
            MachineError: If the disk is full or the place cannot be written.
        """
        if self.local is not None:
            with atomic_write(self.local / name) as stream:
                stream.write(data)
            return
        with self._remote() as (system, root):
            system.pipe_file(f"{root}/{name}", data)

    def read(self, name: str) -> bytes:
        """Read an object.

        Raises:
            OSError: If there is none.
        """
        if self.local is not None:
            return (self.local / name).read_bytes()
        system, root = file_system(self.root)
        return bytes(system.cat_file(f"{root}/{name}"))

    def move(self, name: str, to: str) -> None:
        """Give an object another name, in place of what has it."""
        if self.local is not None:
            target = self.local / to
            with explain_os_errors(target):
                target.parent.mkdir(parents=True, exist_ok=True)
                (self.local / name).replace(target)
            return
        with self._remote() as (system, root):
            system.mv(f"{root}/{name}", f"{root}/{to}")

    def remove(self, name: str) -> None:
        """Remove an object, if it is there."""
        if self.local is not None:
            (self.local / name).unlink(missing_ok=True)
            return
        with self._remote() as (system, root):
            if system.exists(f"{root}/{name}"):
                system.rm_file(f"{root}/{name}")

    def names(self, folder: str) -> Iterator[str]:
        """Names of all objects in and below a folder, in no order."""
        local = self.local
        if local is not None:
            yield from _below(f"{local}/{folder}", folder)
            return
        with self._remote() as (system, root):
            for path in system.find(f"{root}/{folder}"):
                yield str(path)[len(root) + 1 :]

    def sweep(self, folder: str) -> None:
        """Remove what a killed process left under temporary names in a folder."""
        if self.local is not None:
            remove_leftovers(self.local / folder)
            return
        with self._remote() as (system, root):
            for path in system.glob(f"{root}/{folder}/.tmp-*"):
                system.rm_file(path)

    def upload(self, path: Path, name: str) -> None:
        """Copy a local file to remote storage; nothing to do where it is written in place."""
        if self.local is None:
            with self._remote() as (system, root):
                system.put_file(str(path), f"{root}/{name}")

    def _remote(self) -> _Explained:
        return _Explained(self.root)


def _below(path: str, name: str) -> Iterator[str]:
    """Names of files in a folder and below; one that is not there is empty."""
    try:
        with os.scandir(path) as found:
            entries = list(found)
    except FileNotFoundError:
        return
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            yield from _below(entry.path, f"{name}/{entry.name}")
        elif entry.is_file():
            yield f"{name}/{entry.name}"


class _Explained:
    """The file system of a URL, with its errors told as ours; no key of an object is repeated."""

    def __init__(self, url: str) -> None:
        self._url = url

    def __enter__(self) -> tuple[Any, str]:
        return file_system(self._url)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        if isinstance(error, OSError):
            raise MachineError(
                f"the storage {without_password(self._url)} cannot be written or read",
                type(error).__name__,
                "Check address, rights and space, then run the same command again.",
            ) from None
