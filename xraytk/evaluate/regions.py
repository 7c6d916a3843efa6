"""Masks and boxes of finetuned runs, scored at the images' own resolution, written and drawn."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xraytk.data import regions
from xraytk.data.pictures import write_png
from xraytk.data.stream import StreamConfig
from xraytk.evaluate.overlays import Drawn, Worst, outlines
from xraytk.evaluate.settings import EvaluateConfig
from xraytk.records import Batch, Box
from xraytk.tasks.detection import UNFITTED, Detected, DetectTask, per_image
from xraytk.tasks.metrics import boxes
from xraytk.tasks.metrics.masks import mean
from xraytk.tasks.scoring.regions import Parts, mean_parts, table_of
from xraytk.tasks.scoring.scored import Scored, hash_of
from xraytk.tasks.segmentation import SegmentTask, overlaps

Found = tuple[Scored, dict[str, bytes]]
"""Scores, and figures by name."""


def score_masks(
    task: SegmentTask, batches: Iterable[Batch], frame: StreamConfig, config: EvaluateConfig, folder: Path
) -> Found:
    """Outline every image, score it, and write its masks.

    Args:
        task: The model.
        batches: Images with what is known of them.
        frame: How they lie in the frame.
        config: Of the bootstrap.
        folder: Where masks go: ``<image_id>_<class>.png`` in the image's size, 255 inside.
    """
    classes, rows, known = task.classes, [], []
    scores: dict[str, list[list[float]]] = {"dice": [], "iou": []}
    worst = Worst(frame.size, frame.fit)
    for batch in batches:
        for i, one in enumerate(task.predict(batch)):
            found = overlaps(one, classes, frame.size, frame.fit)
            lines = {name: outlines(mask) for name, mask in zip(classes, found.masks, strict=True)}
            for name, mask in zip(classes, found.masks, strict=True):
                write_png(folder / f"{one.image_id}_{name}.png", mask.astype(np.uint8) * 255)
            truth = {name: parts for name, parts in found.truth.items() if name in classes}
            drawn = {name: [np.round(part, 2).tolist() for part in truth[name]] for name in sorted(truth)}
            known.append(hash_of([(one.image_id, drawn)]))
            worst.add(mean(found.dice), one.image_id, _plane(batch, i), one.shape, truth, lines)
            scores["dice"].append(found.dice)
            scores["iou"].append(found.iou)
            rows.append(
                {
                    "image_id": one.image_id,
                    "patient_id": one.patient_hash,
                    "dice": dict(zip(classes, found.dice, strict=True)),
                    "iou": dict(zip(classes, found.iou, strict=True)),
                    "polygons": [_polygon(name, points) for name, parts in lines.items() for points in parts],
                }
            )
    protocol = {
        "task": "segment",
        "classes": list(classes),
        "pixels": "of the stored image; inside from 0.5 on",
        "truth": "contours of the shards; an image without one of a class is left out for that class",
        "mean": "over images, then over classes",
        "truth_sha256": hash_of(known),
    }
    values = {name: mean_parts(np.array(table, np.float64)) for name, table in scores.items()}
    lacking = "no image of this split has this contour"
    return _scored(protocol, values, classes, rows, config, lacking), worst.sheet()


def score_boxes(
    task: DetectTask,
    batches: Iterable[Batch],
    frame: StreamConfig,
    config: EvaluateConfig,
    facts: Mapping[str, Any],
) -> Found:
    """Draw boxes on every image, and score them.

    Args:
        task: The model.
        batches: Images with what is known of them.
        frame: How they lie in the frame.
        config: Of the bootstrap.
        facts: Of the run: its thresholds.
    """
    cuts = {name: facts.get("thresholds", {}).get(name, UNFITTED) for name in task.labels}
    worst, rows = Worst(frame.size, frame.fit), []
    parts: list[list[tuple[float, ...]]] = []
    for batch in batches:
        for i, one in enumerate(task.predict(batch)):
            placed = _on_image(one, frame)
            sure = _sure(placed, cuts)
            parts.append([_counted(sure, name) for name in task.labels])
            score = mean([counted[0] for counted in parts[-1]])
            worst.add(
                score,
                one.image_id,
                _plane(batch, i),
                one.shape,
                _rectangles(sure.truth),
                _rectangles(sure.found),
            )
            rows.append(
                {
                    "image_id": one.image_id,
                    "patient_id": one.patient_hash,
                    "rsna_map": score,
                    "boxes": [
                        {**_plain(box), "score": round(s, 4), "claimed": s >= cuts[box.label]}
                        for box, s in zip(placed.found, placed.scores, strict=True)
                    ],
                    "truth": [_plain(box) for box in placed.truth],
                    "known": sorted(placed.known),
                }
            )
    truth = hash_of((row["image_id"], row["known"], row["truth"]) for row in rows)
    table = np.array(parts, np.float64).reshape(len(rows), len(task.labels), 5)
    rsna, hit, true, wrong, known = np.moveaxis(table, 2, 0)
    protocol = {
        "task": "detect",
        "labels": list(task.labels),
        "thresholds": cuts,
        "overlap": task.config.overlap,
        "unmentioned": task.config.unmentioned,
        "rsna_map": "mean over overlaps above 0.40, 0.45, ... 0.75 of TP / (TP + FP + FN), then over images; "
        "0 for claims on an image without boxes, images with neither are left out",
        "sensitivity": "boxes that a claim overlaps by more than 0.4, over all boxes",
        "false_per_image": "other claims, over the images of which the label is known",
        "truth_sha256": truth,
    }
    values = {"rsna_map": mean_parts(rsna), "sensitivity": (hit, true), "false_per_image": (wrong, known)}
    lacking = "no box of it in this split, neither drawn nor claimed"
    return _scored(protocol, values, task.labels, rows, config, lacking), worst.sheet()


def _scored(
    protocol: dict[str, Any],
    values: Mapping[str, Parts],
    names: Sequence[str],
    rows: list[dict[str, Any]],
    config: EvaluateConfig,
    lacking: str,
) -> Scored:
    patients = [row["patient_id"] for row in rows]
    draws = {"resamples": config.bootstrap, "seed": config.seed}
    table = table_of(values, names, patients, lacking=lacking, **draws)
    kind = {"segment": "masks", "detect": "boxes"}[protocol["task"]]
    facts = {"thresholds": protocol["thresholds"]} if "thresholds" in protocol else {}
    return Scored(
        protocol["task"],
        len(rows),
        len(set(patients)),
        {kind: table},
        protocol,
        {},
        (),
        rows=tuple(rows),
        facts=facts,
    )


def _on_image(one: Detected, frame: StreamConfig) -> Detected:
    """The same in pixels of the stored image; claims on padding alone are dropped."""
    found, scores = [], []
    for box, score in zip(one.found, one.scores, strict=True):
        for moved in regions.boxes_back([box], one.shape, frame.size, frame.fit):
            found.append(moved)
            scores.append(score)
    truth = regions.boxes_back(one.truth, one.shape, frame.size, frame.fit)
    return replace(one, found=tuple(found), scores=tuple(scores), truth=tuple(truth))


def _sure(one: Detected, cuts: Mapping[str, float]) -> Detected:
    """The claims: boxes from the thresholds on."""
    pairs = [(b, s) for b, s in zip(one.found, one.scores, strict=True) if s >= cuts[b.label]]
    return replace(one, found=tuple(b for b, _ in pairs), scores=tuple(s for _, s in pairs))


def _counted(one: Detected, label: str) -> tuple[float, ...]:
    """RSNA score, boxes hit, true boxes, wrong claims, and 1; NaN and zeros where the label is not known."""
    mine = per_image([one], label)
    if not mine:
        return (math.nan, 0.0, 0.0, 0.0, 0.0)
    found, scores, truth = mine[0]
    hit = boxes.hits(boxes.overlap(found, truth), scores, boxes.IOUS[0])
    return boxes.rsna_score(found, scores, truth), float(hit), float(len(truth)), float(len(found) - hit), 1.0


def _plane(batch: Batch, i: int) -> NDArray[np.uint8]:
    return np.asarray(batch.image[i, 0].cpu().numpy(), np.uint8)


def _rectangles(drawn: Iterable[Box]) -> Drawn:
    """Boxes as closed lines, at pixel centres."""
    made: dict[str, list[NDArray[np.float64]]] = {}
    for b in drawn:
        corners = np.array([[b.x0, b.y0], [b.x1, b.y0], [b.x1, b.y1], [b.x0, b.y1]]) - 0.5
        made.setdefault(b.label, []).append(corners)
    return made


def _plain(box: Box) -> dict[str, Any]:
    """A box as a table has it: corner and sides, in pixels of the stored image."""
    sides = {"x": box.x0, "y": box.y0, "width": box.x1 - box.x0, "height": box.y1 - box.y0}
    return {"label": box.label, **{name: round(value, 2) for name, value in sides.items()}}


def _polygon(name: str, points: NDArray[np.float64]) -> dict[str, Any]:
    return {"name": name, "x": points[:, 0].tolist(), "y": points[:, 1].tolist()}
