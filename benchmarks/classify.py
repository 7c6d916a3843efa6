"""Does pretraining pay for diseases? The same classifier from scratch and from a checkpoint.

    python benchmarks/classify.py WORKSPACE [--checkpoint RUN] [--out FOLDER] [--quick] [--json]

WORKSPACE holds shards with labels, with all three splits, and unless a checkpoint is named, a
pretraining. For every head, budget of training patients and seed one classifier starts from random
weights and one from the checkpoint; both see the same images as often, the same validation split
chooses their state, and both read the test split once. AUROC is the mean over labels and seeds, and for
each label the mean over seeds; its intervals, and that of the difference, are over resamples of the test
patients, the same for both sides: they say nothing of the spread between seeds, which stands beside
them. No peer: what is
measured is the gain of pretraining. The same command goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np

from xraytk import config as configs
from xraytk import evaluate, finetune
from xraytk.data.stream import Stream, StreamConfig
from xraytk.files import Workspace
from xraytk.models.pretrained import Trained, find_trained
from xraytk.progress import Lines, Silent
from xraytk.tasks.metrics.bootstrap import draw
from xraytk.tasks.metrics.panel import Panel, label_panel
from xraytk.tasks.metrics.values import Floats, Value
from xraytk.tasks.targets import images_of

STARTS = ("scratch", "checkpoint")
PREDICTIONS = "predictions.jsonl"


def main() -> None:
    """Train and score all, print a table, and with --json one object."""
    args = _arguments()
    trained = find_trained(args.checkpoint, args.workspace)
    rows: list[dict[str, Any]] = []
    for head in args.heads:
        for budget in args.budgets:
            found: dict[str, list[Path]] = {start: [] for start in STARTS}
            counts = set()
            for seed in range(args.seeds):
                images = _images(args, budget, seed)
                counts.add(images)
                for start in STARTS:
                    found[start].append(_one(args, trained, head, budget, seed, start, images))
            rows.append({"head": head, "budget": budget, "images": max(counts), **_compared(args, found)})
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


def _images(args: argparse.Namespace, budget: float, seed: int) -> int:
    """Training images of a budget."""

    def stream(**more: Any) -> Stream:
        shards = args.shards or Workspace(args.workspace).shards
        return Stream(shards, "train", StreamConfig(image_px=1), **more)

    only = images_of(budget, seed, stream)
    return stream(needs=frozenset()).count if only is None else len(only)


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


def _compared(args: argparse.Namespace, found: dict[str, list[Path]]) -> dict[str, Any]:
    """Mean over labels and seeds of both starts, and their difference, with intervals."""
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

    def means(weights: Floats) -> Floats:
        a, b = (np.mean([p.score(weights) for p in panels[start]], axis=0) for start in STARTS)
        return np.concatenate([a, b, b - a], axis=1)  # (R, 3 * (C + 1))

    values = draw(means, patients, resamples=args.bootstrap, seed=0).values()
    labels = panels[STARTS[0]][0].rows  # the mean is the last
    once, names = np.ones((1, len(ids))), (*STARTS, "difference")
    spread = {start: [float(p.score(once)[0, -1]) for p in panels[start]] for start in STARTS}
    by_label = {
        label: {name: _plain(values[c + i * len(labels)]) for i, name in enumerate(names)}
        for c, label in enumerate(labels)
    }
    facts = {"seeds": spread, "test_images": len(ids), "test_patients": len(set(patients))}
    return {**by_label.pop(labels[-1]), "labels": by_label, **facts}


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
    seeds = "; ".join(f"{s}: {', '.join(f'{v:.3f}' for v in row['seeds'][s])}" for s in STARTS)
    lines = [f"{''.join(parts)}{_values(row)}AUROC (seeds: {seeds})"]
    lines += [f"    {label:30} {_values(values)}" for label, values in row["labels"].items()]
    return "\n".join(lines)


def _values(row: dict[str, Any]) -> str:
    shown = ((name, row[name]) for name in (*STARTS, "difference"))
    return "".join(f"{n} {v['value']:+.3f} [{v['low']:+.3f}, {v['high']:+.3f}]  " for n, v in shown)


if __name__ == "__main__":
    sys.exit(main())
