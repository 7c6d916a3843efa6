"""Train the default report model of the package on phantoms, and write its folder.

    python examples/train_default_model.py --out xraytk/models/default

Took 48 minutes on two busy cores. First the encoder learns to name findings with side and zone, which
is a clear task; then the decoder learns to write from what it sees. The same seed gives the same
phantoms; weights differ a little between machines.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from xraytk.data import augment, intensity, pool, synthetic
from xraytk.files import write_json
from xraytk.models.language import DecoderConfig
from xraytk.models.tokens import Vocabulary
from xraytk.models.vit import VitConfig
from xraytk.progress import Lines
from xraytk.records import Batch
from xraytk.tasks import saved
from xraytk.tasks.classification import ClassifyTask, HeadConfig
from xraytk.tasks.reporting import ReportTask
from xraytk.train.launch import MachineConfig
from xraytk.train.loop import FitPlan, fit
from xraytk.train.optim import OptimConfig

VIT = VitConfig(image_px=256, patch_px=32, width=160, depth=4, heads=4)
DECODER = DecoderConfig(width=96, depth=2, heads=4, max_tokens=160, min_count=2, dropout=0.1)
BATCH = 16
CHANCE = augment.AugmentConfig(crop_scale=(0.9, 1.0), rotate_deg=4.0, contrast=0.2)
GAIN = 6.0
"""On the first weights of the patch projection: findings are faint, and positions would drown them."""

SAID = {  # a finding is named when one of its phrases is there; phrases that deny it are removed first
    "en": {
        "Cardiomegaly": ("cardiomegaly", "enlarged"),
        "Consolidation": ("consolidation", "airspace opacity"),
        "Nodule": ("nodule",),
        "Pleural Effusion": ("pleural effusion",),
        "Pneumothorax": ("pneumothorax",),
    },
    "zh": {
        "Cardiomegaly": ("心影增大", "普大型增大"),
        "Consolidation": ("炎症", "片状高密度影", "密度增高影"),
        "Nodule": ("结节",),
        "Pleural Effusion": ("积液",),
        "Pneumothorax": ("气胸",),
    },
}


CARD = """# Default report model of xraytk

Writes a chest radiograph report in English or Chinese. **Trained on synthetic phantoms only: it
says nothing about a real patient.** It is here so that `xraytk report` shows what a finetuned
model of your own will do. Research software, not a medical device.

- Data: {phantoms} phantom radiographs made by `xraytk.data.synthetic` (seed {seed}), with their
  exact reports in both languages. No radiograph of a person.
- Licence: Apache-2.0, as the package.
- Model: ViT encoder ({vit}) and Transformer decoder
  ({decoder}); {millions:.2f} M parameters, stored as float16.
- Made by: `python examples/train_default_model.py --out xraytk/models/default
  --phantoms {phantoms} --steps {steps} --seed {seed}`

## On {fresh} fresh phantoms (beam 3)

A finding counts as named when a look-up of phrases finds it, not denied, in the report; its row
is F1 against what is in the image. What has a low row here, the model misses: it was trained for
minutes, at a resolution at which nodules and small effusions are a few pixels.

{head}
{rows}
"""


@dataclass(frozen=True)
class Sample:
    """A phantom as the model sees it, and all that is true of it."""

    image: NDArray[np.uint8]
    labels: dict[str, int]
    details: tuple[str, ...]
    reports: dict[str, str]


def make(size_px: int, seed: int) -> Sample:
    """Make one phantom; shrink it to the model's size."""
    cv2.setNumThreads(1)
    phantom = synthetic.make_phantom(seed, size_px=size_px)
    grey = np.clip(np.rint(phantom.pixels * 255), 0, 255).astype(np.uint8)
    _, _, height, width = augment.letterbox_box(*grey.shape, VIT.image_px)
    small = cv2.resize(grey, (width, height), interpolation=cv2.INTER_AREA)
    details = {f.name for f in phantom.findings}
    for f in phantom.findings:
        details |= {f"{f.name} {rest}".strip() for rest in (f.side, f"{f.side} {f.zone}".strip(), f.degree)}
    return Sample(np.asarray(small, np.uint8), dict(phantom.labels), tuple(sorted(details)), phantom.reports)


def make_all(seeds: Sequence[int], size_px: int, workers: int) -> list[Sample]:
    """Make phantoms on several processes."""
    began = time.monotonic()
    found = dict(pool.each(partial(make, size_px), seeds, workers))
    made = {seed: sample for seed, sample in found.items() if sample is not None}
    if len(made) < len(found):
        raise SystemExit(f"{len(found) - len(made)} phantoms were not made: their processes died or hung")
    print(f"{len(made)} phantoms in {time.monotonic() - began:.0f} s", flush=True)
    return [made[seed] for seed in seeds]


def batch_of(
    samples: Sequence[Sample], details: Sequence[str], draws: Sequence[augment.Augmentation]
) -> Batch:
    """Put samples into squares and stack them."""
    placed = [
        augment.place(intensity.change(s.image, draw.intensity), VIT.image_px, "letterbox", draw)
        for s, draw in zip(samples, draws, strict=True)
    ]
    valid = torch.from_numpy(np.stack([where for _, where in placed]))
    return Batch(
        image=torch.from_numpy(np.stack([image for image, _ in placed]))[:, None],
        valid=valid,
        lung=torch.zeros(1, 1, 1, dtype=torch.bool).expand_as(valid),
        has_contour=torch.zeros(len(samples), dtype=torch.bool),
        labels=torch.tensor([[float(d in s.details) for d in details] for s in samples]),
        reports={lang: [s.reports[lang] for s in samples] for lang in ("en", "zh")},
        image_id=[f"{i:016x}" for i in range(len(samples))],
        patient_hash=[f"{i:016x}" for i in range(len(samples))],
        view=["PA"] * len(samples),
    )


def training(
    samples: Sequence[Sample], details: Sequence[str], seed: int
) -> Callable[[int], Iterator[Batch]]:
    """Return what `fit` reads: micro-batches without end, from any step on."""

    def batches(step: int) -> Iterator[Batch]:
        while True:
            rng = np.random.default_rng([seed, step])
            chosen = rng.choice(len(samples), BATCH, replace=len(samples) < BATCH)
            draws = [augment.draw(rng, CHANCE) for _ in range(BATCH)]
            yield batch_of([samples[i] for i in chosen], details, draws)
            step += 1

    return batches


def still(samples: Sequence[Sample], details: Sequence[str]) -> Iterator[Batch]:
    """All samples once, as they are."""
    for at in range(0, len(samples), BATCH):
        part = samples[at : at + BATCH]
        yield batch_of(part, details, [augment.NONE] * len(part))


def plan(steps: int, seed: int) -> FitPlan:
    """Settings of one stage."""
    optim = OptimConfig(lr=1e-3, weight_decay=0.02, beta2=0.98, warmup_share=0.03)
    machine = MachineConfig(device="cpu", micro_batch=BATCH)
    return FitPlan(
        steps=steps,
        batch=BATCH,
        optim=optim,
        save_every=max(1, steps // 4),
        log_every=20,
        seed=seed,
        machine=machine,
    )


def named(text: str, lang: str) -> set[str]:
    """Findings that a report names as present: a look-up of phrases, sentence by sentence."""
    out: set[str] = set()
    for sentence in text.lower().replace("。", ".").replace("，", ".").replace("；", ".").split("."):
        for finding, phrases in SAID[lang].items():
            for phrase in phrases:
                at = sentence.find(phrase)
                if at < 0:
                    continue
                before = sentence[:at]
                denied = any(word in before for word in ("no ", "without", "未见", "无"))
                if not denied:
                    out.add(finding)
    return out


def score(task: ReportTask, fresh: Sequence[Sample]) -> dict[str, dict[str, float]]:
    """Text metrics and F1 of the named findings on fresh phantoms, for each language."""
    table: dict[str, dict[str, float]] = {}
    for lang in task.langs:
        predictions = [p for batch in still(fresh, ()) for p in task.predict(batch, lang)]
        values = task.score(predictions, lang, resamples=0)
        table[lang] = {name: value.value for name, value in values.items()}
        hits, said, there = 0, 0, 0
        for finding in SAID[lang]:
            found = np.array([finding in named(p.text, lang) for p in predictions])
            truth = np.array([s.labels[finding] == 1 for s in fresh])
            both = int((found & truth).sum())
            table[lang][finding] = 2 * both / max(1, int(found.sum() + truth.sum()))
            hits, said, there = hits + both, said + int(found.sum()), there + int(truth.sum())
        table[lang]["findings F1 (micro)"] = 2 * hits / max(1, said + there)
    return table


def card(args: argparse.Namespace, table: dict[str, dict[str, float]], parameters: int, fresh: int) -> str:
    """Text of MODEL_CARD.md."""
    names = list(next(iter(table.values())))
    rows = [
        f"| {name} | " + " | ".join(f"{table[lang][name]:.3f}" for lang in table) + " |" for name in names
    ]
    return CARD.format(
        phantoms=args.phantoms,
        seed=args.seed,
        steps=f"{args.steps[0]} {args.steps[1]}",
        vit=f"{VIT.image_px} px, patch {VIT.patch_px}, width {VIT.width}, depth {VIT.depth}",
        decoder=f"width {DECODER.width}, depth {DECODER.depth}",
        millions=parameters / 1e6,
        fresh=fresh,
        head="| | " + " | ".join(table) + " |\n|---|" + "---|" * len(table),
        rows="\n".join(rows),
    )


def main() -> None:
    """Run both stages, score, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="model folder to write")
    parser.add_argument("--phantoms", type=int, default=2000)
    parser.add_argument("--fresh", type=int, default=200, help="phantoms to score on")
    parser.add_argument("--steps", type=int, nargs=2, default=(4500, 1500), help="of the two stages")
    parser.add_argument("--size-px", type=int, default=512)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2)
    args = parser.parse_args()
    first = 100_000 * (args.seed + 1)
    samples = make_all(range(first, first + args.phantoms), args.size_px, args.workers)
    details = sorted({d for s in samples for d in s.details})
    with tempfile.TemporaryDirectory() as folder:
        task = train(samples, details, args.steps, args.seed, Path(folder))
    fresh = make_all(range(first + 50_000, first + 50_000 + args.fresh), args.size_px, args.workers)
    saved.save(
        args.out,
        task,
        {"step": args.steps[1], "data": {"image_px": VIT.image_px, "fit": "letterbox"}},
        half=True,
    )
    task = saved.load(args.out, torch.device("cpu")).learner  # score what is stored, rounding and all
    table = score(task, fresh)
    print(json.dumps(table, indent=2))
    text = card(args, table, sum(p.numel() for p in task.parameters()), len(fresh))
    (args.out / "MODEL_CARD.md").write_text(text, encoding="utf-8")
    write_json(args.out / "scores.json", table)


def train(
    samples: Sequence[Sample], details: Sequence[str], steps: Sequence[int], seed: int, folder: Path
) -> ReportTask:
    """Stage one: findings with side and zone. Stage two: reports, from that encoder."""
    torch.manual_seed(seed)
    rates = [float(np.mean([d in s.details for s in samples])) for d in details]
    namer = ClassifyTask(VIT, HeadConfig(kind="attention", weight="none"), details, rates)
    with torch.no_grad():
        namer.encoder.project.weight *= GAIN
    for path in ("name", "write"):
        (folder / path).mkdir()
    batches = training(samples, details, seed)
    fit(namer, batches, plan(steps[0], seed), folder / "name", config={}, name="name", progress=Lines())
    texts = {lang: [s.reports[lang] for s in samples] for lang in ("en", "zh")}
    task = ReportTask(VIT, DECODER, Vocabulary.build(texts, DECODER.min_count), ("en", "zh"), frozen=True)
    task.encoder.load_state_dict(namer.encoder.state_dict())
    fit(
        task,
        batches,
        plan(steps[1], seed + 1),
        folder / "write",
        config={},
        name="write",
        progress=Lines(),
    )
    return task


if __name__ == "__main__":
    main()
