"""Joining a layout to an image as ingest does, for all layouts' tests."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from xraytk.data.layouts import Box, Layout
from xraytk.data.sheet import Lookup, join_keys
from xraytk.data.text import Facts, Report
from xraytk.records import Identity


@dataclass
class Known:
    """What a layout says of one image."""

    facts: Facts | None
    labels: Mapping[str, float] | None
    report: Report | None
    boxes: tuple[Box, ...] | None


@dataclass
class Set:
    """Writes a synthetic data set, and asks a layout of it."""

    folder: Path
    key: bytes = bytes(32)

    def write(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if name.endswith(".gz"):
            path.write_bytes(gzip.compress(text.encode()))
        else:
            path.write_text(text, encoding="utf-8")
        return path

    def of(self, layout: Layout, path: str) -> Known:
        keys = join_keys(path, Identity(), self.key)

        def first(entries, more=()):  # type: ignore[no-untyped-def]
            table = Lookup(entries, self.key)
            found = table.find((*keys, *more))
            return None if found is None else table.values[found]

        facts = first(layout.metadata)
        study = (facts.study_hash,) if facts else ()
        return Known(
            facts, first(layout.labels, study), first(layout.reports, study), first(layout.boxes, study)
        )


@pytest.fixture
def published(tmp_path: Path) -> Set:
    """An empty folder for a data set."""
    return Set(tmp_path / "set")


@pytest.fixture
def ones() -> Callable[[Mapping[str, float]], set[str]]:
    """The labels that are present."""
    return lambda labels: {name for name, value in labels.items() if value == 1.0}
