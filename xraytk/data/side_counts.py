"""Counts of what came with the images: reports, labels, boxes. Read in batches, never whole."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from xraytk.data.columns import Codes, batches, by_count, coded
from xraytk.records import LANGUAGES, SPLITS

_TEXTS, _ROWS = 20_000, 1_000_000  # rows of a batch
_LONGEST = 5_000  # longer texts count as this long
_BINS = 16
_UNITS = {"zh": "characters"}
"""How texts are measured; languages that put spaces between words in words."""

_KINDS = ("positive", "negative", "uncertain")


def count_reports(path: Path, run: Mapping[str, Any]) -> dict[str, Any]:
    """Count reports by language, and how long they are.

    Args:
        path: ``reports.parquet``; need not exist.
        run: What is known from the run: matched, unmatched, identifiers_scrubbed, scrubbed_by_kind.

    Returns:
        These, "rows" (None without a table), for each language "images_<language>", and "length":
        language to unit, quantiles, and texts by length ("step" wide; the keys are the lower ends,
        the last, with "+", takes all above).
    """
    known = {k: run.get(k) for k in ("matched", "unmatched", "identifiers_scrubbed", "scrubbed_by_kind")}
    lengths = {language: np.zeros(_LONGEST + 1, np.int64) for language in LANGUAGES}
    rows = 0
    if not path.exists():
        return {**known, "rows": None, **{f"images_{name}": None for name in LANGUAGES}, "length": {}}
    for batch in batches(path, LANGUAGES, _TEXTS):
        rows += batch.num_rows
        for language in batch.schema.names:
            text = pc.utf8_trim_whitespace(batch.column(language).cast(pa.string()))
            if _UNITS.get(language) == "characters":
                found = pc.utf8_length(text)
            else:
                found = pc.list_value_length(pc.ascii_split_whitespace(text))
                found = pc.if_else(pc.equal(pc.binary_length(text), 0), 0, found)
            whole = np.minimum(np.asarray(pc.drop_null(found), np.int64), _LONGEST)
            lengths[language] += np.bincount(whole, minlength=_LONGEST + 1)
    for found in lengths.values():
        found[0] = 0  # an empty text is none
    return {
        **known,
        "rows": rows,
        **{f"images_{name}": int(found.sum()) for name, found in lengths.items()},
        "length": {n: _spread(f, _UNITS.get(n, "words")) for n, f in lengths.items() if f.any()},
    }


def _spread(lengths: NDArray[np.int64], unit: str) -> dict[str, Any]:
    """Quantiles and a histogram of lengths, from how often each length occurs."""
    total = np.cumsum(lengths)
    at = {q: int(np.searchsorted(total, q * total[-1])) for q in (0.1, 0.5, 0.9, 0.99)}
    step = next(s for s in (1, 2, 5, 10, 20, 25, 50, 100, 200, 250, 500) if s * _BINS > at[0.99])
    bins = np.bincount(np.minimum(np.arange(len(lengths)) // step, _BINS), lengths, _BINS + 1)
    last = int(np.flatnonzero(bins).max())
    named = {f"{i * step}+" if i == _BINS else str(i * step): int(bins[i]) for i in range(last + 1)}
    return {"unit": unit, "p10": at[0.1], "median": at[0.5], "p90": at[0.9], "step": step, "counts": named}


def count_labels(
    path: Path, image_ids: pa.ChunkedArray, splits: Codes, run: Mapping[str, Any]
) -> dict[str, Any]:
    """Count labels: positive (value above 0.5), negative (0 to 0.5), uncertain (anything else).

    Args:
        path: ``labels.parquet``; need not exist.
        image_ids: Of the manifest.
        splits: Of the manifest, in the same order.
        run: What is known from the run: matched, unmatched.

    Returns:
        These, "rows" (None without a table), "positive", "negative" and "uncertain" (label to
        count) and "by_split": split to the three.
    """
    known = {k: run.get(k) for k in ("matched", "unmatched")}
    empty: dict[str, dict[str, int]] = {kind: {} for kind in _KINDS}
    if not path.exists():
        return {**known, "rows": None, **empty, "by_split": {}}
    names: dict[str, int] = {}
    places = [*SPLITS, *(name for name in splits.names if name not in SPLITS), "(no image)"]
    moved = np.array([places.index(name) for name in splits.names] + [len(places) - 1], np.int64)
    split_of = moved[np.append(splits.codes, len(splits.names))]  # the last: of no image
    counts = np.zeros((0, len(places), len(_KINDS)), np.int64)
    rows = 0
    for batch in batches(path, ("image_id", "label", "value"), _ROWS, ("image_id", "label")):
        rows += batch.num_rows
        labels, images = (coded(pa.chunked_array([batch.column(c)])) for c in ("label", "image_id"))
        mine = np.array([names.setdefault(name, len(names)) for name in labels.names], np.int64)
        row_of = _places(images.names, image_ids)
        value = np.asarray(batch.column("value").cast(pa.float64()).to_numpy(zero_copy_only=False))
        kind = np.where(value > 0.5, 0, np.where(value >= 0, 1, 2))
        flat = (mine[labels.codes] * len(places) + split_of[row_of][images.codes]) * len(_KINDS) + kind
        found = np.bincount(flat, minlength=len(names) * len(places) * len(_KINDS))
        grown = found.reshape(len(names), len(places), len(_KINDS))
        grown[: len(counts)] += counts
        counts = grown
    order = sorted(names)
    counts = counts[[names[name] for name in order]]
    return {
        **known,
        "rows": rows,
        **{kind: _named(order, counts[:, :, k].sum(1)) for k, kind in enumerate(_KINDS)},
        "by_split": {
            place: {kind: _named(order, counts[:, p, k]) for k, kind in enumerate(_KINDS)}
            for p, place in enumerate(places)
            if counts[:, p].any() or place in SPLITS
        },
    }


def _places(names: list[str], image_ids: pa.ChunkedArray) -> NDArray[np.int64]:
    """Rows of the manifest that have these ids, -1 where none has.

    Only ids between the smallest and the largest are looked through: tables are mostly in one order.
    """
    wanted = pa.array(names, pa.string())
    ends = pc.min_max(wanted)
    near = pc.and_(pc.greater_equal(image_ids, ends["min"]), pc.less_equal(image_ids, ends["max"]))
    rows = np.flatnonzero(np.asarray(near))
    found = np.asarray(pc.fill_null(pc.index_in(wanted, image_ids.filter(near)), -1), np.int64)
    return np.append(rows, -1)[found]


def _named(names: list[str], counts: NDArray[np.int64]) -> dict[str, int]:
    return {name: int(count) for name, count in zip(names, counts, strict=True) if count}


def count_boxes(path: Path) -> dict[str, Any] | None:
    """Count boxes by label, and the images that have one; None without a table."""
    if not path.exists():
        return None
    rows = 0
    images: set[str] = set()
    labels: dict[str, int] = {}
    for batch in batches(path, ("image_id", "label"), _ROWS, ("image_id", "label")):
        rows += batch.num_rows
        for name in batch.schema.names:
            column = coded(pa.chunked_array([batch.column(name)]))
            if name == "image_id":
                images |= set(column.names)
            else:
                for label, count in column.tally().items():
                    labels[label] = labels.get(label, 0) + count
    counts = np.array([*labels.values()], np.int64)
    return {"boxes": rows, "images": len(images), "labels": by_count([*labels], counts)}
