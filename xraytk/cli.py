"""The command line: flags to a Config, the verb's `run`, one summary.

The only file that knows typer and rich. A command opens no file and loops over nothing, and
imports its verb only when it is called, so that ``xraytk --help`` answers at once.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import json
import os
import signal
import sys
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from types import FrameType, TracebackType
from typing import Annotated, Any, Self

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Task as BarState
from rich.text import Text

import xraytk
from xraytk.errors import InterruptedRunError, MachineError, UsageError, XraytkError, unexpected
from xraytk.progress import Lines, describe
from xraytk.records import RESEARCH_NOTICE, as_plain

app = typer.Typer(
    name="xraytk",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    pretty_exceptions_show_locals=False,
    rich_markup_mode="rich",
    help=(
        "From a folder of chest radiographs (DICOM) to a foundation model, reports in English and Chinese, "
        "and diagnoses.\n\nThe verbs run one after the other in one workspace (--work, $XRAYTK_WORK, or "
        "./xraytk-work): ingest, mask, curate, shard, pretrain, finetune, evaluate, report; and export, "
        "embed for other tools. "
        "`xraytk demo` walks the whole road on synthetic images.\n\n" + RESEARCH_NOTICE["en"]
    ),
)

Workers = Annotated[
    int | None, typer.Option("--workers", min=0, help="Worker processes; 0 chooses by cores.")
]
Readers = Annotated[
    int | None, typer.Option("--workers", min=0, help="Threads a process that read and decode ahead.")
]
SkipBad = Annotated[
    bool | None,
    typer.Option("--skip-bad", help="Replace and list broken samples instead of ending."),
]
Device = Annotated[str | None, typer.Option("--device", help="auto, cuda or cpu.")]
Checkpoint = Annotated[
    Path | None,
    typer.Option(
        "--checkpoint",
        help="A run, step folder, export or .safetensors file; the newest pretraining by default.",
    ),
]
Init = Annotated[
    Path | None,
    typer.Option(
        "--init",
        help="Start from these weights (not a resume): a run, step folder, export, .safetensors file or "
        "timm:NAME.",
    ),
]
Shards = Annotated[str | None, typer.Argument(help="A shards folder or URL; the workspace's by default.")]
Name = Annotated[str | None, typer.Option(help="Name of the run's folder.")]
Resume = Annotated[
    str | None, typer.Option("--resume", help="auto (go on where a run stopped), never, or a checkpoint.")
]
Gpus = Annotated[int | None, typer.Option("--gpus", min=1, help="Processes, one a GPU (or --device cpu).")]
Steps = Annotated[int | None, typer.Option("--steps", min=1, help="Optimizer steps; overrides --epochs.")]
Epochs = Annotated[float | None, typer.Option("--epochs", min=0.0, help="Passes over the training split.")]
Batch = Annotated[int | None, typer.Option("--batch", min=1, help="Global batch: all processes together.")]
Lr = Annotated[float | None, typer.Option("--lr", min=0.0, help="Peak learning rate.")]

Loggers = Annotated[
    list[str] | None,
    typer.Option("--logger", help="Beside TensorBoard: wandb or mlflow. Repeatable."),
]

Work = Annotated[
    Path | None,
    typer.Option(
        "--work", help="The workspace all verbs share.  \\[default: $XRAYTK_WORK, else xraytk-work]"
    ),
]
Out = Annotated[Path | None, typer.Option("--out", help="Write here instead of into the workspace.")]


class Task(StrEnum):
    """What a finetuned model does."""

    report = "report"
    classify = "classify"
    segment = "segment"
    detect = "detect"
    vqa = "vqa"


_LANGUAGE = ("retrieval", "zero-shot", "grounding", "similar")


def _common(
    preset: Annotated[
        str | None,
        typer.Option(help="Named settings: tiny (CPU), recommended, paper, vit-s, vit-b, vit-l, ..."),
    ] = None,
    config: Annotated[Path | None, typer.Option(help="A TOML file with the verb's settings.")] = None,
    sets: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Any setting, as in optim.lr=1e-4. Repeatable."),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the result as exactly one JSON object.")
    ] = False,
    show_config: Annotated[
        bool, typer.Option("--show-config", help="Print all settings as TOML and stop.")
    ] = False,
) -> None:
    """The options that every verb has; only the signature is used."""


def _verb(config: str, example: str) -> Callable[[Callable[..., dict[str, Any]]], Callable[..., None]]:
    """Make a command of a function that turns its flags into config keys.

    Args:
        config: "module:Class" of the verb's config.
        example: Shown under the help.
    """

    def decorate(flags_of: Callable[..., dict[str, Any]]) -> Callable[..., None]:
        own = inspect.signature(flags_of, eval_str=True).parameters
        shared = inspect.signature(_common, eval_str=True).parameters

        @functools.wraps(flags_of)
        def command(**given: Any) -> None:
            common = {name: given.pop(name) for name in shared}
            _run(config, flags_of(**given), **common)

        every = [*own.values(), *shared.values()]
        command.__signature__ = inspect.Signature(every)  # type: ignore[attr-defined]
        command.__annotations__ = {p.name: p.annotation for p in every}
        app.command(epilog=f"Example: {example}")(command)
        return command

    return decorate


def _run(
    target: str,
    flags: dict[str, Any],
    *,
    preset: str | None,
    config: Path | None,
    sets: list[str] | None,
    as_json: bool,
    show_config: bool,
) -> None:
    """Build the config, run the verb, print its result; turn errors into exit codes."""
    from xraytk import config as configs

    verb, _, class_name = target.partition(":")
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        module = importlib.import_module(f"xraytk.{verb}")
        made = configs.load(
            getattr(module, class_name), preset=preset, file=config, sets=sets or (), flags=flags
        )
        if show_config:
            made = module.resolved(made) if hasattr(module, "resolved") else made
            print(configs.to_toml(made), end="")
            return
        if getattr(made, "show_paths", False) and not sys.stderr.isatty():
            raise UsageError(
                "--show-paths names files, which may name patients",
                "it writes to a terminal only, found a file or pipe",
                "Leave it out; `image_id` and `source_hash` find the file in the map beside the key.",
            )
        with _Bar() if sys.stderr.isatty() else Lines() as progress:
            result = module.run(made, progress)
        if as_json:
            print(json.dumps(as_plain(result), ensure_ascii=False))
        else:
            _show(result)
    except XraytkError as error:
        _fail(error, as_json)
    except KeyboardInterrupt:
        _fail(
            InterruptedRunError(f"{verb} was interrupted", todo="Run the same command again to go on."),
            as_json,
        )
    except MemoryError:
        _fail(
            MachineError(f"{verb} ran out of memory", todo="Use fewer --workers or a smaller batch."), as_json
        )
    except Exception as error:
        _fail_unexpectedly(error, as_json)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


class _Stop(SystemExit):
    """The end after an error that has been explained."""


def _fail(error: XraytkError, as_json: bool) -> None:
    print(f"error: {error}", file=sys.stderr)
    if as_json:
        print(json.dumps({"error": str(error), "exit_code": error.exit_code}, ensure_ascii=False))
    raise _Stop(error.exit_code)


def _fail_unexpectedly(error: Exception, as_json: bool) -> None:
    if os.environ.get("XRAYTK_DEBUG"):
        raise error
    _fail(unexpected(error), as_json)


class _Bar:
    """Progress bars on a terminal, on standard error."""

    def __init__(self) -> None:
        self._console = Console(stderr=True)
        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=20),
            TextColumn("{task.completed:,.0f}/{task.fields[of]} {task.fields[unit]}"),
            TextColumn("{task.fields[facts]}"),
            TimeElapsedColumn(),
            _Left(),
            console=self._console,
        )

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    def task(self, name: str, total: int | None, unit: str = "images") -> _BarTask:
        of = f"{total:,}" if total is not None else "?"
        return _BarTask(self._bars, self._bars.add_task(name, total=total, of=of, unit=unit, facts=""))

    def note(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False)


class _Left(TimeRemainingColumn):
    """Time left: as the work itself says, else by the speed of the bar."""

    def render(self, task: BarState) -> Text:
        said = task.fields.get("left")
        return super().render(task) if said is None else Text(str(said), style="progress.remaining")


class _BarTask:
    def __init__(self, bars: Progress, number: TaskID) -> None:
        self._bars, self._number = bars, number

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop_task(self._number)

    def update(self, done: int, **facts: object) -> None:
        left = facts.pop("left", None)
        self._bars.update(self._number, completed=done, facts="  ".join(describe(facts)), left=left)


def _show(result: Any) -> None:
    """Print a result's own lines, or else its fields as aligned "name  value" lines."""
    console = Console(soft_wrap=True)
    lines = result.lines() if hasattr(result, "lines") else _fields(as_plain(result))
    for line in lines:
        console.print(line, markup=False, highlight=False)


def _fields(plain: dict[str, Any]) -> list[str]:
    """Fields of a result as lines; empty ones are left out."""
    wide = max(len(name) for name in plain)
    return [
        f"{name.replace('_', ' ') if i == 0 else '':<{wide}}  {line}"
        for name, value in plain.items()
        for i, line in enumerate(_lines(value))
    ]


def _lines(value: Any) -> list[str]:
    if value is None or value in ("", [], {}):
        return []
    if isinstance(value, dict):
        if any(isinstance(v, dict | list) for v in value.values()):
            return [f"{k}: {', '.join(_lines(v))}" for k, v in value.items()]
        return [", ".join(f"{k} {_lines(v)[0]}" for k, v in value.items() if _lines(v))]
    if isinstance(value, list):
        return [str(v) for v in value]
    if isinstance(value, float):
        return [f"{value:.4g}"]
    return [f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)]


def _version(wanted: bool) -> None:
    if wanted:
        print(f"xraytk {xraytk.__version__}")
        raise typer.Exit


@app.callback()
def _top(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and stop.")
    ] = False,
) -> None:
    """Options before the verb."""


@_verb("ingest:IngestConfig", "xraytk ingest ./dicoms --reports reports.csv --labels labels.csv")
def ingest(
    source: Annotated[
        str | None,
        typer.Argument(help="Folder, file, DICOMDIR, zip, tar or URL (s3://...) of DICOM or PNG/JPEG/TIFF."),
    ] = None,
    files_from: Annotated[
        str | None, typer.Option(help="Instead: a list of paths, one a line; - is standard input.")
    ] = None,
    layout: Annotated[
        str | None,
        typer.Option(help="A public set: nih, chexpert, mimic, padchest, vindr, rsna, openi, r2gen."),
    ] = None,
    reports: Annotated[
        Path | None, typer.Option(help="CSV or JSONL of reports, keyed by file, accession or study UID.")
    ] = None,
    labels: Annotated[Path | None, typer.Option(help="CSV or JSONL of labels, keyed likewise.")] = None,
    boxes: Annotated[
        Path | None,
        typer.Option(help="Table of boxes, keyed likewise: x, y, width, height (original pixels), label."),
    ] = None,
    metadata: Annotated[
        Path | None, typer.Option(help="CSV about plain pictures: file, patient, view, sex, age, split.")
    ] = None,
    key: Annotated[
        Path | None, typer.Option(help="Secret key of the hashed ids; made once, kept outside the output.")
    ] = None,
    max_px: Annotated[int | None, typer.Option(min=32, help="Long side at most, in pixels.")] = None,
    burned_in: Annotated[
        str | None, typer.Option(help="Text found in the pixels: blank (default), reject or keep.")
    ] = None,
    crop: Annotated[bool | None, typer.Option("--crop", help="Cut collimated borders off.")] = None,
    write_dicom: Annotated[
        bool | None, typer.Option("--write-dicom", help="Write de-identified DICOM files too.")
    ] = None,
    show_paths: Annotated[
        bool | None, typer.Option("--show-paths", help="Name refused files, on this terminal only.")
    ] = None,
    engine: Annotated[str | None, typer.Option(help="local, or ray: a Ray cluster.")] = None,
    workers: Workers = None,
    work: Work = None,
    out: Annotated[str | None, typer.Option("--out", help="Folder or URL to write to.")] = None,
) -> dict[str, Any]:
    """Turn a folder of radiographs into clean, de-identified, documented training images."""
    return locals()


@_verb("mask:MaskConfig", "xraytk mask --overlays 200")
def mask(
    source: Annotated[
        Path | None, typer.Argument(help="An ingest folder; the workspace's by default.")
    ] = None,
    overlays: Annotated[int | None, typer.Option(min=0, help="How many overlay pictures to write.")] = None,
    review: Annotated[
        bool | None,
        typer.Option(
            "--review", help="Look at the contours on a local web page, worst first, and mend them."
        ),
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(
            help="Of that page, on this machine only; over ssh forward it: ssh -L PORT:127.0.0.1:PORT HOST."
        ),
    ] = None,
    browser: Annotated[
        bool | None, typer.Option("--browser/--no-browser", help="Open that page in a browser, or not.")
    ] = None,
    imports: Annotated[
        list[Path] | None,
        typer.Option(
            "--import",
            help="Contours of LabelMe, COCO, CVAT, PNG masks, DICOM SEG or our table; file or folder. "
            "Repeatable.",
        ),
    ] = None,
    export: Annotated[
        str | None,
        typer.Option(help="Only write the contours to --out: labelme, coco, cvat, png, seg or table."),
    ] = None,
    masks: Annotated[
        Path | None, typer.Option(help="Masks folder that --export reads; the workspace's by default.")
    ] = None,
    label_map: Annotated[
        Path | None, typer.Option(help='JSON of imported labels: {"their label": "right_lung"}.')
    ] = None,
    key: Annotated[
        Path | None, typer.Option(help="Key of the ingest, to find images by their sources' names.")
    ] = None,
    show_paths: Annotated[
        bool | None, typer.Option("--show-paths", help="Name refused imports, on this terminal only.")
    ] = None,
    workers: Workers = None,
    work: Work = None,
    out: Out = None,
) -> dict[str, Any]:
    """Find the lungs of every frontal image; flag what looks wrong."""
    return locals()


@_verb("curate:CurateConfig", "xraytk curate --keep 0.25")
def curate(
    source: Annotated[
        Path | None, typer.Argument(help="An ingest folder; the workspace's by default.")
    ] = None,
    embeddings: Annotated[
        Path | None, typer.Option(help="Parquet of image_id and embedding; else statistics of the pixels.")
    ] = None,
    keep: Annotated[float | None, typer.Option(help="Share of the training images to keep.")] = None,
    prototypes: Annotated[int | None, typer.Option(min=1, help="How many crowds to look for.")] = None,
    outliers: Annotated[
        str | None, typer.Option(help="The farthest out: chests (keep what surely is one), keep or drop.")
    ] = None,
    duplicates: Annotated[
        str | None, typer.Option(help="Copies: patient (one of each patient's), all (one of any) or keep.")
    ] = None,
    decided: Annotated[
        Path | None, typer.Option(help="CSV of image_id and keep (1, 0): what a person decided.")
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Of the start of k-means.")] = None,
    workers: Workers = None,
    work: Work = None,
    out: Out = None,
) -> dict[str, Any]:
    """Choose an informative part of the training images: crowds thinned, the tail kept."""
    return locals()


@_verb("shard:ShardConfig", "xraytk shard --also-px 512    or    xraytk shard --verify")
def shard(
    source: Annotated[
        Path | None, typer.Argument(help="An ingest folder; the workspace's by default.")
    ] = None,
    masks: Annotated[Path | None, typer.Option(help="A masks folder; the workspace's by default.")] = None,
    codec: Annotated[
        str | None, typer.Option(help="tiff (8 bit, lossless), tiff16 or jpeg (--set quality=95).")
    ] = None,
    also_px: Annotated[
        int | None, typer.Option(min=1, help="Long side of a second, smaller image beside each.")
    ] = None,
    select: Annotated[
        Path | None, typer.Option(help="Only images that this table (image_id, keep) keeps.")
    ] = None,
    max_samples: Annotated[int | None, typer.Option(min=1, help="Images a shard.")] = None,
    verify: Annotated[
        bool | None, typer.Option("--verify", help="Only check every byte against the index.")
    ] = None,
    repair: Annotated[
        bool | None, typer.Option("--repair", help="Write again only what is not whole.")
    ] = None,
    workers: Workers = None,
    work: Work = None,
    out: Out = None,
) -> dict[str, Any]:
    """Pack images, contours, reports and labels into tar shards with an index."""
    return locals()


@_verb(
    "pretrain:PretrainConfig",
    "xraytk pretrain --preset tiny    or    xraytk pretrain --preset paper --gpus 8",
)
def pretrain(
    shards: Shards = None,
    name: Name = None,
    objective: Annotated[
        str | None, typer.Option(help="mae, clip, maco, mrm, m3ae, or package.module:Class of your own.")
    ] = None,
    resume: Resume = None,
    init: Init = None,
    select: Annotated[
        Path | None, typer.Option(help="A selection of `xraytk curate`: train on its images only.")
    ] = None,
    gpus: Gpus = None,
    device: Device = None,
    steps: Steps = None,
    epochs: Epochs = None,
    batch: Batch = None,
    lr: Lr = None,
    workers: Readers = None,
    loggers: Loggers = None,
    skip_bad: SkipBad = None,
    work: Work = None,
    out: Out = None,
) -> dict[str, Any]:
    """Pretrain an encoder, without labels, for one of five objectives.

    mae (the default): paint hidden patches; the mask follows the lungs.

    clip: tell which report of a batch belongs to which image.

    maco: mae, and a contrast with reports that weighs the patches seen.

    mrm: mae, and tell a report's hidden words with the image's help.

    m3ae: as mrm, image and report fused; tell whether they belong.

    All but mae read reports. Presets: paper (mae), clip, maco, mrm, m3ae.
    """
    return _training(locals())


@_verb("finetune:FinetuneConfig", "xraytk finetune report --preset tiny    or    xraytk finetune classify")
def finetune(
    task: Annotated[
        Task,
        typer.Argument(
            help="report (English and Chinese), classify (diseases), segment, detect or vqa (questions)."
        ),
    ],
    shards: Shards = None,
    name: Name = None,
    init: Init = None,
    resume: Resume = None,
    gpus: Gpus = None,
    device: Device = None,
    steps: Steps = None,
    epochs: Epochs = None,
    batch: Batch = None,
    lr: Lr = None,
    workers: Readers = None,
    loggers: Loggers = None,
    skip_bad: SkipBad = None,
    work: Work = None,
    out: Out = None,
) -> dict[str, Any]:
    """Train a model that writes reports, names diseases or answers questions, from the pretrained encoder."""
    return _training({**locals(), "task": task.value})


def _training(flags: dict[str, Any]) -> dict[str, Any]:
    """Put flags into the tables [optim] and [data], and let `--epochs` win over a preset."""
    flags["optim.lr"], flags["data.skip_bad"] = flags.pop("lr"), flags.pop("skip_bad")
    if flags["epochs"] is not None and flags["steps"] is None:
        flags["steps"] = 0  # else the preset's steps would win over the flag
    return _machine(flags)


def _machine(flags: dict[str, Any]) -> dict[str, Any]:
    """Put the flags of the table [machine] there."""
    for name in {"gpus", "device", "workers"} & flags.keys():
        flags[f"machine.{name}"] = flags.pop(name)
    return flags


@_verb(
    "evaluate:EvaluateConfig",
    "xraytk evaluate    or    xraytk evaluate report --predictions P.jsonl --references R.jsonl    or    "
    "xraytk evaluate A B    or    xraytk evaluate linear-probe --checkpoint RUN",
)
def evaluate(
    what: Annotated[
        str | None,
        typer.Argument(
            help="report, classify, segment, detect, vqa; of a pretraining linear-probe, knn, similar, "
            "retrieval, zero-shot, grounding; or A of A B. All runs by default."
        ),
    ] = None,
    against: Annotated[
        Path | None, typer.Argument(help="B: two runs, folders of results or files side by side.")
    ] = None,
    checkpoint: Annotated[
        Path | None,
        typer.Option(
            help="A finetuned run, else all of the workspace's; for probes what `embed --checkpoint` takes."
        ),
    ] = None,
    shards: Annotated[
        str | None, typer.Option(help="A shards folder or URL; the workspace's by default.")
    ] = None,
    compare: Annotated[
        list[str] | None,
        typer.Option(help="A probe's baselines: random (fresh weights), pixels (32 x 32). Repeatable."),
    ] = None,
    predictions: Annotated[
        Path | None, typer.Option(help="Anybody's: JSONL or CSV with image_id and text, or a column a label.")
    ] = None,
    references: Annotated[Path | None, typer.Option(help="The truth, keyed likewise.")] = None,
    validation: Annotated[
        Path | None,
        typer.Option(help="Predictions to fit thresholds and temperature on; else none is fitted."),
    ] = None,
    lang: Annotated[str | None, typer.Option(help="en or zh.")] = None,
    protocol: Annotated[str | None, typer.Option(help="full (whole references) or r2gen.")] = None,
    split: Annotated[str | None, typer.Option(help="test (once, at the end), val or train.")] = None,
    bootstrap: Annotated[
        int | None, typer.Option(min=0, help="Resamples over patients for intervals and tests.")
    ] = None,
    device: Device = None,
    work: Work = None,
    out: Out = None,
) -> dict[str, Any]:
    """Score finetuned runs on images they never saw, or anybody's predictions; compare two of them."""
    flags = _machine(locals())
    flags["probe.compare"] = flags.pop("compare")
    named = flags.pop("what")
    of_task = named in (*Task, "linear-probe", "knn", *_LANGUAGE)
    return {**flags, "task": named if of_task else None, "results": None if of_task else named}


@_verb(
    "export:ExportConfig",
    "xraytk export --license cc-by-nc-4.0    or    xraytk export --checkpoint runs/mine --format timm",
)
def export(
    checkpoint: Checkpoint = None,
    format: Annotated[str | None, typer.Option(help="timm, transformers or both.")] = None,  # noqa: A002
    license: Annotated[  # noqa: A002
        str | None, typer.Option(help="Of the weights, for the model card, as in cc-by-nc-4.0.")
    ] = None,
    about: Annotated[
        str | None, typer.Option(help="A sentence for the card: what the training images are.")
    ] = None,
    work: Work = None,
    out: Out = None,
) -> dict[str, Any]:
    """Write a trained encoder for timm and transformers, with a model card."""
    return locals()


@_verb("embed:EmbedConfig", "xraytk embed    or    xraytk embed ./dicoms --out features.parquet")
def embed(
    source: Annotated[
        str | None,
        typer.Argument(
            help="Images, an ingest folder, or shards (folder or URL); the workspace's by default."
        ),
    ] = None,
    checkpoint: Checkpoint = None,
    pool: Annotated[str | None, typer.Option(help="mean (of the patches), cls or both.")] = None,
    batch: Annotated[int | None, typer.Option("--batch", min=1, help="Images of one forward pass.")] = None,
    device: Device = None,
    workers: Workers = None,
    work: Work = None,
    out: Annotated[Path | None, typer.Option("--out", help="The .parquet file to write.")] = None,
) -> dict[str, Any]:
    """Write one vector an image from a trained encoder, for search, plots and `curate --embeddings`."""
    return _machine(locals())


@_verb("embed.similar:SimilarConfig", "xraytk similar image.dcm    or    xraytk similar ./dicoms --k 10")
def similar(
    query: Annotated[str, typer.Argument(help="An image, a folder of them, or a table of `xraytk embed`.")],
    index: Annotated[
        Path | None, typer.Option(help="Table of the archive by `xraytk embed`; the newest by default.")
    ] = None,
    checkpoint: Annotated[
        Path | None, typer.Option(help="The encoder of the index; the newest pretraining by default.")
    ] = None,
    k: Annotated[int | None, typer.Option(min=1, help="Neighbours of an image.")] = None,
    others: Annotated[
        bool | None, typer.Option("--others", help="Leave the query's own patient out.")
    ] = None,
    device: Device = None,
    workers: Workers = None,
    work: Work = None,
    out: Out = None,
) -> dict[str, Any]:
    """Find the images of an archive that look most like an image, by the encoder that embedded it."""
    return _machine(locals())


def _one_or_two(images: list[Path]) -> list[Path]:
    """Refuse more; their names are not shown."""
    if len(images) > 2:
        raise typer.BadParameter(f"found {len(images)} files, wanted one or two")
    return images


@_verb("report:ReportConfig", "xraytk report image.dcm --lang zh")
def report(
    images: Annotated[
        list[Path],
        typer.Argument(
            help="One radiograph, or two of a study for a run with data.views=2: DICOM, PNG, JPEG or TIFF.",
            callback=_one_or_two,
        ),
    ],
    lang: Annotated[str | None, typer.Option(help="en or zh.")] = None,
    checkpoint: Annotated[
        Path | None, typer.Option(help="A finetuned report run; else the workspace's, else ours.")
    ] = None,
    attention: Annotated[
        bool | None,
        typer.Option("--attention", help="Also draw where it looked as it named findings (PNG)."),
    ] = None,
    device: Device = None,
    work: Work = None,
    out: Out = None,
) -> dict[str, Any]:
    """Write a report for one radiograph or study. Research only: never for a patient."""
    flags = _machine(locals())
    image, *second = flags.pop("images")
    return {**flags, "image": image, "second": second[0] if second else None}


@_verb("plan:PlanConfig", "xraytk plan --images 1053791 --epochs 83 --gpus 8 --cores 64")
def plan(
    shards: Annotated[
        str | None, typer.Argument(help="A shards folder or URL; the workspace's by default.")
    ] = None,
    images: Annotated[int | None, typer.Option(min=1, help="Training images; else those of shards.")] = None,
    epochs: Epochs = None,
    gpus: Annotated[int | None, typer.Option(min=1, help="GPUs of a host.")] = None,
    hosts: Annotated[int | None, typer.Option(min=1, help="Hosts.")] = None,
    cores: Annotated[int | None, typer.Option(min=1, help="Cores of a host; else this machine's.")] = None,
    gpu: Annotated[
        str | None, typer.Option(help="Kind of the GPUs: a800, a100, h100, h200, l40s ...")
    ] = None,
    network_mb_s: Annotated[
        float | None, typer.Option(min=0.0, help="MB/s of a host, when the shards lie at a URL.")
    ] = None,
    measure: Annotated[
        bool | None, typer.Option("--measure", help="Measure loader, disk and GPU of this machine.")
    ] = None,
    work: Work = None,
) -> dict[str, Any]:
    """Say how long a pretraining will take, and what will hold it up."""
    return locals()


@_verb("wrap:WrapConfig", "xraytk wrap ./pngs ./dicoms --metadata about.csv")
def wrap(
    source: Annotated[Path, typer.Argument(help="Folder of PNG, JPEG or TIFF radiographs, or one of them.")],
    out: Annotated[Path, typer.Argument(help="Folder for the DICOM files.")],
    metadata: Annotated[
        Path | None, typer.Option(help="CSV about the pictures: file, patient, sex, age, view, modality.")
    ] = None,
    bits: Annotated[int | None, typer.Option(min=8, max=16, help="Stored bits.")] = None,
    workers: Workers = None,
) -> dict[str, Any]:
    """Wrap public PNG/JPEG radiographs as DX DICOM, so that a data set can walk the whole road."""
    return locals()


@_verb("demo:DemoConfig", "xraytk demo")
def demo(
    out: Annotated[Path | None, typer.Argument(help="Folder to work in; ./xraytk-demo by default.")] = None,
    patients: Annotated[int | None, typer.Option(min=8, help="Phantom patients to make.")] = None,
    seed: Annotated[int | None, typer.Option(help="Another seed, other phantoms.")] = None,
    workers: Workers = None,
) -> dict[str, Any]:
    """Walk the whole road on synthetic radiographs, in minutes, on a laptop."""
    return locals()


def main() -> None:
    """Entry point of the ``xraytk`` command."""
    try:
        app()
    except SystemExit as stop:
        if stop.code == 2 and "--json" in sys.argv and not isinstance(stop, _Stop):
            said = {"error": "wrong flags or arguments; standard error says which", "exit_code": 2}
            print(json.dumps(said))
        raise
