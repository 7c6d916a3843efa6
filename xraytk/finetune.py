"""``xraytk finetune``: a report model or a disease model from the pretrained encoder.

The state with the best score on the validation split is exported to ``best/`` in the run
folder when the training has ended; `evaluate` and `report` use that and nothing else, so the
test split cannot be read by a run that is still training.
"""

from __future__ import annotations

import contextlib
import copy
import itertools
import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, cast

import torch

from xraytk import distributed
from xraytk.chance import Chance
from xraytk.config import build, to_dict
from xraytk.data import trained_on
from xraytk.data.cache import CacheConfig
from xraytk.data.reports import reports_of
from xraytk.data.skipped import SkipList
from xraytk.data.store import read_index, shown
from xraytk.data.stream import Stream, StreamConfig
from xraytk.errors import DataError, UsageError
from xraytk.files import Workspace, checkpoints, default_work, folder_lock, read_json, sha256_of
from xraytk.models import lora as adapters
from xraytk.models import vocabularies
from xraytk.models.dense import DenseConfig
from xraytk.models.flops import count_flops
from xraytk.models.language import DecoderConfig
from xraytk.models.lora import LoraConfig
from xraytk.models.pretrained import fit_of
from xraytk.models.vit import VitConfig, normalise, set_drop_path
from xraytk.models.weights import (
    encoder_config,
    find_weights,
    load_encoder,
    load_model,
    started_from,
    write_report,
)
from xraytk.progress import Progress
from xraytk.records import LANGUAGES, Batch
from xraytk.runpage import PAGE, Painter, showing
from xraytk.tasks import saved
from xraytk.tasks.answering import VqaConfig, VqaTask, refuse_strange
from xraytk.tasks.classification import ClassifyTask
from xraytk.tasks.detection import DetectConfig, DetectTask, count_boxes
from xraytk.tasks.fused import find_fused, load_fused, with_words
from xraytk.tasks.heads import HeadConfig
from xraytk.tasks.language.questions import answers_of, most_frequent, read_questions
from xraytk.tasks.reporting import ReportTask
from xraytk.tasks.segmentation import SegmentConfig, SegmentTask, check_outlines
from xraytk.tasks.targets import ALL, Chosen, LabelConfig, images_of, rates_of, stand_in
from xraytk.train.checkpoint import read_state
from xraytk.train.launch import MachineConfig, device_of, launch
from xraytk.train.loop import FitPlan, FitResult, fit, micro_batch_of
from xraytk.train.optim import OptimConfig
from xraytk.train.run import INPUTS, SKIPPED, check_batch, check_length, check_name, prepare, started_as
from xraytk.train.trackers import check_loggers
from xraytk.train.watch import Watch

SCRATCH = Path("none")
"""The value of ``init`` that means random weights."""
ADAPTER = "adapter.safetensors"
"""In the run folder: the adapters alone; ``best/`` has them merged."""
VALIDATION_BATCH = 32
FLOPS_IMAGES = 2
"""Training images by which the operations of one are counted."""

Task = ReportTask | ClassifyTask | SegmentTask | DetectTask | VqaTask


@dataclass(frozen=True, slots=True, kw_only=True)
class FinetuneConfig:
    """Settings of ``xraytk finetune``.

    Args:
        task: "report", "classify", "segment", "detect" or "vqa".
        work: The workspace.
        shards: Shards folder or URL; the workspace's by default.
        init: See `models.weights.find_weights`; the workspace's run "pretrain" by default; "none"
            starts from random weights.
        out: Run folder; ``runs/<name>`` of the workspace by default.
        name: Name of the run; the task's by default.
        resume: "auto", "never" or a checkpoint.
        langs: Languages to learn; those without a training report are left out.
        data: Settings of the stream, over the pretraining's image size and fit. With ``views`` 2 the
            samples of "report" are studies of one or two images; all that counts images counts those.
        encoder: Shape of the encoder when ``init`` is "none"; else the checkpoint says it, and
            a note names what was given in vain.
        decoder: Size of the report decoder.
        head: Head of the classifier.
        dense: Size of the decoder of masks and boxes.
        segment: What is outlined.
        detect: What boxes are drawn around.
        labels: What is made of labels that their source calls uncertain.
        vqa: Fused encoder of question answering, where ``init`` is no pretraining by ``m3ae``.
        questions: JSON lines with ``image_id``, ``question``, ``answer`` and maybe ``kind`` (open,
            closed) and ``lang``, for "vqa".
        label_budget: Share of the training patients that a classifier learns from, in (0, 1]; of the
            same seed a smaller share lies within a larger. Validation stays whole.
        lora: Low-rank adapters on the encoder instead of training all of it; needs the extra "lora".
        drop_path: Chance of leaving out a branch of the encoder's last block while training, falling
            to 0 towards the first, in [0, 1); see `models.vit.set_drop_path`.
        optim: Optimizer and schedule.
        batch: Images of one update, over all processes.
        epochs: How often every image is seen, when ``steps`` is 0.
        steps: Updates; 0 takes them from ``epochs``.
        seed: All chance comes from it.
        freeze: "encoder" trains only what is new.
        validate_every: Updates between validations; 0 for the end only.
        validate_samples: Images of the validation split that are used while training.
        save_every: Updates between checkpoints.
        keep_last: Checkpoints that stay, besides the best.
        keep_every: Checkpoints after a multiple of so many updates stay for ever; 0 for none.
        log_every: Updates between lines of the log.
        loggers: Beside TensorBoard: "wandb", "mlflow".
        cache: How shards at a URL are copied to a local disk.
        machine: Device, processes, precision.
    """

    task: Literal["report", "classify", "segment", "detect", "vqa"] = "report"
    work: Path = field(default_factory=default_work)
    shards: str | Path | None = None
    init: Path | None = None
    out: Path | None = None
    name: str | None = None
    resume: str = "auto"
    langs: tuple[str, ...] = LANGUAGES
    data: dict[str, Any] = field(default_factory=dict)
    encoder: VitConfig = field(default_factory=VitConfig)
    decoder: DecoderConfig = field(default_factory=DecoderConfig)
    head: HeadConfig = field(default_factory=HeadConfig)
    dense: DenseConfig = field(default_factory=DenseConfig)
    segment: SegmentConfig = field(default_factory=SegmentConfig)
    detect: DetectConfig = field(default_factory=DetectConfig)
    labels: LabelConfig = field(default_factory=LabelConfig)
    vqa: VqaConfig = field(default_factory=VqaConfig)
    questions: Path | None = None
    label_budget: float = 1.0
    lora: LoraConfig = field(default_factory=LoraConfig)
    drop_path: float = 0.0
    optim: OptimConfig = field(default_factory=lambda: OptimConfig(lr=1e-4, beta2=0.999, layer_decay=0.75))
    batch: int = 64
    steps: int = 0
    epochs: float = 30.0
    seed: int = 0
    freeze: Literal["none", "encoder"] = "none"
    validate_every: int = 500
    validate_samples: int = 512
    save_every: int = 500
    keep_last: int = 1
    keep_every: int = 0
    log_every: int = 20
    loggers: tuple[str, ...] = ()
    cache: CacheConfig = field(default_factory=CacheConfig)
    machine: MachineConfig = field(default_factory=MachineConfig)

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            UsageError: If a value is out of range.
        """
        unknown = [lang for lang in self.langs if lang not in LANGUAGES]
        if unknown or not self.langs:
            raise UsageError(f"langs is {list(self.langs)}", f"wanted some of {', '.join(LANGUAGES)}")
        for name in ("batch", "validate_samples"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} is {getattr(self, name)}", "wanted at least 1")
        if not 0 < self.label_budget <= 1:
            raise UsageError(f"label_budget is {self.label_budget}", "wanted a share above 0 and up to 1")
        if not 0 <= self.drop_path < 1:
            raise UsageError(f"drop_path is {self.drop_path}", "wanted from 0 to below 1")
        if self.task != "classify" and (self.label_budget, self.labels) != (1.0, LabelConfig()):
            raise UsageError("label_budget and labels.* are for classify", f"the task is {self.task}")
        if self.data.get("views", 1) != 1 and self.task != "report":
            raise UsageError("data.views is for report", f"the task is {self.task}", "Leave it out.")
        if self.lora.rank and self.freeze == "encoder":
            raise UsageError("lora.rank is given with freeze=encoder", "adapters are in the encoder")
        if (self.task == "vqa") != (self.questions is not None):
            raise UsageError(
                "questions are for vqa, which needs them",
                f"task is {self.task}, questions {self.questions}",
                "Say `xraytk finetune vqa --set questions=FILE`, JSON lines of image_id, question, answer.",
            )
        check_length(self.steps, self.epochs)
        check_name(self.name or self.task)
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
            validate_every=self.validate_every,
            seed=self.seed,
            machine=self.machine,
        )

    @property
    def folder(self) -> Path:
        """The run folder."""
        return self.out or Workspace(self.work).runs / (self.name or self.task)


@dataclass(frozen=True, slots=True)
class FinetuneResult:
    """What came of it.

    Args:
        run: Run folder; the model is in its sub-folder ``best``.
        task: As in the config.
        init: Where the encoder comes from; "" for random weights.
        steps: Updates done.
        samples: Images of the training split.
        first_loss: First logged loss.
        last_loss: Last logged loss.
        best_step: Update whose state was kept; the last one without a validation split.
        validation: Scores of the last validation; of the best one when nothing was left to do.
        img_per_s: Images a second in this call without its first step, as in the progress and the log;
            0 when nothing was left to do.
        parameters_trained: Numbers that learned; all others stayed as they were.
        skipped: Broken images that were left out, listed in skipped.jsonl.
        seconds: Time of this call.
        page: The run as a page to look at.
    """

    run: Path
    task: str
    init: str
    steps: int
    samples: int
    first_loss: float
    last_loss: float
    best_step: int
    validation: dict[str, float]
    img_per_s: float
    parameters_trained: int
    skipped: int
    seconds: float
    page: Path


def run(config: FinetuneConfig, progress: Progress | None = None) -> FinetuneResult:
    """Finetune a task.

    Args:
        config: Settings.
        progress: Where to report to.

    Raises:
        DataError: If there are no shards, reports or labels, or the weights do not fit.
        UsageError: If a batch is more than the training images, or processes cannot share it.
        RunConflictError: If the run folder is in use or holds a run of another config.
        InterruptedRunError: After SIGTERM or SIGINT, when the state is saved.
    """
    return launch(_train, config, config.machine, progress)


def resolve(
    config: FinetuneConfig, old: Mapping[str, Any] | None = None
) -> tuple[FinetuneConfig, Path | None]:
    """Fill in what the checkpoint decides: shape of the encoder, size and fit of the images.

    Args:
        config: As given.
        old: From `started_as`: the checkpoint decided once, and is not read again.

    Returns:
        The config that is saved with the run, and the checkpoint; None for random weights.

    Raises:
        DataError: If there is no pretraining to start from.
    """
    init, data = config.init, dict(config.data)
    if init == SCRATCH:
        stream = build(StreamConfig, {"image_px": config.encoder.image_px, **data}, "data.")
        encoder = replace(config.encoder, image_px=stream.image_px)
        return replace(config, data=to_dict(stream), encoder=encoder), None
    init = init or Workspace(config.work).runs / "pretrain"
    if old:
        decided = {key: old["data"][key] for key in ("image_px", "fit")}
        stream = build(StreamConfig, {**decided, **data}, "data.")
        encoder = build(VitConfig, old["encoder"], "encoder.")
        return replace(config, data=to_dict(stream), encoder=encoder), init
    if config.init is None and not checkpoints(init):
        raise DataError(
            f"there is no pretraining to start from: {init} holds no checkpoint",
            todo="Run `xraytk pretrain` first, give one with --init, or start from random weights "
            "with --init none.",
        )
    encoder, fit = encoder_config(init), fit_of(find_weights(init))
    usual = {"image_px": encoder.image_px, **({"fit": fit} if fit else {})}
    stream = build(StreamConfig, {**usual, **data}, "data.")
    encoder = started_from(replace(encoder, image_px=stream.image_px, seen_grid=None), init)
    return replace(config, data=to_dict(stream), encoder=encoder), init


def _train(config: FinetuneConfig, progress: Progress) -> FinetuneResult:
    """Body of the verb on one process."""
    began = time.monotonic()
    old = started_as(config.folder, config.resume, config.init)
    given, (config, init) = config.encoder, resolve(config, old)
    _note_unused(given, config.encoder, progress)
    with contextlib.ExitStack() as stack:
        if distributed.is_main():
            stack.enter_context(folder_lock(config.folder))
        skipped = SkipList(config.folder / SKIPPED)
        chosen = _chosen(config, skipped, progress)
        learner = _learner(config, skipped, progress, chosen)
        train = _stream(config, "train", learner, skipped, chosen)
        val = _validation(config, learner, skipped, progress)
        check_batch(config.batch, train.count)
        made_of = _inputs(config, old, train, init)
        state = {**to_dict(config), **shown(config.shards), INPUTS: made_of}
        resume_from = prepare(config.folder, state, config.resume)
        fresh = init if resume_from is None else None
        if distributed.is_main():
            index = read_index(config.shards or Workspace(config.work).shards, config.cache)
            start = find_weights(fresh) if fresh else None
            going_on = resume_from is not None
            if shared := trained_on.write(config.folder, index, start, going_on=going_on):
                progress.note(trained_on.warning(shared))
        if resume_from is None:
            _start(config.folder, learner, init, progress)
        trained = _adapt(config, learner, init, progress)
        plain = copy.deepcopy(learner) if config.machine.sharding == "fsdp" else learner
        done = _fit(config, state, learner, train, val, resume_from, progress)
        best = _export(config, plain, done, val)
        distributed.barrier()
        left_out = skipped.settle() if distributed.is_main() else 0
    return FinetuneResult(
        run=config.folder,
        task=config.task,
        init=str(init or ""),
        steps=done.steps,
        samples=train.count,
        first_loss=done.first_loss,
        last_loss=done.last_loss,
        best_step=best,
        validation=done.validation or _best_metrics(config, done),
        img_per_s=done.img_per_s,
        parameters_trained=trained,
        skipped=left_out,
        seconds=round(time.monotonic() - began, 1),
        page=config.folder / PAGE,
    )


def _note_unused(given: VitConfig, used: VitConfig, progress: Progress) -> None:
    """Say which values of ``encoder`` count for nothing; presets give them for ``init`` "none" too."""
    usual, given_tree, used_tree = (to_dict(each) for each in (VitConfig(), given, used))
    usable = [key for key in given_tree if key in used_tree]
    unused = [key for key in usable if given_tree[key] not in (used_tree[key], usual.get(key))]
    if unused:
        pairs = ", ".join(f"{key} {used_tree[key]} (given: {given_tree[key]})" for key in unused)
        progress.note(f"encoder.*: the checkpoint decides: {pairs}; what is given is for --init none")


def _start(folder: Path, learner: Task, init: Path | None, progress: Progress) -> None:
    if init is None:
        progress.note("encoder: random weights")
        return
    write_report(folder, init, load_encoder(learner.encoder, init), progress)
    if isinstance(learner, VqaTask):
        fused = find_fused(init)
        progress.note(load_fused(learner, fused) if fused else "text encoder and fusion: random weights")


def _adapt(config: FinetuneConfig, learner: Task, init: Path | None, progress: Progress) -> int:
    """Put adapters into the encoder where they are asked for; return how many numbers learn."""
    layers = adapters.adapt(learner.encoder, config.lora, config.seed) if config.lora.rank else 0
    (own, _), (count, total) = adapters.trained(learner.encoder), adapters.trained(learner)
    if layers:
        progress.note(f"lora: rank {config.lora.rank} on {layers} layers, {own:,} parameters of the encoder")
    if init is None and (layers or config.freeze == "encoder"):
        progress.note(
            "the encoder's random weights stay as they are: give an encoder that was trained by --init"
        )
    progress.note(f"{count:,} of {total:,} parameters are trained")
    return count


def _inputs(
    config: FinetuneConfig, old: Mapping[str, Any], train: Stream, init: Path | None
) -> dict[str, str]:
    made_of, first = {"shards": train.fingerprint}, config.labels.uncertain_from
    if init is not None:
        made_of["init"] = old[INPUTS]["init"] if old else sha256_of(find_weights(init))
    if first is not None:
        made_of["uncertain_from"] = sha256_of(find_weights(first / "best"))
    if config.questions is not None:
        made_of["questions"] = sha256_of(config.questions)
    return made_of


def _fit(
    config: FinetuneConfig,
    state: dict[str, Any],
    learner: Task,
    train: Stream,
    val: Stream | None,
    resume_from: Path | None,
    progress: Progress,
) -> FitResult:
    def batches(step: int) -> Iterator[Batch]:
        return train.training(
            batch=config.batch,
            micro_batch=micro_batch_of(config.batch, config.machine),
            start_step=step,
            rank=distributed.rank(),
            world=distributed.world(),
            workers=config.machine.workers,
        )

    def validate(shown: Any) -> dict[str, float]:
        limit = -(-config.validate_samples // VALIDATION_BATCH)
        return cast(Task, shown).validate(itertools.islice(_once(val, config), limit)) if val else {}

    plan = config.plan(train.count)
    resumed = int(read_state(resume_from)["step"]) if resume_from else 0
    watch = _watch(config, state, learner, train, val, plan.steps, progress)
    with showing(watch, config.folder, resumed):
        return fit(
            learner,
            batches,
            plan,
            config.folder,
            config=state,
            name=f"finetune {config.task}",
            progress=progress,
            resume_from=resume_from,
            figures=Painter(config.folder, plan.steps),
            validate=validate if val else None,
            watch=watch,
        )


def _watch(
    config: FinetuneConfig,
    state: dict[str, Any],
    learner: Task,
    train: Stream,
    val: Stream | None,
    steps: int,
    progress: Progress,
) -> Watch:
    """Who is told how the run goes, and what there is to tell before its first step."""
    flops = _train_flops(config, learner, train)
    about = {
        "verb": "finetuning",
        "name": config.name or config.task,
        "trained": f"Task {config.task}",
        "parameters": sum(p.numel() for p in learner.parameters()),
        "encoder_parameters": sum(p.numel() for p in learner.encoder.parameters()),
        "encoder": to_dict(config.encoder),
        "flops_per_image": flops,
        "init": "random weights" if config.init == SCRATCH else "a pretrained encoder",
        "images": {"train": train.count, **({"val": val.count} if val else {})},
        "shards": train.fingerprint,
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


def _train_flops(config: FinetuneConfig, learner: Task, train: Stream) -> float:
    """Operations of one image in training; a frozen encoder has no backward pass."""
    found = 0.0
    if distributed.is_main() and (batch := next(train.once(batch=FLOPS_IMAGES), None)) is not None:
        batch = batch.to(next(learner.parameters()).device)
        with torch.random.fork_rng(devices=[]), distributed.alone():
            chance, count = Chance(config.seed), len(batch.image_id)
            forward = count_flops(lambda: learner(batch, chance)) / count
            frozen = config.freeze == "encoder"
            image = normalise(batch.image, config.encoder.channels)
            own = count_flops(lambda: learner.encoder(image)) / count if frozen else 0.0
            own *= learner.views if isinstance(learner, ReportTask) else 1
            found = 3 * forward - 2 * own
    return distributed.gather(found)[0]


def _stream(
    config: FinetuneConfig, split: str, learner: Task, skipped: SkipList, chosen: Chosen = ALL
) -> Stream:
    return Stream(
        config.shards or Workspace(config.work).shards,
        split,
        build(StreamConfig, config.data, "data."),
        seed=config.seed,
        needs=learner.needs | ({"patient_hash"} if split == "val" else set()),
        labels=learner.labels if isinstance(learner, ClassifyTask | DetectTask) else None,
        uncertain=chosen.uncertain,
        only=chosen.only,
        device=device_of(config.machine),
        skipped=skipped,
        cache=config.cache,
    )


def _validation(
    config: FinetuneConfig, learner: Task, skipped: SkipList, progress: Progress
) -> Stream | None:
    if len(read_index(config.shards or Workspace(config.work).shards, config.cache).rows("val")):
        return _stream(config, "val", learner, skipped)
    progress.note("there is no validation split: the last state is kept, and nothing is fitted")
    return None


def _once(val: Stream, config: FinetuneConfig) -> Iterator[Batch]:
    return val.once(batch=VALIDATION_BATCH, workers=config.machine.workers)


def _learner(config: FinetuneConfig, skipped: SkipList, progress: Progress, chosen: Chosen = ALL) -> Task:
    """Build the task with fresh weights that depend on the seed alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        if config.task == "report":
            task: Task = _report_task(config, skipped, progress)
        elif config.task == "segment":
            task = _segment_task(config, skipped, progress)
        elif config.task == "detect":
            task = _detect_task(config, skipped, progress)
        elif config.task == "vqa":
            task = _vqa_task(config, chosen, progress)
        else:
            task = _classify_task(config, skipped, chosen)
    if config.freeze != "encoder":
        set_drop_path(task.encoder.blocks, config.drop_path)
    return task


def _chosen(config: FinetuneConfig, skipped: SkipList, progress: Progress) -> Chosen:
    """Which training images a classifier learns from, and what stands for uncertain labels."""
    if config.questions is not None:
        return Chosen(frozenset(question.image_id for question in read_questions(config.questions)))
    if config.task != "classify":
        return ALL
    device = device_of(config.machine)

    def stream(data: StreamConfig | None = None, **more: Any) -> Stream:
        return _train_split(config, skipped, data, device=device if data else torch.device("cpu"), **more)

    only = images_of(config.label_budget, config.seed, stream)
    if only is not None:
        budget = f", of a label_budget of {config.label_budget:g}" if config.label_budget < 1 else ""
        progress.note(f"{len(only):,} training images with a label{budget}")
    return Chosen(only, stand_in(config.labels, only, stream, config.folder, device, progress))


def _texts(config: FinetuneConfig, needs: str, skipped: SkipList, chosen: Chosen = ALL) -> Stream:
    """The training split without its images."""
    return _train_split(
        config, skipped, needs=frozenset({needs}), only=chosen.only, uncertain=chosen.uncertain
    )


def _train_split(
    config: FinetuneConfig, skipped: SkipList, data: StreamConfig | None = None, **more: Any
) -> Stream:
    """The training split; without ``data`` nobody wants its images."""
    same = {key: config.data[key] for key in ("skip_bad", "views") if key in config.data}
    data = replace(data or StreamConfig(image_px=1), **same)
    shards = config.shards or Workspace(config.work).shards
    return Stream(shards, "train", data, skipped=skipped, cache=config.cache, **more)


def _report_task(config: FinetuneConfig, skipped: SkipList, progress: Progress) -> ReportTask:
    """Collect the vocabulary of the training reports, and build the task."""
    stream = _texts(config, "reports", skipped)
    views = config.data.get("views", 1)
    if views > 1:
        _check_pairs(stream, progress)
    texts = reports_of(stream, config.langs)
    samples = "images" if views == 1 else "studies"
    for lang, found in texts.items():
        progress.note(f"{len(found):,} of {stream.count:,} training {samples} have a report in {lang}")
    langs = [lang for lang in config.langs if texts[lang]]
    decoder = config.decoder
    wanted = (decoder.vocabulary, texts, langs, decoder.min_count, decoder.pieces)
    vocabulary = vocabularies.build(*wanted)
    frozen = config.freeze == "encoder"
    return ReportTask(config.encoder, config.decoder, vocabulary, langs, frozen=frozen, views=views)


def _check_pairs(stream: Stream, progress: Progress) -> None:
    """Say how many training studies have a second image; two views of none are a mistake."""
    progress.note(f"{stream.pairs:,} of {stream.count:,} training studies have a second image")
    if not stream.pairs:
        raise DataError(
            "no training study has a second image",
            f"data.views is 2, and each of {stream.count:,} studies has one image in the shards",
            "Lateral images are left out of shards unless asked for: "
            """`xraytk shard --set 'views=["PA","AP","UNKNOWN","LATERAL"]'`.""",
        )


def _vqa_task(config: FinetuneConfig, chosen: Chosen, progress: Progress) -> VqaTask:
    """Collect words and answers of the training questions, and build the task."""
    assert config.questions is not None
    questions = read_questions(config.questions)
    index = read_index(config.shards or Workspace(config.work).shards, config.cache)
    here = {bytes(name).decode() for name in index.image_id[index.rows("train")]}
    train = [question for question in questions if question.image_id in here]
    refuse_strange(questions, len(train), "train", config.questions)
    answers = answers_of(train)
    progress.note(f"{len(train):,} questions about training images, {len(answers):,} different answers")
    fused = find_fused(
        None if config.init == SCRATCH else config.init or Workspace(config.work).runs / "pretrain"
    )
    sizes = fused.config(config.vqa) if fused else config.vqa
    words = None if sizes.text.model else with_words(fused.vocabulary if fused else None, train)
    task = VqaTask(config.encoder, sizes, words, answers, frozen=config.freeze == "encoder")
    return task.ask(questions)


def _classify_task(config: FinetuneConfig, skipped: SkipList, chosen: Chosen) -> ClassifyTask:
    """Count how often each label is present in the training split, and build the task."""
    stream = _texts(config, "labels", skipped, chosen)
    frozen = config.freeze == "encoder"
    return ClassifyTask(config.encoder, config.head, stream.labels, rates_of(stream), frozen=frozen)


def _segment_task(config: FinetuneConfig, skipped: SkipList, progress: Progress) -> SegmentTask:
    """Count the contours of the training split, and build the task."""
    classes = config.segment.classes
    stream = _texts(config, "outlines", skipped)
    for name, count in check_outlines(stream, classes).items():
        progress.note(f"{count:,} of {stream.count:,} training images have a contour {name}")
    return SegmentTask(config.encoder, config.dense, classes, frozen=config.freeze == "encoder")


def _detect_task(config: FinetuneConfig, skipped: SkipList, progress: Progress) -> DetectTask:
    """Count the boxes of the training split, and build the task."""
    counts = count_boxes(_texts(config, "boxes", skipped), config.detect.labels)
    progress.note("boxes: " + ", ".join(f"{name} {count:,}" for name, count in counts.items()))
    return DetectTask(
        config.encoder, config.dense, config.detect, list(counts), frozen=config.freeze == "encoder"
    )


def _export(config: FinetuneConfig, learner: Task, done: FitResult, val: Stream | None) -> int:
    """Write ``best/`` from the best checkpoint, unless it is that already; return its step.

    Its time tells which run is the newest, so that looking at a finished run must not touch it.
    """
    step = done.best_step or done.steps
    checkpoint = config.folder / f"step-{step:08d}"
    if distributed.is_main() and not _is_exported(
        config.folder / "best", made_of := _made_of(checkpoint, val)
    ):
        load_model(learner, checkpoint)
        learner.to(device_of(config.machine))
        facts: dict[str, Any] = {
            "step": step,
            "data": {key: config.data[key] for key in ("image_px", "fit")},
            "fitted_on": "val" if val else "",
            INPUTS: made_of,
            **_asked(config, learner),
            **(learner.fitted(_once(val, config)) if val else {}),
        }
        if done.best_step is not None:
            facts["validation"] = _best_metrics(config, done)
        if config.lora.rank:
            adapters.save(learner.encoder, config.lora, config.folder / ADAPTER)
            adapters.merge(learner.encoder)
        saved.save(config.folder / "best", learner, facts)
    distributed.barrier()
    return step


def _asked(config: FinetuneConfig, learner: Task) -> dict[str, Any]:
    """What `evaluate` has to know of the training questions."""
    if config.questions is None or not isinstance(learner, VqaTask):
        return {}
    index = read_index(config.shards or Workspace(config.work).shards, config.cache)
    here = {bytes(name).decode() for name in index.image_id[index.rows("train")]}
    train = [question for question in read_questions(config.questions) if question.image_id in here]
    return {"questions": str(config.questions.resolve()), "most_frequent": most_frequent(train)}


def _made_of(checkpoint: Path, val: Stream | None) -> dict[str, str]:
    return {"weights": sha256_of(find_weights(checkpoint)), "val": val.fingerprint if val else ""}


def _is_exported(best: Path, made_of: dict[str, str]) -> bool:
    """Whether ``best`` is whole and was made of these weights and this validation split."""
    if not all((best / name).is_file() for name in ("config.json", "model.safetensors")):
        return False
    return bool(read_json(best / "config.json", "xraytk finetune")["facts"].get(INPUTS) == made_of)


def _best_metrics(config: FinetuneConfig, done: FitResult) -> dict[str, float]:
    """Scores of the best state on the validation split; {} when there is none."""
    if done.best_step is None:
        return {}
    metrics: dict[str, float] = read_json(config.folder / "best.json", "xraytk finetune")["metrics"]
    return metrics
