"""The reports of a split, without its images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from xraytk.data.stream import Stream, StreamConfig


def reports_of(shards: Path, split: str, langs: Sequence[str]) -> tuple[dict[str, list[str]], int]:
    """Read all reports of a split, in the order of the index.

    Args:
        shards: A shards folder.
        split: "train", "val" or "test".
        langs: Languages wanted.

    Returns:
        For each language the texts that are not blank, and the number of samples of the split.

    Raises:
        DataError: If there are no whole shards, or the split is empty.
    """
    stream = Stream(shards, split, StreamConfig(image_px=1), needs=frozenset({"reports"}))
    texts: dict[str, list[str]] = {lang: [] for lang in langs}
    for batch in stream.once(batch=1024):
        for lang in langs:
            texts[lang] += [text for text in batch.reports[lang] if text.strip()]
    return texts, stream.count
