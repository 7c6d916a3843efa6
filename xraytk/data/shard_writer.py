"""Writes shards: plain tar, every byte decided by the content."""

from __future__ import annotations

import hashlib
import re
import tarfile
from collections.abc import Mapping
from typing import IO

import imagecodecs

from xraytk.data.shard_index import MEMBERS, ending

NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
"""What an image_id may be: a dot would end it where readers of webdataset look for the field."""


class ShardWriter:
    """Writes one tar: the same samples give the same bytes, whoever writes them and when.

    Args:
        stream: Binary file, at its beginning.
        codec: Of the images, one of `data.codec.CODECS`; it decides the endings of the names.
    """

    def __init__(self, stream: IO[bytes], codec: str) -> None:
        self._stream = stream
        self._codec = codec
        self._hash = hashlib.sha256()
        self.bytes = 0

    def add(self, image_id: str, members: Mapping[str, bytes]) -> dict[str, int | None]:
        """Append one sample.

        Args:
            image_id: Name of its members, see `NAME`.
            members: Content by name, some of `MEMBERS`.

        Returns:
            ``<name>_offset``, ``_length`` and ``_crc32`` of each of `MEMBERS`, for its index row.

        Raises:
            ValueError: If the id cannot be the name of members.
        """
        if not NAME.fullmatch(image_id):
            raise ValueError("an image_id holds more than letters, digits, - and _, or over 64 of them")
        place: dict[str, int | None] = {}
        for name in MEMBERS:
            data = members.get(name)
            if data is None:
                place |= {f"{name}_offset": None, f"{name}_length": None, f"{name}_crc32": None}
                continue
            header = tarfile.TarInfo(f"{image_id}.{ending(name, self._codec)}")  # mtime, uid, gid are 0
            header.size = len(data)
            header.mode = 0o644
            self._write(header.tobuf(format=tarfile.USTAR_FORMAT))
            place[f"{name}_offset"], place[f"{name}_length"] = self.bytes, len(data)
            place[f"{name}_crc32"] = imagecodecs.deflate_crc32(data)
            self._write(data)
            self._write(bytes(-len(data) % tarfile.BLOCKSIZE))
        return place

    def close(self) -> str:
        """Write the end of the tar, and return the SHA-256 of the whole."""
        end = self.bytes + 2 * tarfile.BLOCKSIZE
        self._write(bytes(2 * tarfile.BLOCKSIZE + -end % tarfile.RECORDSIZE))
        return self._hash.hexdigest()

    def _write(self, data: bytes) -> None:
        self._stream.write(data)
        self._hash.update(data)
        self.bytes += len(data)
