"""Verb: shards + objective -> a run folder with a pretrained encoder.

The recipe: a stream of shards, an objective from the table, the loop. What it writes is
described in the README under "run folder".
"""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from xraytk import distributed
from xraytk.chance import Chance
from xraytk.config import build, resolve, to_dict
from xraytk.data import trained_on
from xraytk.data.cache import CacheConfig
from xraytk.data.reports import reports_of
from xraytk.data.selection import fingerprint, read_selection
from xraytk.data.skipped import SkipList
from xraytk.data.store import read_index, shown
from xraytk.data.stream import Stream, StreamConfig
from xraytk.errors import DataError, UsageError
from xraytk.files import Workspace, default_work, folder_lock, sha256_of, write_json
from xraytk.models.flops import count_flops
from xraytk.models.tokens import Vocabulary
from xraytk.models.vit import VitConfig
from xraytk.models.weights import find_weights, load_encoder, started_from, write_report
from xraytk.objectives import OBJECTIVES
from xraytk.objectives.pairs import together_micro_batch
from xraytk.progress import Progress
from xraytk.records import Batch, Learner, as_plain
from xraytk.runpage import PAGE, Painter, showing
from xraytk.train import launch
from xraytk.train.checkpoint import latest, read_state
from xraytk.train.launch import MachineConfig, device_kind
from xraytk.train.loop import FitPlan, FitResult, fit, micro_batch_of
from xraytk.train.optim import OptimConfig
from xraytk.train.run import INPUTS, SKIPPED, check_batch, check_length, check_name, prepare, started_as
from xraytk.train.trackers import check_loggers
from xraytk.train.watch import Watch

FORMAT = 1
SHOWN = 6
"""Images in a figure."""
HOPELESS_S = 48 * 3600
"""From this estimate on, a run on CPU is called hopeless."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PretrainConfig:
    """What to pretrain, on what, how long.

    Args:
        work: Workspace.
        shards: Shards folder or URL; that of the workspace when None.
        select: Selection of `xraytk curate`: only its samples of the training split are streamed;
            None for all.
        out: Run folder; ``runs/<name>`` of the workspace when None.
        name: Name of the run.
        resume: "auto" (go on from the newest checkpoint), "never", or a checkpoint.
        init: Checkpoint whose encoder to start from, weights only: of ours, a ViT of timm's, or
            ``timm:NAME``; it decides ``vit.positions`` and ``vit.seen_grid``.
        objective: A row of `objectives.OBJECTIVES`, or "package.module:Class".
        options: The objective's own options; of a preset those that it has for this objective.
        vit: Shape of the encoder.
        data: How images come into the frame; ``image_px`` must be that of ``vit``, or as many times
            that as ``options.pixels.enlarge`` says.
        optim: Optimizer and schedule.
        batch: Images of one update, over all processes.
        epochs: How often every image is seen, when ``steps`` is 0.
        steps: Updates; 0 takes them from ``epochs``.
        seed: All chance comes from it.
        save_every: Updates between checkpoints.
        keep_last: Checkpoints that stay.
        keep_every: Checkpoints after a multiple of so many updates stay for ever; 0 for none.
        log_every: Updates between lines of the log.
        figure_every: Updates between pictures; 0 for the end only.
        loggers: Beside TensorBoard: "wandb", "mlflow".
        cache: How shards at a URL are copied to a local disk.
        machine: Devices and processes.

    Source:
        Paper, section IV, for model, batch and epochs; MAE (He et al. 2022) for the optimizer:
        1.5e-4 per 256 images is 6e-4 at 1024.
    """

    work: Path = field(default_factory=default_work)
    shards: str | Path | None = None
    select: Path | None = None
    out: Path | None = None
    name: str = "pretrain"
    resume: str = "auto"
    init: Path | None = None
    objective: str = "mae"
    options: dict[str, Any] = field(
        default_factory=dict, metadata={"by": "objective", "row": lambda name: _row(str(name))}
    )
    vit: VitConfig = field(default_factory=VitConfig)
    data: StreamConfig = field(default_factory=lambda: StreamConfig(crop_scale=(0.5, 1.0), rotate_deg=5.0))
    optim: OptimConfig = field(default_factory=OptimConfig)
    batch: int = 1024
    epochs: float = 83.0
    steps: int = 0
    seed: int = 0
    save_every: int = 500
    keep_last: int = 2
    keep_every: int = 0
    log_every: int = 10
    figure_every: int = 1000
    loggers: tuple[str, ...] = ()
    cache: CacheConfig = field(default_factory=CacheConfig)
    machine: MachineConfig = field(default_factory=MachineConfig)

    def __post_init__(self) -> None:
        """Check fields against fields.

        Raises:
            UsageError: If a value is out of range, or two contradict each other.
        """
        pixels = self.options.get("pixels", {})
        enlarge = pixels.get("enlarge", 1) if isinstance(pixels, dict) else 1
        enlarge = enlarge if isinstance(enlarge, int) else 1  # the objective says what is wrong with it
        rows, cols = (side * enlarge for side in self.vit.size)
        if self.data.size != (rows, cols):
            times = f"{enlarge} times the second (options.pixels.enlarge)"
            raise UsageError(
                f"data.image_px is {self.data.image_px} and vit.image_px {self.vit.image_px}",
                "wanted the same number in both" if enlarge == 1 else f"wanted {times}",
                f"Set data.image_px={rows if rows == cols else [rows, cols]}.",
            )
        if self.data.views > 1:
            raise UsageError("data.views is for `xraytk finetune report`", "pretraining takes single images")
        check_length(self.steps, self.epochs)
        check_name(self.name)
        check_loggers(self.loggers)
        self.plan(count=self.batch)

    def plan(self, count: int) -> FitPlan:
        """The loop's plan for ``count`` training images."""
        return FitPlan(
            steps=self.steps or math.ceil(self.epochs * count / max(1, self.batch)),
            batch=self.batch,
            optim=self.optim,
            save_every=self.save_every,
            keep_last=self.keep_last,
            keep_every=self.keep_every,
            log_every=self.log_every,
            figure_every=self.figure_every,
            seed=self.seed,
            machine=self.machine,
        )

    @property
    def folder(self) -> Path:
        """Run folder."""
        return self.out or Workspace(self.work).runs / self.name


@dataclass(frozen=True, slots=True)
class PretrainResult:
    """What came of it.

    Args:
        run: Run folder.
        checkpoint: The last checkpoint.
        steps: Updates in all.
        resumed_from: Step at which this call went on; 0 for a new run.
        images: Training images.
        loss_first: First logged loss.
        loss_last: Last logged loss.
        img_per_s: Images a second in this call without its first step, as in the progress and the log;
            0 when nothing was left to do.
        skipped: Broken images that were replaced, listed in skipped.jsonl.
        figures: Pictures of the run.
        page: The run as a page to look at.
    """

    run: Path
    checkpoint: Path
    steps: int
    resumed_from: int
    images: int
    loss_first: float
    loss_last: float
    img_per_s: float
    skipped: int
    figures: tuple[Path, ...]
    page: Path


def run(config: PretrainConfig, progress: Progress | None = None) -> PretrainResult:
    """Pretrain an encoder.

    Args:
        config: What, on what, how long.
        progress: Where to report to.

    Raises:
        DataError: If there are no shards, or ``init`` does not fit.
        UsageError: If batch, processes and images do not go together.
        RunConflictError: If the folder is in use or holds another run.
        InterruptedRunError: After SIGTERM or SIGINT, when the state is saved.
    """
    return launch.launch(_pretrain, config, config.machine, progress)


def make_objective(config: PretrainConfig) -> nn.Module:
    """Make the learner that a config asks for, with fresh weights that depend on the seed alone.

    Raises:
        UsageError: If there is no such objective, or an option is wrong.
    """
    kind, given = _objective(config.objective), {}
    if "vocabulary" in inspect.signature(kind.build).parameters:
        given["vocabulary"] = lambda langs, least: _vocabulary(config, langs, least)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        return cast(nn.Module, kind.build(config.vit, config.options, **given))


def resolved(config: PretrainConfig, old: Mapping[str, Any] | None = None) -> PretrainConfig:
    """Fill in what is not given: every option of the objective, and what ``init`` decides.

    Two configs that mean the same are equal then; the run keeps this one.

    Args:
        config: As given.
        old: From `started_as`: ``init`` decided once, and is not read again.

    Raises:
        UsageError: If there is no such objective, or an option is wrong.
        DataError: If ``init`` is no encoder.
    """
    kind = getattr(_objective(config.objective), "options", None)
    if dataclasses.is_dataclass(kind):
        config = replace(config, options=to_dict(build(cast(type, kind), config.options, "options.")))
    if config.init is None:
        return config
    if not old:
        return replace(config, vit=started_from(config.vit, config.init))
    positions, seen = old["vit"]["positions"], old["vit"].get("seen_grid")
    vit = replace(config.vit, positions=positions, seen_grid=tuple(seen) if seen else None)
    return replace(config, vit=vit)


def _row(name: str) -> str:
    """The row of `OBJECTIVES` whose options an objective has: its own, or that of a class of one's own."""
    kind = None
    with contextlib.suppress(UsageError):  # what cannot be had is said where it is made
        kind = getattr(_objective(name), "options", None) if ":" in name else None
    if kind is None:
        return name
    alike = (row for row, place in OBJECTIVES.items() if getattr(resolve(place), "options", row) is kind)
    return next(alike, name)


def _objective(name: str) -> Any:
    """The class of an objective."""
    if name not in OBJECTIVES and ":" not in name:
        raise UsageError(
            f"there is no objective {name!r}",
            f"there are: {', '.join(sorted(OBJECTIVES))}; or package.module:Class",
        )
    kind = resolve(OBJECTIVES.get(name, name))
    if not hasattr(kind, "build"):
        raise UsageError(f"{name} is no objective", "wanted a class with build(vit, options)")
    return kind


def _vocabulary(config: PretrainConfig, langs: Sequence[str], min_count: int) -> Vocabulary:
    """The words of the training reports, read by the first process once, and kept with the run."""
    path, made = config.folder / "tokenizer.json", None
    if distributed.is_main():
        if latest(config.folder) is None or not path.is_file():
            Vocabulary.build(reports_of(_texts(config), langs), min_count).save(path)
        made = Vocabulary.load(path)
    return cast(Vocabulary, distributed.gather(made)[0])


def _texts(config: PretrainConfig) -> Stream:
    """The images that are trained on, without their pixels."""
    return Stream(
        config.shards or Workspace(config.work).shards,
        "train",
        StreamConfig(image_px=1, skip_bad=config.data.skip_bad),
        needs=frozenset({"reports"}),
        only=None if config.select is None else read_selection(config.select),
        cache=config.cache,
    )


def _pretrain(config: PretrainConfig, progress: Progress) -> PretrainResult:
    """Body of the verb on one process."""
    shards = config.shards or Workspace(config.work).shards
    index = read_index(shards, config.cache, progress)  # before anything is written: there may be none
    old = started_as(config.folder, config.resume, config.init)
    config = resolved(config, old)
    with contextlib.ExitStack() as stack:
        if distributed.is_main():
            stack.enter_context(folder_lock(config.folder))
        learner = make_objective(config)
        needs = cast(Learner, learner).needs
        only = None if config.select is None else read_selection(config.select)
        skipped = SkipList(config.folder / SKIPPED)
        stream = Stream(
            shards,
            "train",
            config.data,
            seed=config.seed,
            needs=needs,
            device=launch.device_of(config.machine),
            skipped=skipped,
            only=only,
            cache=config.cache,
            progress=progress,
        )
        check_batch(config.batch, stream.count)
        if only is not None:
            progress.note(f"{stream.count:,} training images of the shards are among {len(only):,} selected")
        made_of = _inputs(config, old, stream, only, learner)
        state = {**to_dict(config), **shown(config.shards), INPUTS: made_of}
        config = _uncut(config, learner)
        plan = config.plan(stream.count)
        micro_batch = micro_batch_of(config.batch, config.machine)
        resume_from = prepare(config.folder, state, config.resume)
        resumed = int(read_state(resume_from)["step"]) if resume_from else 0  # pruned later
        fresh = config.init if resume_from is None else None
        if distributed.is_main():
            start = find_weights(fresh) if fresh else None
            going_on = resume_from is not None
            if shared := trained_on.write(config.folder, index, start, going_on=going_on):
                progress.note(trained_on.warning(shared))
        samples = _samples(config, needs, only) if distributed.is_main() else None
        watch = _watch(config, state, learner, stream, plan.steps, samples, progress)
        if resume_from is None:
            _start(config, learner, stream, plan, progress)
        else:
            progress.note(f"going on from {resume_from}")

        def batches(start_step: int) -> Iterator[Batch]:
            return stream.training(
                batch=config.batch,
                micro_batch=micro_batch,
                start_step=start_step,
                rank=distributed.rank(),
                world=distributed.world(),
                workers=config.machine.workers,
            )

        with showing(watch, config.folder, resumed):
            done = fit(
                learner,
                batches,
                plan,
                config.folder,
                config=state,
                name="pretrain",
                progress=progress,
                resume_from=resume_from,
                figures=Painter(config.folder, plan.steps, samples, config.seed),
                watch=watch,
            )
        return _finish(config, done, resumed, stream.count, _settled(skipped))


def _inputs(
    config: PretrainConfig,
    old: Mapping[str, Any],
    stream: Stream,
    only: frozenset[str] | None,
    learner: nn.Module,
) -> dict[str, str]:
    made_of = {"shards": stream.fingerprint}
    if only is not None:
        made_of["select"] = fingerprint(only)
    if config.init is not None:
        made_of["init"] = old[INPUTS]["init"] if old else sha256_of(find_weights(config.init))
    words = getattr(getattr(learner, "text", None), "vocabulary", None)
    if words is not None:
        made_of["vocabulary"] = words.fingerprint
    return made_of


def _uncut(config: PretrainConfig, learner: nn.Module) -> PretrainConfig:
    """See to it that images that are compared with each other are in one micro-batch."""
    together = getattr(learner, "together", None)
    if together is None:
        return config
    asked = config.machine.micro_batch
    size = together_micro_batch(together, config.batch, asked, distributed.world())
    return replace(config, machine=replace(config.machine, micro_batch=size))


def _start(
    config: PretrainConfig, learner: nn.Module, stream: Stream, plan: FitPlan, progress: Progress
) -> None:
    """Load ``init``, say how large the work is, and warn when it is hopeless."""
    if config.init is not None:
        write_report(
            config.folder, config.init, load_encoder(cast(nn.Module, learner.encoder), config.init), progress
        )
    if not distributed.is_main():
        return
    millions = sum(p.numel() for p in learner.parameters()) / 1e6
    progress.note(
        f"pretrain {config.objective}: {millions:.1f} M parameters, {stream.count:,} images, "
        f"{plan.steps:,} steps of {config.batch}"
    )
    if device_kind(config.machine) == "cpu" and millions > 50:
        seconds = (
            _seconds_per_image(config, learner, stream) * config.batch * plan.steps / distributed.world()
        )
        if seconds > HOPELESS_S:
            days = seconds / 86400
            progress.note(
                f"on this CPU that takes about {days:,.0f} days: `--preset tiny` is made for it; "
                "this size wants GPUs"
            )


def _seconds_per_image(config: PretrainConfig, learner: nn.Module, stream: Stream) -> float:
    """Time of one image, forward and backward, on the CPU."""
    batch = next(stream.training(batch=1, micro_batch=1))
    began = time.perf_counter()
    with torch.random.fork_rng(devices=[]), distributed.alone():
        learner(batch, Chance(config.seed)).total.backward()
    learner.zero_grad(set_to_none=True)
    return time.perf_counter() - began


def _samples(config: PretrainConfig, needs: frozenset[str], only: frozenset[str] | None) -> Batch:
    """The first images of the validation split, or of the training split, as they are."""
    shards = config.shards or Workspace(config.work).shards
    index = read_index(shards, config.cache)
    for split, chosen in (("val", None), ("train", only)):
        if len(index.rows(split)):
            wanted = needs | {"image", "lung"}
            stream = Stream(shards, split, config.data, needs=wanted, only=chosen, cache=config.cache)
            if (batch := next(stream.once(batch=SHOWN), None)) is not None:
                return batch
    raise DataError(f"{index.place} holds no image to draw")


def _watch(
    config: PretrainConfig,
    state: dict[str, Any],
    learner: nn.Module,
    stream: Stream,
    steps: int,
    samples: Batch | None,
    progress: Progress,
) -> Watch:
    """Who is told how the run goes, and what there is to tell before its first step."""
    flops = 3 * _forward_flops(config, learner, samples)
    encoder = cast(nn.Module, learner.encoder)
    about = {
        "verb": "pretraining",
        "name": config.name,
        "trained": f"Objective {config.objective}",
        "parameters": sum(p.numel() for p in learner.parameters()),
        "encoder_parameters": sum(p.numel() for p in encoder.parameters()),
        "encoder": to_dict(config.vit),
        "flops_per_image": flops,
        "init": "given weights" if config.init else "random weights",
        "images": {"train": stream.count},
        "selected": config.select is not None,
        "shards": stream.fingerprint,
        "steps": steps,
        "batch": config.batch,
    }
    return Watch(
        config.folder,
        about=about,
        config=state,
        loggers=config.loggers,
        flops_per_image=flops,
        note=progress.note,
    )


def _forward_flops(config: PretrainConfig, learner: nn.Module, samples: Batch | None) -> float:
    """Operations of the forward pass of one image: the mean over the samples; the same on every process."""
    found = 0.0
    if samples is not None:
        with torch.random.fork_rng(devices=[]), distributed.alone():
            found = count_flops(lambda: learner(samples, Chance(config.seed))) / len(samples.image_id)
    return distributed.gather(found)[0]


def _settled(skipped: SkipList) -> int:
    """Number of samples that any process left out, when all are done."""
    distributed.barrier()
    return skipped.settle() if distributed.is_main() else 0


def _finish(
    config: PretrainConfig, done: FitResult, resumed: int, images: int, skipped: int
) -> PretrainResult:
    result = PretrainResult(
        run=config.folder,
        checkpoint=done.checkpoint,
        steps=done.steps,
        resumed_from=resumed,
        images=images,
        loss_first=done.first_loss,
        loss_last=done.last_loss,
        img_per_s=done.img_per_s,
        skipped=skipped,
        figures=tuple(sorted((config.folder / "figures").glob("*.png"))),
        page=config.folder / PAGE,
    )
    if distributed.is_main():
        write_json(config.folder / "metrics.json", {"format": FORMAT, **as_plain(result)})
    return result
