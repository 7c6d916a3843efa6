"""What can hold a training up: the GPUs' arithmetic, the cores that decode, the disk, the network.

Each allows so many images a second; the smallest is the job's. All pure.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

FITS = 0.7
"""Share of a host's memory in which the system keeps files that were read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A job and its machines.

    Args:
        images: Of one epoch.
        epochs: How many.
        gpus: Of a host; the process of each takes one core.
        hosts: How many.
        cores: Of a host.
        gflop: Of one image in training.
        tflops: Of one GPU, as training reaches it.
        loader_ms: Milliseconds of one core for one image.
        image_bytes: In the shards.
        disk_mb_s: Megabytes (1e6) a second that a host reads.
        network_mb_s: Megabytes a second that a host gets; None when the shards lie on its disk.
        memory_gb: Of a host, in 1e9 bytes.
        cache_gb: Of a host's disk, for copies of shards.
    """

    images: int
    epochs: float
    gpus: int
    hosts: int
    cores: int
    gflop: float
    tflops: float
    loader_ms: float
    image_bytes: float
    disk_mb_s: float
    network_mb_s: float | None
    memory_gb: float
    cache_gb: float

    @property
    def shards_gb(self) -> float:
        """Size of all shards, in 1e9 bytes."""
        return self.images * self.image_bytes / 1e9

    @property
    def decoders(self) -> int:
        """Cores of all hosts that decode."""
        return max(1, self.cores - self.gpus) * self.hosts


@dataclass(frozen=True, slots=True)
class Limit:
    """One thing that can hold the job up.

    Args:
        name: "gpu", "cores", "disk" or "network".
        img_per_s: Images a second that it allows, over all hosts.
        idle: Share of it that stays unused after the first epoch, in [0, 1].
        first_epoch_only: Later epochs do without it.
        because: What it is made of.
    """

    name: str
    img_per_s: float
    idle: float
    first_epoch_only: bool
    because: str


def limits_of(job: Job) -> tuple[Limit, ...]:
    """Compute what each part of the machines allows.

    A host reads from its disk the samples of its own GPUs, but fetches whole shards, of which
    every host uses a part: the network's rate does not grow with the number of hosts.

    Args:
        job: The job and its machines.
    """
    gpus = job.gpus * job.hosts
    found = [
        (
            "gpu",
            gpus * job.tflops * 1e3 / job.gflop,
            False,
            f"{gpus} x {job.tflops:,.4g} TFLOP/s reached, {job.gflop:,.4g} GFLOP an image",
        ),
        (
            "cores",
            job.decoders * 1e3 / job.loader_ms,
            False,
            f"{job.decoders} cores that decode, {job.loader_ms:.3g} ms an image",
        ),
        (
            "disk",
            job.hosts * job.disk_mb_s * 1e6 / job.image_bytes,
            job.shards_gb <= FITS * job.memory_gb,
            f"{job.disk_mb_s:,.0f} MB/s a host, {job.image_bytes / 1e3:,.0f} kB an image",
        ),
    ]
    if job.network_mb_s is not None:
        rate = job.network_mb_s * 1e6 / job.image_bytes
        because = f"{job.network_mb_s:,.0f} MB/s a host, each of which fetches all shards"
        found.append(("network", rate, job.shards_gb <= job.cache_gb, because))
    later = min(rate for _, rate, once, _ in found if not once)
    return tuple(Limit(name, rate, max(0.0, 1 - later / rate), once, why) for name, rate, once, why in found)


def slowest(limits: tuple[Limit, ...], first_epoch: bool) -> Limit:
    """The limit that holds the job up, in the first epoch or after it."""
    return min((x for x in limits if first_epoch or not x.first_epoch_only), key=lambda x: x.img_per_s)


def seconds(job: Job, limits: tuple[Limit, ...]) -> float:
    """How long the job takes; its first epoch has a rate of its own.

    Args:
        job: The job.
        limits: Of `limits_of`.
    """
    first, later = slowest(limits, True).img_per_s, slowest(limits, False).img_per_s
    return job.images * (min(job.epochs, 1.0) / first + max(job.epochs - 1.0, 0.0) / later)


def advice(job: Job, limits: tuple[Limit, ...]) -> list[str]:
    """What to change, in whole sentences.

    Args:
        job: The job.
        limits: Of `limits_of`.
    """
    gpu = limits[0].img_per_s
    worst = slowest(limits, first_epoch=job.epochs <= 1)
    cores = math.ceil(gpu / job.hosts * job.loader_ms / 1e3) + job.gpus
    if worst.name == "gpu":
        return [f"No GPU waits. {cores} cores a host are enough; only more or faster GPUs help."]
    lines = [f"The GPUs idle {1 - worst.img_per_s / gpu:.0%} of the time."]
    if worst.name == "cores":
        lines.append(
            f"{cores} cores a host would feed them, or an image_px that a smaller second member of the "
            "shards serves (`xraytk shard --also-px`)."
        )
    need = gpu * job.image_bytes / 1e6
    if worst.name == "disk":
        lines.append(
            f"{need / job.hosts:,.0f} MB/s a host would feed them, or {job.shards_gb / FITS:,.0f} GB of "
            "memory a host, in which the shards stay after the first epoch; JPEG shards have half the size."
        )
    if worst.name == "network":
        lines.append(
            f"{need:,.0f} MB/s a host would feed them, or a disk cache of {job.shards_gb:,.0f} GB a host, "
            "for which each shard is fetched once."
        )
    return lines
