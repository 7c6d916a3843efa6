"""Shards: plain tar files with an index that says where every byte lies.

Each sample is a run of tar members that share the ``image_id`` as their name, in the fixed
order of `MEMBERS`, so that ``tar`` and every webdataset reader understand them. Our own
reader does not walk the tar: it reads a member by its offset, any sample in any order.

    shards/train-000000.tar ...   same input, same bytes
    shards/index.parquet          one row a sample: id, split, shard, offset and length of members
    shards/index.json             written last: format, counts, labels, SHA-256 of all the above
"""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import cv2
import imagecodecs
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from xraytk.errors import DataError
from xraytk.files import read_json, sha256_of
from xraytk.progress import Progress, Silent

FORMAT = 1
CODEC = "png-up-3"
MADE_BY = "xraytk shard"

MEMBERS = {  # name in the index: ending in the tar; the order in the tar
    "image": "png",
    "contour": "contour.json",
    "en": "en.txt",
    "zh": "zh.txt",
    "labels": "labels.json",
    "meta": "json",
}
SLOT = {name: i for i, name in enumerate(MEMBERS)}

INDEX = pa.schema(
    [
        ("image_id", pa.string()),
        ("split", pa.string()),
        ("shard", pa.string()),
        *[(f"{name}_{what}", pa.int64()) for name in MEMBERS for what in ("offset", "length")],
    ],
    metadata={"xraytk.format": str(FORMAT)},
)
"""Offsets are of a member's content in the tar, in bytes; null where the sample has none."""


def encode_image(image: NDArray[np.uint8]) -> bytes:
    """Encode an (H, W) uint8 image for a shard.

    PNG, level 3, every row predicted from the one above. On six 1280 x 1280 radiographs the
    fixed "up" filter is at once smaller and quicker to read than libpng's choice per row:
    635 KiB and 15 ms to decode, against 667 KiB and 30 ms at level 1 without it.
    """
    options = [cv2.IMWRITE_PNG_COMPRESSION, 3, cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_UP]
    fine, data = cv2.imencode(".png", image, options)
    if not fine:
        raise ValueError("OpenCV could not encode the image as PNG")
    return bytes(data.tobytes())


def decode_image(data: bytes) -> NDArray[np.uint8]:
    """Decode what `encode_image` made.

    imagecodecs checks every chunk and raises; OpenCV is no quicker (15.4 against 14.7 ms) and
    writes its complaints to stderr.

    Raises:
        ValueError: If the bytes are not a whole grey 8-bit picture.
    """
    try:
        image = imagecodecs.png_decode(data)
    except (imagecodecs.PngError, ValueError) as error:
        raise ValueError(f"not a whole PNG ({error})") from None
    if image.dtype != np.uint8 or image.ndim != 2:
        raise ValueError(f"not an 8-bit grey PNG but {image.dtype} with {image.ndim} axes")
    return np.asarray(image, np.uint8)


class ShardWriter:
    """Writes one tar: the same samples give the same bytes, whoever writes them and when.

    Args:
        stream: Binary file, at its beginning.
    """

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._hash = hashlib.sha256()
        self.bytes = 0

    def add(self, image_id: str, members: Mapping[str, bytes]) -> dict[str, int | None]:
        """Append one sample.

        Args:
            image_id: Name of its members, without a dot.
            members: Content by name, some of `MEMBERS`.

        Returns:
            ``<name>_offset`` and ``<name>_length`` of each of `MEMBERS`, for its index row.
        """
        place: dict[str, int | None] = {}
        for name, ending in MEMBERS.items():
            data = members.get(name)
            place[f"{name}_offset"] = place[f"{name}_length"] = None
            if data is not None:
                header = tarfile.TarInfo(f"{image_id}.{ending}")  # mtime, uid, gid are 0
                header.size = len(data)
                header.mode = 0o644
                self._write(header.tobuf(format=tarfile.USTAR_FORMAT))
                place[f"{name}_offset"], place[f"{name}_length"] = self.bytes, len(data)
                self._write(data + bytes(-len(data) % tarfile.BLOCKSIZE))
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


@dataclass(frozen=True, slots=True)
class ShardInfo:
    """One tar, as index.json lists it."""

    name: str
    split: str
    count: int
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class ShardIndex:
    """The index of a shards folder, as flat arrays: about 100 bytes a sample.

    Args:
        folder: The shards folder.
        labels: Names of all labels, sorted.
        shards: The tars.
        image_id: (n,) bytes.
        shard: (n,) int32, number of the sample's tar in ``shards``.
        offset: (n, members) int64, in bytes.
        length: (n, members) int32, in bytes; -1 where there is none.
    """

    folder: Path
    labels: tuple[str, ...]
    shards: tuple[ShardInfo, ...]
    image_id: NDArray[np.bytes_]
    shard: NDArray[np.int32]
    offset: NDArray[np.int64]
    length: NDArray[np.int32]

    @classmethod
    def load(cls, folder: Path) -> ShardIndex:
        """Read and check the index of ``folder``.

        Raises:
            DataError: If it is missing, of another format, or not the one index.json names.
        """
        head = read_head(folder)
        path = folder / "index.parquet"
        data = path.read_bytes() if path.exists() else b""
        found = hashlib.sha256(data).hexdigest()
        if found != head["index_sha256"]:
            raise DataError(
                f"{path} is not whole",
                f"sha256 is {found[:12]}..., index.json says {head['index_sha256'][:12]}...",
                f"Run `{MADE_BY}` again.",
            )
        table = pq.read_table(io.BytesIO(data))
        shards = tuple(ShardInfo(**shard) for shard in head["shards"])
        names = pa.array([s.name for s in shards], pa.string())
        numbers = pc.index_in(table["shard"], value_set=names)
        return cls(
            folder=folder,
            labels=tuple(head["labels"]),
            shards=shards,
            image_id=np.asarray(table["image_id"].to_pylist(), dtype="S"),
            shard=numbers.to_numpy().astype(np.int32),
            offset=_columns(table, "offset").astype(np.int64),
            length=_columns(table, "length").astype(np.int32),
        )

    def rows(self, split: str) -> NDArray[np.int64]:
        """Row numbers of a split's samples, in index order."""
        of_split = np.array([s.split == split for s in self.shards], np.bool_)
        return np.flatnonzero(of_split[self.shard]) if len(self.shard) else np.zeros(0, np.int64)

    def fingerprint(self, split: str) -> str:
        """SHA-256 over a split's tars: another content, another fingerprint."""
        tars = "".join(s.sha256 for s in self.shards if s.split == split)
        return hashlib.sha256(tars.encode()).hexdigest()

    def take(self, rows: NDArray[np.int64]) -> ShardIndex:
        """Return the same index with only these rows."""
        return ShardIndex(
            self.folder,
            self.labels,
            self.shards,
            self.image_id[rows],
            self.shard[rows],
            self.offset[rows],
            self.length[rows],
        )

    def __len__(self) -> int:
        return len(self.image_id)


def read_head(folder: Path) -> dict[str, Any]:
    """Read index.json and check its format.

    Raises:
        DataError: If it is missing, broken or of another format.
    """
    head = read_json(folder / "index.json", MADE_BY)
    if head.get("format") != FORMAT:
        raise DataError(
            f"{folder} holds shards of format {head.get('format')}",
            f"this version reads {FORMAT}",
            f"Run `{MADE_BY}` again.",
        )
    if missing := {"labels", "shards", "counts", "index_sha256"} - head.keys():
        raise DataError(
            f"{folder / 'index.json'} is not whole",
            f"it lacks {', '.join(sorted(missing))}",
            f"Run `{MADE_BY}` again.",
        )
    return head


def _columns(table: pa.Table, what: str) -> NDArray[Any]:
    columns = [table[f"{name}_{what}"].fill_null(-1).to_numpy() for name in MEMBERS]
    return np.stack(columns, axis=1) if len(table) else np.zeros((0, len(MEMBERS)), np.int64)


class ShardReader:
    """Reads members by offset, in any order and from any process.

    Files are opened when first read, and at most ``keep_open`` stay open. A pickled reader
    opens its own.

    Args:
        index: The index, or a part of it.
        keep_open: Number of files.
    """

    def __init__(self, index: ShardIndex, keep_open: int = 64) -> None:
        self.index = index
        self._keep_open = keep_open
        self._files: OrderedDict[int, IO[bytes]] = OrderedDict()

    def __getstate__(self) -> dict[str, Any]:
        return {"index": self.index, "_keep_open": self._keep_open, "_files": OrderedDict()}

    def read(self, row: int, name: str) -> bytes | None:
        """Read one member of one sample; None when the sample has none.

        Args:
            row: Number in the index.
            name: One of `MEMBERS`.

        Raises:
            DataError: If the tar is missing or ends too early.
        """
        length = int(self.index.length[row, SLOT[name]])
        if length < 0:
            return None
        try:
            file = self._file(int(self.index.shard[row]))
            data = os.pread(file.fileno(), length, int(self.index.offset[row, SLOT[name]]))
        except OSError as error:
            raise self.broken(row, f"cannot be read: {error.strerror}") from None
        if len(data) != length:
            raise self.broken(row, f"{len(data)} bytes of the {name} found, {length} wanted")
        return data

    def broken(self, row: int, detail: str) -> DataError:
        """Make the error for a sample that cannot be used."""
        shard = self.index.shards[int(self.index.shard[row])]
        return DataError(
            f"{self.index.folder / shard.name} is broken at image {self.index.image_id[row].decode()}",
            detail,
            "Run `xraytk shard --verify` to see what is not whole; delete it and run `xraytk shard` again.",
        )

    def close(self) -> None:
        """Close all files."""
        for file in self._files.values():
            file.close()
        self._files.clear()

    def __del__(self) -> None:
        self.close()

    def _file(self, shard: int) -> IO[bytes]:
        file = self._files.pop(shard, None)
        if file is None:
            file = (self.index.folder / self.index.shards[shard].name).open("rb", buffering=0)
            if len(self._files) >= self._keep_open:
                self._files.popitem(last=False)[1].close()
        self._files[shard] = file
        return file


def verify(folder: Path, progress: Progress | None = None) -> dict[str, Any]:
    """Check every byte of a shards folder against its index.

    Args:
        folder: The shards folder.
        progress: Where to report to.

    Returns:
        The content of index.json.

    Raises:
        DataError: Naming every shard that is not whole, found against wanted.
    """
    index = ShardIndex.load(folder)
    problems = []
    with (progress or Silent()).task("verify", len(index.shards), "shards") as task:
        for done, shard in enumerate(index.shards, 1):
            path = folder / shard.name
            found = sha256_of(path) if path.exists() else None
            if found is None:
                problems.append(f"{shard.name} does not exist")
            elif found != shard.sha256:
                problems.append(
                    f"{shard.name}: sha256 is {found[:12]}..., index.json says {shard.sha256[:12]}..."
                )
            task.update(done)
    if problems:
        raise DataError(
            f"{len(problems)} of {len(index.shards)} shards in {folder} are not whole",
            "\n".join(problems),
            "Delete them and run `xraytk shard` again: it writes only what is missing.",
        )
    return read_head(folder)
