"""Which patches to hide? The same pretraining under each masking policy, judged by a linear probe.

    python benchmarks/masking.py WORK --out OUT [--policies contour random ...] [--seeds 3] [--steps 2000]
        [--preset tiny] [--set KEY=VALUE ...] [--quick] [--json]

WORK is a workspace with shards, contours and labels. For every seed each policy trains the same encoder
on the same images in the same order; what differs is which patches are hidden. The ratio is that of the
policy, as is the number of visible patches, which the table shows. Each encoder is frozen and probed on
the test patients; a difference is that to the policy `random` with the same seed. A run that was stopped
goes on; runs and probes that are there are not made again.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

from xraytk import evaluate, pretrain
from xraytk.config import load
from xraytk.objectives.masking import Policy, visible_count
from xraytk.pretrain import PretrainConfig
from xraytk.progress import Lines, Progress, Silent
from xraytk.tasks.probe import ProbeConfig

BASE = "random"


def trained(config: PretrainConfig, policy: str, seed: int, out: Path, progress: Progress) -> Path:
    """Pretrain under one policy, or go on with it; the run folder."""
    folder = out / f"{policy}-{seed}"
    options = {**config.options, "mask": policy}
    pretrain.run(replace(config, options=options, seed=seed, out=folder), progress)
    return folder


def probed(work: Path, run: Path, bootstrap: int, progress: Progress) -> dict[str, Any]:
    """AUROC of a linear probe, the mean over labels, with its interval over patients."""
    kept = run / "masking.json"
    if not kept.is_file():
        config = evaluate.EvaluateConfig(
            work=work,
            checkpoint=run,
            task="linear-probe",
            again=True,
            bootstrap=bootstrap,
            probe=ProbeConfig(),
        )
        scored = evaluate.run(config, progress).runs[0]
        tables = json.loads(scored.files[0].read_text(encoding="utf-8"))["tables"]
        kept.write_text(json.dumps(tables["labels"]["macro"]["auroc"]))
    found: dict[str, Any] = json.loads(kept.read_text(encoding="utf-8"))
    if found["value"] is None:
        sys.exit(f"no label has both values among the test images of {work}: no AUROC; take more patients")
    return found


def rows_of(auroc: dict[tuple[str, int], dict[str, Any]], config: PretrainConfig) -> list[dict[str, Any]]:
    """One row a policy."""
    seeds = sorted({seed for _, seed in auroc})
    rows = []
    for policy in dict.fromkeys(policy for policy, _ in auroc):
        values = [auroc[policy, seed]["value"] for seed in seeds]
        hidden = (float(config.options.get("inside", 0.95)), float(config.options.get("outside", 0.85)))
        shown = visible_count(policy, config.vit.grid, *hidden)  # type: ignore[arg-type]
        row: dict[str, Any] = {"case": policy, "visible": shown, "auroc": statistics.mean(values)}
        row |= {"lowest": min(values), "highest": max(values), "runs": len(values)}
        row["intervals"] = [[auroc[policy, seed][end] for end in ("low", "high")] for seed in seeds]
        if (BASE, seeds[0]) in auroc:
            row["differences"] = [auroc[policy, s]["value"] - auroc[BASE, s]["value"] for s in seeds]
        rows.append(row)
    return rows


def main() -> None:
    """Train, probe, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("work", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--policies", nargs="+", default=list(get_args(Policy)), choices=get_args(Policy))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--preset", default="tiny")
    parser.add_argument("--set", action="append", default=[], dest="sets", metavar="KEY=VALUE")
    parser.add_argument("--quick", action="store_true", help="two policies, one seed, 20 steps")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    if given.quick:
        given.policies, given.seeds, given.steps = [BASE, "contour"], 1, 20
    flags = {"work": given.work, "steps": given.steps}
    config = load(PretrainConfig, preset=given.preset, sets=given.sets, flags=flags)
    auroc = {}
    with nullcontext(Silent()) if given.json else Lines() as progress:
        for seed in range(given.seeds):
            for policy in given.policies:
                run = trained(config, policy, seed, given.out, progress)
                auroc[policy, seed] = probed(given.work, run, 200 if given.quick else 2000, progress)
    rows = rows_of(auroc, config)
    if given.json:
        json.dump({"rows": rows}, sys.stdout, indent=2)
        return
    print(f"{'policy':14} visible  AUROC mean [lowest, highest] of seeds   less {BASE}, by seed")
    for row in rows:
        apart = ", ".join(f"{d:+.3f}" for d in row.get("differences", []))
        text = f"{row['auroc']:.3f} [{row['lowest']:.3f}, {row['highest']:.3f}]"
        print(f"{row['case']:14} {row['visible']:7}  {text:38}  {apart}")


if __name__ == "__main__":
    main()
