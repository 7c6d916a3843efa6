"""``xraytk similar``: the images of an archive that are nearest to one image, or to each of a folder.

The archive is a table that ``xraytk embed`` wrote: it is the index. Cosines are exact, and computed
a block of the table at a time, so that only the queries are held in memory.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from xraytk import embed
from xraytk.data.embeddings import COLUMN
from xraytk.data.fitted import Shape
from xraytk.data.pictures import encode_png, montage
from xraytk.embed.sources import Files
from xraytk.errors import DataError, UsageError
from xraytk.files import Workspace, atomic_write, default_work
from xraytk.models.pretrained import find_trained
from xraytk.progress import Progress, Silent
from xraytk.tasks.language.similar import NOBODY, Nearest, Single
from xraytk.tasks.scoring import pages
from xraytk.train.launch import MachineConfig

BLOCK = 16_384
TILE_PX = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class SimilarConfig:
    """Settings of ``xraytk similar``.

    Args:
        query: An image, or a folder of them: DICOM, PNG, JPEG, TIFF; an ingest folder; shards; or a
            table of ``xraytk embed``.
        index: Table of the archive by ``xraytk embed``; the workspace's newest by default.
        checkpoint: The encoder that made the table; the workspace's newest pretraining by default.
        work: The workspace.
        out: Folder; ``similar`` of the workspace's embeddings by default.
        k: Neighbours of an image.
        others: Leave images of the query's own patient out, as far as both tables know patients.
        pictures: Queries on the contact sheet.
        batch: Images of one forward pass.
        machine: Device, precision and readers.
    """

    query: str
    index: Path | None = None
    checkpoint: Path | None = None
    work: Path = field(default_factory=default_work)
    out: Path | None = None
    k: int = 5
    others: bool = False
    pictures: int = 12
    batch: int = 16
    machine: MachineConfig = field(default_factory=MachineConfig)

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            UsageError: If a value is out of range.
        """
        for name, least in (("k", 1), ("pictures", 0), ("batch", 1)):
            if getattr(self, name) < least:
                raise UsageError(f"{name} is {getattr(self, name)}", f"wanted at least {least}")


@dataclass(frozen=True, slots=True)
class SimilarResult:
    """What was found.

    Args:
        table: JSON lines: ``image_id``, and ``nearest``, a list of ``image_id`` and ``cosine``.
        sheet: Queries and neighbours as a picture; None where no image of the archive is at hand.
        queries: Images that were asked for.
        archive: Images of the index.
        found: For each of the first queries its neighbours: ids and cosines.
        seconds: Time of this call.
    """

    table: Path
    sheet: Path | None
    queries: int
    archive: int
    found: dict[str, list[tuple[str, float]]]
    seconds: float

    def lines(self) -> list[str]:
        """Return the neighbours for people to read."""
        out = [f"{self.queries:,} images, looked for among {self.archive:,}"]
        for image, near in self.found.items():
            out += [image, *(f"  {cosine:.3f}  {name}" for name, cosine in near)]
        if len(self.found) < self.queries:
            out.append(f"and {self.queries - len(self.found):,} more in the table")
        return [*out, str(self.table), *([str(self.sheet)] if self.sheet else [])]


@dataclass(frozen=True, slots=True)
class Table:
    """A table of embeddings, without its vectors.

    Args:
        path: The file.
        ids: n images.
        patients: Theirs, "" where unknown.
        facts: Its metadata.
    """

    path: Path
    ids: tuple[str, ...]
    patients: tuple[str, ...]
    facts: dict[str, str]


def run(config: SimilarConfig, progress: Progress | None = None) -> SimilarResult:
    """Find the nearest images.

    Args:
        config: Settings.
        progress: Where to report to.

    Raises:
        DataError: If there is no index, the query was made by another encoder, or holds no image.
    """
    began, progress = time.monotonic(), progress or Silent()
    archive = _table(config.index or _newest(config.work))
    out = config.out or Workspace(config.work).embeddings / "similar"
    queries = _queries(config, archive, out, progress)
    # an image that is in the archive itself is its own nearest: one more is looked for
    nearest = Nearest(_vectors(queries), config.k + 1, queries.patients if config.others else None)
    file, begin = pq.ParquetFile(archive.path), 0
    with progress.task("similar", len(archive.ids)) as task:
        for batch in file.iter_batches(BLOCK, columns=[COLUMN]):
            groups = archive.patients[begin : begin + len(batch)]
            nearest.add(_rows(batch[COLUMN]), groups if config.others else None)
            begin += len(batch)
            task.update(begin)
    found = _named(queries, archive, nearest, config.k)
    path = out / "similar.jsonl"
    with atomic_write(path, "w") as stream:
        for image, near in found.items():
            row = {"image_id": image, "nearest": [{"image_id": i, "cosine": c} for i, c in near]}
            stream.write(json.dumps(row) + "\n")
    sheet = _sheet(config, queries, found, out)
    first = dict(list(found.items())[: config.pictures])
    seconds = round(time.monotonic() - began, 1)
    return SimilarResult(path, sheet, len(queries.ids), len(archive.ids), first, seconds)


def _newest(work: Path) -> Path:
    """The table of the workspace that was written last."""
    folder = Workspace(work).embeddings
    tables = [path for path in folder.glob("*.parquet") if not path.stem.endswith("-rejected")]
    if not tables:
        raise DataError(
            f"{folder} holds no table of embeddings", todo="Run `xraytk embed` first, or name one."
        )
    return max(tables, key=lambda path: path.stat().st_mtime)


def _table(path: Path) -> Table:
    """Read what a table says but its vectors."""
    try:
        known = pq.read_schema(path)
        facts = {k.decode(): v.decode() for k, v in (known.metadata or {}).items()}
        if "xraytk.checkpoint_sha256" not in facts or COLUMN not in known.names:
            raise ValueError("it does not say which encoder made it")
        table = pq.read_table(path, columns=["image_id", "patient_hash"])
    except (OSError, ValueError) as error:
        raise DataError(
            f"{path} is not a table of `xraytk embed`",
            str(error).splitlines()[0],
            "Run `xraytk embed` first.",
        ) from None
    return Table(path, tuple(table["image_id"].to_pylist()), tuple(table["patient_hash"].to_pylist()), facts)


def _queries(config: SimilarConfig, archive: Table, out: Path, progress: Progress) -> Table:
    """The embeddings of what is asked for, by the encoder that made the index."""
    if config.query.endswith(".parquet"):
        found = _table(Path(config.query))
    else:
        trained = find_trained(config.checkpoint, config.work)
        _refuse_other(archive, trained.sha256(), trained.name)
        path = out / "queries.parquet"
        embed.run(
            embed.EmbedConfig(
                source=config.query,
                checkpoint=trained.weights,
                work=config.work,
                out=path,
                pool=archive.facts["xraytk.pool"],  # type: ignore[arg-type]
                batch=config.batch,
                machine=config.machine,
            ),
            progress,
        )
        found = _table(path)
    _refuse_other(archive, found.facts["xraytk.checkpoint_sha256"], found.path.name)
    if found.facts.get("xraytk.pool") != archive.facts.get("xraytk.pool"):
        pools = f"{found.facts.get('xraytk.pool')} and {archive.facts.get('xraytk.pool')}"
        raise DataError("query and index are pooled in different ways", pools, "Embed both with one --pool.")
    return found


def _refuse_other(archive: Table, sha256: str, name: str) -> None:
    wanted = archive.facts["xraytk.checkpoint_sha256"]
    if sha256 != wanted:
        raise DataError(
            f"{archive.path.name} was made by another encoder than {name}",
            f"weights {wanted[:12]}..., found {sha256[:12]}...",
            "Name the encoder of the index with --checkpoint, or embed the archive again.",
        )


def _rows(column: object) -> Single:
    lists: NDArray[np.float32] = column.flatten().to_numpy(zero_copy_only=False)  # type: ignore[attr-defined]
    return np.asarray(lists, np.float32).reshape(len(column), -1)  # type: ignore[arg-type]


def _vectors(table: Table) -> Single:
    parts = [
        _rows(batch[COLUMN]) for batch in pq.ParquetFile(table.path).iter_batches(BLOCK, columns=[COLUMN])
    ]
    return np.concatenate(parts)


def _named(queries: Table, archive: Table, nearest: Nearest, k: int) -> dict[str, list[tuple[str, float]]]:
    """Neighbours of every query by name, without the query itself."""
    out = {}
    for image, at, near in zip(queries.ids, nearest.at, nearest.near, strict=True):
        pairs = [(archive.ids[a], round(float(c), 6)) for a, c in zip(at, near, strict=True) if a != NOBODY]
        out[image] = [pair for pair in pairs if pair[0] != image][:k]
    return out


def _sheet(
    config: SimilarConfig, queries: Table, found: dict[str, list[tuple[str, float]]], out: Path
) -> Path | None:
    """A row a query: the image, then its neighbours with their cosines."""
    look = pages.pictures_of(Workspace(config.work).ingest / "images")
    own = _pictures(config, queries)
    blank = np.zeros((8, 8), np.uint8)
    tiles, captions, seen = [], [], False
    for image, near in list(found.items())[: config.pictures]:
        picture = own.get(image)
        picture = look(image) if picture is None else picture
        row = [picture, *(look(name) for name, _ in near)]
        seen = seen or any(each is not None for each in row[1:])
        row += [None] * (config.k + 1 - len(row))
        tiles += [blank if each is None else each for each in row]
        captions += [f"query {image[:8]}", *(f"{name[:8]} {cosine:.3f}" for name, cosine in near)]
        captions += [""] * (len(tiles) - len(captions))
    if not seen:
        return None
    path = out / "similar.png"
    with atomic_write(path) as stream:
        stream.write(encode_png(montage(tiles, captions, columns=config.k + 1, tile_px=TILE_PX)))
    return path


def _pictures(config: SimilarConfig, queries: Table) -> dict[str, NDArray[np.uint8]]:
    """Pictures of queries that are files; of others the workspace has them."""
    if queries.facts.get("xraytk.source") != "files" or config.query.endswith(".parquet"):
        return {}
    px = json.loads(queries.facts["xraytk.preprocessing"])["image_px"]
    source = Files(config.query, Shape(px, "letterbox"), config.machine.workers, [])
    out: dict[str, NDArray[np.uint8]] = {}
    places = range(min(config.pictures, source.count))
    for chunk in source.chunks(places, config.batch):
        images = chunk.image[:, 0].numpy()
        out |= {facts.image_id: image for facts, image in zip(chunk.facts, images, strict=True)}
    return out
