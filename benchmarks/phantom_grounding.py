"""Does a contrast of images and reports point? Phrases about phantoms, against the boxes that were drawn.

    python benchmarks/phantom_grounding.py FOLDER [--steps 600] [--part fresh] [--json]

A tiny `clip` is trained on phantoms and their reports in both languages: it is never shown a box. Then
phrases about every finding of every fresh phantom are compared with the patches: the package's own
("There is consolidation.") and the sentence about it in the phantom's report. The measures are those of
`xraytk evaluate grounding`: CNR is above 0 where the map is higher inside the boxes, and the highest pixel
lies inside them by chance as often as their share of the image. Intervals are over patients. A training
that was stopped goes on. No peer.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from phantom_reports import CALLED, NAMES, still, training
from phantom_set import Sample, load

from xraytk.data.augment import fitted_box
from xraytk.files import checkpoints
from xraytk.models.text_encoder import TextConfig
from xraytk.models.tokens import Vocabulary
from xraytk.models.vit import VitConfig
from xraytk.objectives.clip import ClipConfig, ClipObjective
from xraytk.objectives.words import sentences
from xraytk.progress import Lines
from xraytk.tasks.findings.label import label
from xraytk.tasks.language.grounding import METRICS, grounding_panel, inside, measure, over_pixels
from xraytk.tasks.language.prompts import prompts_of, read_prompts
from xraytk.train.launch import MachineConfig
from xraytk.train.loop import FitPlan, fit
from xraytk.train.optim import OptimConfig

VIT = VitConfig(image_px=128, patch_px=16, width=96, depth=4, heads=4)
TEXT = TextConfig(width=64, depth=2, heads=4, max_tokens=160, min_count=2, dropout=0.0)
CLIP = ClipConfig(width=64, text=TEXT)
BATCH = 32
GAIN = 6.0
"""On the first weights of the patch projection: findings are faint, and positions would drown them."""
LANGS = ("en", "zh")
THRESHOLDS = (0.1, 0.2, 0.3, 0.4, 0.5)


def main() -> None:
    """Train, point, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="for phantoms and the run")
    parser.add_argument("--train", type=int, default=3000, help="phantoms")
    parser.add_argument("--fresh", type=int, default=300, help="phantoms")
    parser.add_argument("--part", choices=("fresh", "held"), default="fresh", help="held: to choose by")
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--lr", type=float, default=1.5e-3)
    parser.add_argument("--name", default="clip", help="of the run")
    parser.add_argument("--size-px", type=int, default=256, help="at which phantoms are made")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    model = _trained(args)
    samples = load(args.folder / "phantoms", args.part, args.fresh, args.size_px, args.seed)
    rows = [row for lang in LANGS for own in (False, True) for row in _pointed(model, samples, lang, own)]
    print(json.dumps(rows) if args.json else "\n".join(_lines(rows)))


def _trained(args: argparse.Namespace) -> ClipObjective:
    """The model, trained unless it is there."""
    samples = load(args.folder / "phantoms", "train", args.train, args.size_px, args.seed)
    texts = {lang: [s.reports[lang] for s in samples] for lang in LANGS}
    torch.manual_seed(args.seed)
    model = ClipObjective(VIT, CLIP, lambda langs, least: Vocabulary.build(texts, least))
    with torch.no_grad():
        model.encoder.project.weight *= GAIN
    folder = args.folder / args.name
    folder.mkdir(parents=True, exist_ok=True)
    plan = FitPlan(
        steps=args.steps,
        batch=BATCH,
        optim=OptimConfig(lr=args.lr, weight_decay=0.02, beta2=0.98),
        save_every=100,
        log_every=20,
        seed=args.seed,
        machine=MachineConfig(device="cpu", micro_batch=BATCH),
    )
    used = time.process_time()
    last = (checkpoints(folder) or [None])[-1]
    batches = training(samples, args.seed, BATCH, VIT.image_px)
    fit(model, batches, plan, folder, config={}, name=folder.name, progress=Lines(), resume_from=last)
    print(f"trained in {time.process_time() - used:.0f} s of a core", flush=True)
    return model.eval()


@torch.no_grad()
def _pointed(model: ClipObjective, samples: Sequence[Sample], lang: str, own: bool) -> list[dict[str, Any]]:
    """A row of measures for each finding, and for all; ``own``: by the sentences of the reports."""
    values, labels, patients = [], [], []
    for batch in still(samples, VIT.image_px):
        patches = model.embed_patches(batch).numpy().reshape(len(batch.image_id), *VIT.grid, -1)
        for row, image_id in enumerate(batch.image_id):
            sample = samples[int(image_id, 16)]
            shape = sample.image.shape
            place = fitted_box(*shape, VIT.size, "letterbox")
            for name in sorted({b.label for b in sample.boxes}):
                edges = [
                    (b.x0 * shape[1], b.y0 * shape[0], b.x1 * shape[1], b.y1 * shape[0])
                    for b in sample.boxes
                    if b.label == name
                ]
                vector = model.embed_text([_phrase(sample, name, lang, own)], lang)[0].numpy()
                near = over_pixels(patches[row] @ vector, VIT.size, place, shape, "linear")
                values.append(measure(near, inside(edges, shape), THRESHOLDS))
                labels.append(name)
                patients.append(image_id)
    scores = grounding_panel(np.asarray(values, np.float64), labels).values(patients, resamples=1000, seed=0)
    return [
        {
            "lang": lang,
            "phrases": "report" if own else "package",
            "finding": finding,
            "count": len(labels) if finding == "all" else labels.count(finding),
        }
        | {m: {"value": v.value, "low": v.low, "high": v.high} for m, v in row.items()}
        for finding, row in scores.items()
    ]


def _phrase(sample: Sample, name: str, lang: str, own: bool) -> str:
    """What is said of a finding: the first sentence of the report that names it, or the package's phrase."""
    called = CALLED[lang][name]
    named = (s for s in sentences(sample.reports[lang]) if label(s, lang).findings[called] in (1, -1))
    prompts = prompts_of(name, lang, "maco", read_prompts(None, set(NAMES)))
    assert prompts is not None
    return next(named, prompts.positive[0]) if own else prompts.positive[0]


def _lines(rows: Sequence[dict[str, Any]]) -> list[str]:
    shown = [m for m in METRICS if m not in ("mIoU", "CNR absolute")]
    out = [f"{'':36}{'n':>5}  " + "".join(f"{m:25}" for m in shown)]
    for row in rows:
        cells = (f"{row[m]['value']:.3f} [{row[m]['low']:.3f}, {row[m]['high']:.3f}]" for m in shown)
        out.append(
            f"{row['lang']} {row['phrases']:8}{row['finding']:25}{row['count']:5}  "
            + "".join(f"{c:25}" for c in cells)
        )
    return [line.rstrip() for line in out]


if __name__ == "__main__":
    main()
