"""Where images come from: folders, files, archives, DICOMDIRs, lists of paths, URLs.

Listing opens nothing but archives and DICOMDIRs; reading gives bytes, with a fixed reason when
it cannot. Neither ever raises for what a single file is like.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import BinaryIO

from xraytk.data import remote
from xraytk.data.archives import is_dicomdir
from xraytk.data.filelist import paths_of
from xraytk.data.folders import Walk, inside, maybe_archive
from xraytk.data.reading import Source, read_source
from xraytk.data.unreadable import MAX_FILE_BYTES, REASONS, UnreadableError
from xraytk.errors import DataError

__all__ = ["MAX_FILE_BYTES", "REASONS", "Source", "UnreadableError"]
__all__ += ["list_files_from", "list_sources", "read_source"]


def list_sources(root: Path | str, leave_out: Collection[Path] = ()) -> Iterator[Source]:
    """List a folder with all below it, an archive, a DICOMDIR, a file or a URL, in a stable order.

    Links are followed, each folder once. In folders, archives are known by their names; the
    root itself by its content. A DICOMDIR is no source: given as the root, the files that it
    names are listed; in a folder, those of its files that are missing get a fault. What cannot
    be read is listed with its fault.

    Args:
        root: Folder, file or URL. A URL is a text, since a `Path` shortens its "//".
        leave_out: Files and folders to pass over, for example the output.

    Raises:
        UsageError: If nothing reads such a URL.
        MachineError: If a package for a URL is missing, or its service does not answer.
        DataError: If there is nothing at the URL.
    """
    path = os.fspath(root).removeprefix("file://")
    if remote.is_url(path):
        yield from _url(path, "")
    else:
        yield from Walk(leave_out).root(path)


def list_files_from(paths: Path | str | BinaryIO, leave_out: Collection[Path] = ()) -> Iterator[Source]:
    """List what a list of paths names: files, folders, archives, DICOMDIRs and URLs, in its order.

    Names are the paths as they are given, or relative to the list's folder when they are given
    in full and lie below it; they do not depend on the working folder. What is named twice is
    listed once, and what is not there gets the fault "missing".

    Args:
        paths: The list, see `paths_of`; "-" for standard input. Relative paths count from the
            list's folder, those of a stream from the working folder.
        leave_out: Files and folders to pass over.

    Raises:
        DataError: If it is no list of paths.
        UsageError: If nothing reads a URL in it.
        MachineError: If a package for a URL is missing, or its service does not answer.
        OSError: If the list cannot be opened.
    """
    if not isinstance(paths, Path | str):
        yield from _listed(paths, ".", Walk(leave_out))
    elif os.fspath(paths) == "-":
        yield from _listed(sys.stdin.buffer, ".", Walk(leave_out))
    else:
        with Path(paths).open("rb") as stream:
            yield from _listed(stream, os.fspath(Path(paths).parent), Walk([*leave_out, Path(paths)]))


def _listed(stream: BinaryIO, base: str, walk: Walk) -> Iterator[Source]:
    seen: set[bytes] = set()
    above = os.path.abspath(base).rstrip("/") + "/"  # noqa: PTH100, resolves no links
    for given in paths_of(stream):
        given = given.removeprefix("file://")
        if remote.is_url(given):
            found = _url_of_list(given)
        else:
            path = os.path.normpath(given)
            name = path.removeprefix(above)
            found = walk.named(path if os.path.isabs(path) or base == "." else f"{base}/{path}", name)  # noqa: PTH117
        for source in found:
            digest = hashlib.blake2b(source.name.encode("utf-8", "surrogatepass"), digest_size=16).digest()
            if digest not in seen:
                seen.add(digest)
                yield source


def _url_of_list(url: str) -> Iterator[Source]:
    try:
        yield from _url(url, url.rstrip("/") + "/")
    except DataError:
        yield Source(url, url, fault="missing")


def _url(url: str, prefix: str) -> Iterator[Source]:
    """What lies at or below a URL; archives by their names, the root by its content."""
    for found in remote.list_url(url):
        is_root = found.url == url.rstrip("/")
        name = prefix.rstrip("/") if prefix and is_root else prefix + found.name
        source = Source(name, found.url, None, found.size, found.stamp, found.fault, found.detail)
        if found.fault or is_dicomdir(found.name):
            yield from (source,) if found.fault else ()
        elif is_root and not prefix:
            yield from inside(source, "", found.name, by_content=True)
        else:
            yield from maybe_archive(source, found.name)
