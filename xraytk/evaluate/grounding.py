"""The task ``grounding``: where in an image a phrase is, against boxes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from xraytk.data.augment import fitted_box
from xraytk.data.pictures import encode_png, montage
from xraytk.data.store import read_index
from xraytk.evaluate import towers
from xraytk.evaluate.phrases import Shape, read_phrases, shapes_of
from xraytk.evaluate.settings import EvaluateConfig
from xraytk.evaluate.towers import Single, Split, Towers
from xraytk.files import Workspace
from xraytk.progress import Progress
from xraytk.records import Batch
from xraytk.tasks.language.grounding import (
    METRICS,
    Map,
    Phrase,
    draw,
    grounding_panel,
    inside,
    measure,
    over_pixels,
)
from xraytk.tasks.scoring import plots
from xraytk.tasks.scoring.scored import Scored, fingerprinted, hash_of, hash_of_ids, intervals

TILE_PX = 320


@dataclass(slots=True)
class Measured:
    """What is known of the phrases so far.

    Args:
        phrases: n of them.
        patients: Theirs.
        values: Of `METRICS`, for each.
        tiles: Pictures of the first.
    """

    phrases: list[Phrase] = field(default_factory=list)
    patients: list[str] = field(default_factory=list)
    values: list[tuple[float, ...]] = field(default_factory=list)
    tiles: list[NDArray[np.uint8]] = field(default_factory=list)


def score(
    config: EvaluateConfig, found: Towers, split: Split, progress: Progress
) -> tuple[Scored, dict[str, bytes]]:
    """Compare maps of phrases with boxes.

    Raises:
        DataError: If there is no box, or no image size to place it by.
    """
    langs = towers.languages(found, config)
    index = read_index(config.shards or Workspace(config.work).shards, config.cache)
    here = {bytes(name).decode() for name in index.image_id[index.rows(split)]}
    shapes = {name: shape for name, shape in shapes_of(config).items() if name in here}
    phrases, notes = read_phrases(config, langs, shapes)
    if found.options.get("pool") == "cls":
        notes.append("the class token stands for an image in this model: its patches were never compared")
    done = _measure(config, found, split, phrases, shapes, progress)
    return _scored(config, found, done, notes)


def _measure(
    config: EvaluateConfig,
    found: Towers,
    split: Split,
    phrases: Sequence[Phrase],
    shapes: Mapping[str, Shape],
    progress: Progress,
) -> Measured:
    """Compute and measure the map of every phrase."""
    settings, done, frame = config.language, Measured(), found.data.size
    of_image: defaultdict[str, list[Phrase]] = defaultdict(list)
    for phrase in phrases:
        of_image[phrase.image_id].append(phrase)
    vectors = _vectors(found, phrases)
    for batch in towers.batches(found, config, split, frozenset(), progress, only=set(of_image)):
        patches = patch_vectors(found, batch, weigh=settings.place)
        for i, image_id in enumerate(batch.image_id):
            shape = shapes[image_id]
            place = fitted_box(*shape, frame, found.data.fit)
            for phrase in of_image[image_id]:
                near = patches[i] @ vectors[phrase.lang, phrase.text]  # (rows, cols)
                pixels = over_pixels(near, frame, place, shape, settings.upsample)
                done.phrases.append(phrase)
                done.patients.append(batch.patient_hash[i])
                done.values.append(measure(pixels, inside(phrase.boxes, shape), settings.thresholds))
                if len(done.tiles) < settings.pictures:
                    top, left, height, width = place
                    grey = batch.image[i, 0, top : top + height, left : left + width].cpu().numpy()
                    done.tiles.append(_tile(grey, pixels, phrase))
    return done


def _vectors(found: Towers, phrases: Sequence[Phrase]) -> dict[tuple[str, str], Single]:
    """Vectors of length one of the different phrases, by language and text."""
    out: dict[tuple[str, str], Single] = {}
    for lang in sorted({phrase.lang for phrase in phrases}):
        texts = sorted({phrase.text for phrase in phrases if phrase.lang == lang})
        rows = towers.unit(found.texts(texts, lang))
        out |= {(lang, text): row for text, row in zip(texts, rows, strict=True)}
    return out


def patch_vectors(found: Towers, batch: Batch, *, weigh: bool) -> Single:
    """Vectors of patches whose product with a phrase's is its map.

    They are of length one, so that the product is the cosine; where ``maco`` learned what the places of
    the grid weigh, their length is that weight over the greatest one. (The release multiplies by the
    weights too; had it normalised afterwards, they would have no effect.)

    Args:
        found: The towers.
        batch: B images.
        weigh: Use the places' weights, where there are such.

    Returns:
        (B, rows, cols, D).
    """
    vectors = towers.unit(found.objective.embed_patches(batch).float().cpu().numpy())
    if weigh and hasattr(found.objective, "place_shares"):
        shares = found.objective.place_shares().cpu().numpy()
        vectors = vectors * (shares / shares.max())[None, :, None]
    return np.asarray(vectors.reshape(len(vectors), *found.trained.config.grid, -1), np.float32)


def _tile(grey: NDArray[np.uint8], pixels: Map, phrase: Phrase) -> NDArray[np.uint8]:
    """A small picture of a map."""
    scale = TILE_PX / max(pixels.shape)
    height, width = (max(1, round(side * scale)) for side in pixels.shape)
    image = np.asarray(cv2.resize(grey, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
    small = np.asarray(cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA), np.float32)
    boxes = [(x0 * scale, y0 * scale, x1 * scale, y1 * scale) for x0, y0, x1, y1 in phrase.boxes]
    return draw(image, small, boxes)


def _scored(
    config: EvaluateConfig, found: Towers, done: Measured, notes: list[str]
) -> tuple[Scored, dict[str, bytes]]:
    """Means and intervals, protocol and pictures."""
    settings = config.language
    panel = grounding_panel(np.asarray(done.values, np.float64), [p.label for p in done.phrases])
    scores = panel.values(done.patients, resamples=config.bootstrap, seed=config.seed)
    ids = sorted({phrase.image_id for phrase in done.phrases})
    weigh = settings.place and hasattr(found.objective, "place_shares")
    protocol = fingerprinted(
        {
            "similarity": "cosine of patch and phrase"
            + (", times the place's weight over the greatest" if weigh else ""),
            "thresholds": list(settings.thresholds),
            "stretched": "each map from its least to its greatest value as 0 to 1, same thresholds",
            "upsample": settings.upsample,
            "boxes": "all boxes of a phrase together, in pixels of the ingested image",
            "images": len(ids),
            "phrases": len(done.phrases),
            "truth_sha256": hash_of((p.image_id, p.lang, p.text, p.boxes) for p in done.phrases),
            "patients": len(set(done.patients)),
            "image_ids_sha256": hash_of_ids(ids),
            "intervals": intervals(config.bootstrap, config.seed),
        }
    )
    rows = tuple(
        {"image_id": p.image_id, "phrase": p.text, "lang": p.lang, **dict(zip(METRICS, v, strict=True))}
        for p, v in zip(done.phrases, done.values, strict=True)
    )
    told = (*notes, f"{len(rows):,} phrases on {len(ids):,} images; counts of the table are of phrases")
    people = len(set(done.patients))
    made = Scored("grounding", len(ids), people, {"grounding": scores}, protocol, {}, told, rows=rows)
    figures = {"pointed": plots.bars(plots.column(scores, "pointed"), "highest pixel inside")}
    if done.tiles:
        names = [f"{p.image_id[:8]} {p.label or p.text}" for p in done.phrases[: len(done.tiles)]]
        figures["phrases"] = encode_png(montage(done.tiles, names, columns=4, tile_px=TILE_PX))
    return made, figures
