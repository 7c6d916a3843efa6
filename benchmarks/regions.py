"""Does pretraining pay for masks and boxes? The same decoder from scratch and from a checkpoint.

    python benchmarks/regions.py [WORKSPACE] [--checkpoint RUN] [--tasks segment] [--out FOLDER] [--quick]

WORKSPACE holds shards with contours and boxes, or what the one task needs, in all three splits, and
unless a checkpoint is named, a pretraining. Without one, phantoms are made, ingested, outlined,
sharded and pretrained on in --out. For each task one model starts from random weights and one from the
checkpoint; both see the same images as often, the validation split chooses their state and thresholds,
and both read the test split once.
Lungs by the mean Dice, boxes by the RSNA score; intervals, also of the difference, over the test
patients, the same draws for both sides. No peer: what is measured is the gain of pretraining. The same
command goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import platform
import sys
from pathlib import Path
from typing import Any

import numpy as np

from xraytk import config as configs
from xraytk import evaluate, finetune, ingest, mask, pretrain, shard
from xraytk.data import synthetic
from xraytk.files import Workspace, checkpoints
from xraytk.models.pretrained import Trained, find_trained
from xraytk.progress import Lines, Progress, Silent
from xraytk.tasks.metrics.bootstrap import draw
from xraytk.tasks.metrics.masks import ratios
from xraytk.tasks.metrics.values import Floats, Value
from xraytk.tasks.scoring.regions import mean_parts

STARTS = ("scratch", "checkpoint")
SCORES = {"segment": "dice", "detect": "rsna_map"}


def main() -> None:
    """Train and score all, print a table, and with --json one object."""
    args = _arguments()
    with contextlib.nullcontext(Silent()) if args.json else Lines() as progress:
        if args.workspace is None:
            args.workspace = _phantoms(args, progress)
        trained = find_trained(args.checkpoint, args.workspace)
        rows = []
        for task in args.tasks:
            found = {start: _one(args, trained, task, start, progress) for start in STARTS}
            rows.append({"task": task, "score": SCORES[task], **_compared(args, task, found)})
            if not args.json:
                print(_line(rows[-1]), flush=True)
    if args.json:
        machine = platform.processor() or platform.machine()
        print(json.dumps({"machine": machine, "steps": args.steps, "rows": rows}))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("workspace", type=Path, nargs="?")
    parser.add_argument("--shards", help="a shards folder or URL; the workspace's by default")
    parser.add_argument("--checkpoint", type=Path, help="a pretraining: run, step folder or .safetensors")
    parser.add_argument("--out", type=Path, default=Path("regions-benchmark"), help="folder of the runs")
    parser.add_argument("--tasks", nargs="+", default=list(SCORES), choices=list(SCORES))
    parser.add_argument("--preset", default="tiny", help="of finetune: optimizer, batch")
    parser.add_argument("--steps", type=int, default=400, help="updates of every run")
    parser.add_argument("--patients", type=int, default=240, help="phantoms")
    parser.add_argument("--pretrain-steps", type=int, default=600, help="on phantoms")
    parser.add_argument("--set", nargs="*", default=[], dest="sets", help="KEY=VALUE of finetune, for all")
    parser.add_argument("--bootstrap", type=int, default=2000)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="that it runs: 12 phantoms, 4 steps")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    if args.quick:
        args.steps, args.patients, args.pretrain_steps, args.bootstrap = 4, 12, 2, 50
    return args


def _phantoms(args: argparse.Namespace, progress: Progress) -> Path:
    """A workspace of phantoms, with lungs, boxes and a pretraining."""
    folder, work = args.out / "phantoms", Workspace(args.out / "work")
    if not (folder / "labels.csv").exists():  # it is written last
        size = 160 if args.quick else 512
        synthetic.write_archive(folder, patients=args.patients, size_px=size, progress=progress)
    made = ingest.IngestConfig(
        source=folder / "dicom",
        work=work.root,
        labels=folder / "labels.csv",
        boxes=folder / "boxes.csv",
        key=_key(args.out),
        split=(0.6, 0.15, 0.25),
        workers=args.workers,
    )
    ingest.run(made, progress)
    mask.run(mask.MaskConfig(work=work.root, workers=args.workers), progress)
    shard.run(shard.ShardConfig(work=work.root, workers=args.workers), progress)
    if not checkpoints(work.runs / "pretrain"):
        flags = {"work": work.root, "steps": args.pretrain_steps, "batch": 4 if args.quick else None}
        pretrain.run(configs.load(pretrain.PretrainConfig, preset="tiny", flags=flags), progress)
    return work.root


def _key(folder: Path) -> Path:
    """A key that everybody may know: phantoms have no secrets."""
    path = folder / "key"
    if not path.exists():
        path.write_text("0" * 64 + "\n")
        path.chmod(0o600)
    return path


def _one(args: argparse.Namespace, trained: Trained, task: str, start: str, progress: Progress) -> Path:
    """Train one model, read the test split once, and return its run."""
    name = f"{task}-{start}"
    flags: dict[str, Any] = {
        "work": args.workspace,
        "shards": args.shards,
        "task": task,
        "out": args.out / name,
        "name": name,
        "steps": args.steps,
        "data.image_px": trained.config.image_px,
        "data.fit": trained.fit,
        "init": trained.weights if start == "checkpoint" else finetune.SCRATCH,
    }
    if start == "scratch":
        flags |= {f"encoder.{key}": value for key, value in configs.to_dict(trained.config).items()}
    made = configs.load(finetune.FinetuneConfig, preset=args.preset, sets=args.sets, flags=flags)
    if args.quick:
        made = configs.load(
            finetune.FinetuneConfig, preset=args.preset, sets=args.sets, flags={**flags, "batch": 4}
        )
    finetune.run(made, progress)
    if not (made.folder / "predictions.jsonl").is_file():
        asked = evaluate.EvaluateConfig(
            work=args.workspace, shards=args.shards, checkpoint=made.folder, bootstrap=args.bootstrap
        )
        evaluate.run(asked, progress)
    return made.folder


def _compared(args: argparse.Namespace, task: str, found: dict[str, Path]) -> dict[str, Any]:
    """Both scores and their difference, checkpoint minus scratch, with intervals over patients."""
    lines = {
        start: [json.loads(line) for line in (path / "predictions.jsonl").read_text().splitlines()]
        for start, path in found.items()
    }
    if len({tuple(line["image_id"] for line in of) for of in lines.values()}) > 1:
        raise SystemExit(f"the runs in {args.out} are of other test images; choose another --out")
    scores = {start: ratios(*mean_parts(_table(task, of))) for start, of in lines.items()}

    def both(weights: Floats) -> Floats:
        scratch, checkpoint = (scores[start](weights)[:, -1] for start in STARTS)
        return np.stack([scratch, checkpoint, checkpoint - scratch], axis=1)

    patients = [line["patient_id"] for line in lines["scratch"]]
    values = draw(both, patients, resamples=args.bootstrap, seed=0).values()
    names = (*STARTS, "difference")
    images = {"images": len(patients), "patients": len(set(patients))}
    return {**images, **{n: _plain(v) for n, v in zip(names, values, strict=True)}}


def _table(task: str, lines: list[dict[str, Any]]) -> Floats:
    """(n, C) scores of images."""
    if task == "segment":
        table = [list(line["dice"].values()) for line in lines]
    else:
        table = [[line["rsna_map"]] for line in lines]
    return np.array(table, dtype=np.float64)


def _plain(value: Value) -> dict[str, float]:
    return {"value": value.value, "low": value.low, "high": value.high}


def _line(row: dict[str, Any]) -> str:
    cells = (
        f"{name} {row[name]['value']:.3f} [{row[name]['low']:.3f}, {row[name]['high']:.3f}]"
        for name in (*STARTS, "difference")
    )
    return f"{row['task']} ({row['score']}), {row['images']} test images: " + ", ".join(cells)


if __name__ == "__main__":
    sys.exit(main())
