"""Does pretraining pay? A frozen encoder against the same encoder with fresh weights.

    python benchmarks/probe.py WORKSPACE [--checkpoint RUN] [--out FOLDER] [--quick] [--json]

WORKSPACE holds shards with labels and, unless a checkpoint is named, a pretraining. Linear probe and
nearest neighbours, at 100 %, 10 % and 1 % of the training patients, against three encoders with fresh
weights and against the image at 32 x 32; 2,000 resamples of the patients of the test split, the same
for both sides of each difference. No peer: what is measured is the gain of pretraining.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from xraytk import evaluate
from xraytk.progress import Lines, Silent
from xraytk.tasks.probe import PROBES, ProbeConfig

BUDGETS = (1.0, 0.1, 0.01)


def main() -> None:
    """Probe, print a table, and with --json one object."""
    args = _arguments()
    budgets = BUDGETS[:1] if args.quick else BUDGETS
    rows: list[dict[str, Any]] = []
    for task in PROBES:
        config = evaluate.EvaluateConfig(
            work=args.workspace,
            shards=args.shards,
            checkpoint=args.checkpoint,
            task=task,
            out=None if args.out is None else args.out / task,
            split=args.split,
            again=args.again,
            bootstrap=200 if args.quick else 2000,
            probe=ProbeConfig(
                compare=("random", "pixels"), seeds=args.seeds, budgets=budgets, pool=args.pool
            ),
        )
        with nullcontext(Silent()) if args.json else Lines() as progress:
            scored = evaluate.run(config, progress).runs[0]
        tree = json.loads(scored.files[0].read_text(encoding="utf-8"))
        rows += _rows(task, tree["tables"])
        if not args.json:
            print("\n".join(["", f"{task}, {scored.images:,} images", *(f"  {n}" for n in scored.notes)]))
    if args.json:
        print(json.dumps({"machine": platform.processor() or platform.machine(), "rows": rows}))
        return
    print(f"\n{'':64}{'AUROC':24}{'average precision':24}")
    for row in rows:
        print(f"{row['task'] + ': ' + row['case']:64}{_text(row['auroc']):24}{_text(row['auprc']):24}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("workspace", type=Path)
    parser.add_argument("--shards", help="a shards folder or URL; the workspace's by default")
    parser.add_argument("--checkpoint", type=Path, help="a run, step folder or .safetensors file")
    parser.add_argument("--out", type=Path, help="folder of the results; beside the weights by default")
    parser.add_argument("--split", default="test", choices=["test", "val"])
    parser.add_argument("--pool", default="mean", choices=["mean", "cls", "both"])
    parser.add_argument("--seeds", type=int, default=3, help="encoders with fresh weights")
    parser.add_argument("--again", action="store_true", help="read the test split again")
    parser.add_argument("--quick", action="store_true", help="one budget, 200 resamples")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


def _rows(task: str, tables: dict[str, Any]) -> list[dict[str, Any]]:
    """The mean over labels of every table that has one."""
    out = []
    for name, table in tables.items():
        if "macro" in table and "auroc" in table["macro"]:
            case = "this encoder" if name == "labels" else name
            macro = table["macro"]
            out.append({"task": task, "case": case, **{m: macro[m] for m in ("auroc", "auprc")}})
    return out


def _text(value: dict[str, Any]) -> str:
    if value["value"] is None:
        return "-"
    return f"{value['value']:+.3f} [{value['low']:+.3f}, {value['high']:+.3f}]"


if __name__ == "__main__":
    sys.exit(main())
