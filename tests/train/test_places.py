from __future__ import annotations

import pytest

from xraytk.errors import UsageError
from xraytk.train.places import Place, find_place, first_host

TASK = {"SLURM_STEP_NUM_TASKS": "16", "SLURM_PROCID": "11", "SLURM_LOCALID": "3", "SLURM_JOB_ID": "12345678"}


def test_torchrun_says_everything_and_goes_before_slurm() -> None:
    told = {"RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "MASTER_ADDR": "a", "MASTER_PORT": "7"}
    assert find_place(TASK | told) == Place(5, 8, 1, "a", 7)
    assert Place(5, 8, 1, "a", 7).variables() == told


def test_a_task_of_srun_meets_the_others_on_the_first_host() -> None:
    hosts = {"SLURM_STEP_NODELIST": "gpu[07-09,12],login1"}
    assert find_place(TASK | hosts) == Place(11, 16, 3, "gpu07", 25678)
    given = {"MASTER_ADDR": "ib-7", "MASTER_PORT": "29500"}
    assert find_place(TASK | hosts | given) == Place(11, 16, 3, "ib-7", 29500)


def test_one_task_alone_and_a_batch_script_are_no_place() -> None:
    assert find_place({}) is None
    assert find_place({"SLURM_PROCID": "0", "SLURM_NTASKS": "16", "SLURM_JOB_NODELIST": "a"}) is None
    assert find_place(TASK | {"SLURM_STEP_NUM_TASKS": "1"}) is None


@pytest.mark.parametrize(
    ("hosts", "first"),
    [
        ("vm", "vm"),
        ("n1,n2", "n1"),
        ("n[1-4]", "n1"),
        ("n[003,007]", "n003"),
        ("r1n[08-11]-ib,x", "r1n08-ib"),
    ],
)
def test_the_first_host_of_a_list(hosts: str, first: str) -> None:
    assert first_host(hosts) == first


def test_a_job_without_hosts_is_said() -> None:
    with pytest.raises(UsageError, match="Slurm names no host"):
        find_place(TASK)
