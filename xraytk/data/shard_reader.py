"""Reads members of shards by offset, in any order, from any thread or process."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from threading import Lock
from typing import Any, Protocol

import imagecodecs

from xraytk.data import codec
from xraytk.data.pictures import Gray
from xraytk.data.shard_index import MADE_BY, SLOT, ShardIndex, ShardInfo
from xraytk.errors import DataError


class Store(Protocol):
    """Where the tars lie; shards are named by their number in the index.

    A store is thread-safe, and can be pickled while nothing is under way.
    """

    def path(self, number: int) -> Path:
        """Return the local path of a whole tar, fetched first where it must be.

        A file that was handed out may be removed at any time: who has opened it reads on.

        Raises:
            DataError: If it is not there and cannot be fetched.
        """
        ...

    def want(self, numbers: Sequence[int]) -> None:
        """Hear which tars will be read next, soonest first: a hint to fetch ahead."""
        ...

    def forget(self, number: int) -> bool:
        """Drop a copy that proved broken; whether `path` will bring another."""
        ...

    def close(self) -> None:
        """Stop what is under way."""
        ...


class FolderStore:
    """Tars in a local folder.

    Args:
        folder: The shards folder.
        shards: Those of the index.
    """

    def __init__(self, folder: Path, shards: Sequence[ShardInfo]) -> None:
        self._folder = folder
        self._shards = shards

    def path(self, number: int) -> Path:
        """Return where a tar should lie; opening it tells whether it does."""
        return self._folder / self._shards[number].name

    def want(self, numbers: Sequence[int]) -> None:
        """Do nothing: all are there."""

    def forget(self, number: int) -> bool:
        """There is no other."""
        return False

    def close(self) -> None:
        """Do nothing."""


class _Open:
    """An open file that closes when the last thread that reads it lets go."""

    __slots__ = ("number",)

    def __init__(self, path: Path) -> None:
        self.number = -1
        self.number = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def is_removed(self) -> bool:
        """Whether its name is gone: a cache has made room."""
        return os.fstat(self.number).st_nlink == 0

    def __del__(self) -> None:
        if self.number >= 0:
            os.close(self.number)


class ShardReader:
    """Reads members by offset and checks them, from any thread.

    Files are opened when first read, and at most ``keep_open`` stay open. A pickled reader
    opens its own.

    Args:
        index: The index, or a part of it.
        store: Where the tars lie; by default the index's own folder.
        keep_open: Number of files.
    """

    def __init__(self, index: ShardIndex, store: Store | None = None, keep_open: int = 64) -> None:
        self.index = index
        self.store: Store = FolderStore(index.folder, index.shards) if store is None else store
        self._keep_open = keep_open
        self._files: OrderedDict[int, _Open] = OrderedDict()
        self._lock = Lock()

    def __getstate__(self) -> dict[str, Any]:
        return {"index": self.index, "store": self.store, "keep_open": self._keep_open}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]

    def read(self, row: int, name: str) -> bytes | None:
        """Read one member of one sample; None when the sample has none.

        Args:
            row: Number in the index.
            name: One of `MEMBERS`.

        Raises:
            DataError: If the tar is missing, ends too early, or holds other bytes than the
                index says; it names shard and image.
        """
        if self.index.length[row, SLOT[name]] < 0:
            return None
        data, fault = self._bytes(row, name)
        if fault and self._renewed(int(self.index.shard[row])):
            data, fault = self._bytes(row, name)
        if fault:
            raise self.broken(row, fault)
        return data

    def _bytes(self, row: int, name: str) -> tuple[bytes, str]:
        """A member's bytes, and what is wrong with them."""
        slot, number = SLOT[name], int(self.index.shard[row])
        length, wanted = int(self.index.length[row, slot]), int(self.index.crc32[row, slot])
        try:
            file = self._file(number)
            data = os.pread(file.number, length, int(self.index.offset[row, slot]))
        except FileNotFoundError:
            raise self.broken(row, "the shard does not exist") from None
        except OSError as error:
            raise self.broken(row, f"cannot be read: {error.strerror}") from None
        except DataError as error:
            raise self.broken(row, str(error)) from None
        if len(data) != length:
            return data, f"{len(data)} bytes of the {name} found, {length} wanted"
        if (found := imagecodecs.deflate_crc32(data)) != wanted:
            return data, f"crc32 of the {name} is {found:08x}, the index says {wanted:08x}"
        return data, ""

    def image(self, row: int, name: str = "image", shape: tuple[int, int] | None = None) -> Gray:
        """Read and decode an image of one sample.

        Args:
            row: Number in the index.
            name: "image" or "small".
            shape: (height, width) that it must have, as its meta says; None to take what comes.

        Returns:
            (H, W) uint8, or uint16 where the codec is tiff16.

        Raises:
            DataError: If it is missing or broken; it names shard and image.
        """
        data = self.read(row, name)
        if data is None:
            raise self.broken(row, f"it has no member {name!r}")
        try:
            return codec.decode(data, self.index.codec, shape)
        except ValueError as error:
            raise self.broken(row, str(error)) from None

    def broken(self, row: int, detail: str) -> DataError:
        """Make the error for a sample that cannot be used."""
        shard = self.index.shards[int(self.index.shard[row])]
        image_id = self.index.image_id[row].decode()
        return DataError(
            f"{self.index.place}/{shard.name} is broken at image {image_id}",
            detail,
            f"Run `{MADE_BY} --verify` to see all that is not whole, and `{MADE_BY} --repair` to mend it.",
        )

    def close(self) -> None:
        """Close all files, and the store."""
        with self._lock:
            self._files.clear()
        self.store.close()

    def _renewed(self, number: int) -> bool:
        """Drop a shard's file when the store can bring another."""
        if not self.store.forget(number):
            return False
        with self._lock:
            self._files.pop(number, None)
        return True

    def _file(self, number: int) -> _Open:
        with self._lock:
            if number in self._files:
                self._files.move_to_end(number)
                return self._files[number]
        file = _Open(self.store.path(number))  # may take long: others read on
        with self._lock:
            for gone in [n for n, other in self._files.items() if other.is_removed()]:
                del self._files[gone]  # an open file keeps its space on the disk
            self._files[number] = file
            if len(self._files) > self._keep_open:
                self._files.popitem(last=False)
        return file
