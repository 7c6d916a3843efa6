from __future__ import annotations

import io
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from multiprocessing import forkserver
from pathlib import Path

import ingest_like
import pytest
import torch
from toy_learner import ToyLearner, batches

from xraytk import distributed, shard
from xraytk.chance import Chance
from xraytk.data.stream import Stream, StreamConfig
from xraytk.errors import (
    DataError,
    InterruptedRunError,
    MachineError,
    RunConflictError,
    UsageError,
    XraytkError,
)
from xraytk.files import folder_lock
from xraytk.progress import Lines, Progress
from xraytk.records import Batch, Loss
from xraytk.train.journal import read
from xraytk.train.launch import MachineConfig, launch
from xraytk.train.loop import FitPlan, FitResult, fit

pytestmark = pytest.mark.usefixtures("forks")

TWO = MachineConfig(gpus=2, device="cpu", micro_batch=4)
ONE = MachineConfig(gpus=1, device="cpu", micro_batch=4)


@dataclass(frozen=True)
class Job:
    folder: Path
    machine: MachineConfig
    poison: int = -1
    slow: bool = False


class Poisoned(ToyLearner):
    def __init__(self, poison: int) -> None:
        super().__init__()
        self.poison = poison

    def forward(self, batch: Batch, chance: Chance) -> Loss:
        loss = super().forward(batch, chance)
        bad = f"{self.poison:016x}" in batch.image_id
        return Loss(loss.total * (float("inf") if bad else 1.0))


def work(job: Job, progress: Progress) -> FitResult:
    progress.note(f"rank {distributed.rank()} of {distributed.world()}")
    plan = FitPlan(steps=10_000 if job.slow else 6, batch=8, log_every=1, machine=job.machine)
    return fit(Poisoned(job.poison), batches, plan, job.folder, config={}, name="toy", progress=progress)


def fail(job: Job, progress: Progress) -> None:
    if distributed.rank() == 1:
        raise DataError("shard 3 is not whole", "found 1, wanted 2", "Run it again.")
    distributed.barrier()


def die(job: Job, progress: Progress) -> None:
    if distributed.rank() == 1:
        os._exit(9)
    distributed.barrier()


def test_two_processes_equal_one(tmp_path: Path) -> None:
    said = io.StringIO()
    launch(work, Job(tmp_path / "one", ONE), ONE)
    result = launch(work, Job(tmp_path / "two", TWO), TWO, Lines(said))
    assert result.steps == 6
    assert "rank 0 of 2" in said.getvalue()
    assert "rank 1" not in said.getvalue()
    assert "toy  6/6 steps" in said.getvalue()
    one, two = (
        torch.tensor([[line["loss"], line["grad_norm"]] for line in read(tmp_path / name / "log.jsonl")])
        for name in ("one", "two")
    )
    torch.testing.assert_close(one, two, rtol=1e-5, atol=1e-7)


@pytest.mark.slow
def test_both_processes_stop_when_one_is_not_finite(tmp_path: Path) -> None:
    job = Job(tmp_path, TWO, poison=8 * 2 + 7)  # third step, last image: rank 1 sees it
    with pytest.raises(XraytkError, match="not finite at step 3"):
        launch(work, job, TWO)
    assert [line["step"] for line in read(tmp_path / "log.jsonl")] == [1, 2]


@pytest.mark.slow
def test_sigterm_reaches_the_processes_which_save(tmp_path: Path) -> None:
    def stop_when_running() -> None:
        for _ in range(600):
            if read(tmp_path / "log.jsonl"):
                break
            time.sleep(0.1)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=stop_when_running, daemon=True).start()
    with pytest.raises(InterruptedRunError, match="everything is saved"):
        launch(work, Job(tmp_path, TWO, slow=True), TWO)
    assert len(list(tmp_path.glob("step-*/state.json"))) == 1


class StoppedWhileSent:
    """Its sending to the first process is when SIGTERM comes."""

    def __reduce__(self) -> tuple[type, tuple[()]]:
        os.kill(os.getpid(), signal.SIGTERM)
        return StoppedWhileSent, ()


def test_sigterm_while_the_processes_start_stops_them() -> None:
    with pytest.raises(InterruptedRunError, match="before the first step"):
        launch(fail, StoppedWhileSent(), TWO)  # type: ignore[arg-type]
    assert not multiprocessing.active_children()


def stopped_one_after_the_other(job: Job, progress: Progress) -> None:
    if distributed.rank() == 0:
        time.sleep(0.5)
        (job.folder / "page").touch()
    raise InterruptedRunError(f"process {distributed.rank()} has saved")


def test_the_first_process_that_is_stopped_leaves_the_others_their_time(tmp_path: Path) -> None:
    with pytest.raises(InterruptedRunError, match="process 0 has saved"):
        launch(stopped_one_after_the_other, Job(tmp_path, TWO), TWO)
    assert (tmp_path / "page").exists()


def test_what_ends_the_group_does_not_end_the_fork_server(tmp_path: Path) -> None:
    for number in (None, signal.SIGINT, signal.SIGTERM):
        with pytest.raises(DataError, match="shard 3"):
            launch(fail, Job(tmp_path, TWO), TWO)
        if number is None:
            server = forkserver._forkserver._forkserver_pid  # type: ignore[attr-defined]
        else:
            os.kill(server, number)
    assert server == forkserver._forkserver._forkserver_pid  # type: ignore[attr-defined]


def say_a_name(job: Job, progress: Progress) -> None:
    if distributed.rank() == 1:
        raise ValueError("PATIENT^NAME")
    distributed.barrier()


def test_the_text_of_an_unforeseen_error_stays_in_its_process(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(XraytkError, match=r"internal error, ValueError at\n(.*\n)*.*say_a_name") as caught:
        launch(say_a_name, Job(tmp_path, TWO), TWO)
    assert "PATIENT" not in str(caught.value) + "".join(capfd.readouterr())


@pytest.mark.slow
def test_an_error_of_one_process_is_the_error_of_the_run(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        launch(fail, Job(tmp_path, TWO), TWO)
    assert str(caught.value) == "shard 3 is not whole\n  found 1, wanted 2\n  Run it again."


def test_a_process_that_dies_is_an_error_and_not_a_hang(tmp_path: Path) -> None:
    with pytest.raises(MachineError, match="process 1 ended without a word"):
        launch(die, Job(tmp_path, TWO), TWO)


def ending(start: int) -> Iterator[Batch]:
    """The second process has data for two steps and a half."""
    yield from islice(batches(start, batch=16), None if distributed.rank() == 0 else 5)


def breaking(start: int) -> Iterator[Batch]:
    """The second process meets a broken shard in the middle of the third step."""
    yield from ending(start)
    raise DataError("train-000007.tar is broken at image 00c0ffee", "crc32 is 1, the index says 2")


def short(job: Job, progress: Progress) -> FitResult:
    plan = FitPlan(steps=10_000, batch=16, log_every=1, machine=job.machine)
    source = breaking if job.poison else ending
    return fit(ToyLearner(), source, plan, job.folder, config={}, name="toy", progress=progress)


@pytest.mark.slow
@pytest.mark.parametrize(("broken", "wanted"), [(0, "ended\n  at step 2"), (1, "train-000007.tar is broken")])
def test_when_one_process_has_no_data_all_end_with_its_error(
    tmp_path: Path, broken: int, wanted: str
) -> None:
    with pytest.raises(DataError, match=wanted):
        launch(short, Job(tmp_path, TWO, poison=broken), TWO)
    assert [line["step"] for line in read(tmp_path / "log.jsonl")] == [1, 2]


def read_unequal(job: Job, progress: Progress) -> list[str]:
    stream = Stream(job.folder, "train", StreamConfig(image_px=8))
    shares = {"batch": 2, "rank": distributed.rank(), "world": distributed.world(), "workers": 1}
    mine = [name for batch in stream.once(**shares) for name in batch.image_id]
    everybody = distributed.gather(mine)
    assert [len(names) for names in everybody] == [2, 3]
    return [name for names in everybody for name in names]


@pytest.mark.slow
def test_processes_with_unequal_shares_read_each_sample_once(tmp_path: Path) -> None:
    names = ingest_like.make(tmp_path, 5, splits=("train",))
    shard.run(shard.ShardConfig(work=tmp_path))
    assert sorted(launch(read_unequal, Job(tmp_path / "shards", TWO), TWO)) == sorted(names)


def stuck(job: Job, progress: Progress) -> None:
    """The second process ends; the first, deaf to SIGTERM, waits for it."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if distributed.rank() == 1:
        raise DataError("shard 3 is not whole")
    time.sleep(3600)


@pytest.mark.slow
def test_a_process_that_does_not_leave_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("xraytk.train.launch.LEAVE_S", 1)
    with pytest.raises(DataError, match="shard 3"):
        launch(stuck, Job(tmp_path, TWO), TWO)
    assert not multiprocessing.active_children()


def test_a_device_that_is_not_there_is_said() -> None:
    if torch.cuda.is_available():
        pytest.skip("needs a machine without CUDA")
    with pytest.raises(MachineError, match="8 GPUs asked for\n  torch sees 0"):
        launch(fail, Job(Path(), ONE), MachineConfig(gpus=8, device="cuda"))


def test_a_machine_that_cannot_be_is_refused() -> None:
    with pytest.raises(UsageError, match=r"machine\.gpus is 0"):
        MachineConfig(gpus=0)


def hold(job: Job, progress: Progress) -> FitResult:
    with folder_lock(job.folder / str(distributed.rank())):
        return work(job, progress)


def launch_slowly(folder: Path) -> None:
    launch(hold, Job(folder, TWO, slow=True), TWO)


@pytest.mark.slow
def test_processes_leave_when_their_parent_is_killed(tmp_path: Path) -> None:
    parent = multiprocessing.get_context("spawn").Process(target=launch_slowly, args=(tmp_path,))
    parent.start()
    until(lambda: bool(read(tmp_path / "log.jsonl")))
    parent.kill()
    parent.join()
    until(lambda: free(tmp_path / "0") and free(tmp_path / "1"))


def free(folder: Path) -> bool:
    try:
        with folder_lock(folder):
            return True
    except RunConflictError:
        return False


def until(true: Callable[[], bool], limit_s: float = 120.0) -> None:
    end = time.monotonic() + limit_s
    while not true():
        assert time.monotonic() < end
        time.sleep(0.1)
