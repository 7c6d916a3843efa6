"""The reports of a stream, without its images."""

from __future__ import annotations

from collections.abc import Sequence

from xraytk.data.stream import Stream


def reports_of(stream: Stream, langs: Sequence[str]) -> dict[str, list[str]]:
    """Read all reports of a stream, in the order of the index.

    Args:
        stream: Best one that needs "reports" alone.
        langs: Languages wanted.

    Returns:
        For each language the texts that are not blank.

    Raises:
        DataError: If a sample is broken.
    """
    texts: dict[str, list[str]] = {lang: [] for lang in langs}
    for batch in stream.once(batch=1024):
        for lang in langs:
            texts[lang] += [text for text in batch.reports[lang] if text.strip()]
    return texts
