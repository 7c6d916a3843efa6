"""Shared by the tests of the review."""

from __future__ import annotations

from pathlib import Path

import pytest
from review_work import write_work


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """A workspace as `ingest` and `mask` leave it."""
    return write_work(tmp_path)
