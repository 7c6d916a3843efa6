"""A stream read forward, compressed or not, in bounded memory and with a bound on what it unpacks to."""

from __future__ import annotations

import bz2
import lzma
import zlib
from typing import BinaryIO, Protocol

from xraytk.data.unreadable import UnreadableError

MAGIC = {"gz": b"\x1f\x8b\x08", "bz2": b"BZh", "xz": b"\xfd7zXZ\x00"}
"""First bytes of each codec."""

FREE_BYTES = 1 << 30
"""An archive may unpack to this much, whatever its own size."""
MAX_RATIO = 200
"""Beyond that, to this many times its own size. Radiographs reach about 10, blank ones 1,000."""
_MAX_XZ_MEMORY = 256 << 20
_CHUNK = 1 << 18


class _Unpacker(Protocol):
    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int = -1) -> bytes: ...


class _Gzip:
    """zlib's object with the face of bz2's and lzma's; it checks the checksum."""

    def __init__(self) -> None:
        self._inner = zlib.decompressobj(16 + zlib.MAX_WBITS)

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def needs_input(self) -> bool:
        return not self._inner.unconsumed_tail

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        return self._inner.decompress(self._inner.unconsumed_tail + data, max_length)


def is_bomb(packed: int, unpacked: int) -> bool:
    """Whether an archive unpacks to implausibly much.

    Args:
        packed: Bytes of the archive, or of what was read of it.
        unpacked: Bytes that they became.

    Source:
        Ours: a deflate bomb reaches 1,032 times its size, an xz or bz2 bomb far more.
    """
    return unpacked > FREE_BYTES and unpacked > MAX_RATIO * packed


class Unpacked:
    """The content of a stream, forward only; compressed streams that follow one another are one.

    Args:
        stream: At its beginning. Closed by `close`.
        codec: A key of `MAGIC`, or "" for a stream that is not compressed.
    """

    def __init__(self, stream: BinaryIO, codec: str) -> None:
        self.position = 0
        self._stream, self._codec = stream, codec
        self._taken = 0
        self._length = 0 if codec else stream.seek(0, 2)
        stream.seek(0)
        self._unpacker = self._fresh()
        self._rest = b""

    def read(self, count: int) -> bytes:
        """Read up to ``count`` bytes; fewer only at the end.

        Raises:
            UnreadableError: If the stream is broken or a bomb.
            OSError: If the file cannot be read.
        """
        pieces, missing = [], count
        while missing > 0 and (piece := self._piece(min(missing, _CHUNK))):
            pieces.append(piece)
            missing -= len(piece)
        return b"".join(pieces)

    def skip(self, count: int) -> None:
        """Go forward.

        Raises:
            UnreadableError: Like `read`, and if the stream ends before.
            OSError: If the file cannot be read.
        """
        if not self._codec and 0 < count <= self._length - self.position:
            self.position = self._stream.seek(self.position + count)
            return
        while count > 0:
            piece = self._piece(min(count, _CHUNK))
            if not piece:
                raise UnreadableError("bad-archive", "truncated")
            count -= len(piece)

    def close(self) -> None:
        """Close the stream below."""
        self._stream.close()

    def _fresh(self) -> _Unpacker:
        if self._codec == "bz2":
            return bz2.BZ2Decompressor()
        if self._codec == "xz":
            return lzma.LZMADecompressor(lzma.FORMAT_XZ, _MAX_XZ_MEMORY)
        return _Gzip()

    def _take(self, count: int = _CHUNK) -> bytes:
        data = self._stream.read(count)
        self._taken += len(data)
        return data

    def _piece(self, most: int) -> bytes:
        """The next bytes, at least one but at the end."""
        try:
            piece = self._unpack(most) if self._codec else self._take(most)
        except (zlib.error, lzma.LZMAError, EOFError, ValueError) as error:
            raise UnreadableError("bad-archive", type(error).__name__) from None
        except OSError as error:
            if error.errno:
                raise
            raise UnreadableError("bad-archive", "OSError") from None  # bz2 says so of broken data
        self.position += len(piece)
        if self._codec and is_bomb(self._taken, self.position):
            raise UnreadableError("bomb", f"{self.position} of {self._taken} bytes")
        return piece

    def _unpack(self, most: int) -> bytes:
        while True:
            if self._unpacker.eof:
                rest = self._unpacker.unused_data + self._rest
                while not (rest := rest.lstrip(b"\0")) and (data := self._take()):
                    rest = data
                rest += self._take(len(MAGIC["xz"])) if 0 < len(rest) < len(MAGIC["xz"]) else b""
                if not rest.startswith(MAGIC[self._codec]):
                    return b""  # like the tools, end where something else begins
                self._unpacker, self._rest = self._fresh(), rest
            data = self._rest
            if not data and self._unpacker.needs_input and not (data := self._take()):
                raise EOFError
            self._rest = b""
            if piece := self._unpacker.decompress(data, most):
                return piece
