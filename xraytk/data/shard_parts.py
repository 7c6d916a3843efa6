"""Parts: each shard of a folder with its rows of the index, made one by one and kept when whole.

Beside each tar, ``parts/<name>.parquet`` holds its rows of the index, and in its metadata what
the tar was made from and its SHA-256. A part is written after its tar, the index after all
parts: so a killed run goes on, and a broken index can be made again from the parts.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import pyarrow as pa
import pyarrow.parquet as pq

from xraytk.data import codec, manifest
from xraytk.data.join import Sample, small_shape
from xraytk.data.pictures import decode_png
from xraytk.data.shard_index import FORMAT, INDEX, ShardInfo, head_sha256, index_bytes
from xraytk.data.shard_writer import ShardWriter
from xraytk.errors import DataError
from xraytk.files import atomic_write, write_json
from xraytk.progress import Task
from xraytk.records import SPLITS, as_plain

AHEAD = 128
"""Encoded images that may wait for the writer: about 100 MB."""

SKIPPED = pa.schema(
    [("image_id", pa.string()), ("split", pa.string()), ("shard", pa.string()), ("reason", pa.string())],
    metadata={"xraytk.format": str(FORMAT)},
)
"""Images that are not in the shard they belong to: image_missing, image_broken."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How images are stored.

    Args:
        codec: One of `data.codec.CODECS`.
        quality: Of JPEG, 1 to 100; 0 for the other codecs.
        also_px: Long side of the second image; 0 for none.
    """

    codec: str
    quality: int
    also_px: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What a finished run has written, as ``parts/order.json`` holds it.

    It goes when the first part is about to change, and comes back when the last is whole: parts
    without an order may be a mixture of two runs.

    Args:
        recipe: How images are stored.
        labels: Names of all labels, sorted.
        left_out: Number of images that belong to no shard, by reason.
        shards: Name and split of each, those that come out empty too.
    """

    recipe: Recipe
    labels: list[str]
    left_out: dict[str, int]
    shards: list[tuple[str, str]]

    def save(self, out: Path) -> None:
        """Write ``parts/order.json`` in a shards folder."""
        write_json(out / "parts" / "order.json", {"format": FORMAT, **as_plain(self)})

    @classmethod
    def load(cls, out: Path) -> Order | None:
        """Read it; None when there is none that is whole."""
        try:
            facts = json.loads((out / "parts" / "order.json").read_bytes())
            if facts.pop("format") != FORMAT:
                return None
            recipe, shards = Recipe(**facts.pop("recipe")), [(n, s) for n, s in facts.pop("shards")]
            return cls(recipe=recipe, shards=shards, **facts)
        except (OSError, AttributeError, KeyError, TypeError, ValueError):
            return None


@dataclass(frozen=True, slots=True)
class Part:
    """One shard that is.

    Args:
        rows: Of the index, schema `INDEX`.
        bytes: Of the tar; 0 when no sample could be written, and there is no tar.
        sha256: Of the tar.
        skipped: Reason by image_id.
        fingerprint: Of what it was made from, see `fingerprint`.
    """

    rows: pa.Table
    bytes: int
    sha256: str
    skipped: dict[str, str]
    fingerprint: str


def fingerprint(samples: list[Sample], recipe: Recipe) -> str:
    """A hash of all that decides a shard's bytes; images by their size and time of writing."""
    digest = hashlib.sha256(f"{FORMAT} {recipe}".encode())
    for sample in samples:
        try:
            stat = sample.path.stat()
            state = (stat.st_size, stat.st_mtime_ns)
        except OSError:
            state = (-1, -1)
        digest.update(f"\n{sample.image_id} {state} {sorted(sample.members.items())}".encode())
    return digest.hexdigest()


def read_part(out: Path, name: str) -> Part | None:
    """Return what an earlier run left of this shard; None when there is no readable part."""
    try:
        rows = pq.read_table(out / "parts" / f"{name}.parquet")
        facts = json.loads(rows.schema.metadata[b"xraytk.part"])
        return Part(rows.replace_schema_metadata(INDEX.metadata).cast(INDEX), **facts)
    except (OSError, pa.ArrowInvalid, KeyError, TypeError, ValueError):
        return None


def has_size(out: Path, name: str, part: Part) -> bool:
    """Whether the tar of a part is there, in its size; its bytes are not looked at."""
    try:
        return part.bytes == 0 or (out / f"{name}.tar").stat().st_size == part.bytes
    except OSError:
        return False


@dataclass(frozen=True, slots=True)
class Job:
    """One shard to be.

    Args:
        name: Without ending.
        split: Of its samples.
        samples: In their order in the tar.
        fingerprint: Of these samples before they were read.
    """

    name: str
    split: str
    samples: list[Sample]
    fingerprint: str


def unfinish(out: Path) -> None:
    """Say that the folder no longer holds one whole set of shards."""
    (out / "index.json").unlink(missing_ok=True)
    (out / "parts" / "order.json").unlink(missing_ok=True)


def write_part(
    out: Path,
    job: Job,
    recipe: Recipe,
    pool: Executor,
    task: Task,
    done: int = 0,
    *,
    all_of_them: bool = False,
) -> Part:
    """Write one shard, then what says that it is whole.

    Args:
        out: The shards folder.
        job: The shard.
        recipe: How images are stored.
        pool: Encodes; its size changes no byte.
        task: Told of every sample.
        done: Samples of the task before these.
        all_of_them: Whether an image that cannot be read is an error, and nothing is written.

    Raises:
        DataError: If ``all_of_them`` and one cannot be read.
    """
    path = out / f"{job.name}.tar"
    rows: list[dict[str, Any]] = []
    skipped: dict[str, str] = {}
    with atomic_write(path) as stream:
        writer = ShardWriter(stream, recipe.codec)
        for sample, images in _encode_all(job.samples, recipe, pool):
            done += 1
            if isinstance(images, str):
                skipped[sample.image_id] = images
                if all_of_them:
                    raise DataError(f"{path.name} needs image {sample.image_id}", images)
            else:
                place = writer.add(sample.image_id, {**sample.members, **images})
                about = {name: getattr(sample, name) for name in ("image_id", "patient", "study", "view")}
                rows.append({**about, "split": job.split, "shard": path.name, **place})
            task.update(done, shard=job.name)
        sha256 = writer.close()
    if not rows:
        path.unlink()
    table = pa.Table.from_pylist(rows, schema=INDEX)
    part = Part(table, writer.bytes if rows else 0, sha256, skipped, job.fingerprint)
    save_part(out, job.name, part)
    return part


def save_part(out: Path, name: str, part: Part) -> None:
    """Write ``parts/<name>.parquet``."""
    facts = {
        "bytes": part.bytes,
        "sha256": part.sha256,
        "skipped": part.skipped,
        "fingerprint": part.fingerprint,
    }
    with atomic_write(out / "parts" / f"{name}.parquet") as stream:
        pq.write_table(part.rows.replace_schema_metadata({"xraytk.part": json.dumps(facts)}), stream)


def write_index(out: Path, parts: Sequence[tuple[str, str, Part]], order: Order) -> dict[str, Any]:
    """Write the tables of a shards folder, index.json last; return the latter.

    Args:
        out: The shards folder.
        parts: Name, split and content of each shard; those without a sample too.
        order: What they are.
    """
    order.save(out)
    index = index_bytes(pa.concat_tables([part.rows for _, _, part in parts]).combine_chunks())
    missing = [row for part in parts for row in skipped_rows(*part)]
    manifest.write_table(out / "skipped.parquet", SKIPPED, missing)
    with atomic_write(out / "index.parquet") as stream:
        stream.write(index)
    infos = [
        ShardInfo(f"{name}.tar", split, len(part.rows), part.bytes, part.sha256)
        for name, split, part in parts
        if len(part.rows)
    ]
    head = {
        "format": FORMAT,
        **as_plain(order.recipe),
        "labels": order.labels,
        "counts": {s: n for s in SPLITS if (n := sum(i.count for i in infos if i.split == s))},
        "skipped": all_left_out([part for _, _, part in parts], order.left_out),
        "shards": [as_plain(info) for info in infos],
        "index_sha256": hashlib.sha256(index).hexdigest(),
    }
    head["head_sha256"] = head_sha256(head)
    write_json(out / "index.json", head)
    return head


def all_left_out(parts: Iterable[Part], left_out: Mapping[str, int]) -> dict[str, int]:
    """Number of images that are in no shard, by reason, sorted; without zeros."""
    counts = Counter(reason for part in parts for reason in part.skipped.values())
    counts.update(left_out)
    return {reason: counts[reason] for reason in sorted(counts) if counts[reason]}


def skipped_rows(name: str, split: str, part: Part) -> list[dict[str, str]]:
    """Rows of the table of skipped images, schema `SKIPPED`, for one part."""
    return [
        {"image_id": image_id, "split": split, "shard": f"{name}.tar", "reason": reason}
        for image_id, reason in part.skipped.items()
    ]


def _encode_all(
    samples: Iterable[Sample], recipe: Recipe, pool: Executor
) -> Iterator[tuple[Sample, dict[str, bytes] | str]]:
    """Encode the images on all threads and yield them in order, a few ahead of the writing."""
    ahead: deque[tuple[Sample, Future[dict[str, bytes] | str]]] = deque()
    for sample in samples:
        ahead.append((sample, pool.submit(_encode, sample, recipe)))
        if len(ahead) > AHEAD:
            first, future = ahead.popleft()
            yield first, future.result()
    for first, future in ahead:
        yield first, future.result()


def _encode(sample: Sample, recipe: Recipe) -> dict[str, bytes] | str:
    """Return the images as a shard holds them, or the reason why there are none."""
    try:
        image = decode_png(sample.path.read_bytes())
    except FileNotFoundError:
        return "image_missing"
    except (OSError, ValueError):
        return "image_broken"
    if image.shape != sample.shape:
        return "image_broken"
    images = {"image": image}
    if recipe.also_px:
        height, width = small_shape(sample.shape, recipe.also_px)
        images["small"] = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    try:
        return {
            name: codec.encode(codec.fitted(one, recipe.codec), recipe.codec, recipe.quality)
            for name, one in images.items()
        }
    except ValueError:  # larger than JPEG holds
        return "image_broken"
