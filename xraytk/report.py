"""``xraytk report``: the one or two radiographs of a study to a report in English or Chinese.

The model is the user's own finetuned run when the workspace has one, else the small one that
comes with the package, which has only ever seen phantoms and says so.
"""

from __future__ import annotations

import importlib.resources
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from xraytk.config import rows_cols
from xraytk.data import augment, pictures
from xraytk.data.one_study import Given, read_study, says_one_study
from xraytk.errors import DataError, UsageError
from xraytk.files import Workspace, atomic_write, default_work, write_json
from xraytk.models.search import SearchConfig
from xraytk.progress import Progress
from xraytk.records import RESEARCH_NOTICE, Batch, SecondView, as_plain
from xraytk.tasks import attention, saved
from xraytk.tasks.attention import AttentionConfig, Term, TermMap
from xraytk.tasks.classification import ClassifyTask
from xraytk.tasks.gallery import beside, thumbnail
from xraytk.tasks.metrics import calibration
from xraytk.tasks.reporting import ReportTask
from xraytk.train.launch import MachineConfig, check_devices, device_of

FORMAT = 1
PHANTOM_NOTICE = {
    "en": "The default model was trained on synthetic phantoms only: it says nothing about a real patient. "
    "Finetune on your own data for anything else.",
    "zh": "默认模型仅用合成体模训练，其输出与任何真实患者无关。如需其他用途，请用自己的数据微调。",
}
_TILE_PX = 360
PICTURES = ("png", "jpeg", "tiff")
"""Syntaxes without a header that would say what the image shows."""
PICTURE_NOTICE = {
    "en": "The picture has no header: nothing says that it is a chest radiograph, and its view is unknown. "
    "The text means nothing unless it is a frontal one.",
    "zh": "该图片没有文件头信息，无法确认其为胸部X线片，投照体位未知；若非胸部正位片，所生成的文字毫无意义。",
}
STUDY_NOTICE = {
    "en": "Nothing says that both images are of one study.",
    "zh": "没有信息表明两幅图像来自同一次检查。",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportConfig:
    """Settings of ``xraytk report``.

    Args:
        image: One radiograph: DICOM, PNG, JPEG or TIFF.
        second: Another one of the same study, for models of two views; one of them is frontal.
        lang: "en" or "zh".
        work: The workspace.
        checkpoint: A finetuned report run; else the workspace's newest, else the default model.
        out: Folder for the files; ``reports`` of the workspace by default, when that exists.
        search: How the decoder chooses its words.
        attention: Write a picture too: where the decoder looked as it wrote the words that name findings.
        maps: Which attention, of how many terms.
        machine: Device.
    """

    image: Path
    second: Path | None = None
    lang: Literal["en", "zh"] = "en"
    work: Path = field(default_factory=default_work)
    checkpoint: Path | None = None
    out: Path | None = None
    search: SearchConfig = field(default_factory=SearchConfig)
    attention: bool = False
    maps: AttentionConfig = field(default_factory=AttentionConfig)
    machine: MachineConfig = field(default_factory=MachineConfig)


@dataclass(frozen=True, slots=True)
class ReportResult:
    """A report and what a reader must know of it.

    Args:
        image_id: First 16 hexadecimal digits of the file's SHA-256, without a key: the first 16
            of ``source_sha256`` in the manifest of `ingest`, and not its ``image_id``, which is
            keyed. Whoever has the file can tell that this report is of it. Of two images, the frontal's.
        lang: "en" or "zh".
        text: The report.
        findings: Probability of each label, from the workspace's classifier when there is one.
        model: Whose model wrote it.
        notice: Not a medical device, and what else limits it, in the report's language.
        view: "PA", "AP" or "UNKNOWN"; other views are refused.
        burned_in: Whether a header says that text is burned into the pixels; pictures have none.
        files: What was written.
        terms: Words that name findings, in the order of the picture of attention; none unless asked for.
        second_id: Id of the other image; "" when there is none.
        second_view: Its view.
    """

    image_id: str
    lang: str
    text: str
    findings: dict[str, float]
    model: str
    notice: str
    view: str
    burned_in: bool
    files: tuple[Path, ...]
    terms: tuple[Term, ...] = ()
    second_id: str = ""
    second_view: str = ""

    def lines(self) -> list[str]:
        """Return the report for a person to read."""
        out = [self.text or "(the model wrote nothing)", ""]
        if self.findings:
            ranked = sorted(self.findings.items(), key=lambda pair: -pair[1])
            out.append(", ".join(f"{label} {value:.2f}" for label, value in ranked))
        for number, term in enumerate(self.terms, 1):
            out.append(f"map {number}: {term.words} ({', '.join(term.findings)}, {term.state})")
        if self.second_id:
            out.append(f"images: {self.view}, {self.second_view}")
        out += [f"[{self.model}]", self.notice]
        return out + [str(path) for path in self.files]


def run(config: ReportConfig, progress: Progress | None = None) -> ReportResult:
    """Write a report for one image, or for two of a study.

    Args:
        config: Settings.
        progress: Where to report to.

    Raises:
        DataError: If no image is a frontal chest radiograph, two are not of one study, or the model
            does not know the language or looks at one image only.
    """
    del progress  # one study: nothing to count
    check_devices(config.machine)
    out = _place(config)
    given = read_study([config.image] if config.second is None else [config.image, config.second])
    first, others = given[0].radiograph, given[1:]
    model, origin, is_default = _writer(config)
    task: ReportTask = model.learner
    if config.lang not in task.langs:
        raise DataError(
            f"the model cannot write {config.lang}",
            f"it learned {', '.join(task.langs)}",
            "Choose another --lang.",
        )
    if others and task.views == 1:
        raise DataError(
            "the model looks at one image, and two are given",
            f"it is {origin}",
            "Give the frontal image alone, or a run of `xraytk finetune report --set data.views=2`.",
        )
    batch = _batch(given, model)
    text = task.predict(batch, config.lang, config.search)[0].text
    found = task.attend(batch, [text], config.lang, config.maps)[0] if config.attention else []
    limits = [RESEARCH_NOTICE]
    limits += [PICTURE_NOTICE] if any(one.radiograph.syntax in PICTURES for one in given) else []
    limits += [STUDY_NOTICE] if others and not says_one_study(given) else []
    limits += [PHANTOM_NOTICE] if is_default else []
    findings = {} if is_default else _findings(config, given[:1])
    made = ReportResult(
        image_id=given[0].image_id,
        lang=config.lang,
        text=text,
        findings=findings,
        model=origin,
        notice=("" if config.lang == "zh" else " ").join(limit[config.lang] for limit in limits),
        view=first.view,
        burned_in=any(one.radiograph.burned_in for one in given),
        files=(),
        terms=tuple(one.term for one in found),
        second_id=others[0].image_id if others else "",
        second_view=others[0].radiograph.view if others else "",
    )
    if out is None:
        return made
    sheet = _sheet([one.pixels for one in given], found, model) if config.attention else None
    return _write(out, made, sheet)


def default_model() -> Path:
    """Folder of the model that comes with the package."""
    return Path(str(importlib.resources.files("xraytk.models"))) / "default"


def _writer(config: ReportConfig) -> tuple[saved.Saved, str, bool]:
    """The report model, whose it is, and whether it is the default one."""
    device = device_of(config.machine)
    folder = config.checkpoint or _newest(Workspace(config.work), ReportTask)
    if folder is None:
        return saved.load(default_model(), device), "default model trained on phantoms", True
    model = saved.load(saved.find(folder), device)
    if not isinstance(model.learner, ReportTask):
        raise DataError(f"{folder} writes no reports", "it is a run of another task", "Give a report run.")
    return model, f"your run {folder.name}, step {model.facts.get('step', '?')}", False


def _newest(work: Workspace, kind: type) -> Path | None:
    """The newest finished run of a task; None when there is none."""
    found = sorted(work.runs.glob("*/best/config.json"), key=lambda path: path.stat().st_mtime)
    fitting = [path.parent.parent for path in found if saved.task_of(path.parent) is kind]
    return fitting[-1] if fitting else None


def _findings(config: ReportConfig, given: Sequence[Given]) -> dict[str, float]:
    """Probabilities from the workspace's classifier; {} without one."""
    folder = _newest(Workspace(config.work), ClassifyTask)
    if folder is None:
        return {}
    model = saved.load(folder / "best", device_of(config.machine))
    scores: dict[str, float] = model.learner.predict(_batch(given, model))[0].scores
    cool = calibration.cool(np.array(list(scores.values())), float(model.facts.get("temperature", 1.0)))
    return {label: round(float(score), 4) for label, score in zip(scores, cool, strict=True)}


def _batch(given: Sequence[Given], model: saved.Saved) -> Batch:
    """One study, put into the frame as the stream does it."""
    size, fit = rows_cols(model.facts["data"]["image_px"]), model.facts["data"]["fit"]
    frames = [augment.place(one.pixels, size, fit) for one in given]
    image = [torch.from_numpy(placed)[None, None] for placed, _ in frames]
    valid = [torch.from_numpy(held)[None] for _, held in frames]
    ids, views = [one.image_id for one in given], [one.radiograph.view for one in given]
    second = None
    if len(given) > 1:
        there, shape = torch.ones(1, dtype=torch.bool), given[1].pixels.shape
        second = SecondView(image[1], valid[1], there, ids[1:], views[1:], [(shape[0], shape[1])])
    return Batch(
        image=image[0],
        valid=valid[0],
        lung=torch.zeros(1, *size, dtype=torch.bool),
        has_contour=torch.zeros(1, dtype=torch.bool),
        labels=torch.full((1, len(getattr(model.learner, "labels", ()))), torch.nan),
        reports={"en": [""], "zh": [""]},
        image_id=ids[:1],
        patient_hash=[""],
        view=views[:1],
        second=second,
    ).to(next(model.learner.parameters()).device)


def _sheet(
    images: Sequence[NDArray[np.uint8]], found: Sequence[TermMap], model: saved.Saved
) -> NDArray[np.uint8]:
    """The images, and on them the map of each term, with numbers and the findings' names."""
    small = [thumbnail(image, _TILE_PX) for image in images]
    tiles: list[NDArray[np.uint8]] = [beside(small)]
    captions = [
        ("the radiograph" if len(images) == 1 else "the study") if found else "the report names no finding"
    ]
    frame = model.facts["data"]
    for number, one in enumerate(found, 1):
        heats = [
            attention.laid(one, frame["image_px"], frame["fit"], image.shape, view)
            for view, image in enumerate(small)
        ]
        tiles.append(beside([attention.drawn(*pair) for pair in zip(small, heats, strict=True)]))
        said = "" if one.term.state == "present" else f", {one.term.state}"
        captions.append(f"{number} {', '.join(one.term.findings)}{said}; {one.peak:.1f}x")
    return pictures.montage(tiles, captions, columns=4, tile_px=_TILE_PX)


def _place(config: ReportConfig) -> Path | None:
    """Where the files go; None where there is no place for them."""
    out = config.out or (Workspace(config.work).reports if config.work.is_dir() else None)
    if out is None and config.attention:
        raise UsageError(
            "there is no place for the picture of attention",
            "found no workspace",
            "Name a folder with --out.",
        )
    return out


def _write(out: Path, result: ReportResult, sheet: NDArray[np.uint8] | None) -> ReportResult:
    """Write text, JSON and the picture of attention."""
    images = [result.image_id] + [result.second_id] * bool(result.second_id)
    stem = f"{'+'.join(images)}.{result.lang}"
    text, tree, picture = out / f"{stem}.txt", out / f"{stem}.json", out / f"{stem}.attention.png"
    made = replace(result, files=(text, tree) if sheet is None else (text, tree, picture))
    with atomic_write(text, "w") as stream:
        stream.write(f"{made.text}\n\n[{made.model}]\n{made.notice}\n")
    write_json(tree, {"format": FORMAT, **as_plain(made)})
    if sheet is not None:
        pictures.write_png(picture, sheet)
    return made
