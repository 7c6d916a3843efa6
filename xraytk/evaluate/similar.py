"""The task ``similar``: do the images that a frozen encoder puts near each other share their labels."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from xraytk.data.pictures import encode_png, montage
from xraytk.errors import DataError
from xraytk.evaluate import towers
from xraytk.evaluate.probes import gather
from xraytk.evaluate.results import EvaluateResult
from xraytk.evaluate.settings import EvaluateConfig
from xraytk.files import Workspace
from xraytk.models.pretrained import find_trained
from xraytk.progress import Progress
from xraytk.tasks.language.similar import NOBODY, Nearest, precision_panel
from xraytk.tasks.metrics.panel import Scores
from xraytk.tasks.probe import Samples
from xraytk.tasks.scoring import pages, plots
from xraytk.tasks.scoring.scored import Scored, fingerprinted, hash_of_ids, hash_of_truth, intervals
from xraytk.train.launch import check_devices

BLOCK = 16_384
SHOWN = 5
"""Neighbours of a row of the sheet."""
TILE_PX = 160


def run(config: EvaluateConfig, progress: Progress) -> EvaluateResult:
    """Score the neighbours, in the training split, of the images of another split.

    Raises:
        DataError: If there is no encoder, no image or no label.
        RunConflictError: If the test split would be read a second time with other settings.
    """
    began = time.monotonic()
    check_devices(config.machine)
    towers.refuse_split(config)
    shards = config.shards or Workspace(config.work).shards
    split, notes = towers.split_of(shards, config)
    trained = find_trained(config.checkpoint, config.work, ema=config.language.ema)
    home = trained.results(config.work, "similar")
    settings = {"pool": config.probe.pool, "ema": str(config.language.ema)}
    with towers.told(config, trained, home, shards, split, settings) as more:
        material = gather(config, trained, shards, split, progress)
    found: dict[str, tuple[Scores, Nearest]] = {}
    for name, queries in material.test.items():
        found[name] = _score(config, material.train[name], queries, material.labels)
    archive, queries = material.train[""], material.test[""]
    protocol = fingerprinted(
        {
            "similarity": "cosine of the features as they are",
            "pool": config.probe.pool,
            "archive": "the training split",
            "archive_images": len(archive.ids),
            "archive_ids_sha256": hash_of_ids(archive.ids),
            "images": len(queries.ids),
            "patients": len(set(queries.patients)),
            "image_ids_sha256": hash_of_ids(queries.ids),
            "truth_sha256": [hash_of_truth(s.ids, material.labels, s.truth) for s in (archive, queries)],
            "intervals": intervals(config.bootstrap, config.seed),
        }
    )
    nearest = found[""][1]
    rows = tuple(
        {
            "image_id": name,
            "nearest": [archive.ids[a] for a in at if a != NOBODY],
            "cosine": [float(c) for a, c in zip(at, near, strict=True) if a != NOBODY],
        }
        for name, at, near in zip(queries.ids, nearest.at, nearest.near, strict=True)
    )
    tables = {name or "similar": scores for name, (scores, _) in found.items()}
    people = len(set(queries.patients))
    scored = Scored("similar", len(queries.ids), people, tables, protocol, {}, (), rows=rows)
    figures = {
        "precision": plots.bars(plots.column(tables["similar"], f"P@{config.language.ranks[0]}"), "P@k")
    }
    figures |= _sheet(config, queries.ids, archive.ids, nearest.at)
    notes = [*notes, *more]
    made = towers.write(config, trained, split, scored, figures, notes, config.out or home)
    return EvaluateResult(split, (made,), round(time.monotonic() - began, 1))


def _score(
    config: EvaluateConfig, archive: Samples, queries: Samples, labels: Sequence[str]
) -> tuple[Scores, Nearest]:
    """Neighbours of all queries, and what labels they share."""
    most = max(config.language.ranks)
    if len(archive.ids) < most:
        raise DataError(
            f"the archive has {len(archive.ids):,} images, fewer than the {most} nearest that are asked for",
            todo="Ask for fewer: --set language.ranks=[1,5].",
        )
    nearest = Nearest(queries.x, most, queries.patients)
    for at in range(0, len(archive.ids), BLOCK):
        nearest.add(archive.x[at : at + BLOCK], archive.patients[at : at + BLOCK])
    panel = precision_panel(nearest.at, archive.truth, queries.truth, labels, config.language.ranks)
    return panel.values(queries.patients, resamples=config.bootstrap, seed=config.seed), nearest


def _sheet(
    config: EvaluateConfig, queries: Sequence[str], archive: Sequence[str], at: NDArray[np.int64]
) -> dict[str, bytes]:
    """A row a query: the image, then its neighbours; {} where the workspace has no images."""
    look = pages.pictures_of(Workspace(config.work).ingest / "images")
    tiles, captions = [], []
    for row in range(min(len(queries), config.language.pictures)):
        names = [queries[row], *(archive[a] for a in at[row, :SHOWN] if a != NOBODY)]
        pictures = [look(name) for name in names]
        if any(picture is None for picture in pictures):
            continue
        blank = np.zeros((8, 8), np.uint8)
        pictures += [blank] * (1 + SHOWN - len(pictures))
        tiles += [picture for picture in pictures if picture is not None]
        captions += [f"query {names[0][:8]}", *(name[:8] for name in names[1:])]
        captions += [""] * (len(tiles) - len(captions))
    if not tiles:
        return {}
    return {"neighbours": encode_png(montage(tiles, captions, columns=1 + SHOWN, tile_px=TILE_PX))}
