"""The only training loop.

It is handed a learner and micro-batches, and knows neither data nor model. A run is a function
of its seed: what is drawn for a sample depends on (seed, step, its place in the global batch), so
a resumed run is bit-identical on CPU, and one process equals several. What a model draws from
torch itself (dropout) depends on (seed, step, number of the micro-batch in the global batch).
"""

from __future__ import annotations

import contextlib
import copy
import math
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from xraytk import distributed
from xraytk.chance import Chance
from xraytk.errors import DataError, InterruptedRunError, MachineError, UsageError, XraytkError
from xraytk.files import read_json, write_json
from xraytk.progress import Progress, Silent
from xraytk.records import Batch
from xraytk.train import checkpoint, parallel
from xraytk.train.average import Average
from xraytk.train.journal import Journal, progress_facts
from xraytk.train.launch import MachineConfig, device_of, handling_signals
from xraytk.train.optim import OptimConfig, lr_at, make_optimizer, set_lr
from xraytk.train.saver import Saver
from xraytk.train.watch import Watch

SCORE = "score"
"""The key of `validate`'s answer by which the best checkpoint is kept; higher is better."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FitPlan:
    """How long, how, and what to write on the way.

    Args:
        steps: Updates in all.
        batch: Images of one update, over all processes.
        optim: Optimizer and schedule.
        save_every: Updates between checkpoints.
        keep_last: Checkpoints that stay, besides the best.
        keep_every: Checkpoints after a multiple of so many updates stay for ever; 0 for none.
        log_every: Updates between lines of the log; each is a mean over them.
        figure_every: Updates between figures; 0 for the end only.
        validate_every: Updates between validations; 0 for the end only.
        seed: All chance comes from it.
        machine: Device, processes, precision.
    """

    steps: int
    batch: int
    optim: OptimConfig = field(default_factory=OptimConfig)
    save_every: int = 1000
    keep_last: int = 2
    keep_every: int = 0
    log_every: int = 10
    figure_every: int = 0
    validate_every: int = 0
    seed: int = 0
    machine: MachineConfig = field(default_factory=MachineConfig)

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            UsageError: If a value is out of range.
        """
        least = {"steps": 1, "batch": 1, "save_every": 1, "keep_last": 1, "log_every": 1}
        for name, low in {
            **least,
            **dict.fromkeys(("keep_every", "figure_every", "validate_every", "seed"), 0),
        }.items():
            if getattr(self, name) < low:
                raise UsageError(f"{name} is {getattr(self, name)}", f"wanted at least {low}")


@dataclass(frozen=True, slots=True)
class FitResult:
    """What came of it.

    Args:
        steps: Updates done in all.
        first_loss: First logged loss of the run.
        last_loss: Last logged loss.
        img_per_s: Steady speed of this call, see `Journal.speed`; 0 when nothing was left to do.
        checkpoint: The last checkpoint.
        best_step: Step of the best validation score; None without one.
        validation: Metrics of the last validation.
    """

    steps: int
    first_loss: float
    last_loss: float
    img_per_s: float
    checkpoint: Path
    best_step: int | None
    validation: dict[str, float]


Batches = Callable[[int], Iterator[Batch]]
Figures = Callable[[nn.Module, int, Path], dict[str, Path]]
Validate = Callable[[nn.Module], dict[str, float]]


def fit(
    learner: nn.Module,
    batches: Batches,
    plan: FitPlan,
    folder: Path,
    *,
    config: dict[str, Any],
    name: str = "train",
    progress: Progress | None = None,
    resume_from: Path | None = None,
    figures: Figures | None = None,
    validate: Validate | None = None,
    watch: Watch | None = None,
) -> FitResult:
    """Train.

    Args:
        learner: An ``nn.Module`` that is a `records.Learner`.
        batches: From the first step to do, this process's micro-batches, without end; of the
            size that `micro_batch_of` gives.
        plan: How long and how.
        folder: Run folder; see `train.run.prepare`.
        config: Plain values, written with each checkpoint.
        name: What the progress calls it.
        progress: Where to report to.
        resume_from: Checkpoint to go on from.
        figures: Called with (learner, step, folder/figures) on the first process; returns the
            pictures it drew, by name. The learner is not sharded, and has the averaged weights
            where there are some.
        validate: Called with such a learner on the first process; see `SCORE`.
        watch: Is told of every line of the log and of every picture.

    Raises:
        XraytkError: If the loss or the gradient is not finite on any process.
        InterruptedRunError: After SIGTERM or SIGINT, when the state is saved.
        MachineError: If the device's memory does not suffice, or a checkpoint cannot be written.
    """
    job = _Job(learner, plan, folder, config, figures, validate, watch)
    job.begin(resume_from)
    devices = [job.device] if job.device.type == "cuda" else []
    with (
        contextlib.ExitStack() as stack,
        (progress or Silent()).task(name, plan.steps, "steps") as task,
        torch.random.fork_rng(devices),
        handling_signals(job.ask_to_stop),
        _explain_memory(),
    ):
        stack.callback(job.saver.wait)
        source = stack.enter_context(_closed_after(batches(job.step)))
        while job.step < plan.steps:
            lr = lr_at(job.step, plan.steps, plan.optim)
            set_lr(job.optimizer, lr)
            done = job.accumulate(source)
            if done is not None:
                loss, parts = done
                norm = job.gradient_norm()
                job.agree_on_finite(loss, norm)
                job.update()
                job.agree_on_stop()
                job.log(loss, parts, lr, norm, task)
                job.look()
            job.save_if_due()
            if job.stop:
                raise InterruptedRunError(
                    f"stopped after step {job.step:,} of {plan.steps:,}; everything is saved",
                    todo="Run the same command to go on.",
                )
    return job.result()


class _Job:
    """The state of one `fit`; its methods are the lines of the loop, in its order."""

    def __init__(
        self,
        learner: nn.Module,
        plan: FitPlan,
        folder: Path,
        config: dict[str, Any],
        figures: Figures | None,
        validate: Validate | None,
        watch: Watch | None,
    ) -> None:
        self.learner, self.plan, self.folder, self.config = learner, plan, folder, config
        self.figures, self.validate = figures, validate
        self.device = device_of(plan.machine)
        self.micro_batch = micro_batch_of(plan.batch, plan.machine)
        self.micro_steps = plan.batch // distributed.world() // self.micro_batch
        self.step = 0
        self.asked_to_stop = self.stop = False
        self.best: dict[str, Any] = {}
        self.validation: dict[str, float] = {}
        self.journal = Journal(
            folder / "log.jsonl",
            plan.batch,
            self.device,
            steps=plan.steps,
            dtype=torch.bfloat16 if self._half() else torch.float32,
            watch=watch,
        )

    def begin(self, resume_from: Path | None) -> None:
        """Move to the device, load, cut the log, wrap for several processes."""
        sharded = parallel.is_sharded(self.plan.machine)
        looks = self.figures is not None or self.validate is not None
        self.plain = copy.deepcopy(self.learner) if sharded and looks and distributed.is_main() else None
        self.learner.to(self.device).train()
        self.model = parallel.wrap(self.learner, self.plan.machine, self.device)
        self.optimizer = make_optimizer(self.learner, self.plan.optim)
        ema = self.plan.optim.ema
        self.average = Average(self.learner, ema) if ema else None
        self.averages = self.average.tensors if self.average else None
        if resume_from is not None:
            self.step = checkpoint.load(resume_from, self.learner, self.optimizer, self.averages)
        self.saver = Saver(self.folder, sharded=sharded, keep=self._keep)
        self.journal.cut(self.step)
        if (self.folder / "best.json").is_file():
            best = read_json(self.folder / "best.json", "xraytk finetune")
            self.best = best if best["step"] <= self.step else {}
        self.best_there: int | None = self.best.get("step")
        self.parameters = [p for group in self.optimizer.param_groups for p in group["params"]]

    def ask_to_stop(self, number: int, frame: object) -> None:
        """Signal handler: stop after this micro-batch; a second SIGINT stops at once.

        A second SIGTERM does not: torchrun and Slurm each send one to the same process.
        """
        if self.asked_to_stop and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.asked_to_stop = True

    def accumulate(self, source: Iterator[Batch]) -> tuple[torch.Tensor, dict[str, torch.Tensor]] | None:
        """Forward and backward over this process's share of the batch; mean loss and parts.

        None when asked to stop on the way: a large batch may take minutes, and whoever sends
        SIGTERM waits for seconds. The unfinished step is dropped and done again on resuming.
        """
        self.optimizer.zero_grad(set_to_none=True)
        total = torch.zeros((), device=self.device)
        parts: dict[str, list[torch.Tensor]] = {}
        for micro in range(self.micro_steps):
            batch = self.next_batch(source)
            if self.stop and micro > 0:
                return None
            number = distributed.rank() * self.micro_steps + micro
            seed_torch(self.plan.seed, self.step, number)
            chance = Chance(self.plan.seed, self.step, number * self.micro_batch)
            with parallel.accumulating(self.model, last=micro == self.micro_steps - 1):
                with self._autocast():
                    loss = parallel.forward(self.model, batch, chance)
                (loss.total / self.micro_steps).backward()  # type: ignore[no-untyped-call]
            total += loss.total.detach() / self.micro_steps
            for name, value in loss.parts.items():
                parts.setdefault(name, []).append(value.detach())
        return total, {name: torch.stack(values).mean() for name, values in parts.items()}

    def next_batch(self, source: Iterator[Batch]) -> Batch:
        """Wait for data; when one process has none, or could not save, all end with its error."""
        began = time.perf_counter()
        asked = self.asked_to_stop  # a signal while waiting for the last part lets the step be finished
        error = self.saver.error()
        try:
            batch = next(source, None)
        except XraytkError as broken:
            batch, error = None, error or broken
        if batch is None and error is None:
            error = DataError("the stream of training batches ended", f"at step {self.step:,}")
        self.journal.waited += time.perf_counter() - began
        stop, failed = distributed.agree(asked, error is not None)
        if failed:
            distributed.raise_first(error)
        self.stop = stop and self.step < self.plan.steps
        assert batch is not None
        return batch.to(self.device)

    def gradient_norm(self) -> torch.Tensor:
        """Global norm of the gradient, which is then clipped as ``optim`` says."""
        optim = self.plan.optim
        return parallel.clip_gradient(self.parameters, optim.clip or math.inf, optim.clip_value or math.inf)

    def update(self) -> None:
        """Move the weights, and their average after them."""
        self.optimizer.step()
        self.step += 1
        if self.average is not None:
            self.average.update(self.step)

    def agree_on_finite(self, loss: torch.Tensor, norm: torch.Tensor) -> None:
        """Stop all processes when one has a loss or a gradient that is not finite."""
        if distributed.any_true(not bool(torch.isfinite(loss) & torch.isfinite(norm))):
            raise XraytkError(
                f"the loss or its gradient is not finite at step {self.step + 1:,}",
                f"on process {distributed.rank()}: loss {loss.item():.4g}, gradient norm {norm.item():.4g}",
                "The last checkpoint is whole. Lower optim.lr or optim.clip, or use machine.precision=fp32.",
            )

    def agree_on_stop(self) -> bool:
        """Whether any process was asked to stop before the end; all get the same answer."""
        self.stop = distributed.any_true(self.asked_to_stop) and self.step < self.plan.steps
        return self.stop

    def log(
        self, loss: torch.Tensor, parts: dict[str, torch.Tensor], lr: float, norm: torch.Tensor, task: Any
    ) -> None:
        """Add this step to the journal, and write a line when it is time."""
        self.journal.add(loss, parts, norm)
        if self.stop or self._due(self.plan.log_every):
            task.update(self.step, **progress_facts(self.journal.write(self.step, lr)))

    def look(self) -> None:
        """Validate and draw when it is time, on the first process; the others wait."""
        if self.validate is not None and self._due(self.plan.validate_every):
            error: XraytkError | None = None
            with self._shown() as shown:
                try:
                    self.validation = self.validate(shown) if shown is not None else {}
                except XraytkError as broken:
                    error = broken
            distributed.raise_first(error)
            self._validated()
        if self.figures is not None and self._due(self.plan.figure_every):
            with self._shown() as shown:
                if shown is not None:
                    drawn = self.figures(shown, self.step, self.folder / "figures")
                    self.journal.watch.pictures(self.step, drawn)

    def save_if_due(self) -> None:
        """Save when it is time; at the end, or when asked to stop, wait until it is written."""
        if self.stop or self._due(self.plan.save_every):
            self._save()
        if self.stop or self.step == self.plan.steps:
            self.saver.wait()
            distributed.raise_first(self.saver.error())
            distributed.barrier()

    def result(self) -> FitResult:
        """Sum up."""
        losses = self.journal.losses()
        last = checkpoint.latest(self.folder)
        if last is None:
            raise DataError(f"{self.folder} lost its checkpoints while training")
        return FitResult(
            steps=self.step,
            first_loss=losses[0] if losses else math.nan,
            last_loss=losses[-1] if losses else math.nan,
            img_per_s=self.journal.speed(),
            checkpoint=last,
            best_step=self.best.get("step"),
            validation=self.validation,
        )

    def _due(self, every: int) -> bool:
        return self.step == self.plan.steps or (every > 0 and self.step % every == 0)

    def _validated(self) -> None:
        """Write down how it went; keep the state when it is the best so far."""
        self.validation = distributed.gather(self.validation)[0]
        self.journal.append({"step": self.step, "validation": self.validation})
        score = self.validation.get(SCORE)
        if score is not None and score > self.best.get("score", -math.inf):
            self.best = {"format": 1, "step": self.step, "score": score, "metrics": self.validation}
            best = self.best
            self._save(then=lambda: self._record(best))

    def _save(self, then: Callable[[], None] | None = None) -> None:
        self.saver.start(self.step, self.learner, self.optimizer, self.averages, self.config, then)

    def _record(self, best: dict[str, Any]) -> None:
        """Name the best checkpoint, which is there now; the one before need not stay."""
        write_json(self.folder / "best.json", best)
        self.best_there = best["step"]

    def _keep(self, folder: Path) -> None:
        """Remove the checkpoints that need not stay; called by the saver after each."""
        checkpoint.prune(folder, self.plan.keep_last, self.plan.keep_every, self.best_there)

    @contextlib.contextmanager
    def _shown(self) -> Iterator[nn.Module | None]:
        """The model as it is looked at, on the first process: whole, averaged, in evaluation mode."""
        if parallel.is_sharded(self.plan.machine):
            own = dict(self.learner.named_parameters()) | dict(self.learner.named_buffers())
            parallel.gather_into(self.plain, own | (self.averages or {}))
        with contextlib.ExitStack() as stack:
            shown = self.plain or self.learner
            if self.plain is not None:
                stack.callback(self.plain.cpu)
                self.plain.to(self.device)
            elif self.average is not None and not parallel.is_sharded(self.plan.machine):
                stack.enter_context(self.average.swapped_in())
            if distributed.is_main():
                stack.enter_context(_evaluating(shown))
            yield shown if distributed.is_main() else None

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self._half())

    def _half(self) -> bool:
        return parallel.low_precision(self.plan.machine, self.device)


def micro_batch_of(batch: int, machine: MachineConfig) -> int:
    """Images of one forward pass on one process.

    With ``machine.micro_batch`` 0: the largest divisor of a process's share that is at most
    16 on CPU, and on CUDA 32, 64 from 20 GiB of memory on, 128 from 40 GiB on. Starting the kernels of
    a ViT-L takes 80 ms however few its images are.

    Args:
        batch: Images of one update, over all processes.
        machine: Holds ``micro_batch``.

    Raises:
        UsageError: If the batch cannot be cut into equal parts.
    """
    world = distributed.world()
    share, rest = divmod(batch, world)
    if rest or not share:
        raise UsageError(
            f"batch {batch} cannot be shared by {world} processes",
            todo=f"Set batch to a multiple of {world}.",
        )
    if machine.micro_batch == 0:
        most = _most_at_once(device_of(machine))
        return max(size for size in range(1, min(share, most) + 1) if share % size == 0)
    if share % machine.micro_batch:
        fitting = ", ".join(str(n) for n in range(1, min(share, 64) + 1) if share % n == 0)
        raise UsageError(
            f"machine.micro_batch {machine.micro_batch} does not divide a process's share of the batch",
            f"batch {batch} over {world} process{'es' * (world > 1)} is {share} each",
            f"Use one of {fitting}, or 0 to choose.",
        )
    return machine.micro_batch


def seed_torch(seed: int, step: int, micro: int) -> None:
    """Seed torch's global generators for one forward pass.

    Args:
        seed: The run's.
        step: Updates done.
        micro: Number of the micro-batch within the global batch.
    """
    words = np.random.SeedSequence([seed, step, micro]).generate_state(1, np.uint64)
    torch.manual_seed(int(words[0] >> np.uint64(1)))


def _most_at_once(device: torch.device) -> int:
    if device.type != "cuda":
        return 16
    gib = torch.cuda.get_device_properties(device).total_memory / 2**30
    return 128 if gib >= 40 else 64 if gib >= 20 else 32


@contextlib.contextmanager
def _evaluating(module: nn.Module) -> Iterator[None]:
    module.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        module.train()


@contextlib.contextmanager
def _closed_after(source: Iterator[Batch]) -> Iterator[Iterator[Batch]]:
    """Close a generator, and the loader processes it holds, however the loop ends."""
    try:
        yield source
    finally:
        close = getattr(source, "close", None)
        if close is not None:
            close()


@contextlib.contextmanager
def _explain_memory() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        text = str(error)
        if isinstance(error, torch.OutOfMemoryError) or "DefaultCPUAllocator" in text:
            raise MachineError(
                "the device ran out of memory while training",
                text.splitlines()[0],
                "Lower machine.micro_batch, or use a smaller model or image.",
            ) from None
        raise
