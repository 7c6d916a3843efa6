"""Phrases and their boxes: the workspace's own, or a table of anybody's."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from xraytk.data.columns import Columns
from xraytk.data.store import read_index
from xraytk.errors import DataError
from xraytk.evaluate.settings import EvaluateConfig
from xraytk.files import Workspace
from xraytk.records import LANGUAGES
from xraytk.tasks.language.grounding import Box, Phrase
from xraytk.tasks.language.prompts import prompts_of, read_prompts

EDGES = ("x0", "y0", "x1", "y1")
Shape = tuple[int, int]


def read_phrases(
    config: EvaluateConfig, langs: Sequence[str], shapes: Mapping[str, Shape]
) -> tuple[list[Phrase], list[str]]:
    """Read phrases and boxes.

    A table has ``image_id``, the edges ``x0``, ``y0``, ``x1``, ``y1`` in pixels of the ingested image,
    and ``phrase`` (with ``lang``, English where it does not say, and maybe ``label``), or ``label``
    alone, whose phrase is its first positive prompt in each language. Boxes of one image and phrase
    belong together.

    Args:
        config: Settings.
        langs: Languages that are scored.
        shapes: (H, W) of the images that are scored; boxes of others are left out.

    Returns:
        The phrases, and what has to be said of them.

    Raises:
        DataError: If there is no table, it is not what it should be, or nothing of it can be scored.
    """
    path = config.language.boxes or Workspace(config.work).ingest / "boxes.parquet"
    rows = _read(path)
    found: defaultdict[tuple[str, str, str, str], list[Box]] = defaultdict(list)
    labels = {str(row["label"]) for row in rows if row.get("label")}
    index = read_index(config.shards or Workspace(config.work).shards, config.cache)
    tree = read_prompts(config.language.prompts, labels | set(index.labels))
    lacking: set[str] = set()
    for number, row in enumerate(rows, 1):
        image, label = str(row["image_id"]), str(row.get("label") or "")
        if image not in shapes:
            continue
        box = _box(path, number, row, shapes[image])
        for lang, text in _said(path, number, row, label, langs, tree, config):
            if text is None:
                lacking.add(f"{lang}: no name, and so no phrase, for {label}: see language.prompts")
            else:
                found[image, text, lang, label].append(box)
    phrases = [Phrase(i, text, lang, label, tuple(b)) for (i, text, lang, label), b in found.items()]
    if not phrases:
        raise DataError(
            f"{path} holds no box of these images",
            f"{len(rows):,} boxes; looked for {len(shapes):,} images in {', '.join(langs)}",
            "Score another split, or give a table with --set language.boxes=FILE.",
        )
    return phrases, sorted(lacking)


def _said(
    path: Path,
    number: int,
    row: Mapping[str, Any],
    label: str,
    langs: Sequence[str],
    tree: dict[str, Any],
    config: EvaluateConfig,
) -> list[tuple[str, str | None]]:
    """Language and phrase of a row."""
    if row.get("phrase"):
        lang = str(row.get("lang") or "en")
        if lang not in LANGUAGES:
            raise DataError(
                f"{path}: row {number:,} has an unknown lang", f"there are: {', '.join(LANGUAGES)}"
            )
        return [(lang, str(row["phrase"]))] if lang in langs else []
    if not label:
        raise DataError(f"{path}: row {number:,} has neither phrase nor label")
    out: list[tuple[str, str | None]] = []
    for lang in langs:
        prompts = prompts_of(label, lang, "maco", tree)
        out.append((lang, prompts.positive[0] if prompts else None))
    return out


def _box(path: Path, number: int, row: Mapping[str, Any], shape: Shape) -> Box:
    """The edges of a row, within the image."""
    try:
        x0, y0, x1, y1 = (float(row[edge]) for edge in EDGES)
    except (KeyError, TypeError, ValueError):
        raise DataError(
            f"{path}: row {number:,} has no box", f"wanted {', '.join(EDGES)}, in pixels"
        ) from None
    box = (max(0.0, x0), max(0.0, y0), min(float(shape[1]), x1), min(float(shape[0]), y1))
    if not all(map(math.isfinite, (x0, y0, x1, y1))) or box[2] - box[0] < 1 or box[3] - box[1] < 1:
        raise DataError(
            f"{path}: the box of row {number:,} takes no pixel of its image",
            f"x {x0:g} to {x1:g}, y {y0:g} to {y1:g}; the image has {shape[1]} x {shape[0]} pixels",
            "Give edges in pixels of the image as `xraytk ingest` wrote it.",
        )
    return box


def shapes_of(config: EvaluateConfig) -> dict[str, Shape]:
    """(H, W) of the workspace's images.

    Raises:
        DataError: If the workspace has no manifest.
    """
    columns = Columns(Workspace(config.work).ingest / "manifest")
    each = [columns.needed(name).to_pylist() for name in ("image_id", "height", "width")]
    return {i: (h, w) for i, h, w in zip(*each, strict=True)}


def _read(path: Path) -> list[dict[str, Any]]:
    if not path.is_file():
        raise DataError(
            f"{path} does not exist",
            "wanted phrases or labels with their boxes",
            "Give a table with --set language.boxes=FILE.",
        )
    rows: list[dict[str, Any]]
    try:
        if path.suffix == ".parquet":
            rows = pq.read_table(path).to_pylist()
        elif path.suffix == ".csv":
            texts = dict.fromkeys(("image_id", "phrase", "label", "lang"), pa.string())  # ids of digits alone
            as_texts = pa.csv.ConvertOptions(column_types=texts)
            rows = pa.csv.read_csv(path, convert_options=as_texts).to_pylist()
        else:
            lines = path.read_text(encoding="utf-8").splitlines()
            rows = [json.loads(line) for line in lines if line.strip()]
    except (pa.ArrowInvalid, ValueError) as error:
        raise DataError(f"{path} cannot be read", str(error).splitlines()[0][:200]) from None
    if not all(isinstance(row, dict) and row.get("image_id") for row in rows):
        raise DataError(f"{path} has rows without image_id", "wanted Parquet, CSV or JSON lines")
    return rows
