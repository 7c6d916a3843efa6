"""Shared by all tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

# One thread a process: the tests run beside others, and repeatable sums need a fixed number.
os.environ.setdefault("OMP_NUM_THREADS", "1")

SHARED_DATA = Path(__file__).parents[1] / ".." / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of public radiographs; the test is skipped where it is absent."""
    if not SHARED_DATA.is_dir():
        pytest.skip("needs the public radiographs in ../shared/data, which are not part of the project")
    return SHARED_DATA.resolve()
