"""``xraytk plan``: where the bottleneck of a pretraining will be, and how long it takes.

The rates are stated, or measured on this machine; of each the result says which. No GPU and no
shards are needed to plan with them.
"""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from xraytk.config import rows_cols
from xraytk.data.limits import Job, Limit, advice, limits_of, seconds, slowest
from xraytk.data.remote import is_url
from xraytk.errors import UsageError
from xraytk.files import Workspace, default_work
from xraytk.models.flops import GPUS, MaeShape, forward_flops, train_flops
from xraytk.progress import Progress, Silent

AT_PX = 1280
LOADER_MS = 4.5
"""Milliseconds of one core for one image of 1280 x 1280 (`benchmarks/stream.py`); a GPU crops and turns."""
IMAGE_KB = 600.0
"""Mean size in the shards of a radiograph of 1280 x 1280, lossless, with contour and reports."""
DISK_MB_S = 2000.0
NETWORK_MB_S = 1000.0
GPU = "a800"


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanConfig:
    """The job, and the machines. 0 or "" means: measured if asked for, else a default.

    Args:
        work: The workspace.
        shards: Shards folder or URL; the workspace's by default, if it is there.
        images: Training images; 0 for those of the shards.
        epochs: How often each is seen.
        gpus: GPUs of a host.
        hosts: Hosts.
        cores: Physical cores of a host; 0 for this machine's. The process of each GPU takes one.
        gpu: A row of `models.flops.GPUS`.
        tflops: Peak TFLOP/s of a GPU, when the table lacks it.
        utilisation: Share of the peak that training reaches, in (0, 1].
        loader_ms: Milliseconds of one core for one image.
        image_kb: Kilobytes (1e3) of one image in the shards.
        disk_mb_s: Megabytes (1e6) a second that a host reads from its disks.
        network_mb_s: Megabytes a second that a host gets from where the shards lie; stated, it says
            that they lie at a URL.
        memory_gb: Memory of a host: shards that fit into 70 % of it are read from disk once.
        cache_gb: Disk cache of a host: shards at a URL that fit into it are fetched once.
        measure: Measure what this machine can: the loader, the disk, the GPU.
        measure_s: Seconds for which the loader is measured.
        model: Shape of the model.

    Source:
        Utilisation: 0.4 is common for transformers of this size in bf16.
    """

    work: Path = field(default_factory=default_work)
    shards: str | Path | None = None
    images: int = 0
    epochs: float = 83.0
    gpus: int = 8
    hosts: int = 1
    cores: int = 0
    gpu: str = ""
    tflops: float = 0.0
    utilisation: float = 0.4
    loader_ms: float = 0.0
    image_kb: float = 0.0
    disk_mb_s: float = 0.0
    network_mb_s: float = 0.0
    memory_gb: float = 256.0
    cache_gb: float = 100.0
    measure: bool = False
    measure_s: float = 5.0
    model: MaeShape = field(default_factory=MaeShape)

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            UsageError: If a value is out of range.
        """
        for name, least in (("gpus", 1), ("hosts", 1)):
            if getattr(self, name) < least:
                raise UsageError(f"{name} must be at least {least}, found {getattr(self, name)}")
        numbers = ("images", "cores", "tflops", "loader_ms", "image_kb", "disk_mb_s", "network_mb_s")
        for name in (*numbers, "measure_s", "memory_gb", "cache_gb"):
            if not 0 <= getattr(self, name) < math.inf:
                raise UsageError(f"{name} must be 0 or more, found {getattr(self, name)}")
        if not 0 < self.epochs < math.inf:
            raise UsageError(f"epochs must be more than 0, found {self.epochs}")
        if not 0 < self.utilisation <= 1:
            raise UsageError(f"utilisation must be a share, 0 < utilisation <= 1, found {self.utilisation}")
        if self.gpu and self.gpu not in GPUS:
            there = ", ".join(GPUS)
            raise UsageError(
                f"the table has no GPU {self.gpu!r}", f"it has: {there}", "State --set tflops=... of yours."
            )


@dataclass(frozen=True, slots=True)
class Rate:
    """A number that the plan rests on.

    Args:
        value: In the unit of its name.
        source: Stated, measured, or where the default is from.
    """

    value: float
    source: str


@dataclass(frozen=True, slots=True)
class PlanResult:
    """How the job will go.

    Args:
        images: Of one epoch.
        epochs: How many.
        gflop_forward: Of one image, forward.
        gflop_train: Of one image, forward and backward.
        exaflop: Of the whole job.
        shards_gb: Size of all shards.
        bottleneck: Name of the limit that holds the job up, after the first epoch if there is more.
        img_per_s: Of the job then, over all hosts.
        first_epoch_img_per_s: Of the first epoch.
        gpu_idle: Share of the time that the GPUs wait, in [0, 1].
        hours: Of the job.
        gpu_hours: Hours times GPUs.
        need_per_core: Images a second that each decoding core must make so that no GPU waits.
        limits: All that can hold it up.
        rates: The numbers it rests on.
        advice: What to change.
    """

    images: int
    epochs: float
    gflop_forward: float
    gflop_train: float
    exaflop: float
    shards_gb: float
    bottleneck: str
    img_per_s: float
    first_epoch_img_per_s: float
    gpu_idle: float
    hours: float
    gpu_hours: float
    need_per_core: float
    limits: tuple[Limit, ...]
    rates: dict[str, Rate]
    advice: tuple[str, ...]

    def lines(self) -> list[str]:
        """The plan for people: the job, a table of limits, what follows, what it rests on."""
        limits = [("limit", "images/s", "idle", "because")]
        for limit in self.limits:
            name = f"{limit.name}{' <' if limit.name == self.bottleneck else ''}"
            once = "; in the first epoch only" if limit.first_epoch_only else ""
            limits.append((name, f"{limit.img_per_s:,.0f}", f"{limit.idle:.0%}", limit.because + once))
        rates = [(name, f"{rate.value:,.5g}", rate.source) for name, rate in self.rates.items()]
        return [
            f"{self.images:,} images, {self.epochs:g} epochs, {self.shards_gb:,.0f} GB of shards",
            f"{self.gflop_forward:.1f} GFLOP forward and {self.gflop_train:.0f} in training for an image, "
            f"{self.exaflop:,.0f} EFLOP in all",
            "",
            *_table(limits, right=(1, 2)),
            "",
            f"{self.hours:,.1f} hours, {self.gpu_hours:,.1f} GPU hours, at {self.img_per_s:,.0f} images/s; "
            f"held up by: {self.bottleneck}",
            f"So that no GPU waits, each decoding core must make {self.need_per_core:,.0f} images/s.",
            *self.advice,
            "",
            *_table(rates, right=(1,)),
        ]


def run(config: PlanConfig, progress: Progress | None = None) -> PlanResult:
    """Plan a pretraining.

    Args:
        config: The job, and the machines.
        progress: Where to report to.

    Raises:
        UsageError: If the number of images is neither given nor found in shards.
        DataError: If the shards cannot be read.
    """
    images, rates = _gather(config, progress or Silent())
    network = rates.get("network_mb_s")
    job = Job(
        images=images,
        epochs=config.epochs,
        gpus=config.gpus,
        hosts=config.hosts,
        cores=round(rates["cores"].value),
        gflop=train_flops(config.model) / 1e9,
        tflops=rates["tflops"].value * config.utilisation,
        loader_ms=rates["loader_ms"].value,
        image_bytes=1e3 * rates["image_kb"].value,
        disk_mb_s=rates["disk_mb_s"].value,
        network_mb_s=None if network is None else network.value,
        memory_gb=config.memory_gb,
        cache_gb=config.cache_gb,
    )
    limits = limits_of(job)
    worst = slowest(limits, first_epoch=job.epochs <= 1)
    hours = seconds(job, limits) / 3600
    return PlanResult(
        images=images,
        epochs=job.epochs,
        gflop_forward=forward_flops(config.model) / 1e9,
        gflop_train=job.gflop,
        exaflop=job.gflop * images * job.epochs / 1e9,
        shards_gb=job.shards_gb,
        bottleneck=worst.name,
        img_per_s=worst.img_per_s,
        first_epoch_img_per_s=slowest(limits, first_epoch=True).img_per_s,
        gpu_idle=1 - worst.img_per_s / limits[0].img_per_s,
        hours=hours,
        gpu_hours=hours * job.gpus * job.hosts,
        need_per_core=limits[0].img_per_s / job.decoders,
        limits=limits,
        rates=rates,
        advice=tuple(advice(job, limits)),
    )


def _gather(config: PlanConfig, progress: Progress) -> tuple[int, dict[str, Rate]]:
    """Number of images, and every rate: stated before measured before default."""
    shards = _find_shards(config)
    images, image_kb = (config.images, None) if shards is None else _count(shards, config.images)
    if not images:
        raise UsageError(
            "the number of images is not known",
            f"there are no shards in {Workspace(config.work).shards}",
            "Give --images, or name a shards folder.",
        )
    measured = _measure(config, shards, progress) if config.measure else {}
    if image_kb is not None:
        measured["image_kb"] = Rate(image_kb, "mean of the shards")
    area = math.prod(rows_cols(config.model.image_px)) / AT_PX**2
    scaled = f"default of {AT_PX} x {AT_PX}, by area"
    gpu = config.gpu or GPU
    if config.gpu:
        measured.pop("tflops", None)
    rates = {
        "tflops": Rate(GPUS[gpu], f"peak of {gpu}, data sheet"),
        "loader_ms": Rate(LOADER_MS * area, scaled),
        "image_kb": Rate(IMAGE_KB * area, scaled),
        "disk_mb_s": Rate(DISK_MB_S, "default"),
        **({"network_mb_s": Rate(NETWORK_MB_S, "default")} if isinstance(shards, str) else {}),
        "cores": Rate(_cores(), "this machine"),
        **measured,
    }
    for name in ("tflops", "loader_ms", "image_kb", "disk_mb_s", "network_mb_s", "cores"):
        if given := getattr(config, name):
            rates[name] = Rate(given, "stated")
    return images, {**rates, "utilisation": Rate(config.utilisation, "stated")}


def _find_shards(config: PlanConfig) -> str | Path | None:
    """The shards that are named, or those of the workspace; None when there are none."""
    if config.shards is not None:
        return str(config.shards) if is_url(str(config.shards)) else Path(config.shards)
    own = Workspace(config.work).shards
    return own if (own / "index.json").exists() else None


def _count(shards: str | Path, images: int) -> tuple[int, float]:
    """Training images, and the mean size of an image in kilobytes."""
    from xraytk.data.store import read_index

    index = read_index(shards)
    size = sum(shard.bytes for shard in index.shards) / max(1, len(index))
    return images or len(index.rows("train")), size / 1e3


def _measure(config: PlanConfig, shards: str | Path | None, progress: Progress) -> dict[str, Rate]:
    """Measure what this machine can."""
    import torch

    from xraytk.data import rates
    from xraytk.train.peak import matmul_flops

    size = config.model.image_px
    found: dict[str, Rate] = {}
    with tempfile.TemporaryDirectory(prefix="xraytk-") as temporary:
        what = "phantoms"
        folder = Path(temporary)
        if isinstance(shards, Path):
            folder, what = shards, "the shards"
            progress.note("reading the shards from the disk")
            if (speed := rates.disk_mb_s(sorted(folder.glob("*.tar")))) is not None:
                found["disk_mb_s"] = Rate(speed, "measured on the shards, one reader")
        else:
            progress.note("making phantom radiographs to measure with")
            rates.make_shards(folder, size)
        progress.note(f"reading, decoding and placing {what} on one core")
        found["loader_ms"] = Rate(rates.loader_ms(folder, size, config.measure_s), f"measured here on {what}")
    if torch.cuda.is_available():
        progress.note("multiplying matrices on the GPU")
        tflops = matmul_flops(torch.device("cuda"), torch.bfloat16) / 1e12
        found["tflops"] = Rate(tflops, f"measured: products on {torch.cuda.get_device_name()}")
    else:
        progress.note("no CUDA device here: the GPU is that of the table")
    return found


def _cores() -> int:
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS
        return os.cpu_count() or 1


def _table(rows: Sequence[tuple[str, ...]], right: tuple[int, ...]) -> list[str]:
    """Aligned columns; those named stand to the right, the last one as it is."""
    wide = [max(len(row[i]) for row in rows) for i in range(len(rows[0]) - 1)] + [0]
    return [
        "  ".join(
            cell.rjust(wide[i]) if i in right else cell.ljust(wide[i]) for i, cell in enumerate(row)
        ).rstrip()
        for row in rows
    ]
