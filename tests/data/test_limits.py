from __future__ import annotations

import dataclasses

import pytest

from xraytk.data.limits import Job, advice, limits_of, seconds, slowest

JOB = Job(
    images=1000,
    epochs=3.0,
    gpus=2,
    hosts=2,
    cores=12,
    gflop=100.0,
    tflops=10.0,
    loader_ms=10.0,
    image_bytes=1e6,
    disk_mb_s=300.0,
    network_mb_s=None,
    memory_gb=1.0,
    cache_gb=1.0,
)


def test_each_limit_by_hand() -> None:
    job = dataclasses.replace(JOB, network_mb_s=500.0)
    limits = {limit.name: limit for limit in limits_of(job)}
    assert limits["gpu"].img_per_s == 400  # 4 x 10 TFLOP/s over 100 GFLOP
    assert limits["cores"].img_per_s == 2000  # 2 x (12 - 2) cores, 100 a second each
    assert limits["disk"].img_per_s == 600  # 2 x 300 MB/s over 1 MB
    assert limits["network"].img_per_s == 500  # each host fetches all
    assert [limits[name].idle for name in ("gpu", "cores")] == [0, 0.8]


def test_what_is_kept_in_memory_or_on_disk_counts_once() -> None:
    job = dataclasses.replace(JOB, disk_mb_s=50.0)  # 1 GB of shards, 0.7 of 1 GB of memory
    assert not any(limit.first_epoch_only for limit in limits_of(job))
    assert seconds(job, limits_of(job)) == pytest.approx(3 * 1000 / 100)
    job = dataclasses.replace(job, memory_gb=2.0)
    limits = limits_of(job)
    assert slowest(limits, first_epoch=True).name == "disk"
    assert slowest(limits, first_epoch=False).name == "gpu"
    assert seconds(job, limits) == pytest.approx(1000 / 100 + 2 * 1000 / 400)
    half = dataclasses.replace(job, epochs=0.5)
    assert seconds(half, limits_of(half)) == pytest.approx(500 / 100)


def test_as_much_as_the_advice_says_is_enough() -> None:
    slow = dataclasses.replace(JOB, loader_ms=100.0)
    assert slowest(limits_of(slow), False).name == "cores"
    (idle, more) = advice(slow, limits_of(slow))
    assert idle == "The GPUs idle 50% of the time."
    assert more.startswith("22 cores a host")  # 400 images/s x 0.1 s over 2 hosts, and one a GPU
    enough = dataclasses.replace(slow, cores=22)
    assert slowest(limits_of(enough), False).name == "gpu"
    assert advice(enough, limits_of(enough)) == [
        "No GPU waits. 22 cores a host are enough; only more or faster GPUs help."
    ]
    disk = dataclasses.replace(JOB, disk_mb_s=100.0)
    assert advice(disk, limits_of(disk))[1].startswith("200 MB/s a host")
    far = dataclasses.replace(JOB, network_mb_s=100.0, cache_gb=0.5)
    assert advice(far, limits_of(far))[1].startswith(
        "400 MB/s a host would feed them, or a disk cache of 1 GB"
    )
