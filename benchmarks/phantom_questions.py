"""Does question answering look at the image? Questions about phantoms, in both languages.

    python benchmarks/phantom_questions.py FOLDER --init BOXES [--steps 600] [--part fresh] [--json]

The task `vqa` is trained on phantoms, on top of an encoder that has learned to draw boxes around the
findings (the first stage of `phantom_reports.py`, in --init), which stays as it is. The questions are
made of what was drawn: is there this finding, on which side, is the chest normal, what is abnormal.
Accuracy stands beside that of the most frequent training answer to the same question, which is what one
scores who does not look; intervals are over patients. A training that was stopped goes on. No peer.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import torch
from phantom_reports import DENSE, LANGS, NAMES, VIT, still, training
from phantom_set import Sample, load

from xraytk.files import checkpoints
from xraytk.models.text_encoder import TextConfig
from xraytk.models.tokens import Vocabulary
from xraytk.models.weights import load_model
from xraytk.progress import Lines
from xraytk.records import Batch
from xraytk.tasks.answering import VqaConfig, VqaTask
from xraytk.tasks.detection import DetectConfig, DetectTask
from xraytk.tasks.language.questions import (
    METRICS,
    Question,
    answer_panel,
    answers_of,
    most_frequent,
    questions_about,
)
from xraytk.train.launch import MachineConfig
from xraytk.train.loop import FitPlan, fit
from xraytk.train.optim import OptimConfig

TEXT = TextConfig(width=64, depth=1, heads=4, max_tokens=24, min_count=1, dropout=0.0)
VQA = VqaConfig(each=2, width=64, depth=2, heads=4, text=TEXT)
BATCH = 16


def main() -> None:
    """Train, answer, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="for phantoms and the run")
    parser.add_argument("--init", type=Path, required=True, help="folder of a run of phantom_reports.py")
    parser.add_argument("--train", type=int, default=3000, help="phantoms")
    parser.add_argument("--fresh", type=int, default=300, help="phantoms")
    parser.add_argument("--part", choices=("fresh", "held"), default="fresh", help="held: to choose by")
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--size-px", type=int, default=256, help="at which phantoms are made")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    known = load(args.folder / "phantoms", "train", args.train, args.size_px, args.seed)
    asked = _questions(known)
    task = _trained(args, known, asked)
    samples = load(args.folder / "phantoms", args.part, args.fresh, args.size_px, args.seed)
    rows = _answered(task.ask(_questions(samples)), samples, asked)
    print(json.dumps(rows) if args.json else "\n".join(_lines(rows)))


def _questions(samples: Sequence[Sample]) -> list[Question]:
    """All questions about phantoms, whose ids are their numbers."""
    made = []
    for i, s in enumerate(samples):
        sides = {
            b.label: "right" if b.x0 + b.x1 < 1 else "left" for b in s.boxes if b.label != "Cardiomegaly"
        }
        for lang in LANGS:
            made += questions_about(f"{i:016x}", s.labels, sides, lang)
    return made


def _trained(args: argparse.Namespace, samples: Sequence[Sample], asked: Sequence[Question]) -> VqaTask:
    """The task, trained unless it is there."""
    torch.manual_seed(args.seed)
    texts = {lang: [q.question for q in asked if q.lang == lang] for lang in LANGS}
    task = VqaTask(VIT, VQA, Vocabulary.build(texts), answers_of(asked), frozen=True).ask(asked)
    boxes = DetectTask(VIT, DENSE, DetectConfig(), NAMES)
    load_model(boxes, checkpoints(args.init / "boxes")[-1] / "model.safetensors")
    task.encoder.load_state_dict(boxes.encoder.state_dict())
    folder = args.folder / "questions"
    folder.mkdir(parents=True, exist_ok=True)
    plan = FitPlan(
        steps=args.steps,
        batch=BATCH,
        optim=OptimConfig(lr=1.5e-3, weight_decay=0.02, beta2=0.98),
        save_every=100,
        log_every=20,
        seed=args.seed,
        machine=MachineConfig(device="cpu", micro_batch=BATCH),
    )
    used = time.process_time()
    last = (checkpoints(folder) or [None])[-1]
    batches = training(samples, args.seed, BATCH, VIT.image_px)
    fit(task, batches, plan, folder, config={}, name=folder.name, progress=Lines(), resume_from=last)
    print(f"trained in {time.process_time() - used:.0f} s of a core", flush=True)
    return task


def _answered(task: VqaTask, samples: Sequence[Sample], asked: Sequence[Question]) -> list[dict[str, Any]]:
    """A row for all questions, each kind and each language."""
    batches: Iterator[Batch] = still(samples, VIT.image_px)
    found = [one for batch in batches for one in task.predict(batch)]
    panel = answer_panel(
        [one.question for one in found], [one.answer for one in found], task.answers, most_frequent(asked)
    )
    scores = panel.values([one.question.image_id for one in found], resamples=1000, seed=0)
    return [
        {"questions": name} | {m: {"value": v.value, "low": v.low, "high": v.high} for m, v in row.items()}
        for name, row in scores.items()
    ]


def _lines(rows: Sequence[dict[str, Any]]) -> list[str]:
    shown = [m for m in METRICS if m != "answerable"]
    out = [f"{'':10}" + "".join(f"{m:25}" for m in shown)]
    for row in rows:
        cells = (f"{row[m]['value']:.3f} [{row[m]['low']:.3f}, {row[m]['high']:.3f}]" for m in shown)
        out.append(f"{row['questions']:10}" + "".join(f"{c:25}" for c in cells))
    return [line.rstrip() for line in out]


if __name__ == "__main__":
    main()
