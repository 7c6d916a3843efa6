"""Settings of ``xraytk evaluate``."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from xraytk.data.cache import CacheConfig
from xraytk.errors import UsageError
from xraytk.files import default_work
from xraytk.models.search import SearchConfig
from xraytk.records import LANGUAGES
from xraytk.tasks.attention import AttentionConfig
from xraytk.tasks.language import LANGUAGE_TASKS, LanguageConfig
from xraytk.tasks.metrics.panel import OPERATING
from xraytk.tasks.probe import PROBES, ProbeConfig
from xraytk.tasks.scoring.labels import LabelOptions
from xraytk.tasks.scoring.r2gen import R2GenConfig
from xraytk.tasks.scoring.reports import ReportOptions
from xraytk.train.machine import MachineConfig

REGIONS = ("segment", "detect")
"""Tasks whose predictions are no table."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluateConfig:
    """Settings of ``xraytk evaluate``.

    Five things can be scored: finetuned runs of the workspace (all, or that of ``checkpoint``), a
    frozen encoder by a probe on the workspace's labels (``task`` "linear-probe" or "knn"), a
    pretraining that has read reports, without more learning (`LANGUAGE_TASKS`), anybody's predictions
    (``predictions`` and ``references``), and two results against each other (``results`` and
    ``against``).

    Args:
        checkpoint: A finetuned run; all of the workspace's by default. For a probe and for
            `LANGUAGE_TASKS` see `models.weights.find_weights`; the newest pretraining by default.
        results: With ``against``: a run, a folder of results, or a file of predictions.
        against: What ``results`` are compared with.
        task: Only runs of this task; what the predictions are.
        predictions: CSV or JSONL of anybody's predictions.
        references: CSV or JSONL of the truth.
        validation: Predictions for validation images, whose truth is in ``validation_references``:
            thresholds and temperature are fitted on them, and on nothing else.
        validation_references: Their truth; ``references`` by default.
        training: Table of training reports, for the words that protocol "r2gen" knows.
        images: Folder of ``<image_id>.png``, for the gallery.
        groups: Of runs: CSV or JSONL of image_id and sex, age, view or site, by which subgroups are
            scored; what it says counts before the manifest.
        questions: Questions for "vqa"; those of its training's file by default.
        work: The workspace.
        shards: Shards folder or URL; the workspace's by default.
        out: Folder for the results, one sub-folder a run; the run's own folder by default, or one
            beside the predictions.
        split: Split to score; "test" is meant to be read once, at the end.
        again: Read the test split again with other settings.
        lang: Language of the reports; of runs: all that they know, of files: "en".
        langs: Languages of reports; those the model did not learn are left out.
        protocol: "full": whole references. "r2gen": cleaned and cut as R2Gen does.
        r2gen: Settings of that protocol.
        uncertain: Uncertain findings and labels: "positive", "negative" or "ignore"; by default
            labels are ignored, and findings positive (negative under "r2gen").
        unmatched: "refuse" references without a prediction, or "leave" them out.
        operating: Specificity at which the sensitivity is read off the curve, and the reverse.
        meteor: Run METEOR where Java and its jar are there.
        extra: More scores of reports: radgraph, chexbert, green, radeval:METRIC, "package.module:function".
        bootstrap: Resamples over patients for the intervals, and permutations; 0 for none.
        search: How the decoder chooses its words.
        mapped: Worst and best cases, of each so many, with maps of attention in the gallery of
            reports; 0 for none.
        maps: Which attention, of how many terms.
        batch: Images of one forward pass.
        seed: Of the bootstrap.
        probe: How frozen features are probed.
        language: How towers of images and texts are scored.
        cache: How shards at a URL are copied to a local disk.
        machine: Device and loader processes.
    """

    checkpoint: Path | None = None
    results: Path | None = None
    against: Path | None = None
    task: Literal[
        "all",
        "report",
        "classify",
        "segment",
        "detect",
        "vqa",
        "linear-probe",
        "knn",
        "retrieval",
        "zero-shot",
        "grounding",
        "similar",
    ] = "all"
    predictions: Path | None = None
    references: Path | None = None
    validation: Path | None = None
    validation_references: Path | None = None
    training: Path | None = None
    images: Path | None = None
    groups: Path | None = None
    questions: Path | None = None
    work: Path = field(default_factory=default_work)
    shards: str | Path | None = None
    out: Path | None = None
    split: Literal["train", "val", "test"] = "test"
    again: bool = False
    lang: Literal["", "en", "zh"] = ""
    langs: tuple[str, ...] = LANGUAGES
    protocol: Literal["full", "r2gen"] = "full"
    r2gen: R2GenConfig = field(default_factory=R2GenConfig)
    uncertain: Literal["", "positive", "negative", "ignore"] = ""
    unmatched: Literal["refuse", "leave"] = "refuse"
    operating: float = OPERATING
    meteor: bool = True
    extra: tuple[str, ...] = ()
    bootstrap: int = 1000
    search: SearchConfig = field(default_factory=SearchConfig)
    mapped: int = 6
    maps: AttentionConfig = field(default_factory=AttentionConfig)
    batch: int = 16
    seed: int = 0
    probe: ProbeConfig = field(default_factory=ProbeConfig)
    language: LanguageConfig = field(default_factory=LanguageConfig)
    cache: CacheConfig = field(default_factory=CacheConfig)
    machine: MachineConfig = field(default_factory=MachineConfig)

    def __post_init__(self) -> None:
        """Check the ranges, and that the fields fit together.

        Raises:
            UsageError: If a value is out of range, or something that belongs together is not given.
        """
        for name, least in (("bootstrap", 0), ("batch", 1), ("seed", 0), ("mapped", 0)):
            if getattr(self, name) < least:
                raise UsageError(f"{name} is {getattr(self, name)}", f"wanted at least {least}")
        if not 0 < self.operating < 1:
            raise UsageError(f"operating is {self.operating:g}", "wanted a specificity between 0 and 1")
        unknown = [lang for lang in self.langs if lang not in LANGUAGES]
        if unknown or not self.langs:
            raise UsageError(f"langs is {list(self.langs)}", f"wanted some of {', '.join(LANGUAGES)}")
        if self.lang and self.task not in ("all", "report", *LANGUAGE_TASKS):
            raise UsageError(f"--lang is given with {self.task}", "it is for reports and prompts")
        self._check_files()

    def _check_files(self) -> None:
        if self.results is not None or self.against is not None:
            if self.results is None or self.against is None or self.predictions or self.checkpoint:
                raise UsageError(
                    "a comparison takes two results and nothing else",
                    "found one, which is no task (report, classify, linear-probe, knn)"
                    if self.against is None
                    else "found --predictions or --checkpoint too",
                    "Say `xraytk evaluate A B`; one run alone is `xraytk evaluate --checkpoint RUN`.",
                )
            return
        if (self.predictions is None) != (self.references is None):
            given = "predictions" if self.references is None else "references"
            raise UsageError(f"--{given} is given alone", "wanted --predictions and --references")
        if self.predictions is None:
            if self.validation is not None:
                raise UsageError("--validation is for --predictions", "a run has its own thresholds")
        elif self.groups is not None:
            raise UsageError("groups are for runs", "the references have columns sex, age, view, site")
        elif self.task == "all" or self.checkpoint is not None:
            raise UsageError(
                "it is not said what the predictions are",
                todo="Say `xraytk evaluate report --predictions ...` or `xraytk evaluate classify ...`.",
            )
        elif self.task in (*PROBES, *LANGUAGE_TASKS, "similar"):
            raise UsageError(f"{self.task} is for an encoder", "found --predictions")
        elif self.task in (*REGIONS, "vqa"):
            raise UsageError(f"{self.task} is for runs of the workspace", "found --predictions")
        elif self.validation is not None and self.task == "report":
            raise UsageError("--validation is for classify", "nothing is fitted for reports")

    @property
    def asked_langs(self) -> tuple[str, ...]:
        """Languages of runs."""
        return (self.lang,) if self.lang else self.langs

    def reports(self, lang: str) -> ReportOptions:
        """How reports of files are scored."""
        return ReportOptions(
            lang=lang,
            protocol=self.protocol,
            r2gen=self.r2gen,
            training=self.training,
            uncertain=self.uncertain,
            meteor=self.meteor,
            extra=self.extra,
            leave=self.unmatched == "leave",
            resamples=self.bootstrap,
            seed=self.seed,
        )

    def labels(self) -> LabelOptions:
        """How labels of files are scored."""
        policies: dict[str, Literal["ignore", "zeros", "ones"]] = {"positive": "ones", "negative": "zeros"}
        return LabelOptions(
            uncertain=policies.get(self.uncertain, "ignore"),
            operating=self.operating,
            leave=self.unmatched == "leave",
            resamples=self.bootstrap,
            seed=self.seed,
        )
