"""``xraytk embed``: one vector an image from a frozen encoder, as a Parquet table.

- ``sources``: files, an ingest folder, or shards.
- ``parts``: the table in parts, so that a killed run goes on.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import time
from collections import defaultdict
from dataclasses import asdict, dataclass, field
from pathlib import Path

from xraytk.data.cache import CacheConfig
from xraytk.data.fitted import Shape
from xraytk.data.remote import is_url
from xraytk.embed import parts
from xraytk.embed.parts import Done, Parts
from xraytk.embed.sources import Chunk, Files, Ingested, Refusal, Sharded, Source
from xraytk.errors import DataError, UsageError
from xraytk.files import Workspace, default_work, folder_lock
from xraytk.models.features import Pool, features, width_of
from xraytk.models.pretrained import Trained, find_trained
from xraytk.models.vit import Vit
from xraytk.progress import Progress, Silent
from xraytk.train.launch import MachineConfig, check_devices, device_kind, device_of

FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbedConfig:
    """Settings of ``xraytk embed``.

    Args:
        source: A folder, file, archive or URL of DICOM, PNG, JPEG or TIFF; an ingest folder; or a
            shards folder or URL. By default the workspace's ingest folder, which has every image,
            else its shards.
        checkpoint: See `models.weights.find_weights`; the workspace's newest pretraining by default.
        work: The workspace.
        out: The Parquet file; in ``embeddings`` of the workspace by default.
        pool: "mean" of the patches that are not padding, "cls", or "both" (the class token first).
        ema: Prefer the moving average of the weights, where the run made one.
        batch: Images of one forward pass.
        cache: How shards at a URL are copied to a local disk.
        machine: Device, precision and readers; ``workers`` 0 takes one a processor for files.
    """

    source: str | None = None
    checkpoint: Path | None = None
    work: Path = field(default_factory=default_work)
    out: Path | None = None
    pool: Pool = "mean"
    ema: bool = True
    batch: int = 16
    cache: CacheConfig = field(default_factory=CacheConfig)
    machine: MachineConfig = field(default_factory=MachineConfig)

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            UsageError: If a value is out of range.
        """
        if self.batch < 1:
            raise UsageError(f"batch is {self.batch}", "wanted at least 1")
        if self.out is not None and self.out.suffix != ".parquet":
            raise UsageError(f"--out is {self.out}", "wanted the name of a .parquet file")


@dataclass(frozen=True, slots=True)
class EmbedResult:
    """What was written.

    Args:
        out: The table.
        images: Its rows.
        width: Numbers of a vector.
        source: "ingest", "shards" or "files".
        pool: How tokens became a vector.
        checkpoint_sha256: Of the weights.
        rejected: Images that gave no vector, by reason.
        rejected_table: Lists them; None when there is none.
        resumed: Images that an earlier, unfinished call had done.
        seconds: Time of this call.
    """

    out: Path
    images: int
    width: int
    source: str
    pool: str
    checkpoint_sha256: str
    rejected: dict[str, int]
    rejected_table: Path | None
    resumed: int
    seconds: float


def run(config: EmbedConfig, progress: Progress | None = None) -> EmbedResult:
    """Embed images.

    Args:
        config: Settings.
        progress: Where to report to.

    Raises:
        DataError: If there is no encoder, no image, or none can be read.
        RunConflictError: If another process writes the same table.
        MachineError: If the disk is full, or the device is missing.
    """
    began, progress = time.monotonic(), progress or Silent()
    check_devices(config.machine)
    trained = find_trained(config.checkpoint, config.work, ema=config.ema)
    source = _source(config, trained, progress)
    facts = _facts(config, trained, source)
    out = config.out or _default_out(config, trained, source)
    state = facts["xraytk.state"].encode()
    resumed = 0
    if parts.state_of(out) == state:
        progress.note(f"{out.name} is there already, of the same images and weights; remove it to begin anew")
        resumed = source.count
    else:
        table = parts.schema(width_of(trained.config, config.pool), facts)
        folder = out.with_name(f".{out.name}.parts")
        with folder_lock(folder):
            made = Parts(folder, source.segments, parts.part_size(config.batch), table)
            missing = made.missing()
            resumed = source.count - sum(len(made.places(number)) for number in missing)
            if missing:
                _embed(config, trained, source, made, missing, progress)
            rows, refused = made.join(out)
            parts.write_rejected(out, refused)
        parts.remove_folder(folder)
        if not rows:
            out.unlink()
            raise _nothing(source, refused, parts.rejected_path(out))
    rows, reasons = parts.reasons_of(out)
    rejected = parts.rejected_path(out)
    return EmbedResult(
        out=out,
        images=rows,
        width=width_of(trained.config, config.pool),
        source=source.kind,
        pool=config.pool,
        checkpoint_sha256=facts["xraytk.checkpoint_sha256"],
        rejected=reasons,
        rejected_table=rejected if reasons else None,
        resumed=resumed,
        seconds=round(time.monotonic() - began, 1),
    )


def _source(config: EmbedConfig, trained: Trained, progress: Progress) -> Source:
    """Open what is to be embedded; known by what lies there."""
    shape, workers = Shape(trained.config.image_px, trained.fit), config.machine.workers
    work = Workspace(config.work)
    place = config.source
    if place is None:
        ingest, shards = (work.ingest / "manifest").is_dir(), (work.shards / "index.json").is_file()
        if not ingest and not shards:
            raise DataError(
                f"{config.work} holds neither an ingest folder nor shards",
                todo="Run `xraytk ingest` first, or name a folder of images.",
            )
        why = "which has every image" if ingest else "as there is no ingest folder"
        place = str(work.ingest if ingest else work.shards)
        progress.note(f"embedding the workspace's {'ingest folder' if ingest else 'shards'}, {why}")
    local = None if is_url(place) else Path(place)
    if local is not None and not local.exists():
        raise DataError("the source does not exist", todo="Check the path.")
    if local is not None and (local / "manifest").is_dir():
        return Ingested(local, shape, workers)
    if local is not None and (local / "ingest" / "manifest").is_dir():
        raise UsageError(
            "the source is a workspace",
            "wanted its ingest folder, shards, or a folder of images",
            f"Say `xraytk embed --work {local}`.",
        )
    if (local / "index.json").is_file() if local is not None else _has_index(place, config.cache):
        return Sharded(place, shape, workers, config.cache, progress)
    leave_out = [work.ingest, work.masks, work.shards, work.runs, work.reports, work.embeddings, work.exports]
    return Files(place, shape, workers, leave_out)


def _has_index(url: str, cache: CacheConfig) -> bool:
    """Whether a URL is one of shards."""
    from xraytk.data.store import read_index

    try:
        read_index(url, cache)
    except DataError:
        return False
    return True


def _facts(config: EmbedConfig, trained: Trained, source: Source) -> dict[str, str]:
    """What stands in the table's metadata; "xraytk.state" is a hash of all that its rows depend on."""
    sha256, encoder = trained.sha256(), json.dumps(asdict(trained.config), sort_keys=True)
    pixels = json.dumps(
        {
            "image_px": trained.config.image_px,
            "fit": trained.fit,
            "scale": "x / 127.5 - 1",
            "precision": "bf16" if _half(config) else "fp32",
        }
    )
    facts = {
        "xraytk.format": str(FORMAT),
        "xraytk.checkpoint_sha256": sha256,
        "xraytk.encoder": encoder,
        "xraytk.pool": config.pool,
        "xraytk.preprocessing": pixels,
        "xraytk.source": source.kind,
    }
    whole = json.dumps([*facts.items(), config.batch, source.fingerprint])
    return {**facts, "xraytk.state": hashlib.sha256(whole.encode()).hexdigest()}


def _half(config: EmbedConfig) -> bool:
    """Whether the encoder computes in bf16."""
    wanted = config.machine.precision
    return wanted == "bf16" or (wanted == "auto" and device_kind(config.machine) == "cuda")


def _default_out(config: EmbedConfig, trained: Trained, source: Source) -> Path:
    """In the workspace: named by the run, and by the images where these are not the workspace's own."""
    name = trained.name if config.source is None else f"{trained.name}-{source.fingerprint[:8]}"
    return Workspace(config.work).embeddings / f"{name}.parquet"


def _embed(
    config: EmbedConfig,
    trained: Trained,
    source: Source,
    made: Parts,
    missing: list[int],
    progress: Progress,
) -> None:
    """Compute and write the parts that are missing."""
    encoder = trained.load(device_of(config.machine))
    waiting = list(missing)
    places = [place for number in missing for place in made.places(number)]
    rows: list[Done] = []
    refused: defaultdict[int, list[Refusal]] = defaultdict(list)

    def write_before(number: int) -> None:
        while waiting and waiting[0] < number:
            made.write(waiting[0], rows, refused[waiting[0]])
            del waiting[0], rows[:]

    seen, bad = source.count - len(places), 0
    with progress.task("embed", source.count) as task:
        with contextlib.closing(source.chunks(places, config.batch)) as chunks:
            for chunk in chunks:
                for refusal in chunk.refused:
                    refused[made.number(refusal.place)].append(refusal)
                if chunk.places:
                    write_before(made.number(chunk.places[0]))
                    rows += _vectors(config, encoder, chunk)
                seen, bad = seen + len(chunk.places) + len(chunk.refused), bad + len(chunk.refused)
                task.update(seen, rejected=bad)
        write_before(made.count)


def _vectors(config: EmbedConfig, encoder: Vit, chunk: Chunk) -> list[Done]:
    """Vectors of the images of a chunk."""
    device = next(encoder.parameters()).device
    found = features(encoder, chunk.image.to(device), chunk.valid.to(device), config.pool, half=_half(config))
    rows = found.cpu().numpy()
    return [Done(*row) for row in zip(chunk.places, chunk.facts, rows, strict=True)]


def _nothing(source: Source, refused: list[Refusal], table: Path) -> DataError:
    reasons = sorted({refusal.reason for refusal in refused})
    return DataError(
        f"none of {source.count:,} images can be embedded",
        f"reasons: {', '.join(reasons)}",
        f"See {table.name} beside the output.",
    )
