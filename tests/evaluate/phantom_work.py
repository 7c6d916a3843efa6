"""A workspace of phantoms with reports, labels and boxes, and pretrainings on it, for these tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from xraytk import pretrain, shard
from xraytk.config import build
from xraytk.data import manifest, pictures
from xraytk.data.synthetic import Finding, Phantom, make_phantom
from xraytk.progress import Silent

SIDE = 64
COUNT = 16
VIT = {"image_px": SIDE, "patch_px": 8, "width": 48, "depth": 2, "heads": 4}
TEXT = {"width": 32, "depth": 1, "heads": 2, "max_tokens": 60, "min_count": 1, "dropout": 0.0}
PIXELS = {"width": 32, "depth": 1, "heads": 2}
OPTIONS: dict[str, dict[str, Any]] = {
    "clip": {"text": TEXT | {"langs": ["en"]}, "width": 32},
    "maco": {"text": TEXT, "pixels": PIXELS, "shuffle": False},
    "mae": {"decoder_width": 32, "decoder_depth": 1, "decoder_heads": 2},
}


def box_of(finding: Finding, phantom: Phantom) -> tuple[float, float, float, float]:
    """A square around a nodule or a consolidation, in pixels."""
    height, width = phantom.pixels.shape
    x, y = finding.center[0] * width, finding.center[1] * height
    reach = max(2.0, finding.size_mm / phantom.spacing_mm / 2)
    return max(0, x - reach), max(0, y - reach), min(width, x + reach), min(height, y + reach)


def phantoms(count: int = COUNT) -> list[Phantom]:
    """Phantoms of which no two have the same report in either language."""
    out: list[Phantom] = []
    seed = 0
    while len(out) < count:
        findings = [["Consolidation"], ["Nodule"], ["Pleural Effusion"], None][seed % 4]
        phantom = make_phantom(seed, size_px=2 * SIDE, findings=findings)
        seed += 1
        if all(phantom.reports[lang] != other.reports[lang] for other in out for lang in ("en", "zh")):
            out.append(phantom)
    return out


def write_phantoms(work: Path, extra: int = 2) -> list[Phantom]:
    """Fill a workspace: `COUNT` phantoms in the training split, the first of them in the others again.

    Args:
        work: The workspace.
        extra: Phantoms in each of the other splits.

    Returns:
        The phantom of each image, whose ids count from 0.
    """
    made = phantoms()
    made = [*made, *made[:extra], *made[:extra]]
    rows, reports, labels, boxes = [], [], [], []
    for number, phantom in enumerate(made):
        split = "train" if number < COUNT else "val" if number < COUNT + extra else "test"
        name = f"{number:016x}"
        path = f"images/{name[:2]}/{name}.png"
        grey = np.rint(phantom.pixels * 65535).astype(np.uint16)
        pictures.write_png(work / "ingest" / path, grey)
        height, width = grey.shape
        sizes = {"width": width, "height": height, "source_width": width, "source_height": height}
        keys = {"image_id": name, "patient_hash": name, "study_hash": name}
        rows.append({**keys, "split": split, "path": path, "view": "PA", **sizes})
        reports.append({"image_id": name, **phantom.reports})
        labels += [{"image_id": name, "label": k, "value": float(v)} for k, v in phantom.labels.items()]
        for finding in phantom.findings:
            if finding.name in ("Nodule", "Consolidation"):
                edges = dict(zip(("x0", "y0", "x1", "y1"), box_of(finding, phantom), strict=True))
                boxes.append({"image_id": name, "label": finding.name, "reader": None, **edges})
    ingest = work / "ingest"
    manifest.write_table(ingest / "manifest" / "part-00000.parquet", manifest.MANIFEST, rows)
    manifest.write_table(ingest / "reports.parquet", manifest.REPORTS, reports)
    manifest.write_table(ingest / "labels.parquet", manifest.LABELS, labels)
    manifest.write_table(ingest / "boxes.parquet", manifest.BOXES, boxes)
    shard.run(shard.ShardConfig(work=work, workers=1))
    return made


def pretrained(work: Path, objective: str, steps: int, vit: dict[str, Any] = VIT, seed: int = 0) -> Path:
    """Train an objective on a workspace, nothing augmented; returns the run folder."""
    tree = {
        "work": str(work),
        "name": objective,
        "objective": objective,
        "options": OPTIONS[objective],
        "vit": vit,
        "data": {"image_px": vit["image_px"], "crop_scale": [1.0, 1.0], "rotate_deg": 0.0},
        "optim": {"lr": 3e-3, "weight_decay": 0.0, "warmup_share": 0.05, "beta2": 0.98},
        "batch": COUNT,
        "steps": steps,
        "seed": seed,
        "figure_every": 0,
        "machine": {"device": "cpu"},
    }
    return pretrain.run(build(pretrain.PretrainConfig, tree), Silent()).run
