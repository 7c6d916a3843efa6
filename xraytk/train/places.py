"""Which of how many processes this one is, when something else has started them."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass

from xraytk.errors import UsageError


@dataclass(frozen=True, slots=True)
class Place:
    """One process among those that torchrun or Slurm started.

    Args:
        rank: Number of this process, from 0.
        world: Number of processes.
        local_rank: Number of this process on its host.
        address: Host of the first process.
        port: Where the first process listens.
    """

    rank: int
    world: int
    local_rank: int
    address: str
    port: int

    def variables(self) -> dict[str, str]:
        """The same as environment variables, as torch reads them."""
        return {
            "RANK": str(self.rank),
            "WORLD_SIZE": str(self.world),
            "LOCAL_RANK": str(self.local_rank),
            "MASTER_ADDR": self.address,
            "MASTER_PORT": str(self.port),
        }


def find_place(environment: Mapping[str, str] = os.environ) -> Place | None:
    """Read the place of this process from what torchrun or ``srun`` set; None when neither did.

    A step of a single Slurm task is no such place: there ``--gpus`` starts the processes.

    Raises:
        UsageError: If Slurm does not say where the first process runs.
    """
    if "RANK" in environment and "WORLD_SIZE" in environment:
        return Place(
            int(environment["RANK"]),
            int(environment["WORLD_SIZE"]),
            int(environment.get("LOCAL_RANK", "0")),
            environment.get("MASTER_ADDR", "localhost"),
            int(environment.get("MASTER_PORT", "29500")),
        )
    if int(environment.get("SLURM_STEP_NUM_TASKS", "1")) < 2:
        return None
    hosts = environment.get("SLURM_STEP_NODELIST", environment.get("SLURM_JOB_NODELIST", ""))
    job = int(environment.get("SLURM_JOB_ID", "0"))
    return Place(
        int(environment["SLURM_PROCID"]),
        int(environment["SLURM_STEP_NUM_TASKS"]),
        int(environment.get("SLURM_LOCALID", "0")),
        environment.get("MASTER_ADDR") or first_host(hosts),
        int(environment.get("MASTER_PORT") or 20000 + job % 10000),
    )


def first_host(hosts: str) -> str:
    """First host of a list as Slurm writes it: "gpu[07-09,12],login1" is "gpu07".

    Raises:
        UsageError: If there is none.
    """
    found = re.match(r"([^,\[]+)(?:\[(\w+)[^\]]*\]([^,]*))?", hosts)
    if found is None:
        raise UsageError(
            f"Slurm names no host: {hosts!r}",
            "wanted SLURM_STEP_NODELIST",
            "Set MASTER_ADDR and MASTER_PORT.",
        )
    return "".join(part or "" for part in found.groups())
