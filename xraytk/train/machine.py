"""What a run may use of the machine. No torch here, so that settings can be read without it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from xraytk.errors import UsageError


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineConfig:
    """What the run may use of the machine; no part of a run's identity.

    Args:
        gpus: Processes, one a GPU; on ``cpu`` that many gloo processes. Under torchrun, and under
            Slurm's ``srun`` with several tasks, their processes are taken and this is not read.
        device: "auto" takes CUDA when there is one.
        workers: Threads of each process that read and decode ahead; 0 does it in between steps.
        precision: "auto" is bf16 autocast on CUDA and fp32 on CPU.
        compile: Compile the transformer blocks with torch.compile.
        micro_batch: Images of one forward pass; 0 chooses.
        sharding: "ddp" keeps a copy of everything on each process; "fsdp" spreads weights,
            gradients and optimizer over them (FSDP2), for models that one GPU cannot hold.
        checkpointing: Forget the activations inside each transformer block and make them again
            in the backward pass: less memory, about a third more time.
    """

    gpus: int = 1
    device: Literal["auto", "cpu", "cuda"] = "auto"
    workers: int = 0
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    compile: bool = False
    micro_batch: int = 0
    sharding: Literal["ddp", "fsdp"] = "ddp"
    checkpointing: bool = False

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            UsageError: If a value is out of range.
        """
        for name, least in (("gpus", 1), ("workers", 0), ("micro_batch", 0)):
            if getattr(self, name) < least:
                raise UsageError(f"machine.{name} is {getattr(self, name)}", f"wanted at least {least}")
