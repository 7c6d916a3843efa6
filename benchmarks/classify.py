"""Does pretraining pay for diseases? The same classifier from scratch and from a checkpoint.

    python benchmarks/classify.py WORKSPACE [--checkpoint RUN] [--out FOLDER] [--quick] [--json]

WORKSPACE holds shards with labels, with all three splits, and unless a checkpoint is named, a
pretraining. For every head, budget of training patients and seed one classifier starts from random
weights and one from the checkpoint; both see the same images as often, the same validation split
chooses their state, and both read the test split once. AUROC is the mean over labels and seeds, and for
each label the mean over seeds; its intervals, and that of the difference, are over resamples of the test
patients, the same for both sides: they say nothing of the spread between seeds, which stands beside
them. The floor is a ridge regression on 32 x 32 pixels of the same images, its penalty chosen on the same
validation split. No peer: what is measured is the gain of pretraining. The same command goes on where it
was stopped.
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import sys
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.linear_model import Ridge

from xraytk import config as configs
from xraytk import evaluate, finetune
from xraytk.data.stream import Stream, StreamConfig
from xraytk.files import Workspace
from xraytk.models.pretrained import Trained, find_trained
from xraytk.progress import Lines, Silent
from xraytk.tasks.metrics.bootstrap import draw
from xraytk.tasks.metrics.labels import auroc
from xraytk.tasks.metrics.panel import Panel, label_panel
from xraytk.tasks.metrics.values import Floats, Value
from xraytk.tasks.probe import Samples
from xraytk.tasks.targets import images_of

STARTS = ("scratch", "checkpoint")
SIDES = ("floor", *STARTS)
SHOWN = (*SIDES, "difference")
FLOOR_PX = 32
PENALTIES = tuple(10.0**power for power in range(-2, 6))
PREDICTIONS = "predictions.jsonl"


def main() -> None:
    """Train and score all, print a table, and with --json one object."""
    args = _arguments()
    trained = find_trained(args.checkpoint, args.workspace)
    rows: list[dict[str, Any]] = []
    pixels = {split: _pixels(args, split) for split in ("train", "val", "test")}
    for head in args.heads:
        for budget in args.budgets:
            found: dict[str, list[Path]] = {start: [] for start in STARTS}
            counts, floors = set(), []
            for seed in range(args.seeds):
                only = _images(args, budget, seed)
                images = len(pixels["train"].ids) if only is None else len(only)
                counts.add(images)
                floors.append(_floor(pixels, only))
                for start in STARTS:
                    found[start].append(_one(args, trained, head, budget, seed, start, images))
            rows.append(
                {"head": head, "budget": budget, "images": max(counts), **_compared(args, found, floors)}
            )
            if not args.json:
                print(_line(rows[-1]), flush=True)
    if args.json:
        machine = platform.processor() or platform.machine()
        print(json.dumps({"machine": machine, "steps": args.steps, "rows": rows}))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("workspace", type=Path)
    parser.add_argument("--shards", help="a shards folder or URL; the workspace's by default")
    parser.add_argument("--checkpoint", type=Path, help="a pretraining: run, step folder or .safetensors")
    parser.add_argument(
        "--out", type=Path, help="folder of the runs; WORKSPACE/benchmarks/classify by default"
    )
    parser.add_argument("--preset", default="vit-b", help="of finetune: optimizer, batch")
    parser.add_argument("--heads", nargs="+", default=["linear", "attention", "vtb"])
    parser.add_argument("--budgets", nargs="+", type=float, default=[0.01, 0.1, 1.0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=1000, help="updates of every run")
    parser.add_argument("--set", nargs="*", default=[], dest="sets", help="KEY=VALUE of finetune, for all")
    parser.add_argument("--bootstrap", type=int, default=2000)
    parser.add_argument("--quick", action="store_true", help="that it runs: tiny, 1 seed, 2 budgets, 8 steps")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    args.out = args.out or args.workspace / "benchmarks" / "classify"
    if args.quick:
        args.preset, args.seeds, args.steps, args.bootstrap = "tiny", 1, 8, 200
        args.budgets, args.heads = [0.5, 1.0], ["linear", "vtb"]
    return args


def _images(args: argparse.Namespace, budget: float, seed: int) -> frozenset[str] | None:
    """Training images of a budget; None for all."""

    def stream(**more: Any) -> Stream:
        shards = args.shards or Workspace(args.workspace).shards
        return Stream(shards, "train", StreamConfig(image_px=1), **more)

    return images_of(budget, seed, stream)


def _pixels(args: argparse.Namespace, split: str) -> Samples:
    """The images of a split at 32 x 32, as rows of numbers in [0, 1], and their labels."""
    shards = args.shards or Workspace(args.workspace).shards
    stream = Stream(shards, split, StreamConfig(image_px=FLOOR_PX), needs=frozenset({"image", "labels"}))
    ids: list[str] = []
    rows, truth = [], []
    for batch in stream.once(batch=64):
        ids += batch.image_id
        rows.append(batch.image.flatten(1).numpy() / np.float32(255))
        truth.append(batch.labels.double().numpy())
    known = np.concatenate(truth)[:, np.argsort(stream.labels)]  # as in `_panel`
    return Samples(tuple(ids), ("",) * len(ids), np.concatenate(rows), known)


def _floor(pixels: dict[str, Samples], only: frozenset[str] | None) -> Samples:
    """The test images with what a ridge regression on pixels says of every label in place of pixels."""
    train, val, test = (pixels[split] for split in ("train", "val", "test"))
    if only is not None:
        train = train.at(np.flatnonzero([name in only for name in train.ids]))
    said = np.empty(test.truth.shape, np.float32)
    for c in range(test.truth.shape[1]):
        known, tuned = (~np.isnan(part.truth[:, c]) for part in (train, val))
        one = np.ones((1, int(tuned.sum())))
        models = [Ridge(alpha).fit(train.x[known], train.truth[known, c]) for alpha in PENALTIES]
        values = [auroc(model.predict(val.x[tuned]), val.truth[tuned, c])(one)[0] for model in models]
        said[:, c] = models[int(np.nanargmax(values))].predict(test.x)
    return replace(test, x=said)


def _one(
    args: argparse.Namespace, trained: Trained, head: str, budget: float, seed: int, start: str, images: int
) -> Path:
    """Train one classifier, read the test split once, and return its predictions."""
    name = f"{head}-{start}-{budget:g}-{seed}"
    flags: dict[str, Any] = {
        "work": args.workspace,
        "shards": args.shards,
        "task": "classify",
        "out": args.out / name,
        "name": name,
        "steps": args.steps,
        "seed": seed,
        "label_budget": budget,
        "head.kind": head,
        "data.image_px": trained.config.image_px,
        "data.fit": trained.fit,
        "init": trained.weights if start == "checkpoint" else finetune.SCRATCH,
    }
    if start == "scratch":
        flags |= {f"encoder.{key}": value for key, value in configs.to_dict(trained.config).items()}
    made = configs.load(finetune.FinetuneConfig, preset=args.preset, sets=args.sets, flags=flags)
    most = 2 ** int(math.log2(images))
    if made.batch > most:  # a small budget has fewer images than a batch
        made = configs.load(
            finetune.FinetuneConfig, preset=args.preset, sets=args.sets, flags={**flags, "batch": most}
        )
    with nullcontext(Silent()) if args.json else Lines() as progress:
        finetune.run(made, progress)
        if not (made.folder / PREDICTIONS).is_file():
            asked = evaluate.EvaluateConfig(
                work=args.workspace, shards=args.shards, checkpoint=made.folder, task="classify", bootstrap=0
            )
            evaluate.run(asked, progress)
    return made.folder / PREDICTIONS


def _compared(
    args: argparse.Namespace, found: dict[str, list[Path]], floors: list[Samples]
) -> dict[str, Any]:
    """Mean over labels and seeds of the floor and both starts, and of their difference, with intervals."""
    panels: dict[str, list[Panel]] = {}
    patients: list[str] = []
    ids: list[str] = []
    for start, paths in found.items():
        panels[start] = []
        for path in paths:
            lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
            here = [line["image_id"] for line in lines]
            if ids and here != ids:
                raise SystemExit(f"{path} is of other test images; choose another --out")
            ids, patients = here, [line["patient_id"] for line in lines]
            panels[start].append(_panel(lines))

    names = list(panels[STARTS[0]][0].rows)  # the mean is the last
    at = {name: i for i, name in enumerate(floors[0].ids)}
    order = [at[name] for name in ids]
    panels["floor"] = [
        label_panel(f.x[order].astype(np.float64), f.truth[order], names[:-1], None, metrics=("auroc",))
        for f in floors
    ]

    def means(weights: Floats) -> Floats:
        low, a, b = (np.mean([p.score(weights) for p in panels[side]], axis=0) for side in SIDES)
        return np.concatenate([low, a, b, b - a], axis=1)  # (R, 4 * (C + 1))

    values = draw(means, patients, resamples=args.bootstrap, seed=0).values()
    once = np.ones((1, len(ids)))
    spread = {start: [float(p.score(once)[0, -1]) for p in panels[start]] for start in SIDES}
    by_label = {
        label: {side: _plain(values[c + i * len(names)]) for i, side in enumerate(SHOWN)}
        for c, label in enumerate(names)
    }
    facts = {"seeds": spread, "test_images": len(ids), "test_patients": len(set(patients))}
    return {**by_label.pop(names[-1]), "labels": by_label, **facts}


def _panel(lines: list[dict[str, Any]]) -> Panel:
    labels = sorted(lines[0]["scores"])

    def array(key: str) -> Floats:
        rows = [[line[key].get(label) for label in labels] for line in lines]
        return np.array([[np.nan if v is None else v for v in row] for row in rows], np.float64)

    return label_panel(array("scores"), array("truth"), labels, None, metrics=("auroc",))


def _plain(value: Value) -> dict[str, float]:
    return {"value": value.value, "low": value.low, "high": value.high}


def _line(row: dict[str, Any]) -> str:
    parts = [f"{row['head']:10} {row['budget']:5.0%} of the patients, {row['images']:6,} images "]
    seeds = "; ".join(f"{s}: {', '.join(f'{v:.3f}' for v in row['seeds'][s])}" for s in SIDES)
    lines = [f"{''.join(parts)}{_values(row)}AUROC (seeds: {seeds})"]
    lines += [f"    {label:30} {_values(values)}" for label, values in row["labels"].items()]
    return "\n".join(lines)


def _values(row: dict[str, Any]) -> str:
    shown = ((name, row[name]) for name in SHOWN)
    return "".join(f"{n} {v['value']:+.3f} [{v['low']:+.3f}, {v['high']:+.3f}]  " for n, v in shown)


if __name__ == "__main__":
    sys.exit(main())
