"""Does the report machinery learn? Findings named in reports of phantoms, in both languages.

    python benchmarks/phantom_reports.py FOLDER [--checkpoint RUN] [--size-px 256] [--json]

Without --checkpoint a tiny model is trained first: its encoder learns to draw boxes around the findings
(on from those of another folder with --init), then a decoder learns to write what that encoder, frozen,
sees, then both learn together. A training that was stopped goes on from its last checkpoint. The model
writes a report in both languages for fresh phantoms (seeds of their own, each a patient), and `xraytk
evaluate report` scores the texts: what its labeller finds in them against what it finds in the references,
1,000 resamples of the patients. Beside it stands the same against what was drawn into the images, and the
references themselves against that, which is how far the labeller can be believed here. A nodule is Lung
Lesion to the labeller, and the Chinese impression of a consolidation a possible Pneumonia. No peer.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from phantom_set import Sample, load

from xraytk import evaluate
from xraytk.data import augment, intensity, regions
from xraytk.files import atomic_write, checkpoints
from xraytk.models.dense import DenseConfig
from xraytk.models.language import DecoderConfig
from xraytk.models.tokens import Vocabulary
from xraytk.models.vit import VitConfig
from xraytk.models.weights import load_model
from xraytk.progress import Lines
from xraytk.records import Batch
from xraytk.tasks import saved
from xraytk.tasks.detection import DetectConfig, DetectTask
from xraytk.tasks.findings.label import label
from xraytk.tasks.metrics.bootstrap import draw
from xraytk.tasks.metrics.values import Floats
from xraytk.tasks.reporting import ReportTask
from xraytk.train.launch import MachineConfig
from xraytk.train.loop import FitPlan, fit
from xraytk.train.optim import OptimConfig

VIT = VitConfig(image_px=192, patch_px=16, width=96, depth=4, heads=4)
DENSE = DenseConfig(layers=1, width=32, cells=12, detail=0)
DECODER = DecoderConfig(width=64, depth=2, heads=4, max_tokens=160, min_count=2, dropout=0.0)
BATCH = 16
WRITTEN = 8
"""Images of one update of the second stage, each with two reports: it needs many updates, not large ones."""
RATES = (1.5e-3, 4e-3, 1.5e-3)
TOGETHER = 0.5
"""Of that last rate, for the encoder."""
CHANCE = augment.AugmentConfig(crop_scale=(0.9, 1.0), rotate_deg=4.0, contrast=0.2)
GAIN = 6.0
"""On the first weights of the patch projection: findings are faint, and positions would drown them."""
LANGS = ("en", "zh")
SHOWN = ("precision", "recall", "f1")
NAMES = ("Cardiomegaly", "Consolidation", "Nodule", "Pleural Effusion", "Pneumothorax")
CALLED = {
    "en": {name: name for name in NAMES} | {"Nodule": "Lung Lesion"},
    "zh": {name: name for name in NAMES} | {"Nodule": "Lung Lesion", "Consolidation": "Pneumonia"},
}
"""Findings of a phantom, as the labeller calls what its reports say of them."""


def main() -> None:
    """Train or load, write reports, score, print."""
    args = _arguments()
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    folder = args.checkpoint or _trained(args)
    fresh = load(args.folder / "phantoms", args.part, args.fresh, args.size_px, args.seed)
    rows: list[dict[str, Any]] = []
    for lang in LANGS:
        texts = _texts(args, folder, lang, fresh)
        rows += _scored(args, lang, texts, fresh)
    if args.checkpoint is None:
        rows += _seen(args, fresh)
    print(json.dumps(rows) if args.json else "\n".join(_lines(rows)))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="for phantoms, model and scores")
    parser.add_argument("--checkpoint", type=Path, help="a finetuned run or its best/, instead of training")
    parser.add_argument(
        "--init", type=Path, help="folder of another run whose boxes the first stage starts from"
    )
    parser.add_argument("--name", default="scores", help="of the folder of the scores")
    parser.add_argument("--part", choices=("fresh", "held"), default="fresh", help="held: to choose by")
    parser.add_argument("--size-px", type=int, default=256, help="at which phantoms are made")
    parser.add_argument("--train", type=int, default=700, help="phantoms")
    parser.add_argument("--fresh", type=int, default=300, help="phantoms")
    parser.add_argument("--steps", type=int, nargs=3, default=(1300, 2500, 800), help="of the stages")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--bootstrap", type=int, default=1000)
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


def _trained(args: argparse.Namespace) -> Path:
    """Folder of the model, trained unless it is there."""
    out: Path = args.folder / "model"
    if (out / "config.json").is_file():
        return out
    samples = load(args.folder / "phantoms", "train", args.train, args.size_px, args.seed)
    torch.manual_seed(args.seed)
    boxes = DetectTask(VIT, DENSE, DetectConfig(), NAMES)
    with torch.no_grad():
        boxes.encoder.project.weight *= GAIN
    if args.init is not None:
        load_model(boxes, checkpoints(args.init / "boxes")[-1] / "model.safetensors")
    began, used = time.monotonic(), time.process_time()
    _fit(boxes, samples, args.steps[0], args.seed, args.folder / "boxes", BATCH, RATES[0])
    texts = {lang: [s.reports[lang] for s in samples] for lang in LANGS}
    task = ReportTask(VIT, DECODER, Vocabulary.build(texts, DECODER.min_count), LANGS, frozen=True)
    task.encoder.load_state_dict(boxes.encoder.state_dict())
    _fit(task, samples, args.steps[1], args.seed + 1, args.folder / "write", WRITTEN, RATES[1])
    task.encoder.requires_grad_(True)
    task.frozen = False
    _fit(task, samples, args.steps[2], args.seed + 2, args.folder / "together", WRITTEN, RATES[2])
    passed = f"{time.monotonic() - began:.0f} s, {time.process_time() - used:.0f} s of a core"
    print(f"trained in {passed}", flush=True)
    saved.save(
        out, task, {"step": sum(args.steps[1:]), "data": {"image_px": VIT.image_px, "fit": "letterbox"}}
    )
    return out


def _fit(
    task: Any, samples: Sequence[Sample], steps: int, seed: int, folder: Path, batch: int, lr: float
) -> None:
    """Train, going on from the newest checkpoint of the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    last = (checkpoints(folder) or [None])[-1]
    scale = TOGETHER if folder.name == "together" else 1.0
    optim = OptimConfig(lr=lr, weight_decay=0.02, beta2=0.98, warmup_share=0.05, encoder_lr_scale=scale)
    plan = FitPlan(
        steps=steps,
        batch=batch,
        optim=optim,
        save_every=100,
        log_every=20,
        seed=seed,
        machine=MachineConfig(device="cpu", micro_batch=batch),
    )
    fit(
        task,
        training(samples, seed, batch, VIT.image_px),
        plan,
        folder,
        config={},
        name=folder.name,
        progress=Lines(),
        resume_from=last,
    )


def training(
    samples: Sequence[Sample], seed: int, batch: int, frame: int
) -> Callable[[int], Iterator[Batch]]:
    """What `fit` reads: batches without end, from any step on."""

    def batches(step: int) -> Iterator[Batch]:
        while True:
            rng = np.random.default_rng([seed, step])
            chosen = rng.choice(len(samples), batch, replace=len(samples) < batch)
            yield _batch(samples, chosen, [augment.draw(rng, CHANCE) for _ in chosen], frame)
            step += 1

    return batches


def still(samples: Sequence[Sample], frame: int) -> Iterator[Batch]:
    """All samples once, as they are."""
    for at in range(0, len(samples), BATCH):
        chosen = range(at, min(at + BATCH, len(samples)))
        yield _batch(samples, chosen, [augment.NONE] * len(chosen), frame)


def _batch(
    every: Sequence[Sample], chosen: Iterable[int], draws: Sequence[augment.Augmentation], frame: int
) -> Batch:
    """Put samples into squares, boxes too, and stack them; their ids are their numbers."""
    samples = [every[i] for i in chosen]
    placed, boxes = [], []
    for s, drawn in zip(samples, draws, strict=True):
        height, width = s.image.shape
        placed.append(augment.place(intensity.change(s.image, drawn.intensity), frame, "letterbox", drawn))
        scaled = [(b.label, b.x0 * width, b.y0 * height, b.x1 * width, b.y1 * height) for b in s.boxes]
        matrix = augment.affine(height, width, frame, "letterbox", drawn)
        boxes.append(regions.moved_boxes(scaled, matrix, frame))
    valid = torch.from_numpy(np.stack([where for _, where in placed]))
    ids = [f"{i:016x}" for i in chosen]
    return Batch(
        image=torch.from_numpy(np.stack([image for image, _ in placed]))[:, None],
        valid=valid,
        lung=torch.zeros(1, 1, 1, dtype=torch.bool).expand_as(valid),
        has_contour=torch.zeros(len(samples), dtype=torch.bool),
        labels=torch.tensor([[float(s.labels[name]) for name in NAMES] for s in samples]),
        reports={lang: [s.reports[lang] for s in samples] for lang in LANGS},
        image_id=ids,
        patient_hash=ids,
        view=["PA"] * len(samples),
        boxes=boxes,
        shape=[(s.image.shape[0], s.image.shape[1]) for s in samples],
    )


def _texts(args: argparse.Namespace, folder: Path, lang: str, fresh: Sequence[Sample]) -> list[str]:
    """What the model writes, read again where it has been written."""
    path = args.folder / args.name / lang / "predictions.jsonl"
    if path.is_file():
        kept = [json.loads(line)["text"] for line in path.read_text(encoding="utf-8").splitlines()]
        if len(kept) == len(fresh):
            return kept
    task = saved.load(folder, torch.device("cpu")).learner
    frame = task.encoder.config.image_px
    return [p.text for batch in still(fresh, frame) for p in task.predict(batch, lang)]


def _scored(
    args: argparse.Namespace, lang: str, texts: Sequence[str], fresh: Sequence[Sample]
) -> list[dict[str, Any]]:
    """Write predictions and references, score them as files, and add what is in the images."""
    out = args.folder / args.name / lang
    paths = {"predictions": out / "predictions.jsonl", "references": out / "references.jsonl"}
    out.mkdir(parents=True, exist_ok=True)
    for path, written in zip(paths.values(), (texts, [s.reports[lang] for s in fresh]), strict=True):
        with atomic_write(path, "w") as stream:
            for i, text in enumerate(written):
                line = {"image_id": f"{i:016x}", "patient_id": f"{i:016x}", "text": text}
                stream.write(json.dumps(line, ensure_ascii=False) + "\n")
    config = evaluate.EvaluateConfig(
        task="report", lang=lang, out=out / "scored", bootstrap=args.bootstrap, **paths
    )
    done = evaluate.run(config).runs[0]
    tables = json.loads(done.files[0].read_text(encoding="utf-8"))["tables"]
    scored = [
        {"lang": lang, "against": "references", "finding": name, **{key: _plain(row[key]) for key in SHOWN}}
        for name, row in tables["findings"].items()
        if row["f1"]["value"] is not None
    ]
    references = [s.reports[lang] for s in fresh]
    scored += _against_drawn(lang, "drawn", texts, fresh, args.bootstrap)
    return scored + _against_drawn(lang, "drawn, of the references", references, fresh, 0)


def _seen(args: argparse.Namespace, fresh: Sequence[Sample]) -> list[dict[str, Any]]:
    """What the encoder sees before it writes: the surest box a finding, thresholds from training phantoms."""
    task = DetectTask(VIT, DENSE, DetectConfig(), NAMES).eval()
    load_model(task, checkpoints(args.folder / "boxes")[-1] / "model.safetensors")
    known = load(args.folder / "phantoms", "train", args.train, args.size_px, args.seed)

    @torch.no_grad()
    def surest(samples: Sequence[Sample]) -> Floats:
        maps = [task.maps(batch)[0].flatten(2).amax(2) for batch in still(samples, VIT.image_px)]
        return torch.cat(maps).double().numpy()

    scores, learnt = surest(fresh), surest(known)
    found = np.zeros(scores.shape, bool)
    for i, name in enumerate(NAMES):
        there = np.array([s.labels[name] == 1 for s in known])
        f1 = [
            2 * (there & (learnt[:, i] >= c)).sum() / (there.sum() + (learnt[:, i] >= c).sum())
            for c in learnt[:, i]
        ]
        found[:, i] = scores[:, i] >= learnt[int(np.argmax(f1)), i]
    return _named("-", "drawn, of the boxes before writing", found, fresh, args.bootstrap)


def _against_drawn(
    lang: str, against: str, texts: Sequence[str], fresh: Sequence[Sample], resamples: int
) -> list[dict[str, Any]]:
    """Precision, recall and F1 of the findings that texts name, against what is in the images."""
    called = [CALLED[lang][name] for name in NAMES]
    found = np.array([[label(t, lang).findings[c] in (1, -1) for c in called] for t in texts])
    return _named(lang, against, found, fresh, resamples)


def _named(
    lang: str, against: str, found: NDArray[np.bool_], fresh: Sequence[Sample], resamples: int
) -> list[dict[str, Any]]:
    truth = np.array([[s.labels[name] == 1 for name in NAMES] for s in fresh])
    cells = np.stack([found & truth, found, truth], axis=-1).astype(np.float64)  # (n, 5, 3)
    cells = np.concatenate([cells, cells.sum(1, keepdims=True)], axis=1)  # and micro

    def score(weights: Floats) -> Floats:
        both, said, there = np.moveaxis(np.tensordot(weights, cells, 1), -1, 0)  # each (R, 6)
        with np.errstate(invalid="ignore"):
            parts = np.stack([both / said, both / there, 2 * both / (said + there)], axis=-1)
        return np.asarray(parts.reshape(len(weights), -1), np.float64)

    values = draw(score, [str(i) for i in range(len(fresh))], resamples=resamples, seed=0).values()
    shown = [{"value": v.value, "low": v.low, "high": v.high} for v in values]
    rows = zip((*NAMES, "micro"), (shown[i : i + 3] for i in range(0, len(shown), 3)), strict=True)
    head = {"lang": lang, "against": against}
    return [{**head, "finding": n, **dict(zip(SHOWN, three, strict=True))} for n, three in rows]


def _plain(value: dict[str, Any]) -> dict[str, float | None]:
    return {key: value[key] for key in ("value", "low", "high")}


def _lines(rows: Sequence[dict[str, Any]]) -> list[str]:
    """A table for each language and truth."""
    out: list[str] = []
    for before, row in zip([None, *rows], rows, strict=False):
        if before is None or (before["lang"], before["against"]) != (row["lang"], row["against"]):
            head = f"{row['lang']}, against what is {row['against']}"
            if row["against"] == "references":
                head = f"{row['lang']}, against the references (all that the labeller names)"
            out += ["", head, f"{'':20}" + "".join(f"{key:24}" for key in SHOWN)]
        out.append(f"{row['finding']:20}" + "".join(f"{_text(row[key]):24}" for key in SHOWN).rstrip())
    return out


def _text(value: dict[str, float | None]) -> str:
    if value["value"] is None or np.isnan(value["value"]):
        return "-"
    between = (
        ""
        if value["low"] is None or np.isnan(value["low"])
        else f" [{value['low']:.3f}, {value['high']:.3f}]"
    )
    return f"{value['value']:.3f}{between}"


if __name__ == "__main__":
    main()
