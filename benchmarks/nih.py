"""Does pretraining pay on a small adult set? NIH images in folds of patients, scored by view.

    python benchmarks/nih.py DATA [--checkpoint RUN] [--frozen RUN] [--out FOLDER] [--quick] [--json]

DATA holds a `manifest.csv` with image, labels, patient, age, sex, view (PA or AP) and boxes_1024, and
the images. The patients are parted into folds; each fold is the test split of one workspace, the next
one its validation split, the others train. Each workspace is ingested and sharded, and a classifier
and a detector are finetuned on it from random weights and from --checkpoint; the encoders of --frozen
are probed on the same folds, beside fresh weights (others in every fold) and the image at 32 x 32.

Scores are means over the folds of what each says of its own test images; all intervals, and those of
the differences, are over resamples of all patients, the same for both sides. Each fold has a seed of
its own, so that their mean is one over seeds too. The view alone (PA) is scored beside the rest. No
peer: what is measured is the gain of pretraining. The same command goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import csv
import json
import platform
import shutil
import sys
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from xraytk import config as configs
from xraytk import evaluate, finetune, ingest, shard
from xraytk.data.manifest import MANIFEST, read_table, write_whole
from xraytk.evaluate import probes
from xraytk.files import Workspace
from xraytk.models.pretrained import Trained, find_trained
from xraytk.progress import Lines, Progress, Silent
from xraytk.tasks.metrics.bootstrap import draw
from xraytk.tasks.metrics.masks import ratios
from xraytk.tasks.metrics.panel import label_panel
from xraytk.tasks.metrics.values import Floats, Score, Value
from xraytk.tasks.probe import ProbeConfig, Samples, probe
from xraytk.tasks.scoring.regions import mean_parts

FINDING = "Pneumonia"
COMMON = ("Atelectasis", "Edema", "Effusion", "Infiltration", FINDING)
"""Findings of at least 60 images: the mean over labels is over these."""
STARTS = ("scratch", "checkpoint")
GROUPS = ("all", "PA", "AP")
PIXELS = "linear probe, pixels at 32 x 32"
STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
"""Of a probe, without the weakest penalties: there are 400 images to learn from."""
SIDE_PX = 1024


@dataclass(frozen=True)
class Scored:
    """What one side says of the test images of every fold.

    Args:
        ids: By fold, in the order of the rows.
        scores: By fold, (n, C) of `COMMON`.
        truth: Likewise.
    """

    ids: list[list[str]]
    scores: list[Floats]
    truth: list[Floats]


def main() -> None:
    """Make the folds, train and score all, print a table, and with --json one object."""
    args = _arguments()
    with nullcontext(Silent()) if args.json else Lines() as progress:
        every = _ingested(args, progress)
        works = [_workspace(args, every, fold, progress) for fold in range(args.folds)]
        facts = _facts(works[0])
        sides: dict[str, Scored] = {}
        for i, path in enumerate(args.frozen):
            sides |= _probed(args, works, find_trained(path, works[0]), i == 0, progress)
        trained = find_trained(args.checkpoint, works[0]) if args.checkpoint else None
        rows = []
        for task in args.tasks if trained else ():
            runs = {s: [_run(args, trained, task, s, k, progress) for k in range(args.folds)] for s in STARTS}
            if task == "classify":
                sides |= {f"finetuned, {start}": _classified(paths) for start, paths in runs.items()}
            else:
                rows.append(_boxes(args, runs))
    sides["view alone (PA)"] = _view_alone(next(iter(sides.values())), facts) if sides else None
    rows = _table(args, {k: v for k, v in sides.items() if v}, facts) + rows
    if args.json:
        print(json.dumps({"machine": platform.processor() or platform.machine(), "rows": rows}))
        return
    for row in rows:
        cells = (
            f"{n} {v['value']:+.3f} [{v['low']:+.3f}, {v['high']:+.3f}]" for n, v in row["values"].items()
        )
        print(f"{row['case']:58} {'  '.join(cells)}", flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--checkpoint", type=Path, help="the pretraining that is finetuned")
    parser.add_argument("--frozen", type=Path, nargs="*", default=[], help="pretrainings that are probed")
    parser.add_argument("--out", type=Path, default=Path("nih-benchmark"), help="folder of all that is made")
    parser.add_argument("--tasks", nargs="+", default=["classify", "detect"], choices=["classify", "detect"])
    parser.add_argument(
        "--fresh", type=int, default=5, help="encoders with fresh weights, dealt to the folds"
    )
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--preset", default="tiny", help="of finetune: optimizer, batch")
    parser.add_argument("--steps", type=int, default=300, help="updates of every run")
    parser.add_argument("--set", nargs="*", default=[], dest="sets", help="KEY=VALUE of finetune, for all")
    parser.add_argument("--bootstrap", type=int, default=2000)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="that it runs: 4 updates, 50 resamples")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    if args.quick:
        args.steps, args.bootstrap, args.folds = 4, 50, 3
    return args


def _ingested(args: argparse.Namespace, progress: Progress) -> Path:
    """Write the tables that a user would have, and ingest all images once."""
    tables = args.out / "tables"
    tables.mkdir(parents=True, exist_ok=True)
    with (args.data / "manifest.csv").open(newline="", encoding="utf-8") as stream:
        images = {Path(row["image"]).name: row for row in csv.DictReader(stream)}
    facts, labels, boxes = (tables / f"{name}.csv" for name in ("about", "labels", "boxes"))
    about = ((f, f"nih-{r['patient']}", r["view"], r["sex"], r["age"]) for f, r in images.items())
    _write(facts, "file,patient,view,sex,age", about)
    _write(labels, "file,labels", ((file, row["labels"]) for file, row in images.items()))
    _write(
        boxes, "file,label,x,y,width,height", (b for f, r in images.items() for b in _drawn(args.data, f, r))
    )
    key = args.out / "key"
    if not key.exists():  # the set is public, nobody is hidden
        key.write_text("0" * 64 + "\n")
        key.chmod(0o600)
    given = {"metadata": facts, "labels": labels, "boxes": boxes, "key": key}
    work, source = args.out / "all", args.data / "images"
    ingest.run(ingest.IngestConfig(source=source, work=work, workers=args.workers, **given), progress)
    return Workspace(work).ingest


def _workspace(args: argparse.Namespace, every: Path, fold: int, progress: Progress) -> Path:
    """Shard with one fold of the patients as the test split: the same images, another split column."""
    work = args.out / f"fold-{fold}"
    table = read_table(every / "manifest", MANIFEST, "xraytk ingest")
    hashes = table["patient_hash"].to_pylist()
    people = np.random.default_rng(0).permutation(sorted(set(hashes)))
    place = {name: i % args.folds for i, name in enumerate(people.tolist())}
    splits = {fold: "test", (fold + 1) % args.folds: "val"}
    column = pa.array([splits.get(place[name], "train") for name in hashes], pa.string())
    at, here = table.column_names.index("split"), Workspace(work).ingest
    (here / "manifest").mkdir(parents=True, exist_ok=True)
    write_whole(here / "manifest" / "part.parquet", table.set_column(at, table.field(at), column))
    for name in ("labels.parquet", "boxes.parquet", "reports.parquet"):
        shutil.copy(every / name, here / name)
    if not (here / "images").exists():
        (here / "images").symlink_to((every / "images").absolute())
    shard.run(shard.ShardConfig(work=work, also_px=320, workers=args.workers), progress)
    return work


def _write(path: Path, header: str, lines: Any) -> None:
    with path.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([header.split(","), *lines])


def _drawn(data: Path, file: str, row: dict[str, str]) -> list[tuple[Any, ...]]:
    """The boxes of an image, in its own pixels."""
    if not row["boxes_1024"]:
        return []
    from PIL import Image

    with Image.open(data / row["image"]) as image:
        wide, high = (size / SIDE_PX for size in image.size)
    found = []
    for box in row["boxes_1024"].split(";"):
        label, *numbers = box.split(":")
        x, y, width, height = map(float, numbers)
        named = "Infiltration" if label == "Infiltrate" else label
        found.append((file, named, x * wide, y * high, width * wide, height * high))
    return found


def _facts(work: Path) -> dict[str, tuple[str, str]]:
    """Patient and view of every image."""
    return {row["image_id"]: (row["patient_hash"], row["view"]) for row in _manifest(work)}


def _manifest(work: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = read_table(
        Workspace(work).ingest / "manifest", MANIFEST, "xraytk ingest"
    ).to_pylist()
    return rows


def _probed(
    args: argparse.Namespace, works: list[Path], trained: Trained, pixels: bool, progress: Progress
) -> dict[str, Scored]:
    """Linear probes of a frozen encoder, of fresh weights and maybe of pixels, on every fold."""
    kept = args.out / f"probed-{trained.name}{'-pixels' if pixels else ''}.json"
    if kept.exists():
        return {side: _arrays(found) for side, found in json.loads(kept.read_text(encoding="utf-8")).items()}
    sides = {
        f"linear probe, {trained.name}": [""] * args.folds,
        f"linear probe, fresh weights as {trained.name}": [
            f"random {k % args.fresh}" for k in range(args.folds)
        ],
        **({PIXELS: ["pixels"] * args.folds} if pixels else {}),
    }
    compared = ("random", "pixels") if pixels else ("random",)
    how = ProbeConfig(compare=compared, seeds=args.fresh, strengths=STRENGTHS)
    config = evaluate.EvaluateConfig(work=works[0], task="linear-probe", batch=8, probe=how)
    made = probes.gather(config, trained, Workspace(works[0]).shards, "test", progress)
    columns = [made.labels.index(label) for label in COMMON]
    parts = [part for part in (made.train, made.tune, made.test) if part is not None]
    features = {name: _joined([part[name] for part in parts], columns) for name in made.test}
    splits = [{row["image_id"]: row["split"] for row in _manifest(work)} for work in works]
    out = {side: _over_folds(features, members, splits, how) for side, members in sides.items()}
    kept.write_text(json.dumps({side: _plain(found) for side, found in out.items()}), encoding="utf-8")
    return out


def _over_folds(
    features: dict[str, Samples], members: list[str], splits: list[dict[str, str]], how: ProbeConfig
) -> Scored:
    """Fit on the training images of every fold, choose on its validation images, predict the others."""
    found = Scored([], [], [])
    for split, name in zip(splits, members, strict=True):
        images = features[name]
        train, tune, test = (
            images.at(np.flatnonzero([split[i] == part for i in images.ids]))
            for part in ("train", "val", "test")
        )
        said = probe("linear-probe", train, tune, test.x, COMMON, how)
        found.ids.append(list(test.ids))
        found.scores.append(said.scores)
        found.truth.append(test.truth)
    return found


def _plain(found: Scored) -> dict[str, Any]:
    tables = {"scores": found.scores, "truth": found.truth}
    return {"ids": found.ids, **{key: [part.tolist() for part in parts] for key, parts in tables.items()}}


def _arrays(kept: dict[str, Any]) -> Scored:
    return Scored(
        kept["ids"], *([np.array(part, np.float64) for part in kept[key]] for key in ("scores", "truth"))
    )


def _joined(parts: list[Samples], columns: list[int]) -> Samples:
    return Samples(
        tuple(i for part in parts for i in part.ids),
        tuple(p for part in parts for p in part.patients),
        np.concatenate([part.x for part in parts]),
        np.concatenate([part.truth[:, columns] for part in parts]),
    )


def _run(
    args: argparse.Namespace, trained: Trained, task: str, start: str, fold: int, progress: Progress
) -> Path:
    """Train one model on one fold, read its test split once, and return the predictions."""
    work, name = args.out / f"fold-{fold}", f"{task}-{start}"
    flags: dict[str, Any] = {
        "work": work,
        "task": task,
        "name": name,
        "steps": args.steps,
        "seed": fold,
        "data.image_px": trained.config.image_px,
        "data.fit": trained.fit,
        "init": trained.weights if start == "checkpoint" else finetune.SCRATCH,
    }
    if task == "detect":
        flags["detect.labels"] = [FINDING]
    if start == "scratch":
        flags |= {f"encoder.{key}": value for key, value in configs.to_dict(trained.config).items()}
    made = configs.load(finetune.FinetuneConfig, preset=args.preset, sets=args.sets, flags=flags)
    finetune.run(made, progress)
    if not (made.folder / "predictions.jsonl").is_file():
        asked = evaluate.EvaluateConfig(work=work, checkpoint=made.folder, task=task, bootstrap=0)
        evaluate.run(asked, progress)
    return made.folder / "predictions.jsonl"


def _read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def _classified(paths: list[Path]) -> Scored:
    found = Scored([], [], [])
    for path in paths:
        lines = _read(path)
        found.ids.append([line["image_id"] for line in lines])
        for table, key in ((found.scores, "scores"), (found.truth, "truth")):
            table.append(np.array([[line[key][label] for label in COMMON] for line in lines], np.float64))
    return found


def _view_alone(like: Scored, facts: dict[str, tuple[str, str]]) -> Scored:
    """PA for every finding."""
    scores = [
        np.array([[float(facts[i][1] == "PA")] * len(COMMON) for i in ids], np.float64) for ids in like.ids
    ]
    return Scored(like.ids, scores, like.truth)


def _table(
    args: argparse.Namespace, sides: dict[str, Scored], facts: dict[str, tuple[str, str]]
) -> list[dict[str, Any]]:
    """AUROC of every side, and the differences that are asked for, with intervals over patients."""
    if not sides:
        return []
    ids = [i for fold in next(iter(sides.values())).ids for i in fold]
    patients, views = zip(*(facts[i] for i in ids), strict=True)
    scores = {name: _score(side, ids, np.array(views)) for name, side in sides.items()}
    names = [*(f"{FINDING} {group}" for group in GROUPS), f"mean of {len(COMMON)}"]
    pairs = [("finetuned, checkpoint", "finetuned, scratch")] if "finetuned, scratch" in sides else []
    for name in sides:
        if name.startswith("linear probe, fresh weights as "):
            ours = f"linear probe, {name.rpartition(' as ')[2]}"
            pairs += [(ours, name), (ours, PIXELS)]

    def together(weights: Floats) -> Floats:
        found = {name: score(weights) for name, score in scores.items()}
        return np.concatenate([*found.values(), *(found[a] - found[b] for a, b in pairs)], axis=1)

    values = draw(together, patients, resamples=args.bootstrap, seed=0).values()
    cases = [*sides, *(f"{a} minus {b}" for a, b in pairs)]
    return [
        {"case": f"AUROC, {case}", "images": len(ids), "values": _named(names, values[len(names) * i :])}
        for i, case in enumerate(cases)
    ]


def _score(side: Scored, ids: list[str], views: NDArray[Any]) -> Score:
    """Mean over the folds of the AUROC of `FINDING` in every group, and of the mean over labels in all."""
    at = {name: row for row, name in enumerate(ids)}
    rows = [np.array([at[i] for i in fold]) for fold in side.ids]
    panels = [
        label_panel(scores, truth, COMMON, None, metrics=("auroc",)).score
        for scores, truth in zip(side.scores, side.truth, strict=True)
    ]
    groups = [np.ones(len(ids)) if group == "all" else (views == group) * 1.0 for group in GROUPS]

    def score(weights: Floats) -> Floats:
        cells = [
            [panel(weights[:, fold] * group[fold])[:, COMMON.index(FINDING)] for group in groups]
            + [panel(weights[:, fold])[:, -1]]
            for fold, panel in zip(rows, panels, strict=True)
        ]
        return np.mean(np.array(cells), axis=0).T

    return score


def _boxes(args: argparse.Namespace, runs: dict[str, list[Path]]) -> dict[str, Any]:
    """The RSNA score over the test images of all folds."""
    lines = {start: [line for path in paths for line in _read(path)] for start, paths in runs.items()}
    tables = {s: np.array([[line["rsna_map"]] for line in of], np.float64) for s, of in lines.items()}
    scores = {start: ratios(*mean_parts(table)) for start, table in tables.items()}

    def both(weights: Floats) -> Floats:
        scratch, checkpoint = (scores[start](weights)[:, -1] for start in STARTS)
        return np.stack([scratch, checkpoint, checkpoint - scratch], axis=1)

    patients = [line["patient_id"] for line in lines["scratch"]]
    values = draw(both, patients, resamples=args.bootstrap, seed=0).values()
    images = int((~np.isnan(tables["scratch"])).sum())
    return {"case": f"RSNA score, boxes of {FINDING}, {images} images", "images": images,
            "values": _named([*STARTS, "difference"], values)}  # fmt: skip


def _named(names: list[str], values: list[Value]) -> dict[str, dict[str, float]]:
    return {n: {"value": v.value, "low": v.low, "high": v.high} for n, v in zip(names, values, strict=False)}


if __name__ == "__main__":
    sys.exit(main())
