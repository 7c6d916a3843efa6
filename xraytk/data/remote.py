"""Files behind URLs (s3://, gs://, https://, memory://), through fsspec.

fsspec is imported when the first URL comes; the package behind a protocol is the user's to
install. No address of a file, and no key, is ever part of an error.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, BinaryIO, cast

from xraytk.data.unreadable import MAX_FILE_BYTES, UnreadableError
from xraytk.errors import DataError, MachineError, UsageError

_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_PACKAGES = {
    **dict.fromkeys(("s3", "s3a"), "s3fs"),
    **dict.fromkeys(("gs", "gcs"), "gcsfs"),
    **dict.fromkeys(("http", "https"), "aiohttp requests"),
    **dict.fromkeys(("az", "abfs", "abfss", "adl"), "adlfs"),
    **dict.fromkeys(("ssh", "sftp"), "paramiko"),
    "smb": "smbprotocol",
}
_STAMPS = ("ETag", "etag", "LastModified", "last_modified", "updated", "mtime", "created", "Last-Modified")


@dataclass(frozen=True, slots=True)
class Remote:
    """What lies at a URL.

    Args:
        name: Relative path below the URL that was listed.
        url: Its own.
        size: Bytes.
        stamp: Etag or time of change.
        fault: A reason of `REASONS`.
        detail: Names of errors only.
    """

    name: str = field(repr=False)
    url: str = field(repr=False)
    size: int = 0
    stamp: str = ""
    fault: str = ""
    detail: str = ""


def is_url(path: str) -> bool:
    """Whether a path is a URL."""
    return _URL.match(path) is not None


def without_password(url: str) -> str:
    """A URL as it may be shown: without what stands before its host, or after its path."""
    return re.sub(r"^([^:/]+://)[^?#]*@", r"\1", re.split("[?#]", url)[0])


def list_url(url: str) -> Iterator[Remote]:
    """List all files below a URL, or the one at it, in a stable order, folder by folder.

    Raises:
        UsageError: If nothing reads such URLs.
        MachineError: If a package is missing, or the service does not answer.
        DataError: If there is nothing.
    """
    system, base = file_system(url)
    url, base = url.rstrip("/"), base.rstrip("/")
    try:
        system.invalidate_cache()
        top = system.info(base)
        is_file = top.get("type") == "file" and not system.isdir(base)
    except FileNotFoundError:
        raise DataError("the source does not exist", todo="Check the URL, and who may read it.") from None
    except Exception as error:
        raise MachineError(
            "the source's service cannot be reached or refuses",
            type(error).__name__,
            "Check URL and credentials.",
        ) from None
    if is_file:
        yield _remote(base.rpartition("/")[2], url, top)
        return
    seen = {""}
    stack = [""]
    while stack:
        folder = stack.pop()
        try:
            rows = system.ls(f"{base}/{folder}".rstrip("/"), detail=True)
            system.invalidate_cache()
        except Exception as error:
            yield Remote(folder, f"{url}/{folder}", fault="unreadable", detail=type(error).__name__)
            continue
        below = []
        for row in sorted(rows, key=lambda row: str(row["name"])):
            name = str(row["name"]).rstrip("/")
            if not name.startswith(f"{base}/{folder}") or name == f"{base}/{folder}".rstrip("/"):
                continue  # the folder itself, or a page's link to elsewhere
            name = name[len(base) + 1 :]
            if row.get("type") != "directory":
                yield _remote(name, f"{url}/{name}", row)
            elif name not in seen:
                seen.add(name)
                below.append(f"{name}/")
        stack.extend(reversed(below))


def read_url(url: str, size: int) -> bytes:
    """Read a file at a URL.

    Args:
        url: Its own.
        size: As it was listed; 0 when that is not known.

    Raises:
        UnreadableError: If it is gone, too large, or cannot be read.
    """
    system, path = file_system(url)
    try:
        data = bytes(
            system.cat_file(path, start=0, end=MAX_FILE_BYTES + 1) if size else system.cat_file(path)
        )
    except FileNotFoundError:
        raise UnreadableError("vanished") from None
    except Exception as error:
        raise UnreadableError("unreadable", type(error).__name__) from None
    if len(data) > MAX_FILE_BYTES:
        raise UnreadableError("too-large", f"more than {MAX_FILE_BYTES} bytes")
    return data


def open_stream(url: str) -> BinaryIO:
    """Open a file at a URL for reading at any place, by requests of ranges.

    Raises:
        OSError: If it cannot be opened.
    """
    system, path = file_system(url)
    try:
        return cast(BinaryIO, system.open(path, "rb"))
    except OSError:
        raise
    except Exception as error:
        raise UnreadableError("unreadable", type(error).__name__) from None


def _remote(name: str, url: str, row: dict[str, Any]) -> Remote:
    stamp = next((str(row[key]) for key in _STAMPS if row.get(key)), "")
    return Remote(name, url, int(row.get("size") or 0), stamp.strip('"'))


def file_system(url: str, **options: Any) -> tuple[Any, str]:
    """The fsspec file system of a URL, and the path in it.

    Args:
        url: The URL.
        **options: For the file system; those that the URL carries win.

    Raises:
        UsageError: If nothing reads such URLs.
        MachineError: If a package is missing.
    """
    import fsspec

    protocol = url.partition("://")[0].lower()
    try:
        kind = fsspec.get_filesystem_class(protocol)
    except ValueError:
        raise UsageError(
            f"no URL of kind {protocol} can be read", todo="Copy the files to a local disk."
        ) from None
    except ImportError:
        package = _PACKAGES.get(protocol, f"the fsspec package for {protocol}")
        raise MachineError(f"URLs of kind {protocol} need a package", todo=f"pip install {package}") from None
    return kind(**{**options, **kind._get_kwargs_from_urls(url)}), str(kind._strip_protocol(url))
