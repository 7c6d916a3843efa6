"""What ingest is asked to read, listed as often as it is needed."""

from __future__ import annotations

import io
import sys
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from xraytk.data.remote import is_url
from xraytk.data.sources import Source, list_files_from, list_sources


@dataclass(frozen=True, slots=True)
class Listing:
    """A source, or a list of files.

    Args:
        source: Folder, file, archive or URL; "" with a list.
        files_from: A file of paths; "-" is standard input, which is kept, since it is read once
            only; "" without one.
        leave_out: Files and folders that are passed over.
        endings: Of names that are passed over.
    """

    source: str = field(repr=False)
    files_from: str = field(repr=False)
    leave_out: Collection[Path] = field(repr=False)
    endings: tuple[str, ...] = ()
    _piped: list[bytes] = field(default_factory=list, repr=False)

    @property
    def root(self) -> str:
        """What the names of sources are relative to."""
        if self.files_from:
            return str(Path.cwd() if self.files_from == "-" else Path(self.files_from).parent.resolve())
        if is_url(self.source):
            return self.source
        source = Path(self.source).resolve()
        return str(source.parent if source.name.upper() == "DICOMDIR" else source)

    def __iter__(self) -> Iterator[Source]:
        if self.files_from:
            given = list_files_from(self._list(), self.leave_out)
        else:
            given = list_sources(self.source, self.leave_out)
        if not self.endings:
            return given
        return (source for source in given if not source.name.lower().endswith(self.endings))

    def _list(self) -> str | io.BytesIO:
        if self.files_from != "-":
            return self.files_from
        if not self._piped:
            self._piped.append(sys.stdin.buffer.read())
        return io.BytesIO(self._piped[0])
