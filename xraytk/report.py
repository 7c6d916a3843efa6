"""``xraytk report``: one radiograph to a report in English or Chinese.

The model is the user's own finetuned run when the workspace has one, else the small one that
comes with the package, which has only ever seen phantoms and says so.
"""

from __future__ import annotations

import hashlib
import importlib.resources
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from xraytk.config import rows_cols
from xraytk.data import augment, dicom, pictures
from xraytk.data.pictures import to_8bit
from xraytk.errors import DataError, UsageError
from xraytk.files import Workspace, atomic_write, default_work, write_json
from xraytk.models.search import SearchConfig
from xraytk.progress import Progress
from xraytk.records import RESEARCH_NOTICE, Batch, Radiograph, as_plain
from xraytk.tasks import attention, saved
from xraytk.tasks.attention import AttentionConfig, Term, TermMap
from xraytk.tasks.classification import ClassifyTask
from xraytk.tasks.gallery import thumbnail
from xraytk.tasks.metrics import calibration
from xraytk.tasks.reporting import ReportTask
from xraytk.train.launch import MachineConfig, check_devices, device_of

FORMAT = 1
INGEST_PX = 1280
"""Long side that `ingest` shrinks to before anything else; done here too, for equal pixels."""

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


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportConfig:
    """Settings of ``xraytk report``.

    Args:
        image: One radiograph: DICOM, PNG, JPEG or TIFF.
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
            keyed. Whoever has the file can tell that this report is of it.
        lang: "en" or "zh".
        text: The report.
        findings: Probability of each label, from the workspace's classifier when there is one.
        model: Whose model wrote it.
        notice: Not a medical device, and what else limits it, in the report's language.
        view: "PA", "AP" or "UNKNOWN"; other views are refused.
        burned_in: Whether the header says that text is burned into the pixels; pictures have none.
        files: What was written.
        terms: Words that name findings, in the order of the picture of attention; none unless asked for.
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

    def lines(self) -> list[str]:
        """Return the report for a person to read."""
        out = [self.text or "(the model wrote nothing)", ""]
        if self.findings:
            ranked = sorted(self.findings.items(), key=lambda pair: -pair[1])
            out.append(", ".join(f"{label} {value:.2f}" for label, value in ranked))
        for number, term in enumerate(self.terms, 1):
            out.append(f"map {number}: {term.words} ({', '.join(term.findings)}, {term.state})")
        out += [f"[{self.model}]", self.notice]
        return out + [str(path) for path in self.files]


def run(config: ReportConfig, progress: Progress | None = None) -> ReportResult:
    """Write a report for one image.

    Args:
        config: Settings.
        progress: Where to report to.

    Raises:
        DataError: If the image is no frontal chest radiograph, or the model does not know the
            language.
    """
    del progress  # one image: nothing to count
    check_devices(config.machine)
    out = _place(config)
    data = _read(config.image)
    radiograph = _frontal(data)
    image_id = hashlib.sha256(data).hexdigest()[:16]
    image = to_8bit(dicom.resize_long_side(radiograph.pixels, INGEST_PX))
    model, origin, is_default = _writer(config)
    task: ReportTask = model.learner
    if config.lang not in task.langs:
        raise DataError(
            f"the model cannot write {config.lang}",
            f"it learned {', '.join(task.langs)}",
            "Choose another --lang.",
        )
    batch = _batch(image, image_id, radiograph.view, model)
    text = task.predict(batch, config.lang, config.search)[0].text
    found = task.attend(batch, [text], config.lang, config.maps)[0] if config.attention else []
    limits = [RESEARCH_NOTICE]
    limits += [PICTURE_NOTICE] if radiograph.syntax in PICTURES else []
    limits += [PHANTOM_NOTICE] if is_default else []
    findings = {} if is_default else _findings(config, image, image_id, radiograph.view)
    made = ReportResult(
        image_id=image_id,
        lang=config.lang,
        text=text,
        findings=findings,
        model=origin,
        notice=("" if config.lang == "zh" else " ").join(limit[config.lang] for limit in limits),
        view=radiograph.view,
        burned_in=radiograph.burned_in,
        files=(),
        terms=tuple(one.term for one in found),
    )
    if out is None:
        return made
    sheet = _sheet(image, found, model) if config.attention else None
    return _write(out, made, sheet)


def default_model() -> Path:
    """Folder of the model that comes with the package."""
    return Path(str(importlib.resources.files("xraytk.models"))) / "default"


def _read(image: Path) -> bytes:
    """Read the file; no message names it, as file names often name patients."""
    try:
        return image.read_bytes()
    except FileNotFoundError:
        raise DataError("the image does not exist", todo="Check the path.") from None
    except IsADirectoryError:
        raise DataError(
            "the image is a folder", "wanted one file", "For many images, use `xraytk ingest`."
        ) from None
    except OSError as error:
        raise DataError("the image cannot be read", f"the system says: {error.strerror}") from None


def _frontal(data: bytes) -> Radiograph:
    """Read the radiograph, and refuse what is none and every view that is not frontal."""
    try:
        radiograph = dicom.read_radiograph(data)
    except dicom.Refused as refused:
        raise DataError(
            f"the image gives no report: {refused.reason}",
            dicom.REASONS[refused.reason] + (f" ({refused.detail})" if refused.detail else ""),
            "Give one chest radiograph: CR or DX DICOM, PNG, JPEG or TIFF.",
        ) from None
    if radiograph.view in ("LATERAL", "OTHER"):
        raise DataError(
            "the image gives no report: it is not a frontal view",
            f"its header says {radiograph.view}; the models write about PA and AP only",
            "Give the frontal radiograph of the study.",
        )
    return radiograph


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


def _findings(config: ReportConfig, image: Any, image_id: str, view: str) -> dict[str, float]:
    """Probabilities from the workspace's classifier; {} without one."""
    folder = _newest(Workspace(config.work), ClassifyTask)
    if folder is None:
        return {}
    model = saved.load(folder / "best", device_of(config.machine))
    scores: dict[str, float] = model.learner.predict(_batch(image, image_id, view, model))[0].scores
    cool = calibration.cool(np.array(list(scores.values())), float(model.facts.get("temperature", 1.0)))
    return {label: round(float(score), 4) for label, score in zip(scores, cool, strict=True)}


def _batch(image: Any, image_id: str, view: str, model: saved.Saved) -> Batch:
    """One image, put into the frame as the stream does it."""
    size, fit = rows_cols(model.facts["data"]["image_px"]), model.facts["data"]["fit"]
    placed, valid = augment.place(image, size, fit)
    labels = len(getattr(model.learner, "labels", ()))
    return Batch(
        image=torch.from_numpy(placed)[None, None],
        valid=torch.from_numpy(valid)[None],
        lung=torch.zeros(1, *size, dtype=torch.bool),
        has_contour=torch.zeros(1, dtype=torch.bool),
        labels=torch.full((1, labels), torch.nan),
        reports={"en": [""], "zh": [""]},
        image_id=[image_id],
        patient_hash=[""],
        view=[view],
    ).to(next(model.learner.parameters()).device)


def _sheet(image: NDArray[np.uint8], found: Sequence[TermMap], model: saved.Saved) -> NDArray[np.uint8]:
    """The image, and on it the map of each term, with numbers and the findings' names."""
    small = thumbnail(image, _TILE_PX)
    tiles: list[NDArray[np.uint8]] = [small]
    captions = ["the radiograph" if found else "the report names no finding"]
    frame = model.facts["data"]
    for number, one in enumerate(found, 1):
        heat = attention.laid(one, frame["image_px"], frame["fit"], small.shape)
        tiles.append(attention.drawn(small, heat))
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
    stem = f"{result.image_id}.{result.lang}"
    text, tree, picture = out / f"{stem}.txt", out / f"{stem}.json", out / f"{stem}.attention.png"
    made = replace(result, files=(text, tree) if sheet is None else (text, tree, picture))
    with atomic_write(text, "w") as stream:
        stream.write(f"{made.text}\n\n[{made.model}]\n{made.notice}\n")
    write_json(tree, {"format": FORMAT, **as_plain(made)})
    if sheet is not None:
        pictures.write_png(picture, sheet)
    return made
