"""The index of a shards folder: where every member of every sample lies, and its checksum.

``index.parquet`` has one row a sample: id, split, patient, study, view, shard; offset, length and CRC-32 of
each member.
``index.json`` is written last: format, codec, labels, counts, and the SHA-256 of all the others.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from xraytk.data.codec import CODECS
from xraytk.errors import DataError
from xraytk.records import VIEWS

FORMAT = 3
MADE_BY = "xraytk shard"

ENDINGS = {  # member: ending of its name in the tar, in the order of the tar; * is the codec's
    "image": "*",
    "small": "small.*",
    "contour": "contour.json",
    "en": "en.txt",
    "zh": "zh.txt",
    "labels": "labels.json",
    "meta": "json",
}
MEMBERS = tuple(ENDINGS)
SLOT = {name: i for i, name in enumerate(MEMBERS)}

INDEX = pa.schema(
    [
        ("image_id", pa.string()),
        ("split", pa.string()),
        ("patient", pa.string()),
        ("study", pa.string()),
        ("view", pa.string()),
        ("shard", pa.string()),
        *[
            field
            for name in MEMBERS
            for field in (
                (f"{name}_offset", pa.int64()),
                (f"{name}_length", pa.int32()),
                (f"{name}_crc32", pa.uint32()),
            )
        ],
    ],
    metadata={"xraytk.format": str(FORMAT)},
)
"""Offsets are of a member's content in the tar, in bytes; null where the sample has none.

``patient`` is that of the manifest. Images of one study of one patient share ``study``, see
`study_of`; ``view`` is one of `VIEWS`.
"""

_ROW_GROUP = 65_536


def study_of(patient_hash: str, study_hash: str) -> str:
    """Return what images of a study share in the index: 16 hexadecimal digits.

    The patient is part of it: archives are met whose anonymiser gave all studies one number, and
    images of two patients must never come together.

    Args:
        patient_hash: Of the manifest.
        study_hash: Of the manifest.
    """
    return hashlib.sha256(f"{patient_hash} {study_hash}".encode()).hexdigest()[:16]


def ending(name: str, codec: str) -> str:
    """Return how the name of a member ends in the tar, without the leading dot."""
    return ENDINGS[name].replace("*", CODECS[codec].ending)


@dataclass(frozen=True, slots=True)
class ShardInfo:
    """One tar, as index.json lists it."""

    name: str
    split: str
    count: int
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardIndex:
    """The index of a shards folder, as flat arrays: about 170 bytes a sample.

    Args:
        place: Where the shards lie, a folder or a URL; for messages and for `folder`.
        codec: How images are stored, one of `data.codec.CODECS`.
        also_px: Long side of the second, smaller image; 0 when there is none.
        labels: Names of all labels, sorted.
        shards: The tars.
        image_id: (n,) bytes.
        patient: (n,) bytes, hashed.
        study: (n,) bytes, from `study_of`.
        view: (n,) uint8, number in `VIEWS`.
        shard: (n,) int32, number of the sample's tar in ``shards``.
        offset: (n, members) int64, in bytes.
        length: (n, members) int32, in bytes; -1 where there is none.
        crc32: (n, members) uint32.
    """

    place: str
    codec: str
    also_px: int
    labels: tuple[str, ...]
    shards: tuple[ShardInfo, ...]
    image_id: NDArray[np.bytes_]
    patient: NDArray[np.bytes_]
    study: NDArray[np.bytes_]
    view: NDArray[np.uint8]
    shard: NDArray[np.int32]
    offset: NDArray[np.int64]
    length: NDArray[np.int32]
    crc32: NDArray[np.uint32]

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read and check the index of a local folder.

        Raises:
            DataError: If it is missing, of another format, or not the one index.json names.
        """
        head, table = folder / "index.json", folder / "index.parquet"
        if not head.exists():
            raise DataError(f"{head} does not exist", todo=f"Run `{MADE_BY}` first.")
        return cls.from_bytes(_bytes_of(head), _bytes_of(table), str(folder))

    @classmethod
    def from_bytes(cls, head: bytes, table: bytes, place: str) -> Self:
        """Read and check an index.

        Args:
            head: Content of index.json.
            table: Content of index.parquet.
            place: Where it comes from, a folder or a URL.

        Raises:
            DataError: If it is of another format, or not the one index.json names.
        """
        facts = parse_head(head, place)
        found = hashlib.sha256(table).hexdigest()
        if found != facts["index_sha256"]:
            raise DataError(
                f"{place}/index.parquet is not whole",
                f"sha256 is {found[:12]}..., index.json says {facts['index_sha256'][:12]}...",
                f"Run `{MADE_BY} --repair` to write it again.",
            )
        try:
            shards = tuple(ShardInfo(**shard) for shard in facts["shards"])
            columns = _columns(table, shards)
        except (pa.ArrowInvalid, KeyError, OSError, TypeError, ValueError) as error:
            raise DataError(f"{place} has a broken index", str(error), _REPAIR) from None
        return cls(
            place=place,
            codec=facts["codec"],
            also_px=facts["also_px"],
            labels=tuple(facts["labels"]),
            shards=shards,
            **columns,
        )

    @property
    def folder(self) -> Path:
        """The place as a local folder."""
        return Path(self.place)

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
        arrays = {name: getattr(self, name)[rows] for name in _ARRAYS}
        return dataclasses.replace(self, **arrays)

    def __len__(self) -> int:
        return len(self.image_id)


_ARRAYS = ("image_id", "patient", "study", "view", "shard", "offset", "length", "crc32")
_HEAD = {
    "codec": str,
    "also_px": int,
    "labels": list,
    "shards": list,
    "counts": dict,
    "index_sha256": str,
    "head_sha256": str,
}
_REPAIR = f"Run `{MADE_BY} --repair` to write it again."


def parse_head(data: bytes, place: str) -> dict[str, Any]:
    """Read the content of index.json and check its format.

    Args:
        data: The bytes.
        place: Where they come from, for messages.

    Raises:
        DataError: If it is broken or of another format.
    """
    try:
        head = json.loads(data)
    except ValueError as error:
        raise DataError(f"{place}/index.json cannot be read", str(error), _REPAIR) from None
    if not isinstance(head, dict):
        raise DataError(f"{place}/index.json is not a JSON object", todo=_REPAIR)
    if head.get("format") != FORMAT:
        raise DataError(
            f"{place} holds shards of format {head.get('format')}",
            f"this version reads {FORMAT}",
            f"Run `{MADE_BY}` again.",
        )
    if wrong := sorted(name for name, kind in _HEAD.items() if not isinstance(head.get(name), kind)):
        raise DataError(f"{place}/index.json is not whole", f"it lacks a usable {', '.join(wrong)}", _REPAIR)
    if head_sha256(head) != head["head_sha256"]:
        raise DataError(f"{place}/index.json is not whole", "its content is not of its head_sha256", _REPAIR)
    if head["codec"] not in CODECS:
        raise DataError(
            f"{place} holds images of the codec {head['codec']!r}",
            f"this version reads {', '.join(CODECS)}",
            "Use the version of xraytk that wrote them.",
        )
    return head


def head_sha256(head: dict[str, Any]) -> str:
    """SHA-256 over the content of index.json, but for the field that holds it."""
    rest = {name: value for name, value in head.items() if name != "head_sha256"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def index_bytes(table: pa.Table) -> bytes:
    """Return the content of index.parquet for rows of the schema `INDEX`: the same every time."""
    buffer = io.BytesIO()
    offsets = {f"{name}_offset": "DELTA_BINARY_PACKED" for name in MEMBERS}
    pq.write_table(
        table.replace_schema_metadata(INDEX.metadata),
        buffer,
        compression="zstd",
        row_group_size=_ROW_GROUP,
        use_dictionary=["split", "view", "shard"],
        column_encoding=offsets,
        write_statistics=False,
    )
    return buffer.getvalue()


def _bytes_of(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise DataError(f"{path} cannot be read", error.strerror or "", _REPAIR) from None


def _columns(table: bytes, shards: tuple[ShardInfo, ...]) -> dict[str, NDArray[Any]]:
    """Fill the arrays one row group after the other: no second copy of all in memory."""
    file = pq.ParquetFile(pa.BufferReader(table), pre_buffer=False)
    count = file.metadata.num_rows
    made: dict[str, NDArray[Any]] = {
        "view": np.empty(count, np.uint8),
        "shard": np.empty(count, np.int32),
        "offset": np.empty((count, len(MEMBERS)), np.int64, order="F"),  # filled column by column
        "length": np.empty((count, len(MEMBERS)), np.int32, order="F"),
        "crc32": np.empty((count, len(MEMBERS)), np.uint32, order="F"),
    }
    tars = pa.array([s.name for s in shards], pa.string())
    views = pa.array(VIEWS, pa.string())
    names: dict[str, list[NDArray[np.bytes_]]] = {"image_id": [], "patient": [], "study": []}
    first = 0
    for number in range(file.num_row_groups):
        group = file.read_row_group(number, use_threads=False)
        rows = slice(first, first + len(group))
        first += len(group)
        for name, parts in names.items():
            parts.append(_fixed_width(group[name].combine_chunks()))
        made["view"][rows] = _numbers(group["view"], views).cast(pa.uint8()).to_numpy()
        made["shard"][rows] = _numbers(group["shard"], tars).to_numpy()
        for name, slot in SLOT.items():
            for what, missing in (("offset", -1), ("length", -1), ("crc32", 0)):
                made[what][rows, slot] = group[f"{name}_{what}"].fill_null(missing).to_numpy()
    made |= {name: np.concatenate(parts) if parts else np.zeros(0, "S1") for name, parts in names.items()}
    found = np.bincount(made["shard"], minlength=len(shards)).tolist()
    if found != [s.count for s in shards]:
        raise ValueError("index.parquet and index.json count the samples of the shards differently")
    return made


def _numbers(texts: pa.ChunkedArray, among: pa.StringArray) -> pa.ChunkedArray:
    """Place of each text among some; -1 where it is none of them."""
    return pc.index_in(texts, value_set=among).fill_null(-1)


def _fixed_width(texts: pa.StringArray) -> NDArray[np.bytes_]:
    """Turn strings into an array of bytes of the longest one's width, without Python objects."""
    if texts.null_count:
        raise ValueError("a sample has no image_id, patient or study")
    width = pc.max(pc.binary_length(texts)).as_py() or 1
    padded = pc.ascii_rpad(texts, width, padding="\0")
    flat = padded.cast(pa.binary()).cast(pa.binary(width))
    data = np.frombuffer(flat.buffers()[1], f"S{width}", len(flat), flat.offset * width)
    return np.array(data)
