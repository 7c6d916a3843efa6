"""Writes checkpoints while the training goes on.

The state is copied at once (to pinned memory from a GPU); a thread writes the copy under a
temporary name, which becomes the final one when every process has written all of its part.
"""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from xraytk import distributed
from xraytk.files import checkpoint_step, explain_os_errors, make_folder
from xraytk.train import checkpoint
from xraytk.train.average import local


class Saver:
    """At most one checkpoint in the making.

    Args:
        folder: Run folder.
        sharded: Whether every process holds a part of the state, and not the first one all of it.
        keep: Called with the run folder after each checkpoint, on the first process: removes
            those that are not kept.
    """

    def __init__(self, folder: Path, *, sharded: bool, keep: Callable[[Path], None]) -> None:
        self.folder, self._keep, self._main = folder, keep, distributed.is_main()
        self._group: Any = dist.new_group(backend="gloo") if sharded else None
        self._copies: dict[str, Tensor] = {}  # kept: to allocate (and pin) them anew takes longer
        self._thread: threading.Thread | None = None
        self._error: Exception | None = None
        newest = checkpoint.latest(folder)
        self._last = distributed.gather(checkpoint_step(newest) if newest else -1)[0]

    def start(
        self,
        step: int,
        learner: nn.Module,
        optimizer: torch.optim.Optimizer,
        averages: dict[str, Tensor] | None,
        config: dict[str, Any],
        then: Callable[[], None] | None = None,
    ) -> None:
        """Copy the state and begin to write it; every process must call it.

        Waits for the checkpoint before, if that is still in the making.

        Args:
            step: Updates done; a checkpoint that is there is not written again.
            learner: See `checkpoint.state_of`.
            optimizer: Likewise.
            averages: Likewise.
            config: Resolved config of the run, as plain values.
            then: Called on the first process when the checkpoint is there.
        """
        self.wait()
        if self._error is not None:
            return
        new, self._last = step != self._last, step
        work: Callable[[], None]
        if not new:
            work = _nothing
        elif self._group is not None:
            state = checkpoint.state_of(learner, optimizer, averages)
            header, copies = checkpoint.header_of(learner, step, config), self._copy(state)
            work = self._parts(step, state, copies, header, config)
        elif self._main:
            state = checkpoint.state_of(learner, optimizer, averages)
            header, copies = checkpoint.header_of(learner, step, config), self._copy(state)
            work = self._whole(step, copies, header, config)
        else:
            return
        self._thread = threading.Thread(
            target=self._run, args=(work, then if self._main else None), daemon=True
        )
        self._thread.start()

    def error(self) -> Exception | None:
        """What went wrong in the thread so far."""
        return self._error

    def wait(self) -> None:
        """Wait until nothing is in the making; `error` then says how it went."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _run(self, work: Callable[[], None], then: Callable[[], None] | None) -> None:
        try:
            work()
            if then is not None:
                then()
            if self._main:
                self._keep(self.folder)
        except Exception as error:  # told by `error`
            self._error = error

    def _copy(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """This process's parts on the CPU; from a GPU they arrive by and by."""
        copies = {}
        for key, tensor in state.items():
            part = local(tensor).detach()
            copy = self._copies.get(key)
            if copy is None:
                copy = torch.empty(part.shape, dtype=part.dtype, pin_memory=part.is_cuda)
            copies[key] = copy.copy_(part, non_blocking=True)
        self._copies = copies
        gpu = any(local(tensor).is_cuda for tensor in state.values())
        self._arrived = torch.cuda.Event() if gpu else None  # type: ignore[no-untyped-call]
        if self._arrived is not None:
            self._arrived.record()
        return copies

    def _whole(
        self, step: int, copies: dict[str, Tensor], header: dict[str, str], config: dict[str, Any]
    ) -> Callable[[], None]:
        def work() -> None:
            self._settle()
            with explain_os_errors(self.folder):
                fresh = self._fresh(step)
                try:
                    checkpoint.write_whole(fresh, copies, header)
                    self._name(fresh, step, config)
                finally:
                    shutil.rmtree(fresh, ignore_errors=True)

        return work

    def _parts(
        self,
        step: int,
        state: dict[str, Tensor],
        copies: dict[str, Tensor],
        header: dict[str, str],
        config: dict[str, Any],
    ) -> Callable[[], None]:
        def work() -> None:
            self._settle()
            with explain_os_errors(self.folder):
                fresh = self._fresh(step)
                try:
                    checkpoint.write_parts(fresh, state, copies, header, self._group)
                    if self._main:
                        self._name(fresh, step, config)
                finally:
                    if self._main:
                        shutil.rmtree(fresh, ignore_errors=True)

        return work

    def _settle(self) -> None:
        if self._arrived is not None:
            self._arrived.synchronize()

    def _fresh(self, step: int) -> Path:
        """The temporary folder, the same on all processes; one that a killed process left is gone."""
        fresh = self.folder / f".tmp-step-{step:08d}"
        make_folder(fresh)
        return fresh

    def _name(self, fresh: Path, step: int, config: dict[str, Any]) -> None:
        """Give the finished folder its final name."""
        checkpoint.write_state(fresh, step, config)
        path = self.folder / f"step-{step:08d}"
        shutil.rmtree(path, ignore_errors=True)
        fresh.replace(path)
        handle = os.open(self.folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def save(
    folder: Path,
    step: int,
    learner: nn.Module,
    optimizer: torch.optim.Optimizer,
    config: dict[str, Any],
    averages: dict[str, Tensor] | None = None,
) -> Path:
    """Write one checkpoint of an unsharded learner, and wait for it; see `Saver.start`.

    Returns:
        The checkpoint's folder.

    Raises:
        MachineError: If it cannot be written.
    """
    saver = Saver(folder, sharded=False, keep=lambda _: None)
    saver.start(step, learner, optimizer, averages, config)
    saver.wait()
    if (error := saver.error()) is not None:
        raise error
    return folder / f"step-{step:08d}"


def _nothing() -> None:
    return
