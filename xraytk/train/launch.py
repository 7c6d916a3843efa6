"""One process or several: in this process, started here, or by torchrun or Slurm.

A verb hands over a module-level function ``entry(config, progress) -> Result``. With several
processes it runs in each, inside a process group; the Result of rank 0 comes back, and rank 0
speaks through the caller's progress.
"""

from __future__ import annotations

import contextlib
import math
import multiprocessing
import os
import signal
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import replace
from multiprocessing import forkserver, resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess
from typing import Any, Self, TypeVar, cast

import torch
import torch.distributed as dist

from xraytk.errors import InterruptedRunError, MachineError, XraytkError, unexpected
from xraytk.processes import leave_with_parent
from xraytk.progress import Progress, Silent
from xraytk.train.heap import keep_freed_memory
from xraytk.train.machine import MachineConfig as MachineConfig
from xraytk.train.places import find_place

LEAVE_S = 30
"""That a process has to end after SIGTERM, before it is killed."""
SAVE_S = 120
"""That the others have to end once one has been stopped: they save, and write the run's page."""
STOPS = (signal.SIGINT, signal.SIGTERM)
LEFT_ALONE = ("Connection closed by peer", "Connection reset", "gloo", "NCCL")
"""In the texts of torch's errors when another process of the group is gone."""

C = TypeVar("C")
R = TypeVar("R")
Member = tuple[BaseProcess, Connection]


def launch(
    entry: Callable[[C, Progress], R], config: C, machine: MachineConfig, progress: Progress | None = None
) -> R:
    """Run ``entry`` on one or several processes.

    Args:
        entry: A module-level function.
        config: Its first argument; must be picklable.
        machine: How many processes, on what.
        progress: Where rank 0 reports to.

    Returns:
        What ``entry`` returned on rank 0.

    Raises:
        MachineError: If a device is missing or a process died.
        XraytkError: What a process raised.
    """
    progress = progress or Silent()
    place = find_place()
    check_devices(machine if place is None else replace(machine, gpus=1))  # one for this process
    if place is not None:
        os.environ |= place.variables()
        with _group(machine, "env://", place.rank, place.world):
            return entry(config, progress if dist.get_rank() == 0 else Silent())
    if machine.gpus == 1:
        with _threads(machine):
            return entry(config, progress)
    with tempfile.TemporaryDirectory(prefix="xraytk-") as folder:
        return _start(entry, config, machine, progress, f"file://{folder}/rendezvous")


def device_of(machine: MachineConfig) -> torch.device:
    """Device of this process: ``cuda:LOCAL_RANK`` or ``cpu``."""
    if device_kind(machine) == "cpu":
        return torch.device("cpu")
    rank = int(os.environ.get("LOCAL_RANK", "0"))
    return torch.device("cuda", rank % torch.cuda.device_count())  # Slurm may show each task its own GPU


def device_kind(machine: MachineConfig) -> str:
    """Resolve "auto" to "cuda" or "cpu"."""
    if machine.device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return machine.device


def check_devices(machine: MachineConfig) -> None:
    """Refuse a machine that lacks what was asked for.

    Raises:
        MachineError: If CUDA or so many GPUs are not there.
    """
    if machine.device == "cpu" or (device_kind(machine) == "cpu" and machine.gpus == 1):
        return
    there = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if there < machine.gpus:
        raise MachineError(
            f"{machine.gpus} GPU{'s' * (machine.gpus > 1)} asked for",
            f"torch sees {there}",
            f"Lower --gpus, or say --device cpu for {machine.gpus} processes on the CPU."
            if machine.gpus > 1
            else "Use --device cpu.",
        )


@contextlib.contextmanager
def _threads(machine: MachineConfig) -> Iterator[None]:
    """On CPU, leave a core to each reading thread and share the others.

    More busy threads than cores make torch's threads wait for each other in circles: the preset
    ``tiny`` on two cores beside other work gave 6 images a second with two threads, 115 with one.
    """
    before = torch.get_num_threads()
    if device_kind(machine) == "cpu":
        keep_freed_memory()
        torch.set_num_threads(max(1, before // machine.gpus - machine.workers))
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextlib.contextmanager
def _group(machine: MachineConfig, init: str, rank: int, world: int) -> Iterator[None]:
    """Be one process of a group."""
    device = device_of(machine)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    dist.init_process_group(
        "nccl" if device.type == "cuda" else "gloo", init_method=init, rank=rank, world_size=world
    )
    try:
        yield
    finally:
        dist.destroy_process_group()


def _start(
    entry: Callable[[C, Progress], R], config: C, machine: MachineConfig, progress: Progress, init: str
) -> R:
    members: list[Member] = []
    stopped = False

    def forward(number: int, frame: object) -> None:
        nonlocal stopped
        passed = signal.SIGINT if stopped and number == signal.SIGINT else signal.SIGTERM
        stopped = True
        for process, _ in members:
            if process.is_alive() and process.pid:
                os.kill(process.pid, passed)

    with handling_signals(forward):
        try:
            context = _serve(entry.__module__)
            for rank in range(machine.gpus):
                if stopped:
                    break
                members.append(_begin(context, entry, config, machine, init, rank))
            if not stopped:  # a signal from here on reaches all
                return cast(R, _listen(members, progress))
        except MachineError:
            if not stopped:
                raise
        finally:
            _end(members)
    raise InterruptedRunError("stopped before the first step", todo="Run the same command to go on.")


def _serve(module: str) -> ForkServerContext:
    """Start the process that the others are forked from, with torch imported once for all.

    It and they begin deaf to what ends this process' group: this process decides who is told.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["xraytk.train.loop", module])
    resource_tracker.ensure_running()  # its own start would take the mask away
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)
    try:
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return context


def _begin(
    context: ForkServerContext,
    entry: Callable[[C, Progress], R],
    config: C,
    machine: MachineConfig,
    init: str,
    rank: int,
) -> Member:
    ours, theirs = context.Pipe()
    arguments = (entry, config, machine, init, rank, theirs, dict(os.environ))
    process: BaseProcess = context.Process(target=_member, args=arguments, daemon=False)
    process.start()
    theirs.close()
    return process, ours


def _end(members: list[Member]) -> None:
    """End what still runs: asked first, then made to."""
    for process, _ in members:
        if process.is_alive():
            process.terminate()
    for process, connection in members:
        process.join(timeout=LEAVE_S)
        if process.is_alive():  # waits in a collective for one that is gone
            process.kill()
            process.join()
        connection.close()


def _member(
    entry: Callable[[C, Progress], R],
    config: C,
    machine: MachineConfig,
    init: str,
    rank: int,
    out: Connection,
    variables: dict[str, str],
) -> None:
    """Body of a started process: run ``entry`` in the group and send what comes of it."""
    os.environ |= {**variables, "LOCAL_RANK": str(rank)}  # the fork server's are of its own start
    os.setpgrp()  # Ctrl-C reaches the parent alone, which passes it on once
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPS)
    leave_with_parent()
    with contextlib.ExitStack() as stack:
        outcome = _outcome(entry, config, machine, init, rank, out, stack)
        if outcome[0] != "result":
            out.send(outcome)  # before the others see this one leave the group
    if outcome[0] == "result":
        out.send(outcome)


def _outcome(
    entry: Callable[[C, Progress], R],
    config: C,
    machine: MachineConfig,
    init: str,
    rank: int,
    out: Connection,
    stack: contextlib.ExitStack,
) -> tuple[str, R | XraytkError | None]:
    """Join the group, which ``stack`` leaves, and run; whatever happens is told in words of ours."""
    try:
        stack.enter_context(_threads(machine))
        stack.enter_context(_group(machine, init, rank, machine.gpus))
        result = entry(config, _Sender(out) if rank == 0 else Silent())
    except XraytkError as error:
        return "error", error
    except KeyboardInterrupt:
        return "error", InterruptedRunError("stopped", todo="Run the same command to go on.")
    except MemoryError:
        todo = "Lower machine.micro_batch."
        return "error", MachineError(f"training process {rank} ran out of memory", todo=todo)
    except Exception as error:
        if os.environ.get("XRAYTK_DEBUG"):
            traceback.print_exc()
        alone = isinstance(error, RuntimeError) and any(word in str(error) for word in LEFT_ALONE)
        return "left alone" if alone else "error", unexpected(error)
    return "result", result if rank == 0 else None


def _listen(members: list[Member], progress: Progress) -> Any:
    """Relay progress until every process has sent its result, or one its error.

    When they were stopped, or one lost another that has not said why, the others may still speak.
    """
    waiting = {connection: (rank, process) for rank, (process, connection) in enumerate(members)}
    tasks: dict[int, Any] = {}
    result: Any = None
    held: dict[int, XraytkError] = {}
    left_alone: set[int] = set()
    until = math.inf
    while waiting and time.monotonic() < until:
        left = None if math.isinf(until) else max(0.0, until - time.monotonic())
        for ready in wait(list(waiting), left):
            connection = cast(Connection, ready)
            rank, process = waiting[connection]
            try:
                kind, *values = connection.recv()
            except EOFError:
                process.join(timeout=LEAVE_S)
                kind, values = "error", [_gone(rank, process.exitcode)]
            if kind == "error" and not _stopped(values[0], *held.values()):
                raise values[0]
            if kind in ("error", "left alone"):
                held[rank], until = values[0], min(until, time.monotonic() + SAVE_S)
                left_alone |= {rank} if kind == "left alone" else set()
            if kind in ("error", "left alone", "result"):
                result = values[0] if kind == "result" and rank == 0 else result
                del waiting[connection]
            else:
                _relay(kind, values, progress, tasks)
    if held:
        raise _first(held, left_alone)
    return result


def _stopped(*errors: XraytkError) -> bool:
    return any(isinstance(error, InterruptedRunError) for error in errors)


def _first(held: dict[int, XraytkError], left_alone: set[int]) -> XraytkError:
    """The error that the others follow from: that it was stopped, else one that lost no other."""
    order = sorted(held, key=lambda r: (not _stopped(held[r]), r in left_alone, r))
    return held[order[0]]


def _gone(rank: int, code: int | None) -> MachineError:
    return MachineError(
        f"training process {rank} ended without a word",
        f"exit code {code}" + " (killed: out of memory?)" * (code == -9),
        "Its own message, if any, is above. Lower machine.micro_batch if memory ran out.",
    )


def _relay(kind: str, values: list[Any], progress: Progress, tasks: dict[int, Any]) -> None:
    if kind == "note":
        progress.note(values[0])
    elif kind == "task":
        number, name, total, unit = values
        tasks[number] = progress.task(name, total, unit)
        tasks[number].__enter__()
    elif kind == "update":
        tasks[values[0]].update(values[1], **values[2])
    elif kind == "end":
        tasks.pop(values[0]).__exit__(None, None, None)


class _Sender:
    """A Progress that speaks through a pipe."""

    def __init__(self, out: Connection) -> None:
        self._out = out
        self._tasks = 0

    def note(self, text: str) -> None:
        self._out.send(("note", text))

    def task(self, name: str, total: int | None, unit: str = "images") -> _SentTask:
        self._tasks += 1
        self._out.send(("task", self._tasks, name, total, unit))
        return _SentTask(self._out, self._tasks)


class _SentTask:
    def __init__(self, out: Connection, number: int) -> None:
        self._out, self._number = out, number

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._out.send(("end", self._number))

    def update(self, done: int, **facts: object) -> None:
        self._out.send(("update", self._number, done, facts))


@contextlib.contextmanager
def handling_signals(handler: Callable[[int, object], None]) -> Iterator[None]:
    """Handle SIGTERM and SIGINT with ``handler``; outside the main thread, do nothing."""
    with contextlib.ExitStack() as stack:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                stack.callback(signal.signal, number, signal.getsignal(number))
                signal.signal(number, handler)
        yield
